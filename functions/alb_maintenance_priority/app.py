"""Put an ALB listener into maintenance while a window is open: the maintenance rule goes before all others, and back.

A start or an end is a wish: it is stored in the maintenance parameter, and every run brings the rule to where the
stored windows want it. So a lost end costs nothing: its window is over at its `until`, and the next tick sees it.
"""

from datetime import datetime
from typing import Any, assert_never

from kirikae import clock, env, reconcile
from kirikae.decision import Decision, Result
from kirikae.events import Hint, Request
from kirikae.log import logger
from kirikae.maintenance import rules, windows, wishes
from kirikae.maintenance.mail import ended, left, started
from kirikae.maintenance.priorities import back, front
from kirikae.maintenance.rules import Memory
from kirikae.maintenance.windows import Stored
from kirikae.maintenance.world import Config, GoLive, LeaveAlone, Observed, Park
from kirikae.notify import Mail, Words


def store_wish(config: Config, request: Request, now: datetime) -> Stored:
    """Validate the wish in the event and store it."""
    wish = wishes.read(request.wish or {}, now, config.maintenance_end, config.maintenance_timezone)
    return windows.store(config.maintenance_parameter, wish, now, dry_run=config.dry_run or request.dry_run)


def observe(config: Config, hint: Hint) -> Observed:
    """Read the windows, the listener's rules, and the memory in the maintenance rule's tags."""
    stored = hint.wish or windows.read(config.maintenance_parameter)
    with env.naming("MaintenanceListenerArn", config.maintenance_listener_arn):
        order = rules.read(config.maintenance_listener_arn)
    memory = rules.recall(config.maintenance_rule_arn) if config.rule in order.priorities else Memory()
    return Observed(clock.now(), stored, order, memory)


def is_live(config: Config, seen: Observed) -> bool:
    """Tell whether the maintenance rule is where it belongs while a window is open."""
    return seen.order.priorities[config.rule] == config.places[config.rule]


def decide(config: Config, seen: Observed) -> Decision[GoLive | Park | LeaveAlone]:
    """Make the rule live while a window is open, and park it when none is; what others have moved stays theirs."""
    if seen.stored.problem:
        return Decision(Words(f"{config.maintenance_parameter}: {seen.stored.problem}"), refused=True)
    if config.rule not in seen.order.priorities:
        gone = f"rule {config.rule} is not among the listener's rules: it was deleted; deploy the stack again"
        return Decision(Words(f"MaintenanceRuleArn: {gone}"), refused=True)
    return _in_maintenance(config, seen) if seen.stored.open(seen.now) else _out_of_maintenance(config, seen)


def _in_maintenance(config: Config, seen: Observed) -> Decision[GoLive | Park | LeaveAlone]:
    """Decide while a window is open."""
    said = windows.said(seen.stored.open(seen.now))
    lasting = ("MaintenanceWithoutEnd",) if windows.reminds(seen.stored, seen.now) else ()
    reason = Words(f"{seen.stored.note or 'windows are open'}: {said.en}", f"メンテナンス時間帯です: {said.ja}")
    if is_live(config, seen):
        if seen.memory.state not in ("moving", "left"):
            return Decision(reason, lasting=lasting)
        return Decision(reason, GoLive({}), counts="MaintenanceStarted", lasting=lasting)
    number = seen.order.priorities[config.rule]
    if seen.memory.state in ("live", "left") and not seen.stored.started:
        moved = Words(
            f"others moved the maintenance rule to {number}; left until the windows end or a new start: {said.en}",
            f"メンテナンスルールの優先度が kirikae 以外により {number} に変更されました。時間帯: {said.ja}",
        )
        return Decision(moved, LeaveAlone() if seen.memory.state == "live" else None, lasting=lasting)
    change = front(seen.order.priorities, seen.memory, config.places)
    if change is None:
        room = f"no room at LivePriority {config.live_priority} among {len(seen.order.priorities)} rules"
        return Decision(Words(f"{room}; windows: {said.en}"), refused=True, lasting=lasting)
    return Decision(reason, change, counts="MaintenanceStarted", lasting=lasting)


def _out_of_maintenance(config: Config, seen: Observed) -> Decision[GoLive | Park | LeaveAlone]:
    """Decide while no window is open."""
    lasting = ("DefaultActionHidden",) if rules.hides_default(seen.order, config.rule) else ()
    note = f"{seen.stored.note}; " if seen.stored.note else ""
    if seen.memory.state not in rules.OURS and not is_live(config, seen):
        return Decision(Words(f"{note}no window is open and the maintenance rule is parked"), lasting=lasting)
    over = windows.said(seen.stored.windows)
    reason = Words(
        f"{note}no window is open any more" + (f": {over.en}" if over.en else ""),
        "メンテナンス時間帯が終了しました" + (f": {over.ja}" if over.ja else ""),
    )
    change = back(seen.order.priorities, seen.memory, config.places, config.homes)
    return Decision(reason, change, counts="MaintenanceEnded")


def act(config: Config, seen: Observed, change: GoLive | Park | LeaveAlone) -> None:
    """Remember, move in one call, read back, and write into the tag how far it got; raise UnfinishedError."""
    numbers = seen.memory.numbers
    match change:
        case GoLive():
            if change.numbers is not None:
                numbers = change.numbers
                rules.remember(config.maintenance_rule_arn, Memory("moving", numbers))
            rules.arrange(config.maintenance_listener_arn, config.prefix, change.priorities)
        case Park():
            numbers = {}
            rules.arrange(config.maintenance_listener_arn, config.prefix, change.priorities)
        case LeaveAlone():
            pass
        case _:
            assert_never(change)
    rules.remember(config.maintenance_rule_arn, Memory(change.to, numbers))


def mail(config: Config, seen: Observed, result: Result[GoLive | Park | LeaveAlone, None]) -> Mail:
    """Return the mail of a start, an end, or a rule that others moved."""
    match result.change:
        case GoLive():
            return started(config, seen.stored.open(seen.now), result)
        case Park(notes=notes):
            return ended(config, seen.memory, notes, result)
        case LeaveAlone():
            return left(config, result)
        case _:
            assert_never(result.change)


reconcile.warm_up(Config, lambda config: rules.read(config.maintenance_listener_arn))


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Store the wish, if the event is one, and reconcile the rule with the windows."""
    return reconcile.reconcile(event, Config, observe, decide, act, mail, store_wish)
