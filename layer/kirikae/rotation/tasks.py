"""The tasks of the state machine: each gets the document, does one small repeatable thing and returns the next."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import clock, elb, log, patience
from kirikae.elb import TargetGroup
from kirikae.notify import Words
from kirikae.rotation import (
    claims,
    deleted,
    executions,
    fleet,
    guard,
    hook,
    known,
    mail,
    membership,
    memory,
    moves,
    redrive,
    returns,
    steps,
    telling,
    terms,
)
from kirikae.rotation.claims import Found
from kirikae.rotation.observe import observe
from kirikae.rotation.plan import judge
from kirikae.rotation.request import request
from kirikae.rotation.world import Config, Event, Health, Member, Rotation, Terms, members


def plan(config: Config, event: Event) -> Rotation:
    """Judge the whole rotation and announce it; the document says what is wrong, if anything is."""
    asked, execution = request(config, event["input"], config.defaults), event["execution"]
    seen = observe(config, asked, execution["Id"])
    made = judge(config, asked, seen, clock.moment(execution["StartTime"]))
    if made["next"] == "take-out":
        try:
            memory.begun(config, execution["Name"])  # before people know: whoever ends it, its end is told
        except (ClientError, BotoCoreError) as error:  # nothing is out: the task that takes out remembers it, or fails
            log.logger.warning("the execution cannot be remembered yet", problem=str(error))
        notes = terms.notes(seen.terms, seen.health, config.least, asked.empty_zones)
        telling.once(config, "begun", execution["Name"], mail.begun(config, made, execution["Name"], notes))
    return made


def _seen(
    config: Config, state: Rotation, groups: Sequence[TargetGroup] = ()
) -> tuple[Health, Mapping[str, Terms], Found]:
    """Read the health of the rotation's targets, what their groups ask, and who has what out."""
    seen = membership.there(state["groups"])
    asked = terms.read(
        groups or elb.target_groups(seen),
        seen,
        config.least,
        ids=[member["id"] for member in (*state["queue"], *state["out"])],
        unused=state["unused"],
        empty_zones=state.get("empty_zones", False),
    )
    return seen, asked, membership.claims(seen)


def take_out(config: Config, event: Event) -> Rotation:
    """Take the next targets out, each only if its groups can spare it at this moment."""
    now, execution = clock.now(), event["execution"]
    by = claims.mark(config, execution["Name"])
    state: Rotation = redrive.timed_anew(event["rotation"], execution)
    if "ending" in state:
        return {**state, "next": "finish"}
    groups = elb.target_groups(state["groups"])
    seen, asked, found = _seen(config, state, groups)
    state, lost = redrive.own(state, known.others(config, state["out"], by, seen))
    state, restless = redrive.requeued(state, seen)
    state = claims.adopted(state, found, by, seen)
    before, state = state, fleet.at_turn(config, state, members(seen, groups, guard.unplaced(seen, asked)), found, by)
    if not state["queue"] and not state["out"] and not lost:
        return steps.ended(state, "Finished", Words("every target is back and healthy", "全ターゲットが正常です"))
    if reason := lost or restless or _why_stop(config, state, execution["Id"]):
        return steps.ended(state, "Stopped", reason)
    if (reason := moves.held(config)).en and not state["out"]:
        return steps.paused(state, now, reason)
    if redrive.moved(before, state):  # first into the document: if this task dies, its repetition knows what has left
        return {**state, "next": "take-out"}
    memory.begun(config, execution["Name"])  # also one that was redriven: its end had been forgotten
    leave = partial(moves.leave, config, terms=asked, by=by, wanted=partial(executions.is_running, execution["Id"]))
    for member in state["out"]:  # its first run may have died between two groups
        half = len(guard.absent(member, seen)) < len(member["places"])
        if half and (short := leave(member, out=[other["id"] for other in state["out"]])):
            return steps.ended(state, "Stopped", _not_spared(short))
    short = ""
    while state["queue"] and len(state["out"]) < state["batch_size"] and not short:
        member, *rest = state["queue"]
        short = leave(member, out=[other["id"] for other in state["out"]])
        if not short:
            gone: Member = {**member, "out_at": clock.now().isoformat(timespec="seconds")}
            state = {**state, "queue": rest, "out": [*state["out"], gone]}
    if not state["out"]:
        return steps.crowded(state, now, _not_spared(short))
    return _drained({**state, "phase": ""}, membership.health(state["groups"]), asked, {})


