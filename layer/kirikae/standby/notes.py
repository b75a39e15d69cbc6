"""What a later run must know about an outage: tags on the candidates, where an operator sees and can change them."""

from collections.abc import Mapping
from datetime import datetime

from kirikae.clock import moment_if_any
from kirikae.ec2 import Instance

OUTAGE = "kirikae:outage"  # when the outage began that the other notes are about
STARTED = "kirikae:started"  # when EC2 accepted its start
FAILED = "kirikae:failed"  # when and why it failed; IAM does not let the function start what carries this
RUNNING = "kirikae:running"  # when it ran, and was registered in the target group
SERVING = "kirikae:serving"  # when it was reported as serving
UNFENCED = "kirikae:unfenced"  # why the active could not be stopped
TYPE = "kirikae:instance-type"  # the type it had before another one was tried
NOTES = (OUTAGE, STARTED, FAILED, RUNNING, SERVING, UNFENCED, TYPE)
OF_START = (STARTED, RUNNING, SERVING)  # gone when that start falls back

REFUSED, FELL_BACK = "refused", "fell-back"  # the second word of FAILED


def value(*words: str) -> str:
    """Return a tag's value: at most 256 characters, of those that every service takes."""
    return "".join(c if c.isalnum() or c in " +-=._:/@" else " " for c in " ".join(words))[:256].strip()


def time_of(note: str) -> datetime | None:
    """Return the time with which a note begins; None if it begins with something else."""
    return moment_if_any(note.split(" ")[0])


def failure(note: str) -> tuple[datetime, str] | None:
    """Return when and how a start failed, refused or fell-back; None if a person wrote the note."""
    match time_of(note), note.split(" ")[1:2]:
        case datetime() as at, [str(how)] if how in (REFUSED, FELL_BACK):
            return at, how
    return None


def left_out(candidate: Instance) -> bool:
    """Tell whether a person has marked the candidate as failed, so that it is not started whatever happens."""
    return FAILED in candidate.tags and failure(candidate.tags[FAILED]) is None


def ours(candidate: Instance) -> dict[str, str]:
    """Return every note on the candidate that kirikae wrote, of whatever outage."""
    kept = {FAILED} if left_out(candidate) else set()
    return {key: candidate.tags[key] for key in NOTES if key in candidate.tags and key not in kept}


def over(candidate: Instance, active: Instance) -> dict[str, str]:
    """Return the notes of an outage that ended with the active's last start, though nobody has removed them."""
    began = time_of(candidate.tags.get(OUTAGE, ""))
    ended = began is None or (active.launched is not None and began < active.launched)
    return ours(candidate) if ended else {}


def current(candidate: Instance, active: Instance) -> Mapping[str, str]:
    """Return what is noted about the present outage."""
    past = over(candidate, active)
    return {key: value for key, value in candidate.tags.items() if key not in past}


def since_start(candidate: Instance, noted: Mapping[str, str], key: str) -> datetime | None:
    """Return the time in a note, unless it is of an earlier start than the candidate's last."""
    at = time_of(noted.get(key, ""))
    return at if at and candidate.launched and at >= candidate.launched else None
