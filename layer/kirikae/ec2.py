"""Instances of EC2: reads return plain values, writes name their end state."""

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from itertools import batched
from typing import Any

from kirikae import aws
from kirikae.errors import one

DOWN_JA = {"stopping": "停止処理中", "stopped": "停止済み", "shutting-down": "終了処理中", "terminated": "終了済み"}
DOWN = frozenset(DOWN_JA)
MISSING = "missing"
GONE = frozenset({"shutting-down", "terminated", MISSING})  # its interfaces may be gone with it


# What EC2 may still show of an instance of which an event says this.
_BEFORE = {
    "running": ("stopped", "pending"),
    "stopping": ("pending", "running"),
    "stopped": ("pending", "running", "stopping"),
    "shutting-down": ("pending", "running"),
    "terminated": ("pending", "running"),
}


def is_id(text: str) -> bool:
    """Tell whether a text is the id of an instance: AWS refuses a question about any other, and all in it."""
    return re.fullmatch(r"i-([0-9a-f]{8}|[0-9a-f]{17})", text) is not None


def instance_states(instance_ids: Iterable[str], said_of: str = "", said: str = "stopping") -> dict[str, str]:
    """Return pending, running, stopping, stopped, shutting-down, terminated or `missing` for each instance."""
    return {instance.id: instance.state for instance in instances(instance_ids, said_of, said)}


@dataclass(frozen=True)
class Instance:
    """An instance; `stopped` and `launched` are the times of its last stop and start, where EC2 says them."""

    id: str
    state: str
    type: str = ""
    launched: datetime | None = None
    stopped: datetime | None = None
    reason: str = ""  # why it changed state, like `Server.InternalError: …` or `Client.UserInitiatedShutdown: …`
    tags: Mapping[str, str] = field(default_factory=dict)  # those that begin with `kirikae:`
    zone: str = ""


def instances(instance_ids: Iterable[str], said_of: str = "", said: str = "stopping") -> tuple[Instance, ...]:
    """Return the instances in the order asked for; one that EC2 does not know has the state `missing`.

    EC2 is eventually consistent: while it does not yet show the instance `said_of` as an event described it, look
    again, at most four times within three seconds.  A filter instead of InstanceIds, because one id that EC2 has
    forgotten (an hour after its termination) must not hide the others.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
    """
    wanted = list(instance_ids)
    if not wanted:
        return ()
    for pause in (0.2, 0.4, 0.8, 1.6, 0):
        found = {
            described["InstanceId"]: _instance(described)
            for reservation in _found(aws.client("ec2").describe_instances, "Reservations", "instance-id", wanted)
            for described in reservation["Instances"]
        }
        if said_of not in found or found[said_of].state not in _BEFORE.get(said, ()):
            break
        time.sleep(pause)
    return tuple(found.get(instance_id, Instance(instance_id, MISSING)) for instance_id in wanted)


def instances_behind(addresses: Iterable[str], vpc_id: str) -> dict[str, str]:
    """Return the instance that has each private address in the VPC: "" for an interface that belongs to no instance.

    Addresses that no interface has are absent.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNetworkInterfaces.html
    """
    wanted = {str(ip_address(address)): address for address in addresses}
    found, call = dict[str, str](), aws.client("ec2").describe_network_interfaces
    for version, name in ((4, "addresses.private-ip-address"), (6, "ipv6-addresses.ipv6-address")):
        values = [address for address in wanted if ip_address(address).version == version]
        for interface in _found(call, "NetworkInterfaces", name, values, vpc_id):
            instance_id = interface.get("Attachment", {}).get("InstanceId", "")
            listed = [held.get("PrivateIpAddress", "") for held in interface.get("PrivateIpAddresses", [])]
            listed += [held["Ipv6Address"] for held in interface.get("Ipv6Addresses", [])]
            found |= dict.fromkeys(filter(None, listed), instance_id)
    shown = {str(ip_address(address)): instance_id for address, instance_id in found.items()}
    return {given: shown[address] for address, given in wanted.items() if address in shown}


def _found(call: Any, key: str, name: str, values: Iterable[str], vpc_id: str = "") -> Iterator[Mapping[str, Any]]:
    """Yield what EC2 describes by a filter, in a VPC if one is named, however many the values are.

    One call takes 200 values of filters, or answers FilterLimitExceeded.
    https://docs.aws.amazon.com/ec2/latest/devguide/errors-overview.html
    """
    vpc = [{"Name": "vpc-id", "Values": [vpc_id]}] if vpc_id else []
    for some in batched(values, 200 - len(vpc), strict=False):
        yield from call(Filters=[{"Name": name, "Values": list(some)}, *vpc])[key]


def _instance(described: Mapping[str, Any]) -> Instance:
    """Read one instance; a stop by a person has its time in the text, like `User initiated (2026-11-22 03:00:00 GMT)`.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html
    """
    stopped = re.search(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) GMT\)", described.get("StateTransitionReason", ""))
    return Instance(
        described["InstanceId"],
        described["State"]["Name"],
        described.get("InstanceType", ""),
        described.get("LaunchTime"),
        datetime.fromisoformat(stopped[1]).replace(tzinfo=UTC) if stopped else None,
        _reason(described.get("StateReason", {})),
        {pair["Key"]: pair["Value"] for pair in described.get("Tags", []) if pair["Key"].startswith("kirikae:")},
        described.get("Placement", {}).get("AvailabilityZone", ""),
    )


def _reason(told: Mapping[str, str]) -> str:
    """Return a state reason as one text that begins with its code."""
    code, message = told.get("Code", ""), told.get("Message", "")
    return message if message.startswith(code) else f"{code}: {message}".removesuffix(": ")


def stop(instance_id: str) -> tuple[str, str]:
    """Stop the instance; return its state before the call, and the one that it is in now.

    One that a repeated request finds stopping was running: it stops by the request before, whose answer was lost.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StopInstances.html
    """
    answer = aws.client("ec2").stop_instances(InstanceIds=[instance_id])
    changed = one(answer["StoppingInstances"], "StoppingInstances", "ec2 StopInstances")
    before, now = str(changed["PreviousState"]["Name"]), str(changed["CurrentState"]["Name"])
    return "running" if aws.repeated(answer) and before == "stopping" else before, now


def set_type(instance_id: str, instance_type: str) -> None:
    """Give a stopped instance this type.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyInstanceAttribute.html
    """
    aws.client("ec2").modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": instance_type})


def tag(instance_ids: Iterable[str], tags: Mapping[str, str]) -> None:
    """Make the instances carry the tags.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateTags.html
    """
    pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
    aws.client("ec2").create_tags(Resources=list(instance_ids), Tags=pairs)


def untag(instance_id: str, tags: Mapping[str, str]) -> None:
    """Remove the tags, if any, that still have these values: what another run has written since stays.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteTags.html
    """
    if pairs := [{"Key": key, "Value": value} for key, value in tags.items()]:  # without any, EC2 would remove them all
        aws.client("ec2").delete_tags(Resources=[instance_id], Tags=pairs)


def unknown_types(instance_types: Iterable[str]) -> tuple[str, ...]:
    """Return the instance types that this Region does not have.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceTypes.html
    """
    wanted = list(instance_types)
    if not wanted:
        return ()
    filters = [{"Name": "instance-type", "Values": wanted}]
    found = {
        kind["InstanceType"] for kind in aws.client("ec2").describe_instance_types(Filters=filters)["InstanceTypes"]
    }
    return tuple(name for name in wanted if name not in found)
