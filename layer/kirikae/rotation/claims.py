"""Claims: tags on the groups that record, before a target is touched, who takes it out and how it was registered."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from kirikae.clock import iso, moment
from kirikae.rotation.guard import absent
from kirikae.rotation.world import Health, Member, Place, Rotation

CLAIM_SECONDS = 120  # a deregistration follows its claim within seconds; an older claim says no more than health does
TAG = "kirikae:out:"  # + the target's id, on each group it was taken out of; the value is a Claim
HAND = "hand-"  # begins the owner of a claim that no execution made


@dataclass(frozen=True)
class Claim:
    """Who takes a target out, since when, and how it was registered."""

    at: datetime
    by: str
    places: tuple[Place, ...]


def claim_text(places: Iterable[Place], by: str, at: datetime) -> str:
    """Return the value of the tag on a group with these places; tags take letters, digits, spaces and _.:/=+-@."""
    ports = ["/".join((str(place["port"]), place["zone"], place["quic_server_id"])).rstrip("/") for place in places]
    return " ".join((iso(at), owner(by), *ports))[:256]


def owner(by: str) -> str:
    """Return the name without characters that a tag cannot hold."""
    return re.sub(r"[^\w.:/=+@-]", "_", by) or "_"


def from_tags(tags: Mapping[str, Mapping[str, str]]) -> dict[str, Claim]:
    """Return the claims among the tags of groups (group ARN -> its tags), by target id."""
    found: dict[str, Claim] = {}
    for group, of_group in tags.items():
        for key, value in of_group.items():
            if key.startswith(TAG):
                at, by, *ports = value.split()
                target = key.removeprefix(TAG)
                so_far = found[target].places if target in found else ()
                found[target] = Claim(moment(at), by, so_far + tuple(_place(group, p) for p in ports))
    return found


def _place(group: str, text: str) -> Place:
    port, zone, quic_server_id, *_ = [*text.split("/"), "", ""]
    return Place(group=group, port=int(port), zone=zone, quic_server_id=quic_server_id)


def leaving(found: Mapping[str, Claim], by: str, now: datetime) -> list[str]:
    """Return the targets that others are about to take out."""
    young = timedelta(seconds=CLAIM_SECONDS)
    return [target for target, claim in found.items() if claim.by != owner(by) and now - claim.at < young]


def whole(registered: Member | None, claim: Claim | None, target: str) -> Member | None:
    """Return the target's registrations, completed from its claim for each group and port that it has left."""
    there = registered["places"] if registered else []
    pairs = {(place["group"], place["port"]) for place in there}
    gone = [place for place in claim.places if (place["group"], place["port"]) not in pairs] if claim else []
    return Member(id=target, places=[*there, *gone], scaling_group="") if gone else registered


def left_out(found: Mapping[str, Claim], running: Iterable[str], ended: str, now: datetime) -> dict[str, Claim]:
    """Return the claims of ended executions; what was taken out by hand stays out until it is registered by hand.

    ended: the execution that has ended according to an event; the list of running ones may lack the youngest.
    """
    alive, young = {owner(name) for name in running}, timedelta(seconds=CLAIM_SECONDS)
    return {
        target: claim
        for target, claim in found.items()
        if not claim.by.startswith(HAND)
        and (claim.by == owner(ended) or (claim.by not in alive and now - claim.at >= young))
    }


def adopted(rotation: Rotation, found: Mapping[str, Claim], by: str, health: Health) -> Rotation:
    """Count as out what an earlier try of the task took out before its answer was lost: claim and health agree."""
    lost: list[Member] = [
        {**member, "out_at": found[member["id"]].at.isoformat()}
        for member in rotation["queue"]
        if member["id"] in found and found[member["id"]].by == owner(by) and absent(member, health)
    ]
    ids = {member["id"] for member in lost}
    rest = [member for member in rotation["queue"] if member["id"] not in ids]
    return {**rotation, "out": [*rotation["out"], *lost], "queue": rest}
