"""The rules of an address pair: what is declared, where it is, where it belongs, and what is not ours to move.

Everything declared has a name: `10.0.0.50`, `2001:db8::50`, `eipalloc-…`, `rtb-… 192.168.99.1/32`.  Everything here is
a pure function of what was seen.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from kirikae.notify import aws_command
from kirikae.pair.world import ELASTIC_IPS, ROUTES, Config, Observed, is_ipv4, is_ipv6, is_route


def routes(config: Config) -> list[str]:
    """Name every overlay route."""
    return [f"{table} {cidr}" for cidr in config.overlay_cidrs for table in config.overlay_route_table_ids]


def sides(config: Config) -> list[tuple[str, str]]:
    """Return the pair as (instance, interface)."""
    return list(zip(config.pair_instance_ids, config.pair_interface_ids, strict=False))


def up(config: Config, seen: Observed) -> list[str]:
    """Return the interfaces that are attached to a running instance: running, not about to be and not about to stop."""
    attached = {each.id: each.instance_id for each in seen.interfaces.values() if not each.leaving}
    running = [(instance, interface) for instance, interface in sides(config) if seen.instances[instance] == "running"]
    return [interface for instance, interface in running if attached.get(interface) == instance]


def forsaken(config: Config, seen: Observed) -> str:
    """Return the interface to be left although its instance runs, nothing if there is none.

    Its status checks fail and have failed for minutes, as its alarm says, while the other one runs and passes all of
    its own.  So nothing goes to and fro: what has moved stays until the same can be said of its new holder.
    """
    running = [(instance, interface) for instance, interface in sides(config) if interface in up(config, seen)]
    if not config.pair_move_when_impaired or len(running) < 2:
        return ""
    for (weak, interface), (other, _) in (running, running[::-1]):
        if weak in seen.statuses and seen.statuses[weak].failing and seen.alarms.get(weak) == "ALARM":
            fit = (
                other in seen.statuses
                and seen.statuses[other].ready
                and not seen.alarms.get(other, "").startswith("ALARM")
            )
            return interface if fit else ""
    return ""


def settled(config: Config, seen: Observed) -> list[str]:
    """Return the interfaces on which everything may stay: those that are up, without the one to be left."""
    return [interface for interface in up(config, seen) if interface != forsaken(config, seen)]


def impaired(config: Config, seen: Observed) -> list[str]:
    """Return the running instances that hold something declared and fail a status check."""
    held = set(places(config, seen).values())
    failing = [instance for instance, status in seen.statuses.items() if status.failing]
    return [instance for instance, interface in sides(config) if instance in failing and interface in held]


def led_to(config: Config, seen: Observed) -> dict[str, str]:
    """Return what the Elastic IPs and routes lead to, also when that does not exist any more."""
    allocations = [allocation for allocation in config.elastic_ip_allocation_ids if allocation in seen.elastic]
    found = {allocation: seen.elastic[allocation].interface_id for allocation in allocations}
    for name in routes(config):
        table, cidr = name.split()
        if table in seen.tables and cidr in seen.tables[table].routes:
            found[name] = seen.tables[table].routes[cidr]
    return found


def places(config: Config, seen: Observed) -> dict[str, str]:
    """Return where everything declared is: an interface, what else a route leads to, or nothing when it is nowhere.

    What does not exist (an allocation, a table, a route) has no place at all.  While EC2 shows an address both where it
    was and where it went, the side where it may stay counts; and what has been seen there lately is not back where it
    came from: that answer is an older one.  An interface that EC2 does not describe is gone if it was
    the pair's or if the route says so (`blackhole`); else it is another account's, in a VPC that is shared.
    """
    stays = settled(config, seen)
    last = sorted(seen.interfaces.values(), key=lambda interface: interface.id in stays)
    holders = {address: interface.id for interface in last for address in interface.addresses}
    found = {address: holders.get(address, "") for address in config.floating_ip_addresses}
    own = dict(sides(config))
    for name, led in led_to(config, seen).items():
        target = own.get(led, led)  # a route may name the instance only
        unknown = target.startswith("eni-") and target not in seen.interfaces
        gone = unknown and (target in config.pair_interface_ids or _blackhole(seen, name))
        found[name] = "" if gone else target
    older = {name: to for name, (place, to) in seen.arrived.items() if found.get(name) == place and to in stays}
    return found | older


def _blackhole(seen: Observed, name: str) -> bool:
    """Tell whether this is a route whose target is gone, detached or stopped."""
    table, _, cidr = name.partition(" ")
    return table in seen.tables and cidr in seen.tables[table].blackholes


def unread(seen: Observed, name: str) -> str:
    """Return why it is not known where an Elastic IP or a route is, nothing if it is."""
    kind = ROUTES if is_route(name) else ELASTIC_IPS if name.startswith("eipalloc-") else ""
    return seen.unread.get(kind, "")


@dataclass(frozen=True)
class Plan:
    """What moves to the interface `to`, from where, and what else is declared but cannot or may not move, and why."""

    to: str
    moves: Mapping[str, str] = field(default_factory=dict)
    landings: Mapping[str, str] = field(default_factory=dict)  # allocation id -> private address on `to`
    left: Mapping[str, str] = field(default_factory=dict)


def plan(config: Config, seen: Observed) -> Plan:
    """Return what moves: whatever is where it may not stay, on no interface or, for a route, on the wrong one.

    Everything on a side that is up stays there, wherever the rest is; only the routes of one CIDR belong together.  If
    both sides are up, the moves go to the one that holds more.
    """
    here, stays = places(config, seen), settled(config, seen)
    left = dict(_left(config, seen, here))
    to = max(stays, key=list(here.values()).count, default="")
    wrong = {name: place for name, place in here.items() if name not in left and place not in stays}
    for cidr in config.overlay_cidrs:
        routed = {name: place for name, place in here.items() if name.endswith(f" {cidr}") and place in stays}
        if len(set(routed.values())) > 1:
            wrong |= {name: place for name, place in routed.items() if place != to}
    if not to:
        return Plan(to, left=left)
    if seen.interfaces[to].source_dest_check:
        left |= {name: f"{name} would be dropped by {to}" for name in wrong if is_route(name)}
    left |= {name: f"{name} finds {no_room(config, to)}" for name in stranded(config, seen, to, wrong)}
    moves = {name: place for name, place in wrong.items() if name not in left}
    return Plan(to, moves, _landings(config, seen, to, wrong), left)


def stranded(config: Config, seen: Observed, to: str, names: Iterable[str]) -> list[str]:
    """Return which of the names are Elastic IPs that find no private address on the interface `to`."""
    return [name for name in names if name in seen.elastic and name not in _landings(config, seen, to, names)]


def no_room(config: Config, interface: str) -> str:
    """Return what an Elastic IP does not find on an interface, and the command that makes room."""
    more = f"--network-interface-id {interface} --secondary-private-ip-address-count 1"
    room = aws_command(config, "ec2 assign-private-ip-addresses", more)
    return f"no private address without an Elastic IP on {interface}; to give it one: {room}"


def _left(config: Config, seen: Observed, here: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each name that does not exist, or is on something outside the pair, with the reason to leave it."""
    own = ("", *config.pair_interface_ids)
    for name in (*config.floating_ip_addresses, *config.elastic_ip_allocation_ids, *routes(config)):
        if unread(seen, name):  # it may be anywhere
            continue
        if name not in here:
            table, _, cidr = name.partition(" ")
            exists = f"{table} has no route for {cidr}; create it, to either interface" if table in seen.tables else ""
            yield name, exists or f"there is no {table} in this account and region"
        elif here[name] not in own:
            holder = seen.interfaces.get(here[name])
            # A route to another interface of the pair's instances is ours.
            if not (is_route(name) and holder and holder.instance_id in config.pair_instance_ids):
                yield name, f"hands off: {name} is on {holder or here[name]}, which is neither of the pair"


