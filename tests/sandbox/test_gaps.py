"""Answers lack what AWS may leave out; the administrator gets all of it."""

from typing import Any

import pytest

from sandbox.account import Account
from sandbox.estates import nlb
from sandbox.iam import Role

EVERYTHING = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def asked(account: Account, role: str = "") -> dict[str, Any]:
    """Return one alarm, one instance, its status and one target as a caller sees them."""
    ec2, elb = account.client("ec2", role), account.client("elbv2", role)
    groups = elb.describe_target_groups()["TargetGroups"]
    [group] = [one["TargetGroupArn"] for one in groups if one["TargetType"] == "instance"]
    return {
        "alarm": account.client("cloudwatch", role).describe_alarms()["MetricAlarms"][0],
        "instance": ec2.describe_instances()["Reservations"][0]["Instances"][0],
        "status": ec2.describe_instance_status()["InstanceStatuses"][0],
        "target": elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"][0],
    }


def put_alarm(account: Account, name: str, *actions: str) -> None:
    account.client("cloudwatch").put_metric_alarm(
        AlarmName=name,
        AlarmActions=actions,
        Namespace="n",
        MetricName="m",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
    )


@pytest.fixture
def role(account: Account) -> str:
    service = nlb.nlb_service(account)
    account.advance(180)
    account.roles["role"] = Role({}, [EVERYTHING])
    put_alarm(account, "a")
    account.client("ec2").delete_tags(Resources=list(service.instance_ids), Tags=[{"Key": "Name"}])
    service.stop(service.instance_ids[0])
    account.advance(60)
    return "role"


def test_what_is_empty_may_be_missing_and_the_list_of_an_answer_never_is(account: Account, role: str) -> None:  # M1
    account.gaps.always()
    mine = account.client("ec2", role)
    [first, *_] = mine.describe_network_interfaces()["NetworkInterfaces"]
    assert first["PrivateIpAddresses"]
    assert "Ipv6Addresses" not in first
    assert (
        mine.describe_network_interfaces(Filters=[{"Name": "vpc-id", "Values": ["vpc-0"]}])["NetworkInterfaces"] == []
    )


def missing(account: Account, role: str) -> set[str]:
    whole, seen = asked(account), asked(account, role)
    found = {name for part in whole for name in whole[part].keys() - seen[part].keys()}
    return found | (whole["target"]["TargetHealth"].keys() - seen["target"]["TargetHealth"].keys())


def test_what_aws_may_leave_out_is_missing_now_and_then(account: Account, role: str) -> None:  # M1
    lacking = [missing(account, role) for _ in range(40)]
    seen = set().union(*lacking)
    assert {"StateTransitionedTimestamp", "AlarmActions", "HealthCheckPort"} <= seen
    assert set() in lacking
    assert not seen & {
        "AlarmName",
        "StateValue",
        "StateUpdatedTimestamp",
        "State",
        "InstanceId",
        "SystemStatus",
        "Target",
    }


def test_a_test_may_have_every_answer_whole_or_none(account: Account, role: str) -> None:
    account.gaps.off()
    assert [missing(account, role) for _ in range(10)] == [set()] * 10
    account.gaps.always()
    [lacking] = {frozenset(missing(account, role)) for _ in range(5)}
    assert {"AlarmActions", "HealthCheckPort"} <= lacking


def test_which_answers_lack_something_is_drawn_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(seed: str) -> list[set[str]]:
        monkeypatch.setenv("KIRIKAE_SANDBOX_SEED", seed)
        with Account() as account:
            account.faults.off()
            nlb.nlb_service(account)
            account.roles["role"] = Role({}, [EVERYTHING])
            asking = account.client("ec2", "role").describe_instances
            return [set(asking()["Reservations"][0]["Instances"][0]) for _ in range(20)]

    assert drawn("1") == drawn("1") != drawn("2")


def test_what_tells_something_is_never_left_out(account: Account, role: str) -> None:
    account.gaps.always()
    instance = account.client("ec2").describe_instances()["Reservations"][0]["Instances"][0]["InstanceId"]
    account.client("ec2").create_tags(Resources=[instance], Tags=[{"Key": "a", "Value": "b"}])
    put_alarm(account, "b", "arn:aws:sns:ap-northeast-1:123456789012:t")
    assert asked(account, role)["instance"]["Tags"] == [{"Key": "a", "Value": "b"}]
    [alarm] = account.client("cloudwatch", role).describe_alarms(AlarmNames=["b"])["MetricAlarms"]
    assert alarm["AlarmActions"]
