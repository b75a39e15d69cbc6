"""What people are told of a pair, once, when more than one thing is wrong or the note is not what it was."""

import json
from pathlib import Path

import pytest
from pair_tools import Deployed

from sandbox.account import Account

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
