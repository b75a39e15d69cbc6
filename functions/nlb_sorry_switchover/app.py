"""Send the NLB listeners to the sorry target group while the primary cannot serve.

One direction only: the way back is `functions/nlb_switchback`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from kirikae import alarms, ec2, elb, env, notify, reconcile
from kirikae.alarms import Alarm
from kirikae.elb import Target
from kirikae.events import Hint
from kirikae.nlb import mail, switch
from kirikae.notify import Mail, Words
from kirikae.reconcile import Decision, Times

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

# A target in its first health check is not known to be down; when the alarm has lasted this long, it is.
INITIAL_PATIENCE = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class Config(switch.Config):
    """What this function is told besides what both directions are."""

    outage_alarm_name: str


@dataclass(frozen=True)
class Observed:
    """The world as far as the decision needs it."""

    now: datetime
    switches: switch.Switches
    primary: tuple[Target, ...] = ()
    sorry: tuple[Target, ...] = ()
    instances: Mapping[str, str] | None = None  # id -> state; None: not asked, because the rest already tells
    alarm: Alarm | None = None  # likewise


def observe(config: Config, hint: Hint) -> Observed:
    """Read listeners and target health; ask EC2, and CloudWatch after it, only for what these do not already tell."""
    seen = Observed(reconcile.now(), switch.observe(config))
    if switch.hands_off(config, seen.switches):
        return seen
    with env.naming("PrimaryTargetGroupArn", config.primary_target_group_arn):
        seen = replace(seen, primary=elb.target_health(config.primary_target_group_arn))
    with env.naming("SorryTargetGroupArn", config.sorry_target_group_arn):
        seen = replace(seen, sorry=elb.target_health(config.sorry_target_group_arn))
    if too_many_down(config, seen) or not switch.due(config, seen.switches, "sorry"):
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
    """Return the instances known to be stopping, stopped or gone, with their state; health alone tells some of them."""
    told = {target.id: "stopped or gone" for target in seen.primary if target.reason == "Target.InvalidState"}
    return told | {instance: state for instance, state in (seen.instances or {}).items() if state in ec2.DOWN}


def too_many_down(config: Config, seen: Observed) -> bool:
    """Tell whether too few servers are left up, whatever their health checks still say."""
    unknown = {instance for instance, state in (seen.instances or {}).items() if state == ec2.MISSING}
    up = {*(target.id for target in seen.primary), *config.primary_instance_ids} - unknown - down(seen).keys()
    return bool(down(seen)) and len(up) < config.min_healthy_targets


def outage(config: Config, seen: Observed) -> Words | None:
    """Say why the primary cannot serve; nothing while it can, or while nobody knows."""
    if too_many_down(config, seen):
        states = sorted(down(seen).items())
        named = ", ".join(f"{instance} is {state}" for instance, state in states)
        named_ja = "、".join(f"{instance} ({ec2.DOWN_JA.get(state, '停止または終了')})" for instance, state in states)
        return Words(f"no primary target can serve: {named}", f"プライマリが応答できる状態にありません: {named_ja}")
    count, total, least = healthy(seen), len(seen.primary), config.min_healthy_targets
    if count >= least or seen.alarm is None or seen.alarm.state != "ALARM":
        return None
    # In replace mode the alarm is in ALARM for as long as the group was in no listener: its age says nothing then.
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


def decide(config: Config, seen: Observed) -> Decision:
    """Switch when the primary cannot serve and there is somebody to say sorry; else attach both groups, or nothing."""
    if reason := switch.hands_off(config, seen.switches):
        return Decision(reason, refused=True)
    listeners = switch.due(config, seen.switches, "sorry")
    reason = outage(config, seen) if listeners else None
    if reason and not seen.sorry:
        nobody = "but SorryTargetGroupArn has no registered target: nobody would answer there either"
        return Decision(Words(f"{reason.en}; {nobody}"), refused=True)
    known = len(servers(config, seen))
    if reason and config.primary_instance_ids and known < config.min_healthy_targets and not down(seen):
        few = f"but the primary group and PrimaryInstanceIds name only {known}; expected no more than that"
        return Decision(Words(f"MinHealthyTargets is {config.min_healthy_targets}, {few}"), refused=True)
    if reason:
        return Decision(reason, {"to": "sorry", "listeners": listeners}, counts="SwitchedToSorry")
    if missing := [instance for instance, state in (seen.instances or {}).items() if state == ec2.MISSING]:
        expected = "which EC2 does not know; expected instances of this account and region"
        return Decision(Words(f"PrimaryInstanceIds names {', '.join(missing)}, {expected}"), refused=True)
    lasting: tuple[str, ...] = ("SorryUnhealthy",) if elb.known_unhealthy(seen.sorry) else ()
    if not listeners:
        lasting = ("OnSorryPage", *lasting)
    calm, adopt = _calm(config, seen), switch.adoption(config, seen.switches)
    if adopt:
        calm = Words(f"attaching both groups to the listeners without moving their traffic; {calm.en}")
    return Decision(calm, adopt, lasting=lasting)


def _calm(config: Config, seen: Observed) -> Words:
    """Say why nothing is switched."""
    if not switch.due(config, seen.switches, "sorry"):
        return Words("every listener is on the sorry page already")
    count = f"{healthy(seen)} of {len(seen.primary)} primary targets are healthy"
    if healthy(seen) >= config.min_healthy_targets or seen.alarm is None:
        return Words(count)
    return Words(
        f"{count}, not known to be an outage: {seen.alarm.name} is {seen.alarm.state} since {seen.alarm.since}"
    )


def act(config: Config, seen: Observed, change: Mapping[str, Any]) -> str:
    """Make the change on every listener; return the mode it was made in."""
    return switch.act(config, seen.switches, change)


def tell(config: Config, seen: Observed, decision: Decision, mode: str, times: Times) -> Mail | None:
    """Write the mail of a switch; an adoption is only logged, unless AWS refused it."""
    if "adopt" in (decision.change or {}):
        return mail.refused_mail(config, mode)
    path = mail.sorry_path(seen.sorry)
    return Mail(
        notify.subject(config.service_name, "sorry page ON, the primary cannot serve"),
        (
            (notify.HAPPENED, mail.switched(seen.switches, "sorry", mode)),
            (notify.WHY, decision.reason),
            (notify.WHEN, reconcile.since(times)),
            (
                notify.CHECK,
                Words(
                    f"{path.en}\nThe primary: instance state, system log, application log. The listeners go back by "
                    f"themselves when the primary is healthy again, unless AutoSwitchback is false.",
                    f"{path.ja}\nプライマリのインスタンス状態、システムログ、アプリケーションログを確認してください。"
                    f"プライマリが正常に戻れば自動で切り戻します (AutoSwitchback=false の場合を除く)。",
                ),
            ),
            (notify.UNDO, mail.undo(config, seen.switches, "primary", mode, times)),
        ),
    )


switch.prime(Config, lambda config: ec2.instance_states(config.primary_instance_ids))


@reconcile.logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Reconcile the listeners with the primary's state, whatever the event says."""
    return reconcile.reconcile(event, Config, observe, decide, act, tell)
