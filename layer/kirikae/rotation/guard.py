"""Target health, judged: whether a target may leave, whether it is gone, and whether it is back."""

from collections.abc import Iterable

from kirikae.elb import group_name
from kirikae.rotation.world import Health, Member, Place


def idle(health: Health, unused: Iterable[str]) -> set[str]:
    """Return the groups that no load balancer uses: nothing is checked and nothing drains there."""
    return {*unused, *(group for group, ts in health.items() if any(t.reason == "Target.NotInUse" for t in ts))}


def state_of(member: Member, place: Place, health: Health) -> str:
    """Return the state of one registration; if it drains and is registered again, the new registration's counts."""
    found = {t.state for t in health[place["group"]] if t.id == member["id"] and t.port == place["port"]}
    return min(found, key=lambda state: state == "draining", default="")


def absent(member: Member, health: Health) -> list[Place]:
    """Return the places where a target is not registered, or is draining."""
    return [place for place in member["places"] if state_of(member, place, health) in ("", "draining")]


def ailing(member: Member, health: Health, unused: Iterable[str]) -> str:
    """Return where a target is not healthy and in what state, or ""; a group that no load balancer uses is skipped."""
    quiet = idle(health, unused)
    found = [
        f"{member['id']}:{place['port']} is {state_of(member, place, health) or 'not registered'} "
        f"in {group_name(place['group'])}"
        for place in member["places"]
        if place["group"] not in quiet and state_of(member, place, health) != "healthy"
    ]
    return ", ".join(found)


def shortfall(least: int, health: Health, member: Member, unused: Iterable[str], leaving: Iterable[str] = ()) -> str:
    """Return which group has too few healthy targets without this one and those leaving, or ""."""
    gone = {member["id"], *leaving}
    for group in sorted({place["group"] for place in member["places"]} - idle(health, unused)):
        left = [target for target in health[group] if target.healthy and target.id not in gone]
        if len(left) < least:
            return f"{group_name(group)} would have {len(left)} healthy targets without {member['id']}, needed {least}"
    return ""
