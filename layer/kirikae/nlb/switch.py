"""What the two directions of the NLB switch share: where the listeners point, whose they are, and the write."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import elb, env, reconcile
from kirikae.elb import Listener
from kirikae.notify import Words
from kirikae.reconcile import UnfinishedError, logger

type Side = Literal["primary", "sorry"]
NLB_PROTOCOLS = frozenset({"TCP", "TLS", "UDP", "TCP_UDP", "QUIC", "TCP_QUIC"})
REFUSED_TAG = "kirikae:weighted"  # on a listener, value `refused`: AWS did not take both groups in one action
# What AWS may answer when it does not take an instance group and an ALB-type group in one weighted action.
_REFUSALS = frozenset(
    {
        "IncompatibleProtocols",
        "InvalidConfigurationRequest",
        "InvalidLoadBalancerAction",
        "TooManyActions",
        "TooManyUniqueTargetGroupsPerLoadBalancer",
        "ValidationError",
    }
)


@dataclass(frozen=True, kw_only=True)
class Config(env.Stack):
    """What both directions are told."""

    listener_arns: tuple[str, ...] = env.listener_arns()
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


def prime(config_kind: type[Config], *always_asked: Callable[[Any], object]) -> None:
    """End INIT with the connections of a switch open.

    `always_asked` are reads of other services that the direction does not decide without.
    """
    reconcile.prime(config_kind, lambda config: elb.listeners(config.listener_arns), *always_asked)


def observe(config: Config) -> Switches:
    """Read the listeners, and what is needed to know that they are ours to change."""
    with env.naming("ListenerArns", ", ".join(config.listener_arns)):
        listeners = elb.listeners(config.listener_arns)
        ruled = tuple(listener.arn for listener in listeners if elb.rules(listener.arn))
    mode, elsewhere, albs = config.switch_mode, dict[str, str](), tuple[str, ...]()
    if plain := [listener for listener in listeners if len(listener.weights) < 2]:
        elsewhere, albs = _groups(config, plain)
        if mode == "weighted" and any(elb.tags(listener.arn).get(REFUSED_TAG) == "refused" for listener in plain):
            mode = "replace"
    return Switches(listeners, ruled, mode, elsewhere, albs)


def _groups(config: Config, listeners: Iterable[Listener]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return which of the two groups another load balancer uses (a group belongs to one), and which have an ALB."""
    arns = (config.primary_target_group_arn, config.sorry_target_group_arn)
    with env.naming("PrimaryTargetGroupArn, SorryTargetGroupArn", ", ".join(arns)):
        found = elb.groups(arns)
    own = {listener.load_balancer_arn for listener in listeners}
    elsewhere = {arn: user for arn, group in found.items() for user in group.load_balancer_arns if user not in own}
    return elsewhere, tuple(arn for arn, group in found.items() if group.target_type == "alb")


def serving(config: Config, listener: Listener) -> Side | None:
    """Return the side that gets the listener's new connections, or None when it is not one of ours alone."""
    if listener.action != "forward" or not listener.weights.keys() <= {
        config.primary_target_group_arn,
        config.sorry_target_group_arn,
    }:
        return None
    match [group for group, weight in listener.weights.items() if weight > 0]:
        case [group]:
            return "primary" if group == config.primary_target_group_arn else "sorry"
    return None


