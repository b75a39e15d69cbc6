"""The rules of an address pair: what is declared, where it is, where it belongs, and what is not ours to move.

Everything declared has a name: `10.0.0.50`, `2001:db8::50`, `eipalloc-…`, `rtb-… 192.168.99.1/32`.  Everything here is
a pure function of what was seen; `kirikae.addresses` does the reading and the writing.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from kirikae import ec2, env
from kirikae.addresses import ElasticIp, Interface, RouteTable


@dataclass(frozen=True, kw_only=True)
class Config(env.Stack):
    """The pair, and what belongs on the one that runs."""

    pair_instance_ids: tuple[str, ...] = env.instance_ids()
    pair_interface_ids: tuple[str, ...] = env.interface_ids()  # in the order of the instances
    floating_ip_addresses: tuple[str, ...] = env.ip_addresses(default=())
    elastic_ip_allocation_ids: tuple[str, ...] = env.must(
        r"eipalloc-[0-9a-f]{8,17}", "allocation ids like eipalloc-0123456789abcdef0", default=()
    )
    overlay_cidrs: tuple[str, ...] = env.cidrs(default=())
    overlay_route_table_ids: tuple[str, ...] = env.must(
        r"rtb-[0-9a-f]{8,17}", "route table ids like rtb-0123456789abcdef0", default=()
    )


@dataclass(frozen=True)
class Observed:
    """The world as far as the decision needs it."""

    instances: Mapping[str, str]  # id -> state
    interfaces: Mapping[str, Interface]  # the pair's, and others that hold something declared
    subnets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # asked only for addresses outside the pair
    elastic: Mapping[str, ElasticIp] = field(default_factory=dict)
    tables: Mapping[str, RouteTable] = field(default_factory=dict)


def is_ipv6(name: str) -> bool:
    """Tell an IPv6 address from the other names."""
    return ":" in name and " " not in name


def is_ipv4(name: str) -> bool:
    """Tell an IPv4 address from the other names."""
    return name[0].isdigit() and not is_ipv6(name)


def routes(config: Config) -> list[str]:
    """Name every overlay route."""
    return [f"{table} {cidr}" for cidr in config.overlay_cidrs for table in config.overlay_route_table_ids]


def static_problems(config: Config) -> Iterator[str]:
    """Say what is wrong with the parameters whatever the world looks like."""
    instances, interfaces = config.pair_instance_ids, config.pair_interface_ids
    if len(instances) != 2 or len(interfaces) != 2:
        yield (
            f"PairInstanceIds names {len(instances)} and PairInterfaceIds {len(interfaces)}, "
            f"expected two instances and their two interfaces in the same order"
        )
    for name, ids in (("PairInstanceIds", instances), ("PairInterfaceIds", interfaces)):
        if len(set(ids)) < len(ids):
            yield f"{name} names {ids[0]} twice, expected two different ones"
    if bool(config.overlay_cidrs) != bool(config.overlay_route_table_ids):
        yield "OverlayCidrs and OverlayRouteTableIds need each other, expected both or neither"
    if not config.floating_ip_addresses + config.elastic_ip_allocation_ids + config.overlay_cidrs:
        yield "nothing is declared: expected FloatingIpAddresses, ElasticIpAllocationIds or OverlayCidrs"


def problems(config: Config, seen: Observed) -> Iterator[str]:
    """Say what about the parameters does not fit the world: until it is corrected, nothing is written."""
    pair = [seen.interfaces[each] for each in config.pair_interface_ids if each in seen.interfaces]
    for instance, interface_id in sides(config):
        interface, state = seen.interfaces.get(interface_id), seen.instances[instance]
        if interface and interface.instance_id not in ("", instance):
            yield f"PairInterfaceIds: {interface} does not belong to {instance}; expected an interface of {instance}"
        elif interface is None and state not in ec2.GONE:
            yield f"PairInterfaceIds: there is no {interface_id}, and {instance} is {state}; expected its interface"
        elif interface and interface.instance_id and state == ec2.MISSING:
            yield f"PairInstanceIds: EC2 does not know {instance}; expected an instance of this account and region"
    if config.floating_ip_addresses and len({interface.subnet_id for interface in pair}) > 1:
        named = " and ".join(f"{each.id} is in {each.subnet_id} ({each.zone})" for each in pair)
        yield (
            f"FloatingIpAddresses cannot move between subnets: {named}; expected one subnet, or overlay routes "
            f"(OverlayCidrs with OverlayRouteTableIds) instead of private addresses"
        )
    for interface in pair:
        for address in set(interface.primary) & set(config.floating_ip_addresses):
            yield f"FloatingIpAddresses: {address} is the primary address of {interface.id}; expected a secondary one"
    for address in config.floating_ip_addresses:
        if seen.subnets and not _inside(address, [cidr for cidrs in seen.subnets.values() for cidr in cidrs]):
            named = "; ".join(f"{subnet} has {', '.join(cidrs)}" for subnet, cidrs in seen.subnets.items())
            yield f"FloatingIpAddresses: {address} is outside the subnet of the pair; {named}"
    for table in seen.tables.values():
        for cidr in config.overlay_cidrs:
            if _inside(cidr, table.local):
                yield f"OverlayCidrs: {cidr} lies inside the VPC of {table.id}, which has {', '.join(table.local)}"
        if strangers := [each.vpc_id for each in pair if each.vpc_id != table.vpc_id]:
            yield f"OverlayRouteTableIds: {table.id} is of {table.vpc_id}, and the pair of {strangers[0]}"


def _inside(name: str, cidrs: Iterable[str]) -> bool:
    network = ipaddress.ip_network(name)
    return any(
        network.version == other.version and network.subnet_of(other)  # type: ignore[arg-type]  # of one version
        for other in map(ipaddress.ip_network, cidrs)
    )


def sides(config: Config) -> list[tuple[str, str]]:
    """Return the pair as (instance, interface)."""
    return list(zip(config.pair_instance_ids, config.pair_interface_ids, strict=False))


def up(config: Config, seen: Observed) -> list[str]:
    """Return the interfaces that are attached to a running instance: running, not about to be and not about to stop."""
    return [
        interface
        for instance, interface in sides(config)
        if seen.instances[instance] == "running"
        and interface in seen.interfaces
        and seen.interfaces[interface].instance_id == instance
    ]


def places(config: Config, seen: Observed) -> dict[str, str]:
    """Return where everything declared is: an interface, what else a route leads to, or nothing when it is nowhere.

    What does not exist (an allocation, a table, a route) has no place at all.
    """
    holders = {address: each.id for each in seen.interfaces.values() for address in each.addresses}
    found = {address: holders.get(address, "") for address in config.floating_ip_addresses}
    found |= {
        allocation: seen.elastic[allocation].interface_id
        for allocation in config.elastic_ip_allocation_ids
        if allocation in seen.elastic
    }
    for name in routes(config):
        table, cidr = name.split()
        if table in seen.tables and (route := seen.tables[table].routes.get(cidr)):
            lost = route.target.startswith("eni-") and route.target not in seen.interfaces
            found[name] = "" if lost else route.target
    return found


def home(config: Config, seen: Observed) -> str:
    """Return the interface where what has to move belongs, or nothing: of two that are up, the one that holds more."""
    held = list(places(config, seen).values())
    return max(up(config, seen), key=held.count, default="")


def due(config: Config, seen: Observed) -> dict[str, str]:
    """Return what has to move and where it is: on a side that is not up, on no interface, or on the wrong one.

    What is on a side that is up stays, wherever the rest is.  Only the routes of one CIDR are one thing: they move to
    where they do not lead yet when they disagree.
    """
    here, there = places(config, seen), home(config, seen)
    if not there:
        return {}
    settled = up(config, seen)
    wrong = {name: place for name, place in here.items() if place not in settled and _ours(config, seen, name, place)}
    for cidr in config.overlay_cidrs:
        routed = {name: place for name, place in here.items() if name.endswith(f" {cidr}")}
        if len({place for place in routed.values() if place in settled}) > 1:
            wrong |= {name: place for name, place in routed.items() if place in settled and place != there}
    return {name: place for name, place in wrong.items() if name not in obstacles(config, seen)}


def _ours(config: Config, seen: Observed, name: str, place: str) -> bool:
    """Tell whether what is at this place may be moved: it is on the pair or nowhere, or a route misses the interface."""
    if place in ("", *config.pair_interface_ids):
        return True
    return " " in name and place in seen.interfaces and seen.interfaces[place].instance_id in config.pair_instance_ids


def obstacles(config: Config, seen: Observed) -> dict[str, str]:
    """Return what is declared and cannot or may not be moved now, and why; the rest does move."""
    here, there = places(config, seen), home(config, seen)
    found = dict[str, str]()
    for name in (*config.floating_ip_addresses, *config.elastic_ip_allocation_ids, *routes(config)):
        if name not in here:
            found[name] = _absent(seen, name)
        elif not _ours(config, seen, name, here[name]):
            holder = seen.interfaces.get(here[name], here[name])
            found[name] = f"hands off: {name} is on {holder}, which is neither of the pair"
    for interface in map(seen.interfaces.get, config.pair_interface_ids):
        if interface and interface.source_dest_check:
            for name in routes(config):
                if interface.id in (there, here.get(name)):
                    found.setdefault(
                        name,
                        f"{interface.id} would drop the traffic of {name}: its source/destination check is on; "
                        f"aws ec2 modify-network-interface-attribute --network-interface-id {interface.id} "
                        f"--no-source-dest-check",
                    )
    return found
