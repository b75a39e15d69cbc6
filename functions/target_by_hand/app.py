"""Take one target out of its groups and put it back, for a person or a pipeline that may do nothing else.

The entrance of the operations by hand: whoever may invoke this function reaches no task of the state machine, and its
role runs no command.
"""

from typing import Any

from kirikae import env, log
from kirikae.errors import InputError
from kirikae.rotation import by_hand
from kirikae.rotation.world import Config


@log.logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Do one operation by hand: deregister, register or status."""
    if not isinstance(event, dict):
        raise InputError(f"the event is {event!r}, expected a JSON object")
    done = by_hand.operate(env.load(Config), event, context.aws_request_id)
    log.logger.info("rotation", operation=event["operation"], result=done)
    log.flush()
    return done
