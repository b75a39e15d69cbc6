"""What people are told of a pair, once, when more than one thing is wrong or the note is not what it was."""

import json
from pathlib import Path

import pytest
from conftest import Shop
from pair_tools import TICK, Deployed, Inside

from kirikae.errors import UnfinishedError
from kirikae.pair import move
from kirikae.pair.world import to_tell, told_of
from sandbox.account import Account
from sandbox.estates.pair import pair_service

CIDR = "192.168.99.1/32"
TEN = tuple(f"192.168.99.{number}/32" for number in range(10))


def ready(world: Deployed, **parameters: str) -> Deployed:
    """Deploy the stack and let the status checks begin."""
    world.deploy(**parameters)
    world.passes(6)
    return world


def test_many_missing_routes_are_told_once(account: Account, build: Path) -> None:
    world = Deployed(account, build, ipv4=(), overlay=("192.168.98.1/32",), tables=12, zones=2)
    world.deploy(OverlayCidrs=",".join(TEN))
    world.passes(30)
    assert len(world.mails) <= 2


def test_a_topic_that_was_deleted_is_heard_by_nobody(account: Account, build: Path) -> None:
    world = ready(Deployed(account, build))
    [topic] = account.client("sns").list_topics()["Topics"]
    account.client("sns").delete_topic(TopicArn=topic["TopicArn"])
    world.passes(20)
    assert account.alarms.state(world.stack.resources["NobodyHearsAlarm"]).value == "ALARM"


def test_that_nobody_hears_shows_though_every_run_fails(account: Account, build: Path) -> None:
    account.sns.pending.add("oncall@example.com")
    world = Deployed(account, build).deploy()
    account.faults.add("ec2", "DescribeInstances", "UnauthorizedOperation", status=403)
    world.passes(20)
    assert account.alarms.state(world.stack.resources["NobodyHearsAlarm"]).value == "ALARM"


def test_a_second_outage_under_one_hold_is_told_though_it_goes_the_same_way(account: Account, build: Path) -> None:
    world = ready(Deployed(account, build, ipv4=("10.0.0.50", "10.0.0.51", "10.0.0.52", "10.0.0.53")))
    second = world.service.interface_ids[1]
    for address in ("10.0.0.50", "10.0.0.51", "10.0.0.52"):
        world.service.take(address, second)
    world.passes(5)
    world.hold(120)
    given = {"NetworkInterfaceId": second, "PrivateIpAddresses": ["10.0.0.50"]}
    account.client("ec2").unassign_private_ip_addresses(**given)
    world.passes(5)
    before = len(account.mails)
    world.stops(0)
    world.passes(10)
    assert any("NOT answered" in mail.subject for mail in account.mails[before:])


@pytest.mark.parametrize(
    "value",
    [
        {"known": {"eni-0123456789abcdef0": ["10.0.0.50"]}, "at": "2026-11-20T00:00:00Z"},
        {"known": {}, "at": "2099-01-01T00:00:00Z"},
    ],
)
def test_a_note_that_somebody_wrote_hides_nothing(account: Account, build: Path, value: dict[str, object]) -> None:
    world = ready(Deployed(account, build))
    given = {"Name": "/pair/told/pair", "Type": "String", "Value": json.dumps(value), "Overwrite": True}
    account.client("ssm").put_parameter(**given)
    account.ec2.impaired.add(world.service.instance_ids[0])
    world.passes(5)
    assert len(world.mails) == 1
    world.stops(0)
    world.passes(5)
    assert len(world.mails) == 2


def test_the_undo_of_an_elastic_ip_that_a_dead_run_moved_names_its_old_address(account: Account, build: Path) -> None:
    world = ready(Deployed(account, build, ipv4=(), elastic=1, overlay=(CIDR,)))
    account.faults.add("ec2", "ReplaceRoute", None, times=1, kills=True)
    world.stops(0)
    world.passes(4)
    [mail] = world.mails
    [line] = [line for line in mail.body.splitlines() if "associate-address" in line]
    assert "--private-ip-address 10.0.0.10" in line


def test_the_undo_of_an_address_that_was_nowhere_says_so(account: Account, build: Path) -> None:
    world = Deployed(account, build)
    given = {"NetworkInterfaceId": world.service.interface_ids[0], "PrivateIpAddresses": ["10.0.0.50"]}
    account.client("ec2").unassign_private_ip_addresses(**given)
    ready(world)
    assert "is gone" not in world.mails[0].body


def test_a_stranger_who_was_told_of_is_not_told_again_after_a_move(account: Account, build: Path) -> None:
    world = ready(Deployed(account, build, ipv4=("10.0.0.50", "10.0.0.51")))
    stranger = world.service.stranger("instance")
    world.service.take("10.0.0.50", stranger)
    world.passes(5)
    world.stops(0)
    world.passes(5)
    assert world.where["10.0.0.51"] == 1
    assert sum("NOT answered" in mail.subject for mail in world.mails) == 1
    for place in (world.service.interface_ids[1], stranger):  # it is given back, and taken again: that is news
        world.service.take("10.0.0.50", place)
        world.passes(5)
    assert sum("NOT answered" in mail.subject for mail in world.mails) == 2


