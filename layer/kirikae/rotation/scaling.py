"""EC2 Auto Scaling: instances into and out of Standby, and the MinSize that makes room for it."""

from collections.abc import Iterable
from itertools import batched
from typing import Any

from kirikae import aws
from kirikae.errors import one
from kirikae.log import logger

TAG = "kirikae:min-size"  # on an Auto Scaling group: the MinSize to go back to


def places(instance_ids: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return Auto Scaling group and life cycle state of the instances that are in one.

    https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DescribeAutoScalingInstances.html
    """
    found = {}
    for ids in batched(instance_ids, 50, strict=False):
        answer = aws.client("autoscaling").describe_auto_scaling_instances(InstanceIds=list(ids))
        for instance in answer["AutoScalingInstances"]:
            found[instance["InstanceId"]] = (instance["AutoScalingGroupName"], instance["LifecycleState"])
    return found


def stand_by(instance_id: str, group_name: str) -> None:
    """Put the instance into Standby without a replacement; MinSize makes room and is remembered first.

    https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_EnterStandby.html
    """
    if places([instance_id]).get(instance_id, ("", ""))[1] in ("EnteringStandby", "Standby"):
        return
    group = _group(group_name)
    smaller = group["DesiredCapacity"] - 1
    if smaller < group["MinSize"]:
        if not (_away(group) and _remembered(group)):  # a tag that no Standby bears out is not ours
            tag = {**_tag(group_name, str(group["MinSize"])), "PropagateAtLaunch": False}
            aws.client("autoscaling").create_or_update_tags(Tags=[tag])
        aws.client("autoscaling").update_auto_scaling_group(AutoScalingGroupName=group_name, MinSize=smaller)
    aws.client("autoscaling").enter_standby(
        InstanceIds=[instance_id], AutoScalingGroupName=group_name, ShouldDecrementDesiredCapacity=True
    )


def in_service(instance_id: str, group_name: str) -> str:
    """Bring the instance out of Standby; return why that is not possible yet, or "".

    It enters Standby for as long as its load balancers drain it, and cannot leave before.
    https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_ExitStandby.html
    """
    state = places([instance_id]).get(instance_id, ("", ""))[1]
    if state == "Standby":
        aws.client("autoscaling").exit_standby(InstanceIds=[instance_id], AutoScalingGroupName=group_name)
    return f"{instance_id} is EnteringStandby and cannot leave it yet" if state == "EnteringStandby" else ""


def restore_min_size(group_name: str, instance_ids: Iterable[str]) -> None:
    """Set MinSize as it was before the first Standby, unless an instance besides these is in Standby still.

    A MinSize above what is in service would launch an instance; whoever comes back last restores it. Whoever may tag
    the group can write the tag: one that would launch instances is logged, and left to people.
    """
    group, back = _group(group_name), set(instance_ids)
    away = _away(group)
    if (remembered := _remembered(group)) is None or not away <= back:
        return
    least, most = group["MinSize"], group["DesiredCapacity"] + len(away)  # the read may be that of before their return
    if not (remembered.isdecimal() and least <= int(remembered) <= most):
        expected = f"a number from {least} to {most}, what is in service"
        logger.warning("MinSize is not restored", group=group_name, tag=TAG, value=remembered, expected=expected)
        return
    aws.client("autoscaling").update_auto_scaling_group(AutoScalingGroupName=group_name, MinSize=int(remembered))
    aws.client("autoscaling").delete_tags(Tags=[_tag(group_name, remembered)])


def _away(group: dict[str, Any]) -> set[str]:
    """Return the instances that are in Standby, or on their way there."""
    away = ("EnteringStandby", "Standby")
    return {i["InstanceId"] for i in group.get("Instances", []) if i["LifecycleState"] in away}


def _group(name: str) -> Any:
    found = aws.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    return one(found, f"AutoScalingGroups {name}", "autoscaling DescribeAutoScalingGroups")


def _remembered(group: dict[str, Any]) -> str | None:
    return next((str(tag["Value"]) for tag in group.get("Tags", []) if tag["Key"] == TAG), None)


def _tag(group_name: str, value: str) -> dict[str, Any]:
    return {"ResourceId": group_name, "ResourceType": "auto-scaling-group", "Key": TAG, "Value": value}
