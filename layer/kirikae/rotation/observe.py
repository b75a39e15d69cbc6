"""Read what a whole rotation is judged by, and what a single operation by hand is."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from kirikae import clock, ec2, elb, env
from kirikae.errors import InputError
from kirikae.rotation import (
    claims,
    commands,
    elsewhere,
    executions,
    fleet,
    guard,
    known,
    membership,
    memory,
    moves,
    scaling,
    terms,
)
from kirikae.rotation.known import Known, Taken
from kirikae.rotation.request import Request
from kirikae.rotation.world import Config, Event, Health, Hook, Member, Observed, Terms, members


def observe(config: Config, asked: Request, execution_arn: str) -> Observed:
    """Read the groups, their targets, and what keeps a rotation from beginning; raise InputError if a group is gone."""
    with env.naming("RotationTargetGroupArns", ", ".join(asked.groups)):
        groups, health = elb.target_groups(asked.groups), membership.health(asked.groups)
        registered = {target.id for targets in health.values() for target in targets}
        instances = sorted(filter(ec2.is_id, registered | set(asked.ids)))
        places = scaling.places(instances)
        managed, documents = _reach(config, asked.hook, list(filter(ec2.is_id, asked.ids)) or instances)
        return Observed(
            groups=groups,
            health=health,
            terms=terms.read(groups, health, config.least, empty_zones=asked.empty_zones),
            scaling=places,
            scaling_groups={name: fleet.read(name) for name in sorted({group for group, _ in places.values()})},
            states=ec2.instance_states(instances),
            running=executions.older(config, execution_arn, asked.groups),
            hold=moves.held(config, unread=False).en,
            sorry=moves.sorry(config),
            documents=documents,
            managed=managed,
        )


def _reach(config: Config, hook: Hook, instances: Sequence[str]) -> tuple[frozenset[str] | None, dict[str, str]]:
    """Return the instances that can run the hook's command (None: it has none), and on which its document cannot be."""
    if commands.parameters(hook) is None:
        return None, {}
    platforms = commands.platforms(instances)
    documents = {instance: commands.document(hook, platform) for instance, platform in platforms.items()}
    problems = {name: commands.document_problem(config, name) for name in sorted(set(documents.values()))}
    return frozenset(platforms), {instance: problems[name] for instance, name in documents.items() if problems[name]}


@dataclass(frozen=True)
class Case:
    """The target of an operation, as it is registered or was before it was taken out, and what is around it."""

    member: Member
    taken: Taken | None  # who took it out, if anybody did
    owner: str  # who else has it: a running execution, or another stack; "" if nobody has
    seen: Health
    asked: Mapping[str, Terms]
    standing_by: bool  # it was taken out, and its instance is in Standby, or on its way there
    elsewhere: Sequence[str]  # where it cannot be registered any more, and how a person can

    @property
    def fresh(self) -> bool:
        """Tell whether the target left so recently that health may be shown as it was before."""
        return self.taken is not None and clock.now() - self.taken.at < timedelta(seconds=guard.SETTLE_SECONDS)


def observe_one(config: Config, event: Event) -> Case:
    """Read one target and what bears out that it was taken out; raise InputError if there is no such target."""
    target, groups = event.get("instance_id"), event.get("target_group_arns", list(config.rotation_target_group_arns))
    if not isinstance(target, str) or not target:
        raise InputError(f"instance_id is {target!r}, expected the id of a target, like i-0123456789abcdef0")
    if not isinstance(groups, list) or not groups or any(g not in config.rotation_target_group_arns for g in groups):
        raise InputError(f"target_group_arns is {groups!r}, expected groups of RotationTargetGroupArns")
    seen = membership.there(groups)
    described = elb.target_groups(seen)
    found = known.known(config, seen, memory.read(config))
    away = _elsewhere(config, found, target, groups)
    said = elsewhere.problems(config, away).get(target, ())
    taken, foreign = found.taken.get(target), found.foreign.get(target)
    theirs = Member(id=target, places=list(foreign.places), scaling_group="") if foreign else None
    empty_zones = event.get("empty_zones") is True
    asked = terms.read(described, seen, config.least, ids=[target], empty_zones=empty_zones)
    placed = members(seen, described, guard.unplaced(seen, asked)).get(target)
    member = claims.whole(placed, taken.member if taken else theirs) or members(seen, described).get(target)
    if member is None:
        why = "; ".join(said) or found.doubts.get(claims.TAG + target) or "nothing says that it was"
        raise InputError(f"{target} is registered in none of {', '.join(groups)}, and {why}")
    scaling_group, state = scaling.places([target]).get(target, ("", "")) if ec2.is_id(target) else ("", "")
    standing_by = state in scaling.STANDING_BY and bool(taken or away)
    member = {**member, "scaling_group": scaling_group}
    return Case(member, taken, _owner(found, member, seen), seen, asked, standing_by, said)


def _elsewhere(config: Config, found: Known, target: str, groups: Collection[str]) -> list[Taken]:
    """Return what is out of groups that were deleted, or that RotationTargetGroupArns no longer names, of a target."""
    others = set(config.rotation_target_group_arns).difference(groups)  # which were not asked for
    beyond = ((one, [p for p in one.member["places"] if p["group"] not in others]) for one in found.elsewhere)
    return [
        replace(one, member={**one.member, "places": places})
        for one, places in beyond
        if places and one.member["id"] == target
    ]


def _owner(found: Known, member: Member, seen: Health) -> str:
    """Return who else has the target, in a sentence, or ""; what an ended execution left out, nobody has."""
    target, taken, foreign = member["id"], found.taken.get(member["id"]), found.foreign.get(member["id"])
    if foreign and guard.absent(member, seen) and not (taken and taken.at >= foreign.at):
        return f"{target} is out by {foreign.by}, which is of another stack"
    if taken and taken.execution and not taken.ended:
        return f"the execution {executions.name(taken.by)} rotates the same groups and has {target}"
    return ""
