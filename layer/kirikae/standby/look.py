"""What CloudWatch is asked about the alarms that call the cold standby, and what EC2 and ELB about who serves."""

from collections.abc import Callable
from dataclasses import replace

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import alarms, checks, ec2, elb, env
from kirikae.alarms import Alarm
from kirikae.ec2 import Instance
from kirikae.elb import Target
from kirikae.errors import InputError
from kirikae.events import Hint
from kirikae.log import logger
from kirikae.standby import give_up, outage, world
from kirikae.standby.world import CHECKS, HEALTH, Config, Observed

# What a deployment removes the alarms on the active with, in the order of their names.
_SWITCHED_OFF = """'ActiveInstanceId=""' 'StandbyInstanceIds=""'"""
_REMOVED_BY = _SWITCHED_OFF, _SWITCHED_OFF, "ActiveCpuThreshold=0"


def alarms_on(config: Config, hint: Hint, active: Instance) -> tuple[Alarm, ...]:
    """Return the alarms in ALARM whose action is this function; none if they cannot be read and the active is down."""
    try:
        return alarms.in_alarm(config.own_arn, hint=hint)
    except (ClientError, BotoCoreError) as error:
        if active.state not in (*ec2.DOWN, ec2.MISSING):
            raise
        # Its state says enough, and one service that does not answer must not keep another down.
        logger.warning("the alarms cannot be read; the active is down", active=active.id, problem=str(error))
        return ()


def without_data(config: Config, seen: Observed) -> Observed:
    """Ask which alarms have lost their data since the noted outage began, if nothing else keeps that from its end."""
    began = outage.noted_since(seen)
    if began is None or seen.active.state != "running" or outage.of(seen):
        return seen
    lost = alarms.in_alarm(config.own_arn, "INSUFFICIENT_DATA")
    return replace(seen, unknown=tuple(alarm for alarm in lost if alarm.since >= began))


def who_serves(config: Config, hint: Hint, seen: Observed) -> Observed:
    """Read the status checks and the target health, once a standby runs or the active is back, or is forgotten.

    They only tell who serves.  What cannot be read is named in `unread`, and keeps no standby down or out of the group.
    """
    running = [standby.id for standby in seen.standbys if standby.state == "running"]  # one that was left, too
    running = running if outage.down(seen) or seen.alarms or seen.unknown else []
    back = seen.active.state == "running" and (bool(seen.noted) or outage.in_doubt(seen))
    asked, unread = [*([seen.active.id] if back else []), *running], dict[str, str]()
    if asked:
        seen = replace(seen, statuses=_read(lambda: checks.instance_statuses(asked), CHECKS, unread))
    if config.standby_target_group_arn and (asked or seen.active.state == ec2.MISSING):
        seen = replace(seen, targets=_read(lambda: _targets(config.standby_target_group_arn), HEALTH, unread))
    seen = replace(seen, unread=unread)
    return replace(seen, ran=hint.at) if running and hint.running_instance == seen.up[0].id else seen


def _targets(group: str) -> tuple[Target, ...]:
    with env.naming("StandbyTargetGroupArn", group):
        return elb.target_health(group)


def _read[T](read: Callable[[], tuple[T, ...]], kind: str, unread: dict[str, str]) -> tuple[T, ...]:
    """Return what is read of a kind; nothing if it cannot be read, and then note why."""
    try:
        return read()
    except (ClientError, BotoCoreError, InputError) as error:
        logger.warning("the %s cannot be read; what is due does not wait for them", kind, problem=str(error))
        unread[kind] = f"the {kind} cannot be read, the next run looks again: {error}"
        return ()


def without_muted(config: Config, hint: Hint, seen: Observed) -> Observed:
    """Ask which alarms are muted, if a start or a stop hangs on that and CloudWatch has not just called."""
    if outage.down(seen):
        return seen
    if seen.up and not world.to_fence(config, seen) and not give_up.overdue(config, seen, seen.up[0]):
        return seen
    asked = {alarm.name: alarm for alarm in alarms.heard(outage.calling(seen), hint.called(seen.now))}
    return replace(seen, alarms=tuple(asked.get(alarm.name, alarm) for alarm in seen.alarms))


def unneeded(config: Config, seen: Observed) -> Observed:
    """Ask, in quiet times, for what an outage would find missing: types, and the stack's alarms on the active.

    An outage that is noted is closed first: that waits for no alarm.
    """
    try:
        for name, removed_by in zip(() if seen.noted else config.active_alarm_names, _REMOVED_BY, strict=False):
            alarms.read(name, removed_by=removed_by)
    except InputError as error:
        return replace(seen, gone=str(error))
    return replace(seen, unknown_types=ec2.unknown_types(config.standby_instance_types))
