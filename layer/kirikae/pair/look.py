"""Where everything declared is, and the status checks of what runs: one kind that EC2 does not tell keeps no other."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import alarms, clock, told
from kirikae.checks import instance_statuses
from kirikae.errors import InputError, UnfinishedError
from kirikae.events import Hint
from kirikae.log import logger
from kirikae.pair import addresses
from kirikae.pair.plan import impaired, led_to, plan, sides, up
from kirikae.pair.world import ELASTIC_IPS, ROUTES, Config, Observed, is_ipv4, is_ipv6

# Name -> from where and to where this process has brought it, and when it saw it there: whoever asks again may be
# answered by a replica that is behind, and would move and tell the same once more.
_arrived: dict[str, tuple[str, str, datetime]] = {}


def has_arrived(names: Mapping[str, str], to: str) -> None:
    """Remember for a moment what was seen to arrive, and where it had been."""
    _arrived.update({name: (place, to, clock.now()) for name, place in names.items()})


def look(config: Config, seen: Observed) -> Observed:
    """Read where everything declared is; ask for other interfaces only when something is not on the pair.

    What is seen of the instances stays as it is.  Elastic IPs and routes that cannot be read are named in `unread`.
    """
    found = addresses.interfaces("network-interface-id", config.pair_interface_ids)
    unread, subnets = dict[str, str](), dict[str, tuple[str, ...]]()
    elastic = _read(addresses.elastic_ips, config.elastic_ip_allocation_ids, ELASTIC_IPS, unread)
    tables = _read(addresses.route_tables, config.overlay_route_table_ids, ROUTES, unread)
    held = {address for interface in found.values() for address in interface.addresses}
    elsewhere = [address for address in config.floating_ip_addresses if address not in held]
    if found and elsewhere:
        # They serve an error in the parameters only: without them, EC2 refuses what is outside.
        subnets = _read(addresses.subnet_cidrs, {each.subnet_id for each in found.values()}, "subnets", {})
        vpc_id = next(iter(found.values())).vpc_id
        ipv4, ipv6 = filter(is_ipv4, elsewhere), filter(is_ipv6, elsewhere)
        found |= addresses.interfaces("addresses.private-ip-address", ipv4, vpc_id)
        found |= addresses.interfaces("ipv6-addresses.ipv6-address", ipv6, vpc_id)
    late = {name: (place, to) for name, (place, to, at) in _arrived.items() if clock.now() - at < told.STALE_READS}
    seen = replace(seen, interfaces=found, subnets=subnets, elastic=elastic, tables=tables, unread=unread, arrived=late)
    known = (*found, *config.pair_interface_ids)  # those of the pair were asked for: one that is missing is gone
    others = {place for place in led_to(config, seen).values() if place.startswith("eni-") and place not in known}
    return replace(seen, interfaces=found | addresses.interfaces("network-interface-id", others))


def _read[T](
    read: Callable[[Iterable[str]], dict[str, T]], ids: Iterable[str], kind: str, unread: dict[str, str]
) -> dict[str, T]:
    """Return what is read of a kind; nothing if it cannot be read, and then note why."""
    try:
        return read(ids)
    except (ClientError, BotoCoreError) as error:
        logger.warning("the %s cannot be read; the rest is looked at without them", kind, problem=str(error))
        unread[kind] = f"the {kind} cannot be read, the next run looks again: {error}"
        return {}


def with_checks(config: Config, seen: Observed, hint: Hint) -> Observed:
    """Read the status checks of what runs, too, unless something is due that does not need them.

    While both sides run they tell which one is fit; if they cannot be read, what is due without them does not wait.
    Raises UnfinishedError if nothing is due as far as the world could be read.
    """
    due = bool(plan(config, seen).moves)
    if seen.unread and not due:
        raise UnfinishedError("; ".join(seen.unread.values()))
    if due and len(up(config, seen)) < 2:
        return seen
    try:
        return _checked(config, seen, hint)
    except (ClientError, BotoCoreError, InputError) as error:
        if not due:
            raise
        logger.warning("the status checks cannot be read; what is due does not wait", problem=str(error))
        return seen


def for_people(config: Config, seen: Observed) -> Observed:
    """Read the status checks of what runs where a move that was due did not wait for them; named if they cannot be."""
    if seen.statuses or not seen.instances:  # none: the parameters cannot be right
        return seen
    try:
        return _checked(config, seen)
    except (ClientError, BotoCoreError, InputError) as error:
        logger.warning("the status checks cannot be read; nothing is told of them", problem=str(error))
        return replace(seen, unread={**seen.unread, "status checks": str(error)})


def _checked(config: Config, seen: Observed, hint: Hint | None = None) -> Observed:
    """Read the status checks of what runs and, where a holder fails one, the alarms."""
    running = [instance for instance, interface in sides(config) if interface in up(config, seen)]
    seen = replace(seen, statuses={status.instance_id: status for status in instance_statuses(running)})
    if not config.impaired_alarm_names or not impaired(config, seen):
        return seen
    found = alarms.read(*config.impaired_alarm_names, removed_by="PairMoveWhenImpaired=false", hint=hint)
    states = [alarms.muted(found[name]).calling for name in config.impaired_alarm_names]
    return replace(seen, alarms=dict(zip(config.pair_instance_ids, states, strict=False)))
