"""The servers behind the primary groups: which can get traffic, which are down, and who has an address."""

from collections.abc import Iterable, Mapping

from kirikae import ec2, elb
from kirikae.elb import Target
from kirikae.nlb.world import Config, Switches
from kirikae.notify import Words

type Health = Mapping[str, tuple[Target, ...]]  # by target group


def behind(primary: Health) -> dict[str, str]:
    """Return the instance behind each target that is an address of an interface in the groups' VPC, "" if none is."""
    if not (addresses := {target.id for targets in primary.values() for target in targets if is_address(target)}):
        return {}
    [group] = elb.target_groups([*primary][:1])  # all are of the load balancer's VPC
    return ec2.instances_behind(sorted(addresses), group.vpc_id)


def is_address(target: Target) -> bool:
    """Tell whether a target is an IP address, not an instance or a load balancer."""
    return not target.id.startswith(("i-", "arn:"))


def staying(health: Health) -> Health:
    """Return the targets without those that drain: these are on their way out, and no evidence that a group serves."""
    return {group: tuple(t for t in targets if t.state != "draining") for group, targets in health.items()}


def registered(targets: Iterable[Target], instances: Mapping[str, str] | None) -> dict[str, list[Target]]:
    """Return the targets of each server: of an instance, or of an address whose instance nobody knows."""
    found = dict[str, list[Target]]()
    for target in targets:
        found.setdefault((instances or {}).get(target.id) or target.id, []).append(target)
    return found


def declared(config: Config, primary: Health, instances: Mapping[str, str] | None, group: str) -> set[str]:
    """Return which of PrimaryInstanceIds are behind a group: those registered there, by id or by address.

    One that is registered nowhere is behind a group only if it may be: if the group has a target of which nobody knows
    the instance, or none at all.
    """
    here = registered(primary.get(group, ()), instances).keys()
    everywhere = {server for targets in primary.values() for server in registered(targets, instances)}
    given = set(config.primary_instance_ids)
    return given & here if here and all(server.startswith("i-") for server in here) else given - (everywhere - here)


def just_attached(switches: Switches, target: Target) -> bool:
    """Tell whether a target may only seem to be unused, because its group has just been put into the listener.

    `Target.NotInUse` has two meanings: its zone is not enabled, or nobody uses the group.  In replace mode the second
    one is still shown for a moment after the switch.
    """
    return switches.replaced and target.reason == "Target.NotInUse" and "Availability Zone" not in target.description


def gets_nothing(switches: Switches, target: Target) -> bool:
    """Tell whether no new connection can reach a target, whatever its application answers."""
    return (target.state in ("unused", "draining") or target.shifted) and not just_attached(switches, target)


def not_counted(config: Config, primary: Health) -> Words | None:
    """Return why nobody could see that the primary is back, in whichever mode: its target is a load balancer, or None.

    CloudWatch has no host counts of such a group.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/network/application-load-balancer-target.html
    """
    for group, targets in primary.items():
        for target in targets:
            if target.id.startswith("arn:"):
                name = config.names("primary")
                return Words(
                    f"{name}: the target of {group} is a load balancer, {target.id}: CloudWatch counts no hosts of "
                    f"such a group, so nobody could see that it is back; expected a group of instances or addresses",
                    f"{name}: {group} のターゲットはロードバランサー {target.id} です。CloudWatch にこの種のグループの"
                    f"正常ホスト数はなく、復旧を判断できません。インスタンスまたはアドレスのグループを指定してください",
                )
    return None


def too_few(config: Config, counts: Mapping[str, int]) -> Words:
    """Return that MinHealthyTargets cannot be met by these groups, group -> registered targets, all of them fit."""
    listed = ", ".join(f"{count} in {group}" for group, count in counts.items())
    return Words(
        f"MinHealthyTargets is {config.min_healthy_targets}, but fewer targets are registered, all of them fit: "
        f"{listed}; lower it or register more",
        f"MinHealthyTargets は {config.min_healthy_targets} ですが、登録されているターゲットはそれより少なく、"
        f"すべて正常です: {listed}。値を下げるか、ターゲットを追加登録してください",
    )


def nobodys(target: Target, instances: Mapping[str, str] | None) -> bool:
    """Tell whether a target that fails its health checks is an address of the VPC that no interface has any more.

    One outside the VPC is registered for a zone or for `all`; healthy ones may be of interfaces that are not shown.
    """
    gone = instances is not None and is_address(target) and target.id not in instances
    return gone and target.state == "unhealthy" and target.availability_zone != "all"


def no_way_back(config: Config, primary: Health, instances: Mapping[str, str] | None) -> Words | None:
    """Return why replace mode could never see that the primary is back, or None.

    A group without traffic is not health-checked, and then only the status checks of instances tell.  Each declared
    instance that no target shows may have one of the addresses of which nobody knows the instance.
    """
    if instances is None:
        return None
    for group, targets in (held := staying(primary)).items():
        unknown = [target.id for target in targets if is_address(target) and not instances.get(target.id)]
        named = declared(config, held, instances, group) - registered(targets, instances).keys()
        if len(named) < len(unknown) and len(targets) - len(unknown) + len(named) < config.min_healthy_targets:
            name, listed = config.names("primary"), ", ".join(unknown)
            return Words(
                f"{name}: no instance of EC2 in the VPC of {group} has the address {listed}, and in replace mode only "
                f"the status checks of instances tell when the primary is back; expected targets that are instances, "
                f"PrimaryInstanceIds, or SwitchMode=weighted where AWS takes it",
                f"{name}: {group} の VPC にアドレス {listed} を持つ EC2 インスタンスがありません。replace モードでは、"
                f"プライマリの復旧をインスタンスのステータスチェックでしか判断できません。ターゲットをインスタンスにするか、"
                f"PrimaryInstanceIds を指定するか、可能であれば SwitchMode=weighted にしてください",
            )
    return None


def all_outside(primary: Health, instances: Mapping[str, str]) -> bool:
    """Tell whether no address without an instance can be that of an instance that has just gone.

    An address outside the VPC is registered for a zone or for `all`, and AWS shows which.
    """
    targets = [target for of_group in primary.values() for target in of_group if is_address(target)]
    return all(target.availability_zone == "all" for target in targets if not instances.get(target.id))
