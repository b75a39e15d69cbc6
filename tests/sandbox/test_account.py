"""The sandbox's front door: clock, calls, faults, hooks, credentials."""

import time

import boto3
import botocore.config
import botocore.exceptions
import botocore.parsers
import pytest
from sandbox_tools import error_of

from sandbox import wire
from sandbox.account import Account
from sandbox.clock import Clock
from sandbox.frontdoor import ADMINISTRATOR, Faults
from sandbox.iam import Role

# The clock.


def test_time_stands_still_until_it_is_advanced():
    clock = Clock()
    before = clock.now()
    clock.advance(90)
    assert (clock.now() - before).total_seconds() == 90
    assert clock.now().microsecond == 0


def test_the_seed_says_when_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = []
    for seed in ("", "1", "2", "2"):
        monkeypatch.setenv("KIRIKAE_SANDBOX_SEED", seed)
        moments.append(Clock().now())
    assert moments[0] == moments[1] != moments[2] == moments[3]


def test_what_is_due_runs_in_order_at_its_own_time():
    clock, seen = Clock(), []
    start = clock.time()
    clock.after(20, lambda: seen.append(("second", clock.time() - start)))
    clock.after(10, lambda: clock.after(5, lambda: seen.append(("first", clock.time() - start))))
    clock.after(31, lambda: seen.append(("too late", 31)))
    clock.advance(30)
    assert seen == [("first", 15), ("second", 20)]


def test_a_cancelled_timer_does_not_run():
    clock, seen = Clock(), []
    clock.after(1, lambda: seen.append("cancelled")).cancel()
    clock.after(1, lambda: seen.append("kept"))
    clock.advance(1)
    assert seen == ["kept"]


def test_every_minute_is_a_full_minute():
    clock, seen = Clock(), []
    clock.every(60, lambda: seen.append(clock.time() % 60))
    clock.advance(180)
    assert seen == [0, 0, 0]


def test_a_paced_advance_takes_real_time_and_ends_where_it_should():
    clock = Clock()
    start, began = clock.time(), time.monotonic()
    clock.advance(10, pace=0.01)
    assert clock.time() - start == 10
    assert time.monotonic() - began >= 0.1


# The account.


def test_each_account_starts_empty():
    with Account() as first:
        first.client("sns").create_topic(Name="left-behind")
    with Account() as second:
        assert second.client("sns").list_topics()["Topics"] == []


def test_every_request_is_recorded(account):
    account.client("ec2").describe_instances(InstanceIds=[])
    error_of(account.client("elbv2").describe_target_health, TargetGroupArn="arn:aws:nothing")
    first, second = account.calls
    assert (first.principal, first.service, first.operation, first.error) == (
        "administrator",
        "ec2",
        "DescribeInstances",
        None,
    )
    assert second.params == {"TargetGroupArn": "arn:aws:nothing"}
    assert second.error == "TargetGroupNotFound"
    assert second.time == account.clock.now()


def test_a_request_without_known_credentials_is_refused(account):
    stranger = boto3.client(
        "sns",
        region_name=account.region,
        endpoint_url=account.endpoint,
        aws_access_key_id="AKIASTRANGER",
        aws_secret_access_key="x",  # noqa: S106 (a made-up secret)
    )
    assert error_of(stranger.list_topics) == "InvalidClientTokenId"


def test_a_role_may_do_what_its_policies_allow_and_nothing_else(account):
    allowed = {"Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"}
    account.roles["reader"] = Role(policies=[{"Statement": [allowed]}])
    ec2 = account.client("ec2", "reader")
    assert ec2.describe_instances()["Reservations"] == []
    assert error_of(ec2.start_instances, InstanceIds=["i-0123456789abcdef0"]) == "UnauthorizedOperation"
    assert [(call.principal, call.error) for call in account.calls] == [
        ("reader", None),
        ("reader", "UnauthorizedOperation"),
    ]


