"""Parameters that cannot be right, with the account in which they are wrong: what the readers show is refused."""

from collections.abc import Callable
from typing import Any

import pytest
from pair_tools import Inside

from sandbox.account import Account

CIDR = "192.168.99.1/32"
OVERLAY: dict[str, Any] = {"ipv4": (), "overlay": (CIDR,), "tables": 2}


@pytest.fixture
def inside(account: Account) -> Callable[..., Inside]:
    """Return a maker of worlds."""
    return lambda **estate: Inside(account, **estate)


def refused(world: Inside, words: str) -> None:
    """Run once: it says this, and writes nothing."""
    report = world.run()
    assert report["outcome"] == "refused", report["reason"]
    assert words in report["reason"]
    assert not world.writes()


def other_vpc_table(world: Inside) -> str:
    vpc = world.account.client("ec2").create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    return str(world.account.client("ec2").create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"])


DECLARED: dict[str, tuple[dict[str, Any], dict[str, Callable[[Inside], str]], str]] = {
    "three instances": (
        {},
        {"PairInstanceIds": lambda w: ",".join((*w.service.instance_ids, "i-0123456789abcdef0"))},
        "names 3 and",
    ),
    "the same instance twice": ({}, {"PairInstanceIds": lambda w: ",".join([w.service.instance_ids[0]] * 2)}, "twice"),
    "cidrs without tables": ({}, {"OverlayCidrs": lambda _: CIDR}, "need each other"),
    "nothing declared": ({}, {"FloatingIpAddresses": lambda _: ""}, "nothing is declared"),
    "the wrong order": (
        {},
        {"PairInterfaceIds": lambda w: ",".join(w.service.interface_ids[::-1])},
        "does not belong to",
    ),
    "no such interface": (
        {},
        {"PairInterfaceIds": lambda w: f"{w.service.interface_ids[0]},eni-0123456789abcdef0"},
        "there is no eni-0123456789abcdef0, and",
    ),
    "neither interface": ({}, {"PairInterfaceIds": lambda _: "eni-0123456789abcdef0,eni-0123456789abcdef1"}, "neither"),
    "an unknown instance": (
        {},
        {"PairInstanceIds": lambda w: f"i-0123456789abcdef0,{w.service.instance_ids[1]}"},
        "i-0123456789abcdef0",
    ),
    "two subnets": ({"zones": 2}, {}, "cannot move between subnets"),
    "a primary address": ({}, {"FloatingIpAddresses": lambda _: "10.0.0.10"}, "10.0.0.10 is the primary address"),
    "outside the subnet": ({}, {"FloatingIpAddresses": lambda _: "10.9.0.1"}, "10.9.0.1 is outside the subnet"),
    "inside the VPC": (OVERLAY, {"OverlayCidrs": lambda _: "10.0.99.0/24"}, "10.0.99.0/24 lies inside the VPC"),
    "a table of another VPC": (OVERLAY, {"OverlayRouteTableIds": other_vpc_table}, "and the pair of vpc-"),
    "no such table": (
        OVERLAY,
        {"OverlayRouteTableIds": lambda _: "rtb-0123456789abcdef0"},
        "there is no rtb-0123456789abcdef0",
    ),
    "no such route": (OVERLAY, {"OverlayCidrs": lambda _: "192.168.77.0/24"}, "has no route for 192.168.77.0/24"),
    "no such allocation": (
        {},
        {"ElasticIpAllocationIds": lambda _: "eipalloc-0123456789abcdef0"},
        "there is no eipalloc-0123456789abcdef0",
    ),
}


@pytest.mark.parametrize(("estate", "declared", "words"), DECLARED.values(), ids=DECLARED.keys())
def test_what_cannot_be_right_is_refused(
    inside: Callable[..., Inside], estate: dict[str, Any], declared: dict[str, Callable[[Inside], str]], words: str
) -> None:
    world = inside(**estate)
    world.declare(**{name: made(world) for name, made in declared.items()})
    refused(world, words)


def test_a_source_destination_check_is_named_with_its_remedy(inside: Callable[..., Inside]) -> None:
    world = inside(**OVERLAY)
    [_, second] = world.service.interface_ids
    ec2 = world.account.client("ec2")
    ec2.modify_network_interface_attribute(NetworkInterfaceId=second, SourceDestCheck={"Value": True})
    refused(world, f"--network-interface-id {second} --no-source-dest-check")
    world.service.stop(0)
    world.account.lag.catch_up()
    refused(world, f"would be dropped by {second}")


def test_a_pair_of_one_is_named(inside: Callable[..., Inside]) -> None:
    world = inside()
    world.service.terminate(1)
    world.passes(1)
    refused(world, "the pair has one side only")


def test_a_side_whose_interface_is_attached_to_nothing_is_named_before_it_is_needed(
    inside: Callable[..., Inside],
) -> None:
    world = inside()
    ec2, [first, second] = world.account.client("ec2"), world.service.instance_ids
    given = {"SubnetId": world.service.subnet_ids[0]}
    [here, there] = [ec2.create_network_interface(**given)["NetworkInterface"]["NetworkInterfaceId"] for _ in "12"]
    ec2.attach_network_interface(NetworkInterfaceId=here, InstanceId=first, DeviceIndex=1)
    world.service.take("10.0.0.50", here)
    world.declare(PairInterfaceIds=f"{here},{there}")
    world.account.lag.catch_up()
    refused(world, f"{second} is running, but {there} is not attached to it; attach {there} to {second}")
    ec2.attach_network_interface(NetworkInterfaceId=there, InstanceId=second, DeviceIndex=1)
    world.account.lag.catch_up()
    assert world.run()["outcome"] == "unchanged"
    world.account.network.detaching(there)
    refused(world, f"{there} is being detached from it; attach {there} to {second}")


def test_an_instance_that_ec2_does_not_show_yet_has_its_interface(inside: Callable[..., Inside]) -> None:
    world = inside()
    first, _ = world.service.instance_ids
    for reservation in world.account.backend("ec2").reservations.values():
        reservation.instances = [each for each in reservation.instances if each.id != first]
    refused(world, f"EC2 does not know {first}")


def test_routes_that_disagree_follow_the_side_that_holds_more(inside: Callable[..., Inside]) -> None:
    world = inside(overlay=(CIDR,), tables=2)
    first, _ = world.service.table_ids
    world.service.take(f"{first} {CIDR}", world.service.interface_ids[1])
    assert world.run()["outcome"] == "changed"
    assert world.sides == {0}
