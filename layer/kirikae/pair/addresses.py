"""Interfaces, routes and Elastic IPs, read as plain values.

Addresses are compared as EC2 and `ipaddress` write them, never as parts of a text: 10.0.0.5 is not 10.0.0.50.  EC2
leaves out what a thing does not have, so nothing but its id is required of an answer.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kirikae import aws


@dataclass(frozen=True)
class Interface:
    """A network interface; `instance_id` is empty when it is attached to nothing, or to something that AWS manages.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkInterfaceAttachment.html
    """

    id: str
    instance_id: str
    subnet_id: str
    zone: str
    vpc_id: str
    source_dest_check: bool
    primary: tuple[str, ...]  # the primary IPv4 address and, where there is one, the primary IPv6 address
    addresses: Mapping[str, str]  # every private address -> allocation id of its Elastic IP, or nothing
    leaving: bool = False  # it is being detached, which can take long where the operating system hangs
    owner: str = ""  # who else it is attached to, in AWS's words: `amazon-elb (ELB net/name/0123456789abcdef)`

    def __str__(self) -> str:
        holder = self.instance_id or self.owner
        return f"{self.id} of {holder}" if holder else f"{self.id}, attached to nothing"


@dataclass(frozen=True)
class ElasticIp:
    """An Elastic IP and where it is associated; both are empty when it is not."""

    allocation_id: str
    public_ip: str
    interface_id: str = ""
    private_ip: str = ""


@dataclass(frozen=True)
class RouteTable:
    """A route table of a VPC; `local` are the networks of the VPC itself."""

    id: str
    vpc_id: str
    routes: Mapping[str, str]  # destination -> id of an interface, or of whatever else a route can lead to
    local: tuple[str, ...]
    blackholes: frozenset[str] = frozenset()  # destinations whose target is gone, detached or stopped


def interfaces(filter_name: str, values: Iterable[str], vpc_id: str = "") -> dict[str, Interface]:
    """Return by id the interfaces that a filter finds; unlike a list of ids, it does not fail for those that are gone.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNetworkInterfaces.html
    """
    call = aws.client("ec2").describe_network_interfaces
    found = _found(call, "NetworkInterfaces", filter_name, values, vpc_id)
    return {described["NetworkInterfaceId"]: _interface(described) for described in found}


def _found(call: Any, key: str, filter_name: str, values: Iterable[str], vpc_id: str = "") -> list[dict[str, Any]]:
    """Return what EC2 describes by a filter, in a VPC if one is named; without values nothing is asked."""
    filters = [{"Name": filter_name, "Values": sorted(values)}]
    filters += [{"Name": "vpc-id", "Values": [vpc_id]}] if vpc_id else []
    return list(call(Filters=filters)[key]) if filters[0]["Values"] else []


def _interface(described: Mapping[str, Any]) -> Interface:
    """Read an interface; one in an IPv6-only subnet has no private IPv4 address at all."""
    private, ipv6 = described.get("PrivateIpAddresses", []), described.get("Ipv6Addresses", [])
    primary = [a["PrivateIpAddress"] for a in private if a.get("Primary")]
    primary += [a["Ipv6Address"] for a in ipv6 if a.get("IsPrimaryIpv6")]
    addresses = {a["PrivateIpAddress"]: a.get("Association", {}).get("AllocationId", "") for a in private}
    attachment, description = described.get("Attachment", {}), described.get("Description", "")
    owner = "" if "InstanceId" in attachment else attachment.get("InstanceOwnerId", "")
    return Interface(
        id=described["NetworkInterfaceId"],
        instance_id=attachment.get("InstanceId", ""),
        subnet_id=described.get("SubnetId", ""),
        zone=described.get("AvailabilityZone", ""),
        vpc_id=described.get("VpcId", ""),
        source_dest_check=described.get("SourceDestCheck", False),
        primary=tuple(primary),
        addresses=addresses | {a["Ipv6Address"]: "" for a in ipv6},
        leaving=attachment.get("Status") == "detaching",
        owner=f"{owner} ({description})" if owner and description else owner,
    )


def subnet_cidrs(subnet_ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the networks of each subnet: IPv4, IPv6 or both.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSubnets.html
    """
    found = {}
    for subnet in aws.client("ec2").describe_subnets(SubnetIds=sorted(subnet_ids))["Subnets"]:
        blocks = [subnet, *subnet.get("Ipv6CidrBlockAssociationSet", [])]
        cidrs = [block.get(key) for block in blocks for key in ("CidrBlock", "Ipv6CidrBlock")]
        found[subnet["SubnetId"]] = tuple(filter(None, cidrs))
    return found


def elastic_ips(allocation_ids: Iterable[str]) -> dict[str, ElasticIp]:
    """Return by allocation id those that exist.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeAddresses.html
    """
    found = {}
    for a in _found(aws.client("ec2").describe_addresses, "Addresses", "allocation-id", allocation_ids):
        place = a.get("NetworkInterfaceId", ""), a.get("PrivateIpAddress", "")
        found[a["AllocationId"]] = ElasticIp(a["AllocationId"], a.get("PublicIp", ""), *place)
    return found


def route_tables(table_ids: Iterable[str]) -> dict[str, RouteTable]:
    """Return by id those that exist.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeRouteTables.html
    """
    found = _found(aws.client("ec2").describe_route_tables, "RouteTables", "route-table-id", table_ids)
    return {described["RouteTableId"]: _table(described) for described in found}


_STATIC = "CreateRoute"  # the origin of a route that is not propagated, besides those of the table itself


def _table(described: Mapping[str, Any]) -> RouteTable:
    """Read a route table; of two routes for one network, the static one counts, and the propagated one is idle.

    https://docs.aws.amazon.com/vpc/latest/userguide/route-tables-priority.html
    """
    routes, local, blackholes = dict[str, str](), list[str](), set[str]()
    for route in sorted(
        described.get("Routes", []), key=lambda row: row.get("Origin", _STATIC) in ("CreateRouteTable", _STATIC)
    ):
        destination = route.get("DestinationCidrBlock") or route.get("DestinationIpv6CidrBlock", "")
        routes[destination] = _target(route)
        if route.get("Origin") == "CreateRouteTable":
            local.append(destination)
        blackholes.discard(destination)
        if route.get("State") == "blackhole":
            blackholes.add(destination)
    vpc_id = described.get("VpcId", "")
    return RouteTable(described["RouteTableId"], vpc_id, routes, tuple(local), frozenset(blackholes))


def _target(route: Mapping[str, Any]) -> str:
    """Return what the route leads to; every kind of target has its own key, and some are yet to come.

    A route to an instance shows the interface, too, and that one counts.
    """
    others = [route[key] for key in sorted(route) if re.fullmatch("(?!Instance|Destination).*(Id|Arn)", key)]
    found = [route.get("NetworkInterfaceId"), *others, route.get("InstanceId")]
    return next(filter(None, found), "" if route.get("State") == "blackhole" else "something unknown")
