"""Whether the primary can serve: who is down, what health and alarms say, and whom a sorry page would help."""

from datetime import timedelta

from kirikae import ec2, elb, notify
from kirikae.elb import Target
from kirikae.nlb import servers
from kirikae.nlb.look import due
from kirikae.nlb.world.switchover import Config, Observed
from kirikae.notify import Words

# A target in its first health check is not known to be down; when the alarm has lasted this long, it is.
INITIAL_PATIENCE = timedelta(minutes=5)


def healthy(seen: Observed, group: str) -> int:
    """Count the healthy targets of a primary group."""
    return sum(target.healthy for target in seen.primary[group])


def known(config: Config, seen: Observed) -> tuple[str, ...]:
    """Return the instances behind the primary: those registered, by id or by address, and those declared."""
    found = {server for targets in seen.primary.values() for server in servers.registered(targets, seen.behind)}
    return tuple(sorted({server for server in found if server.startswith("i-")} | set(config.primary_instance_ids)))


def down(seen: Observed) -> dict[str, str]:
    """Return the instances known to be stopping, stopped or gone, with their state; health alone shows some of them."""
    targets = [target for of_group in seen.primary.values() for target in of_group]
    told = {target.id: "stopped or gone" for target in targets if target.reason == "Target.InvalidState"}
    return told | {instance: state for instance, state in (seen.instances or {}).items() if state in ec2.DOWN}


def _down_in(config: Config, seen: Observed, group: str) -> dict[str, str]:
    """Return those that are down of the servers of a group."""
    own = {*servers.registered(seen.primary[group], seen.behind)}
    own |= servers.declared(config, seen.primary, seen.behind, group)
    return {server: state for server, state in down(seen).items() if server in own}


def too_many_down(config: Config, seen: Observed, group: str) -> bool:
    """Tell whether too few targets of a group are left that traffic can reach, whatever their health checks say."""
    return bool(_down_in(config, seen, group)) and _left(config, seen, group) < config.min_healthy_targets


def _left(config: Config, seen: Observed, group: str) -> int:
    """Count the targets of a group that traffic may reach."""
    unknown = {instance for instance, state in (seen.instances or {}).items() if state == ec2.MISSING}
    found = servers.registered(seen.primary[group], seen.behind)
    unseen = servers.declared(config, seen.primary, seen.behind, group) - found.keys()  # each may be one of the targets
    lost = unknown | _down_in(config, seen, group).keys()
    held = [target for server, targets in found.items() if server not in lost for target in targets]
    useless = [t for t in held if servers.gets_nothing(seen.switches, t) or servers.nobodys(t, seen.behind)]
    return len(held) - len(useless) + len(unseen - lost)


def few(config: Config, seen: Observed) -> Words | None:
    """Return why an outage is none: every target is healthy, and MinHealthyTargets wants more than are registered."""
    short = [group for group in seen.primary if _outage(config, seen, group)]
    if not short or down(seen) or not all(0 < healthy(seen, group) == len(seen.primary[group]) for group in short):
        return None
    return servers.too_few(config, {group: len(seen.primary[group]) for group in short})


def outage(config: Config, seen: Observed) -> Words | None:
    """Return why the primary cannot serve, for every group that cannot; None while all can, or while nobody knows."""
    found = {group: reason for group in seen.primary if (reason := _outage(config, seen, group))}
    if not found:
        return None
    if len(config.groups("primary")) == 1:
        return found[config.groups("primary")[0]]
    en = "; ".join(f"{group}: {reason.en}" for group, reason in found.items())
    return Words(en, "。".join(f"{group}: {reason.ja}" for group, reason in found.items()))


def _outage(config: Config, seen: Observed, group: str) -> Words | None:
    targets, least = seen.primary[group], config.min_healthy_targets
    if too_many_down(config, seen, group):
        states = sorted(_down_in(config, seen, group).items())
        named = ", ".join(f"{instance} is {state}" for instance, state in states)
        named_ja = "、".join(f"{instance} ({ec2.DOWN_JA.get(state, '停止または終了')})" for instance, state in states)
        if left := _left(config, seen, group):
            return Words(
                f"at most {left} of {len(targets)} primary targets can serve, needed {least}: {named}",
                f"応答できるプライマリターゲットは {len(targets)} 台中、多くても {left} 台です "
                f"(必要数 {least} 台): {named_ja}",
            )
        return Words(f"no primary target can serve: {named}", f"プライマリが応答できる状態にありません: {named_ja}")
    alarm = seen.alarms.get(group)
    count = healthy(seen, group)
    if count >= least or alarm is None or alarm.silent or alarm.state != "ALARM" or _not_checked(seen, group, targets):
        return None
    # In replace mode the alarm is in ALARM for as long as the group is in no listener: its age means nothing then.
    if (seen.switches.replaced or seen.now - alarm.since < INITIAL_PATIENCE) and any(
        target.state == "initial" for target in targets
    ):
        return None
    found = "; ".join(f"{target.id} {target.state} {target.reason}".strip() for target in targets) or "no targets"
    since = notify.at(alarm.since)
    return Words(
        f"{count} of {len(targets)} primary targets are healthy, needed {least} ({found}), "
        f"and the alarm {alarm.name} is in ALARM since {since.en}",
        f"正常なプライマリターゲットは {len(targets)} 台中 {count} 台です (必要数 {least} 台): {found}。"
        f"アラーム {alarm.name} は {since.ja} から ALARM 状態が続いています",
    )


