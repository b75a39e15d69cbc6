"""What a cold standby is told, what it sees, and what an outage is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from kirikae import ec2, env
from kirikae.alarms import Alarm
from kirikae.ec2 import Instance, Status
from kirikae.elb import Target
from kirikae.notify import Words, at
from kirikae.standby import notes as standby_notes
from kirikae.standby.notes import OUTAGE, moment, written

UP = frozenset({"pending", "running"})
GONE = frozenset({"shutting-down", "terminated", ec2.MISSING})


@dataclass(frozen=True, kw_only=True)
class Config(env.Stack):
    """The active, and who stands in for it."""

    active_instance_id: str = env.instance_ids()
    standby_instance_ids: tuple[str, ...] = env.instance_ids()
    standby_instance_types: tuple[str, ...] = env.must(
        r"[a-z0-9-]+\.[a-z0-9-]+", "instance types like m7i.large", default=()
    )
    standby_target_group_arn: str = env.target_group_arn(default="")
    fence_active: bool = False
    functions_arn: str = env.arn("lambda", "function", "the ARN of a function without its name")
    aws_lambda_function_name: str

    @property
    def own_arn(self) -> str:
        """Return the ARN that alarms have as their action; the template cannot tell it, that would be circular."""
        return f"{self.functions_arn}:{self.aws_lambda_function_name}"


@dataclass(frozen=True)
class Observed:
    """The world as far as the decision needs it."""

    now: datetime
    active: Instance
    standbys: tuple[Instance, ...]  # in order
    alarms: tuple[Alarm, ...] = ()  # those in ALARM that call this function
    statuses: tuple[Status, ...] = ()  # of the running one that somebody waits for
    targets: tuple[Target, ...] = ()  # of StandbyTargetGroupArn, while a standby runs
    ran: datetime | None = None  # when the event says that the standby began to run
    target_type: str = ""  # of StandbyTargetGroupArn, asked in quiet times
    unknown_types: tuple[str, ...] = ()  # likewise

    @property
    def up(self) -> list[Instance]:
        """Return the candidates that start or run, in order."""
        return [one for one in self.standbys if one.state in UP]

    @property
    def noted(self) -> list[Instance]:
        """Return the candidates that carry notes about an outage, whichever."""
        return [one for one in self.standbys if OUTAGE in one.tags]

    def notes(self, candidate: Instance) -> Mapping[str, str]:
        """Return what is noted on the candidate about the present outage."""
        return standby_notes.current(candidate, self.active)


@dataclass(frozen=True)
class Outage:
    """Since when the active does not serve, and by which evidence."""

    began: datetime
    reason: Words


def outage(seen: Observed) -> Outage | None:
    """Say that the active does not serve, and since when; nothing while it does, starts, or nobody knows.

    An alarm counts if it went off after the active's last start: one that is left from before says nothing of now.
    """
    active = seen.active
    down = active.state in ec2.DOWN or active.state == ec2.MISSING
    told = [alarm for alarm in seen.alarms if active.launched is None or alarm.since >= active.launched]
    if not down and (active.state != "running" or not told):
        return None
    noted = [begun for one in seen.standbys if (begun := moment(seen.notes(one).get(OUTAGE, "")))]
    times = [alarm.since for alarm in told] + ([active.stopped] if down and active.stopped else [])
    en = [f"{alarm.name} is in ALARM since {written(alarm.since)}" for alarm in told]
    ja = [f"アラーム {alarm.name} は {at(alarm.since).ja} から ALARM です" for alarm in told]
    if down:
        reason = f" ({active.reason})" if active.reason else ""
        en.insert(0, f"the active {active.id} is {active.state}{reason}")
        ja.insert(0, f"active {active.id} の停止を検知しました (状態: {active.state}){reason}")
    began = min(noted, default=None) or min(times, default=seen.now)
    return Outage(began, Words(", ".join(en), "、".join(ja)))


def misconfigured(config: Config, seen: Observed) -> Words | None:
    """Say what is wrong with the parameters, by themselves or against the world in quiet times."""
    ids = config.standby_instance_ids
    if config.active_instance_id in ids:
        return Words(f"StandbyInstanceIds names {config.active_instance_id}, the active itself; expected others")
    if twice := sorted({one for one in ids if ids.count(one) > 1}):
        return Words(f"StandbyInstanceIds names {', '.join(twice)} twice, expected different instances")
    if seen.target_type not in ("", "instance"):
        return Words(
            f"StandbyTargetGroupArn: {config.standby_target_group_arn} has targets of type {seen.target_type}, "
            f"expected a group of instances"
        )
    if seen.unknown_types:
        unknown = ", ".join(seen.unknown_types)
        return Words(f"StandbyInstanceTypes names {unknown}, expected instance types of this Region")
    return None
