"""The time, and times as text; the product has no other clock."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.fromtimestamp(time.time(), UTC)


def moment(text: object, name: str = "the time") -> datetime:
    """Parse an ISO 8601 time with an offset; raise ValueError that says what is wrong with `name`."""
    try:
        parsed = datetime.fromisoformat(text)  # type: ignore[arg-type]  # a number is a TypeError
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is {text!r}, expected an ISO 8601 time with an offset ({error})") from error
    if parsed.tzinfo is None:
        raise ValueError(f"{name} {text} has no offset, expected one like +09:00 or Z")
    return parsed


def moment_if_any(text: object) -> datetime | None:
    """Parse an ISO 8601 time with an offset; return None for any other text."""
    try:
        return moment(text)
    except ValueError:
        return None


def iso(at: datetime) -> str:
    """Write a time in UTC to the second, as it stands in tags and reasons: 2026-12-01T06:00:00Z."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
