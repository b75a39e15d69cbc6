"""One target out of its groups and back, guarded; and what keeps a rotation from beginning."""

from collections.abc import Callable, Collection, Container, Iterable, Mapping
from datetime import datetime, timedelta

from botocore.exceptions import ClientError

from kirikae import clock, ec2, elb, hold, listeners, patience
from kirikae.errors import UnfinishedError
from kirikae.notify import Words
from kirikae.rotation import claims, fleet, guard, membership, scaling
from kirikae.rotation.claims import Claim, Found
from kirikae.rotation.world import Config, Health, Member, Place, Terms, by_group

# Auto Scaling terminates what it finds so when it is in service; nothing that has gone for good is lost by that.
_NOT_YET = frozenset({"pending", "stopping", "stopped"})


def leave(
    config: Config,
    member: Member,
    terms: Mapping[str, Terms],
    by: str,
    wanted: Callable[[], bool],
    out: Iterable[str] = (),
) -> str:
    """Take one target out safely: check, claim, check for other claims, deregister, check again.

    Return why it stayed, or "".  `wanted` is asked last: False if the execution was aborted meanwhile.  `out`: what the
    caller has out; with what others have just claimed it counts as gone, because health may be shown as it was before.
    A claim that the caller has already stays whatever becomes of this: an earlier try may have let the target leave.
    """
    groups = list(by_group(member["places"]))
    now, seen, found = clock.now(), membership.health(groups), membership.claims(groups)
    tried = claims.mine(found, member["id"], by)
    if problem := _taken(member, seen, claims.others(found, member["id"], by), now):
        return problem
    if short := _short(member, seen, terms, {*out, *claims.leaving(found, "", now)}):
        return short
    shown, problem = _claim(member, by, now)
    others = {*out, *claims.leaving(shown, "", now)}
    if problem := problem or _short(member, seen, terms, others):
        if not tried and not claims.others(shown, member["id"], by):
            membership.unclaim(member)
        return problem
    ours = bool(tried or guard.absent(member, seen))  # an earlier try may have put it into Standby
    if member["scaling_group"] and (problem := _stand_by(config, member, terms, ours=ours)):
        if not tried:
            close(config, [member], away=[member["id"]])  # not brought out of Standby, where others may have it
        return problem
    membership.take_out(member)
    short = guard.shortfall(member, membership.health(groups), terms, others)
    if not short and wanted():
        return ""
    return undo(config, member, short or "the execution was aborted")


def _taken(member: Member, seen: Health, others: Iterable[Claim], now: datetime) -> str:
    """Return by whom else the target is out or, whatever health shows, about to leave; "" if nobody has it."""
    for other in others:
        # A claim is believed as far as health shows it.
        drains = "draining" in [guard.state_of(member, place, seen) for place in other.places]
        if drains or guard.absent(member, seen):
            return f"{member['id']} is out already, by {other.by}"
        if abs(now - other.at) < timedelta(seconds=claims.CLAIM_SECONDS):
            return f"{member['id']} is leaving, by {other.by}"
    return ""


def undo(config: Config, member: Member, why: str) -> str:
    """Put back at once a target that has just left; return that and why, or raise UnfinishedError: it is still out."""
    if problem := give_back(member):
        raise UnfinishedError(f"{why}, and it cannot be put back now: {problem}")
    membership.mark_back(member, clock.now())
    close(config, [member])
    return f"put back at once: {why}"


def _stand_by(config: Config, member: Member, rotated: Container[str], *, ours: bool) -> str:
    """Put the instance of a claimed target into Standby, or find it there if it is ours; return why not, or ""."""
    if scaling.standing_by([member["id"]]):
        return "" if ours else f"{member['id']} is in Standby of Auto Scaling group {member['scaling_group']} already"
    if harm := next(fleet.harm(config, fleet.read(member["scaling_group"]), member["id"], rotated), ""):
        return harm
    try:
        scaling.stand_by(config, member["id"], member["scaling_group"])
    except ClientError as error:
        return f"{member['id']} cannot enter Standby: {error.response['Error']['Message']}"
    return ""


