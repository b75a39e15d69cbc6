"""Exceptions of kirikae; every other one is an answer of AWS, or its absence, as botocore raises it."""

from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError


class InputError(ValueError):
    """A parameter, an event or a stored wish is not what it must be; the text names it and says what was expected."""


class AnswerError(BotoCoreError):
    """AWS answered without what was asked for: a cut answer is no answer, and never «there is none».

    What such a call was to write may have been written.  The next run, Lambda's repetition or the tick, looks again.
    """

    fmt = "{call}: AWS's answer {problem}; nothing is concluded from it, and the next run asks again"


def part(answer: Mapping[str, Any], name: str, call: str) -> Any:
    """Return what AWS's answer to this call always has; raise AnswerError if it is cut."""
    if name not in answer:
        found = ", ".join(key for key in answer if key != "ResponseMetadata")
        raise AnswerError(call=call, problem=f"has no {name}, only {found or 'nothing'}")
    return answer[name]


def one(found: Sequence[Any], name: str, call: str) -> Any:
    """Return the one thing that AWS's answer to this call always has; raise AnswerError if it has none, or more."""
    if len(found) != 1:
        raise AnswerError(call=call, problem=f"has {len(found)} of {name}, where one was asked for")
    return found[0]


class UnfinishedError(RuntimeError):
    """Part of a change was not made; the text names it, and the next run finishes it.

    `done` is what the act would have returned: the part that was made is mailed now, because no later run makes it.
    """

    def __init__(self, text: str, done: Any = None) -> None:
        super().__init__(text)
        self.done = done


class TimeUpError(RuntimeError):
    """A write was not tried, because Lambda would soon end the run; the next run goes on."""


class OutdatedError(RuntimeError):
    """AWS refused a write because the world is not as it was read; nothing is wrong with it, and a new look helps."""


class OtherRunError(Exception):
    """Another run of the same function is further than this one, which therefore stops; the text says what it made."""


class ServingError(RuntimeError):
    """A target that should be out serves, or is out for somebody else; the text names it.  It has to leave first."""
