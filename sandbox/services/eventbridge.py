"""EventBridge: the default event bus, and rules that send its events, or a schedule's, to their targets.

https://docs.aws.amazon.com/eventbridge/latest/ref/event-delivery-level.html
"""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from moto.events.models import EventPattern, EventPatternParser

from sandbox.clock import iso
from sandbox.frontdoor import FrontDoor
from sandbox.services.awslambda import Functions
from sandbox.services.cloudwatch_metrics import Metrics
from sandbox.services.delivery import DeliveryError
from sandbox.services.schedules import RATE, Repetition, occurrences
from sandbox.services.sns import Sns
from sandbox.services.sqs import Sqs

_SERVICE = "events.amazonaws.com"
_OPERATORS = {
    "anything-but",
    "cidr",
    "equals-ignore-case",
    "exists",
    "numeric",
    "prefix",
    "suffix",
    "wildcard",
}
_RULE_TARGET = {"Arn", "Id", "Input", "RetryPolicy", "DeadLetterConfig"}
_RULE_SERVICES = {"lambda", "sns", "sqs"}

type Event = dict[str, Any]


@dataclass
class _Rule:
    arn: str
    pattern: dict[str, Any] | None
    targets: list[dict[str, Any]]
    enabled: bool
    schedule: Repetition | None = None


def matches(pattern: dict[str, Any], event: Event) -> bool:
    """Return whether an event pattern matches an event; ValueError if it is no valid pattern."""
    _check_pattern(pattern)
    raw = json.dumps(pattern)
    return bool(EventPattern(raw, EventPatternParser(raw).parse()).matches_event(event))


def _check_pattern(pattern: dict[str, Any]) -> None:
    """Raise ValueError if AWS would not take this event pattern."""
    if not pattern:
        raise ValueError("Event pattern is not valid. Reason: Empty object")
    for name, value in pattern.items():
        if isinstance(value, dict):
            _check_pattern(value)
        elif name == "$or" and isinstance(value, list):
            for part in value:
                _check_pattern(part)
        elif not isinstance(value, list) or not value:
            raise ValueError(f'Event pattern is not valid. Reason: "{name}" must be an object or a non-empty array')
        else:
            for part in value:
                if isinstance(part, list):
                    raise ValueError(f'Event pattern is not valid. Reason: "{name}" holds an array in an array')
                if isinstance(part, dict) and (len(part) != 1 or not part.keys() <= _OPERATORS):
                    raise ValueError(f"Event pattern is not valid. Reason: Unrecognized match type {sorted(part)}")


