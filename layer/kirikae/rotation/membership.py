"""Where targets are registered, who took them out, and the writes that take them out and put them back."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from botocore.exceptions import ClientError

from kirikae import elb, patience
from kirikae.clock import iso
from kirikae.rotation.claims import BACK, TAG, Found, claim_text, from_tags
from kirikae.rotation.guard import absent
from kirikae.rotation.world import Health, Member, Place, by_group, description

FULL = "TooManyTags"  # of a group; it takes fifty, its owner's among them
_PASSES = frozenset({"Throttling", "ThrottlingException", "RequestLimitExceeded", "PriorRequestNotComplete"})


class Passing(str):
    """Why a target is not back yet, where that passes by itself and says nothing of the target."""

    __slots__ = ()


def passes(error: ClientError) -> bool:
    """Tell whether the same request may be taken later: AWS was asked too often, or failed itself.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/CommonErrors.html
    """
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or error.response["Error"]["Code"] in _PASSES


def health(groups: Iterable[str]) -> Health:
    """Return the targets of every group."""
    return {group: elb.target_health(group) for group in groups}


def there(groups: Iterable[str]) -> Health:
    """Return the targets of every group that exists: one that was deleted keeps no target out of the others."""
    found = {}
    for group in groups:
        with elb.unless_deleted():
            found[group] = elb.target_health(group)
    return found


def health_without(member: Member, groups: Collection[str]) -> Health:
    """Look until health shows that a target has left, or the patience is over; return what it shows."""
    places = len(member["places"])
    return patience.until(lambda: health(groups), lambda seen: len(absent(member, seen)) == places) or health(groups)


def claims(groups: Iterable[str]) -> Found:
    """Return the claims on targets that are out, or about to be, by target id."""
    return from_tags(elb.tags(groups))


def claim(member: Member, by: str, at: datetime) -> None:
    """Tag every group with how the target is registered, before it leaves."""
    for group, places in by_group(member["places"]).items():
        elb.tag(group, {TAG + member["id"]: claim_text(places, by, at)})


def claimed(member: Member, by: str, at: datetime, tags: Mapping[str, Mapping[str, str]]) -> bool:
    """Tell whether the tags of the groups show this claim on every one of them."""
    return all(
        tags.get(group, {}).get(TAG + member["id"]) == claim_text(places, by, at)
        for group, places in by_group(member["places"]).items()
    )


def mark_back(member: Member, left_at: datetime) -> None:
    """Tag every group with when a target left that is back before health can have shown it: it counts as gone.

    In a group that takes no further tag, it replaces the claim.
    """
    for group in by_group(member["places"]):
        try:
            elb.tag(group, {BACK + member["id"]: iso(left_at)})
        except ClientError as error:
            if error.response["Error"]["Code"] != FULL:
                raise
            elb.untag(group, TAG + member["id"])
            elb.tag(group, {BACK + member["id"]: iso(left_at)})


def unclaim(member: Member) -> None:
    """Remove the tags that say that the target is out."""
    for group in by_group(member["places"]):
        elb.untag(group, TAG + member["id"])


def take_out(member: Member) -> None:
    """Deregister the target everywhere, with the ports that it is registered on."""
    for group, places in by_group(member["places"]).items():
        elb.deregister_targets(group, [description(member, place) for place in places])


def put_back(member: Member, places: list[Place]) -> str:
    """Register the target exactly as it was, group by group; return why Elastic Load Balancing does not take it, or "".

    Passing, if all of it is.

    A group that refuses it keeps it from no other group; one that was deleted, from none at all.  To register what is
    registered changes nothing.
    """
    problems, passing = list[str](), True
    for group, of_group in by_group(places).items():
        try:
            with elb.unless_deleted():
                elb.register_targets(group, [description(member, place) for place in of_group])
        except ClientError as error:  # whatever it is: each target and each group by itself, and all are named
            said = f"{error.response['Error']['Code']}: {error.response['Error']['Message']}"
            problems.append(f"{member['id']} cannot be registered in {elb.group_name(group)}: {said}")
            passing = passing and passes(error)
    return Passing("; ".join(problems)) if passing else "; ".join(problems)
