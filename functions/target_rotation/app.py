"""Take targets out of their groups one after another, let them be maintained, and put them back healthy.

One operation at each invocation: a task of the state machine, an operation by hand, or the restoration of targets that
an ended execution left out.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kirikae import clock, env, log, notify
from kirikae.errors import InputError
from kirikae.rotation import by_hand, claims, executions, hook, mail, membership, moves, scaling, tasks
from kirikae.rotation.world import Config, Event, Member

TASKS: Mapping[str, Callable[[Config, Event], Any]] = {
    "plan": tasks.plan,
    "take-out": tasks.take_out,
    "drained": tasks.drained,
    "ask": hook.ask,
    "run": hook.run,
    "result": hook.result,
    "back": tasks.back,
    "finish": tasks.finish,
    "deregister": by_hand.deregister,
    "register": by_hand.register,
    "status": by_hand.status,
}


def restore(config: Config, event: Event) -> dict[str, Any]:
    """Put back the targets that ended executions left out; the tick finds those whose event was lost."""
    groups, ended = config.rotation_target_group_arns, event.get("detail", {}).get("name", "")
    problems: dict[str, str] = {}
    if left := membership.claims(groups):
        running = [executions.name(arn) for arn in executions.running(config.state_machine_arn)]
        left = claims.left_out(left, running, ended, clock.now())
    if left:
        places = scaling.places(target for target in left if target.startswith("i-"))
        for target, claim in left.items():
            member = Member(id=target, places=list(claim.places), scaling_group=places.get(target, ("", ""))[0])
            problems[target] = moves.give_back(member)
            if not problems[target]:
                moves.close([member])
    back = {target: claim for target, claim in left.items() if not problems[target]}
    if back:
        notify.announce(config, mail.restored(config, back))
    if len(back) < len(left):
        log.count("LeftOut")
    return {"put_back": list(back), "out": {target: problem for target, problem in problems.items() if problem}}


@log.logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: Any) -> Any:
    """Do one operation: a task, an operation by hand, or the restoration after the end of an execution."""
    if not isinstance(event, dict):
        raise InputError(f"the event is {event!r}, expected a JSON object")
    woken = event.get("source") in ("aws.states", "aws.events")
    name = "restore" if woken else event.get("operation")
    operation = restore if woken else TASKS.get(str(name))
    if operation is None:
        raise InputError(f"operation is {name!r}, expected one of {', '.join(TASKS)}")
    done = operation(env.load(Config), {**event, "by": f"{claims.HAND}{context.aws_request_id[:8]}"})
    log.logger.info("rotation", operation=name, result=done)
    log.flush()
    return done
