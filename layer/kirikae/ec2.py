"""What we ask of EC2: reads return plain values."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from kirikae import aws

DOWN_JA = {
    "stopping": "停止処理中",
    "stopped": "停止済み",
    "shutting-down": "終了処理中",
    "terminated": "終了済み",
}
DOWN = frozenset(DOWN_JA)
MISSING = "missing"
GONE = frozenset({"shutting-down", "terminated", MISSING})  # its interfaces may be gone with it


def instance_states(instance_ids: Iterable[str], said_down: str = "") -> dict[str, str]:
    """Return pending, running, stopping, stopped, shutting-down, terminated or `missing` for each instance.

    EC2 is eventually consistent: while it does not yet show what an event said of one instance, look again, at most
    three times within a second and a half.  A filter instead of InstanceIds, because one id that EC2 has forgotten
    (an hour after its termination) must not hide the others.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
    """
    wanted = list(instance_ids)
    if not wanted:
        return {}
    for pause in (0.2, 0.4, 0.8, 0):
        answer = aws.client("ec2").describe_instances(Filters=[{"Name": "instance-id", "Values": wanted}])
        found = {
            instance["InstanceId"]: instance["State"]["Name"]
            for reservation in answer["Reservations"]
            for instance in reservation["Instances"]
        }
        if found.get(said_down, "stopped") in DOWN:
            break
        time.sleep(pause)
    return {instance_id: found.get(instance_id, MISSING) for instance_id in wanted}


@dataclass(frozen=True)
class Status:
    """The status checks of an instance: `ok`, `initializing`, `impaired`, `insufficient-data` or `not-applicable`."""

    instance_id: str
    system: str
    instance: str
    application: str

    @property
    def ready(self) -> bool:
        """Tell whether the instance passes every check that it has."""
        return self.system == self.instance == "ok" and self.application in ("ok", "not-applicable")


def instance_statuses(running_instance_ids: Iterable[str]) -> tuple[Status, ...]:
    """Return the status checks of running instances; an id that EC2 does not know would fail the whole call.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceStatus.html
    """
    wanted = list(running_instance_ids)
    if not wanted:
        return ()
    answer = aws.client("ec2").describe_instance_status(InstanceIds=wanted)
    return tuple(
        Status(
            s["InstanceId"],
            s["SystemStatus"]["Status"],
            s["InstanceStatus"]["Status"],
            s.get("ApplicationStatus", {}).get("Status", "not-applicable"),
        )
        for s in answer["InstanceStatuses"]
    )
