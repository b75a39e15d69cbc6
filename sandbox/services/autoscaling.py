"""EC2 Auto Scaling where moto is kinder: Standby has its conditions and takes time, and target groups are left.

https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-enter-exit-standby.html
"""

from typing import Any

from sandbox.frontdoor import FrontDoor
from sandbox.services.elb_targets import Targets
from sandbox.wire import Refusal

LONGEST_ID = 19
PENDING = 10.0  # seconds from Standby to InService
REBALANCES = 60.0  # seconds until zones that differ by more than one instance are balanced


class AutoScaling:
    """The Auto Scaling groups of one account."""

    def __init__(self, account: FrontDoor, targets: Targets) -> None:
        self._account = account
        self._targets = targets
        account.override("autoscaling", "DescribeAutoScalingInstances", self._described)
        account.override("autoscaling", "EnterStandby", self._enter)
        account.override("autoscaling", "ExitStandby", self._exit)
        account.override("autoscaling", "UpdateAutoScalingGroup", self._update)

    def group(self, name: str) -> Any:
        """Return moto's group; Refusal ValidationError if there is none."""
        found = self._account.backend("autoscaling").autoscaling_groups.get(name)
        if found is None:
            raise Refusal("ValidationError", f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")
        return found

    def state(self, instance_id: str) -> str:
        """Return an instance's life cycle state, such as InService or Standby; StopIteration if it is in no group."""
        groups = self._account.backend("autoscaling").autoscaling_groups.values()
        members = (member for group in groups for member in group.instance_states)
        return str(next(member.lifecycle_state for member in members if member.instance.id == instance_id))

    def _described(self, params: dict[str, Any], _principal: str) -> None:
        """Refuse what the model has no room for (XmlStringMaxLen19), with every other id of the question."""
        if len(params.get("InstanceIds", [])) > 50:  # S17
            raise Refusal("ValidationError", "The number of instance ids that may be passed in is limited to 50")
        if any(len(instance_id) > LONGEST_ID for instance_id in params.get("InstanceIds", [])):
            wrong = "Member must have length less than or equal to 19"
            raise Refusal(
                "ValidationError", f"1 validation error detected: Value at 'instanceIds' failed to satisfy: {wrong}"
            )

    def _update(self, params: dict[str, Any], _principal: str) -> None:
        """Raise DesiredCapacity with a MinSize above it: then something is launched.  What stands by does not count."""
        group = self.group(params["AutoScalingGroupName"])
        if "DesiredCapacity" not in params and params.get("MinSize", 0) > group.desired_capacity:
            group.set_desired_capacity(params["MinSize"])

    def _members(self, params: dict[str, Any], state: str) -> tuple[Any, list[Any]]:
        group = self.group(params["AutoScalingGroupName"])
        found = {member.instance.id: member for member in group.instance_states}
        for instance_id in params["InstanceIds"]:
            if instance_id not in found or found[instance_id].lifecycle_state != state:
                raise Refusal("ValidationError", f"The instance {instance_id} is not in {state}.")
        return group, [found[instance_id] for instance_id in params["InstanceIds"]]

    def _enter(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        group, members = self._members(params, "InService")
        if not params["ShouldDecrementDesiredCapacity"]:
            raise NotImplementedError("EnterStandby with a replacement")
        if group.desired_capacity - len(members) < group.min_size:
            raise Refusal(
                "ValidationError",
                f"AutoScalingGroup {group.name} has min-size={group.min_size}, max-size={group.max_size}, and "
                f"desired-size={group.desired_capacity}. To place into standby {len(members)} instance, please update "
                "the AutoScalingGroup sizes appropriately.",
            )
        group.desired_capacity -= len(members)
        for member in members:
            member.lifecycle_state = "Standby"
            for arn in group.target_group_arns:
                self._targets.leave(arn, member.instance.id)
        self._account.clock.after(REBALANCES, lambda: self._rebalance(group))
        return {"Activities": []}

    def _rebalance(self, group: Any) -> None:
        """Launch an instance in the emptiest zone, and terminate one in the fullest, unless AZRebalance is suspended.

        «When you put instances on standby, your Auto Scaling group can become unbalanced between Availability Zones.
        Amazon EC2 Auto Scaling compensates by rebalancing the Availability Zones unless you suspend the AZRebalance
        process.» (as-enter-exit-standby)
        """
        with self._account.lock:
            zones = {zone: list[Any]() for zone in group.availability_zones}
            for member in group.instance_states:
                zone = member.instance.placement.zone
                if member.lifecycle_state == "InService" and zone in zones:
                    zones[zone].append(member)
            fewest, most = (choose(zones, key=lambda zone: len(zones[zone])) for choose in (min, max))
            suspended = {process["ProcessName"] for process in group.suspended_processes}
            if len(zones[most]) - len(zones[fewest]) < 2 or "AZRebalance" in suspended:
                return
            subnets = self._account.backend("ec2").describe_subnets(subnet_ids=group.vpc_zone_identifier.split(","))
            every = group.vpc_zone_identifier
            group.vpc_zone_identifier = next(subnet.id for subnet in subnets if subnet.availability_zone == fewest)
            group.replace_autoscaling_group_instances(1, group.get_propagated_tags())
            group.vpc_zone_identifier = every
            launched = group.instance_states[-1]
            launched.lifecycle_state = "Pending"
            self._account.clock.after(PENDING * 3, lambda: self._in_service(group, launched))
            group.instance_states.remove(zones[most][0])
        self._account.client("ec2").terminate_instances(InstanceIds=[zones[most][0].instance.id])

    def _exit(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        group, members = self._members(params, "Standby")
        for member in members:
            if member.instance.state in ("shutting-down", "terminated"):
                raise Refusal("ValidationError", f"The instance {member.instance.id} is not in Standby.")
        group.desired_capacity += len(members)
        for member in members:
            member.lifecycle_state = "Pending"
            self._account.clock.after(PENDING, lambda member=member: self._in_service(group, member))
        return {"Activities": []}

    def _in_service(self, group: Any, member: Any) -> None:
        with self._account.lock:
            member.lifecycle_state = "InService"
            for arn in group.target_group_arns:
                self._targets.join(arn, member.instance.id)
