"""Send the NLB listeners back to the primary target group when it has been able to serve for long enough.

One direction only: the way out is `functions/nlb_sorry_switchover`.  `running` alone is never a reason: in weighted
mode the primary's own health checks and the recovery alarm decide; in replace mode, where a group without traffic is
not health-checked, the instances' status checks and an alarm on them.
"""

from dataclasses import replace
from typing import Any

from kirikae import alarms, ec2, elb, env, listeners, reconcile
from kirikae.decision import Decision, Result
from kirikae.elb import Target
from kirikae.events import Hint
from kirikae.log import logger
from kirikae.nlb.mail import to_primary
from kirikae.nlb.standing import found, standing
from kirikae.nlb.switch import due, hands_off, look, make
from kirikae.nlb.world import Switch
from kirikae.nlb.world.switchback import Config, Observed
from kirikae.notify import Mail, Words
from kirikae.tell import Tells


def observe(config: Config, hint: Hint) -> Observed:
    """Read the listeners; while one is on the sorry page, also the evidence that the primary is back."""
    seen = Observed(look(config))
    if hands_off(config, seen.switches) or not due(config, seen.switches, "primary"):
        return seen
    with env.naming("PrimaryTargetGroupArn", config.primary_target_group_arn):
        seen = replace(seen, primary=elb.target_health(config.primary_target_group_arn))
    if seen.switches.mode == "replace":
        declared = config.primary_instance_ids or tuple(target.id for target in seen.primary)
        states = ec2.instance_states(declared)
        running = [instance for instance, state in states.items() if state == "running"]
        seen = replace(seen, statuses=ec2.instance_statuses(running))
    elif fit(seen) >= config.min_healthy_targets:
        # An instance that has begun to stop passes its health checks until its application ends, and the recovery alarm
        # is still OK from before: without this look a switch would be taken back while the servers go down.
        healthy = [target.id for target in seen.primary if target.healthy and target.id.startswith("i-")]
        seen = replace(seen, instances=ec2.instance_states(healthy))
    if fit(seen) < config.min_healthy_targets:
        return seen
    name = config.ready_alarm_name if seen.switches.mode == "replace" else config.recovery_alarm_name
    found = alarms.read(name, config.flapping_alarm_name)
    return replace(seen, recovery=found[name], flapping=found[config.flapping_alarm_name])


def fit(seen: Observed) -> int:
    """Count the primary servers that can serve, by the best evidence that the mode in force has."""
    if seen.switches.mode == "replace":
        return sum(status.ready for status in seen.statuses)
    return sum(target.healthy and seen.instances.get(target.id) not in ec2.DOWN for target in seen.primary)


def decide(config: Config, seen: Observed) -> Decision[Switch]:
    """Go back when enough servers have been fit for long enough and nothing asks for a person."""
    if reason := hands_off(config, seen.switches):
        return Decision(reason, refused=True)
    to_switch = due(config, seen.switches, "primary")
    if not to_switch:
        return Decision(Words("every listener is on the primary"))
    evidence = _evidence(config, seen)
    if fit(seen) < config.min_healthy_targets:
        return Decision(Words(f"staying on the sorry page: {evidence.en}"))
    # In replace mode every run that finds enough servers raises a metric, and an alarm on it counts the minutes.
    ready = ("PrimaryReady",) if seen.switches.mode == "replace" else ()
    if seen.recovery is None or seen.recovery.state != ("ALARM" if ready else "OK"):
        state = f"{seen.recovery.name} is {seen.recovery.state}" if seen.recovery else "its alarm was not asked"
        waiting = f"staying on the sorry page: {evidence.en}, but not for long enough: {state}"
        return Decision(Words(waiting), lasting=ready)
    back = Switch("primary", to_switch)
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
        waiting = f"AutoSwitchback is false and the primary is ready: {evidence.en}"
        return Decision(Words(waiting), forced=back, counts="SwitchedToPrimary", lasting=("WaitingForPerson", *ready))
    return Decision(evidence, back, counts="SwitchedToPrimary", lasting=ready)


def _evidence(config: Config, seen: Observed) -> Words:
    """Return how many servers are fit, by which evidence."""
    if seen.switches.mode == "replace":
        found = "; ".join(f"{s.instance_id} {s.system}/{s.instance}/{s.application}" for s in seen.statuses)
        return Words(
            f"{fit(seen)} primary instances pass their status checks ({found or 'none runs'})",
            f"プライマリの {fit(seen)} 台がステータスチェックに合格 ({found})",
        )
    found = "; ".join(_target(seen, target) for target in seen.primary) or "no targets"
    return Words(
        f"{fit(seen)} of {len(seen.primary)} primary targets are healthy ({found})",
        f"プライマリターゲットは {len(seen.primary)} 台中 {fit(seen)} 台が正常 ({found})",
    )


def _target(seen: Observed, target: Target) -> str:
    """Return the health of a target, and its instance's state where that adds something."""
    if (state := seen.instances.get(target.id)) in ec2.DOWN:
        return f"{target.id} {target.state}, but {state}"
    return f"{target.id} {target.state} {target.reason}".strip()


def act(config: Config, seen: Observed, change: Switch) -> str:
    """Make the change on every listener; return the mode it was made in."""
    return make(config, seen.switches, change)


def mail(config: Config, seen: Observed, result: Result[Switch, str]) -> Mail:
    """Return the mail of a switch back."""
    alarm = seen.recovery.name if seen.recovery else ""
    return to_primary(config, seen.switches, _evidence(config, seen), alarm, result)


TELLS: Tells[Config, Observed, Switch, str] = Tells(standing, found)

reconcile.warm_up(
    Config,
    lambda config: listeners.read(config.nlb_listener_arns),
    lambda config: ec2.instance_states(config.primary_instance_ids),
    lambda config: alarms.read(config.recovery_alarm_name),
)


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Reconcile the listeners with the primary's recovery, whatever the event says."""
    return reconcile.reconcile(event, Config, observe, decide, act, mail, tells=TELLS)
