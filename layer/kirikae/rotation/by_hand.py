"""The same moves by hand, one target at a time, for a person or a deployment pipeline."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from kirikae import clock, ec2, elb
from kirikae.errors import InputError
from kirikae.rotation import claims, executions, guard, membership, moves, scaling, steps, terms
from kirikae.rotation.claims import Claim
from kirikae.rotation.world import Config, Event, Health, Member, Rotation, Terms, members


def deregister(config: Config, event: Event) -> dict[str, Any]:
    """Take one target out if its groups can spare it; called again, report whether it is drained."""
    member, claim, seen, asked = _member(config, event)
    if reason := guard.nowhere(member, seen, asked):
        return {"outcome": "refused", "reason": reason, "id": member["id"]}
    if claim and (_fresh(claim) or len(guard.absent(member, seen)) == len(member["places"])):
        reason = f"{member['id']} is out since {claim.at.isoformat()}"
        return {"outcome": "unchanged", "reason": reason, **_draining(member, claim.at, seen, asked)}
    if waiting := _wait_for_hold(config, event, member):
        return {**waiting, "drained": False}
    by = claim.by if claim and claim.by.startswith(claims.HAND) else event["by"]  # half out: whoever began goes on
    reason = _why_not(config, event, member) or moves.leave(member, asked, by, lambda: True)
    if reason:
        return {"outcome": "refused", "reason": reason, "id": member["id"]}
    state = _draining(member, clock.now(), membership.health(seen), asked)
    return {"outcome": "changed", "reason": f"{member['id']} is out", **state}


def _fresh(claim: Claim) -> bool:
    """Tell whether a target left so recently that health may be shown as it was before."""
    return bool(clock.now() - claim.at < timedelta(seconds=guard.SETTLE_SECONDS))


def _draining(member: Member, since: datetime, seen: Health, asked: Mapping[str, Terms]) -> dict[str, Any]:
    """Return whether a target is drained, and when to ask again."""
    drain, tail = terms.drain_and_tail_seconds(asked)
    gone: Member = {**member, "out_at": since.isoformat()}
    state = Rotation(out=[gone], unused=[], drain_seconds=drain, tail_seconds=tail, drain_timeout_seconds=drain + 86400)
    following = steps.drained(state, seen, "", clock.now())
    done = following["next"] == "hook"
    seconds = 0 if done else following["wait_seconds"]
    return {"id": member["id"], "drained": done, "wait_seconds": seconds, "places": member["places"]}


def register(config: Config, event: Event) -> dict[str, Any]:
    """Put one target back as it was; called again, report whether it is healthy."""
    member, claim, seen, asked = _member(config, event)
    if reason := guard.nowhere(member, seen, asked):
        return {"outcome": "refused", "reason": reason, "id": member["id"]}
    missing = member["places"] if claim and _fresh(claim) else guard.absent(member, seen)
    if missing and (waiting := _wait_for_hold(config, event, member)):
        return {**waiting, "healthy": False}
    if missing and (reason := _why_not(config, event, member)):
        return {"outcome": "refused", "reason": reason, "id": member["id"]}
    if missing and (problem := moves.give_back(member, missing)):
        return _not_yet(member, claim, asked, problem)
    left: Member = {**member, "out_at": claim.at.isoformat()} if claim else member
    ailing = guard.ailing(member, membership.health(seen), asked) or guard.unsettled(left, clock.now())
    if claim and not ailing:
        moves.close([member])
    state = {"id": member["id"], "healthy": not ailing, "wait_seconds": steps.POLL_SECONDS if ailing else 0}
    return {"outcome": "changed" if missing else "unchanged", "reason": ailing or f"{member['id']} is healthy", **state}


def _not_yet(member: Member, claim: Claim | None, asked: Mapping[str, Terms], problem: str) -> dict[str, Any]:
    """Return when to try again what AWS did not take: it may want a target to be drained first.

    Refused is what is certain: the instance does not run, or the time for draining and some minutes are over.
    """
    target, now = member["id"], clock.now()
    state = ec2.instance_states([target]).get(target, "running") if target.startswith("i-") else "running"
    drain, _ = terms.drain_and_tail_seconds(asked)
    left = (claim.at + timedelta(seconds=drain) - now).total_seconds() if claim else -steps.GRACE_SECONDS
    if state != "running" or left <= -steps.GRACE_SECONDS:
        problem += f" ({target} is {state})" if state != "running" else ""
        return {"outcome": "refused", "reason": problem, "id": target, "healthy": False}
    seconds = max(steps.POLL_SECONDS, round(left))
    said = f"not yet, repeat after {seconds} s: {problem}"
    return {"outcome": "unchanged", "reason": said, "id": target, "healthy": False, "wait_seconds": seconds}


def _member(config: Config, event: Event) -> tuple[Member, Claim | None, Health, Mapping[str, Terms]]:
    """Return the target as it is registered, or as it was before it was taken out, and what says so."""
    target, groups = event.get("instance_id"), event.get("target_group_arns", list(config.rotation_target_group_arns))
    if not isinstance(target, str) or not target:
        raise InputError(f"instance_id is {target!r}, expected the id of a target, like i-0123456789abcdef0")
    if not isinstance(groups, list) or not groups or any(g not in config.rotation_target_group_arns for g in groups):
        raise InputError(f"target_group_arns is {groups!r}, expected groups of RotationTargetGroupArns")
    described = elb.target_groups(groups)
    seen, claim = membership.health(groups), membership.claims(groups).get(target)
    empty_zones = event.get("empty_zones") is True
    asked = terms.read(described, seen, config.rotation_min_healthy, ids=[target], empty_zones=empty_zones)
    placed = members(seen, described, guard.unplaced(seen, asked)).get(target)
    member = claims.whole(placed, claim, target) or members(seen, described).get(target)
    if member is None:
        raise InputError(f"{target} is registered in none of {', '.join(groups)}, and no tag says that it was")
    scaling_group, _ = scaling.places([target]).get(target, ("", "")) if target.startswith("i-") else ("", "")
    return {**member, "scaling_group": scaling_group}, claim, seen, asked


def _wait_for_hold(config: Config, event: Event, member: Member) -> dict[str, Any] | None:
    """Return when to ask again if the hold cannot be read now, which is no refusal."""
    reason = moves.held(config).en
    if not reason or event.get("force") or moves.held(config, unread=False).en:
        return None
    return {"outcome": "unchanged", "reason": reason, "id": member["id"], "wait_seconds": steps.HELD_POLL_SECONDS // 5}


def _why_not(config: Config, event: Event, member: Member) -> str:
    """Return why nothing may be changed by hand now, or ""."""
    if running := executions.older(config, "", [place["group"] for place in member["places"]]):
        return f"the execution {running} rotates the same groups"
    if config.dry_run:
        return "DryRun is true"
    if member["scaling_group"] and not config.rotation_allow_standby:
        return f"{member['id']} is in Auto Scaling group {member['scaling_group']}; RotationAllowStandby is false"
    return "" if event.get("force") else moves.held(config).en


def status(config: Config, event: Event) -> dict[str, Any]:  # noqa: ARG001 (every operation takes both)
    """Return what is registered where, what is out, and who is at work."""
    groups = config.rotation_target_group_arns
    found = membership.claims(groups)
    return {
        "operation": "status",
        "targets": {
            elb.group_name(group): {f"{t.id}:{t.port}": f"{t.state} {t.reason}".strip() for t in targets}
            for group, targets in membership.health(groups).items()
        },
        "out": {target: {"by": claim.by, "since": claim.at.isoformat()} for target, claim in found.items()},
        "running": executions.older(config, "", groups),
        "hold": moves.held(config).en,
    }
