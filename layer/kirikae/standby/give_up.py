"""When a standby is left for the next: it is known not to serve, and had its time."""

from datetime import datetime, timedelta

from kirikae.ec2 import Instance
from kirikae.standby import outage
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
    if wrong_ports(seen, standby) or (not seen.fails(standby) and idle(seen, standby)):
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


def wrong_ports(seen: Observed, standby: Instance) -> tuple[tuple[str, int], ...]:
    """Return where a standby is registered that entered on the group's port, and the active turns out not to be."""
    ports = {target.port for target in seen.targets if target.id == seen.active.id}
    own = [(standby.id, target.port) for target in seen.targets if target.id == standby.id and target.port not in ports]
    unsure = seen.notes(standby).get(RUNNING, "").endswith(NO_PORT)
    return tuple(own) if unsure and ports and not seen.healthy(standby) else ()


def fails(config: Config, seen: Observed, standby: Instance) -> bool:
    """Tell whether the standby is known not to serve: what could not be read says nothing against it."""
    in_group = bool(config.standby_target_group_arn) and HEALTH not in seen.unread
    return standby.state != "running" or seen.fails(standby) or (in_group and not seen.healthy(standby))


def served(config: Config, seen: Observed, standby: Instance) -> bool:
    """Tell whether the standby is noted as serving, and nothing is known against it now."""
    return since_start(standby, seen.notes(standby), SERVING) is not None and not fails(config, seen, standby)


def idle(seen: Observed, standby: Instance) -> bool:
    """Tell whether no load balancer uses the group that the standby is in: all are unused, and not for their zone."""
    own = [target for target in seen.targets if target.id == standby.id]
    not_in_use = own and all(target.reason == "Target.NotInUse" for target in own)
    elsewhere = any("Availability Zone" in target.description for target in own)
    return bool(not_in_use) and not elsewhere and all(target.state == "unused" for target in seen.targets)
