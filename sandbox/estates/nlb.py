"""What is there before the product comes: a service on two instances behind a Network Load Balancer."""

from dataclasses import dataclass

from sandbox.account import Account

ZONES = ("ap-northeast-1a", "ap-northeast-1c")
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
    primary_arn: str
    sorry_arn: str
    listener_arns: tuple[str, ...]

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
        if len(groups) == 1:
            action = {"Type": "forward", "TargetGroupArn": groups[0]["TargetGroupArn"]}
        else:
            action = {"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}
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
        """Return target id -> state in the primary group."""
        return self.account.targets.health(self.primary_arn)


def nlb_service(account: Account, name: str = "service", ports: tuple[int, ...] = (443,)) -> NlbService:
    """Build the service, one NLB listener per port, and let time pass until all its targets are healthy."""
    ec2, elb = account.client("ec2"), account.client("elbv2")
    vpc_id = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet_ids = tuple(
        ec2.create_subnet(VpcId=vpc_id, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]
        for number, zone in enumerate(ZONES)
    )
    instance_ids = tuple(
        ec2.run_instances(
            ImageId="ami-0123456789abcdef0",
            InstanceType="t3.micro",
            MinCount=1,
            MaxCount=1,
            SubnetId=subnet_id,
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": f"{name}-{number + 1}"}]}
            ],
        )["Instances"][0]["InstanceId"]
        for number, subnet_id in enumerate(subnet_ids)
    )

    def load_balancer(suffix: str, kind: str) -> str:
        created = elb.create_load_balancer(Name=f"{name}-{suffix}", Type=kind, Subnets=list(subnet_ids))
        return str(created["LoadBalancers"][0]["LoadBalancerArn"])

    def target_group(suffix: str, **settings: object) -> str:
        created = elb.create_target_group(
            Name=f"{name}-{suffix}",
            Protocol="TCP",
            VpcId=vpc_id,
            HealthCheckIntervalSeconds=10,
            HealthyThresholdCount=2,
            UnhealthyThresholdCount=2,
            **settings,
        )
        return str(created["TargetGroups"][0]["TargetGroupArn"])

    nlb_arn, alb_arn = load_balancer("nlb", "network"), load_balancer("sorry-alb", "application")
    alb_listener = elb.create_listener(
        LoadBalancerArn=alb_arn,
        Protocol="HTTPS",
        Port=443,
        Certificates=[{"CertificateArn": next(iter(account.elb.certificates))}],
        DefaultActions=[_fixed(503, SORRY_PAGE)],
    )["Listeners"][0]["ListenerArn"]
    elb.create_rule(
        ListenerArn=alb_listener,
        Priority=1,
        Conditions=[{"Field": "path-pattern", "Values": ["/health"]}],
        Actions=[_fixed(200, "ok")],
    )
    primary_arn = target_group("primary", Port=80, TargetType="instance")
    sorry_arn = target_group(
        "sorry", Port=443, TargetType="alb", HealthCheckProtocol="HTTPS", HealthCheckPath="/health"
    )
    account.advance(15)  # pending
    elb.register_targets(TargetGroupArn=primary_arn, Targets=[{"Id": one} for one in instance_ids])
    elb.register_targets(TargetGroupArn=sorry_arn, Targets=[{"Id": alb_arn}])
    listener_arns = tuple(
        elb.create_listener(
            LoadBalancerArn=nlb_arn,
            Protocol="TCP",
            Port=port,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": primary_arn}],
        )["Listeners"][0]["ListenerArn"]
        for port in ports
    )
    service = NlbService(
        account, vpc_id, subnet_ids, instance_ids, nlb_arn, alb_arn, primary_arn, sorry_arn, listener_arns
    )
    while set(service.health().values()) != {"healthy"}:
        account.advance(5)
    return service


def _fixed(status: int, body: str) -> dict[str, object]:
    kind = "text/html" if body.startswith("<") else "text/plain"
    return {
        "Type": "fixed-response",
        "FixedResponseConfig": {"StatusCode": str(status), "ContentType": kind, "MessageBody": body},
    }
