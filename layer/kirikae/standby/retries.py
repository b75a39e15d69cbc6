"""When those that EC2 refused are tried again, and whether there is any."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from kirikae.clock import iso
from kirikae.ec2 import GONE
from kirikae.standby.lineup import fell_unnoted, undone
from kirikae.standby.notes import FAILED, GAVE_UP, REFUSED, failure
from kirikae.standby.world import Observed

# The shortest spacing is longer than the function's timeout: no run of one round is alive in the next.
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(minutes=30)


def refused(seen: Observed) -> dict[str, datetime]:
    """Return when EC2 refused each candidate for a temporary reason, such as capacity."""
    found = {}
    for candidate in seen.standbys:
        match candidate.state, failure(seen.notes(candidate).get(FAILED, "")):
            case "stopped", (at, how) if how == REFUSED:
                found[candidate.id] = at
            case "stopped", None if candidate.id in seen.unnoted and not fell_unnoted(seen, candidate):
                found[candidate.id] = seen.told_at or seen.now
    return found


def exhausted(seen: Observed) -> bool:
    """Tell whether none is left to start, and EC2 did not start one of them: people should know that.

    One that came to serve and was stopped by a person has not failed, whatever was noted before.
    """
    there = [standby for standby in seen.standbys if standby.state not in GONE and standby.id not in seen.unnoted]
    notes = [seen.notes(standby).get(FAILED, "") for standby in there]
    ours = bool(seen.unnoted) or any(found and found[1] != GAVE_UP for found in map(failure, notes))
    return all(notes) and ours and not undone(seen)


def next_try(seen: Observed, began: datetime) -> datetime | None:
    """Return when those that EC2 refused are tried again: the spacing grows with the age of the outage."""
    last = max(refused(seen).values(), default=None)
    return last + min(max(last - began, SHORTEST), LONGEST) if last else None


def when_again(seen: Observed, began: datetime) -> str:
    """Return when what has failed is tried again, in words."""
    if at := next_try(seen, began):
        return f"tried again at {iso(at)}"
    notes = [failure(seen.notes(standby).get(FAILED, "")) for standby in seen.standbys if standby.state == "stopping"]
    hang = any(found and found[1] == REFUSED for found in notes)
    return "tried again when it has stopped" if hang else "not tried again; force it, or remove the tags"


def due(seen: Observed, began: datetime) -> tuple[str, ...]:
    """Return those that EC2 refused and that are tried again now: all of them, or the rest of the last round."""
    found, at = refused(seen), next_try(seen, began)
    if at is None or seen.now >= at:
        return tuple(found)
    return tuple(_rest(found)) if seen.now - max(found.values()) >= SHORTEST else ()


def _rest(last: Mapping[str, datetime]) -> Iterator[str]:
    """Yield those that a round, which goes by the order of the candidates, has not come to: one before was tried since.

    A start that is accepted ends a round, and then it may fall back; or the time of the run is up.  last: when each
    candidate was refused, in their order.
    """
    latest = min(last.values())
    for name, at in last.items():
        if at < latest:
            yield name
        latest = max(latest, at)
