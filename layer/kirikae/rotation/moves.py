"""One target out of its groups and back, guarded; and what keeps a rotation from beginning."""

from collections.abc import Callable, Mapping
from typing import Any

from kirikae import elb, hold, reconcile
from kirikae.notify import Words
from kirikae.reconcile import UnfinishedError
from kirikae.rotation import claims, guard, membership, scaling
from kirikae.rotation.world import Config, Health, Member

type Event = Mapping[str, Any]


def leave(config: Config, member: Member, unused: list[str], by: str, wanted: Callable[[], bool]) -> str:
    """Look, say so, look for others who said so, deregister, and look again; say why the target is not out."""
    least, groups = config.rotation_min_healthy, sorted({place["group"] for place in member["places"]})
    now = reconcile.now()
    seen = membership.health(groups)
    if short := guard.shortfall(least, seen, member, unused):
        return short
    other = membership.claims(groups).get(member["id"])
    if other and other.by != claims.owner(by) and guard.absent(member, seen):
        return f"{member['id']} is out already, by {other.by}"
    membership.claim(member, by, now)
    others = claims.leaving(membership.claims(groups), by, now)
    if short := guard.shortfall(least, seen, member, unused, others):
        membership.unclaim(member)
        return f"{short} ({', '.join(others)} is being taken out at this moment)"
    if member["scaling_group"]:
        scaling.stand_by(member["id"], member["scaling_group"])
    membership.take_out(member)
    short = guard.shortfall(least, membership.health(groups), member, unused)
    if not short and wanted():
        return ""
    if problem := give_back(member, membership.health(groups)):
        raise UnfinishedError(problem)
    close([member])
    return f"put back at once: {short}" if short else "put back at once: the execution was aborted"


def give_back(member: Member, seen: Health) -> str:
    """Put one target back as it was; say why that is not possible."""
    if member["scaling_group"]:
        scaling.in_service(member["id"], member["scaling_group"])
    return membership.put_back(member, seen)


def close(members: list[Member]) -> None:
    """Forget that these were out."""
    for group in sorted({member["scaling_group"] for member in members} - {""}):
        scaling.restore_min_size(group)
    for member in members:
        membership.unclaim(member)


def held(config: Config) -> Words:
    """Say why nothing may begin: unlike a failover, maintenance waits for a hold that cannot be read."""
    wish = hold.read(config.hold_parameter, reconcile.now())
    if wish is None:
        return Words(f"{config.hold_parameter} cannot be read", f"{config.hold_parameter} を読み取れません")
    if wish.problem:
        return Words(f"{config.hold_parameter}: {wish.problem}")
    return Words(wish.reason) if wish.on else Words("")


def sorry(config: Config) -> bool:
    """Tell whether an NLB listener of this stack serves the sorry page."""
    group = config.sorry_target_group_arn
    return bool(group) and any(li.weights.get(group) for li in elb.listeners(config.nlb_listener_arns))
