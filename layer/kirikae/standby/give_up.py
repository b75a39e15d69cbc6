"""When a standby is left for the next: it is known not to serve, and had its time."""

from datetime import datetime, timedelta

from kirikae.ec2 import Instance
from kirikae.standby import outage, ports
from kirikae.standby.notes import NO_PORT, RUNNING, SERVING, STARTED, since_start, time_of
from kirikae.standby.world import HEALTH, Config, Observed, registered


def overdue(config: Config, seen: Observed, standby: Instance) -> bool:
    """Tell whether the standby has run, or tried to, for StandbyGiveUpMinutes without coming to serve.

    If it passes its checks and no load balancer uses its group, nothing is known against it: another does no better.
    """
    noted, minutes = seen.notes(standby), config.standby_give_up_minutes
    began = _could_serve(config, seen, standby)
    if not minutes or began is None or since_start(standby, noted, SERVING) or not fails(config, seen, standby):
        return False
    if unsure(config, seen, standby) or (not seen.fails(standby) and idle(seen, standby)):
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
    ready = registered(standby.id, own) and not ports.missing(config, seen, standby)
    return since_start(standby, noted, RUNNING) or (started if ready else None)


def unsure(config: Config, seen: Observed, standby: Instance) -> bool:
    """Tell whether the standby entered on the group's port, does not serve there, and the active is on others.

    Or it has just moved to those, and the note of that does not show yet.
    """
    if not seen.notes(standby).get(RUNNING, "").endswith(NO_PORT) or HEALTH in seen.unread:
        return False
    moved = ports.wanted(config, seen) and any(t.state == "initial" for t in ports.own(config, seen, standby))
    return bool(ports.missing(config, seen, standby) or moved)


def wrong_ports(config: Config, seen: Observed, standby: Instance) -> tuple[tuple[str, int], ...]:
    """Return where such a standby is registered and is not the active's place."""
    if not unsure(config, seen, standby):
        return ()
    held, active = ports.held(standby.id, seen.targets), ports.wanted(config, seen)
    return tuple((standby.id, port) for port in held if port not in active)


def fails(config: Config, seen: Observed, standby: Instance) -> bool:
    """Tell whether the standby is known not to serve: what could not be read says nothing against it."""
    in_group = bool(config.standby_target_group_arn) and HEALTH not in seen.unread
    return standby.state != "running" or seen.fails(standby) or (in_group and not ports.healthy(config, seen, standby))


def served(config: Config, seen: Observed, standby: Instance) -> bool:
    """Tell whether the standby is noted as serving, and nothing is known against it now."""
    return since_start(standby, seen.notes(standby), SERVING) is not None and not fails(config, seen, standby)


def idle(seen: Observed, standby: Instance) -> bool:
    """Tell whether no load balancer uses the group that the standby is in: all are unused, and not for their zone."""
    own = [target for target in seen.targets if target.id == standby.id]
    not_in_use = own and all(target.reason == "Target.NotInUse" for target in own)
    elsewhere = any("Availability Zone" in target.description for target in own)
    return bool(not_in_use) and not elsewhere and all(target.state == "unused" for target in seen.targets)
