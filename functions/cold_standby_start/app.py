"""Start a cold standby when the active instance does not serve, and see it through until it does.

No run waits: what a start leads to is observed by later runs, and what they must know is noted in tags on the standby.
"""

from dataclasses import replace
from typing import Any, assert_never

from kirikae import alarms, clock, ec2, elb, env, reconcile
from kirikae.clock import iso
from kirikae.decision import Decision, Result
from kirikae.ec2 import Instance
from kirikae.events import Hint
from kirikae.log import logger
from kirikae.notify import Mail, Words
from kirikae.standby import follow, lineup, start, world
from kirikae.standby.mail import of_start, of_step
from kirikae.standby.notes import FAILED, STARTED, left_out
from kirikae.standby.world import Close, Config, Note, Observed, Outage, Start

NOT_SERVING = ("StandbyNotServing",)  # reported at every run of an outage until a standby serves


def observe(config: Config, hint: Hint) -> Observed:
    """Read the instances and the alarms whose action is this function; once a standby runs, its checks and health."""
    active, *others = ec2.instances((config.active_instance_id, *config.standby_instance_ids), hint.stopped_instance)
    seen = Observed(clock.now(), active, tuple(others), alarms.in_alarm(config.own_arn))
    group = config.standby_target_group_arn
    if world.outage(seen):
        if running := [standby.id for standby in seen.up if standby.state == "running"]:
            ran = hint.at if hint.running_instance == running[0] else None
            seen = replace(seen, statuses=ec2.instance_statuses(running[:1]), ran=ran)
            if group:
                with env.naming("StandbyTargetGroupArn", group):
                    seen = replace(seen, targets=elb.target_health(group))
        return seen
    if active.state == "running" and seen.noted:
        seen = replace(seen, statuses=ec2.instance_statuses([active.id]))
    if group:
        with env.naming("StandbyTargetGroupArn", group):
            [found] = elb.target_groups([group])
        seen = replace(seen, target_type=found.target_type)
    return replace(seen, unknown_types=ec2.unknown_types(config.standby_instance_types))


def decide(config: Config, seen: Observed) -> Decision[Start | Note | Close]:
    """Start a standby if the active does not serve and none is up; else go on with what was begun."""
    if reason := world.misconfigured(config, seen):
        return Decision(reason, refused=True)
    outage = world.outage(seen)
    if seen.active.state == ec2.MISSING and not seen.up and not seen.noted:
        wrong = f"ActiveInstanceId names {seen.active.id}, which EC2 does not know"
        return Decision(Words(f"{wrong}; expected an instance of this account and region"), refused=True)
    if outage is None:
        return no_outage(seen)
    if seen.up:
        return see_through(config, seen, seen.up[0])
    return bring_up(config, seen, outage)


def no_outage(seen: Observed) -> Decision[Start | Note | Close]:
    """Nothing is to be started; close the outage that is noted once the active passes its checks again."""
    active = f"the active {seen.active.id} is {seen.active.state}"
    if noted := seen.noted:
        if not any(status.instance_id == seen.active.id and status.ready for status in seen.statuses):
            return Decision(Words(f"{active} and has not passed its status checks yet"))
        return Decision(
            Words(f"{active} and passes its status checks", f"active {seen.active.id} が正常に戻りました"),
            Close(tuple(standby.id for standby in noted)),
        )
    if lost := [f"{standby.id} ({standby.state})" for standby in seen.standbys if standby.state in ec2.GONE]:
        lacks = f"StandbyInstanceIds names {', '.join(lost)}, expected instances that can be started"
        return Decision(Words(f"{active}; {lacks}"), refused=True)
    return Decision(Words(f"{active}, and no alarm that calls this function has gone off since its start"))


