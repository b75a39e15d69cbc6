"""Take targets out of their groups one after another, let them be maintained, and put them back healthy.

The tasks of `statemachine/target_rotation.asl.yaml`, each small and idempotent; the same operations by hand; and what
puts targets back when an execution ended without doing so.  What is decided is in `kirikae.rotation_*`.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from kirikae import (
    commands,
    ec2,
    elb,
    env,
    executions,
    hold,
    membership,
    notify,
    reconcile,
    rotation,
    rotation_claims,
    rotation_guard,
    rotation_input,
    rotation_plan,
    rotation_steps,
    scaling,
)
from kirikae import rotation_mail as mails
from kirikae.env import InputError
from kirikae.notify import Mail, Words
from kirikae.reconcile import UnfinishedError, logger
from kirikae.rotation import Config, Health, Member, Rotation
from kirikae.rotation_claims import Claim
from kirikae.rotation_input import Request
from kirikae.rotation_plan import World

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

type Event = Mapping[str, Any]


# The tasks of the state machine.


def plan(config: Config, event: Event) -> Rotation:
    """Validate the whole rotation and announce it; the document says what is wrong, if anything is."""
    asked = rotation_input.request(config, event["input"], json.loads(config.rotation_defaults))
    execution = event["execution"]
    with env.naming("RotationTargetGroupArns", ", ".join(asked.groups)):
        world = _world(config, asked, execution["Id"])
    made = rotation_plan.plan(config, asked, world, datetime.fromisoformat(execution["StartTime"]))
    if made["next"] == "take-out":
        _tell(config, mails.begun(config, made, execution["Name"]))
    return made


def _world(config: Config, asked: Request, execution_arn: str) -> World:
    groups, health = elb.target_groups(asked.groups), membership.health(asked.groups)
    registered = {target.id for targets in health.values() for target in targets}
    instances = sorted(target for target in registered | set(asked.ids) if target.startswith("i-"))
    managed, document = None, ""
    if asked.hook["type"] in ("ssm-document", "ssm-command"):
        platforms = commands.platforms(asked.ids or instances)
        managed = frozenset(platforms)
        wanted = {asked.hook.get("document") or commands.shell(platform) for platform in platforms.values()}
        document = "; ".join(
            f"{name} is not listed in RotationDocuments"
            if name not in config.rotation_documents
            else commands.document_problem(name)
            for name in sorted(wanted)
        ).strip("; ")
    return World(
        groups=groups,
        health=health,
        scaling=scaling.places(instances) if instances else {},
        running=executions.older(
            config.state_machine_arn, execution_arn, asked.groups, config.rotation_target_group_arns
        ),
        hold=_held(config).en,
        sorry=_sorry(config),
        document=document,
        managed=managed,
    )


def take_out(config: Config, event: Event) -> Rotation:
    """Take the next targets out, each only if its groups can spare it at this moment."""
    now, by, state = reconcile.now(), event["execution"]["Name"], _state(event)
    if "ending" in state:
        return {**state, "next": "finish"}
    seen = membership.health(state["groups"])
    state = rotation_claims.adopted(state, membership.claims(state["groups"]), by, seen)
    if not state["queue"] and not state["out"]:
        return rotation_steps.ended(
            state, "Finished", Words("every target is back and healthy", "全ターゲットが正常です")
        )
    if reason := _why_stop(config, state, event["execution"]["Id"]):
        return rotation_steps.stopped(state, "Stopped", reason)
    if (reason := _held(config)).en and not state["out"]:
        return rotation_steps.paused(state, now, reason)
    wanted = partial(executions.is_running, event["execution"]["Id"])
    for member in state["out"]:  # its first run may have died between two groups
        half = len(rotation_guard.absent(member, seen)) < len(member["places"])
        if half and (short := _leave(config, member, state["unused"], by, wanted)):
            return rotation_steps.stopped(state, "Stopped", Words(short, f"必要な正常台数を確保できません: {short}"))
    short = ""
    while state["queue"] and len(state["out"]) < state["batch_size"] and not short:
        member, *rest = state["queue"]
        short = _leave(config, member, state["unused"], by, wanted)
        if not short:
            gone: Member = {**member, "out_at": reconcile.now().isoformat(timespec="seconds")}
            state = {**state, "queue": rest, "out": [*state["out"], gone]}
    if not state["out"]:
        return rotation_steps.crowded(state, now, Words(short, f"必要な正常台数を確保できません: {short}"))
    return rotation_steps.drained({**state, "phase": ""}, membership.health(state["groups"]), 0, reconcile.now())


def _why_stop(config: Config, state: Rotation, execution_arn: str) -> Words | None:
    """Say why no further target may be taken out in this execution."""
    if _sorry(config):
        return Words("the sorry page is on", "sorry ページに切り替わっています")
    groups, all_groups = state["groups"], config.rotation_target_group_arns
    if older := executions.older(config.state_machine_arn, execution_arn, groups, all_groups):
        return Words(f"the execution {older} rotates the same groups", f"実行 {older} が同じグループを処理中です")
    return None


def _leave(config: Config, member: Member, unused: list[str], by: str, wanted: Callable[[], bool]) -> str:
    """Look, say so, look for others who said so, deregister, and look again; say why the target is not out."""
    least, groups = config.rotation_min_healthy, sorted({place["group"] for place in member["places"]})
    now = reconcile.now()
    seen = membership.health(groups)
    if short := rotation_guard.shortfall(least, seen, member, unused):
        return short
    other = membership.claims(groups).get(member["id"])
    if other and other.by != rotation_claims.owner(by) and rotation_guard.absent(member, seen):
        return f"{member['id']} is out already, by {other.by}"
    membership.claim(member, by, now)
    others = rotation_claims.leaving(membership.claims(groups), by, now)
    if short := rotation_guard.shortfall(least, seen, member, unused, others):
        membership.unclaim(member)
        return f"{short} ({', '.join(others)} is being taken out at this moment)"
    if member["scaling_group"]:
        scaling.stand_by(member["id"], member["scaling_group"])
    membership.take_out(member)
    short = rotation_guard.shortfall(least, membership.health(groups), member, unused)
    if not short and wanted():
        return ""
    if problem := _return(member, membership.health(groups)):
        raise UnfinishedError(problem)
    _close([member])
    return f"put back at once: {short}" if short else "put back at once: the execution was aborted"


def _return(member: Member, seen: Health) -> str:
    """Put one target back as it was; say why that is not possible."""
    if member["scaling_group"]:
        scaling.in_service(member["id"], member["scaling_group"])
    return membership.put_back(member, seen)


def _close(members: list[Member]) -> None:
    """Forget that these were out."""
    for group in sorted({member["scaling_group"] for member in members} - {""}):
        scaling.restore_min_size(group)
    for member in members:
        membership.unclaim(member)


def drained(config: Config, event: Event) -> Rotation:
    """See whether everything that is out is drained."""
    state = _state(event)
    return rotation_steps.drained(
        state, membership.health(state["groups"]), config.rotation_min_healthy, reconcile.now()
    )


def ask(config: Config, event: Event) -> None:
    """Mail a person both commands; the state machine waits for one of them."""
    mail = mails.approval(config, _state(event), event["token"], reconcile.now())
    if problem := notify.publish(config.topic_arn, mail, config.notification_language):
        raise UnfinishedError(f"nobody was asked: {problem}")


def run(config: Config, event: Event) -> Rotation:
    """Send the hook's command to the instances that are out."""
    state = _state(event)
    ids = [member["id"] for member in state["out"]]
    hook, by_document = state["hook"], dict[str, list[str]]()
    for instance, platform in commands.platforms(ids).items():
        by_document.setdefault(hook.get("document") or commands.shell(platform), []).append(instance)
    parameters = hook.get("parameters", {})
    if hook["type"] == "ssm-command":
        parameters = {"commands": hook["commands"], "executionTimeout": [str(hook["timeout_seconds"])]}
    comment = f"kirikae {event['execution']['Name']}"[:100]
    since = datetime.fromisoformat(state["since"])
    sent = [commands.send(name, found, parameters, comment, since) for name, found in sorted(by_document.items())]
    return rotation_steps.wait({**state, "command_ids": sent}, "result", rotation_steps.POLL_SECONDS)


