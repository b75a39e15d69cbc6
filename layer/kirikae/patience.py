"""Looking again until AWS shows what was written: a read right after a write may still show what was before."""

import time
from collections.abc import Callable

from botocore.exceptions import BotoCoreError, ClientError

from kirikae.errors import OutdatedError
from kirikae.log import logger

# Between the looks, in seconds; none begins later than LONGEST after the first, however slowly AWS answers.
PAUSES = (0.2, 0.4, 0.8, 1.6, 3.0)
LONGEST = 6.0


def until[T](look: Callable[[], T], shows: Callable[[T], bool]) -> T | None:
    """Look until the answer shows it or the patience is over; return the last answer, None if there never was one.

    A look that fails is one that shows nothing: what was written stays written, whether or not it can be read.
    """
    began, seen = time.time(), None
    for pause in (*PAUSES, 0.0):
        try:
            seen = look()
        except (ClientError, BotoCoreError) as error:  # the caller tells what was written in any case
            logger.warning("what was written cannot be read back", problem=str(error))
        else:
            if shows(seen):
                break
        left = began + LONGEST - time.time()
        if left <= 0:
            break
        time.sleep(min(pause, left))
    return seen


def anew[T](run: Callable[[], T], last: Callable[[], T] | None = None) -> T:
    """Run again what a read of before has misled, until the patience is over; return what it, or the last, returns."""
    began = time.time()
    for pause in PAUSES:
        try:
            return run()
        except OutdatedError as error:
            if time.time() - began > LONGEST and not last:
                raise
            logger.warning("what was read is no more; looking again", problem=str(error))
            time.sleep(pause)
    return (last or run)()
