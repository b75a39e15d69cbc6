"""The rules of a cold standby: what an outage is, what was noted about it, and who may be started next.

What a later run must know is noted in tags on the candidates, where an operator sees it and can change it.  Everything
here is a pure function of what was seen; `kirikae.standby_start` does the writing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kirikae import ec2, env
from kirikae.alarms import Alarm
from kirikae.ec2 import Instance, Status
from kirikae.elb import Target
from kirikae.notify import Words

OUTAGE = "kirikae:outage"  # when the outage began for which a candidate carries the tags below
STARTED = "kirikae:started"  # when EC2 accepted its start
FAILED = "kirikae:failed"  # when and why it failed; IAM lets nobody start it for us while it carries this
RUNNING = "kirikae:running"  # when it ran, and was registered in the target group
SERVING = "kirikae:serving"  # when it was reported as serving
UNFENCED = "kirikae:unfenced"  # why the active could not be stopped
TYPE = "kirikae:instance-type"  # the type it had before another one was tried
NOTES = (OUTAGE, STARTED, FAILED, RUNNING, SERVING, UNFENCED, TYPE)

REFUSED, FELL_BACK = "refused", "fell-back"  # the second word of FAILED; anything else was written by a person
BY_A_PERSON = "Client.UserInitiatedShutdown"
UP = frozenset({"pending", "running"})
GONE = frozenset({"shutting-down", "terminated", ec2.MISSING})
# The shortest spacing is longer than the function's timeout: no run of one round is alive in the next.
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(minutes=30)


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
    statuses: tuple[Status, ...] = ()  # of the running ones that somebody waits for
    targets: tuple[Target, ...] = ()  # of StandbyTargetGroupArn, while a standby runs
    ran: datetime | None = None  # when the event says that the standby began to run
    target_type: str = ""  # of StandbyTargetGroupArn, asked in quiet times
    unknown_types: tuple[str, ...] = ()  # likewise


@dataclass(frozen=True)
class Outage:
    """Since when the active does not serve, and by which evidence."""

    began: datetime
    reason: Words


def written(moment: datetime) -> str:
    """Write a time in UTC, as it stands in a tag."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def moment(text: str) -> datetime | None:
    """Read the time with which a tag begins; None if a person wrote something else."""
    try:
        parsed = datetime.fromisoformat(text.split(" ")[0])
    except ValueError:
        return None
    return parsed if parsed.tzinfo else None


def notes(seen: Observed, candidate: Instance) -> Mapping[str, str]:
    """Return what is noted on the candidate about the present outage.

    Notes of an outage before the active's last start are over, though nobody may have removed them.  A mark of failure
    without an outage is a person's, who wants this candidate left out.
    """
    began = moment(candidate.tags.get(OUTAGE, ""))
    if began is None:
        return {key: value for key, value in candidate.tags.items() if key == FAILED}
    over = seen.active.launched is not None and began < seen.active.launched
    return {} if over else candidate.tags


def since_start(candidate: Instance, noted: Mapping[str, str], key: str) -> datetime | None:
    """Return the time in a note, unless it is of an earlier start than the candidate's last."""
    at = moment(noted.get(key, ""))
    return at if at and candidate.launched and at >= candidate.launched else None


def outage(seen: Observed) -> Outage | None:
    """Say that the active does not serve, and since when; nothing while it does, starts, or nobody knows.

    An alarm counts if it went off after the active's last start: one that is left from before says nothing of now.
    """
    active = seen.active
    down = active.state in ec2.DOWN or active.state == ec2.MISSING
    told = [alarm for alarm in seen.alarms if active.launched is None or alarm.since >= active.launched]
    if not down and (active.state != "running" or not told):
        return None
    noted = [at for one in seen.standbys if (at := moment(notes(seen, one).get(OUTAGE, "")))]
    times = [alarm.since for alarm in told] + ([active.stopped] if down and active.stopped else [])
    reasons = [f"{alarm.name} is in ALARM since {written(alarm.since)}" for alarm in told]
    reasons_ja = [f"アラーム {alarm.name} は {written(alarm.since)} から ALARM です" for alarm in told]
    if down:
        reasons.insert(0, f"the active {active.id} is {active.state} {active.reason}".strip())
        reasons_ja.insert(0, f"active {active.id} は {active.state} です {active.reason}".strip())
    began = min(noted, default=None) or min(times, default=seen.now)
    return Outage(began, Words(", ".join(reasons), "、".join(reasons_ja)))


def open_notes(seen: Observed) -> list[Instance]:
    """Return the candidates that carry notes, of whatever outage."""
    return [one for one in seen.standbys if OUTAGE in one.tags]


def started(seen: Observed, candidate: Instance) -> bool:
    """Tell whether the candidate was started, or found running, in this outage."""
    return STARTED in notes(seen, candidate) and FAILED not in notes(seen, candidate)


def undone(seen: Observed) -> list[Instance]:
    """Return the candidates that were started for this outage and stopped by a person since."""
    down = ("stopping", "stopped")
    return [
        one for one in seen.standbys if started(seen, one) and one.state in down and one.reason.startswith(BY_A_PERSON)
    ]


def fallen(seen: Observed) -> list[Instance]:
    """Return the candidates whose accepted start has ended in `stopped`."""
    return [one for one in seen.standbys if started(seen, one) and one.state == "stopped" and one not in undone(seen)]


def next_candidates(seen: Observed) -> list[Instance]:
    """Return the candidates to try now, in order: up to the first that is still stopping."""
    chosen = []
    for one in seen.standbys:
        if one.state in GONE or FAILED in notes(seen, one) or one in fallen(seen):
            continue
        if one.state != "stopped":
            break
        chosen.append(one)
    return chosen


def refused(seen: Observed) -> dict[str, datetime]:
    """Return the stopped candidates that EC2 did not start for want of something that may come back, and when."""
    found = {}
    for one in seen.standbys:
        words = notes(seen, one).get(FAILED, "").split(" ")
        at = moment(words[0])
        if one.state == "stopped" and at and words[1:2] == [REFUSED]:
            found[one.id] = at
    return found


def next_try(seen: Observed, began: datetime) -> datetime | None:
    """Return when those that EC2 refused are tried again: the spacing grows with the age of the outage."""
    if not (last := max(refused(seen).values(), default=None)):
        return None
    return last + min(max(last - began, SHORTEST), LONGEST)


def misconfigured(config: Config, seen: Observed) -> Words | None:
    """Say what is wrong with the parameters, by themselves or against the world in quiet times."""
    ids = config.standby_instance_ids
    if config.active_instance_id in ids:
        return Words(
            f"StandbyInstanceIds names {config.active_instance_id}, which is ActiveInstanceId; expected others"
        )
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
