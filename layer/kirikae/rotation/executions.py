"""Executions of the state machine, read from Step Functions."""

import json
from collections.abc import Iterable
from typing import Any

from kirikae import aws
from kirikae.rotation.world import Config


def running(machine_arn: str) -> list[str]:
    """Return the ARNs of the running executions, the oldest first.

    https://docs.aws.amazon.com/step-functions/latest/apireference/API_ListExecutions.html
    """
    found: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        page = aws.client("stepfunctions").list_executions(stateMachineArn=machine_arn, statusFilter="RUNNING", **more)
        found += page["executions"]
        if "nextToken" not in page:
            return [e["executionArn"] for e in sorted(found, key=lambda e: (e["startDate"], e["executionArn"]))]
        more = {"nextToken": page["nextToken"]}


def name(execution_arn: str) -> str:
    """Return the name in an execution's ARN."""
    return execution_arn.rpartition(":")[2]


def older(config: Config, execution_arn: str, groups: Iterable[str]) -> str:
    """Return the name of a running execution that was started earlier and works on one of these groups, or "".

    Of several the oldest goes on, so no lock is needed, and a crashed or aborted one is not running.  Every execution
    is older than an operation by hand, which has no ARN.
    """
    for arn in running(config.state_machine_arn):
        if arn == execution_arn:
            return ""
        if set(_groups(arn) or config.rotation_target_group_arns) & set(groups):
            return name(arn)
    return ""


def _groups(execution_arn: str) -> list[str]:
    """Return the target groups that the execution's input names, none if it leaves them to the default."""
    described = aws.client("stepfunctions").describe_execution(executionArn=execution_arn)
    given = json.loads(described.get("input", "{}"))
    named = given.get("target_group_arns") if isinstance(given, dict) else None
    return named if isinstance(named, list) else []


def is_running(execution_arn: str) -> bool:
    """Tell whether the execution still runs, and was not aborted.

    https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html
    """
    described = aws.client("stepfunctions").describe_execution(executionArn=execution_arn)
    return bool(described["status"] == "RUNNING")
