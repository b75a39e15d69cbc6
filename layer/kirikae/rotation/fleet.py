"""The instances behind targets, and their Auto Scaling groups: what keeps one from leaving and coming back."""

from collections.abc import Container, Iterator, Mapping
from shlex import quote

from kirikae import ec2, notify
from kirikae.rotation import claims, redrive, scaling
from kirikae.rotation.claims import Found
from kirikae.rotation.world import Config, Member, Rotation, ScalingGroup


def unable(scaling_group: str, life: str, state: str) -> str:
    """Return why an instance is left as it is, or "": it serves nobody, and cannot come back or is others' work.

    life: its life cycle state in its Auto Scaling group.  state: that of EC2; one that does not run can be
    deregistered, but not registered.
    """
    if scaling_group and life != "InService":
        return f"{life} in Auto Scaling group {scaling_group}"
    return "registered, but its instance does not run" if state in ec2.DOWN | ec2.GONE else ""


def at_turn(config: Config, state: Rotation, registered: Mapping[str, Member], found: Found, by: str) -> Rotation:
    """Return the document with its queue as it is now; what cannot be rotated any more is left aside."""
    claimed = {member["id"] for member in state["queue"] if claims.mine(found, member["id"], by)}
    instances = [member["id"] for member in state["queue"] if ec2.is_id(member["id"])]
    places, states = scaling.places(instances), ec2.instance_states(instances)
    groups = {target: group for target, (group, _) in places.items()}
    aside = {target: _unable_now(config, *places.get(target, ("", "")), states[target]) for target in instances}
    return redrive.placed(state, registered, groups, {t: said for t, said in aside.items() if said}, claimed)


def _unable_now(config: Config, scaling_group: str, life: str, state: str) -> str:
    """Return why an instance is left aside at its turn, or ""; one that comes from Standby just now is waited for."""
    if scaling_group and not config.rotation_allow_standby:
        return f"in Auto Scaling group {scaling_group}, RotationAllowStandby being false,"
    return unable("" if life.startswith("Pending") else scaling_group, life, state)


def read(name: str) -> ScalingGroup:
    """Return what an Auto Scaling group does when one of its instances enters Standby; nothing if it was deleted."""
    group = scaling.described(name)
    attached = {*group.get("TargetGroupARNs", []), *group.get("LoadBalancerNames", [])}
    attached |= {source["Identifier"] for source in group.get("TrafficSources", [])}
    zones = {zone: set[str]() for zone in group.get("AvailabilityZones", [])}
    for instance in group.get("Instances", []):
        if instance["LifecycleState"].startswith(("InService", "Pending")) and instance["AvailabilityZone"] in zones:
            zones[instance["AvailabilityZone"]].add(instance["InstanceId"])
    suspended = {process["ProcessName"] for process in group.get("SuspendedProcesses", [])}
    return ScalingGroup(
        name,
        tuple(sorted(attached)),
        {zone: frozenset(instances) for zone, instances in zones.items()},
        "AZRebalance" not in suspended,
    )


def harm(config: Config, group: ScalingGroup, instance_id: str, rotated: Container[str]) -> Iterator[str]:
    """Yield what the Standby of an instance would do to others.

    rotated: the target groups that are guarded; Standby deregisters from each that is attached.  When the zones differ
    by more than one instance then, Auto Scaling launches one, and terminates one that serves.
    https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-enter-exit-standby.html
    https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-suspend-resume-processes.html
    """
    if others := [arn.split("/")[1] if "/" in arn else arn for arn in group.attached if arn not in rotated]:
        yield (
            f"{instance_id} would leave {', '.join(others)}, too, which Auto Scaling group {group.name} has attached "
            f"and this does not guard: name it in RotationTargetGroupArns (and target_group_arns), or detach it"
        )
    before = [len(instances) for instances in group.zones.values()]
    after = {zone: len(instances - {instance_id}) for zone, instances in group.zones.items()}
    most, least = (
        max(after, key=lambda zone: after[zone], default=""),
        min(after, key=lambda zone: after[zone], default=""),
    )
    if group.rebalances and after and after[most] - after[least] > max(1, max(before) - min(before)):
        name = f"--auto-scaling-group-name {quote(group.name)} --scaling-processes AZRebalance"
        yield (
            f"without {instance_id}, Auto Scaling group {group.name} would have {after[most]} instances in service in "
            f"{most} and {after[least]} in {least}, and terminate one to balance its zones. Before the rotation: "
            f"{notify.aws_command(config, 'autoscaling suspend-processes', name)} (after it: resume-processes)"
        )
