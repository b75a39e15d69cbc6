"""One execution environment of a Lambda function: the real runtime client, driven over the Runtime API.

There are no threads in here: whoever invokes also serves the few requests that the runtime makes meanwhile. The one for
the next event, which the runtime makes when it is idle, waits in the socket's backlog, as a frozen environment does.

An extension inside the process (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html) gets an
event for every invocation; the environment is ready for the next one when the extension, too, has asked for more.
"""

import http.client
import json
import os
import select
import shutil
import signal
import socket
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sandbox.lambdas import processes

_INIT_SECONDS = 60.0  # AWS allows 10; this machine may be slower than Lambda
_API = "/2018-06-01/runtime/"
_EXTENSION_API = "/2020-01-01/extension/"
_SLEPT = "/sandbox/slept"  # bootstrap.py tells a pause, in seconds


@dataclass(frozen=True)
class Invocation:
    """How one invocation ended; when error is set, payload is AWS's error document. Seconds are real ones.

    payload: a JSON value. log: the lines written meanwhile. cold: its process started for it. init_seconds: 0 if not.
    """

    payload: Any
    error: str | None
    log: list[str]
    init_seconds: float
    seconds: float
    cold: bool
    request_id: str = ""


@dataclass(frozen=True)
class _Request:
    path: str
    body: bytes
    connection: socket.socket | None
    extension: str = ""

    def reply(self, status: str, headers: dict[str, str], body: bytes = b"") -> None:
        """Answer and close the connection; a runtime that is gone does not mind."""
        if self.connection is None:
            return
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "Connection: close", "", ""])
        try:
            self.connection.sendall(head.encode() + body)
        except OSError:
            pass
        finally:
            self.connection.close()


_EXITED = _Request("exited", b"", None)
_LATE = _Request("late", b"", None)


