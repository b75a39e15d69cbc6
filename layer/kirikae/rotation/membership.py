"""Where targets are registered, who took them out, and the writes that take them out and put them back."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import batched

from botocore.exceptions import ClientError

from kirikae import aws, elb
from kirikae.rotation import claims as rotation_claims
from kirikae.rotation import guard, world
from kirikae.rotation.claims import Claim
from kirikae.rotation.world import Health, Member

_TAGGED_AT_ONCE = 20  # resources in one DescribeTags


def health(groups: Iterable[str]) -> Health:
    """Return the targets of every group."""
    return {group: elb.target_health(group) for group in groups}


def claims(groups: Iterable[str]) -> dict[str, Claim]:
    """Return who is out, or about to be, by target id.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTags.html
    """
    tags: dict[str, Mapping[str, str]] = {}
    for arns in batched(groups, _TAGGED_AT_ONCE, strict=False):
        for found in aws.client("elbv2").describe_tags(ResourceArns=list(arns))["TagDescriptions"]:
            tags[found["ResourceArn"]] = {tag["Key"]: tag["Value"] for tag in found["Tags"]}
    return rotation_claims.claims(tags)


def claim(member: Member, by: str, at: datetime) -> None:
    """Write on every group how the target is registered, before it is not any more."""
    for group in _groups(member):
        elb.tag(group, {rotation_claims.TAG + member["id"]: rotation_claims.claim_text(member, group, by, at)})


def unclaim(member: Member) -> None:
    """Forget that the target was out."""
    for group in _groups(member):
        elb.untag(group, rotation_claims.TAG + member["id"])


def take_out(member: Member) -> None:
    """Deregister the target everywhere, with the ports that it is registered on."""
    for group in _groups(member):
        elb.deregister_targets(group, [world.description(member, p) for p in member["places"] if p["group"] == group])


def put_back(member: Member, seen: Health) -> str:
    """Register the target wherever it is not, exactly as it was; say why Elastic Load Balancing does not take it."""
    missing = guard.absent(member, seen)
    for group in sorted({place["group"] for place in missing}):
        try:
            elb.register_targets(group, [world.description(member, p) for p in missing if p["group"] == group])
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidTarget":  # not running, or gone
                raise
            return f"{member['id']} cannot be registered: {error.response['Error']['Message']}"
    return ""


def _groups(member: Member) -> list[str]:
    return sorted({place["group"] for place in member["places"]})
