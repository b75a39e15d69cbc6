"""Step Functions in the sandbox: what the history of an execution shows, and how late other reads are."""

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sandbox_tools import make_function

from sandbox.account import Account
from sandbox.iam import Role

APP = """
def lambda_handler(event, context):
    return {"answer": event["given"]}
"""


@pytest.fixture
def machine(account: Account, tmp_path: Path) -> str:
    """Make a machine with a task and a wait, and return its ARN."""
    (tmp_path / "app.py").write_text(APP)
    function = make_function(account, tmp_path)
    allowed = {"Statement": {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": "*"}}
    account.roles["machine"] = Role(policies=[allowed])
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": function, "Payload": {"given.$": "$"}},
        "OutputPath": "$.Payload",
        "Next": "Later",
    }
    states = {"Ask": task, "Later": {"Type": "Wait", "Seconds": 60, "Next": "Done"}, "Done": {"Type": "Succeed"}}
    return account.states.put("m", definition={"StartAt": "Ask", "States": states}, role_name="machine")


def history(account: Account, arn: str, **given: Any) -> list[dict[str, Any]]:
    return list(account.client("stepfunctions").get_execution_history(executionArn=arn, **given)["events"])


def test_the_history_holds_what_went_into_every_state_and_came_out(account: Account, machine: str) -> None:
    # T9
    execution = account.states.start(machine, {"n": 1})
    account.advance(1)
    events = history(account, execution.arn)
    assert [event["type"] for event in events] == [
        "ExecutionStarted",
        "TaskStateEntered",
        "TaskScheduled",
        "TaskSucceeded",
        "TaskStateExited",
        "WaitStateEntered",
    ]
    assert json.loads(events[1]["stateEnteredEventDetails"]["input"]) == {"n": 1}
    assert json.loads(events[2]["taskScheduledEventDetails"]["parameters"])["Payload"] == {"given": {"n": 1}}
    assert json.loads(events[4]["stateExitedEventDetails"]["output"]) == {"answer": {"n": 1}}
    assert [event["id"] for event in history(account, execution.arn, reverseOrder=True)] == [6, 5, 4, 3, 2, 1]
    account.states._stop_execution({"executionArn": execution.arn}, "")
    assert history(account, execution.arn)[-1]["type"] == "ExecutionAborted"


def test_the_history_comes_in_pages(account: Account, machine: str) -> None:
    execution = account.states.start(machine, {})
    account.advance(1)
    client = account.client("stepfunctions")
    first = client.get_execution_history(executionArn=execution.arn, maxResults=4)
    rest = client.get_execution_history(executionArn=execution.arn, maxResults=4, nextToken=first["nextToken"])
    assert ([len(page["events"]) for page in (first, rest)], "nextToken" in rest) == ([4, 2], False)


def test_a_list_and_a_description_may_be_late(account: Account, machine: str) -> None:
    # T9
    client = account.client("stepfunctions")
    account.states.list_lag_seconds = account.states.describe_lag_seconds = 10
    execution = account.states.start(machine, {})
    assert client.list_executions(stateMachineArn=machine)["executions"] == []
    with pytest.raises(ClientError, match="ExecutionDoesNotExist"):
        client.describe_execution(executionArn=execution.arn)
    account.advance(10)
    client.stop_execution(executionArn=execution.arn)
    assert client.describe_execution(executionArn=execution.arn)["status"] == "RUNNING"
    assert len(client.list_executions(stateMachineArn=machine, statusFilter="RUNNING")["executions"]) == 1
    account.advance(10)
    assert client.describe_execution(executionArn=execution.arn)["status"] == "ABORTED"
    assert client.list_executions(stateMachineArn=machine, statusFilter="RUNNING")["executions"] == []


def test_a_document_says_whose_it_is(account: Account) -> None:
    # T10
    content = json.dumps({"schemaVersion": "2.2", "description": "x", "mainSteps": []})
    client = account.client("ssm")
    client.create_document(Content=content, Name="Ours", DocumentType="Command")
    theirs = "arn:aws:ssm:ap-northeast-1:210987654321:document/Theirs"
    account.commands.shared[theirs] = "210987654321"
    owners = [
        client.describe_document(Name=name)["Document"]["Owner"] for name in ("Ours", "AWS-RunShellScript", theirs)
    ]
    assert owners == [account.account_id, "Amazon", "210987654321"]
