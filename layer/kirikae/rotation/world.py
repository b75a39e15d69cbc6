"""What a target rotation is told, the document it goes by, and how a target is registered.

The document is plain JSON, the state of a Step Functions execution: every operation gets it and returns the next one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

from kirikae import env
from kirikae.elb import Target

type Health = Mapping[str, tuple[Target, ...]]  # by target group ARN


@dataclass(frozen=True, kw_only=True)
class Config(env.Stack):
    """What the function is told."""

    rotation_target_group_arns: tuple[str, ...] = env.target_group_arn()
    rotation_min_healthy: int = env.must("[1-9][0-9]*", "a whole number from 1", default=1)
    rotation_defaults: str = "{}"
    rotation_documents: tuple[str, ...] = ()
    rotation_allow_standby: bool = False
    state_machine_arn: str
    nlb_listener_arns: tuple[str, ...] = env.listener_arns(default=())
    sorry_target_group_arn: str = ""


class Place(TypedDict):
    """One registration of a target, exactly as it was."""

    group: str
    port: int
    zone: str
    quic_server_id: str


class Member(TypedDict):
    """A target of the rotation: everything registered under one id."""

    id: str
    places: list[Place]
    scaling_group: str
    out_at: NotRequired[str]  # ISO 8601, when it was deregistered


class Rotation(TypedDict, total=False):
    """The document."""

    groups: list[str]
    hook: dict[str, Any]
    batch_size: int
    drain_seconds: int  # what AWS says draining takes
    tail_seconds: int  # how long connections may come after a deregistration
    drain_timeout_seconds: int
    healthy_timeout_seconds: int
    started: str
    queue: list[Member]
    out: list[Member]
    done: list[dict[str, Any]]  # id, out_at, back_at, minutes, result
    skipped: list[dict[str, str]]  # id, reason
    unused: list[str]  # groups without a load balancer: nothing drains and nothing is checked there
    phase: str  # what `since` counts
    since: str
    command_ids: list[str]
    next: str  # what the state machine does now
    wait_seconds: int
    reason: dict[str, str]  # why it waits, stops or fails; English and Japanese
    ending: str  # Finished, Stopped, Failed, Refused or DryRun
    failure: dict[str, str]  # what a Catch of the state machine left: Error and Cause


def members(health: Health, kinds: Mapping[str, str]) -> dict[str, Member]:
    """Return what is registered, by id; a target that is being deregistered is no longer."""
    found: dict[str, Member] = {}
    for group, targets in health.items():
        for target in targets:
            if target.state != "draining":
                member = found.setdefault(target.id, Member(id=target.id, places=[], scaling_group=""))
                member["places"].append(place(group, target, kinds.get(group, "instance")))
    return found


def place(group: str, target: Target, kind: str) -> Place:
    """Return how a target is registered; only addresses have a zone of their own."""
    zone = target.availability_zone if kind == "ip" else ""
    return Place(group=group, port=target.port, zone=zone, quic_server_id=target.quic_server_id)


def description(member: Member, place: Place) -> dict[str, Any]:
    """Return a registration as the API's TargetDescription."""
    parts = {"AvailabilityZone": place["zone"], "QuicServerId": place["quic_server_id"]}
    return {"Id": member["id"], "Port": place["port"]} | {name: value for name, value in parts.items() if value}


def group_name(target_group_arn: str) -> str:
    """Return the name in a target group's ARN."""
    return target_group_arn.split("/")[1]