def _landings(config: Config, seen: Observed, to: str, wrong: Iterable[str]) -> dict[str, str]:
    """Choose for each Elastic IP that moves a private address on `to` that has none.

    On an address that moves, or has moved, it goes along; one that is not associated goes to the floating address in
    the same place of the list; every other one goes to the primary address or to a secondary one that is not floating.
    """
    arriving, target = {name for name in wrong if is_ipv4(name)}, seen.interfaces[to]
    free = {address for address in target.addresses if not target.addresses[address] and not is_ipv6(address)}
    others = {
        a for each in seen.interfaces.values() for a, ip in each.addresses.items() if ip and ip not in seen.elastic
    }
    free |= arriving - others - {elastic.private_ip for elastic in seen.elastic.values()}
    floating = [address for address in config.floating_ip_addresses if not is_ipv6(address)]
    own = [*target.primary, *(address for address in target.addresses if address not in floating)]
    chosen = dict[str, str]()
    for number, allocation in enumerate(config.elastic_ip_allocation_ids):
        if allocation not in wrong:
            continue
        now = seen.elastic[allocation]
        wanted = [now.private_ip, *floating[number : number + 1] * (not now.interface_id), *own]
        if now.private_ip in arriving:
            chosen[allocation] = now.private_ip
        # Where EC2 shows it although it is elsewhere by now, it was: nobody else is there.
        elif fitting := [each for each in wanted if each in free or target.addresses.get(each) == allocation]:
            chosen[allocation] = fitting[0]
            free.discard(fitting[0])
    return chosen
