"""Look where everything declared is, move it, and look until it has arrived."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from botocore.exceptions import BotoCoreError, ClientError

from kirikae.errors import UnfinishedError
from kirikae.pair import addresses
from kirikae.pair.plan import Plan, is_ipv4, is_ipv6, is_route, led_to, places, plan
from kirikae.pair.world import Config, Move, Observed

# EC2 moves addresses asynchronously: look so often, with these pauses in seconds, before saying that it is not seen.
PAUSES = (0.2, 0.4, 0.8, 1.6, 3.0)


@dataclass(frozen=True)
class Done:
    """What was seen on the interface afterwards, where it was before, and what was not seen there, and why."""

    moved: Mapping[str, str] = field(default_factory=dict)
    unseen: Mapping[str, str] = field(default_factory=dict)


def look(config: Config, instances: Mapping[str, str]) -> Observed:
    """Read where everything declared is; ask for other interfaces only when something is not on the pair."""
    found = addresses.interfaces("network-interface-id", config.pair_interface_ids)
    elastic = addresses.elastic_ips(config.elastic_ip_allocation_ids)
    tables = addresses.route_tables(config.overlay_route_table_ids)
    subnets = dict[str, tuple[str, ...]]()
    held = {address for interface in found.values() for address in interface.addresses}
    elsewhere = [address for address in config.floating_ip_addresses if address not in held]
    if found and elsewhere:
        subnets = addresses.subnet_cidrs({interface.subnet_id for interface in found.values()})
        vpc_id = next(iter(found.values())).vpc_id
        ipv4, ipv6 = filter(is_ipv4, elsewhere), filter(is_ipv6, elsewhere)
        found |= addresses.interfaces("addresses.private-ip-address", ipv4, vpc_id)
        found |= addresses.interfaces("ipv6-addresses.ipv6-address", ipv6, vpc_id)
    seen = Observed(instances, found, subnets, elastic, tables)
    strangers = {place for place in led_to(config, seen) if place.startswith("eni-") and place not in found}
    return replace(seen, interfaces=found | addresses.interfaces("network-interface-id", strangers))


def move(config: Config, seen: Observed, change: Move) -> Done:
    """Look again, move what still has to move, and look until it has arrived.

    Everything is attempted.  Raises UnfinishedError that names what did not arrive; the next run finishes it.
    """
    to, now = change.to, look(config, seen.instances)  # since the decision, somebody else may have acted
    due = plan(config, now)
    moves = {name: place for name, place in due.moves.items() if name in change.sources and due.to == to}
    problems, refused = dict[str, str](), set[str]()
    for names, write in _writes(now, replace(due, moves=moves)):
        try:
            write()
        except (ClientError, BotoCoreError, UnfinishedError) as error:  # the rest is attempted first, then it is raised
            problems |= dict.fromkeys(names, str(error))
            refused |= set(names) if _refused(error) else set()
    missing = _not_arrived(config, now, to, moves, refused)
    unseen = {name: problems.get(name, f"EC2 accepted it, but it was not seen on {to}") for name in missing}
    done = Done({name: place for name, place in moves.items() if name not in missing}, unseen)
    if missing:
        named = "; ".join(f"{name}: {problem}" for name, problem in unseen.items())
        told = done if done.moved or missing - problems.keys() else None  # an error alone is no change to tell
        raise UnfinishedError(f"{len(missing)} of {len(moves)} did not arrive on {to}: {named}", told)
    return done


def _writes(seen: Observed, due: Plan) -> Iterator[tuple[list[str], Callable[[], None]]]:
    """Yield each write with the names of what it moves: IPv4 in one, IPv6 by source, the others one by one."""
    if ipv4 := list(filter(is_ipv4, due.moves)):
        yield ipv4, partial(addresses.assign, due.to, ipv4)
    ipv6 = list(filter(is_ipv6, due.moves))
    for source in sorted({due.moves[name] for name in ipv6}):
        names = [name for name in ipv6 if due.moves[name] == source]
        yield names, partial(addresses.move_ipv6, due.to, names, source)
    for allocation, private_ip in due.landings.items():
        if allocation in due.moves and seen.elastic[allocation].private_ip not in ipv4:  # those go with their address
            yield [allocation], partial(addresses.associate, allocation, due.to, private_ip)
    for name in filter(is_route, due.moves):
        table, cidr = name.split()
        yield [name], partial(addresses.replace_route, table, cidr, due.to)


def _refused(error: Exception) -> bool:
    """Tell whether it is certain that nothing was done: a lost answer or a failing server leaves that open."""
    if isinstance(error, ClientError):
        return bool(error.response["ResponseMetadata"]["HTTPStatusCode"] < 500)
    return isinstance(error, UnfinishedError)


def _not_arrived(config: Config, seen: Observed, to: str, moves: Mapping[str, str], refused: set[str]) -> set[str]:
    """Look until all that was not refused has arrived, or the pauses are over; return what has not."""
    for pause in (*PAUSES, 0.0):
        here = places(config, look(config, seen.instances)) if moves else {}
        missing = {name for name in moves if here.get(name) != to}
        if missing <= refused:
            break
        time.sleep(pause)
    return missing
