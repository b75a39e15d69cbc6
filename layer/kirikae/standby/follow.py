"""See a standby through once it is up: noted, registered, serving; and close the outage when the active is back."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from kirikae import ec2, elb, env, patience
from kirikae.clock import iso
from kirikae.decision import Made
from kirikae.ec2 import Instance
from kirikae.errors import UnfinishedError
from kirikae.notify import Words
from kirikae.standby import outage, ports, record
from kirikae.standby.give_up import idle, unsure, wrong_ports
from kirikae.standby.notes import (
    NO_PORT,
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
)
from kirikae.standby.world import HEALTH, UP, Close, Config, Note, Observed, registered, to_fence

# The run that starts a standby notes it at once. One that stays without a note this long was started by somebody else,
# or by a run that did not live to note it.
UNNOTED = timedelta(minutes=1)
# So long a standby that runs waits for target health, which tells the active's ports; then it enters on the group's.
UNREAD = timedelta(minutes=2)
BEGUN = OUTAGE, STARTED


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
    alone = config.standby_target_group_arn and HEALTH not in seen.unread and not registered(standby.id, seen.targets)
    entered = since_start(standby, noted, RUNNING) is not None and not unsure(config, seen, standby)
    if not entered or (alone and seen.left(standby)):
        return None if _waits(config, seen, standby) else _joining(config, seen, "running", standby)
    if since_start(standby, noted, SERVING) is None:
        serves = evidence(config, seen, standby)[0]
        return Note("serving", standby.id, deregister=_left_behind(seen, standby)) if serves else None
    # FenceActive was set since then, or the active that ran on is down.
    return Note("running", standby.id) if to_fence(config, seen) or outage.alone(seen, noted) else None


def _joining(config: Config, seen: Observed, kind: Literal["note", "running"], standby: Instance) -> Note:
    """Return the note and, of a standby that runs, the registration that is due: it waits for no note."""
    group = config.standby_target_group_arn
    if standby.state != "running" or not group or _waits(config, seen, standby):
        return Note(kind, standby.id)
    leaving = *_left_behind(seen, standby), *wrong_ports(config, seen, standby)
    lacking = ports.missing(config, seen, standby)
    if registered(standby.id, seen.targets) and not lacking:
        return Note(kind, standby.id, deregister=leaving)
    return Note(kind, standby.id, group, lacking or ports.held(standby.id, seen.targets, draining=True), leaving)


def _waits(config: Config, seen: Observed, standby: Instance) -> bool:
    """Tell whether the registration waits for target health, without which nobody knows the active's ports."""
    began = max(filter(None, [standby.launched, outage.began(seen)]))
    unknown = HEALTH in seen.unread and not ports.wanted(config, seen)
    return bool(config.standby_target_group_arn) and unknown and seen.now - began < UNREAD


def second(seen: Observed, change: Note) -> bool:
    """Tell whether the change would register a second standby that is up, as far as is known."""
    others = HEALTH in seen.unread or any(
        registered(standby.id, seen.targets) for standby in seen.up if standby.id != change.standby
    )
    return bool(change.register) and others


def _left_behind(seen: Observed, standby: Instance) -> tuple[tuple[str, int], ...]:
    """Return the other standbys that were left and are still registered, and their ports."""
    left = {other.id for other in seen.standbys if other.id != standby.id and seen.left(other)}
    return tuple(
        (target.id, target.port) for target in seen.targets if target.id in left and target.state != "draining"
    )


def evidence(config: Config, seen: Observed, standby: Instance) -> tuple[bool, Words]:
    """Return whether the standby serves, and the evidence: its status checks and its health in the target group."""
    status = next((status for status in seen.statuses if status.instance_id == standby.id), None)
    checks = status.text if status else "not known"
    en = f"{standby.id} is {standby.state}, status checks {checks}"
    ja = f"{standby.id} は {standby.state}、ステータスチェック {checks}"
    ready = seen.passes(standby)
    if config.standby_target_group_arn:
        lacking, own = ports.missing(config, seen, standby), ports.own(config, seen, standby)
        states = [f"{target.port} {target.state} {target.reason}".strip() for target in own]
        if HEALTH in seen.unread:
            health = "not known"
        else:
            health = ", ".join([*states, *(f"{port} not registered" for port in lacking)]) or "not registered"
        en, ja = f"{en}, target {health}", f"{ja}、ターゲット {health}"
        if idle(seen, standby):
            group = config.standby_target_group_arn
            en, ja = f"{en}: no load balancer uses {group}", f"{ja}: {group} を使用するロードバランサーがありません"
        ready = ready and ports.healthy(config, seen, standby)
    return ready, Words(en, ja)


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
    blind = change.register and HEALTH in seen.unread and not change.ports
    notes = {key: iso(at)} | ({RUNNING: f"{iso(seen.ran or seen.now)} {NO_PORT}"} if blind else {})
    notes = outage.note(seen) | outage.alone(seen, noted) | ports.unnoted(config, seen) | notes
    noted_now = record.note(standby.id, notes, over(standby, seen.active))
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
            held = patience.until(lambda: ports.held(standby.id, elb.target_health(group)), change.is_entered)
            if held is not None and not change.is_entered(held):
                raise UnfinishedError(f"{standby.id} was registered in {group} and does not show there")


def close(config: Config, seen: Observed, change: Close) -> Step:
    """Remove what is noted about the outage, and notes of types that a person has restored.

    Not if another run has noted something since the decision: the active may have failed anew, and a standby start.
    """
    there = [standby for standby in ec2.instances(s.id for s in seen.standbys) if not taken(standby, config.stack)]
    before = {standby.id: standby.tags for standby in seen.standbys}
    if anew := [s.id for s in there if any(s.tags.get(key, "") not in ("", before[s.id].get(key)) for key in BEGUN)]:
        return Step(change=None, reason=Words(f"another run has noted an outage on {', '.join(anew)}"))
    noted = [standby for standby in there if standby.tags.get(OUTAGE)]
    for standby in [standby for standby in there if standby in noted or restored(standby)]:
        if not record.forget(standby.id, ours(standby)):
            raise UnfinishedError(f"the notes on {standby.id} could not be removed")
    if not noted:
        return Step(change=None, reason=Words("no outage is noted"))
    up = [standby for standby in there if standby.state in UP]
    others = tuple(standby.id for standby in up[1:])
    return Step(change=change, reason=Words("the active is back"), standby=next(iter(up), None), others=others)
