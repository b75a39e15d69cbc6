"""The cold standby as values: settings, what is seen of the world, and what can be changed in it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from kirikae import env
from kirikae.alarms import Alarm
from kirikae.checks import Status
from kirikae.decision import Change
from kirikae.ec2 import Instance
from kirikae.elb import Target
from kirikae.standby.notes import FAILED, GAVE_UP, OUTAGE, SERVING, STARTED, current, failure, since_start

UP = frozenset({"pending", "running"})
CHECKS, HEALTH = "status checks", "target health"  # what only tells who serves: a start waits for neither


@dataclass(frozen=True, kw_only=True)
class Config(env.Stack):
    """Settings: the active instance, its standbys, and how one is started."""

    active_instance_id: str = env.instance_ids()
    standby_instance_ids: tuple[str, ...] = env.instance_ids()
    standby_instance_types: tuple[str, ...] = env.must(
        r"[a-z0-9-]+\.[a-z0-9-]+", "instance types like m7i.large", default=()
    )
    standby_target_group_arn: str = env.target_group_arn(default="")
    standby_give_up_minutes: int = 15  # 0: never
    fence_active: str = env.must("true|false|strict", "true, false or strict", default="false")
    active_alarm_names: tuple[str, ...] = env.of_stack(
        default=()
    )  # of its checks, its application's, its CPU if watched
    functions_arn: str = env.of_stack()  # the ARN of a function, without its name
    aws_lambda_function_name: str = env.of_stack()  # as Lambda itself sets it

    @property
    def fences(self) -> bool:
        """Tell whether what may still serve is stopped before a standby starts."""
        return self.fence_active != "false"

    @property
    def strict(self) -> bool:
        """Tell whether a standby starts only when the active is seen stopped, not already while it is stopping."""
        return self.fence_active == "strict"

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
    alarms: tuple[Alarm, ...] = ()  # those in ALARM whose action is this function, silent ones too
    unknown: tuple[Alarm, ...] = ()  # of those, the ones without data since after the outage began: it may go on
    statuses: tuple[Status, ...] = ()  # of the running standby, and of the active when it is back or in doubt
    targets: tuple[Target, ...] = ()  # of StandbyTargetGroupArn, while a standby runs
    unread: Mapping[str, str] = field(default_factory=dict)  # CHECKS or HEALTH -> why they could not be read
    ran: datetime | None = None  # when the event says that the standby began to run
    target_type: str = ""  # of StandbyTargetGroupArn, asked in quiet times
    unknown_types: tuple[str, ...] = ()  # likewise
    gone: str = ""  # likewise: which alarm of the stack is deleted, and what brings it back
    told: bool = False  # that this outage may not be answered, asked when EC2 does not know the active
    stack: str = ""  # the own one
    taken: tuple[Instance, ...] = ()  # standbys that carry the notes of an outage of another stack
    unnoted: tuple[str, ...] = ()  # candidates of which people know that they failed, where no note could say so
    told_at: datetime | None = None  # when these were tried last
    dropped: Instance | None = None  # a standby of this outage that is up and that StandbyInstanceIds names no more

    @property
    def up(self) -> list[Instance]:
        """The candidates that start or run, the one to follow first; those that are left only while there is no other.

        That is the one that is noted as serving, else one that is registered, or noted as started, else the first that
        passes its checks.
        """
        every = [standby for standby in self.standbys if standby.state in UP]
        return sorted([standby for standby in every if not self.left(standby)] or every, key=self._comes_later)

    def _comes_later(self, standby: Instance) -> tuple[bool, bool, bool, bool]:
        noted = self.notes(standby)
        serves = since_start(standby, noted, SERVING) is not None
        return not serves, not registered(standby.id, self.targets), STARTED not in noted, not self.passes(standby)

    def passes(self, instance: Instance) -> bool:
        """Tell whether the instance is known to pass its status checks."""
        return any(status.instance_id == instance.id and status.ready for status in self.statuses)

    def fails(self, instance: Instance) -> bool:
        """Tell whether the instance is known not to pass its status checks."""
        return CHECKS not in self.unread and not self.passes(instance)

    def healthy(self, instance: Instance) -> bool:
        """Tell whether the instance is known to be healthy in the group, on every port that it does not leave."""
        own = [target for target in self.targets if target.id == instance.id]
        return registered(instance.id, own) and all(target.healthy or target.state == "draining" for target in own)

    def left(self, candidate: Instance) -> bool:
        """Tell whether the candidate was left in this outage, and does not serve after all in the target group."""
        found = failure(self.notes(candidate).get(FAILED, ""))
        unread = HEALTH in self.unread and since_start(candidate, self.notes(candidate), SERVING) is not None
        known = self.healthy(candidate) or unread  # what served is not said to have ended
        serves = candidate.state == "running" and known and not self.fails(candidate)
        return found is not None and found[1] == GAVE_UP and not serves

    @property
    def noted(self) -> list[Instance]:
        """The candidates that carry notes about an outage, whichever."""
        return [standby for standby in self.standbys if standby.tags.get(OUTAGE)]

    def notes(self, candidate: Instance) -> Mapping[str, str]:
        """Return what is noted on the candidate about the present outage."""
        return current(candidate, self.active)


def registered(instance_id: str, targets: Iterable[Target]) -> bool:
    """Tell whether an instance is registered; one that drains, from the outage before perhaps, is on its way out."""
    return any(target.id == instance_id and target.state != "draining" for target in targets)


@dataclass(frozen=True)
class Start(Change):
    """Start the first of the candidates that EC2 can start."""

    start: tuple[str, ...]  # in order
    fallen: tuple[str, ...] = ()  # to be counted as failed first: their start fell back to `stopped`
    fence: str | None = None  # the active, to be stopped first
    retry: bool | None = None  # EC2 has refused these candidates before
    leave: tuple[str, ...] | None = None  # standbys that run and never came to serve: noted, and fenced if asked


@dataclass(frozen=True)
class Note(Change):
    """Note that a standby was found up, runs or serves; one that runs is registered first if a group is named."""

    kind: Literal["note", "running", "serving"]
    standby: str
    register: str = ""
    ports: tuple[int, ...] = ()  # those of the active; none: the group's own
    deregister: tuple[tuple[str, int], ...] = ()  # standbys that were left, and their ports, first: two never serve
    fence: str | None = None  # the active, to be stopped first

    def is_entered(self, held: tuple[int, ...]) -> bool:
        """Tell whether a standby that is registered on these ports is registered as asked for."""
        return bool(held) and set(self.ports) <= set(held)

    def record(self) -> dict[str, Any]:
        """Return the standby by the kind of its note, and the registration if there is one."""
        registration = {"register": self.register, "ports": list(self.ports)} if self.register else {}
        leaving = {"deregister": [list(target) for target in self.deregister]} if self.deregister else {}
        fence = {"fence": self.fence} if self.fence else {}
        return fence | {self.kind: self.standby} | registration | leaving


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


def to_fence(config: Config, seen: Observed) -> str | None:
    """Return the active if it is to be stopped before a standby starts, or takes its place."""
    return seen.active.id if config.fences and seen.active.state == "running" else None


def misconfigured(config: Config, seen: Observed) -> Iterator[str]:
    """Yield what is wrong with the parameters, by themselves or against the world in quiet times."""
    ids = config.standby_instance_ids
    if config.active_instance_id in ids:
        yield f"StandbyInstanceIds names {config.active_instance_id}, the active itself; expected others"
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        yield f"StandbyInstanceIds names {', '.join(twice)} twice, expected different instances"
    if seen.target_type not in ("", "instance"):
        other = f"{config.standby_target_group_arn} has targets of type {seen.target_type}"
        yield f"StandbyTargetGroupArn: {other}, expected a group of instances"
    if seen.gone:
        yield seen.gone
    if unknown := ", ".join(seen.unknown_types):
        yield f"StandbyInstanceTypes names {unknown}, expected instance types of this Region"
