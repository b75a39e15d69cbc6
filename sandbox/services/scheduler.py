"""EventBridge Scheduler: schedules of the default group, which use their targets under a role of their own."""

import contextlib
import json
from datetime import datetime, timedelta
from typing import Any

from sandbox import iam, kms
from sandbox.clock import iso
from sandbox.frontdoor import FrontDoor
from sandbox.services.awslambda import Functions
from sandbox.services.delivery import DeliveryError, allows
from sandbox.services.eventbridge import Events, check_target
from sandbox.services.schedules import RATE, Repetition, occurrences
from sandbox.services.sns import Sns
from sandbox.services.sqs import Sqs
from sandbox.services.stepfunctions import StepFunctions
from sandbox.wire import Refusal

_SERVICE = "scheduler.amazonaws.com"
_TARGET = {"Arn", "RoleArn", "Input", "RetryPolicy", "DeadLetterConfig"}
_ACTIONS = {  # what the role of a schedule needs, by the service of its target
    "lambda": "lambda:InvokeFunction",
    "sns": "sns:Publish",
    "sqs": "sqs:SendMessage",
    "states": "states:StartExecution",
}


class Scheduler:
    """The default schedule group of one account."""

    def __init__(
        self,
        account: FrontDoor,
        events: Events,
        functions: Functions,
        stepfunctions: StepFunctions,
        sqs: Sqs,
        sns: Sns,
    ) -> None:
        self._account = account
        self._events = events
        self._functions = functions
        self._stepfunctions = stepfunctions
        self._sqs = sqs
        self._sns = sns
        self._schedules: dict[str, Repetition] = {}  # by ARN

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
        """Create or replace a schedule, return its ARN; ValueError for what AWS or the sandbox refuses.

        expression: at(), rate() or cron() in the time zone, an IANA name; a rate without a start begins at once.
        target: as CreateSchedule. state: ENABLED or DISABLED. start and end: datetimes or ISO texts; at() has no end.
        https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
        """
        check_target(target, _TARGET, set(_ACTIONS))
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
        self.delete_schedule(name)
        arn = self._arn(name)
        if state != "DISABLED":
            finish = None if expression.startswith("at(") else _moment(end)
            clock = self._account.clock
            self._schedules[arn] = Repetition(clock, moments, lambda moment: self._invoke(arn, target, moment), finish)
        return arn

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule; one that is not there is no error."""
        if schedule := self._schedules.pop(self._arn(name), None):
            schedule.stop()

    def _arn(self, name: str) -> str:
        return self._account.arn("scheduler", f"schedule/default/{name}")

    def _invoke(self, arn: str, target: dict[str, Any], moment: datetime) -> None:
        default = self._events.envelope("aws.scheduler", "Scheduled Event", "{}", [arn]) | {"time": iso(moment)}
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
        service = arn.split(":")[2]
        with self._account.lock:
            if service == "lambda":
                try:
                    self._functions.invoke_async(arn, json.loads(text))
                except ValueError as error:
                    raise DeliveryError("ResourceNotFoundException", str(error)) from error
            elif service == "sqs":
                self._sqs.send(arn, text, attributes)
            elif service == "states":
                try:
                    self._stepfunctions.start(arn, json.loads(text))
                except Refusal as error:
                    raise DeliveryError(error.code, error.message) from error
            elif arn not in self._account.backend("sns").topics:
                raise DeliveryError("NotFoundException", f"There is no topic {arn}.")
            else:
                self._sns.publish(arn, None, text)

    def _may(self, role_arn: str, arn: str) -> bool:
        role = self._account.roles.get(role_arn.rpartition("/")[2])
        if role is None or not iam.evaluate(role.policies, _ACTIONS[arn.split(":")[2]], arn, {}):
            return False
        return kms.missing(self._account, role, arn) is None

    def _check_role(self, schedule_arn: str, role_arn: str, target_arn: str) -> None:
        role = self._account.roles.get(role_arn.rpartition("/")[2])
        trust = [{**statement, "Resource": "*"} for statement in role.trust["Statement"]] if role else []
        if not allows({"Statement": trust}, _SERVICE, "sts:AssumeRole", role_arn, schedule_arn):
            raise DeliveryError("AccessDeniedException", f"{_SERVICE} cannot assume {role_arn}")
        if not self._may(role_arn, target_arn):
            raise DeliveryError("AccessDeniedException", f"{role_arn} may not use {target_arn}")


def _moment(value: datetime | str | None) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value
