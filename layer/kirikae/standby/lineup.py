"""Who may be started next: the candidates in order, and what became of those that were tried in this outage."""

from datetime import datetime, timedelta

from kirikae.ec2 import Instance
from kirikae.standby.notes import FAILED, REFUSED, STARTED, failure
from kirikae.standby.world import GONE, Observed

BY_A_PERSON = "Client.UserInitiatedShutdown"
# The shortest spacing is longer than the function's timeout: no run of one round is alive in the next.
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(minutes=30)


def started(seen: Observed, candidate: Instance) -> bool:
    """Tell whether the candidate was started, or found running, in this outage, and has not been counted as failed."""
    noted = seen.notes(candidate)
    return STARTED in noted and FAILED not in noted


def undone(seen: Observed) -> list[Instance]:
    """Return the candidates that were started for this outage and stopped by a person since."""
    down = [one for one in seen.standbys if one.state in ("stopping", "stopped") and started(seen, one)]
    return [one for one in down if one.reason.startswith(BY_A_PERSON)]


def fallen(seen: Observed) -> list[Instance]:
    """Return the candidates whose accepted start has ended in `stopped`, for a reason of EC2 or of their own."""
    down = [one for one in seen.standbys if one.state == "stopped" and started(seen, one)]
    return [one for one in down if not one.reason.startswith(BY_A_PERSON)]


def candidates(seen: Observed) -> list[Instance]:
    """Return those to try now, in order: up to the first that is still stopping."""
    chosen, out = [], fallen(seen)
    for one in seen.standbys:
        if one.state in GONE or one in out or FAILED in seen.notes(one):
            continue
        if one.state != "stopped":
            break
        chosen.append(one)
    return chosen


def refused(seen: Observed) -> dict[str, datetime]:
    """Return the candidates that EC2 did not start for want of something that may come back, and when."""
    found = {}
    for one in seen.standbys:
        match one.state, failure(seen.notes(one).get(FAILED, "")):
            case "stopped", (at, how) if how == REFUSED:
                found[one.id] = at
    return found


def next_try(seen: Observed, began: datetime) -> datetime | None:
    """Return when those that EC2 refused are tried again: the spacing grows with the age of the outage."""
    last = max(refused(seen).values(), default=None)
    return last + min(max(last - began, SHORTEST), LONGEST) if last else None
