"""Whether the primary can serve: who is down, what target health says, and what the alarms say."""

from datetime import timedelta

from kirikae import ec2, notify
from kirikae.elb import Target
from kirikae.nlb import servers
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
    unknown = {instance for instance, state in (seen.instances or {}).items() if state == ec2.MISSING}
    gone = _down_in(config, seen, group)
    found = servers.registered(seen.primary[group], seen.behind)
    unseen = servers.declared(config, seen.primary, seen.behind, group) - found.keys()  # each may be one of the targets
    lost = unknown | gone.keys()
    held = [target for server, targets in found.items() if server not in lost for target in targets]
    useless = [t for t in held if servers.gets_nothing(seen.switches, t) or servers.nobodys(t, seen.behind)]
    return bool(gone) and len(held) - len(useless) + len(unseen - lost) < config.min_healthy_targets


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
    if too_many_down(config, seen, group):
        states = sorted(_down_in(config, seen, group).items())
        named = ", ".join(f"{instance} is {state}" for instance, state in states)
        named_ja = "、".join(f"{instance} ({ec2.DOWN_JA.get(state, '停止または終了')})" for instance, state in states)
        return Words(f"no primary target can serve: {named}", f"プライマリが応答できる状態にありません: {named_ja}")
    targets, alarm, least = seen.primary[group], seen.alarms.get(group), config.min_healthy_targets
    count = healthy(seen, group)
    if count >= least or alarm is None or alarm.state != "ALARM" or _not_checked(seen, group, targets):
        return None
    # In replace mode the alarm is in ALARM for as long as the group is in no listener: its age means nothing then.
    replaced = seen.switches.mode == "replace" or seen.switches.guessed
    if (replaced or seen.now - alarm.since < INITIAL_PATIENCE) and any(target.state == "initial" for target in targets):
        return None
    found = "; ".join(f"{target.id} {target.state} {target.reason}".strip() for target in targets) or "no targets"
    since = notify.at(alarm.since)
    return Words(
        f"{count} of {len(targets)} primary targets are healthy, needed {least} ({found}), "
        f"and the alarm {alarm.name} is in ALARM since {since.en}",
        f"正常なプライマリターゲットは {len(targets)} 台中 {count} 台です (必要数 {least} 台): {found}。"
        f"アラーム {alarm.name} は {since.ja} から ALARM 状態が続いています",
    )


def _not_checked(seen: Observed, group: str, targets: tuple[Target, ...]) -> bool:
    """Tell whether nobody checks the health of a group: its listener is on the sorry page, or was until just now."""
    if not any(group in listener.weights for listener in seen.switches.listeners):
        return True
    return all(target.state == "unused" for target in targets) and any(
        servers.just_attached(seen.switches, target) for target in targets
    )
