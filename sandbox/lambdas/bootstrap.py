"""Start Lambda's own runtime client in a process of its own, with time.time() moved to the account's virtual clock.

A pause takes no real time: time.sleep() tells the sandbox, which moves time.time() on by as much.
Runs in the bare interpreter of the functions, and forks one process for each message on its standard input: JSON with
the `directory`, the environment's `variables` and the `arguments` OFFSET_FILE HANDLER [WAYS_FILE], and with it two
descriptors: a socket, on which the function's process id and at last its exit status are told, and its log. With a
third argument every branch that the function's own code and layers take is noted there once, as note_ways() says.
"""

import contextlib
import gc
import json
import os
import random
import signal
import socket
import sys
import threading
import time
import types
from collections.abc import Callable


class _VirtualTime:
    """time.time() plus an offset that the sandbox writes before each invocation and at each pause."""

    # An object, not a function: `class Timer: now = time.time` must not turn it into a method.
    def __init__(self) -> None:
        self._file: int | None = None
        self._real = time.time

    def follow(self, path: str) -> None:
        """Read the offset from this file from now on."""
        self._file = os.open(path, os.O_RDONLY)

    def __call__(self) -> float:
        return self._real() + (0.0 if self._file is None else float(os.pread(self._file, 32, 0)))


def note_ways(own: tuple[str, ...], note: Callable[[str], object]) -> Callable[[], None]:
    """Call note("FILE:LINE>LINE") for each branch that files under `own` take, from a line to another or the same.

    A function that begins is a step from its own line to itself. What is returned lets all be noted once more.
    """
    taken: dict[tuple[types.CodeType, int], set[int]] = {}

    def line(code: types.CodeType, offset: int) -> int:
        return next((n for start, end, n in code.co_lines() if n and start <= offset < end), code.co_firstlineno)

    def begins(code: types.CodeType, _offset: int) -> object:
        if code.co_filename.startswith(own):
            note(f"{code.co_filename}:{code.co_firstlineno}>{code.co_firstlineno}")
        return sys.monitoring.DISABLE

    def branches(code: types.CodeType, offset: int, target: int) -> object:
        if not code.co_filename.startswith(own):
            return sys.monitoring.DISABLE
        targets = taken.setdefault((code, offset), set())
        if target not in targets:
            targets.add(target)
            note(f"{code.co_filename}:{line(code, offset)}>{line(code, target)}")
        return sys.monitoring.DISABLE if len(targets) > 1 else None

    tool, events = sys.monitoring.COVERAGE_ID, sys.monitoring.events
    sys.monitoring.use_tool_id(tool, "sandbox")
    sys.monitoring.register_callback(tool, events.PY_START, begins)
    sys.monitoring.register_callback(tool, events.BRANCH, branches)
    sys.monitoring.set_events(tool, events.PY_START | events.BRANCH)

    def anew() -> None:
        taken.clear()
        sys.monitoring.restart_events()

    return anew


class _VirtualSleep:
    """time.sleep() that really sleeps only as long as it takes to tell the sandbox.

    A thread beside the handler sleeps really: the handler goes on meanwhile.
    """

    def __init__(self) -> None:
        self._real = time.sleep
        self.slept = 0.0

    def __call__(self, seconds: float, /) -> None:
        if seconds < 0 or threading.current_thread() is not threading.main_thread():
            self._real(seconds)
            return
        text = str(float(seconds)).encode()
        host, _, port = os.environ["AWS_LAMBDA_RUNTIME_API"].partition(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"POST /sandbox/slept HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
            while connection.recv(4096):  # until it is answered and closed: then the time has passed everywhere
                pass
        self.slept += seconds


class _Moved:
    """time.monotonic() or time.perf_counter() plus the pauses: a deadline may be computed by any clock."""

    def __init__(self, real, sleep):
        self._real, self._sleep = real, sleep

    def __call__(self) -> float:
        return self._real() + self._sleep.slept


def _run(clock: _VirtualTime, wanted: dict, log: int) -> None:
    """Be the function, in a process that has nothing of its origin but the modules."""
    os.setsid()  # what the function starts ends with it
    for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.closerange(3, 64)
    os.environ.clear()
    os.environ.update(wanted["variables"])
    os.chdir(wanted["directory"])
    time.tzset()
    sys.path[:0] = os.environ["PYTHONPATH"].split(os.pathsep)
    offset_file, handler, *ways_file = wanted["arguments"]
    clock.follow(offset_file)
    random.seed(handler)  # how long an SDK waits before it repeats a call is the same each time
    if ways_file:
        notes = os.open(*ways_file, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        own = tuple(os.environ["PYTHONPATH"].split(os.pathsep))  # an import puts the real path into compiled code
        note_ways(own, lambda way: os.write(notes, f"{way}\n".encode()))  # each whole: a signal may end it at any time
    sys.argv = ["awslambdaric", handler]
    from awslambdaric.__main__ import main  # it looks at the environment when it is imported

    main(sys.argv)


def _watch(clock: _VirtualTime, wanted: dict, life: int, log: int) -> None:
    """Fork the function and tell how it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if not (pid := os.fork()):
        _run(clock, wanted, log)
        return
    with contextlib.suppress(BrokenPipeError):  # nobody asks any more
        os.write(life, b"%d" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(life, b"%d" % os.waitstatus_to_exitcode(status))


def _serve(clock: _VirtualTime) -> None:
    """Fork for each message until whoever sends them is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.freeze()  # the forks share what is loaded
    messages = socket.socket(fileno=0)
    while True:
        message, descriptors, _, _ = socket.recv_fds(messages, 1 << 18, 2)
        if not message:
            break
        if not os.fork():
            _watch(clock, json.loads(message), *descriptors)
            break
        for descriptor in descriptors:
            os.close(descriptor)


if __name__ == "__main__":
    time.time = clock = _VirtualTime()
    time.sleep = sleep = _VirtualSleep()
    time.monotonic, time.perf_counter = _Moved(time.monotonic, sleep), _Moved(time.perf_counter, sleep)
    # What every function has from the runtime; the clocks are there first, for those that keep one.
    import botocore.client
    import botocore.httpsession  # noqa: F401 (for the functions)

    _serve(clock)