@pytest.mark.parametrize("many", [5, 3], ids="{} networks of ten on the second".format)
def test_many_routes_on_both_sides_are_no_mail_a_minute(many: int, account: Account, build: Path) -> None:
    world = Deployed(account, build, ipv4=(), overlay=TEN, tables=20, zones=2)
    for table in world.service.table_ids:
        for network in TEN[:many]:
            world.service.take(f"{table} {network}", world.service.interface_ids[1])
    ready(world)
    assert world.mails == []
    account.ec2.impaired.add(world.service.instance_ids[0])
    world.passes(10)
    assert len(world.mails) == 1
    first, second = world.service.interface_ids
    moved = [f"{table} {TEN[0]}" for table in world.service.table_ids]
    for route in moved:
        world.service.take(route, first)  # by somebody else
    world.passes(5)
    assert len(world.mails) == 2
    lines = [line.strip() for line in world.mails[1].body.splitlines() if " -> " in line]
    assert sorted(lines) == sorted(f"{route}: {second} -> {first}" for route in moved)


def test_a_move_is_made_and_told_once_though_what_was_before_is_shown_again(account: Account, build: Path) -> None:
    world = ready(Deployed(account, build, ipv6=1, elastic=1, overlay=(CIDR,)))
    account.lag.may_go_back(1)
    began = len(account.calls)
    world.service.stop(0)
    assert world.invoke(TICK)["outcome"] == "changed"
    made = world.writes(began)
    account.lag.may_go_back(0)
    again = [world.invoke(TICK)["outcome"] for _ in range(3)]
    assert (again, world.writes(began), len(world.mails)) == (["unchanged"] * 3, made, 1)
    world.passes(5)
    assert (world.sides, len(world.mails)) == ({1}, 1)
    world.service.take("10.0.0.50", world.service.interface_ids[0])  # by now it is no older answer
    world.passes(5)
    assert (world.sides, len(world.mails)) == ({1}, 2)


def test_where_hundreds_are_is_noted_and_read_again() -> None:
    here = {f"rtb-{table:017} {network}": f"eni-{table % 3}" for table in range(30) for network in TEN}
    noted = to_tell(here)
    assert len(json.dumps(noted)) < 1500
    assert told_of(noted, here) == here
    assert told_of(noted, [*here, "10.0.0.50"]) == {}, "another list: nobody knows"
    assert told_of({"eni-0": "list 0: nonsense"}, here) == {"list": "eni-0", "0:": "eni-0", "nonsense": "eni-0"}


@pytest.fixture
def unmovable(account: Account, build: Path) -> Deployed:
    """Return a world where EC2 refuses one of three addresses for good; the others have moved and that was told."""
    world = ready(Deployed(account, build, ipv4=("10.0.0.50", "10.0.0.51", "10.0.0.52")))
    there = world.service.interface_ids[1]
    account.faults.add(
        "ec2",
        "AssignPrivateIpAddresses",
        "PrivateIpAddressLimitExceeded",
        when=lambda p: "10.0.0.52" in p["PrivateIpAddresses"] and p["NetworkInterfaceId"] == there,
    )
    world.stops(0)
    world.passes(6)
    assert world.where == {"10.0.0.50": 1, "10.0.0.51": 1, "10.0.0.52": 0}
    assert len(world.mails) == 1
    return world


def test_a_stranger_is_told_of_once_while_ec2_refuses_something_else(unmovable: Deployed) -> None:
    stranger = unmovable.service.stranger("instance")
    unmovable.service.take("10.0.0.50", stranger)
    unmovable.passes(10)
    [_, mail] = unmovable.mails
    assert "NOT answered (refused)" in mail.subject
    assert f"hands off: 10.0.0.50 is on {stranger}" in mail.body


def test_an_impaired_holder_is_told_of_once_while_ec2_refuses_something_else(unmovable: Deployed) -> None:
    unmovable.account.ec2.impaired.add(unmovable.service.instance_ids[1])
    unmovable.passes(10)
    [_, mail] = unmovable.mails
    assert f"{unmovable.service.instance_ids[1]} holds the addresses and fails its status checks" in mail.subject
    unmovable.account.faults.add("ec2", "DescribeInstanceStatus", "RequestLimitExceeded", status=503)
    unmovable.passes(4)
    unmovable.account.faults.clear()
    unmovable.passes(4)
    assert unmovable.sides == {1}
    assert [mail.subject.split(": ", 1)[1][:15] for mail in unmovable.mails[2:]] == ["addresses moved"]


