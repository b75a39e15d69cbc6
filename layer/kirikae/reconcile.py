"""hint -> observe -> decide -> act -> verify -> mail, the same way for every handler that acts.

A handler is its Config and four functions. Two parts are for few: `store_wish`, of a handler that takes wishes,
validates and stores the one in the event before anything is observed, and what it returns is `hint.wish`; a hold does
not stop it, because the wish comes true when the hold is over. `tells` says what people should know of the capability,
so that every change is told once, whatever dies, and an outage that may not be answered is told at once.
"""

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from kirikae import aws, clock, env, events, hold, log, notify, patience, tell, unheard
from kirikae.decision import Change, Decision, Made, Result, plain, unkept, unless_unread, whole
from kirikae.errors import OtherRunError, UnfinishedError
from kirikae.notify import Mail, Times, Words
from kirikae.tell import Tells
from kirikae.withheld import Withheld, rehearsal

WARM_UP_SECONDS = 2


class _Verdict(NamedTuple):
    """The expected outcome, and why a change that is due is withheld."""

    outcome: str
    why_not: Words = Words("")

    def reason(self, due: str) -> str:
        """Return the reason of the run's outcome, for the report."""
        return f"{self.why_not.en}; due otherwise: {due}" if self.why_not.en else due


def warm_up[C: env.Stack](kind: type[C], *reads: Callable[[C], object]) -> None:
    """Warm up during INIT, which has full CPU: open the clients and connections that a change needs.

    `reads` are those that the handler always needs.  Whatever goes wrong here goes wrong again, and is reported, at the
    first invocation; where AWS is slow, the rest is left to it too, because Lambda gives INIT ten seconds.
    """
    if env.in_lambda():
        with suppress(Exception):
            config, began = env.load(kind), time.monotonic()
            shared: tuple[Callable[[C], object], ...] = (
                lambda stack: hold.read(stack.hold_parameter, clock.now()),
                lambda stack: aws.client("sns").get_topic_attributes(TopicArn=stack.topic_arn),
            )
            for read in (*reads[:1], *shared, *reads[1:]):
                if time.monotonic() - began < WARM_UP_SECONDS:
                    read(config)
    gc.freeze()
    gc.enable()


def reconcile[C: env.Stack, S, X: Change, D](
    event: object,
    kind: type[C],
    observe: Callable[[C, events.Hint], S],
    decide: Callable[[C, S], Decision[X]],
    act: Callable[[C, S, X], D],
    mail: Callable[[C, S, Result[X, D]], Mail | None],
    store_wish: Callable[[C, events.Request, datetime], Any] | None = None,
    tells: Tells[C, S, X, D] | None = None,
) -> dict[str, Any]:
    """Bring the world to where `decide` says it should be, and mail it once if that took a change.

    Returns {"hint", "seen", "reason", "change", "outcome"}.  Raises InputError for an event or an environment that
    cannot be understood, UnfinishedError for a change made in part, and otherwise what AWS answered: Lambda retries.
    """
    began, request, config = clock.now(), events.request(event), env.load(kind)
    hint = request.hint
    if store_wish and request.wish:
        hint = replace(hint, wish=store_wish(config, request, began))
    seen, made = _judged(config, hint, observe, decide)
    decision = unkept(made) if hint.wish is not None and (config.dry_run or request.dry_run) else made
    change = decision.change or (decision.forced if request.force else None)
    verdict = _gate(config, request, decision, change, began)
    report = {"hint": hint.text, "seen": plain(seen), "reason": verdict.reason(decision.reason.en)}
    report |= {"change": plain(change), "outcome": "failed"}  # so in the log, if the act raises
    try:
        if verdict.outcome == "changed" and change is not None:
            parts = partial(act, config, seen), partial(mail, config, seen)
            report |= _carry_out(config, seen, decision, change, *parts, tells, hint.at, began)
        else:
            _tell_of_no_change(config, request, seen, tells, decision, change, verdict)
            report["outcome"] = unless_unread(decision, change, verdict.outcome)
    finally:
        log.logger.info("decision", decision=report, forced=request.reason)
        log.count_withheld(verdict.outcome, config.capability, *decision.lasting)
        log.flush(*_unheard(config, hint))
    return report


