"""Where targets are registered, who took them out, and the writes that take them out and put them back."""

from collections.abc import Iterable
from datetime import datetime

from botocore.exceptions import ClientError

from kirikae import elb
from kirikae.elb import TargetGroup
from kirikae.rotation import guard
from kirikae.rotation.claims import TAG, Claim, claim_text, from_tags
from kirikae.rotation.world import Health, Member, by_group, description

NLB_TAIL_SECONDS = 120  # a Network Load Balancer may send new connections for this long after a deregistration


def health(groups: Iterable[str]) -> Health:
    """Return the targets of every group."""
    return {group: elb.target_health(group) for group in groups}


def drain_and_tail_seconds(groups: Iterable[TargetGroup]) -> tuple[int, int]:
    """Return how long draining takes in groups that are in use, and how long new connections may still come."""
    in_use = [group for group in groups if group.load_balancer_arns]
    of_nlb = any(":loadbalancer/net/" in arn for group in in_use for arn in group.load_balancer_arns)
    tail = NLB_TAIL_SECONDS if of_nlb else 0
    return max([tail, *(elb.deregistration_delay_seconds(group.arn) for group in in_use)]), tail


def claims(groups: Iterable[str]) -> dict[str, Claim]:
    """Return the claims on targets that are out, or about to be, by target id."""
    return from_tags(elb.tags(groups))


def claim(member: Member, by: str, at: datetime) -> None:
    """Tag every group with how the target is registered, before it leaves."""
    for group, places in by_group(member["places"]).items():
        elb.tag(group, {TAG + member["id"]: claim_text(places, by, at)})


def unclaim(member: Member) -> None:
    """Remove the tags that say that the target is out."""
    for group in by_group(member["places"]):
        elb.untag(group, TAG + member["id"])


def take_out(member: Member) -> None:
    """Deregister the target everywhere, with the ports that it is registered on."""
    for group, places in by_group(member["places"]).items():
        elb.deregister_targets(group, [description(member, place) for place in places])


def put_back(member: Member, seen: Health) -> str:
    """Register the target wherever it is not, exactly as it was; return why Elastic Load Balancing does not take it."""
    for group, places in by_group(guard.absent(member, seen)).items():
        try:
            elb.register_targets(group, [description(member, place) for place in places])
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidTarget":  # not running, or gone
                raise
            return f"{member['id']} cannot be registered: {error.response['Error']['Message']}"
    return ""
