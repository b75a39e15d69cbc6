"""Whether the primary is back: which targets are fit, by the evidence of the mode in force, and for how long."""

from kirikae import ec2, elb
from kirikae.alarms import Alarm
from kirikae.elb import Target
from kirikae.nlb import servers
from kirikae.nlb.look import due
from kirikae.nlb.world.switchback import Config, Observed
from kirikae.notify import Words


def checked(config: Config, seen: Observed, group: str) -> set[str]:
    """Return the instances of a group whose status checks count: those registered, and those declared behind it."""
    primary = servers.staying(seen.primary)
    if not (found := servers.registered(primary[group], seen.behind)):
        return set()  # nobody would answer there
    known = {server for server in found if server.startswith("i-")}
    return known | servers.declared(config, primary, seen.behind, group)


def fit(config: Config, seen: Observed, group: str) -> int:
    """Count the targets of a group that can serve, by the best evidence that the mode in force has."""
    if seen.switches.mode == "replace":
        held = servers.registered(servers.staying(seen.primary)[group], seen.behind)
        ready = {
            server for server in checked(config, seen, group) & seen.statuses.keys() if seen.statuses[server].ready
        }
        # One that is declared and shown by no target is behind one of those of which nobody knows the instance.
        return sum(len(held.get(server, [server])) for server in ready - (held.keys() & set(seen.outside)))
    states = {target.id: seen.instances.get(seen.behind.get(target.id, target.id)) for target in seen.primary[group]}
    return sum(target.healthy and states[target.id] not in ec2.DOWN for target in seen.primary[group])


def enough(config: Config, seen: Observed) -> bool:
    """Tell whether every group has enough targets that can serve."""
    return all(fit(config, seen, group) >= config.min_healthy_targets for group in seen.primary)


def better(config: Config, seen: Observed) -> tuple[str, ...]:
    """Return the listeners whose sorry page is known to be dead while a target of their primary serves.

    In replace mode nobody knows: no health check runs on a primary that is in no listener.
    """
    if seen.switches.mode == "replace":
        return ()
    dead = {group for group, targets in seen.sorry.items() if elb.known_unhealthy(targets, attached=True)}
    return tuple(
        arn
        for arn in due(config, seen.switches, "primary")
        if config.group("sorry", arn) in dead and fit(config, seen, config.group("primary", arn))
    )


def few(config: Config, seen: Observed) -> Words | None:
    """Return why there is no way back though every target is fit: MinHealthyTargets wants more than are registered.

    None while some are on their way out: others may be on their way in, as when an Auto Scaling group replaces them.
    """
    short = {group: len(found) for group, found in seen.primary.items() if 0 < len(found) < config.min_healthy_targets}
    stuck = {group: count for group, count in short.items() if fit(config, seen, group) == count}
    return servers.too_few(config, stuck) if stuck else None


def unsure(seen: Observed) -> list[Alarm]:
    """Return the alarms that do not show enough fit targets for RecoveryMinutes."""
    shows = "ALARM" if seen.switches.mode == "replace" else "OK"
    return [alarm for alarm in seen.recovery if alarm.state != shows]


def evidence(config: Config, seen: Observed) -> Words:
    """Return how many targets are fit, by which evidence."""
    said = []
    for group, targets in seen.primary.items():
        of, of_ja = (f" of {group}", f"{group} の") if len(seen.primary) > 1 else ("", "")
        count = fit(config, seen, group)
        if seen.switches.mode == "replace":
            found = "; ".join(_checks(seen, server) for server in sorted(checked(config, seen, group)))
            en = f"{count} primary targets{of} are on instances that pass their status checks ({found or 'none known'})"
            ja = f"ステータスチェックに合格したインスタンス上の{of_ja}プライマリターゲットは {count} 台 ({found})"
            said.append(Words(en, ja))
        else:
            found = "; ".join(_target(seen, target) for target in targets) or "no targets"
            en = f"{count} of {len(targets)} primary targets{of} are healthy ({found})"
            said.append(Words(en, f"{of_ja}プライマリターゲットは {len(targets)} 台中 {count} 台が正常 ({found})"))
    return Words("; ".join(words.en for words in said), "、".join(words.ja for words in said))


def _checks(seen: Observed, server: str) -> str:
    """Return the status checks of a server, and that no traffic would reach it where that is so."""
    status = seen.statuses.get(server)
    found = f"{status.system}/{status.instance}/{status.application}" if status else "no status checks"
    return f"{server} {found}{', in a zone that is not enabled' if server in seen.outside else ''}"


def _target(seen: Observed, target: Target) -> str:
    """Return the health of a target, and its instance's state where that adds something."""
    if (state := seen.instances.get(seen.behind.get(target.id, target.id))) in ec2.DOWN:
        return f"{target.id} {target.state}, but {state}"
    return f"{target.id} {target.override or target.state} {target.reason}".strip()


def why(config: Config, seen: Observed) -> Words:
    """Return the evidence, and what the alarms say of it, if they were asked."""
    said, minutes = [evidence(config, seen)], config.recovery_minutes
    if better(config, seen):
        said.insert(0, Words("no target of the sorry page can serve", "sorry ページのターゲットがすべて応答できません"))
    if names := ", ".join(f"{alarm.name} ({alarm.state})" for alarm in unsure(seen)):
        ja = f"RecoveryMinutes ({minutes} 分) 続いたことは未確認: アラーム {names}"
        said.append(Words(f"not known for RecoveryMinutes ({minutes}): alarm {names}", ja))
    elif asked := ", ".join(alarm.name for alarm in seen.recovery):
        ja = f"アラーム {asked} によると RecoveryMinutes ({minutes} 分) 続いています"
        said.append(Words(f"for RecoveryMinutes ({minutes}), says the alarm {asked}", ja))
    return Words("; ".join(words.en for words in said), "。".join(words.ja for words in said))
