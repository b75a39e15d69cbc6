"""Who may be started next: the candidates in order, and what became of those that were tried in this outage."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from kirikae.ec2 import GONE, Instance
from kirikae.standby.notes import (
    BELIEVED,
    FAILED,
    GAVE_UP,
    OUTAGE,
    REFUSED,
    STARTED,
    TRIED,
    Attempt,
    attempt,
    by_a_person,
    failure,
    stack_of,
    time_of,
)
from kirikae.standby.outage import began
from kirikae.standby.world import UP, Observed

# Told after the start was accepted, but as passing as a refusal: Server.InsufficientInstanceCapacity, and limits.
LACKING = re.compile(r"\w+\.(Insufficient\w*Capacity|\w*LimitExceeded)\b")
# The shortest spacing is longer than the function's timeout: no run of one round is alive in the next.
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(minutes=30)
# A start whose answer was lost shows within this time, or was not accepted.
SHOWN = timedelta(minutes=1)
# A start that is not older is of an outage of which nobody knows when it began.
RECENT = timedelta(hours=1)


def down_again(seen: Observed) -> list[Instance]:
    """Return the candidates that were up in this outage, are not any more, and have not been counted as failed."""
    down = [standby for standby in seen.standbys if standby.state in ("stopping", "stopped")]
    untold = [standby for standby in down if FAILED not in seen.notes(standby) and standby.id not in seen.unnoted]
    return [standby for standby in untold if STARTED in seen.notes(standby) or fell_unnoted(seen, standby)]


def fell_unnoted(seen: Observed, standby: Instance) -> bool:
    """Tell whether EC2 alone remembers its start in this outage, which fell back: no note of it could be written."""
    fell = standby.state == "stopped" and standby.reason and not by_a_person(standby)
    unnoted = OUTAGE not in seen.notes(standby)  # what carries that can be noted: a person has removed the rest
    since = began(seen)
    if since == seen.now:  # EC2 does not say when the active went down
        since = max(seen.active.launched or since - RECENT, since - RECENT)
    return bool(fell and unnoted and standby.launched and standby.launched >= since)


def undone(seen: Observed) -> list[Instance]:
    """Return the candidates that were started for this outage and stopped by a person since."""
    return [standby for standby in down_again(seen) if by_a_person(standby)]


def lacked(candidate: Instance) -> bool:
    """Tell whether its accepted start ended for want of capacity: its next type may be had."""
    return LACKING.match(candidate.reason) is not None


def fallen(seen: Observed) -> tuple[str, ...]:
    """Return the candidates whose accepted start has ended in `stopped`, for a reason that lasts."""
    stopped = [standby for standby in down_again(seen) if standby.state == "stopped"]
    return tuple(standby.id for standby in stopped if not by_a_person(standby) and not lacked(standby))


def last_attempt(seen: Observed, candidate: Instance) -> Attempt | None:
    """Return up to which type the candidate was tried in this round, if it was: the next one goes on from there."""
    noted = seen.notes(candidate)
    tried, started = attempt(noted.get(TRIED, "")), attempt(noted.get(STARTED, ""))
    if FAILED in noted:
        return None
    if started and lacked(candidate) and not (tried and tried.at > started.at):
        kind = started.type or candidate.type
        words = [tried.words] if tried and tried.words else []
        return replace(started, type=kind, words=", ".join([*words, f"{kind} {candidate.reason}"]))
    return tried


def candidates(seen: Observed) -> tuple[str, ...]:
    """Return those to try now, in order: up to the first that is still stopping, or may be starting unseen."""
    chosen, out = [], fallen(seen)
    for candidate in seen.standbys:
        if candidate.state in GONE | UP or candidate.id in (*out, *seen.unnoted) or FAILED in seen.notes(candidate):
            continue
        if candidate.state != "stopped" or candidate.id in unanswered(seen):
            break
        chosen.append(candidate.id)
    return tuple(chosen)


def unanswered(seen: Observed) -> list[str]:
    """Return the candidates that may be starting though EC2 does not show it: the answer was lost a moment ago."""
    lasts = [(standby.id, last_attempt(seen, standby)) for standby in seen.standbys if standby.state == "stopped"]
    return [name for name, last in lasts if last and last.unanswered and seen.now - last.at < SHOWN]


def again(seen: Observed, names: tuple[str, ...]) -> bool:
    """Tell whether these are tried in a round after the first, of which nobody is told any more."""
    lasts = [last_attempt(seen, standby) for standby in seen.standbys if standby.id in names]
    return any(last.again for last in lasts if last)


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
    """Tell whether none is left to start, and EC2 did not start one of them: people should know that."""
    there = [standby for standby in seen.standbys if standby.state not in GONE and standby.id not in seen.unnoted]
    notes = [seen.notes(standby).get(FAILED, "") for standby in there]
    ours = bool(seen.unnoted) or any(found and found[1] != GAVE_UP for found in map(failure, notes))
    return all(notes) and ours


def next_try(seen: Observed, began: datetime) -> datetime | None:
    """Return when those that EC2 refused are tried again: the spacing grows with the age of the outage."""
    last = max(refused(seen).values(), default=None)
    return last + min(max(last - began, SHORTEST), LONGEST) if last else None


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


def unusable(seen: Observed) -> Iterator[str]:
    """Yield what no outage could start: what is gone, or kept for an outage of another stack that has not started it.

    That stack may be starting it right now; one that was deleted in an outage never does.
    """
    if lost := [f"{standby.id} ({standby.state})" for standby in seen.standbys if standby.state in GONE]:
        yield f"StandbyInstanceIds names {', '.join(lost)}, expected instances that can be started"
    for standby in seen.taken:
        began = time_of(standby.tags[OUTAGE])
        if standby.state == "stopped" and (began is None or seen.now - began > BELIEVED):
            yield f"{standby.id} is stopped, and is kept for the stack {stack_of(standby)} by its tag {OUTAGE}"
