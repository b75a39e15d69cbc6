"""Judge a whole rotation before its first change."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from kirikae.elb import group_name
from kirikae.notify import Words
from kirikae.rotation import fleet, guard, terms
from kirikae.rotation.request import Request
from kirikae.rotation.steps import GRACE_SECONDS, ended
from kirikae.rotation.world import Config, Member, Observed, Rotation, members

MOST_TARGETS = 100  # of one execution, whose history has 25,000 events
# Of the document at its beginning, half of what Step Functions hands from state to state: results are added to it.
# https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
MOST_BYTES = 131072


def judge(config: Config, asked: Request, seen: Observed, started: datetime) -> Rotation:
    """Return the document of the rotation; its `next` is take-out, or finish where it is refused or a dry run."""
    seen, (drain, tail) = _hopeful(seen), terms.drain_and_tail_seconds(seen.terms)
    queue, skipped, unfit = _queue(config, asked, seen)
    problems = [*_obstacles(seen, queue), *unfit]
    if not queue and not problems:
        problems.append("no target is left to rotate: " + "; ".join(f"{s['id']} is {s['reason']}" for s in skipped))
    if 0 < asked.drain_timeout_seconds < drain:
        problems.append(f"drain_timeout_seconds is {asked.drain_timeout_seconds}, but draining takes {drain} s here")
    made = Rotation(
        groups=list(asked.groups),
        hook=asked.hook,
        batch_size=asked.batch_size,
        empty_zones=asked.empty_zones,
        drain_seconds=drain,
        tail_seconds=tail,
        drain_timeout_seconds=asked.drain_timeout_seconds or drain + GRACE_SECONDS,
        healthy_timeout_seconds=asked.healthy_timeout_seconds,
        started=started.isoformat(timespec="seconds"),
        queue=queue,
        out=[],
        done=[],
        skipped=skipped,
        unused=guard.idle(seen.health, seen.terms),
        next="take-out",
    )
    if too_large := _too_large(made):
        problems, made = [*problems, too_large], {**made, "queue": [], "skipped": []}
    if problems:
        return ended(made, "Refused", Words("; ".join(dict.fromkeys(problems))))
    if config.dry_run:
        ids = ", ".join(member["id"] for member in queue)
        en = f"DryRun is true, so nothing was changed. Would be rotated: {ids}"
        ja = f"DryRun が true のため、何も変更していません。対象となるターゲット: {ids}"
        return ended(made, "DryRun", Words(en, ja))
    return made


def _too_large(made: Rotation) -> str:
    """Return why Step Functions would not hand the document on to the end, or "": how large it is."""
    if (size := len(json.dumps(made))) <= MOST_BYTES:
        return ""
    places = sum(len(member["places"]) for member in made["queue"])
    what = f"{len(made['queue'])} targets in {places} places, and their hook, are {size} bytes"
    return f"{what}, more than one execution takes ({MOST_BYTES}); name some targets, or some groups"


def _hopeful(seen: Observed) -> Observed:
    """Count targets in their first health check as healthy: they will have to be before another one leaves."""
    health = {
        group: tuple(replace(target, state="healthy") if target.state == "initial" else target for target in targets)
        for group, targets in seen.health.items()
    }
    return replace(seen, health=health)


def _queue(config: Config, asked: Request, seen: Observed) -> tuple[list[Member], list[dict[str, str]], list[str]]:
    """Return the targets to rotate, those that serve nobody anyway, and problems of the others."""
    unplaced = guard.unplaced(seen.health, seen.terms)
    registered = members(seen.health, seen.groups, unplaced)
    queue, skipped, problems = list[Member](), list[dict[str, str]](), list[str]()
    elsewhere = {target: group_name(group) for group, target in sorted(unplaced) if target not in registered}
    for target in asked.ids or [*registered, *elsewhere]:
        scaling_group, life = seen.scaling.get(target, ("", ""))
        if reason := fleet.unable(scaling_group, life, _state(target, seen) if target in registered else ""):
            skipped.append({"id": target, "reason": reason})
        elif target in elsewhere:
            reason = f"unused in {elsewhere[target]}: its Availability Zone is not enabled for the load balancer"
            skipped.append({"id": target, "reason": reason})
        elif target not in registered:
            problems.append(f"{target} is registered in none of the groups, or is being deregistered")
        else:
            member: Member = {**registered[target], "scaling_group": scaling_group}
            queue.append(member)
            problems += _unfit(config, asked, member, seen)
    return queue, skipped, problems


def _state(target: str, seen: Observed) -> str:
    """Return the state of an instance; stopped also if only load balancing shows it so: EC2 may be late."""
    found = {t.reason for targets in seen.health.values() for t in targets if t.id == target and t.state != "draining"}
    return "stopped" if "Target.InvalidState" in found else seen.states.get(target, "")


def _unfit(config: Config, asked: Request, member: Member, seen: Observed) -> Iterator[str]:
    """Yield why a registered target cannot be rotated."""
    if member["scaling_group"] and not config.rotation_allow_standby:
        yield (
            f"{member['id']} is in Auto Scaling group {member['scaling_group']}, which would replace it; "
            f"RotationAllowStandby=true lets it enter Standby"
        )
    elif group := seen.scaling_groups.get(member["scaling_group"]):
        yield from fleet.harm(config, group, member["id"], asked.groups)
    if short := guard.shortfall(member, seen.health, seen.terms):
        yield short


def _obstacles(seen: Observed, queue: Sequence[Member]) -> Iterator[str]:
    """Yield why no rotation may begin now, whichever its targets; of those in the queue each has to be reached."""
    if seen.running:
        yield f"the execution {seen.running} rotates the same groups"
    if seen.hold:
        yield seen.hold
    if seen.sorry:
        yield "the sorry page is on"
    yield from sorted({seen.documents[member["id"]] for member in queue if member["id"] in seen.documents})
    if len(queue) > MOST_TARGETS:
        yield f"{len(queue)} targets are more than one execution takes ({MOST_TARGETS}); name some"
    quiet = guard.idle(seen.health, seen.terms)
    for group in seen.groups:
        targets = seen.health[group.arn]
        healthy, least = len(guard.healthy(seen.health, group.arn)), seen.terms[group.arn].least
        if group.target_type not in ("instance", "ip"):
            yield f"{group_name(group.arn)} has targets of type {group.target_type}, expected instance or ip"
        elif not targets:
            yield f"{group_name(group.arn)} has no registered target"
        elif group.arn not in quiet and healthy < least:
            yield f"{group_name(group.arn)} has {healthy} healthy targets, needed {least} to begin with"
    if seen.managed is not None and (deaf := sorted({member["id"] for member in queue} - seen.managed)):
        yield f"Systems Manager does not reach {', '.join(deaf)}: is the agent online?"
