"""CloudWatch's alarms: evaluated at the end of each virtual minute, with their actions and events.

moto's backend keeps the alarms and what DescribeAlarms says of them; definitions and states are kept here and written
through to it. What an alarm does is queued on the clock, so it happens after the request or minute that caused it.
"""

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from sandbox.frontdoor import FrontDoor
from sandbox.services.awslambda import Functions
from sandbox.services.cloudwatch_math import COMPARISONS, STATISTICS, evaluated, math
from sandbox.services.cloudwatch_metrics import MINUTE, Metrics
from sandbox.services.cloudwatch_silence import MuteRules
from sandbox.services.delivery import DeliveryError
from sandbox.services.eventbridge import Events
from sandbox.services.sns import Sns
from sandbox.wire import Refusal

_EXTRA_PERIODS = 2  # of the evaluation range, beyond the evaluation periods ("alarms and missing data" shows 5 for 3)
_REGION_NAME = "Asia Pacific (Tokyo)"
LAMBDA_PRINCIPAL = "lambda.alarms.cloudwatch.amazonaws.com"

type Definition = dict[str, Any]  # the parameters of PutMetricAlarm

_ACTION_LISTS = {"ALARM": "AlarmActions", "OK": "OKActions", "INSUFFICIENT_DATA": "InsufficientDataActions"}
_EC2_ACTIONS = {"stop": "stop_instances", "terminate": "terminate_instances", "reboot": "reboot_instances"}


@dataclass(frozen=True)
class State:
    """The state of an alarm; transitioned is when the value last changed, updated when anything did."""

    value: str
    reason: str
    reason_data: str | None
    updated: datetime
    transitioned: datetime

    def described(self) -> dict[str, str]:
        """Write it as events do."""
        data = {} if self.reason_data is None else {"reasonData": self.reason_data}
        return {"value": self.value, "reason": self.reason, **data, "timestamp": timestamp(self.updated)}


