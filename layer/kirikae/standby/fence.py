"""Stop first what must not serve beside the standby: the active, and a standby that was left."""

from botocore.exceptions import ClientError

from kirikae import ec2, patience
from kirikae.clock import iso
from kirikae.ec2 import GONE
from kirikae.standby import outage, record
from kirikae.standby.notes import OUTAGE, UNFENCED, over, value
from kirikae.standby.run import Done, Run


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
                waits = f"{name} is {state}; a standby starts when it is seen stopped"
                return run.came_to(waits, waits=True, news=False)
        run.fences.pop(0)
    return None


def _down(name: str) -> str:
    """Return the state of what could not be stopped, once that is shown to be down, or at the end of the patience."""
    down = (*ec2.DOWN, ec2.MISSING)
    return patience.until(lambda: ec2.instances([name])[0].state, lambda state: state in down) or "not known"


def _unfenced(run: Run, name: str, problem: str) -> Done:
    """Note that it could not be stopped, so that the next run does not mail it again."""
    seen = run.seen
    known = any(UNFENCED in seen.notes(standby) for standby in seen.standbys)
    if not known:
        note = {OUTAGE: iso(outage.began(seen)), UNFENCED: value(iso(seen.now), f"{name}: {problem}")}
        for standby in seen.standbys:
            if standby.state not in GONE:
                record.note(standby.id, note, over(standby, seen.active))
    text = f"{name} could not be stopped, so no standby is started: {problem}"
    return run.came_to(text, unfenced=f"{name}: {problem}", news=not known, lasts=known)
