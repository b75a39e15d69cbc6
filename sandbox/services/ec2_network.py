"""EC2's addresses and routes where moto is kinder: moves, refusals and limits."""

import ipaddress
import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from moto.ec2.models.elastic_ip_addresses import ElasticAddress
from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ec2.models.route_tables import Route

from sandbox.frontdoor import FrontDoor
from sandbox.wire import Answer, Refusal

type Params = dict[str, Any]


# Attributes of moto's objects.


class _AnyOf:
    """The addresses of an interface for a filter: equal to a value that one of them has.

    Of several values one is enough. Moto wants them all of whatever it can iterate over, which this is not.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Filter.html
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses

    def __eq__(self, value: object) -> bool:
        return value in self._addresses


def _filter_value(self: Any, filter_name: str, method_name: str | None = None) -> Any:
    """Let the filters on addresses find secondary and IPv6 addresses, too."""
    if filter_name == "addresses.private-ip-address":
        return _AnyOf(_addresses(self))
    if filter_name == "ipv6-addresses.ipv6-address":
        return _AnyOf(self.ipv6_addresses)
    return _filter_value_of_moto(self, filter_name, method_name)


_filter_value_of_moto = NetworkInterface.get_filter_value
NetworkInterface.get_filter_value = _filter_value


def _private_ip_address(self: Any) -> str | None:
    """Return the address that an Elastic IP belongs to, which may be a secondary one."""
    return getattr(self, "associated", None) or self.eni.private_ip_address if self.eni else None


ElasticAddress.private_ip_address = property(_private_ip_address)


def _interface(route: Any) -> Any:
    return route.instance.nics.get(0) if route.instance else route.interface


def _route_instance_id(self: Any) -> str | None:
    interface = _interface(self)
    return interface.instance.id if interface and interface.instance else None


def _route_interface_id(self: Any) -> str | None:
    interface = _interface(self)
    return interface.id if interface else None


def _route_state(self: Any) -> str:
    """Return blackhole if the target is gone, detached or stopped, else active, also while it is only stopping."""
    if not (self.instance or self.interface):
        return "active"
    interface = _interface(self)
    gone = interface is None or interface.id not in interface.ec2_backend.enis or interface.instance is None
    return "blackhole" if gone or interface.instance.state in ("stopped", "terminated") else "active"


Route.instance_id = property(_route_instance_id)
Route.network_interface_id = property(_route_interface_id)
Route.state = property(_route_state)


class _Propagated(Route):
    """A route that a virtual private gateway advertises, beside a static one of the same network, which has priority.

    https://docs.aws.amazon.com/vpc/latest/userguide/route-tables-priority.html
    """

    origin = "EnableVgwRoutePropagation"  # type: ignore[assignment]  # a property of moto's

    def __init__(self, table: Any, cidr: str, gateway_id: str) -> None:
        super().__init__(table, cidr, None, gateway=SimpleNamespace(id=gateway_id))  # type: ignore[arg-type]


_attachment_of_moto = NetworkInterface.attachment.fget


def _attachment(self: Any) -> Any:
    """Return the attachment; what AWS manages is attached to nothing that has an id."""
    if owner := getattr(self, "managed_by", ""):
        return _Managed(self.id, owner)
    attachment = _attachment_of_moto(self)
    if attachment and getattr(self, "leaves", False):
        attachment.status = "detaching"
    return attachment


class _Managed:
    """The attachment of an interface of a load balancer or a NAT gateway: it names no instance (G12)."""

    instance_id = attach_time = network_card_index = None
    device_index = 1
    delete_on_termination = False
    status = "attached"

    def __init__(self, interface_id: str, owner: str) -> None:
        self.attachment_id = interface_id.replace("eni-", "ela-attach-")
        self.instance_owner_id = owner


NetworkInterface.attachment = property(_attachment)


class Network:
    """The addresses of one account: which interface holds them, and which are let move."""

    def __init__(self, account: FrontDoor) -> None:
        self._account = account
        # What a test may set.
        self.partial = False  # S12: of several addresses of which one is refused, the others are assigned all the same
        self.foreign: set[str] = set()  # interfaces of another account in a shared VPC: not described in this one
        for operation, fn in {
            "AssignPrivateIpAddresses": self._assign,
            "UnassignPrivateIpAddresses": self._unassign,
            "AssignIpv6Addresses": self._assign_ipv6,
            "UnassignIpv6Addresses": self._unassign_ipv6,
            "AssociateAddress": self._associate,
            "ModifyInstanceAttribute": self._modify_instance,
        }.items():
            account.override("ec2", operation, fn)
        account.around("ec2", "DescribeNetworkInterfaces", self._read)
        account.after("ec2", "CreateNetworkInterface", lambda _: self.made([*self._backend.enis.values()][-1:]))

    @property
    def _backend(self) -> Any:
        return self._account.backend("ec2")

    def holder(self, address: str) -> str | None:
        """Return the id of the interface that holds a private or IPv6 address, however late reads are; None if none."""
        wanted = ipaddress.ip_address(address)
        for interface in self._backend.enis.values():
            if wanted in [ipaddress.ip_address(known) for known in [*_addresses(interface), *interface.ipv6_addresses]]:
                return str(interface.id)
        return None

    def made(self, interfaces: list[Any]) -> None:
        """Give new interfaces the addresses that EC2 would.

        Those in IPv6-only subnets have no IPv4 address (S11); moto gives IPv6 ones the name.  Elsewhere it draws one,
        which somebody may have already.
        """
        for interface in interfaces:
            if getattr(interface.subnet, "ipv6_native", False) and interface.private_ip_addresses:
                own = interface.private_ip_addresses[0]["PrivateIpAddress"]
                interface.ipv6_addresses = [own, *interface.ipv6_addresses]
                interface.private_ip_addresses, interface.private_ip_address = [], None
            elif own := interface.private_ip_address:
                free = self._free(interface)
                if own not in free:
                    interface.private_ip_address = interface.private_ip_addresses[0]["PrivateIpAddress"] = free[0]

    def _free(self, interface: Any) -> list[str]:
        """Return the subnet's addresses that no other interface has and that EC2 does not keep for itself.

        https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html
        """
        held = {held for other in self._of_vpc(interface) if other is not interface for held in _addresses(other)}
        hosts = map(str, itertools.islice(ipaddress.ip_network(interface.subnet.cidr_block).hosts(), 3, None))
        return [host for host in hosts if host not in held]

    def manage(self, interface_id: str, owner: str) -> None:
        """Let an interface belong to what AWS manages: a load balancer (`amazon-elb`), a NAT gateway (`amazon-aws`)."""
        interface = self._backend.get_network_interface(interface_id)
        interface.managed_by, interface.requester_managed = owner, True

    def detaching(self, interface_id: str) -> None:
        """Let an interface be on its way off its instance, which can hang until somebody forces it."""
        self._backend.get_network_interface(interface_id).leaves = True

    def release(self, interface: Any) -> None:
        """Give up the Elastic IPs of an interface that goes away."""
        for eip in self._elastic_ips(interface):
            self._backend.disassociate_address(address=eip.public_ip)

    # Private IPv4 addresses.

    def _assign(self, params: Params, _principal: str) -> dict[str, Any] | None:
        interface = self._backend.get_network_interface(params["NetworkInterfaceId"])
        wanted = params.get("PrivateIpAddresses", [])
        if self.partial and len(wanted) > 1:  # S12
            self._one_by_one(self._assign, params, "PrivateIpAddresses")
        for address in wanted:
            self._check_assignable(interface, address, params.get("AllowReassignment", False))
        new = [known for known in wanted if known not in _addresses(interface)]
        count = len(new) + params.get("SecondaryPrivateIpAddressCount", 0)
        limit = self._limit(interface, "Ipv4AddressesPerInterface")
        if limit is not None and len(interface.private_ip_addresses) + count > limit:  # G3
            raise Refusal("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")
        if not wanted:
            free = [address for address in self._free(interface) if address not in _addresses(interface)]
            new = wanted = free[:count]
        for address in new:
            self._move(interface, address)
        return {
            "NetworkInterfaceId": interface.id,
            "AssignedPrivateIpAddresses": [{"PrivateIpAddress": address} for address in wanted],
        }

    def _one_by_one(self, assign: Callable[[Params, str], object], params: Params, member: str) -> None:
        """Assign what can be assigned, then refuse the request for the rest."""
        refused = []
        for address in params[member]:
            try:
                assign({**params, member: [address]}, "")
            except Refusal as refusal:
                refused.append(refusal)
        if refused:
            raise refused[0]

    def _check_assignable(self, interface: Any, address: str, reassign: bool) -> None:
        try:
            parsed = ipaddress.IPv4Address(address)
        except ValueError as error:
            raise Refusal("InvalidParameterValue", f"Value ({address}) for parameter is not valid") from error
        if parsed not in ipaddress.ip_network(interface.subnet.cidr_block):  # G2, G3
            raise Refusal("InvalidParameterValue", f"Address {address} does not fall within the subnet's address range")
        for other in self._of_vpc(interface):
            if address == other.private_ip_address:  # G1: the primary address never moves
                raise Refusal("InvalidParameterValue", f"[{address}] is the primary address of {other.id}")
            if other is not interface and address in _addresses(other) and not reassign:
                raise Refusal("InvalidParameterValue", f"[{address}] assigned, but move is not allowed.")

    def _of_vpc(self, interface: Any) -> list[Any]:
        """Return the interfaces of its VPC: another VPC may have the same addresses."""
        vpc_id = interface.subnet.vpc_id
        return [other for other in self._backend.enis.values() if other.subnet.vpc_id == vpc_id]

    def _move(self, interface: Any, address: str) -> None:
        for other in self._of_vpc(interface):
            if address in _addresses(other):
                _remove(other, address)
                for eip in self._elastic_ips(other, address):  # G1: its Elastic IP goes with it
                    eip.eni, eip.instance = interface, interface.instance
        interface.private_ip_addresses.append({"Primary": False, "PrivateIpAddress": address})

    def _unassign(self, params: Params, _principal: str) -> dict[str, Any]:
        interface = self._backend.get_network_interface(params["NetworkInterfaceId"])
        unwanted = params.get("PrivateIpAddresses", [])
        for address in unwanted:
            if address == interface.private_ip_address:
                raise Refusal("InvalidParameterValue", f"[{address}] is the primary address of {interface.id}")
            if address not in _addresses(interface):
                message = f"Some of the specified addresses are not assigned to interface {interface.id}"
                raise Refusal("InvalidParameterValue", message)
        for address in unwanted:
            _remove(interface, address)
            for eip in self._elastic_ips(interface, address):  # D3: unassigning loses the Elastic IP
                self._backend.disassociate_address(address=eip.public_ip)
        return {}

    def _limit(self, interface: Any, kind: str) -> int | None:
        """Return how many addresses of a kind an interface can have on its instance's type."""
        if interface.instance is None:
            return None
        (found,) = self._backend.describe_instance_types([interface.instance.instance_type])
        return int(found["NetworkInfo"][kind])

    # IPv6 addresses.

    def _assign_ipv6(self, params: Params, _principal: str) -> dict[str, Any] | None:
        interface = self._backend.get_network_interface(params["NetworkInterfaceId"])
        blocks = [
            ipaddress.ip_network(known["ipv6CidrBlock"])
            for known in interface.subnet.ipv6_cidr_block_associations.values()
        ]
        wanted = [_ipv6(address) for address in params.get("Ipv6Addresses", [])]
        if self.partial and len(wanted) > 1:  # S12
            self._one_by_one(self._assign_ipv6, params, "Ipv6Addresses")
        for address in wanted:
            if not any(ipaddress.ip_address(address) in block for block in blocks):
                message = f"Address {address} does not fall within the subnet's address range"
                raise Refusal("InvalidParameterValue", message)
            # G6: there is no reassignment, so another interface has to give it up first.
            if self.holder(address) not in (None, interface.id):
                raise Refusal("InvalidParameterValue", f"[{address}] is already assigned to another interface")
        if not wanted:
            return None
        new = [address for address in wanted if address not in interface.ipv6_addresses]
        limit = self._limit(interface, "Ipv6AddressesPerInterface")
        if limit is not None and len(interface.ipv6_addresses) + len(new) > limit:  # G3; the code is unproven for IPv6
            raise Refusal("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")
        interface.ipv6_addresses.extend(new)
        return {"NetworkInterfaceId": interface.id, "AssignedIpv6Addresses": wanted}

    def _unassign_ipv6(self, params: Params, _principal: str) -> dict[str, Any]:
        interface = self._backend.get_network_interface(params["NetworkInterfaceId"])
        unwanted = [_ipv6(address) for address in params.get("Ipv6Addresses", [])]
        if any(address not in interface.ipv6_addresses for address in unwanted):
            message = f"Some of the specified addresses are not assigned to interface {interface.id}"
            raise Refusal("InvalidParameterValue", message)
        interface.ipv6_addresses = [address for address in interface.ipv6_addresses if address not in unwanted]
        return {"NetworkInterfaceId": interface.id, "UnassignedIpv6Addresses": unwanted}

    # Elastic IPs.

    def _associate(self, params: Params, _principal: str) -> dict[str, Any]:
        (eip,) = self._backend.address_by_allocation([params["AllocationId"]])
        if instance_id := params.get("InstanceId"):
            (instance,) = self._backend.get_multi_instances_by_id([instance_id])
            interface = instance.nics[0]
        else:
            interface = self._backend.get_network_interface(params["NetworkInterfaceId"])
        address = params.get("PrivateIpAddress", interface.private_ip_address)
        if address not in _addresses(interface):
            raise Refusal("InvalidParameterValue", f"[{address}] is not assigned to {interface.id}")
        here = eip.eni is interface and eip.private_ip_address == address
        # Reassociation is automatic unless it is forbidden.
        if eip.eni and not here and params.get("AllowReassociation") is False:
            message = f"resource {eip.allocation_id} is already associated with associate-id {eip.association_id}"
            raise Refusal("Resource.AlreadyAssociated", message)
        if not here:
            for other in self._elastic_ips(interface, address):
                self._backend.disassociate_address(address=other.public_ip)
            if eip.eni:
                self._backend.disassociate_address(address=eip.public_ip)
            self._backend.associate_address(eni=interface, allocation_id=eip.allocation_id, reassociate=True)
            eip.associated, eip.instance = address, interface.instance
            if address != interface.private_ip_address:
                interface.public_ip = None
        return {"AssociationId": eip.association_id}

    def _elastic_ips(self, interface: Any, address: str | None = None) -> list[Any]:
        return [
            eip for eip in self._backend.addresses if eip.eni is interface and address in (None, eip.private_ip_address)
        ]

    # Reads of interfaces.

    def _read(self, _params: Params, serve: Callable[[], Answer]) -> Answer:
        """Show at each private address the Elastic IP that leads to it."""
        for interface in self._backend.enis.values():
            for held in interface.private_ip_addresses:
                held.pop("Association", None)
                for eip in self._elastic_ips(interface, held["PrivateIpAddress"]):
                    held["Association"] = {
                        "AllocationId": eip.allocation_id,
                        "AssociationId": eip.association_id,
                        "IpOwnerId": self._account.account_id,
                        "PublicIp": eip.public_ip,
                    }
        enis = self._backend.enis
        hidden = {interface_id: enis.pop(interface_id) for interface_id in self.foreign & enis.keys()}
        try:
            status, headers, body = serve()
        finally:
            enis.update(hidden)
        return status, headers, body.replace(b"<privateIpAddressesSet/>", b"")  # S11

    def propagate(self, table_id: str, cidr: str, gateway_id: str, *, first: bool = False) -> None:
        """Let a gateway advertise an IPv4 network into a route table; in which order rows are shown is not documented.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EnableVgwRoutePropagation.html
        """
        table = self._backend.route_tables[table_id]
        row = {f"{table_id}~{cidr}~{gateway_id}": _Propagated(table, cidr, gateway_id)}
        table._routes = row | table._routes if first else table._routes | row

    # Attributes of instances.

    def _modify_instance(self, params: Params, _principal: str) -> dict[str, Any] | None:
        (instance,) = self._backend.get_multi_instances_by_id([params["InstanceId"]])
        if "InstanceType" in params:
            if instance.state != "stopped":
                message = f"The instance '{instance.id}' is not in the 'stopped' state."
                raise Refusal("IncorrectInstanceState", message)
            wanted = params["InstanceType"]["Value"]
            if wanted not in [kind["InstanceType"] for kind in self._backend.describe_instance_types()]:
                message = f"Invalid value '{wanted}' for InstanceType."
                raise Refusal("InvalidInstanceAttributeValue", message)
        if "SourceDestCheck" in params:
            # The attribute of an instance is that of its primary interface.
            instance.nics[0].source_dest_check = params["SourceDestCheck"]["Value"]
        return None


def _addresses(interface: Any) -> list[str]:
    return [held["PrivateIpAddress"] for held in interface.private_ip_addresses]


def _remove(interface: Any, address: str) -> None:
    interface.private_ip_addresses = [
        held for held in interface.private_ip_addresses if held["PrivateIpAddress"] != address
    ]


def _ipv6(address: str) -> str:
    try:
        return str(ipaddress.IPv6Address(address))
    except ValueError as error:
        raise Refusal("InvalidParameterValue", f"Value ({address}) for parameter is not valid") from error