def timestamp(moment: datetime) -> str:
    """Write a moment as CloudWatch does: 2026-01-01T00:00:00.000+0000."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}+0000"


class Alarms:
    """The alarms of one account."""

    def __init__(self, account: FrontDoor, metrics: Metrics, functions: Functions, sns: Sns, events: Events) -> None:
        self._account = account
        self._metrics = metrics
        self._functions = functions
        self._sns = sns
        self._events = events
        self._definitions: dict[str, Definition] = {}
        self._states: dict[str, State] = {}
        self._metric_ids: dict[str, str] = {}
        # Actions that failed: alarm, action, reason. On AWS only the alarm's history has them.
        self.failed_actions: list[tuple[str, str, str]] = []
        self._withheld: dict[str, Callable[[], None]] = {}  # alarm -> the actions of its present state
        self.mute_rules = MuteRules(account, self._speaks_again)
        metrics.after_minute = self._evaluate_all
        account.override("cloudwatch", "PutMetricAlarm", self._check)
        account.after("cloudwatch", "PutMetricAlarm", self._defined)
        account.after("cloudwatch", "DeleteAlarms", self._deleted)
        account.override("cloudwatch", "SetAlarmState", self._set_state)
        account.override("cloudwatch", "PutCompositeAlarm", self._put_composite)
        for verb, enabled in (("EnableAlarmActions", True), ("DisableAlarmActions", False)):
            account.after("cloudwatch", verb, lambda params, enabled=enabled: self._enable(params, enabled))

    def put_alarm(self, properties: dict[str, Any]) -> str:
        """Create or replace an alarm from the properties of AWS::CloudWatch::Alarm, return its ARN; the state stays.

        ClientError ValidationError for what AWS refuses, and for what the sandbox could not evaluate.
        """
        self._account.client("cloudwatch").put_metric_alarm(**_typed(properties))
        return str(self._account.arn("cloudwatch", f"alarm:{properties['AlarmName']}"))

    def delete_alarm(self, name: str) -> None:
        """Delete an alarm."""
        self._account.client("cloudwatch").delete_alarms(AlarmNames=[name])

    def state(self, name: str) -> State:
        """Return the state of an alarm; KeyError if there is none."""
        return self._states[name]

    # The API.

    def _check(self, params: Definition, _principal: str) -> None:
        try:
            _validate(params)
        except ValueError as error:
            raise Refusal("ValidationError", str(error)) from error

    def _defined(self, params: Definition) -> None:
        name, now = params["AlarmName"], self._account.clock.now()
        self._definitions[name] = params
        self._metric_ids.setdefault(name, str(uuid.uuid4()))
        new = State("INSUFFICIENT_DATA", "Unchecked: Initial alarm creation", None, now, now)
        self._set(name, self._states.get(name, new))
        self._account.backend("cloudwatch").alarms[name].configuration_updated_timestamp = now

    def _deleted(self, params: dict[str, Any]) -> None:
        for name in params["AlarmNames"]:
            self._definitions.pop(name, None)
            self._states.pop(name, None)

    def _enable(self, params: dict[str, Any], enabled: bool) -> None:
        for name in params["AlarmNames"]:
            self._definitions[name] = self._definitions[name] | {"ActionsEnabled": enabled}

    def _put_composite(self, params: Definition, _principal: str) -> dict[str, Any]:
        """Make an alarm of other alarms; the sandbox knows ALARM("one") OR ALARM("other")."""
        terms = [re.fullmatch(r'\s*ALARM\("?([^"()]+)"?\)\s*', term) for term in params["AlarmRule"].split(" OR ")]
        if None in terms:
            raise Refusal("ValidationError", f"The sandbox lacks the rule {params['AlarmRule']}")
        name, now = params["AlarmName"], self._account.clock.now()
        actions = {"alarm_actions": params.get("AlarmActions") or [], "ok_actions": params.get("OKActions") or []}
        unused = {"namespace": "", "metric_name": "", "comparison_operator": "", "statistic": "", "description": ""}
        self._account.backend("cloudwatch").put_metric_alarm(
            name=name,
            evaluation_periods=1,
            period=MINUTE,
            threshold=0,
            dimensions=[],
            rule=params["AlarmRule"],
            **unused,
            **actions,
        )
        of = [term[1] for term in terms if term]
        self._definitions[name] = {"Dimensions": [], **params, "Of": of}
        self._set(name, State("OK", "", None, now, now))
        self._combine()
        return {}

    def _combine(self) -> None:
        """Let the composite alarms follow those that they are made of, and what suppresses them (S8)."""
        for name, definition in list(self._definitions.items()):
            if "Of" in definition:
                raised = any(self._states[part].value == "ALARM" for part in definition["Of"])
                if (value := "ALARM" if raised else "OK") != self._states[name].value:
                    self._change(name, value, definition["AlarmRule"], None)
                alarm = self._account.backend("cloudwatch").alarms[name]
                alarm.actions_suppressed_by = "Alarm" if self._suppressed(name) else None
                self._speaks_again(name)

    def _suppressed(self, name: str) -> bool:
        suppressor = self._definitions[name].get("ActionsSuppressor", "").rpartition(":")[2]
        return bool(suppressor) and self._states[suppressor].value == "ALARM"

    def _speaks_again(self, name: str) -> None:
        """Run what was withheld, unless the alarm is silent still."""
        if name in self._withheld and not self._silent(name):
            self._withheld.pop(name)()

    def _silent(self, name: str) -> bool:
        return self.mute_rules.mutes(name) or self._suppressed(name)

    def _set_state(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        name, data = params["AlarmName"], params.get("StateReasonData")
        if name not in self._definitions:
            raise Refusal("ResourceNotFound", "", 404)
        if params["StateValue"] not in _ACTION_LISTS:
            raise Refusal("ValidationError", f"Value '{params['StateValue']}' at 'stateValue' is not a state")
        self._change(name, params["StateValue"], params["StateReason"], data)
        return {}

    # Evaluation.

    def _evaluate_all(self, end: int) -> None:
        for name, definition in list(self._definitions.items()):
            if "Of" not in definition:
                self._evaluate(name, end)

    def _evaluate(self, name: str, end: int) -> None:
        definition, state = self._definitions[name], self._states[name]
        periods = definition["EvaluationPeriods"]
        needed = definition.get("DatapointsToAlarm") or periods
        treat = definition.get("TreatMissingData") or "missing"
        compare, _ = COMPARISONS[definition["ComparisonOperator"]]
        values = [self._value(definition, end, back) for back in reversed(range(periods + _EXTRA_PERIODS))]
        breaching = [None if value is None else compare(value, definition["Threshold"]) for value in values]
        value = evaluated(breaching, needed, periods, treat, state.value)
        if value != state.value:
            self._change(name, value, *_reason(definition, values, value, end, self._account.clock.now()))

    def _value(self, definition: Definition, end: int, back: int) -> float | None:
        """Return the alarm's value of the period that ended this many periods before end."""
        period = _period(definition)
        window = range(end - (back + 1) * period + MINUTE, end - back * period + 1, MINUTE)
        if definition.get("MetricName"):
            return self._metrics.statistic(definition, definition["Statistic"], window)
        values: dict[str, float | None] = {}
        for query in definition["Metrics"]:
            if stat := query.get("MetricStat"):
                values[query["Id"]] = self._metrics.statistic(stat["Metric"], stat["Stat"], window)
        pending = [query for query in definition["Metrics"] if query.get("Expression")]
        for query in sorted(pending, key=lambda query: bool(query.get("ReturnData", True))):
            values[query["Id"]] = math(query["Expression"], values)
        return values[_returned(definition)["Id"]]

    # What follows from a change.

    def _set(self, name: str, state: State) -> None:
        self._states[name] = state
        alarm = self._account.backend("cloudwatch").alarms[name]
        alarm.state_value, alarm.state_reason = state.value, state.reason
        alarm.state_reason_data = state.reason_data
        alarm.state_updated_timestamp = state.updated
        alarm.state_transitioned_timestamp = state.transitioned

    def _change(self, name: str, value: str, reason: str, reason_data: str | None) -> None:
        old, now = self._states[name], self._account.clock.now()
        changed = value != old.value
        with self._account.lock:
            self._account.lag.before_change("cloudwatch")
        new = State(value, reason, reason_data, now, now if changed else old.transitioned)
        self._set(name, new)
        if not changed:  # actions fire only on transitions (E3)
            return
        definition, arn = self._definitions[name], self._account.arn("cloudwatch", f"alarm:{name}")
        about = {
            "alarmName": name,
            "state": new.described(),
            "previousState": old.described(),
            "configuration": self._configuration(definition),
        }
        self._events.emit("aws.cloudwatch", "CloudWatch Alarm State Change", about, [arn])
        self._withheld.pop(name, None)
        if definition.get("ActionsEnabled", True):
            self._withheld[name] = lambda: self._act_all(definition, about, old, new)
            self._speaks_again(name)
        if "Of" not in definition:
            self._combine()

    def _act_all(self, definition: Definition, about: dict[str, Any], old: State, new: State) -> None:
        for action in definition.get(_ACTION_LISTS[new.value]) or []:
            self._account.clock.after(0, lambda to=action: self._act(to, definition, about, old, new))

    def _act(self, action: str, definition: Definition, about: dict[str, Any], old: State, new: State) -> None:
        name = about["alarmName"]
        arn = self._account.arn("cloudwatch", f"alarm:{name}")
        service = action.split(":")[2]
        try:
            if service == "lambda":  # E1, E2, E4
                event = {
                    "source": "aws.cloudwatch",
                    "alarmArn": arn,
                    "accountId": self._account.account_id,
                    "time": timestamp(new.updated),
                    "region": self._account.region,
                    "alarmData": about,
                }
                self._functions.accept(action, event, principal=LAMBDA_PRINCIPAL, source_arn=arn)
            elif service == "sns":
                subject = f'{new.value}: "{name}" in {_REGION_NAME}'.encode("ascii", "replace").decode()[:100]
                text = json.dumps(self._notification(definition, arn, old, new), ensure_ascii=False)
                source = {"service": "cloudwatch.amazonaws.com", "source_arn": arn}
                self._sns.deliver(action, subject, text, **source)
            else:
                instance = next(pair["Value"] for pair in definition["Dimensions"] if pair["Name"] == "InstanceId")
                verb = _EC2_ACTIONS[action.rsplit(":", 1)[-1]]
                getattr(self._account.client("ec2"), verb)(InstanceIds=[instance])
        except (DeliveryError, ClientError, Refusal) as error:
            self.failed_actions.append((name, action, str(error)))

    def _configuration(self, definition: Definition) -> dict[str, Any]:
        metrics = [_described(query) for query in definition.get("Metrics") or []]
        if definition.get("MetricName"):
            stat = {"Metric": definition, "Period": definition["Period"], "Stat": definition["Statistic"]}
            stat |= {"Unit": definition["Unit"]} if definition.get("Unit") else {}
            metrics = [_described({"Id": self._metric_ids[definition["AlarmName"]], "MetricStat": stat})]
        text = definition.get("AlarmDescription")
        return {**({"description": text} if text else {}), "metrics": metrics}

    def _notification(self, definition: Definition, arn: str, old: State, new: State) -> dict[str, Any]:
        return {
            "AlarmName": definition["AlarmName"],
            "AlarmDescription": definition.get("AlarmDescription"),
            "AWSAccountId": self._account.account_id,
            "NewStateValue": new.value,
            "NewStateReason": new.reason,
            "StateChangeTime": timestamp(new.updated),
            "Region": _REGION_NAME,
            "AlarmArn": arn,
            "OldStateValue": old.value,
            **{name: definition.get(name) or [] for name in ("OKActions", "AlarmActions", "InsufficientDataActions")},
            "Trigger": {
                "MetricName": definition.get("MetricName"),
                "Namespace": definition.get("Namespace"),
                "Statistic": (definition.get("Statistic") or "").upper(),
                "Dimensions": [
                    {"name": pair["Name"], "value": pair["Value"]} for pair in definition.get("Dimensions", [])
                ],
                "Period": _period(definition),
                "EvaluationPeriods": definition["EvaluationPeriods"],
                "ComparisonOperator": definition["ComparisonOperator"],
                "Threshold": definition["Threshold"],
                "TreatMissingData": definition.get("TreatMissingData") or "missing",
            },
        }


