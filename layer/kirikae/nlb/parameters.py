"""Why the listeners are not ours to change: errors in the parameters, one sentence each, and somebody else's work."""

from collections.abc import Iterator

from kirikae.listeners import Listener
from kirikae.nlb.world import SIDES, Config, Switches, serving
from kirikae.notify import Words

NLB_PROTOCOLS = frozenset({"TCP", "TLS", "UDP", "TCP_UDP", "QUIC", "TCP_QUIC"})


def hands_off(config: Config, seen: Switches) -> Words | None:
    """Return why the listeners are not ours to change, or None."""
    reason = next(_obstacles(config, seen), None)
    return Words(reason) if reason else None


def gone(seen: Switches) -> Words | None:
    """Return which listeners do not exist, or None: the others are switched without them."""
    listed = ", ".join(seen.gone)
    return (
        Words(
            f"NlbListenerArns: {listed} does not exist, and the other listeners are switched without it; expected "
            f"listeners of this account and region",
            f"NlbListenerArns: リスナー {listed} が存在しません。残りのリスナーだけを切り替えます。"
            f"このアカウントとリージョンのリスナーを指定してください",
        )
        if seen.gone
        else None
    )


def static_problems(config: Config) -> Iterator[str]:
    """Yield errors in the parameters that show without calling AWS."""
    count, known = len(config.nlb_listener_arns), True
    for side in SIDES:
        name, groups = f"{side.capitalize()}TargetGroupArn", config.groups(side)
        old = {"primary": config.primary_target_group_arn, "sorry": config.sorry_target_group_arn}[side]
        known = known and bool(groups)
        if not groups:
            yield f"{name}s is not set (nor its older name {name}), but NlbListenerArns is; expected target groups"
        elif old and set(groups) != {old}:
            yield f"{name} is {old}, but {name}s is {', '.join(groups)}; expected only one of the two, or the same"
        elif len(groups) not in (1, count):
            yield (
                f"NlbListenerArns names {count} listeners and {name}s {len(groups)} target groups; "
                f"expected one group for all of them, or one for each in the same order"
            )
    if both := set(config.groups("primary")) & set(config.groups("sorry")):
        yield (
            f"{config.names('primary')} and {config.names('sorry')} name the same target group, "
            f"{', '.join(sorted(both))}; expected different ones"
        )


def _obstacles(config: Config, seen: Switches) -> Iterator[str]:
    yield from static_problems(config)
    if len({listener.load_balancer_arn for listener in seen.listeners}) > 1:
        yield "NlbListenerArns names listeners of several load balancers, expected those of one NLB"
    for listener in seen.listeners:
        yield from _on_listener(config, seen, listener)
    for group, user in seen.elsewhere.items():
        name = config.names("primary" if group in config.groups("primary") else "sorry")
        yield f"{name}: {group} is used by another load balancer, {user}; expected a group of the listeners' own"


def _on_listener(config: Config, seen: Switches, listener: Listener) -> Iterator[str]:
    where, own = f"listener {listener.arn}", {side: config.group(side, listener.arn) for side in SIDES}
    albs = [group for group in own.values() if group in seen.alb_groups]
    if listener.protocol not in NLB_PROTOCOLS:
        yield f"NlbListenerArns: {where} is {listener.protocol}, a listener of an ALB; expected one of an NLB"
    if listener.protocol != "TCP" and albs:
        yield (
            f"NlbListenerArns: {where} is {listener.protocol}, but {', '.join(albs)} has an ALB as its "
            f"target, to which only a TCP listener can forward; expected a TCP listener or a group of instances"
        )
    if listener.arn in seen.ruled:
        yield f"hands off: {where} has listener rules besides its default action"
    if serving(config, listener) is None:
        found = f"{listener.action} {dict(listener.weights)}"
        yield (
            f"hands off: {where} has a default action of somebody else: {found}; expected all of the weight on "
            f"{own['primary']} ({config.names('primary')}) or on {own['sorry']} ({config.names('sorry')}) "
            f"and no third group"
        )
