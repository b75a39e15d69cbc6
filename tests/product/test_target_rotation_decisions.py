"""What a rotation decides from what it sees, case by case; the executions are in test_target_rotation.py."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from kirikae import aws, elb, patience
from kirikae.clock import iso
from kirikae.elb import Target, TargetGroup
from kirikae.errors import InputError
from kirikae.notify import Words
from kirikae.rotation import claims, executions, guard, memory, redrive, request, returns, steps, terms
from kirikae.rotation.claims import Claim
from kirikae.rotation.plan import judge
from kirikae.rotation.request import Request
from kirikae.rotation.world import Config, Health, Member, Observed, Place, Rotation, Terms, by_group
from sandbox.account import Account

NOW = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
ELB = "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012"
A, B, C = (f"{ELB}:targetgroup/{name}/73e2d6bc24d8a067" for name in "abc")
ALB, NLB = f"{ELB}:loadbalancer/app/shop/50dc6c495c0c9188", f"{ELB}:loadbalancer/net/shop/50dc6c495c0c9188"

CONFIG = Config(
    service_name="shop",
    topic_arn="arn:aws:sns:ap-northeast-1:123456789012:shop",
    hold_parameter="/shop/hold",
    told_parameter="/told/it",
    rotation_target_group_arns=(A, B),
    rotation_documents=("AWS-RunShellScript", "Patch"),
    state_machine_arn="arn:aws:states:ap-northeast-1:123456789012:stateMachine:shop",
    rotation_parameter="/shop/rotation",
)


def place(group: str, port: int = 80, **other: str) -> Place:
    return Place(**{"group": group, "port": port, "zone": "", "quic_server_id": ""} | other)  # type: ignore[typeddict-item]


def member(name: str = "i-1", *places: Place, **other: Any) -> Member:
    return Member(id=name, places=list(places or [place(A)]), scaling_group="", **other)


IN_BOTH = member("i-1", place(A), place(B))


def targets(states: str, port: int = 80) -> tuple[Target, ...]:
    """Return i-1, i-2, … in these states, each with a reason after a colon; - is one that is not registered."""
    told = [(*state.split(":"), "") for state in states.split()]
    return tuple(Target(f"i-{n}", port, s, reason) for n, (s, reason, *_) in enumerate(told, 1) if s != "-")


def health(**groups: str) -> dict[str, tuple[Target, ...]]:
    """Build the health of the groups a, b and c."""
    return {{"a": A, "b": B, "c": C}[name]: targets(states) for name, states in groups.items()}


def group(arn: str, *balancers: str, kind: str = "instance") -> TargetGroup:
    return TargetGroup(arn, kind, balancers)


def asking(seen: Health, least: int = 1, unused: Iterable[str] = (), **more: Any) -> dict[str, Terms]:
    """Build the terms of the groups; nothing uses those in `unused`."""
    return {arn: Terms(used=arn not in unused, idle=arn in unused, least=least, **more) for arn in seen}


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat()


def going(**given: Any) -> Rotation:
    """Build the document of a rotation in the middle."""
    document: dict[str, Any] = {
        "groups": [A],
        "hook": {"type": "none", "timeout_seconds": 3600},
        "batch_size": 1,
        "drain_seconds": 300,
        "tail_seconds": 120,
        "drain_timeout_seconds": 600,
        "healthy_timeout_seconds": 900,
        "queue": [],
        "out": [],
        "done": [],
        "skipped": [],
        "unused": [],
        "command_ids": ["c-1"],
    }
    return document | given  # type: ignore[return-value]


# The guard: may this target leave?

GUARD: dict[str, tuple[str, int, Member, Mapping[str, tuple[Target, ...]], list[str], list[str]]] = {
    "another one is healthy": ("", 1, member(), health(a="healthy healthy"), [], []),
    "it is the last healthy one": ("a", 1, member(), health(a="healthy unhealthy"), [], []),
    "it is the only one": ("a", 1, member(), health(a="healthy"), [], []),
    "the other one is in its first health check": ("a", 1, member(), health(a="healthy initial"), [], []),
    "the other one is draining": ("a", 1, member(), health(a="healthy draining"), [], []),
    "the other one is stopped": ("a", 1, member(), health(a="healthy unused:Target.InvalidState"), [], []),
    "nobody checks the other one": ("a", 1, member(), health(a="healthy unavailable"), [], []),
    "two are needed and stay": ("", 2, member(), health(a="healthy healthy healthy"), [], []),
    "two are needed and one would stay": ("a", 2, member(), health(a="healthy healthy"), [], []),
    "it is ill itself, and another one serves": ("", 1, member(), health(a="unhealthy healthy"), [], []),
    "it is ill itself, and nobody serves": ("a", 1, member(), health(a="unhealthy unhealthy"), [], []),
    "both its groups can spare it": ("", 1, IN_BOTH, health(a="healthy healthy", b="healthy healthy"), [], []),
    "its second group cannot spare it": ("b", 1, IN_BOTH, health(a="healthy healthy", b="healthy initial"), [], []),
    "neither can: the first one is named": ("a", 1, IN_BOTH, health(a="healthy", b="healthy"), [], []),
    "a group that does not hold it is ill": ("", 1, member(), health(a="healthy healthy", b="- unhealthy"), [], []),
    "no load balancer uses its second group": ("", 1, IN_BOTH, health(a="healthy healthy", b="unused"), [B], []),
    "no listener uses its second group": (
        "",
        1,
        IN_BOTH,
        health(a="healthy healthy", b="unused:Target.NotInUse"),
        [],
        [],
    ),
    "another one is in a zone that is not enabled": (
        "a",
        1,
        member(),
        health(a="healthy unused:Target.NotInUse"),
        [],
        [],
    ),
    "somebody else is taking the other one": ("a", 1, member(), health(a="healthy healthy"), [], ["i-2"]),
    "somebody else is taking one of two others": ("", 1, member(), health(a="healthy healthy healthy"), [], ["i-2"]),
    "somebody else is taking both others": ("a", 1, member(), health(a="healthy healthy healthy"), [], ["i-2", "i-3"]),
    "somebody else is taking an ill one": ("", 1, member(), health(a="healthy unhealthy healthy"), [], ["i-2"]),
    "somebody else is taking the same one": ("", 1, member(), health(a="healthy healthy"), [], ["i-1"]),
    "the other one listens on two ports, and two are needed": (
        "a",
        2,
        member(),
        {A: targets("healthy healthy") + targets("- healthy", 81)},
        [],
        [],
    ),
    "it leaves with both its ports": (
        "a",
        2,
        member("i-1", place(A), place(A, 81)),
        {A: targets("healthy healthy") + targets("healthy", 81)},
        [],
        [],
    ),
}


@pytest.mark.parametrize(("short", "least", "one", "seen", "unused", "leaving"), GUARD.values(), ids=GUARD.keys())
def test_a_target_leaves_only_if_every_group_can_spare_it(
    short: str, least: int, one: Member, seen: Mapping[str, tuple[Target, ...]], unused: list[str], leaving: list[str]
) -> None:
    said = guard.shortfall(one, seen, asking(seen, least, unused), leaving)
    assert said.partition(" would have ")[0] == short
    assert bool(short) == said.endswith(f"without i-1, needed {least}")


# Claims: who is about to take one out, who took one out.


def claim(by: str = "a", seconds: float = 0, *places: Place) -> Claim:
    return Claim(NOW - timedelta(seconds=seconds), by, tuple(places or [place(A)]))


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(member(), id="one port"),
        pytest.param(member("i-1", place(A), place(A, 8080)), id="two ports"),
        pytest.param(member("i-1", place(A), place(B, 443)), id="two groups"),
        pytest.param(member("10.0.0.5", place(A, zone="all")), id="an address of another network"),
        pytest.param(member("i-1", place(A, quic_server_id="0x1f2e3d4c5b6a7980")), id="a QUIC server"),
        pytest.param(member("fd00::5", place(A, zone="ap-northeast-1a")), id="an IPv6 address"),
    ],
)
def test_a_claim_keeps_how_a_target_was_registered(one: Member) -> None:
    key = claims.TAG + one["id"]
    tags = {group: {key: claims.claim_text(places, "x", NOW)} for group, places in by_group(one["places"]).items()}
    assert claims.from_tags(tags) == {one["id"]: (Claim(NOW, "x", tuple(one["places"])),)}


def test_who_claims_a_target_in_another_group_does_not_hide_the_claim_of_who_was_first() -> None:
    key, later = claims.TAG + "i-1", NOW + timedelta(seconds=60)
    texts = {A: ("me", NOW), B: ("other", later), "c": ("me", NOW)}
    found = claims.from_tags({group: {key: claims.claim_text([place(group)], *text)} for group, text in texts.items()})
    assert claims.mine(found, "i-1", "me") == Claim(NOW, "me", (place(A), place("c")))
    assert claims.others(found, "i-1", "me") == [Claim(later, "other", (place(B),))]


def test_other_tags_of_a_group_are_no_claims() -> None:
    assert claims.from_tags({A: {"Name": "a", "kirikae:min-size": "2"}, B: {}}) == {}


def test_a_claim_fits_a_tag_whoever_makes_it() -> None:
    text = claims.claim_text([place(A, 8000 + n) for n in range(20)], "夜間 " + "x" * 77, NOW)
    assert len(text) <= 256
    [(found,)] = claims.from_tags({A: {claims.TAG + "i-1": text}}).values()
    assert found.by == claims.owner("夜間 " + "x" * 77)
    assert len(found.places) == 20


@pytest.mark.parametrize(
    ("named", "found"),
    [
        pytest.param(["i-1"], {"i-1": claim("other", 1)}, id="another one, just now"),
        pytest.param(["i-1"], {"i-1": claim("other", claims.CLAIM_SECONDS - 1)}, id="another one, not long ago"),
        pytest.param([], {"i-1": claim("other", claims.CLAIM_SECONDS)}, id="another one, long ago: health tells"),
        pytest.param([], {"i-1": claim("me", 1)}, id="my own"),
        pytest.param(["i-2"], {"i-1": claim("me", 1), "i-2": claim("other", 1)}, id="mine and another's"),
        pytest.param([], {"i-1": claim("other", -86400)}, id="one from the future"),
        pytest.param([], {}, id="nobody"),
    ],
)
def test_young_claims_of_others_say_who_is_leaving(named: list[str], found: dict[str, Claim]) -> None:
    assert claims.leaving({target: (claim,) for target, claim in found.items()}, "me", NOW) == named


@pytest.mark.parametrize(
    ("value", "young"),
    [
        pytest.param(iso(NOW), True, id="now"),
        pytest.param(iso(NOW - timedelta(seconds=claims.CLAIM_SECONDS - 1)), True, id="not long ago"),
        pytest.param(iso(NOW - timedelta(seconds=claims.CLAIM_SECONDS)), False, id="long ago: health tells"),
        pytest.param(iso(NOW + timedelta(days=1)), False, id="in the future"),
        pytest.param("0001-01-01T00:00:00+09:00", False, id="before all time"),
        pytest.param("soon", False, id="no time"),
        pytest.param("", False, id="empty"),
    ],
)
def test_what_came_back_at_once_counts_as_leaving_until_its_tag_is_old(value: str, young: bool) -> None:
    tags = {A: {claims.BACK + "i-1": value, "Name": "a"}, B: {}}
    found = claims.from_tags(tags)
    assert claims.leaving(found, "me", NOW) == (["i-1"] if young else [])
    assert claims.others(found, "i-1", "me") == []
    assert list(claims.old_marks(tags, NOW)) == ([] if young else [(A, claims.BACK + "i-1")])


@pytest.mark.parametrize(("by", "others"), [("me", False), ("you", True)])
def test_a_claim_says_more_than_that_a_target_came_back(by: str, others: bool) -> None:
    one = member("i-1", place(A))
    tags = {A: {claims.TAG + "i-1": claims.claim_text(one["places"], by, NOW), claims.BACK + "i-1": iso(NOW)}}
    found = claims.from_tags(tags)
    expected = Claim(NOW, by, tuple(one["places"]))
    assert claims.others(found, "i-1", "me") == ([expected] if others else [])
    assert claims.mine(found, "i-1", "me") == (None if others else expected)


TWICE = member("i-1", place(A, 81), place(A, 80))


@pytest.mark.parametrize(
    ("expected", "registered", "taken"),
    [
        pytest.param(member(), member(), None, id="registered, never taken out"),
        pytest.param(member(), None, member(), id="out: as it was"),
        pytest.param(TWICE, member("i-1", place(A, 81)), member(), id="out on one of two ports"),
        pytest.param(IN_BOTH, member(), IN_BOTH, id="out of one of two groups"),
        pytest.param(IN_BOTH, IN_BOTH, IN_BOTH, id="claimed but never taken out"),
        pytest.param(None, None, None, id="unknown"),
    ],
)
def test_a_target_is_what_is_registered_and_what_was_taken_out(
    expected: Member | None, registered: Member | None, taken: Member | None
) -> None:
    assert claims.whole(registered, taken) == expected


SIGNED = {
    "an execution of this stack": ("patch-day", "shop:patch-day"),
    "an operation by hand of this stack": ("hand-0a1b2c3d", "shop:hand-0a1b2c3d"),
    "as it was signed before stacks were named": ("patch-day", "patch-day"),
    "an execution of another stack": ("", "other:patch-day"),
}


@pytest.mark.parametrize(("name", "by"), SIGNED.values(), ids=SIGNED.keys())
def test_a_claim_names_its_stack(name: str, by: str) -> None:
    assert claims.signed(CONFIG, claim(by, 7)) == name
    assert not name or claims.signed(CONFIG, claim(claims.mark(CONFIG, name), 7)) == name


ADOPTED = {
    "it is gone and the claim is ours": (True, "me", "- healthy"),
    "it is draining and the claim is ours": (True, "me", "draining healthy"),
    "it is still registered": (False, "me", "healthy healthy"),
    "it is gone and the claim is another's": (False, "other", "- healthy"),
}


@pytest.mark.parametrize(("out", "by", "states"), ADOPTED.values(), ids=ADOPTED.keys())
def test_a_repeated_task_counts_as_out_what_its_first_run_took_out(out: bool, by: str, states: str) -> None:
    before = going(queue=[member("i-1"), member("i-2")])
    after = claims.adopted(before, {"i-1": (claim(by, 7),)}, "me", health(a=states))
    taken = [{**member("i-1"), "out_at": ago(7)}]
    assert (after["out"], [one["id"] for one in after["queue"]]) == ((taken, ["i-2"]) if out else ([], ["i-1", "i-2"]))


# Which execution goes on: the oldest on the same groups.

ARN = "arn:aws:states:ap-northeast-1:123456789012:execution:shop:"
OLDER = {
    "nobody else runs": ("", "me", {"me": (0, {})}),
    "another one began later": ("", "me", {"me": (0, {}), "b": (1, {})}),
    "another one began earlier": ("b", "me", {"me": (0, {}), "b": (-1, {})}),
    "two began earlier": ("c", "me", {"b": (-1, {}), "c": (-2, {}), "me": (0, {})}),
    "both began at the same moment, mine is first by name": ("", "me", {"me": (0, {}), "z": (0, {})}),
    "both began at the same moment, mine is second by name": ("a", "me", {"me": (0, {}), "a": (0, {})}),
    "an earlier one names the same group": ("b", "me", {"me": (0, {}), "b": (-1, {"target_group_arns": [A]})}),
    "an earlier one names another group": ("", "me", {"me": (0, {}), "b": (-1, {"target_group_arns": [B]})}),
    "an earlier one has an input that means nothing": ("b", "me", {"me": (0, {}), "b": (-1, "text")}),
    "an earlier one names groups that are no list": ("b", "me", {"me": (0, {}), "b": (-1, {"target_group_arns": "x"})}),
    "nobody runs, asked by hand": ("", "", {}),
    "one runs, asked by hand": ("b", "", {"b": (0, {})}),
    "one runs on other groups, asked by hand": ("", "", {"b": (0, {"target_group_arns": [B]})}),
}


@pytest.mark.parametrize(("name", "mine", "running"), OLDER.values(), ids=OLDER.keys())
def test_the_oldest_execution_on_the_same_groups_goes_on(
    name: str, mine: str, running: Mapping[str, tuple[int, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [
        {"executionArn": ARN + name, "startDate": NOW + timedelta(seconds=at), "name": name}
        for name, (at, _) in running.items()
    ]
    pages = {"": {"executions": listed[:1], "nextToken": "2"}, "2": {"executions": listed[1:]}}
    inputs = {ARN + name: json.dumps(given) for name, (_, given) in running.items()}
    client = SimpleNamespace(
        list_executions=lambda nextToken="", **_: pages[nextToken],  # noqa: N803 (AWS's name)
        describe_execution=lambda executionArn: {  # noqa: N803
            "input": inputs[executionArn],
            "status": "RUNNING",
            "startDate": NOW,
        },
        get_execution_history=lambda **_: {"events": []},
    )
    monkeypatch.setattr(aws, "client", lambda *_, **__: client)
    monkeypatch.setattr(patience, "PAUSES", ())  # nothing changes between two looks
    assert executions.older(CONFIG, ARN + mine if mine else "", [A]) == name


# The input.

COMMAND = {"type": "ssm-command", "commands": ["uptime"]}
BAD_INPUTS: dict[str, tuple[Any, str]] = {
    "a text": ("all", "the input is 'all', expected a JSON object"),
    "nothing": (None, "the input is None, expected a JSON object"),
    "a list": ([], "the input is [], expected a JSON object"),
    "an unknown field": ({"hooks": {}}, "the input has hooks; expected batch_size, "),
    "ids that are no list": ({"instance_ids": "i-1"}, "instance_ids is 'i-1', expected a list of texts"),
    "ids that are numbers": ({"instance_ids": [1]}, "instance_ids is [1], expected a list of texts"),
    "an id that is empty": ({"instance_ids": [" "]}, "instance_ids is [' '], expected a list of texts"),
    "no id at all": ({"instance_ids": []}, "instance_ids is empty; leave it out for all"),
    "no group at all": ({"target_group_arns": []}, "target_group_arns is empty; leave it out for all"),
    "a group of somebody else": ({"target_group_arns": [A, C]}, f"target_group_arns has {C}, expected only groups of"),
    "a batch of nothing": ({"batch_size": 0}, "batch_size is 0, expected a whole number from 1 to 50"),
    "a batch that is too large": ({"batch_size": 51}, "batch_size is 51"),
    "a batch that is true": ({"batch_size": True}, "batch_size is True"),
    "a batch that is a fraction": ({"batch_size": 1.5}, "batch_size is 1.5"),
    "a batch that is null": ({"batch_size": None}, "batch_size is None"),
    "no time to drain": ({"drain_timeout_seconds": 0}, "drain_timeout_seconds is 0, expected a whole number from 1"),
    "too much time to drain": ({"drain_timeout_seconds": 7201}, "drain_timeout_seconds is 7201"),
    "a time that is a text": ({"healthy_timeout_seconds": "900"}, "healthy_timeout_seconds is '900'"),
    "no time to become healthy": ({"healthy_timeout_seconds": 29}, "healthy_timeout_seconds is 29"),
    "a hook that is a text": ({"hook": "approval"}, "hook is 'approval', expected {\"type\": …} with one of none, "),
    "a hook that is null": ({"hook": None}, "hook is None"),
    "a hook without a type": ({"hook": {}}, "hook is {}"),
    "an unknown hook": ({"hook": {"type": "script"}}, "hook is {'type': 'script'}"),
    "a hook whose type is a list": ({"hook": {"type": ["none"]}}, "hook is {'type': ['none']}"),
    "a field of another hook": ({"hook": {"type": "approval", "commands": ["a"]}}, "approval has commands; it takes t"),
    "a field that no hook has": ({"hook": {"type": "none", "x": 1}}, "the hook none has x; it takes none"),
    "too little time for a person": (
        {"hook": {"type": "approval", "timeout_seconds": 5}},
        "timeout_seconds is 5, expected a whole number from 30 to 172800",
    ),
    "a command hook without commands": ({"hook": {"type": "ssm-command"}}, "the hook ssm-command needs commands"),
    "a command that is no list": ({"hook": COMMAND | {"commands": "uptime"}}, "commands is 'uptime', expected a list"),
    "a command hook with no commands": ({"hook": COMMAND | {"commands": []}}, "commands is empty"),
    "a document hook without a document": ({"hook": {"type": "ssm-document"}}, "the hook ssm-document needs document"),
    "a document that is not allowed": (
        {"hook": {"type": "ssm-document", "document": "Other"}},
        "document Other is not listed in RotationDocuments",
    ),
    "parameters that are no lists": (
        {"hook": {"type": "ssm-document", "document": "Patch", "parameters": {"Operation": "Install"}}},
        "parameters is {'Operation': 'Install'}, expected an object of lists of texts",
    ),
}


@pytest.mark.parametrize(("given", "words"), BAD_INPUTS.values(), ids=BAD_INPUTS.keys())
def test_an_input_that_cannot_be_followed_is_refused_in_words(given: Any, words: str) -> None:
    with pytest.raises(InputError) as refused:
        request.request(CONFIG, given, {})
    assert words in str(refused.value)


def test_shell_lines_need_a_shell_among_the_documents() -> None:
    with pytest.raises(InputError, match="lists neither AWS-RunShellScript nor AWS-RunPowerShellScript"):
        request.request(replace(CONFIG, rotation_documents=("Patch",)), {"hook": COMMAND}, {})


@pytest.mark.parametrize("defaults", [[], {"batch": 2}])
def test_defaults_that_cannot_be_followed_are_refused_by_their_name(defaults: Any) -> None:
    with pytest.raises(InputError, match="RotationDefaults"):
        request.request(CONFIG, {}, defaults)


def test_an_empty_input_means_everything_one_by_one() -> None:
    made = request.request(CONFIG, {}, {})
    assert made == Request((), (A, B), {"type": "none", "timeout_seconds": 3600}, 0, 900, 1)


def test_an_input_is_laid_over_the_defaults_and_names_nothing_twice() -> None:
    defaults = {"batch_size": 2, "healthy_timeout_seconds": 60, "hook": {"type": "approval"}}
    made = request.request(
        CONFIG, {"batch_size": 3, "instance_ids": ["i-2", " i-1 ", "i-2"], "hook": COMMAND}, defaults
    )
    hook = COMMAND | {"timeout_seconds": 3600}
    assert made == Request(("i-2", "i-1"), (A, B), hook, 0, 60, 3)


# The plan: everything is judged before the first change.


def world(**given: Any) -> Observed:
    """Build a world in which a rotation of i-1 and i-2 in the group a of an NLB may begin."""
    seen = {
        "groups": (group(A, NLB),),
        "health": health(a="healthy healthy"),
    } | given
    used = {group.arn for group in seen["groups"] if group.load_balancer_arns}
    asked = asking(seen["health"], unused=seen["health"].keys() - used, drain_seconds=300, tail_seconds=120)
    return Observed(**{"terms": asked} | seen)


def asked(*ids: str, **given: Any) -> Request:
    """Build a request without a hook."""
    return replace(Request(ids, (A,), {"type": "none"}, 0, 900, 1), **given)


BAD_WORLDS: dict[str, tuple[Request, Observed, str]] = {
    "an instance in none of the groups": (asked("i-3"), world(), "i-3 is registered in none of the groups"),
    "an instance on its way out": (asked("i-2"), world(health=health(a="healthy draining")), "i-2 is registered in no"),
    "an empty group": (asked(), world(health=health(a="")), "a has no registered target"),
    "an empty group among others": (
        asked("i-1"),
        world(groups=(group(A, NLB), group(B, NLB)), health=health(a="healthy healthy", b="")),
        "b has no registered target",
    ),
    "a group of a load balancer": (asked(), world(groups=(group(A, NLB, kind="alb"),)), "a has targets of type alb"),
    "a group of a function": (asked(), world(groups=(group(A, ALB, kind="lambda"),)), "a has targets of type lambda"),
    "fewer healthy than needed to begin with": (
        asked(),
        world(health=health(a="unhealthy unhealthy")),
        "a has 0 healthy targets, needed 1 to begin with",
    ),
    "the last healthy one": (asked(), world(health=health(a="healthy")), "a would have 0 healthy targets without i-1"),
    "another execution": (asked(), world(running="nightly"), "the execution nightly rotates the same groups"),
    "a hold": (asked(), world(hold="held until noon: backup"), "held until noon: backup"),
    "the sorry page": (asked(), world(sorry=True), "the sorry page is on"),
    "a document that does not exist": (
        asked(),
        world(documents=dict.fromkeys(("i-1", "i-2"), "there is no document Patch")),
        "no document Patch",
    ),
    "an agent that is not online": (asked(), world(managed=frozenset({"i-1"})), "Systems Manager does not reach i-2"),
    "an Auto Scaling group without leave for Standby": (
        asked("i-1"),
        world(scaling={"i-1": ("web", "InService")}),
        "i-1 is in Auto Scaling group web, which would replace it; RotationAllowStandby=true",
    ),
    "nobody left": (
        asked("i-1"),
        world(scaling={"i-1": ("web", "Standby")}),
        "no target is left to rotate: i-1 is Standby in Auto Scaling group web",
    ),
    "less time than draining takes": (
        asked(drain_timeout_seconds=299),
        world(),
        "drain_timeout_seconds is 299, but draining takes 300 s here",
    ),
    "more targets than an execution's history holds": (
        asked(),
        world(health=health(a="healthy " * 101)),
        "101 targets are more than one execution takes (100)",
    ),
}


@pytest.mark.parametrize(("given", "seen", "words"), BAD_WORLDS.values(), ids=BAD_WORLDS.keys())
def test_a_rotation_that_cannot_be_made_is_refused_before_it_begins(given: Request, seen: Observed, words: str) -> None:
    made = judge(CONFIG, given, seen, NOW)
    assert (made["next"], made["ending"]) == ("finish", "Refused")
    assert words in made["reason"]["en"]


def test_all_that_is_in_the_way_is_named_at_once_and_once() -> None:
    seen = world(hold="held", sorry=True, running="b", managed=frozenset(), health=health(a="unhealthy"))
    said = judge(CONFIG, asked("i-1", "i-9"), seen, NOW)["reason"]["en"].split("; ")
    assert len(said) == len(set(said)) == 7


GOOD_WORLDS: dict[str, tuple[list[str], Request, Observed]] = {
    "everything that is registered": (["i-1", "i-2"], asked(), world()),
    "only those named, in their order": (["i-2", "i-1"], asked("i-2", "i-1"), world()),
    "not what is being deregistered": (["i-1", "i-2"], asked(), world(health=health(a="healthy healthy draining"))),
    "what is ill, when the others serve": (["i-2"], asked("i-2"), world(health=health(a="healthy unhealthy"))),
    "what began just now: it will be healthy": (["i-1", "i-2"], asked(), world(health=health(a="initial initial"))),
    "the only one of an unused group": (["i-1"], asked(), world(groups=(group(A),), health=health(a="unused"))),
    "not what is in Standby": (["i-2"], asked(), world(scaling={"i-1": ("web", "Standby")})),
    "what the agent does not reach, when another is named": (["i-1"], asked("i-1"), world(managed=frozenset({"i-1"}))),
}


@pytest.mark.parametrize(("ids", "given", "seen"), GOOD_WORLDS.values(), ids=GOOD_WORLDS.keys())
def test_the_plan_names_whom_it_takes_and_begins_with_the_first(ids: list[str], given: Request, seen: Observed) -> None:
    made = judge(CONFIG, given, seen, NOW)
    assert (made["next"], [one["id"] for one in made["queue"]], made.get("reason")) == ("take-out", ids, None)


def test_the_document_of_a_plan_is_plain_json_and_whole() -> None:
    config, ip = replace(CONFIG, rotation_allow_standby=True), Target("10.0.0.5", 80, "healthy", "", "all")
    seen = world(
        groups=(group(A, NLB), group(B, kind="ip")),
        health={A: tuple(replace(target, availability_zone="1a") for target in targets("healthy " * 3)), B: (ip,)},
        scaling={"i-1": ("web", "InService"), "i-2": ("web", "Standby")},
    )
    given = asked("i-1", "i-2", "10.0.0.5", groups=(A, B), hook={"type": "approval", "timeout_seconds": 600})
    made = judge(config, given, seen, NOW)
    assert made == json.loads(json.dumps(made))
    assert made == {
        "groups": [A, B],
        "hook": {"type": "approval", "timeout_seconds": 600},
        "batch_size": 1,
        "empty_zones": False,
        "drain_seconds": 300,
        "tail_seconds": 120,
        "drain_timeout_seconds": 600,
        "healthy_timeout_seconds": 900,
        "started": "2026-11-22T02:15:00+00:00",
        "queue": [
            {
                "id": "i-1",
                "places": [{"group": A, "port": 80, "zone": "", "quic_server_id": ""}],
                "scaling_group": "web",
            },
            {
                "id": "10.0.0.5",
                "places": [{"group": B, "port": 80, "zone": "all", "quic_server_id": ""}],
                "scaling_group": "",
            },
        ],
        "out": [],
        "done": [],
        "skipped": [{"id": "i-2", "reason": "Standby in Auto Scaling group web"}],
        "unused": [B],
        "next": "take-out",
    }


def test_a_dry_run_names_whom_it_would_take() -> None:
    made = judge(replace(CONFIG, dry_run=True), asked(), world(), NOW)
    assert (made["next"], made["ending"]) == ("finish", "DryRun")
    assert made["reason"]["en"].endswith("Would be rotated: i-1, i-2")


def test_a_member_of_an_auto_scaling_group_is_taken_with_leave_for_standby() -> None:
    config = replace(CONFIG, rotation_allow_standby=True)
    made = judge(config, asked("i-1"), world(scaling={"i-1": ("web", "InService")}), NOW)
    assert [one["scaling_group"] for one in made["queue"]] == ["web"]


DELAYS: dict[str, tuple[tuple[int, int], Mapping[str, int], list[TargetGroup]]] = {
    "behind an ALB, as the group says": ((30, 0), {A: 30}, [group(A, ALB)]),
    "behind an ALB, at once": ((0, 0), {A: 0}, [group(A, ALB)]),
    "behind an NLB, its tail at least": ((120, 120), {A: 30}, [group(A, NLB)]),
    "behind an NLB, longer than its tail": ((300, 120), {A: 300}, [group(A, NLB)]),
    "behind both": ((200, 120), {A: 0, B: 200}, [group(A, NLB), group(B, ALB)]),
    "behind nothing": ((0, 0), {}, [group(A)]),
    "the longest of those in use": ((60, 0), {A: 60}, [group(A, ALB), group(B)]),
}


@pytest.mark.parametrize(("seconds", "told", "groups"), DELAYS.values(), ids=DELAYS.keys())
def test_draining_takes_as_long_as_aws_says_of_groups_in_use(
    seconds: tuple[int, int], told: Mapping[str, int], groups: list[TargetGroup], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "deregistration_delay.timeout_seconds"  # a group that is not in use is not asked
    monkeypatch.setattr(
        elb, "attributes", lambda arn: {key: str(told[arn]), "load_balancing.cross_zone.enabled": "true"}
    )
    found = terms.read(groups, {group.arn: () for group in groups}, lambda _group: 1)
    assert terms.drain_and_tail_seconds(found) == seconds


# Drained?


def out(seconds: float, one: Member | None = None) -> Member:
    return {**(one or member()), "out_at": ago(seconds)}


DRAINED: dict[str, tuple[str, int | None, Rotation, Mapping[str, tuple[Target, ...]]]] = {
    "just deregistered, an NLB": ("drain", 120, going(out=[out(0)]), health(a="draining healthy")),
    "gone, but the NLB's tail is not over": ("drain", 1, going(out=[out(119)]), health(a="- healthy")),
    "gone, and the NLB's tail is over": ("hook", None, going(out=[out(120)]), health(a="- healthy")),
    "the tail is over, but it still drains": ("drain", 30, going(out=[out(120)]), health(a="draining healthy")),
    "asked again when AWS's delay is over": ("drain", 20, going(out=[out(280)]), health(a="draining healthy")),
    "asked often near the end": ("drain", 15, going(out=[out(299)]), health(a="draining healthy")),
    "overdue, not hopeless": ("drain", 15, going(out=[out(599)]), health(a="draining healthy")),
    "overdue": ("back", None, going(out=[out(601)]), health(a="draining healthy")),
    "gone at once, an ALB": ("hook", None, going(out=[out(0)], tail_seconds=0), health(a="- healthy")),
    "an ALB that still drains": (
        "drain",
        15,
        going(out=[out(2)], tail_seconds=0, drain_seconds=30),
        health(a="draining healthy"),
    ),
    "drained in one of two groups": (
        "drain",
        50,
        going(out=[out(200, IN_BOTH)]),
        health(a="- healthy", b="draining healthy"),
    ),
    "drained on one of two ports": (
        "drain",
        50,
        going(out=[out(200, member("i-1", place(A), place(A, 81)))]),
        {A: targets("- healthy") + targets("draining", 81)},
    ),
    "gone from a group that nothing uses too": (
        "hook",
        None,
        going(out=[out(200, IN_BOTH)], unused=[B]),
        health(a="- healthy", b="- unused"),
    ),
    "gone from a group that nothing uses": (
        "hook",
        None,
        going(out=[out(0)], unused=[A], tail_seconds=0),
        health(a="- unused"),
    ),
    "one of two targets drains": (
        "drain",
        50,
        going(out=[out(200), out(200, member("i-2"))]),
        health(a="- draining healthy"),
    ),
    "the younger of two targets has its tail before it": (
        "drain",
        20,
        going(out=[out(200), out(100, member("i-2"))]),
        health(a="- - healthy"),
    ),
    "registered again by somebody": ("drain", 50, going(out=[out(200)]), health(a="healthy healthy")),
    "registered again while it drains": (
        "drain",
        50,
        going(out=[out(200)]),
        {A: targets("draining healthy") + targets("initial")},
    ),
    "an ALB's answer from before": ("drain", 15, going(out=[out(0)], tail_seconds=0), health(a="healthy healthy")),
    "never left its second group": (
        "back",
        None,
        going(out=[out(601, IN_BOTH)]),
        health(a="- healthy", b="healthy healthy"),
    ),
    "the service needs it: the others died": ("back", None, going(out=[out(60)]), health(a="draining unhealthy")),
    "the service needs it, drained or not": ("back", None, going(out=[out(300)]), health(a="- unhealthy")),
}


@pytest.mark.parametrize(("following", "seconds", "before", "seen"), DRAINED.values(), ids=DRAINED.keys())
def test_a_target_is_drained_when_it_is_gone_and_the_tail_is_over(
    following: str, seconds: int | None, before: Rotation, seen: Mapping[str, tuple[Target, ...]]
) -> None:
    asked = asking(seen, unused=before["unused"])
    short = "".join(guard.shortfall(one, seen, asked) for one in before["out"])
    after = steps.drained(before, seen, short, NOW)
    assert (after["next"], after.get("wait_seconds")) == (following, seconds)
    assert after.get("phase") == ("hook" if following == "hook" else None)
    assert ("ending" in after) == (following == "back")


# The hook's command.

RAN: dict[str, tuple[str, str | None, float, dict[str, tuple[str, str]]]] = {
    "done": ("back", None, 60, {"i-1": ("Success", "Success")}),
    "not shown yet": ("result", None, 60, {}),
    "waiting for the agent": ("result", None, 60, {"i-1": ("Pending", "Pending")}),
    "at work": ("result", None, 60, {"i-1": ("InProgress", "InProgress")}),
    "failed": ("back", "Failed", 60, {"i-1": ("Failed", "NonZeroExitCode")}),
    "cancelled by somebody": ("back", "Failed", 60, {"i-1": ("Cancelled", "Cancelled")}),
    "timed out on the instance": ("back", "Failed", 60, {"i-1": ("TimedOut", "ExecutionTimedOut")}),
    "never delivered": ("back", "Failed", 60, {"i-1": ("TimedOut", "DeliveryTimedOut")}),
    "being cancelled": ("result", None, 60, {"i-1": ("Cancelling", "Cancelling")}),
    "the last second": ("result", None, 3600, {"i-1": ("InProgress", "InProgress")}),
    "too late": ("back", "Failed", 3601, {"i-1": ("InProgress", "InProgress")}),
    "too late, never shown": ("back", "Failed", 3601, {}),
    "late but done": ("back", None, 3601, {"i-1": ("Success", "Success")}),
}


@pytest.mark.parametrize(("following", "ending", "seconds", "found"), RAN.values(), ids=RAN.keys())
def test_a_command_is_waited_for_and_one_that_failed_ends_the_rotation(
    following: str, ending: str | None, seconds: float, found: dict[str, tuple[str, str]]
) -> None:
    after = steps.ran(going(out=[out(900)], phase="hook", since=ago(seconds)), found, NOW)
    assert (after["next"], after.get("ending")) == (following, ending)
    assert ("c-1" in after.get("reason", {}).get("en", "")) == (ending is not None)


@pytest.mark.parametrize(
    ("following", "other"),
    [("back", "Success"), ("back", "Failed"), ("result", "InProgress"), ("result", "Pending")],
)
def test_of_a_batch_every_command_is_waited_for(following: str, other: str) -> None:
    before = going(out=[out(900), out(900, member("i-2"))], phase="hook", since=ago(60))
    after = steps.ran(before, {"i-1": ("Success", ""), "i-2": (other, "")}, NOW)
    assert (after["next"], after.get("ending")) == (following, "Failed" if other == "Failed" else None)


def test_a_command_is_asked_about_ever_more_seldom() -> None:
    waits = [
        steps.ran(going(out=[out(900)], phase="hook", since=ago(seconds)), {}, NOW)["wait_seconds"]
        for seconds in (0, 60, 120, 1200)
    ]
    assert waits == [15, 15, 30, 300]


def caught(error: str, cause: str, **given: Any) -> Rotation:
    return going(failure={"Error": error, "Cause": cause}, next="hook", **given)


APPROVAL = {"type": "approval", "timeout_seconds": 600}
FAILURES: dict[str, tuple[str | None, str, Rotation]] = {
    "nothing was caught": (None, "", going()),
    "a person said no": ("Stopped", "aborted: not today", caught("Aborted", "not today", hook=APPROVAL)),
    "nobody answered": ("Failed", "nobody answered within 600 s", caught("States.Timeout", "", hook=APPROVAL)),
    "a task took too long": ("Failed", "States.Timeout", caught("States.Timeout", "")),
    "AWS refused to the end": (
        "Failed",
        "ClientError: AccessDenied",
        caught("ClientError", '{"errorMessage": "AccessDenied", "errorType": "ClientError"}'),
    ),
    "the input means nothing": (
        "Failed",
        "the input has hooks",
        caught("InputError", '{"errorMessage":"the input has hooks"}'),
    ),
    "the end is known already": ("Stopped", "", caught("ClientError", "x", ending="Stopped")),
}


@pytest.mark.parametrize(("ending", "words", "before"), FAILURES.values(), ids=FAILURES.keys())
def test_what_the_machine_caught_becomes_an_ending_with_its_reason(
    ending: str | None, words: str, before: Rotation
) -> None:
    after = steps.failed(before)
    assert (after.get("ending"), after.get("reason", {}).get("en", "")) == (ending, words)


# Healthy again?

AILING = {
    "healthy": ("", member(), health(a="healthy"), []),
    "in its first health check": ("i-1:80 is initial in a", member(), health(a="initial"), []),
    "unhealthy": ("i-1:80 is unhealthy in a", member(), health(a="unhealthy"), []),
    "not registered": ("i-1:80 is not registered in a", member(), health(a="- healthy"), []),
    "draining": ("i-1:80 is draining in a", member(), health(a="draining healthy"), []),
    "draining and registered again": (
        "i-1:80 is initial in a",
        member(),
        {A: targets("draining") + targets("initial")},
        [],
    ),
    "stopped": ("i-1:80 is unused in a", member(), health(a="unused:Target.InvalidState healthy"), []),
    "healthy in one of two groups": ("i-1:80 is initial in b", IN_BOTH, health(a="healthy", b="initial"), []),
    "healthy on another port only": (
        "i-1:80 is unhealthy in a",
        member(),
        {A: (*targets("unhealthy"), *targets("healthy", 81))},
        [],
    ),
    "in a group that no listener uses": ("", member(), health(a="unused:Target.NotInUse"), []),
    "in a group that no load balancer uses": ("", IN_BOTH, health(a="healthy", b="unused"), [B]),
}


@pytest.mark.parametrize(("words", "one", "seen", "unused"), AILING.values(), ids=AILING.keys())
def test_a_target_is_back_when_every_group_in_use_calls_it_healthy(
    words: str, one: Member, seen: Mapping[str, tuple[Target, ...]], unused: list[str]
) -> None:
    assert guard.ailing(one, seen, asking(seen, unused=unused)) == words


def test_only_what_others_have_registered_besides_is_named() -> None:
    seen = {A: (*targets("healthy"), *targets("draining", 81), *targets("initial", 82))}
    assert guard.added(member(), seen) == ["i-1:82 is initial in a"]


@pytest.mark.parametrize(
    ("missing", "state"),
    [
        pytest.param(True, "-", id="gone"),
        pytest.param(True, "draining", id="draining: registering begins anew"),
        pytest.param(False, "initial", id="registered"),
        pytest.param(False, "unhealthy", id="registered and ill"),
        pytest.param(False, "unused", id="registered where nothing is checked"),
    ],
)
def test_what_is_gone_or_going_must_be_registered(missing: bool, state: str) -> None:
    assert guard.absent(member(), health(a=f"{state} healthy")) == ([place(A)] if missing else [])


def late(seconds: float, **given: Any) -> Rotation:
    return going(out=[out(1800)], phase="back", since=ago(seconds), **given)


def returned(before: Rotation, states: str, problems: Mapping[str, str] | None = None, **given: Any) -> Rotation:
    """Judge targets that were put back, by the health of the group a."""
    seen = health(a=states)
    sick = {one["id"]: said for one in before["out"] if (said := guard.ailing(one, seen, asking(seen)))}
    return returns.back(before, sick | dict(problems or {}), given.get("refused", {}), given.get("slow", 0), NOW)


GOING_HOME = {"ending": "Stopped", "reason": {"en": "the sorry page is on", "ja": "…"}}
SICK = "NOT BACK: i-1:80 is unhealthy in a"
STOPPED = "i-1 is stopped"
BACK: dict[str, tuple[str, str | None, str | None, Rotation, str, dict[str, str]]] = {
    "healthy: the next one": ("take-out", None, "rotated", late(60), "healthy", {}),
    "healthy, and it was the end": ("finish", "Stopped", "put back", late(60, **GOING_HOME), "healthy", {}),
    "not healthy yet": ("back", None, None, late(60), "initial", {}),
    "not healthy yet, and it will be the end": ("back", "Stopped", None, late(60, **GOING_HOME), "initial", {}),
    "not healthy at the last second": ("back", None, None, late(900), "initial", {}),
    "not healthy in time": ("finish", "Failed", SICK, late(901), "unhealthy", {}),
    "not healthy in time, after another end": ("finish", "Failed", SICK, late(901, **GOING_HOME), "unhealthy", {}),
    "healthy, late": ("take-out", None, "rotated", late(901), "healthy", {}),
    "not running: waited for": ("back", None, None, late(60), "-", {"i-1": STOPPED}),
    "not running in time": ("finish", "Failed", f"NOT BACK: {STOPPED}", late(901), "-", {"i-1": STOPPED}),
    "the first look": ("back", None, None, going(out=[out(1800)]), "initial", {}),
}


@pytest.mark.parametrize(
    ("following", "ending", "result", "before", "state", "problems"), BACK.values(), ids=BACK.keys()
)
def test_the_next_target_leaves_only_when_the_one_before_is_healthy(
    following: str, ending: str | None, result: str | None, before: Rotation, state: str, problems: dict[str, str]
) -> None:
    after = returned(before, f"{state} healthy", problems)
    assert (after["next"], after.get("ending")) == (following, ending)
    assert [row["result"] for row in after["done"]] == ([result] if result else [])
    assert bool(after["out"]) == (following == "back")
    assert after["phase"] == ("back" if following == "back" else "")


def test_a_row_of_the_table_tells_times_and_how_one_that_is_not_back_was_registered() -> None:
    [good] = returned(late(60), "healthy")["done"]
    assert good == {"id": "i-1", "out_at": ago(1800), "back_at": ago(0), "minutes": 30.0, "result": "rotated"}
    [bad] = returned(late(901), "unhealthy")["done"]
    assert bad["member"]["places"] == [place(A)]


# Waiting for one's turn, and the end.

WORDS = Words("held until noon: backup", "保留中")
TURNS = {
    "held, the first look": ("wait", steps.HELD_POLL_SECONDS, steps.paused, going()),
    "held for a day": (
        "wait",
        steps.HELD_POLL_SECONDS,
        steps.paused,
        going(phase="held", since=ago(86400)),
    ),
    "held for longer": ("finish", None, steps.paused, going(phase="held", since=ago(86401))),
    "held anew, after another wait": (
        "wait",
        steps.HELD_POLL_SECONDS,
        steps.paused,
        going(phase="crowded", since=ago(86401)),
    ),
    "too few are healthy, the first look": ("wait", steps.POLL_SECONDS, steps.crowded, going()),
    "too few are healthy": (
        "wait",
        steps.LONGEST_POLL_SECONDS,
        steps.crowded,
        going(phase="crowded", since=ago(900)),
    ),
    "too few are healthy for too long": (
        "finish",
        None,
        steps.crowded,
        going(phase="crowded", since=ago(901)),
    ),
}


@pytest.mark.parametrize(("following", "seconds", "step", "before"), TURNS.values(), ids=TURNS.keys())
def test_a_turn_is_waited_for_but_not_for_ever(
    following: str, seconds: int | None, step: Any, before: Rotation
) -> None:
    after = step(before, NOW, WORDS)
    assert (after["next"], after.get("wait_seconds")) == (following, seconds)
    assert after.get("ending") == ("Stopped" if following == "finish" else None)
    assert WORDS.en in after["reason"]["en"]


def test_a_hold_of_a_day_is_named_in_both_languages() -> None:
    after = steps.paused(going(phase="held", since=ago(86401)), NOW, Words("held until noon: backup"))
    assert all(said.endswith("held until noon: backup") for said in after["reason"].values())


@pytest.mark.parametrize(("following", "taken"), [("finish", []), ("back", [out(60)])])
def test_whoever_ends_puts_back_first_what_is_out(following: str, taken: list[Member]) -> None:
    after = steps.ended(going(out=taken), "Failed", WORDS)
    assert (after["next"], after["ending"], after["reason"]) == (following, "Failed", {"en": WORDS.en, "ja": WORDS.ja})


ENDINGS: dict[str, tuple[str, Rotation]] = {
    "as it was said": ("Finished", going(ending="Finished")),
    "a refusal that a task raised": ("Refused", going(ending="Failed", failure={"Error": "InputError", "Cause": ""})),
    "a failure that a task raised": ("Failed", going(ending="Failed", failure={"Error": "ClientError", "Cause": ""})),
    "a stop after an input error": ("Stopped", going(ending="Stopped", failure={"Error": "InputError", "Cause": ""})),
    "nobody said how": ("Failed", going()),
    "not even planned": ("Failed", Rotation(ending="Failed", reason={"en": "x", "ja": "x"})),
}


@pytest.mark.parametrize(("ending", "before"), ENDINGS.values(), ids=ENDINGS.keys())
def test_an_end_has_a_name_and_a_whole_table(ending: str, before: Rotation) -> None:
    after = steps.finished(before)
    assert after["ending"] == ending
    assert (after["done"], after["queue"], after["out"], after["skipped"], after["unused"]) == ([], [], [], [], [])


def test_an_end_without_a_name_says_who_is_out() -> None:
    after = steps.finished(going(out=[out(60), out(60, member("i-2"))]))
    assert (after["reason"]["en"], after["next"]) == ("i-1 is out; i-2 is out", "finish")


# What the attributes of a group ask.

ZONES = {"i-1": "1a", "i-2": "1a", "i-3": "1c"}
TERMS: dict[str, tuple[str, str, str, list[str], dict[str, Any]]] = {
    "its zone has another one": ("", "i-1", "healthy healthy healthy", [], {"zones": ZONES}),
    "it is the last one of its zone": (
        "0 healthy targets in 1c without",
        "i-3",
        "healthy healthy healthy",
        [],
        {"zones": ZONES},
    ),
    "its zone loses the other one, too": (
        "0 healthy targets in 1a without",
        "i-1",
        "healthy healthy healthy",
        ["i-2"],
        {"zones": ZONES},
    ),
    "the zone asks for two": (
        "1 healthy targets in 1a without",
        "i-1",
        "healthy healthy healthy",
        [],
        {"zones": ZONES, "zone_least": 2},
    ),
    "nobody knows its zone": ("", "i-1", "healthy healthy", [], {"zones": {"i-2": "1a"}}),
    "two thirds must stay, and do": ("", "i-1", "healthy healthy healthy", [], {"percentage": 66}),
    "more than two thirds must stay": (
        "2 healthy targets without",
        "i-1",
        "healthy healthy healthy",
        [],
        {"percentage": 67},
    ),
    "it counts for the share, because it comes back": (
        "1 healthy targets without",
        "i-1",
        "draining healthy",
        [],
        {"percentage": 60},
    ),
}


@pytest.mark.parametrize(("short", "one", "states", "gone", "more"), TERMS.values(), ids=TERMS.keys())
def test_a_group_may_ask_for_more_than_the_parameter(
    short: str, one: str, states: str, gone: list[str], more: dict[str, Any]
) -> None:
    seen = health(a=states)
    said = guard.shortfall(member(one), seen, asking(seen, cross_zone="zones" not in more, **more), gone)
    assert (short in said, bool(said)) == (True, bool(short))


PREFIX = "target_group_health."
ATTRIBUTES: dict[str, tuple[Terms, dict[str, str], str]] = {
    "an NLB's defaults": (Terms(tail_seconds=120, drain_seconds=120, keeps_connections=True), {}, NLB),
    "an ALB's": (Terms(slow_start_seconds=30), {"slow_start.duration_seconds": "30"}, ALB),
    "thresholds": (
        Terms(least=3, zone_least=3, percentage=50),
        {
            f"{PREFIX}dns_failover.minimum_healthy_targets.count": "3",
            f"{PREFIX}unhealthy_state_routing.minimum_healthy_targets.count": "1",
            f"{PREFIX}unhealthy_state_routing.minimum_healthy_targets.percentage": "50",
        },
        ALB,
    ),
    "thresholds that are off": (Terms(), {f"{PREFIX}dns_failover.minimum_healthy_targets.count": "off"}, ALB),
}


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("whether cross-zone load balancing is on cannot be read; zones are not guarded", Terms(cross_zone=None)),
        ("the zone of i-1 is not known; it is not guarded", Terms(cross_zone=False, zones={"i-2": "a"})),
        ("", Terms(cross_zone=False, zones={"i-1": "a", "i-2": "a"})),
        ("", Terms(cross_zone=None, used=False)),
    ],
)
def test_zones_that_cannot_be_guarded_are_said_at_the_beginning(said: str, found: Terms) -> None:
    told = terms.notes({A: found}, health(a="healthy healthy"), lambda _group: 1, False)
    assert (said in "".join(text.en for _, text in told), bool(told)) == (True, bool(said))


@pytest.mark.parametrize(("expected", "attributes", "balancer"), ATTRIBUTES.values(), ids=ATTRIBUTES.keys())
def test_terms_are_what_the_attributes_say(expected: Terms, attributes: dict[str, str], balancer: str) -> None:
    assert terms.of(group(A, balancer), attributes, True, {}, 1, False) == expected


# Back: believed, in time, and warm.


@pytest.mark.parametrize(("seconds", "believed"), [(0, False), (59, False), (60, True)])
def test_health_is_not_believed_of_one_that_left_just_now(seconds: float, believed: bool) -> None:
    assert (guard.unsettled(out(seconds), NOW) == "") == believed


@pytest.mark.parametrize(
    ("following", "gone", "registered"),
    [
        pytest.param("back", 1000, None, id="its draining ended 700 s ago"),
        pytest.param("finish", 1300, None, id="its draining ended 1,000 s ago"),
        pytest.param("back", 1300, 800, id="it was registered 800 s ago"),
        pytest.param("finish", 1300, 901, id="it was registered 901 s ago"),
    ],
)
def test_the_time_of_one_that_aws_refuses_begins_when_it_could_be_registered(
    following: str, gone: float, registered: float | None
) -> None:
    one = {**out(gone), **({"in_at": ago(registered)} if registered else {})}
    before = going(out=[one], phase="back", since=ago(1290))
    after = returned(before, "-", {"i-1": "refused"}, refused={} if registered else {"i-1": "refused"})
    assert after["next"] == following
    assert bool(after["out"]) == (following == "back" or not registered)  # refused: tried again after the end


@pytest.mark.parametrize(
    ("following", "seconds", "before"),
    [
        pytest.param("back", 300, late(60, queue=[member("i-2")]), id="healthy just now"),
        pytest.param("back", 100, {**late(200, queue=[member("i-2")]), "phase": "slow-start"}, id="for 200 s"),
        pytest.param("take-out", None, {**late(300, queue=[member("i-2")]), "phase": "slow-start"}, id="for long"),
        pytest.param("take-out", None, late(60), id="nobody is next"),
        pytest.param("finish", None, late(60, queue=[member("i-2")], **GOING_HOME), id="it ends anyway"),
    ],
)
def test_the_next_one_waits_for_a_slow_start(following: str, seconds: int | None, before: Rotation) -> None:
    after = returned(before, "healthy healthy", slow=300)
    assert (after["next"], after.get("wait_seconds")) == (following, seconds)


@pytest.mark.parametrize(("since", "again"), [(900, ago(60)), (900, ""), (30, ago(60))])
def test_no_time_counts_from_before_a_redrive(since: float, again: str) -> None:
    after = redrive.timed_anew(going(since=ago(since)), {"RedriveTime": again} if again else {})
    assert after["since"] == (again if again and since > 60 else ago(since))


# What is remembered.


@pytest.mark.parametrize("lost", [0, 1, 2])
@pytest.mark.parametrize("others", [0, 1, 2])
def test_what_others_have_remembered_meanwhile_stays_though_answers_are_lost(
    ours: Account, others: int, lost: int
) -> None:
    def meanwhile() -> None:
        for number in range(others):
            memory.begun(CONFIG, f"other-{number}")
        if lost:  # as often as the SDK then writes it once more
            ours.faults.add("ssm", "PutParameter", None, times=lost, after=True)

    ours.before("ssm", "PutParameter", meanwhile)
    memory.begun(CONFIG, "mine")
    assert memory.read(CONFIG).executions == {"mine", *(f"other-{number}" for number in range(others))}
