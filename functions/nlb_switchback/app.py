"""Send the NLB listeners back to the primary target group when it has been able to serve for long enough.

One direction only: the way out is `functions/nlb_sorry_switchover`.  `running` alone is never a reason: in weighted
mode the primary's own health checks and the recovery alarm decide; in replace mode, where a group without traffic is
not health-checked, the instances' status checks and an alarm on them.
"""

from dataclasses import replace
from typing import Any

from kirikae import alarms, checks, ec2, elb, env, listeners, reconcile
from kirikae.decision import Decision, Result
from kirikae.events import Hint
from kirikae.log import logger
from kirikae.nlb import left, servers
from kirikae.nlb.look import due, later, look
from kirikae.nlb.mail import to_primary
from kirikae.nlb.parameters import gone, hands_off, obstacles
from kirikae.nlb.recovery import (
    better,
    checked,
    enough,
    evidence,
    few,
    for_how_long,
    staying,
    too_often,
    too_soon,
    unseen,
    unsure,
    why,
)
from kirikae.nlb.standing import COUNTS, found, known_seconds, standing
from kirikae.nlb.switch import make
from kirikae.nlb.world import Done, Switch, by_group, used
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
        for group in used(config, seen.switches, "primary"):
            with env.naming(config.names("primary"), group):
                seen = replace(seen, primary={**seen.primary, group: elb.target_health(group)})
        seen = _evidence_of_mode(config, seen, missed)
        if enough(config, seen):
            seen = _alarms(config, seen, hint)
        if decide(config, replace(seen, unread="")).change:
            seen = replace(seen, known_seconds=known_seconds(config.told_parameter))
    if not (decided := decide(config, seen)).change:
        seen = _page(config, seen)
        decided = decide(config, seen)
    if missed and not (decided.change or decided.forced or decided.lasting):  # else a switch comes, or may be forced
        raise missed[0]
    return seen


def _evidence_of_mode(config: Config, seen: Observed, missed: list[Exception]) -> Observed:
    """Ask EC2 for the status checks in replace mode; in weighted mode whether healthy instances have begun to stop."""
    unread, found = list[Exception](), seen
    with later(unread):
        if seen.switches.mode == "replace":
            found = _by_checks(config, seen, missed)
        elif enough(config, seen):
            found = _stopping(seen)
    return replace(found, unread="; ".join(map(str, unread)))


def _by_checks(config: Config, seen: Observed, missed: list[Exception]) -> Observed:
    """Ask for the status checks of what runs: a group that is in no listener is `unused`, which tells nothing."""
    seen = replace(seen, behind=servers.behind(seen.primary))
    asked = sorted({server for group in seen.primary for server in checked(config, seen, group)})
    running = [instance for instance in ec2.instances(asked) if instance.state == "running"]
    found = checks.instance_statuses(instance.id for instance in running)
    seen = replace(seen, statuses={status.instance_id: status for status in found})
    if not enough(config, seen):
        return seen
    zones = frozenset[str]()
    with later(missed):  # no health tells where a target is while its group is in no listener
        zones = elb.zones(seen.switches.listeners[0].load_balancer_arn)
    return replace(seen, outside=tuple(instance.id for instance in running if zones and instance.zone not in zones))


def _stopping(seen: Observed) -> Observed:
    """Ask EC2 for the instances behind healthy targets.

    One that has begun to stop passes its health checks until its application ends, and the recovery alarm is still OK
    from before: without this look a switch would be taken back while the servers go down.
    """
    seen = replace(seen, behind=servers.behind(seen.primary))
    healthy = {seen.behind.get(t.id, t.id) for targets in seen.primary.values() for t in targets if t.healthy}
    return replace(seen, instances=ec2.instance_states(sorted(each for each in healthy if each.startswith("i-"))))


def _page(config: Config, seen: Observed) -> Observed:
    """Read whether the page that visitors get is dead, while nothing else says to go back; unread it is not."""
    if seen.primary and seen.switches.mode == "weighted":
        with later([]):
            groups = used(config, seen.switches, "sorry")
            page = replace(seen, sorry={group: elb.target_health(group) for group in groups})
            return _stopping(page) if better(config, page) else seen
    return seen


def _alarms(config: Config, seen: Observed, hint: Hint) -> Observed:
    """Ask CloudWatch for how long the primary has been back, and how often the listeners have moved."""
    replaced = seen.switches.mode == "replace"
    recovery = by_group(config, config.recovery_alarm_name)
    names = [config.ready_alarm_name] if replaced else [recovery[group] for group in seen.primary]
    found = alarms.read(*names, config.flapping_alarm_name, removed_by="'NlbListenerArns=\"\"'", hint=hint)
    return replace(seen, recovery=tuple(found[name] for name in names), flapping=found[config.flapping_alarm_name])


