"""What is declared may be on something of somebody else: it stays there, is named once, and the rest moves.

The strangers are in the account, so that what is decided about them is what the readers show of them.
"""

import ipaddress
from collections.abc import Callable
from pathlib import Path

import pytest
from pair_tools import Deployed, Inside

from sandbox.account import Account

CIDR, OTHER_CIDR = "192.168.99.1/32", "192.168.98.0/24"
EVERYTHING = {"ipv4": ("10.0.0.50", "10.0.0.51"), "ipv6": 1, "elastic": 2, "overlay": (CIDR, OTHER_CIDR), "tables": 2}
KINDS = ("instance", "detached", "load balancer", "NAT gateway")


@pytest.fixture
def inside(account: Account) -> Callable[..., Inside]:
    """Return a maker of worlds."""
    return lambda **estate: Inside(account, **estate)


def declared(world: Inside, kind: str) -> str:
    """Return one declared thing of a kind."""
    service = world.service
    return {
        "address": service.floating[0],
        "IPv6 address": service.floating[-1],
        "Elastic IP": (*service.allocation_ids, "")[0],
        "route": f"{(*service.table_ids, '')[0]} {CIDR}",
    }[kind]


@pytest.mark.parametrize("what", ["address", "IPv6 address", "Elastic IP", "route"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_stranger_has_stays_with_it_and_the_rest_moves(
    inside: Callable[..., Inside], what: str, kind: str
) -> None:
    world = inside(**EVERYTHING)
    name, stranger = declared(world, what), world.service.stranger(kind)
    world.service.take(name, stranger)
    # The Elastic IP of an address goes where the address goes.
    carried = {name, *world.service.allocation_ids[:1]} if what == "address" else {name}
    world.service.stop(0)
    assert world.run()["outcome"] == "changed"
    assert {each for each, side in world.where.items() if side == stranger} == carried
    assert {side for each, side in world.where.items() if each not in carried} == {1}
    [mail] = world.mails
    assert f"hands off: {name} is on {stranger}" in mail.body
    report = world.run()
    assert report["outcome"] == "refused"  # a lasting condition: its alarm mails it, not every run
    assert len(world.mails) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_stranger_is_named_as_what_it_is(inside: Callable[..., Inside], kind: str) -> None:
    world = inside()
    stranger = world.service.stranger(kind)
    world.service.take("10.0.0.50", stranger)
    words = {
        "instance": f"{stranger} of i-",
        "detached": f"{stranger}, attached to nothing",
        "load balancer": f"{stranger} of amazon-elb (ELB net/other/0123456789abcdef)",
        "NAT gateway": f"{stranger} of amazon-aws",
    }[kind]
    report = world.run()
    assert report["outcome"] == "refused"
    assert words in report["reason"]


@pytest.mark.parametrize("kind", ["NAT gateway", "transit gateway", "internet gateway", "peering", "another account"])
def test_a_route_to_something_else_is_left(inside: Callable[..., Inside], kind: str) -> None:
    world = inside(overlay=(CIDR, OTHER_CIDR), tables=2)
    service, ec2 = world.service, world.account.client("ec2")
    route = f"{service.table_ids[0]} {CIDR}"
    if kind == "NAT gateway":
        target = {"NatGatewayId": service.nat_gateway(service.subnet_ids[0])["NatGatewayId"]}
    elif kind == "transit gateway":
        target = {"TransitGatewayId": ec2.create_transit_gateway()["TransitGateway"]["TransitGatewayId"]}
    elif kind == "internet gateway":
        target = {"GatewayId": ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]}
    elif kind == "peering":
        other = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
        asked = ec2.create_vpc_peering_connection(VpcId=service.vpc_id, PeerVpcId=other)["VpcPeeringConnection"]
        target = {"VpcPeeringConnectionId": asked["VpcPeeringConnectionId"]}
    else:
        interface = service.stranger("instance")
        world.account.network.foreign.add(interface)
        target = {"NetworkInterfaceId": interface}
    service.lead(route, **target)
    service.stop(0)
    world.run()
    [led] = [
        shown
        for shown in ec2.describe_route_tables(RouteTableIds=[service.table_ids[0]])["RouteTables"][0]["Routes"]
        if shown.get("DestinationCidrBlock") == CIDR
    ]
    assert target.items() <= led.items()
    assert {side for name, side in world.where.items() if name != route} == {1}
    assert f"hands off: {route} is on {next(iter(target.values()))}" in world.mails[0].body


def test_a_route_to_an_interface_that_is_gone_is_ours_to_lead(inside: Callable[..., Inside]) -> None:
    world = inside(overlay=(CIDR,))
    ec2, route = world.account.client("ec2"), f"{world.service.table_ids[0]} {CIDR}"
    gone = world.service.stranger("detached")
    world.service.take(route, gone)
    ec2.delete_network_interface(NetworkInterfaceId=gone)
    assert world.run()["outcome"] == "changed"
    assert world.sides == {0}


def test_the_same_address_in_another_vpc_is_another_address(inside: Callable[..., Inside]) -> None:
    world = inside()
    ec2 = world.account.client("ec2")
    other = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=other, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    ec2.create_network_interface(SubnetId=subnet, PrivateIpAddress="10.0.0.50")
    world.service.terminate(0)
    world.passes(1)
    assert world.run()["outcome"] == "changed"
    assert world.mails[0].body.count("10.0.0.50, was nowhere") == 1


def test_an_elastic_ip_on_an_interface_of_another_vpc_is_left(inside: Callable[..., Inside]) -> None:
    world = inside(ipv4=("10.0.0.50",), elastic=1)
    ec2 = world.account.client("ec2")
    other = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=other, CidrBlock="10.7.0.0/24")["Subnet"]["SubnetId"]
    stranger = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    [eip] = world.service.allocation_ids
    world.service.take(eip, stranger)
    world.service.stop(0)
    world.run()
    assert world.where == {"10.0.0.50": 1, eip: stranger}


