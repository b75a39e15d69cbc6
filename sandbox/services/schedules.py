"""When a schedule expression is due: rate(), cron() and at(), in a time zone; and what fires then.

A parser of its own on purpose: the product has another, the tests compare the two, each an oracle for the other.
"""

import calendar
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from sandbox.clock import Clock, Timer

RATE = re.compile(r"rate\((\d+) (minute|hour|day)(s?)\)")
_AT = re.compile(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)")
_CRON = re.compile(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)")
_UNITS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
_MONTHS = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if name}
_WEEKDAYS = {name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), 1)}
_LAST_YEAR = 2199


def occurrences(expression: str, after: datetime, zone: str = "UTC") -> Iterator[datetime]:
    """Yield when an expression is due, in UTC, from after (aware, excluded) on; a rate counts from it.

    A local time that the clocks skip is skipped; one that they repeat is taken once, the first time (I1).
    ValueError at once if the expression is not valid.
    """
    if found := RATE.fullmatch(expression):
        period = int(found[1]) * _UNITS[found[2]]
        if not period:
            raise ValueError(f"Parameter ScheduleExpression is not valid: {expression}")
        return (after + count * period for count in itertools.count(1))
    if found := _AT.fullmatch(expression):
        moment = _utc(datetime.fromisoformat(found[1]), ZoneInfo(zone))
        return iter([moment] if moment and moment > after else [])
    if found := _CRON.fullmatch(expression):
        return _Cron(*found.groups()).after(after, ZoneInfo(zone))
    raise ValueError(f"Parameter ScheduleExpression is not valid: {expression}")


@dataclass
class Repetition:
    """Something that is done at each of these moments, up to the end, until it is stopped."""

    clock: Clock
    moments: Iterator[datetime]
    fire: Callable[[datetime], object]
    end: datetime | None = None
    _timer: Timer | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._wait()

    def _wait(self) -> None:
        moment = next(self.moments, None)
        if moment is None or (self.end and moment > self.end):
            return

        def fire() -> None:
            self._wait()
            self.fire(moment)

        self._timer = self.clock.after((moment - self.clock.now()).total_seconds(), fire)

    def stop(self) -> None:
        """Fire no more."""
        if self._timer:
            self._timer.cancel()


def _utc(local: datetime, zone: ZoneInfo) -> datetime | None:
    """Return the first moment at which clocks show this local time, None if they never do."""
    moment = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return moment if moment.astimezone(zone).replace(tzinfo=None) == local else None


class _Cron:
    def __init__(self, minutes: str, hours: str, days: str, months: str, weekdays: str, years: str) -> None:
        if (days == "?") == (weekdays == "?"):
            raise ValueError(f"One of day of month ({days}) and day of week ({weekdays}) must be ?")
        self._minutes = _numbers(minutes, 0, 59)
        self._hours = _numbers(hours, 0, 23)
        self._months = set(_numbers(months, 1, 12, _MONTHS))
        self._years = set(_numbers(years, 1970, _LAST_YEAR))
        self._days = days
        self._weekdays = weekdays
        self._on(date(2000, 1, 1))  # raises now what would be raised later

    def after(self, after: datetime, zone: ZoneInfo) -> Iterator[datetime]:
        day = after.astimezone(zone).date() - timedelta(days=1)
        while (day := day + timedelta(days=1)).year <= _LAST_YEAR:
            if day.year in self._years and day.month in self._months and self._on(day):
                for hour, minute in itertools.product(self._hours, self._minutes):
                    moment = _utc(datetime(day.year, day.month, day.day, hour, minute), zone)  # noqa: DTZ001 (local)
                    if moment and moment > after:
                        yield moment

    def _on(self, day: date) -> bool:
        """Return whether the two day fields mean this day; L is the last, W the nearest weekday, # the n-th."""
        last = calendar.monthrange(day.year, day.month)[1]
        if self._weekdays == "?":
            if self._days == "L":
                return day.day == last
            if self._days == "LW":
                return day.day == _nearest_weekday(day.year, day.month, last)
            if found := re.fullmatch(r"(\d+)W", self._days):
                return day.day == _nearest_weekday(day.year, day.month, min(int(found[1]), last))
            return day.day in _numbers(self._days, 1, 31)
        weekday = day.isoweekday() % 7 + 1
        if found := re.fullmatch(r"(\w+)#([1-5])", self._weekdays):
            return [weekday] == _numbers(found[1], 1, 7, _WEEKDAYS) and (day.day - 1) // 7 + 1 == int(found[2])
        if found := re.fullmatch(r"(\w+)L", self._weekdays):
            return [weekday] == _numbers(found[1], 1, 7, _WEEKDAYS) and day.day + 7 > last
        return weekday in _numbers("SAT" if self._weekdays == "L" else self._weekdays, 1, 7, _WEEKDAYS)


def _nearest_weekday(year: int, month: int, day: int) -> int:
    """Return the day, or on a weekend the Friday before or the Monday after it, of the same month."""
    last = calendar.monthrange(year, month)[1]
    weekday = date(year, month, day).isoweekday()
    if weekday == 6:
        return day - 1 if day > 1 else day + 2
    if weekday == 7:
        return day + 1 if day < last else day - 2
    return day


def _numbers(field: str, low: int, high: int, names: dict[str, int] | None = None) -> list[int]:
    """Read a cron field of numbers and names: *, lists, ranges and steps."""
    found: set[int] = set()
    for part in field.upper().split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        try:
            if span == "*":
                start, end = low, high
            else:
                start = (names or {}).get(first) or int(first)
                end = ((names or {}).get(last) or int(last)) if last else (high if step else start)
            numbers = range(start, end + 1, int(step or 1))
        except ValueError as error:
            raise ValueError(f"Not a valid cron field: {field}") from error
        if start < low or end > high or not numbers:
            raise ValueError(f"Not a valid cron field: {field}, it must be within {low}-{high}")
        found.update(numbers)
    return sorted(found)
