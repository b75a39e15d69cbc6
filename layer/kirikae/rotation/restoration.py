"""Targets that ended executions left out come back; and what is out without a tag that says so gets it again."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import ec2, elb, notify
from kirikae.clock import iso
from kirikae.log import logger
from kirikae.notify import Words
from kirikae.rotation import claims, commands, guard, known, membership, moves, scaling
from kirikae.rotation.known import Known, Taken
from kirikae.rotation.stored import Memory
from kirikae.rotation.world import Config, Health, Place


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


def withdraw(config: Config, left: Mapping[str, Taken]) -> Words:
    """Cancel what the hooks of ended executions may still run where targets come back; return that in words, or ""."""
    said = list[Words]()
    of_ended = [taken.execution.name for taken in left.values() if taken.execution]
    for name in sorted(set(of_ended)) if not config.dry_run else ():
        those = [taken for taken in left.values() if taken.execution and taken.execution.name == name]
        since = {taken.member["id"]: taken.at for taken in those}
        said.append(commands.withdraw(those[0].document, name, since))
    return notify.lines(words for words in said if words.en)


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
