"""A service behind an NLB whose targets are rotated, with verbs, and the hooks that its stories use."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kirikae.rotation import claims
from sandbox.account import Account
from sandbox.estates import nlb as estate
from sandbox.services.stepfunctions import Execution
from sandbox.stack import cloudformation

HOOKS = {
    "ssm-command": {"type": "ssm-command", "commands": ["yum -y update", "systemctl restart web"]},
    "ssm-document": {"type": "ssm-document", "document": "Patch", "parameters": {"Level": ["all"]}},
}


class Site:
    """A service behind an NLB whose targets can be rotated; time passes only when a verb lets it pass."""

    def __init__(self, account: Account, build: Path, **parameters: str) -> None:
        self.account = account
        self.service = estate.nlb_service(account)
        self.group, self.ids = self.service.primary_arn, self.service.instance_ids
        self.elb = account.client("elbv2")
        self.build, self.given = build, parameters
        self.delay(self.group, 30)
        self.asks(self.group, **{"load_balancing.cross_zone.enabled": "true"})

    def deployed(self, **parameters: str) -> "Site":
        """Deploy the stack; only the rotation is on, and ticks are rare."""
        self.stack = cloudformation.deploy(self.account, self.build, "site", self._parameters() | parameters)
        self.machine = self.stack.resources["TargetRotationStateMachine"]
        self.account.settle()
        return self

    def updated(self, **parameters: str) -> None:
        """Update the stack."""
        given = self._parameters() | parameters
        self.stack = cloudformation.update(self.account, self.stack, self.build, given)
        self.account.settle()

    def _parameters(self) -> dict[str, str]:
        given = {
            "RotationTargetGroupArns": self.group,
            "RotationDocuments": "AWS-RunShellScript,Patch",
            "ReconcileExpression": "rate(5 minutes)",
        }
        return given | self.given

    # What is there.

    def delay(self, group: str, seconds: int) -> None:
        self.asks(group, **{"deregistration_delay.timeout_seconds": str(seconds)})

    def asks(self, group: str, **attributes: str) -> None:
        """Set attributes of a target group."""
        pairs = [{"Key": key, "Value": value} for key, value in attributes.items()]
        self.elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=pairs)
        self.account.lag.catch_up("elbv2")

    def another_group(self, *ports: int, used: bool = True) -> str:
        """Make a second group that holds every instance on these ports, behind a second listener if it is used."""
        group = self.elb.create_target_group(
            Name="second",
            Protocol="TCP",
            Port=80,
            VpcId=self.service.vpc_id,
            HealthCheckIntervalSeconds=10,
            HealthyThresholdCount=2,
            UnhealthyThresholdCount=2,
        )["TargetGroups"][0]["TargetGroupArn"]
        self.asks(group, **{"deregistration_delay.timeout_seconds": "30", "load_balancing.cross_zone.enabled": "true"})
        targets = [{"Id": target, "Port": port} for target in self.ids for port in ports]
        self.elb.register_targets(TargetGroupArn=group, Targets=targets)
        if used:
            action = {"Type": "forward", "TargetGroupArn": group}
            self.elb.create_listener(
                LoadBalancerArn=self.service.nlb_arn, Protocol="TCP", Port=8443, DefaultActions=[action]
            )
        self.account.advance(30)
        return str(group)

    def deletes(self, group: str) -> None:
        """Delete a group that `another_group` made, with the listener in front of it."""
        listeners = self.elb.describe_listeners(LoadBalancerArn=self.service.nlb_arn)["Listeners"]
        for listener in listeners:
            if listener["Port"] == 8443:
                self.elb.delete_listener(ListenerArn=listener["ListenerArn"])
        self.elb.delete_target_group(TargetGroupArn=group)
        self.account.lag.catch_up("elbv2")

    def third(self) -> str:
        """Add an instance to the group."""
        ran = self.account.client("ec2").run_instances(
            ImageId="ami-1", InstanceType="t3.micro", MinCount=1, MaxCount=1, SubnetId=self.service.subnet_ids[0]
        )
        [instance] = ran["Instances"]
        self.account.advance(40)
        self.elb.register_targets(TargetGroupArn=self.group, Targets=[{"Id": instance["InstanceId"]}])
        self.account.advance(30)
        return str(instance["InstanceId"])

    def patch_document(self) -> None:
        """Make the document Patch."""
        content = {"schemaVersion": "2.2", "description": "Patch", "mainSteps": []}
        self.account.client("ssm").create_document(Content=json.dumps(content), Name="Patch", DocumentType="Command")

    def scaled(self, minimum: int = 2) -> None:
        """Put both instances into an Auto Scaling group that has the target group."""
        client = self.account.client("autoscaling")
        client.create_launch_configuration(LaunchConfigurationName="lc", ImageId="ami-1", InstanceType="t3.micro")
        client.create_auto_scaling_group(
            AutoScalingGroupName="asg",
            LaunchConfigurationName="lc",
            MinSize=0,
            MaxSize=4,
            DesiredCapacity=0,
            VPCZoneIdentifier=",".join(self.service.subnet_ids),
        )
        client.attach_instances(AutoScalingGroupName="asg", InstanceIds=list(self.ids))
        client.update_auto_scaling_group(AutoScalingGroupName="asg", MinSize=minimum)
        self.account.autoscaling.group("asg").target_group_arns.append(self.group)

    # What happens.

    def begins(self, given: Any = None, name: str = "") -> Execution:
        """Start an execution and let it do what it does at once."""
        execution = self.account.states.start(self.machine, {} if given is None else given, name)
        self.account.settle()
        return execution

    def rotates(self, given: Any = None, seconds: float = 3600) -> Execution:
        """Start an execution and let it run to its end."""
        execution = self.begins(given)
        self.until(lambda: execution.status != "RUNNING", seconds)
        self.account.settle()
        return execution

    def until(self, told: Callable[[], bool], seconds: float = 3600) -> None:
        """Let time pass until something is so."""
        for _ in range(int(seconds / 5)):
            if told():
                return
            self.account.advance(5)
        pytest.fail("it did not happen")

    def reaches(self, execution: Execution, state: str) -> None:
        """Let time pass until the execution is in a state."""
        self.until(lambda: execution.states[-1:] == [state])

    def aborted(self, execution: Execution) -> None:
        """Abort as an operator does, and let its end be told."""
        self.account.client("stepfunctions").stop_execution(executionArn=execution.arn)
        self.account.settle()

    def answers(self, done: bool = True) -> None:
        """Do what a command of the approval mail does."""
        asked = [mail.body for mail in self.mails if "your turn" in mail.subject]
        token = re.search(r"send-task-success .*--task-token '([^']+)'", asked[-1])[1]
        client = self.account.client("stepfunctions")
        if done:
            client.send_task_success(taskToken=token, output='"whatever"')
        else:
            client.send_task_failure(taskToken=token, error="Aborted", cause="not today")
        self.account.settle()

    def held(self, minutes: float | None) -> None:
        """Hold for so many minutes from now; None takes the hold back."""
        until = datetime.fromtimestamp(self.account.clock.time() + 60 * (minutes or 0), UTC).isoformat()
        text = json.dumps({"until": until, "reason": "database work"}) if minutes else "off"
        self.account.client("ssm").put_parameter(Name="/site/hold", Type="String", Value=text, Overwrite=True)
        self.account.lag.catch_up("ssm")  # what follows is not of the same second

    def hand(self, operation: str, **given: Any) -> Any:
        """Invoke the function by hand."""
        name = self.stack.resources["TargetRotationFunction"]
        done = self.account.functions.invoke(name, {"operation": operation, **given})
        return done.payload if done.error is None else done.error

    # What can be seen.

    def health(self, group: str = "") -> dict[str, str]:
        return dict(self.account.targets.health(group or self.group))

    def registered(self) -> dict[str, list[Any]]:
        """Return what every group of the account holds and is not draining, with ports and zones."""
        groups = self.elb.describe_target_groups()["TargetGroups"]
        found = {}
        for group in groups:
            arn = group["TargetGroupArn"]
            targets = self.elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
            found[arn] = sorted(json.dumps(t["Target"]) for t in targets if t["TargetHealth"]["State"] != "draining")
        return found

    def claims(self) -> list[str]:
        """Return the targets that a tag says are out."""
        tags = self.elb.describe_tags(ResourceArns=[self.group])["TagDescriptions"][0]["Tags"]
        return [tag["Key"].removeprefix(claims.TAG) for tag in tags if tag["Key"].startswith(claims.TAG)]

    @property
    def mails(self) -> list[Any]:
        return [mail for mail in self.account.mails if (mail.subject or "").startswith("[kirikae]")]

    @property
    def subjects(self) -> list[str]:
        return [mail.subject.split(": ", 1)[1] for mail in self.mails]

    def writes(self, *operations: str) -> list[Any]:
        """Return the changes that the function asked for."""
        wanted = operations or ("RegisterTargets", "DeregisterTargets", "EnterStandby", "ExitStandby")
        return [call for call in self.account.calls if call.operation in wanted and "Role" in call.principal]
