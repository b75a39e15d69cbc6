"""Start a cold standby when the active instance does not serve, and see it through until it does.

No run waits: what a start leads to is observed by later runs, and what they must know is noted in tags on the standby.
"""

from dataclasses import replace
from typing import Any, assert_never

from kirikae import alarms, clock, ec2, elb, env, reconcile, tell
from kirikae.decision import Decision, Result
from kirikae.ec2 import Instance
from kirikae.events import Hint
from kirikae.log import logger
from kirikae.notify import Mail, Words
from kirikae.standby import ask, fence, follow, give_up, last_told, lineup, look, notes, outage, retries, start, world
from kirikae.standby.mail import of_start, of_step
from kirikae.standby.notes import FAILED, STARTED, left_out
from kirikae.standby.outage import Outage
from kirikae.standby.run import Done
from kirikae.standby.standing import TELLS
from kirikae.standby.world import CHECKS, HEALTH, Close, Config, Note, Observed, Start

NOT_SERVING = ("StandbyNotServing",)  # reported at every run of an outage until a standby serves
UNKNOWN = "unknown active"  # that an alarm calls for it is told, and bears out no outage of it


def observe(config: Config, hint: Hint) -> Observed:
    """Read the instances and the alarms whose action is this function; once a standby runs, its checks and health."""
    now = clock.now()
    every = dict.fromkeys((config.active_instance_id, *config.standby_instance_ids))  # each once, whoever is twice
    active, *others = ec2.instances(every, hint.stopped_instance or hint.running_instance, hint.state)
    taken = tuple(standby for standby in others if notes.taken(standby, config.stack))
    standbys = tuple(notes.believed(standby, active, now) for standby in others if standby not in taken)
    seen = Observed(now, active, standbys, look.alarms_on(config, hint, active), stack=config.stack, taken=taken)
    seen = look.without_data(config, seen)
    if active.state == ec2.MISSING:
        seen = replace(seen, told=tell.unanswered(config) not in ("", f"refused: {UNKNOWN}"))
    seen = look.who_serves(config, hint, seen)
    if outage.of(seen):
        return last_told.recall(config, look.without_muted(config, hint, seen))
    if (group := config.standby_target_group_arn) and not seen.noted:  # an outage that is noted is closed first
        with env.naming("StandbyTargetGroupArn", group):
            [found] = elb.target_groups([group])
        seen = replace(seen, target_type=found.target_type)
    return look.unneeded(config, seen)


def decide(config: Config, seen: Observed) -> Decision[Start | Note | Close]:
    """Start a standby if the active does not serve and none is up; else go on with what was begun."""
    decided = _decided(config, seen)
    return replace(
        decided, unread="; ".join(seen.unread.values()), odd=lineup.unusable(seen) if decided.refused else {}
    )


def _decided(config: Config, seen: Observed) -> Decision[Start | Note | Close]:
    """Return the same by what could be read: what could not is held against nobody, and in favour of nobody."""
    found = outage.of(seen)
    if outage.unknown(seen):
        wrong = f"ActiveInstanceId names {seen.active.id}, which EC2 does not know"
        if HEALTH in seen.unread:  # its target may remember it
            return Decision(Words(wrong))
        reason = Words(f"{wrong}; expected an instance of this account and region")
        return Decision(reason, refused=True, urgent=bool(outage.calling(seen)), about=UNKNOWN)
    if found is None:
        return no_outage(config, seen)
    if seen.up:
        return see_through(config, seen, found, seen.up[0])
    return bring_up(config, seen, found)


def no_outage(config: Config, seen: Observed) -> Decision[Start | Note | Close]:
    """Nothing is to be started; close the outage that is noted once the active passes its checks again."""
    active = f"the active {seen.active.id} is {seen.active.state}"
    if noted := seen.noted:
        if CHECKS in seen.unread or (seen.unread and outage.in_doubt(seen)):
            return Decision(Words(f"{active}, and whether it serves is not known"))
        if not seen.passes(seen.active):
            fails = outage.never_passes(seen)
            reason = Words(f"{active} and does not pass its status checks ({fails or 'yet'})")
            return Decision(reason, refused=bool(fails))
        passes = Words(f"{active} and passes its status checks", f"active {seen.active.id} が正常に戻りました")
        return Decision(passes, Close(tuple(standby.id for standby in noted)))
    if restored := tuple(standby.id for standby in seen.standbys if notes.restored(standby)):
        return Decision(Words(f"{active}; {', '.join(restored)} has its own type again"), Close(restored))
    if wrong := [*world.misconfigured(config, seen), *(said.en for said in lineup.unusable(seen).values())]:
        return Decision(Words(f"{active}; {'; '.join(wrong)}"), refused=True)  # in an outage it keeps nothing down
    return Decision(Words(f"{active}, and no alarm that calls this function has gone off since its start"))


