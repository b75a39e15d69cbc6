"""The rules of a listener, and what the tags of the maintenance rule remember of their order.

Rules are named by their id, the last part of their ARN. What was there before is remembered in tags of the
maintenance rule, where an operator can read it: `state=live rules=12`, and `0467ef3c8400ae65=10+1` for a rule that had
priority 10 and was moved by one.
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kirikae import aws, elb

PAGE = 400  # rules in an answer, at most
LAST = 50000  # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_SetRulePriorities.html
TAG = "kirikae:maintenance"
NUMBERS_TAG = "kirikae:maintenance-{}"
RULES_PER_TAG = 9  # an entry has up to 26 characters, a value 256
TAGS = 40  # of the 50 that a rule can have
OURS = ("moving", "live", "left")  # states in which the maintenance rule was brought to the front by us


@dataclass(frozen=True)
class Order:
    """A listener's rules without the default one."""

    priorities: Mapping[str, int]  # rule id -> priority
    everything: frozenset[str]  # the rules that match every path and ask for nothing else
    default_action: str  # type of the listener's default action


@dataclass(frozen=True)
class Memory:
    """What the tags of the maintenance rule say.

    state: "" (no tag), parked, moving (about to be made live), live, left (moved by others, hands off) or broken.
    """

    state: str = ""
    numbers: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # rule id -> before, given


def read(listener_arn: str) -> Order:
    """Return the rules of a listener.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeRules.html
    """
    found: list[dict[str, Any]] = []
    page: dict[str, Any] = {"NextMarker": None}
    while "NextMarker" in page:
        more = {"Marker": page["NextMarker"]} if page["NextMarker"] else {}
        page = aws.client("elbv2").describe_rules(ListenerArn=listener_arn, PageSize=PAGE, **more)
        found += page["Rules"]
    own = {rule["RuleArn"].rpartition("/")[2]: rule for rule in found if not rule["IsDefault"]}
    return Order(
        {rule_id: int(rule["Priority"]) for rule_id, rule in own.items()},
        frozenset(rule_id for rule_id, rule in own.items() if _matches_everything(rule["Conditions"])),
        next((rule["Actions"][-1]["Type"] for rule in found if rule["IsDefault"]), ""),
    )


def _matches_everything(conditions: list[dict[str, Any]]) -> bool:
    if [condition["Field"] for condition in conditions] != ["path-pattern"]:
        return False
    paths = conditions[0].get("PathPatternConfig", {}).get("Values") or conditions[0].get("Values", [])
    return bool({"*", "/*"} & set(paths))


def recall(rule_arn: str) -> Memory:
    """Return what the rule's tags say."""
    return decoded(elb.tags(rule_arn))


def remember(rule_arn: str, memory: Memory) -> None:
    """Make the rule's tags say this."""
    elb.tag(rule_arn, encoded(memory))


def arrange(prefix: str, priorities: Mapping[str, int]) -> None:
    """Give the rules these priorities, all of them in one call: it is judged by the final order, all or nothing.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_SetRulePriorities.html
    """
    wanted = [{"RuleArn": prefix + rule_id, "Priority": number} for rule_id, number in priorities.items()]
    aws.client("elbv2").set_rule_priorities(RulePriorities=wanted)


def encoded(memory: Memory) -> dict[str, str]:
    """Return the tags; a tag value has up to 256 letters, digits, spaces and + - = . _ : / @."""
    entries = [
        f"{rule_id}={before}" + (f"+{given - before}" if given != before else "")
        for rule_id, (before, given) in sorted(memory.numbers.items(), key=lambda item: item[1])
    ]
    batches = itertools.batched(entries, RULES_PER_TAG, strict=False)
    values = {NUMBERS_TAG.format(number): " ".join(batch) for number, batch in enumerate(batches, 1)}
    return {TAG: f"state={memory.state} rules={len(entries)}"} | values


def decoded(tags: Mapping[str, str]) -> Memory:
    """Return what the tags say; tags of an earlier window beyond the counted ones mean nothing."""
    if TAG not in tags:
        return Memory()
    if not (head := re.fullmatch(r"state=(parked|moving|live|left) rules=(\d{1,3})", tags[TAG])):
        return Memory("broken")
    state, count = head[1], int(head[2])
    numbers: dict[str, tuple[int, int]] = {}
    for number in range(1, -(-count // RULES_PER_TAG) + 1):
        for entry in tags.get(NUMBERS_TAG.format(number), "").split():
            if not (found := re.fullmatch(r"([0-9a-zA-Z]+)=(\d+)(?:\+(\d+))?", entry)):
                return Memory("broken")
            numbers[found[1]] = int(found[2]), int(found[2]) + int(found[3] or 0)
    return Memory(state, numbers) if len(numbers) == count else Memory("broken")


def hides_default(order: Order, rule_id: str) -> bool:
    """Tell whether the parked rule takes the requests that the default action should get.

    A rule for every path, wherever it stands, leaves nothing to the default action.
    """
    if rule_id not in order.everything or order.default_action == "fixed-response":
        return False
    return all(order.priorities[other] >= order.priorities[rule_id] for other in order.everything - {rule_id})
