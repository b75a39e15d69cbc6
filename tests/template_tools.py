"""What the template becomes when it is deployed, without deploying it."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from moto.events.models import EventPattern

from sandbox import ACCOUNT_ID, REGION
from sandbox.stack import cloudformation, intrinsics, provision

TEMPLATE = Path(__file__).parents[1] / "template.yaml"
STACK_NAME = "kirikae"


def expanded(
    parameters: Mapping[str, str] | None = None, template: Path = TEMPLATE, stack_name: str = STACK_NAME
) -> dict[str, Any]:
    """Return {"Resources": {logical id: {"Type", "Properties", "Ref", "Attributes"}}, "Outputs": {name: value}}.

    Everything is literal and only what these parameters switch on is there; ids that AWS would choose are made up, the
    same every time.
    """
    return json.loads(_expanded(template, stack_name, tuple(sorted((parameters or {}).items()))))  # type: ignore[no-any-return]


@lru_cache
def _expanded(template: Path, stack_name: str, parameters: tuple[tuple[str, str], ...]) -> str:
    plan = cloudformation.planned(template, stack_name, dict(parameters))
    made, outputs = cloudformation.realise(plan, lambda resource: resource)
    literal = {
        logical_id: {
            "Type": resource.type,
            "Properties": resource.properties,
            "Ref": resource.identity.ref,
            "Attributes": dict(resource.identity.attributes),
        }
        for logical_id, resource in made.items()
    }
    return json.dumps({"Resources": literal, "Outputs": outputs})


def short_id(stack_name: str = STACK_NAME) -> str:
    """Return the first part of the stack's id, from which the template builds names that have little room."""
    pseudo = intrinsics.pseudo_parameters(stack_name, REGION, ACCOUNT_ID)
    return str(pseudo["AWS::StackId"]).rpartition("/")[2].partition("-")[0]


def of_type(template: Mapping[str, Any], type_name: str) -> dict[str, dict[str, Any]]:
    """Return the properties of every resource of a type, by logical id."""
    return {
        logical_id: resource["Properties"]
        for logical_id, resource in template["Resources"].items()
        if resource["Type"] == type_name
    }


def alarms_of(template: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return every metric alarm, by logical id; one on an expression with what its first metric watches."""
    found = of_type(template, "AWS::CloudWatch::Alarm")
    for name, alarm in found.items():
        if stats := [query["MetricStat"] for query in alarm.get("Metrics", []) if "MetricStat" in query]:
            found[name] = alarm | stats[0]["Metric"] | {"Statistic": stats[0]["Stat"], "Period": stats[0]["Period"]}
    return found


def policies_of(template: Mapping[str, Any], function_logical_id: str) -> list[dict[str, Any]]:
    """Return every statement that a function's role has, managed policies included."""
    role_arn = template["Resources"][function_logical_id]["Properties"]["Role"]
    documents = [
        document
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::IAM::Role" and resource["Attributes"]["Arn"] == role_arn
        for document in provision.role_policies(resource["Properties"])
    ]
    role_name = role_arn.rpartition("/")[2]
    documents += [
        policy["PolicyDocument"]
        for policy in of_type(template, "AWS::IAM::Policy").values()
        if role_name in policy["Roles"]
    ]
    return [statement for document in documents for statement in _listed(document["Statement"])]


def _listed(statements: Any) -> list[dict[str, Any]]:
    return statements if isinstance(statements, list) else [statements]


def event_pattern_matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """Say whether EventBridge would hand the event to a rule with this pattern."""
    return bool(EventPattern.load(json.dumps(pattern)).matches_event(dict(event)))
