"""Stop first what must not serve beside the standby: the active, and a standby that was left."""

from botocore.exceptions import ClientError

from kirikae import ec2, patience
from kirikae.clock import iso
from kirikae.ec2 import GONE
from kirikae.standby import outage, record
from kirikae.standby.notes import UNFENCED, over, value
from kirikae.standby.run import Done, Run
from kirikae.standby.world import Config, Note, Observed, Start


def fence(run: Run) -> Done | None:
    """Stop what may still serve; return what came of the run if that forbids a start now."""
    while run.fences:
        name = run.fences[0]
        try:
            (before, state), problem = ec2.stop(name), ""
        except ClientError as error:  # whatever EC2 has against it: unless it is down all the same, nothing is started
            before, state, problem = "", _down(name), str(error)
        if state not in ec2.DOWN and state != ec2.MISSING:
            return _unfenced(run, name, problem or f"it is {state}")
        if name == run.seen.active.id:
            run.fenced = name if before in ("pending", "running") else None
            if run.config.strict and state not in ("stopped", "terminated", ec2.MISSING):
                then = f"{run.beside} takes its place" if run.beside else "a standby starts"
                waits = f"{name} is {state}; {then} when it is seen stopped"
                return run.came_to(waits, waits=True, news=False)
        run.fences.pop(0)
    return None


def first(config: Config, seen: Observed, change: Note) -> Done | None:
    """Stop the active before a standby that is up takes its place; None if it is down already, or is not to be stopped.

    The run that stops it goes no further: it tells that at once, and the next run makes the step.
    """
    run = Run(config, seen, Start(()), [change.fence] if change.fence else [], change.standby)
    done = fence(run)
    if done or not run.fenced:
        return done
    return run.came_to(f"{run.fenced} was stopped; {change.standby} is up and takes its place", news=False)


def _down(name: str) -> str:
    """Return the state of what could not be stopped, once that is shown to be down, or at the end of the patience."""
    down = (*ec2.DOWN, ec2.MISSING)
    return patience.until(lambda: ec2.instances([name])[0].state, lambda state: state in down) or "not known"


def _unfenced(run: Run, name: str, problem: str) -> Done:
    """Note that it could not be stopped, so that the next run does not mail it again."""
    seen = run.seen
    known = any(f" {name}: " in seen.notes(standby).get(UNFENCED, "") for standby in seen.standbys)
    noted = not known
    if not known:
        note = outage.note(seen) | {UNFENCED: value(iso(seen.now), f"{name}: {problem}")}
        for standby in seen.standbys:
            if standby.state not in GONE:
                noted = record.note(standby.id, note, over(standby, seen.active)) and noted
    without = f"{run.beside} does not take its place" if run.beside else "no standby is started"
    text = f"{name} could not be stopped, so {without}: {problem}"
    return run.came_to(text, unfenced=f"{name}: {problem}", news=not known, lasts=known, found=not noted)