def hands_off(config: Config, seen: Switches) -> Words | None:
    """Say why the listeners are somebody else's work, or nothing."""
    if config.primary_target_group_arn == config.sorry_target_group_arn:
        return Words("PrimaryTargetGroupArn and SorryTargetGroupArn are the same target group, expected two")
    if len({listener.load_balancer_arn for listener in seen.listeners}) > 1:
        return Words("NlbListenerArns names listeners of several load balancers, expected those of one NLB")
    for listener in seen.listeners:
        where = f"listener {listener.arn}"
        if listener.protocol not in NLB_PROTOCOLS:
            return Words(
                f"NlbListenerArns: {where} is {listener.protocol}, a listener of an ALB; expected one of an NLB"
            )
        if listener.protocol != "TCP" and seen.alb_groups:
            return Words(
                f"NlbListenerArns: {where} is {listener.protocol}, but {', '.join(seen.alb_groups)} has an ALB as its "
                f"target, to which only a TCP listener can forward; expected a TCP listener or a group of instances"
            )
        if listener.arn in seen.ruled:
            return Words(f"hands off: {where} has listener rules besides its default action")
        if serving(config, listener) is None:
            found = f"{listener.action} {dict(listener.weights)}"
            return Words(
                f"hands off: {where} has a default action of somebody else: {found}; expected all of the weight on "
                f"PrimaryTargetGroupArn or on SorryTargetGroupArn and no third group",
            )
    for group, user in seen.elsewhere.items():
        name = "PrimaryTargetGroupArn" if group == config.primary_target_group_arn else "SorryTargetGroupArn"
        return Words(
            f"{name}: {group} is used by another load balancer, {user}; expected a group of the listeners' own"
        )
    return None


def due(config: Config, seen: Switches, side: Side) -> list[str]:
    """Return the listeners that do not serve `side` yet."""
    return [listener.arn for listener in seen.listeners if serving(config, listener) != side]


def adoption(config: Config, seen: Switches) -> dict[str, Any] | None:
    """Return the change that attaches both groups to every listener without moving its traffic, if one needs it."""
    sides = {
        listener.arn: serving(config, listener)
        for listener in seen.listeners
        if seen.mode == "weighted" and len(listener.weights) < 2
    }
    return {"adopt": sides} if sides else None


def weights(config: Config, side: Side, mode: str) -> dict[str, int]:
    """Return the default action that serves `side`: both groups attached in weighted mode, one in replace mode."""
    groups = {"primary": config.primary_target_group_arn, "sorry": config.sorry_target_group_arn}
    if mode == "replace":
        return {groups[side]: 1}
    return {group: int(name == side) for name, group in groups.items()}


def act(config: Config, seen: Switches, change: Mapping[str, Any]) -> str:
    """Make the change on every listener, read it back, and return the mode it was made in.

    All listeners are attempted.  Raises UnfinishedError that names those that failed or do not show what was written.
    """
    wanted: Mapping[str, Side] = change.get("adopt") or dict.fromkeys(change["listeners"], change["to"])
    mode, problems = seen.mode, dict[str, str]()
    for arn, side in wanted.items():
        try:
            mode = _forward(config, arn, side, mode)
        except (ClientError, BotoCoreError) as error:  # the other listeners are attempted first, then it is raised
            problems[arn] = str(error)
    try:
        shown = elb.listeners(wanted)
    except (ClientError, BotoCoreError) as error:  # AWS took the writes: a switch must not pass in silence for this
        logger.warning("the listeners cannot be read back", problem=str(error))
        shown = ()
    for listener in shown:
        if serving(config, listener) == wanted[listener.arn]:
            problems.pop(listener.arn, None)  # only the answer was lost: nobody would ever tell of this switch
        else:
            problems.setdefault(listener.arn, f"reads back as {dict(listener.weights)}")
    if problems:
        named = "; ".join(f"{arn}: {problem}" for arn, problem in problems.items())
        raise UnfinishedError(f"{len(problems)} of {len(wanted)} listeners are not as they should be: {named}")
    if mode != seen.mode:
        # A switch is told whatever happens here: the next run adopts, meets the refusal again and remembers it then.
        with suppress(*() if "adopt" in change else (ClientError, BotoCoreError)):
            for arn in config.listener_arns:
                elb.tag(arn, {REFUSED_TAG: "refused"})
    return mode


def _forward(config: Config, listener_arn: str, side: Side, mode: str) -> str:
    """Point one listener at `side`; where AWS refuses both groups in one action, at that one group alone."""
    try:
        elb.forward(listener_arn, weights(config, side, mode))
    except ClientError as error:
        if mode == "replace" or error.response["Error"]["Code"] not in _REFUSALS:
            raise
        elb.forward(listener_arn, weights(config, side, "replace"))
        return "replace"
    return mode