def result(config: Config, event: Event) -> Rotation:
    """See how the command ended on every instance."""
    state = _state(event)
    found = {
        instance: outcome for command in state["command_ids"] for instance, outcome in commands.results(command).items()
    }
    following = rotation_steps.ran(state, found, reconcile.now())
    if following["next"] == "back" and any(status not in commands.ENDED for status, _ in found.values()):
        for command in state["command_ids"]:
            commands.cancel(command)
    return following


def back(config: Config, event: Event) -> Rotation:
    """Put back everything that is out and see it healthy; what cannot be healthy is taken out again, and named."""
    state, by = rotation_steps.failed(_state(event)), event["execution"]["Name"]
    seen = membership.health(state["groups"])
    state = rotation_claims.adopted(state, membership.claims(state["groups"]), by, seen)
    ids = [member["id"] for member in state["out"] if member["id"].startswith("i-")]
    states = ec2.instance_states(ids) if ids else {}
    problems = {
        member["id"]: f"{member['id']} is {states[member['id']]}"
        if states.get(member["id"], "running") != "running"
        else _return(member, seen)
        for member in state["out"]
    }
    following = rotation_steps.back(state, seen, problems, reconcile.now())
    if not following["out"]:
        for member in state["out"]:
            sick = problems[member["id"]] or rotation_guard.ailing(member, seen, state["unused"])
            if sick and not rotation_guard.shortfall(config.rotation_min_healthy, seen, member, state["unused"]):
                membership.take_out(member)
        _close(state["out"])
    return following


