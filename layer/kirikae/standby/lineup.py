"""Who may be started next: the candidates in order, and what became of those that were tried in this outage."""

import re
from dataclasses import replace
from datetime import timedelta

from kirikae.ec2 import GONE, Instance
from kirikae.notify import Words
from kirikae.standby.notes import (
    BELIEVED,
    FAILED,
    LEFT,
    OUTAGE,
    SERVING,
    STARTED,
    TRIED,
    Attempt,
    attempt,
    by_a_person,
    failure,
    since_start,
    stack_of,
    time_of,
)
from kirikae.standby.outage import STOPPING, began, is_later
from kirikae.standby.world import UP, Observed

# Told after the start was accepted, but as passing as a refusal: Server.InsufficientInstanceCapacity, and limits.
LACKING = re.compile(r"\w+\.(Insufficient\w*Capacity|\w*LimitExceeded)\b")
# A start whose answer was lost shows within this time, or was not accepted.
SHOWN = timedelta(minutes=1)
# No run lives longer.
RUN = timedelta(minutes=1)
# A start that is not older is of an outage of which nobody knows when it began.
RECENT = timedelta(hours=1)


def down_again(seen: Observed) -> list[Instance]:
    """Return the candidates that were up in this outage, are not any more, and have not been counted as failed."""
    down = [standby for standby in seen.standbys if standby.state in ("stopping", "stopped")]
    untold = [standby for standby in down if not failed(seen, standby)]
    return [standby for standby in untold if _in_use(seen, standby) or fell_unnoted(seen, standby)]


def _in_use(seen: Observed, standby: Instance) -> bool:
    """Tell whether its start is noted and it was not left since, without coming to serve: that is at an end."""
    noted = seen.notes(standby)
    left = LEFT in noted.get(STARTED, "").split(" ") and since_start(standby, noted, SERVING) is None
    return STARTED in noted and not left


def fell_unnoted(seen: Observed, standby: Instance) -> bool:
    """Tell whether EC2 alone remembers its start in this outage, which fell back: no note of it could be written."""
    fell = standby.state == "stopped" and standby.reason and not by_a_person(standby)
    unnoted = OUTAGE not in seen.notes(standby)  # what carries that can be noted: a person has removed the rest
    since = began(seen)
    if since == seen.now:  # EC2 does not say when the active went down
        since = max(seen.active.launched or since - RECENT, since - RECENT)
    return bool(fell and unnoted and standby.launched and standby.launched >= since)


def undone(seen: Observed) -> list[Instance]:
    """Return the candidates that were started for this outage and stopped by a person since.

    A stop from before the active began to fail as it does now was about another failure.
    """
    again, down = down_again(seen), [standby for standby in seen.standbys if standby.state in ("stopping", "stopped")]
    used = [standby for standby in down if standby in again or _served_after_all(seen, standby)]
    return [standby for standby in used if by_a_person(standby) and not is_later(seen, standby)]


def _served_after_all(seen: Observed, standby: Instance) -> bool:
    """Tell whether it had failed and came to serve since, and nothing else was started beside it or tried after it.

    A stop right after that was noted is no wish: a run of ours may have made it that was leaving the standby.
    """
    noted, others = seen.notes(standby), [other for other in seen.standbys if other.id != standby.id]
    before, served = failure(noted.get(FAILED, "")), since_start(standby, noted, SERVING)
    if not before or not served or not standby.stopped or any(_in_use(seen, other) for other in others):
        return False
    after = max(filter(None, (time_of(seen.notes(other).get(FAILED, "")) for other in others)), default=served)
    return before[0] <= served <= standby.stopped - RUN and after <= standby.stopped


def lacked(candidate: Instance) -> bool:
    """Tell whether its accepted start ended for want of capacity: its next type may be had."""
    return LACKING.match(candidate.reason) is not None


