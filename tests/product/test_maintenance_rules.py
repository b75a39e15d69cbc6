"""Whatever the rules, the numbers and what others do: the maintenance rule goes to the front, and everything back."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from functions.alb_maintenance_priority.app import act, decide, observe
from kirikae import aws, clock, patience
from kirikae.errors import UnfinishedError
from kirikae.events import Hint
from kirikae.maintenance import ours, priorities, rules, windows
from kirikae.maintenance.conditions import NOTHING, PARKED, asks, covers, match_everything, match_nothing, meets, parts
from kirikae.maintenance.priorities import DEFAULT
from kirikae.maintenance.rules import LAST, Memory, Order
from kirikae.maintenance.world import Config, Observed

ELB = "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012"
LISTENER = f"{ELB}:listener/app/shop/50dc6c495c0c9188/0467ef3c8400ae65"
PREFIX = LISTENER.replace(":listener/", ":listener-rule/") + "/"
OURS, TESTERS = "ffffffffffffffaa", "ffffffffffffffbb"
CONFIG = Config(
    service_name="shop",
    topic_arn="arn:aws:sns:ap-northeast-1:123456789012:shop",
    hold_parameter="/shop/hold",
    told_parameter="/told/it",
    maintenance_parameter="/shop/maintenance",
    maintenance_listener_arn=LISTENER,
    maintenance_rule_arn=PREFIX + OURS,
    maintenance_target_group_arn=f"{ELB}:targetgroup/kirikae/73e2d6bc24d8a067",
)
WITH_TESTERS = replace(
    CONFIG,
    maintenance_bypass_rule_arn=PREFIX + TESTERS,
    maintenance_bypass_cidrs=("198.51.100.0/24",),
    maintenance_bypass_target_group_arn=f"{ELB}:targetgroup/testers/73e2d6bc24d8a068",
)


@dataclass
class Listener:
    """A listener's rules in memory, behind the five operations that we call, as strict as AWS is.

    Whenever a rule of ours is moved it matches nothing, and no other rule is ever modified.
    """

    numbers: dict[str, int]
    tags: dict[str, str] = field(default_factory=dict)
    moves: int = 0
    names: Iterator[int] = field(default_factory=lambda: itertools.count(1000))
    opened: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # our rules that are not parked
    actions: dict[str, dict[str, Any]] = field(default_factory=dict)  # as they were written

    def describe_rules(self, ListenerArn: str, PageSize: int, Marker: str = "0") -> dict[str, Any]:  # noqa: N803
        assert ListenerArn == LISTENER
        listed = [*self.numbers.items(), ("default", 0)]
        start, size = int(Marker), min(PageSize, 60)
        page = [self.described(*rule) for rule in listed[start : start + size]]
        return {"Rules": page} | ({"NextMarker": str(start + size)} if len(listed) > start + size else {})

    def described(self, rule_id: str, number: int) -> dict[str, Any]:
        default = rule_id == "default"
        conditions = [] if default else [{"Field": "path-pattern", "PathPatternConfig": {"Values": [f"/{rule_id}"]}}]
        if rule_id in (OURS, TESTERS):
            conditions = self.opened.get(rule_id, list(NOTHING))
        priority = "default" if default else str(number)
        rule = {"RuleArn": PREFIX + rule_id, "Priority": priority, "IsDefault": default, "Conditions": conditions}
        return rule | {"Actions": [self.actions.get(rule_id, {"Type": "fixed-response"})]}

    def describe_tags(self, ResourceArns: list[str]) -> dict[str, Any]:  # noqa: N803
        assert ResourceArns == [PREFIX + OURS]
        tags = [{"Key": key, "Value": value} for key, value in self.tags.items()]
        return {"TagDescriptions": [{"ResourceArn": PREFIX + OURS, "Tags": tags}]}

    def add_tags(self, ResourceArns: list[str], Tags: list[dict[str, str]]) -> None:  # noqa: N803
        assert ResourceArns == [PREFIX + OURS]
        self.tags |= {tag["Key"]: tag["Value"] for tag in Tags}
        assert len(self.tags) <= 50
        assert all(len(value) <= 256 and not set(value) - ALLOWED for value in self.tags.values())

    def modify_rule(self, RuleArn: str, Conditions: list[dict[str, Any]], **actions: Any) -> None:  # noqa: N803
        rule_id = RuleArn.removeprefix(PREFIX)
        assert rule_id in {OURS, TESTERS} & self.numbers.keys()
        if Conditions == list(NOTHING):
            assert not actions
            assert self.opened.pop(rule_id), "closed already"
        else:
            [action] = actions["Actions"]
            assert action["TargetGroupArn"].split("/")[1] == {OURS: "kirikae", TESTERS: "testers"}[rule_id]
            assert rule_id == TESTERS or TESTERS not in self.numbers or TESTERS in self.opened, "testers come first"
            self.opened[rule_id], self.actions[rule_id] = Conditions, action

    def set_rule_priorities(self, RulePriorities: list[dict[str, Any]]) -> None:  # noqa: N803
        wanted = {pair["RuleArn"].removeprefix(PREFIX): pair["Priority"] for pair in RulePriorities}
        assert wanted, "a call that moves nothing"
        assert len(wanted) == len(RulePriorities)
        assert wanted.keys() <= self.numbers.keys()
        assert all(1 <= number <= LAST for number in wanted.values())
        final = self.numbers | wanted
        assert len(set(final.values())) == len(final), "PriorityInUse"
        assert all(self.numbers[rule] != number for rule, number in wanted.items()), "a move to where it is"
        self.numbers = final
        self.moves += 1

    @property
    def others(self) -> dict[str, int]:
        return {rule: number for rule, number in self.numbers.items() if rule not in (OURS, TESTERS)}

    def order(self) -> list[str]:
        return sorted(self.others, key=self.others.__getitem__)

    def free(self, near: int) -> int:
        """Return the free number that is nearest to another."""
        taken = set(self.numbers.values())
        return min(
            (number for number in range(max(1, near - 210), min(LAST, near + 210) + 1) if number not in taken),
            key=lambda number: abs(number - near),
        )


ALLOWED = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 +-=._:/@")


def run(config: Config, listener: Listener, *open_windows: str, started: bool = False) -> str:
    """Let the function look once, with these windows stored; return what it changed, or nothing."""
    now = datetime(2026, 12, 1, tzinfo=UTC)
    stored = windows.Stored(
        {name: windows.Window(now + timedelta(hours=1)) for name in open_windows}, now, 1, started=started
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aws, "client", {"elbv2": listener}.__getitem__)
        patch.setattr(clock, "now", lambda: now)
        patch.setattr(patience, "PAUSES", ())  # nothing changes between two looks
        seen = observe(config, Hint("tick", wish=stored))
        decided = decide(config, seen)
        assert not decided.refused, decided.reason
        if decided.change:
            act(config, seen, decided.change)
    return decided.change.to if decided.change else ""


# Numbers close together, and all over the place; LivePriority among them, before them and after them.
NEAR = st.integers(1, 130)
NUMBERS = st.sets(NEAR | st.integers(1, LAST) | st.integers(LAST - 110, LAST), max_size=100)
CONTIGUOUS = st.builds(lambda first, count: set(range(first, first + count)), NEAR, st.integers(0, 100))
FOREIGN = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "move", "swap", "tick"]), st.integers(0, 99), NEAR | st.integers(1, LAST)
    ),
    max_size=8,
)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Config, Listener]:
    """Draw a listener with its rules, ours parked, and a configuration."""
    live = draw(st.sampled_from([1, 2, 5]) | NEAR)
    parked = draw(st.sampled_from([49999]) | st.integers(live + 2, LAST - 1))
    config = replace(draw(st.sampled_from([CONFIG, WITH_TESTERS])), live_priority=live, parked_priority=parked)
    own = config.homes
    taken = draw(NUMBERS | CONTIGUOUS) - set(own.values())
    others = {f"{number:016x}": number for number in draw(st.permutations(sorted(taken)))}
    return config, Listener(others | own)


def others_do(listener: Listener, verb: str, which: int, where: int) -> set[str]:
    """Let somebody else change the rules by hand; return the rules that he touched."""
    order = listener.order()
    if verb == "add":
        rule = f"{next(listener.names):016x}"
        listener.numbers[rule] = listener.free(where)
        return {rule}
    if not order:
        return set()
    rule, other = order[which % len(order)], order[where % len(order)]
    if verb == "remove":
        del listener.numbers[rule]
    elif verb == "move":
        listener.numbers[rule] = listener.free(where)
    else:
        listener.numbers[rule], listener.numbers[other] = listener.numbers[other], listener.numbers[rule]
        return {rule, other}
    return {rule}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example((CONFIG, Listener({f"{n:016x}": n for n in range(1, 101)} | CONFIG.homes)))
@example((WITH_TESTERS, Listener({f"{n:016x}": n for n in (1, 3, 4)} | WITH_TESTERS.homes)))
@given(worlds())
def test_start_twice_then_end_once_restores_the_exact_order(world: tuple[Config, Listener]) -> None:
    config, listener = world
    before, order = dict(listener.numbers), listener.order()
    for _ in range(2):  # a second cycle works like the first
        listener.moves = 0
        assert run(config, listener, "a", started=True) == "live"
        assert run(config, listener, "a", started=True) == ""
        assert listener.moves == 1
        assert {rule: listener.numbers[rule] for rule in config.ours} == config.places
        assert listener.order() == order
        shifts = [listener.numbers[rule] - before[rule] for rule in order]
        assert all(0 <= shift <= len(config.ours) for shift in shifts), "more than the least shift"
        assert run(config, listener) == "parked"
        assert run(config, listener) == ""
        assert listener.moves == 2
        assert listener.numbers == before


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds(), FOREIGN)
def test_whatever_others_do_meanwhile_the_rest_is_restored(
    world: tuple[Config, Listener], changes: list[tuple[str, int, int]]
) -> None:
    config, listener = world
    before = dict(listener.numbers)
    assert run(config, listener, "a", started=True) == "live"
    touched: set[str] = set()
    for verb, which, where in changes:
        if verb == "tick":
            numbers = dict(listener.numbers)
            assert run(config, listener, "a") == ""
            assert listener.numbers == numbers
        else:
            touched |= others_do(listener, verb, which, where)
    during = dict(listener.numbers)
    assert run(config, listener) == "parked"
    for rule, number in listener.others.items():
        if rule in touched:
            assert number in (during[rule], before.get(rule)), "a rule that others moved was moved"
        elif number != before[rule]:
            assert before[rule] in listener.numbers.values(), "its number is free, and it is not back"
            assert number == during[rule]
    parked = listener.numbers[OURS]
    others = set(listener.others.values())
    home, live = config.parked_priority, config.places[OURS]
    free = (number for number in [*range(home, live, -1), *range(home, LAST + 1)] if number not in others)
    assert parked == next(free)
    numbers, moves = dict(listener.numbers), listener.moves
    assert run(config, listener) == ""
    assert (listener.numbers, listener.moves) == (numbers, moves)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds(), st.sampled_from(["lost", "garbled", "truncated", "foreign"]))
def test_without_a_readable_tag_only_our_rules_move(world: tuple[Config, Listener], fate: str) -> None:
    config, listener = world
    run(config, listener, "a", started=True)
    match fate:
        case "lost":
            listener.tags.clear()
        case "garbled":
            listener.tags[rules.TAG] = "state=live rules=many"
        case "truncated":
            listener.tags[rules.TAG] = f"state=live rules={len(listener.others) + 1}"
        case _:
            listener.tags[rules.NUMBERS_TAG.format(1)] = "hello"
            listener.tags[rules.TAG] = "state=live rules=1"
    during = listener.others
    assert run(config, listener) == "parked"
    assert listener.others == during
    assert listener.numbers[OURS] != config.places[OURS]
    assert run(config, listener) == ""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds(), st.integers(2, LAST))
def test_a_rule_of_ours_that_others_move_is_noticed_once_and_not_fought_over(
    world: tuple[Config, Listener], where: int
) -> None:
    config, listener = world
    before = dict(listener.numbers)
    run(config, listener, "a", started=True)
    listener.numbers[OURS] = listener.free(where)
    moved = dict(listener.numbers)
    assert [run(config, listener, "a") for _ in range(3)] == ["left", "", ""]
    assert listener.numbers == moved
    assert run(config, listener, "a", started=True) == "live"  # a new wish is a new wish
    assert {rule: listener.numbers[rule] for rule in config.ours} == config.places
    assert run(config, listener) == "parked"
    assert listener.numbers == before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds(), st.sampled_from(["before", "after"]))
def test_a_run_that_dies_is_finished_by_the_next(world: tuple[Config, Listener], dies: str) -> None:
    """The tag is written first: a death before the move and one after it both leave what is needed."""
    config, listener = world
    before = dict(listener.numbers)
    move = listener.set_rule_priorities

    def dying(RulePriorities: list[dict[str, Any]]) -> None:  # noqa: N803
        listener.set_rule_priorities = move  # type: ignore[method-assign]
        if dies == "after":
            move(RulePriorities)
        raise TimeoutError

    listener.set_rule_priorities = dying  # type: ignore[method-assign]
    with pytest.raises(TimeoutError):
        run(config, listener, "a", started=True)
    assert run(config, listener, "a") == "live"
    assert {rule: listener.numbers[rule] for rule in config.ours} == config.places
    assert run(config, listener, "a") == ""
    listener.set_rule_priorities = dying  # type: ignore[method-assign]
    with pytest.raises(TimeoutError):
        run(config, listener)
    assert run(config, listener) == "parked"
    assert listener.numbers == before
    assert run(config, listener) == ""


def test_an_order_that_reads_back_otherwise_is_an_unfinished_move() -> None:
    listener = Listener({"a": 1} | CONFIG.homes)

    def silent(RulePriorities: list[dict[str, Any]]) -> None:  # noqa: N803
        assert RulePriorities

    listener.set_rule_priorities = silent  # type: ignore[method-assign]
    with pytest.raises(UnfinishedError, match=rf"the rules read back as .*'{OURS}': 49999.*, expected .*'{OURS}': 1"):
        run(CONFIG, listener, "a", started=True)
    assert listener.tags[rules.TAG] == "state=moving rules=1"


RULE_IDS = st.text("0123456789abcdef", min_size=16, max_size=16)


@given(st.dictionaries(RULE_IDS, st.tuples(st.integers(1, LAST), st.integers(0, 2)), max_size=200))
def test_what_is_remembered_is_read_back(numbers: dict[str, tuple[int, int]]) -> None:
    memory = Memory("live", {rule: (before, min(LAST, before + shift)) for rule, (before, shift) in numbers.items()})
    tags = rules.encoded(memory)
    assert rules.decoded(tags) == memory
    assert all(len(value) <= 256 and not set(value) - ALLOWED for value in tags.values())


@pytest.mark.parametrize("entry", ["a=0", "a=0+2", "a=50001", "a=50000+1", "a=99999999999"])
def test_a_number_that_no_rule_can_have_is_a_broken_memory(entry: str) -> None:
    tags = {rules.TAG: "state=live rules=1", rules.NUMBERS_TAG.format(1): entry}
    assert rules.decoded(tags) == Memory("broken")


def test_the_largest_listener_fits_into_the_tags() -> None:
    numbers = {f"{n:016x}": (LAST - 400 + n, LAST - 399 + n) for n in range(rules.RULES_PER_TAG * rules.TAGS)}
    tags = rules.encoded(Memory("moving", numbers))
    assert max(map(len, tags.values())) <= 256
    assert len(tags) <= rules.TAGS + 1


def test_a_taken_parked_number_is_never_answered_with_the_live_one() -> None:
    config = replace(CONFIG, parked_priority=3)
    listener = Listener({"a": 1, "b": 2, OURS: 3})
    run(config, listener, "w", started=True)
    listener.tags.clear()  # so that a and b keep 2 and 3
    assert run(config, listener) == "parked"
    assert listener.numbers == {"a": 2, "b": 3, OURS: 4}
    assert run(config, listener) == ""


def test_more_rules_than_can_be_remembered_are_refused() -> None:
    many = {f"{n:016x}": n + 10 for n in range(rules.RULES_PER_TAG * rules.TAGS + 1)}
    assert priorities.front(many | CONFIG.homes, Memory(), CONFIG.places) is None


def test_no_room_is_refused() -> None:
    full = {f"{n:016x}": n for n in range(LAST - 5, LAST + 1)}
    assert priorities.front(full | {OURS: 1}, Memory(), {OURS: LAST - 3}) is None


def _asking(*conditions: str) -> list[dict[str, Any]]:
    """Return conditions from texts: a path, or a field and its values, as in `host-header a.b,c.d`."""
    found = []
    for text in conditions:
        field, _, values = text.rpartition(" ")
        config = "".join(map(str.title, field.split("-"))) + "Config"
        named = {"HttpHeaderName": "X-A"} if field == "http-header" else {}
        config, field = (config, field) if field else ("PathPatternConfig", "path-pattern")
        kind = "RegexValues" if values.startswith("^") else "Values"
        found.append({"Field": field, config: {kind: values.split(",")} | named})
    return found


def _order(default: str, rules_of: dict[str, tuple[int, list[dict[str, Any]]]]) -> Order:
    asked = {rule: conditions for rule, (_, conditions) in rules_of.items()}
    return Order(
        {rule: number for rule, (number, _) in rules_of.items()},
        frozenset(rule for rule, conditions in asked.items() if match_everything(conditions)),
        frozenset(rule for rule, conditions in asked.items() if match_nothing(conditions)),
        {},
        default,
        asks={rule: asks(conditions) for rule, conditions in asked.items()},
    )


PARKED_METHOD = [f"http-request-method {PARKED}"]


@pytest.mark.parametrize(
    ("hidden", "default", "own", "others"),
    [
        ([DEFAULT], "forward", ["/*"], {2: ["/b"]}),
        ([DEFAULT], "redirect", ["/*"], {}),
        ([], "fixed-response", ["/*"], {}),
        ([], "forward", ["/*"], {9: ["*"]}),
        ([], "forward", ["/*"], {9: ["source-ip 0.0.0.0/0", "host-header *"]}),
        ([DEFAULT], "forward", ["/*"], {9: ["http-request-method GET,HEAD"]}),
        (["r500"], "fixed-response", ["/*"], {500: ["/b"]}),
        ([DEFAULT], "forward", ["/*"], {500: PARKED_METHOD}),
        ([], "forward", PARKED_METHOD, {500: ["/b"]}),
        (["r300", "r500", DEFAULT], "forward", ["/b*"], {500: ["/*"], 300: ["/b"], 400: ["/c"]}),
        ([DEFAULT], "forward", ["/b*"], {}),
        ([], "forward", ["/b", "host-header www.a.b"], {9: ["host-header *.A.b"], 300: ["/b"]}),
        ([DEFAULT], "forward", ["/b"], {9: ["/b", "host-header www.a.b"], 300: ["/c"]}),
        ([], "forward", ["/b,/c/?"], {8: ["/b"], 9: ["/c/*"], 300: ["/*"]}),  # each part by another rule
        (["r300"], "fixed-response", ["/b,/c"], {8: ["/b"], 300: ["/b,/c"]}),
        ([], "fixed-response", ["/b,/c"], {8: ["/b"], 300: ["/b"]}),
    ],
)
def test_what_a_parked_rule_of_the_users_own_hides_is_known(
    hidden: list[str], default: str, own: list[str], others: dict[int, list[str]]
) -> None:
    theirs = {f"r{number}": (number, _asking(*conditions)) for number, conditions in others.items()}
    order = _order(default, theirs | {"own": (40, _asking(*own))})
    numbers = {rule: number for rule, (number, _) in theirs.items()}
    assert priorities.hidden_by(order, numbers, "own", 40) == hidden


@pytest.mark.parametrize(
    ("own", "other", "taken", "met"),
    [
        ("/shop*", "/shop*", True, True),
        ("/shop/*", "/shop*", True, True),
        ("/shop*", "/shop/*", False, True),
        ("/shop", "/shop/*", False, False),
        ("/shop", "/Shop", False, False),
        ("/a?", "/a*", True, True),
        ("/a*", "/a?", False, True),
        ("/a?", "/ab", False, True),
        ("/a?", "/a??", False, False),
        ("/*.jpg", "/img/*", False, True),
        ("/*.jpg", "/*.png", False, False),
        ("*/a*b", "/*aab", False, True),
        ("/a.c", "/abc", False, False),
        ("/a", "^/(?!b)", False, True),  # nobody can say what an expression takes
        ("^/(?!b)", "^/(?!b)", True, True),
        ("^/b", "/c", False, True),
        ("host-header Shop.a.b", "host-header *.A.B", True, True),
        ("host-header shop.a.b", "host-header www.a.b", False, False),
        ("http-request-method POST", "http-request-method POST,PUT", True, True),
        ("http-request-method POST", "http-request-method PUT", False, False),
        ("source-ip 10.1.0.0/16", "source-ip 10.0.0.0/8", True, True),
        ("source-ip 10.0.0.0/8", "source-ip 10.1.0.1/16", False, True),
        ("source-ip 10.0.0.0/8", "source-ip 11.0.0.0/8", False, False),
        ("source-ip 10.0.0.0/8", "source-ip 2001:db8::/32", False, False),
        ("http-header yes", "http-header yes", True, True),
        ("http-header yes", "http-header no", False, True),  # a request may have both
        ("query-string a", "/a", False, True),
        ("/shop", "host-header *shop", False, True),
    ],
)
def test_rules_that_ask_for_the_same_are_told_from_their_conditions(
    own: str, other: str, taken: bool, met: bool
) -> None:
    [part] = parts(asks(_asking(own)))
    asked = asks(_asking(other))
    assert (covers(asked, part), meets(asked, part)) == (taken, met)


@pytest.mark.parametrize(
    ("number", "default", "home", "others"),
    [
        (500, "forward", 500, {9: ["/b*"], 600: ["/b"]}),
        (501, "forward", 500, {500: ["/b*"], 600: ["/b"]}),
        (602, "forward", 500, {600: ["/b*"], 601: ["/c"], 700: ["/*"]}),  # what is behind that has nothing of its own
        (701, "fixed-response", 500, {600: ["/b/x"], 700: ["/b/y"], 800: ["/c"]}),
        (500, "forward", 500, {600: ["/c"]}),  # it takes the default action's everywhere
        (49999, "forward", 49999, {50000: ["/b*"]}),  # there is none behind it
        (49998, "forward", 49999, {49999: ["/b*"], 50000: ["/b"]}),
    ],
)
def test_a_rule_of_the_users_own_is_parked_behind_what_it_would_hide(
    number: int, default: str, home: int, others: dict[int, list[str]]
) -> None:
    config = replace(CONFIG, maintenance_target_group_arn="", parked_priority=home)
    theirs = {f"r{each}": (each, _asking(*conditions)) for each, conditions in others.items()}
    order = _order(default, theirs | {OURS: (1, _asking("/b*"))})
    plan = priorities.back(config, order, Memory("live"))
    assert plan.priorities == {OURS: number}


def test_what_an_end_hides_is_asked_of_the_numbers_after_it() -> None:
    config = replace(CONFIG, maintenance_target_group_arn="", parked_priority=600)
    order = _order("forward", {"a": (601, _asking("/b*")), OURS: (1, _asking("/b*"))})
    memory, now = Memory("live", {"a": (600, 601)}), datetime(2026, 12, 1, tzinfo=UTC)
    plan = priorities.back(config, order, memory)
    assert plan.priorities == {"a": 600, OURS: 601}
    seen = Observed(now, windows.Stored({}, now, 1), order, memory)
    assert ours.hides(config, seen, 601, plan.priorities) == ""
    assert ours.hides(config, seen, 500, plan.priorities) == "rule a (600), the default action"


def _regex(field: str, value: str) -> dict[str, Any]:
    """Return a condition that asks for a regular expression, beside one that asks for little."""
    config = {"path-pattern": "PathPatternConfig", "host-header": "HostHeaderConfig"}[field]
    return {"Field": field, config: {"RegexValues": ["^/little$", value]}}


@pytest.mark.parametrize(
    ("everything", "condition"),
    [
        (True, {"Field": "path-pattern", "Values": ["/*"]}),
        (True, {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/x", "*"]}, "Values": ["/x", "*"]}),
        *(
            (True, _regex("path-pattern", value))
            for value in ("^/.*$", r"^\/.*$", ".+", "^/(.*)$", ".*", "^/", "[", "")
        ),
        *((True, _regex("host-header", value)) for value in (".*", r"^[^.]+(\.[^.]+)+$", "^.+$")),
        (True, {"Field": "host-header", "HostHeaderConfig": {"Values": ["*.*"]}}),
        (True, {"Field": "source-ip", "SourceIpConfig": {"Values": ["0.0.0.0/0", "::/0"]}}),
        (True, {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["GET", "HEAD"]}}),
        (False, {"Field": "path-pattern", "Values": ["/a*"]}),
        *(
            (False, _regex("path-pattern", value))
            for value in ("^/a/.*$", "^/$", "^/[^/]+$", r"\.html$", "/api", "^/(?!b)")
        ),
        *((False, _regex("host-header", value)) for value in (r"^.*\.example\.com$", "^www", "shop")),
        (False, {"Field": "host-header", "HostHeaderConfig": {"Values": ["*.example.com"]}}),
        (False, {"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}}),
        (False, {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["POST"]}}),
        (False, {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-A", "Values": ["*"]}}),
        (False, {"Field": "query-string", "QueryStringConfig": {"Values": [{"Value": "*"}]}}),
    ],
)
def test_how_open_a_rule_is_is_read_from_its_conditions(everything: bool, condition: dict[str, Any]) -> None:
    rule = {"RuleArn": PREFIX + OURS, "Priority": "7", "IsDefault": False, "Actions": [{"Type": "forward"}]}
    client = SimpleNamespace(describe_rules=lambda **_: {"Rules": [rule | {"Conditions": [condition]}]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aws, "client", lambda _: client)
        found = rules.read(LISTENER)
    assert (found.everything, found.nothing) == (frozenset({OURS} if everything else ()), frozenset())
    assert match_everything([condition, {"Field": "path-pattern", "Values": ["/a"]}]) is False


def test_the_method_of_a_parked_rule_is_the_templates() -> None:
    made = (Path(__file__).parents[2] / "template.yaml").read_text(encoding="utf-8")
    assert made.count(f"HttpRequestMethodConfig: {{ Values: [{PARKED}] }}") == 2
    assert match_nothing([*NOTHING, {"Field": "path-pattern", "Values": ["/*"]}])
    assert not match_nothing([{"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["GET", PARKED]}}])