def finish(config: Config, event: Event) -> Rotation:
    """Mail how it ended, with a table."""
    state = rotation_steps.finished(rotation_steps.failed(_state(event)))
    if state["ending"] != "DryRun":
        _tell(config, mails.ended(config, state, event["execution"]["Name"], reconcile.now()))
    if state["ending"] == "Refused":
        reconcile.metrics.add_metric("Refused", "Count", 1)
    return state


# By hand.


def deregister(config: Config, event: Event) -> dict[str, Any]:
    """Take one target out if its groups can spare it; called again, say whether it is drained."""
    member, claim, seen, unused = _member(config, event)
    if claim and rotation_guard.absent(member, seen):
        return _report(
            "unchanged", f"{member['id']} is out since {claim.at.isoformat()}", _draining(member, claim, seen)
        )
    reason = _why_not(config, event, member)
    short = reason or _leave(config, member, unused, event["by"], lambda: True)
    if short:
        return _report("refused", short, {"id": member["id"]})
    made = Claim(reconcile.now(), event["by"], tuple(member["places"]))
    return _report("changed", f"{member['id']} is out", _draining(member, made, membership.health(seen)))


def _draining(member: Member, claim: Claim, seen: Health) -> dict[str, Any]:
    """Say whether it is drained, or when to ask again."""
    drain, tail = rotation_plan.delays(elb.target_groups(seen))
    state = Rotation(
        out=[{**member, "out_at": claim.at.isoformat()}],
        unused=[],
        drain_seconds=drain,
        tail_seconds=tail,
        drain_timeout_seconds=drain + 86400,
    )
    following = rotation_steps.drained(state, seen, 0, reconcile.now())
    done = following["next"] == "hook"
    seconds = 0 if done else following["wait_seconds"]
    return {"id": member["id"], "drained": done, "wait_seconds": seconds, "places": member["places"]}


def register(config: Config, event: Event) -> dict[str, Any]:
    """Put one target back as it was; called again, say whether it is healthy."""
    member, claim, seen, unused = _member(config, event)
    missing = rotation_guard.absent(member, seen)
    if missing and (reason := _why_not(config, event, member)):
        return _report("refused", reason, {"id": member["id"]})
    if problem := _return(member, seen) if missing else "":
        return _report("refused", problem, {"id": member["id"], "healthy": False})
    waiting = rotation_guard.ailing(member, membership.health(seen), unused)
    if claim and not waiting:
        _close([member])
    state = {"id": member["id"], "healthy": not waiting, "wait_seconds": rotation_steps.POLL_SECONDS if waiting else 0}
    return _report("changed" if missing else "unchanged", waiting or f"{member['id']} is healthy", state)


def _member(config: Config, event: Event) -> tuple[Member, Claim | None, Health, list[str]]:
    """Return the target as it is registered, or as it was when it was taken out."""
    target, groups = event.get("instance_id"), event.get("target_group_arns", list(config.rotation_target_group_arns))
    if not isinstance(target, str) or not target:
        raise InputError(f"instance_id is {target!r}, expected the id of a target, like i-0123456789abcdef0")
    if not isinstance(groups, list) or not groups or set(groups) - set(config.rotation_target_group_arns):
        raise InputError(f"target_group_arns is {groups!r}, expected groups of RotationTargetGroupArns")
    described = elb.target_groups(groups)
    seen, claim = membership.health(groups), membership.claims(groups).get(target)
    found = rotation.members(seen, {group.arn: group.target_type for group in described})
    member = rotation_claims.whole(found.get(target), claim, target)
    if member is None:
        raise InputError(f"{target} is registered in none of {', '.join(groups)}, and no tag says that it was")
    scaling_group, _ = scaling.places([target]).get(target, ("", "")) if target.startswith("i-") else ("", "")
    unused = [group.arn for group in described if not group.load_balancer_arns]
    return {**member, "scaling_group": scaling_group}, claim, seen, unused


