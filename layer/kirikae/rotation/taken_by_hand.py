"""What was taken out by hand and need not be remembered any more: it serves again, or never will."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from kirikae import ec2
from kirikae.log import logger
from kirikae.rotation import claims, guard, membership, memory, moves, scaling
from kirikae.rotation.known import Known, Taken
from kirikae.rotation.world import Config, Health, Place, by_group


def over(found: Known, seen: Health, now: datetime) -> tuple[dict[str, Taken], dict[str, Taken]]:
    """Return what was taken out by hand and need not be remembered: what is back in service, and what is terminated."""
    young = timedelta(seconds=claims.CLAIM_SECONDS)  # until then health may be that of before, or the task under way
    taken = {target: one for target, one in found.taken.items() if not one.execution and now - one.at >= young}
    back = {target: one for target, one in taken.items() if _serves(one, seen)}
    away = [t for t, one in taken.items() if t.startswith("i-") and guard.absent(one.member, seen)]
    states = ec2.instance_states(away)
    return back, {target: taken[target] for target in away if states[target] in ("terminated", ec2.MISSING)}


def into_service(back: Mapping[str, Taken]) -> dict[str, Taken]:
    """Bring out of Standby what serves again; return what does not stand by: the rest is looked at once more later.

    Its operation died before the target left, or somebody else has registered it again.
    """
    standing = scaling.standing_by(filter(ec2.is_id, back))
    for target, group in standing.items():
        if problem := moves.give_back({**back[target].member, "scaling_group": group}, []):
            logger.warning("what serves stands by", target=target, problem=problem)
    return {target: taken for target, taken in back.items() if target not in standing}


def _serves(taken: Taken, seen: Health) -> bool:
    """Tell whether a target is registered as it was, or on other ports, and healthy wherever anything is checked."""
    states = {
        state
        for places in by_group(taken.member["places"]).values()
        for state in _elsewhere(taken, places, seen).values()
        or [guard.state_of(taken.member, place, seen) for place in places]
    }
    return states <= {"healthy", "unused"}


def _elsewhere(taken: Taken, places: Sequence[Place], seen: Health) -> dict[int, str]:
    """Return the other ports on which somebody has registered a target in the group of these places, with its states.

    Empty while it is registered in one of them: then the others are waited for.
    """
    if len(guard.absent({**taken.member, "places": list(places)}, seen)) < len(places):
        return {}
    return {t.port: t.state for t in seen[places[0]["group"]] if t.id == taken.member["id"] and t.state != "draining"}


def moved(back: Mapping[str, Taken], seen: Health) -> dict[str, Taken]:
    """Return those of what is back that are on other ports than they were, with the places where they are now."""
    found = {}
    for target, taken in back.items():
        now = [
            Place(group=group, port=port, zone="", quic_server_id="")
            for group, places in by_group(taken.member["places"]).items()
            for port in _elsewhere(taken, places, seen)
        ]
        if now:
            found[target] = replace(taken, member={**taken.member, "places": now})
    return found


def forget(config: Config, over: Mapping[str, Taken]) -> None:
    """Close what operations by hand took out."""
    for taken in over.values():
        membership.unclaim(taken.member)
        memory.returned(config, taken.member)
