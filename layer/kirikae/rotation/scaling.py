"""EC2 Auto Scaling: instances into and out of Standby, and the MinSize that makes room for it."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from itertools import batched
from typing import Any

from botocore.exceptions import ClientError

from kirikae import aws, ec2, patience
from kirikae.errors import UnfinishedError
from kirikae.log import logger
from kirikae.rotation import memory
from kirikae.rotation.stored import ANY
from kirikae.rotation.world import Config

TAG = "kirikae:min-size"  # on an Auto Scaling group, for people: the MinSize to go back to; the memory is what counts
STANDING_BY = ("EnteringStandby", "Standby")


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


def standing_by(instance_ids: Iterable[str]) -> dict[str, str]:
    """Return the Auto Scaling group of those instances that are in Standby, or on their way there."""
    return {instance: group for instance, (group, state) in places(instance_ids).items() if state in STANDING_BY}


def stand_by(config: Config, instance_id: str, group_name: str) -> None:
    """Put the instance into Standby without a replacement; MinSize makes room and is remembered first.

    Raise ClientError if Auto Scaling refuses it, UnfinishedError if nobody knows: a request may have been done whose
    answer was lost, and the SDK's repetition of it is refused because the instance is not in service any more.
    https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_EnterStandby.html
    """
    group = described(group_name)
    smaller = group["DesiredCapacity"] - 1 if group else 0
    if group and smaller < group["MinSize"]:
        owed = _lowered(config, group_name, group["MinSize"], smaller)
        tag = {**_tag(group_name, str(owed)), "PropagateAtLaunch": False}
        aws.client("autoscaling").create_or_update_tags(Tags=[tag])
        aws.client("autoscaling").update_auto_scaling_group(AutoScalingGroupName=group_name, MinSize=smaller)
    try:
        aws.client("autoscaling").enter_standby(
            InstanceIds=[instance_id], AutoScalingGroupName=group_name, ShouldDecrementDesiredCapacity=True
        )
    except ClientError as error:
        if not aws.repeated(error.response):
            raise
        if not patience.until(lambda: standing_by([instance_id]), bool):
            raise UnfinishedError(f"{instance_id} may be entering Standby: {error}") from error
    patience.until(lambda: described(group_name), lambda shown: instance_id in _away(shown))  # for whoever looks next


def in_service(instance_id: str, group_name: str) -> str:
    """Bring the instance out of Standby; return why that is not possible yet, or "".

    It enters Standby for as long as its load balancers drain it, and cannot leave before.
    https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_ExitStandby.html
    """
    state = places([instance_id]).get(instance_id, ("", ""))[1]
    if state == "Standby":
        aws.client("autoscaling").exit_standby(InstanceIds=[instance_id], AutoScalingGroupName=group_name)
    return f"{instance_id} is EnteringStandby and cannot leave it yet" if state == "EnteringStandby" else ""


def restore_min_size(config: Config, group_name: str, back: Collection[str] = ()) -> None:
    """Set MinSize as it was before the first Standby, unless an instance besides these is in Standby still.

    back: those that have just left it, which a read may not show.  One that is terminated there, or was detached, is
    replaced then.  While AWS refuses a MinSize it stays owed, or while another stack, as its tag says, owes what this
    one has left.  One that somebody has set since stays.
    """
    group = described(group_name)
    noted = memory.read(config).min_sizes.get(group_name)
    owed, lowered = noted or (_tagged(group), ANY)
    if owed == ANY:
        return
    ours = (group.get("MinSize"),) if lowered == ANY else (lowered, owed)  # owed: or it is shown as before

    def settled(shown: dict[str, Any]) -> bool:  # else perhaps as it was between two Standbys, or before the first
        return shown.get("MinSize") in ours and bool(back or lowered == ANY or _away(shown))

    if group and not settled(group):
        group = patience.until(lambda: described(group_name), settled) or group
    away, theirs = _away(group), group.get("MinSize") not in ours and _tagged(group) not in (ANY, owed)
    if theirs or any(state not in ec2.GONE for state in ec2.instance_states(away - set(back)).values()):
        return
    most = group["DesiredCapacity"] + len(away) if group else 0
    if group and not noted and owed > most:  # nothing but a tag says so: nothing is launched because of it
        logger.warning("MinSize is not restored yet", group=group_name, owed=owed, most=most)
        return
    if group:
        try:
            if owed >= group["MinSize"] and group["MinSize"] in ours:
                aws.client("autoscaling").update_auto_scaling_group(AutoScalingGroupName=group_name, MinSize=owed)
                patience.until(lambda: described(group_name), lambda shown: shown.get("MinSize") == owed)
            aws.client("autoscaling").delete_tags(Tags=[_tag(group_name, str(owed))])
        except ClientError as error:  # whatever it is: it is remembered, and the next tick tries again
            logger.warning("MinSize cannot be restored", group=group_name, owed=owed, problem=str(error))
            return
    _raised(config, group_name)


def _tagged(group: dict[str, Any]) -> int:
    """Return the MinSize to go back to as a release before the memory began has noted it, ANY if none has."""
    tagged = next((str(tag["Value"]) for tag in group.get("Tags", []) if tag["Key"] == TAG), "")
    return int(tagged) if tagged.isdecimal() else ANY


def _away(group: dict[str, Any]) -> set[str]:
    """Return the instances that are in Standby, or on their way there."""
    return {i["InstanceId"] for i in group.get("Instances", []) if i["LifecycleState"] in STANDING_BY}


def described(name: str) -> dict[str, Any]:
    """Return the group, empty if it was deleted.

    https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DescribeAutoScalingGroups.html
    """
    found = aws.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    return dict(found[0]) if found else {}


def _tag(group_name: str, value: str) -> dict[str, Any]:
    return {"ResourceId": group_name, "ResourceType": "auto-scaling-group", "Key": TAG, "Value": value}


def _lowered(config: Config, scaling_group: str, min_size: int, smaller: int) -> int:
    """Remember a group's MinSize before Standby makes it smaller; return the one to go back to, perhaps of before."""
    owed, last = memory.read(config).min_sizes.get(scaling_group, (min_size, min_size))
    owed = max(min_size, owed) if last in (min_size, ANY) else min_size  # else somebody has set it since
    memory.change(config, lambda known: replace(known, min_sizes={**known.min_sizes, scaling_group: (owed, smaller)}))
    return owed


def _raised(config: Config, scaling_group: str) -> None:
    """Forget what is owed to a group."""
    memory.change(config, lambda k: replace(k, min_sizes={g: n for g, n in k.min_sizes.items() if g != scaling_group}))
