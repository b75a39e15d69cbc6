"""What a user's service is built from: subnets, instances, load balancers, target groups and listeners."""

from typing import Any

from sandbox.account import Account

ZONES = ("ap-northeast-1a", "ap-northeast-1c")


def network(account: Account, number: int = 0) -> tuple[str, tuple[str, ...]]:
    """Make the VPC 10.number.0.0/16 with a subnet in each zone; return their ids."""
    ec2 = account.client("ec2")
    vpc_id = ec2.create_vpc(CidrBlock=f"10.{number}.0.0/16")["Vpc"]["VpcId"]
    made = [
        ec2.create_subnet(VpcId=vpc_id, CidrBlock=f"10.{number}.{place}.0/24", AvailabilityZone=zone)
        for place, zone in enumerate(ZONES)
    ]
    return vpc_id, tuple(answer["Subnet"]["SubnetId"] for answer in made)


def launch(account: Account, subnet_id: str, name: str = "", **settings: Any) -> dict[str, Any]:
    """Launch an instance, a t3.micro unless the settings say otherwise; return what RunInstances says of it."""
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}] if name else []
    settings = {"InstanceType": "t3.micro", "TagSpecifications": tags, **settings}
    image = "ami-0123456789abcdef0"
    ran = account.client("ec2").run_instances(ImageId=image, MinCount=1, MaxCount=1, SubnetId=subnet_id, **settings)
    return dict(ran["Instances"][0])


def load_balancer(account: Account, name: str, kind: str, subnet_ids: tuple[str, ...]) -> str:
    """Make a load balancer, network or application; return its ARN."""
    made = account.client("elbv2").create_load_balancer(Name=name, Type=kind, Subnets=list(subnet_ids))
    return str(made["LoadBalancers"][0]["LoadBalancerArn"])


def target_group(account: Account, name: str, vpc_id: str, **settings: Any) -> str:
    """Make a target group, TCP and with two health checks of 10 s unless the settings say otherwise; return its ARN."""
    checks = {"HealthCheckIntervalSeconds": 10, "HealthyThresholdCount": 2, "UnhealthyThresholdCount": 2}
    settings = {"Protocol": "TCP", **checks, **settings}
    made = account.client("elbv2").create_target_group(Name=name, VpcId=vpc_id, **settings)
    return str(made["TargetGroups"][0]["TargetGroupArn"])


def listener(account: Account, balancer_arn: str, protocol: str, port: int, action: dict[str, Any]) -> str:
    """Make a listener with this default action, and a certificate if it is HTTPS; return its ARN."""
    certificates = [{"CertificateArn": next(iter(account.elb.certificates))}] if protocol == "HTTPS" else []
    made = account.client("elbv2").create_listener(
        LoadBalancerArn=balancer_arn, Protocol=protocol, Port=port, Certificates=certificates, DefaultActions=[action]
    )
    return str(made["Listeners"][0]["ListenerArn"])


def rule(account: Account, listener_arn: str, priority: int, paths: list[str], action: dict[str, Any]) -> str:
    """Make a rule for these paths; return its ARN."""
    condition = {"Field": "path-pattern", "PathPatternConfig": {"Values": paths}}
    made = account.client("elbv2").create_rule(
        ListenerArn=listener_arn, Priority=priority, Conditions=[condition], Actions=[action]
    )
    return str(made["Rules"][0]["RuleArn"])


def forward(group_arn: str) -> dict[str, Any]:
    """Return the action that forwards to a target group."""
    return {"Type": "forward", "TargetGroupArn": group_arn}


def fixed(status: int, body: str) -> dict[str, Any]:
    """Return the action that answers with this page, text or HTML."""
    kind = "text/html" if body.startswith("<") else "text/plain"
    response = {"StatusCode": str(status), "ContentType": kind, "MessageBody": body}
    return {"Type": "fixed-response", "FixedResponseConfig": response}
