"""The one virtual clock on which everything in the account happens."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import sleep as really_sleep  # a test may move time.sleep

from sandbox import drawn

_FIRST, _LAST = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (2027, 2031))
_SMOOTH = 0.02  # real seconds between two steps of a paced advance, so that a reader sees time pass


class Timer:
    """A call that is due at a point of virtual time."""

    def __init__(self, due: float, fn: Callable[[], object]) -> None:
        self.due = due
        self.fn = fn
        self.cancelled = False

    def cancel(self) -> None:
        """Let it not happen; once it has happened, nothing changes."""
        self.cancelled = True


class Clock:
    """Virtual time: it stands still until somebody advances it, and then runs what is due in order.

    Unless it is given, it begins at a second of the years 2027 to 2030 that the seed draws: a story about times of the
    day, the month or the year does not depend on when it is told. What runs takes no virtual time, however long it
    really takes.
    """

    def __init__(self, begins: float | None = None) -> None:
        self._now = float(drawn("clock").randrange(_FIRST, _LAST)) if begins is None else begins
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._lock = threading.Lock()

    def time(self) -> float:
        """Return the seconds since the epoch."""
        return self._now

    def now(self) -> datetime:
        """Return the time as an aware UTC datetime."""
        return datetime.fromtimestamp(self._now, UTC)

    def after(self, seconds: float, fn: Callable[[], object]) -> Timer:
        """Run fn once, this many virtual seconds from now; calls due at the same time keep their order."""
        with self._lock:
            timer = Timer(self._now + max(0.0, seconds), fn)
            heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    def every(self, seconds: float, fn: Callable[[], object]) -> None:
        """Run fn at every multiple of this many seconds since the epoch (60 = each full minute)."""

        def run() -> None:
            self.after(seconds - self._now % seconds, run)
            fn()

        self.after(seconds - self._now % seconds, run)

    def advance(self, seconds: float, pace: float = 0) -> None:
        """Let so many virtual seconds pass and run what becomes due; pace: real seconds for each, 0 is at once."""
        target = self._now + seconds
        start, began = self._now, time.monotonic()
        while True:
            limit = min(target, start + (time.monotonic() - began) / pace) if pace else target
            if timer := self._next(limit):
                timer.fn()
            elif limit >= target:
                return
            else:
                really_sleep(_SMOOTH)

    def step(self) -> bool:
        """Move time to the next thing that is due and let it happen; return whether there was one."""
        timer = self._next(float("inf"))
        if timer:
            timer.fn()
        return timer is not None

    def _next(self, limit: float) -> Timer | None:
        """Move time to the next timer that is due by the limit and take it, or move time to the limit."""
        with self._lock:
            while self._timers and self._timers[0][2].cancelled:
                heapq.heappop(self._timers)
            if self._timers and self._timers[0][0] <= limit:
                timer = heapq.heappop(self._timers)[2]
                self._now = max(self._now, timer.due)
                return timer
            self._now = max(self._now, limit)
            return None


def iso(moment: datetime) -> str:
    """Write a moment as AWS events do: 2026-01-01T00:00:00Z."""
    return (moment - timedelta(microseconds=moment.microsecond)).strftime("%Y-%m-%dT%H:%M:%SZ")
