"""The NLB switch as values, as far as both directions share them; the rest of a direction is beside this."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kirikae import env
from kirikae.decision import Change, Made
from kirikae.listeners import Listener
from kirikae.notify import Words

type Side = Literal["primary", "sorry"]
SIDES: tuple[Side, ...] = ("primary", "sorry")


@dataclass(frozen=True, kw_only=True)
class Config(env.Stack):
    """Settings that both directions share.

    A side has one group for all listeners, or one for each in their order; `…_arn` is the older name of the first form.
    """

    nlb_listener_arns: tuple[str, ...] = env.listener_arns()
    primary_target_group_arns: tuple[str, ...] = env.target_group_arn(default=())
    sorry_target_group_arns: tuple[str, ...] = env.target_group_arn(default=())
    primary_target_group_arn: str = env.target_group_arn(default="")
    sorry_target_group_arn: str = env.target_group_arn(default="")
    primary_instance_ids: tuple[str, ...] = env.instance_ids(default=())
    min_healthy_targets: int = env.must("[1-9][0-9]*", "a whole number from 1", default=1)
    switch_mode: str = env.must("weighted|replace", "weighted or replace", default="weighted")
    probe_url: str = env.must(r"https?://[^\s/?#]+([/?#]\S*)?", "a URL like https://www.example.com/", default="")

    def groups(self, side: Side) -> tuple[str, ...]:
        """Return the groups of a side as they are given."""
        several = {"primary": self.primary_target_group_arns, "sorry": self.sorry_target_group_arns}[side]
        one = {"primary": self.primary_target_group_arn, "sorry": self.sorry_target_group_arn}[side]
        return several or ((one,) if one else ())

    def group(self, side: Side, listener_arn: str) -> str:
        """Return the group of a side that a listener belongs to."""
        groups = self.groups(side)
        return groups[self.nlb_listener_arns.index(listener_arn) if len(groups) > 1 else 0]

    def names(self, side: Side) -> str:
        """Return the template parameter that gives the groups of a side."""
        several = {"primary": self.primary_target_group_arns, "sorry": self.sorry_target_group_arns}[side]
        return f"{side.capitalize()}TargetGroupArn{'s' if several else ''}"


def by_group(config: Config, first: str) -> dict[str, str]:
    """Return the alarm of each primary group; the template adds -2, -3 and -4 to the name of the first one."""
    named = dict[str, str]()
    for number, group in enumerate(config.groups("primary"), 1):
        named.setdefault(group, first if number == 1 else f"{first}-{number}")
    return named


def serving(config: Config, listener: Listener) -> Side | None:
    """Return the side that gets the listener's new connections, or None when it is not one of ours alone."""
    sides: dict[str, Side] = {
        config.group("primary", listener.arn): "primary",
        config.group("sorry", listener.arn): "sorry",
    }
    if listener.action != "forward" or not listener.weights.keys() <= sides.keys():
        return None
    match [group for group, weight in listener.weights.items() if weight > 0]:
        case [group]:
            return sides[group]
    return None


@dataclass(frozen=True)
class Switches:
    """Where the listeners point now."""

    listeners: tuple[Listener, ...]
    ruled: tuple[str, ...]  # listeners with rules besides the default action
    mode: str  # weighted or replace, as in force
    elsewhere: Mapping[str, str]  # target group ARN -> a load balancer that uses it and is not the listeners' own
    alb_groups: tuple[str, ...] = ()  # those of the groups whose target is an ALB; asked while a listener is plain
    gone: tuple[str, ...] = ()  # listeners of the parameter that do not exist
    guessed: bool = False  # nobody knows whether AWS refused both groups: `mode` is what fits the listeners

    @property
    def replaced(self) -> bool:
        """Tell whether a group may have been in no listener until just now: its health and its alarm may be of then."""
        return self.mode == "replace" or self.guessed or any(len(listener.weights) < 2 for listener in self.listeners)


def used(config: Config, seen: Switches, side: Side) -> tuple[str, ...]:
    """Return the groups of a side that belong to listeners that exist."""
    return tuple(dict.fromkeys(config.group(side, listener.arn) for listener in seen.listeners))


@dataclass(frozen=True)
class Switch(Change):
    """Point the listeners at one side."""

    to: Side
    listeners: tuple[str, ...]


@dataclass(frozen=True)
class Adopt(Change):
    """Attach both groups to the listeners without moving their traffic: listener ARN -> the side that it serves."""

    adopt: Mapping[str, Side]


@dataclass(frozen=True)
class Done(Made):
    """What came of a change: `made` are the listeners that AWS switched."""

    mode: str  # that it was made in
    made: tuple[str, ...]
    kept: Mapping[str, dict[str, Any]]  # listener ARN -> what was written besides the groups
    refusal: str = ""  # why AWS did not take both groups in one action, in its own words
    untagged: str = ""  # why no tag remembers that, in AWS's words
    unseen: tuple[str, ...] = ()  # those of `made` that do not show it yet
    failed: Mapping[str, str] = field(default_factory=dict)  # listener ARN -> why it is not known to be switched
    unsure: tuple[str, ...] = ()  # those of `failed` that AWS may have switched: only its answer is missing
    change: Change | None = field(default=None, kw_only=True)  # None of an adoption of which nothing stays
    reason: Words = field(default=Words(""), kw_only=True)  # that of the decision
