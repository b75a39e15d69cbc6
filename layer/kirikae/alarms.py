"""Alarms, read from CloudWatch."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kirikae import aws
from kirikae.errors import InputError, part


@dataclass(frozen=True)
class Alarm:
    """The state of an alarm (OK, ALARM or INSUFFICIENT_DATA) and the time it entered it."""

    name: str
    state: str
    since: datetime


def read(*names: str, made_with: str) -> dict[str, Alarm]:
    """Return the alarms as they are now, by name; raise InputError if one is gone, which the stack made `made_with` a
    parameter: CloudFormation makes nothing anew in a stack that did not change.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
    """
    answer = aws.client("cloudwatch").describe_alarms(AlarmNames=list(names), AlarmTypes=["MetricAlarm"])
    seen = {described["AlarmName"]: _alarm(described) for described in part(answer, "MetricAlarms")}
    if missing := [name for name in names if name not in seen]:
        raise InputError(
            f"no alarm named {', '.join(missing)}: it was deleted, and a deployment that changes nothing does not "
            f'bring it back. Deploy twice: once with {made_with}="", which removes what it made, then with its value'
        )
    return seen


def in_alarm(action_arn: str) -> tuple[Alarm, ...]:
    """Return the alarms of any kind that are in ALARM and whose enabled alarm action is this function.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
    """
    answer = aws.client("cloudwatch").describe_alarms(
        ActionPrefix=action_arn, StateValue="ALARM", AlarmTypes=["MetricAlarm", "CompositeAlarm"]
    )
    return tuple(
        _alarm(described)
        for described in answer["MetricAlarms"] + answer["CompositeAlarms"]
        if described["StateValue"] == "ALARM"
        and described.get("ActionsEnabled", True)
        # A prefix: a version or an alias of the function counts, another function with a longer name does not.
        and any(f"{action}:".startswith(f"{action_arn}:") for action in described["AlarmActions"])
    )


def _alarm(described: Mapping[str, Any]) -> Alarm:
    since = described.get("StateTransitionedTimestamp") or part(described, "StateUpdatedTimestamp")
    return Alarm(described["AlarmName"], part(described, "StateValue"), since)
