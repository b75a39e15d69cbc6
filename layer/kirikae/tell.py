"""Who tells what: a change is told once, by the run that made it or, if that died, by the next one that finds it."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from kirikae import clock, env, log, notify, told
from kirikae.decision import Change, Decision, Result, plain
from kirikae.notify import Mail, Words
from kirikae.told import State

UNANSWERED = "not answered"  # the key of an outage that may not be answered, in what people know
_LONGEST = 500  # characters of an outage, of the 4,096 that a parameter holds
# Whoever finds a change that nobody has told gives the run that made it this long to tell it, which it does better.
_PATIENCE_SECONDS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Tells[C: env.Stack, S, X: Change, D]:
    """How the loop knows what people should know of a capability.

    standing: in plain words how the world stands, {} at rest, after a change if a result is given; None while it is
    between two states, or for a change of which nobody needs to know.  found: the mail about a world that is not as
    people were last told, None if that is no news.  outages: whether decisions can be urgent, of one of its functions.
    counts: key of such a state -> the metric that counts its beginning, by whoever finds and tells it.
    """

    standing: Callable[[C, S, Result[X, D] | None], State | None]
    found: Callable[[C, S, State], Mail | None]
    outages: bool = False
    counts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Withheld:
    """A change that an outage needs and that a hold, DryRun or a refusal forbids."""

    outcome: str  # held, dry-run or refused
    why: Words
    about: str  # the outage, so that people are told of the next one, too

    @property
    def known(self) -> str:
        """What people know once they were told; of what is too long to be noted, a digest."""
        short = len(self.about) <= _LONGEST
        return f"{self.outcome}: {self.about if short else hashlib.sha256(self.about.encode()).hexdigest()}"


def made(
    config: env.Stack, state: State | None, before: State | None, letter: Mail | None, began: datetime | None
) -> bool:
    """Tell a change that this run has made; return False if another run made it too and was first to tell it.

    before: what stood before the change, to be noted as known where nothing is: with it the next run finds the change
    if this mail fails.  A note that cannot be read is left as it is, for the same reason.
    began: when the run did, None if it has only found the change: then whoever told it, whenever, was first.
    """
    if state is None or letter is None:
        notify.announce(config, letter)
        return True
    now, name = clock.now(), config.told_parameter
    since = began - told.STALE_READS if began else told.EVER
    note = told.read(name)
    if (note or told.Note()).says(state, since):
        return False
    if note and not told.claim(name, replace(note, known=note.known or before or {}), state, since, now):
        return False
    if notify.announce(config, letter):
        told.close(name, state, clock.now())
    return True


def owed[C: env.Stack, S, X: Change, D](
    config: C, seen: S, tells: Tells[C, S, X, D], decision: Decision[X], withheld: Withheld | None
) -> None:
    """Tell what this run finds and people do not know: a change that nobody told, an outage that is not answered."""
    now, name = clock.now(), config.told_parameter
    note = told.read(name)
    if note is None or (note.telling is not None and not note.unheard_of(now)):
        return
    state = _state(config, seen, tells, note, withheld)
    if dict(note.known) == state and note.telling is None:
        return
    letters = []
    if _without(note.known) != _without(state):
        # Who looks so soon after another one told something may have been shown the world before that.
        if note.telling is None and (note.younger(told.STALE_READS, now) or not _still_untold(name, note)):
            return
        letters.append(tells.found(config, seen, _without(note.known)))
    if withheld and note.known.get(UNANSWERED) not in (withheld.known, withheld.outcome):  # as versions before noted it
        letters.append(_unanswered(config, decision, withheld))
    due = [again(letter) if note.telling is not None else letter for letter in letters if letter]
    if due and not told.claim(name, note, state, now - told.STALE_READS, clock.now()):
        return
    sent = [notify.announce(config, letter) for letter in due]  # each is tried, whatever becomes of the others
    if all(sent):
        for begun in tells.counts.keys() & (state.keys() - note.known.keys()):
            log.count(tells.counts[begun])
        told.close(name, state, clock.now())


def _state[C: env.Stack, S, X: Change, D](
    config: C, seen: S, tells: Tells[C, S, X, D], note: told.Note, withheld: Withheld | None
) -> dict[str, str]:
    """Return what people should know now; DryRun moves nothing, so what is found then is not ours to tell."""
    standing = None if config.dry_run else tells.standing(config, seen, None)
    state = _without(note.known if standing is None else standing)
    if not tells.outages and UNANSWERED in note.known:
        state[UNANSWERED] = note.known[UNANSWERED]
    elif withheld:
        state[UNANSWERED] = withheld.known
    return state


def unanswered(config: env.Stack) -> bool:
    """Tell whether people were told last that there is an outage that may not be answered."""
    note = told.read(config.told_parameter)
    return note is not None and UNANSWERED in {**note.known, **(note.telling or {})}


def _without(state: State) -> dict[str, str]:
    return {key: value for key, value in state.items() if key != UNANSWERED}


def _still_untold(name: str, note: told.Note) -> bool:
    """Wait for the run that may have made the change just now; tell whether it has said nothing."""
    for pause in _PATIENCE_SECONDS:
        time.sleep(pause)
        later = told.read(name)
        if later is None or later.version != note.version:
            return False
    return True


def again(letter: Mail) -> Mail:
    """Return the mail with a last section: the run that was about to tell this ended without saying that it did."""
    repeated = Words(
        "An earlier run ended while it was sending a mail about this. You may have it already.",
        "この件のメールを送信中に前回の実行が終了しました。同じ内容のメールが既に届いている場合があります。",
    )
    return letter._replace(sections=(*letter.sections, (Words("Perhaps repeated", "重複の可能性"), repeated)))


def _unanswered(config: env.Stack, decision: Decision[Any], withheld: Withheld) -> Mail:
    """Return the mail about a due change that is withheld, and how to let it happen."""
    happened = Words(
        "Nothing was changed. This was due and may not be done now.",
        "何も変更していません。次の変更が必要な状態ですが、現在は実行できません。",
    )
    if decision.change:
        text = json.dumps(plain(decision.change))
        happened = Words(f"{happened.en} Would be done: {text}", f"{happened.ja} 実行されるはずの変更: {text}")
    why = notify.lines([decision.reason, withheld.why]) if withheld.why.en else decision.reason
    lift = {
        "held": notify.with_commands(
            Words("To end the hold now:", "保留を今すぐ解除するには:"),
            [
                notify.aws_command(
                    config,
                    "ssm put-parameter",
                    f"--type String --overwrite --name {config.hold_parameter} --value off",
                )
            ],
        ),
        "dry-run": Words(
            "The stack's parameter DryRun is true: set it to false to let kirikae act.",
            "スタックのパラメーター DryRun が true です。kirikae に実行させるには false に変更してください。",
        ),
    }
    return notify.mail(
        config,
        f"NOT answered ({withheld.outcome}): a change is due",
        happened=happened,
        why=why,
        check=lift.get(withheld.outcome),
    )


def rehearsal(config: env.Stack, reason: Words, change: Change | None) -> Mail:
    """Return the mail about what would be done; only alarms and wishes bring this mail, not every tick."""
    text = json.dumps(plain(change))
    would = Words(
        f"DryRun is true, so nothing was written. Would be done: {text}",
        f"DryRun が true のため、何も変更していません。実行される予定だった変更: {text}",
    )
    return notify.mail(config, "dry run: a change is due", happened=would, why=reason)
