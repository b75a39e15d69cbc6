"""Lambda in the sandbox: real processes with Lambda's environment, and the asynchronous queue."""

import json
import math
import os
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sandbox_tools import make_function

from sandbox.account import Account
from sandbox.iam import Role
from sandbox.lambdas import processes
from sandbox.services.awslambda import Throttled
from sandbox.services.delivery import DeliveryError

APP = """
import json, os, subprocess, sys, time

STARTED = time.time()
COUNT = 0

class Timer:
    now = time.time

def lambda_handler(event, context):
    global COUNT
    COUNT += 1
    print("got", json.dumps(event))
    match event.get("do"):
        case "raise":
            raise ValueError("no such luck")
        case "exit":
            os._exit(3)
        case "sleep":
            time.sleep(event["seconds"])
        case "set":
            return {1, 2}
        case "child":
            return subprocess.Popen(["sleep", "600"]).pid
        case "meet":
            # Only two that run at the same time can see each other.
            open(event["mine"], "w").close()
            end = time.monotonic() + 20
            while not os.path.exists(event["other"]) and time.monotonic() < end:
                time.sleep(0.01)
            return os.path.exists(event["other"])
        case "metric":
            print(json.dumps({"_aws": {"CloudWatchMetrics": [
                {"Namespace": "kirikae", "Dimensions": [["f"]], "Metrics": [{"Name": "Switches"}]}]},
                "f": "x", "Switches": 1}))
    return {
        "count": COUNT,
        "pid": os.getpid(),
        "time": time.time(),
        "timer": Timer().now(),
        "started": STARTED,
        "remaining": context.get_remaining_time_in_millis(),
        "arn": context.invoked_function_arn,
        "request_id": context.aws_request_id,
        "environment": dict(os.environ),
        "path": sys.path,
        "cwd": os.getcwd(),
    }
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "app.py").write_text(APP)
    return tmp_path / "code"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if Path("/proc").exists() else True


def policy(action: str, resource: str) -> dict[str, Any]:
    return {"Statement": [{"Effect": "Allow", "Action": action, "Resource": resource}]}


# The process.


@pytest.mark.parametrize("forks", [True, False])
def test_it_is_cold_once_and_warm_afterwards(
    account: Account, code: Path, monkeypatch: pytest.MonkeyPatch, forks: bool
) -> None:
    monkeypatch.setattr(processes, "forks", forks)
    make_function(account, code)
    first, second = account.functions.invoke("f", {}), account.functions.invoke("f", {})
    assert (first.cold, second.cold) == (True, False)
    assert first.init_seconds > 0
    assert second.init_seconds == 0
    assert (first.payload["count"], second.payload["count"]) == (1, 2)
    assert first.payload["pid"] == second.payload["pid"]
    account.functions.retire("f")
    assert account.functions.invoke("f", {}).cold


def test_the_environment_is_lambdas_and_nothing_of_the_shell(
    account: Account, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("PYTHONSTARTUP", "/dev/null")
    arn = make_function(account, code, environment={"COLOUR": "blue"})
    seen = account.functions.invoke("f", {}).payload
    environment = seen["environment"]
    fixed = {
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f",
        "AWS_REGION": "ap-northeast-1",
        "AWS_DEFAULT_REGION": "ap-northeast-1",
        "AWS_ENDPOINT_URL": account.endpoint,
        "COLOUR": "blue",
        "LAMBDA_TASK_ROOT": str(code),
        "TZ": ":UTC",
        "_HANDLER": "app.lambda_handler",
    }
    assert {name: environment.get(name) for name in fixed} == fixed
    assert environment.keys() - fixed.keys() == {
        "AWS_ACCESS_KEY_ID",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_XRAY_CONTEXT_MISSING",
        "AWS_XRAY_DAEMON_ADDRESS",
        "LAMBDA_RUNTIME_DIR",
        "LANG",
        "PATH",
        "PYTHONPATH",
        "SHLVL",
        "_X_AMZN_TRACE_ID",
    } | ({"LC_CTYPE"} & environment.keys())  # Python's own, where the machine lacks the locale of LANG
    assert seen["cwd"] == str(code)
    assert seen["path"][0] == str(code)
    assert not any(Path(one).name in ("sandbox", "lambdas") for one in seen["path"])
    assert seen["arn"] == arn == "arn:aws:lambda:ap-northeast-1:123456789012:function:f"


def test_a_layer_is_on_the_path_behind_the_code(account: Account, code: Path, tmp_path: Path) -> None:
    (tmp_path / "layer" / "python").mkdir(parents=True)
    (tmp_path / "layer" / "python" / "shared.py").write_text("WORD = 'layer'\n")
    (code / "app.py").write_text("import shared\ndef lambda_handler(event, context):\n    return shared.WORD\n")
    make_function(account, code, layers=[tmp_path / "layer"])
    assert account.functions.invoke("f", {}).payload == "layer"
    assert sorted(path.name for path in code.iterdir()) == ["app.py"], "the code directory is read-only in Lambda"


def test_its_time_is_the_accounts(account: Account, code: Path) -> None:
    make_function(account, code)
    for _ in range(2):
        account.advance(7200)
        seen = account.functions.invoke("f", {}).payload
        assert 0 <= seen["time"] - account.clock.time() < 5
        assert abs(seen["timer"] - seen["time"]) < 1
        assert 15_000 < seen["remaining"] <= 20_000
    assert account.clock.time() - seen["started"] > 7000, "INIT was two hours ago"


def test_its_log_is_captured_in_utf8(account: Account, code: Path) -> None:
    make_function(account, code)
    assert account.functions.invoke("f", {"word": 1}).log == ['got {"word": 1}']
    (code / "app.py").write_text("def lambda_handler(event, context):\n    print('切り替え')\n")
    account.functions.update("f")
    assert account.functions.invoke("f", {}).log == ["切り替え"]


def test_an_exception_is_an_error_with_its_trace_and_the_environment_stays(account: Account, code: Path) -> None:
    make_function(account, code)
    failed = account.functions.invoke("f", {"do": "raise"})
    assert failed.error == "ValueError: no such luck"
    assert failed.payload["errorType"] == "ValueError"
    assert "in lambda_handler" in failed.payload["stackTrace"][0]
    assert "[ERROR] ValueError: no such luck" in failed.log
    assert not account.functions.invoke("f", {}).cold


def test_a_crash_is_reported_and_the_next_one_starts_anew(account: Account, code: Path) -> None:
    make_function(account, code)
    failed = account.functions.invoke("f", {"do": "exit"})
    assert failed.payload["errorType"] == "Runtime.ExitError"
    assert failed.payload["errorMessage"].endswith("Runtime exited with error: exit status 3")
    after = account.functions.invoke("f", {})
    assert (after.error, after.cold) == (None, True)


def test_the_timeout_kills_it(account: Account, code: Path) -> None:
    make_function(account, code, timeout=1)
    began = time.monotonic()
    failed = account.functions.invoke("f", {"do": "sleep", "seconds": 600})
    assert time.monotonic() - began < 30
    assert failed.payload["errorType"] == "Sandbox.Timedout"
    assert "Task timed out after 1.00 seconds" in failed.payload["errorMessage"]
    assert account.functions.invoke("f", {}).cold


def test_a_result_that_is_no_json_fails_as_in_lambda(account: Account, code: Path) -> None:
    make_function(account, code)
    assert account.functions.invoke("f", {"do": "set"}).payload["errorType"] == "Runtime.MarshalError"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import powertools_that_is_nowhere", "Runtime.ImportModuleError"),
        ("def lambda_handler(:", "Runtime.UserCodeSyntaxError"),
        ("other = 1", "Runtime.HandlerNotFound"),
        ("raise RuntimeError('at import')", "RuntimeError"),
        ("import os; os._exit(4)", "Runtime.ExitError"),
    ],
)
def test_what_fails_in_init_is_the_result_of_the_invocation(
    account: Account, code: Path, text: str, error: str
) -> None:
    (code / "app.py").write_text(text)
    make_function(account, code)
    assert account.functions.invoke("f", {}).payload["errorType"] == error
    (code / "app.py").write_text(APP)
    assert account.functions.invoke("f", {}).error is None


def test_only_what_lambda_has_can_be_imported(account: Account, code: Path) -> None:
    (code / "app.py").write_text("import moto\ndef lambda_handler(event, context): pass\n")
    make_function(account, code)
    assert "No module named 'moto'" in (account.functions.invoke("f", {}).error or "")


def test_a_function_that_brings_what_the_process_has_loaded_is_refused(account: Account, code: Path) -> None:
    (code / "botocore").mkdir()
    make_function(account, code)
    with pytest.raises(RuntimeError, match="with its own botocore"):
        account.functions.invoke("f", {})


def test_a_missing_interpreter_is_named(account: Account, code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_LAMBDA_PYTHON", "/nowhere/python")
    make_function(account, code)
    with pytest.raises(RuntimeError, match="no Python for the functions at /nowhere/python"):
        account.functions.invoke("f", {})


def test_it_calls_the_account_as_its_role(account: Account, code: Path) -> None:
    (code / "app.py").write_text(
        "import boto3\ndef lambda_handler(event, context):\n"
        "    return boto3.client('sns').publish(TopicArn=event['topic'], Message='hello')['MessageId']\n"
    )
    topic = account.client("sns").create_topic(Name="alerts")["TopicArn"]
    make_function(account, code)
    assert "AuthorizationError" in (account.functions.invoke("f", {"topic": topic}).error or "")
    account.roles["role"] = Role({}, [policy("sns:Publish", topic)])
    assert account.functions.invoke("f", {"topic": topic}).error is None
    assert [call.principal for call in account.calls if call.operation == "Publish"] == ["role", "role"]
    assert [mail.body for mail in account.mails] == ["hello"]


def test_parallel_invocations_run_at_the_same_time_in_separate_environments(
    account: Account, code: Path, tmp_path: Path
) -> None:
    make_function(account, code)
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    events = [{"do": "meet", "mine": one, "other": two}, {"do": "meet", "mine": two, "other": one}]
    assert [run.payload for run in account.functions.concurrently("f", events)] == [True, True]
    assert len({account.functions.invoke("f", {}).payload["pid"] for _ in range(3)}) == 1, "idle ones are used again"


def test_reserved_concurrency_lets_one_wait_for_the_other(account: Account, code: Path) -> None:
    make_function(account, code, reserved_concurrency=1)
    runs = account.functions.concurrently("f", [{}, {}])
    assert sorted(run.payload["count"] for run in runs) == [1, 2]


def test_a_second_one_is_throttled_while_the_first_runs(account: Account, code: Path) -> None:
    (code / "app.py").write_text(
        "import boto3\n"
        "def lambda_handler(event, context):\n"
        "    return boto3.client('sts').get_caller_identity()['Account']\n"
    )
    make_function(account, code, reserved_concurrency=1)
    refused: list[type] = []

    def again() -> None:
        with pytest.raises(Throttled) as error:
            account.functions.invoke("f", {})
        refused.append(error.type)

    account.before("sts", "GetCallerIdentity", again)
    assert account.functions.invoke("f", {}).payload == "123456789012"
    assert refused == [Throttled]


def test_another_can_run_to_its_end_in_the_middle_of_one(account: Account, code: Path) -> None:
    (code / "app.py").write_text(
        "import boto3\n"
        "def lambda_handler(event, context):\n"
        "    boto3.client('sts').get_caller_identity()\n"
        "    return event\n"
    )
    make_function(account, code)
    account.before("sts", "GetCallerIdentity", lambda: account.functions.invoke("f", 2))
    assert account.functions.invoke("f", 1).payload == 1
    assert [run.event for run in account.functions.runs] == [2, 1]


@pytest.mark.parametrize("forks", [True, False])
def test_closing_the_account_leaves_no_process(code: Path, monkeypatch: pytest.MonkeyPatch, forks: bool) -> None:
    monkeypatch.setattr(processes, "forks", forks)
    with Account() as account:
        account.roles["role"] = Role()
        make_function(account, code)
        child = account.functions.invoke("f", {"do": "child"}).payload
        pid = account.functions.invoke("f", {}).payload["pid"]
        assert alive(pid)
        assert alive(child)
    end = time.monotonic() + 10
    while alive(child) and time.monotonic() < end:
        pass  # init takes it a moment to bury an orphan
    assert not alive(pid)
    assert not alive(child)


# Functions.


def test_an_update_takes_effect_with_the_next_invocation(account: Account, code: Path) -> None:
    make_function(account, code)
    pid = account.functions.invoke("f", {}).payload["pid"]
    account.functions.update("f", environment={"COLOUR": "red"}, memory="512")
    after = account.functions.invoke("f", {})
    assert after.cold
    assert after.payload["environment"]["COLOUR"] == "red"
    assert after.payload["environment"]["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "512"
    assert not alive(pid)


@pytest.mark.parametrize(
    ("environment", "message"),
    [({"AWS_REGION": "eu-west-1"}, "Reserved keys .* AWS_REGION"), ({"BIG": "x" * 4100}, "exceeded the 4096 bytes")],
)
def test_variables_that_lambda_refuses(account: Account, code: Path, environment: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_function(account, code, environment=environment)


def test_a_name_is_taken_once_and_free_after_deletion(account: Account, code: Path) -> None:
    make_function(account, code)
    with pytest.raises(ValueError, match="already exists"):
        make_function(account, code)
    account.functions.delete("f")
    with pytest.raises(ValueError, match="not found"):
        account.functions.invoke("f", {})
    make_function(account, code)
    assert account.functions.invoke("f", {}).error is None


# The API.


def test_invoke_through_the_api(account: Account, code: Path) -> None:
    make_function(account, code)
    client = account.client("lambda")
    answer = client.invoke(FunctionName="f", Payload=json.dumps({"do": "raise"}))
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert json.loads(answer["Payload"].read())["errorMessage"] == "no such luck"
    assert client.invoke(FunctionName="f", InvocationType="Event", Payload=b"{}")["StatusCode"] == 202
    assert len(account.functions.runs) == 1
    account.settle()
    assert len(account.functions.runs) == 2
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        client.invoke(FunctionName="nobody")


def test_the_policy_is_checked_and_can_be_read(account: Account, code: Path) -> None:
    arn = make_function(account, code)
    rule = account.arn("events", "rule/tick")
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        account.client("lambda").get_policy(FunctionName="f")
    account.functions.allow("f", "tick", "events.amazonaws.com", rule, None)
    account.functions.check(arn, principal="events.amazonaws.com", source_arn=rule)
    for principal, source in [
        ("events.amazonaws.com", rule + "2"),
        ("lambda.alarms.cloudwatch.amazonaws.com", rule),
    ]:
        with pytest.raises(DeliveryError, match="NO_PERMISSIONS"):
            account.functions.check(arn, principal=principal, source_arn=source)
    document = json.loads(account.client("lambda").get_policy(FunctionName="f")["Policy"])
    assert [statement["Sid"] for statement in document["Statement"]] == ["tick"]
    account.functions.disallow("f", "tick")
    with pytest.raises(DeliveryError, match="NO_PERMISSIONS"):
        account.functions.check(arn, principal="events.amazonaws.com", source_arn=rule)


# The asynchronous queue.


def test_events_run_in_order_when_the_clock_does(account: Account, code: Path) -> None:
    make_function(account, code)
    for number in range(3):
        account.functions.invoke_async("f", {"number": number})
    assert account.functions.runs == []
    account.settle()
    assert [run.event["number"] for run in account.functions.runs] == [0, 1, 2]


def pauses(account: Account) -> list[float]:
    """Return how long each attempt but the first waited after the end of the one before, in full seconds."""
    runs = account.functions.runs
    return [
        later.time.timestamp() - run.time.timestamp() - math.ceil(run.invocation.seconds)
        for run, later in pairwise(runs)
    ]


def test_a_failing_event_is_tried_after_one_and_two_more_minutes(account: Account, code: Path) -> None:
    make_function(account, code)
    account.functions.invoke_async("f", {"do": "raise"})
    account.advance(600)
    assert pauses(account) == [60, 120]
    assert len({run.invocation.request_id for run in account.functions.runs}) == 1


def test_the_topic_hears_of_an_event_that_failed_for_good(account: Account, code: Path) -> None:
    topic = account.client("sns").create_topic(Name="alerts")["TopicArn"]
    account.roles["role"] = Role({}, [policy("sns:Publish", topic)])
    arn = make_function(account, code)
    account.functions.event_invoke_config("f", 1, 300, topic)
    account.functions.invoke_async("f", {"do": "raise"})
    account.advance(600)
    assert pauses(account) == [60]
    (mail,) = account.mails
    record = json.loads(mail.body)
    assert record["version"] == "1.0"
    assert record["requestContext"] == {
        "requestId": account.functions.runs[0].invocation.request_id,
        "functionArn": f"{arn}:$LATEST",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 2,
    }
    assert record["requestPayload"] == {"do": "raise"}
    assert record["responseContext"]["functionError"] == "Unhandled"
    assert record["responsePayload"]["errorMessage"] == "no such luck"


def test_an_event_can_get_too_old_for_a_retry(account: Account, code: Path) -> None:
    url = account.client("sqs").create_queue(QueueName="failed")["QueueUrl"]
    queue = account.arn("sqs", "failed")
    account.roles["role"] = Role({}, [policy("sqs:SendMessage", queue)])
    make_function(account, code)
    account.functions.event_invoke_config("f", 2, 60, queue)
    account.functions.invoke_async("f", {"do": "raise"})
    account.advance(600)
    assert len(account.functions.runs) == 1
    (message,) = account.client("sqs").receive_message(QueueUrl=url)["Messages"]
    context = json.loads(message["Body"])["requestContext"]
    assert (context["condition"], context["approximateInvokeCount"]) == ("EventAgeExceeded", 1)


def sums(account: Account, metric: str) -> float:
    now = account.clock.time()
    read = account.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName=metric,
        Dimensions=[{"Name": "FunctionName", "Value": "f"}],
        StartTime=now - 3600,
        EndTime=now + 1,
        Period=3600,
        Statistics=["Sum"],
    )
    return sum(point["Sum"] for point in read["Datapoints"])


def test_a_role_that_may_not_publish_leaves_only_a_metric(account: Account, code: Path) -> None:
    topic = account.client("sns").create_topic(Name="alerts")["TopicArn"]
    make_function(account, code)
    account.functions.event_invoke_config("f", 0, 60, topic)
    account.functions.invoke_async("f", {"do": "raise"})
    account.settle()
    assert account.mails == []
    assert sums(account, "DestinationDeliveryFailures") == 1
    assert sums(account, "AsyncEventsDropped") == 1


def test_a_role_that_may_not_use_the_key_of_the_queue_leaves_only_a_metric(account: Account, code: Path) -> None:
    key = account.arn("kms", "key/00000000-0000-4000-8000-000000000000")
    attributes = {"KmsMasterKeyId": key}
    url = account.client("sqs").create_queue(QueueName="failed", Attributes=attributes)["QueueUrl"]
    queue = account.arn("sqs", "failed")
    account.roles["role"] = Role({}, [policy("sqs:SendMessage", queue)])
    make_function(account, code)
    account.functions.event_invoke_config("f", 0, 60, queue)
    account.functions.invoke_async("f", {"do": "raise"})
    account.settle()
    assert sums(account, "DestinationDeliveryFailures") == 1
    assert "Messages" not in account.client("sqs").receive_message(QueueUrl=url)
    account.roles["role"].policies.append(policy("kms:*", key))
    account.functions.invoke_async("f", {"do": "raise"})
    account.settle()
    assert sums(account, "DestinationDeliveryFailures") == 1
    assert len(account.client("sqs").receive_message(QueueUrl=url)["Messages"]) == 1


def test_invocations_errors_and_embedded_metrics_are_counted(account: Account, code: Path) -> None:
    make_function(account, code)
    account.functions.invoke("f", {"do": "raise"})
    account.functions.invoke("f", {"do": "metric"})
    assert (sums(account, "Invocations"), sums(account, "Errors")) == (2, 1)
    (metric,) = account.client("cloudwatch").list_metrics(Namespace="kirikae")["Metrics"]
    assert (metric["MetricName"], metric["Dimensions"]) == ("Switches", [{"Name": "f", "Value": "x"}])


@pytest.mark.parametrize(
    ("retries", "age", "destination"), [(3, 60, None), (0, 59, None), (0, 60, "arn:aws:s3:::bucket")]
)
def test_settings_out_of_range_are_refused(
    account: Account, code: Path, retries: int, age: int, destination: str | None
) -> None:
    make_function(account, code)
    with pytest.raises(ValueError, match=r"Out of range|lacks the destination"):
        account.functions.event_invoke_config("f", retries, age, destination)
