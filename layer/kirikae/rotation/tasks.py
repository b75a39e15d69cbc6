"""The tasks of the state machine: each gets the document, does one small repeatable thing and returns the next."""

import json
from datetime import datetime
from functools import partial

from kirikae import ec2, elb, env, notify, reconcile
from kirikae.notify import Words
from kirikae.reconcile import UnfinishedError
from kirikae.rotation import claims, commands, executions, guard, membership, moves, request, scaling, steps
from kirikae.rotation import mail as mails
from kirikae.rotation import plan as rotation_plan
from kirikae.rotation.moves import Event
from kirikae.rotation.plan import World
from kirikae.rotation.request import Request
from kirikae.rotation.world import Config, Member, Rotation


def plan(config: Config, event: Event) -> Rotation:
    """Validate the whole rotation and announce it; the document says what is wrong, if anything is."""
    asked = request.request(config, event["input"], json.loads(config.rotation_defaults))
    execution = event["execution"]
    with env.naming("RotationTargetGroupArns", ", ".join(asked.groups)):
        world = _world(config, asked, execution["Id"])
    made = rotation_plan.plan(config, asked, world, datetime.fromisoformat(execution["StartTime"]))
    if made["next"] == "take-out":
        reconcile.announce(config, mails.begun(config, made, execution["Name"]))
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
        hold=moves.held(config).en,
        sorry=moves.sorry(config),
        document=document,
        managed=managed,
    )


def take_out(config: Config, event: Event) -> Rotation:
    """Take the next targets out, each only if its groups can spare it at this moment."""
    now, by, state = reconcile.now(), event["execution"]["Name"], _state(event)
    if "ending" in state:
        return {**state, "next": "finish"}
    seen = membership.health(state["groups"])
    state = claims.adopted(state, membership.claims(state["groups"]), by, seen)
    if not state["queue"] and not state["out"]:
        return steps.ended(state, "Finished", Words("every target is back and healthy", "全ターゲットが正常です"))
    if reason := _why_stop(config, state, event["execution"]["Id"]):
        return steps.stopped(state, "Stopped", reason)
    if (reason := moves.held(config)).en and not state["out"]:
        return steps.paused(state, now, reason)
    wanted = partial(executions.is_running, event["execution"]["Id"])
    for member in state["out"]:  # its first run may have died between two groups
        half = len(guard.absent(member, seen)) < len(member["places"])
        if half and (short := moves.leave(config, member, state["unused"], by, wanted)):
            return steps.stopped(state, "Stopped", Words(short, f"必要な正常台数を確保できません: {short}"))
    short = ""
    while state["queue"] and len(state["out"]) < state["batch_size"] and not short:
        member, *rest = state["queue"]
        short = moves.leave(config, member, state["unused"], by, wanted)
        if not short:
            gone: Member = {**member, "out_at": reconcile.now().isoformat(timespec="seconds")}
            state = {**state, "queue": rest, "out": [*state["out"], gone]}
    if not state["out"]:
        return steps.crowded(state, now, Words(short, f"必要な正常台数を確保できません: {short}"))
    return steps.drained({**state, "phase": ""}, membership.health(state["groups"]), 0, reconcile.now())


def _why_stop(config: Config, state: Rotation, execution_arn: str) -> Words | None:
    """Say why no further target may be taken out in this execution."""
    if moves.sorry(config):
        return Words("the sorry page is on", "sorry ページに切り替わっています")
    groups, all_groups = state["groups"], config.rotation_target_group_arns
    if older := executions.older(config.state_machine_arn, execution_arn, groups, all_groups):
        return Words(f"the execution {older} rotates the same groups", f"実行 {older} が同じグループを処理中です")
    return None


def drained(config: Config, event: Event) -> Rotation:
    """See whether everything that is out is drained."""
    state = _state(event)
    return steps.drained(state, membership.health(state["groups"]), config.rotation_min_healthy, reconcile.now())


def ask(config: Config, event: Event) -> None:
    """Mail a person both commands; the state machine waits for one of them."""
    mail = mails.approval(config, _state(event), event["token"], reconcile.now())
    if problem := notify.publish(config.topic_arn, mail, config.notification_language):
        raise UnfinishedError(f"nobody was asked: {problem}")


def run(config: Config, event: Event) -> Rotation:  # noqa: ARG001 (every operation takes both)
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
    return steps.wait({**state, "command_ids": sent}, "result", steps.POLL_SECONDS)


def result(config: Config, event: Event) -> Rotation:  # noqa: ARG001 (every operation takes both)
    """See how the command ended on every instance."""
    state = _state(event)
    found = {
        instance: outcome for command in state["command_ids"] for instance, outcome in commands.results(command).items()
    }
    following = steps.ran(state, found, reconcile.now())
    if following["next"] == "back" and any(status not in commands.ENDED for status, _ in found.values()):
        for command in state["command_ids"]:
            commands.cancel(command)
    return following


def back(config: Config, event: Event) -> Rotation:
    """Put back everything that is out and see it healthy; what cannot be healthy is taken out again, and named."""
    state, by = steps.failed(_state(event)), event["execution"]["Name"]
    seen = membership.health(state["groups"])
    state = claims.adopted(state, membership.claims(state["groups"]), by, seen)
    ids = [member["id"] for member in state["out"] if member["id"].startswith("i-")]
    states = ec2.instance_states(ids) if ids else {}
    problems = {
        member["id"]: f"{member['id']} is {states[member['id']]}"
        if states.get(member["id"], "running") != "running"
        else moves.give_back(member, seen)
        for member in state["out"]
    }
    following = steps.back(state, seen, problems, reconcile.now())
    if not following["out"]:
        for member in state["out"]:
            sick = problems[member["id"]] or guard.ailing(member, seen, state["unused"])
            if sick and not guard.shortfall(config.rotation_min_healthy, seen, member, state["unused"]):
                membership.take_out(member)
        moves.close(state["out"])
    return following


def finish(config: Config, event: Event) -> Rotation:
    """Mail how it ended, with a table."""
    state = steps.finished(steps.failed(_state(event)))
    if state["ending"] != "DryRun":
        reconcile.announce(config, mails.ended(config, state, event["execution"]["Name"], reconcile.now()))
    if state["ending"] == "Refused":
        reconcile.metrics.add_metric("Refused", "Count", 1)
    return state


def _state(event: Event) -> Rotation:
    state: Rotation = event["rotation"]
    return state