class Events:
    """The default event bus of one account, and its rules."""

    def __init__(self, account: FrontDoor, metrics: Metrics, functions: Functions, sqs: Sqs, sns: Sns) -> None:
        self._account = account
        self._metrics = metrics
        self._functions = functions
        self._sqs = sqs
        self._sns = sns
        self._rules: dict[str, _Rule] = {}
        self.emitted: list[Event] = []
        # How often, and after how many seconds, an event arrives: () loses it, (0, 0) delivers it twice (F5).
        self.arrivals: Callable[[Event], tuple[float, ...]] = lambda _event: (0.0,)
        account.override("events", "PutEvents", self._api_put_events)

    # Rules.

    def put_rule(
        self,
        name: str,
        *,
        pattern: dict[str, Any] | None,
        schedule: str | None,
        state: str,
        targets: list[dict[str, Any]],
    ) -> str:
        """Create or replace a rule with its targets, return its ARN; ValueError for what AWS or the sandbox refuses.

        Either a pattern or a schedule, rate() or cron() in UTC; state: ENABLED or DISABLED; targets: as PutTargets.
        """
        if (pattern is None) == (schedule is None):
            raise ValueError(f"Rule {name}: either a pattern or a schedule")
        if pattern is not None:
            _check_pattern(pattern)
        if schedule and (found := RATE.fullmatch(schedule)) and (found[1] == "1") == bool(found[3]):
            raise ValueError(
                f"Parameter ScheduleExpression is not valid: {schedule}"
            )  # rate(1 minutes), rate(5 minute)
        if len(targets) > 5:
            raise ValueError(f"Rule {name}: at most 5 targets")
        for target in targets:
            check_target(target, _RULE_TARGET, _RULE_SERVICES)
        now = self._account.clock.now()
        moments = occurrences(schedule, now) if schedule else None
        self.delete_rule(name)
        rule = _Rule(self._account.arn("events", f"rule/{name}"), pattern, list(targets), state != "DISABLED")
        self._rules[name] = rule
        if moments and rule.enabled:
            rule.schedule = Repetition(self._account.clock, moments, lambda moment: self._tick(name, moment))
        return rule.arn

    def delete_rule(self, name: str) -> None:
        """Delete a rule and its targets; one that is not there is no error."""
        rule = self._rules.pop(name, None)
        if rule and rule.schedule:
            rule.schedule.stop()

    def emit(self, source: str, detail_type: str, detail: dict[str, Any], resources: list[str]) -> None:
        """Put an event of an AWS service on the bus; it reaches the rules' targets when the clock runs."""
        event = self.envelope(source, detail_type, detail, resources)
        self.emitted.append(event)
        for seconds in self.arrivals(event):
            self._account.clock.after(seconds, lambda: self._route(event))

    def _route(self, event: Event) -> None:
        for name, rule in list(self._rules.items()):
            if rule.enabled and rule.pattern and matches(rule.pattern, event):
                self._deliver(name, rule, event)

    def _tick(self, name: str, moment: datetime) -> None:
        rule = self._rules[name]
        event = self.envelope("aws.events", "Scheduled Event", {}, [rule.arn]) | {"time": iso(moment)}
        self._deliver(name, rule, event)

    def envelope(self, source: str, detail_type: str, detail: Any, resources: list[str]) -> Event:
        """Return an event of now, as it is delivered."""
        return {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": detail_type,
            "source": source,
            "account": self._account.account_id,
            "time": iso(self._account.clock.now()),
            "region": self._account.region,
            "resources": resources,
            "detail": detail,
        }

    def _deliver(self, name: str, rule: _Rule, event: Event) -> None:
        for target in rule.targets:
            text = target.get("Input") or json.dumps(event)
            try:
                self._hand_over(target["Arn"], text, _SERVICE, rule.arn)
                self._count("Invocations", name)
            except DeliveryError as error:  # neither a missing target nor a missing permission is tried again
                self._count("FailedInvocations", name)
                self._dead_letter(name, rule, target, text, error)

    def _hand_over(self, arn: str, text: str, service: str, source_arn: str) -> None:
        match arn.split(":")[2]:
            case "lambda":
                self._functions.accept(arn, json.loads(text), principal=service, source_arn=source_arn)
            case "sqs":
                self._sqs.deliver(arn, text, {}, service=service, source_arn=source_arn)
            case "sns":
                self._sns.deliver(arn, None, text, service=service, source_arn=source_arn)

    def _dead_letter(self, name: str, rule: _Rule, target: dict[str, Any], text: str, error: DeliveryError) -> None:
        queue = target.get("DeadLetterConfig", {}).get("Arn")
        if not queue:
            return
        about = {
            "RULE_ARN": rule.arn,
            "TARGET_ARN": target["Arn"],
            "ERROR_CODE": error.code,
            "ERROR_MESSAGE": error.message,
        }
        try:
            self._sqs.deliver(queue, text, about, service=_SERVICE, source_arn=rule.arn)
            self._count("InvocationsSentToDlq", name)
        except DeliveryError:
            self._count("InvocationsFailedToBeSentToDlq", name)

    def _count(self, metric: str, rule_name: str) -> None:
        self._metrics.put("AWS/Events", metric, {"RuleName": rule_name}, 1, "Count")

    def _api_put_events(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        results: list[dict[str, str]] = []
        for entry in params["Entries"]:
            if entry.get("Source", "").startswith("aws."):
                code = "NotAuthorizedForSourceException"
                results.append({"ErrorCode": code, "ErrorMessage": "Not authorized for the source."})
                continue
            detail = json.loads(entry.get("Detail", "{}"))
            self.emit(entry["Source"], entry["DetailType"], detail, entry.get("Resources", []))
            results.append({"EventId": self.emitted[-1]["id"]})
        return {"FailedEntryCount": sum("ErrorCode" in result for result in results), "Entries": results}


def check_target(target: dict[str, Any], known: set[str], services: set[str]) -> None:
    """Raise ValueError for a target of a rule or schedule with other properties, or of another service."""
    if unknown := target.keys() - known:
        raise ValueError(f"The sandbox lacks these properties of a target: {', '.join(sorted(unknown))}")
    if target["Arn"].split(":")[2] not in services:
        raise ValueError(f"The sandbox lacks the target {target['Arn']}")
    if "Input" in target:
        json.loads(target["Input"])
    retry = target.get("RetryPolicy", {})
    if not 0 <= int(retry.get("MaximumRetryAttempts", 185)) <= 185:
        raise ValueError("MaximumRetryAttempts must be within 0-185")
    if not 60 <= int(retry.get("MaximumEventAgeInSeconds", 86400)) <= 86400:
        raise ValueError("MaximumEventAgeInSeconds must be within 60-86400")
