"""The NLB switch as values: settings, what is seen of the world, and what can be changed in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from kirikae import env
from kirikae.alarms import Alarm
from kirikae.decision import Change
from kirikae.ec2 import Status
from kirikae.elb import Target
from kirikae.listeners import Listener

type Side = Literal["primary", "sorry"]


@dataclass(frozen=True, kw_only=True)
class Config(env.Stack):
    """Settings that both directions share."""

    nlb_listener_arns: tuple[str, ...] = env.listener_arns()
    primary_target_group_arn: str = env.target_group_arn()
    sorry_target_group_arn: str = env.target_group_arn()
    primary_instance_ids: tuple[str, ...] = env.instance_ids(default=())
    min_healthy_targets: int = env.must("[1-9][0-9]*", "a whole number from 1", default=1)
    switch_mode: str = env.must("weighted|replace", "weighted or replace", default="weighted")


@dataclass(frozen=True)
class Switches:
    """Where the listeners point now."""

    listeners: tuple[Listener, ...]
    ruled: tuple[str, ...]  # listeners with rules besides the default action
    mode: str  # weighted or replace, as in force
    elsewhere: Mapping[str, str]  # target group ARN -> a load balancer that uses it and is not the listeners' own
    alb_groups: tuple[str, ...] = ()  # those of the two whose target is an ALB; asked while a listener is plain


@dataclass(frozen=True)
class Switch(Change):
    """Point the listeners at one side."""

    to: Side
    listeners: tuple[str, ...]


@dataclass(frozen=True)
class Adopt(Change):
    """Attach both groups to the listeners without moving their traffic: listener ARN -> the side that it serves."""

    adopt: Mapping[str, Side]


@dataclass(frozen=True, kw_only=True)
class SwitchoverConfig(Config):
    """Settings of the switchover, on top of those shared by both directions."""

    outage_alarm_name: str = env.of_stack()


@dataclass(frozen=True)
class SwitchoverObserved:
    """The world as far as the decision to switch over needs it."""

    now: datetime
    switches: Switches
    primary: tuple[Target, ...] = ()
    sorry: tuple[Target, ...] = ()
    instances: Mapping[str, str] | None = None  # id -> state; None: not asked, because the rest suffices
    alarm: Alarm | None = None  # likewise


@dataclass(frozen=True, kw_only=True)
class SwitchbackConfig(Config):
    """Settings of the switchback, on top of those shared by both directions."""

    recovery_alarm_name: str = env.of_stack()  # OK after RecoveryMinutes of enough healthy targets
    ready_alarm_name: str = env.of_stack()  # in replace mode: ALARM after RecoveryMinutes of enough passed checks
    flapping_alarm_name: str = env.of_stack()  # ALARM after MaxSwitchesPerHour switches
    auto_switchback: bool = True
    max_switches_per_hour: int = env.must("[1-9][0-9]*", "a whole number from 1", default=4)


@dataclass(frozen=True)
class SwitchbackObserved:
    """The world as far as the decision to switch back needs it."""

    switches: Switches
    primary: tuple[Target, ...] = ()
    instances: Mapping[str, str] = field(default_factory=dict)  # of the healthy targets, id -> state, in weighted mode
    statuses: tuple[Status, ...] = ()  # of the running instances, in replace mode
    recovery: Alarm | None = None  # of the mode in force
    flapping: Alarm | None = None