def test_a_stranger_and_an_impaired_holder_are_told_of_under_a_hold(account: Account, build: Path) -> None:
    world = ready(Deployed(account, build, ipv4=("10.0.0.50", "10.0.0.51", "10.0.0.52")))
    _, second = world.service.instance_ids
    world.service.take("10.0.0.50", world.service.interface_ids[1])
    world.passes(3)
    world.hold(120)
    world.stops(0)
    world.passes(3)
    held = len(world.mails)
    stranger = world.service.stranger("instance")
    world.service.take("10.0.0.51", stranger)
    world.passes(5)
    assert f"hands off: 10.0.0.51 is on {stranger}" in world.mails[held].body
    account.ec2.impaired.add(second)
    world.passes(10)
    assert f"{second} holds the addresses and fails its status checks" in world.mails[held + 1].subject
    assert len(world.mails) == held + 2


def test_a_stranger_is_told_of_while_neither_instance_runs(account: Account, build: Path) -> None:
    world = ready(Deployed(account, build, ipv4=("10.0.0.50", "10.0.0.51")))
    world.stops(0, 1)
    world.passes(5)
    before, stranger = len(world.mails), world.service.stranger("instance")
    world.service.take("10.0.0.50", stranger)
    world.passes(10)
    [mail] = world.mails[before:]
    assert f"hands off: 10.0.0.50 is on {stranger}" in mail.body


def test_a_second_refusal_is_told_while_the_first_one_lasts(account: Account, build: Path) -> None:
    world = ready(Deployed(account, build, overlay=(CIDR,)))
    _, second = world.service.interface_ids
    checked = {"NetworkInterfaceId": second, "SourceDestCheck": {"Value": True}}
    account.client("ec2").modify_network_interface_attribute(**checked)
    world.passes(8)
    assert (len(world.alarm_mails("RefusedAlarm")), world.mails) == (1, [])  # the alarm tells the first
    world.service.terminate(1)
    world.passes(8)
    [mail] = world.mails
    assert "something else is not as it must be" in mail.subject
    assert f"the pair has one side only, {world.service.instance_ids[1]} is" in mail.body


def test_a_second_refusal_of_the_nlb_is_told_once_by_whichever_function_meets_it(account: Account, build: Path) -> None:
    shop = Shop(account, build, ports=(443, 8443)).deployed()
    shop.minutes(5)
    elb, [first, second] = account.client("elbv2"), shop.service.listener_arns
    for arn, weights in ((first, (1, 1)), (second, (1, 1)), (second, (1, 2)), (second, (1, 1))):
        groups = zip((shop.service.primary_arn, shop.service.sorry_arn), weights, strict=True)
        forward = {"TargetGroups": [{"TargetGroupArn": group, "Weight": weight} for group, weight in groups]}
        elb.modify_listener(ListenerArn=arn, DefaultActions=[{"Type": "forward", "ForwardConfig": forward}])
        shop.minutes(8)
        assert len(shop.alarm_mails("RefusedAlarm")) == 1
        assert shop.subjects == ([] if arn == first else ["ATTENTION, something else is not as it must be"])
    assert f"hands off: listener {second}" in shop.mails[0].body


@pytest.mark.parametrize("down", [(0,), (0, 1)], ids=["its holder", "both"])
def test_an_outage_that_wrong_parameters_keep_from_being_answered_is_told_at_once(
    down: tuple[int, ...], account: Account, build: Path
) -> None:
    world = Deployed(account, build)
    world.deploy(PairInterfaceIds=",".join(world.service.interface_ids[::-1]))
    world.passes(8)
    assert (len(world.alarm_mails("RefusedAlarm")), world.mails) == (1, [])  # nothing is down yet
    world.stops(*down)
    assert len(world.mails) == 1
    world.passes(8)
    [mail] = world.mails
    assert "NOT answered (refused)" in mail.subject
    assert "does not belong to" in mail.body


def test_the_refusal_of_one_capability_hides_no_other(account: Account, build: Path) -> None:
    shop = Shop(account, build)
    pair = pair_service(account, overlay=(CIDR,))
    shop.deployed(**pair.parameters)
    checked = {"NetworkInterfaceId": pair.interface_ids[1], "SourceDestCheck": {"Value": True}}
    account.client("ec2").modify_network_interface_attribute(**checked)
    shop.minutes(8)
    assert len(shop.alarm_mails("RefusedAlarm")) == 1
    shop.service.forward({shop.service.primary_arn: 1, shop.service.sorry_arn: 1})
    shop.minutes(8)
    assert len(shop.alarm_mails("RefusedAlarm")) == 2  # one for both directions of the NLB


def test_a_move_that_is_too_large_for_a_run_is_told_and_finished_by_the_next(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move, "WRITING_SECONDS", 1)
    world = Inside(account, ipv4=("10.0.0.50",), overlay=TEN, tables=2)
    account.faults.add("ec2", "ReplaceRoute", None, latency=0.1, times=15)
    world.service.stop(0)
    with pytest.raises(UnfinishedError, match="the run's time is up"):
        world.run()
    [mail] = world.mails
    assert world.where["10.0.0.50"] == 1
    assert world.sides == {0, 1}
    assert "the run's time is up" in mail.body
    account.faults.clear()
    world.run()
    assert world.sides == {1}
    assert len(world.mails) == 2
