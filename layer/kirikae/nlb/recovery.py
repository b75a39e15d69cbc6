"""Whether the primary is back: which targets are fit, by the evidence of the mode in force, and for how long."""

from collections.abc import Sequence

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
            servers_checked = sorted(checked(config, seen, group))
            found = _listed([_checks(seen, each) for each in servers_checked], Words("none known", "なし"))
            en = f"{count} primary targets{of} are on instances that pass their status checks ({found.en})"
            ja = f"ステータスチェックに合格したインスタンス上の{of_ja}プライマリターゲットは {count} 台 ({found.ja})"
        else:
            found = _listed([_target(seen, each) for each in targets], Words("no targets", "ターゲットなし"))
            en = f"{count} of {len(targets)} primary targets{of} are healthy ({found.en})"
            ja = f"{of_ja}プライマリターゲットは {len(targets)} 台中 {count} 台が正常 ({found.ja})"
        said.append(Words(en, ja))
    return Words("; ".join(words.en for words in said), "、".join(words.ja for words in said))


def _listed(found: Sequence[Words], none: Words) -> Words:
    return Words(*("; ".join(each.of(language) for each in found or [none]) for language in ("en", "ja")))


def _checks(seen: Observed, server: str) -> Words:
    """Return the status checks of a server, and that no traffic would reach it where that is so."""
    status = seen.statuses.get(server)
    found = f"{status.system}/{status.instance}/{status.application}" if status else ""
    outside = server in seen.outside
    return Words(
        f"{server} {found or 'no status checks'}{', in a zone that is not enabled' if outside else ''}",
        f"{server} {found or 'ステータスチェックなし'}{'、ゾーンが有効でない' if outside else ''}",
    )


def _target(seen: Observed, target: Target) -> Words:
    """Return the health of a target, and its instance's state where that adds something."""
    state = seen.instances.get(seen.behind.get(target.id, target.id), "")
    if state in ec2.DOWN:
        shown = f"{target.id} {target.state}"
        return Words(f"{shown}, but {state}", f"{shown}、ただし{ec2.DOWN_JA[state]}")
    return Words(f"{target.id} {target.override or target.state} {target.reason}".strip())


def why(config: Config, seen: Observed) -> Words:
    """Return the evidence, and what the alarms say of it, if they were asked."""
    said, minutes = [evidence(config, seen)], config.recovery_minutes
    if better(config, seen):
        said.insert(0, Words("no target of the sorry page can serve", "sorry ページのターゲットがすべて応答できません"))
    if seen.unread:
        said.append(Words(f"EC2 cannot be read: {seen.unread}", f"EC2 の情報を取得できません: {seen.unread}"))
    if names := ", ".join(f"{alarm.name} ({alarm.state})" for alarm in unsure(seen)):
        ja = f"RecoveryMinutes ({minutes} 分) 続いたことは未確認: アラーム {names}"
        said.append(Words(f"not known for RecoveryMinutes ({minutes}): alarm {names}", ja))
    elif asked := ", ".join(alarm.name for alarm in seen.recovery):
        ja = f"アラーム {asked} によると RecoveryMinutes ({minutes} 分) 続いています"
        said.append(Words(f"for RecoveryMinutes ({minutes}), says the alarm {asked}", ja))
    return Words("; ".join(words.en for words in said), "。".join(words.ja for words in said))


def staying(config: Config, seen: Observed, but: Words | None = None) -> Words:
    """Return that the sorry page stays, by this evidence, or though it shows enough servers."""
    said, (en, ja) = evidence(config, seen), but or ("", "")
    return Words(
        f"staying on the sorry page: {said.en}{f', but {en}' if en else ''}",
        f"sorry ページのままにします: {said.ja}{f'。ただし、{ja}' if ja else ''}",
    )


def unseen(seen: Observed) -> Words:
    """Return that nobody can see in replace mode whether the primary is back."""
    return Words(
        f"staying on the sorry page: in replace mode only EC2 tells whether the primary is back, and it cannot be "
        f"read: {seen.unread}; when you have seen that it serves, force the switchback",
        f"sorry ページのままにします: replace モードではプライマリの復旧を EC2 の情報でしか判断できませんが、"
        f"取得できません: {seen.unread}。復旧を確認できたら、切り戻し関数を force で実行してください",
    )


def for_how_long(seen: Observed) -> Words:
    """Return that nobody knows that the servers have been fit for long enough."""
    state = ", ".join(f"{alarm.name} is {alarm.state}" for alarm in unsure(seen)) or "its alarm was not asked"
    listed = "、".join(f"{alarm.name} は {alarm.state}" for alarm in unsure(seen)) or "アラームは未確認"
    return Words(f"not for long enough: {state}", f"継続時間がまだ十分ではありません: {listed}")


def too_often(config: Config, seen: Observed) -> Words:
    """Return that the listeners have moved as often as they may."""
    most, said = config.max_switches_per_hour, evidence(config, seen)
    return Words(
        f"staying on the sorry page after {most} switches to the sorry page within an hour: {said.en}",
        f"1 時間以内に sorry ページへ {most} 回切り替わったため、sorry ページのままにします: {said.ja}",
    )


def too_soon(config: Config, seen: Observed) -> Words | None:
    """Return why the way back may come too soon after the switch, or None.

    An alarm counts whole minutes, and an outage of less than two may have been in none of them.
    """
    if seen.known_seconds is None:
        unknown = Words(
            f"nobody knows whether they have begun to stop: {seen.unread}",
            f"停止処理が始まっていないか確認できません: {seen.unread}",
        )
        return unknown if seen.unread else None
    if seen.known_seconds >= 60 * config.recovery_minutes:
        return None
    seconds = f"{seen.known_seconds:.0f}"
    return Words(
        f"only {seconds} s since people were told of it, RecoveryMinutes is {config.recovery_minutes}",
        f"sorry ページの通知から {seconds} 秒しか経っていません (RecoveryMinutes は {config.recovery_minutes} 分)",
    )
