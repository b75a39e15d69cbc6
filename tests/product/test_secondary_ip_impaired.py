"""A holder that runs and fails its status checks is told of at once, and left only if a parameter asks for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pair_tools import Deployed
from standby_stories import mute

from sandbox.account import Account
from sandbox.stack import cloudformation

MOVES = {"PairMoveWhenImpaired": "true"}


@pytest.fixture
def deployed(account: Account, build: Path) -> Callable[..., Deployed]:
    """Return a maker of protected services whose status checks have begun."""

    def make(**parameters: str) -> Deployed:
        world = Deployed(account, build, overlay=("192.168.99.1/32",)).deploy(**parameters)
        world.passes(6)
        assert not world.mails
        return world

    return make


def fails(world: Deployed, side: int, **checks: str) -> str:
    """Let the instance of a side fail its checks, all or those named; return its id."""
    instance = world.service.instance_ids[side]
    if checks:
        world.account.ec2.checks[instance] = checks
    else:
        world.account.ec2.impaired.add(instance)
    return instance


def subjects(world: Deployed) -> list[str]:
    return [mail.subject.split(": ", 1)[1] for mail in world.mails]


@pytest.mark.parametrize("check", ["", "AttachedEbsStatus", "ApplicationStatus", "PerformanceStatus"])
def test_an_impaired_holder_is_told_of_once_and_keeps_what_it_has(
    deployed: Callable[..., Deployed], check: str
) -> None:
    world = deployed()
    first = fails(world, 0, **({check: "impaired"} if check else {}))
    world.passes(10)
    assert (world.sides, world.writes()) == ({0}, [])
    assert subjects(world) == [f"{first} holds the addresses and fails its status checks"]
    body = world.mails[0].body
    assert f"{check or 'SystemStatus'} impaired" in body
    assert "PairMoveWhenImpaired is false" in body
    assert f"aws ec2 stop-instances --region {world.account.region} --force --instance-ids {first}" in body
    world.account.ec2.impaired.clear()
    world.account.ec2.checks.clear()
    world.passes(5)
    assert subjects(world)[1:] == ["the holder of the addresses does not fail its status checks any more"]


def test_the_other_one_is_not_told_of(deployed: Callable[..., Deployed]) -> None:
    world = deployed()
    fails(world, 1)
    world.passes(5)
    assert not world.mails


def test_where_it_is_asked_for_the_addresses_leave_and_stay_away(deployed: Callable[..., Deployed]) -> None:
    world = deployed(**MOVES)
    first = fails(world, 0)
    world.passes(5)
    assert world.sides == {1}
    told, moved = world.mails
    assert "The addresses move when its alarm goes off" in told.body
    assert moved.subject.endswith(f"{first} is running but impaired")
    assert "SystemStatus impaired" in moved.body
    assert "and passes all of its status checks" in moved.body
    world.passes(5)
    world.account.ec2.impaired.clear()
    world.passes(10)
    assert world.sides == {1}  # the first is well again, and nothing goes back
    assert len(world.mails) == 2
    fails(world, 1)
    world.passes(5)
    assert world.sides == {0}


def test_the_run_that_the_alarm_called_waits_until_the_alarm_shows(deployed: Callable[..., Deployed]) -> None:
    world = deployed(**MOVES)
    world.account.lag.exactly("cloudwatch", 5.0)
    fails(world, 0)
    while world.account.alarms.state("pair-pair-first-impaired").value != "ALARM":
        world.account.advance(1)
    assert world.sides == {1}


@pytest.mark.parametrize("check", ["AttachedEbsStatus", "ApplicationStatus"])
def test_what_a_mail_promises_of_an_impaired_holder_happens(deployed: Callable[..., Deployed], check: str) -> None:
    world = deployed(**MOVES)
    fails(world, 0, **{check: "impaired"})
    world.passes(1)
    assert "The addresses move when its alarm goes off" in world.mails[0].body
    world.passes(5)
    assert world.sides == {1}


@pytest.mark.parametrize(
    ("check", "status"), [("PerformanceStatus", "impaired"), ("InstanceStatus", "insufficient-data")]
)
def test_a_check_that_no_metric_counts_moves_nothing_and_the_mail_says_so(
    deployed: Callable[..., Deployed], check: str, status: str
) -> None:
    world = deployed(**MOVES)
    fails(world, 0, **{check: status})
    world.passes(30)
    assert world.sides == {0}
    [told] = world.mails
    assert "move when its alarm goes off" not in told.body
    assert "The addresses stay there: its alarm counts only system, instance, attached EBS and application" in told.body


def test_no_mail_promises_what_a_silent_alarm_withholds(deployed: Callable[..., Deployed]) -> None:
    world = deployed(**MOVES)
    world.account.client("cloudwatch").disable_alarm_actions(AlarmNames=["pair-pair-first-impaired"])
    fails(world, 0)
    world.passes(1)
    [told] = world.mails
    assert "The addresses stay there while its alarm is silent" in told.body


def test_one_bad_minute_moves_nothing(deployed: Callable[..., Deployed]) -> None:
    world = deployed(**MOVES)
    for _ in range(3):
        fails(world, 0)
        world.passes(1)
        world.account.ec2.impaired.clear()
        world.passes(4)
    assert (world.sides, world.writes()) == ({0}, [])


@pytest.mark.parametrize(
    ("check", "status"),
    [
        ("InstanceStatus", "insufficient-data"),
        ("AttachedEbsStatus", "impaired"),
        ("ApplicationStatus", "initializing"),
        ("PerformanceStatus", "impaired"),
    ],
)
def test_nothing_goes_to_one_that_does_not_pass_every_check(
    deployed: Callable[..., Deployed], check: str, status: str
) -> None:
    world = deployed(**MOVES)
    fails(world, 0)
    second = fails(world, 1, **{check: status})
    world.passes(8)
    assert (world.sides, world.writes()) == ({0}, [])
    report = world.invoke({"action": "reconcile"})
    assert report["outcome"] == "refused"  # a lasting condition, with its alarm
    assert f"{second} is not fit to take them: running" in report["reason"]
    assert status in report["reason"]
    world.account.ec2.checks.clear()
    world.passes(2)
    assert world.sides == {1}


def test_nothing_goes_to_one_whose_alarm_has_not_ended_though_it_is_silent(deployed: Callable[..., Deployed]) -> None:
    world = deployed(**MOVES)
    world.account.client("cloudwatch").disable_alarm_actions(AlarmNames=["pair-pair-second-impaired"])
    second = fails(world, 1)
    fails(world, 0)
    world.passes(8)
    world.account.ec2.impaired.remove(second)  # its checks pass from now on, its alarm takes minutes to see that
    report = world.invoke({"action": "reconcile"})
    assert (report["outcome"], world.sides) == ("refused", {0})
    assert "its alarm is ALARM, but its actions are disabled" in report["reason"]
    world.passes(5)
    assert world.sides == {1}


def test_an_alarm_that_somebody_tests_moves_nothing(deployed: Callable[..., Deployed]) -> None:
    world = deployed(**MOVES)
    world.account.client("cloudwatch").set_alarm_state(
        AlarmName="pair-pair-first-impaired", StateValue="ALARM", StateReason="a test"
    )
    world.account.settle()
    assert (world.sides, world.writes(), world.mails) == ({0}, [], [])


@pytest.mark.parametrize("silent", ["muted", "disabled"])
def test_nothing_leaves_while_somebody_keeps_its_alarm_silent(deployed: Callable[..., Deployed], silent: str) -> None:
    world = deployed(**MOVES)
    cloudwatch, alarm = world.account.client("cloudwatch"), "pair-pair-first-impaired"
    if silent == "muted":
        mute(world.account, alarm, minutes=20)
    else:
        cloudwatch.disable_alarm_actions(AlarmNames=[alarm])
    fails(world, 0)
    world.passes(10)
    assert (world.sides, world.writes()) == ({0}, [])
    world.account.faults.add("cloudwatch", "ListAlarmMuteRules", "NobodyListsThisException", times=1, status=500)
    report = world.invoke({"action": "reconcile"})
    assert (report["outcome"], "its alarm is silent: ALARM, but" in report["reason"]) == ("unchanged", True)
    cloudwatch.enable_alarm_actions(AlarmNames=[alarm])
    world.passes(11)
    assert world.sides == {1}


def test_a_holder_that_stops_moves_whatever_the_checks_say(deployed: Callable[..., Deployed]) -> None:
    world = deployed(**MOVES)
    fails(world, 1)
    world.passes(5)
    world.account.faults.add("ec2", "DescribeInstanceStatus", "RequestLimitExceeded", status=503)
    world.stops(0)
    assert world.sides == {1}


@pytest.mark.parametrize("withheld", ["hold", "dry-run"])
def test_what_may_not_leave_is_told_of_at_once(deployed: Callable[..., Deployed], withheld: str) -> None:
    world = deployed(**MOVES, **({"DryRun": "true"} if withheld == "dry-run" else {}))
    if withheld == "hold":
        world.hold(60)
    fails(world, 0)
    world.passes(10)
    assert world.sides == {0}
    assert sum(subject.startswith("NOT answered") for subject in subjects(world)) == 1
    assert len(world.mails) <= 2


def test_the_mail_is_japanese_where_it_is_asked_for(deployed: Callable[..., Deployed]) -> None:
    world = deployed(NotificationLanguage="ja", **MOVES)
    first = fails(world, 0)
    world.passes(5)
    told, moved = world.mails
    assert f"{first} は稼働中 (running) でアドレスを保持していますが、ステータスチェックに失敗しています" in told.body
    assert f"{first} は running ですが、ステータスチェックに失敗しています" in moved.body


def test_without_the_parameter_there_is_no_alarm(account: Account, build: Path) -> None:
    Deployed(account, build).deploy()
    names: list[Any] = [each["AlarmName"] for each in account.client("cloudwatch").describe_alarms()["MetricAlarms"]]
    assert not [name for name in names if name.endswith("-impaired")]


def test_a_deleted_alarm_comes_back_by_what_the_error_says(deployed: Callable[..., Deployed], build: Path) -> None:
    world = deployed(**MOVES)
    world.account.client("cloudwatch").delete_alarms(AlarmNames=["pair-pair-first-impaired"])
    fails(world, 0)
    world.passes(5)
    errors = [run.invocation.payload["errorMessage"] for run in world.account.functions.runs if run.invocation.error]
    assert "Deploy twice: once with PairMoveWhenImpaired=false, which removes what it made" in errors[-1]
    assert world.sides == {0}
    given = {name: value for name, value in world.stack.parameters.items() if not name.startswith("AWS::")}
    given = {name: ",".join(value) if isinstance(value, list) else str(value) for name, value in given.items()}
    for value in ("true", "false", "true"):
        assert world.sides == {0}  # an unchanged stack makes nothing anew
        world.stack = cloudformation.update(world.account, world.stack, build, given | {"PairMoveWhenImpaired": value})
    world.passes(5)
    assert world.sides == {1}


def test_a_check_that_somebody_has_suppressed_is_no_failure(deployed: Callable[..., Deployed]) -> None:
    world = deployed(**MOVES)
    fails(world, 0, ApplicationStatus="suppressed")
    fails(world, 1, ApplicationStatus="suppressed")
    world.passes(5)
    assert (world.sides, subjects(world)) == ({0}, [])
    fails(world, 0)
    world.passes(10)
    assert world.sides == {1}


def test_who_holds_the_addresses_alone_is_not_to_be_stopped(deployed: Callable[..., Deployed]) -> None:
    world = deployed()
    world.stops(1)
    first = fails(world, 0)
    world.passes(3)
    told = [mail.body for mail in world.mails if "fails its status checks" in mail.subject]
    assert [first in body for body in told] == [True]
    assert "stop-instances" not in told[0]


def test_what_ec2_refuses_for_good_keeps_nothing_else_on_an_impaired_holder(account: Account, build: Path) -> None:
    world = Deployed(account, build, instance_type="t3.micro")
    [described] = account.client("ec2").describe_instance_types(InstanceTypes=["t3.micro"])["InstanceTypes"]
    beyond = described["NetworkInfo"]["Ipv4AddressesPerInterface"] - 1
    world.deploy(FloatingIpAddresses=",".join(["10.0.0.50", *[f"10.0.0.{100 + n}" for n in range(beyond)]]), **MOVES)
    world.passes(10)
    fails(world, 0)
    world.passes(15)
    assert world.where["10.0.0.50"] == 1


def test_an_ipv6_address_that_has_no_room_is_not_cut_from_its_server_every_minute(
    account: Account, build: Path
) -> None:
    world = Deployed(account, build, ipv6=1, instance_type="t3.micro").deploy(**MOVES)
    ec2, [_, second] = account.client("ec2"), world.service.interface_ids
    address = world.service.floating[1]
    [described] = ec2.describe_instance_types(InstanceTypes=["t3.micro"])["InstanceTypes"]
    room = described["NetworkInfo"]["Ipv6AddressesPerInterface"]
    others = [f"{address.rpartition(':')[0]}:{number:x}" for number in range(0xA0, 0xA0 + room)]
    ec2.assign_ipv6_addresses(NetworkInterfaceId=second, Ipv6Addresses=others)
    world.passes(6)
    first = fails(world, 0)
    world.passes(10)
    assert world.where == {"10.0.0.50": 1, address: 0}
    since = len(account.calls)
    world.passes(25)
    assert world.where[address] == 0
    assert 1 <= world.writes(since).count("UnassignIpv6Addresses") <= 2
    about = [mail for mail in world.mails if address in mail.body]
    assert len(about) == 1
    assert len(world.alarm_mails("FailedEventsAlarm")) == 1
    ec2.unassign_ipv6_addresses(NetworkInterfaceId=second, Ipv6Addresses=others[:1])
    world.passes(16)
    assert world.sides == {1}
    assert f"addresses moved to {world.service.instance_ids[1]}" in subjects(world)[-1]
    assert first in subjects(world)[-1]


def test_a_server_that_stops_gives_up_an_address_that_had_no_room_at_once(account: Account, build: Path) -> None:
    world = Deployed(account, build, ipv4=(), ipv6=1).deploy(**MOVES)
    _, second = world.service.interface_ids
    world.passes(6)
    account.faults.add(
        "ec2", "AssignIpv6Addresses", "NobodyListsThis", when=lambda p: p["NetworkInterfaceId"] == second
    )
    fails(world, 0)
    world.passes(8)
    assert world.sides == {0}
    account.faults.clear()
    world.stops(0)
    assert world.sides == {1}


def test_an_ipv6_address_whose_release_was_not_answered_is_tried_again_at_once(account: Account, build: Path) -> None:
    world = Deployed(account, build, ipv6=1).deploy(**MOVES)
    world.passes(6)
    account.faults.add("ec2", "UnassignIpv6Addresses", None, times=1, body="empty")
    fails(world, 0)
    world.passes(7)
    assert world.sides == {1}
