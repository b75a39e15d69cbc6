"""Groups where this stack can register nothing: deleted ones, and such as RotationTargetGroupArns names no longer.

What is out of them is named to people, and remembered until it is back there.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Literal

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import ec2
from kirikae.errors import InputError
from kirikae.log import logger
from kirikae.rotation import claims, guard, leftovers, membership, memory, missing, restoration, taken_by_hand, telling
from kirikae.rotation.claims import Claim
from kirikae.rotation.known import Known, Taken
from kirikae.rotation.world import Config, Health, Member

type Fate = Literal["out", "back", "deleted"]  # of a registration: deleted is its group


def look(away: Iterable[Taken]) -> Mapping[Fate, dict[str, Taken]]:
    """Read what has become of what was taken out of such groups; return it by target id, with the places of each fate.

    A group that cannot be read is none where a target is back.
    """
    those = list(away)
    found: dict[Fate, dict[str, Taken]] = {"out": {}, "back": {}, "deleted": {}}
    seen = _health({place["group"] for one in those for place in one.member["places"]})
    for one in those:
        target = one.member["id"]
        for place in one.member["places"]:
            alone: Member = {**one.member, "places": [place]}
            fate: Fate = "deleted" if place["group"] not in seen else "out" if guard.absent(alone, seen) else "back"
            so_far = found[fate][target].member["places"] if target in found[fate] else []
            found[fate][target] = replace(one, member={**one.member, "places": [*so_far, place]})
    return found


def _health(groups: Iterable[str]) -> Health:
    found: Health = {}
    for group in groups:
        try:
            found = {**found, **membership.there([group])}
        except (ClientError, BotoCoreError) as error:  # whatever it is: it keeps nobody out of the stack's own groups
            logger.warning("a group cannot be read", group=group, problem=str(error))
            found = {**found, group: ()}
    return found


def problems(config: Config, away: Iterable[Taken]) -> dict[str, list[str]]:
    """Return in words, by target id, where a target is out of such groups, with the commands that bring it back."""
    found = look(away)
    said: dict[str, list[str]] = {}
    for target, taken in found["deleted"].items():
        said[target] = [f"{group} was deleted" for group in leftovers.names(taken)]
    for target, taken in found["out"].items():
        groups = ", ".join(leftovers.names(taken))
        commands = missing.registrations(config, taken.member, tagged=True)
        said.setdefault(target, []).append(f"not registered in {groups}, which RotationTargetGroupArns no longer names")
        said[target] += commands
    return said


def settle(config: Config, found: Known) -> None:
    """Tell once what ended executions have left there and remember it; forget what is over."""
    left = look(one for one in found.elsewhere if one.ended)
    if away := left["deleted"] | left["out"]:
        letter = leftovers.elsewhere(config, left["out"], left["deleted"])
        telling.once(config, "elsewhere", restoration.listed(away), letter)
    for target, taken in left["out"].items():
        try:
            memory.taken(config, target, Claim(taken.at, taken.by, tuple(taken.member["places"])))
        except InputError as error:  # there is no room: the mail has named it
            logger.warning("what is out elsewhere cannot be remembered", target=target, problem=str(error))
    for taken in _over(found):
        memory.returned(config, taken.member)


def _over(found: Known) -> Iterator[Taken]:
    """Yield what is remembered of such groups and need not be any more, once its instance does not stand by for it."""
    noted = look(one for one in found.elsewhere if one.execution is None)
    states = ec2.instance_states(filter(ec2.is_id, noted["out"]))
    over = [*noted["back"].values(), *noted["deleted"].values()]
    over += [noted["out"][target] for target, state in states.items() if state in ("terminated", ec2.MISSING)]
    for taken in over:
        target, by_hand = taken.member["id"], claims.HAND in taken.by
        waits = by_hand and target not in found.taken and target not in noted["out"]
        if not waits or taken_by_hand.into_service({target: taken}):
            yield taken
