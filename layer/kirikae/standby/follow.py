"""See a standby through once it is up: noted, registered, serving; and close the outage when the active is back."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from kirikae import ec2, elb, env, reconcile
from kirikae.ec2 import Instance
from kirikae.notify import Words
from kirikae.standby.notes import OUTAGE, RUNNING, SERVING, STARTED, current, ours, over, since_start, written
from kirikae.standby.world import UP, Config, Observed, outage

# The run that starts a standby notes it at once. One that stays without a note this long was started by somebody else,
# or by a run that did not live to note it.
UNNOTED = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Step(reconcile.Made):
    """A step that was made; `standby` is as it was seen before, with the notes of its earlier steps."""

    standby: Instance | None = None


def step(config: Config, seen: Observed, one: Instance) -> dict[str, Any] | None:
    """Return the next step that is due for a standby that is up, if there is one."""
    noted = seen.notes(one)
    if STARTED not in noted:
        waited = one.launched is None or seen.now - one.launched >= UNNOTED
        return {"note": one.id} if waited else None
    if one.state != "running":
        return None
    if since_start(one, noted, RUNNING) is None:
        group = config.standby_target_group_arn
        if not group or any(target.id == one.id for target in seen.targets):
            return {"running": one.id}
        return {"running": one.id, "register": group, "ports": ports(config, seen)}
    if since_start(one, noted, SERVING) is None and evidence(config, seen, one)[0]:
        return {"serving": one.id}
    return None


def ports(config: Config, seen: Observed) -> list[int]:
    """Return the ports on which the active is registered; none means the group's own."""
    return sorted({target.port for target in seen.targets if target.id == config.active_instance_id})


def evidence(config: Config, seen: Observed, one: Instance) -> tuple[bool, Words]:
    """Tell whether the standby serves, by its status checks and by its health in the target group, and say why."""
    status = next((status for status in seen.statuses if status.instance_id == one.id), None)
    checks = f"{status.system}/{status.instance}/{status.application}" if status else "not known"
    said = f"{one.id} is {one.state}, status checks {checks}"
    said_ja = f"{one.id} は {one.state}、ステータスチェック {checks}"
    ready = status is not None and status.ready
    if config.standby_target_group_arn:
        own = [target for target in seen.targets if target.id == one.id]
        health = (
            ", ".join(f"{target.port} {target.state} {target.reason}".strip() for target in own) or "not registered"
        )
        said, said_ja = f"{said}, target {health}", f"{said_ja}、ターゲット {health}"
        ready = ready and bool(own) and all(target.healthy for target in own)
    return ready, Words(said, said_ja)


def make(config: Config, seen: Observed, change: Mapping[str, Any]) -> Step:
    """Make the step, unless a look right before shows that another run has made it."""
    if "close" in change:
        return _close(config, change)
    [(kind, name)] = [(kind, change[kind]) for kind in ("note", "running", "serving") if kind in change]
    key = {"note": STARTED, "running": RUNNING, "serving": SERVING}[kind]
    [one] = ec2.instances([name])
    if one.state not in UP or since_start(one, current(one, seen.active), key):
        return Step(change=None, reason=Words(f"another run has noted {key} on {name}"))
    found = outage(seen)
    began = found.began if found else seen.now
    said = evidence(config, seen, one)[1]
    if past := over(one, seen.active):
        ec2.untag(name, past)
    if "register" in change:
        _register(change["register"], name, change["ports"])
    at = {"note": one.launched or seen.now, "running": seen.ran or seen.now, "serving": seen.now}[kind]
    ec2.tag([name], {OUTAGE: written(began), key: written(at)})
    return Step(change=change, reason=said, standby=one)


def _register(group: str, instance_id: str, on: list[int]) -> None:
    """Register the standby and read it back."""
    with env.naming("StandbyTargetGroupArn", group):
        elb.register(group, instance_id, on)
        if not any(target.id == instance_id for target in elb.target_health(group)):
            raise reconcile.UnfinishedError(f"{instance_id} was registered in {group} and does not show there")


def _close(config: Config, change: Mapping[str, Any]) -> Step:
    """Remove what is noted about the outage."""
    noted = [one for one in ec2.instances(config.standby_instance_ids) if OUTAGE in one.tags]
    for one in noted:
        ec2.untag(one.id, ours(one))
    if not noted:
        return Step(change=None, reason=Words("another run has closed the outage"))
    up = next((one for one in noted if one.state in UP), None)
    return Step(change=change, reason=Words("the active is back"), standby=up)