def see_through(config: Config, seen: Observed, standby: Instance) -> Decision[Start | Note | Close]:
    """A standby is up: see it noted, registered and serving, one step a run."""
    change = follow.step(config, seen, standby)
    serves, evidence = follow.evidence(config, seen, standby)
    lasting = () if serves else NOT_SERVING
    if not change and len(seen.up) > 1:
        several = ", ".join(f"{other.id} is {other.state}" for other in seen.up)
        return Decision(Words(f"more than one standby is up: {several}"), refused=True, lasting=lasting)
    if not change and STARTED not in seen.notes(standby):
        return Decision(Words(f"{standby.id} is {standby.state}: another run is starting it"), lasting=lasting)
    return Decision(evidence, change, lasting=lasting)


def bring_up(config: Config, seen: Observed, outage: Outage) -> Decision[Start | Note | Close]:
    """No standby is up: start the next candidate, or return what that must wait for."""
    fence = seen.active.id if config.fence_active and seen.active.state == "running" else None
    every = tuple(standby.id for standby in seen.standbys if standby.state == "stopped" and not left_out(standby))
    forced = Start(every, fence=fence) if every else None
    if by_hand := lineup.undone(seen):
        named = ", ".join(f"{standby.id}: {standby.reason}" for standby in by_hand)
        reason = f"a standby of this outage was stopped by a person, so none is started ({named}); {outage.reason.en}"
        return Decision(Words(reason), refused=True, forced=forced, lasting=NOT_SERVING)
    candidates, fallen = lineup.candidates(seen), lineup.fallen(seen)
    if candidates or fallen:
        return Decision(outage.reason, Start(candidates, fallen, fence), lasting=NOT_SERVING)
    states = ", ".join(f"{standby.id} is {standby.state}" for standby in seen.standbys)
    if all(standby.state in ec2.GONE for standby in seen.standbys):
        return Decision(Words(f"{outage.reason.en}; no standby is left: {states}"), refused=True, lasting=NOT_SERVING)
    if any(standby.state == "stopping" for standby in seen.standbys):
        return Decision(Words(f"{outage.reason.en}; waiting: {states}"), lasting=NOT_SERVING)
    return retry(seen, outage, fence, forced)


def retry(seen: Observed, outage: Outage, fence: str | None, forced: Start | None) -> Decision[Start | Note | Close]:
    """Every candidate has failed: try those again that EC2 refused, once the spacing is over."""
    again = lineup.next_try(seen, outage.began)
    if again and seen.now >= again:
        return Decision(outage.reason, Start(tuple(lineup.refused(seen)), (), fence, retry=True), lasting=NOT_SERVING)
    failed = "; ".join(f"{standby.id} {standby.tags[FAILED]}" for standby in seen.standbys if FAILED in standby.tags)
    when = f"tried again at {iso(again)}" if again else "not tried again; force it, or remove the tags"
    reason = f"{outage.reason.en}; every standby has failed: {failed}; {when}"
    return Decision(Words(reason), forced=forced, lasting=NOT_SERVING)


def act(config: Config, seen: Observed, change: Start | Note | Close) -> start.Done | follow.Step:
    """Start the next candidate, make the next step of the standby that is up, or close the outage."""
    match change:
        case Start():
            return start.start(config, seen, change)
        case Note():
            return follow.make(config, seen, change)
        case Close():
            return follow.close(config, change)
        case _:
            assert_never(change)


def mail(config: Config, seen: Observed, result: Result[Start | Note | Close, start.Done | follow.Step]) -> Mail | None:
    """Build the mail about the change, or about a failure that has not been reported yet."""
    if isinstance(result.done, start.Done):
        return of_start(config, seen, result.reason, result.done, result.times)
    return of_step(config, seen, result.reason, result.done, result.times)


reconcile.warm_up(
    Config,
    lambda config: ec2.instances((config.active_instance_id,)),
    lambda config: alarms.in_alarm(config.own_arn),
)


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Reconcile the standbys with the active's state, whatever the event says."""
    return reconcile.reconcile(event, Config, observe, decide, act, mail)
