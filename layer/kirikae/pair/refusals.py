"""IPv6 addresses that the other interface did not take from a running instance: remembered, and tried again later.

IPv6 has no reassignment, so each attempt takes the address from its holder for a moment, also one that EC2 refuses.  An
instance that fails its status checks may serve all the same: it is not to be cut off at every run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from kirikae import clock, told
from kirikae.pair.plan import up
from kirikae.pair.world import REFUSED, Config, Observed, is_ipv6

AGAIN = timedelta(minutes=15)


@dataclass(frozen=True)
class Cuts:
    """The addresses of a move that an attempt cuts off from a running instance."""

    names: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()  # people know that EC2 refused these
    waiting: Mapping[str, str] = field(default_factory=dict)  # those of them that are not tried now, and why
    note: told.Note | None = None


def remembered(config: Config, seen: Observed, moves: Mapping[str, str]) -> Cuts:
    """Return the cuts of a move; Systems Manager is asked only where there are any.  What it cannot say is tried."""
    names = frozenset(name for name, place in moves.items() if is_ipv6(name) and place in up(config, seen))
    note = told.read(config.told_parameter) if names else None
    if note is None:
        return Cuts(names)
    known = names & frozenset(note.known.get(REFUSED, "").split())
    left = AGAIN - (clock.now() - note.at)
    why = f"EC2 refused it{later(left)}"
    return Cuts(names, known, dict.fromkeys(known, why) if left > timedelta() else {}, note)


def later(wait: timedelta = AGAIN) -> str:
    """Return when an address that EC2 refused is tried again, to follow what EC2 said."""
    minutes = -(-wait // timedelta(minutes=1))
    return f"; its holder runs, so the next try is in {minutes} minutes, or when the holder stops"


def remember(config: Config, cuts: Cuts, refused: Iterable[str]) -> bool:
    """Remember when EC2 refused what people know it refuses; return whether it refused more, which they are told."""
    tried = cuts.names.intersection(refused) - cuts.waiting.keys()
    if tried and cuts.note and tried <= cuts.known and cuts.note.telling is None:
        told.close(config.told_parameter, cuts.note.known, clock.now())
    return not tried <= cuts.known
