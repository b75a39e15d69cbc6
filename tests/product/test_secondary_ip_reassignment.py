"""The addresses of a pair belong on a running instance: they move once, whole, and what is said was seen."""

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pair_tools import Deployed, Inside

from functions.secondary_ip_reassignment.app import decide
from kirikae import env
from kirikae.decision import plain
from kirikae.errors import InputError, UnfinishedError
from kirikae.pair.addresses import ElasticIp, Interface, RouteTable
from kirikae.pair.world import Config, Move, Observed
from sandbox.account import Account

I0, I1, OTHER = "i-00000000000000000", "i-11111111111111111", "i-99999999999999999"
E0, E1, E2, FOREIGN = "eni-00000000", "eni-11111111", "eni-22222222", "eni-99999999"
GONE = "eni-88888888"
IP, IP2, IP6, EIP, TABLE, TABLE2 = "10.0.0.50", "10.0.0.51", "2001:db8::50", "eipalloc-12345678", "rtb-1", "rtb-2"
CIDR = "192.168.99.1/32"

CONFIG = Config(
    service_name="mail server",
    topic_arn="arn:aws:sns:ap-northeast-1:123456789012:pair",
    hold_parameter="/pair/hold",
    told_parameter="/told/it",
    pair_instance_ids=(I0, I1),
    pair_interface_ids=(E0, E1),
    floating_ip_addresses=(IP,),
)
OVERLAY = replace(CONFIG, floating_ip_addresses=(), overlay_cidrs=(CIDR,), overlay_route_table_ids=(TABLE, TABLE2))
ELASTIC = replace(CONFIG, floating_ip_addresses=(), elastic_ip_allocation_ids=(EIP,))


def interface(name: str, instance: str, *addresses: str, **more: Any) -> Interface:
    primary = (f"10.0.0.1{name[-1]}",)
    shape = {"subnet_id": "subnet-a", "zone": "ap-northeast-1a", "vpc_id": "vpc-1", "source_dest_check": False}
    return Interface(
        name, instance, **shape | {"primary": primary, "addresses": dict.fromkeys(primary + addresses, "")} | more
    )


def seen(
    states: str,
    on0: str | None = IP,
    on1: str | None = "",
    *others: Interface,
    zones: str = "aa",
    checks: str = "",
    **more: Any,
) -> Observed:
    """Build a world: states of both instances, and what is on their interfaces; None: the interface is gone."""
    first, second = states.split()
    interfaces = {each.id: each for each in others}
    for number, held in enumerate((on0, on1)):
        if held is not None:
            zone = zones[number]
            interfaces[(E0, E1)[number]] = interface(
                (E0, E1)[number],
                (I0, I1)[number],
                *held.split(),
                subnet_id=f"subnet-{zone}",
                zone=f"ap-northeast-1{zone}",
                source_dest_check=str(number) in checks,
            )
    return Observed({I0: first, I1: second}, interfaces, **more)


def routes(*targets: str, cidr: str = CIDR, local: str = "10.0.0.0/16", vpc: str = "vpc-1") -> dict[str, RouteTable]:
    """Build the tables in order, each with the overlay route to a target, or without it; to GONE it is a black hole."""
    return {
        name: RouteTable(
            name, vpc, {cidr: target} if target else {}, (local,), frozenset({cidr} if target == GONE else ())
        )
        for name, target in zip((TABLE, TABLE2), targets, strict=False)
    }


def eip(interface_id: str = "", private_ip: str = "") -> dict[str, ElasticIp]:
    return {EIP: ElasticIp(EIP, "203.0.113.5", interface_id, private_ip)}


def to1(*names: str, source: str = E0) -> dict[str, Any]:
    """Return the move to the second side, as it is logged."""
    return {"to": E1, "from": dict.fromkeys(names, source)}


R1, R2 = f"{TABLE} {CIDR}", f"{TABLE2} {CIDR}"
STRANGER = interface(FOREIGN, OTHER, IP)
LATELY = {"arrived": {IP: (E0, E1)}}
BOTH = replace(CONFIG, floating_ip_addresses=(IP, IP2))
SIX = replace(CONFIG, floating_ip_addresses=(IP6,))
ADDRESS_AND_EIP = replace(CONFIG, elastic_ip_allocation_ids=(EIP,))

