"""What we ask of CloudWatch."""

from dataclasses import dataclass
from datetime import datetime

from kirikae import aws
from kirikae.env import InputError


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
    seen = {
        a["AlarmName"]: Alarm(
            a["AlarmName"], a["StateValue"], a.get("StateTransitionedTimestamp", a["StateUpdatedTimestamp"])
        )
        for a in found
    }
    if missing := [name for name in names if name not in seen]:
        raise InputError(f"no alarm named {', '.join(missing)}: the stack makes it; deploy the stack again")
    return seen
