"""A user's service on a pair of instances, reached at addresses that can move between them."""

import ipaddress
import itertools
from dataclasses import dataclass
from typing import Any

from sandbox.account import Account
from sandbox.estates import parts


@dataclass(frozen=True)
class PairService:
    """Two instances with an interface each; the addresses, Elastic IPs and routes begin on the first one."""

    account: Account
    vpc_id: str
    subnet_ids: tuple[str, ...]
    instance_ids: tuple[str, ...]
    interface_ids: tuple[str, ...]
    floating: tuple[str, ...]
    allocation_ids: tuple[str, ...]
    overlay_cidrs: tuple[str, ...]
    table_ids: tuple[str, ...]

    @property
    def parameters(self) -> dict[str, str]:
        """The template parameters that declare all of it."""
        lists = {
            "PairInstanceIds": self.instance_ids,
            "PairInterfaceIds": self.interface_ids,
            "FloatingIpAddresses": self.floating,
            "ElasticIpAllocationIds": self.allocation_ids,
            "OverlayCidrs": self.overlay_cidrs,
            "OverlayRouteTableIds": self.table_ids,
        }
        return {name: ",".join(ids) for name, ids in lists.items()}

    # What can happen to it.

    def stop(self, *sides: int) -> None:
        """Stop the instances of these sides, 0 or 1."""
        self._ec2.stop_instances(InstanceIds=[self.instance_ids[side] for side in sides])

    def start(self, *sides: int) -> None:
        """Start the instances of these sides."""
        self._ec2.start_instances(InstanceIds=[self.instance_ids[side] for side in sides])

    def terminate(self, *sides: int) -> None:
        """Terminate the instances of these sides."""
        self._ec2.terminate_instances(InstanceIds=[self.instance_ids[side] for side in sides])

    # What can be seen of it, without a request that would be recorded.

    def where(self) -> dict[str, int | str | None]:
        """Return for everything that floats the side it is on, an interface of somebody else, or None for nowhere."""
        network, backend = self.account.network, self.account.backend("ec2")
        found: dict[str, str | None] = {address: network.holder(address) for address in self.floating}
        for eip in backend.addresses:
            if eip.allocation_id in self.allocation_ids:
                found[eip.allocation_id] = eip.network_interface_id or None
        for table_id in self.table_ids:
            for route in backend.route_tables[table_id].routes:
                cidr = route.destination_cidr_block or route.destination_ipv6_cidr_block
                if cidr in self.overlay_cidrs:
                    found[f"{table_id} {cidr}"] = route.network_interface_id
        return {name: self._side(interface) for name, interface in found.items()}

    def _side(self, interface_id: str | None) -> int | str | None:
        return self.interface_ids.index(interface_id) if interface_id in self.interface_ids else interface_id

    @property
    def _ec2(self) -> Any:
        return self.account.client("ec2")


def pair_service(
    account: Account,
    *,
    ipv4: tuple[str, ...] = ("10.0.0.50",),
    ipv6: int = 0,
    elastic: int = 0,
    overlay: tuple[str, ...] = (),
    tables: int = 1,
    zones: int = 1,
    instance_type: str = "t3.medium",
) -> PairService:
    """Build the service with so many IPv6 addresses, Elastic IPs and route tables, in one subnet or in two zones.

    An Elastic IP leads to the floating IPv4 address in the same place of the list, else to the primary address.
    """
    ec2 = account.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
    ipv6_block = ipaddress.IPv6Network(vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"])
    ipv6_subnets = list(itertools.islice(ipv6_block.subnets(new_prefix=64), zones))
    subnet_ids = tuple(
        ec2.create_subnet(
            VpcId=vpc["VpcId"],
            CidrBlock=f"10.0.{number}.0/24",
            Ipv6CidrBlock=str(ipv6_subnets[number]),
            AvailabilityZone=parts.ZONES[number],
        )["Subnet"]["SubnetId"]
        for number in range(zones)
    )
    instances = []
    for side in (0, 1):
        settings = {"InstanceType": instance_type, "PrivateIpAddress": f"10.0.{side % zones}.1{side}"}
        instances.append(parts.launch(account, subnet_ids[side % zones], **settings))
    interface_ids = tuple(each["NetworkInterfaces"][0]["NetworkInterfaceId"] for each in instances)
    first = interface_ids[0]
    floating6 = tuple(str(ipv6_subnets[0][0x50 + number]) for number in range(ipv6))
    if ipv4:
        ec2.assign_private_ip_addresses(NetworkInterfaceId=first, PrivateIpAddresses=list(ipv4))
    if ipv6:
        ec2.assign_ipv6_addresses(NetworkInterfaceId=first, Ipv6Addresses=list(floating6))
    allocation_ids = tuple(ec2.allocate_address(Domain="vpc")["AllocationId"] for _ in range(elastic))
    for allocation_id, address in itertools.zip_longest(allocation_ids, ipv4[:elastic], fillvalue="10.0.0.10"):
        ec2.associate_address(AllocationId=allocation_id, NetworkInterfaceId=first, PrivateIpAddress=address)
    table_ids = ()
    if overlay:
        for interface_id in interface_ids:
            ec2.modify_network_interface_attribute(NetworkInterfaceId=interface_id, SourceDestCheck={"Value": False})
        table_ids = tuple(
            ec2.create_route_table(VpcId=vpc["VpcId"])["RouteTable"]["RouteTableId"] for _ in range(tables)
        )
        for table_id in table_ids:
            for cidr in overlay:
                ec2.create_route(RouteTableId=table_id, DestinationCidrBlock=cidr, NetworkInterfaceId=first)
    account.advance(15)  # pending
    return PairService(
        account,
        vpc["VpcId"],
        subnet_ids,
        tuple(each["InstanceId"] for each in instances),
        interface_ids,
        ipv4 + floating6,
        allocation_ids,
        overlay,
        table_ids,
    )
