"""Validation of the starts and ends of maintenance that people and schedules ask for."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from kirikae.clock import iso, moment, moment_if_any
from kirikae.errors import InputError
from kirikae.maintenance.schedules import next_time
from kirikae.maintenance.windows import Window, Wish

DEFAULT = "default"  # the window of a wish that names none
BY_SCHEDULE = "MaintenanceEnd"  # as `until`: the next time of that parameter
LONGEST = timedelta(days=30)
FIELDS = {"start": {"until", "minutes"}, "end": set[str]()}
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # with what UTF-8 cannot say
COMMON = {"type", "window", "reason", "at", "action", "force"}


def read(event: Mapping[str, Any], now: datetime, end_expression: str, timezone: str) -> Wish:
    """Validate a start or an end as a whole; raise InputError that names the problem."""
    kind = event.get("type")
    if not isinstance(kind, str) or kind not in FIELDS:
        raise InputError(f'type is {kind!r}, expected "start" or "end"')
    if unknown := sorted(event.keys() - COMMON - FIELDS[kind]):
        known = ", ".join(sorted(COMMON | FIELDS[kind]))
        raise InputError(f"a wish of type {kind} has no {', '.join(unknown)}, expected only {known}")
    name, reason = event.get("window", DEFAULT), event.get("reason", "")
    if not isinstance(name, str) or CONTROLS.search(name) or not 1 <= len(name.strip()) <= 64:
        raise InputError(f"window is {name!r}, expected a name of 1 to 64 printable characters")
    if not isinstance(reason, str) or len(reason) > 500 or CONTROLS.search(re.sub(r"[\t\n\r]", "", reason)):
        raise InputError(f"reason is {reason!r}, expected a text of at most 500 characters, none a control character")
    if reference := next((text for text in (name, reason) if "{{" in text), ""):
        refused = 'window and reason must not contain "{{", which Systems Manager reads as a reference'
        raise InputError(f"{refused}: {reference!r}")
    if kind == "end":
        return Wish(name, None)
    until, begins = _until(event, now, end_expression, timezone), moment_if_any(event.get("at")) or now
    schedule = f"{iso(begins)}/{iso(until)}" if until and event.get("until") == BY_SCHEDULE else ""
    return Wish(name, Window(until, reason, schedule))


def _until(event: Mapping[str, Any], now: datetime, end_expression: str, timezone: str) -> datetime | None:
    """Return the end that a start asks for, None for an explicit null."""
    if ("until" in event) == ("minutes" in event):
        raise InputError('a start needs either until or minutes; one without an end needs "until": null')
    until = event.get("until")
    if "until" in event and until is None:
        return None
    try:
        if "minutes" in event:
            minutes = event["minutes"]
            if type(minutes) is not int or minutes < 1:
                raise ValueError(f"minutes is {minutes!r}, expected a whole number from 1")
            if minutes > LONGEST / timedelta(minutes=1):
                raise ValueError(f'minutes is {minutes}, more than {LONGEST.days} days; "until": null has no end')
            end = (now + timedelta(minutes=minutes)).astimezone(ZoneInfo(timezone)).replace(microsecond=0)
        elif until == BY_SCHEDULE:
            end = next_time(end_expression, timezone, moment(event["at"], "at") if "at" in event else now)
        else:
            end = moment(until, "until")
    except (ValueError, OverflowError) as error:
        raise InputError(str(error)) from error
    if end <= now:
        raise InputError(f"until {end.isoformat()} is already past at {now:%FT%TZ}, expected a time to come")
    if end - now > LONGEST:
        raise InputError(f'until {end.isoformat()} is more than {LONGEST.days} days away; "until": null has no end')
    return end


def overruled(event: Mapping[str, Any], wish: Wish, windows: Mapping[str, Window]) -> str:
    """Return why a schedule's wish changes nothing: a person gave its open window a later end; else nothing.

    A wish by hand has no `at`, and counts whatever was said before.
    """
    at, window = moment_if_any(event.get("at")), windows.get(wish.name)
    if at is None or window is None:
        return ""
    ends = wish.window.until if wish.window else at
    if ends is None or (window.until and window.until <= ends) or _by_schedule(window, at):
        return ""
    until = window.until.isoformat() if window.until else "somebody ends it"
    return f"{wish.name!r} was to end by its schedule at {iso(ends)}, and was prolonged until {until}: it stays open"


def _by_schedule(window: Window, at: datetime) -> bool:
    """Tell whether a schedule began the window before that time, and nobody has given it another end since.

    After an update of the stack MaintenanceEnd may be earlier than that end.
    """
    begun, _, until = window.schedule.partition("/")
    began = moment_if_any(begun)
    return began is not None and began < at and window.until is not None and until == iso(window.until)
