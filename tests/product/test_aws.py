"""Clients are patient enough for a bad minute of AWS and give up well before the function would be ended."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kirikae import aws
from kirikae.errors import AnswerError
from sandbox.account import Account

ATTEMPTS = 3
ARN = "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012:targetgroup/one/73e2d6bc24d8a067"
VPC = "vpc-0123456789abcdef0"


def attempts(account: Account) -> int:
    """Return how often the parameter was asked for."""
    return sum(call.operation == "GetParameter" for call in account.calls)


def test_there_is_one_client_for_a_service(ours: Account) -> None:
    assert aws.client("ssm") is aws.client("ssm")
    assert aws.client("ssm").meta.endpoint_url == ours.endpoint


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServerError"])
def test_what_may_pass_is_tried_again(ours: Account, code: str) -> None:
    ours.client("ssm").put_parameter(Name="/shop/hold", Value="off", Type="String")
    ours.faults.add("ssm", "GetParameter", code, status=500, times=ATTEMPTS - 1)
    assert aws.client("ssm").get_parameter(Name="/shop/hold")["Parameter"]["Value"] == "off"
    assert attempts(ours) == ATTEMPTS


@pytest.mark.parametrize(("code", "tried"), [("ThrottlingException", ATTEMPTS), ("AccessDeniedException", 1)])
def test_what_does_not_pass_is_said(ours: Account, code: str, tried: int) -> None:
    ours.faults.add("ssm", "GetParameter", code)
    with pytest.raises(aws.client("ssm").exceptions.ClientError, match=code):
        aws.client("ssm").get_parameter(Name="/shop/hold")
    assert attempts(ours) == tried


@pytest.mark.parametrize("body", ["empty", "cut", "html"])
@pytest.mark.parametrize(
    ("service", "operation", "ask"),
    [
        ("ssm", "GetParameter", lambda client: client.get_parameter(Name="/shop/hold")["Parameter"]),
        ("ssm", "PutParameter", lambda client: client.put_parameter(Name="/a", Value="b", Type="String")["Version"]),
        ("elbv2", "DescribeTags", lambda client: client.describe_tags(ResourceArns=[ARN])["TagDescriptions"]),
        ("elbv2", "AddTags", lambda client: client.add_tags(ResourceArns=[ARN], Tags=[{"Key": "a", "Value": "b"}])),
        ("ec2", "DescribeInstances", lambda client: client.describe_instances()["Reservations"]),
        ("ec2", "CreateTags", lambda client: client.create_tags(Resources=[VPC], Tags=[{"Key": "a", "Value": "b"}])),
        ("cloudwatch", "DescribeAlarms", lambda client: client.describe_alarms()["MetricAlarms"]),
    ],
)
def test_a_body_that_is_no_answer_is_one_error_that_names_the_call(
    ours: Account, service: str, operation: str, ask: Callable[[Any], object], body: str
) -> None:
    ours.client("ssm").put_parameter(Name="/shop/hold", Value="off", Type="String")
    if service != "ssm":
        ours.override(service, operation, lambda _params, _principal: {})
    ours.faults.add(service, operation, None, body=body)
    with pytest.raises(AnswerError, match=f"^{service} {operation}: AWS's answer .*; .* the next run asks again$"):
        ask(aws.client(service))


def test_a_field_that_an_answer_lacks_is_named_wherever_it_would_be(ours: Account) -> None:
    ours.client("ec2").run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1)
    [reservation] = aws.client("ec2").describe_instances()["Reservations"]
    with pytest.raises(AnswerError, match="ec2 DescribeInstances: AWS's answer has no Condition, only Code, Name"):
        reservation["Instances"][0]["State"]["Condition"]


@pytest.mark.parametrize("status", [400, 403, 500, 503])
def test_a_proxys_error_page_is_an_error_of_botocores_or_ours(ours: Account, status: int) -> None:
    page = b"<!DOCTYPE html><p>Bad <b>Gateway"
    for service in ("ssm", "ec2"):
        ours.around(service, "GetParameter", lambda _params, _serve: (status, {"Content-Type": "text/html"}, page))
        ours.around(service, "DescribeInstances", lambda _params, _serve: (status, {"Content-Type": "text/html"}, page))
    for ask in (lambda: aws.client("ssm").get_parameter(Name="/a"), aws.client("ec2").describe_instances):
        with pytest.raises((AnswerError, aws.client("ssm").exceptions.ClientError)):
            ask()


@pytest.mark.parametrize("reduced", [{}, {"endpoints.json": "{}"}])
def test_models_that_the_runtimes_sdk_cannot_use_are_left_aside(
    ours: Account, reduced: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in reduced.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(aws, "_MODELS", tmp_path)
    ours.client("ssm").put_parameter(Name="/shop/hold", Value="off", Type="String")
    assert aws.client("ssm").get_parameter(Name="/shop/hold")["Parameter"]["Value"] == "off"
    ours.faults.add("ssm", "GetParameter", None, body="bare")
    with pytest.raises(AnswerError, match="ssm GetParameter: AWS's answer has no Parameter, only nothing"):
        aws.client("ssm", attempts=1).get_parameter(Name="/shop/hold")["Parameter"]


@pytest.mark.parametrize(("service", "seconds"), [("ec2", 60 / 2), ("ssm", 60 / 4)])
@pytest.mark.usefixtures("ours")
def test_an_endpoint_out_of_reach_costs_less_than_the_functions_timeout(service: str, seconds: float) -> None:
    config = aws.client(service).meta.config
    worst = (config.connect_timeout + config.read_timeout) * config.retries["total_max_attempts"]
    assert worst < seconds
