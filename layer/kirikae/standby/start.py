"""Start one standby: stop the active if asked, try candidates and types in order, record the result in tags.

Only one candidate is started for one outage, also when runs overlap.  A run tries a candidate only when every earlier
one is gone or carries FAILED, and after that looks again at all of them.  Another run can start an earlier one only
before it carries FAILED, and is seen by this look; or not at all, because IAM denies the function the start of an
instance that carries FAILED.  FAILED is removed by value only, and only by a run that begins longer after it was
written than any run lives.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from botocore.exceptions import ClientError

from kirikae import clock, ec2
from kirikae.clock import iso
from kirikae.decision import Made
from kirikae.ec2 import GONE, Instance
from kirikae.errors import OtherRunError
from kirikae.notify import Words
from kirikae.standby.notes import FAILED, FELL_BACK, OF_START, OUTAGE, REFUSED, STARTED, TYPE, UNFENCED, over, value
from kirikae.standby.world import UP, Config, Observed, Start, Started, outage_began

# This type or this candidate cannot be started now, another one may: capacity, limits, the instance itself.
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
# fmt: off
NOT_THIS_ONE = frozenset({
    "InsufficientAddressCapacity", "InsufficientCapacity", "InsufficientHostCapacity", "InsufficientInstanceCapacity",
    "InsufficientReservedInstanceCapacity", "ReservationCapacityExceeded",
    "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded", "ResourceCountExceeded", "VcpuLimitExceeded",
    "VolumeLimitExceeded", "PendingVerification",
    "IncorrectSpotRequestState", "InvalidHostState", "InvalidInstanceAttributeValue", "InvalidInstanceType",
    "InvalidParameterCombination", "InvalidParameterValue", "Unsupported", "UnsupportedHostConfiguration",
    "UnsupportedInstanceTypeOnHost", "UnsupportedOperation",
})
# fmt: on
NOT_STOPPED = frozenset({"IncorrectInstanceState", "IncorrectState"})


@dataclass(frozen=True, kw_only=True)
class Done(Made):
    """What came of a start."""

    change: Started | None
    unfenced: str = ""  # why the active could not be stopped
    started: Instance | None = None  # as it is right afterwards
    own_type: str = ""  # of the started standby, if another type was set
    failed: Mapping[str, str] = field(default_factory=dict)  # candidate -> why, those of this run
    news: bool = True  # not mailed yet


def start(config: Config, seen: Observed, change: Start) -> Done:
    """Bring up the first candidate that EC2 starts; never more than one."""
    candidates = {standby.id: standby for standby in seen.standbys}
    if change.fence and (problem := _fence(change.fence)):
        return _unfenced(seen, problem)
    done = Done(change=Started(change.fence) if change.fence else None, reason=Words(""))
    try:
        failed = _note_fallen(config, seen, [candidates[name] for name in change.fallen])
        for name in change.start:
            if failed:
                _look_again(config, name)
            result = _start_candidate(config, seen, candidates[name])
            if isinstance(result, Instance):
                own = candidates[name].type if result.type != candidates[name].type else ""
                made = Started(change.fence, name, result.type)
                accepted = Words(f"the start of {name} was accepted")
                return replace(done, change=made, reason=accepted, started=result, own_type=own, failed=failed)
            failed[name] = result
    except OtherRunError as other:
        return replace(done, reason=Words(str(other)), news=False)
    named = "; ".join(f"{name}: {why}" for name, why in failed.items())
    waiting = any(standby.state == "stopping" for standby in seen.standbys) and not change.fallen
    reason = Words(f"no standby was started: {named}")
    return replace(done, reason=reason, failed=failed, news=not change.retry and not waiting)


def _fence(active_id: str) -> str:
    """Stop the active; return why EC2 does not, or "" when it is on its way down."""
    try:
        state, problem = ec2.stop(active_id), ""
    except ClientError as error:  # whatever EC2 has against it: unless it is down all the same, nothing is started
        state, problem = ec2.instances([active_id])[0].state, str(error)
    return "" if state in ec2.DOWN or state == ec2.MISSING else problem or f"it is {state}"


def _unfenced(seen: Observed, problem: str) -> Done:
    """Note that the active could not be stopped, so that the next run does not mail it again."""
    known = any(UNFENCED in seen.notes(standby) for standby in seen.standbys)
    if not known:
        there = [standby for standby in seen.standbys if standby.state not in GONE]
        for standby in there:
            ec2.untag(standby.id, over(standby, seen.active))
        note = {OUTAGE: iso(outage_began(seen)), UNFENCED: value(iso(seen.now), problem)}
        ec2.tag([standby.id for standby in there], note)
    reason = Words(f"{seen.active.id} could not be stopped, so no standby is started: {problem}")
    return Done(change=None, reason=reason, unfenced=problem, news=not known)


def _note_fallen(config: Config, seen: Observed, fallen: list[Instance]) -> dict[str, str]:
    """Count candidates whose start fell back to `stopped` as failed, with EC2's own reason."""
    if fallen:
        present = {standby.id: standby for standby in ec2.instances(config.standby_instance_ids)}
        if any(FAILED in present[standby.id].tags for standby in fallen):
            raise OtherRunError("another run has counted the start that fell back")
    for standby in fallen:
        _note_failed(seen, standby.id, FELL_BACK, standby.reason or "no reason given")
        ec2.untag(standby.id, {key: standby.tags[key] for key in OF_START if key in standby.tags})
    return {standby.id: f"its start was accepted and fell back: {standby.reason}" for standby in fallen}


