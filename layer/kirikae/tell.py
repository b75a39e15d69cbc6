"""Who tells what: a change is told once, by the run that made it or, if that died, by the next one that finds it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from kirikae import clock, env, log, notify, told
from kirikae.decision import Change, Decision, Result
from kirikae.notify import Mail, Times
from kirikae.told import State
from kirikae.withheld import Withheld, not_answered, odd_of, something_else

UNANSWERED = "not answered"  # the key of an outage that may not be answered, in what people know
_said: dict[str, str] = {}  # parameter -> the outage that people were told last is not answered, as this process knows


@dataclass(frozen=True)
class Tells[C: env.Stack, S, X: Change, D]:
    """How the loop knows what people should know of a capability.

    standing: in plain words how the world stands, {} at rest, after a change if a result is given; None while it is
    between two states, or for a change of which nobody needs to know.  found: the mail about a world that is not as
    people were last told, None if that is no news.  outages: whether decisions can be urgent, of one of its functions.
    counts: key of such a state -> the metric that counts its beginning, by whoever finds and tells it.  look: read what
    only people need to know, after what was due.
    """

    standing: Callable[[C, S, Result[X, D] | None], State | None]
    found: Callable[[C, S, State], Mail | None]
    outages: bool = False
    counts: Mapping[str, str] = field(default_factory=dict)
    look: Callable[[C, S], S] = lambda _, seen: seen


def made(
    config: env.Stack,
    state: State | None,
    before: State | None,
    letter: Mail | None,
    began: datetime | None,
    count: Callable[[State], None],
) -> None:
    """Tell a change that this run has made, and count it; neither if another run made it too and was first to tell it.

    before: what stood before the change, to be noted as known where nothing is: with it the next run finds the change
    if this mail fails.  A note that cannot be read is left as it is, for the same reason.
    began: when the run did, None if it has only found the change: then whoever told it, whenever, was first.
    count: is given what stood before the change or, where nobody can say, what people knew.
    """
    if state is None or letter is None:
        count(before or {})
        notify.announce(config, letter)
        return
    now, name = clock.now(), config.told_parameter
    since = began - told.STALE_READS if began else told.EVER
    note = told.read(name)
    known = note or told.Note()
    left = known.known.get(UNANSWERED, "")  # a refusal: what the change leaves is still not answered
    before = known.filled(before) if before is not None else None
    state = {**known.kept, **known.filled(state), **({UNANSWERED: left} if left.startswith("refused") else {})}
    if known.says(state, since):
        return
    noted = known.known if known.known != known.kept else {**known.kept, **(before or {})}
    if note and not told.claim(name, replace(note, known=noted), state, since, now):
        return
    stood = {**known.known, **(known.telling or {})} if before is None else before
    count(stood)
    if notify.announce(config, letter):
        _close(config, known, state, stood)
    elif note:  # whoever comes next need not wait for this run: the tick after that may be far
        told.claim(name, replace(note, known=noted), state, clock.now(), clock.now() - told.UNHEARD_OF)


def _close(config: env.Stack, note: told.Note, state: State, stood: State) -> None:
    """Note that people have been told the state, and since when they know of what stood before, too."""
    now = clock.now()
    since = {key: note.since.get(key, note.at) if key in note.known and key in stood else now for key in state}
    told.close(config.told_parameter, state, now, since=since)
    _said[config.told_parameter] = state.get(UNANSWERED, "")


def count(metric: str, begins: Mapping[str, str], times: Times, stood: State) -> None:
    """Count a change, at once: the rest of one that was made in parts is none of its own.

    begins: key of what people know -> the metric that counts its beginning.  stood: what was so before the change.
    """
    if not metric or any(begins[key] == metric for key in begins.keys() & stood.keys()):
        return
    log.count(metric)
    if times.caused:
        milliseconds = 1000 * max(0.0, (times.done - times.caused).total_seconds())
        log.metrics.add_metric("EventToSwitched", "Milliseconds", milliseconds)
    log.flush()


def owed[C: env.Stack, S, X: Change, D](
    config: C,
    seen: S,
    tells: Tells[C, S, X, D],
    decision: Decision[X],
    withheld: Withheld | None,
    result: Result[X, D] | None = None,
) -> None:
    """Tell what this run finds, after an attempt of which nothing came perhaps, and people do not know."""
    seen, name = tells.look(config, seen), config.told_parameter
    note = told.read(name)
    if note is None:
        _tell_unread(config, decision, withheld)
    if note is None or (note.telling is not None and not note.unheard_of(clock.now())):
        return
    state = _state(config, tells, tells.standing(config, seen, result), note, withheld) | odd_of(
        decision, tells.outages
    )
    if dict(note.known) == state and note.telling is None:
        told.note_again(name)
        _said[name] = state.get(UNANSWERED, "")
    elif not _just_told(note, state, name):
        _tell(config, note, state, tells, _letters(config, seen, tells, decision, note, state, withheld))


def _tell_unread(config: env.Stack, decision: Decision[Any], withheld: Withheld | None) -> None:
    """Tell an outage that is not answered while nobody can read what people know: once by this process."""
    name, about = config.told_parameter, withheld.known if withheld else ""
    if not withheld or about == _said.get(name) or notify.announce(config, not_answered(config, decision, withheld)):
        _said[name] = about


def _just_told(note: told.Note, state: State, name: str) -> bool:
    """Tell whether another run may just have told this: who looks so soon after it may be shown what was before."""
    if note.telling is not None or _without(note.known) == _without(state):
        return False
    return note.younger(told.STALE_READS, clock.now()) or not told.silent(name, note)


def _letters[C: env.Stack, S, X: Change, D](
    config: C,
    seen: S,
    tells: Tells[C, S, X, D],
    decision: Decision[X],
    note: told.Note,
    state: State,
    withheld: Withheld | None,
) -> list[Mail]:
    """Return the mails about what people do not know, which say so if an earlier run may have sent them."""
    known, now = _without(note.known, *told.ODD), _without(state, *told.ODD)
    letters = [tells.found(config, seen, known)] if known != now else []
    untold = withheld and note.known.get(UNANSWERED) not in (withheld.known, withheld.outcome)  # as once noted
    letters += [not_answered(config, decision, withheld)] if withheld and untold else []
    letters.append(something_else(config, decision, note.known, reasoned=bool(untold)))
    return [notify.again(letter) if note.telling is not None else letter for letter in letters if letter]


def _tell(
    config: env.Stack, note: told.Note, state: State, tells: Tells[Any, Any, Any, Any], letters: Sequence[Mail]
) -> None:
    """Send the mails, unless another run was first to tell the state, and count what it begins with, if it is noted.

    While nothing can be noted, one function of a capability tells what it finds: another does not know what that said.
    """
    name, now = config.told_parameter, clock.now()
    claimed = told.claim(name, note, state, now - told.STALE_READS, now) if letters else note
    if not claimed or not (claimed.noted or tells.outages):
        return
    if claimed.noted:
        for begun in tells.counts.keys() & (state.keys() - note.known.keys() - (note.telling or {}).keys()):
            log.count(tells.counts[begun])
        log.flush()
    sent = [notify.announce(config, letter) for letter in letters]  # each is tried, whatever becomes of the others
    if all(sent):
        _close(config, note, state, note.known)
    elif claimed.noted:
        told.claim(name, note, state, clock.now(), clock.now() - told.UNHEARD_OF)


def _state[C: env.Stack, S, X: Change, D](
    config: C, tells: Tells[C, S, X, D], standing: State | None, note: told.Note, withheld: Withheld | None
) -> dict[str, str]:
    """Return what people should know now; DryRun moves nothing, so what is found then is not ours to tell."""
    own = told.ODD[0 if tells.outages else 1]
    state = note.kept | _without(note.known if standing is None or config.dry_run else note.filled(standing))
    state.pop(own, None)
    if not tells.outages and UNANSWERED in note.known:
        state[UNANSWERED] = note.known[UNANSWERED]
    elif withheld:
        state[UNANSWERED] = withheld.known
    return state


def unanswered(config: env.Stack) -> str:
    """Return of which outage people were told last that it may not be answered; empty if there is none."""
    note = told.read(config.told_parameter)
    return {**note.known, **(note.telling or {})}.get(UNANSWERED, "") if note else _said.get(config.told_parameter, "")


def _without(state: State, *keys: str) -> dict[str, str]:
    return {key: value for key, value in state.items() if key not in (UNANSWERED, told.ALARMS, *keys)}
