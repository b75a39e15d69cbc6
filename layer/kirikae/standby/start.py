"""Start one standby: fence the active, walk down the ladder, and note what came of it.

Only one candidate is started for one outage, also when runs overlap.  A run tries a candidate only when every earlier
one is gone or carries FAILED, and after that looks again at all of them.  Another run can start an earlier one only
before it carries FAILED, and is seen by this look; or not at all, because IAM denies the function the start of an
instance that carries FAILED.  FAILED is removed by value only, and only by a run that begins longer after it was
written than any run lives.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from kirikae import ec2, reconcile
from kirikae.ec2 import Instance
from kirikae.notify import Words
from kirikae.standby.notes import (
    FAILED,
    FELL_BACK,
    OUTAGE,
    REFUSED,
    RUNNING,
    SERVING,
    STARTED,
    TYPE,
    UNFENCED,
    over,
    value,
    written,
)
from kirikae.standby.world import GONE, UP, Config, Observed, outage

# This type or this candidate cannot be started now, another one may: capacity, limits, what the instance is.
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
NOT_THIS_ONE = frozenset(
    {
        "InstanceLimitExceeded",
        "InsufficientAddressCapacity",
        "InsufficientCapacity",
        "InsufficientHostCapacity",
        "InsufficientInstanceCapacity",
        "InsufficientReservedInstanceCapacity",
        "InvalidHostState",
        "InvalidInstanceAttributeValue",
        "InvalidInstanceType",
        "InvalidParameterCombination",
        "InvalidParameterValue",
        "MaxSpotInstanceCountExceeded",
        "IncorrectSpotRequestState",
        "PendingVerification",
        "ReservationCapacityExceeded",
        "ResourceCountExceeded",
        "Unsupported",
        "UnsupportedHostConfiguration",
        "UnsupportedInstanceTypeOnHost",
        "UnsupportedOperation",
        "VcpuLimitExceeded",
        "VolumeLimitExceeded",
    }
)
NOT_STOPPED = frozenset({"IncorrectInstanceState", "IncorrectState"})


@dataclass(frozen=True, kw_only=True)
class Done(reconcile.Made):
    """What the run made."""

    fenced: str = ""  # the active that this run stopped
    unfenced: str = ""  # why it could not
    started: Instance | None = None  # as it is right afterwards
    own_type: str = ""  # of the started one, if another type was set
    failed: Mapping[str, str] = field(default_factory=dict)  # candidate -> why, those of this run
    news: bool = True  # a person has not been told yet


class OtherRunError(Exception):
    """Another run is further than this one."""


def start(config: Config, seen: Observed, change: Mapping[str, Any]) -> Done:
    """Bring up the first candidate that EC2 starts; never more than one."""
    found = outage(seen)
    began = found.began if found else seen.now  # a forced start, perhaps
    candidates = {one.id: one for one in seen.standbys}
    fenced = ""
    if active := change.get("fence"):
        if problem := _fence(active):
            return _unfenced(seen, began, problem)
        fenced = active
    done = Done(change={"fenced": fenced} if fenced else None, reason=Words(""), fenced=fenced)
    try:
        failed = _note_fallen(config, began, [candidates[one] for one in change["fallen"]])
        for one in change["start"]:
            if failed:
                _look_again(config, one)
            result = _climb(config, seen, candidates[one], began)
            if isinstance(result, Instance):
                own = candidates[one].type if result.type != candidates[one].type else ""
                made = {**(done.change or {}), "started": one, "type": result.type}
                said = Words(f"the start of {one} was accepted")
                return replace(done, change=made, reason=said, started=result, own_type=own, failed=failed)
            failed[one] = result
    except OtherRunError as other:
        return replace(done, reason=Words(str(other)), news=False)
    named = "; ".join(f"{one}: {why}" for one, why in failed.items())
    said = Words(f"no standby was started: {named}")
    waiting = any(one.state == "stopping" for one in seen.standbys) and not change["fallen"]
    return replace(done, reason=said, failed=failed, news="retry" not in change and not waiting)


def _fence(active_id: str) -> str:
    """Stop the active; say why EC2 does not, or nothing when it is on its way down."""
    try:
        state, said = ec2.stop(active_id), ""
    except ClientError as error:  # whatever EC2 has against it: unless it is down all the same, nothing is started
        state, said = ec2.instances([active_id])[0].state, str(error)
    return "" if state in ec2.DOWN or state == ec2.MISSING else said or f"it is {state}"


def _unfenced(seen: Observed, began: datetime, problem: str) -> Done:
    """Note that the active could not be fenced, so that the next run does not tell it again."""
    known = any(UNFENCED in seen.notes(one) for one in seen.standbys)
    if not known:
        there = [one for one in seen.standbys if one.state not in GONE]
        for one in there:
            if past := over(one, seen.active):
                ec2.untag(one.id, past)
        note = {OUTAGE: written(began), UNFENCED: value(written(seen.now), problem)}
        ec2.tag([one.id for one in there], note)
    said = Words(f"{seen.active.id} could not be stopped, so no standby is started: {problem}")
    return Done(change=None, reason=said, unfenced=problem, news=not known)


def _note_fallen(config: Config, began: datetime, fallen: list[Instance]) -> dict[str, str]:
    """Count candidates whose start fell back to `stopped` as failed, with EC2's own reason."""
    if fallen:
        present = {one.id: one for one in ec2.instances(config.standby_instance_ids)}
        if any(FAILED in present[one.id].tags for one in fallen):
            raise OtherRunError("another run has counted the start that fell back")
    for one in fallen:
        _note_failed(one.id, began, FELL_BACK, one.reason or "no reason given")
        ec2.untag(one.id, {key: one.tags[key] for key in (STARTED, RUNNING, SERVING) if key in one.tags})
    return {one.id: f"its start was accepted and fell back: {one.reason}" for one in fallen}


def _look_again(config: Config, candidate_id: str) -> None:
    """Make sure, right before a start, that every earlier candidate is out and none is up."""
    order = config.standby_instance_ids
    for one in ec2.instances(order):
        if one.state in UP:
            raise OtherRunError(f"{one.id} is {one.state}: another run has started it")
        if order.index(one.id) < order.index(candidate_id) and one.state not in GONE and FAILED not in one.tags:
            raise OtherRunError(f"another run tries {one.id}")


def _climb(config: Config, seen: Observed, candidate: Instance, began: datetime) -> Instance | str:
    """Start the candidate with its own type or the next that EC2 has; return it, or why not."""
    own = seen.notes(candidate).get(TYPE, candidate.type)
    failed = {FAILED: candidate.tags[FAILED]} if FAILED in candidate.tags else {}
    past = over(candidate, seen.active) | failed
    if past:  # only as it was seen: what another run has noted since stays, and forbids the start
        ec2.untag(candidate.id, past)
    problems, current = [], candidate.type
    for kind in dict.fromkeys((own, *config.standby_instance_types)):
        try:
            if kind != current:
                ec2.tag([candidate.id], {OUTAGE: written(began), TYPE: own})
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
            now = replace(now, state="pending", launched=reconcile.now())
        ec2.tag([candidate.id], {OUTAGE: written(began), STARTED: written(now.launched or began)})
        return now
    if current != own:
        ec2.set_type(candidate.id, own)
    _note_failed(candidate.id, began, REFUSED, ", ".join(problems))
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


def _note_failed(candidate_id: str, began: datetime, how: str, why: str) -> None:
    at = written(reconcile.now())
    ec2.tag([candidate_id], {OUTAGE: written(began), FAILED: value(at, how, why)})
