"""hint -> observe -> decide -> act -> verify -> notify, the same way for every handler that acts."""

import dataclasses
import gc
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import BotoCoreError, ClientError

from kirikae import aws, env, events, hold, notify
from kirikae.notify import Mail, Words

logger = Logger()
metrics = Metrics(namespace="kirikae")
PRIMING_SECONDS = 2
_LASTING = {"held": ("Held",), "refused": ("Refused",)}


@dataclass(frozen=True)
class Decision:
    """Why, and what to change; no change means that the world is as it should be, or is not ours to change."""

    reason: Words
    change: Mapping[str, Any] | None = None  # plain JSON
    refused: bool = False
    forced: Mapping[str, Any] | None = None  # the change to make only when a person forces it
    counts: str = ""  # the metric that counts this change
    lasting: tuple[str, ...] = ()  # conditions said at every run until they end: metrics with an alarm


@dataclass(frozen=True)
class Times:
    """When the cause happened (where the event told), when this run began, and when its last write was done."""

    caused: datetime | None
    began: datetime
    done: datetime


def since(times: Times) -> Words:
    """Say when it began, and how long noticing it and acting took."""
    done = notify.at(times.done)
    if times.caused is None:
        took = (times.done - times.began).total_seconds()
        return Words(
            f"Noticed by the periodic check or by hand; done at {done.en}, {took:.1f} s after this run began.",
            f"定期確認または手動実行により検知しました。{done.ja} に完了 (実行開始から {took:.1f} 秒)。",
        )
    caused = notify.at(times.caused)
    noticed = max(0.0, (times.began - times.caused).total_seconds())
    took = max(0.0, (times.done - times.caused).total_seconds())
    return Words(
        f"Event at {caused.en}; noticed {noticed:.1f} s later; done at {done.en}, {took:.1f} s after the event.",
        f"イベント発生: {caused.ja}。{noticed:.1f} 秒後に検知し、{done.ja} に完了 (発生から {took:.1f} 秒)。",
    )


@dataclass(frozen=True, kw_only=True)
class Made:
    """What an act made of its change, where only trying could tell: all of it, less, or nothing."""

    change: Mapping[str, Any] | None
    reason: Words


class UnfinishedError(RuntimeError):
    """Part of a change was not made; the text names it, and the next run finishes it.

    `done` is what the act would have returned: the part that was made is told now, because no later run makes it.
    """

    def __init__(self, text: str, done: Any = None) -> None:
        super().__init__(text)
        self.done = done


def prime[C: env.Stack](kind: type[C], *reads: Callable[[C], object]) -> None:
    """End INIT: in Lambda, make the clients and connections of a change while there is full CPU for it.

    `reads` are those that the handler always needs.  Whatever goes wrong here goes wrong again, and is reported, at the
    first invocation; where AWS is slow, the rest is left to it too, because Lambda gives INIT ten seconds.
    """
    if env.in_lambda():
        with suppress(ClientError, BotoCoreError, env.InputError):
            config, began = env.load(kind), time.monotonic()
            shared: tuple[Callable[[C], object], ...] = (
                lambda stack: aws.client("ssm").get_parameter(Name=stack.hold_parameter),
                lambda stack: aws.client("sns").get_topic_attributes(TopicArn=stack.topic_arn),
            )
            for read in (*reads[:1], *shared, *reads[1:]):
                if time.monotonic() - began < PRIMING_SECONDS:
                    read(config)
    gc.freeze()
    gc.enable()


def now() -> datetime:
    """Return the time; the product has no other clock."""
    return datetime.fromtimestamp(time.time(), UTC)


