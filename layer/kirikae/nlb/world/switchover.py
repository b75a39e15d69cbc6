"""The switchover as values: its settings, and what its decision sees."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from kirikae import env
from kirikae.alarms import Alarm
from kirikae.elb import Target
from kirikae.nlb import world


@dataclass(frozen=True, kw_only=True)
class Config(world.Config):
    """Settings of the switchover, on top of those shared by both directions."""

    outage_alarm_name: str = env.of_stack()


@dataclass(frozen=True)
class Observed:
    """The world as far as the decision to switch over needs it."""

    now: datetime
    switches: world.Switches
    primary: tuple[Target, ...] = ()
    sorry: tuple[Target, ...] = ()
    instances: Mapping[str, str] | None = None  # id -> state; None: not asked, because the rest suffices
    alarm: Alarm | None = None  # likewise