class Environment:
    """A process that holds one function; it starts with the first invocation and again after a crash or a timeout."""

    def __init__(
        self,
        handler: str,
        code_dir: Path,
        layers: list[Path],
        variables: dict[str, str],
        arn: str,
        slept: Callable[[float], object] = lambda _seconds: None,
    ) -> None:
        """Prepare it: variables are all environment variables of the function, Lambda's own included.

        slept: told each pause of the function, in seconds, before the function goes on.
        """
        self._handler = handler
        self._code_dir = code_dir.resolve()
        paths = [self._code_dir, *(layer.resolve() / "python" for layer in layers)]
        self._arn = arn
        self._tell_slept = slept
        self._slept = 0.0  # seconds that this invocation has paused without real time passing
        self._moved = 0.0  # seconds by which the process's time.time() is off
        self._process: processes.Process | None = None
        self._logged = 0
        self._extensions: dict[str, _Request | None] = {}  # what each waits with for an event; None: it is at work
        self._asleep: _Request | None = None  # a pause that its timeout ended
        self._early: _Request | None = None  # what the runtime asked for while an extension was at work
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._directory = Path(tempfile.mkdtemp(prefix="sandbox-"))
        self._offset = self._directory / "offset"
        self._log: BinaryIO = (self._directory / "log").open("w+b")
        self._variables = {
            **variables,
            "_HANDLER": handler,
            "LAMBDA_TASK_ROOT": str(self._code_dir),
            "PYTHONPATH": os.pathsep.join(str(path) for path in paths),
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._listener.getsockname()[1]}",
        }

    def invoke(self, event: bytes, request_id: str, now: float, timeout: float) -> Invocation:
        """Run one JSON event to its end; the function's time.time() starts at now.

        Its timeout counts real seconds and those that it sleeps, which take no real time."""
        try:
            return self._invoke(event, request_id, now, timeout)
        except BaseException:
            self._kill()  # in the middle of an event it is of no further use
            raise

    def _invoke(self, event: bytes, request_id: str, now: float, timeout: float) -> Invocation:
        self._set_time(now)
        cold = self._process is None or self._process.poll() is not None
        started = time.monotonic()
        if cold:
            self._start()
        idle = self._receive(_INIT_SECONDS)
        init_seconds = time.monotonic() - started if cold else 0.0
        if idle.path.endswith("/next") and not self._extensions_ready(_INIT_SECONDS):
            idle = _LATE
        if not idle.path.endswith("/next"):
            payload = self._broken(idle, request_id, _INIT_SECONDS)
            return Invocation(payload, _summary(payload), self._new_log(), init_seconds, 0.0, cold, request_id)
        self._set_time(now)
        started = time.monotonic()
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(int((now + timeout) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": self._arn,
            "Lambda-Runtime-Trace-Id": "Root=1-00000000-000000000000000000000000;Parent=0000000000000000;Sampled=0",
        }
        self._tell_extensions(request_id, now + timeout)
        idle.reply("200 OK", headers, event)
        answer = self._receive(timeout)
        seconds = time.monotonic() - started + self._slept
        if answer.path.endswith("/response"):
            answer.reply("202 Accepted", {})
            payload, error = json.loads(answer.body or b"null"), None
        else:
            payload = self._broken(answer, request_id, timeout)
            error = _summary(payload)
        if self._process and not self._extensions_ready(timeout - seconds):
            self._kill()  # the caller has its answer and does not notice
        return Invocation(payload, error, self._new_log(), init_seconds, seconds, cold, request_id)

    def close(self) -> None:
        """End the process and remove its files."""
        self._kill()
        self._listener.close()
        self._log.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _start(self) -> None:
        self._kill()
        arguments = [str(self._offset), self._handler, *self._ways()]
        self._process = processes.start(arguments, self._code_dir, self._variables, self._log.fileno())

    @property
    def access_key(self) -> str:
        """The key that its requests are signed with."""
        return str(self._variables.get("AWS_ACCESS_KEY_ID", ""))

    def kill(self) -> None:
        """End the function where it is, by a signal; whoever waits for its answer sees that it is gone."""
        if self._process:
            self._process.kill()

    def _ways(self) -> list[str]:
        """Return the file for the branches it takes, in the directory that SANDBOX_WAYS names, if one is asked for."""
        directory = os.environ.get("SANDBOX_WAYS")
        return [f"{directory}/{self._directory.name}"] if directory else []

    def _kill(self) -> None:
        if self._process is None:
            return
        self._process.close()
        self._process = None
        for request in (self._early, self._asleep, *self._extensions.values()):
            if request and request.connection:
                request.connection.close()
        self._extensions, self._early, self._asleep = {}, None, None
        while select.select([self._listener], [], [], 0)[0]:  # what it still asked for
            self._listener.accept()[0].close()

    def _set_time(self, now: float) -> None:
        self._slept = 0.0
        self._move(now - time.time())

    def _move(self, offset: float) -> None:
        self._moved = offset
        # As long as the file's earlier content: the function may read it at any time.
        text = f"{offset:<32.6f}"
        with self._offset.open("r+" if self._offset.exists() else "w") as file:
            file.write(text)

    def _receive(self, seconds: float) -> _Request:
        """Wait for the runtime's next request, but no longer than it lives."""
        if self._early:
            request, self._early = self._early, None
            return request
        return self._accept(seconds, lambda: False)

    def _accept(self, seconds: float, enough: Callable[[], bool]) -> _Request:
        """Serve extensions until the runtime asks for something, or it is enough."""
        end = time.monotonic() + self._slept + seconds
        while not enough():
            left = max(0.0, end - time.monotonic() - self._slept)
            heard = select.select([self._listener, self._process], [], [], left)[0]
            if self._listener not in heard:
                return _EXITED if heard else _LATE
            connection, _ = self._listener.accept()
            try:
                request = _read(connection)
            except (OSError, ValueError):
                connection.close()  # it died while it was talking
                continue
            if request.path == _SLEPT:
                self._pause(request, end)
            elif request.path.startswith(_EXTENSION_API):
                self._serve_extension(request)
            else:
                return request
        return _LATE

    def _pause(self, request: _Request, end: float) -> None:
        """Let a pause pass: the function's time and its timeout go on, real time does not."""
        seconds = float(request.body)
        self._slept += seconds
        self._tell_slept(seconds)
        self._move(self._moved + seconds)
        if time.monotonic() + self._slept > end:
            self._asleep = request  # when its time is over it still sleeps
        else:
            request.reply("200 OK", {})

    def _serve_extension(self, request: _Request) -> None:
        """Register an extension, or keep its request until there is an event."""
        if request.path == f"{_EXTENSION_API}register":
            identifier = str(uuid.uuid4())
            self._extensions[identifier] = None
            request.reply("200 OK", {"Lambda-Extension-Identifier": identifier}, b"{}")
        elif request.path == f"{_EXTENSION_API}event/next" and request.extension in self._extensions:
            self._extensions[request.extension] = request
        else:
            request.reply("403 Forbidden", {}, b'{"errorType": "Extension.UnknownExtensionIdentifier"}')

    def _tell_extensions(self, request_id: str, deadline: float) -> None:
        event = {"eventType": "INVOKE", "deadlineMs": int(deadline * 1000), "requestId": request_id}
        event |= {"invokedFunctionArn": self._arn}
        for identifier, waiting in self._extensions.items():
            if waiting:
                self._extensions[identifier] = None
                waiting.reply("200 OK", {"Content-Type": "application/json"}, json.dumps(event).encode())

    def _extensions_ready(self, seconds: float) -> bool:
        """Wait until every extension has asked for its next event; say whether they all have."""
        end = time.monotonic() + self._slept + seconds
        while not (ready := None not in self._extensions.values()):
            request = self._accept(end - time.monotonic() - self._slept, lambda: None not in self._extensions.values())
            if request.connection:
                self._early = request
            elif request is _EXITED or time.monotonic() + self._slept > end:
                break
        return ready

    def _broken(self, answer: _Request, request_id: str, timeout: float) -> dict[str, Any]:
        """Turn anything but a response into AWS's error document."""
        if answer.path.endswith("/error"):
            answer.reply("202 Accepted", {})
            if "/init/" in answer.path:
                self._kill()
            return dict(json.loads(answer.body))
        code = self._process.poll()
        self._kill()
        if answer is _LATE:
            text = f"Task timed out after {timeout:.2f} seconds"
            return {"errorType": "Sandbox.Timedout", "errorMessage": f"RequestId: {request_id} Error: {text}"}
        status = f"signal: {signal.Signals(-code).name}" if code and code < 0 else f"exit status {code}"
        text = f"Runtime exited with error: {status}"
        return {"errorType": "Runtime.ExitError", "errorMessage": f"RequestId: {request_id} Error: {text}"}

    def _new_log(self) -> list[str]:
        """Return the lines written since the last look."""
        # The descriptor's position is shared with the process, which writes at the end: read without moving it.
        read = bytearray()
        while chunk := os.pread(self._log.fileno(), 1 << 20, self._logged + len(read)):
            read += chunk
        self._logged += len(read)
        return read.decode(errors="replace").replace("\r", "\n").splitlines()


def _summary(payload: dict[str, Any]) -> str:
    return f"{payload.get('errorType')}: {payload.get('errorMessage')}"


def _read(connection: socket.socket) -> _Request:
    """Read one HTTP request."""
    connection.settimeout(10)
    with connection.makefile("rb") as file:
        _, path, _ = file.readline().decode().split(" ", 2)
        headers = http.client.parse_headers(file)
        if headers.get("Expect"):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = file.read(int(headers.get("Content-Length", 0)))
    return _Request(path, body, connection, headers.get("Lambda-Extension-Identifier", ""))
