"""Read what a whole rotation is judged by."""

from collections.abc import Sequence

from kirikae import ec2, elb, env
from kirikae.rotation import commands, executions, membership, moves, scaling, terms
from kirikae.rotation.request import Request
from kirikae.rotation.world import Config, Hook, Observed


def observe(config: Config, asked: Request, execution_arn: str) -> Observed:
    """Read the groups, their targets, and what keeps a rotation from beginning; raise InputError if a group is gone."""
    with env.naming("RotationTargetGroupArns", ", ".join(asked.groups)):
        groups, health = elb.target_groups(asked.groups), membership.health(asked.groups)
        registered = {target.id for targets in health.values() for target in targets}
        instances = sorted(filter(ec2.is_id, registered | set(asked.ids)))
        managed, document = _reach(config, asked.hook, list(filter(ec2.is_id, asked.ids)) or instances)
        return Observed(
            groups=groups,
            health=health,
            terms=terms.read(groups, health, config.least, empty_zones=asked.empty_zones),
            scaling=scaling.places(instances),
            running=executions.older(config, execution_arn, asked.groups),
            hold=moves.held(config, unread=False).en,
            sorry=moves.sorry(config),
            document=document,
            managed=managed,
        )


def _reach(config: Config, hook: Hook, instances: Sequence[str]) -> tuple[frozenset[str] | None, str]:
    """Return the instances that can run the hook's command (None: it has none), and what is wrong with its document."""
    if commands.parameters(hook) is None:
        return None, ""
    platforms = commands.platforms(instances)
    problems = (
        commands.document_problem(config, name)
        for name in sorted({commands.document(hook, platform) for platform in platforms.values()})
    )
    return frozenset(platforms), "; ".join(problems).strip("; ")