def _not_spared(short: str) -> Words:
    return Words(short, f"必要な正常台数を確保できません: {short}")


def _why_stop(config: Config, state: Rotation, execution_arn: str) -> Words | None:
    """Return why no further target may be taken out in this execution, or None."""
    if config.dry_run:
        return Words("DryRun is true", "DryRun が true です")
    if moves.sorry(config):
        return Words("the sorry page is on", "sorry ページに切り替わっています")
    if older := executions.older(config, execution_arn, state["groups"]):
        return Words(f"the execution {older} rotates the same groups", f"実行 {older} が同じグループを処理中です")
    return None


def drained(config: Config, event: Event) -> Rotation:
    """See whether everything that is out is drained; what was put back meanwhile leaves anew."""
    state: Rotation = redrive.timed_anew(event["rotation"], event["execution"])
    seen, asked, found = _seen(config, state)
    if "ending" in (state := deleted.without(state, seen)):
        return state
    if redrive.returned(state["out"], found, claims.mark(config, event["execution"]["Name"]), seen):
        return {**state, "next": "take-out"}
    return _drained(state, seen, asked, found)


def _drained(state: Rotation, seen: Health, asked: Mapping[str, Terms], found: Found) -> Rotation:
    """Judge what is out; whatever has left counts as gone, because health may be shown as it was before."""
    now, gone = clock.now(), {member["id"] for member in state["out"]}
    gone.update(claims.leaving(found, "", now))
    shorts = (guard.shortfall(member, seen, asked, gone) for member in state["out"])
    return steps.drained(state, seen, next(filter(None, shorts), ""), now)


def back(config: Config, event: Event) -> Rotation:
    """Register everything that is out and wait until it is healthy; deregister and report what is not in time."""
    now, by = clock.now(), claims.mark(config, event["execution"]["Name"])
    state = hook.caught(redrive.timed_anew(event["rotation"], event["execution"]), event["execution"]["Name"])
    seen, asked, found = _seen(config, state)
    state = deleted.without(state, seen)
    state, lost = redrive.own(state, known.others(config, state["out"], by, seen))
    state = claims.adopted(state, found, by, seen)
    if lost and "ending" not in state:
        state = steps.ended(state, "Stopped", lost)
    stopped, refused = moves.give_back_running(state["out"], seen)
    state = {**state, "out": [returns.noted(member, stopped, refused, now) for member in state["out"]]}
    sick = _sick(state, seen, asked, now) | {t: f"{t} is {said}" for t, said in stopped.items()} | refused
    slow = max([0, *(asked[place["group"]].slow_start_seconds for m in state["out"] for place in m["places"])])
    following = returns.back(state, sick, refused, slow, now)
    still = [member["id"] for member in following["out"]]
    settled = [member for member in state["out"] if member["id"] not in still]
    if failing := [member for member in settled if member["id"] in sick]:
        moves.take_out_again(failing, asked, by)
    moves.close(config, settled, stopped.keys() | refused.keys())
    return returns.named(following, settled, seen)


def _sick(state: Rotation, seen: Health, asked: Mapping[str, Terms], now: datetime) -> dict[str, str]:
    """Return why targets are not back, by id; health is not believed of one that has left just now."""
    found = {member["id"]: guard.ailing(member, seen, asked) or guard.unsettled(member, now) for member in state["out"]}
    return {target: problem for target, problem in found.items() if problem}


def finish(config: Config, event: Event) -> Rotation:
    """Mail how it ended, with a table."""
    state, execution = steps.finished(steps.failed(event["rotation"])), event["execution"]
    if state["ending"] not in ("Refused", "DryRun"):
        state = returns.judged(state, patience.until(partial(_unwell, config, state), lambda said: not said))
    name, run = execution["Name"], execution.get("RedriveTime", execution["StartTime"])  # a redriven one ends once more
    telling.once(config, "ended", f"{name}, {run}", mail.ended(config, state, name, clock.now()))
    if state["ending"] == "Refused":
        log.count_refusal(config.capability)
    return state


def _unwell(config: Config, state: Rotation) -> str:
    """Read which targets that had come back are not healthy now, and where; "" if all are."""
    if not (ids := [row["id"] for row in state["done"] if "member" not in row]):
        return ""
    seen, asked, _ = _seen(config, state)
    return returns.unwell(ids, seen, asked)
