"""What a later run must know about an outage: tags on the candidates, where an operator sees and can change them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kirikae.clock import moment_if_any
from kirikae.ec2 import Instance

OUTAGE = "kirikae:outage"  # when the outage began that the other notes are about, and whose it is: the stack's name
STARTED = "kirikae:started"  # when EC2 was asked for the start that it accepted, of which type, in which round
TRIED = "kirikae:tried"  # when and which type was tried last, while there are others of the ladder to try
FAILED = "kirikae:failed"  # when and why it failed; IAM does not let the function start what carries this
RUNNING = "kirikae:running"  # when it ran, and was registered in the target group
SERVING = "kirikae:serving"  # when it was reported as serving
PORTS = "kirikae:ports"  # those of the active in the target group, as the outage found them
UNFENCED = "kirikae:unfenced"  # why the active, or a standby that was left, could not be stopped
TYPE = "kirikae:instance-type"  # the type it had before another one was tried; of no outage: it stays until restored
NOTES = (OUTAGE, STARTED, TRIED, FAILED, RUNNING, SERVING, PORTS, UNFENCED, TYPE)
NO_PORT = "port not known"  # the last words of RUNNING: of a group whose target health could not be read
OF_START = (STARTED, RUNNING, SERVING)  # gone when that start falls back

REFUSED, FELL_BACK, GAVE_UP = "refused", "fell-back", "gave-up"  # the second word of FAILED
FIRST, AGAIN, UNANSWERED = "first", "again", "unanswered"  # the third word of STARTED and TRIED: the round
BESIDE, LEFT = "beside-the-active", "left"  # further words of STARTED: the active ran on; it was given up since

# EC2 is eventually consistent, without a figure for how long.  A start of ours is newer than what it shows, for a time.
BELIEVED, SKEW = timedelta(minutes=5), timedelta(seconds=10)


def value(*words: str) -> str:
    """Return a tag's value: at most 256 characters, of those that every service takes."""
    return "".join(c if c.isalnum() or c in " +-=._:/@" else " " for c in " ".join(words))[:256].strip()


def time_of(note: str) -> datetime | None:
    """Return the time with which a note begins; None if it begins with something else."""
    return moment_if_any(note.split(" ")[0])


def stack_of(candidate: Instance) -> str:
    """Return the stack whose outage the notes on a candidate are about; empty if there are none, or they do not say."""
    return candidate.tags.get(OUTAGE, "").partition(" ")[2]


def taken(candidate: Instance, own: str) -> bool:
    """Tell whether a candidate stands by for an outage of another stack than the own one."""
    return stack_of(candidate) not in ("", own)


def failure(note: str) -> tuple[datetime, str] | None:
    """Return when and how a start failed: refused, fell-back or gave-up; None if a person wrote the note."""
    match time_of(note), note.split(" ")[1:2]:
        case datetime() as at, [str(how)] if how in (REFUSED, FELL_BACK, GAVE_UP):
            return at, how
    return None


@dataclass(frozen=True)
class Attempt:
    """A start that EC2 was asked for: when, of which type, in which round, and what EC2 has said so far."""

    at: datetime
    type: str
    again: bool  # in a round after the first one
    unanswered: bool
    words: str = ""


def attempt(note: str) -> Attempt | None:
    """Read STARTED or TRIED; None if a person has changed it beyond recognition."""
    at, (kind, how, words) = time_of(note), ([*note.split(" ", 3)[1:], "", "", ""])[:3]
    return Attempt(at, kind, how.startswith(AGAIN), how.endswith(UNANSWERED), words) if at else None


def left_out(candidate: Instance) -> bool:
    """Tell whether a person has marked the candidate as failed, so that it is not started whatever happens."""
    note = candidate.tags.get(FAILED, "")
    return bool(note) and failure(note) is None


def own_type(candidate: Instance) -> str:
    """Return the candidate's own type, which it has lost while TYPE names another than it has."""
    return candidate.tags.get(TYPE) or candidate.type


def ours(candidate: Instance) -> dict[str, str]:
    """Return every note on the candidate that kirikae wrote and that has had its day, of whatever outage."""
    kept = {FAILED} if left_out(candidate) else set()
    if own_type(candidate) != candidate.type:
        kept.add(TYPE)
    return {key: candidate.tags[key] for key in NOTES if key in candidate.tags and key not in kept}


def restored(candidate: Instance) -> bool:
    """Tell whether a note of another type is left though the candidate has its own again."""
    return candidate.tags.get(TYPE) == candidate.type


def over(candidate: Instance, active: Instance) -> dict[str, str]:
    """Return the notes of an outage that ended with the active's last start, though nobody has removed them."""
    began = time_of(candidate.tags.get(OUTAGE, ""))
    # The note is of a full second, in which the start may be a little later.
    ended = began is None or (active.launched is not None and began < active.launched.replace(microsecond=0))
    return {key: note for key, note in ours(candidate).items() if key != TYPE} if ended else {}


def current(candidate: Instance, active: Instance) -> Mapping[str, str]:
    """Return what is noted about the present outage; an empty tag, which could not be removed, says nothing."""
    past = over(candidate, active)
    return {key: note for key, note in candidate.tags.items() if note and key not in past}


def since_start(candidate: Instance, noted: Mapping[str, str], key: str) -> datetime | None:
    """Return the time in a note, unless it is of an earlier start than the candidate's last.

    A start is noted with the time of the request, and EC2 may say that it was launched a little later.
    """
    at = time_of(noted.get(key, ""))
    return at if at and candidate.launched and at >= candidate.launched - SKEW else None


def by_a_person(candidate: Instance) -> bool:
    """Tell whether a caller of EC2 stopped or hibernated it; a shutdown from inside, or for any other cause, is not.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html
    """
    return candidate.reason.startswith("Client.UserInitiated")


def believed(candidate: Instance, active: Instance, now: datetime) -> Instance:
    """Return the candidate as it is: `pending` while EC2 still shows it as it was before the start that is noted.

    What EC2 shows is of after that start if it was stopped since, or was launched since and has a reason to be down;
    after BELIEVED it is true in any case.
    """
    at = time_of(current(candidate, active).get(STARTED, ""))
    if at is None or candidate.state not in ("stopping", "stopped") or now - at > BELIEVED:
        return candidate
    stopped, launched = (
        moment is not None and moment >= at - SKEW for moment in (candidate.stopped, candidate.launched)
    )
    old_reason = by_a_person(candidate) and candidate.stopped is not None
    if stopped or (launched and candidate.reason and not old_reason):
        return candidate
    return replace(candidate, state="pending", launched=at, reason="")