def _typed(properties: dict[str, Any]) -> dict[str, Any]:
    """Give numbers and booleans their types: a template may hold them as strings."""
    wanted: dict[str, Callable[[Any], Any]] = {
        **dict.fromkeys(("EvaluationPeriods", "DatapointsToAlarm", "Period"), int),
        "Threshold": float,
        **dict.fromkeys(("ActionsEnabled", "ReturnData"), lambda value: str(value).lower() == "true"),
    }

    def convert(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: convert(part, key) for key, part in value.items()}
        if isinstance(value, list):
            return [convert(part) for part in value]
        return wanted[name](value) if name in wanted else value

    return dict(convert(properties))


def _validate(definition: Definition) -> None:
    """Refuse what AWS refuses, and what the sandbox could not evaluate."""
    if definition["ComparisonOperator"] not in COMPARISONS:
        raise ValueError(f"The sandbox lacks {definition['ComparisonOperator']}")
    period = _period(definition)
    if period % MINUTE or period < MINUTE:
        raise ValueError(f"The sandbox lacks periods other than full minutes, this one has {period} seconds")
    if period * definition["EvaluationPeriods"] > 24 * 3600 and period < 3600:
        raise ValueError(
            "Metrics cannot be checked across more than a day (EvaluationPeriods * Period must be <= 86400)."
        )
    if (definition.get("DatapointsToAlarm") or 1) > definition["EvaluationPeriods"]:
        raise ValueError("DatapointsToAlarm must be smaller than or equal to EvaluationPeriods")
    if (definition.get("TreatMissingData") or "missing") not in ("missing", "ignore", "breaching", "notBreaching"):
        raise ValueError(f"Option {definition['TreatMissingData']} is not supported for TreatMissingData")
    queries = definition.get("Metrics") or []
    stats = [query["MetricStat"]["Stat"] for query in queries if "MetricStat" in query]
    for statistic in stats or [definition.get("Statistic")]:
        if statistic not in STATISTICS:
            raise ValueError(f"The sandbox lacks the statistic {statistic}")
    if queries:
        _returned(definition)
    for query in queries:
        if query.get("Expression"):
            math(query["Expression"], {other["Id"]: 1.0 for other in queries})
    for action in [action for name in _ACTION_LISTS.values() for action in definition.get(name) or []]:
        if action.split(":")[2] in ("lambda", "sns"):
            continue
        if action.rsplit(":", 1)[-1] not in _EC2_ACTIONS:
            raise ValueError(f"Invalid arn syntax or an action that the sandbox lacks: {action}")
        if "InstanceId" not in [dimension["Name"] for dimension in definition.get("Dimensions", [])]:
            raise ValueError(f"The metric of an alarm with the action {action} must have the dimension InstanceId")


