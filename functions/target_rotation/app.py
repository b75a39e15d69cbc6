"""Take targets out of their groups one after another, let them be maintained, and put them back healthy.

The dispatcher of the state machine's tasks and of the operations by hand, and what puts targets back when an execution
ended without doing so.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kirikae import env, reconcile
from kirikae.env import InputError
from kirikae.reconcile import logger
from kirikae.rotation import by_hand, claims, executions, membership, moves, scaling, tasks
from kirikae.rotation import mail as mails
from kirikae.rotation.moves import Event
from kirikae.rotation.world import Config, Member

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

TASKS: Mapping[str, Callable[[Config, Event], Any]] = {
    "plan": tasks.plan,
    "take-out": tasks.take_out,
    "drained": tasks.drained,
    "ask": tasks.ask,
    "run": tasks.run,
    "result": tasks.result,
    "back": tasks.back,
    "finish": tasks.finish,
    "deregister": by_hand.deregister,
    "register": by_hand.register,
    "status": by_hand.status,
}


def restore(config: Config, event: Event) -> dict[str, Any]:
    """Put back what executions left out that have ended; a tick finds what their events did not bring."""
    groups, ended = config.rotation_target_group_arns, event.get("detail", {}).get("name", "")
    problems: dict[str, str] = {}
    if left := membership.claims(groups):
        running = [executions.name(arn) for arn in executions.running(config.state_machine_arn)]
        left = claims.left_out(left, running, ended, reconcile.now())
    if left:
        seen, places = membership.health(groups), scaling.places(target for target in left if target.startswith("i-"))
        for target, claim in left.items():
            member = Member(id=target, places=list(claim.places), scaling_group=places.get(target, ("", ""))[0])
            problems[target] = moves.give_back(member, seen)
            if not problems[target]:
                moves.close([member])
    back = {target: claim for target, claim in left.items() if not problems[target]}
    if back:
        reconcile.announce(config, mails.restored(config, back))
    if len(back) < len(left):
        reconcile.metrics.add_metric("LeftOut", "Count", 1)
    return {"put_back": list(back), "out": {target: problem for target, problem in problems.items() if problem}}


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: "LambdaContext") -> Any:
    """Do one operation: a task, one by hand, or what an execution's end asks for."""
    if not isinstance(event, dict):
        raise InputError(f"the event is {event!r}, expected a JSON object")
    woken = event.get("source") in ("aws.states", "aws.events")
    name = "restore" if woken else event.get("operation")
    operation = restore if woken else TASKS.get(str(name))
    if operation is None:
        raise InputError(f"operation is {name!r}, expected one of {', '.join(TASKS)}")
    done = operation(env.load(Config), {**event, "by": f"{claims.HAND}{context.aws_request_id[:8]}"})
    logger.info("rotation", operation=name, result=done)
    if reconcile.metrics.metric_set:
        reconcile.metrics.flush_metrics()
    return done