def test_a_stranger_is_told_of_once_by_its_alarm(account: Account, build: Path) -> None:
    world = Deployed(account, build, **EVERYTHING).deploy()
    world.passes(3)
    stranger = world.service.stranger("instance")
    [eip] = world.service.allocation_ids[1:]
    world.service.take(eip, stranger)
    world.passes(10)
    assert world.where[eip] == stranger
    assert len(world.alarm_mails("RefusedAlarm")) == 1
    assert len([mail for mail in account.mails if eip in mail.body]) <= 1


# Without IPv4, and with more than one way to be refused.


@pytest.mark.parametrize("how", ["stop", "terminate"])
def test_a_pair_in_ipv6_only_subnets_has_no_private_address(inside: Callable[..., Inside], how: str) -> None:
    world = inside(ipv4=(), ipv6=2, ipv6_only=True)
    assert world.run()["outcome"] == "unchanged"
    getattr(world.service, how)(0)
    world.account.lag.catch_up()
    if how == "terminate":
        world.passes(1)
    assert world.run()["outcome"] == "changed"
    assert world.sides == {1}


def test_an_address_outside_an_ipv6_only_subnet_is_named(inside: Callable[..., Inside]) -> None:
    world = inside(ipv4=(), ipv6=1, ipv6_only=True)
    world.declare(FloatingIpAddresses="2001:db8::50")
    report = world.run()
    assert report["outcome"] == "refused"
    assert "2001:db8::50 is outside the subnet of the pair" in report["reason"]


FIVE = tuple(str(ipaddress.ip_address("10.0.0.50") + number) for number in range(5))


@pytest.mark.parametrize("partial", [False, True])
def test_what_can_move_moves_when_there_is_room_for_three_of_five(inside: Callable[..., Inside], partial: bool) -> None:
    world = inside(ipv4=FIVE, elastic=5)
    account, ec2, there = world.account, world.account.client("ec2"), world.service.interface_ids[1]
    account.network.partial = partial
    limit = account.backend("ec2").describe_instance_types(["t3.medium"])[0]["NetworkInfo"]["Ipv4AddressesPerInterface"]
    others = [f"10.0.0.{200 + number}" for number in range(limit - 4)]
    ec2.assign_private_ip_addresses(NetworkInterfaceId=there, PrivateIpAddresses=others)
    world.service.stop(0)
    with pytest.raises(Exception, match=r"4 of 10 did not arrive.*PrivateIpAddressLimitExceeded"):
        world.run()
    assert sorted(name for name, side in world.where.items() if side == 1) == sorted(
        [*FIVE[:3], *world.service.allocation_ids[:3]]
    )
    [mail] = world.mails
    for number, (address, allocation) in enumerate(zip(FIVE, world.service.allocation_ids, strict=True)):
        assert (f"  {address}, was on" in mail.body) == (number < 3)
        assert (f"  {address}: An error occurred (PrivateIpAddressLimitExceeded)" in mail.body) == (number >= 3)
        assert (f"  {allocation}: goes with {address}" in mail.body) == (number >= 3)
    for _ in range(3):
        with pytest.raises(Exception, match="4 of 4 did not arrive"):
            world.run()
    assert len(world.mails) == 1


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("version", [4, 6])
def test_one_address_that_ec2_refuses_keeps_no_other(
    inside: Callable[..., Inside], partial: bool, version: int
) -> None:
    world = inside(ipv4=FIVE if version == 4 else ("10.0.0.50",), ipv6=0 if version == 4 else 5)
    world.account.network.partial = partial
    names = [name for name in world.service.floating if (":" in name) == (version == 6)]
    refused, there = names[2], world.service.interface_ids[1]
    operation, member = (
        ("AssignPrivateIpAddresses", "PrivateIpAddresses") if version == 4 else ("AssignIpv6Addresses", "Ipv6Addresses")
    )
    world.service.stop(0)
    world.account.faults.add(
        "ec2",
        operation,
        "InvalidParameterValue",
        message="address is in use",
        when=lambda params: refused in params[member] and params["NetworkInterfaceId"] == there,
    )
    with pytest.raises(Exception, match=rf"1 of \d did not arrive.*{refused}: .*address is in use"):
        world.run()
    assert {name for name, side in world.where.items() if side != 1} == {refused}
    assert world.where[refused] == 0
    [mail] = world.mails
    assert f"  {refused}: An error occurred (InvalidParameterValue)" in mail.body


