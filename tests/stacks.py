"""Ways to deploy the template, and how to find things in what it becomes.

A new capability adds its parameters to CAPABILITIES: then every test goes over its functions, rules, alarms and roles.
"""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from samcli.yamlhelper import yaml_parse
from template_tools import TEMPLATE

from sandbox import ACCOUNT_ID, REGION

ROOT = Path(__file__).parents[1]
SOURCE = yaml_parse(TEMPLATE.read_text(encoding="utf-8"))
FUNCTIONS = {
    logical_id: Path(resource["Properties"]["CodeUri"]).name
    for logical_id, resource in SOURCE["Resources"].items()
    if resource["Type"] == "AWS::Serverless::Function"
}
BY_HAND = "TargetByHandFunction"  # acts only when somebody asks: no tick
PAGE = "MaintenancePageFunction"  # does not act: no layer, no topic, no hold; it has tests of its own

ELB = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT_ID}"
LISTENERS = (
    f"{ELB}:listener/net/shop/50dc6c495c0c9188/0467ef3c8400ae65",
    f"{ELB}:listener/net/shop/50dc6c495c0c9188/b",
)
PRIMARY, SORRY = f"{ELB}:targetgroup/primary/73e2d6bc24d8a067", f"{ELB}:targetgroup/sorry/2453ed029918f21f"
INSTANCES = ("i-0123456789abcdef0", "i-0123456789abcdef1")
FOREIGN = "i-0fedcba9876543210"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/00000000-0000-4000-8000-000000000000"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT_ID}:given"
CERTIFICATE = f"arn:aws:acm:{REGION}:{ACCOUNT_ID}:certificate/00000000-0000-4000-8000-000000000001"

NLB = {
    "NlbListenerArns": ",".join(LISTENERS),
    "PrimaryTargetGroupArn": PRIMARY,
    "SorryTargetGroupArn": SORRY,
    "PrimaryInstanceIds": ",".join(INSTANCES),
}
SORRY_ALB = {
    "SorryVpcId": "vpc-0123456789abcdef0",
    "SorrySubnetIds": "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
    "SorryIngressCidrs": "0.0.0.0/0",
    "SorryCertificateArn": CERTIFICATE,
}
ROTATION = {
    "RotationTargetGroupArns": PRIMARY,
    "RotationDocuments": "AWS-RunShellScript,Patch",
    "RotationAllowStandby": "true",
    "RotationSchedule": "cron(0 3 ? * SUN *)",
}
NLB_ALB = NLB | SORRY_ALB | {"SorryTargetGroupArn": ""}
ACTIVE, STANDBYS = "i-0123456789abcdefa", ("i-0123456789abcdefb", "i-0123456789abcdefc")
STANDBY_GROUP = f"{ELB}:targetgroup/standby/73e2d6bc24d8a068"
STANDBY = {
    "ActiveInstanceId": ACTIVE,
    "StandbyInstanceIds": ",".join(STANDBYS),
    "StandbyInstanceTypes": "t3.small,t3.medium",
    "StandbyTargetGroupArn": STANDBY_GROUP,
    "FenceActive": "true",
    "ActiveCpuThreshold": "50",
}
PAIR = {
    "PairInstanceIds": "i-0123456789abcdef2,i-0123456789abcdef3",
    "PairInterfaceIds": "eni-0123456789abcdef2,eni-0123456789abcdef3",
    "FloatingIpAddresses": "10.0.0.50,2001:db8::50",
    "ElasticIpAllocationIds": "eipalloc-0123456789abcdef0,eipalloc-0123456789abcdef1",
    "OverlayCidrs": "192.168.99.1/32",
    "OverlayRouteTableIds": "rtb-0123456789abcdef0,rtb-0123456789abcdef1",
    "PairMoveWhenImpaired": "true",
}
MAINTENANCE = {"MaintenanceListenerArn": f"{ELB}:listener/app/shop/50dc6c495c0c9188/0467ef3c8400ae65"}
# The parameters that switch a capability on; with all of them every function is in the stack.
CAPABILITIES = {"nlb": NLB, "pair": PAIR, "standby": STANDBY, "rotation": ROTATION}
EVERYTHING = MAINTENANCE | dict(itertools.chain.from_iterable(given.items() for given in CAPABILITIES.values()))
SHARED = {
    "KmsKeyArn": KEY,
    "NotificationTopicArn": TOPIC,
    "NotificationEmail": "a@example.com",
    "ServiceName": "The shop",
}
WAYS = {
    "everything": EVERYTHING,
    "everything with a key, a topic and an address of its own": EVERYTHING | SHARED,
    "serialized": EVERYTHING | {"SerializeInvocations": "true"},
    "maintenance with testers and schedules": MAINTENANCE
    | {
        "MaintenanceBypassCidrs": "203.0.113.0/24",
        "MaintenanceBypassTargetGroupArn": PRIMARY,
        "MaintenanceStart": "cron(0 2 ? * SUN *)",
        "MaintenanceEnd": "cron(0 6 ? * SUN *)",
    },
    "nlb with a pair of groups for each listener": NLB
    | {
        "PrimaryTargetGroupArn": "",
        "SorryTargetGroupArn": "",
        "PrimaryTargetGroupArns": f"{PRIMARY},{PRIMARY}2",
        "SorryTargetGroupArns": f"{SORRY},{SORRY}2",
    },
    "nlb without instance ids": NLB | {"PrimaryInstanceIds": ""},
    "nlb with a sorry ALB": NLB_ALB,
    "nlb with a sorry ALB on port 80": NLB_ALB | {"SorryPort": "80", "SorryCertificateArn": ""},
} | CAPABILITIES
every_way = pytest.mark.parametrize("parameters", WAYS.values(), ids=WAYS.keys())
every_function = pytest.mark.parametrize("function", FUNCTIONS)
every_acting_function = pytest.mark.parametrize("function", sorted(FUNCTIONS.keys() - {PAGE}))


def all_of(stack: Mapping[str, Any], type_name: str) -> dict[str, Any]:
    """Return every resource of a type with its Ref and Attributes, by logical id."""
    return {name: resource for name, resource in stack["Resources"].items() if resource["Type"] == type_name}


def acting(stack: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the properties of every function that acts, by logical id."""
    return {name: one["Properties"] for name, one in all_of(stack, "AWS::Lambda::Function").items() if name != PAGE}


def arn(stack: Mapping[str, Any], logical_id: str) -> str:
    """Return the ARN of a resource."""
    return str(stack["Resources"][logical_id]["Attributes"]["Arn"])


def topic(stack: Mapping[str, Any]) -> str:
    """Return the topic that everything is said on."""
    return str(stack["Outputs"]["TopicArn"])