def see_through(config: Config, seen: Observed, found: Outage, standby: Instance) -> Decision[Start | Note | Close]:
    """A standby is up: see it noted, registered and serving, one step a run; leave it when it never comes to that."""
    # Only one that was not tried yet is worth it: what EC2 has refused may be refused again.
    untried = lineup.candidates(seen)
    if untried and give_up.overdue(config, seen, standby) and not outage.waits(config, seen):
        again = True if lineup.again(seen, untried) else None
        change_over = Start(untried, lineup.fallen(seen), world.to_fence(config, seen), again, leave=(standby.id,))
        return Decision(found.reason, change_over, urgent=True, lasting=NOT_SERVING)
    change = follow.step(config, seen, standby)
    serves, evidence = follow.evidence(config, seen, standby)
    lasting = () if serves or give_up.served(config, seen, standby) else NOT_SERVING
    if len(seen.up) > 1 and (not change or follow.second(seen, change)):
        several = ", ".join(f"{other.id} is {other.state}" for other in seen.up)
        twice = Words(f"more than one standby is up: {several}", f"複数の待機系が稼働しています: {several}")
        return Decision(twice, refused=True, about="several", lasting=lasting)
    if not change and STARTED not in seen.notes(standby):
        return Decision(Words(f"{standby.id} is {standby.state}: another run is starting it"), lasting=lasting)
    urgent = change is not None and bool(change.register)
    if not change or not config.fences or (change.kind == "note" and not change.register):
        return Decision(evidence, change, urgent=urgent, lasting=lasting)
    if to_fence := world.to_fence(config, seen):  # two never serve, also where the standby did not have to be started
        change = replace(change, fence=to_fence)
    if waits := outage.waits(config, seen):
        reason, hangs = Words(f"{found.reason.en}; {waits}"), outage.hangs(config, seen)
        return Decision(reason, refused=hangs, urgent=hangs, about="hangs", forced=change, lasting=lasting)
    reason = found.reason if change.fence else evidence
    return Decision(reason, change, urgent=urgent or bool(change.fence), lasting=lasting)


def bring_up(config: Config, seen: Observed, found: Outage) -> Decision[Start | Note | Close]:
    """No standby is up: start the next candidate, or return what that must wait for."""
    every = tuple(standby.id for standby in seen.standbys if standby.state == "stopped" and not left_out(standby))
    forced = Start(every, fence=world.to_fence(config, seen)) if every else None
    if other := seen.dropped:
        reason = f"{found.reason.en}; {last_told.stands_in(other)}"
        return Decision(Words(reason), refused=True, urgent=True, about="dropped", forced=forced)
    if by_hand := lineup.undone(seen):
        named = ", ".join(f"{standby.id}: {standby.reason}" for standby in by_hand)
        reason = f"a standby of this outage was stopped by a person, so none is started ({named}); {found.reason.en}"
        return Decision(Words(reason), refused=True, urgent=True, about="stopped", forced=forced, lasting=NOT_SERVING)
    if waits := outage.waits(config, seen):
        reason, hangs = f"{found.reason.en}; {waits}", outage.hangs(config, seen)
        return Decision(Words(reason), refused=hangs, urgent=hangs, about="hangs", forced=forced, lasting=NOT_SERVING)
    candidates, fallen = lineup.candidates(seen), lineup.fallen(seen)
    if candidates or fallen:
        again = True if lineup.again(seen, candidates) else None
        return Decision(
            found.reason,
            Start(candidates, fallen, world.to_fence(config, seen), again),
            urgent=True,
            lasting=NOT_SERVING,
        )
    states = ", ".join(
        [
            *(f"{standby.id} is {standby.state}" for standby in seen.standbys),
            *(f"{standby.id} is taken by an outage of the stack {notes.stack_of(standby)}" for standby in seen.taken),
        ]
    )
    if all(standby.state in ec2.GONE for standby in seen.standbys):
        reason = f"{found.reason.en}; no standby is left: {'; '.join([*world.misconfigured(config, seen), states])}"
        return Decision(Words(reason), refused=True, urgent=True, about="none left", lasting=NOT_SERVING)
    if lineup.awaited(seen):
        return Decision(Words(f"{found.reason.en}; waiting: {states}"), lasting=NOT_SERVING)
    return retry(config, seen, found, forced)


def retry(config: Config, seen: Observed, found: Outage, forced: Start | None) -> Decision[Start | Note | Close]:
    """Every candidate has failed: try those again that EC2 refused, once the spacing is over."""
    if due := retries.due(seen, found.began):
        change = Start(due, (), world.to_fence(config, seen), retry=True)
        return Decision(found.reason, change, urgent=True, lasting=NOT_SERVING)
    notes = [(standby.id, standby.tags.get(FAILED)) for standby in seen.standbys]
    failed = "; ".join(f"{name} {note or 'not noted'}" for name, note in notes if note or name in seen.unnoted)
    reason = f"{found.reason.en}; every standby has failed: {failed}; {retries.when_again(seen, found.began)}"
    untold = not retries.exhausted(seen)  # such as when a person has left out every one
    return Decision(Words(reason), refused=untold, urgent=untold, about="failed", forced=forced, lasting=NOT_SERVING)


def act(config: Config, seen: Observed, change: Start | Note | Close) -> Done | follow.Step:
    """Start the next candidate, make the next step of the standby that is up, or close the outage."""
    match change:
        case Start():
            return start.start(config, seen, change)
        case Note():
            return fence.first(config, seen, change) or follow.make(config, seen, change)
        case Close():
            return follow.close(config, seen, change)
        case _:
            assert_never(change)


def mail(config: Config, seen: Observed, result: Result[Start | Note | Close, Done | follow.Step]) -> Mail | None:
    """Build the mail about the change, or about a failure that has not been reported yet."""
    if isinstance(result.done, Done):
        return of_start(config, seen, result.reason, result.done, result.times)
    return of_step(config, seen, result.reason, result.done, result.times)


reconcile.warm_up(
    Config,
    lambda config: ec2.instances((config.active_instance_id,)),
    lambda _config: ask.connection(),
    lambda config: alarms.in_alarm(config.own_arn),
)


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Reconcile the standbys with the active's state, whatever the event says."""
    return reconcile.reconcile(event, Config, observe, decide, act, mail, tells=TELLS)
