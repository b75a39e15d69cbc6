"""Target health, judged: whether a target may leave, whether it is gone, and whether it is back."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from kirikae.clock import moment
from kirikae.elb import Target, group_name
from kirikae.rotation.world import Health, Member, Place, Terms

SETTLE_SECONDS = 60  # after a deregistration health may be shown as it was before; AWS promises no time
_NOT_IN_USE = "Target.NotInUse"  # no load balancer uses the group, or not in the zone of the target


def _registered(group: str, health: Health) -> list[Target]:
    return [target for target in health[group] if target.state != "draining"]


def idle(health: Health, terms: Mapping[str, Terms]) -> list[str]:
    """Return the groups that no load balancer uses: nothing is checked and nothing drains there.

    A single target that says so is in a zone that is not enabled; only all of them speak for the group.
    """
    return [
        group
        for group, asked in terms.items()
        if not asked.used
        or (_registered(group, health) and all(t.reason == _NOT_IN_USE for t in _registered(group, health)))
    ]


def unplaced(health: Health, terms: Mapping[str, Terms]) -> set[tuple[str, str]]:
    """Return the targets, as (group, id), of groups in use that get no traffic because of their zone."""
    quiet = idle(health, terms)
    return {
        (group, target.id)
        for group in terms
        if group not in quiet
        for target in health[group]
        if target.reason == _NOT_IN_USE
    }


def _quiet(member: Member, group: str, health: Health, terms: Mapping[str, Terms]) -> bool:
    """Tell whether nothing is checked and nothing drains where this target is, or was.

    Where it has left, those that remain cannot speak for it, unless the group was idle from the beginning.
    """
    asked = terms[group]
    speaks = asked.idle or any(target.id == member["id"] for target in _registered(group, health))
    return not asked.used or (speaks and all(t.reason == _NOT_IN_USE for t in _registered(group, health)))


def nowhere(member: Member, health: Health, terms: Mapping[str, Terms]) -> str:
    """Return why a target gets no traffic anywhere, or "": its zone is not enabled."""
    groups = {place["group"] for place in member["places"]}
    if {(group, member["id"]) for group in groups} <= unplaced(health, terms):
        names = ", ".join(sorted(map(group_name, groups)))
        return f"{member['id']} is unused in {names}: its Availability Zone is not enabled for the load balancer"
    return ""


def state_of(member: Member, place: Place, health: Health) -> str:
    """Return the state of one registration; if it drains and is registered again, the new registration's counts."""
    found = {t.state for t in health[place["group"]] if t.id == member["id"] and t.port == place["port"]}
    return min(found, key=lambda state: state == "draining", default="")


def present(member: Member, health: Health) -> list[str]:
    """Return where a target is registered or drains, on whatever port; a zone that is not enabled gets no traffic."""
    places = {(place["group"], place["port"]) for place in member["places"]}
    return [
        f"{target.id}:{target.port} is {target.state} in {group_name(group)}"
        for group in sorted({group for group, _ in places})
        for target in health[group]
        if target.id == member["id"] and (target.reason != _NOT_IN_USE or (group, target.port) in places)
    ]


def absent(member: Member, health: Health) -> list[Place]:
    """Return the places where a target is not registered, or is draining."""
    return [place for place in member["places"] if state_of(member, place, health) in ("", "draining")]


def added(member: Member, health: Health) -> list[str]:
    """Return where somebody else has registered a target besides its places, in their groups."""
    places = {(place["group"], place["port"]) for place in member["places"]}
    return [
        f"{target.id}:{target.port} is {target.state} in {group_name(group)}"
        for group in sorted({group for group, _ in places})
        for target in _registered(group, health)
        if target.id == member["id"] and (group, target.port) not in places
    ]


def ailing(member: Member, health: Health, terms: Mapping[str, Terms]) -> str:
    """Return where a target is not healthy and in what state, or ""; a group that no load balancer uses is skipped."""
    found = [
        f"{member['id']}:{place['port']} is {state_of(member, place, health) or 'not registered'} "
        f"in {group_name(place['group'])}"
        for place in sick(member, health, terms)
    ]
    return ", ".join(found)


def sick(member: Member, health: Health, terms: Mapping[str, Terms]) -> list[Place]:
    """Return the places where a target is not healthy; a group that no load balancer uses is skipped."""
    return [
        place
        for place in member["places"]
        if not _quiet(member, place["group"], health, terms) and state_of(member, place, health) != "healthy"
    ]


def unsettled(member: Member, now: datetime) -> str:
    """Return why health cannot be believed yet of a target that has left just now, or ""."""
    out_at = member.get("out_at")
    if out_at and now < moment(out_at) + timedelta(seconds=SETTLE_SECONDS):
        return f"{member['id']} left less than {SETTLE_SECONDS} s ago, and its health may be that of before"
    return ""


def healthy(health: Health, group: str) -> list[str]:
    """Return the targets of a group that are healthy wherever they are registered there: one each, on any ports."""
    sick = {target.id for target in _registered(group, health) if not target.healthy}
    return [target for target in dict.fromkeys(t.id for t in health[group] if t.healthy) if target not in sick]


def shortfall(member: Member, health: Health, terms: Mapping[str, Terms], gone: Iterable[str] = ()) -> str:
    """Return which group, or which zone of it, has too few healthy targets without this one and those gone, or "".

    gone: targets that have left or are about to, whatever health still shows of them.
    """
    out = {member["id"], *gone}
    for group in sorted({place["group"] for place in member["places"]}):
        if _quiet(member, group, health, terms):
            continue
        asked, all_of_it = terms[group], {target.id for target in _registered(group, health)} | {member["id"]}
        left = [target for target in healthy(health, group) if target not in out]
        needed = max(asked.least, _share(asked, len(all_of_it)))
        without = f"without {member['id']}, needed"
        if len(left) < needed:
            return f"{group_name(group)} would have {len(left)} healthy targets {without} {needed}"
        if zone := asked.zones.get(member["id"]):
            in_zone = [target for target in left if asked.zones.get(target) == zone]
            share = _share(asked, sum(asked.zones.get(target) == zone for target in all_of_it))
            if len(in_zone) < (needed := max(asked.zone_least, share)):
                short = f"{group_name(group)} would have {len(in_zone)} healthy targets in {zone} {without} {needed}"
                return f"{short} (cross-zone load balancing is off, so each zone counts; empty_zones: true passes this)"
    return ""


def _share(asked: Terms, targets: int) -> int:
    """Return how many of so many targets the percentage asks for; who leaves counts, because it will come back."""
    return -(-asked.percentage * targets // 100)
