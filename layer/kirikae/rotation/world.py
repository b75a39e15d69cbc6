"""The rotation as values: settings, its document, how a target is registered, and what a plan is judged by."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, TypedDict

from kirikae import env
from kirikae.elb import Target, TargetGroup

type Event = Mapping[str, Any]  # of one invocation
type Health = Mapping[str, tuple[Target, ...]]  # by target group ARN
type HookType = Literal["none", "approval", "ssm-document", "ssm-command"]
type Next = Literal["take-out", "wait", "drain", "hook", "result", "back", "finish"]  # what the state machine does now
type Phase = Literal["crowded", "held", "hook", "back", ""]
type Ending = Literal["Finished", "Stopped", "Failed", "Refused", "DryRun"]


@dataclass(frozen=True, kw_only=True)
class Config(env.Stack):
    """Settings of the rotation."""

    rotation_target_group_arns: tuple[str, ...] = env.target_group_arn()
    rotation_min_healthy: int = env.must("[1-9][0-9]*", "a whole number from 1", default=1)
    rotation_defaults: str = "{}"
    rotation_documents: tuple[str, ...] = ()
    rotation_allow_standby: bool = False
    state_machine_arn: str = env.of_stack()
    rotation_parameter: str = env.of_stack()
    nlb_listener_arns: tuple[str, ...] = env.listener_arns(default=())
    sorry_target_group_arn: str = ""

    @property
    def account(self) -> str:
        """The account that the stack is in."""
        return self.state_machine_arn.split(":")[4]

    @property
    def defaults(self) -> Any:
        """The input that an execution's own overrides; whether it is any, `request` says."""
        return json.loads(self.rotation_defaults)


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


class Hook(TypedDict):
    """What happens to a target while it is out."""

    type: HookType
    timeout_seconds: int
    document: NotRequired[str]
    parameters: NotRequired[dict[str, list[str]]]
    commands: NotRequired[list[str]]  # shell lines


class Rotation(TypedDict, total=False):
    """The document: plain JSON, the state of a Step Functions execution; every task gets it and returns the next."""

    groups: list[str]
    hook: Hook
    batch_size: int
    drain_seconds: int  # what AWS says draining takes
    tail_seconds: int  # how long connections may come after a deregistration
    drain_timeout_seconds: int
    healthy_timeout_seconds: int
    started: str
    queue: list[Member]
    out: list[Member]
    done: list[dict[str, Any]]  # id, out_at, back_at, minutes, result; member of one that is not back
    skipped: list[dict[str, str]]  # id, reason
    unused: list[str]  # groups without a load balancer
    phase: Phase  # what `since` counts
    since: str
    command_ids: list[str]
    next: Next
    wait_seconds: int
    reason: dict[str, str]  # why it waits, stops or fails; English and Japanese
    ending: Ending
    failure: dict[str, str]  # what a Catch of the state machine left: Error and Cause


@dataclass(frozen=True)
class Observed:
    """The world as far as the plan of a whole rotation needs it."""

    groups: tuple[TargetGroup, ...]
    health: Health
    drain_seconds: int = 0
    tail_seconds: int = 0
    scaling: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # instance -> group, life cycle state
    running: str = ""  # the older execution on the same groups
    hold: str = ""  # why nothing may begin
    sorry: bool = False  # the sorry page is on
    document: str = ""  # what is wrong with the hook's document
    managed: frozenset[str] | None = None  # instances that Systems Manager can reach; None: not asked


def members(health: Health, groups: Iterable[TargetGroup]) -> dict[str, Member]:
    """Return what is registered in the groups, by id; a target that is being deregistered is no longer."""
    found: dict[str, Member] = {}
    for group in groups:
        for target in health[group.arn]:
            if target.state != "draining":
                member = found.setdefault(target.id, Member(id=target.id, places=[], scaling_group=""))
                zone = target.availability_zone if group.target_type == "ip" else ""  # an instance has none of its own
                place = Place(group=group.arn, port=target.port, zone=zone, quic_server_id=target.quic_server_id)
                member["places"].append(place)
    return found


def unused(groups: Iterable[TargetGroup]) -> list[str]:
    """Return the ARNs of groups without a load balancer: nothing drains and nothing is checked there."""
    return [group.arn for group in groups if not group.load_balancer_arns]


def by_group(places: list[Place]) -> dict[str, list[Place]]:
    """Return the places in each group."""
    return {group: [p for p in places if p["group"] == group] for group in sorted({p["group"] for p in places})}


def description(member: Member, place: Place) -> dict[str, Any]:
    """Return a registration as the API's TargetDescription."""
    parts = {"AvailabilityZone": place["zone"], "QuicServerId": place["quic_server_id"]}
    return {"Id": member["id"], "Port": place["port"]} | {name: value for name, value in parts.items() if value}
