"""Extensions inside a function's process: Lambda tells them of invocations and waits for them, its callers do not."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sandbox_tools import make_function

from sandbox.account import Account

# Registers during INIT, then does in a thread what EXTENSION says, once for every invocation.
APP = """
import http.client, json, os, threading, time

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
HEARD = []

def ask(method, path, headers, body=None):
    connection = http.client.HTTPConnection(API)
    connection.request(method, "/2020-01-01/extension/" + path, body, headers)
    answer = connection.getresponse()
    return answer, answer.read()

answer, _ = ask("POST", "register", {"Lambda-Extension-Name": "test"}, '{"events": ["INVOKE"]}')
me = {"Lambda-Extension-Identifier": answer.headers["Lambda-Extension-Identifier"]}

def run():
    while True:
        _, event = ask("GET", "event/next", me)
        HEARD.append(json.loads(event))
        exec(os.environ.get("EXTENSION", ""))

threading.Thread(target=run, daemon=True).start()

def lambda_handler(event, context):
    if event.get("raise"):
        raise ValueError("no such luck")
    refused, _ = ask("GET", "event/next", {"Lambda-Extension-Identifier": "somebody else"})
    return {"heard": [e["eventType"] for e in HEARD], "ids": [e["requestId"] for e in HEARD], "pid": os.getpid(),
            "id": context.aws_request_id, "refused": refused.status}
"""


@pytest.fixture
def make(account: Account, tmp_path: Path) -> Callable[..., Account]:
    """Return a maker of the function f."""
    (tmp_path / "app.py").write_text(APP)

    def create(timeout: int = 5, **environment: str) -> Account:
        make_function(account, tmp_path, timeout=timeout, environment=environment)
        return account

    return create


def test_the_caller_has_the_answer_before_the_extension_is_done_and_the_next_event_waits_for_it(make: Any) -> None:
    account = make(EXTENSION="time.sleep(1); HEARD[-1]['eventType'] += ' done'")
    first = account.functions.invoke("f", {})
    second = account.functions.invoke("f", {})
    assert first.error is None
    assert first.seconds < 1
    assert first.payload["heard"] in ([], ["INVOKE"])
    assert second.payload["heard"][0] == "INVOKE done"
    assert second.payload["ids"][0] == first.payload["id"]
    assert second.payload["pid"] == first.payload["pid"]
    assert first.payload["refused"] == 403, "an extension that did not register has no events"


def test_an_extension_hears_of_invocations_that_fail(make: Any) -> None:
    account = make()
    assert account.functions.invoke("f", {"raise": True}).payload["errorType"] == "ValueError"
    assert account.functions.invoke("f", {}).payload["heard"][0] == "INVOKE"


def test_an_extension_that_does_not_come_back_costs_the_environment_not_the_answer(make: Any) -> None:
    account = make(timeout=1, EXTENSION="time.sleep(60)")
    started = time.monotonic()
    first = account.functions.invoke("f", {})
    second = account.functions.invoke("f", {})
    assert time.monotonic() - started < 30
    assert (first.error, second.error) == (None, None)
    assert second.cold
    assert second.payload["pid"] != first.payload["pid"]
    with pytest.raises(ProcessLookupError):
        os.kill(first.payload["pid"], 0)
