"""EventBridge: events of AWS services to rules, schedules of rules, and EventBridge Scheduler."""

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from moto.events.models import EventPattern, EventPatternParser

from sandbox.clock import Timer, iso
from sandbox.services import delivery, iam
from sandbox.services.delivery import DeliveryError
from sandbox.services.schedules import RATE, occurrences
from sandbox.wire import Refusal

SERVICE = "events.amazonaws.com"
SCHEDULER = "scheduler.amazonaws.com"
OPERATORS = {
    "anything-but",
    "cidr",
    "equals-ignore-case",
    "exists",
    "numeric",
    "prefix",
    "suffix",
    "wildcard",
}
RULE_TARGET = {"Arn", "Id", "Input", "RetryPolicy", "DeadLetterConfig"}
SCHEDULE_TARGET = {"Arn", "RoleArn", "Input", "RetryPolicy", "DeadLetterConfig"}
INVOKE = {
    "lambda": "lambda:InvokeFunction",
    "sns": "sns:Publish",
    "sqs": "sqs:SendMessage",
    "states": "states:StartExecution",
}

type Event = dict[str, Any]


@dataclass
class _Rule:
    arn: str
    pattern: dict[str, Any] | None
    targets: list[dict[str, Any]]
    enabled: bool


@dataclass
class _Due:
    """What a schedule has still to do."""

    moments: Iterator[datetime]
    fire: Callable[[datetime], object]
    end: datetime | None = None
    timer: Timer | None = field(default=None, init=False)


def matches(pattern: dict[str, Any], event: Event) -> bool:
    """Say whether an event pattern matches an event; ValueError if it is no valid pattern."""
    check_pattern(pattern)
    raw = json.dumps(pattern)
    return bool(EventPattern(raw, EventPatternParser(raw).parse()).matches_event(event))


def check_pattern(pattern: dict[str, Any]) -> None:
    """Raise ValueError if AWS would not take this event pattern."""
    if not pattern:
        raise ValueError("Event pattern is not valid. Reason: Empty object")
    for name, value in pattern.items():
        if isinstance(value, dict):
            check_pattern(value)
        elif name == "$or" and isinstance(value, list):
            for one in value:
                check_pattern(one)
        elif not isinstance(value, list) or not value:
            raise ValueError(f'Event pattern is not valid. Reason: "{name}" must be an object or a non-empty array')
        else:
            for one in value:
                if isinstance(one, list):
                    raise ValueError(f'Event pattern is not valid. Reason: "{name}" holds an array in an array')
                if isinstance(one, dict) and (len(one) != 1 or not one.keys() <= OPERATORS):
                    raise ValueError(f"Event pattern is not valid. Reason: Unrecognized match type {sorted(one)}")


