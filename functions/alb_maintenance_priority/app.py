"""Put an ALB listener into maintenance while a window is open: the maintenance rule goes before all others, and back.

A start or an end is a wish: it is stored in the maintenance parameter, and every run brings the rule to where the
stored windows want it. So a lost end costs nothing: its window is over at its `until`, and the next tick sees it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kirikae import env, reconcile
from kirikae.events import Hint, Request
from kirikae.maintenance import mail, priorities, rules, windows, wishes
from kirikae.maintenance.rules import Memory, Order
from kirikae.maintenance.windows import Stored
from kirikae.notify import Mail, Words
from kirikae.reconcile import Decision, Times, UnfinishedError

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@dataclass(frozen=True, kw_only=True)
class Config(env.Stack):
    """What this function is told."""

    maintenance_parameter: str
    maintenance_listener_arn: str = env.arn(
        "elasticloadbalancing", r"listener/app/[^/]+/[^/]+/[^/]+", "the ARN of an ALB listener (…:listener/app/…)"
    )
    maintenance_rule_arn: str = env.arn(
        "elasticloadbalancing", r"listener-rule/app/[^/]+/[^/]+/[^/]+/[^/]+", "the ARN of a rule of an ALB listener"
    )
    maintenance_bypass_rule_arn: str = ""
    live_priority: int = env.must("[1-9][0-9]{0,4}", "a priority from 1 to 49998", default=1)
    parked_priority: int = env.must("[1-9][0-9]{0,4}", "a priority from 2 to 49999", default=49999)
    maintenance_end: str = ""
    maintenance_timezone: str = "Asia/Tokyo"

    def __post_init__(self) -> None:
        """Refuse what does not fit together; raise InputError."""
        if not self.maintenance_rule_arn.startswith(self.prefix):
            raise env.InputError(
                f"MaintenanceRuleArn is {self.maintenance_rule_arn}, a rule of another listener; expected one of "
                f"MaintenanceListenerArn, {self.maintenance_listener_arn}"
            )
        if not self.places[self.rule] < self.parked_priority < rules.LAST:
            raise env.InputError(
                f"LivePriority is {self.live_priority} and ParkedPriority {self.parked_priority}, expected a parked "
                f"one above {self.places[self.rule]}, where the rule is while live, and below {rules.LAST}"
            )

    @property
    def prefix(self) -> str:
        """What the ARNs of the listener's rules begin with."""
        return self.maintenance_listener_arn.replace(":listener/", ":listener-rule/") + "/"

    @property
    def rule(self) -> str:
        """The id of the maintenance rule."""
        return self.maintenance_rule_arn.rpartition("/")[2]

    @property
    def ours(self) -> list[str]:
        """The ids of our rules in the order in which they stand while live: testers come first."""
        return [arn.rpartition("/")[2] for arn in (self.maintenance_bypass_rule_arn, self.maintenance_rule_arn) if arn]

    @property
    def places(self) -> dict[str, int]:
        """Our rules with their live numbers."""
        return {rule_id: self.live_priority + number for number, rule_id in enumerate(self.ours)}

    @property
    def homes(self) -> dict[str, int]:
        """Our rules with their parked numbers; behind the maintenance rule nothing reaches that of the testers."""
        return {self.rule: self.parked_priority} | {rule: rules.LAST for rule in self.ours if rule != self.rule}


@dataclass(frozen=True)
class Observed:
    """The world as far as the decision needs it."""

    now: datetime
    stored: Stored
    order: Order
    memory: Memory


def keep(config: Config, request: Request, now: datetime) -> Stored:
    """Validate the wish in the event and store it."""
    wish = wishes.read(request.wish or {}, now, config.maintenance_end, config.maintenance_timezone)
    return windows.keep(config.maintenance_parameter, wish, now, dry_run=config.dry_run or request.dry_run)


def observe(config: Config, hint: Hint) -> Observed:
    """Read the windows, the listener's rules, and what the maintenance rule's tags remember."""
    stored = hint.wish or windows.read(config.maintenance_parameter)
    with env.naming("MaintenanceListenerArn", config.maintenance_listener_arn):
        order = rules.read(config.maintenance_listener_arn)
    memory = rules.recall(config.maintenance_rule_arn) if config.rule in order.priorities else Memory()
    return Observed(reconcile.now(), stored, order, memory)


