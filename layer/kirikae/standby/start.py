"""Start one standby: try the candidates in order, stop first what must not serve beside it, record the result in tags.

Only one candidate is started for one outage, also when runs overlap.  A run tries a candidate only when every earlier
one is gone or carries FAILED, and after that looks again at all of them.  Another run can start an earlier one only
before it carries FAILED, and is seen by this look; or not at all, because IAM denies the function the start of an
instance that carries FAILED.  FAILED is removed by value only, and only by a run that begins longer after it was
written than any run lives.  A FAILED that EC2 does not let us write protects nothing, but keeps no standby down: a run
then passes an earlier one of which people were told that it failed (`last_told`), or whose start EC2 itself shows to
have fallen back.
"""

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import clock, ec2, patience
from kirikae.ec2 import GONE, Instance
from kirikae.errors import OtherRunError, UnfinishedError
from kirikae.standby import ask, fence, ladder, last_told, lineup, ports, record
from kirikae.standby.follow import evidence
from kirikae.standby.notes import (
    FAILED,
    FELL_BACK,
    GAVE_UP,
    OF_START,
    REFUSED,
    SERVING,
    believed,
    current,
    failure,
    own_type,
    since_start,
    taken,
)
from kirikae.standby.run import TRYING, Done, Run
from kirikae.standby.world import UP, Config, Observed, Start, Started


def start(config: Config, seen: Observed, change: Start) -> Done:
    """Bring up the first candidate that EC2 starts; never more than one."""
    standbys = {standby.id: standby for standby in seen.standbys}
    leaving = [standbys[name] for name in change.leave or () if config.fences]
    fences = [*filter(None, [change.fence]), *(standby.id for standby in leaving if standby.state in UP)]
    run = Run(config, seen, change, fences)
    try:
        _note_fallen(run, [standbys[name] for name in change.fallen])
        if stays := _note_left(run, [standbys[name] for name in change.leave or ()]):
            return run.came_to(f"{stays} stays for now: that it is left could not be noted", news=bool(run.failed))
        for name in change.start:
            if done := _try(run, standbys[name]):
                return done
        return _nothing(run)
    except OtherRunError as other:
        return run.came_to(str(other), news=False)
    except (ClientError, BotoCoreError) as error:
        if not run.fenced:
            raise
        run.failed.setdefault("EC2", str(error))
        raise UnfinishedError(str(error), run.came_to(str(error))) from error


def _try(run: Run, candidate: Instance) -> Done | None:
    """Start the candidate; return what came of the run, None if the next candidate is to be tried."""
    ends = run.seen.now + TRYING
    if run.failed or run.left:
        if clock.now() >= ends:
            return run.came_to("time is up; the next run tries the other candidates", through=False, news=False)
        _look_again(run, candidate.id)
    if candidate.tags.get(FAILED):  # only as it was seen: what another run has noted since stays, and forbids the start
        record.forget(candidate.id, {FAILED: candidate.tags[FAILED]})
    if run.fences:
        try:
            ask.permission(candidate.id)
        except ClientError as error:
            why = ladder.refusal(candidate, error)
            _count(run, candidate, REFUSED, why)
            return None
        if done := fence.fence(run):
            return done
    climbed = ladder.climb(run.config, run.seen, candidate, bool(run.change.retry), ends)
    if now := climbed.started:
        if climbed.noted:
            ports.keep(run.config, run.seen, now.id)
        own = own_type(candidate)
        made = Started(run.fenced, now.id, now.type)
        text = f"the start of {now.id} was accepted"
        return run.came_to(
            text,
            change=made,
            started=now,
            own_type=own if own != now.type else "",
            before=climbed.problems,
            found=not climbed.noted,
        )
    if climbed.through:
        _count(run, candidate, REFUSED, climbed.problems)
        return None
    run.failed[candidate.id] = climbed.problems
    return run.came_to("time is up; the next run tries the other types", through=False, news=False)


def _count(run: Run, candidate: Instance, how: str, why: str, *gone: str) -> None:
    """Count the candidate as failed, in its notes if they can be written."""
    if not ladder.note_failed(run.seen, candidate, how, why, *gone, patient=not run.unnoted):
        run.unnoted.append(candidate.id)
    run.failed[candidate.id] = why


