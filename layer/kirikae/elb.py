"""What we ask of Elastic Load Balancing: reads return plain values, writes name their end state."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from kirikae import aws


@dataclass(frozen=True)
class Target:
    """A registered target; states and reasons are those of the API's TargetHealth."""

    id: str
    port: int
    state: str
    reason: str = ""
    availability_zone: str = ""
    quic_server_id: str = ""

    @property
    def healthy(self) -> bool:
        """Tell whether the load balancer itself would send traffic here: failing open is not health."""
        return self.state == "healthy"


@dataclass(frozen=True)
class Listener:
    """A listener and its default action; `weights` is empty when the action is not `forward`."""

    arn: str
    load_balancer_arn: str
    protocol: str
    port: int
    action: str
    weights: Mapping[str, int]  # target group ARN -> weight; the one group of a plain forward has weight 1


def target_health(target_group_arn: str) -> tuple[Target, ...]:
    """Return every registered target with its health.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetHealth.html
    """
    answer = aws.client("elbv2").describe_target_health(TargetGroupArn=target_group_arn)
    return tuple(
        Target(
            t["Target"]["Id"],
            t["Target"].get("Port", 0),
            t["TargetHealth"]["State"],
            t["TargetHealth"].get("Reason", ""),
            t["Target"].get("AvailabilityZone", ""),
            t["Target"].get("QuicServerId", ""),
        )
        for t in answer["TargetHealthDescriptions"]
    )


@dataclass(frozen=True)
class TargetGroup:
    """A target group as far as taking targets out of it and back needs it."""

    arn: str
    target_type: str
    protocol: str
    vpc_id: str
    load_balancer_arns: tuple[str, ...]
    deregistration_delay_seconds: int

    @property
    def name(self) -> str:
        """Return the name in the ARN."""
        return self.arn.split("/")[1]

    @property
    def of_nlb(self) -> bool:
        """Tell whether a Network Load Balancer uses it."""
        return any(":loadbalancer/net/" in arn for arn in self.load_balancer_arns)


def target_groups(target_group_arns: Iterable[str]) -> tuple[TargetGroup, ...]:
    """Return the target groups in the order asked for.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetGroupAttributes.html
    """
    wanted = list(target_group_arns)
    answer = aws.client("elbv2").describe_target_groups(TargetGroupArns=wanted)["TargetGroups"]
    found = {described["TargetGroupArn"]: described for described in answer}
    return tuple(_group(found[arn]) for arn in wanted)


def _group(described: Mapping[str, Any]) -> TargetGroup:
    arn = described["TargetGroupArn"]
    answer = aws.client("elbv2").describe_target_group_attributes(TargetGroupArn=arn)["Attributes"]
    attributes = {attribute["Key"]: attribute["Value"] for attribute in answer}
    return TargetGroup(
        arn=arn,
        target_type=described.get("TargetType", "instance"),
        protocol=described.get("Protocol", ""),
        vpc_id=described.get("VpcId", ""),
        load_balancer_arns=tuple(described["LoadBalancerArns"]),
        deregistration_delay_seconds=int(attributes.get("deregistration_delay.timeout_seconds", 0)),
    )


def register_targets(target_group_arn: str, targets: Iterable[Mapping[str, Any]]) -> None:
    """Make the group hold these targets, given as the API's TargetDescription; one that is draining begins anew.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RegisterTargets.html
    """
    aws.client("elbv2").register_targets(TargetGroupArn=target_group_arn, Targets=list(targets))


def deregister_targets(target_group_arn: str, targets: Iterable[Mapping[str, Any]]) -> None:
    """Make the group not hold these targets; one on a port of its own is found only if the port is named.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeregisterTargets.html
    """
    aws.client("elbv2").deregister_targets(TargetGroupArn=target_group_arn, Targets=list(targets))


def known_unhealthy(targets: Iterable[Target]) -> bool:
    """Tell whether a group is health-checked and no target of it passes; `unused` and `initial` are not known."""
    states = {target.state for target in targets}
    return not states & {"healthy", "unused", "initial"}


