"""Instances of EC2: reads return plain values, writes name their end state."""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kirikae import aws

DOWN_JA = {"stopping": "停止処理中", "stopped": "停止済み", "shutting-down": "終了処理中", "terminated": "終了済み"}
DOWN = frozenset(DOWN_JA)
MISSING = "missing"
GONE = frozenset({"shutting-down", "terminated", MISSING})  # its interfaces may be gone with it


def instance_states(instance_ids: Iterable[str], said_down: str = "") -> dict[str, str]:
    """Return pending, running, stopping, stopped, shutting-down, terminated or `missing` for each instance."""
    return {instance.id: instance.state for instance in instances(instance_ids, said_down)}


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


def instances(instance_ids: Iterable[str], said_down: str = "") -> tuple[Instance, ...]:
    """Return the instances in the order asked for; one that EC2 does not know has the state `missing`.

    EC2 is eventually consistent: while it does not yet show the instance `said_down` as an event described it, look
    again, at most three times within a second and a half.  A filter instead of InstanceIds, because one id that EC2
    has forgotten (an hour after its termination) must not hide the others.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
    """
    wanted = list(instance_ids)
    if not wanted:
        return ()
    for pause in (0.2, 0.4, 0.8, 0):
        answer = aws.client("ec2").describe_instances(Filters=[{"Name": "instance-id", "Values": wanted}])
        found = {
            described["InstanceId"]: _instance(described)
            for reservation in answer["Reservations"]
            for described in reservation["Instances"]
        }
        if said_down not in found or found[said_down].state in DOWN:
            break
        time.sleep(pause)
    return tuple(found.get(instance_id, Instance(instance_id, MISSING)) for instance_id in wanted)


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
    )


def _reason(told: Mapping[str, str]) -> str:
    """Return a state reason as one text that begins with its code."""
    code, message = told.get("Code", ""), told.get("Message", "")
    return message if message.startswith(code) else f"{code}: {message}".removesuffix(": ")


def stop(instance_id: str) -> tuple[str, str]:
    """Stop the instance; return its state before the call, and the one that it is in now.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StopInstances.html
    """
    [changed] = aws.client("ec2").stop_instances(InstanceIds=[instance_id])["StoppingInstances"]
    return str(changed["PreviousState"]["Name"]), str(changed["CurrentState"]["Name"])


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


@dataclass(frozen=True)
class Status:
    """The status checks of an instance: `ok`, `initializing`, `impaired`, `insufficient-data` or `not-applicable`.

    `others` are the checks beyond these three that EC2 tells of, like AttachedEbsStatus, whichever they are.
    """

    instance_id: str
    system: str
    instance: str
    application: str = "not-applicable"
    others: tuple[tuple[str, str], ...] = ()

    @property
    def ready(self) -> bool:
        """Tell whether the instance passes every check that it has."""
        more = (self.application, *(status for _, status in self.others))
        return self.system == self.instance == "ok" and all(status in ("ok", "not-applicable") for status in more)

    @property
    def text(self) -> str:
        """Return system/instance/application, and those of the others that do not pass, by name."""
        failing = [f"{name} {status}" for name, status in self.others if status not in ("ok", "not-applicable")]
        return ", ".join([f"{self.system}/{self.instance}/{self.application}", *failing])


def instance_statuses(running_instance_ids: Iterable[str]) -> tuple[Status, ...]:
    """Return the status checks of running instances; an id that EC2 does not know would fail the whole call.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceStatus.html
    """
    wanted = list(running_instance_ids)
    if not wanted:
        return ()
    answer = aws.client("ec2").describe_instance_status(InstanceIds=wanted)
    return tuple(_status(described) for described in answer["InstanceStatuses"])


def _status(described: Mapping[str, Any]) -> Status:
    """Read the checks of one instance: every part that has a status, and none is required but the first two."""
    parts = {name: part["Status"] for name, part in described.items() if isinstance(part, Mapping) and "Status" in part}
    system, instance = parts.pop("SystemStatus", "not known"), parts.pop("InstanceStatus", "not known")
    application = parts.pop("ApplicationStatus", "not-applicable")
    return Status(described["InstanceId"], system, instance, application, tuple(sorted(parts.items())))