# config, world, the change that is due (None: everything stays), outcome when nothing is due
WORLDS = {
    "the holder runs": (CONFIG, seen("running running"), None),
    "the holder runs alone": (CONFIG, seen("running stopped"), None),
    "the other one came back: nothing goes back": (CONFIG, seen("running running", "", IP), None),
    "the holder is stopping: it is going": (CONFIG, seen("stopping running"), to1(IP)),
    "what has just moved is shown where it was": (CONFIG, seen("stopped running", **LATELY), None),
    "what has just moved is on no interface since": (CONFIG, seen("stopped running", "", **LATELY), to1(IP, source="")),
    "where it has just moved, nothing runs": (CONFIG, seen("running stopped", **LATELY), None),
    "one that has not moved with it": (BOTH, seen("stopped running", f"{IP} {IP2}", **LATELY), to1(IP2)),
    "the holder is stopped": (CONFIG, seen("stopped running"), to1(IP)),
    "the holder is shutting down": (CONFIG, seen("shutting-down running"), to1(IP)),
    "the holder is pending: a start can fail, and the other one runs": (CONFIG, seen("pending running"), to1(IP)),
    "the holder is gone and so is its interface": (CONFIG, seen("terminated running", None), to1(IP, source="")),
    "the holder is stopped and its interface is gone": (CONFIG, seen("stopped running", None), to1(IP, source="")),
    "the holder was forgotten by EC2": (CONFIG, seen("missing running", None), to1(IP, source="")),
    "both are down": (CONFIG, seen("stopped stopped"), None),
    "both are down, one is coming": (CONFIG, seen("stopped pending"), None),
    "nobody has it yet": (CONFIG, seen("running running", ""), {"to": E0, "from": {IP: ""}}),
    "nobody has it, one runs": (CONFIG, seen("stopped running", ""), to1(IP, source="")),
    "one of two is nowhere: it joins the other": (BOTH, seen("running running", "", IP2), to1(IP, source="")),
    "each runs with one of them: nobody moves": (BOTH, seen("running running", IP, IP2), None),
    "only what is on the stopped one moves": (BOTH, seen("stopped running", IP, IP2), to1(IP)),
    "10.0.0.5 is not 10.0.0.50": (CONFIG, seen("running stopped", "10.0.0.5 10.0.0.50"), None),
    "10.0.0.50 on a stopped one, 10.0.0.5 on the other": (CONFIG, seen("stopped running", IP, "10.0.0.5"), to1(IP)),
    "a detached interface holds nothing up": (
        CONFIG,
        replace(seen("running running"), interfaces={E0: interface(E0, "", IP), E1: interface(E1, I1)}),
        to1(IP),
    ),
    "still shown on the stopped one too: it has arrived": (CONFIG, seen("running stopped", IP, IP), None),
    "still shown on the stopped one too, in the other order": (CONFIG, seen("stopped running", IP, IP), None),
    "IPv6 alone": (SIX, seen("stopped running", IP6), to1(IP6)),
    "somebody else has it: hands off": (CONFIG, seen("stopped running", "", "", STRANGER), None),
    "somebody else has one of two": (BOTH, seen("stopped running", IP2, "", STRANGER), to1(IP2)),
    "both routes follow": (OVERLAY, seen("stopped running", "", tables=routes(E0, E0)), to1(R1, R2)),
    "one route had failed": (OVERLAY, seen("stopped running", "", tables=routes(E1, E0)), to1(R2)),
    "roles swapped since a failed run": (
        OVERLAY,
        seen("running stopped", "", tables=routes(E1, E0)),
        {"to": E0, "from": {R1: E1}},
    ),
    "a failed run, and the holder is back: the tables agree again": (
        replace(OVERLAY, floating_ip_addresses=(IP,)),
        seen("running running", "", IP, tables=routes(E1, E0)),
        to1(R2),
    ),
    "the right instance and the wrong interface": (
        OVERLAY,
        seen("stopped running", "", "", interface(E2, I1), tables=routes(E2, E1)),
        to1(R1, source=E2),
    ),
    "a route to an interface that is gone": (
        OVERLAY,
        seen("terminated running", None, "", tables=routes(GONE, E1)),
        to1(R1, source=""),
    ),
    "a route of somebody else": (
        OVERLAY,
        seen("stopped running", "", "", STRANGER, tables=routes(FOREIGN, E0)),
        to1(R2),
    ),
    "a route to a gateway": (OVERLAY, seen("stopped running", "", tables=routes("igw-1", "igw-1")), None),
    "a table without the route": (OVERLAY, seen("stopped running", "", tables=routes("", E0)), to1(R2)),
    "a table that is gone": (OVERLAY, seen("stopped running", "", tables=routes(E0)), to1(R1)),
    "the destination would drop overlay traffic": (
        OVERLAY,
        seen("stopped running", "", checks="1", tables=routes(E0, E0)),
        None,
    ),
    "the stopped one would have, which is no matter": (
        OVERLAY,
        seen("stopped running", "", checks="0", tables=routes(E0, E0)),
        to1(R1, R2),
    ),
    "overlay routes cross zones": (
        OVERLAY,
        seen("stopped running", "", zones="ac", tables=routes(E0, E0)),
        to1(R1, R2),
    ),
    "the Elastic IP follows": (ELASTIC, seen("stopped running", "", elastic=eip(E0, "10.0.0.10")), to1(EIP)),
    "the Elastic IP crosses zones": (
        ELASTIC,
        seen("stopped running", "", zones="ac", elastic=eip(E0, "10.0.0.10")),
        to1(EIP),
    ),
    "the Elastic IP goes with its address": (
        ADDRESS_AND_EIP,
        seen("stopped running", elastic=eip(E0, IP)),
        to1(IP, EIP),
    ),
    "the Elastic IP of somebody else": (
        ELASTIC,
        seen("stopped running", "", "", STRANGER, elastic=eip(FOREIGN, IP)),
        None,
    ),
    "an allocation that is gone": (ELASTIC, seen("stopped running", ""), None),
    "an Elastic IP leads nowhere": (ELASTIC, seen("running running", "", elastic=eip()), {"to": E0, "from": {EIP: ""}}),
    "the only address there has another Elastic IP": (
        ELASTIC,
        replace(
            seen("stopped running", "", elastic=eip(E0, "10.0.0.10")),
            interfaces={
                E0: interface(E0, I0),
                E1: interface(E1, I1, addresses={"10.0.0.11": "eipalloc-99999999"}),
            },
        ),
        None,
    ),
}


@pytest.mark.parametrize(("config", "world", "change"), WORLDS.values(), ids=WORLDS.keys())
def test_decide(config: Config, world: Observed, change: dict[str, Any] | None) -> None:
    decided = decide(config, world)
    assert plain(decided.change) == change, decided.reason
    assert decided.reason.en
    assert not decided.refused or decided.change is None


def test_a_move_is_logged_with_its_sources_as_from() -> None:
    logged = json.dumps(plain(Move(E1, {IP: E0, R1: ""})))
    assert logged == '{"to": "eni-11111111", "from": {"10.0.0.50": "eni-00000000", "rtb-1 192.168.99.1/32": ""}}'


