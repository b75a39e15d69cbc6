"""The same moves by hand, one target at a time, for a person or a deployment pipeline."""

from datetime import datetime
from typing import Any

from kirikae import clock, elb
from kirikae.errors import InputError
from kirikae.rotation import claims, executions, guard, membership, moves, scaling, steps
from kirikae.rotation.claims import Claim
from kirikae.rotation.world import Config, Event, Health, Member, Rotation, members, unused


def deregister(config: Config, event: Event) -> dict[str, Any]:
    """Take one target out if its groups can spare it; called again, report whether it is drained."""
    member, claim, seen, groups = _member(config, event)
    if claim and guard.absent(member, seen):
        reason = f"{member['id']} is out since {claim.at.isoformat()}"
        return {"outcome": "unchanged", "reason": reason, **_draining(member, claim.at, seen, groups)}
    reason = _why_not(config, event, member) or moves.leave(config, member, unused(groups), event["by"], lambda: True)
    if reason:
        return {"outcome": "refused", "reason": reason, "id": member["id"]}
    state = _draining(member, clock.now(), membership.health(seen), groups)
    return {"outcome": "changed", "reason": f"{member['id']} is out", **state}


def _draining(member: Member, since: datetime, seen: Health, groups: tuple[elb.TargetGroup, ...]) -> dict[str, Any]:
    """Return whether a target is drained, and when to ask again."""
    drain, tail = membership.drain_and_tail_seconds(groups)
    gone: Member = {**member, "out_at": since.isoformat()}
    state = Rotation(out=[gone], unused=[], drain_seconds=drain, tail_seconds=tail, drain_timeout_seconds=drain + 86400)
    following = steps.drained(state, seen, 0, clock.now())
    done = following["next"] == "hook"
    seconds = 0 if done else following["wait_seconds"]
    return {"id": member["id"], "drained": done, "wait_seconds": seconds, "places": member["places"]}


def register(config: Config, event: Event) -> dict[str, Any]:
    """Put one target back as it was; called again, report whether it is healthy."""
    member, claim, seen, groups = _member(config, event)
    missing = guard.absent(member, seen)
    if missing and (reason := _why_not(config, event, member)):
        return {"outcome": "refused", "reason": reason, "id": member["id"]}
    if missing and (problem := moves.give_back(member, seen)):
        return {"outcome": "refused", "reason": problem, "id": member["id"], "healthy": False}
    ailing = guard.ailing(member, membership.health(seen), unused(groups))
    if claim and not ailing:
        moves.close([member])
    state = {"id": member["id"], "healthy": not ailing, "wait_seconds": steps.POLL_SECONDS if ailing else 0}
    return {"outcome": "changed" if missing else "unchanged", "reason": ailing or f"{member['id']} is healthy", **state}


def _member(config: Config, event: Event) -> tuple[Member, Claim | None, Health, tuple[elb.TargetGroup, ...]]:
    """Return the target as it is registered, or as it was before it was taken out, and what says so."""
    target, groups = event.get("instance_id"), event.get("target_group_arns", list(config.rotation_target_group_arns))
    if not isinstance(target, str) or not target:
        raise InputError(f"instance_id is {target!r}, expected the id of a target, like i-0123456789abcdef0")
    if not isinstance(groups, list) or not groups or any(g not in config.rotation_target_group_arns for g in groups):
        raise InputError(f"target_group_arns is {groups!r}, expected groups of RotationTargetGroupArns")
    described = elb.target_groups(groups)
    seen, claim = membership.health(groups), membership.claims(groups).get(target)
    member = claims.whole(members(seen, described).get(target), claim, target)
    if member is None:
        raise InputError(f"{target} is registered in none of {', '.join(groups)}, and no tag says that it was")
    scaling_group, _ = scaling.places([target]).get(target, ("", "")) if target.startswith("i-") else ("", "")
    return {**member, "scaling_group": scaling_group}, claim, seen, described


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
