"""Send the NLB listeners to the sorry target group while the primary cannot serve.

One direction only: the way back is `functions/nlb_switchback`.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any, assert_never

from kirikae import alarms, clock, ec2, elb, env, listeners, notify, reconcile
from kirikae.decision import Decision, Result
from kirikae.events import Hint
from kirikae.log import logger
from kirikae.nlb.mail import refused, to_sorry
from kirikae.nlb.standing import found, standing
from kirikae.nlb.switch import adoption, due, hands_off, look, make
from kirikae.nlb.world import Adopt, Switch
from kirikae.nlb.world.switchover import Config, Observed
from kirikae.notify import Mail, Words
from kirikae.tell import Tells

# A target in its first health check is not known to be down; when the alarm has lasted this long, it is.
INITIAL_PATIENCE = timedelta(minutes=5)


def observe(config: Config, hint: Hint) -> Observed:
    """Read listeners and target health; ask EC2, then CloudWatch, only for what these do not show."""
    seen = Observed(clock.now(), look(config))
    if hands_off(config, seen.switches):
        return seen
    with env.naming("PrimaryTargetGroupArn", config.primary_target_group_arn):
        seen = replace(seen, primary=elb.target_health(config.primary_target_group_arn))
    with env.naming("SorryTargetGroupArn", config.sorry_target_group_arn):
        seen = replace(seen, sorry=elb.target_health(config.sorry_target_group_arn))
    if too_many_down(config, seen) or not due(config, seen.switches, "sorry"):
        return seen
    if asked := servers(config, seen):
        seen = replace(seen, instances=ec2.instance_states(asked, hint.stopped_instance))
    if not too_many_down(config, seen) and healthy(seen) < config.min_healthy_targets:
        seen = replace(seen, alarm=alarms.read(config.outage_alarm_name)[config.outage_alarm_name])
    return seen


def healthy(seen: Observed) -> int:
    """Count the healthy primary targets."""
    return sum(target.healthy for target in seen.primary)


def servers(config: Config, seen: Observed) -> tuple[str, ...]:
    """Return the instances behind the primary: those registered and those declared."""
    registered = {target.id for target in seen.primary if target.id.startswith("i-")}
    return tuple(sorted(registered | set(config.primary_instance_ids)))


def down(seen: Observed) -> dict[str, str]:
    """Return the instances known to be stopping, stopped or gone, with their state; health alone shows some of them."""
    told = {target.id: "stopped or gone" for target in seen.primary if target.reason == "Target.InvalidState"}
    return told | {instance: state for instance, state in (seen.instances or {}).items() if state in ec2.DOWN}


def too_many_down(config: Config, seen: Observed) -> bool:
    """Tell whether too few servers are left up, whatever their health checks still say."""
    unknown = {instance for instance, state in (seen.instances or {}).items() if state == ec2.MISSING}
    up = {*(target.id for target in seen.primary), *config.primary_instance_ids} - unknown - down(seen).keys()
    return bool(down(seen)) and len(up) < config.min_healthy_targets


def outage(config: Config, seen: Observed) -> Words | None:
    """Return why the primary cannot serve; None while it can, or while nobody knows."""
    if too_many_down(config, seen):
        states = sorted(down(seen).items())
        named = ", ".join(f"{instance} is {state}" for instance, state in states)
        named_ja = "、".join(f"{instance} ({ec2.DOWN_JA.get(state, '停止または終了')})" for instance, state in states)
        return Words(f"no primary target can serve: {named}", f"プライマリが応答できる状態にありません: {named_ja}")
    count, total, least = healthy(seen), len(seen.primary), config.min_healthy_targets
    if count >= least or seen.alarm is None or seen.alarm.state != "ALARM":
        return None
    # In replace mode the alarm is in ALARM for as long as the group is in no listener: its age means nothing then.
    patient = seen.switches.mode == "replace" or seen.now - seen.alarm.since < INITIAL_PATIENCE
    if patient and any(target.state == "initial" for target in seen.primary):
        return None
    found = "; ".join(f"{target.id} {target.state} {target.reason}".strip() for target in seen.primary) or "no targets"
    since = notify.at(seen.alarm.since)
    return Words(
        f"{count} of {total} primary targets are healthy, needed {least} ({found}), "
        f"and the alarm {seen.alarm.name} is in ALARM since {since.en}",
        f"正常なプライマリターゲットは {total} 台中 {count} 台です (必要数 {least} 台): {found}。"
        f"アラーム {seen.alarm.name} は {since.ja} から ALARM 状態が続いています",
    )


def decide(config: Config, seen: Observed) -> Decision[Switch | Adopt]:
    """Switch when the primary cannot serve and a sorry page is there; else attach both groups, or do nothing."""
    if reason := hands_off(config, seen.switches):
        return Decision(reason, refused=True)
    to_switch = due(config, seen.switches, "sorry")
    reason = outage(config, seen) if to_switch else None
    if reason and not seen.sorry:
        nobody = "but SorryTargetGroupArn has no registered target: nobody would answer there either"
        return Decision(Words(f"{reason.en}; {nobody}"), refused=True, urgent=True)
    known = len(servers(config, seen))
    if reason and config.primary_instance_ids and known < config.min_healthy_targets and not down(seen):
        few = f"but only {known} servers are known; lower it or register more"
        return Decision(Words(f"MinHealthyTargets is {config.min_healthy_targets}, {few}"), refused=True, urgent=True)
    if reason:
        return Decision(reason, Switch("sorry", to_switch), urgent=True, counts="SwitchedToSorry")
    if missing := [instance for instance, state in (seen.instances or {}).items() if state == ec2.MISSING]:
        expected = "which EC2 does not know; expected instances of this account and region"
        return Decision(Words(f"PrimaryInstanceIds names {', '.join(missing)}, {expected}"), refused=True)
    lasting: tuple[str, ...] = ("SorryUnhealthy",) if elb.known_unhealthy(seen.sorry) else ()
    if not to_switch:
        lasting = ("OnSorryPage", *lasting)
    calm, adopt = _no_outage(config, seen), adoption(config, seen.switches)
    if adopt:
        calm = Words(f"attaching both groups to the listeners without moving their traffic; {calm.en}")
    return Decision(calm, adopt, lasting=lasting)


def _no_outage(config: Config, seen: Observed) -> Words:
    """Return why nothing is switched."""
    if not due(config, seen.switches, "sorry"):
        return Words("every listener is on the sorry page already")
    count = f"{healthy(seen)} of {len(seen.primary)} primary targets are healthy"
    if healthy(seen) >= config.min_healthy_targets or seen.alarm is None:
        return Words(count)
    alarm = f"{seen.alarm.name} is {seen.alarm.state} since {seen.alarm.since}"
    return Words(f"{count}, not known to be an outage: {alarm}")


def act(config: Config, seen: Observed, change: Switch | Adopt) -> str:
    """Make the change on every listener; return the mode it was made in."""
    return make(config, seen.switches, change)


def mail(config: Config, seen: Observed, result: Result[Switch | Adopt, str]) -> Mail | None:
    """Return the mail of a switch; an adoption is only logged, unless AWS refused it."""
    match result.change:
        case Adopt():
            return refused(config, result.done)
        case Switch():
            return to_sorry(config, seen.switches, seen.sorry, result)
        case _:
            assert_never(result.change)


TELLS: Tells[Config, Observed, Switch | Adopt, str] = Tells(standing, found, outages=True)

reconcile.warm_up(
    Config,
    lambda config: listeners.read(config.nlb_listener_arns),
    lambda config: ec2.instance_states(config.primary_instance_ids),
)


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Reconcile the listeners with the primary's state, whatever the event says."""
    return reconcile.reconcile(event, Config, observe, decide, act, mail, tells=TELLS)
