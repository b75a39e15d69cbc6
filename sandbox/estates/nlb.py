"""A user's service on two instances behind a Network Load Balancer, with a sorry page."""

from dataclasses import dataclass

from sandbox.account import Account
from sandbox.estates import parts

SORRY_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Sorry</title>'
    "<h1>We will be back soon</h1><p>The service is not available at the moment.</p>"
    "<h1>ただいまご利用いただけません</h1><p>しばらくしてからもう一度お試しください。</p></html>"
)


@dataclass(frozen=True)
class NlbService:
    """Two instances behind an NLB, and a sorry page on an ALB behind the same NLB."""

    account: Account
    vpc_id: str
    subnet_ids: tuple[str, ...]
    instance_ids: tuple[str, ...]
    nlb_arn: str
    alb_arn: str
    primary_arns: tuple[str, ...]  # one group for all listeners, or one for each
    sorry_arns: tuple[str, ...]
    listener_arns: tuple[str, ...]

    @property
    def primary_arn(self) -> str:
        """The primary group, or the first one."""
        return self.primary_arns[0]

    @property
    def sorry_arn(self) -> str:
        """The sorry group, or the first one."""
        return self.sorry_arns[0]

    @property
    def listener_arn(self) -> str:
        """The first listener."""
        return self.listener_arns[0]

    # What can happen to it. Without ids it happens to all instances.

    def stop(self, *instance_ids: str) -> None:
        """Stop instances."""
        self.account.client("ec2").stop_instances(InstanceIds=list(instance_ids or self.instance_ids))

    def start(self, *instance_ids: str) -> None:
        """Start instances."""
        self.account.client("ec2").start_instances(InstanceIds=list(instance_ids or self.instance_ids))

    def terminate(self, *instance_ids: str) -> None:
        """Terminate instances."""
        self.account.client("ec2").terminate_instances(InstanceIds=list(instance_ids or self.instance_ids))

    def break_application(self, *instance_ids: str) -> None:
        """Let the application hang while its instance goes on running."""
        self.account.ec2.applications.update(dict.fromkeys(instance_ids or self.instance_ids, False))

    def mend_application(self, *instance_ids: str) -> None:
        """Let the application answer again."""
        self.account.ec2.applications.update(dict.fromkeys(instance_ids or self.instance_ids, True))

    def forward(self, weights: dict[str, int], listener_arn: str | None = None) -> None:
        """Set a listener's default action by hand; one group makes the plain form."""
        groups = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in weights.items()]
        plain = parts.forward(next(iter(weights)))
        action = plain if len(groups) == 1 else {"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}
        self.account.client("elbv2").modify_listener(
            ListenerArn=listener_arn or self.listener_arn, DefaultActions=[action]
        )

    # What can be seen of it, without a request that would be recorded.

    def weights(self) -> dict[str, dict[str, int]]:
        """Return listener ARN -> target group ARN -> weight."""
        return {arn: self.account.elb.weights(arn) for arn in self.listener_arns}

    def serving(self) -> dict[str, str]:
        """Return listener ARN -> ARN of the one target group with weight ("" if none or several have)."""
        found = {}
        for arn, weights in self.weights().items():
            with_weight = [group for group, weight in weights.items() if weight]
            found[arn] = with_weight[0] if len(with_weight) == 1 else ""
        return found

    def health(self) -> dict[str, str]:
        """Return target id -> state in the primary group, or in the first one."""
        return self.account.targets.health(self.primary_arn)


def nlb_service(
    account: Account,
    name: str = "service",
    ports: tuple[int, ...] = (443,),
    *,
    each: bool = False,
    addresses: bool = False,
) -> NlbService:
    """Build the service, one NLB listener per port, and let time pass until all its targets are healthy.

    each: every listener has two groups of its own, on its port.  addresses: the targets are the instances' addresses.
    """
    vpc_id, subnet_ids = parts.network(account)
    launched = [parts.launch(account, subnet_id, f"{name}-{number}") for number, subnet_id in enumerate(subnet_ids, 1)]
    instance_ids = tuple(instance["InstanceId"] for instance in launched)
    nlb_arn = parts.load_balancer(account, f"{name}-nlb", "network", subnet_ids)
    alb_arn = parts.load_balancer(account, f"{name}-sorry-alb", "application", subnet_ids)
    account.advance(15)  # pending
    elb, kind = account.client("elbv2"), "ip" if addresses else "instance"
    ids = [instance["PrivateIpAddress" if addresses else "InstanceId"] for instance in launched]
    primary_arns, sorry_arns = list[str](), list[str]()
    for number, port in enumerate(ports if each else (80,), 1):
        suffix = f"-{number}" if each else ""
        made = parts.target_group(account, f"{name}-primary{suffix}", vpc_id, Port=port, TargetType=kind)
        elb.register_targets(TargetGroupArn=made, Targets=[{"Id": target_id} for target_id in ids])
        primary_arns.append(made)
        sorry_arns.append(_sorry_page(account, f"{name}-sorry{suffix}", vpc_id, alb_arn, port if each else 443))
    pairs = primary_arns if each else primary_arns * len(ports)
    listener_arns = tuple(
        parts.listener(account, nlb_arn, "TCP", port, parts.forward(primary))
        for port, primary in zip(ports, pairs, strict=True)
    )
    service = NlbService(
        account,
        vpc_id,
        subnet_ids,
        instance_ids,
        nlb_arn,
        alb_arn,
        tuple(primary_arns),
        tuple(sorry_arns),
        listener_arns,
    )
    while any(set(account.targets.health(arn).values()) != {"healthy"} for arn in primary_arns):
        account.advance(5)
    return service


def _sorry_page(account: Account, name: str, vpc_id: str, alb_arn: str, port: int) -> str:
    """Let the sorry ALB answer on a port, HTTP on 80; return a target group for it."""
    protocol = "HTTP" if port == 80 else "HTTPS"
    alb_listener = parts.listener(account, alb_arn, protocol, port, parts.fixed(503, SORRY_PAGE))
    parts.rule(account, alb_listener, 1, ["/health"], parts.fixed(200, "ok"))
    checked = {"HealthCheckProtocol": protocol, "HealthCheckPath": "/health"}
    made = parts.target_group(account, name, vpc_id, Port=port, TargetType="alb", **checked)
    account.client("elbv2").register_targets(TargetGroupArn=made, Targets=[{"Id": alb_arn}])
    return made
