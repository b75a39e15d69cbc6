"""What an outage is: since when the active does not serve, by which evidence, and whether somebody calls."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from kirikae import ec2
from kirikae.alarms import Alarm
from kirikae.clock import iso
from kirikae.ec2 import Instance
from kirikae.notify import Words, at
from kirikae.standby.notes import BESIDE, OUTAGE, SKEW, STARTED, by_a_person, time_of, value
from kirikae.standby.world import Config, Observed

# Longer than a stop takes.
STOPPING = timedelta(minutes=3)
# As long as an active that was started may take to pass its checks: until then an older alarm says nothing of it.
COMING_UP = timedelta(minutes=5)


@dataclass(frozen=True)
class Outage:
    """Since when the active does not serve, and by which evidence."""

    began: datetime
    reason: Words


def down(seen: Observed) -> bool:
    """Tell whether the active is on its way down, or is gone."""
    return seen.active.state in ec2.DOWN or seen.active.state == ec2.MISSING


def in_doubt(seen: Observed) -> bool:
    """Tell whether an alarm is left from before the active's start, and the active has had its time to come up."""
    launched = seen.active.launched
    if seen.active.state != "running" or launched is None or seen.now - launched < COMING_UP:
        return False
    return any(alarm.since < launched for alarm in seen.alarms)


def noted_since(seen: Observed) -> datetime | None:
    """Return when the present outage began, if that is noted on a candidate."""
    times = [time_of(seen.notes(standby).get(OUTAGE, "")) for standby in seen.standbys]
    return min(filter(None, times), default=None)


def note(seen: Observed) -> dict[str, str]:
    """Return the note that says which outage those beside it are about."""
    return {OUTAGE: value(iso(began(seen)), seen.stack)}


def raised(seen: Observed) -> list[Alarm]:
    """Return the alarms that tell of an outage: those that went off after the active's last start.

    An older one says nothing of now, unless the active has run for minutes and does not pass its checks.
    """
    launched = seen.active.launched
    fails = in_doubt(seen) and _fails(seen)
    return [alarm for alarm in seen.alarms if launched is None or alarm.since >= launched or fails]


def calling(seen: Observed) -> list[Alarm]:
    """Return those of them for which CloudWatch calls: not muted, not suppressed, not without actions."""
    return [alarm for alarm in raised(seen) if not alarm.silent]


def calls(seen: Observed) -> bool:
    """Tell whether a start is called for: the active is down, or an alarm that is not silenced says so."""
    return down(seen) or bool(calling(seen))


def of(seen: Observed) -> Outage | None:
    """Return since when and why the active does not serve; None while it does, starts, or nobody knows or calls.

    An alarm that was silenced during an outage does not end it, nor does one that has lost its data.
    """
    active, noted = seen.active, noted_since(seen)
    evidence = [alarm for alarm in raised(seen) if not alarm.silent or (noted and alarm.since >= noted)]
    evidence += seen.unknown
    if not down(seen) and (active.state != "running" or not evidence):
        return None
    launched = active.launched
    times = [max(alarm.since, launched) if launched else alarm.since for alarm in evidence]
    times += [active.stopped] if down(seen) and active.stopped else []
    en = [f"{alarm.name} is in {alarm.state} since {iso(alarm.since)}" for alarm in evidence]
    ja = [f"アラーム {alarm.name} は {at(alarm.since).ja} から {alarm.state} です" for alarm in evidence]
    if down(seen):
        reason = f" ({active.reason})" if active.reason else ""
        en.insert(0, f"the active {active.id} is {active.state}{reason}")
        ja.insert(0, f"active {active.id} の停止を検知しました (状態: {active.state}){reason}")
    return Outage(noted or min(times, default=seen.now), Words(", ".join(en), "、".join(ja)))


