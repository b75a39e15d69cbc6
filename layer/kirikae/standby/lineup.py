"""Who may be started next: the candidates in order, and what became of those that were tried in this outage."""

from datetime import datetime, timedelta

from kirikae.ec2 import GONE, Instance
from kirikae.standby.notes import FAILED, REFUSED, STARTED, failure
from kirikae.standby.world import Observed

BY_A_PERSON = "Client.UserInitiatedShutdown"
# The shortest spacing is longer than the function's timeout: no run of one round is alive in the next.
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(minutes=30)


def down_again(seen: Observed) -> list[Instance]:
    """Return the candidates that were up in this outage, are not any more, and have not been counted as failed."""
    down = [standby for standby in seen.standbys if standby.state in ("stopping", "stopped")]
    return [standby for standby in down if STARTED in (noted := seen.notes(standby)) and FAILED not in noted]


def undone(seen: Observed) -> list[Instance]:
    """Return the candidates that were started for this outage and stopped by a person since."""
    return [standby for standby in down_again(seen) if standby.reason.startswith(BY_A_PERSON)]


def fallen(seen: Observed) -> tuple[str, ...]:
    """Return the candidates whose accepted start has ended in `stopped`, for a reason of EC2 or of their own."""
    stopped = [standby for standby in down_again(seen) if standby.state == "stopped"]
    return tuple(standby.id for standby in stopped if not standby.reason.startswith(BY_A_PERSON))


def candidates(seen: Observed) -> tuple[str, ...]:
    """Return those to try now, in order: up to the first that is still stopping."""
    chosen, out = [], fallen(seen)
    for candidate in seen.standbys:
        if candidate.state in GONE or candidate.id in out or FAILED in seen.notes(candidate):
            continue
        if candidate.state != "stopped":
            break
        chosen.append(candidate.id)
    return tuple(chosen)


def refused(seen: Observed) -> dict[str, datetime]:
    """Return when EC2 refused each candidate for a temporary reason, such as capacity."""
    found = {}
    for candidate in seen.standbys:
        match candidate.state, failure(seen.notes(candidate).get(FAILED, "")):
            case "stopped", (at, how) if how == REFUSED:
                found[candidate.id] = at
    return found


def next_try(seen: Observed, began: datetime) -> datetime | None:
    """Return when those that EC2 refused are tried again: the spacing grows with the age of the outage."""
    last = max(refused(seen).values(), default=None)
    return last + min(max(last - began, SHORTEST), LONGEST) if last else None