def decide(config: Config, seen: Observed) -> Decision[Switch]:
    """Go back when enough servers have been fit for long enough and nothing asks for a person."""
    if reason := hands_off(config, seen.switches):
        return Decision(reason, refused=True, odd=obstacles(config, seen.switches))
    to_switch = due(config, seen.switches, "primary")
    if not to_switch:
        lost = gone(seen.switches)
        on = Words("every listener is on the primary", "すべてのリスナーがプライマリに転送しています")
        return Decision(lost or on, refused=bool(lost), about="gone")
    back, replaced = Switch("primary", to_switch), seen.switches.mode == "replace"
    if replaced and seen.unread:  # where nothing can tell, the word of a person is the evidence
        blind = unseen(seen)
        return Decision(blind, forced=back, counts="SwitchedToPrimary", unread=blind.en)
    if served := better(config, seen):
        return _from_a_dead_page(config, evidence(config, seen), Switch("primary", served))
    lost = servers.no_way_back(config, seen.primary, seen.behind) if replaced else None
    if no_way := servers.not_counted(config, seen.primary) or lost or few(config, seen):
        about = "not counted" if servers.not_counted(config, seen.primary) else "no way back" if lost else "too few"
        return Decision(no_way, refused=True, forced=back, about=about, counts="SwitchedToPrimary")
    if not enough(config, seen):
        return Decision(staying(config, seen))
    return _when_ready(config, seen, back)


def _when_ready(config: Config, seen: Observed, back: Switch) -> Decision[Switch]:
    """Go back, with enough servers that are fit, unless the time is too short or a person is to decide."""
    # In replace mode every run that finds enough servers raises a metric, and an alarm on it counts the minutes.
    ready = ("PrimaryReady",) if seen.switches.mode == "replace" else ()
    if unsure(seen) or not seen.recovery:
        return Decision(staying(config, seen, for_how_long(seen)), lasting=ready)
    waits = Decision(evidence(config, seen), forced=back, counts="SwitchedToPrimary", lasting=ready)
    if seen.flapping is None or seen.flapping.state == "ALARM":
        return replace(waits, reason=too_often(config, seen), refused=True, about="flapping")
    if not config.auto_switchback:
        said = evidence(config, seen)
        ja = f"プライマリは復旧していますが、AutoSwitchback が false です: {said.ja}"
        ask = Words(f"AutoSwitchback is false and the primary is ready: {said.en}", ja)
        return replace(waits, reason=ask, lasting=("WaitingForPerson", *ready))
    if soon := too_soon(config, seen):
        return replace(waits, reason=staying(config, seen, soon), refused=seen.known_seconds is None, about="EC2")
    return Decision(evidence(config, seen), back, counts="SwitchedToPrimary", lasting=ready)


def _from_a_dead_page(config: Config, said: Words, back: Switch) -> Decision[Switch]:
    """Go back with too few, or for too short a time: it is more than visitors get now."""
    reason = Words(
        f"no target of the sorry page can serve, and {said.en}",
        f"sorry ページのターゲットがすべて応答できません。{said.ja}",
    )
    if config.auto_switchback:
        return Decision(reason, back, counts="SwitchedToPrimary")
    return Decision(reason, forced=back, counts="SwitchedToPrimary", lasting=("WaitingForPerson",))


def act(config: Config, seen: Observed, change: Switch) -> Done:
    """Make the change on every listener."""
    return make(config, seen.switches, change)


def mail(config: Config, seen: Observed, result: Result[Switch, Done]) -> Mail:
    """Return the mail of a switch back."""
    return to_primary(config, seen.switches, why(config, seen), result, left.behind(config))


TELLS: Tells[Config, Observed, Switch, Done] = Tells(standing, found, counts=COUNTS)

reconcile.warm_up(
    Config,
    lambda config: listeners.there(config.nlb_listener_arns),
    lambda config: ec2.instance_states(config.primary_instance_ids),
    lambda config: alarms.read(config.recovery_alarm_name, removed_by="'NlbListenerArns=\"\"'"),
)


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Reconcile the listeners with the primary's recovery, whatever the event says."""
    return reconcile.reconcile(event, Config, observe, decide, act, mail, tells=TELLS)
