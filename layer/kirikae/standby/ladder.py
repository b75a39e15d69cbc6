"""The ladder of one candidate: its own type, then each of StandbyInstanceTypes, until EC2 accepts a start.

What was tried is noted, so that a run whose time is up, or that dies, is continued and not repeated by the next one.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import clock, ec2, patience
from kirikae.clock import iso
from kirikae.ec2 import GONE, Instance
from kirikae.errors import OtherRunError
from kirikae.log import logger
from kirikae.standby import ask, outage, record
from kirikae.standby.lineup import last_attempt
from kirikae.standby.notes import (
    AGAIN,
    BESIDE,
    FAILED,
    FIRST,
    GAVE_UP,
    LEFT,
    SKEW,
    STARTED,
    TRIED,
    TYPE,
    UNANSWERED,
    over,
    own_type,
    value,
)
from kirikae.standby.world import UP, Config, Observed

NOT_STOPPED = frozenset({"IncorrectInstanceState", "IncorrectState"})
UNAUTHORIZED = "UnauthorizedOperation"


@dataclass(frozen=True)
class Climb:
    """How far a run came with one candidate."""

    started: Instance | None = None  # as it is right afterwards
    problems: str = ""  # EC2's words for each type that it does not start
    through: bool = True  # False: time is up, and the next run tries the other types
    noted: bool = True  # what came of it


def climb(config: Config, seen: Observed, candidate: Instance, again: bool, ends: datetime) -> Climb:
    """Start the candidate with the next type that EC2 has; no further type is begun after `ends`."""
    own, last, current = own_type(candidate), last_attempt(seen, candidate), candidate.type
    kinds = list(dict.fromkeys((own, *config.standby_instance_types)))
    if last and last.type in kinds:
        kinds = kinds[kinds.index(last.type) + 1 :]
    problems = [last.words] if last and last.words else []
    done, how = last.type if last else "", AGAIN if again or (last and last.again) else FIRST
    since = outage.note(seen)
    for place, kind in enumerate(kinds):
        tried = {TRIED: value(iso(clock.now()), done, how, *problems)} if done else {}
        if place and clock.now() >= ends:
            record.note(candidate.id, since | tried, over(candidate, seen.active))
            return Climb(problems=", ".join(problems), through=False)
        asked, done = clock.now(), kind
        try:
            if kind != current:
                # Before the change: whoever finds another type must find its own.
                record.note(candidate.id, since | tried | {TYPE: own}, over(candidate, seen.active))
                ec2.set_type(candidate.id, kind)
                current = kind
            before = ask.start(candidate.id)
        except ClientError as error:
            problems.append(f"{kind} {refusal(candidate, error)}")
            continue
        except BotoCoreError:
            lost = value(iso(asked), kind, f"{how}-{UNANSWERED}", *problems, f"{kind} no answer")
            record.note(candidate.id, since | {TRIED: lost}, over(candidate, seen.active))
            raise
        if before != "stopped":
            raise OtherRunError(f"{candidate.id} was {before} already: another run has started it")
        old = [*([TRIED] if tried or TRIED in candidate.tags else []), *over(candidate, seen.active)]
        how += f" {BESIDE}" if seen.active.state == "running" and not config.fences else ""
        started, noted = _accepted(seen, replace(candidate, type=kind), asked, how, old)
        return Climb(started, ", ".join(problems), noted=noted)
    if current != own:
        _restore(candidate, own)
    return Climb(problems=", ".join(problems))


def _accepted(seen: Observed, candidate: Instance, asked: datetime, how: str, old: list[str]) -> tuple[Instance, bool]:
    """Note the start that EC2 has accepted; return the candidate as it is now, and whether that could be noted.

    Since when the outage lasts is noted on the others then: a start that falls back is known by its launch time.
    """
    now = replace(candidate, state="pending", launched=asked, reason="")
    try:
        [shown] = ec2.instances([candidate.id])
        if shown.state in UP and shown.launched and shown.launched >= asked - SKEW:
            now = shown
    except (ClientError, BotoCoreError):  # what is known is enough for the note and the mail
        pass
    note = outage.note(seen) | {STARTED: value(iso(now.launched or asked), candidate.type, how)}
    if noted := record.note(candidate.id, note, old):
        return now, noted
    for other in seen.standbys:
        if other.id != candidate.id and other.state not in GONE:
            record.note(other.id, outage.note(seen), over(other, seen.active))
    return now, noted


def _restore(candidate: Instance, own: str) -> None:
    """Give the candidate its own type again; until that is done TYPE names it."""
    try:
        ec2.set_type(candidate.id, own)
    except (ClientError, BotoCoreError) as error:
        logger.error("the type was not restored", instance=candidate.id, type=own, problem=str(error))


def refusal(candidate: Instance, error: ClientError) -> str:
    """Return EC2's words against this candidate; raise if it is the caller's fault, or another run is further."""
    code, message = str(error.response["Error"]["Code"]), str(error.response["Error"].get("Message", ""))
    if code in ask.OF_THE_CALLER:
        raise error
    if code in NOT_STOPPED | {UNAUTHORIZED}:
        [present] = ec2.instances([candidate.id])
        if code == UNAUTHORIZED:
            _unless_counted(candidate, present)
        if code in NOT_STOPPED and present.state != "stopped":
            raise OtherRunError(f"{candidate.id} is no longer stopped") from error
    tells = message and "Capacity" not in code and message.rstrip(".") != code
    return f"{code}: {message[:200]}" if tells else code


def note_failed(seen: Observed, candidate: Instance, how: str, why: str, *gone: str, patient: bool = True) -> bool:
    """Note that the candidate failed, unless another run has; tell whether it could be noted.

    IAM denies the next start while it stands, and another such note over it: of runs that overlap, one goes on.
    """
    present = _unless_counted(candidate, ec2.instances([candidate.id])[0])
    note = outage.note(seen) | {FAILED: value(iso(clock.now()), how, why)}
    if how == GAVE_UP:  # its stop, by us or a person, is then none of a standby in use, also when FAILED is removed
        note |= {STARTED: value(seen.notes(candidate).get(STARTED, ""), LEFT)}
    old = [key for key in (*gone, TRIED) if key in present.tags]
    if record.note(candidate.id, note, [*old, *over(candidate, seen.active)]):
        return True
    # Denied because another run has, perhaps, which may not show yet; not so if the one before was denied in vain.
    if not patient:
        return False
    shown = patience.until(lambda: ec2.instances([candidate.id])[0], lambda present: _counted(candidate, present))
    _unless_counted(candidate, shown or candidate)
    return False


def _counted(candidate: Instance, present: Instance) -> bool:
    """Tell whether another run has counted the candidate as failed since it was seen."""
    noted = present.tags.get(FAILED, "")
    return bool(noted) and noted != candidate.tags.get(FAILED)


def _unless_counted(candidate: Instance, present: Instance) -> Instance:
    """Return the candidate as it is shown now; raise if another run has counted it as failed."""
    if _counted(candidate, present):
        raise OtherRunError(f"another run has counted {candidate.id} as failed")
    return present