def _look_again(config: Config, candidate_id: str) -> None:
    """Make sure, right before a start, that every earlier candidate is out and none is up."""
    order = config.standby_instance_ids
    for standby in ec2.instances(order):
        if standby.state in UP:
            raise OtherRunError(f"{standby.id} is {standby.state}: another run has started it")
        earlier = order.index(standby.id) < order.index(candidate_id)
        if earlier and standby.state not in GONE and FAILED not in standby.tags:
            raise OtherRunError(f"another run tries {standby.id}")


def _start_candidate(config: Config, seen: Observed, candidate: Instance) -> Instance | str:
    """Start the candidate with its own type or the next that EC2 has; return it, or why not."""
    own, began = seen.notes(candidate).get(TYPE, candidate.type), outage_began(seen)
    failed = {FAILED: candidate.tags[FAILED]} if FAILED in candidate.tags else {}
    # Only as it was seen: what another run has noted since stays, and forbids the start.
    ec2.untag(candidate.id, over(candidate, seen.active) | failed)
    problems, current = [], candidate.type
    for kind in dict.fromkeys((own, *config.standby_instance_types)):
        try:
            if kind != current:
                ec2.tag([candidate.id], {OUTAGE: iso(began), TYPE: own})
                ec2.set_type(candidate.id, kind)
                current = kind
            before = ec2.start(candidate.id)
        except ClientError as error:
            problems.append(f"{kind} {_refusal(candidate, error)}")
            continue
        if before != "stopped":
            raise OtherRunError(f"{candidate.id} was {before} already: another run has started it")
        [now] = ec2.instances([candidate.id])
        if now.state == "stopped" or now.launched is None:  # EC2 does not show it yet
            now = replace(now, state="pending", launched=clock.now())
        ec2.tag([candidate.id], {OUTAGE: iso(began), STARTED: iso(now.launched or began)})
        return now
    if current != own:
        ec2.set_type(candidate.id, own)
    _note_failed(seen, candidate.id, REFUSED, ", ".join(problems))
    return ", ".join(problems)


def _refusal(candidate: Instance, error: ClientError) -> str:
    """Return the code of a refusal that leaves the next type or candidate to try; raise for any other."""
    code = str(error.response["Error"]["Code"])
    if code in NOT_THIS_ONE:
        return code
    if code in NOT_STOPPED:
        raise OtherRunError(f"{candidate.id} is no longer stopped") from error
    if code == "UnauthorizedOperation" and FAILED in ec2.instances([candidate.id])[0].tags:
        raise OtherRunError(f"another run has counted {candidate.id} as failed") from error
    raise error


def _note_failed(seen: Observed, candidate_id: str, how: str, why: str) -> None:
    """Note that the start failed; IAM denies the next one while the note stands."""
    ec2.tag([candidate_id], {OUTAGE: iso(outage_began(seen)), FAILED: value(iso(clock.now()), how, why)})
