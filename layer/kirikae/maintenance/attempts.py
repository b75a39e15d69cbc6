"""The attempts at a start: Lambda repeats one that failed, under the same request id, maybe after an operator's end.

The version of the parameter before the first attempt is remembered in a tag of the maintenance rule, `ID@7`. So a
repeated start can look into the versions since: a window that was there and is gone has been ended.
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import elb

TAG = "kirikae:maintenance-start"


def first_version(rule_arn: str, request_id: str, version: int) -> int:
    """Return the parameter's version before the first attempt at this start; it is `version` if this is the first."""
    if not request_id:
        return version
    try:
        known, _, before = elb.tags([rule_arn])[rule_arn].get(TAG, "").partition("@")
        if known == request_id and before.isdecimal():
            return int(before)
        elb.tag(rule_arn, {TAG: f"{request_id}@{version}"})
    except (ClientError, BotoCoreError):  # a wish is stored whatever happens to its tag: the tick makes it come true
        pass
    return version
