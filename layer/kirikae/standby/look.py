"""What CloudWatch is asked about the alarms that call the cold standby."""

from dataclasses import replace
from datetime import timedelta

from kirikae import alarms
from kirikae.events import Hint
from kirikae.standby import follow, outage, world
from kirikae.standby.world import Config, Observed

JUST_CALLED = timedelta(minutes=5)  # an alarm's action that is not older is proof that the alarm was not muted


def without_muted(config: Config, hint: Hint, seen: Observed) -> Observed:
    """Ask which alarms are muted, if a start or a stop hangs on that and CloudWatch has not just called."""
    calls = outage.calling(seen)
    just_called = hint.at is not None and seen.now - hint.at < JUST_CALLED
    if outage.down(seen) or (just_called and hint.calling_alarm in [alarm.name for alarm in calls]):
        return seen
    if seen.up and not world.to_fence(config, seen) and not follow.overdue(config, seen, seen.up[0]):
        return seen
    return replace(seen, alarms=tuple(alarms.muted(alarm) if alarm in calls else alarm for alarm in seen.alarms))
