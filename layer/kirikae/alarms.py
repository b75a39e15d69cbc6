"""Alarms, read from CloudWatch."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import aws, clock
from kirikae.errors import InputError, OutdatedError
from kirikae.events import JUST_CALLED, Hint
from kirikae.log import logger


@dataclass(frozen=True)
class Alarm:
    """The state of an alarm (OK, ALARM or INSUFFICIENT_DATA), the time it entered it, and why it calls nobody."""

    name: str
    state: str
    since: datetime
    silent: str = ""  # empty: CloudWatch runs its actions

    @property
    def calling(self) -> str:
        """Return the state; for an alarm whose actions somebody keeps back, also why it is silent."""
        return f"{self.state}, but {self.silent}" if self.silent else self.state


def read(*names: str, removed_by: str, hint: Hint | None = None) -> dict[str, Alarm]:
    """Return the alarms as they are now, by name; raise InputError if one is gone.

    Raises OutdatedError if it is known by the hint that they are shown as they were before.

    CloudFormation makes nothing anew in a stack that did not change; `removed_by` this NAME=VALUE the stack has no such
    alarm, and with the parameter's own value it is made again.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
    """
    answer = aws.client("cloudwatch").describe_alarms(AlarmNames=list(names), AlarmTypes=["MetricAlarm"])
    seen = {described["AlarmName"]: _alarm(described) for described in answer["MetricAlarms"]}
    if missing := [name for name in names if name not in seen]:
        raise InputError(
            f"no alarm named {', '.join(missing)}: it was deleted, and a deployment that changes nothing does not "
            f"bring it back. Deploy twice: once with {removed_by}, which removes what it made, then with its value"
        )
    if hint and hint.calling_alarm in names:
        _not_of_before(seen.values(), hint)
    return seen


def in_alarm(action_arn: str, state: str = "ALARM", hint: Hint | None = None) -> tuple[Alarm, ...]:
    """Return the alarms of any kind that are in ALARM and whose alarm action is this function; some may be silent.

    state: another one that they are to be in.
    Raises OutdatedError if it is known by the hint that they are shown as they were before.  So all are asked for.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
    """
    answer = aws.client("cloudwatch").describe_alarms(
        ActionPrefix=action_arn, AlarmTypes=["MetricAlarm", "CompositeAlarm"], MaxRecords=100
    )
    kinds = [answer[kind] for kind in ("MetricAlarms", "CompositeAlarms") if kind in answer] or [answer["MetricAlarms"]]
    every = [*itertools.chain(*kinds)]
    if hint and hint.calling_alarm:
        _not_of_before(map(_alarm, every), hint)
    return tuple(
        _alarm(described)
        for described in every
        if described["StateValue"] == state
        # A prefix: a version or an alias of the function counts, another function with a longer name does not.
        and any(f"{action}:".startswith(f"{action_arn}:") for action in described.get("AlarmActions", []))
    )


def _not_of_before(shown: Iterable[Alarm], hint: Hint) -> None:
    """Raise OutdatedError if the alarm that has just called is shown as it was before that.

    Nobody says whether CloudWatch's reads lag behind its calls.  The event never stands for the read: it may be old,
    doubled or made by hand.
    """
    alarm = next((alarm for alarm in shown if alarm.name == hint.calling_alarm), None)
    fresh = hint.at is not None and clock.now() - hint.at <= JUST_CALLED
    before = alarm is None or (hint.at is not None and alarm.state != hint.state and alarm.since <= hint.at)
    # One that was suppressed calls when that ends, however old its state is by then.
    if (fresh and before) or (alarm and alarm.silent):
        raise OutdatedError(f"{hint.text} at {hint.at}, and CloudWatch shows {alarm or 'no such alarm'}")


def heard(alarms: Iterable[Alarm], called: str) -> tuple[Alarm, ...]:
    """Return the alarms, silent those that are muted; not asked if CloudWatch has just called for one of them."""
    found = tuple(alarms)
    return found if called in [alarm.name for alarm in found] else tuple(muted(alarm) for alarm in found)


def muted(alarm: Alarm) -> Alarm:
    """Return the alarm, silent if a mute rule mutes it now, which DescribeAlarms does not show.

    Nothing is asked of one that is silent anyway.  Whoever cannot ask goes on as if nothing was muted, and the failure
    is logged.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_ListAlarmMuteRules.html
    """
    if alarm.silent:
        return alarm
    page: dict[str, Any] = {"AlarmName": alarm.name, "Statuses": ["ACTIVE"]}
    try:
        while True:
            answer = aws.client("cloudwatch").list_alarm_mute_rules(**page)
            found = answer.get("AlarmMuteRuleSummaries", [])
            if any(rule.get("Status", "ACTIVE") == "ACTIVE" for rule in found):
                return replace(alarm, silent="muted by a rule")
            if not answer.get("NextToken"):
                return alarm
            page["NextToken"] = answer["NextToken"]
    # As with a hold, what cannot be asked stops no failover; an SDK that is older than mute rules lacks the method.
    except (ClientError, BotoCoreError, AttributeError) as error:
        logger.warning("whether the alarm is muted cannot be asked; going on", alarm=alarm.name, problem=str(error))
        return alarm


def _alarm(described: Mapping[str, Any]) -> Alarm:
    since = described.get("StateTransitionedTimestamp") or described["StateUpdatedTimestamp"]
    silent = "" if described.get("ActionsEnabled", True) else "its actions are disabled"
    if suppressed := described.get("ActionsSuppressedBy"):
        silent = f"its actions are suppressed by {suppressed}"
    return Alarm(described["AlarmName"], described["StateValue"], since, silent)
