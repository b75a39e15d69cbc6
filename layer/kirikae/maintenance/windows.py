"""Maintenance windows: wishes of people and schedules, kept in one parameter, `/<stack>/maintenance`.

    {"<window>": {"until": "2026-12-01T06:00:00+09:00", "reason": "..."}}

A window is open from when it is stored until its `until`; null is a window that only an `end` closes. No template owns
the parameter: the first wish makes it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from botocore.exceptions import ClientError

from kirikae import aws, notify
from kirikae.clock import moment
from kirikae.errors import InputError
from kirikae.notify import Words

EXPECTED = 'expected {} or {"<window>": {"until": "2026-12-01T06:00:00+09:00", "reason": "..."}}'
REMINDER = timedelta(hours=1)
SIZE_BYTES = 4096  # of a standard parameter


@dataclass(frozen=True)
class Window:
    """A stored window; without `until` it has no announced end."""

    until: datetime | None
    reason: str = ""
    schedule: str = ""  # its beginning and its `until`, with a slash between them, if MaintenanceEnd gave this

    def open(self, now: datetime) -> bool:
        """Tell whether the window has not ended yet."""
        return self.until is None or now < self.until


@dataclass(frozen=True)
class Wish:
    """A validated start or end; `window` is None for an end."""

    name: str
    window: Window | None

    @property
    def kind(self) -> str:
        """What the event calls it."""
        return "start" if self.window else "end"


@dataclass(frozen=True)
class Stored:
    """The parameter as it is, version 0 if there is none; `problem`: not understood, `note`: a wish changed nothing."""

    windows: Mapping[str, Window]
    written: datetime
    version: int
    problem: str = ""
    note: str = ""
    started: bool = False  # by the wish of this very run
    first: bool = False  # so, and a version just before has no open window: an end may be on its way
    rehearsed: bool = False  # by a dry run: nothing was written

    def open(self, now: datetime) -> dict[str, Window]:
        """Return the windows that have not ended."""
        return {name: window for name, window in self.windows.items() if window.open(now)}


def parse(text: str) -> dict[str, Window]:
    """Return the windows that the parameter's text holds; raise ValueError that says what is wrong."""
    try:
        found = dict[str, Window]()
        for name, wish in json.loads(text).items():
            until = None if wish["until"] is None else moment(wish["until"], "until")
            found[name] = Window(until, str(wish.get("reason", "")), str(wish.get("schedule", "")))
        return found
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{text!r} holds no windows ({type(error).__name__}: {error}); {EXPECTED}") from error


def write(windows: Mapping[str, Window]) -> str:
    """Return the parameter's text; raise InputError if it is too long for a parameter."""
    plain = {name: asdict(window) for name, window in windows.items()}
    for unscheduled in [wish for wish in plain.values() if not wish["schedule"]]:
        del unscheduled["schedule"]
    text = json.dumps(plain, ensure_ascii=False, default=datetime.isoformat)
    if len(text.encode()) > SIZE_BYTES:
        raise InputError(f"{len(windows)} windows take more than {SIZE_BYTES} bytes; end some, or give shorter reasons")
    return text


def after(windows: Mapping[str, Window], wanted: Wish, now: datetime) -> dict[str, Window]:
    """Return the windows as the wish leaves them, without those that are over."""
    rest = {name: window for name, window in windows.items() if window.open(now) and name != wanted.name}
    return rest | ({wanted.name: wanted.window} if wanted.window else {})


def merge(
    ours: Mapping[str, Window], first: Mapping[str, Window], overwritten: Sequence[Mapping[str, Window]]
) -> dict[str, Window]:
    """Three-way merge: apply to `ours` what the overwritten versions changed since `first`.

    A window that any of them added or changed counts. A missing one counts only in the last version, and only if it is
    in `first`: a version may miss a window that its writer has not seen yet, and is about to put back.
    """
    merged = dict(ours)
    for theirs in overwritten:
        merged |= {name: window for name, window in theirs.items() if first.get(name) != window}
    for gone in first.keys() - (overwritten[-1].keys() if overwritten else first.keys()):
        merged.pop(gone, None)
    return merged


def read(name: str) -> Stored:
    """Return the parameter, a version of it for `name:version`; what does not exist is version 0, without windows.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
    """
    try:
        found = aws.client("ssm").get_parameter(Name=name)["Parameter"]
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("ParameterNotFound", "ParameterVersionNotFound"):
            raise
        return Stored({}, datetime(1970, 1, 1, tzinfo=UTC), 0)
    try:
        return Stored(parse(found["Value"]), found["LastModifiedDate"], found["Version"])
    except ValueError as error:
        return Stored({}, found["LastModifiedDate"], found["Version"], str(error))


def reminds(stored: Stored, now: datetime) -> bool:
    """Tell whether the hourly reminder is due; true for half an hour, so that its alarm goes on and off each hour.

    It is due while a window without an end is open, from an hour after the last write on.
    """
    if all(window.until for window in stored.open(now).values()):
        return False
    hours, rest = divmod(now - stored.written, REMINDER)
    return hours >= 1 and rest < REMINDER / 2


def announced(windows: Mapping[str, Window]) -> Words:
    """Return the latest end of open windows; nothing if one of them has none."""
    ends = [window.until for window in windows.values() if window.until]
    return notify.at(max(ends), "%Y-%m-%d %H:%M") if len(ends) == len(windows) else Words("")


def said(windows: Mapping[str, Window]) -> Words:
    """Name windows with their ends and reasons, the first to end first."""
    never = datetime.max.replace(tzinfo=UTC)
    ordered = sorted(windows.items(), key=lambda item: (item[1].until or never, item[0]))
    en, ja = [], []
    for name, window in ordered:
        why = f" ({window.reason})" if window.reason else ""
        en.append(f"{name} until {window.until.isoformat() if window.until else 'somebody ends it'}{why}")
        ja.append(f"{name} {f'{window.until.isoformat()} まで' if window.until else '終了時刻なし'}{why}")
    return Words("; ".join(en), "、".join(ja))
