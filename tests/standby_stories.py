"""A world with verbs for the stories of the cold standby."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sandbox.account import Account
from sandbox.estates import standby as estate_standby
from sandbox.stack import cloudformation

FUNCTION = "ColdStandbyStartFunction"
START, STOP, TYPE = "StartInstances", "StopInstances", "ModifyInstanceAttribute"
CAPACITY = "InsufficientInstanceCapacity"


def mute(account: Account, alarm: str, minutes: int) -> None:
    """Mute an alarm from now on."""
    began = datetime.fromtimestamp(account.clock.time() // 60 * 60, UTC)
    account.client("cloudwatch").put_alarm_mute_rule(
        Name="work",
        Rule={"Schedule": {"Expression": f"at({began:%Y-%m-%dT%H:%M})", "Duration": f"PT{minutes}M"}},
        MuteTargets={"AlarmNames": [alarm]},
    )


class Batch:
    """A server with two cold standbys, protected by the stack `batch`; time passes only when a verb lets it pass."""

    def __init__(self, account: Account, build: Path, **parameters: str) -> None:
        self.account, self.build = account, build
        self.service = estate_standby.standby_service(account)
        self.active, (self.one, self.two) = self.service.active, self.service.standbys
        self.given = {
            "ActiveInstanceId": self.active,
            "StandbyInstanceIds": f"{self.one},{self.two}",
            "NotificationEmail": "oncall@example.com",
        } | {name: value.format(one=self.one, two=self.two) for name, value in parameters.items()}
        if self.given.get("StandbyTargetGroupArn") == "its own":
            self.given["StandbyTargetGroupArn"] = self.service.group_arn
        self.stack = cloudformation.deploy(account, build, "batch", self.given)
        self.arn = self.stack.outputs["ColdStandbyStartFunctionArn"]
        self.minutes(1)

    def deployed_again(self, **parameters: str) -> None:
        """Update the stack."""
        self.given |= parameters
        self.stack = cloudformation.update(self.account, self.stack, self.build, self.given)

    def minutes(self, count: float) -> None:
        self.account.advance(60 * count)

    def settle(self) -> None:
        self.account.settle()

    def dies(self) -> None:
        """Let the active stop, and the event arrive."""
        self.service.stop()
        self.settle()

    def loses_events(self) -> None:
        """From now on no state change reaches the function."""
        self.account.events.delete_rule(self.stack.resources["StandbyChanges"])

    def hold(self, minutes: float) -> None:
        until = datetime.fromtimestamp(self.account.clock.time() + 60 * minutes, UTC).isoformat()
        wish = json.dumps({"until": until, "reason": "work on the server"})
        self.account.client("ssm").put_parameter(Name="/batch/hold", Type="String", Value=wish, Overwrite=True)
        self.account.lag.catch_up("ssm")  # what follows is not of the same second

    def invoke(self, event: Any = None) -> Any:
        done = self.account.functions.invoke(self.stack.resources[FUNCTION], event or {"action": "reconcile"})
        assert done.error is None, (done.error, done.payload)
        return done.payload

    def alarm(self, name: str, actions: list[str]) -> None:
        """Make a user's own alarm."""
        self.account.client("cloudwatch").put_metric_alarm(
            AlarmName=name,
            Namespace="batch",
            MetricName="Heartbeat",
            Statistic="Sum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="LessThanThreshold",
            TreatMissingData="ignore",
            AlarmActions=actions,
        )

    def mute(self, alarm: str, minutes: int) -> None:
        """Mute an alarm from now on."""
        mute(self.account, alarm, minutes)

    def sets(self, alarm: str, state: str) -> None:
        self.account.client("cloudwatch").set_alarm_state(AlarmName=alarm, StateValue=state, StateReason="test")
        self.settle()

    @property
    def states(self) -> list[str]:
        return self.service.states()

    @property
    def mails(self) -> list[Any]:
        return [mail for mail in self.account.mails if (mail.subject or "").startswith("[kirikae]")]

    @property
    def subjects(self) -> list[str]:
        """Return the subjects of the function's mails, with names for the instances."""
        names = {self.active: "ACTIVE", self.one: "ONE", self.two: "TWO"}
        found = [mail.subject.split(": ", 1)[1] for mail in self.mails]
        for instance_id, name in names.items():
            found = [subject.replace(instance_id, name) for subject in found]
        return found

    def alarm_mails(self, name: str, state: str = "ALARM") -> list[Any]:
        return [m for m in self.account.mails if (m.subject or "").startswith(f"{state}: ") and name in m.subject]

    def calls(self, *operations: str) -> list[tuple[str, str]]:
        """Return the function's own writes, not the dry runs: operation and instance."""
        return [
            (call.operation, str(call.params.get("InstanceIds", [call.params.get("InstanceId")])[0]))
            for call in self.account.calls
            if call.operation in operations and "ColdStandby" in call.principal and not call.params.get("DryRun")
        ]

    def outcomes(self) -> list[str]:
        lines = [line for run in self.account.functions.runs for line in run.invocation.log if '"decision"' in line]
        return [json.loads(line)["decision"]["outcome"] for line in lines]
