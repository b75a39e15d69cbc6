"""Errors in the parameters of an address pair, one sentence each, found before anything is written."""

import ipaddress
from collections.abc import Iterable, Iterator

from kirikae import ec2
from kirikae.notify import Words, aws_command
from kirikae.pair.addresses import Interface
from kirikae.pair.plan import no_room, places, plan, sides, stranded
from kirikae.pair.world import Config, Observed

LEFT = "left"  # people are told of it by itself, as of an outage that is not answered


def static_problems(config: Config) -> Iterator[str]:
    """Yield parameter errors that show without calling AWS."""
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
    """Yield parameter errors that only AWS can show; nothing is written until they are mended."""
    own = [seen.interfaces[interface] for interface in config.pair_interface_ids if interface in seen.interfaces]
    if not own:
        yield f"PairInterfaceIds: there is neither {' nor '.join(config.pair_interface_ids)}; expected two that exist"
        return
    for instance, interface_id in sides(config):
        yield from _side(seen, instance, interface_id)
    yield from _addresses(config, seen, own)
    yield from _tables(config, seen, own)


def _side(seen: Observed, instance: str, interface_id: str) -> Iterator[str]:
    interface, state = seen.interfaces.get(interface_id), seen.instances[instance]
    if interface and interface.instance_id not in ("", instance):
        yield f"PairInterfaceIds: {interface} does not belong to {instance}; expected an interface of {instance}"
    elif interface is None and state in ("pending", "running"):
        yield f"PairInterfaceIds: there is no {interface_id}, and {instance} is {state}; expected its interface"
    elif interface and interface.instance_id and state == ec2.MISSING:
        yield f"PairInstanceIds: EC2 does not know {instance}; expected an instance of this account and region"


def _addresses(config: Config, seen: Observed, own: list[Interface]) -> Iterator[str]:
    if config.floating_ip_addresses and len({interface.subnet_id for interface in own}) > 1:
        named = " and ".join(f"{interface.id} is in {interface.subnet_id} ({interface.zone})" for interface in own)
        yield (
            f"FloatingIpAddresses cannot move between subnets: {named}; expected one subnet, or overlay routes "
            f"(OverlayCidrs with OverlayRouteTableIds) instead of private addresses"
        )
    for interface in own:
        for address in set(interface.primary) & set(config.floating_ip_addresses):
            yield f"FloatingIpAddresses: {address} is the primary address of {interface.id}; expected a secondary one"
    for address in config.floating_ip_addresses:
        if seen.subnets and not _inside(address, [cidr for cidrs in seen.subnets.values() for cidr in cidrs]):
            named = "; ".join(f"{subnet} has {', '.join(cidrs)}" for subnet, cidrs in seen.subnets.items())
            yield f"FloatingIpAddresses: {address} is outside the subnet of the pair; {named}"


def _tables(config: Config, seen: Observed, own: list[Interface]) -> Iterator[str]:
    for table in seen.tables.values():
        for cidr in config.overlay_cidrs:
            if _inside(cidr, table.local):
                yield f"OverlayCidrs: {cidr} lies inside the VPC of {table.id}, which has {', '.join(table.local)}"
        if other := [interface.vpc_id for interface in own if interface.vpc_id != table.vpc_id]:
            yield f"OverlayRouteTableIds: {table.id} is of {table.vpc_id}, and the pair of {other[0]}"


def _inside(name: str, cidrs: Iterable[str]) -> bool:
    network = ipaddress.ip_network(name)
    others = [other for other in map(ipaddress.ip_network, cidrs) if other.version == network.version]
    return any(network.subnet_of(other) for other in others)  # type: ignore[arg-type]  # of one version


def odd(config: Config, seen: Observed) -> dict[str, Words]:
    """Return in a word what is not as it must be until a person mends it, and in words with its remedy."""
    left = "; ".join(plan(config, seen).left.values())
    wrong = "; ".join(problems(config, seen))
    found = {LEFT: left, "parameters": wrong} | ({} if wrong else checks(config, seen) | missing_side(config, seen))
    return {word: Words(text) for word, text in found.items() if text}


def checks(config: Config, seen: Observed) -> dict[str, str]:
    """Return what would keep something from its other side: the source/destination check there, or a lack of room."""
    found = dict[str, str]()
    own = config.pair_interface_ids
    for interface in own:
        if config.overlay_cidrs and interface in seen.interfaces and seen.interfaces[interface].source_dest_check:
            off = f"--network-interface-id {interface} --no-source-dest-check"
            command = aws_command(config, "ec2 modify-network-interface-attribute", off)
            found[f"check:{interface}"] = (
                f"the source/destination check of {interface} is on, so it drops overlay traffic: {command}"
            )
        there = [name for name, place in places(config, seen).items() if place in own and place != interface]
        lost = stranded(config, seen, interface, there) if interface in seen.interfaces else ()
        found[f"room:{interface}"] = "; ".join(f"{name} would find {no_room(config, interface)}" for name in lost)
    return {word: text for word, text in found.items() if text}


def missing_side(config: Config, seen: Observed) -> dict[str, str]:
    """Return the sides of the pair that could take nothing when they run, each with its remedy."""
    found = dict[str, str]()
    for instance, name in sides(config):
        interface, only = seen.interfaces.get(name), f"the pair has one side only, {_state(seen, instance, name)}"
        if seen.instances[instance] in ("terminated", ec2.MISSING) or interface is None:
            new = "put a new instance and its interface into PairInstanceIds and PairInterfaceIds"
            found[f"gone:{instance}"] = f"{only}{'' if interface else f' and there is no {name}'}; {new}"
        elif interface.leaving or not interface.instance_id:
            found[f"apart:{instance}"] = f"{only}; attach {name} to {instance}"
    return found


def of_sides(config: Config, seen: Observed) -> str:
    """Return the state of each instance of the pair, and whose interface is not attached to it."""
    return ", ".join(_state(seen, instance, name) for instance, name in sides(config))


def _state(seen: Observed, instance: str, name: str) -> str:
    interface, text = seen.interfaces.get(name), f"{instance} is {seen.instances[instance]}"
    if interface and seen.instances[instance] not in ec2.GONE and (interface.leaving or not interface.instance_id):
        text += f", but {name} is {'being detached from it' if interface.leaving else 'not attached to it'}"
    return text


def unserved(config: Config, seen: Observed) -> bool:
    """Tell whether something declared is nowhere, or on an instance that does not run, whatever the parameters say."""
    held = {each.id: each.instance_id for each in seen.interfaces.values() if not each.leaving}
    nobody = ("", *config.pair_interface_ids)
    return any(
        seen.instances.get(held[place], "running") != "running" if held.get(place) else place in nobody
        for place in places(config, seen).values()
    )
