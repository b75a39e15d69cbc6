"""What each target group asks of a rotation: read from its attributes, and told where it cannot be guarded."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from kirikae import ec2, elb
from kirikae.elb import TargetGroup, group_name
from kirikae.notify import Section, Words
from kirikae.rotation.world import Health, Terms

NLB_TAIL_SECONDS = 120  # a Network Load Balancer may send new connections for this long after a deregistration
# Fewer healthy targets than this, and the group sends traffic to all of them, or leaves DNS.
_THRESHOLDS = (
    "target_group_health.dns_failover.minimum_healthy_targets",
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets",
)


def read(
    groups: Iterable[TargetGroup],
    health: Health,
    least: Callable[[str], int],
    *,
    ids: Iterable[str] = (),
    unused: Iterable[str] = (),
    empty_zones: bool = False,
) -> dict[str, Terms]:
    """Return the terms of each group; a group that no load balancer uses is not asked.

    least: healthy targets that must remain, by group ARN.  ids: targets that may not be registered now.  unused:
    groups that nothing used before.
    empty_zones: a zone may be left without a healthy target.
    """
    idle, balancers, found = set(unused), dict[str, Mapping[str, str]](), dict[str, Terms]()
    for group in groups:
        if not group.load_balancer_arns:
            found[group.arn] = Terms(used=False, idle=True)
            continue
        attributes = elb.attributes(group.arn)
        cross_zone = _cross_zone(group, attributes, balancers)
        zones = _zones(health[group.arn], ids) if cross_zone is False and not empty_zones else {}
        found[group.arn] = of(group, attributes, cross_zone, zones, least(group.arn), group.arn in idle)
    return found


def of(
    group: TargetGroup,
    attributes: Mapping[str, str],
    cross_zone: bool | None,
    zones: Mapping[str, str],
    least: int,
    idle: bool,
) -> Terms:
    """Return the terms of a group that a load balancer uses.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html
    https://docs.aws.amazon.com/elasticloadbalancing/latest/network/edit-target-group-attributes.html
    """
    of_nlb = any(":loadbalancer/net/" in arn for arn in group.load_balancer_arns)
    tail = NLB_TAIL_SECONDS if of_nlb else 0
    threshold = max(_number(attributes.get(f"{name}.count")) for name in _THRESHOLDS)
    closes = attributes.get("deregistration_delay.connection_termination.enabled", "false") == "true"
    return Terms(
        idle=idle,
        least=max(least, threshold),
        zone_least=max(1, threshold),
        percentage=max(_number(attributes.get(f"{name}.percentage")) for name in _THRESHOLDS),
        cross_zone=cross_zone,
        zones=zones,
        slow_start_seconds=_number(attributes.get("slow_start.duration_seconds")),
        drain_seconds=max(tail, _number(attributes.get("deregistration_delay.timeout_seconds"))),
        tail_seconds=tail,
        keeps_connections=of_nlb and not closes,
    )


def _number(text: str | None) -> int:
    """Return the number that an attribute has; `off`, or no such attribute, is 0."""
    return int(text) if text and text.isdecimal() else 0


def _cross_zone(
    group: TargetGroup, attributes: Mapping[str, str], balancers: dict[str, Mapping[str, str]]
) -> bool | None:
    """Tell whether the load balancer spreads traffic over the targets of all zones; None if nothing tells.

    The load balancer's own attribute decides unless the group has one; that of an ALB is always on.
    """
    key, arn = "load_balancing.cross_zone.enabled", group.load_balancer_arns[0]
    said = attributes.get(key, "use_load_balancer_configuration")
    if said == "use_load_balancer_configuration" and ":loadbalancer/app/" in arn:
        return True
    if said == "use_load_balancer_configuration":
        if arn not in balancers:
            balancers[arn] = elb.balancer_attributes(arn)
        said = balancers[arn].get(key, "")
    return {"true": True, "false": False}.get(said)


def _zones(targets: Iterable[elb.Target], ids: Iterable[str]) -> dict[str, str]:
    """Return the zones of targets, without those that are in no one zone or whose zone nothing tells.

    Load balancing says the zone of an address, EC2 that of an instance.
    """
    told = {target.id: target.availability_zone for target in targets if target.availability_zone != "all"}
    instances = sorted(target for target in {*told, *ids} if target.startswith("i-"))
    told |= {instance.id: instance.zone for instance in ec2.instances(instances)}
    return {target: zone for target, zone in told.items() if zone}


def drain_and_tail_seconds(terms: Mapping[str, Terms]) -> tuple[int, int]:
    """Return how long draining takes in groups that are in use, and how long new connections may still come."""
    drains, tails = zip(*((asked.drain_seconds, asked.tail_seconds) for asked in terms.values()), strict=True)
    return max(drains), max(tails)


def kept(least: Callable[[str], int], groups: Iterable[str]) -> Words:
    """Return how many healthy targets each group keeps; a primary group may ask for more than the others."""
    each = {group: least(group) for group in groups}
    if len(set(each.values())) == 1:
        number = max(each.values())
        said = f"Each group keeps at least {number} healthy target{'' if number == 1 else 's'}"
        return Words(said, f"各グループで最低 {number} 台を正常に保ちます")
    said = ", ".join(f"{group_name(group)} {number}" for group, number in each.items())
    return Words(f"Healthy targets that each group keeps at least: {said}", f"各グループで正常に保つ最低台数: {said}")


def notes(terms: Mapping[str, Terms], health: Health, least: Callable[[str], int], empty_zones: bool) -> list[Section]:
    """Return a section of the first mail: what the attributes of the groups tell, if anything."""
    told = list(_notes(terms, health, least, empty_zones))
    text = Words(*("\n".join(note.of(tongue) for note in told) for tongue in ("en", "ja")))
    return [(Words("Good to know", "留意点"), text)] if told else []


def _notes(
    terms: Mapping[str, Terms], health: Health, least: Callable[[str], int], empty_zones: bool
) -> Iterator[Words]:
    """Yield what an operator must know of the groups before the first target leaves."""
    for arn, asked in terms.items():
        group = group_name(arn)
        if asked.least > least(arn) or asked.percentage:
            share, ja = (
                (f" or {asked.percentage} %", f"、または {asked.percentage} %") if asked.percentage else ("", "")
            )
            yield Words(
                f"{group}: its own health thresholds ask for {asked.least} healthy targets{share}; so many remain.",
                f"{group}: グループの正常性しきい値に従い、正常なターゲットを {asked.least} 台{ja}以上残します。",
            )
        if asked.slow_start_seconds:
            yield Words(
                f"{group}: slow start; the next target leaves {asked.slow_start_seconds} s after one became healthy.",
                f"{group}: スロースタートのため、正常に戻ってから {asked.slow_start_seconds} 秒待って次へ進みます。",
            )
        if asked.keeps_connections:
            yield Words(
                f"{group}: connections that are still open after {asked.drain_seconds} s are not closed "
                f"(connection termination is off); the maintenance may cut them.",
                f"{group}: 接続の終了 (connection termination) が無効なため、{asked.drain_seconds} 秒後も残る接続は"
                f"切断されず、保守作業で切れることがあります。",
            )
        yield from _zone_notes(group, asked, [target.id for target in health[arn]], empty_zones)


def _zone_notes(group: str, asked: Terms, targets: list[str], empty_zones: bool) -> Iterator[Words]:
    if not asked.used or asked.cross_zone:
        return
    unknown = sorted(set(targets) - asked.zones.keys())
    if asked.cross_zone is None:
        yield Words(
            f"{group}: whether cross-zone load balancing is on cannot be read; zones are not guarded.",
            f"{group}: クロスゾーン負荷分散の設定を読み取れないため、ゾーンごとの確認は行いません。",
        )
    elif empty_zones:
        yield Words(
            f"{group}: cross-zone load balancing is off and empty_zones is true: a zone whose last healthy target is "
            f"out serves nobody; its address leaves DNS.",
            f"{group}: クロスゾーン負荷分散が無効で empty_zones が true です。最後の正常なターゲットを"
            f"切り離している間、そのゾーンは応答せず、DNS から外れます。",
        )
    elif unknown:
        names = ", ".join(unknown)
        yield Words(
            f"{group}: cross-zone load balancing is off and the zone of {names} is not known; it is not guarded.",
            f"{group}: クロスゾーン負荷分散が無効ですが、{names} のゾーンが不明なため、ゾーンごとの確認は行いません。",
        )
