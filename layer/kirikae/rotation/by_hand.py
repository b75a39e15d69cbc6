"""The same moves by hand, one target at a time, for a person or a deployment pipeline."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from kirikae import clock, ec2, elb
from kirikae.errors import InputError
from kirikae.rotation import claims, elsewhere, executions, guard, known, membership, memory, moves, steps, terms
from kirikae.rotation.claims import Claim
from kirikae.rotation.known import Taken
from kirikae.rotation.observe import Case, observe_one
from kirikae.rotation.request import by_hand
from kirikae.rotation.world import Config, Event, Health, Member, Rotation, Terms


def deregister(config: Config, event: Event) -> dict[str, Any]:
    """Take one target out if its groups can spare it; called again, report whether it is drained."""
    if waiting := _wait_for_hold(config, event):
        return {**waiting, "drained": False}
    case = observe_one(config, event)
    member, taken, missing = case.member, case.taken, guard.absent(case.member, case.seen)
    if reason := guard.nowhere(member, case.seen, case.asked):
        return _refused(member, reason)
    if case.owner or (taken and taken.ended and missing):
        return _refused(member, case.owner or f"{taken.by if taken else ''} left {member['id']} out; register it first")
    if taken and (case.fresh or len(missing) == len(member["places"])):
        return _still_out(config, event, case, taken)
    running = executions.older(config, "", [place["group"] for place in member["places"]])
    if reason := f"the execution {running} rotates the same groups" if running else _why_not(config, event, member):
        return _refused(member, reason)
    now, by = clock.now(), taken.by if taken else event["by"]  # half out: whoever began goes on
    wrote = memory.taken(config, member["id"], Claim(now, by, tuple(member["places"])))
    if reason := moves.leave(config, member, case.asked, by, lambda: True):
        if not missing:
            memory.returned(config, member, wrote)
        return _refused(member, reason)
    state = _draining(member, now, membership.health_without(member, case.seen), case.asked)
    memory.see(config, wrote)
    return {"outcome": "changed", "reason": f"{member['id']} is out", **state}


def _still_out(config: Config, event: Event, case: Case, taken: Taken) -> dict[str, Any]:
    """Return whether a target that is out is drained; until it is, it comes back if its groups cannot spare it.

    An operation that died, or was refused, before it had put back at once what could not be spared, goes on here.
    """
    member, said = case.member, f"{case.member['id']} is out since {taken.at.isoformat()}"
    state = _draining(member, taken.at, case.seen, case.asked)
    if short := guard.shortfall(member, case.seen, case.asked):
        if not state["drained"] and not _why_not(config, event, member):
            reason = moves.undo(config, member, short)
            memory.returned(config, member)
            return _refused(member, reason)
        said += f"; {short}"
    return {"outcome": "unchanged", **state, "reason": said}


def _refused(member: Member, reason: str) -> dict[str, Any]:
    return {"outcome": "refused", "reason": reason, "id": member["id"]}


def _draining(member: Member, since: datetime, seen: Health, asked: Mapping[str, Terms]) -> dict[str, Any]:
    """Return whether a target is drained, and when to ask again, however long it has been out."""
    drain, tail = terms.drain_and_tail_seconds(asked)
    gone: Member = {**member, "out_at": since.isoformat()}
    state = Rotation(out=[gone], unused=[], drain_seconds=drain, tail_seconds=tail, drain_timeout_seconds=drain + 86400)
    following = steps.drained(state, seen, "", clock.now())
    done = following["next"] == "hook"
    seconds = 0 if done else following.get("wait_seconds", steps.POLL_SECONDS)
    return {"id": member["id"], "drained": done, "wait_seconds": seconds, "places": member["places"]}


def register(config: Config, event: Event) -> dict[str, Any]:
    """Put one target back as it was; called again, report whether it is healthy."""
    if waiting := _wait_for_hold(config, event):
        return {**waiting, "healthy": False}
    case = observe_one(config, event)
    member = case.member
    missing = member["places"] if case.fresh else guard.absent(member, case.seen)
    changes = bool(missing) or case.standing_by
    if (
        reason := guard.nowhere(member, case.seen, case.asked)
        or case.owner
        or (_why_not(config, event, member) if changes else "")
    ):
        return _refused(member, reason)
    if changes and (problem := moves.give_back(member, missing)):
        return _not_yet(case, problem)
    left: Member = {**case.taken.member, "out_at": case.taken.at.isoformat()} if case.taken else member
    ailing = guard.ailing(member, membership.health(case.seen), case.asked) or guard.unsettled(left, clock.now())
    if case.taken and not ailing and not config.dry_run:
        moves.close(config, [member])
        memory.returned(config, member)
    state = {"id": member["id"], "healthy": not ailing, "wait_seconds": steps.POLL_SECONDS if ailing else 0}
    others = "".join(f"; others have registered it elsewhere: {place}" for place in guard.added(left, case.seen))
    said = "; ".join([(ailing or f"{member['id']} is healthy") + others, *case.elsewhere])
    return {"outcome": "changed" if changes else "unchanged", "reason": said, **state}


def _not_yet(case: Case, problem: str) -> dict[str, Any]:
    """Return when to try again what AWS did not take: it may want a target to be drained first.

    Refused is what is certain: the instance stops or has stopped, or the time for draining and some minutes are over
    and what AWS says does not pass by itself.
    """
    target, now = case.member["id"], clock.now()
    state = ec2.instance_states([target]).get(target, "running") if target.startswith("i-") else "running"
    drain, _ = terms.drain_and_tail_seconds(case.asked)
    left = (case.taken.at + timedelta(seconds=drain) - now).total_seconds() if case.taken else -steps.GRACE_SECONDS
    late = left <= -steps.GRACE_SECONDS and not isinstance(problem, membership.Passing)
    if state in ec2.DOWN or state == ec2.MISSING or (state == "running" and late):
        problem += f" ({target} is {state})" if state != "running" and state not in problem else ""
        return {**_refused(case.member, problem), "healthy": False}
    seconds = max(steps.POLL_SECONDS, round(left))
    said = f"not yet, repeat after {seconds} s: {problem}"
    return {"outcome": "unchanged", "reason": said, "id": target, "healthy": False, "wait_seconds": seconds}


def _wait_for_hold(config: Config, event: Event) -> dict[str, Any] | None:
    """Return when to ask again if the hold cannot be read now, which is no refusal."""
    reason = moves.held(config).en
    if not reason or event.get("force") or moves.held(config, unread=False).en:
        return None
    seconds = steps.HELD_POLL_SECONDS // 5
    return {"outcome": "unchanged", "reason": reason, "id": event.get("instance_id"), "wait_seconds": seconds}


def _why_not(config: Config, event: Event, member: Member) -> str:
    """Return why nothing may be changed by hand now, or ""."""
    if config.dry_run:
        return "DryRun is true"
    if member["scaling_group"] and not config.rotation_allow_standby:
        return f"{member['id']} is in Auto Scaling group {member['scaling_group']}; RotationAllowStandby is false"
    return "" if event.get("force") else moves.held(config).en


def status(config: Config, event: Event) -> dict[str, Any]:  # noqa: ARG001 (every operation takes both)
    """Return what is registered where, what is out, and who is at work."""
    groups = config.rotation_target_group_arns
    seen = membership.there(groups)
    found = known.known(config, seen, memory.read(config))
    return {
        "operation": "status",
        "targets": {
            elb.group_name(group): {f"{t.id}:{t.port}": f"{t.state} {t.reason}".strip() for t in targets}
            for group, targets in seen.items()
        },
        "out": {target: {"by": one.by, "since": one.at.isoformat()} for target, one in found.taken.items()},
        "elsewhere": elsewhere.problems(config, found.elsewhere),
        "deleted": [elb.group_name(group) for group in groups if group not in seen],
        "of_other_stacks": {target: {"by": c.by, "since": c.at.isoformat()} for target, c in found.foreign.items()},
        "not_believed": dict(found.doubts),
        "running": executions.shown_older(config, "", groups),
        "hold": moves.held(config).en,
    }


OPERATIONS = {"deregister": deregister, "register": register, "status": status}


def operate(config: Config, event: Event, request_id: str, others: Iterable[str] = ()) -> dict[str, Any]:
    """Do one operation; others: further ones of the function, for the error that names them all."""
    name = event.get("operation")
    if str(name) not in OPERATIONS:
        raise InputError(f"operation is {name!r}, expected one of {', '.join((*others, *OPERATIONS))}")
    by_hand(event)
    return OPERATIONS[str(name)](config, {**event, "by": claims.mark(config, f"{claims.HAND}{request_id[:8]}")})