def calls_nobody(seen: Observed, reason: Words) -> Words:
    """Return a reason to switch that only alarms give which somebody has silenced."""
    silent = [f"{alarm.name}: {alarm.silent}" for alarm in seen.alarms.values() if alarm.silent]
    named = ", ".join(dict.fromkeys(silent))
    return Words(
        f"{reason.en}; but nothing is switched for alarms that call nobody ({named})",
        f"{reason.of('ja')}。ただし、アクションが抑止されているアラーム ({named}) では切り替えません",
    )


def _not_checked(seen: Observed, group: str, targets: tuple[Target, ...]) -> bool:
    """Tell whether nobody checks the health of a group: its listener is on the sorry page, or was until just now."""
    if not any(group in listener.weights for listener in seen.switches.listeners):
        return True
    return all(target.state == "unused" for target in targets) and any(
        servers.just_attached(seen.switches, target) for target in targets
    )


def dead(seen: Observed, group: str) -> bool:
    """Tell whether it is known that no target of a sorry group can serve; of one that could not be read it is not."""
    attached = any(group in listener.weights for listener in seen.switches.listeners)
    return group in seen.sorry and elb.known_unhealthy(seen.sorry[group], attached)


def settled(config: Config, seen: Observed) -> bool:
    """Tell whether target health and instances show already that all listeners go to the sorry page."""
    return any(too_many_down(config, seen, group) for group in seen.primary) and not kept(config, seen)


def kept(config: Config, seen: Observed) -> dict[str, Words]:
    """Return the listeners that stay on the primary in an outage, each with the reason: the sorry page is no better.

    An empty sorry group replaces nobody, and one that is known to be dead only a primary that is known to be.  Whoever
    is well goes with the others where one of them gets a sorry page by that.
    """
    ill = {listener.arn for listener in seen.switches.listeners if in_outage(config, seen, listener.arn)}
    helped = any(not dead(seen, config.group("sorry", arn)) for arn in ill)
    return {
        arn: why
        for arn in due(config, seen.switches, "sorry")
        if (why := _no_better(config, seen, arn, helped=helped, ill=arn in ill))
    }


def in_outage(config: Config, seen: Observed, listener_arn: str) -> bool:
    """Tell whether the listener's own primary group is known to be in an outage."""
    group = config.group("primary", listener_arn)
    return group in seen.primary and _outage(config, seen, group) is not None


def _no_better(config: Config, seen: Observed, listener_arn: str, *, helped: bool, ill: bool) -> Words | None:
    """Return why the sorry page is no better for the visitors of a listener than its primary, or None."""
    name, group = config.names("sorry"), config.group("sorry", listener_arn)
    of, of_ja = (f" {group}", f" {group} ") if len(config.groups("sorry")) > 1 else ("", " ")
    if servers.staying(seen.sorry).get(group) == ():
        return Words(
            f"{name}{of} has no registered target: nobody would answer there either",
            f"{name}{of_ja}に登録済みのターゲットがなく、切り替えても応答できません",
        )
    if ill and not _serves(config, seen, listener_arn):
        return None
    if dead(seen, group):
        found = "; ".join(f"{target.id} {target.state} {target.reason}".strip() for target in seen.sorry[group])
        return Words(
            f"no target of {name}{of} can serve ({found}), and the primary is not known to be as dead",
            f"{name}{of_ja}に応答できるターゲットがなく ({found})、プライマリはまだ応答している可能性があります",
        )
    if not helped:
        return Words(
            "its own primary is well, and no other listener would get a sorry page by its switch",
            "自身のプライマリは正常で、切り替えても他のリスナーに sorry ページを表示できません",
        )
    return None


def _serves(config: Config, seen: Observed, listener_arn: str) -> bool:
    """Tell whether a target of the listener's own primary group, which was read, is healthy and not down."""
    group = config.group("primary", listener_arn)
    found = servers.registered(seen.primary[group], seen.behind)
    lost = _down_in(config, seen, group)
    return any(target.healthy for server in found.keys() - lost.keys() for target in found[server])
