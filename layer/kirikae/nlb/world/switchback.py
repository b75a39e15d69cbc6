"""The switchback as values: its settings, and what its decision sees."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kirikae import env
from kirikae.alarms import Alarm
from kirikae.checks import Status
from kirikae.elb import Target
from kirikae.nlb import world


@dataclass(frozen=True, kw_only=True)
class Config(world.Config):
    """Settings of the switchback, on top of those shared by both directions."""

    recovery_minutes: int = env.must("[1-9][0-9]*", "a whole number from 1", default=3)
    recovery_alarm_name: str = env.of_stack()  # of the first primary group: OK after RecoveryMinutes
    ready_alarm_name: str = env.of_stack()  # in replace mode: ALARM after RecoveryMinutes of enough passed checks
    flapping_alarm_name: str = env.of_stack()  # ALARM after MaxSwitchesPerHour switches
    auto_switchback: bool = True
    max_switches_per_hour: int = env.must("[1-9][0-9]*", "a whole number from 1", default=4)


@dataclass(frozen=True)
class Observed:
    """The world as far as the decision to switch back needs it."""

    switches: world.Switches
    primary: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)  # by group
    # Address of a target -> its instance, "" for an interface without one.
    behind: Mapping[str, str] = field(default_factory=dict)
    instances: Mapping[str, str] = field(default_factory=dict)  # of the healthy targets, id -> state, in weighted mode
    statuses: Mapping[str, Status] = field(default_factory=dict)  # of the running instances, in replace mode
    outside: tuple[str, ...] = ()  # those of them in zones that are not enabled for the load balancer, in replace mode
    recovery: tuple[Alarm, ...] = ()  # of the mode in force: in weighted mode one of each group
    flapping: Alarm | None = None
    known_seconds: float | None = None  # since people know that the page is on; asked when a way back is due
    unread: str = ""  # why nobody knows, in weighted mode, whether the healthy targets have begun to stop
    sorry: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)  # by group, where nothing else says: go back
