"""Exceptions of kirikae; every other one is an answer of AWS, or its absence, as botocore raises it."""

from typing import Any


class InputError(ValueError):
    """A parameter, an event or a stored wish is not what it must be; the text names it and says what was expected."""


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
