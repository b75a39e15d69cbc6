"""Groups that were deleted while targets are out of them: nothing is registered there, and all the others go on."""

from kirikae.elb import group_name
from kirikae.notify import Words
from kirikae.rotation.steps import ended
from kirikae.rotation.world import Health, Member, Rotation


def without(rotation: Rotation, seen: Health) -> Rotation:
    """Return it without the groups that exist no more, each named; no further target leaves because of them.

    Another group may have taken their place, and nobody guards that.
    """
    names = [group_name(group) for group in rotation["groups"] if group not in seen]
    if not names:
        return rotation
    aside = [{"id": name, "reason": "was deleted, nothing is registered there"} for name in names]
    following: Rotation = {
        **rotation,
        "groups": [group for group in rotation["groups"] if group in seen],
        "queue": [within(member, seen) for member in rotation["queue"]],
        "out": [within(member, seen) for member in rotation["out"]],
        "skipped": [*rotation["skipped"], *aside],
    }
    if "ending" in rotation or not rotation["queue"]:
        return following
    listed = ", ".join(names)
    return ended(following, "Stopped", Words(f"{listed} was deleted", f"{listed} が削除されました"))


def within(member: Member, seen: Health) -> Member:
    """Return the target with its places in the groups that were seen."""
    return {**member, "places": [place for place in member["places"] if place["group"] in seen]}
