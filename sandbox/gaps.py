"""Answers without the members that AWS may leave out: now and then, for roles; the administrator always gets all.

Left out is only what says nothing, or nothing that another member does not say, too: no caller can make up the rest.
"""

from collections.abc import Callable, Iterator
from typing import Any

from sandbox import drawn
from sandbox.wire import Answer, Request, answer, result

_SHARE = 0.3  # of the answers that lack something

type _Member = tuple[dict[str, Any], str]  # what holds it, and its name


class Gaps:
    """Which answers of one account lack optional members (M1)."""

    def __init__(self) -> None:
        """Draw from the seed of the account."""
        self._random = drawn("gaps")
        self._share = _SHARE

    def off(self) -> None:
        """Let every answer be whole."""
        self._share = 0.0

    def always(self) -> None:
        """Let every answer lack all that it may lack."""
        self._share = 1.0

    def thinned(self, request: Request, answered: Answer) -> Answer:
        """Return the answer, some of its optional members left out if it is its turn."""
        optional = _OPTIONAL.get((request.service, request.operation))
        if optional is None or answered[0] >= 400 or self._random.random() >= self._share:
            return answered
        said = result(request, answered)
        for holder, name in list(optional(said)):
            if self._share == 1.0 or self._random.random() < 0.5:
                holder.pop(name, None)
        return answer(request, said)


def _alarms(said: dict[str, Any]) -> Iterator[_Member]:
    for alarm in [*said.get("MetricAlarms", []), *said.get("CompositeAlarms", [])]:
        if alarm.get("StateTransitionedTimestamp") == alarm.get("StateUpdatedTimestamp"):
            yield alarm, "StateTransitionedTimestamp"
        yield from ((alarm, name) for name in ("AlarmActions", "OKActions") if not alarm.get(name))
        yield from ((alarm, name) for name in ("ActionsEnabled", "StateReason", "StateReasonData") if alarm.get(name))


def _instances(said: dict[str, Any]) -> Iterator[_Member]:
    for reservation in said.get("Reservations", []):
        for instance in reservation.get("Instances", []):
            if instance["State"]["Name"] in ("pending", "running") or not instance.get("StateTransitionReason"):
                yield instance, "StateTransitionReason"
            if instance["State"]["Name"] in ("pending", "running"):
                yield instance, "StateReason"
            if not instance.get("Tags"):
                yield instance, "Tags"
            if instance["State"]["Name"] in ("shutting-down", "terminated"):
                yield from (
                    (instance, name) for name in ("LaunchTime", "NetworkInterfaces", "PrivateIpAddress", "VpcId")
                )


def _statuses(said: dict[str, Any]) -> Iterator[_Member]:
    for status in said.get("InstanceStatuses", []):
        yield from ((status, name) for name in ("AttachedEbsStatus", "AvailabilityZone") if _usual(status.get(name)))
        for name in ("SystemStatus", "InstanceStatus"):
            yield status.get(name, {}), "Details"


def _usual(status: Any) -> bool:
    """Return whether a part of a status says nothing that somebody would have to know."""
    return not isinstance(status, dict) or status.get("Status") in ("ok", "not-applicable")


def _health(said: dict[str, Any]) -> Iterator[_Member]:
    for described in said.get("TargetHealthDescriptions", []):
        if described["Target"].get("AvailabilityZone") != "all":  # outside the VPC, which nothing else says
            yield described["Target"], "AvailabilityZone"
        yield described, "HealthCheckPort"
        if described["TargetHealth"].get("Reason") != "Target.NotInUse":  # R1
            yield described["TargetHealth"], "Description"


def _empty(said: dict[str, Any]) -> Iterator[_Member]:
    """Yield what is empty in the things that an answer lists; without its list the answer itself would be cut."""
    for value in said.values():
        for listed in value if isinstance(value, list) else [value]:
            if isinstance(listed, dict):
                yield from ((listed, name) for name, known in listed.items() if known in ([], {}, ""))
                yield from _empty(listed)


_OPTIONAL: dict[tuple[str, str], Callable[[dict[str, Any]], Iterator[_Member]]] = {
    ("cloudwatch", "DescribeAlarms"): _alarms,
    ("ec2", "DescribeInstances"): _instances,
    ("ec2", "DescribeInstanceStatus"): _statuses,
    ("elbv2", "DescribeTargetHealth"): _health,
    ("autoscaling", "DescribeAutoScalingGroups"): _empty,
    **{("ec2", f"Describe{what}"): _empty for what in ("Addresses", "NetworkInterfaces", "RouteTables", "Subnets")},
    **{("elbv2", f"Describe{what}"): _empty for what in ("Listeners", "LoadBalancers", "TargetGroups")},
}