def _period(definition: Definition) -> int:
    if definition.get("MetricName"):
        return int(definition["Period"])
    periods = [query["MetricStat"]["Period"] for query in definition["Metrics"] if query.get("MetricStat")]
    return int(max(periods))


def _returned(definition: Definition) -> dict[str, Any]:
    found = [query for query in definition["Metrics"] if query.get("ReturnData", True)]
    if len(found) != 1:
        raise ValueError("Exactly one element of the metrics list should return data.")
    return dict(found[0])


def _described(query: dict[str, Any]) -> dict[str, Any]:
    """Write one metric of an alarm as events do."""
    if "MetricStat" not in query:
        return {"id": query["Id"], "expression": query["Expression"], "returnData": query.get("ReturnData", True)}
    stat = query["MetricStat"]
    metric = stat["Metric"]
    return {
        "id": query["Id"],
        "metricStat": {
            "metric": {
                "namespace": metric["Namespace"],
                "name": metric["MetricName"],
                "dimensions": {dimension["Name"]: dimension["Value"] for dimension in metric.get("Dimensions", [])},
            },
            "period": stat["Period"],
            "stat": stat["Stat"],
            **({"unit": stat["Unit"]} if stat.get("Unit") else {}),
        },
        "returnData": query.get("ReturnData", True),
    }