def is_live(config: Config, seen: Observed) -> bool:
    """Tell whether the maintenance rule is where it belongs while a window is open."""
    return seen.order.priorities[config.rule] == config.places[config.rule]


def decide(config: Config, seen: Observed) -> Decision:
    """Make the rule live while a window is open, and park it when none is; what others have moved stays theirs."""
    if seen.stored.problem:
        return Decision(Words(f"{config.maintenance_parameter}: {seen.stored.problem}"), refused=True)
    if config.rule not in seen.order.priorities:
        gone = f"rule {config.rule} is not among the listener's rules: it was deleted; deploy the stack again"
        return Decision(Words(f"MaintenanceRuleArn: {gone}"), refused=True)
    return _in_maintenance(config, seen) if seen.stored.open(seen.now) else _out_of_maintenance(config, seen)


def _in_maintenance(config: Config, seen: Observed) -> Decision:
    """Decide while a window is open."""
    said = windows.said(seen.stored.open(seen.now))
    lasting = ("MaintenanceWithoutEnd",) if windows.reminds(seen.stored, seen.now) else ()
    reason = Words(f"{seen.stored.note or 'windows are open'}: {said.en}", f"メンテナンス時間帯です: {said.ja}")
    if is_live(config, seen):
        if seen.memory.state not in ("moving", "left"):
            return Decision(reason, lasting=lasting)
        return Decision(reason, {"to": "live", "priorities": {}}, counts="MaintenanceStarted", lasting=lasting)
    number = seen.order.priorities[config.rule]
    if seen.memory.state in ("live", "left") and not seen.stored.started:
        moved = Words(
            f"others moved the maintenance rule to {number}; left until the windows end or a new start: {said.en}",
            f"メンテナンスルールの優先度が kirikae 以外により {number} に変更されました。時間帯: {said.ja}",
        )
        return Decision(moved, {"to": "left"} if seen.memory.state == "live" else None, lasting=lasting)
    plan = priorities.front(seen.order.priorities, seen.memory, config.places)
    if plan is None:
        room = f"no room at LivePriority {config.live_priority} among {len(seen.order.priorities)} rules"
        return Decision(Words(f"{room}; windows: {said.en}"), refused=True, lasting=lasting)
    change = {"to": "live", "priorities": plan.priorities, "numbers": plan.numbers}
    return Decision(reason, change, counts="MaintenanceStarted", lasting=lasting)


def _out_of_maintenance(config: Config, seen: Observed) -> Decision:
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
    plan = priorities.back(seen.order.priorities, seen.memory, config.places, config.homes)
    return Decision(reason, {"to": "parked", "priorities": plan.priorities}, counts="MaintenanceEnded")


def act(config: Config, seen: Observed, change: Mapping[str, Any]) -> None:
    """Remember, move in one call, read back, and say in the tag how far it got; raise UnfinishedError."""
    numbers = change.get("numbers", seen.memory.numbers)
    if "numbers" in change:
        rules.remember(config.maintenance_rule_arn, Memory("moving", numbers))
    if wanted := change.get("priorities"):
        rules.arrange(config.prefix, wanted)
        found = rules.read(config.maintenance_listener_arn).priorities
        if wrong := {rule: found.get(rule) for rule, number in wanted.items() if found.get(rule) != number}:
            raise UnfinishedError(f"the rules read back as {wrong}, expected {dict(wanted)}")
    rules.remember(config.maintenance_rule_arn, Memory(change["to"], {} if change["to"] == "parked" else numbers))


def tell(config: Config, seen: Observed, decision: Decision, done: None, times: Times) -> Mail | None:
    """Write the mail of a start, an end, or a rule that others moved."""
    to, open_windows = (decision.change or {})["to"], seen.stored.open(seen.now)
    if to == "parked":
        plan = priorities.back(seen.order.priorities, seen.memory, config.places, config.homes)
        return mail.ended(config, seen.memory, plan, decision.reason, times)
    if to == "left":
        return mail.left(config, decision.reason, times)
    return mail.started(config, open_windows, decision.reason, times)


reconcile.prime(Config, lambda config: rules.read(config.maintenance_listener_arn))


@reconcile.logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Store the wish, if the event is one, and reconcile the rule with the windows."""
    return reconcile.reconcile(event, Config, observe, decide, act, tell, keep)
