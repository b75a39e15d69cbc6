"""Targets that ended executions left out come back; and what is out without a tag that says so gets it again."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import ec2, elb
from kirikae.clock import iso
from kirikae.log import logger
from kirikae.rotation import claims, guard, known, membership, memory, moves, scaling
from kirikae.rotation.known import Known, Taken
from kirikae.rotation.stored import Memory
from kirikae.rotation.world import Config, Health, Place, by_group


def left_out(found: Known) -> dict[str, Taken]:
    """Return what ended executions have not put back, with the Auto Scaling group that it is in now."""
    left = {target: taken for target, taken in found.taken.items() if taken.ended}
    for one in found.hidden:
        left[one.member["id"]] = _both(one, left.get(one.member["id"]))
    for one in found.elsewhere:  # nothing can be registered there, but nothing is out for it any more either
        if one.ended:
            left.setdefault(one.member["id"], replace(one, member={**one.member, "places": []}))
    places = scaling.places(filter(ec2.is_id, left))
    at_work = {target for target, taken in found.taken.items() if target in left and not taken.ended}
    scaled = {target: "" if target in at_work else group for target, (group, _) in places.items()}  # let it stand by
    return {
        target: replace(taken, member={**taken.member, "scaling_group": scaled.get(target, "")})
        for target, taken in left.items()
    }


def _both(one: Taken, other: Taken | None) -> Taken:
    """Return what two ended executions have left out of different places as one."""
    if other is None:
        return one
    last = max(one, other, key=lambda taken: taken.at)
    return replace(
        last,
        member={**last.member, "places": [*one.member["places"], *other.member["places"]]},
        left=one.left and other.left,
    )


def give_back(config: Config, left: Mapping[str, Taken], found: Known, seen: Health) -> dict[str, str]:
    """Register it as it was, whatever health still shows; return by target id why that is not possible now, or "".

    A tag that was removed is written again before: should this run die, the next one knows by it what is to be told.
    """
    if config.dry_run:
        return dict.fromkeys(left, "DryRun is true")
    for taken in left.values():
        if guard.absent(taken.member, seen) and not found.told(taken.member):
            _claim(taken, taken.member["places"])
    return {target: moves.give_back(taken.member) for target, taken in left.items()}


def _claim(taken: Taken, places: list[Place]) -> bool:
    """Tag the groups of these places with who has the target out; return whether that was possible."""
    try:
        membership.claim({**taken.member, "places": places}, taken.by, taken.at)
    except (ClientError, BotoCoreError) as error:  # whatever it is: a tag that cannot be written keeps nobody out
        logger.warning("what is out cannot be tagged", target=taken.member["id"], problem=str(error))
        return False
    return True


def closed(left: Mapping[str, Taken], problems: Mapping[str, str], seen: Health, now: datetime) -> dict[str, Taken]:
    """Return those that are back for good: a task that was under way at the end may still take its target out."""
    return {
        target: taken
        for target, taken in left.items()
        if not problems[target]
        and (taken.left or guard.absent(taken.member, seen) or known.settled(taken.execution, now))
    }


def worth_telling(found: Known, closed: Mapping[str, Taken], seen: Health) -> dict[str, Taken]:
    """Return those whose return nobody was told of: they were missing, or a tag still says that they are out."""
    return {
        target: taken
        for target, taken in closed.items()
        if guard.absent(taken.member, seen) or (taken.left and found.told(taken.member))
    }


def listed(taken: Mapping[str, Taken]) -> str:
    """Return the targets with the times at which they were taken out, so that no two incidents are the same."""
    return ", ".join(f"{target} ({iso(one.at)})" for target, one in sorted(taken.items()))


def close(config: Config, closed: Mapping[str, Taken], gone: Mapping[str, Taken], now: datetime) -> None:
    """Remove all traces of what is back, or gone for good; what left just now may still be shown as before that."""
    for taken in closed.values():
        if now - taken.at < timedelta(seconds=guard.SETTLE_SECONDS):
            membership.mark_back(taken.member, taken.at)
    moves.close(config, [taken.member for taken in (*closed.values(), *gone.values())], away=gone)


def gone(left: Mapping[str, Taken], problems: Mapping[str, str], now: datetime) -> dict[str, Taken]:
    """Return those that never come back, because their instances are terminated.

    Not before their execution can be forgotten with them: by then they are told of once, whatever became of their tags.
    """
    stuck = [t for t, said in problems.items() if said and t.startswith("i-") and known.settled(left[t].execution, now)]
    states = ec2.instance_states(stuck)
    return {target: left[target] for target in stuck if states.get(target, "terminated") == "terminated"}


def over_by_hand(found: Known, seen: Health, now: datetime) -> tuple[dict[str, Taken], dict[str, Taken]]:
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


def unmark(found: Known, now: datetime) -> None:
    """Remove the tags about what came back so long ago that health shows it."""
    for group, key in claims.old_marks(found.tags, now):
        elb.untag(group, key)


def raise_min_sizes(config: Config, found: Known, remembered: Memory) -> None:
    """Restore every MinSize that is owed to a group of which nobody has an instance out, or on its way there."""
    if remembered.min_sizes:
        at_work = [target for target, taken in found.taken.items() if not taken.ended and ec2.is_id(target)]
        busy = {group for group, _ in scaling.places(at_work).values()}
        for group in sorted(remembered.min_sizes.keys() - busy):
            scaling.restore_min_size(config, group)


def tag_again(found: Known, but: Collection[str], seen: Health) -> dict[str, Taken]:
    """Write the tags that are missing on groups that targets have left, but for some; return these targets."""
    again = {}
    for target, taken in found.taken.items():
        places = [place for place in guard.absent(taken.member, seen) if not found.tagged(place["group"], target)]
        if taken.left and places and target not in but and _claim(taken, places):
            again[target] = taken
    return again
