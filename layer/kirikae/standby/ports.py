"""The ports on which a standby is registered in the active's place: the target group shows them, or a note does."""

from datetime import timedelta

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import clock, elb
from kirikae.ec2 import Instance
from kirikae.elb import Target
from kirikae.log import logger
from kirikae.standby import record
from kirikae.standby.notes import NO_PORT, PORTS, RUNNING, value
from kirikae.standby.world import Config, Observed, registered

# An ELB that does not answer takes a run 15 seconds: with no more before it, the time is left to mail what was done.
EARLY = timedelta(seconds=5)


def wanted(config: Config, seen: Observed) -> tuple[int, ...]:
    """Return the active's ports; none if nobody knows them.

    Those on which it only drains count last: an outage may drain all of them, but a move to another port does so, too.
    """
    notes = (seen.notes(standby).get(PORTS, "") for standby in seen.standbys)
    noted = [int(word) for note in notes for word in note.split(" ") if word.isdecimal()]
    active = config.active_instance_id
    return held(active, seen.targets) or tuple(sorted(set(noted))) or held(active, seen.targets, draining=True)


def held(instance_id: str, targets: tuple[Target, ...], *, draining: bool = False) -> tuple[int, ...]:
    """Return the ports on which an instance is registered, with or without those on which it drains."""
    return tuple(sorted({t.port for t in targets if t.id == instance_id and (draining or t.state != "draining")}))


def missing(config: Config, seen: Observed, standby: Instance) -> tuple[int, ...]:
    """Return the active's ports on which a standby is not registered."""
    return tuple(sorted(set(_of(config, seen, standby)) - set(held(standby.id, seen.targets))))


def _of(config: Config, seen: Observed, standby: Instance) -> tuple[int, ...]:
    """Return the ports on which a standby belongs; none if nobody knows, or it serves where it entered unknowing."""
    unknowing = seen.notes(standby).get(RUNNING, "").endswith(NO_PORT)
    return () if unknowing and seen.healthy(standby) else wanted(config, seen)


def own(config: Config, seen: Observed, standby: Instance) -> tuple[Target, ...]:
    """Return a standby's targets on the ports on which it belongs, all of them if nobody knows those."""
    belongs = _of(config, seen, standby)
    return tuple(t for t in seen.targets if t.id == standby.id and (t.port in belongs or not belongs))


def healthy(config: Config, seen: Observed, standby: Instance) -> bool:
    """Tell whether a standby is known to be healthy on every one of the active's ports that it does not leave."""
    there = own(config, seen, standby)
    entered = registered(standby.id, there) and not missing(config, seen, standby)
    return entered and all(target.healthy or target.state == "draining" for target in there)


def unnoted(config: Config, seen: Observed) -> dict[str, str]:
    """Return the note of the active's ports that is still to be made, {} without any: with the steps of a standby."""
    noted = any(PORTS in seen.notes(standby) for standby in seen.standbys)
    found = () if noted or not config.standby_target_group_arn else wanted(config, seen)
    return {PORTS: value(*map(str, found))} if found else {}


def keep(config: Config, seen: Observed, standby_id: str) -> None:
    """Note the active's ports on a standby with notes of this outage, once: a terminated active leaves its group.

    After the start, because no question to ELB stands before one; what it has no time for, or cannot be made, is left
    to the run that registers a standby, and to the next one that starts none.
    """
    group = config.standby_target_group_arn
    noted = any(PORTS in seen.notes(standby) for standby in seen.standbys)
    if not group or noted or clock.now() - seen.now > EARLY:
        return
    try:
        targets = elb.target_health(group)
    except (ClientError, BotoCoreError) as error:
        logger.warning("the active's ports cannot be read", group=group, problem=str(error))
        return
    active = config.active_instance_id
    if found := held(active, targets) or held(active, targets, draining=True):
        record.note(standby_id, {PORTS: value(*map(str, found))})
