"""The rules of a listener, and the memory of their order in the tags of the maintenance rule.

Rules are named by their id, the last part of their ARN. The earlier order is remembered in tags of the maintenance
rule, where an operator can read it: `state=live rules=12`, and `0467ef3c8400ae65=10+1` for a rule that had priority 10
and was moved by one.
"""

import itertools
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import aws, elb, listeners, patience
from kirikae.errors import UnfinishedError
from kirikae.maintenance.conditions import NOTHING, Asks, Condition, addresses, asks, match_everything, match_nothing

LAST = 50000  # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_SetRulePriorities.html
TAG = "kirikae:maintenance"
NUMBERS_TAG = "kirikae:maintenance-{}"
VERSION_TAG = "kirikae:maintenance-windows"
PLACE_TAG = "kirikae:maintenance-place"
CLOSED_TAG = "kirikae:maintenance-closed"
RULES_PER_TAG = 9  # an entry has up to 26 characters, a value 256
TAGS = 40  # of the 50 that a rule can have
OURS = ("moving", "live", "left")  # states in which the maintenance rule was brought to the front by us


@dataclass(frozen=True)
class Order:
    """A listener's rules without the default one."""

    priorities: Mapping[str, int]  # rule id -> priority
    everything: frozenset[str]  # the rules that match every request
    nothing: frozenset[str]  # those that are parked: they match no request
    addresses: Mapping[str, frozenset[str]]  # rule id -> the clients it is for, of rules that ask for nothing else
    default_action: str  # type of the listener's default action
    groups: Mapping[str, str] = field(default_factory=dict)  # rule id -> the one that it forwards to, or ""
    asks: Mapping[str, Asks] = field(default_factory=dict)  # rule id -> what a request has to have, nothing for all


@dataclass(frozen=True)
class Memory:
    """The memory in the tags of the maintenance rule.

    state: "" (no tag), parked, moving (about to be made live), live, left (moved by others, hands off) or broken.
    """

    state: str = ""
    numbers: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # rule id -> before, given
    version: int = field(default=0, compare=False)  # of the windows that asked for this; 0 if that is not known
    place: int = field(default=0, compare=False)  # the live number that we gave our rule; 0 if that is not known
    closed: int = field(default=0, compare=False)  # how often we closed, or were about to, what no window had opened


def read(listener_arn: str) -> Order:
    """Return the rules of a listener."""
    found = listeners.rules(listener_arn)
    numbered = {rule.id: rule for rule in found if rule.priority is not None}
    clients = {rule_id: addresses(rule.conditions) for rule_id, rule in numbered.items()}
    return Order(
        {rule.id: rule.priority for rule in found if rule.priority is not None},
        frozenset(rule_id for rule_id, rule in numbered.items() if match_everything(rule.conditions)),
        frozenset(rule_id for rule_id, rule in numbered.items() if match_nothing(rule.conditions)),
        {rule_id: blocks for rule_id, blocks in clients.items() if blocks},
        next((rule.action for rule in found if rule.priority is None), ""),
        {rule_id: rule.group for rule_id, rule in numbered.items()},
        {rule_id: asks(rule.conditions) for rule_id, rule in numbered.items()},
    )


def recall(tags: Mapping[str, str]) -> Memory:
    """Return the memory in the rule's tags."""
    texts = [tags.get(tag, "") for tag in (VERSION_TAG, PLACE_TAG, CLOSED_TAG)]
    version, place, closed = (int(text) if text.isdecimal() else 0 for text in texts)
    return replace(decoded(tags), version=version, place=place, closed=closed)


def remember(rule_arn: str, memory: Memory) -> None:
    """Write the memory into the rule's tags."""
    place = {PLACE_TAG: str(memory.place)} if memory.place else {}
    elb.tag(rule_arn, encoded(memory) | {VERSION_TAG: str(memory.version)} | place)


def count_closed(rule_arn: str, memory: Memory) -> None:
    """Remember that we are about to close what no window had opened: afterwards nothing else would show it.

    It is not worth leaving the rule open that this cannot be written: then the run that closes it tells it, or nobody.
    """
    with suppress(ClientError, BotoCoreError):
        elb.tag(rule_arn, {CLOSED_TAG: str(memory.closed + 1)})


def conclude(rule_arn: str, memory: Memory, done: Any) -> None:
    """Remember that a change was made; raise UnfinishedError with what was done, which is told all the same."""
    try:
        remember(rule_arn, memory)
    except (ClientError, BotoCoreError) as error:
        text = f"the change is made, but the tags of {rule_arn}, which say so, could not be written: {error}"
        raise UnfinishedError(text, done) from error


def arrange(prefix: str, priorities: Mapping[str, int]) -> None:
    """Give the rules these priorities, all of them in one call: it is judged by the final order, all or nothing.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_SetRulePriorities.html
    """
    if priorities:
        wanted = [{"RuleArn": prefix + rule_id, "Priority": number} for rule_id, number in priorities.items()]
        aws.client("elbv2").set_rule_priorities(RulePriorities=wanted)


def open_to(prefix: str, asks: Mapping[str, tuple[Iterable[Condition], str]], page: str) -> tuple[list[str], str]:
    """Make rules forward what conditions ask for, both in one call, so that neither is ever without the other.

    The page does not wait for testers, whose rule comes first: how many addresses a condition takes, whether their
    group still fits, and what else is wrong with them, is seen only here. Return the rules that are open, and what AWS
    has against the testers'.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_ModifyRule.html
    """
    opened, problem = list(asks), ""
    for rule_id, (conditions, target_group_arn) in asks.items():
        try:
            _modify(prefix + rule_id, conditions, Actions=[{"Type": "forward", "TargetGroupArn": target_group_arn}])
        except (ClientError, BotoCoreError) as error:
            if rule_id == page:
                raise
            opened.remove(rule_id)
            problem = str(error)
    return opened, problem


def close(rule_arn: str) -> None:
    """Make the rule match nothing."""
    _modify(rule_arn, NOTHING)


def _modify(rule_arn: str, conditions: Iterable[Condition], **more: Any) -> None:
    aws.client("elbv2").modify_rule(RuleArn=rule_arn, Conditions=list(conditions), **more)


def check(listener_arn: str, priorities: Mapping[str, int], opened: Iterable[str], closed: Iterable[str]) -> None:
    """Look until what was written shows; raise UnfinishedError if it does not."""
    opens, closes = frozenset(opened), frozenset(closed)
    found = patience.until(
        lambda: read(listener_arn), lambda order: not _differs(order, priorities) and not _same(order, opens, closes)
    )
    if found is None:
        raise UnfinishedError("the rules cannot be read back")
    if wrong := _differs(found, priorities):
        raise UnfinishedError(f"the rules read back as {wrong}, expected {dict(priorities)}")
    if same := _same(found, opens, closes):
        raise UnfinishedError(f"the conditions of {', '.join(same)} read back as they were")


def _differs(order: Order, wanted: Mapping[str, int]) -> dict[str, int | None]:
    """Return the rules that do not have these numbers, with those that they have."""
    return {rule: order.priorities.get(rule) for rule, number in wanted.items() if order.priorities.get(rule) != number}


def _same(order: Order, opened: frozenset[str], closed: frozenset[str]) -> list[str]:
    """Return the rules that are not open or not closed yet."""
    return sorted((opened & order.nothing) | (closed & order.priorities.keys() - order.nothing))


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
    """Return the memory in the tags; tags of an earlier window beyond the counted ones mean nothing."""
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
    possible = all(1 <= before <= given <= LAST for before, given in numbers.values())
    return Memory(state, numbers) if possible and len(numbers) == count else Memory("broken")
