"""Send the NLB listeners to the sorry target groups while the primary cannot serve.

One direction only: the way back is `functions/nlb_switchback`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, assert_never

from kirikae import alarms, clock, ec2, elb, env, listeners, reconcile
from kirikae.decision import Decision, Result
from kirikae.events import Hint
from kirikae.log import logger
from kirikae.nlb import left, servers
from kirikae.nlb.look import due, later, look
from kirikae.nlb.mail import to_sorry
from kirikae.nlb.outage import calls_nobody, dead, few, healthy, in_outage, kept, known, outage, settled
from kirikae.nlb.parameters import gone, hands_off, unknown, wrong
from kirikae.nlb.standing import COUNTS, adopted, found, standing
from kirikae.nlb.switch import adoption, make
from kirikae.nlb.world import SIDES, Adopt, Done, Side, Switch, by_group, used
from kirikae.nlb.world.switchover import Config, Observed
from kirikae.notify import Mail, Words
from kirikae.tell import Tells


def observe(config: Config, hint: Hint) -> Observed:
    """Read listeners and target health; ask EC2, then CloudWatch, only for what these do not show.

    A due switch is made whatever it can do without; where none is due, a read that failed is an error after all.
    """
    missed: list[Exception] = []
    seen = Observed(clock.now(), look(config, missed, guess_mode=True))
    if hands_off(config, seen.switches):
        return _unanswered(config, seen, hint)
    seen = _servers(config, _health(config, seen, missed), hint, missed)
    decided = decide(config, seen)
    if missed and not decided.refused and not isinstance(decided.change, Switch):
        raise missed[0]
    return seen


def _unanswered(config: Config, seen: Observed, hint: Hint) -> Observed:
    """Read, for listeners that are not ours to change, what tells an outage that is not answered, if it can be read."""
    missed: list[Exception] = []
    with later(missed):
        seen = _servers(config, _health(config, seen, missed), hint, missed)
    return seen  # noqa: RET504 (as it was, if something cannot be read)


def _health(config: Config, seen: Observed, missed: list[Exception]) -> Observed:
    """Read the health of every group; one that cannot be read is absent, not empty."""
    found: dict[Side, dict[str, tuple[elb.Target, ...]]] = {"primary": {}, "sorry": {}}
    for side in SIDES:
        for group in used(config, seen.switches, side):
            with later(missed), env.naming(config.names(side), group):
                found[side][group] = elb.target_health(group)
        if missed and not found["primary"]:
            raise missed[0]  # nothing can be decided
    return replace(seen, primary=found["primary"], sorry=found["sorry"])


def _servers(config: Config, seen: Observed, hint: Hint, missed: list[Exception]) -> Observed:
    """Read what the health of the primary does not tell: who is stopped, and whether the alarms agree."""
    if not due(config, seen.switches, "sorry") or settled(config, seen):
        return seen
    with later(missed):
        seen = replace(seen, behind=servers.behind(seen.primary))
        if asked := known(config, seen):
            seen = replace(seen, instances=ec2.instance_states(asked, hint.stopped_instance))
    ill = [group for group in seen.primary if healthy(seen, group) < config.min_healthy_targets]
    if ill and not settled(config, seen):
        with later(missed):
            names = {group: name for group, name in by_group(config, config.outage_alarm_name).items() if group in ill}
            found = alarms.read(*names.values(), removed_by="'NlbListenerArns=\"\"'", hint=hint)
            seen = replace(seen, alarms={group: found[name] for group, name in names.items()})
        if outage(config, seen):  # an alarm counts only if somebody wants to be called
            heard = alarms.heard(seen.alarms.values(), hint.called(seen.now))
            seen = replace(seen, alarms=dict(zip(seen.alarms, heard, strict=True)))
    return seen


def decide(config: Config, seen: Observed) -> Decision[Switch | Adopt]:
    """Switch when the primary cannot serve and a sorry page is there; else attach both groups, or do nothing.

    A switch for which only silenced alarms call waits for a person.  The conditions that last are told whatever is
    decided.
    """
    decided, heard = _decided(config, seen), _decided(config, seen.unsilenced())
    if isinstance(heard.change, Switch) and not isinstance(decided.change, Switch):
        reason = calls_nobody(seen, heard.reason)
        decided = replace(heard, reason=reason, change=None, refused=True, about="silenced", forced=heard.change)
    odd = wrong(config, seen.switches, seen.primary, seen.behind, seen.instances)
    return replace(decided, lasting=_lasting(config, seen), odd=odd)


def _decided(config: Config, seen: Observed) -> Decision[Switch | Adopt]:
    if reason := hands_off(config, seen.switches):
        unanswered = outage(config, seen) if _in_use(config, seen) else None
        if unanswered:
            reason = Words(f"{reason.en}; {unanswered.en}", f"{reason.of('ja')}。{unanswered.of('ja')}")
        return Decision(reason, refused=True, urgent=bool(unanswered), about="hands off")
    to_switch = due(config, seen.switches, "sorry")
    reason = outage(config, seen) if to_switch else None
    if uncounted := servers.not_counted(config, seen.primary):
        why = Words(f"{uncounted.en}; {reason.en}", f"{uncounted.of('ja')}。{reason.of('ja')}") if reason else uncounted
        return Decision(why, refused=True, urgent=bool(reason), about="not counted")
    stay = kept(config, seen) if reason else {}
    served = tuple(arn for arn in to_switch if arn not in stay)
    if reason and not served:
        return _kept(config, seen, reason, stay)
    if reason and (mistaken := few(config, seen)):
        return Decision(mistaken, refused=True, urgent=True, about="MinHealthyTargets")
    no_way = servers.no_way_back(config, seen.primary, seen.behind) if seen.switches.mode == "replace" else None
    if no_way and (not reason or servers.all_outside(seen.primary, seen.behind or {})):
        return Decision(no_way, refused=True, urgent=bool(reason), about="no way back")
    if reason:
        return Decision(reason, Switch("sorry", served), urgent=True, counts="SwitchedToSorry")
    if strange := unknown(seen.instances):
        return Decision(strange, refused=True)
    unfit = [group for group in seen.sorry if dead(seen, group)]
    calm, adopt = _no_outage(config, seen), adoption(config, seen.switches, unfit)
    if adopt:
        calm = Words(f"attaching both groups to the listeners without moving their traffic; {calm.en}")
    lost = None if adopt else gone(seen.switches)
    return Decision(lost or calm, adopt, refused=bool(lost))


def _kept(config: Config, seen: Observed, reason: Words, stay: Mapping[str, Words]) -> Decision[Switch | Adopt]:
    """Refuse to move any listener; that is urgent if the primary of one of them is itself in an outage."""
    why_en, why_ja = ("; ".join(dict.fromkeys(w.of(language) for w in stay.values())) for language in ("en", "ja"))
    said = Words(f"{reason.en}; but {why_en}", f"{reason.of('ja')}。ただし、{why_ja}")
    about = "no sorry target" if not any(servers.staying(seen.sorry).values()) else "sorry page dead"
    return Decision(said, refused=True, urgent=any(in_outage(config, seen, arn) for arn in stay), about=about)


def _lasting(config: Config, seen: Observed) -> tuple[str, ...]:
    """Return the conditions that an alarm tells about."""
    ill = any(dead(seen, group) for group in seen.sorry)
    away = bool(seen.switches.listeners) and not due(config, seen.switches, "sorry")
    return (*(("OnSorryPage",) if away else ()), *(("SorryUnhealthy",) if ill else ()))


def _in_use(config: Config, seen: Observed) -> bool:
    """Tell whether a listener, whosesoever its action is, sends traffic to a primary group."""
    used = {group for listener in seen.switches.listeners for group, weight in listener.weights.items() if weight > 0}
    return bool(used & set(config.groups("primary")))


def _no_outage(config: Config, seen: Observed) -> Words:
    """Return why nothing is switched."""
    if not due(config, seen.switches, "sorry"):
        return Words("every listener is on the sorry page already")
    said = []
    for group, targets in seen.primary.items():
        count = f"{healthy(seen, group)} of {len(targets)} primary targets are healthy"
        of = f" in {group}" if len(seen.primary) > 1 else ""
        alarm = seen.alarms.get(group)
        unsure = f", not known to be an outage: {alarm.name} is {alarm.calling} since {alarm.since}" if alarm else ""
        said.append(f"{count}{of}{unsure}")
    return Words("; ".join(said))


def act(config: Config, seen: Observed, change: Switch | Adopt) -> Done:
    """Make the change on every listener."""
    return make(config, seen.switches, change)


def mail(config: Config, seen: Observed, result: Result[Switch | Adopt, Done]) -> Mail | None:
    """Return the mail of a switch; an adoption is only logged, unless AWS refused it."""
    match result.change:
        case Adopt():
            return adopted(config, seen, result)
        case Switch():
            seen = seen.unsilenced() if result.forced else seen
            by_hand = servers.no_way_back(config, seen.primary, seen.behind) if result.done.mode == "replace" else None
            behind = left.behind(config)
            return to_sorry(config, seen.switches, seen.sorry, kept(config, seen), by_hand, result, behind)
        case _:
            assert_never(result.change)


TELLS: Tells[Config, Observed, Switch | Adopt, Done] = Tells(standing, found, outages=True, counts=COUNTS)

reconcile.warm_up(
    Config,
    lambda config: listeners.there(config.nlb_listener_arns),
    lambda config: ec2.instance_states(config.primary_instance_ids),
)


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Reconcile the listeners with the primary's state, whatever the event says."""
    return reconcile.reconcile(event, Config, observe, decide, act, mail, tells=TELLS)
