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

    # What others do with what is declared.

    def stranger(self, kind: str) -> str:
        """Make an interface that is none of the pair's, in the first subnet; return its id.

        kind: `instance` (a third one, running), `detached`, `load balancer` or `NAT gateway`.
        """
        subnet = self.subnet_ids[0]
        if kind == "instance":
            launched = parts.launch(self.account, subnet, "a third one")
            self.account.advance(15)  # pending
            return str(launched["NetworkInterfaces"][0]["NetworkInterfaceId"])
        if kind == "NAT gateway":
            made = self.nat_gateway(subnet)["NatGatewayAddresses"][0]["NetworkInterfaceId"]
            self.account.network.manage(made, "amazon-aws")
            return str(made)
        described = {"Description": "ELB net/other/0123456789abcdef"} if kind == "load balancer" else {}
        made = self._ec2.create_network_interface(SubnetId=subnet, **described)["NetworkInterface"]
        if kind == "load balancer":
            self.account.network.manage(made["NetworkInterfaceId"], "amazon-elb")
        return str(made["NetworkInterfaceId"])

    def nat_gateway(self, subnet_id: str) -> dict[str, Any]:
        """Make a NAT gateway; return what CreateNatGateway says of it."""
        allocation = self._ec2.allocate_address(Domain="vpc")["AllocationId"]
        return dict(self._ec2.create_nat_gateway(SubnetId=subnet_id, AllocationId=allocation)["NatGateway"])

    def take(self, name: str, interface_id: str) -> None:
        """Bring something declared, named as in `where`, to an interface, as anybody with the permission can."""
        here = {"NetworkInterfaceId": interface_id}
        if name.startswith("eipalloc-"):
            self._ec2.associate_address(AllocationId=name, **here)
        elif " " in name:
            self.lead(name, **here)
        elif ":" in name:
            if holder := self.account.network.holder(name):
                self._ec2.unassign_ipv6_addresses(NetworkInterfaceId=holder, Ipv6Addresses=[name])
            self._ec2.assign_ipv6_addresses(Ipv6Addresses=[name], **here)
        else:
            self._ec2.assign_private_ip_addresses(PrivateIpAddresses=[name], AllowReassignment=True, **here)

    def lead(self, route: str, **target: str) -> None:
        """Let a route, `<table> <cidr>`, lead to a target, given as in ReplaceRoute."""
        table_id, cidr = route.split()
        self._ec2.replace_route(RouteTableId=table_id, DestinationCidrBlock=cidr, **target)

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
    ipv6_only: bool = False,
) -> PairService:
    """Build the service with so many IPv6 addresses, Elastic IPs and route tables, in one subnet or in two zones;
    the subnets have IPv6 only if asked.

    An Elastic IP leads to the floating IPv4 address in the same place of the list, else to the primary address.
    """
    ec2 = account.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
    ipv6_block = ipaddress.IPv6Network(vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"])
    ipv6_subnets = list(itertools.islice(ipv6_block.subnets(new_prefix=64), zones))
    subnet_ids = tuple(
        ec2.create_subnet(
            VpcId=vpc["VpcId"],
            Ipv6CidrBlock=str(ipv6_subnets[number]),
            AvailabilityZone=parts.ZONES[number],
            **({"Ipv6Native": True} if ipv6_only else {"CidrBlock": f"10.0.{number}.0/24"}),
        )["Subnet"]["SubnetId"]
        for number in range(zones)
    )
    instances = []
    for side in (0, 1):
        own = {} if ipv6_only else {"PrivateIpAddress": f"10.0.{side % zones}.1{side}"}
        settings = {"InstanceType": instance_type, **own}
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
