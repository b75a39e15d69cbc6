"""A wish that cannot be stored is told at once, once, however often Lambda repeats it.

What people were told is kept in Systems Manager, which is what does not answer here.  So a tag of the maintenance rule
holds the id of the request that they were told of: Lambda repeats an event under the same one.
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import elb, notify
from kirikae.errors import UnfinishedError
from kirikae.maintenance.mail import unstored
from kirikae.maintenance.windows import Wish
from kirikae.maintenance.world import Config

TAG = "kirikae:maintenance-unstored"


@contextmanager
def telling(config: Config, request_id: str, wish: Wish, *, dry_run: bool) -> Iterator[None]:
    """Mail that the wish could not be stored, and raise what was raised, so that Lambda repeats the event."""
    try:
        yield
    except (ClientError, BotoCoreError, UnfinishedError) as error:
        rule, letter = config.maintenance_rule_arn, unstored(config, wish, error)
        if not dry_run and not _told(rule, request_id) and notify.announce(config, letter):
            with suppress(ClientError, BotoCoreError):  # then the next attempt tells it once more
                elb.tag(rule, {TAG: request_id})
        raise


def _told(rule_arn: str, request_id: str) -> bool:
    """Tell whether an earlier attempt has told it; not if that cannot be read: rather three mails than none."""
    try:
        return bool(request_id) and elb.tags([rule_arn])[rule_arn].get(TAG) == request_id
    except (ClientError, BotoCoreError):
        return False
