"""Processes of functions: each is a fork of one process that has loaded what the runtime brings for all of them.

Starting Python and importing botocore is most of a cold start and the same for every function; a fork has it done. What
is the function's own (its code, its layers, its clients) is loaded in its own process.
"""

import atexit
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

forks = True  # False: each function loads everything in a process of its own, so that its cold start can be timed

_BOOTSTRAP = Path(__file__).with_name("bootstrap.py")
_START_SECONDS = 60.0  # the first one imports botocore
_LOADED = ("botocore",)  # by bootstrap.py, before it knows the function


def python() -> Path:
    """Return the path of the bare interpreter that has what Lambda's runtime has and nothing more.

    SANDBOX_LAMBDA_PYTHON names it, else it is that of .venv-lambda; RuntimeError if there is none.
    """
    named = os.environ.get("SANDBOX_LAMBDA_PYTHON")
    found = Path(named) if named else Path(__file__).parents[2] / ".venv-lambda" / "bin" / "python"
    if not found.exists():
        where = "SANDBOX_LAMBDA_PYTHON names it" if named else "`make setup` makes it"
        raise RuntimeError(f"There is no Python for the functions at {found} ({where})")
    return found


class Process:
    """A running function. Its socket (`fileno`) is readable once it has ended."""

    def __init__(self, life: socket.socket, pid: int) -> None:
        """Hold the socket on which the end of the process is told."""
        self._life = life
        self._code: int | None = None
        self.pid = pid

    def fileno(self) -> int:
        """Return the socket's descriptor, for select()."""
        return self._life.fileno()

    def poll(self) -> int | None:
        """Return the exit status if it has ended, negative for a signal."""
        return self.wait(0)

    def wait(self, seconds: float) -> int | None:
        """Return the exit status as poll(), at the latest after this time."""
        if self._code is None:
            self._life.settimeout(seconds)
            with contextlib.suppress(BlockingIOError, TimeoutError):
                self._code = int(self._life.recv(16) or -signal.SIGKILL)
        return self._code

    def kill(self) -> None:
        """End it and all that it started, by a signal."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """End it, and wait until it has ended."""
        self.kill()
        if self.wait(10) is None:
            raise TimeoutError(f"process {self.pid} does not end")
        self._life.close()


def start(arguments: list[str], directory: Path, variables: dict[str, str], log: int) -> Process:
    """Return a function's process: its arguments as bootstrap.py has them, its directory, environment and log file.

    RuntimeError if the function brings a package of its own that the process has from Lambda's runtime.
    """
    for path in variables["PYTHONPATH"].split(os.pathsep):
        if own := [name for name in _LOADED if (Path(path) / name).exists()]:
            raise RuntimeError(f"the sandbox does not run a function with its own {' and '.join(own)} ({path})")
    origin = _origin(python()) if forks else _begin(python())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(_START_SECONDS)
    wanted: dict[str, Any] = {"arguments": arguments, "directory": str(directory), "variables": variables}
    with theirs:
        socket.send_fds(origin, [json.dumps(wanted).encode()], [theirs.fileno(), log])
    if not forks:
        origin.close()
    if not (told := ours.recv(16)):
        raise RuntimeError("the process that functions are forked from did not fork one")
    return Process(ours, int(told))


@functools.cache
def _origin(interpreter: Path) -> socket.socket:
    origin = _begin(interpreter)
    atexit.register(origin.close)
    return origin


def _begin(interpreter: Path) -> socket.socket:
    """Start a process that functions are forked from; it ends when the socket is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(  # noqa: S603 (the functions under test)
            # -B: Lambda's code directory is read-only
            [interpreter, "-P", "-B", _BOOTSTRAP],
            env={"LANG": "en_US.UTF-8", "PATH": "/usr/bin:/bin", "TZ": ":UTC"},
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches only the sandbox
        )
    atexit.register(process.wait)
    return ours
