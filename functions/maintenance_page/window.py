"""Announced windows, and which of them tells visitors the end of the maintenance."""

from collections.abc import Mapping
from typing import NamedTuple


class Window(NamedTuple):
    """An announced window; without an end yet, `ends` is None and `until` and `words` are empty."""

    name: str
    ends: float | None  # seconds since the epoch
    until: str  # ISO 8601, as announced
    words: Mapping[str, str]  # language -> the end in its words
    reason: str


def last(windows: tuple[Window, ...], now: float) -> Window | None:
    """Return the window that keeps the maintenance on longest; an open end is later than any other."""
    still_open = [window for window in windows if window.ends is None or window.ends > now]
    return max(still_open, key=lambda window: float("inf") if window.ends is None else window.ends, default=None)
