"""Where addresses and routes of the sandbox do as AWS's do and moto does not. G1, G6: numbers of the facts."""

import botocore.exceptions
import pytest
from sandbox_tools import error_of

FLOATING = "10.0.0.100"
FLOATING_IPV6 = "2600:1f14:1::100"


@pytest.fixture
def vpc(ec2):
    return ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]


@pytest.fixture
def pair(account, ec2, vpc):
    """The primary interfaces of two running instances in one subnet, as described."""
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24", Ipv6CidrBlock="2600:1f14:1::/64")["Subnet"]
    ec2.run_instances(
        ImageId="ami-0123456789abcdef0", InstanceType="t3.micro", MinCount=2, MaxCount=2, SubnetId=subnet["SubnetId"]
    )
    account.advance(60)
    return tuple(ec2.describe_network_interfaces()["NetworkInterfaces"])


@pytest.fixture
def first(pair):
    return pair[0]["NetworkInterfaceId"]


@pytest.fixture
def second(pair):
    return pair[1]["NetworkInterfaceId"]


def assign(ec2, interface, *addresses, **more):
    return ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, PrivateIpAddresses=list(addresses), **more)


def secondary(ec2, interface):
    (found,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"]
    return [address["PrivateIpAddress"] for address in found["PrivateIpAddresses"] if not address.get("Primary")]


# Secondary private addresses.


def test_an_address_moves_with_reassignment_only(account, ec2, first, second):  # G1, G3
    answer = assign(ec2, first, FLOATING)
    assert [address["PrivateIpAddress"] for address in answer["AssignedPrivateIpAddresses"]] == [FLOATING]
    with pytest.raises(botocore.exceptions.ClientError, match="move is not allowed"):
        assign(ec2, second, FLOATING)
    assert (secondary(ec2, first), secondary(ec2, second)) == ([FLOATING], [])
    assign(ec2, second, FLOATING, AllowReassignment=True)
    assert (secondary(ec2, first), secondary(ec2, second)) == ([], [FLOATING])
    assert account.network.holder(FLOATING) == second


def test_what_ec2_chooses_itself_is_nobodys_address(account, ec2, first, second, monkeypatch):
    drawn = iter(["10.0.0.255", "10.0.0.3", FLOATING, "10.0.0.77"])
    monkeypatch.setattr("moto.ec2.models.elastic_network_interfaces.random_private_ip", lambda *_: next(drawn))
    assign(ec2, first, FLOATING)
    [described] = ec2.describe_network_interfaces(NetworkInterfaceIds=[first])["NetworkInterfaces"]
    subnet = described["SubnetId"]
    made = [ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"] for _ in range(4)]
    ec2.assign_private_ip_addresses(NetworkInterfaceId=second, SecondaryPrivateIpAddressCount=1)
    known = [each["PrivateIpAddress"] for each in ec2.describe_network_interfaces()["NetworkInterfaces"]]
    assert account.network.holder(FLOATING) == first
    assert account.network.holder("10.0.0.77") == made[-1]
    assert len({*known, *secondary(ec2, second)}) == len(known) + 1
    assert {"10.0.0.255", "10.0.0.3", FLOATING} & {*known, *secondary(ec2, second)} == set()


def test_assigning_twice_changes_nothing(ec2, first):
    assign(ec2, first, FLOATING)
    assign(ec2, first, FLOATING)
    assert secondary(ec2, first) == [FLOATING]


def test_the_address_shows_on_the_instance(ec2, pair, first):
    assign(ec2, first, FLOATING)
    instance = pair[0]["Attachment"]["InstanceId"]
    (found,) = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"]
    addresses = [address["PrivateIpAddress"] for address in found["NetworkInterfaces"][0]["PrivateIpAddresses"]]
    assert FLOATING in addresses


@pytest.mark.parametrize("address", ["10.0.1.100", "10.0.0.999", "text"])
def test_addresses_that_do_not_fit_are_refused(ec2, first, address):  # G2
    call = error_of(ec2.assign_private_ip_addresses, NetworkInterfaceId=first, PrivateIpAddresses=[FLOATING, address])
    assert call == "InvalidParameterValue"
    assert secondary(ec2, first) == []


def test_a_primary_address_never_moves(ec2, pair, second):  # G1
    primary = pair[0]["PrivateIpAddress"]
    with pytest.raises(botocore.exceptions.ClientError, match="primary address"):
        assign(ec2, second, primary, AllowReassignment=True)


def test_an_unknown_interface(ec2, pair):
    assert pair
    call = error_of(
        ec2.assign_private_ip_addresses, NetworkInterfaceId="eni-0123456789abcdef0", PrivateIpAddresses=[FLOATING]
    )
    assert call == "InvalidNetworkInterfaceID.NotFound"


def test_the_instance_type_limits_the_addresses(ec2, first):  # G3: a t3.micro has two for each interface
    (found,) = ec2.describe_instance_types(InstanceTypes=["t3.micro"])["InstanceTypes"]
    assert found["NetworkInfo"]["Ipv4AddressesPerInterface"] == 2
    assign(ec2, first, FLOATING)
    call = error_of(ec2.assign_private_ip_addresses, NetworkInterfaceId=first, PrivateIpAddresses=["10.0.0.101"])
    assert call == "PrivateIpAddressLimitExceeded"


def test_unassigning_what_is_not_there_is_an_error(ec2, pair, first):
    def unassign(address):
        return error_of(ec2.unassign_private_ip_addresses, NetworkInterfaceId=first, PrivateIpAddresses=[address])

    assert unassign(FLOATING) == "InvalidParameterValue"
    assert unassign(pair[0]["PrivateIpAddress"]) == "InvalidParameterValue"
    assign(ec2, first, FLOATING)
    ec2.unassign_private_ip_addresses(NetworkInterfaceId=first, PrivateIpAddresses=[FLOATING])
    assert secondary(ec2, first) == []


def test_filters_find_secondary_addresses_by_their_whole_text(ec2, first):
    assign(ec2, first, FLOATING)

    def found(*addresses):
        filters = [{"Name": "addresses.private-ip-address", "Values": addresses}]
        return [
            interface["NetworkInterfaceId"]
            for interface in ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]
        ]

    assert found(FLOATING) == [first]
    assert found("10.0.0.10") == []
    assert found("10.0.0.10", FLOATING) == [first]  # one of the values is enough


def test_a_stopped_instance_keeps_its_addresses_and_lets_them_go(account, ec2, pair, first, second):  # G5
    assign(ec2, first, FLOATING)
    ec2.stop_instances(InstanceIds=[pair[0]["Attachment"]["InstanceId"]])
    account.advance(20)
    assert secondary(ec2, first) == [FLOATING]
    assign(ec2, second, FLOATING, AllowReassignment=True)
    assert secondary(ec2, second) == [FLOATING]


def test_a_terminated_instance_frees_its_addresses(account, ec2, pair, first, second):  # G5
    assign(ec2, first, FLOATING)
    ec2.terminate_instances(InstanceIds=[pair[0]["Attachment"]["InstanceId"]])
    account.advance(20)
    call = error_of(ec2.unassign_private_ip_addresses, NetworkInterfaceId=first, PrivateIpAddresses=[FLOATING])
    assert call == "InvalidNetworkInterfaceID.NotFound"
    assign(ec2, second, FLOATING)
    assert secondary(ec2, second) == [FLOATING]


def test_each_address_shows_its_elastic_ip(ec2, first, second):
    def shown(interface):
        (found,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"]
        return {
            address["PrivateIpAddress"]: address["Association"]["AllocationId"]
            for address in found["PrivateIpAddresses"]
            if "Association" in address
        }

    assign(ec2, first, FLOATING)
    eip = ec2.allocate_address(Domain="vpc")["AllocationId"]
    ec2.associate_address(AllocationId=eip, NetworkInterfaceId=first, PrivateIpAddress=FLOATING)
    assert (shown(first), shown(second)) == ({FLOATING: eip}, {})
    assign(ec2, second, FLOATING, AllowReassignment=True)
    assert (shown(first), shown(second)) == ({}, {FLOATING: eip})


# IPv6 addresses.


def test_ipv6_addresses_must_be_given_up_first(ec2, first, second):  # G6
    def held(interface):
        (found,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"]
        return [address["Ipv6Address"] for address in found["Ipv6Addresses"]]

    ec2.assign_ipv6_addresses(NetworkInterfaceId=first, Ipv6Addresses=["2600:1f14:0001:0::0100"])
    call = error_of(ec2.assign_ipv6_addresses, NetworkInterfaceId=second, Ipv6Addresses=[FLOATING_IPV6])
    assert call == "InvalidParameterValue"
    ec2.unassign_ipv6_addresses(NetworkInterfaceId=first, Ipv6Addresses=[FLOATING_IPV6])
    answer = ec2.assign_ipv6_addresses(NetworkInterfaceId=second, Ipv6Addresses=[FLOATING_IPV6])
    assert answer["AssignedIpv6Addresses"] == [FLOATING_IPV6]
    assert (held(first), held(second)) == ([], [FLOATING_IPV6])


def test_ipv6_refusals(ec2, first):
    outside = error_of(ec2.assign_ipv6_addresses, NetworkInterfaceId=first, Ipv6Addresses=["2600:1f14:2::1"])
    absent = error_of(ec2.unassign_ipv6_addresses, NetworkInterfaceId=first, Ipv6Addresses=[FLOATING_IPV6])
    assert (outside, absent) == ("InvalidParameterValue", "InvalidParameterValue")


# Elastic IPs.


@pytest.fixture
def elastic(ec2):
    return ec2.allocate_address(Domain="vpc")["AllocationId"]


def where(ec2, elastic):
    (found,) = ec2.describe_addresses(AllocationIds=[elastic])["Addresses"]
    return found.get("NetworkInterfaceId"), found.get("PrivateIpAddress")


def test_an_elastic_ip_moves_with_its_secondary_address(ec2, first, second, elastic):  # G1
    assign(ec2, first, FLOATING)
    ec2.associate_address(AllocationId=elastic, NetworkInterfaceId=first, PrivateIpAddress=FLOATING)
    assert where(ec2, elastic) == (first, FLOATING)
    assign(ec2, second, FLOATING, AllowReassignment=True)
    assert where(ec2, elastic) == (second, FLOATING)


def test_unassigning_loses_the_elastic_ip(ec2, first, elastic):  # D3
    assign(ec2, first, FLOATING)
    ec2.associate_address(AllocationId=elastic, NetworkInterfaceId=first, PrivateIpAddress=FLOATING)
    ec2.unassign_private_ip_addresses(NetworkInterfaceId=first, PrivateIpAddresses=[FLOATING])
    assert where(ec2, elastic) in [(None, None), ("", None)]


def test_reassociation_can_be_forbidden(ec2, pair, first, second, elastic):
    ec2.associate_address(AllocationId=elastic, NetworkInterfaceId=first)
    call = error_of(ec2.associate_address, AllocationId=elastic, NetworkInterfaceId=second, AllowReassociation=False)
    assert call == "Resource.AlreadyAssociated"
    assert where(ec2, elastic) == (first, pair[0]["PrivateIpAddress"])
    ec2.associate_address(AllocationId=elastic, InstanceId=pair[1]["Attachment"]["InstanceId"])
    assert where(ec2, elastic) == (second, pair[1]["PrivateIpAddress"])


def test_an_elastic_ip_needs_an_address_of_the_interface(ec2, first, elastic):
    call = error_of(ec2.associate_address, AllocationId=elastic, NetworkInterfaceId=first, PrivateIpAddress=FLOATING)
    assert call == "InvalidParameterValue"


# Routes and attributes.


def test_an_overlay_route_moves_and_turns_into_a_blackhole(account, ec2, vpc, pair, first, second):
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    overlay = {"RouteTableId": table, "DestinationCidrBlock": "192.168.0.1/32"}

    def route():
        (found,) = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
        (overlaid,) = [route for route in found["Routes"] if route.get("DestinationCidrBlock") == "192.168.0.1/32"]
        return overlaid["NetworkInterfaceId"], overlaid["InstanceId"], overlaid["State"]

    instances = [instance["Attachment"]["InstanceId"] for instance in pair]
    assert error_of(ec2.replace_route, NetworkInterfaceId=first, **overlay) == "InvalidParameterValue"
    ec2.create_route(NetworkInterfaceId=first, **overlay)
    assert route() == (first, instances[0], "active")
    ec2.stop_instances(InstanceIds=instances[:1])
    assert route() == (first, instances[0], "active")
    account.advance(20)
    assert route() == (first, instances[0], "blackhole")
    ec2.replace_route(InstanceId=instances[1], **overlay)
    assert route() == (second, instances[1], "active")


def test_the_source_destination_check_is_the_interfaces(ec2, pair, first):
    def checked():
        (found,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[first])["NetworkInterfaces"]
        return found["SourceDestCheck"]

    assert checked() is True
    ec2.modify_instance_attribute(InstanceId=pair[0]["Attachment"]["InstanceId"], SourceDestCheck={"Value": False})
    assert checked() is False
    ec2.modify_network_interface_attribute(NetworkInterfaceId=first, SourceDestCheck={"Value": True})
    assert checked() is True


def test_only_a_stopped_instance_changes_its_type(account, ec2, pair):
    instance = pair[0]["Attachment"]["InstanceId"]

    def change(instance_type):
        ec2.modify_instance_attribute(InstanceId=instance, InstanceType={"Value": instance_type})

    with pytest.raises(botocore.exceptions.ClientError, match="IncorrectInstanceState"):
        change("t3.small")
    ec2.stop_instances(InstanceIds=[instance])
    account.advance(20)
    with pytest.raises(botocore.exceptions.ClientError, match="InvalidInstanceAttributeValue"):
        change("t3.gigantic")
    change("t3.small")
    (found,) = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"]
    assert found["InstanceType"] == "t3.small"


# What is somebody else's, or has no IPv4 at all.


@pytest.mark.parametrize("partial", [False, True])
def test_of_several_addresses_one_is_refused(account, ec2, pair, second, partial):  # S12
    account.network.partial = partial
    primary = pair[0]["PrivateIpAddress"]
    code = error_of(
        ec2.assign_private_ip_addresses,
        NetworkInterfaceId=second,
        PrivateIpAddresses=[primary, FLOATING],
        AllowReassignment=True,
    )
    assert code == "InvalidParameterValue"
    assert secondary(ec2, second) == ([FLOATING] if partial else [])


def test_an_interface_that_aws_manages_is_attached_without_an_instance(account, ec2, first):  # G12
    account.network.manage(first, "amazon-elb")
    (shown,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[first])["NetworkInterfaces"]
    assert "InstanceId" not in shown["Attachment"]
    assert shown["Attachment"]["InstanceOwnerId"] == "amazon-elb"
    account.network.foreign.add(first)
    filters = [{"Name": "network-interface-id", "Values": [first]}]
    assert ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"] == []


def test_an_ipv6_only_subnet_gives_no_private_address(ec2):  # S11
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
    block = vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"].replace("/56", "/64")
    subnet = ec2.create_subnet(VpcId=vpc["VpcId"], Ipv6CidrBlock=block, Ipv6Native=True)["Subnet"]
    made = ec2.create_network_interface(SubnetId=subnet["SubnetId"])["NetworkInterface"]["NetworkInterfaceId"]
    (shown,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[made])["NetworkInterfaces"]
    assert "PrivateIpAddress" not in shown
    assert "PrivateIpAddresses" not in shown
    assert shown["Ipv6Addresses"]


@pytest.mark.parametrize("first", [False, True])
def test_a_propagated_route_is_shown_beside_the_static_one_of_its_network(account, ec2, vpc, second, first):
    (table,) = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"]
    network = {"RouteTableId": table["RouteTableId"], "DestinationCidrBlock": "192.168.99.0/24"}
    ec2.create_route(**network, NetworkInterfaceId=second)
    account.network.propagate(table["RouteTableId"], "192.168.99.0/24", "vgw-0123456789abcdef0", first=first)
    ec2.replace_route(**network, NetworkInterfaceId=second)
    (shown,) = ec2.describe_route_tables(RouteTableIds=[table["RouteTableId"]])["RouteTables"]
    rows = [row for row in shown["Routes"] if row["DestinationCidrBlock"] == "192.168.99.0/24"]
    origins = ["CreateRoute", "EnableVgwRoutePropagation"]
    assert [row["Origin"] for row in rows] == (origins[::-1] if first else origins)
    assert {row.get("NetworkInterfaceId", row.get("GatewayId")) for row in rows} == {second, "vgw-0123456789abcdef0"}