REFUSED = {
    "three instances": (replace(CONFIG, pair_instance_ids=(I0, I1, OTHER)), seen("running running"), "names 3 and"),
    "one interface": (replace(CONFIG, pair_interface_ids=(E0,)), seen("running running"), "PairInterfaceIds 1"),
    "the same instance twice": (replace(CONFIG, pair_instance_ids=(I0, I0)), seen("running running"), f"{I0} twice"),
    "the same interface twice": (replace(CONFIG, pair_interface_ids=(E0, E0)), seen("running running"), f"{E0} twice"),
    "nothing declared": (replace(CONFIG, floating_ip_addresses=()), seen("running running"), "nothing is declared"),
    "cidrs without tables": (replace(CONFIG, overlay_cidrs=(CIDR,)), seen("running running"), "need each other"),
    "tables without cidrs": (replace(CONFIG, overlay_route_table_ids=(TABLE,)), seen("running running"), "each other"),
    "interfaces in the wrong order": (
        replace(CONFIG, pair_interface_ids=(E1, E0)),
        seen("stopped running"),
        f"{E1} of {I1} does not belong to {I0}",
    ),
    "an interface that does not exist": (
        CONFIG,
        seen("running running", IP, None),
        f"there is no {E1}, and {I1} is running",
    ),
    "neither interface exists": (CONFIG, seen("missing missing", None, None), f"neither {E0} nor {E1}"),
    "an instance that EC2 does not know, with its interface": (CONFIG, seen("missing running"), f"does not know {I0}"),
    "two subnets": (
        CONFIG,
        seen("stopped running", zones="ac"),
        f"{E0} is in subnet-a (ap-northeast-1a) and {E1} is in subnet-c (ap-northeast-1c); expected one subnet",
    ),
    "a primary address": (
        replace(CONFIG, floating_ip_addresses=("10.0.0.10",)),
        seen("stopped running"),
        f"10.0.0.10 is the primary address of {E0}",
    ),
    "a primary IPv6 address": (
        SIX,
        replace(
            seen("stopped running"),
            interfaces={E0: interface(E0, I0, IP6, primary=("10.0.0.10", IP6)), E1: interface(E1, I1)},
        ),
        f"{IP6} is the primary address of {E0}",
    ),
    "an address outside the subnet": (
        replace(CONFIG, floating_ip_addresses=("10.0.1.50",)),
        seen("stopped running", subnets={"subnet-a": ("10.0.0.0/24",)}),
        "10.0.1.50 is outside the subnet of the pair; subnet-a has 10.0.0.0/24",
    ),
    "an IPv6 address outside the subnet": (
        SIX,
        seen("stopped running", "", subnets={"subnet-a": ("10.0.0.0/24", "2001:db8:1::/64")}),
        f"{IP6} is outside the subnet",
    ),
    "a network inside the VPC": (
        replace(OVERLAY, overlay_cidrs=("10.0.99.0/24",)),
        seen("stopped running", "", tables=routes(E0, E0, cidr="10.0.99.0/24")),
        "10.0.99.0/24 lies inside the VPC of rtb-1, which has 10.0.0.0/16",
    ),
    "tables of another VPC": (
        OVERLAY,
        seen("stopped running", "", tables=routes(E0, E0, vpc="vpc-2")),
        "rtb-1 is of vpc-2, and the pair of vpc-1",
    ),
    "hands off": (
        CONFIG,
        seen("stopped running", "", "", STRANGER),
        f"{IP} is on {FOREIGN} of {OTHER}, which is neither",
    ),
    "no such allocation": (ELASTIC, seen("running running"), f"there is no {EIP} in this account"),
    "no such table": (OVERLAY, seen("running running", tables=routes(E0)), f"there is no {TABLE2} in this account"),
    "no such route": (OVERLAY, seen("running running", tables=routes(E0, "")), f"{TABLE2} has no route for {CIDR}"),
    "a source/destination check, while all is well": (
        OVERLAY,
        seen("running running", checks="1", tables=routes(E0, E0)),
        f"source/destination check of {E1} is on",
    ),
    "nowhere to go next time": (
        CONFIG,
        seen("running missing", IP, None),
        f"the pair has one side only, {I1} is missing and there is no {E1}",
    ),
    "an interface that was deleted": (
        CONFIG,
        seen("running stopped", IP, None),
        f"the pair has one side only, {I1} is stopped and there is no {E1}",
    ),
}