def _note_fallen(run: Run, fallen: list[Instance]) -> None:
    """Count candidates whose start fell back as failed, with EC2's own reason; and what hangs, until it has stopped."""
    for standby in fallen:
        if not lineup.fell(run.seen, standby):
            _count(run, standby, REFUSED, "it hangs in stopping")
            continue
        _count(run, standby, FELL_BACK, standby.reason or "no reason given", *OF_START)
        run.failed[standby.id] = f"its start was accepted and fell back: {standby.reason}"


def _note_left(run: Run, leaving: list[Instance]) -> str:
    """Count standbys that run and never came to serve as failed, so that the next one may start.

    Return the one for which that could not be noted: later runs would take its stop for a person's.
    """
    for standby in leaving:
        [present] = ec2.instances([standby.id])
        if since_start(present, current(present, run.seen.active), SERVING):
            raise OtherRunError(f"{standby.id} serves now")
        if not run.seen.left(standby):
            why = evidence(run.config, run.seen, standby)[1].en
            if not ladder.note_failed(run.seen, standby, GAVE_UP, why):
                return standby.id
            run.left[standby.id] = why
            if standby.id in run.fences:
                _see_left(run.config, standby.id)
    return ""


def _see_left(config: Config, standby_id: str) -> None:
    """Look until the question with which every run begins shows that note: who sees the stop first would misread it."""
    every = config.active_instance_id, *config.standby_instance_ids
    patience.until(
        lambda: ec2.instances(every), lambda shown: any(i.id == standby_id and FAILED in i.tags for i in shown)
    )


def _look(run: Run) -> dict[str, Instance]:
    """Return the candidates as they are now; stop here if one that is not to be left is up.

    One that another stack has taken is none, neither as it was seen nor as it is now.
    """
    present = [
        standby
        for standby in ec2.instances(standby.id for standby in run.seen.standbys)
        if not taken(standby, run.config.stack)
    ]
    shown = {standby.id: believed(standby, run.seen.active, clock.now()) for standby in present}
    for standby in shown.values():
        found = failure(current(standby, run.seen.active).get(FAILED, ""))
        left = standby.id in (run.change.leave or ()) or (found and found[1] == GAVE_UP)
        if _started_since(run, standby) and not left:
            raise OtherRunError(f"{standby.id} is {standby.state}: another run has started it")
    return shown


def _started_since(run: Run, standby: Instance) -> bool:
    """Tell whether it is up by another start than this run has seen the end of: EC2 may still show what was before."""
    [before] = [known for known in run.seen.standbys if known.id == standby.id]
    ended = before.state not in UP and before.launched and standby.launched and standby.launched <= before.launched
    return standby.state in UP and not ended


def _look_again(run: Run, candidate_id: str) -> None:
    """Make sure, right before a start, that every earlier candidate is out and none is up."""
    order, shown = run.config.standby_instance_ids, _look(run)
    if candidate_id not in shown:
        raise OtherRunError(f"another stack has taken {candidate_id}")
    for standby in shown.values():
        earlier = order.index(standby.id) < order.index(candidate_id)
        out = (
            standby.state in GONE
            or standby.tags.get(FAILED)
            or standby.id in (*run.failed, *(run.change.leave or ()), *run.seen.unnoted)
        )
        if earlier and not out:
            raise OtherRunError(f"another run tries {standby.id}")


def _nothing(run: Run) -> Done:
    """Return that no standby was started, unless another run was luckier; mail it if it is news."""
    _look(run)
    seen, change = run.seen, run.change
    named = "; ".join(f"{name}: {why}" for name, why in run.failed.items())
    waiting = bool(lineup.awaited(seen)) and not change.fallen
    news = bool(run.fenced) or bool(run.left) or not (change.retry or waiting)
    if noted := [standby.id for standby in seen.standbys if standby.id in run.failed.keys() - set(run.unnoted)]:
        ports.keep(run.config, seen, noted[0])
    if news and clock.now() < seen.now + TRYING:  # EC2 may not show yet what another run has just started
        patience.until(lambda: _look(run), lambda _shown: False)
    if change.retry and run.unnoted:
        last_told.tried_again(run.config, tuple(run.unnoted))
    return run.came_to(f"no standby was started: {named}", news=news)
