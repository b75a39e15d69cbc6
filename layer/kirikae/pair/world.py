"""The address pair as values: settings, what is seen of the world, and the move."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from kirikae import env
from kirikae.checks import Status
from kirikae.decision import Change
from kirikae.pair.addresses import ElasticIp, Interface, RouteTable
from kirikae.tell import UNANSWERED
from kirikae.told import ALARMS, ODD

NOWHERE = "nowhere"
ELASTIC_IPS, ROUTES = "Elastic IPs", "route tables"  # kinds that are read apart from the rest
IMPAIRED = "impaired"  # the key of the holders that run and fail a status check
REFUSED = "refused"  # the key of the IPv6 addresses that EC2 refused to bring away from such a holder
CONDITIONS = (IMPAIRED, REFUSED, *ODD)  # the keys that are no places
REST = "all others"  # instead of hundreds of names
_LONG = 1000  # characters, of the 4,096 that a parameter holds


def is_ipv6(name: str) -> bool:
    """Tell an IPv6 address from the other names."""
    return ":" in name and " " not in name


def is_ipv4(name: str) -> bool:
    """Tell an IPv4 address from the other names."""
    return name[0].isdigit() and ":" not in name


def is_route(name: str) -> bool:
    """Tell an overlay route from the other names."""
    return " " in name


@dataclass(frozen=True, kw_only=True)
class Config(env.Stack):
    """The pair, and the addresses and routes that belong on its running instance."""

    pair_instance_ids: tuple[str, ...] = env.instance_ids()
    pair_interface_ids: tuple[str, ...] = env.must(
        r"eni-[0-9a-f]{8,17}", "network interface ids like eni-0123456789abcdef0"
    )  # in the order of the instances
    floating_ip_addresses: tuple[str, ...] = env.read_by(
        lambda text: str(ip_address(text)), "IP addresses like 10.0.0.50", default=()
    )  # `2001:DB8:0::5` is kept as `2001:db8::5`, as EC2 writes it
    elastic_ip_allocation_ids: tuple[str, ...] = env.must(
        r"eipalloc-[0-9a-f]{8,17}", "allocation ids like eipalloc-0123456789abcdef0", default=()
    )
    overlay_cidrs: tuple[str, ...] = env.read_by(
        lambda text: str(ip_network(text, strict=False)), "networks like 192.168.99.1/32", default=()
    )  # `192.168.99.1/24` is kept as `192.168.99.0/24`, as EC2 makes a route of it
    overlay_route_table_ids: tuple[str, ...] = env.must(
        r"rtb-[0-9a-f]{8,17}", "route table ids like rtb-0123456789abcdef0", default=()
    )
    pair_move_when_impaired: bool = False
    impaired_alarm_names: tuple[str, ...] = env.of_stack(default=())  # in the order of the instances; or none


@dataclass(frozen=True)
class Observed:
    """The world as far as the decision needs it."""

    instances: Mapping[str, str]  # id -> state
    interfaces: Mapping[str, Interface]  # the pair's, and others that hold something declared
    subnets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # asked only for addresses outside the pair
    elastic: Mapping[str, ElasticIp] = field(default_factory=dict)
    tables: Mapping[str, RouteTable] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)  # ELASTIC_IPS or ROUTES -> why EC2 did not tell them
    statuses: Mapping[str, Status] = field(default_factory=dict)  # of what runs; asked only while nothing else is due
    alarms: Mapping[str, str] = field(
        default_factory=dict
    )  # id -> state, with why it is silent; asked only while a check fails
    arrived: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # name -> from where and to where, lately


@dataclass(frozen=True)
class Move(Change):
    """Bring what is declared to the interface `to`; `sources` is name -> where it is now, empty if nowhere."""

    to: str
    sources: Mapping[str, str]

    def record(self) -> dict[str, Any]:
        """Return the change as it is logged; there the sources are `from`, a keyword of Python."""
        return {"to": self.to, "from": dict(self.sources)}


def to_tell(here: Mapping[str, str]) -> dict[str, str]:
    """Return in words where everything is, interface -> names: what people are told, as it is noted.

    Of hundreds the largest group is the rest, and each that is too long besides is noted by its places in the list.
    """
    found = dict[str, list[str]]()
    for name, place in here.items():
        found.setdefault(place or NOWHERE, []).append(name.replace(" ", "_"))
    said = {place: " ".join(sorted(names)) for place, names in found.items()}
    for place in sorted(said, key=lambda place: -len(said[place])):
        if len("".join(said.values())) > _LONG:
            said[place] = _places(here, place) if REST in said.values() else REST
    return said


def _places(here: Mapping[str, str], place: str) -> str:
    """Return which of the names, in their order, are at a place: a bit for each of the list that has this mark."""
    bits = sum(1 << number for number, name in enumerate(sorted(here)) if (here[name] or NOWHERE) == place)
    return f"list {_mark(here)}: {bits:x}"


def _mark(names: Iterable[str]) -> str:
    return hashlib.sha256(" ".join(sorted(names)).encode()).hexdigest()[:16]


def _at(noted: str, declared: Iterable[str]) -> list[str] | None:
    """Return the names that are noted; None for places in another list, as before the parameters were changed."""
    names = sorted(declared)
    if not (found := re.fullmatch("list ([0-9a-f]+): ([0-9a-f]+)", noted)):
        return [name.replace("_", " ") for name in noted.split()]
    bits = int(found[2], 16)
    return [name for number, name in enumerate(names) if bits >> number & 1] if found[1] == _mark(names) else None


def told_of(known: Mapping[str, str], declared: Iterable[str]) -> dict[str, str]:
    """Return where everything was when people were told last, name -> interface, nothing where it was nowhere."""
    no_places = (*CONDITIONS, UNANSWERED, ALARMS)
    places = {key: "" if key == NOWHERE else key for key in known if key not in no_places}
    lists = {key: _at(known[key], declared) for key in places if known[key] != REST}
    named = {name: places[key] for key, names in lists.items() for name in names or ()}
    rest = [key for key in places if known[key] == REST and None not in lists.values()]
    return {name: places[key] for key in rest for name in declared} | named
