"""The switchover as values: its settings, and what its decision sees."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from kirikae import env
from kirikae.alarms import Alarm
from kirikae.elb import Target
from kirikae.nlb import world


@dataclass(frozen=True, kw_only=True)
class Config(world.Config):
    """Settings of the switchover, on top of those shared by both directions."""

    outage_alarm_name: str = env.of_stack()  # that of the first primary group


@dataclass(frozen=True)
class Observed:
    """The world as far as the decision to switch over needs it."""

    now: datetime
    switches: world.Switches
    primary: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)  # by group
    sorry: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)  # by group, without those not to be read
    behind: Mapping[str, str] | None = None  # address of a primary target -> its instance, "" if its interface has none
    instances: Mapping[str, str] | None = None  # id -> state; None here and above: not asked, because the rest suffices
    alarms: Mapping[str, Alarm] = field(default_factory=dict)  # by primary group; likewise

    def unsilenced(self) -> "Observed":
        """Return the world as if nobody had silenced an alarm."""
        return replace(self, alarms={group: replace(alarm, silent="") for group, alarm in self.alarms.items()})
