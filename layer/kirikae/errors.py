"""Exceptions of kirikae; every other one is an answer of AWS, or its absence, as botocore raises it."""

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import BotoCoreError


class InputError(ValueError):
    """A parameter, an event or a stored wish is not what it must be; the text names it and says what was expected."""


class AnswerError(BotoCoreError):
    """AWS answered without what was asked for: a cut answer is no answer, and never «there is none»."""

    fmt = "AWS's answer has no {name}, only {found}"


def part(answer: Mapping[str, Any], name: str) -> Any:
    """Return a field that AWS's answer always has; raise AnswerError if it is cut."""
    if name not in answer:
        raise AnswerError(name=name, found=", ".join(answer) or "nothing")
    return answer[name]


class UnfinishedError(RuntimeError):
    """Part of a change was not made; the text names it, and the next run finishes it.

    `done` is what the act would have returned: the part that was made is mailed now, because no later run makes it.
    """

    def __init__(self, text: str, done: Any = None) -> None:
        super().__init__(text)
        self.done = done


class OtherRunError(Exception):
    """Another run of the same function is further than this one, which therefore stops; the text says what it made."""


class ServingError(RuntimeError):
    """A target that should be out serves, or is out for somebody else; the text names it.  It has to leave first."""