def _claim(member: Member, by: str, now: datetime) -> tuple[Found, str]:
    """Claim the target, and look until that shows: then whatever was claimed before shows, too.

    Return every claim, and why the target may not leave, or "".
    """
    groups = list(by_group(member["places"]))
    try:
        membership.claim(member, by, now)
    except ClientError as error:
        if error.response["Error"]["Code"] != membership.FULL:
            raise
        return membership.claims(groups), f"{member['id']} stays: the tags of its groups leave no room for its claim"
    tags = patience.until(lambda: elb.tags(groups), lambda shown: membership.claimed(member, by, now, shown)) or {}
    found = claims.from_tags(tags)
    if membership.claimed(member, by, now, tags):
        return found, ""
    if others := claims.others(found, member["id"], by):
        return found, f"{member['id']} is out already, by {others[0].by}"
    return found, f"{member['id']} stays: the tag that says that it leaves does not show"


def _short(member: Member, seen: Health, terms: Mapping[str, Terms], others: set[str]) -> str:
    """Return the shortfall without this one and the others, who are named if it is because of them."""
    others = others - {member["id"]}
    short = guard.shortfall(member, seen, terms, others)
    if not short or not others or guard.shortfall(member, seen, terms):
        return short
    return f"{short} ({', '.join(sorted(others))} has just left, is leaving, or has just come back)"


def give_back(member: Member, places: list[Place] | None = None) -> str:
    """Register one target as it was, or only in these places; return why that is not possible, or "".

    Everywhere, whatever health shows: it may still be that of before the target left.
    """
    if member["scaling_group"]:
        if (state := ec2.instance_states([member["id"]])[member["id"]]) in _NOT_YET:
            return f"{member['id']} is {state}"
        try:
            if entering := scaling.in_service(member["id"], member["scaling_group"]):
                return membership.Passing(entering)
        except ClientError as error:  # whatever it is: one that cannot come back keeps no other one out
            said = f"{member['id']} cannot leave Standby: {error.response['Error']['Message']}"
            return membership.Passing(said) if membership.passes(error) else said
    return membership.put_back(member, member["places"] if places is None else places)


def give_back_running(members: list[Member], seen: Health) -> tuple[dict[str, str], dict[str, str]]:
    """Put back every target whose instance runs, each by itself; return by id its state if not, and why not else.

    One that was put back before is registered again only where it has gone since.
    """
    states = ec2.instance_states(member["id"] for member in members if member["id"].startswith("i-"))
    stopped = {
        target: states[target]
        for target in (member["id"] for member in members)
        if states.get(target, "running") != "running"
    }
    problems = {
        member["id"]: give_back(member, guard.absent(member, seen) if "in_at" in member else None)
        for member in members
        if member["id"] not in stopped
    }
    return stopped, {target: problem for target, problem in problems.items() if problem}


def take_out_again(members: Iterable[Member], terms: Mapping[str, Terms], by: str) -> None:
    """Deregister targets that did not become healthy from the places where they are not, if that group can spare them.

    Read anew: where they serve alone by now, or others have left meanwhile, they stay.
    """
    seen, now = membership.health(terms), clock.now()
    gone = claims.leaving(membership.claims(terms), by, now)
    for member in members:
        for places in by_group(guard.sick(member, seen, terms)).values():
            there: Member = {**member, "places": places}
            if not guard.shortfall(there, seen, terms, gone):
                membership.take_out(there)


def close(config: Config, members: list[Member], away: Collection[str] = ()) -> None:
    """Remove all traces of a rotation: the MinSize that Standby cost, and the claims.

    away: those that were not brought out of Standby, for which MinSize stays as it is, and is owed.
    """
    for group in sorted({member["scaling_group"] for member in members} - {""}):
        scaling.restore_min_size(config, group, [member["id"] for member in members if member["id"] not in away])
    for member in members:
        membership.unclaim(member)


def held(config: Config, *, unread: bool = True) -> Words:
    """Return why nothing may begin, or "": unlike a failover, a rotation waits for a hold that cannot be read.

    unread: whether that counts, too; it passes, so nobody is refused because of it.
    """
    wish = hold.read(config.hold_parameter, clock.now())
    if wish is None:
        words = Words(f"{config.hold_parameter} cannot be read", f"{config.hold_parameter} を読み取れません")
        return words if unread else Words("")
    return wish.why(config.hold_parameter) if wish.problem or wish.on else Words("")


def sorry(config: Config) -> bool:
    """Tell whether an NLB listener of this stack serves the sorry page, or whatever else is not the application."""
    found = listeners.there(config.nlb_listener_arns) if config.nlb_listener_arns else ()
    return any(weight for each in found for group, weight in each.weights.items() if group not in config.primary)
