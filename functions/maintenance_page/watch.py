"""The windows as far as they are known: read after replies, and never before one.

The reader is a thread that Lambda knows as an internal extension: it hears of every invocation, the reply leaves as
soon as the handler has returned, and the environment is not frozen before the thread asks for the next event.
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html
"""

import json
import os
import socket
import threading
import time

from window import Window

FRESH_SECONDS = 30  # between two reads
PATIENCE_SECONDS = 2  # with a handler that does not come to its end
HEADWAY_SECONDS = 0.005  # lets the runtime send the reply before this thread wants the processor
_EXTENSION = "2020-01-01/extension"


class Watch:
    """The known windows: none until the first read, and after a failed read those of the one before."""

    def __init__(self, parameter_name: str, zone: str) -> None:
        self.windows: tuple[Window, ...] = ()
        self._parameter_name, self._zone = parameter_name, zone
        self._read_at = float("-inf")
        self._replied = threading.Event()

    def start(self) -> None:
        """Register with Lambda, which is possible during INIT only, and listen for invocations."""
        if not self._parameter_name or "AWS_LAMBDA_RUNTIME_API" not in os.environ:
            return
        try:
            answer = _ask("POST", "register", "Lambda-Extension-Name: window", b'{"events": ["INVOKE"]}')
            identifier = answer["lambda-extension-identifier"]
        except (OSError, KeyError) as problem:
            _warn("no extension could be registered: the end of the maintenance will not be read", problem)
            return
        threading.Thread(target=self._run, args=(identifier,), name="window", daemon=True).start()

    def replied(self) -> None:
        """Let the reader know that the handler is done."""
        self._replied.set()

    def read(self) -> None:
        """Read the parameter; whatever goes wrong is logged and changes nothing."""
        self._read_at = time.time()
        try:
            import parameter  # not earlier: with all that it imports, it would cost a third of a cold start

            self.windows = parameter.parse(parameter.value(self._parameter_name), self._zone)
        except Exception as problem:  # noqa: BLE001 (a reader that dies would block its environment)
            _warn(f"{self._parameter_name} cannot be read", problem)

    def _run(self, identifier: str) -> None:
        while True:
            _ask("GET", "event/next", f"Lambda-Extension-Identifier: {identifier}")  # until the next invocation
            self._replied.wait(PATIENCE_SECONDS)
            self._replied.clear()
            if time.time() - self._read_at >= FRESH_SECONDS:
                time.sleep(HEADWAY_SECONDS)
                self.read()


def _ask(method: str, path: str, header: str, body: bytes = b"") -> dict[str, str]:
    """Ask the Extensions API; return the headers of its answer, raise OSError if it refuses."""
    # By hand: http.client alone would be a quarter of a cold start.
    api = os.environ["AWS_LAMBDA_RUNTIME_API"]
    host, _, port = api.partition(":")
    head = f"{method} /{_EXTENSION}/{path} HTTP/1.1\r\nHost: {api}\r\n{header}\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = b""
    with socket.create_connection((host, int(port or 80))) as connection:
        connection.sendall(head.encode() + body)
        while b"\r\n\r\n" not in answer and (part := connection.recv(4096)):
            answer += part
    status, *lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    if status.split(" ")[1:2] != ["200"]:
        raise OSError(f"{path} was answered with {status!r}")
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _warn(message: str, problem: Exception) -> None:
    print(json.dumps({"level": "WARNING", "message": message, "problem": f"{type(problem).__name__}: {problem}"}))