@pytest.mark.parametrize(
    ("service", "call", "params", "code"),
    [
        ("ec2", "describe_instances", {}, "UnauthorizedOperation"),
        ("elbv2", "describe_rules", {"ListenerArn": "arn"}, "AccessDenied"),
        ("ssm", "get_parameter", {"Name": "/stack/hold"}, "AccessDeniedException"),
        ("sns", "publish", {"TopicArn": "arn", "Message": "text"}, "AuthorizationError"),
        ("cloudwatch", "describe_alarms", {}, "AccessDenied"),
        ("stepfunctions", "list_state_machines", {}, "AccessDeniedException"),
    ],
)
def test_a_denial_has_the_shape_of_its_service(account, service, call, params, code):
    account.roles["nobody"] = Role()
    assert error_of(getattr(account.client(service, "nobody"), call), **params) == code


# Faults and hooks.


EVERYTHING = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


@pytest.mark.parametrize(("service", "operation"), [("ec2", "DescribeInstances"), ("elbv2", "ModifyListener")])
def test_one_of_a_hundred_calls_of_a_role_fails_as_the_seed_says(
    monkeypatch: pytest.MonkeyPatch, service: str, operation: str
) -> None:  # S14, S18
    request = wire.Request("POST", "/", {}, b"", "key", service, operation)

    def failed(seed: str, principal: str = "role", *, off: bool = False) -> list[int]:
        monkeypatch.setenv("KIRIKAE_SANDBOX_SEED", seed)
        faults = Faults()
        if off:
            faults.off()
        return [number for number in range(2000) if faults.take(request, principal)]

    assert 5 <= len(failed("1")) <= 40
    assert failed("1") == failed("1") != failed("2")
    assert failed("1", off=True) == failed("1", ADMINISTRATOR) == []


def test_an_error_of_aws_own_is_one_that_sdks_repeat_and_comes_before_the_effect(account: Account) -> None:  # S14, S18
    account.roles["role"] = Role(policies=[EVERYTHING])
    account.faults.always()
    asked = {
        "ec2": lambda ec2: error_of(ec2.describe_vpcs),
        "elbv2": lambda elb: error_of(elb.describe_target_groups),
        "ssm": lambda ssm: error_of(ssm.get_parameter, Name="/a"),
    }
    seen = {service: {ask(account.client(service, "role")) for _ in range(20)} for service, ask in asked.items()}
    assert seen == {
        "ec2": {"NobodyListsThisException", "RequestLimitExceeded"},
        "elbv2": {"NobodyListsThisException", "Throttling"},
        "ssm": {"NobodyListsThisException", "ThrottlingException"},
    }
    topic = account.client("sns").create_topic(Name="a")["TopicArn"]
    error_of(account.client("sns", "role").publish, TopicArn=topic, Message="b")
    assert account.mails == []
    assert {call.principal for call in account.calls} == {"administrator"}
    assert [call.operation for call in account.repeated].count("Publish") == 1


def test_an_operation_for_which_a_story_has_added_a_fault_meets_only_that(account: Account) -> None:  # S14
    account.roles["role"] = Role(policies=[EVERYTHING])
    account.faults.always()
    account.faults.add("ec2", "DescribeVpcs", "Throttled", when=lambda _params: False)
    assert account.client("ec2", "role").describe_vpcs()["Vpcs"]
    assert error_of(account.client("ec2", "role").describe_subnets)


def test_a_start_meets_only_the_errors_of_its_story_since_no_sdk_repeats_it(account: Account) -> None:  # S3
    account.roles["role"] = Role(policies=[EVERYTHING])
    account.faults.always()
    [instance] = account.client("ec2").run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1)["Instances"]
    start, given = account.client("ec2", "role").start_instances, {"InstanceIds": [instance["InstanceId"]]}
    assert start(**given)["StartingInstances"]
    assert error_of(start, **given, DryRun=True) != "DryRunOperation"


def test_a_fault_hits_the_next_requests_that_match(account):
    account.faults.add("ec2", "DescribeInstances", "RequestLimitExceeded", times=2, status=503)
    ec2 = account.client("ec2")
    assert error_of(ec2.describe_instances) == "RequestLimitExceeded"
    assert ec2.describe_vpcs()["Vpcs"]
    assert error_of(ec2.describe_instances) == "RequestLimitExceeded"
    assert ec2.describe_instances()["Reservations"] == []


def test_a_fault_without_a_count_lasts_until_it_is_cleared(account):
    account.faults.add("ssm", "GetParameter", "InternalServerError", status=500, when=lambda p: p["Name"] == "/a")
    ssm = account.client("ssm")
    assert [error_of(ssm.get_parameter, Name=name) for name in ("/a", "/b", "/a")] == [
        "InternalServerError",
        "ParameterNotFound",
        "InternalServerError",
    ]
    account.faults.clear()
    assert error_of(ssm.get_parameter, Name="/a") == "ParameterNotFound"


