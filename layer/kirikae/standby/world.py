"""The cold standby as values: settings, what is seen of the world, what can be changed in it, and what an outage is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from kirikae import ec2, env
from kirikae.alarms import Alarm
from kirikae.clock import iso
from kirikae.decision import Change
from kirikae.ec2 import Instance, Status
from kirikae.elb import Target
from kirikae.notify import Words, at
from kirikae.standby.notes import OUTAGE, current, time_of

UP = frozenset({"pending", "running"})


@dataclass(frozen=True, kw_only=True)
class Config(env.Stack):
    """Settings: the active instance, its standbys, and how one is started."""

    active_instance_id: str = env.instance_ids()
    standby_instance_ids: tuple[str, ...] = env.instance_ids()
    standby_instance_types: tuple[str, ...] = env.must(
        r"[a-z0-9-]+\.[a-z0-9-]+", "instance types like m7i.large", default=()
    )
    standby_target_group_arn: str = env.target_group_arn(default="")
    fence_active: bool = False
    functions_arn: str = env.of_stack()  # the ARN of a function, without its name
    aws_lambda_function_name: str = env.of_stack()  # as Lambda itself sets it

    @property
    def own_arn(self) -> str:
        """The ARN that alarms have as their action; in the template it would be a circular reference."""
        return f"{self.functions_arn}:{self.aws_lambda_function_name}"


@dataclass(frozen=True)
class Observed:
    """The world as far as the decision needs it."""

    now: datetime
    active: Instance
    standbys: tuple[Instance, ...]  # in order
    alarms: tuple[Alarm, ...] = ()  # those in ALARM whose action is this function
    statuses: tuple[Status, ...] = ()  # of the running standby, or of the active when it is back
    targets: tuple[Target, ...] = ()  # of StandbyTargetGroupArn, while a standby runs
    ran: datetime | None = None  # when the event says that the standby began to run
    target_type: str = ""  # of StandbyTargetGroupArn, asked in quiet times
    unknown_types: tuple[str, ...] = ()  # likewise

    @property
    def up(self) -> list[Instance]:
        """The candidates that start or run, in order."""
        return [standby for standby in self.standbys if standby.state in UP]

    @property
    def noted(self) -> list[Instance]:
        """The candidates that carry notes about an outage, whichever."""
        return [standby for standby in self.standbys if OUTAGE in standby.tags]

    def notes(self, candidate: Instance) -> Mapping[str, str]:
        """Return what is noted on the candidate about the present outage."""
        return current(candidate, self.active)


@dataclass(frozen=True)
class Start(Change):
    """Start the first of the candidates that EC2 can start."""

    start: tuple[str, ...]  # in order
    fallen: tuple[str, ...] = ()  # to be counted as failed first: their start fell back to `stopped`
    fence: str | None = None  # the active, to be stopped first
    retry: Literal[True] | None = None  # EC2 has refused these candidates before


@dataclass(frozen=True)
class Note(Change):
    """Note that a standby was found up, runs or serves; one that runs is registered first if a group is named."""

    kind: Literal["note", "running", "serving"]
    standby: str
    register: str = ""
    ports: tuple[int, ...] = ()  # those of the active; none: the group's own

    def record(self) -> dict[str, Any]:
        """Return the standby by the kind of its note, and the registration if there is one."""
        registration = {"register": self.register, "ports": list(self.ports)} if self.register else {}
        return {self.kind: self.standby} | registration


@dataclass(frozen=True)
class Close(Change):
    """Remove the notes of the outage from these standbys."""

    close: tuple[str, ...]


@dataclass(frozen=True)
class Started(Change):
    """What a start came to: the active that was stopped, the standby that was started, and its type."""

    fenced: str | None = None
    started: str | None = None
    type: str | None = None


@dataclass(frozen=True)
class Outage:
    """Since when the active does not serve, and by which evidence."""

    began: datetime
    reason: Words


def outage(seen: Observed) -> Outage | None:
    """Return since when and why the active does not serve; None while it does, starts, or nobody knows.

    An alarm counts if it went off after the active's last start: an older one says nothing of now.
    """
    active = seen.active
    down = active.state in ec2.DOWN or active.state == ec2.MISSING
    raised = [alarm for alarm in seen.alarms if active.launched is None or alarm.since >= active.launched]
    if not down and (active.state != "running" or not raised):
        return None
    noted = filter(None, [time_of(seen.notes(standby).get(OUTAGE, "")) for standby in seen.standbys])
    times = [alarm.since for alarm in raised] + ([active.stopped] if down and active.stopped else [])
    en = [f"{alarm.name} is in ALARM since {iso(alarm.since)}" for alarm in raised]
    ja = [f"アラーム {alarm.name} は {at(alarm.since).ja} から ALARM です" for alarm in raised]
    if down:
        reason = f" ({active.reason})" if active.reason else ""
        en.insert(0, f"the active {active.id} is {active.state}{reason}")
        ja.insert(0, f"active {active.id} の停止を検知しました (状態: {active.state}){reason}")
    began = min(noted, default=None) or min(times, default=seen.now)
    return Outage(began, Words(", ".join(en), "、".join(ja)))


def outage_began(seen: Observed) -> datetime:
    """Return since when the active does not serve."""
    found = outage(seen)
    return found.began if found else seen.now


def misconfigured(config: Config, seen: Observed) -> Words | None:
    """Return what is wrong with the parameters, by themselves or against the world in quiet times."""
    ids = config.standby_instance_ids
    if config.active_instance_id in ids:
        return Words(f"StandbyInstanceIds names {config.active_instance_id}, the active itself; expected others")
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        return Words(f"StandbyInstanceIds names {', '.join(twice)} twice, expected different instances")
    if seen.target_type not in ("", "instance"):
        other = f"{config.standby_target_group_arn} has targets of type {seen.target_type}"
        return Words(f"StandbyTargetGroupArn: {other}, expected a group of instances")
    if unknown := ", ".join(seen.unknown_types):
        return Words(f"StandbyInstanceTypes names {unknown}, expected instance types of this Region")
    return None
