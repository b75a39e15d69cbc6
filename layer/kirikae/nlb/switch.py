"""The switch that both directions share: where the listeners point, whose they are, and the write."""

from collections.abc import Iterable, Iterator
from contextlib import suppress

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import elb, env, listeners
from kirikae.errors import UnfinishedError
from kirikae.listeners import Listener
from kirikae.log import logger
from kirikae.nlb.world import Adopt, Config, Side, Switch, Switches
from kirikae.notify import Words

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


def look(config: Config) -> Switches:
    """Read the listeners, and what is needed to know that they are ours to change."""
    with env.naming("NlbListenerArns", ", ".join(config.nlb_listener_arns)):
        found = listeners.read(config.nlb_listener_arns)
        ruled = tuple(each.arn for each in found if any(rule.priority for rule in listeners.rules(each.arn)))
    mode, elsewhere, albs = config.switch_mode, dict[str, str](), tuple[str, ...]()
    if plain := [listener for listener in found if len(listener.weights) < 2]:
        elsewhere, albs = _groups(config, plain)
        tags = elb.tags(listener.arn for listener in plain).values() if mode == "weighted" else ()
        if any(of_listener.get(REFUSED_TAG) == "refused" for of_listener in tags):
            mode = "replace"
    return Switches(found, ruled, mode, elsewhere, albs)


def _groups(config: Config, plain: Iterable[Listener]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return which of the two groups another load balancer uses (a group belongs to one), and which have an ALB."""
    arns = (config.primary_target_group_arn, config.sorry_target_group_arn)
    with env.naming("PrimaryTargetGroupArn, SorryTargetGroupArn", ", ".join(arns)):
        found = elb.target_groups(arns)
    own = {listener.load_balancer_arn for listener in plain}
    elsewhere = {group.arn: user for group in found for user in group.load_balancer_arns if user not in own}
    return elsewhere, tuple(group.arn for group in found if group.target_type == "alb")


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
    """Return why the listeners are not ours to change, or None."""
    reason = next(_obstacles(config, seen), None)
    return Words(reason) if reason else None


def _obstacles(config: Config, seen: Switches) -> Iterator[str]:
    if config.primary_target_group_arn == config.sorry_target_group_arn:
        yield "PrimaryTargetGroupArn and SorryTargetGroupArn are the same target group, expected two"
    if len({listener.load_balancer_arn for listener in seen.listeners}) > 1:
        yield "NlbListenerArns names listeners of several load balancers, expected those of one NLB"
    for listener in seen.listeners:
        where = f"listener {listener.arn}"
        if listener.protocol not in NLB_PROTOCOLS:
            yield f"NlbListenerArns: {where} is {listener.protocol}, a listener of an ALB; expected one of an NLB"
        if listener.protocol != "TCP" and seen.alb_groups:
            yield (
                f"NlbListenerArns: {where} is {listener.protocol}, but {', '.join(seen.alb_groups)} has an ALB as its "
                f"target, to which only a TCP listener can forward; expected a TCP listener or a group of instances"
            )
        if listener.arn in seen.ruled:
            yield f"hands off: {where} has listener rules besides its default action"
        if serving(config, listener) is None:
            found = f"{listener.action} {dict(listener.weights)}"
            yield (
                f"hands off: {where} has a default action of somebody else: {found}; expected all of the weight on "
                f"PrimaryTargetGroupArn or on SorryTargetGroupArn and no third group"
            )
    for group, user in seen.elsewhere.items():
        name = "PrimaryTargetGroupArn" if group == config.primary_target_group_arn else "SorryTargetGroupArn"
        yield f"{name}: {group} is used by another load balancer, {user}; expected a group of the listeners' own"


def due(config: Config, seen: Switches, side: Side) -> tuple[str, ...]:
    """Return the listeners that do not serve `side` yet."""
    return tuple(listener.arn for listener in seen.listeners if serving(config, listener) != side)


def adoption(config: Config, seen: Switches) -> Adopt | None:
    """Return the change that attaches both groups to every listener without moving its traffic, if one needs it."""
    sides = {
        listener.arn: side
        for listener in seen.listeners
        if seen.mode == "weighted" and len(listener.weights) < 2 and (side := serving(config, listener))
    }
    return Adopt(sides) if sides else None


def weights(config: Config, side: Side, mode: str) -> dict[str, int]:
    """Return the default action that serves `side`: both groups attached in weighted mode, one in replace mode."""
    groups = {"primary": config.primary_target_group_arn, "sorry": config.sorry_target_group_arn}
    if mode == "replace":
        return {groups[side]: 1}
    return {group: int(name == side) for name, group in groups.items()}


def make(config: Config, seen: Switches, change: Switch | Adopt) -> str:
    """Make the change on every listener, read it back, and return the mode it was made in.

    All listeners are attempted.  Raises UnfinishedError that names those that failed or do not show what was written.
    """
    wanted = change.adopt if isinstance(change, Adopt) else dict.fromkeys(change.listeners, change.to)
    mode, problems = seen.mode, dict[str, str]()
    for arn, side in wanted.items():
        try:
            mode = _forward(config, arn, side, mode)
        except (ClientError, BotoCoreError) as error:  # the other listeners are attempted first, then it is raised
            problems[arn] = str(error)
    for listener in _read_back(wanted):
        if serving(config, listener) == wanted[listener.arn]:
            problems.pop(listener.arn, None)  # only the answer was lost: else nobody would ever mail this switch
        else:
            problems.setdefault(listener.arn, f"reads back as {dict(listener.weights)}")
    if problems:
        named = "; ".join(f"{arn}: {problem}" for arn, problem in problems.items())
        raise UnfinishedError(f"{len(problems)} of {len(wanted)} listeners are not as they should be: {named}")
    if mode != seen.mode:
        # A switch is mailed whatever happens here: the next run adopts, meets the refusal again and remembers it then.
        with suppress(*() if isinstance(change, Adopt) else (ClientError, BotoCoreError)):
            for arn in config.nlb_listener_arns:
                elb.tag(arn, {REFUSED_TAG: "refused"})
    return mode


def _read_back(wanted: Iterable[str]) -> tuple[Listener, ...]:
    """Return the listeners as they are shown after the writes, none if they cannot be read."""
    try:
        return listeners.read(wanted)
    except (ClientError, BotoCoreError) as error:  # AWS took the writes: a switch must not pass in silence for this
        logger.warning("the listeners cannot be read back", problem=str(error))
        return ()


def _forward(config: Config, listener_arn: str, side: Side, mode: str) -> str:
    """Point one listener at `side`; where AWS refuses both groups in one action, at that one group alone."""
    try:
        listeners.forward(listener_arn, weights(config, side, mode))
    except ClientError as error:
        if mode == "replace" or error.response["Error"]["Code"] not in _REFUSALS:
            raise
        listeners.forward(listener_arn, weights(config, side, "replace"))
        return "replace"
    return mode