@pytest.mark.parametrize(("config", "world", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_right_is_refused_in_one_sentence(config: Config, world: Observed, words: str) -> None:
    decided = decide(config, world)
    assert decided.refused
    assert decided.change is None
    assert words in decided.reason.en


SWAPPED = replace(CONFIG, pair_interface_ids=(E1, E0))


@pytest.mark.parametrize(
    ("world", "urgent"),
    [
        (seen("running running"), False),
        (seen("stopped running"), True),
        (seen("running stopped"), False),
        (seen("running running", ""), True),
        (replace(seen("running running"), interfaces={E0: interface(E0, "", IP), E1: interface(E1, I1)}), True),
        (
            replace(
                seen("running running"), interfaces={E0: interface(E0, I0, IP, leaving=True), E1: interface(E1, I1)}
            ),
            True,
        ),
        (seen("running running", "", "", STRANGER), False),
        (replace(seen("running running"), interfaces={E0: interface(E0, OTHER, IP), E1: interface(E1, I1)}), False),
    ],
)
def test_wrong_parameters_are_urgent_while_something_is_where_nothing_runs(world: Observed, urgent: bool) -> None:
    decided = decide(SWAPPED, world)
    assert (decided.refused, decided.urgent) == (True, urgent)


def test_a_network_around_the_vpc_is_no_network_inside_it() -> None:
    config = replace(OVERLAY, overlay_cidrs=("0.0.0.0/0",))
    world = seen("stopped running", "", tables=routes(E0, E0, cidr="0.0.0.0/0"))
    assert plain(decide(config, world).change) == to1(f"{TABLE} 0.0.0.0/0", f"{TABLE2} 0.0.0.0/0")


def test_both_down_is_a_condition_that_lasts() -> None:
    decided = decide(CONFIG, seen("stopped stopping"))
    assert (decided.change, decided.refused, decided.lasting) == (None, False, ("PairDown",))


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("PAIR_INSTANCE_IDS", "i-1,i-2", "PairInstanceIds) has 'i-1', expected instance ids"),
        ("PAIR_INTERFACE_IDS", "eth0,eth1", "PairInterfaceIds) has 'eth0', expected network interface ids"),
        ("FLOATING_IP_ADDRESSES", "10.0.0.500", "FloatingIpAddresses) has '10.0.0.500', expected IP addresses"),
        ("FLOATING_IP_ADDRESSES", "10.0.0.50/32", "has '10.0.0.50/32', expected IP addresses"),
        ("ELASTIC_IP_ALLOCATION_IDS", "203.0.113.5", "ElasticIpAllocationIds) has '203.0.113.5', expected allocation"),
        ("OVERLAY_CIDRS", "192.168.99.1/33", "OverlayCidrs) has '192.168.99.1/33', expected networks like"),
        ("OVERLAY_ROUTE_TABLE_IDS", "main", "OverlayRouteTableIds) has 'main', expected route table ids"),
    ],
)
def test_a_malformed_parameter_is_named(variable: str, text: str, words: str) -> None:
    told = {
        "SERVICE_NAME": "mail server",
        "TOPIC_ARN": "arn",
        "HOLD_PARAMETER": "/pair/hold",
        "TOLD_PARAMETER": "/pair/told/it",
        "PAIR_INSTANCE_IDS": f"{I0},{I1}",
        "PAIR_INTERFACE_IDS": f"{E0},{E1}",
    }
    with pytest.raises(InputError) as refused:
        env.load(Config, told | {variable: text})
    assert words in str(refused.value)


def test_an_ipv6_address_is_known_however_it_is_written() -> None:
    told = {
        "SERVICE_NAME": "x",
        "TOPIC_ARN": "x",
        "HOLD_PARAMETER": "x",
        "TOLD_PARAMETER": "x/told/it",
        "PAIR_INSTANCE_IDS": I0,
        "PAIR_INTERFACE_IDS": E0,
    }
    config = env.load(Config, told | {"FLOATING_IP_ADDRESSES": "2001:DB8:0:0::50, 10.0.0.50"})
    assert config.floating_ip_addresses == (IP6, IP)


# Worlds: the function in this process.


@pytest.fixture
def inside(account: Account) -> Callable[..., Inside]:
    """Return a maker of worlds; looking again costs no time there."""
    return lambda **estate: Inside(account, **estate)


EVERYTHING = {"ipv4": (IP, IP2), "ipv6": 2, "elastic": 1, "overlay": (CIDR, "192.168.98.0/24"), "tables": 2}


def test_everything_moves_in_few_calls_and_is_looked_at_again(inside: Callable[..., Inside]) -> None:
    world = inside(**EVERYTHING)
    world.service.stop(0)
    report = world.run()
    assert report["outcome"] == "changed"
    assert world.sides == {1}
    assert world.writes() == [
        "AssignPrivateIpAddresses",  # all addresses, and the Elastic IP with them
        "UnassignIpv6Addresses",
        "AssignIpv6Addresses",
        *["ReplaceRoute"] * 4,
    ]
    [assigned] = [
        c for c in world.account.calls if c.operation == "AssignPrivateIpAddresses" and c.principal == "kirikae"
    ]
    assert assigned.params["PrivateIpAddresses"] == [IP, IP2]
    assert assigned.params["AllowReassignment"] is True
    assert world.run()["outcome"] == "unchanged"


def test_one_address_costs_five_calls_of_ec2(inside: Callable[..., Inside]) -> None:
    world = inside()
    world.account.lag.off("ec2")  # what does not show yet is asked for again
    world.service.stop(0)
    world.run()
    assert world.calls() == [
        "DescribeInstances",
        "DescribeNetworkInterfaces",
        "DescribeNetworkInterfaces",  # again, just before the write
        "AssignPrivateIpAddresses",
        "DescribeNetworkInterfaces",  # has it arrived?
    ]


def test_a_quiet_tick_costs_three_calls(inside: Callable[..., Inside]) -> None:
    world = inside()
    assert world.run()["outcome"] == "unchanged"
    assert world.calls() == ["DescribeInstances", "DescribeNetworkInterfaces", "DescribeInstanceStatus"]


@pytest.mark.parametrize("state", ["shutting-down", "terminated", "forgotten"])
def test_the_old_interface_may_be_gone(inside: Callable[..., Inside], state: str) -> None:
    world = inside(**EVERYTHING)
    world.service.terminate(0)
    if state != "shutting-down":
        world.passes(1)
    if state == "forgotten":
        forget(world)
    assert world.run()["outcome"] == "changed"
    assert world.sides == {1}
    [eip] = world.account.client("ec2").describe_addresses()["Addresses"]
    assert eip["PrivateIpAddress"] == IP


def forget(world: Inside) -> None:
    """Let EC2 know no more of what was terminated, as it does after an hour."""
    for reservation in world.account.backend("ec2").reservations.values():
        reservation.instances = [each for each in reservation.instances if each.state != "terminated"]


def test_an_ipv6_address_that_the_destination_refuses_goes_back(inside: Callable[..., Inside]) -> None:
    world = inside(ipv4=(), ipv6=1)
    world.service.stop(0)
    to1 = world.service.interface_ids[1]
    world.account.faults.add(
        "ec2", "AssignIpv6Addresses", "PrivateIpAddressLimitExceeded", when=lambda p: p["NetworkInterfaceId"] == to1
    )
    with pytest.raises(UnfinishedError, match="PrivateIpAddressLimitExceeded"):
        world.run()
    assert world.sides == {0}
    assert not world.mails
    world.account.faults.clear()
    world.run()
    assert world.sides == {1}


