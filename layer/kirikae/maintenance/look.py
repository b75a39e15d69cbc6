"""What is read before a decision: windows, rules and memory, each of which may still show what was before a change."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from botocore.exceptions import ClientError

from kirikae import clock, elb, env, patience, told
from kirikae.decision import Change, Decision
from kirikae.errors import OutdatedError
from kirikae.events import Hint
from kirikae.maintenance import attempts, ours, rules, standing, windows
from kirikae.maintenance.rules import Memory
from kirikae.maintenance.windows import Stored
from kirikae.maintenance.world import Config, Observed


def look(config: Config, hint: Hint) -> Observed:
    """Read the windows, the listener's rules, and the memory in the maintenance rule's tags, once."""
    stored: Stored = hint.wish or windows.read(config.maintenance_parameter)
    with env.naming("MaintenanceListenerArn", config.maintenance_listener_arn):
        order = rules.read(config.maintenance_listener_arn)
    arn = config.maintenance_rule_arn
    tags = elb.tags([arn])[arn] if config.rule in order.priorities else {}
    memory = rules.recall(tags)
    if hint.wish and _overtaken(stored, memory):
        later = windows.read(config.maintenance_parameter)
        stored = max(stored, replace(later, note=stored.note, started=stored.started), key=lambda one: one.version)
    now, began = clock.now(), not stored.started and bool(stored.open(clock.now()))
    start = attempts.last_start(config, tags, memory, stored, now)
    forgotten = began and not memory.state and _told_on(config)
    return Observed(now, stored, order, memory, forgotten=forgotten, start=start)


def _told_on(config: Config) -> bool:
    """Tell whether people were told last that visitors get the page."""
    note = told.read(config.told_parameter)
    return note is not None and note.known.get(standing.PAGE) == standing.ON[standing.PAGE]


def _overtaken(stored: Stored, memory: Memory) -> bool:
    """Tell whether another run has acted on windows that are newer than these."""
    return stored.version < memory.version and not stored.rehearsed


def patiently[X: Change](config: Config, hint: Hint, decide: Callable[[Config, Observed], Decision[X]]) -> Observed:
    """Look, and look again while a change, a refusal or a wish would rest on reads that contradict each other.

    So they do for some seconds after another run, and for longer where a run died or others have moved the rule.
    """

    def trusted(seen: Observed) -> bool:
        if _agree(config, seen):
            return True
        decision = decide(config, seen)
        return decision.change is None and not decision.refused and not seen.stored.started

    seen = look(config, hint)
    return seen if trusted(seen) else patience.until(lambda: look(config, hint), trusted) or seen


def _agree(config: Config, seen: Observed) -> bool:
    """Tell whether our rules show, the memory is that of these rules, and the windows are not older than it."""
    if not seen.order.priorities.keys() >= set(config.ours):  # a rule that was just made may be shown later
        return False
    if _overtaken(seen.stored, seen.memory):
        return False
    if ours.placed(config, seen):  # of a first window it says that an end is on its way, or was made just now
        waits = ours.to_open(config, seen) or ours.testers_behind(config, seen)
        return seen.memory.state == "live" and not waits and not seen.stored.first
    return seen.memory.state not in ("moving", "live") and not ours.to_close(config, seen)


@contextmanager
def as_seen() -> Iterator[None]:
    """Raise OutdatedError if AWS refuses a write because others have changed the rules since they were read.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_SetRulePriorities.html
    """
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("PriorityInUse", "RuleNotFound"):
            raise
        raise OutdatedError(str(error)) from error


def reopened(report: Mapping[str, Any]) -> Stored | None:
    """Return the windows that are open after a run that has put the rules back, if they are newer than it knew.

    They are asked for by their number: such an answer is there or not, but never one of before.
    """
    if report["outcome"] != "changed" or report["change"]["to"] != "parked":
        return None
    name, found = env.load(Config).maintenance_parameter, None
    version = report["seen"]["stored"]["version"]
    while (later := windows.read(f"{name}:{version + 1}")).version:
        found, version = later, later.version
    return found if found and found.open(clock.now()) else None
