"""Start Lambda's own runtime client in this process, with time.time() moved to the account's virtual clock.

A pause takes no real time: time.sleep() tells the sandbox, which moves time.time() on by as much.
Runs in the bare interpreter of the functions: `python -P -B bootstrap.py OFFSET_FILE HANDLER`.
"""

import os
import socket
import sys
import threading
import time


class _VirtualTime:
    """time.time() plus an offset that the sandbox writes before each invocation and at each pause."""

    # An object, not a function: `class Timer: now = time.time` must not turn it into a method.
    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self._real = time.time

    def __call__(self) -> float:
        return self._real() + float(os.pread(self._file, 32, 0))


class _VirtualSleep:
    """time.sleep() that really sleeps only as long as it takes to tell the sandbox.

    A thread beside the handler sleeps really: the handler goes on meanwhile.
    """

    def __init__(self, api: str) -> None:
        host, _, port = api.partition(":")
        self._api = host, int(port)
        self._real = time.sleep
        self.slept = 0.0

    def __call__(self, seconds: float, /) -> None:
        if seconds < 0 or threading.current_thread() is not threading.main_thread():
            self._real(seconds)
            return
        text = str(float(seconds)).encode()
        with socket.create_connection(self._api) as connection:
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


if __name__ == "__main__":
    _, offset_file, handler = sys.argv
    time.time = _VirtualTime(offset_file)
    time.sleep = sleep = _VirtualSleep(os.environ["AWS_LAMBDA_RUNTIME_API"])
    time.monotonic, time.perf_counter = _Moved(time.monotonic, sleep), _Moved(time.perf_counter, sleep)
    sys.argv = ["awslambdaric", handler]
    from awslambdaric.__main__ import main

    main(sys.argv)
