"""The values between observe, decide, act and mail: a decision, its change, and the result."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from kirikae.errors import UnfinishedError
from kirikae.notify import Times, Words, lines


def plain(value: Any) -> Any:
    """Return plain JSON values: a return value that is not JSON fails only in Lambda, after the act."""
    if isinstance(value, Words):
        return value.en
    if isinstance(value, Change):
        return value.record()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, frozenset)):
        return [plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}


class Change:
    """One thing that an act can do; each capability declares its own as frozen dataclasses in its `world`."""

    def record(self) -> dict[str, Any]:
        """Return the change as it is logged and returned, in plain JSON: its fields, without those that are None."""
        return {name: value for name, value in _fields(self).items() if value is not None}


@dataclass(frozen=True)
class Decision[X: Change]:
    """Why, and what to change; no change means that the world is as it should be, or is not ours to change."""

    reason: Words
    change: X | None = None
    refused: bool = False
    urgent: bool = False  # an outage needs it: if it may not be made, people are told at once
    about: str = ""  # the outage in a word, the change if empty: people are told of each that may not be answered
    forced: X | None = None  # the change to make only when a person forces it
    unseen: bool = False  # visitors get from this change what they get now: told only to who was told otherwise
    odd: Mapping[str, Words] = field(default_factory=dict)  # a word -> all that a person has to mend, if not the reason
    beside: "Decision[X] | None" = None  # what the outage needs besides and the change leaves, refused: told without it
    counts: str = ""  # the metric that counts this change
    lasting: tuple[str, ...] = ()  # conditions reported at every run until they end: metrics with an alarm
    unread: str = ""  # what could not be read: nobody knows then that nothing is due, and no change is a failure


def whole[X: Change](decision: Decision[X]) -> Decision[X]:
    """Return the decision with what its change leaves: while that is not made, people are told of both at once."""
    if not (beside := decision.beside):
        return decision
    reason = lines([decision.reason, beside.reason])
    return dataclasses.replace(decision, reason=reason, about=f"{decision.about}, left {beside.about}")


def unkept[X: Change](decision: Decision[X]) -> Decision[X]:
    """Say of the wish of a dry run that it is lost: it is not stored, so it does not come true later."""
    said = Words(
        f"{decision.reason.en}; a dry run stores no wish: give it again when it shall come true",
        f"{decision.reason.of('ja')}。ドライランのため要求は保存されていません。実行するときにもう一度要求してください",
    )
    return dataclasses.replace(decision, reason=said)


def unless_unread(decision: Decision[Any], change: Change | None, outcome: str) -> str:
    """Return the outcome; raise UnfinishedError if nothing was due as far as the world could be read."""
    if decision.unread and change is None:
        raise UnfinishedError(decision.unread)
    return outcome


@dataclass(frozen=True, kw_only=True)
class Made:
    """What came of a change that only trying could tell: all of it, less, or nothing."""

    change: Change | None
    reason: Words
    found: bool = False  # it was so before, whoever brought it about: no news to those who know it
    lasts: bool = False  # nothing came of it, as before: the world is still as it was seen, and may not have been told


class Result[X: Change, D](NamedTuple):
    """What a run did: the change, why, what its act returned, and when."""

    change: X
    reason: Words
    done: D
    times: Times
    forced: bool = False  # by a person, where the decision was to wait
