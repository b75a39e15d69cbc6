"""The status checks of instances: every one that EC2 tells of, whichever they are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import batched
from typing import Any

from kirikae import aws

# A check that somebody has suppressed says nothing, like one that an instance does not have.
_FINE = ("ok", "not-applicable", "suppressed")
# The checks that CloudWatch's metrics count: StatusCheckFailed the first three, StatusCheckFailed_Application its own.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-system-instance-status-check.html
_COUNTED = ("SystemStatus", "InstanceStatus", "AttachedEbsStatus", "ApplicationStatus")


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
        return self.system == self.instance == "ok" and all(status in _FINE for status in more)

    @property
    def text(self) -> str:
        """Return system/instance/application, and those of the others that do not pass, by name."""
        failing = [f"{name} {status}" for name, status in self.others if status not in _FINE]
        return ", ".join([f"{self.system}/{self.instance}/{self.application}", *failing])

    @property
    def failing(self) -> str:
        """Return the checks that neither pass nor are yet to begin, each with its status, in words."""
        fine = (*_FINE, "initializing")
        return ", ".join(f"{name} {status}" for name, status in self._named if status not in fine)

    @property
    def counted(self) -> bool:
        """Tell whether a metric counts that the instance fails a check; there is none of PerformanceStatus."""
        return any(name in _COUNTED and status == "impaired" for name, status in self._named)

    @property
    def _named(self) -> tuple[tuple[str, str], ...]:
        own = ("SystemStatus", self.system), ("InstanceStatus", self.instance), ("ApplicationStatus", self.application)
        return *own, *self.others


def instance_statuses(running_instance_ids: Iterable[str]) -> tuple[Status, ...]:
    """Return the status checks of running instances; an id that EC2 does not know would fail the whole call.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceStatus.html
    """
    found = list[Status]()
    for ids in batched(running_instance_ids, 100, strict=False):  # as many as one call takes
        answer = aws.client("ec2").describe_instance_status(InstanceIds=list(ids))
        found += map(_status, answer["InstanceStatuses"])
    return tuple(found)


def _status(described: Mapping[str, Any]) -> Status:
    """Read the checks of one instance: every part that has a status, and none is required but the first two."""
    parts = {
        name: check["Status"] for name, check in described.items() if isinstance(check, Mapping) and "Status" in check
    }
    system, instance = parts.pop("SystemStatus", "not known"), parts.pop("InstanceStatus", "not known")
    application = parts.pop("ApplicationStatus", "not-applicable")
    return Status(described["InstanceId"], system, instance, application, tuple(sorted(parts.items())))
