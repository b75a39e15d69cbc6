"""Claims: tags on the groups that say, before a target is touched, who takes it out and how it was registered.

Whoever may tag a group can write one: they make two runs at the same moment see each other, and tell people who is at
work.  What is put back, and how, is known from elsewhere.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from kirikae.clock import iso, moment
from kirikae.elb import group_name
from kirikae.rotation.guard import absent
from kirikae.rotation.world import Config, Health, Member, Place, Rotation

CLAIM_SECONDS = 120  # a deregistration follows its claim within seconds; an older claim says no more than health does
TAG = "kirikae:out:"  # + the target's id, on each group it was taken out of; the value is a Claim
BACK = "kirikae:back:"  # + the id of a target that came back before health could show that it had left, and when it had
HAND = "hand-"  # begins the name of an owner that is no execution
_MOST_CHARACTERS = 256  # of a tag's value


@dataclass(frozen=True)
class Claim:
    """Who takes a target out, since when, and how it was registered."""

    at: datetime
    by: str
    places: tuple[Place, ...]


type Found = Mapping[str, tuple[Claim, ...]]  # the claims on each target, by its id: whoever may tag can write one, too


def claim_text(places: Iterable[Place], by: str, at: datetime) -> str:
    """Return the value of the tag on a group with these places; tags take letters, digits, spaces and _.:/=+-@."""
    text = " ".join((iso(at), owner(by)))
    for place in places:
        port = "/".join((str(place["port"]), place["zone"], place["quic_server_id"])).rstrip("/")
        if len(text) + 1 + len(port) > _MOST_CHARACTERS:  # never half a port
            break
        text = f"{text} {port}"
    return text


def owner(by: str) -> str:
    """Return the name without characters that a tag cannot hold."""
    return re.sub(r"[^\w.:/=+@-]", "_", by) or "_"


def mark(config: Config, by: str) -> str:
    """Return how an execution, or an operation by hand, signs its claims: the state machine's name tells the stack."""
    return owner(f"{config.state_machine_arn.rpartition(':')[2]}:{by}")


def signed(config: Config, claim: Claim) -> str:
    """Return the name that signed a claim of this stack; "" for a claim of another one."""
    machine, colon, by = claim.by.rpartition(":")
    return by if not colon or machine == config.state_machine_arn.rpartition(":")[2] else ""


def each(tags: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, Claim]]:
    """Yield target id and claim for every tag on a group (group ARN -> its tags) that is one."""
    for group, key, value in _tagged(tags):
        if claim := _claim(group, value):
            yield key.removeprefix(TAG), claim


def from_tags(tags: Mapping[str, Mapping[str, str]]) -> Found:
    """Return the claims among the tags of groups, by target id: one of each owner, with the places of all groups.

    One that has just come back has no owner and no place, but the age of one that is leaving: it counts as gone.
    """
    found = dict[str, dict[str, Claim]]()
    for key, at in (mark for of_group in tags.values() for mark in _marks(of_group)):
        found.setdefault(key.removeprefix(BACK), {})[""] = Claim(at, "", ())
    for target, claim in each(tags):
        of_target = found.setdefault(target, {})
        so_far = of_target[claim.by].places if claim.by in of_target else ()
        of_target[claim.by] = replace(claim, places=so_far + claim.places)
    return {target: tuple(of_target.values()) for target, of_target in found.items()}


def old_marks(tags: Mapping[str, Mapping[str, str]], now: datetime) -> Iterator[tuple[str, str]]:
    """Yield group and key of every tag about a target that has come back so long ago that health shows it."""
    young = timedelta(seconds=CLAIM_SECONDS)
    for group, of_group in tags.items():
        yield from ((group, key) for key, at in _marks(of_group) if abs(now - at) >= young)


def _marks(tags: Mapping[str, str]) -> Iterator[tuple[str, datetime]]:
    """Yield the key of every tag about a target that has come back, and when it had left; long ago, if unreadable."""
    for key, value in tags.items():
        if key.startswith(BACK):
            try:
                yield key, moment(value).astimezone(UTC)
            except (ValueError, OverflowError):
                yield key, datetime.min.replace(tzinfo=UTC)


def unreadable(tags: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the tags that should be claims and are none, by their key, with what is wrong."""
    return {
        key: f"the tag {key} on {group_name(group)} is {value!r}, which is no claim"
        for group, key, value in _tagged(tags)
        if not _claim(group, value)
    }


def _tagged(tags: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Yield group, key and value of every tag that should be a claim."""
    for group, of_group in tags.items():
        yield from ((group, key, value) for key, value in of_group.items() if key.startswith(TAG))


def _claim(group: str, value: str) -> Claim | None:
    try:
        at, by, *ports = value.split()
        return Claim(moment(at).astimezone(UTC), by, tuple(_place(group, port) for port in ports))
    except (ValueError, OverflowError):  # the year 1, east of Greenwich
        return None


def _place(group: str, text: str) -> Place:
    port, zone, quic_server_id, *_ = [*text.split("/"), "", ""]
    return Place(group=group, port=int(port), zone=zone, quic_server_id=quic_server_id)


def leaving(found: Found, by: str, now: datetime) -> list[str]:
    """Return the targets that others are about to take out."""
    young = timedelta(seconds=CLAIM_SECONDS)
    return [
        target
        for target, claims in found.items()
        if any(claim.by != owner(by) and abs(now - claim.at) < young for claim in claims)
    ]


def mine(found: Found, target: str, by: str) -> Claim | None:
    """Return the claim on a target that has this owner, if there is one."""
    return next((claim for claim in found.get(target, ()) if claim.by == owner(by)), None)


def others(found: Found, target: str, by: str) -> list[Claim]:
    """Return the claims on a target that somebody else has."""
    return [claim for claim in found.get(target, ()) if claim.by not in ("", owner(by))]


def whole(registered: Member | None, taken: Member | None) -> Member | None:
    """Return the target's registrations, completed by those that it had before it was taken out."""
    if registered is None or taken is None:
        return registered or taken
    there = {(place["group"], place["port"]) for place in registered["places"]}
    gone = [place for place in taken["places"] if (place["group"], place["port"]) not in there]
    return {**registered, "places": registered["places"] + gone}


def adopted(rotation: Rotation, found: Found, by: str, health: Health) -> Rotation:
    """Count as out what an earlier try of the task took out before its answer was lost: claim and health agree."""
    lost: list[Member] = [
        {**member, "out_at": claim.at.isoformat()}
        for member in rotation["queue"]
        if (claim := mine(found, member["id"], by)) and absent(member, health)
    ]
    ids = {member["id"] for member in lost}
    rest = [member for member in rotation["queue"] if member["id"] not in ids]
    return {**rotation, "out": [*rotation["out"], *lost], "queue": rest}