def _reason(definition: Definition, values: list[float | None], state: str, end: int, now: datetime) -> tuple[str, str]:
    """Write why the state became this one in CloudWatch's words, and the data behind it."""
    period, threshold, periods = _period(definition), float(definition["Threshold"]), definition["EvaluationPeriods"]
    begins = [datetime.fromtimestamp(end - back * period, UTC) for back in range(len(values), 0, -1)]
    points = [(moment, value) for moment, value in zip(begins, values, strict=True) if value is not None][-periods:]
    if state == "INSUFFICIENT_DATA":
        text = f"Insufficient Data: {_count(periods, 'datapoint')} unknown."
    elif not points:
        treated = {"ALARM": "Breaching", "OK": "NonBreaching"}[state]
        text = (
            f"Threshold Crossed: no datapoints were received for {_count(periods, 'period')} and "
            f"{_count(periods, 'missing datapoint')} treated as [{treated}]."
        )
    else:
        shown = ", ".join(f"{value} ({moment:%d/%m/%y %H:%M:%S})" for moment, value in points)
        _, words = COMPARISONS[definition["ComparisonOperator"]]
        needed = definition.get("DatapointsToAlarm") or periods
        way = "OK -> ALARM" if state == "ALARM" else "ALARM -> OK"
        text = (
            f"Threshold Crossed: {len(points)} out of the last {_count(periods, 'datapoint')} [{shown}] "
            f"{'was' if state == 'ALARM' else 'was not'} {words} the threshold ({threshold}) "
            f"(minimum {_count(needed, 'datapoint')} for {way} transition)."
        )
    data = {
        "version": "1.0",
        "queryDate": timestamp(now),
        **({"statistic": definition["Statistic"]} if definition.get("Statistic") else {}),
        "period": period,
        "recentDatapoints": [value for _, value in points],
        "threshold": threshold,
        "evaluatedDatapoints": [{"timestamp": timestamp(moment), "value": value} for moment, value in reversed(points)],
    }
    return text, json.dumps(data)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
