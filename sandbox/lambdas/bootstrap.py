"""Start Lambda's own runtime client in this process, with time.time() moved to the account's virtual clock.

Runs in the bare interpreter of the functions: `python -P -B bootstrap.py OFFSET_FILE HANDLER`.
"""

import os
import sys
import time


class _VirtualTime:
    """time.time() plus an offset that the sandbox writes before each invocation."""

    # An object, not a function: `class Timer: now = time.time` must not turn it into a method.
    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self._real = time.time

    def __call__(self) -> float:
        return self._real() + float(os.pread(self._file, 32, 0))


if __name__ == "__main__":
    _, offset_file, handler = sys.argv
    time.time = _VirtualTime(offset_file)
    sys.argv = ["awslambdaric", handler]
    from awslambdaric.__main__ import main

    main(sys.argv)
