"""Send the NLB listeners back to the primary target group when it has been able to serve for long enough.

One direction only: the way out is `functions/nlb_sorry_switchover`.  `running` alone is never a reason: in weighted
mode the primary's own health checks and the recovery alarm decide; in replace mode, where a group without traffic is
not health-checked, the instances' status checks and an alarm on them.
"""

from dataclasses import replace
from typing import Any

from kirikae import alarms, checks, ec2, elb, env, listeners, reconcile
from kirikae.alarms import Alarm
from kirikae.decision import Decision, Result
from kirikae.elb import Target
from kirikae.events import Hint
from kirikae.log import logger
from kirikae.nlb import servers
from kirikae.nlb.look import due, look
from kirikae.nlb.mail import to_primary
from kirikae.nlb.parameters import hands_off
from kirikae.nlb.standing import found, known_seconds, standing
from kirikae.nlb.switch import make
from kirikae.nlb.world import Done, Switch, by_group
from kirikae.nlb.world.switchback import Config, Observed
from kirikae.notify import Mail, Words
from kirikae.tell import Tells


def observe(config: Config, hint: Hint) -> Observed:
    """Read the listeners; while one is on the sorry page, also the evidence that the primary is back.

    What only lets us refuse earlier than AWS would does not stand in the way of a due switch.
    """
    missed: list[Exception] = []
    seen = Observed(look(config, missed))
    if hands_off(config, seen.switches):
        return seen
    if due(config, seen.switches, "primary"):
        for group in dict.fromkeys(config.groups("primary")):
            with env.naming(config.names("primary"), group):
                seen = replace(seen, primary={**seen.primary, group: elb.target_health(group)})
        seen = _evidence_of_mode(config, seen)
        if enough(config, seen):
            seen = _alarms(config, seen)
        if decide(config, seen).change:
            seen = replace(seen, known_seconds=known_seconds(config.told_parameter))
    if missed and decide(config, seen).change is None:
        raise missed[0]
    return seen


def _evidence_of_mode(config: Config, seen: Observed) -> Observed:
    """Ask EC2 for the status checks in replace mode; in weighted mode whether healthy instances have begun to stop."""
    if seen.switches.mode == "replace":
        seen = replace(seen, behind=servers.behind(config, seen.primary))
        asked = sorted({server for group in seen.primary for server in _checked(config, seen, group)})
        running = [instance for instance, state in ec2.instance_states(asked).items() if state == "running"]
        return replace(seen, statuses={status.instance_id: status for status in checks.instance_statuses(running)})
    if not enough(config, seen):
        return seen
    # An instance that has begun to stop passes its health checks until its application ends, and the recovery alarm
    # is still OK from before: without this look a switch would be taken back while the servers go down.
    seen = replace(seen, behind=servers.behind(config, seen.primary))
    healthy = {seen.behind.get(t.id, t.id) for targets in seen.primary.values() for t in targets if t.healthy}
    return replace(seen, instances=ec2.instance_states(sorted(server for server in healthy if server.startswith("i-"))))


def _alarms(config: Config, seen: Observed) -> Observed:
    """Ask CloudWatch for how long the primary has been back, and how often the listeners have moved."""
    replaced = seen.switches.mode == "replace"
    names = [config.ready_alarm_name] if replaced else [*by_group(config, config.recovery_alarm_name).values()]
    found = alarms.read(*names, config.flapping_alarm_name, removed_by="'NlbListenerArns=\"\"'")
    return replace(seen, recovery=tuple(found[name] for name in names), flapping=found[config.flapping_alarm_name])


def _checked(config: Config, seen: Observed, group: str) -> set[str]:
    """Return the instances of a group whose status checks count: those declared, else those registered; no others."""
    primary = servers.staying(seen.primary)
    if not (found := servers.registered(primary[group], seen.behind)):
        return set()  # nobody would answer there
    declared = servers.declared(config, primary, seen.behind, group)
    return declared or {server for server in found if server.startswith("i-")}


def fit(config: Config, seen: Observed, group: str) -> int:
    """Count the targets of a group that can serve, by the best evidence that the mode in force has."""
    if seen.switches.mode == "replace":
        held = servers.registered(servers.staying(seen.primary)[group], seen.behind)
        checked = _checked(config, seen, group) & seen.statuses.keys()
        # One that is declared and shown by no target is behind one of those of which nobody knows the instance.
        return sum(len(held.get(server, [server])) for server in checked if seen.statuses[server].ready)
    states = {target.id: seen.instances.get(seen.behind.get(target.id, target.id)) for target in seen.primary[group]}
    return sum(target.healthy and states[target.id] not in ec2.DOWN for target in seen.primary[group])


def enough(config: Config, seen: Observed) -> bool:
    """Tell whether every group has enough targets that can serve."""
    return all(fit(config, seen, group) >= config.min_healthy_targets for group in seen.primary)