def test_an_ipv6_address_that_nobody_takes_is_said_and_taken_by_the_next_run(inside: Callable[..., Inside]) -> None:
    world = inside(ipv4=(), ipv6=1)
    world.service.stop(0)
    world.account.faults.add("ec2", "AssignIpv6Addresses", "InternalError", times=2)
    with pytest.raises(UnfinishedError, match=r"assigned to nobody.*nor did eni-"):
        world.run()
    assert world.sides == {None}
    world.run()
    assert world.sides == {1}


def test_an_ipv6_address_that_another_run_unassigned_is_no_error(inside: Callable[..., Inside]) -> None:
    world = inside(ipv4=(), ipv6=1)
    world.service.stop(0)
    ec2, (holder, _), address = world.account.client("ec2"), world.service.interface_ids, world.service.floating[0]
    world.account.before(
        "ec2",
        "UnassignIpv6Addresses",
        lambda: ec2.unassign_ipv6_addresses(NetworkInterfaceId=holder, Ipv6Addresses=[address]),
    )
    world.run()
    assert world.sides == {1}


def test_what_shows_late_is_waited_for(inside: Callable[..., Inside]) -> None:
    world = inside()
    world.service.stop(0)
    world.account.lag.exactly("ec2", 2.0)
    assert world.run()["outcome"] == "changed"
    assert "seen there afterwards" in world.mails[0].body


def test_what_does_not_show_is_not_said_to_have_moved(inside: Callable[..., Inside]) -> None:
    world = inside()
    world.service.stop(0)
    world.account.lag.exactly("ec2", 60.0)
    with pytest.raises(UnfinishedError, match="was not seen on"):
        world.run()
    [mail] = world.mails
    assert "Moved to" not in mail.body
    assert "ATTENTION" in mail.subject
    assert f"{IP}: EC2 accepted it, but it was not seen" in mail.body
    assert "nothing to undo" in mail.body


def test_a_lost_answer_is_no_failure_when_the_address_is_seen(inside: Callable[..., Inside]) -> None:
    world = inside()
    world.service.stop(0)
    world.account.faults.add("ec2", "AssignPrivateIpAddresses", "InternalError", status=500, after=True)
    assert world.run()["outcome"] == "changed"
    assert len(world.mails) == 1


def test_a_table_that_fails_is_named_and_finished_by_the_next_run(inside: Callable[..., Inside]) -> None:
    world = inside(overlay=(CIDR,), tables=3)
    broken = world.service.table_ids[1]
    world.service.stop(0)
    world.account.faults.add(
        "ec2", "ReplaceRoute", "RouteTableLocked", times=1, when=lambda params: params["RouteTableId"] == broken
    )
    with pytest.raises(UnfinishedError, match=rf"1 of 4 did not arrive.*{broken} {CIDR}: .*RouteTableLocked"):
        world.run()
    [first] = world.mails
    assert f"  {IP}, was on" in first.body
    assert f"  {broken} {CIDR}: An error occurred (RouteTableLocked)" in first.body
    world.run()
    assert world.sides == {1}
    second = world.mails[1]
    assert f"  {broken} {CIDR}, was on" in second.body
    assert IP not in second.body


def test_a_refusal_that_lasts_is_mailed_by_its_alarm_not_by_every_run(inside: Callable[..., Inside]) -> None:
    world = inside()
    world.service.stop(0)
    world.account.faults.add("ec2", "AssignPrivateIpAddresses", "PrivateIpAddressLimitExceeded")
    for _ in range(3):
        with pytest.raises(UnfinishedError, match="PrivateIpAddressLimitExceeded"):
            world.run()
    assert not world.mails


def test_an_address_that_somebody_took_meanwhile_is_not_taken_from_him(inside: Callable[..., Inside]) -> None:
    world = inside(ipv4=(IP, IP2))
    world.account.lag.off("ec2")  # what EC2 does not show yet nobody can respect
    ec2 = world.account.client("ec2")
    subnet = world.service.subnet_ids[0]
    stranger = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    world.service.stop(0)
    world.account.before(
        "ssm",
        "GetParameter",
        lambda: ec2.assign_private_ip_addresses(
            NetworkInterfaceId=stranger, PrivateIpAddresses=[IP], AllowReassignment=True
        ),
    )
    world.run()
    assert world.where == {IP: stranger, IP2: 1}
    report = world.run()
    assert report["outcome"] == "refused"
    assert f"hands off: {IP} is on {stranger}" in report["reason"]


@pytest.mark.parametrize("write", ["AssignPrivateIpAddresses", "UnassignIpv6Addresses", "AssignIpv6Addresses"])
def test_two_runs_at_once_end_in_the_same_place(inside: Callable[..., Inside], write: str) -> None:
    world = inside(ipv4=(IP, IP2), ipv6=1)
    world.service.stop(0)
    other: list[str] = []
    world.account.before("ec2", write, lambda: other.append(world.run()["outcome"]))
    world.run()
    assert other == ["changed"]
    assert world.sides == {1}
    assert world.run()["outcome"] == "unchanged"


@pytest.mark.parametrize(
    ("service", "operation"), [("ec2", "AssignPrivateIpAddresses"), ("ssm", "PutParameter"), ("sns", "Publish")]
)
def test_two_runs_at_once_send_one_mail(deployed: Callable[..., Deployed], service: str, operation: str) -> None:
    world = deployed()
    world.passes(2)
    world.account.events.arrivals = lambda _event: ()  # the runs are ours
    world.stops(0)
    world.account.before(service, operation, lambda: world.invoke({"action": "reconcile"}))
    world.invoke({"action": "reconcile"})
    world.passes(3)
    assert (world.sides, len(world.mails)) == ({1}, 1)


