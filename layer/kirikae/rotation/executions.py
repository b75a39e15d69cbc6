"""What we ask of Step Functions."""

import json
from collections.abc import Iterable
from typing import Any

from kirikae import aws


def running(machine_arn: str) -> list[str]:
    """Return the ARNs of the running executions, the oldest first.

    https://docs.aws.amazon.com/step-functions/latest/apireference/API_ListExecutions.html
    """
    found: list[dict[str, Any]] = []
    token: dict[str, str] = {}
    while True:
        answer = aws.client("stepfunctions").list_executions(
            stateMachineArn=machine_arn, statusFilter="RUNNING", **token
        )
        found += answer["executions"]
        if "nextToken" not in answer:
            return [one["executionArn"] for one in sorted(found, key=lambda o: (o["startDate"], o["executionArn"]))]
        token = {"nextToken": answer["nextToken"]}


def name(execution_arn: str) -> str:
    """Return the name in an execution's ARN."""
    return execution_arn.rpartition(":")[2]


def older(machine_arn: str, execution_arn: str, groups: Iterable[str], defaults: Iterable[str]) -> str:
    """Return the name of a running execution that was started earlier and works on one of these groups, or nothing.

    Of several the oldest goes on, so no lock is needed, and one that crashed or was aborted is not running.
    Whoever is no execution is younger than all.
    """
    for arn in running(machine_arn):
        if arn == execution_arn:
            return ""
        if set(_groups(arn) or defaults) & set(groups):
            return name(arn)
    return ""


def _groups(execution_arn: str) -> list[str]:
    """Return the target groups that the execution's input names, none if it leaves them to the default."""
    described = aws.client("stepfunctions").describe_execution(executionArn=execution_arn)
    given = json.loads(described.get("input", "{}"))
    named = given.get("target_group_arns") if isinstance(given, dict) else None
    return named if isinstance(named, list) else []


def is_running(execution_arn: str) -> bool:
    """Tell whether the execution has not been aborted.

    https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html
    """
    described = aws.client("stepfunctions").describe_execution(executionArn=execution_arn)
    return bool(described["status"] == "RUNNING")