def _why_not(config: Config, event: Event, member: Member) -> str:
    """Say why nothing may be changed by hand now."""
    groups = [place["group"] for place in member["places"]]
    if running := executions.older(config.state_machine_arn, "", groups, config.rotation_target_group_arns):
        return f"the execution {running} rotates the same groups"
    if config.dry_run:
        return "DryRun is true"
    if member["scaling_group"] and not config.rotation_allow_standby:
        return f"{member['id']} is in Auto Scaling group {member['scaling_group']}; RotationAllowStandby is false"
    return "" if event.get("force") else _held(config).en


def status(config: Config, event: Event) -> dict[str, Any]:
    """Say what is registered where, what is out, and who is at work."""
    groups = config.rotation_target_group_arns
    found = membership.claims(groups)
    return {
        "operation": "status",
        "targets": {
            rotation.group_name(group): {f"{t.id}:{t.port}": f"{t.state} {t.reason}".strip() for t in targets}
            for group, targets in membership.health(groups).items()
        },
        "out": {target: {"by": claim.by, "since": claim.at.isoformat()} for target, claim in found.items()},
        "running": executions.older(config.state_machine_arn, "", groups, groups),
        "hold": _held(config).en,
    }


# After an execution that ended without putting everything back: aborted, timed out, or failed while putting back.


def restore(config: Config, event: Event) -> dict[str, Any]:
    """Put back what executions left out that have ended; a tick finds what their events did not bring."""
    groups, ended = config.rotation_target_group_arns, event.get("detail", {}).get("name", "")
    problems: dict[str, str] = {}
    if left := membership.claims(groups):
        running = [executions.name(arn) for arn in executions.running(config.state_machine_arn)]
        left = rotation_claims.left_out(left, running, ended, reconcile.now())
    if left:
        seen, places = membership.health(groups), scaling.places(target for target in left if target.startswith("i-"))
        for target, claim in left.items():
            member = Member(id=target, places=list(claim.places), scaling_group=places.get(target, ("", ""))[0])
            problems[target] = _return(member, seen)
            if not problems[target]:
                _close([member])
    back = {target: claim for target, claim in left.items() if not problems[target]}
    if back:
        _tell(config, mails.restored(config, back))
    if len(back) < len(left):
        reconcile.metrics.add_metric("LeftOut", "Count", 1)
    return {"put_back": list(back), "out": {target: problem for target, problem in problems.items() if problem}}


# What they share.

TASKS: Mapping[str, Callable[[Config, Event], Any]] = {
    "plan": plan,
    "take-out": take_out,
    "drained": drained,
    "ask": ask,
    "run": run,
    "result": result,
    "back": back,
    "finish": finish,
    "deregister": deregister,
    "register": register,
    "status": status,
}


def _state(event: Event) -> Rotation:
    state: Rotation = event["rotation"]
    return state


def _held(config: Config) -> Words:
    """Say why nothing may begin: unlike a failover, maintenance waits for a hold that cannot be read."""
    wish = hold.read(config.hold_parameter, reconcile.now())
    if wish is None:
        return Words(f"{config.hold_parameter} cannot be read", f"{config.hold_parameter} を読み取れません")
    if wish.problem:
        return Words(f"{config.hold_parameter}: {wish.problem}")
    return Words(wish.reason) if wish.on else Words("")


def _sorry(config: Config) -> bool:
    """Tell whether an NLB listener of this stack serves the sorry page."""
    group = config.sorry_target_group_arn
    return bool(group) and any(li.weights.get(group) for li in elb.listeners(config.nlb_listener_arns))


def _report(outcome: str, reason: str, state: Mapping[str, Any]) -> dict[str, Any]:
    return {"outcome": outcome, "reason": reason, **state}


def _tell(config: Config, mail: Mail) -> None:
    """Publish; a failure counts, and changes nothing."""
    if problem := notify.publish(config.topic_arn, mail, config.notification_language):
        logger.error("the mail was not sent", subject=mail.subject, problem=problem)
        reconcile.metrics.add_metric("MailFailed", "Count", 1)


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
    done = operation(env.load(Config), {**event, "by": f"{rotation_claims.HAND}{context.aws_request_id[:8]}"})
    logger.info("rotation", operation=name, result=done)
    if reconcile.metrics.metric_set:
        reconcile.metrics.flush_metrics()
    return done
