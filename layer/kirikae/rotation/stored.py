"""The memory of the rotation as a parameter of Systems Manager holds it."""

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kirikae.clock import iso, moment
from kirikae.errors import InputError
from kirikae.rotation.claims import Claim
from kirikae.rotation.world import Config, Place

ANY = -1  # nobody has noted which MinSize
_MOST_CHARACTERS = 4096  # of a standard parameter's value
_KIND = ":targetgroup/"  # stands in an ARN before what tells a target group from the others of the account


@dataclass(frozen=True)
class Memory:
    """Executions that may have targets out, by name, what operations by hand took out, and what Standby lowered."""

    executions: frozenset[str] = frozenset()
    by_hand: Mapping[str, Claim] = field(default_factory=dict)
    returned: Mapping[str, frozenset[str]] = field(default_factory=dict)  # of executions that have others out still
    min_sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # Auto Scaling group -> owed, lowered to


def text_of(name: str, memory: Memory) -> str:
    """Return it as the parameter holds it; raise InputError if there is no room for it."""
    held = {target: [iso(claim.at), claim.by, *map(_stored, claim.places)] for target, claim in memory.by_hand.items()}
    stored: dict[str, Any] = {"executions": sorted(memory.executions), "by_hand": held}
    if memory.returned:
        stored["returned"] = {name: sorted(targets) for name, targets in memory.returned.items()}
    stored |= {"min_sizes": dict(memory.min_sizes)} if memory.min_sizes else {}
    text = json.dumps(stored, separators=(",", ":"))
    if len(text) > _MOST_CHARACTERS:
        raise InputError(f"{name} has no room for more targets that are out by hand; register some of them first")
    return text


def _stored(place: Place) -> list[str | int]:
    return [_short(place["group"]), place["port"], place["zone"], place["quic_server_id"]]


def meant(config: Config, text: str) -> Memory:
    """Return what a text means; of what is not understood, nothing."""
    try:
        known = json.loads(text)
    except ValueError:  # written by hand: the tags and the executions must do
        known = None
    known = known if isinstance(known, dict) else {}
    told = _each(known.get("by_hand"), lambda parts: _claim(config, *parts))
    executions = known.get("executions")
    return Memory(
        executions=frozenset(map(str, executions if isinstance(executions, list) else [])),
        by_hand={target: claim for target, claim in told.items() if claim.places},
        returned=_each(known.get("returned"), lambda ids: frozenset(map(str, ids))),
        min_sizes=_each(known.get("min_sizes"), _sizes),
    )


def _each[T](entries: Any, meaning: Callable[[Any], T]) -> dict[str, T]:
    """Return what the entries mean, without those that are not understood: a person may have written one."""
    found: dict[str, T] = {}
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            found[name] = meaning(entry)
    return found


def _claim(config: Config, at: str, by: str, *places: Any) -> Claim:
    """Return what an entry means; its groups may be such as RotationTargetGroupArns names no longer."""
    account = config.rotation_target_group_arns[0].partition(_KIND)[0] + _KIND
    return Claim(
        moment(at),
        by,
        tuple(
            Place(group=f"{account}{group}", port=int(port), zone=zone, quic_server_id=quic_server_id)
            for group, port, zone, quic_server_id in places
        ),
    )


def _sizes(noted: Any) -> tuple[int, int]:
    """Return what is owed and lowered to; earlier releases noted only what is owed."""
    owed, smaller = noted if isinstance(noted, list) else (noted, ANY)
    return int(owed), int(smaller)


def _short(target_group_arn: str) -> str:
    """Return what tells a target group from the others of the account: name and id."""
    return target_group_arn.partition(_KIND)[2]
