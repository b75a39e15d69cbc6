"""One target out of its groups and back, guarded; and what keeps a rotation from beginning."""

from collections.abc import Callable

from kirikae import clock, ec2, hold, listeners
from kirikae.errors import UnfinishedError
from kirikae.notify import Words
from kirikae.rotation import claims, guard, membership, scaling
from kirikae.rotation.world import Config, Health, Member, by_group


def leave(config: Config, member: Member, unused: list[str], by: str, wanted: Callable[[], bool]) -> str:
    """Take one target out safely: check, claim, check for other claims, deregister, check again.

    Return why it stayed, or "".  `wanted` is asked last: False if the execution was aborted meanwhile.
    """
    least, groups = config.rotation_min_healthy, list(by_group(member["places"]))
    now, seen = clock.now(), membership.health(groups)
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
    """Put one target back as it was; return why that is not possible, or ""."""
    if member["scaling_group"]:
        scaling.in_service(member["id"], member["scaling_group"])
    return membership.put_back(member, seen)


def give_back_running(members: list[Member], seen: Health) -> dict[str, str]:
    """Put back every target whose instance runs; return by id why it is not possible, or ""."""
    states = ec2.instance_states(member["id"] for member in members if member["id"].startswith("i-"))
    return {
        member["id"]: f"{member['id']} is {states[member['id']]}"
        if states.get(member["id"], "running") != "running"
        else give_back(member, seen)
        for member in members
    }


def close(members: list[Member]) -> None:
    """Remove all traces of a rotation: the MinSize that Standby cost, and the claims."""
    for group in sorted({member["scaling_group"] for member in members} - {""}):
        scaling.restore_min_size(group)
    for member in members:
        membership.unclaim(member)


def held(config: Config) -> Words:
    """Return why nothing may begin, or "": unlike a failover, a rotation waits for a hold that cannot be read."""
    wish = hold.read(config.hold_parameter, clock.now())
    if wish is None:
        return Words(f"{config.hold_parameter} cannot be read", f"{config.hold_parameter} を読み取れません")
    if wish.problem:
        return Words(f"{config.hold_parameter}: {wish.problem}")
    return Words(wish.reason) if wish.on else Words("")


def sorry(config: Config) -> bool:
    """Tell whether an NLB listener of this stack serves the sorry page."""
    groups = config.sorry_target_group_arns or tuple(filter(None, [config.sorry_target_group_arn]))
    found = listeners.read(config.nlb_listener_arns) if groups else ()
    return any(listener.weights.get(group) for listener in found for group in groups)
