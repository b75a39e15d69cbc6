"""The NLB switch as values, as far as both directions share them; the rest of a direction is beside this."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kirikae import env
from kirikae.decision import Change
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
