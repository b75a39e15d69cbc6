"""The event that invoked the function, and what a person asked for.  The state in an event is a hint, never a fact."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kirikae.clock import moment_if_any
from kirikae.errors import InputError

JUST_CALLED = timedelta(minutes=5)  # an alarm's action that is older proves nothing
_OPTIONS = ("action", "force", "reason")
_OF_WISHES = ("window", "until", "minutes")  # who says one of these and no type has forgotten it


@dataclass(frozen=True)
class Hint:
    """Why the function runs; `at` is the time of the cause, where the event has one."""

    text: str
    kind: str = "event"  # event, alarm, tick, wish or person
    at: datetime | None = None
    stopped_instance: str = ""  # an instance that the event says is going or gone
    running_instance: str = ""  # an instance that the event says runs, since `at`
    state: str = ""  # what it says of either, or of the alarm
    calling_alarm: str = ""  # the alarm whose action the event is: CloudWatch did call
    wish: Any = None  # the stored form of the wish in the event, of a handler that takes wishes

    def called(self, now: datetime) -> str:
        """Return the alarm for which CloudWatch has just called, which proves that it was not muted."""
        return self.calling_alarm if self.at is not None and now - self.at < JUST_CALLED else ""


@dataclass(frozen=True)
class Request:
    """A hint with a person's options."""

    hint: Hint
    dry_run: bool = False
    force: bool = False
    reason: str = ""
    wish: dict[str, Any] | None = None  # the event, if it is a wish: what should be from now on


def hint(event: dict[str, Any]) -> Hint:
    """Read the event as a hint: an alarm action, an EventBridge event, a tick, a wish or anything else.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-actions-Lambda.html
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html
    """
    match event:
        case {"alarmData": {"alarmName": str(name), "state": {"value": value, **more}}} | {
            "detail-type": "CloudWatch Alarm State Change",
            "detail": {"alarmName": str(name), "state": {"value": value, **more}},
        }:
            at = moment_if_any(more.get("timestamp", event.get("time")))
            calls = name if "alarmData" in event else ""
            return Hint(f"alarm {name} went {value}", "alarm", at, state=f"{value}", calling_alarm=calls)
        case {
            "detail-type": "EC2 Instance State-change Notification",
            "detail": {"instance-id": str(instance_id), "state": state},
        }:
            gone = instance_id if state in ("stopping", "stopped", "shutting-down", "terminated") else ""
            runs = instance_id if state == "running" else ""
            at = moment_if_any(event.get("time"))
            return Hint(f"instance {instance_id} is {state}", "event", at, gone, runs, state if gone or runs else "")
        case {"detail-type": "Scheduled Event"}:
            return Hint("tick", "tick")
        case {"detail-type": str(kind)}:
            return Hint(f"event {kind}", "event", moment_if_any(event.get("time")))
        case {"type": kind}:
            return Hint(f"wish {kind}", "wish", moment_if_any(event.get("at")))
        case _:
            return Hint("by hand", "person")


def request(event: object) -> Request:
    """Read the event; raise InputError for one that is not a JSON object or asks for something unknown."""
    if not isinstance(event, dict):
        raise InputError(f"the event is {event!r}, expected a JSON object")
    action, force, reason = event.get("action", "reconcile"), event.get("force", False), event.get("reason", "")
    if action not in ("reconcile", "dry-run"):
        raise InputError(f'action is {action!r}, expected "reconcile" or "dry-run"')
    if not isinstance(force, bool) or not isinstance(reason, str):
        raise InputError(f"force is {force!r} and reason {reason!r}, expected true or false and a text")
    if force and not reason.strip():
        raise InputError('force needs a reason: {"action": "reconcile", "force": true, "reason": "why"}')
    found = hint(event)
    if found.kind == "person" and event.keys() & {*_OPTIONS, *_OF_WISHES} and (unknown := event.keys() - {*_OPTIONS}):
        known = f"{', '.join(_OPTIONS)}, or a wish with its type"
        raise InputError(f"an event by hand has no {', '.join(sorted(unknown))}, expected only {known}")
    return Request(found, action == "dry-run", force, reason, event if found.kind == "wish" else None)
