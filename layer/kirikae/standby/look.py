"""What CloudWatch is asked about the alarms that call the cold standby."""

from dataclasses import replace
from datetime import timedelta

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import alarms, ec2
from kirikae.alarms import Alarm
from kirikae.ec2 import Instance
from kirikae.events import Hint
from kirikae.log import logger
from kirikae.standby import follow, outage, world
from kirikae.standby.world import Config, Observed

JUST_CALLED = timedelta(minutes=5)  # an alarm's action that is not older is proof that the alarm was not muted


def alarms_on(config: Config, active: Instance) -> tuple[Alarm, ...]:
    """Return the alarms in ALARM whose action is this function; none if they cannot be read and the active is down."""
    try:
        return alarms.in_alarm(config.own_arn)
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


def without_muted(config: Config, hint: Hint, seen: Observed) -> Observed:
    """Ask which alarms are muted, if a start or a stop hangs on that and CloudWatch has not just called."""
    calls = outage.calling(seen)
    just_called = hint.at is not None and seen.now - hint.at < JUST_CALLED
    if outage.down(seen) or (just_called and hint.calling_alarm in [alarm.name for alarm in calls]):
        return seen
    if seen.up and not world.to_fence(config, seen) and not follow.overdue(config, seen, seen.up[0]):
        return seen
    return replace(seen, alarms=tuple(alarms.muted(alarm) if alarm in calls else alarm for alarm in seen.alarms))
