"""See a standby through once it is up: noted, registered, serving; and close the outage when the active is back."""

from dataclasses import dataclass
from datetime import timedelta

from kirikae import ec2, elb, env
from kirikae.clock import iso
from kirikae.decision import Made
from kirikae.ec2 import Instance
from kirikae.errors import UnfinishedError
from kirikae.notify import Words
from kirikae.standby.notes import OUTAGE, RUNNING, SERVING, STARTED, current, ours, over, since_start
from kirikae.standby.world import UP, Close, Config, Note, Observed, outage_began

# The run that starts a standby notes it at once. One that stays without a note this long was started by somebody else,
# or by a run that did not live to note it.
UNNOTED = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Step(Made):
    """A step that was made; `standby` is as it was seen before, with the notes of its earlier steps."""

    change: Note | Close | None
    standby: Instance | None = None


def step(config: Config, seen: Observed, standby: Instance) -> Note | None:
    """Return the next step that is due for a standby that is up, if there is one."""
    noted = seen.notes(standby)
    if STARTED not in noted:
        waited = standby.launched is None or seen.now - standby.launched >= UNNOTED
        return Note("note", standby.id) if waited else None
    if standby.state != "running":
        return None
    if since_start(standby, noted, RUNNING) is None:
        group = config.standby_target_group_arn
        if not group or any(target.id == standby.id for target in seen.targets):
            return Note("running", standby.id)
        ports = sorted({target.port for target in seen.targets if target.id == config.active_instance_id})
        return Note("running", standby.id, group, tuple(ports))
    if since_start(standby, noted, SERVING) is None and evidence(config, seen, standby)[0]:
        return Note("serving", standby.id)
    return None


def evidence(config: Config, seen: Observed, standby: Instance) -> tuple[bool, Words]:
    """Return whether the standby serves, and the evidence: its status checks and its health in the target group."""
    status = next((status for status in seen.statuses if status.instance_id == standby.id), None)
    checks = f"{status.system}/{status.instance}/{status.application}" if status else "not known"
    en = f"{standby.id} is {standby.state}, status checks {checks}"
    ja = f"{standby.id} は {standby.state}、ステータスチェック {checks}"
    ready = status is not None and status.ready
    if config.standby_target_group_arn:
        own = [target for target in seen.targets if target.id == standby.id]
        states = [f"{target.port} {target.state} {target.reason}".strip() for target in own]
        health = ", ".join(states) or "not registered"
        en, ja = f"{en}, target {health}", f"{ja}、ターゲット {health}"
        ready = ready and bool(own) and all(target.healthy for target in own)
    return ready, Words(en, ja)


def make(config: Config, seen: Observed, change: Note) -> Step:
    """Make the step, unless another run turns out to have made it."""
    [standby] = ec2.instances([change.standby])
    key = {"note": STARTED, "running": RUNNING, "serving": SERVING}[change.kind]
    if standby.state not in UP or since_start(standby, current(standby, seen.active), key):
        return Step(change=None, reason=Words(f"another run has noted {key} on {standby.id}"))
    ec2.untag(standby.id, over(standby, seen.active))
    if group := change.register:
        with env.naming("StandbyTargetGroupArn", group):
            targets = [{"Id": standby.id, "Port": port} for port in change.ports] or [{"Id": standby.id}]
            elb.register_targets(group, targets)
            if not any(target.id == standby.id for target in elb.target_health(group)):
                raise UnfinishedError(f"{standby.id} was registered in {group} and does not show there")
    at = {"note": standby.launched or seen.now, "running": seen.ran or seen.now, "serving": seen.now}[change.kind]
    ec2.tag([standby.id], {OUTAGE: iso(outage_began(seen)), key: iso(at)})
    return Step(change=change, reason=evidence(config, seen, standby)[1], standby=standby)


def close(config: Config, change: Close) -> Step:
    """Remove what is noted about the outage."""
    noted = [standby for standby in ec2.instances(config.standby_instance_ids) if OUTAGE in standby.tags]
    for standby in noted:
        ec2.untag(standby.id, ours(standby))
    if not noted:
        return Step(change=None, reason=Words("another run has closed the outage"))
    up = next((standby for standby in noted if standby.state in UP), None)
    return Step(change=change, reason=Words("the active is back"), standby=up)