# What is written is told, whether or not it can be looked at.


@pytest.mark.parametrize("answer", ["RequestLimitExceeded", "InternalError", "UnauthorizedOperation", None])
def test_a_move_that_cannot_be_looked_at_is_told(inside: Callable[..., Inside], answer: str | None) -> None:
    world = inside(ipv4=("10.0.0.50",), ipv6=1)
    world.service.stop(0)
    looks = iter(range(100))
    world.account.faults.add(
        "ec2", "DescribeNetworkInterfaces", answer, status=503, after=answer is None, when=lambda _: next(looks) >= 2
    )
    with pytest.raises(Exception, match="did not arrive"):
        world.run()
    assert world.sides == {1}
    [mail] = world.mails
    for name in world.where:
        assert f"  {name}: written, not yet seen" in mail.body
    assert next(looks) < 60, "looking again is bounded"
    world.account.faults.clear()
    assert world.run()["outcome"] == "unchanged"
    assert len(world.mails) == 1


def test_a_write_without_an_answer_that_cannot_be_looked_at_is_told(inside: Callable[..., Inside]) -> None:
    world = inside()
    world.service.stop(0)
    looks = iter(range(100))
    world.account.faults.add("ec2", "AssignPrivateIpAddresses", "InternalError", status=500, after=True)
    world.account.faults.add(
        "ec2", "DescribeNetworkInterfaces", "RequestLimitExceeded", status=503, when=lambda _: next(looks) >= 2
    )
    with pytest.raises(Exception, match="did not arrive"):
        world.run()
    assert len(world.mails) == 1


def test_an_ipv6_address_that_arrives_without_an_answer_is_not_said_to_be_lost(inside: Callable[..., Inside]) -> None:
    world = inside(ipv4=(), ipv6=1)
    world.service.stop(0)
    there = world.service.interface_ids[1]
    answer = {"when": lambda params: params["NetworkInterfaceId"] == there}
    world.account.faults.add("ec2", "AssignIpv6Addresses", "PrivateIpAddressLimitExceeded", **answer)
    with pytest.raises(Exception, match="PrivateIpAddressLimitExceeded"):
        world.run()
    world.account.faults.clear()
    world.account.lag.exactly("ec2", 5)
    world.account.faults.add("ec2", "AssignIpv6Addresses", "InternalError", status=500, after=True, **answer)
    assert world.run()["outcome"] == "changed"
    assert world.sides == {1}


def test_an_ipv6_address_is_not_lost_when_the_look_between_fails(inside: Callable[..., Inside]) -> None:
    world = inside(ipv4=(), ipv6=1)
    world.service.stop(0)
    there, looks = world.service.interface_ids[1], iter(range(100))
    world.account.faults.add(
        "ec2", "AssignIpv6Addresses", "PrivateIpAddressLimitExceeded", when=lambda p: p["NetworkInterfaceId"] == there
    )
    world.account.faults.add(
        "ec2", "DescribeNetworkInterfaces", "RequestLimitExceeded", when=lambda _: next(looks) >= 2
    )
    with pytest.raises(Exception, match="PrivateIpAddressLimitExceeded"):
        world.run()
    assert world.sides == {0}


@pytest.mark.parametrize("first", [False, True], ids=["shown last", "shown first"])
def test_a_route_that_a_vpn_advertises_too_moves_as_if_it_did_not(inside: Callable[..., Inside], first: bool) -> None:
    world = inside(ipv4=(), overlay=(CIDR,))
    world.account.network.propagate(world.service.table_ids[0], CIDR, "vgw-0123456789abcdef0", first=first)
    assert world.run()["outcome"] == "unchanged"
    world.service.stop(0)
    world.passes(1)
    assert world.run()["outcome"] == "changed"
    assert world.run()["outcome"] == "unchanged"