def decide(config: Config, seen: Observed) -> Decision[Switch]:
    """Go back when enough servers have been fit for long enough and nothing asks for a person."""
    if reason := hands_off(config, seen.switches):
        return Decision(reason, refused=True)
    to_switch = due(config, seen.switches, "primary")
    if not to_switch:
        return Decision(Words("every listener is on the primary"))
    evidence, back = _evidence(config, seen), Switch("primary", to_switch)
    replaced = seen.switches.mode == "replace"
    lost = servers.no_way_back(config, seen.primary, seen.behind) if replaced else None
    if no_way := servers.not_counted(config, seen.primary) or lost:
        return Decision(no_way, refused=True, forced=back, counts="SwitchedToPrimary")
    if not enough(config, seen):
        return Decision(Words(f"staying on the sorry page: {evidence.en}"))
    # In replace mode every run that finds enough servers raises a metric, and an alarm on it counts the minutes.
    ready = ("PrimaryReady",) if replaced else ()
    waiting = _waiting(seen)
    if waiting or not seen.recovery:
        state = ", ".join(f"{alarm.name} is {alarm.state}" for alarm in waiting) or "its alarm was not asked"
        patient = f"staying on the sorry page: {evidence.en}, but not for long enough: {state}"
        return Decision(Words(patient), lasting=ready)
    if seen.flapping is None or seen.flapping.state == "ALARM":
        often = f"{config.max_switches_per_hour} switches to the sorry page within an hour"
        return Decision(
            Words(f"staying on the sorry page after {often}: {evidence.en}"),
            refused=True,
            forced=back,
            counts="SwitchedToPrimary",
            lasting=ready,
        )
    if not config.auto_switchback:
        ask = f"AutoSwitchback is false and the primary is ready: {evidence.en}"
        return Decision(Words(ask), forced=back, counts="SwitchedToPrimary", lasting=("WaitingForPerson", *ready))
    # An alarm counts whole minutes, and an outage of less than two may have been in none of them.
    if seen.known_seconds is not None and seen.known_seconds < 60 * config.recovery_minutes:
        soon = f"it is {seen.known_seconds:.0f} s since people were told that it is on"
        waits = f"staying on the sorry page: {evidence.en}, but {soon} (RecoveryMinutes: {config.recovery_minutes})"
        return Decision(Words(waits), forced=back, counts="SwitchedToPrimary", lasting=ready)
    return Decision(evidence, back, counts="SwitchedToPrimary", lasting=ready)


def _waiting(seen: Observed) -> list[Alarm]:
    """Return the alarms that do not show enough fit targets for RecoveryMinutes."""
    shows = "ALARM" if seen.switches.mode == "replace" else "OK"
    return [alarm for alarm in seen.recovery if alarm.state != shows]


def _evidence(config: Config, seen: Observed) -> Words:
    """Return how many targets are fit, by which evidence."""
    said = []
    for group, targets in seen.primary.items():
        of, of_ja = (f" of {group}", f"{group} の") if len(seen.primary) > 1 else ("", "")
        count = fit(config, seen, group)
        if seen.switches.mode == "replace":
            checks = [seen.statuses[server] for server in sorted(_checked(config, seen, group) & seen.statuses.keys())]
            found = "; ".join(f"{s.instance_id} {s.system}/{s.instance}/{s.application}" for s in checks)
            en = f"{count} primary targets{of} are on instances that pass their status checks ({found or 'none known'})"
            ja = f"ステータスチェックに合格したインスタンス上の{of_ja}プライマリターゲットは {count} 台 ({found})"
            said.append(Words(en, ja))
        else:
            found = "; ".join(_target(seen, target) for target in targets) or "no targets"
            en = f"{count} of {len(targets)} primary targets{of} are healthy ({found})"
            said.append(Words(en, f"{of_ja}プライマリターゲットは {len(targets)} 台中 {count} 台が正常 ({found})"))
    return Words("; ".join(words.en for words in said), "、".join(words.ja for words in said))


def _target(seen: Observed, target: Target) -> str:
    """Return the health of a target, and its instance's state where that adds something."""
    if (state := seen.instances.get(seen.behind.get(target.id, target.id))) in ec2.DOWN:
        return f"{target.id} {target.state}, but {state}"
    return f"{target.id} {target.override or target.state} {target.reason}".strip()


def act(config: Config, seen: Observed, change: Switch) -> Done:
    """Make the change on every listener."""
    return make(config, seen.switches, change)


def mail(config: Config, seen: Observed, result: Result[Switch, Done]) -> Mail:
    """Return the mail of a switch back."""
    return to_primary(config, seen.switches, _why(config, seen), result)


def _why(config: Config, seen: Observed) -> Words:
    """Return the evidence, and what the alarms say of it, if they were asked."""
    said, minutes = [_evidence(config, seen)], config.recovery_minutes
    if waiting := ", ".join(f"{alarm.name} ({alarm.state})" for alarm in _waiting(seen)):
        ja = f"RecoveryMinutes ({minutes} 分) 続いたことは未確認: アラーム {waiting}"
        said.append(Words(f"not known for RecoveryMinutes ({minutes}): alarm {waiting}", ja))
    elif asked := ", ".join(alarm.name for alarm in seen.recovery):
        ja = f"アラーム {asked} によると RecoveryMinutes ({minutes} 分) 続いています"
        said.append(Words(f"for RecoveryMinutes ({minutes}), says the alarm {asked}", ja))
    return Words("; ".join(words.en for words in said), "。".join(words.ja for words in said))


TELLS: Tells[Config, Observed, Switch, Done] = Tells(standing, found)

reconcile.warm_up(
    Config,
    lambda config: listeners.read(config.nlb_listener_arns),
    lambda config: ec2.instance_states(config.primary_instance_ids),
    lambda config: alarms.read(config.recovery_alarm_name, removed_by="'NlbListenerArns=\"\"'"),
)


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Reconcile the listeners with the primary's recovery, whatever the event says."""
    return reconcile.reconcile(event, Config, observe, decide, act, mail, tells=TELLS)
