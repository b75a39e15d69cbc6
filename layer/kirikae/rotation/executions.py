"""Executions of the state machine, read from Step Functions: they are what nobody but the machine can write."""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

from botocore.exceptions import ClientError

from kirikae import aws, patience
from kirikae.rotation.world import Config, Ending

ABORTED = "ABORTED"  # by StopExecution
_ENDED = frozenset({"SUCCEEDED", "FAILED", "TIMED_OUT", ABORTED})  # a redrive is PENDING_REDRIVE, then RUNNING
_FORBIDDEN = frozenset({"AccessDeniedException", "UnknownOperationException"})
_FIRST = "Plan"  # its input is whatever somebody started the execution with


@dataclass(frozen=True)
class Execution:
    """An execution as DescribeExecution shows it, which may be some seconds late; stopped: None until it has ended."""

    status: str
    given: Any  # its input
    started: datetime
    stopped: datetime | None
    redriven: datetime | None = None  # when it went on after an end
    problem: str = ""  # why Step Functions ended it before its own last state did
    name: str = ""


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


def is_name(text: str) -> bool:
    """Tell whether a text that stands in a tag may be an execution's name."""
    return re.fullmatch(r"[\w.=+@-]{1,80}", text) is not None


def arn(config: Config, execution: str) -> str:
    """Return the ARN of an execution of this stack's state machine."""
    return f"{config.state_machine_arn.replace(':stateMachine:', ':execution:')}:{execution}"


def described(execution_arn: str) -> Execution | None:
    """Return an execution, or None if there is none, or none yet.

    https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html
    """
    try:
        found = aws.client("stepfunctions").describe_execution(executionArn=execution_arn)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ExecutionDoesNotExist":
            raise
        return None
    stopped = found.get("stopDate", found["startDate"]) if found["status"] in _ENDED else None
    given, said, problem = json.loads(found.get("input", "{}")), found.get("error", ""), ""
    if found["status"] in ("FAILED", "TIMED_OUT") and said not in get_args(Ending.__value__):
        problem = f"{said or found['status']}: {found.get('cause', '')}".removesuffix(": ")
    if found["status"] == ABORTED:  # whoever did it may say an error, and a cause
        problem = ": ".join(filter(None, (said, found.get("cause", "")))) or ABORTED
    redriven = found.get("redriveDate")
    return Execution(found["status"], given, found["startDate"], stopped, redriven, problem, name(execution_arn))


def older(config: Config, execution_arn: str, groups: Collection[str]) -> str:
    """Return the name of a running execution that was started earlier and works on one of these groups, or "".

    Of several the oldest goes on, so no lock is needed, and a crashed or aborted one is not running: one that ended a
    moment ago is looked at until that shows.  Every execution is older than an operation by hand, which has no ARN.
    """
    if not (found := shown_older(config, execution_arn, groups)):
        return ""
    later = patience.until(lambda: shown_older(config, execution_arn, groups), lambda name: not name)
    return found if later is None else later


def shown_older(config: Config, execution_arn: str, groups: Collection[str]) -> str:
    """Return the same as it is shown now, which may be the name of one that has just ended."""
    for other in running(config.state_machine_arn):
        if other == execution_arn:
            return ""
        if set(_groups(config, other) or config.rotation_target_group_arns) & set(groups):
            return name(other)
    return ""


def _groups(config: Config, execution_arn: str) -> list[str]:
    """Return the target groups that an execution works on, none if it is all.

    Where its input names none, the document says which: RotationDefaults may have changed since it was planned.
    """
    found = described(execution_arn)
    given = found.given if found and isinstance(found.given, dict) else {}
    if "target_group_arns" not in given:
        planned = next((made for made in documents(execution_arn) or () if "groups" in made), None)
        given = {"target_group_arns": planned["groups"]} if planned else config.defaults
    named = given.get("target_group_arns") if isinstance(given, dict) else None
    return named if isinstance(named, list) else []


def see_end(execution_arn: str) -> None:
    """Look until an execution that has ended, as an event says, is shown to have, or the patience is over."""
    patience.until(lambda: described(execution_arn), lambda found: found is None or found.stopped is not None)


def is_running(execution_arn: str) -> bool:
    """Tell whether the execution still runs, and was not aborted."""
    found = described(execution_arn)
    return found is not None and found.status == "RUNNING"


def documents(execution_arn: str) -> Iterator[dict[str, Any]] | None:
    """Return what the machine handed from state to state, the newest first: of a task under way what it was given.

    Neither the execution's input nor the answer of a task is among them: people write those.  None if a policy above
    the stack's own forbids to read the history.
    """
    try:
        newest = _history(execution_arn)
    except ClientError as error:
        if error.response["Error"]["Code"] not in _FORBIDDEN:
            raise
        return None
    return _documents(execution_arn, newest)


def _documents(execution_arn: str, page: dict[str, Any]) -> Iterator[dict[str, Any]]:
    while True:
        for event in page["events"]:
            entered, left = event.get("stateEnteredEventDetails", {}), event.get("stateExitedEventDetails", {})
            text = left.get("output") or (entered.get("input") if entered.get("name") != _FIRST else None)
            if text and isinstance(found := json.loads(text), dict):
                yield found
        if "nextToken" not in page:
            return
        page = _history(execution_arn, nextToken=page["nextToken"])


def _history(execution_arn: str, **more: str) -> Any:
    """Return a page of events, from the newest on.

    https://docs.aws.amazon.com/step-functions/latest/apireference/API_GetExecutionHistory.html
    """
    return aws.client("stepfunctions").get_execution_history(
        executionArn=execution_arn, reverseOrder=True, maxResults=50, **more
    )
