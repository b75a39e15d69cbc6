"""See a standby through once it is up: noted, registered, serving; and close the outage when the active is back."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from kirikae import ec2, elb, env, patience
from kirikae.clock import iso
from kirikae.decision import Made
from kirikae.ec2 import Instance
from kirikae.errors import UnfinishedError
from kirikae.notify import Words
from kirikae.standby import outage, record
from kirikae.standby.notes import (
    OUTAGE,
    RUNNING,
    SERVING,
    STARTED,
    believed,
    current,
    ours,
    over,
    restored,
    since_start,
    taken,
    time_of,
)
from kirikae.standby.world import UP, Close, Config, Note, Observed, registered

# The run that starts a standby notes it at once. One that stays without a note this long was started by somebody else,
# or by a run that did not live to note it.
UNNOTED = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Step(Made):
    """A step that was made; `standby` is as it was seen before, with the notes of its earlier steps."""

    change: Note | Close | None
    standby: Instance | None = None
    others: tuple[str, ...] = ()  # that are up too, when the active is back


def step(config: Config, seen: Observed, standby: Instance) -> Note | None:
    """Return the next step that is due for a standby that is up, if there is one."""
    noted = seen.notes(standby)
    if STARTED not in noted:
        waited = standby.launched is None or seen.now - standby.launched >= UNNOTED
        return _joining(config, seen, "note", standby) if waited else None
    if standby.state != "running":
        return None
    # One that was left was deregistered for the next, and is up alone now.
    alone = bool(config.standby_target_group_arn) and not registered(standby.id, seen.targets)
    if since_start(standby, noted, RUNNING) is None or (alone and seen.left(standby)):
        return _joining(config, seen, "running", standby)
    if since_start(standby, noted, SERVING) is None and evidence(config, seen, standby)[0]:
        return Note("serving", standby.id, deregister=_left_behind(seen, standby))
    return None


def _joining(config: Config, seen: Observed, kind: Literal["note", "running"], standby: Instance) -> Note:
    """Return the note and, of a standby that runs, the registration that is due: it waits for no note."""
    group = config.standby_target_group_arn
    if standby.state != "running" or not group:
        return Note(kind, standby.id)
    leaving = _left_behind(seen, standby)
    if registered(standby.id, seen.targets):
        return Note(kind, standby.id, deregister=leaving)
    ports = _ports(config.active_instance_id, seen) or _ports(standby.id, seen)
    return Note(kind, standby.id, group, tuple(ports), leaving)


def _left_behind(seen: Observed, standby: Instance) -> tuple[tuple[str, int], ...]:
    """Return the other standbys that were left and are still registered, and their ports."""
    left = {other.id for other in seen.standbys if other.id != standby.id and seen.left(other)}
    return tuple(
        (target.id, target.port) for target in seen.targets if target.id in left and target.state != "draining"
    )


def overdue(config: Config, seen: Observed, standby: Instance) -> bool:
    """Tell whether the standby has run, or tried to, for StandbyGiveUpMinutes without coming to serve.

    If it passes its checks and no load balancer uses its group, nothing is known against it: another does no better.
    """
    noted, minutes = seen.notes(standby), config.standby_give_up_minutes
    began = _could_serve(config, seen, standby)
    if not minutes or began is None or since_start(standby, noted, SERVING) or evidence(config, seen, standby)[0]:
        return False
    if seen.passes(standby) and _idle(seen, standby):
        return False
    return seen.now - max(began, outage.began(seen)) >= timedelta(minutes=minutes)


def _could_serve(config: Config, seen: Observed, standby: Instance) -> datetime | None:
    """Return since when nothing kept it from serving: its start or, where there is a group, its registration.

    A registration that a hold forbids, or that ELB does not take, is no failure of the standby.  One that is not noted
    and whose health ELB has not found out is new: another run has made it, perhaps, whose note does not show yet.
    """
    noted = seen.notes(standby)
    started = time_of(noted.get(STARTED, ""))
    if not config.standby_target_group_arn or standby.state != "running":
        return started
    own = [target for target in seen.targets if target.id == standby.id and target.state != "initial"]
    return since_start(standby, noted, RUNNING) or (started if registered(standby.id, own) else None)


def evidence(config: Config, seen: Observed, standby: Instance) -> tuple[bool, Words]:
    """Return whether the standby serves, and the evidence: its status checks and its health in the target group."""
    status = next((status for status in seen.statuses if status.instance_id == standby.id), None)
    checks = status.text if status else "not known"
    en = f"{standby.id} is {standby.state}, status checks {checks}"
    ja = f"{standby.id} は {standby.state}、ステータスチェック {checks}"
    ready = seen.passes(standby)
    if config.standby_target_group_arn:
        own = [target for target in seen.targets if target.id == standby.id]
        states = [f"{target.port} {target.state} {target.reason}".strip() for target in own]
        health = ", ".join(states) or "not registered"
        en, ja = f"{en}, target {health}", f"{ja}、ターゲット {health}"
        if _idle(seen, standby):
            group = config.standby_target_group_arn
            en, ja = f"{en}: no load balancer uses {group}", f"{ja}: {group} を使用するロードバランサーがありません"
        healthy = all(target.healthy or target.state == "draining" for target in own)
        ready = ready and healthy and registered(standby.id, own)
    return ready, Words(en, ja)


def _idle(seen: Observed, standby: Instance) -> bool:
    """Tell whether no load balancer uses the group that the standby is in: all are unused, and not for their zone."""
    own = [target for target in seen.targets if target.id == standby.id]
    not_in_use = own and all(target.reason == "Target.NotInUse" for target in own)
    elsewhere = any("Availability Zone" in target.description for target in own)
    return bool(not_in_use) and not elsewhere and all(target.state == "unused" for target in seen.targets)


def make(config: Config, seen: Observed, change: Note) -> Step:
    """Make the step, unless another run turns out to have made it.

    The note comes last: if it cannot be written, what it is about is done and told, and the next run tries again.
    """
    standby = believed(ec2.instances([change.standby])[0], seen.active, seen.now)
    key = {"note": STARTED, "running": RUNNING, "serving": SERVING}[change.kind]
    noted = current(standby, seen.active)
    before = next(seen.notes(known).get(key) for known in seen.standbys if known.id == standby.id)
    if standby.state not in UP or (since_start(standby, noted, key) and noted[key] != before):
        return Step(change=None, reason=Words(f"another run has noted {key} on {standby.id}"))
    _enter(config, standby, change)
    at = {"note": standby.launched or seen.now, "running": seen.ran or seen.now, "serving": seen.now}[change.kind]
    since = outage.note(seen)
    noted_now = record.note(standby.id, since | {key: iso(at)}, over(standby, seen.active))
    # Only a step that it makes again, after another start, is news to those who were told the same last.
    again = bool(before) and noted_now
    made = Step(change=change, reason=evidence(config, seen, standby)[1], standby=standby, found=not again)
    if not noted_now:
        raise UnfinishedError(f"{key} could not be noted on {standby.id}", made)
    return made


def _enter(config: Config, standby: Instance, change: Note) -> None:
    """Make the group hold the standby instead of those that were left, as far as the change says so."""
    with env.naming("StandbyTargetGroupArn", group := config.standby_target_group_arn):
        if change.deregister:  # first: two that are registered could both serve
            elb.deregister_targets(group, [{"Id": name, "Port": port} for name, port in change.deregister])
        if change.register:
            elb.register_targets(
                group, [{"Id": standby.id, "Port": port} for port in change.ports] or [{"Id": standby.id}]
            )
            shown = patience.until(lambda: elb.target_health(group), lambda targets: registered(standby.id, targets))
            if not registered(standby.id, shown or ()):
                raise UnfinishedError(f"{standby.id} was registered in {group} and does not show there")


def _ports(instance_id: str, seen: Observed) -> list[int]:
    return sorted({target.port for target in seen.targets if target.id == instance_id})


def close(config: Config, change: Close) -> Step:
    """Remove what is noted about the outage, and notes of types that a person has restored."""
    there = [standby for standby in ec2.instances(config.standby_instance_ids) if not taken(standby, config.stack)]
    noted = [standby for standby in there if standby.tags.get(OUTAGE)]
    for standby in [standby for standby in there if standby in noted or restored(standby)]:
        if not record.forget(standby.id, ours(standby)):
            raise UnfinishedError(f"the notes on {standby.id} could not be removed")
    if not noted:
        return Step(change=None, reason=Words("no outage is noted"))
    up = [standby for standby in there if standby.state in UP]
    others = tuple(standby.id for standby in up[1:])
    return Step(change=change, reason=Words("the active is back"), standby=next(iter(up), None), others=others)
