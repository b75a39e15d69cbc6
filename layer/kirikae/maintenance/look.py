"""What is read before a decision: windows, rules and memory, each of which may still show what was before a change."""

from collections.abc import Callable

from kirikae import clock, env, patience
from kirikae.decision import Change, Decision
from kirikae.events import Hint
from kirikae.maintenance import ours, rules, windows
from kirikae.maintenance.rules import Memory
from kirikae.maintenance.world import Config, Observed


def look(config: Config, hint: Hint) -> Observed:
    """Read the windows, the listener's rules, and the memory in the maintenance rule's tags, once."""
    stored = hint.wish or windows.read(config.maintenance_parameter)
    with env.naming("MaintenanceListenerArn", config.maintenance_listener_arn):
        order = rules.read(config.maintenance_listener_arn)
    memory = rules.recall(config.maintenance_rule_arn) if config.rule in order.priorities else Memory()
    return Observed(clock.now(), stored, order, memory)


def patiently[X: Change](config: Config, hint: Hint, decide: Callable[[Config, Observed], Decision[X]]) -> Observed:
    """Look, and look again while a change, a refusal or a wish would rest on reads that contradict each other.

    So they do for some seconds after another run, and for longer where a run died or others have moved the rule.
    """

    def trusted(seen: Observed) -> bool:
        if _agree(config, seen, wished=hint.wish is not None):
            return True
        decision = decide(config, seen)
        return decision.change is None and not decision.refused and not seen.stored.started

    seen = look(config, hint)
    return seen if trusted(seen) else patience.until(lambda: look(config, hint), trusted) or seen


def _agree(config: Config, seen: Observed, *, wished: bool) -> bool:
    """Tell whether the memory is that of these rules, and the windows are not older than it."""
    if config.rule not in seen.order.priorities:
        return True
    if not wished and seen.stored.version < seen.memory.version:
        return False
    if ours.placed(config, seen):
        return seen.memory.state == "live" and not ours.to_open(config, seen)
    return seen.memory.state not in ("moving", "live") and not ours.to_close(config, seen)