def fallen(seen: Observed) -> tuple[str, ...]:
    """Return the candidates to count as failed: their accepted start has ended, or they hang before those to try."""
    ended = [standby.id for standby in seen.standbys if standby.state == "stopped" and fell(seen, standby)]
    return tuple(standby.id for standby in seen.standbys if standby.id in (*ended, *_next(seen)[0]))


def fell(seen: Observed, standby: Instance) -> bool:
    """Tell whether its accepted start has ended for a reason that lasts."""
    return standby in down_again(seen) and not by_a_person(standby) and not lacked(standby)


def hangs(seen: Observed, candidate: Instance) -> bool:
    """Tell whether a candidate that has not failed yet is on its way down for longer than that takes.

    Its host may be broken, and then it hangs for hours.  Where EC2 does not say when it was stopped, that was after its
    start; where nobody knows since when the outage lasts either, it is not waited for.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/TroubleshootingInstancesStopping.html
    """
    if candidate.state != "stopping" or failed(seen, candidate):
        return False
    since = candidate.stopped or max(filter(None, [began(seen), candidate.launched]))
    return since == seen.now or seen.now - since >= STOPPING


def awaited(seen: Observed) -> list[str]:
    """Return the candidates to wait for: they are on their way down, or may be starting unseen."""
    stopping = [standby for standby in seen.standbys if standby.state == "stopping"]
    return [standby.id for standby in stopping if not failed(seen, standby) and not hangs(seen, standby)] + unanswered(
        seen
    )


def failed(seen: Observed, candidate: Instance) -> bool:
    """Tell whether it has failed in this outage, as its notes say, or people know."""
    return FAILED in seen.notes(candidate) or candidate.id in seen.unnoted


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
    return tuple(_next(seen)[1])


def _next(seen: Observed) -> tuple[list[str], list[str]]:
    """Return those to try now, and those before them that hang on their way down."""
    hanging, chosen = list[str](), list[str]()
    for candidate in seen.standbys:
        ended = candidate.state in GONE | UP or failed(seen, candidate)
        if ended or (candidate.state == "stopped" and fell(seen, candidate)):
            continue
        if hangs(seen, candidate) and not chosen:
            hanging.append(candidate.id)
        elif candidate.state != "stopped" or candidate.id in unanswered(seen):
            break
        else:
            chosen.append(candidate.id)
    return hanging, chosen


def unanswered(seen: Observed) -> list[str]:
    """Return the candidates that may be starting though EC2 does not show it: the answer was lost a moment ago."""
    lasts = [(standby.id, last_attempt(seen, standby)) for standby in seen.standbys if standby.state == "stopped"]
    return [name for name, last in lasts if last and last.unanswered and seen.now - last.at < SHOWN]


def again(seen: Observed, names: tuple[str, ...]) -> bool:
    """Tell whether these are tried in a round after the first, of which nobody is told any more."""
    lasts = [last_attempt(seen, standby) for standby in seen.standbys if standby.id in names]
    return any(last.again for last in lasts if last)


def unusable(seen: Observed) -> dict[str, Words]:
    """Return by id what no outage could start: what is gone, or kept for an outage of another stack.

    That stack may be starting it at first; one that was deleted in an outage never does.
    """
    found = {
        standby.id: Words(
            f"StandbyInstanceIds names {standby.id} ({standby.state}), expected an instance that can be started",
            f"StandbyInstanceIds の {standby.id} ({standby.state}) は起動できません。起動できるものを指定してください",
        )
        for standby in seen.standbys
        if standby.state in GONE
    }
    for standby in seen.taken:
        began = time_of(standby.tags[OUTAGE])
        if standby.state == "stopped" and (began is None or seen.now - began > BELIEVED):
            stack = stack_of(standby)
            found[standby.id] = Words(
                f"{standby.id} is stopped, and is kept for the stack {stack} by its tag {OUTAGE}",
                f"{standby.id} は停止していますが、タグ {OUTAGE} によりスタック {stack} 用に確保されています",
            )
    return found
