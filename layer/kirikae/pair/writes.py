"""Writes of addresses, Elastic IPs and routes: each names its end state, and may be repeated."""

from collections.abc import Iterable

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import aws, patience
from kirikae.errors import TimeUpError, UnfinishedError
from kirikae.pair.addresses import interfaces

# What EC2 answers to unassigning an address that is no longer there, or whose interface is gone.
_NOT_THERE = frozenset({"InvalidParameterValue", "InvalidNetworkInterfaceID.NotFound"})


def assign(interface_id: str, ipv4: Iterable[str]) -> None:
    """Make the interface hold these secondary addresses, wherever they are now, Elastic IPs and all, in one step.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AssignPrivateIpAddresses.html
    """
    aws.client("ec2").assign_private_ip_addresses(
        NetworkInterfaceId=interface_id, PrivateIpAddresses=list(ipv4), AllowReassignment=True
    )


def move_ipv6(interface_id: str, ipv6: Iterable[str], source_id: str = "") -> None:
    """Make the interface hold these IPv6 addresses; those that it does not take, the source gets back.

    IPv6 has no reassignment: it takes two calls.  Raises what EC2 answered to the second one, or that it did not answer
    the first one, which may have had no effect.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AssignIpv6Addresses.html
    """
    wanted, silent = list(ipv6), None
    if source_id:
        try:
            aws.client("ec2").unassign_ipv6_addresses(NetworkInterfaceId=source_id, Ipv6Addresses=wanted)
        except BotoCoreError as error:  # if it had no effect, the next call is refused and nothing is lost
            silent = error
        except ClientError as error:
            if error.response["Error"]["Code"] not in _NOT_THERE:
                raise
    try:
        aws.client("ec2").assign_ipv6_addresses(NetworkInterfaceId=interface_id, Ipv6Addresses=wanted)
    except (ClientError, BotoCoreError) as error:  # raised again, unless they have arrived: no answer, or another run
        if not (lost := set(wanted) - _held(interface_id)):
            return
        refused = _give_back(source_id, sorted(lost)) if source_id else {}
        if refused:
            # What the source does not take somebody holds, most likely the interface, which may not show it yet.
            held = patience.until(lambda: _held(interface_id), lambda shown: refused.keys() <= shown) or set()
            if lost <= held:
                return
            if nobody := {address: why for address, why in refused.items() if address not in held}:
                names, (first, *_) = ", ".join(nobody), nobody.values()
                text = f"{names} assigned to nobody: {error}; nor did {source_id} take it back: {first}"
                raise UnfinishedError(text) from error
        if silent:
            raise silent from error
        raise


def _held(interface_id: str) -> set[str]:
    """Return the addresses that the interface is seen to hold; none if it cannot be looked at."""
    try:
        found = interfaces("network-interface-id", [interface_id])
    except (ClientError, BotoCoreError):
        return set()
    return set(found[interface_id].addresses) if interface_id in found else set()


def _give_back(source_id: str, ipv6: list[str]) -> dict[str, Exception]:
    """Assign the addresses back to their source, one by one; return those that it does not take, and why."""
    lost = dict[str, Exception]()
    for address in ipv6:
        try:
            aws.client("ec2").assign_ipv6_addresses(NetworkInterfaceId=source_id, Ipv6Addresses=[address])
        except (ClientError, BotoCoreError) as error:
            lost[address] = error
    return lost


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


def answered(error: Exception | None) -> bool:
    """Tell whether AWS said no: trying again apart where nothing answers would only take the run's time."""
    return isinstance(error, (ClientError, UnfinishedError))


def refused(error: Exception | None) -> bool:
    """Tell whether it is certain that nothing arrived: a lost answer or a failing server leaves that open."""
    if isinstance(error, ClientError):
        return bool(error.response["ResponseMetadata"]["HTTPStatusCode"] < 500)
    return isinstance(error, (UnfinishedError, TimeUpError))
