"""hint -> observe -> decide -> act -> verify -> notify, the same way for every handler that acts."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from kirikae import env, events, hold, notify
from kirikae.notify import Mail, Words

logger = Logger()
metrics = Metrics(namespace="kirikae")
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


class UnfinishedError(RuntimeError):
    """Part of a change was not made; the text names it, and the next run finishes it."""


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
) -> dict[str, Any]:
    """Bring the world to where `decide` says it should be, and say so once if that took a change.

    Returns {"hint", "seen", "reason", "change", "outcome"}.  Raises InputError for an event or an environment that
    cannot be understood, UnfinishedError for a change made in part, and otherwise what AWS answered: Lambda retries,
    and what cannot be finished then goes to the failure destination.
    """
    began = now()
    request = events.request(event)
    config = env.load(kind)
    seen = observe(config, request.hint)
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
            done = act(config, seen, change)
            times = Times(request.hint.at, began, now())
            _tell(config, tell(config, seen, decision, done, times))
            _count(decision, times)
        elif outcome == "dry-run" and config.dry_run and request.hint.kind == "alarm":
            _tell(config, _rehearsal(config, decision, change))
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


def _tell(config: env.Stack, mail: Mail | None) -> None:
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
    """Say what would be done; only alarms bring this mail, or a dry-run stack would send one every minute."""
    would = Words(
        f"DryRun is true, so nothing was written. Would be done: {plain(change)}",
        f"DryRun が true のため、何も変更していません。実行するはずだった内容: {plain(change)}",
    )
    return Mail(
        notify.subject(config.service_name, "dry run: a change is due"),
        ((notify.HAPPENED, would), (notify.WHY, decision.reason)),
    )
