"""Judge a whole rotation before its first change."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from kirikae.elb import Target, TargetGroup
from kirikae.notify import Words
from kirikae.rotation.guard import shortfall
from kirikae.rotation.request import Request
from kirikae.rotation.steps import ended
from kirikae.rotation.world import Config, Health, Member, Rotation, members

NLB_TAIL_SECONDS = 120  # a Network Load Balancer may send new connections for this long after a deregistration
MOST_TARGETS = 100  # of one execution, whose history has 25,000 events


@dataclass(frozen=True)
class World:
    """What a plan is judged by."""

    groups: tuple[TargetGroup, ...]
    health: Health
    scaling: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # instance -> group, life cycle state
    running: str = ""  # the older execution on the same groups
    hold: str = ""  # why nothing may begin
    sorry: bool = False
    document: str = ""  # what is wrong with the hook's document
    managed: frozenset[str] | None = None  # instances that Systems Manager can reach; None: not asked


def plan(config: Config, asked: Request, world: World, started: datetime) -> Rotation:
    """Judge the whole rotation before its first change; the document's next is take-out, or finish when refused."""
    problems = [*_busy(world), *_unfit(config, asked, world)]
    registered = members(world.health, {group.arn: group.target_type for group in world.groups})
    skipped: list[dict[str, str]] = []
    queue: list[Member] = []
    unused = [group.arn for group in world.groups if not group.load_balancer_arns]
    hopeful = {group: tuple(map(_hopeful, targets)) for group, targets in world.health.items()}
    for target in asked.ids or registered:
        scaling_group, state = world.scaling.get(target, ("", ""))
        if scaling_group and state != "InService":
            skipped.append({"id": target, "reason": f"{state} in Auto Scaling group {scaling_group}"})
            continue
        if target not in registered:
            problems.append(f"{target} is registered in none of the groups, or is being deregistered")
            continue
        member = registered[target]
        if scaling_group and not config.rotation_allow_standby:
            problems.append(
                f"{member['id']} is in Auto Scaling group {scaling_group}, which would replace it; "
                f"RotationAllowStandby=true lets it enter Standby"
            )
        queue.append({**member, "scaling_group": scaling_group})
        if short := shortfall(config.rotation_min_healthy, hopeful, member, unused):
            problems.append(short)
    if len(queue) > MOST_TARGETS:
        problems.append(f"{len(queue)} targets are more than one execution takes ({MOST_TARGETS}); name some")
    if not queue and not problems:
        problems.append("no target is left to rotate: " + "; ".join(f"{s['id']} is {s['reason']}" for s in skipped))
    drain, tail = delays(world.groups)
    if 0 < asked.drain_timeout_seconds < drain:
        problems.append(f"drain_timeout_seconds is {asked.drain_timeout_seconds}, but draining takes {drain} s here")
    made = Rotation(
        groups=list(asked.groups),
        hook=dict(asked.hook),
        batch_size=asked.batch_size,
        drain_seconds=drain,
        tail_seconds=tail,
        drain_timeout_seconds=asked.drain_timeout_seconds or drain + 300,
        healthy_timeout_seconds=asked.healthy_timeout_seconds,
        started=started.isoformat(timespec="seconds"),
        queue=queue,
        out=[],
        done=[],
        skipped=skipped,
        unused=unused,
        next="take-out",
    )
    if problems:
        return ended(made, "Refused", Words("; ".join(dict.fromkeys(problems))))
    if config.dry_run:
        ids = ", ".join(member["id"] for member in queue)
        return ended(made, "DryRun", Words(f"DryRun is true, so nothing was changed. Would be rotated: {ids}"))
    return made


def _hopeful(target: Target) -> Target:
    """Count a target in its first health check as healthy: it will have to be before another one leaves."""
    return replace(target, state="healthy") if target.state == "initial" else target


def delays(groups: Iterable[TargetGroup]) -> tuple[int, int]:
    """Return how long draining takes, and how long new connections may go on to come, in seconds."""
    in_use = [group for group in groups if group.load_balancer_arns]
    tail = NLB_TAIL_SECONDS if any(group.of_nlb for group in in_use) else 0
    return max([tail, *(group.deregistration_delay_seconds for group in in_use)]), tail


def _busy(world: World) -> list[str]:
    """Say why no rotation may begin now."""
    problems = []
    if world.running:
        problems.append(f"the execution {world.running} rotates the same groups")
    if world.hold:
        problems.append(world.hold)
    if world.sorry:
        problems.append("the sorry page is on")
    return problems


def _unfit(config: Config, asked: Request, world: World) -> list[str]:
    """Say what is wrong with the groups and the hook."""
    problems = [world.document] if world.document else []
    for group in world.groups:
        targets = world.health[group.arn]
        healthy, least = sum(_hopeful(target).healthy for target in targets), config.rotation_min_healthy
        if group.target_type not in ("instance", "ip"):
            problems.append(f"{group.name} has targets of type {group.target_type}, expected instance or ip")
        elif not targets:
            problems.append(f"{group.name} has no registered target")
        elif group.load_balancer_arns and healthy < least:
            problems.append(f"{group.name} has {healthy} healthy targets, needed {least} to begin with")
    if world.managed is not None:
        ids = {target.id for targets in world.health.values() for target in targets}
        if deaf := sorted((set(asked.ids) & ids or ids) - world.managed):
            problems.append(f"Systems Manager does not reach {', '.join(deaf)}: is the agent online?")
    return problems
