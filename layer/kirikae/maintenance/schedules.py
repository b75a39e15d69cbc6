"""The next time of an EventBridge Scheduler expression in a time zone.

The sandbox's scheduler has a parser of its own on purpose: the tests compare the two, each an oracle for the other.
https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

import calendar
import itertools
import re
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

AT = re.compile(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?)\)")
CRON = re.compile(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)")
MONTHS = {name.upper(): str(number) for number, name in enumerate(calendar.month_abbr) if name}
WEEKDAYS = {name: str(number) for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), 1)}
HORIZON_DAYS = 32  # further ahead than the longest window
RECENT = timedelta(hours=1)  # for so long a start that the clocks have skipped is news


def zone_name(name: str) -> str:
    """Return the name of an IANA time zone; raise ValueError if it is none, as the name of a folder of zones is."""
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, OSError) as error:
        raise ValueError(name) from error


def next_time(expression: str, timezone: str, after: datetime) -> datetime:
    """Return the first time after `after`, in the zone; raise ValueError if there is none within a month.

    A local time that the clocks skip means the time that they would show without: EventBridge Scheduler leaves it out,
    but an end must come. One that they repeat means the first of the two, or the second where `after` is between them:
    Scheduler runs once, AWS does not say when, and an end must not wait for the next day.
    """
    zone = ZoneInfo(timezone)
    local = _times(expression, after.astimezone(zone).date() - timedelta(days=1))
    due = (moment for time in local for moment in _moments(time, zone) if moment > after)
    if first := next(due, None):
        # A skipped time lands behind the gap, perhaps behind one that is not skipped: Lord Howe's has half an hour.
        others = itertools.takewhile(lambda moment: moment < first + timedelta(hours=1), due)
        return min([first, *others]).astimezone(zone)
    raise ValueError(f"MaintenanceEnd is {expression!r}, which does not come within {HORIZON_DAYS} days of {after:%F}")


def left_out(expression: str, timezone: str, now: datetime) -> datetime | None:
    """Return the local time of an expression that the clocks have just skipped, which EventBridge Scheduler leaves out.

    None if there was none, also if only Scheduler understands the expression.
    """
    zone = ZoneInfo(timezone)
    here, before = now.astimezone(zone), (now - RECENT).astimezone(zone)
    if here.utcoffset() == before.utcoffset() or not expression:  # so at nearly every look
        return None
    local = here.replace(tzinfo=None)
    with suppress(ValueError):
        times = itertools.takewhile(lambda time: time <= local, _times(expression, before.date()))
        shown = ((time, time.replace(tzinfo=zone).astimezone(UTC).astimezone(zone)) for time in times)
        skipped = [time for time, clock in shown if clock.replace(tzinfo=None) != time]
        return next((time for time in skipped if time >= before.replace(tzinfo=None)), None)
    return None


def _moments(local: datetime, zone: ZoneInfo) -> list[datetime]:
    """Return when clocks show a local time, in UTC: twice if they repeat it, once if they skip it."""
    first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return [first, second] if first < second else [first]


def _times(expression: str, first: date) -> "itertools.chain[datetime]":
    """Return the local times of an expression from a day on."""
    if found := AT.fullmatch(expression):
        return itertools.chain([datetime.fromisoformat(found[1])])
    if not (found := CRON.fullmatch(expression)):
        raise ValueError(f"MaintenanceEnd is {expression!r}, expected cron(...) or at(...)")
    minutes, hours, days, months, weekdays, years = found.groups()
    all_hours, all_minutes = sorted(_numbers(hours, 0, 23)), sorted(_numbers(minutes, 0, 59))
    dates = (first + timedelta(days=number) for number in range(HORIZON_DAYS + 2))
    return itertools.chain(
        datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001 (local)
        for day in dates
        if day.year in _numbers(years, 1970, 2199)
        and day.month in _numbers(_named(months, MONTHS), 1, 12)
        and _on_day(days, day)
        and _on_weekday(weekdays, day)
        for hour, minute in itertools.product(all_hours, all_minutes)
    )


def _on_day(field: str, day: date) -> bool:
    """Tell whether a day-of-month field means this day: L is the last day, 15W the weekday nearest to the 15th."""
    last = calendar.monthrange(day.year, day.month)[1]
    if field == "?":
        return True
    if field == "L":
        return day.day == last
    if found := re.fullmatch(r"(\d+|L)W", field):
        return day == _nearest_weekday(day.replace(day=last if found[1] == "L" else min(int(found[1]), last)))
    return day.day in _numbers(field, 1, 31)


def _nearest_weekday(day: date) -> date:
    """Return the Monday to Friday nearest to a day, within its month."""
    for distance in (0, -1, 1, -2, 2):
        near = day + timedelta(days=distance)
        if near.isoweekday() <= 5 and near.month == day.month:
            return near
    raise AssertionError(day)  # five days in a row have a weekday among them


def _on_weekday(field: str, day: date) -> bool:
    """Tell whether a day-of-week field means this day: 6L is the last Friday of the month, 3#2 the second Tuesday."""
    number = day.isoweekday() % 7 + 1
    field = _named(field, WEEKDAYS)
    if field in ("?", "L"):
        return field == "?" or number == 7
    if found := re.fullmatch(r"(\d)#([1-5])", field):
        return number == int(found[1]) and (day.day - 1) // 7 + 1 == int(found[2])
    if found := re.fullmatch(r"(\d)L", field):
        return number == int(found[1]) and (day + timedelta(days=7)).month != day.month
    return number in _numbers(field, 1, 7)


def _named(field: str, names: dict[str, str]) -> str:
    return re.sub(r"[A-Z]{3}", lambda found: names.get(found[0], found[0]), field.upper())


def _numbers(field: str, low: int, high: int) -> set[int]:
    """Return the numbers that a cron field means: *, lists, ranges and steps."""
    numbers: set[int] = set()
    for part in field.split(","):
        if not (found := re.fullmatch(r"(\*|\d+)(?:-(\d+))?(?:/(\d+))?", part)):
            raise ValueError(f"MaintenanceEnd has {field!r}, expected numbers, lists, ranges or steps")
        start, end, step = found.groups()
        begin = low if start == "*" else int(start)
        stop = int(end) if end else high if start == "*" or step else begin
        numbers.update(range(begin, stop + 1, int(step or 1)))
    return numbers
