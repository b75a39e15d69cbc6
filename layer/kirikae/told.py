"""What people were last told, kept in a Systems Manager parameter that no template owns: `/<stack>/told/<capability>`.

A change that was made and not told is owed: whoever finds that the world is not as people were told tells them, once.
The parameter holds {"known": {...}, "telling": {...}, "at": "..."}: what people know, in plain words that a capability
chooses ({} while all is at rest; no parameter means the same), and, from before a mail until after it, what it says and
which run is about to send it.  What was told and cannot be noted, this process remembers until it can.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeIs

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import aws, clock, ssm
from kirikae.clock import iso, moment
from kirikae.log import logger

type State = Mapping[str, str]

# No run lives longer than the functions' timeout, a minute: then it died, and its mail may not have left.  Not longer,
# because Lambda repeats the event of a run that died a minute later, and the next tick may be far.
UNHEARD_OF = timedelta(seconds=60)
# A run that began so long after another one told a change may still have been shown the world before that change.
STALE_READS = timedelta(seconds=10)
EVER = datetime(1970, 1, 1, tzinfo=UTC)
AS_KNOWN = "?"  # a value of what nobody can tell now: it is as people know it
ODD = ("odd", "odd on the way back")  # the keys of what a person has to mend, of one function and of a second
ALARMS = "alarms"  # the key of the topic that people know no alarm reaches, in what they know

# Parameter -> what this process has told and could not note, and when it looked last: what it has not looked at for
# longer than its ticks are apart, others may have seen end and begin again.
_unnoted: dict[str, tuple["Note", datetime]] = {}
_UNSEEN = timedelta(minutes=15)


@dataclass(frozen=True)
class Note:
    """What the parameter holds; version 0 means that there is none."""

    version: int = 0
    known: State = field(default_factory=dict)
    telling: State | None = None
    at: datetime = EVER
    by: str = ""
    since: Mapping[str, datetime] = field(default_factory=dict)  # key of `known` -> when people were told of it first
    noted: bool = True  # not so: what a run is about to tell could not be written beside it

    @property
    def kept(self) -> dict[str, str]:
        """Return what people know whatever becomes of the capability."""
        return {key: said for key, said in self.known.items() if key in (ALARMS, *ODD)}

    def filled(self, state: State) -> dict[str, str]:
        """Return the state with what people know where it says that nobody can tell."""
        found = {key: self.known.get(key, "") if said == AS_KNOWN else said for key, said in state.items()}
        return {key: said for key, said in found.items() if said}

    def says(self, state: State, since: datetime) -> bool:
        """Tell whether people have been told, or are being told, this state not before `since`."""
        return self.at >= since and state == (self.known if self.telling is None else self.telling)

    def unheard_of(self, now: datetime) -> bool:
        """Tell whether the run that was about to tell something must have ended without saying that it did."""
        return self.telling is not None and not self.younger(UNHEARD_OF, now)

    def younger(self, than: timedelta, now: datetime) -> bool:
        """Tell whether the note is younger; one of the future is somebody else's, who keeps nothing from being told."""
        return -STALE_READS < now - self.at < than


def read(name: str) -> Note | None:
    """Return the note, an empty one if there is none, or None if it cannot be read: then nothing is known to be owed.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
    """
    try:
        found = aws.client("ssm").get_parameter(Name=name)["Parameter"]
        text, version = found["Value"], found["Version"]
    except (ClientError, BotoCoreError) as error:
        if isinstance(error, ClientError) and error.response["Error"]["Code"] == "ParameterNotFound":
            return _with_unnoted(name, Note())
        logger.warning("what people were told cannot be read", parameter=name, problem=str(error))
        return None
    try:
        note = _note(version, json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # written by hand: as if there were none
        logger.warning("what people were told cannot be understood", parameter=name, problem=str(error))
        note = Note(version)
    return _with_unnoted(name, note)


def _with_unnoted(name: str, note: Note) -> Note:
    """Return the note with what this process has told since and could not note."""
    if name in _unnoted:
        later, looked = _unnoted.pop(name)
        if note.at <= later.at and note.telling in (None, later.known) and clock.now() - looked < _UNSEEN:
            _unnoted[name] = later, clock.now()
            return replace(later, version=note.version)
    return note


def note_again(name: str) -> None:
    """Try once more to note what this process has told and could not note."""
    if name in _unnoted:
        _close(name, _unnoted[name][0])


def _note(version: int, value: dict[str, Any]) -> Note:
    known, telling, since = value["known"], value.get("telling"), value.get("since", {})
    at = moment(value["at"])
    if not _words(known) or not (telling is None or _words(telling)):
        raise TypeError(f"{value!r} is not what kirikae writes")
    return Note(version, known, telling, at, str(value.get("by", "")), {key: moment(since[key]) for key in since})


def _words(state: object) -> TypeIs[dict[str, str]]:
    return isinstance(state, dict) and all(isinstance(said, str) for said in state.values())


def silent(name: str, note: Note) -> bool:
    """Wait for the run that may have made a change just now, and tells it better; tell whether it has said nothing."""
    for pause in (1, 2, 3, 4):
        time.sleep(pause)
        later = read(name)
        if later is None or later.version != note.version:
            return False
    return True


def claim(name: str, note: Note, state: State, since: datetime, now: datetime) -> Note | None:
    """Write that this run is about to tell the state; return the note that it replaced, None if another was first.

    Versions decide: Systems Manager counts every write, so the run whose write follows the note that it has read is
    the first.  A later one looks at what its write replaced.  A claim that cannot be written counts as the first: a
    change is rather told twice than never; the note that is returned then is not `noted`.
    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
    """
    by = os.urandom(4).hex()
    try:
        text = _text(replace(note, telling=state, at=now, by=by))
        last = ssm.replaced(name, text, note.version, ssm.put(name, text))
        before = read(f"{name}:{last}") if last > note.version else None
    except (ClientError, BotoCoreError) as error:
        logger.warning("what people are about to be told cannot be noted", parameter=name, problem=str(error))
        return replace(note, noted=False)
    if before is None:
        return note
    if not before.says(state, since):
        return before
    if before.telling is None:  # and it has ended: let the note say so again
        close(name, state, now, since=before.since)
    return None


def close(
    name: str, state: State, now: datetime, owed: Note | None = None, since: Mapping[str, datetime] | None = None
) -> int:
    """Write that people have been told the state; if this fails, only this process knows that they have.

    owed: what another run was about to tell, and has not said that it did: this stays so.
    since: key -> when people were told of it first.  Return the version, or 0.
    """
    note = Note(0, state, None, now, since=since or {})
    if owed:
        note = replace(note, telling=owed.telling, at=owed.at, by=owed.by)
    for pause in (1, 3, 0):  # after the attempts of the SDK: the mail has left, so there is time
        if version := _close(name, note):
            return version
        time.sleep(pause)
    _unnoted[name] = note, now
    return 0


def _close(name: str, note: Note) -> int:
    """Write the note; return the version, or 0."""
    try:
        version = ssm.put(name, _text(note))
    except (ClientError, BotoCoreError) as error:
        logger.warning("that people were told cannot be noted", parameter=name, problem=str(error))
        return 0
    _unnoted.pop(name, None)
    return version


def _text(note: Note) -> str:
    """Return the note in one line that an operator can read."""
    value = {"known": dict(note.known), "telling": note.telling and dict(note.telling), "at": iso(note.at)}
    if note.telling is None:
        del value["telling"]
    else:
        value["by"] = note.by
    if note.since:
        value["since"] = {key: iso(at) for key, at in note.since.items()}
    return json.dumps(value, ensure_ascii=False)
