"""The maintenance mode as values: settings, what is seen of the world, and what can be changed in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from kirikae import env
from kirikae.decision import Change
from kirikae.errors import InputError
from kirikae.maintenance.conditions import EVERYTHING, Condition, cidr, from_addresses
from kirikae.maintenance.rules import LAST, Memory, Order
from kirikae.maintenance.schedules import zone_name
from kirikae.maintenance.windows import Stored
from kirikae.notify import Words


@dataclass(frozen=True, kw_only=True)
class Config(env.Stack):
    """The listener, the maintenance rule, and where this rule stands in and out of maintenance."""

    maintenance_parameter: str = env.of_stack()
    maintenance_listener_arn: str = env.arn(
        "elasticloadbalancing", r"listener/app/[^/]+/[^/]+/[^/]+", "the ARN of an ALB listener (…:listener/app/…)"
    )
    maintenance_rule_arn: str = env.arn(
        "elasticloadbalancing", r"listener-rule/app/[^/]+/[^/]+/[^/]+/[^/]+", "the ARN of a rule of an ALB listener"
    )
    maintenance_target_group_arn: str = env.of_stack(default="")  # the page's; none with a rule of the user's own
    maintenance_bypass_rule_arn: str = env.of_stack(default="")
    maintenance_bypass_cidrs: tuple[str, ...] = env.read_by(cidr, "a CIDR block like 203.0.113.0/24", default=())
    maintenance_bypass_target_group_arn: str = env.target_group_arn(default="")
    live_priority: int = env.must("[1-9][0-9]{0,4}", "a priority from 1 to 49998", default=1)
    parked_priority: int = env.must("[1-9][0-9]{0,4}", "a priority from 2 to 49999", default=49999)
    testers_parked_priority: int = env.must("[1-9][0-9]{0,4}", "a priority from 3 to 50000", default=LAST)
    maintenance_start: str = ""
    maintenance_end: str = ""
    maintenance_timezone: str = env.read_by(zone_name, "an IANA time zone like Asia/Tokyo", default="Asia/Tokyo")

    def __post_init__(self) -> None:
        """Refuse what does not fit together; raise InputError."""
        if not self.maintenance_rule_arn.startswith(self.prefix):
            raise InputError(
                f"MaintenanceRuleArn is {self.maintenance_rule_arn}, a rule of another listener; expected one of "
                f"MaintenanceListenerArn, {self.maintenance_listener_arn}"
            )
        if not self.places[self.rule] < self.parked_priority < LAST:
            raise InputError(
                f"LivePriority is {self.live_priority} and ParkedPriority {self.parked_priority}, expected a parked "
                f"one above {self.places[self.rule]}, where the rule is while live, and below {LAST}"
            )

        home = self.testers_parked_priority
        if len(self.ours) > 1 and (home == self.parked_priority or not self.places[self.rule] < home <= LAST):
            raise InputError(
                f"TestersParkedPriority is {home}, expected another one than ParkedPriority, {self.parked_priority}, "
                f"above {self.places[self.rule]} and at most {LAST}"
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
    def live(self) -> dict[str, tuple[tuple[Condition, ...], str]]:
        """What the rules that the stack made ask for while live, and where they forward it, testers first.

        A rule of the user's own keeps its conditions and actions.
        """
        testers = self.maintenance_bypass_rule_arn.rpartition("/")[2]
        wanted = {
            testers: (from_addresses(self.maintenance_bypass_cidrs), self.maintenance_bypass_target_group_arn),
            self.rule: (EVERYTHING, self.maintenance_target_group_arn),
        }
        return {rule_id: (asks, group) for rule_id, (asks, group) in wanted.items() if rule_id and group}

    @property
    def places(self) -> dict[str, int]:
        """Our rules with their live numbers."""
        return {rule_id: self.live_priority + number for number, rule_id in enumerate(self.ours)}

    @property
    def homes(self) -> dict[str, int]:
        """Our rules with their parked numbers."""
        return {self.rule: self.parked_priority} | {
            rule: self.testers_parked_priority for rule in self.ours if rule != self.rule
        }


@dataclass(frozen=True)
class Observed:
    """The world as far as the decision needs it."""

    now: datetime
    stored: Stored
    order: Order
    memory: Memory
    forgotten: bool = False  # people know that the page is on, and no rule remembers the numbers of before
    start: int = 0  # the first version of the windows that can hold the last start; 0 if that is not known

    @property
    def started(self) -> bool:
        """Tell whether a start is to be followed whatever others made of the rule.

        That of this run, or one that no run has followed yet: it was held, or its run died.
        """
        return self.stored.started or self.memory.version < self.start <= self.stored.version


@dataclass(frozen=True)
class GoLive(Change):
    """Put our rules at their live priorities, then open them; without `numbers` only the tag is behind."""

    to: Literal["live"] = field(default="live", init=False)
    priorities: Mapping[str, int]  # rule id -> new priority, those that change
    numbers: Mapping[str, tuple[int, int]] | None = None  # to remember: id of another's rule -> before, given
    opens: tuple[str, ...] = ()  # our rules in this order, the page's last


@dataclass(frozen=True)
class Park(Change):
    """Close our rules, then put them at their parked priorities, and those that made room for them back."""

    to: Literal["parked"] = field(default="parked", init=False)
    priorities: Mapping[str, int]
    notes: tuple[Words, ...] = ()  # for the mail: what is not as it was before
    closes: tuple[str, ...] = ()  # our rules in this order, the page's first

    def record(self) -> dict[str, Any]:
        """Return the change as it is logged, without the notes."""
        return {"to": self.to, "priorities": dict(self.priorities), "closes": list(self.closes)}


@dataclass(frozen=True)
class Close(Change):
    """Let parked rules of ours match nothing; they move nowhere."""

    to: Literal["closed"] = field(default="closed", init=False)
    closes: tuple[str, ...]


@dataclass(frozen=True)
class LeaveAlone(Change):
    """Remember that others moved the maintenance rule, and mail it once."""

    to: Literal["left"] = field(default="left", init=False)