def test_a_run_that_finds_everything_moved_has_changed_nothing(deployed: Callable[..., Deployed]) -> None:
    world = deployed()
    world.passes(2)
    world.account.events.arrivals = lambda _event: ()  # the runs are ours
    world.stops(0)
    world.account.lag.catch_up()
    second: list[str] = []
    world.account.before(  # the hold is read between the decision and the act
        "ssm", "GetParameter", lambda: second.append(world.invoke({"action": "reconcile"})["outcome"])
    )
    first = world.invoke({"action": "reconcile"})
    assert (second, first["outcome"], first["change"], world.sides) == (["changed"], "unchanged", None, {1})
    assert len(world.mails) == 1


def test_nothing_goes_to_an_interface_that_is_being_detached(inside: Callable[..., Inside]) -> None:
    world = inside(elastic=1, overlay=(CIDR,))
    world.account.network.detaching(world.service.interface_ids[1])
    world.service.stop(0)
    report = world.run()
    assert (report["outcome"], world.sides) == ("unchanged", {0})
    assert f"{world.service.interface_ids[1]} is being detached" in report["reason"]


def test_an_interface_that_is_being_detached_is_left(inside: Callable[..., Inside]) -> None:
    world = inside(elastic=1, overlay=(CIDR,))
    world.account.network.detaching(world.service.interface_ids[0])
    assert (world.run()["outcome"], world.sides) == ("changed", {1})


def test_nothing_undeclared_is_touched(inside: Callable[..., Inside]) -> None:
    world = inside(ipv4=(IP, "10.0.0.5", "10.0.0.51"), elastic=2, overlay=(CIDR, "192.168.98.0/24"), tables=2)
    world.declare(
        FloatingIpAddresses=IP,
        ElasticIpAllocationIds="",
        OverlayCidrs=CIDR,
        OverlayRouteTableIds=world.service.table_ids[0],
    )
    before = world.where
    world.service.stop(0)
    world.run()
    carried = world.service.allocation_ids[0]  # an Elastic IP goes where its address goes
    assert world.where == before | {IP: 1, carried: 1, f"{world.service.table_ids[0]} {CIDR}": 1}


def test_an_elastic_ip_on_the_primary_address_goes_to_the_other_primary_address(inside: Callable[..., Inside]) -> None:
    world = inside(ipv4=(), elastic=1, zones=2)
    world.service.stop(0)
    world.run()
    [eip] = world.account.client("ec2").describe_addresses()["Addresses"]
    assert (world.sides, eip["PrivateIpAddress"]) == ({1}, "10.0.1.11")
    assert world.run()["outcome"] == "unchanged"


def test_an_elastic_ip_that_would_find_no_room_is_named_before_it_has_to_move(inside: Callable[..., Inside]) -> None:
    world = inside(elastic=2)  # the second leads to the primary address
    ec2, [_, second] = world.account.client("ec2"), world.service.interface_ids
    assert world.run()["outcome"] == "unchanged"
    ec2.associate_address(AllocationId=ec2.allocate_address(Domain="vpc")["AllocationId"], NetworkInterfaceId=second)
    world.account.lag.catch_up()
    report = world.run()
    stranded = world.service.allocation_ids[1]
    assert (report["outcome"], world.sides) == ("refused", {0})
    assert report["reason"].startswith(f"{stranded} would find no private address without an Elastic IP on {second}")
    assert f"--network-interface-id {second} --secondary-private-ip-address-count 1" in report["reason"]
    ec2.assign_private_ip_addresses(NetworkInterfaceId=second, SecondaryPrivateIpAddressCount=1)  # what it says
    world.account.lag.catch_up()
    assert world.run()["outcome"] == "unchanged"
    world.service.stop(0)
    world.account.lag.catch_up()
    assert (world.run()["outcome"], world.sides) == ("changed", {1})
    assert world.run()["outcome"] == "unchanged"


def test_an_elastic_ip_that_is_not_declared_keeps_its_place(inside: Callable[..., Inside]) -> None:
    world = inside(ipv4=(), elastic=1)
    ec2 = world.account.client("ec2")
    other = ec2.allocate_address(Domain="vpc")["AllocationId"]
    ec2.associate_address(AllocationId=other, NetworkInterfaceId=world.service.interface_ids[1])
    world.service.stop(0)
    report = world.run()
    assert report["outcome"] == "refused"
    assert "finds no private address without an Elastic IP" in report["reason"]
    assert not world.writes()


@pytest.mark.parametrize("before", [False, True], ids=["the holder stops", "it is down before the first run"])
def test_an_elastic_ip_that_is_not_declared_stays_on_an_address_that_moves(
    inside: Callable[..., Inside], before: bool
) -> None:
    world = inside(elastic=1)
    ec2, [other] = world.account.client("ec2"), world.service.allocation_ids  # on 10.0.0.50
    world.declare(ElasticIpAllocationIds=ec2.allocate_address(Domain="vpc")["AllocationId"])  # associated with nothing
    if not before:
        world.run()
    world.service.stop(0)
    world.passes(1)
    world.run()
    found = {each["AllocationId"]: each.get("PrivateIpAddress") for each in ec2.describe_addresses()["Addresses"]}
    assert world.where["10.0.0.50"] == 1
    assert found[other] == "10.0.0.50"


def test_a_dry_run_writes_nothing(inside: Callable[..., Inside]) -> None:
    world = inside(**EVERYTHING)
    world.service.stop(0)
    report = world.run({"action": "dry-run"})
    assert report["outcome"] == "dry-run"
    assert report["change"]["from"][IP] == world.service.interface_ids[0]
    assert not world.writes()


