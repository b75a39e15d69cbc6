"""What is there before the product comes: an ALB with a front end, a BFF and an API behind path rules."""

from dataclasses import dataclass

from sandbox.account import Account
from sandbox.estates.nlb import ZONES

_PATHS = {"front": "/a", "bff": "/b", "api": "/c"}


@dataclass(frozen=True)
class AlbService:
    """An HTTPS listener with one rule and one target group per part of the service; anything else gets a 404."""

    account: Account
    vpc_id: str
    alb_arn: str
    listener_arn: str
    rule_arns: dict[str, str]  # by path
    group_arns: dict[str, str]  # by path

    def add_rule(self, priority: int, path: str, listener_arn: str | None = None) -> str:
        """Add a rule by hand that answers 200 with its path; return its ARN."""
        fixed = {"StatusCode": "200", "ContentType": "text/plain", "MessageBody": path}
        return str(
            self.account.client("elbv2").create_rule(
                ListenerArn=listener_arn or self.listener_arn,
                Priority=priority,
                Conditions=[{"Field": "path-pattern", "PathPatternConfig": {"Values": [path, f"{path}/*"]}}],
                Actions=[{"Type": "fixed-response", "FixedResponseConfig": fixed}],
            )["Rules"][0]["RuleArn"]
        )

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
    account: Account, name: str = "shop", priorities: tuple[int, ...] = (1, 2, 3), *, first_cidr: int = 1
) -> AlbService:
    """Build the service; `priorities` are those of /a, /b and /c."""
    ec2, elb = account.client("ec2"), account.client("elbv2")
    vpc_id = ec2.create_vpc(CidrBlock=f"10.{first_cidr}.0.0/16")["Vpc"]["VpcId"]
    subnet_ids = [
        ec2.create_subnet(VpcId=vpc_id, CidrBlock=f"10.{first_cidr}.{number}.0/24", AvailabilityZone=zone)["Subnet"][
            "SubnetId"
        ]
        for number, zone in enumerate(ZONES)
    ]
    image = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    instance_id = ec2.run_instances(**image, SubnetId=subnet_ids[0])["Instances"][0]["InstanceId"]
    alb_arn = elb.create_load_balancer(Name=f"{name}-alb", Subnets=subnet_ids)["LoadBalancers"][0]["LoadBalancerArn"]
    missing = {"StatusCode": "404", "ContentType": "text/plain", "MessageBody": "no such page"}
    listener_arn = elb.create_listener(
        LoadBalancerArn=alb_arn,
        Protocol="HTTPS",
        Port=443,
        Certificates=[{"CertificateArn": next(iter(account.elb.certificates))}],
        DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": missing}],
    )["Listeners"][0]["ListenerArn"]
    account.advance(15)  # pending
    group_arns, rule_arns = {}, {}
    for (part, path), priority in zip(_PATHS.items(), priorities, strict=True):
        group_arns[path] = elb.create_target_group(
            Name=f"{name}-{part}", Protocol="HTTP", Port=80, VpcId=vpc_id, HealthCheckIntervalSeconds=10
        )["TargetGroups"][0]["TargetGroupArn"]
        elb.register_targets(TargetGroupArn=group_arns[path], Targets=[{"Id": instance_id}])
        rule_arns[path] = elb.create_rule(
            ListenerArn=listener_arn,
            Priority=priority,
            Conditions=[{"Field": "path-pattern", "PathPatternConfig": {"Values": [path, f"{path}/*"]}}],
            Actions=[{"Type": "forward", "TargetGroupArn": group_arns[path]}],
        )["Rules"][0]["RuleArn"]
    service = AlbService(account, vpc_id, alb_arn, listener_arn, rule_arns, group_arns)
    while {state for arn in group_arns.values() for state in account.targets.health(arn).values()} != {"healthy"}:
        account.advance(5)
    return service