def listeners(listener_arns: Iterable[str]) -> tuple[Listener, ...]:
    """Return the listeners in the order asked for.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeListeners.html
    """
    wanted = list(listener_arns)
    answer = aws.client("elbv2").describe_listeners(ListenerArns=wanted)["Listeners"]
    found = {described["ListenerArn"]: described for described in answer}
    return tuple(_listener(found[arn]) for arn in wanted)


def _listener(described: Mapping[str, Any]) -> Listener:
    action = described["DefaultActions"][-1]  # the last action decides where requests go; an NLB has no other
    groups = action.get("ForwardConfig", {}).get("TargetGroups") or [{"TargetGroupArn": action.get("TargetGroupArn")}]
    return Listener(
        arn=described["ListenerArn"],
        load_balancer_arn=described["LoadBalancerArn"],
        protocol=described["Protocol"],
        port=described["Port"],
        action=action["Type"],
        weights={group["TargetGroupArn"]: group.get("Weight", 1) for group in groups if group["TargetGroupArn"]},
    )


def forward(listener_arn: str, weights: Mapping[str, int]) -> None:
    """Make the listener's default action forward to these groups by weight; a single group makes a plain forward.

    The weights are always spelled out: a group without one would get the default, not zero.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_ModifyListener.html
    """
    action: dict[str, object] = {"Type": "forward"}
    if len(weights) == 1:
        [action["TargetGroupArn"]] = weights
    else:
        groups = [{"TargetGroupArn": group, "Weight": weight} for group, weight in weights.items()]
        action["ForwardConfig"] = {"TargetGroups": groups}
    aws.client("elbv2").modify_listener(ListenerArn=listener_arn, DefaultActions=[action])


def rules(listener_arn: str) -> tuple[str, ...]:
    """Return the ARNs of the listener's rules besides the default one; dual-stack NLBs have them since 2026.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeRules.html
    """
    answer = aws.client("elbv2").describe_rules(ListenerArn=listener_arn)["Rules"]
    return tuple(rule["RuleArn"] for rule in answer if not rule["IsDefault"])


class Group(NamedTuple):
    """A target group: the type of its targets, and the load balancers that use it, none or one."""

    target_type: str
    load_balancer_arns: tuple[str, ...]


def groups(target_group_arns: Iterable[str]) -> dict[str, Group]:
    """Return the target groups by ARN.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetGroups.html
    """
    answer = aws.client("elbv2").describe_target_groups(TargetGroupArns=list(target_group_arns))["TargetGroups"]
    return {one["TargetGroupArn"]: Group(one["TargetType"], tuple(one["LoadBalancerArns"])) for one in answer}


def tags(resource_arn: str) -> dict[str, str]:
    """Return the tags of a load balancer, listener, rule or target group."""
    [description] = aws.client("elbv2").describe_tags(ResourceArns=[resource_arn])["TagDescriptions"]
    return {tag["Key"]: tag["Value"] for tag in description["Tags"]}


def tag(resource_arn: str, tags: Mapping[str, str]) -> None:
    """Make the resource carry the tags, besides others that it has."""
    added = [{"Key": key, "Value": value} for key, value in tags.items()]
    aws.client("elbv2").add_tags(ResourceArns=[resource_arn], Tags=added)


def target_type(target_group_arn: str) -> str:
    """Return `instance`, `ip`, `lambda` or `alb`."""
    [group] = aws.client("elbv2").describe_target_groups(TargetGroupArns=[target_group_arn])["TargetGroups"]
    return str(group["TargetType"])


def register(target_group_arn: str, target_id: str, ports: Iterable[int]) -> None:
    """Make the group have the target on these ports; without any, on the group's own.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RegisterTargets.html
    """
    targets = [{"Id": target_id, "Port": port} for port in ports] or [{"Id": target_id}]
    aws.client("elbv2").register_targets(TargetGroupArn=target_group_arn, Targets=targets)


def untag(resource_arn: str, *keys: str) -> None:
    """Make the resource not carry these tags."""
    aws.client("elbv2").remove_tags(ResourceArns=[resource_arn], TagKeys=list(keys))
