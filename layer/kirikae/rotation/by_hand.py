"""The same moves by hand, one target at a time, for a person or a deployment pipeline."""

from collections.abc import Mapping
from typing import Any

from kirikae import elb, reconcile
from kirikae.env import InputError
from kirikae.rotation import claims, executions, guard, membership, moves, plan, scaling, steps, world
from kirikae.rotation.claims import Claim
from kirikae.rotation.moves import Event
from kirikae.rotation.world import Config, Health, Member, Rotation


def deregister(config: Config, event: Event) -> dict[str, Any]:
    """Take one target out if its groups can spare it; called again, say whether it is drained."""
    member, claim, seen, unused = _member(config, event)
    if claim and guard.absent(member, seen):
        return _report(
            "unchanged", f"{member['id']} is out since {claim.at.isoformat()}", _draining(member, claim, seen)
        )
    reason = _why_not(config, event, member)
    short = reason or moves.leave(config, member, unused, event["by"], lambda: True)
    if short:
        return _report("refused", short, {"id": member["id"]})
    made = Claim(reconcile.now(), event["by"], tuple(member["places"]))
    return _report("changed", f"{member['id']} is out", _draining(member, made, membership.health(seen)))


def _draining(member: Member, claim: Claim, seen: Health) -> dict[str, Any]:
    """Say whether it is drained, or when to ask again."""
    drain, tail = plan.delays(elb.target_groups(seen))
    state = Rotation(
        out=[{**member, "out_at": claim.at.isoformat()}],
        unused=[],
        drain_seconds=drain,
        tail_seconds=tail,
        drain_timeout_seconds=drain + 86400,
    )
    following = steps.drained(state, seen, 0, reconcile.now())
    done = following["next"] == "hook"
    seconds = 0 if done else following["wait_seconds"]
    return {"id": member["id"], "drained": done, "wait_seconds": seconds, "places": member["places"]}


def register(config: Config, event: Event) -> dict[str, Any]:
    """Put one target back as it was; called again, say whether it is healthy."""
    member, claim, seen, unused = _member(config, event)
    missing = guard.absent(member, seen)
    if missing and (reason := _why_not(config, event, member)):
        return _report("refused", reason, {"id": member["id"]})
    if problem := moves.give_back(member, seen) if missing else "":
        return _report("refused", problem, {"id": member["id"], "healthy": False})
    waiting = guard.ailing(member, membership.health(seen), unused)
    if claim and not waiting:
        moves.close([member])
    state = {"id": member["id"], "healthy": not waiting, "wait_seconds": steps.POLL_SECONDS if waiting else 0}
    return _report("changed" if missing else "unchanged", waiting or f"{member['id']} is healthy", state)


def _member(config: Config, event: Event) -> tuple[Member, Claim | None, Health, list[str]]:
    """Return the target as it is registered, or as it was when it was taken out."""
    target, groups = event.get("instance_id"), event.get("target_group_arns", list(config.rotation_target_group_arns))
    if not isinstance(target, str) or not target:
        raise InputError(f"instance_id is {target!r}, expected the id of a target, like i-0123456789abcdef0")
    if not isinstance(groups, list) or not groups or any(g not in config.rotation_target_group_arns for g in groups):
        raise InputError(f"target_group_arns is {groups!r}, expected groups of RotationTargetGroupArns")
    described = elb.target_groups(groups)
    seen, claim = membership.health(groups), membership.claims(groups).get(target)
    found = world.members(seen, {group.arn: group.target_type for group in described})
    member = claims.whole(found.get(target), claim, target)
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
    return "" if event.get("force") else moves.held(config).en


def status(config: Config, event: Event) -> dict[str, Any]:  # noqa: ARG001 (every operation takes both)
    """Say what is registered where, what is out, and who is at work."""
    groups = config.rotation_target_group_arns
    found = membership.claims(groups)
    return {
        "operation": "status",
        "targets": {
            world.group_name(group): {f"{t.id}:{t.port}": f"{t.state} {t.reason}".strip() for t in targets}
            for group, targets in membership.health(groups).items()
        },
        "out": {target: {"by": claim.by, "since": claim.at.isoformat()} for target, claim in found.items()},
        "running": executions.older(config.state_machine_arn, "", groups, groups),
        "hold": moves.held(config).en,
    }


def _report(outcome: str, reason: str, state: Mapping[str, Any]) -> dict[str, Any]:
    return {"outcome": outcome, "reason": reason, **state}
