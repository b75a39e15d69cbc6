"""Alarms that say nothing: mute rules, and composite alarms whose actions another alarm suppresses.

What is silenced keeps its state and its events; its actions run when the silence ends, if the state still holds (S9).
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-mute-rules.html
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.frontdoor import FrontDoor
from sandbox.wire import Refusal

_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?)?")


@dataclass(frozen=True)
class MuteRule:
    """A rule that mutes these alarms once, from `begins` until `ends`, in seconds of the clock."""

    alarms: tuple[str, ...]
    begins: float
    ends: float

    def status(self, now: float) -> str:
        """Return SCHEDULED, ACTIVE or EXPIRED."""
        return "SCHEDULED" if now < self.begins else "ACTIVE" if now < self.ends else "EXPIRED"


class MuteRules:
    """The mute rules of one account."""

    def __init__(self, account: FrontDoor, ended: Callable[[str], object]) -> None:
        """Serve their API; ended(alarm name) is called when an alarm may be silent no more."""
        self._account = account
        self._ended = ended
        self._rules: dict[str, MuteRule] = {}
        account.override("cloudwatch", "PutAlarmMuteRule", self._put)
        account.override("cloudwatch", "DeleteAlarmMuteRule", self._delete)
        account.override("cloudwatch", "ListAlarmMuteRules", self._list)

    def mutes(self, alarm: str) -> bool:
        """Tell whether a rule mutes this alarm now."""
        now = self._account.clock.time()
        return any(alarm in rule.alarms and rule.status(now) == "ACTIVE" for rule in self._rules.values())

    def _put(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        schedule = params["Rule"]["Schedule"]
        found = re.fullmatch(r"at\((.+)\)", schedule["Expression"])
        if not found or schedule.get("Timezone", "UTC") != "UTC":
            raise Refusal("ValidationError", "The sandbox lacks mute rules other than at(...) in UTC")
        begins = datetime.fromisoformat(found[1]).replace(tzinfo=UTC).timestamp()
        lasts = _seconds(schedule["Duration"])
        rule = MuteRule(tuple(params.get("MuteTargets", {}).get("AlarmNames", [])), begins, begins + lasts)
        self._rules[params["Name"]] = rule
        self._account.clock.after(rule.ends - self._account.clock.time(), lambda: self._over(rule))
        return {}

    def _delete(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        if rule := self._rules.pop(params["AlarmMuteRuleName"], None):
            self._over(rule)
        return {}

    def _over(self, rule: MuteRule) -> None:
        for alarm in rule.alarms:
            self._ended(alarm)

    def _list(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        # S8: a summary names no alarm; whether one is muted is asked by its name.
        now, wanted = self._account.clock.time(), params.get("Statuses") or ["SCHEDULED", "ACTIVE", "EXPIRED"]
        return {
            "AlarmMuteRuleSummaries": [
                {
                    "AlarmMuteRuleArn": self._account.arn("cloudwatch", f"alarm-mute-rule:{name}"),
                    "Status": rule.status(now),
                    "MuteType": "ONE_TIME",
                }
                for name, rule in self._rules.items()
                if rule.status(now) in wanted and params.get("AlarmName", "") in ("", *rule.alarms)
            ]
        }


def _seconds(duration: str) -> float:
    """Return the seconds of a duration, one minute to 15 days: PT30M."""
    found = _DURATION.fullmatch(duration)
    days, hours, minutes = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    lasts = timedelta(days=days, hours=hours, minutes=minutes)
    if not timedelta(minutes=1) <= lasts <= timedelta(days=15):
        raise Refusal("ValidationError", f"Duration {duration} is not between PT1M and P15D")
    return lasts.total_seconds()