def _judged[C: env.Stack, S, X: Change](
    config: C, hint: events.Hint, observe: Callable[[C, events.Hint], S], decide: Callable[[C, S], Decision[X]]
) -> tuple[S, Decision[X]]:
    """Return what is seen and decided; if that fails, count that nobody hears of it."""
    try:
        as_shown = replace(hint, calling_alarm="")  # in the end, even if that is from before the alarm called
        seen = patience.anew(partial(observe, config, hint), partial(observe, config, as_shown))
        return seen, decide(config, seen)
    except Exception:  # whatever it is: it is raised again
        log.flush(*_unheard(config, hint))
        raise


def _unheard(config: env.Stack, hint: events.Hint) -> tuple[str, ...]:
    """Return who does not hear of this stack, for a tick, whatever becomes of its run."""
    return unheard.conditions(config) if hint.kind == "tick" else ()


def _tell_of_no_change[C: env.Stack, S, X: Change, D](
    config: C,
    request: events.Request,
    seen: S,
    tells: Tells[C, S, X, D] | None,
    decision: Decision[X],
    change: X | None,
    verdict: _Verdict,
) -> None:
    """Tell what people do not know yet, and at once that an outage may not be answered; rehearse other changes."""
    if tells and not request.dry_run:
        withheld = tells.outages and decision.urgent and verdict.outcome in ("held", "dry-run", "refused")
        decision = whole(decision)
        about = decision.about or type(change).__name__
        tell.owed(config, seen, tells, decision, Withheld(*verdict, about) if withheld else None)
        if withheld:
            return
    if verdict.outcome == "dry-run" and config.dry_run and request.hint.kind in ("alarm", "wish"):
        notify.announce(config, rehearsal(config, decision.reason, change))


def _gate(
    config: env.Stack, request: events.Request, decision: Decision[Any], change: Change | None, now: datetime
) -> _Verdict:
    """Judge whether the change may be made.

    The hold is read only when there is something to hold: nothing stands between the decision and the write but this.
    """
    if change is None:
        return _Verdict("refused" if decision.refused else "unchanged")
    if config.dry_run or request.dry_run:
        return _Verdict("dry-run")
    if request.force:
        return _Verdict("changed")
    wish = hold.read(config.hold_parameter, now)
    if wish is None:
        log.logger.warning("the hold cannot be read; going on", parameter=config.hold_parameter)
        return _Verdict("changed")
    if wish.problem or wish.on:
        return _Verdict("refused" if wish.problem else "held", wish.why(config.hold_parameter))
    return _Verdict("changed")


def _carry_out[C: env.Stack, S, X: Change, D](
    config: C,
    seen: S,
    decision: Decision[X],
    change: X,
    act: Callable[[X], D],
    mail: Callable[[Result[X, D]], Mail | None],
    tells: Tells[C, S, X, D] | None,
    caused: datetime | None,
    began: datetime,
) -> dict[str, Any]:
    """Make the change, tell it and count it; return what the report says of it.

    What was made of an unfinished change is mailed before the error is raised again; another run's, by that run.
    """
    unfinished = None
    try:
        done = act(change)
    except OtherRunError as other:
        return {"outcome": "unchanged", "reason": str(other), "change": None}
    except UnfinishedError as error:
        if error.done is None:
            raise
        done, unfinished = error.done, error
    times = Times(caused, began, clock.now())
    result = Result(change, decision.reason, done, times, forced=decision.change is None)
    made = done if isinstance(done, Made) else Made(change=change, reason=decision.reason)
    knows = partial(tells.standing, config, seen) if tells else lambda _result: None
    count = partial(tell.count, decision.counts if made.change else "", tells.counts if tells else {}, times)
    since = None if made.found or decision.unseen else began
    tell.made(config, knows(result), knows(None), mail(result), since, count)
    if tells and made.lasts:
        beside = decision.beside
        withheld = Withheld("refused", Words(""), beside.about) if beside else None
        tell.owed(config, seen, tells, beside or decision, withheld, result if unfinished else None)
    if unfinished:
        raise unfinished
    outcome = "changed" if made.change else "unchanged"
    return {"outcome": outcome, "reason": made.reason.en or decision.reason.en, "change": plain(made.change)}
