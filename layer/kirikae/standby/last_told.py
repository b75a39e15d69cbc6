"""What people were told last, as a memory of the outage where the standbys can hold none."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from kirikae import clock, ec2, told
from kirikae.ec2 import Instance
from kirikae.standby import outage
from kirikae.standby.notes import stack_of
from kirikae.standby.world import UP, Config, Observed
from kirikae.told import State

STANDBY, NOT_NOTED = "standby", "not noted"  # keys of what people know
NONE = "none could be started"
# The first run of an outage has nothing to remember, and asks nobody.
FRESH = timedelta(minutes=1)


def none_started(unnoted: Iterable[str]) -> State:
    """Return what people know once none could be started; unnoted: those that failed without a note."""
    named = " ".join(unnoted)
    return {STANDBY: NONE} | ({NOT_NOTED: named} if named else {})


def recall(config: Config, seen: Observed) -> Observed:
    """Add which candidates failed without a note, and a standby that serves though the parameters name it no more."""
    began = outage.began(seen)
    if seen.up or timedelta() < seen.now - began < FRESH:
        return seen
    note = told.read(config.told_parameter)
    if note is None:
        return seen
    since = began if began < seen.now else seen.active.launched
    if note.known.get(STANDBY) == NONE and (since is None or note.at >= since):
        return replace(seen, unnoted=tuple(note.known.get(NOT_NOTED, "").split()), told_at=note.at)
    name, _, how = note.known.get(STANDBY, "").partition(" ")
    if how not in ("started", "serving") or name in (config.active_instance_id, *config.standby_instance_ids):
        return seen
    [other] = ec2.instances([name])
    return replace(seen, dropped=other) if other.state in UP and stack_of(other) == seen.stack else seen


def stands_in(other: Instance) -> str:
    """Return why none is started beside a standby that the parameters name no more, and what to do."""
    wanted = "name it there, make it ActiveInstanceId, or stop it"
    return f"{other.id} is {other.state} and stands in, and StandbyInstanceIds names it no more: {wanted}"


def tried_again(config: Config, unnoted: Iterable[str]) -> None:
    """Remember when the candidates that cannot be noted were tried last: the next try waits longer."""
    note = told.read(config.told_parameter) or told.Note()
    told.close(config.told_parameter, {**note.kept, **none_started(unnoted)}, clock.now())