def is_later(seen: Observed, standby: Instance) -> bool:
    """Tell whether the active fails by something that came after the standby's stop: its own stop, else an alarm.

    EC2 does not tell when an instance was terminated: that is later if the active ran when the standby was started.
    """
    active, started = seen.active, seen.notes(standby).get(STARTED, "")
    if down(seen) and active.stopped is None:
        return BESIDE in started.split(" ")
    since = active.stopped if down(seen) else min((alarm.since for alarm in calling(seen)), default=None)
    return since is not None and standby.stopped is not None and standby.stopped + SKEW < since


def alone(seen: Observed, noted: Mapping[str, str]) -> dict[str, str]:
    """Return the note of a start beside the active without that word, once the active is down and EC2 says no time.

    A stop of the standby that is seen after that is the later one.
    """
    words = noted.get(STARTED, "").split(" ")
    if BESIDE not in words or not down(seen) or seen.active.stopped:
        return {}
    return {STARTED: " ".join(word for word in words if word != BESIDE)}


def never_passes(seen: Observed) -> str:
    """Return the status checks that an active that runs fails though no alarm says so, once it had its time to come up.

    Empty while it passes them, or starts, or they are not known.
    """
    active = seen.active
    came_up = active.state == "running" and (active.launched is None or seen.now - active.launched >= COMING_UP)
    return ", ".join(status.failing for status in seen.statuses if came_up and status.instance_id == active.id)


def began(seen: Observed) -> datetime:
    """Return since when the active does not serve."""
    found = of(seen)
    return found.began if found else seen.now


def _fails(seen: Observed) -> bool:
    """Tell whether the active is known not to pass its status checks, or its health checks in the target group."""
    checks = [status.ready for status in seen.statuses if status.instance_id == seen.active.id]
    health = [target.state for target in seen.targets if target.id == seen.active.id]
    return not all(checks) or "unhealthy" in health


def stopped_first(config: Config, seen: Observed) -> str:
    """Return the active if a caller of EC2 stopped it when it was to be fenced: after an alarm, in this outage.

    A run of ours that has not told it, perhaps.  EC2 says when it was stopped to the second.
    """
    active, noted = seen.active, noted_since(seen)
    down_by_hand = active.state in ("stopping", "stopped") and by_a_person(active)
    if not config.fences or not down_by_hand or active.stopped is None:
        return ""
    called = any(alarm.since < active.stopped + timedelta(seconds=1) for alarm in raised(seen))
    return active.id if called or (noted and noted < active.stopped) else ""


def waits(config: Config, seen: Observed) -> str:
    """Return what keeps every standby down for now, whoever could be started."""
    if not calls(seen):
        alarms = *raised(seen), *seen.unknown
        silent = ", ".join(f"{alarm.name}: {alarm.silent or 'no data'}" for alarm in alarms)
        return f"nothing is started for alarms that call nobody ({silent})"
    if config.strict and seen.active.state in ("stopping", "shutting-down"):
        follows = "takes its place" if seen.up else "starts"
        return f"{seen.active.id} is {seen.active.state}, and a standby {follows} when it is seen stopped"
    return ""


def hangs(config: Config, seen: Observed) -> bool:
    """Tell whether a standby waits for an active that has been on its way down for longer than that takes."""
    on_its_way = config.strict and seen.active.state in ("stopping", "shutting-down")
    return on_its_way and seen.now - (seen.active.stopped or began(seen)) >= STOPPING


def reason(seen: Observed) -> Words:
    """Return why the active does not serve."""
    found = of(seen)
    return found.reason if found else Words("the active serves")


def unknown(seen: Observed) -> bool:
    """Tell whether EC2 does not know the active, and nothing bears out that it ever did: the parameter is wrong.

    EC2 forgets an instance an hour after its termination; people who were told of the outage, or a target, do not.
    """
    remembered = seen.up or seen.noted or seen.told or any(target.id == seen.active.id for target in seen.targets)
    return seen.active.state == ec2.MISSING and not remembered
