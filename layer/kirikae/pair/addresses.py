"""Interfaces, routes and Elastic IPs: reads return plain values, writes name their end state.

Addresses are compared as EC2 and `ipaddress` write them, never as parts of a text: 10.0.0.5 is not 10.0.0.50.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import aws
from kirikae.errors import UnfinishedError

# What EC2 answers to unassigning an address that is no longer there, or whose interface is gone.
_NOT_THERE = frozenset({"InvalidParameterValue", "InvalidNetworkInterfaceID.NotFound"})


@dataclass(frozen=True)
class Interface:
    """A network interface; `instance_id` is empty when it is attached to nothing."""

    id: str
    instance_id: str
    subnet_id: str
    zone: str
    vpc_id: str
    source_dest_check: bool
    primary: tuple[str, ...]  # the primary IPv4 address and, where there is one, the primary IPv6 address
    addresses: Mapping[str, str]  # every private address -> allocation id of its Elastic IP, or nothing

    def __str__(self) -> str:
        return f"{self.id} of {self.instance_id}" if self.instance_id else f"{self.id}, attached to nothing"


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
    private, ipv6 = described["PrivateIpAddresses"], described.get("Ipv6Addresses", [])
    primary = [a["PrivateIpAddress"] for a in private if a["Primary"]]
    primary += [a["Ipv6Address"] for a in ipv6 if a.get("IsPrimaryIpv6")]
    addresses = {a["PrivateIpAddress"]: a.get("Association", {}).get("AllocationId", "") for a in private}
    return Interface(
        id=described["NetworkInterfaceId"],
        instance_id=described.get("Attachment", {}).get("InstanceId", ""),
        subnet_id=described["SubnetId"],
        zone=described["AvailabilityZone"],
        vpc_id=described["VpcId"],
        source_dest_check=described["SourceDestCheck"],
        primary=tuple(primary),
        addresses=addresses | {a["Ipv6Address"]: "" for a in ipv6},
    )


def subnet_cidrs(subnet_ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the IPv4 and IPv6 networks of each subnet.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSubnets.html
    """
    found = {}
    for subnet in aws.client("ec2").describe_subnets(SubnetIds=sorted(subnet_ids))["Subnets"]:
        blocks = subnet.get("Ipv6CidrBlockAssociationSet", [])
        found[subnet["SubnetId"]] = (subnet["CidrBlock"], *(block["Ipv6CidrBlock"] for block in blocks))
    return found


def elastic_ips(allocation_ids: Iterable[str]) -> dict[str, ElasticIp]:
    """Return by allocation id those that exist.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeAddresses.html
    """
    found = {}
    for a in _found(aws.client("ec2").describe_addresses, "Addresses", "allocation-id", allocation_ids):
        place = a.get("NetworkInterfaceId", ""), a.get("PrivateIpAddress", "")
        found[a["AllocationId"]] = ElasticIp(a["AllocationId"], a["PublicIp"], *place)
    return found


def route_tables(table_ids: Iterable[str]) -> dict[str, RouteTable]:
    """Return by id those that exist.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeRouteTables.html
    """
    found = _found(aws.client("ec2").describe_route_tables, "RouteTables", "route-table-id", table_ids)
    return {described["RouteTableId"]: _table(described) for described in found}


def _table(described: Mapping[str, Any]) -> RouteTable:
    routes, local = dict[str, str](), list[str]()
    for route in described["Routes"]:
        destination = route.get("DestinationCidrBlock") or route.get("DestinationIpv6CidrBlock", "")
        # Every kind of target has its own key; a route to an instance shows the interface, too, and that one counts.
        targets = [route[key] for key in sorted(route) if re.fullmatch("(?!Instance|Destination).*(Id|Arn)", key)]
        routes[destination] = route.get("NetworkInterfaceId") or next(iter(targets), "nothing")
        if route.get("Origin") == "CreateRouteTable":
            local.append(destination)
    return RouteTable(described["RouteTableId"], described["VpcId"], routes, tuple(local))


def assign(interface_id: str, ipv4: Iterable[str]) -> None:
    """Make the interface hold these secondary addresses, wherever they are now, Elastic IPs and all, in one step.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AssignPrivateIpAddresses.html
    """
    aws.client("ec2").assign_private_ip_addresses(
        NetworkInterfaceId=interface_id, PrivateIpAddresses=list(ipv4), AllowReassignment=True
    )


def move_ipv6(interface_id: str, ipv6: Iterable[str], source_id: str = "") -> None:
    """Make the interface hold these IPv6 addresses; if it does not take them, the source gets them back.

    IPv6 has no reassignment: it takes two calls.  Raises what EC2 answered to the second one.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AssignIpv6Addresses.html
    """
    wanted = list(ipv6)
    if source_id:
        try:
            aws.client("ec2").unassign_ipv6_addresses(NetworkInterfaceId=source_id, Ipv6Addresses=wanted)
        except BotoCoreError:  # no answer; if it had no effect, the next call is refused and nothing is lost
            pass
        except ClientError as error:
            if error.response["Error"]["Code"] not in _NOT_THERE:
                raise
    try:
        aws.client("ec2").assign_ipv6_addresses(NetworkInterfaceId=interface_id, Ipv6Addresses=wanted)
    except (ClientError, BotoCoreError) as error:  # raised again, unless they have arrived: no answer, or another run
        found = interfaces("network-interface-id", [interface_id])
        if interface_id in found and found[interface_id].addresses.keys() >= set(wanted):
            return
        if source_id:
            _give_back(source_id, wanted, error)
        raise


def _give_back(source_id: str, ipv6: list[str], refused: Exception) -> None:
    """Assign the addresses back to their source; raise UnfinishedError if that fails too and nobody holds them."""
    try:
        aws.client("ec2").assign_ipv6_addresses(NetworkInterfaceId=source_id, Ipv6Addresses=ipv6)
    except (ClientError, BotoCoreError) as error:
        raise UnfinishedError(f"assigned to nobody: {refused}; nor did {source_id} take it back: {error}") from error


def associate(allocation_id: str, interface_id: str, address: str) -> None:
    """Make the Elastic IP lead to a private address of the interface.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AssociateAddress.html
    """
    aws.client("ec2").associate_address(
        AllocationId=allocation_id, NetworkInterfaceId=interface_id, PrivateIpAddress=address, AllowReassociation=True
    )


def replace_route(table_id: str, cidr: str, interface_id: str) -> None:
    """Make the existing route lead to the interface.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ReplaceRoute.html
    """
    destination = "DestinationIpv6CidrBlock" if ":" in cidr else "DestinationCidrBlock"
    aws.client("ec2").replace_route(RouteTableId=table_id, NetworkInterfaceId=interface_id, **{destination: cidr})
