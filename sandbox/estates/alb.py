"""A user's service behind an ALB: a front end, a BFF and an API, each with a path rule."""

from dataclasses import dataclass

from sandbox.account import Account
from sandbox.estates import parts
from sandbox.services.elb_routing import Visit, rule_for

_PATHS = {"front": "/a", "bff": "/b", "api": "/c"}


@dataclass(frozen=True)
class AlbService:
    """An HTTPS listener with one rule and one target group per part of the service; anything else gets a 404.

    Or, with `default`, the front end: then its action is the listener's default one.
    """

    account: Account
    vpc_id: str
    alb_arn: str
    listener_arn: str
    rule_arns: dict[str, str]  # by path
    group_arns: dict[str, str]  # by path

    def add_rule(self, priority: int, path: str, listener_arn: str | None = None) -> str:
        """Add a rule by hand that answers 200 with its path; return its ARN."""
        listener_arn = listener_arn or self.listener_arn
        return parts.rule(self.account, listener_arn, priority, [path, f"{path}/*"], parts.fixed(200, path))

    def add_catch_all(self, priority: int) -> str:
        """Add a rule by hand that answers everything with 503; return its ARN."""
        return parts.rule(self.account, self.listener_arn, priority, ["/*"], parts.fixed(503, "down"))

    def taker(self, path: str, client: str) -> str:
        """Return the ARN of the rule that takes a request, without making it."""
        listener = self.account.elb.listener(self.listener_arn)
        return str(rule_for(self.account.elb.in_force(listener), Visit(path, client=client)).arn)

    def move(self, *moves: tuple[str, int]) -> None:
        """Give rules another priority by hand."""
        wanted = [{"RuleArn": arn, "Priority": number} for arn, number in moves]
        self.account.client("elbv2").set_rule_priorities(RulePriorities=wanted)

    def delete_rule(self, rule_arn: str) -> None:
        """Delete a rule by hand."""
        self.account.client("elbv2").delete_rule(RuleArn=rule_arn)

    def priorities(self) -> dict[str, int]:
        """Return rule ARN -> priority, the highest first, without a request that would be recorded."""
        rules = self.account.elb.listener(self.listener_arn).rules.values()
        numbered = {rule.arn: int(rule.priority) for rule in rules if rule.priority != "default"}
        return dict(sorted(numbered.items(), key=lambda item: item[1]))


def alb_service(
    account: Account,
    name: str = "shop",
    priorities: tuple[int, ...] = (1, 2, 3),
    *,
    first_cidr: int = 1,
    default: bool = False,
) -> AlbService:
    """Build the service; `priorities` are those of /a, /b and /c. default: the front end has all other paths."""
    vpc_id, subnet_ids = parts.network(account, first_cidr)
    instance_id = parts.launch(account, subnet_ids[0])["InstanceId"]
    alb_arn = parts.load_balancer(account, f"{name}-alb", "application", subnet_ids)
    listener_arn = parts.listener(account, alb_arn, "HTTPS", 443, parts.fixed(404, "no such page"))
    account.advance(15)  # pending
    group_arns, rule_arns = {}, {}
    for (part, path), priority in zip(_PATHS.items(), priorities, strict=True):
        http = {"Protocol": "HTTP", "Port": 80, "HealthyThresholdCount": 5}
        group_arns[path] = parts.target_group(account, f"{name}-{part}", vpc_id, **http)
        targets = [{"Id": instance_id}]
        account.client("elbv2").register_targets(TargetGroupArn=group_arns[path], Targets=targets)
        action = parts.forward(group_arns[path])
        rule_arns[path] = parts.rule(account, listener_arn, priority, [path, f"{path}/*"], action)
    if default:
        account.client("elbv2").modify_listener(
            ListenerArn=listener_arn, DefaultActions=[parts.forward(group_arns["/a"])]
        )
    service = AlbService(account, vpc_id, alb_arn, listener_arn, rule_arns, group_arns)
    while {state for arn in group_arns.values() for state in account.targets.health(arn).values()} != {"healthy"}:
        account.advance(5)
    return service
