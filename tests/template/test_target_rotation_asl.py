"""The state machine itself: what Step Functions would refuse, and that every path of it is reachable and ends."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import botocore.exceptions
import pytest
import yaml
from botocore.exceptions import ConnectionError, HTTPClientError  # noqa: A004 (of botocore)
from template_tools import event_pattern_matches, expanded, of_type

from functions.target_rotation import app
from kirikae.rotation import request
from kirikae.rotation.world import Ending, HookType, Next
from sandbox.services import stepfunctions

ROOT = Path(__file__).parents[2]
SOURCE = (ROOT / "statemachine" / "target_rotation.asl.yaml").read_text()
GROUP = "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012:targetgroup/web/0123456789abcdef"
# Every `next` that an operation's document can have, and where the machine must go with it.
ROADS = {
    ("Plan", "take-out"): "TakeOut",
    ("Plan", "finish"): "Finish",
    ("TakeOut", "drain"): "WaitUntilDrained",
    ("TakeOut", "hook"): "Hook",
    ("TakeOut", "wait"): "WaitForTurn",
    ("TakeOut", "back"): "PutBack",
    ("TakeOut", "finish"): "Finish",
    ("Drained", "drain"): "WaitUntilDrained",
    ("Drained", "hook"): "Hook",
    ("Drained", "take-out"): "TakeOut",
    ("Drained", "back"): "PutBack",
    ("Result", "result"): "WaitForResult",
    ("Result", "back"): "PutBack",
    ("PutBack", "back"): "WaitUntilHealthy",
    ("PutBack", "take-out"): "TakeOut",
    ("PutBack", "finish"): "Finish",
}


def machine() -> dict[str, Any]:
    """Return the definition with its substitutions made."""
    text = SOURCE.replace("${Partition}", "aws").replace("${FunctionArn}", "arn:aws:lambda:::function:f")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def following(state: dict[str, Any]) -> Iterator[str]:
    """Yield the states that may come after one."""
    for one in [state, *state.get("Choices", []), *state.get("Catch", [])]:
        yield from (one[key] for key in ("Next", "Default") if key in one)


def reachable(start: str) -> set[str]:
    """Return the states that can be entered from one."""
    known, found = machine()["States"], {start}
    while more := {after for name in found for after in following(known[name])} - found:
        found |= more
    return found


def tasks() -> dict[str, dict[str, Any]]:
    return {name: state for name, state in machine()["States"].items() if state["Type"] == "Task"}


def test_the_definition_is_one_that_the_sandbox_runs_in_full() -> None:
    stepfunctions.check(machine())


def test_yaml_has_no_alias_because_nothing_between_here_and_step_functions_must_resolve_one() -> None:
    assert not any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(SOURCE))


def test_every_state_can_be_reached_and_every_state_can_end() -> None:
    known = machine()["States"]
    assert reachable("Plan") == set(known)
    assert [name for name in known if not reachable(name) & {"Finished", "Unfinished"}] == []


@pytest.mark.parametrize(("name", "said"), ROADS)
def test_the_machine_goes_where_the_document_says(name: str, said: str) -> None:
    known = machine()["States"]
    choice = known[known[name]["Next"]]
    taken = [rule["Next"] for rule in choice["Choices"] if rule["StringEquals"] == said] or [choice["Default"]]
    assert taken == [ROADS[name, said]]


def compared(variable: str) -> set[str]:
    """Return what the choices of the machine compare a part of the document with."""
    choices = [choice for state in machine()["States"].values() for choice in state.get("Choices", [])]
    return {choice["StringEquals"] for choice in choices if choice["Variable"] == variable}


def test_the_words_of_the_document_are_those_that_the_machine_knows() -> None:
    assert {said for _, said in ROADS} == set(get_args(Next.__value__))
    assert compared("$.next") == set(get_args(Next.__value__)) - {"finish"}  # wherever it may be said, the default
    assert compared("$.hook.type") == set(get_args(HookType.__value__)) - {"none"}  # the default too
    assert compared("$.ending") == set(get_args(Ending.__value__)) - {"Stopped", "Failed", "Refused"}
    assert request.HOOKS.keys() == set(get_args(HookType.__value__))


def test_every_task_is_an_operation_of_the_function_and_nothing_else() -> None:
    assert {state["Resource"].removesuffix(".waitForTaskToken") for state in tasks().values()} == {stepfunctions.INVOKE}
    operations = {state["Parameters"]["Payload"]["operation"] for state in tasks().values()}
    assert operations == app.TASKS.keys() - {"deregister", "register", "status"}


@pytest.mark.parametrize("name", tasks())
def test_every_task_retries_what_may_pass_and_has_a_time_limit(name: str) -> None:
    task = tasks()[name]
    assert {"TimeoutSeconds", "TimeoutSecondsPath"} & task.keys()
    assert any({"States.ALL", "Lambda.TooManyRequestsException"} & set(retry["ErrorEquals"]) for retry in task["Retry"])


def test_only_what_the_function_and_lambda_raise_asks_a_person_again() -> None:
    """Connections fail as botocore says; whatever else ends the task is what a person has sent."""
    lost = {
        name
        for name, kind in vars(botocore.exceptions).items()
        if isinstance(kind, type) and issubclass(kind, HTTPClientError | ConnectionError)
    }
    [retry] = tasks()["Ask"]["Retry"]
    own = {name for name in retry["ErrorEquals"] if not name.startswith(("Lambda.", "Sandbox.", "Runtime."))}
    assert own == lost | {"UnfinishedError", "AnswerError", "ClientError", "HealthUnavailableException"}


@pytest.mark.parametrize("name", sorted(tasks().keys() - {"Plan", "PutBack", "Finish"}))
def test_whatever_fails_once_a_target_may_be_out_leads_to_putting_it_back(name: str) -> None:
    *others, catch = tasks()[name]["Catch"]
    assert (catch["ErrorEquals"], catch["Next"]) == (["States.ALL"], "PutBack")
    serving = [(["ServingError"], "TakeOut")] if name in ("Ask", "Run") else []
    assert [(other["ErrorEquals"], other["Next"]) for other in others] == serving


def test_a_target_leaves_only_where_its_way_back_begins() -> None:
    known = machine()["States"]
    assert {name for name, state in known.items() if "TakeOut" in following(state)} == {
        "IsPlanned",
        "IsOut",  # nothing has left yet: how it is registered now is in the document first
        "WaitForTurn",
        "IsBack",
        "IsDrained",  # put back by others while the execution was not running
        "Ask",  # the same, seen last
        "Run",
    }
    assert "PutBack" in reachable("TakeOut")


# What the template makes of it.


def test_the_machine_may_invoke_its_function_and_nothing_more() -> None:
    template = expanded({"RotationTargetGroupArns": GROUP})
    role = template["Resources"]["TargetRotationStateMachineRole"]["Properties"]
    [calls, telemetry] = role["Policies"][0]["PolicyDocument"]["Statement"]
    assert (calls["Action"], calls["Resource"]) == (
        "lambda:InvokeFunction",
        template["Resources"]["TargetRotationFunction"]["Attributes"]["Arn"],
    )
    assert {action.split(":")[0] for action in telemetry["Action"]} == {"logs", "xray"}
    properties = template["Resources"]["TargetRotationStateMachine"]["Properties"]
    assert properties["TracingConfiguration"] == {"Enabled": True}
    assert properties["LoggingConfiguration"]["Level"] == "ERROR"


def test_every_write_of_the_function_is_scoped() -> None:
    role = expanded({"RotationTargetGroupArns": GROUP, "RotationDocuments": "Patch", "RotationAllowStandby": "true"})
    statements = role["Resources"]["TargetRotationRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    free = {action for statement in statements if statement["Resource"] == "*" for action in statement["Action"]}
    assert {action for action in free if not re_read(action)} == {"ssm:CancelCommand"}
    [targets] = [statement for statement in statements if "elasticloadbalancing:RegisterTargets" in statement["Action"]]
    assert targets["Resource"] == [GROUP]


def re_read(action: str) -> bool:
    return action.split(":")[1].startswith(("Describe", "List"))


@pytest.mark.parametrize(
    ("parameters", "prefixes"),
    [
        ({}, set()),
        ({"RotationDocuments": "Patch"}, {"ssm:SendCommand"}),
        ({"RotationAllowStandby": "true"}, {"autoscaling:EnterStandby"}),
    ],
)
def test_what_is_not_allowed_by_a_parameter_is_not_allowed_by_the_role(
    parameters: dict[str, str], prefixes: set[str]
) -> None:
    template = expanded({"RotationTargetGroupArns": GROUP, **parameters})
    policy = of_type(template, "AWS::IAM::Role")["TargetRotationRole"]["Policies"][0]["PolicyDocument"]
    allowed = {
        action
        for statement in policy["Statement"]
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    assert allowed & {"ssm:SendCommand", "autoscaling:EnterStandby"} == prefixes


def test_without_groups_nothing_of_it_is_there() -> None:
    assert not [name for name in expanded()["Resources"] if "Rotation" in name]


@pytest.mark.parametrize(
    ("status", "passes"), [("ABORTED", True), ("FAILED", True), ("TIMED_OUT", True), ("SUCCEEDED", False)]
)
def test_the_end_of_an_execution_wakes_the_function_unless_it_succeeded(status: str, passes: bool) -> None:
    template = expanded({"RotationTargetGroupArns": GROUP})
    pattern = template["Resources"]["TargetRotationEnds"]["Properties"]["EventPattern"]
    event = json.loads((ROOT / "events" / "target_rotation_execution_aborted.json").read_text())
    detail = event["detail"] | {"status": status}
    assert event_pattern_matches(pattern, event | {"detail": detail}) == passes
    other = detail | {"stateMachineArn": detail["stateMachineArn"] + "-of-another-stack"}
    assert not event_pattern_matches(pattern, event | {"detail": other})
