"""Target groups, their targets, and tags: reads return plain values, writes name their end state."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import batched
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from kirikae import aws
from kirikae.errors import one, part


@dataclass(frozen=True)
class Target:
    """A registered target; states and reasons are those of the API's TargetHealth."""

    id: str
    port: int
    state: str
    reason: str = ""
    availability_zone: str = ""
    quic_server_id: str = ""
    description: str = ""  # of the reason; in words that AWS may change
    override: str = ""  # `zonal_shift_active` while a zonal shift keeps traffic away from it

    @property
    def healthy(self) -> bool:
        """Tell whether the load balancer itself would send traffic here: failing open is not health."""
        return self.state == "healthy" and not self.shifted

    @property
    def shifted(self) -> bool:
        """Tell whether a zonal shift keeps traffic away from it, whatever its health."""
        return self.override == "zonal_shift_active"


def target_health(target_group_arn: str) -> tuple[Target, ...]:
    """Return every registered target with its health.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetHealth.html
    """
    answer = aws.client("elbv2").describe_target_health(TargetGroupArn=target_group_arn)["TargetHealthDescriptions"]
    return tuple(
        Target(
            t["Target"]["Id"],
            t["Target"].get("Port", 0),
            t["TargetHealth"]["State"],
            t["TargetHealth"].get("Reason", ""),
            t["Target"].get("AvailabilityZone", ""),
            t["Target"].get("QuicServerId", ""),
            t["TargetHealth"].get("Description", ""),
            t.get("AdministrativeOverride", {}).get("State", ""),
        )
        for t in answer
    )


class TargetGroup(NamedTuple):
    """A target group; its targets are of type `instance`, `ip`, `lambda` or `alb`."""

    arn: str
    target_type: str
    load_balancer_arns: tuple[str, ...]  # those that use it, none or one
    vpc_id: str = ""


def group_name(target_group_arn: str) -> str:
    """Return the name in a target group's ARN."""
    return target_group_arn.split("/")[1]


@contextmanager
def unless_deleted() -> Iterator[None]:
    """Pass over a call about a target group that does not exist any more.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetHealth.html
    """
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] != "TargetGroupNotFound":
            raise


def target_groups(target_group_arns: Iterable[str]) -> tuple[TargetGroup, ...]:
    """Return the target groups in the order asked for.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetGroups.html
    """
    wanted = list(target_group_arns)
    answer = aws.client("elbv2").describe_target_groups(TargetGroupArns=wanted)["TargetGroups"]
    found = {
        described["TargetGroupArn"]: TargetGroup(
            described["TargetGroupArn"],
            described["TargetType"],
            tuple(described.get("LoadBalancerArns", ())),
            described.get("VpcId", ""),
        )
        for described in answer
    }
    return tuple(part(found, arn, "elbv2 DescribeTargetGroups") for arn in wanted)


def attributes(target_group_arn: str) -> dict[str, str]:
    """Return the attributes of a target group.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetGroupAttributes.html
    """
    answer = aws.client("elbv2").describe_target_group_attributes(TargetGroupArn=target_group_arn)
    return {attribute["Key"]: attribute.get("Value", "") for attribute in answer["Attributes"]}


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


def known_unhealthy(targets: Iterable[Target], attached: bool) -> bool:
    """Tell whether it is known that no target can serve, of a group that is `attached` to a listener, or is not.

    `initial` is not known yet.  `unused` says so of a stopped target, and of others only where the group is in use.
    """
    found = list(targets)
    told = ("Target.InvalidState", "Target.IpUnusable")
    unused = any(target.state == "unused" and target.reason not in told for target in found) and not attached
    return not unused and not any(target.state in ("healthy", "initial") for target in found)


def tags(resource_arns: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the tags of load balancers, listeners, rules or target groups, by ARN.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTags.html
    """
    found, wanted = {}, list(resource_arns)
    for arns in batched(wanted, 20, strict=False):  # as many as one call takes
        for described in aws.client("elbv2").describe_tags(ResourceArns=list(arns))["TagDescriptions"]:
            found[described["ResourceArn"]] = {tag["Key"]: tag["Value"] for tag in described["Tags"]}
    return {arn: part(found, arn, "elbv2 DescribeTags") for arn in wanted}


def tag(resource_arn: str, tags: Mapping[str, str]) -> None:
    """Make the resource carry the tags, besides others that it has.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_AddTags.html
    """
    added = [{"Key": key, "Value": value} for key, value in tags.items()]
    aws.client("elbv2").add_tags(ResourceArns=[resource_arn], Tags=added)


def untag(resource_arn: str, *keys: str) -> None:
    """Make the resource not carry these tags.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RemoveTags.html
    """
    aws.client("elbv2").remove_tags(ResourceArns=[resource_arn], TagKeys=list(keys))


def zones(load_balancer_arn: str) -> frozenset[str]:
    """Return the names of the zones that are enabled for a load balancer; none if AWS does not say.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeLoadBalancers.html
    """
    answer = aws.client("elbv2").describe_load_balancers(LoadBalancerArns=[load_balancer_arn])["LoadBalancers"]
    found = one(answer, "LoadBalancers", "elbv2 DescribeLoadBalancers").get("AvailabilityZones", [])
    return frozenset(zone["ZoneName"] for zone in found if zone.get("ZoneName"))


def balancer_attributes(load_balancer_arn: str) -> dict[str, str]:
    """Return the attributes of a load balancer.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeLoadBalancerAttributes.html
    """
    answer = aws.client("elbv2").describe_load_balancer_attributes(LoadBalancerArn=load_balancer_arn)["Attributes"]
    return {attribute["Key"]: attribute["Value"] for attribute in answer}
