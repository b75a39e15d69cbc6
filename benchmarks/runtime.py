"""Run a function once as Lambda does: a fresh process of the real runtime client against a small Runtime API."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venv-lambda" / "bin" / "python"


@dataclass(frozen=True)
class Variant:
    """A handler to start: the directory of its code, what else is importable, and its environment."""

    name: str
    code: Path
    layer: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    event: dict[str, Any] = field(default_factory=dict)
    python_options: tuple[str, ...] = ()


class Process:
    """One environment of a function, and the clocks that tell what it has used."""

    def __init__(self, variant: Variant, environment: dict[str, str], on_ready: Callable[["Process"], None]) -> None:
        process = self
        self.marks: dict[str, tuple[float, float]] = {}  # name -> wall and CPU milliseconds since the start
        self.payload: Any = None
        self.failure = ""
        self._done = threading.Event()

        class RuntimeApi(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet an answer

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

            def do_GET(self) -> None:
                if "/extension/" in self.path:  # the next event of an extension: there is none before the answer
                    process._done.wait(60)
                    self.close_connection = True
                    return
                if "ready" in process.marks:  # it asks for a second event: there is none
                    process._done.wait(60)
                    self.close_connection = True
                    return
                process.mark("ready")
                on_ready(process)
                event = json.dumps(variant.event).encode()
                self.send_response(200)
                self.send_header("Lambda-Runtime-Aws-Request-Id", "00000000-0000-4000-8000-000000000000")
                self.send_header("Lambda-Runtime-Deadline-Ms", str(int((time.time() + 60) * 1000)))
                self.send_header(
                    "Lambda-Runtime-Invoked-Function-Arn",
                    f"arn:aws:lambda:ap-northeast-1:123456789012:function:{variant.code.name}",
                )
                self.send_header("Lambda-Runtime-Trace-Id", "Root=1-00000000-000000000000000000000000;Sampled=0")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(event)))
                self.end_headers()
                self.wfile.write(event)
                process.mark("event")

            def do_POST(self) -> None:
                if "/extension/" in self.path:
                    self.send_response(200)
                    self.send_header("Lambda-Extension-Identifier", "00000000-0000-4000-8000-000000000001")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    self.wfile.flush()
                    return
                process.mark("end")
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path.endswith("/error"):
                    process.failure = body.decode()
                else:
                    process.payload = json.loads(body)
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()
                self.wfile.flush()
                process._done.set()

        self._server = _QuietServer(("127.0.0.1", 0), RuntimeApi)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        path = [str(variant.code)] + ([str(variant.layer)] if variant.layer else [])
        self._process = subprocess.Popen(
            [str(PYTHON), *variant.python_options, "-m", "awslambdaric", "app.lambda_handler"],
            cwd=variant.code,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={
                "PATH": "/usr/local/bin:/usr/bin/:/bin",
                "LANG": "en_US.UTF-8",
                "TZ": ":UTC",
                "LAMBDA_TASK_ROOT": str(variant.code),
                "_HANDLER": "app.lambda_handler",
                "PYTHONPATH": os.pathsep.join(path),
                "PYTHONDONTWRITEBYTECODE": "1",  # Lambda's file systems are read-only
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}",
                "AWS_REGION": "ap-northeast-1",
                "AWS_DEFAULT_REGION": "ap-northeast-1",
                "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_SESSION_TOKEN": "token",
                "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
                "AWS_LAMBDA_FUNCTION_NAME": variant.code.name,
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
                "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{variant.code.name}",
                "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
                "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
                **environment,
                **variant.environment,
            },
        )
        self._start = time.perf_counter()
        if len(cores := usable_cores()) > 1:  # a core of its own, so that the stub does not take its time
            os.sched_setaffinity(self.pid, {cores[-1]})
        self.log = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def mark(self, name: str) -> None:
        """Note what has been used until now; of several notes of one name the last counts."""
        cpu = time.clock_gettime(~self.pid << 3 | 2) if sys.platform == "linux" else float("nan")
        self.marks[name] = (1000 * (time.perf_counter() - self._start), 1000 * cpu)

    def wait(self, seconds: float = 60) -> None:
        """Wait for the handler's answer, then stop the process."""
        answered = self._done.wait(seconds)
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._server.shutdown()
        self._server.server_close()
        if self.failure or not answered:
            raise RuntimeError(f"{self.failure or 'no answer'}\n{self.log.decode()[-3000:]}")

    def _read(self) -> None:
        self.log = self._process.communicate()[0]
        self._done.set()


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of connections that ended with their process."""


def usable_cores() -> list[int]:
    """Return the cores that this process may use, or none where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
