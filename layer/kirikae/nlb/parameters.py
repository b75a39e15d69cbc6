"""Why the listeners are not ours to change: errors in the parameters, one sentence each, and somebody else's work."""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from re import sub

from kirikae import ec2
from kirikae.listeners import Listener
from kirikae.nlb import servers
from kirikae.nlb.servers import Health
from kirikae.nlb.world import SIDES, Config, Side, Switches, serving
from kirikae.notify import Words

NLB_PROTOCOLS = frozenset({"TCP", "TLS", "UDP", "TCP_UDP", "QUIC", "TCP_QUIC"})


def hands_off(config: Config, seen: Switches) -> Words | None:
    """Return why the listeners are not ours to change, or None."""
    return next(_obstacles(config, seen), None)


def obstacles(config: Config, seen: Switches) -> dict[str, Words]:
    """Return every such reason, by a mark of it: where an action of somebody else points now makes none anew."""
    return {sha256(sub("{.*?}", "", said.en).encode()).hexdigest()[:8]: said for said in _obstacles(config, seen)}


def wrong(
    config: Config,
    seen: Switches,
    primary: Health,
    behind: Mapping[str, str] | None,
    instances: Mapping[str, str] | None,
) -> dict[str, Words]:
    """Return all that is refused at rest too: a person has to mend each."""
    replaced = seen.mode == "replace"
    found = {
        "not counted": servers.not_counted(config, primary),
        "no way back": servers.no_way_back(config, primary, behind) if replaced else None,
        "PrimaryInstanceIds": unknown(instances),
        "gone": gone(seen),
    }
    return obstacles(config, seen) | {word: said for word, said in found.items() if said}


def unknown(instances: Mapping[str, str] | None) -> Words | None:
    """Return which of PrimaryInstanceIds EC2 does not know, or None."""
    if not (listed := ", ".join(each for each, state in (instances or {}).items() if state == ec2.MISSING)):
        return None
    return Words(
        f"PrimaryInstanceIds names {listed}, which EC2 does not know; expected instances of this account and region",
        f"PrimaryInstanceIds の {listed} は EC2 に存在しません。このアカウントとリージョンのものを指定してください",
    )


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


def static_problems(config: Config) -> Iterator[Words]:
    """Yield errors in the parameters that show without calling AWS."""
    count = len(config.nlb_listener_arns)
    for side in SIDES:
        name, groups = f"{side.capitalize()}TargetGroupArn", config.groups(side)
        old = {"primary": config.primary_target_group_arn, "sorry": config.sorry_target_group_arn}[side]
        if not groups:
            yield Words(
                f"{name}s is not set (nor its older name {name}), but NlbListenerArns is; expected target groups",
                f"NlbListenerArns が指定されていますが、{name}s (旧名 {name}) がありません。指定してください",
            )
        elif old and set(groups) != {old}:
            listed = ", ".join(groups)
            yield Words(
                f"{name} is {old}, but {name}s is {listed}; expected only one of the two, or the same",
                f"{name} は {old} ですが、{name}s は {listed} です。一方だけを指定するか、同じ値にしてください",
            )
        elif len(groups) not in (1, count):
            yield Words(
                f"NlbListenerArns names {count} listeners and {name}s {len(groups)} target groups; "
                f"expected one group for all of them, or one for each in the same order",
                f"NlbListenerArns のリスナーは {count} 個、{name}s のターゲットグループは {len(groups)} 個です。"
                f"全リスナー共通の 1 個か、リスナーと同じ順で同数を指定してください",
            )
    if both := ", ".join(sorted(set(config.groups("primary")) & set(config.groups("sorry")))):
        names = config.names("primary"), config.names("sorry")
        yield Words(
            f"{names[0]} and {names[1]} name the same target group, {both}; expected different ones",
            f"{names[0]} と {names[1]} に同じターゲットグループ {both} があります。別のものを指定してください",
        )


def _obstacles(config: Config, seen: Switches) -> Iterator[Words]:
    yield from static_problems(config)
    if len({listener.load_balancer_arn for listener in seen.listeners}) > 1:
        yield Words(
            "NlbListenerArns names listeners of several load balancers, expected those of one NLB",
            "NlbListenerArns に複数のロードバランサーのリスナーがあります。1 つの NLB のリスナーを指定してください",
        )
    for listener in seen.listeners:
        yield from _on_listener(config, seen, listener)
    for group, user in seen.elsewhere.items():
        name = config.names("primary" if group in config.groups("primary") else "sorry")
        yield Words(
            f"{name}: {group} is used by another load balancer, {user}; expected a group of the listeners' own",
            f"{name}: {group} は別のロードバランサー {user} で使われています。"
            f"このリスナー専用のターゲットグループを指定してください",
        )


def _on_listener(config: Config, seen: Switches, listener: Listener) -> Iterator[Words]:
    arn, own = listener.arn, {side: config.group(side, listener.arn) for side in SIDES}
    if listener.protocol not in NLB_PROTOCOLS:
        yield Words(
            f"NlbListenerArns: listener {arn} is {listener.protocol}, a listener of an ALB; expected one of an NLB",
            f"NlbListenerArns: リスナー {arn} は ALB の {listener.protocol} リスナーです。NLB のものを指定してください",
        )
    if listener.protocol != "TCP" and (albs := ", ".join(group for group in own.values() if group in seen.alb_groups)):
        yield Words(
            f"NlbListenerArns: listener {arn} is {listener.protocol}, but {albs} has an ALB as its "
            f"target, to which only a TCP listener can forward; expected a TCP listener or a group of instances",
            f"NlbListenerArns: リスナー {arn} は {listener.protocol} ですが、{albs} のターゲットは ALB です。"
            f"ALB に転送できるのは TCP リスナーだけです。"
            f"TCP リスナーか、インスタンスのターゲットグループを指定してください",
        )
    if arn in seen.ruled:
        yield Words(
            f"hands off: listener {arn} has listener rules besides its default action",
            f"リスナー {arn} にデフォルトアクション以外のルールがあるため、変更しません",
        )
    if serving(config, listener) is None:
        yield _of_somebody(config, listener, own)


def _of_somebody(config: Config, listener: Listener, own: Mapping[Side, str]) -> Words:
    """Return that the default action of a listener is not one of ours."""
    found = f"{listener.action} {dict(listener.weights)}"
    sides = {side: f"{group} ({config.names(side)})" for side, group in own.items()}
    return Words(
        f"hands off: listener {listener.arn} has a default action of somebody else: {found}; expected all of the "
        f"weight on {sides['primary']} or on {sides['sorry']} and no third group",
        f"リスナー {listener.arn} のデフォルトアクションが想定外のため、変更しません: {found}。"
        f"{sides['primary']} または {sides['sorry']} にすべての重みを置き、第三のグループを含めないでください",
    )
