"""Where executions of the sandbox do as those of AWS. T1, T4: numbers of the facts behind each test."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandbox.account import Account
from sandbox.services.stepfunctions import Execution

WAITS = {
    "StartAt": "First",
    "States": {
        "First": {"Type": "Pass", "Parameters": {"now": "here"}, "Next": "Rest"},
        "Rest": {"Type": "Wait", "Seconds": 60, "Next": "Done"},
        "Done": {"Type": "Succeed"},
    },
}
FAILS = {"StartAt": "No", "States": {"No": {"Type": "Fail", "Error": "No", "Cause": "never"}}}


def begun(account: Account, definition: dict[str, Any]) -> Execution:
    machine = account.states.put("m", definition=definition, role_name="r")
    execution = account.states.start(machine, {"asked": 1})
    account.settle()
    return execution


def redrive(account: Account, execution: Execution) -> Any:
    answer = account.client("stepfunctions").redrive_execution(executionArn=execution.arn)
    account.settle()
    return answer


def test_an_aborted_execution_goes_on_where_it_was_with_the_same_input(account: Account) -> None:
    # T1
    execution = begun(account, WAITS)
    history = execution.events
    account.client("stepfunctions").stop_execution(executionArn=execution.arn)
    account.advance(3600)
    described = account.client("stepfunctions").describe_execution(executionArn=execution.arn)
    assert (described["status"], described["redriveStatus"]) == ("ABORTED", "REDRIVABLE")
    redrive(account, execution)
    assert (execution.status, execution.states, execution.data) == ("RUNNING", ["First", "Rest"], {"now": "here"})
    assert execution.events > history
    account.advance(60)
    described = account.client("stepfunctions").describe_execution(executionArn=execution.arn)
    assert (described["status"], described["redriveCount"]) == ("SUCCEEDED", 1)
    assert described["redriveDate"] > described["startDate"]


def test_a_redrive_is_told_as_running_once_more(account: Account) -> None:
    # T4
    seen: list[tuple[str, int]] = []
    emit = account.events.emit

    def watched(source: str, kind: str, detail: dict[str, Any], resources: list[str]) -> None:
        seen.append((detail["status"], detail["redriveCount"]))
        emit(source, kind, detail, resources)

    account.events.emit = watched  # type: ignore[method-assign]
    execution = begun(account, WAITS)
    account.client("stepfunctions").stop_execution(executionArn=execution.arn)
    redrive(account, execution)
    account.advance(60)
    assert seen == [("RUNNING", 0), ("ABORTED", 0), ("RUNNING", 1), ("SUCCEEDED", 1)]


def test_a_fail_state_fails_again(account: Account) -> None:
    # T2
    execution = begun(account, FAILS)
    assert execution.status == "FAILED"
    redrive(account, execution)
    assert (execution.status, execution.error, execution.redrives) == ("FAILED", "No", 1)


@pytest.mark.parametrize("days", [0, 1, 15], ids=["while it runs", "after it succeeded", "after fourteen days"])
def test_what_cannot_be_redriven_is_refused(account: Account, days: int) -> None:
    # T1
    execution = begun(account, FAILS if days == 15 else WAITS)
    account.advance(days * 86400)
    with pytest.raises(ClientError, match="ExecutionNotRedrivable"):
        redrive(account, execution)