def test_a_lost_answer_comes_after_the_effect(account):
    account.faults.add("sns", "CreateTopic", None, times=1, after=True)
    with pytest.raises(botocore.exceptions.ConnectionClosedError):
        account.client("sns").create_topic(Name="made")
    assert account.calls[-1].error == "ConnectionClosed"
    assert len(account.client("sns").list_topics()["Topics"]) == 1


def test_an_error_after_the_effect(account):
    account.faults.add("sns", "CreateTopic", "InternalError", times=1, status=500, after=True)
    assert error_of(account.client("sns").create_topic, Name="made") == "InternalError"
    assert len(account.client("sns").list_topics()["Topics"]) == 1


def test_a_slow_answer_takes_real_time(account):
    account.faults.add("sns", "ListTopics", None, latency=0.1)
    began = time.monotonic()
    assert account.client("sns").list_topics()["Topics"] == []
    assert time.monotonic() - began >= 0.1


@pytest.mark.parametrize("service", ["sns", "ssm"])
@pytest.mark.parametrize(("body", "begins"), [("empty", b""), ("cut", b""), ("bare", b""), ("html", b"<html>")])
@pytest.mark.parametrize("after", [False, True])
def test_an_answer_may_come_with_a_body_that_is_none(
    account: Account, service: str, body: str, begins: bytes, after: bool
):
    name = {"sns": "CreateTopic", "ssm": "PutParameter"}[service]
    account.faults.add(service, name, None, times=1, body=body, after=after)
    seen = []
    client = account.client(service)
    client.meta.events.register("before-parse", lambda response_dict, **_: seen.append(response_dict), "seen")
    try:
        if service == "sns":
            given = client.create_topic(Name="a")
        else:
            given = client.put_parameter(Name="/a", Value="b", Type="String")
    except (botocore.parsers.ResponseParserError, KeyError):
        given = {}
    finally:  # the client is that of the next account, too
        client.meta.events.unregister("before-parse", unique_id="seen")
    [answer] = seen
    assert answer["status_code"] == 200
    assert answer["body"].startswith(begins)
    assert (answer["body"] == b"") == (body == "empty")
    assert given.keys() <= {"ResponseMetadata"}
    happened = {
        "sns": lambda: account.client("sns").list_topics()["Topics"],
        "ssm": lambda: account.client("ssm").describe_parameters()["Parameters"],
    }[service]()
    assert bool(happened) == (after or body in ("cut", "bare"))
    assert account.calls[0].error == "BadAnswer"


def test_a_hook_runs_once_before_the_request_is_served(account):
    account.before("sns", "ListTopics", lambda: account.client("sns").create_topic(Name="from-the-hook"))
    assert len(account.client("sns").list_topics()["Topics"]) == 1
    assert len(account.client("sns").list_topics()["Topics"]) == 1
    assert [call.operation for call in account.calls] == ["CreateTopic", "ListTopics", "ListTopics"]


def test_an_override_serves_an_operation_or_leaves_it_to_moto(account):
    account.override("sns", "ListTopics", lambda params, _: {"Topics": [{"TopicArn": "arn"}]} if not params else None)
    assert account.client("sns").list_topics()["Topics"] == [{"TopicArn": "arn"}]
    assert account.client("sns").list_topics(NextToken="1")["Topics"] == []


def test_the_account_closes_what_it_opened():
    with Account() as account:
        sns = account.client("sns")
        closed = []
        account.at_close(lambda: closed.append("part"))
    assert closed == ["part"]
    with pytest.raises(botocore.exceptions.EndpointConnectionError):
        sns.list_topics()


def test_a_mistake_in_the_sandbox_does_not_look_like_an_answer():
    def broken(params, _):
        return params["NoSuchParameter"]

    account = Account()
    account.override("sns", "ListTopics", broken)
    with pytest.raises(botocore.exceptions.ConnectionClosedError):
        account.client("sns").list_topics()
    with pytest.raises(ExceptionGroup, match="failed to serve") as mistakes:
        account.close()
    assert [type(error) for error in mistakes.value.exceptions] == [KeyError]
