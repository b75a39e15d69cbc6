"""The tasks of the state machine: each gets the document, does one small repeatable thing and returns the next."""

from functools import partial

from kirikae import clock, log, notify
from kirikae.notify import Words
from kirikae.rotation import claims, executions, guard, mail, membership, memory, moves, steps
from kirikae.rotation.observe import observe
from kirikae.rotation.plan import judge
from kirikae.rotation.request import request
from kirikae.rotation.world import Config, Event, Member, Rotation


def plan(config: Config, event: Event) -> Rotation:
    """Judge the whole rotation and announce it; the document says what is wrong, if anything is."""
    asked, execution = request(config, event["input"], config.defaults), event["execution"]
    seen = observe(config, asked, execution["Id"])
    made = judge(config, asked, seen, clock.moment(execution["StartTime"]))
    if made["next"] == "take-out":
        memory.begun(config, execution["Name"])
        notify.announce(config, mail.begun(config, made, execution["Name"]))
    return made


def take_out(config: Config, event: Event) -> Rotation:
    """Take the next targets out, each only if its groups can spare it at this moment."""
    now, execution = clock.now(), event["execution"]
    by = claims.mark(config, execution["Name"])
    state: Rotation = event["rotation"]
    if "ending" in state:
        return {**state, "next": "finish"}
    seen = membership.health(state["groups"])
    state = claims.adopted(state, membership.claims(state["groups"]), by, seen)
    if not state["queue"] and not state["out"]:
        return steps.ended(state, "Finished", Words("every target is back and healthy", "全ターゲットが正常です"))
    if reason := _why_stop(config, state, execution["Id"]):
        return steps.ended(state, "Stopped", reason)
    if (reason := moves.held(config)).en and not state["out"]:
        return steps.paused(state, now, reason)
    wanted = partial(executions.is_running, execution["Id"])
    for member in state["out"]:  # its first run may have died between two groups
        half = len(guard.absent(member, seen)) < len(member["places"])
        if half and (short := moves.leave(config, member, state["unused"], by, wanted)):
            return steps.ended(state, "Stopped", _not_spared(short))
    short = ""
    while state["queue"] and len(state["out"]) < state["batch_size"] and not short:
        member, *rest = state["queue"]
        short = moves.leave(config, member, state["unused"], by, wanted)
        if not short:
            gone: Member = {**member, "out_at": clock.now().isoformat(timespec="seconds")}
            state = {**state, "queue": rest, "out": [*state["out"], gone]}
    if not state["out"]:
        return steps.crowded(state, now, _not_spared(short))
    return steps.drained({**state, "phase": ""}, membership.health(state["groups"]), 0, clock.now())


def _not_spared(short: str) -> Words:
    return Words(short, f"必要な正常台数を確保できません: {short}")


def _why_stop(config: Config, state: Rotation, execution_arn: str) -> Words | None:
    """Return why no further target may be taken out in this execution, or None."""
    if moves.sorry(config):
        return Words("the sorry page is on", "sorry ページに切り替わっています")
    if older := executions.older(config, execution_arn, state["groups"]):
        return Words(f"the execution {older} rotates the same groups", f"実行 {older} が同じグループを処理中です")
    return None


def drained(config: Config, event: Event) -> Rotation:
    """See whether everything that is out is drained."""
    state: Rotation = event["rotation"]
    return steps.drained(state, membership.health(state["groups"]), config.rotation_min_healthy, clock.now())


def back(config: Config, event: Event) -> Rotation:
    """Register everything that is out and wait until it is healthy; deregister and report what is not in time."""
    state = steps.failed(event["rotation"])
    seen = membership.health(state["groups"])
    by = claims.mark(config, event["execution"]["Name"])
    state = claims.adopted(state, membership.claims(state["groups"]), by, seen)
    problems = moves.give_back_running(state["out"], seen)
    following = steps.back(state, seen, problems, clock.now())
    if not following["out"]:
        for member in state["out"]:
            sick = problems[member["id"]] or guard.ailing(member, seen, state["unused"])
            if sick and not guard.shortfall(config.rotation_min_healthy, seen, member, state["unused"]):
                membership.take_out(member)
        moves.close(state["out"])
    return following


def finish(config: Config, event: Event) -> Rotation:
    """Mail how it ended, with a table."""
    state = steps.finished(steps.failed(event["rotation"]))
    notify.announce(config, mail.ended(config, state, event["execution"]["Name"], clock.now()))
    if state["ending"] == "Refused":
        log.count("Refused")
    return state
