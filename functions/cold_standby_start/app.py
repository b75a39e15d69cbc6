"""Start a cold standby when the active instance does not serve, and see it through until it does.

No run waits: what a start leads to is observed by later runs, and what they must know is noted in tags on the standby.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kirikae import alarms, ec2, elb, env, reconcile
from kirikae.ec2 import Instance
from kirikae.events import Hint
from kirikae.notify import Mail, Words
from kirikae.reconcile import Decision, Times
from kirikae.standby import follow as standby_follow
from kirikae.standby import lineup, mail, start, world
from kirikae.standby.notes import FAILED, STARTED, left_out, written
from kirikae.standby.start import Done
from kirikae.standby.world import Config, Observed, Outage

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

NOT_SERVING = ("StandbyNotServing",)  # said at every run of an outage until a standby serves


def observe(config: Config, hint: Hint) -> Observed:
    """Read the instances and the alarms that call this function; then what the one that runs is waited for."""
    active, *others = ec2.instances((config.active_instance_id, *config.standby_instance_ids), hint.stopped_instance)
    seen = Observed(reconcile.now(), active, tuple(others), alarms.in_alarm(config.own_arn))
    group = config.standby_target_group_arn
    if world.outage(seen):
        if running := [one for one in seen.up if one.state == "running"]:
            seen = replace(seen, statuses=ec2.instance_statuses([running[0].id]))
            seen = replace(seen, ran=hint.at if hint.running_instance == running[0].id else None)
            if group:
                with env.naming("StandbyTargetGroupArn", group):
                    seen = replace(seen, targets=elb.target_health(group))
        return seen
    if active.state == "running" and seen.noted:
        seen = replace(seen, statuses=ec2.instance_statuses([active.id]))
    if group:
        with env.naming("StandbyTargetGroupArn", group):
            seen = replace(seen, target_type=elb.target_type(group))
    return replace(seen, unknown_types=ec2.unknown_types(config.standby_instance_types))


def decide(config: Config, seen: Observed) -> Decision:
    """Start a standby if the active does not serve and none is up; else go on with what was begun."""
    if reason := world.misconfigured(config, seen):
        return Decision(reason, refused=True)
    outage = world.outage(seen)
    if seen.active.state == ec2.MISSING and not seen.up and not seen.noted:
        wrong = f"ActiveInstanceId names {seen.active.id}, which EC2 does not know"
        return Decision(Words(f"{wrong}; expected an instance of this account and region"), refused=True)
    if outage is None:
        return calm(config, seen)
    if standing_in := seen.up:
        return follow(config, seen, standing_in[0])
    return bring_up(config, seen, outage)


def calm(config: Config, seen: Observed) -> Decision:
    """Nothing is to be started; close the outage that is noted once the active passes its checks again."""
    active = f"the active {seen.active.id} is {seen.active.state}"
    if noted := seen.noted:
        if not any(status.instance_id == seen.active.id and status.ready for status in seen.statuses):
            return Decision(Words(f"{active} and has not passed its status checks yet"))
        return Decision(
            Words(f"{active} and passes its status checks", f"active {seen.active.id} が正常に戻りました"),
            {"close": [one.id for one in noted]},
        )
    if lost := [f"{one.id} ({one.state})" for one in seen.standbys if one.state in world.GONE]:
        lacks = f"StandbyInstanceIds names {', '.join(lost)}, expected instances that can be started"
        return Decision(Words(f"{active}; {lacks}"), refused=True)
    return Decision(Words(f"{active}, and no alarm that calls this function has gone off since its start"))


def follow(config: Config, seen: Observed, one: Instance) -> Decision:
    """A standby is up: see it noted, registered and serving, one step a run."""
    noted = seen.notes(one)
    change = standby_follow.step(config, seen, one)
    serves, evidence = standby_follow.evidence(config, seen, one)
    lasting = () if serves else NOT_SERVING
    if not change and len(seen.up) > 1:
        several = ", ".join(f"{other.id} is {other.state}" for other in seen.up)
        return Decision(Words(f"more than one standby is up: {several}"), refused=True, lasting=lasting)
    if not change and STARTED not in noted:
        return Decision(Words(f"{one.id} is {one.state}: another run is starting it"), lasting=lasting)
    return Decision(evidence, change, lasting=lasting)


def bring_up(config: Config, seen: Observed, outage: Outage) -> Decision:
    """No standby is up: start the next candidate, or say why that must wait."""
    every = [one.id for one in seen.standbys if one.state == "stopped" and not left_out(one)]
    fence = {"fence": seen.active.id} if config.fence_active and seen.active.state == "running" else {}
    forced = fence | {"start": every, "fallen": []} if every else None
    if by_hand := lineup.undone(seen):
        named = ", ".join(f"{one.id}: {one.reason}" for one in by_hand)
        told = f"a standby of this outage was stopped by a person, so none is started ({named}); {outage.reason.en}"
        return Decision(Words(told), refused=True, forced=forced, lasting=NOT_SERVING)
    fallen = [one.id for one in lineup.fallen(seen)]
    chosen = [one.id for one in lineup.candidates(seen)]
    if chosen or fallen:
        return Decision(outage.reason, fence | {"start": chosen, "fallen": fallen}, lasting=NOT_SERVING)
    states = ", ".join(f"{one.id} is {one.state}" for one in seen.standbys)
    if all(one.state in world.GONE for one in seen.standbys):
        return Decision(Words(f"{outage.reason.en}; no standby is left: {states}"), refused=True, lasting=NOT_SERVING)
    if any(one.state == "stopping" for one in seen.standbys):
        return Decision(Words(f"{outage.reason.en}; waiting: {states}"), lasting=NOT_SERVING)
    failed = "; ".join(f"{one.id} {one.tags[FAILED]}" for one in seen.standbys if FAILED in one.tags)
    again, least = lineup.next_try(seen, outage.began), f"every standby has failed: {failed}"
    if again and seen.now >= again:
        retry = {"start": list(lineup.refused(seen)), "fallen": [], "retry": True}
        return Decision(outage.reason, fence | retry, lasting=NOT_SERVING)
    when = f"tried again at {written(again)}" if again else "not tried again; force it, or remove the tags"
    return Decision(Words(f"{outage.reason.en}; {least}; {when}"), forced=forced, lasting=NOT_SERVING)


def act(config: Config, seen: Observed, change: Mapping[str, Any]) -> Done | standby_follow.Step:
    """Start the next candidate, or make the next step of the one that is up."""
    if "start" in change:
        return start.start(config, seen, change)
    return standby_follow.make(config, seen, change)


def tell(
    config: Config, seen: Observed, decision: Decision, done: Done | standby_follow.Step, times: Times
) -> Mail | None:
    """Write the mail of what was made, and of a failure that nobody was told of yet."""
    if isinstance(done, Done):
        return mail.of_start(config, seen, decision, done, times)
    return mail.of_step(config, seen, decision, done, times)


reconcile.prime(
    Config,
    lambda config: ec2.instances((config.active_instance_id,)),
    lambda config: alarms.in_alarm(config.own_arn),
)


@reconcile.logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Reconcile the standbys with the active's state, whatever the event says."""
    return reconcile.reconcile(event, Config, observe, decide, act, tell)
