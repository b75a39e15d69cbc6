"""Start Lambda's own runtime client in this process, with time.time() moved to the account's virtual clock.

Runs in the bare interpreter of the functions: `python -P -B bootstrap.py OFFSET_FILE HANDLER [LINES_FILE]`. With a
third argument every line of the function's own code and layers that runs is noted there once, as FILE:NUMBER.
"""

import os
import sys
import time
import types


class _VirtualTime:
    """time.time() plus an offset that the sandbox writes before each invocation."""

    # An object, not a function: `class Timer: now = time.time` must not turn it into a method.
    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self._real = time.time

    def __call__(self) -> float:
        return self._real() + float(os.pread(self._file, 32, 0))


def _note_lines(path: str) -> None:
    """Note each line of the function and its layers when it runs for the first time; a signal ends it at any time."""
    notes = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    own = tuple(os.environ["PYTHONPATH"].split(os.pathsep))  # an import puts the real path into compiled code

    def line(code: types.CodeType, number: int) -> object:
        if code.co_filename.startswith(own):
            os.write(notes, f"{code.co_filename}:{number}\n".encode())
        return sys.monitoring.DISABLE

    tool = sys.monitoring.COVERAGE_ID
    sys.monitoring.use_tool_id(tool, "sandbox")
    sys.monitoring.register_callback(tool, sys.monitoring.events.LINE, line)
    sys.monitoring.set_events(tool, sys.monitoring.events.LINE)


if __name__ == "__main__":
    _, offset_file, handler, *lines_file = sys.argv
    if lines_file:
        _note_lines(*lines_file)
    time.time = _VirtualTime(offset_file)
    sys.argv = ["awslambdaric", handler]
    from awslambdaric.__main__ import main

    main(sys.argv)
