"""The rotation as values: settings, its document, how a target is registered, and what a plan is judged by."""

import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, TypedDict

from kirikae import env
from kirikae.elb import Target, TargetGroup
from kirikae.errors import InputError

type Event = Mapping[str, Any]  # of one invocation
type Health = Mapping[str, tuple[Target, ...]]  # by target group ARN
type HookType = Literal["none", "approval", "ssm-document", "ssm-command"]
type Next = Literal["take-out", "wait", "drain", "hook", "result", "back", "finish"]  # what the state machine does now
type Phase = Literal["crowded", "held", "hook", "back", "slow-start", ""]
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
    primary_target_group_arns: tuple[str, ...] = ()
    primary_target_group_arn: str = ""  # the older name for one
    min_healthy_targets: int = env.must("[1-9][0-9]*", "a whole number from 1", default=1)

    def least(self, group: str) -> int:
        """Return how many healthy targets must remain in a group: fewer in a primary group bring the sorry page."""
        return max(self.rotation_min_healthy, self.min_healthy_targets if group in self.primary else 1)

    @property
    def primary(self) -> tuple[str, ...]:
        """The groups of the application behind the NLB listeners of the stack."""
        return self.primary_target_group_arns or tuple(filter(None, [self.primary_target_group_arn]))

    @property
    def account(self) -> str:
        """The account that the stack is in."""
        return self.state_machine_arn.split(":")[4]

    @property
    def defaults(self) -> Any:
        """The input that an execution's own overrides; whether it is any, `request` says."""
        try:
            return json.loads(self.rotation_defaults)
        except ValueError as error:
            wrong = f"ROTATION_DEFAULTS (RotationDefaults) is {self.rotation_defaults!r} ({error})"
            raise InputError(f"{wrong}, expected a JSON object like an execution's input") from error


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
    in_at: NotRequired[str]  # ISO 8601, when it was registered again
    gone: NotRequired[bool]  # its instance is terminated
    returns: NotRequired[int]  # how often somebody else has registered it again before its hook


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
    empty_zones: bool  # a zone may lose its last healthy target although cross-zone load balancing is off
    drain_seconds: int  # what AWS says draining takes
    tail_seconds: int  # how long connections may come after a deregistration
    drain_timeout_seconds: int
    healthy_timeout_seconds: int
    started: str
    queue: list[Member]
    out: list[Member]
    done: list[dict[str, Any]]  # id, out_at, back_at, minutes, result; member of one that is not back
    skipped: list[dict[str, str]]  # id, reason
    unused: list[str]  # groups that no load balancer used when it began
    phase: Phase  # what `since` counts
    since: str
    command_ids: list[str]
    next: Next
    wait_seconds: int
    reason: dict[str, str]  # why it waits, stops or fails; English and Japanese
    ending: Ending
    failure: dict[str, str]  # what a Catch of the state machine left: Error and Cause


@dataclass(frozen=True)
class Terms:
    """What a target group asks of a rotation, as far as its attributes and its load balancer's tell."""

    used: bool = True  # by a load balancer; else nothing drains and nothing is checked there
    idle: bool = False  # nothing used it when the rotation began
    least: int = 1  # healthy targets that must remain
    zone_least: int = 1  # and in each zone that counts by itself
    percentage: int = 0  # of its targets that must remain healthy
    cross_zone: bool | None = True  # False: each zone counts by itself; None: its attributes do not tell
    zones: Mapping[str, str] = field(default_factory=dict)  # of its targets, where each zone counts by itself
    slow_start_seconds: int = 0  # until a target that became healthy takes its share
    drain_seconds: int = 0  # what AWS says draining takes
    tail_seconds: int = 0  # how long new connections may come after a deregistration
    keeps_connections: bool = False  # those that are open when draining ends


@dataclass(frozen=True)
class ScalingGroup:
    """An Auto Scaling group, as far as it tells what the Standby of an instance does to others."""

    name: str
    attached: tuple[str, ...] = ()  # what an instance leaves with Standby: ARNs of target groups, names of others
    zones: Mapping[str, frozenset[str]] = field(default_factory=dict)  # its instances in service, by zone
    rebalances: bool = True  # its zones, when their numbers differ


@dataclass(frozen=True)
class Observed:
    """The world as far as the plan of a whole rotation needs it."""

    groups: tuple[TargetGroup, ...]
    health: Health
    terms: Mapping[str, Terms]  # by target group ARN
    scaling: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # instance -> group, life cycle state
    states: Mapping[str, str] = field(default_factory=dict)  # instance -> its state as EC2 says it
    scaling_groups: Mapping[str, ScalingGroup] = field(default_factory=dict)  # by name
    running: str = ""  # the older execution on the same groups
    hold: str = ""  # why nothing may begin
    sorry: bool = False  # the sorry page is on
    documents: Mapping[str, str] = field(default_factory=dict)  # instance -> what is wrong with its hook's document
    managed: frozenset[str] | None = None  # instances that Systems Manager can reach; None: not asked


def members(
    health: Health, groups: Iterable[TargetGroup], unplaced: Container[tuple[str, str]] = ()
) -> dict[str, Member]:
    """Return what is registered in the groups, by id; a target that is being deregistered is no longer.

    unplaced: targets, as (group, id), that get no traffic there because of their zone; they are left as they are.
    """
    found: dict[str, Member] = {}
    for group in groups:
        for target in health[group.arn]:
            if target.state != "draining" and (group.arn, target.id) not in unplaced:
                member = found.setdefault(target.id, Member(id=target.id, places=[], scaling_group=""))
                zone = target.availability_zone if group.target_type == "ip" else ""  # an instance has none of its own
                place = Place(group=group.arn, port=target.port, zone=zone, quic_server_id=target.quic_server_id)
                member["places"].append(place)
    return found


def by_group(places: list[Place]) -> dict[str, list[Place]]:
    """Return the places in each group."""
    return {group: [p for p in places if p["group"] == group] for group in sorted({p["group"] for p in places})}


def description(member: Member, place: Place) -> dict[str, Any]:
    """Return a registration as the API's TargetDescription."""
    parts = {"AvailabilityZone": place["zone"], "QuicServerId": place["quic_server_id"]}
    return {"Id": member["id"], "Port": place["port"]} | {name: value for name, value in parts.items() if value}