def plain(value: Any) -> Any:
    """Return plain JSON values: a return value that is not JSON fails only in Lambda, after the act."""
    if isinstance(value, Words):
        return value.en
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, frozenset)):
        return [plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value


def reconcile[C: env.Stack, S, D](
    event: object,
    kind: type[C],
    observe: Callable[[C, events.Hint], S],
    decide: Callable[[C, S], Decision],
    act: Callable[[C, S, Mapping[str, Any]], D],
    tell: Callable[[C, S, Decision, D, Times], Mail | None],
    keep: Callable[[C, events.Request, datetime], Any] | None = None,
    rehearse: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Bring the world to where `decide` says it should be, and say so once if that took a change.

    `keep`, of a handler that takes wishes, validates and stores the one in the event before anything is observed;
    what it returns is `hint.wish`.  A hold does not stop it: the wish comes true when the hold is over.
    `rehearse` names kinds of hints for which a stack with DryRun=true mails besides alarms and wishes; never the tick.

    Returns {"hint", "seen", "reason", "change", "outcome"}.  Raises InputError for an event or an environment that
    cannot be understood, UnfinishedError for a change made in part, and otherwise what AWS answered: Lambda retries,
    and what cannot be finished then goes to the failure destination.
    """
    began = now()
    request = events.request(event)
    config = env.load(kind)
    hint = replace(request.hint, wish=keep(config, request, began)) if keep and request.wish else request.hint
    seen = observe(config, hint)
    decision = decide(config, seen)
    change = decision.change or (decision.forced if request.force else None)
    outcome, why_not = _gate(config, request, decision, change, began)
    report = {
        "hint": request.hint.text,
        "seen": plain(seen),
        "reason": why_not or decision.reason.en,
        "change": plain(change),
        "outcome": "failed",  # in the log, if the act raises
    }
    try:
        if outcome == "changed" and change is not None:
            done, unfinished = _attempt(act, config, seen, change)
            times = Times(request.hint.at, began, now())
            if isinstance(done, Made):
                outcome = "changed" if done.change else "unchanged"
                report |= {"reason": done.reason.en, "change": plain(done.change)}
            announce(config, tell(config, seen, decision, done, times))
            if outcome == "changed":
                _count(decision, times)
            if unfinished:
                raise unfinished
        elif outcome == "dry-run" and config.dry_run and request.hint.kind in ("alarm", "wish", *rehearse):
            announce(config, _rehearsal(config, decision, change))
        report["outcome"] = outcome
    finally:
        logger.info("decision", decision=report, forced=request.reason)
        for condition in decision.lasting + _LASTING.get(outcome, ()):
            metrics.add_metric(condition, MetricUnit.Count, 1)
        if metrics.metric_set:
            metrics.flush_metrics()
    return report


def _gate(
    config: env.Stack, request: events.Request, decision: Decision, change: Mapping[str, Any] | None, now: datetime
) -> tuple[str, str]:
    """Return the outcome that the run will have if nothing fails, and why a change that is due is not made.

    The hold is read only when there is something to hold: nothing stands between the decision and the write but this.
    """
    if change is None:
        return ("refused" if decision.refused else "unchanged"), ""
    if config.dry_run or request.dry_run:
        return "dry-run", ""
    if request.force:
        return "changed", ""
    wish = hold.read(config.hold_parameter, now)
    if wish is None:
        logger.warning("the hold cannot be read; going on", parameter=config.hold_parameter)
        return "changed", ""
    if wish.problem:
        return "refused", f"{config.hold_parameter}: {wish.problem}; due otherwise: {decision.reason.en}"
    if wish.on:
        return "held", f"{wish.reason}; due otherwise: {decision.reason.en}"
    return "changed", ""


def _attempt[C, S, D](
    act: Callable[[C, S, Mapping[str, Any]], D], config: C, seen: S, change: Mapping[str, Any]
) -> tuple[D, UnfinishedError | None]:
    """Make the change; return what was done, and what to raise when it has been told."""
    try:
        return act(config, seen, change), None
    except UnfinishedError as error:
        if error.done is None:
            raise
        return error.done, error


def announce(config: env.Stack, mail: Mail | None) -> None:
    """Publish the mail of a change; a failure counts and never undoes the change."""
    if mail and (problem := notify.publish(config.topic_arn, mail, config.notification_language)):
        logger.error("the mail was not sent", subject=mail.subject, problem=problem)
        metrics.add_metric("MailFailed", MetricUnit.Count, 1)


def _count(decision: Decision, times: Times) -> None:
    """Count the change, and the time from its cause where the event told that."""
    if decision.counts:
        metrics.add_metric(decision.counts, MetricUnit.Count, 1)
        if times.caused:
            milliseconds = (times.done - times.caused).total_seconds() * 1000
            metrics.add_metric("EventToSwitched", MetricUnit.Milliseconds, max(0.0, milliseconds))


def _rehearsal(config: env.Stack, decision: Decision, change: Mapping[str, Any] | None) -> Mail:
    """Say what would be done; only alarms and wishes bring this mail, not every tick."""
    would = Words(
        f"DryRun is true, so nothing was written. Would be done: {json.dumps(plain(change))}",
        f"DryRun が true のため、何も変更していません。実行される予定だった変更: {json.dumps(plain(change))}",
    )
    return Mail(
        notify.subject(config.service_name, "dry run: a change is due"),
        ((notify.HAPPENED, would), (notify.WHY, decision.reason)),
    )
