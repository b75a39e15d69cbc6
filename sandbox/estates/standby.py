"""A user's service on one server, the active, with stopped standbys, each in another zone."""

import itertools
from dataclasses import dataclass
from typing import Any

from sandbox.account import Account
from sandbox.estates import parts

PORT = 8080  # on which the active is registered; not the group's own


@dataclass(frozen=True)
class StandbyService:
    """An active, its standbys in order, and a target group behind an NLB."""

    account: Account
    active: str
    standbys: tuple[str, ...]
    group_arn: str
    listener_arn: str

    # What can happen to it.

    def stop(self, *instance_ids: str) -> None:
        """Stop instances, the active by default."""
        self.account.client("ec2").stop_instances(InstanceIds=list(instance_ids or [self.active]))

    def start(self, *instance_ids: str) -> None:
        """Start instances, the active by default."""
        self.account.client("ec2").start_instances(InstanceIds=list(instance_ids or [self.active]))

    def terminate(self, *instance_ids: str) -> None:
        """Terminate instances, the active by default."""
        self.account.client("ec2").terminate_instances(InstanceIds=list(instance_ids or [self.active]))

    def impair(self, *instance_ids: str) -> None:
        """Let status checks fail, those of the active by default."""
        self.account.ec2.impaired |= set(instance_ids or [self.active])

    def repair(self, *instance_ids: str) -> None:
        """Let status checks pass again, those of the active by default."""
        self.account.ec2.impaired -= set(instance_ids or [self.active])

    def hangs(self) -> None:
        """Let the active's application hang."""
        self.account.ec2.applications[self.active] = False

    def hibernate(self, instance_id: str) -> None:
        """Hibernate an instance, as a person does."""
        self.account.client("ec2").stop_instances(InstanceIds=[instance_id], Hibernate=True)

    def lacks(self, code: str, *what: str, times: int | None = None) -> None:
        """Let starts of these instances, or of instances of these types, fail with this code."""

        def hit(params: dict[str, Any]) -> bool:
            [instance_id] = params["InstanceIds"]
            named = instance_id in what or self.account.ec2.instance(instance_id).instance_type in what
            return named and not params.get("DryRun")

        # S3, S1: want of capacity is a 500; a dry run asks for none.
        status = 500 if "Capacity" in code or code == "InternalError" else 400
        self.account.faults.add("ec2", "StartInstances", code, times=times, status=status, when=hit)

    # What can be seen of it, without a request that would be recorded.

    def state(self, instance_id: str) -> str:
        """Return an instance's state."""
        return str(self.account.ec2.state(instance_id))

    def states(self) -> list[str]:
        """Return the states of the standbys, in order."""
        return [self.state(standby) for standby in self.standbys]

    def tags(self, instance_id: str) -> dict[str, str]:
        """Return the notes on an instance: its tags that begin with `kirikae:`."""
        tags = self.account.ec2.backend.tags.get(instance_id, {})
        return {key.removeprefix("kirikae:"): value for key, value in tags.items() if key.startswith("kirikae:")}

    def health(self) -> dict[str, str]:
        """Return target id -> state in the group."""
        return dict(self.account.targets.health(self.group_arn))


def standby_service(account: Account, count: int = 2, name: str = "batch") -> StandbyService:
    """Build the service and let time pass until the active is healthy and the standbys are stopped."""
    ec2, elb = account.client("ec2"), account.client("elbv2")
    vpc_id, subnet_ids = parts.network(account)
    labels = [f"{name}-active", *(f"{name}-standby-{number}" for number in range(1, count + 1))]
    placed = zip(itertools.cycle(subnet_ids), labels)
    active, *standbys = [parts.launch(account, subnet_id, label)["InstanceId"] for subnet_id, label in placed]
    account.advance(30)
    ec2.stop_instances(InstanceIds=standbys)
    nlb_arn = parts.load_balancer(account, f"{name}-nlb", "network", subnet_ids)
    group_arn = parts.target_group(account, f"{name}-servers", vpc_id, Port=80, TargetType="instance")
    elb.register_targets(TargetGroupArn=group_arn, Targets=[{"Id": active, "Port": PORT}])
    listener_arn = parts.listener(account, nlb_arn, "TCP", 443, parts.forward(group_arn))
    account.advance(180)  # the active passes its status checks
    return StandbyService(account, active, tuple(standbys), group_arn, listener_arn)
