"""The instances behind targets, and their Auto Scaling groups: what keeps one from leaving and coming back."""

from collections.abc import Mapping

from kirikae import ec2
from kirikae.rotation import claims, redrive, scaling
from kirikae.rotation.claims import Found
from kirikae.rotation.world import Config, Member, Rotation


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