def test_a_late_event_of_an_instance_that_runs_again_moves_nothing(inside: Callable[..., Inside]) -> None:
    world = inside()
    stale = {
        "detail-type": "EC2 Instance State-change Notification",
        "time": "2026-11-22T02:00:00Z",
        "detail": {"instance-id": world.service.instance_ids[0], "state": "stopped"},
    }
    assert world.run(stale)["outcome"] == "unchanged"
    assert not world.writes()


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_mail_says_what_stopped_what_moved_what_was_seen_and_how_to_undo_it(
    inside: Callable[..., Inside], language: str
) -> None:
    world = inside(**EVERYTHING)
    world.told["NOTIFICATION_LANGUAGE"] = language
    world.service.stop(0)
    world.run()
    [mail] = world.mails
    (first, second), (_, target) = world.service.instance_ids, world.service.interface_ids
    assert mail.subject == f"[kirikae] mail server: addresses moved to {second}, {first} is stopping"
    expected = {
        "en": [f"{first} is stopping", f"Moved to {target} of {second}", "its operating system must have", IP, CIDR],
        "ja": [
            f"{first} の停止を検知しました (状態: stopping)",
            f"{target} ({second}) へ移動し、移動後の状態を確認しました",
            "OS 側にも",
            "保留",
        ],
    }[language]
    for words in expected:
        assert words in mail.body
    for name in world.where:
        assert name in mail.body
    # The commands of the mail, run as they are, bring everything back.
    world.passes(1)
    world.service.start(0)
    world.passes(1)
    undo(world, mail.body)
    world.account.lag.catch_up()
    assert world.sides == {0}
    assert world.run()["outcome"] == "unchanged"


def undo(world: Inside, body: str) -> None:
    """Run the commands of a mail as the AWS CLI would."""
    for line in body.splitlines():
        if not line.startswith("aws ec2 "):
            continue
        operation, option, region, *words = shlex.split(line)[2:]
        assert (option, region) == ("--region", world.account.region)
        params: dict[str, Any] = {}
        for word in words:
            if word.startswith("--"):
                name = "".join(part.capitalize() for part in word[2:].split("-"))
                params[name] = []
            else:
                params[name].append(word)
        for name, values in params.items():
            plural = name.endswith("Addresses")
            params[name] = values if plural else values[0] if values else True
        getattr(world.account.client("ec2"), operation.replace("-", "_"))(**params)


# Stories: the stack as it is built.


@pytest.fixture
def deployed(account: Account, build: Path) -> Callable[..., Deployed]:
    """Return a maker of protected services, quiet for some minutes."""

    def make(*, parameters: dict[str, str] | None = None, **estate: Any) -> Deployed:
        world = Deployed(account, build, **estate).deploy(**parameters or {})
        world.passes(3)
        return world

    return make


def test_the_first_event_moves_everything_under_the_functions_own_role(deployed: Callable[..., Deployed]) -> None:
    world = deployed(**EVERYTHING)
    world.stops(0)
    assert world.sides == {1}
    assert len(world.mails) == 1
    world.passes(5)  # `stopped`, and ticks
    world.service.start(0)
    world.passes(5)
    assert world.sides == {1}
    world.service.terminate(1)
    world.passes(5)
    assert world.sides == {0}
    assert len(world.mails) == 2
    assert not [call for call in world.account.calls if call.error == "UnauthorizedOperation"]
    assert len(world.alarm_mails("RefusedAlarm")) == 1  # the pair has one side only


def test_a_lost_event_costs_one_tick(deployed: Callable[..., Deployed], monkeypatch: pytest.MonkeyPatch) -> None:
    world = deployed()
    monkeypatch.setattr(world.account.events, "emit", lambda *_: None)
    world.stops(0)
    assert world.sides == {0}
    world.passes(1)
    assert world.sides == {1}


def test_both_down_is_said_once_and_the_first_to_come_back_gets_it(deployed: Callable[..., Deployed]) -> None:
    world = deployed(**EVERYTHING)
    world.stops(0, 1)
    world.passes(10)
    assert world.sides == {0}
    assert not world.mails
    assert len(world.alarm_mails("PairDownAlarm")) == 1
    world.service.start(1)
    world.passes(1)
    assert world.sides == {1}
    assert len(world.mails) == 1
    world.passes(10)
    assert len(world.alarm_mails("PairDownAlarm", "OK")) == 2  # one of the new stack, and the end


def test_a_hold_holds_and_force_passes_it(deployed: Callable[..., Deployed]) -> None:
    world = deployed()
    world.hold(30)
    world.stops(0)
    world.passes(3)
    assert world.sides == {0}
    done = world.invoke({"action": "reconcile", "force": True, "reason": "the disk is gone"})
    assert done["outcome"] == "changed"
    assert world.sides == {1}


def test_a_move_whose_run_dies_between_two_writes_is_told_whole(deployed: Callable[..., Deployed]) -> None:
    world = deployed(elastic=2, overlay=(CIDR,))
    [address] = world.service.floating
    world.passes(2)
    world.account.faults.add("ec2", "ReplaceRoute", None, times=1, kills=True)
    world.stops(0)
    world.passes(4)
    assert world.sides == {1}
    [mail] = world.mails
    assert mail.subject.split(": ", 1)[1].startswith("addresses moved to")
    happened, undo = mail.body.split("■ ")[1], mail.body.split("■ ")[-1]
    for name in world.where:
        assert name in happened
    assert f"--private-ip-addresses {address}" in undo
    assert CIDR in undo


