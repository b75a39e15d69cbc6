"""Clients are patient enough for a bad minute of AWS and give up well before the function would be ended."""

import pytest

from kirikae import aws
from sandbox.account import Account

ATTEMPTS = 3


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


def test_an_endpoint_out_of_reach_costs_less_than_the_functions_timeout() -> None:
    config = aws._CONFIG
    worst = (config.connect_timeout + config.read_timeout) * config.retries["total_max_attempts"]
    assert worst < 60 / 2