class Events:
    """The account's default event bus and default schedule group."""

    def __init__(self, account: Any) -> None:
        self._account = account
        self._rules: dict[str, _Rule] = {}
        self._schedules: dict[str, _Due] = {}  # of rules by their ARN, of EventBridge Scheduler by theirs
        self.emitted: list[Event] = []
        # How often, and after how many seconds, an event arrives: () loses it, (0, 0) delivers it twice (aws-facts F5).
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
        """Create or replace a rule with its targets, return its ARN."""
        if (pattern is None) == (schedule is None):
            raise ValueError(f"Rule {name}: either a pattern or a schedule")
        if pattern is not None:
            check_pattern(pattern)
        if schedule and (found := RATE.fullmatch(schedule)) and (found[1] == "1") == bool(found[3]):
            raise ValueError(
                f"Parameter ScheduleExpression is not valid: {schedule}"
            )  # rate(1 minutes), rate(5 minute)
        if len(targets) > 5:
            raise ValueError(f"Rule {name}: at most 5 targets")
        for target in targets:
            _check_target(target, RULE_TARGET)
        now = self._account.clock.now()
        moments = occurrences(schedule, now) if schedule else None
        self.delete_rule(name)
        arn = str(self._account.arn("events", f"rule/{name}"))
        self._rules[name] = _Rule(arn, pattern, list(targets), state != "DISABLED")
        if moments and state != "DISABLED":
            self._start(arn, _Due(moments, lambda moment: self._tick(name, moment)))
        return arn

    def delete_rule(self, name: str) -> None:
        """Delete a rule and its targets."""
        if rule := self._rules.pop(name, None):
            self._stop(rule.arn)

    def emit(self, source: str, detail_type: str, detail: dict[str, Any], resources: list[str]) -> None:
        """Put an event on the bus; it reaches the rules' targets when the clock runs."""
        event = self._event(source, detail_type, detail, resources)
        self.emitted.append(event)
        for seconds in self.arrivals(event):
            self._account.clock.after(seconds, lambda: self._route(event))

    def _route(self, event: Event) -> None:
        for name, rule in list(self._rules.items()):
            if rule.enabled and rule.pattern and matches(rule.pattern, event):
                self._deliver(name, rule, event)

    def _tick(self, name: str, moment: datetime) -> None:
        rule = self._rules[name]
        event = self._event("aws.events", "Scheduled Event", {}, [rule.arn]) | {"time": iso(moment)}
        self._deliver(name, rule, event)

    def _event(self, source: str, detail_type: str, detail: Any, resources: list[str]) -> Event:
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
                self._hand_over(target["Arn"], text, SERVICE, rule.arn)
                self._count("Invocations", name)
            except DeliveryError as error:  # neither a missing target nor a missing permission is tried again
                self._count("FailedInvocations", name)
                self._dead_letter(name, rule, target, text, error)

    def _hand_over(self, arn: str, text: str, service: str, source_arn: str) -> None:
        match arn.split(":")[2]:
            case "lambda":
                self._account.functions.accept(arn, json.loads(text), principal=service, source_arn=source_arn)
            case "sqs":
                delivery.to_queue(self._account, arn, text, {}, service=service, source_arn=source_arn)
            case "sns":
                delivery.to_topic(self._account, arn, None, text, service=service, source_arn=source_arn)

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
            delivery.to_queue(self._account, queue, text, about, service=SERVICE, source_arn=rule.arn)
            self._count("InvocationsSentToDlq", name)
        except DeliveryError:
            self._count("InvocationsFailedToBeSentToDlq", name)

    def _count(self, metric: str, rule_name: str) -> None:
        self._account.cloudwatch.put("AWS/Events", metric, {"RuleName": rule_name}, 1, "Count")

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
        return {"FailedEntryCount": sum("ErrorCode" in one for one in results), "Entries": results}

    # EventBridge Scheduler.

    def put_schedule(
        self,
        name: str,
        *,
        expression: str,
        timezone: str,
        target: dict[str, Any],
        state: str,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
    ) -> str:
        """Create or replace a schedule, return its ARN; a rate without a start begins at once."""
        _check_target(target, SCHEDULE_TARGET)
        now = self._account.clock.now()
        begin = _moment(start) or now
        found = RATE.fullmatch(expression)
        if found:  # it counts from its begin, which is the first time
            period = next(occurrences(expression, begin)) - begin
            passed = max(0, -((begin - now) // period))
            moments = occurrences(expression, begin + (passed - 1) * period)
        elif expression.startswith("at("):
            moments = occurrences(expression, now, timezone)
        else:
            moments = occurrences(expression, max(begin - timedelta(seconds=1), now), timezone)
        arn = str(self._account.arn("scheduler", f"schedule/default/{name}"))
        self._stop(arn)
        if state != "DISABLED":
            finish = None if expression.startswith("at(") else _moment(end)
            self._start(arn, _Due(moments, lambda moment: self._invoke(arn, target, moment), finish))
        return arn

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule."""
        self._stop(self._account.arn("scheduler", f"schedule/default/{name}"))

    def _invoke(self, arn: str, target: dict[str, Any], moment: datetime) -> None:
        default = self._event("aws.scheduler", "Scheduled Event", "{}", [arn]) | {"time": iso(moment)}
        text = (target.get("Input") or json.dumps(default)).replace("<aws.scheduler.scheduled-time>", iso(moment))
        try:
            self._check_role(arn, target["RoleArn"], target["Arn"])
            self._send(target["Arn"], text, {})
        except DeliveryError as error:
            queue = target.get("DeadLetterConfig", {}).get("Arn")
            if queue and self._may(target["RoleArn"], queue):
                about = {"SCHEDULE_ARN": arn, "TARGET_ARN": target["Arn"], "RETRY_ATTEMPTS": "0"}
                with contextlib.suppress(DeliveryError):
                    self._send(queue, text, {**about, "ERROR_CODE": error.code, "ERROR_MESSAGE": error.message})

    def _send(self, arn: str, text: str, attributes: dict[str, str]) -> None:
        """Hand over for EventBridge Scheduler, whose role alone decides."""
        service, name = arn.split(":")[2], arn.split(":")[-1]
        with self._account.lock:
            if service == "lambda":
                try:
                    self._account.functions.invoke_async(arn, json.loads(text))
                except ValueError as error:
                    raise DeliveryError("ResourceNotFoundException", str(error)) from error
            elif service == "sqs":
                if name not in self._account.backend("sqs").queues:
                    raise DeliveryError("AWS.SimpleQueueService.NonExistentQueue", f"There is no queue {arn}.")
                typed = {key: {"DataType": "String", "StringValue": value} for key, value in attributes.items()}
                self._account.backend("sqs").send_message(name, text, message_attributes=typed)
            elif service == "states":
                try:
                    self._account.states.start(arn, json.loads(text))
                except Refusal as error:
                    raise DeliveryError(error.code, error.message) from error
            elif arn not in self._account.backend("sns").topics:
                raise DeliveryError("NotFoundException", f"There is no topic {arn}.")
            else:
                self._account.mail.publish(arn, None, text)

    def _may(self, role_arn: str, arn: str) -> bool:
        role = self._account.roles.get(role_arn.rpartition("/")[2])
        return role is not None and iam.evaluate(role.policies, INVOKE[arn.split(":")[2]], arn, {})

    def _check_role(self, schedule_arn: str, role_arn: str, target_arn: str) -> None:
        role = self._account.roles.get(role_arn.rpartition("/")[2])
        trust = [{**statement, "Resource": "*"} for statement in role.trust["Statement"]] if role else []
        if not delivery.allows({"Statement": trust}, SCHEDULER, "sts:AssumeRole", role_arn, schedule_arn):
            raise DeliveryError("AccessDeniedException", f"{SCHEDULER} cannot assume {role_arn}")
        if not self._may(role_arn, target_arn):
            raise DeliveryError("AccessDeniedException", f"{role_arn} may not use {target_arn}")

    # Schedules of both kinds.

    def _start(self, arn: str, due: _Due) -> None:
        self._schedules[arn] = due
        self._wait(due)

    def _wait(self, due: _Due) -> None:
        moment = next(due.moments, None)
        if moment is None or (due.end and moment > due.end):
            return

        def fire() -> None:
            self._wait(due)
            due.fire(moment)

        due.timer = self._account.clock.after((moment - self._account.clock.now()).total_seconds(), fire)

    def _stop(self, arn: str) -> None:
        due = self._schedules.pop(arn, None)
        if due and due.timer:
            due.timer.cancel()


def _moment(value: datetime | str | None) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _check_target(target: dict[str, Any], known: set[str]) -> None:
    if unknown := target.keys() - known:
        raise ValueError(f"The sandbox lacks these properties of a target: {', '.join(sorted(unknown))}")
    if target["Arn"].split(":")[2] not in INVOKE:
        raise ValueError(f"The sandbox lacks the target {target['Arn']}")
    if "Input" in target:
        json.loads(target["Input"])
    retry = target.get("RetryPolicy", {})
    if not 0 <= int(retry.get("MaximumRetryAttempts", 185)) <= 185:
        raise ValueError("MaximumRetryAttempts must be within 0-185")
    if not 60 <= int(retry.get("MaximumEventAgeInSeconds", 86400)) <= 86400:
        raise ValueError("MaximumEventAgeInSeconds must be within 60-86400")