def test_hundreds_of_routes_are_told_once(deployed: Callable[..., Deployed]) -> None:
    networks = tuple(f"192.168.99.{number}/32" for number in range(10))
    world = deployed(ipv4=(), overlay=networks, tables=12, zones=2)
    world.passes(2)
    world.stops(0)
    world.passes(4)
    assert world.sides == {1}
    [mail] = world.mails
    assert mail.body.count("192.168.99.9/32, was on") == 12
    stranger = world.service.stranger("detached")
    route = f"{world.service.table_ids[3]} {networks[4]}"
    world.service.lead(route, NetworkInterfaceId=stranger)
    world.passes(4)
    [told] = [mail.body for mail in world.mails[1:] if "NOT answered" in mail.subject]
    assert (route in told, told.count("192.168.99.")) == (True, 1)


@pytest.mark.parametrize("stays", ["held", "refused"])
def test_every_outage_that_is_not_answered_is_told_not_only_the_first(
    deployed: Callable[..., Deployed], stays: str
) -> None:
    world = deployed(ipv4=("10.0.0.50", "10.0.0.51"))
    address, other = world.service.floating

    def told(subject: str) -> list[Any]:
        return [mail for mail in world.mails if subject in mail.subject]

    detached, stranger = map(world.service.stranger, ("detached", "instance"))
    if stays == "held":
        world.hold(60)
        given = {"NetworkInterfaceId": world.service.interface_ids[0], "PrivateIpAddresses": [address]}
        world.account.client("ec2").unassign_private_ip_addresses(**given)
    else:
        world.service.take(address, stranger)
    world.passes(4)
    assert len(told(f"NOT answered ({stays})")) == 1
    if stays == "held":
        world.stops(0)
    else:
        world.service.take(other, detached)
    world.passes(5)
    first, second = told(f"NOT answered ({stays})")
    assert (other in first.body, other in second.body) == (False, True)


def test_two_zones_are_refused_at_the_first_run_for_private_addresses(deployed: Callable[..., Deployed]) -> None:
    world = deployed(zones=2)
    assert len(world.alarm_mails("RefusedAlarm")) == 1
    report = world.invoke({"action": "reconcile"})
    assert report["outcome"] == "refused"
    assert "ap-northeast-1c" in report["reason"]
    assert "OverlayCidrs" in report["reason"]
    assert not world.mails
    world.stops(0)
    world.passes(2)
    assert not world.writes()
    [mail] = world.mails
    assert mail.subject.endswith("NOT answered (refused): a change is due")


def test_two_zones_work_with_overlay_routes_and_an_elastic_ip(deployed: Callable[..., Deployed]) -> None:
    world = deployed(ipv4=(), elastic=1, overlay=(CIDR,), tables=2, zones=2)
    world.stops(0)
    assert world.sides == {1}


def test_every_sample_event_comes_to_the_same_end(
    deployed: Callable[..., Deployed], every_event: dict[str, Any]
) -> None:
    world = deployed()
    world.hold(60)
    world.stops(0)
    world.passes(1)
    outcomes = {name: world.invoke(event)["outcome"] for name, event in every_event.items() if name != "manual_force"}
    assert set(outcomes.values()) <= {"held", "dry-run"}, outcomes
    assert world.invoke(every_event["manual_force"])["outcome"] == "changed"
    assert world.sides == {1}


def test_a_dry_run_stack_says_at_once_and_once_what_it_would_move(deployed: Callable[..., Deployed]) -> None:
    world = deployed(parameters={"DryRun": "true"})
    world.stops(0)
    expected = ["NOT answered (dry-run): a change is due"]
    assert [mail.subject.split(": ", 1)[1] for mail in world.mails] == expected
    world.passes(10)
    assert world.sides == {0}
    assert [mail.subject.split(": ", 1)[1] for mail in world.mails] == expected


# What cannot be read keeps nothing else where it is.


def test_a_check_of_the_parameters_that_cannot_be_made_stops_no_move(deployed: Callable[..., Deployed]) -> None:
    world = deployed()
    world.hold(5)
    world.service.terminate(0)
    world.passes(3)
    world.account.faults.add("ec2", "DescribeSubnets", "RequestLimitExceeded", status=503)
    world.passes(6)
    assert world.sides == {1}


@pytest.mark.parametrize(
    ("call", "kind", "fails"),
    [
        ("DescribeAddresses", "Elastic IPs", "at once"),
        ("DescribeAddresses", "Elastic IPs", "after the write"),
        ("DescribeRouteTables", "route tables", "at once"),
        ("DescribeRouteTables", "route tables", "after the decision"),
    ],
)
def test_a_kind_that_cannot_be_read_keeps_no_other_and_follows_later(
    account: Account, build: Path, call: str, kind: str, fails: str
) -> None:
    world = Deployed(account, build, elastic=1, overlay=(CIDR,)).deploy()
    world.passes(6)
    skipped = iter(range({"at once": 0, "after the decision": 1, "after the write": 2}[fails]))
    given = {"status": 503, "role": "SecondaryIp", "when": lambda _params: next(skipped, None) is None}
    account.faults.add("ec2", call, "RequestLimitExceeded", **given)
    world.stops(0)
    world.passes(10)
    assert world.where["10.0.0.50"] == 1
    told = len(world.mails)
    assert told == 1
    if fails == "at once":
        assert f"the {kind} cannot be read" in world.mails[0].body
    assert account.alarms.state(world.stack.resources["SecondaryIpReassignmentErrorsAlarm"]).value == "ALARM"
    account.faults.clear()
    world.passes(10)
    assert world.sides == {1}
    assert len(world.mails) <= told + 1


def test_status_checks_that_cannot_be_read_delay_no_move(deployed: Callable[..., Deployed]) -> None:
    world = deployed(parameters={"PairMoveWhenImpaired": "true"})
    world.passes(6)
    world.account.faults.add("ec2", "DescribeInstanceStatus", "RequestLimitExceeded", status=503)
    given = {"NetworkInterfaceId": world.service.interface_ids[0], "PrivateIpAddresses": ["10.0.0.50"]}
    world.account.client("ec2").unassign_private_ip_addresses(**given)
    world.passes(2)
    assert world.sides == {0}
