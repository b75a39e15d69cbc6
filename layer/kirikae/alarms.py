"""Alarms, read from CloudWatch."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kirikae import aws
from kirikae.errors import InputError


@dataclass(frozen=True)
class Alarm:
    """The state of an alarm (OK, ALARM or INSUFFICIENT_DATA) and the time it entered it."""

    name: str
    state: str
    since: datetime


def read(*names: str) -> dict[str, Alarm]:
    """Return the alarms as they are now, by name; raise InputError if one is gone.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
    """
    found = aws.client("cloudwatch").describe_alarms(AlarmNames=list(names), AlarmTypes=["MetricAlarm"])["MetricAlarms"]
    seen = {described["AlarmName"]: _alarm(described) for described in found}
    if missing := [name for name in names if name not in seen]:
        raise InputError(f"no alarm named {', '.join(missing)}: the stack makes it; deploy the stack again")
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
    since = described.get("StateTransitionedTimestamp", described["StateUpdatedTimestamp"])
    return Alarm(described["AlarmName"], described["StateValue"], since)
