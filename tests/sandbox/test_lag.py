"""Reads that lag behind writes, and pauses that take no real time."""

import time
from typing import Any

import pytest
from sandbox_tools import error_of, make_function

from sandbox.account import Account
from sandbox.estates.nlb import nlb_service
from sandbox.iam import Role

EVERYTHING = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


@pytest.fixture
def role(account: Account) -> str:
    account.roles["role"] = Role(policies=[EVERYTHING])
    return "role"


def value(client: Any, name: str = "/a") -> str:
    return str(client.get_parameter(Name=name)["Parameter"]["Value"])


@pytest.fixture
def put(account: Account) -> Any:
    def put(text: str) -> None:
        account.client("ssm").put_parameter(Name="/a", Value=text, Type="String", Overwrite=True)

    put("old")
    account.advance(1)
    return put


def test_accounts_lag_unless_somebody_says_otherwise(account, role, put):  # G10
    mine, stale = account.client("ssm", role), 0
    for turn in range(20):
        value(mine)
        put(f"new {turn}")
        stale += value(mine) != f"new {turn}"
        account.advance(2)
    assert 0 < stale < 20


def test_a_role_reads_what_was_before_until_the_lag_is_over(account, role, put):  # Q8
    account.lag.exactly("ssm", 1.0)
    mine, admin = account.client("ssm", role), account.client("ssm")
    assert value(mine) == "old"
    put("new")
    assert (value(mine), value(admin)) == ("old", "new")
    account.advance(0.9)
    assert value(mine) == "old"
    account.advance(0.1)
    assert value(mine) == "new"


@pytest.mark.parametrize("back", [True, False])
def test_within_the_bound_of_a_drawn_lag_answers_may_go_back_to_what_was(account, role, put, back):
    mine, runs = account.client("ssm", role), []
    account.lag.may_go_back(0.25 if back else 0)
    for turn in range(20):
        value(mine)
        put(f"new {turn}")
        runs.append([value(mine) == f"new {turn}" for _ in range(10)])
        account.advance(1)
        assert value(mine) == f"new {turn}"
    assert [True] * 10 in runs  # at once
    assert any(run != sorted(run) for run in runs) == back
    assert 0 < sum(map(sum, runs)) < 200


def test_a_lag_that_is_set_exactly_never_goes_back(account, role, put):
    account.lag.may_go_back()
    account.lag.exactly("ssm", 1.0)
    mine = account.client("ssm", role)
    value(mine)
    put("new")
    assert {value(mine) for _ in range(20)} == {"old"}


def test_several_writes_show_one_after_another_and_never_back(account, role, put):
    account.lag.exactly("ssm", 1.0)
    mine, seen = account.client("ssm", role), []
    value(mine)
    for text in ("one", "two"):
        put(text)
        account.advance(0.6)
        seen.append(value(mine))
    account.advance(0.4)
    assert [*seen, value(mine)] == ["old", "one", "two"]


def test_what_was_just_written_is_stale_even_if_it_was_never_asked(account, role):
    service = nlb_service(account, ports=(443,))
    [arn] = service.listener_arns
    account.lag.exactly("elbv2", 3.0)
    mine, admin = account.client("elbv2", role), account.client("elbv2")
    action = [{"Type": "forward", "TargetGroupArn": service.sorry_arn}]
    mine.modify_listener(ListenerArn=arn, DefaultActions=action)

    def serves(client: Any) -> str:
        return str(client.describe_listeners(ListenerArns=[arn])["Listeners"][0]["DefaultActions"][0]["TargetGroupArn"])

    assert (serves(mine), serves(admin)) == (service.primary_arn, service.sorry_arn)
    account.advance(3)
    assert serves(mine) == service.sorry_arn


def test_a_created_thing_is_not_there_yet(account, role):  # Q7
    account.lag.exactly("ssm", 1.0)
    account.client("ssm", role).put_parameter(Name="/new", Value="1", Type="String")
    assert error_of(account.client("ssm", role).get_parameter, Name="/new") == "ParameterNotFound"
    account.advance(1)
    assert value(account.client("ssm", role), "/new") == "1"


def test_an_instance_shows_its_state_late_also_when_time_changes_it(account, role):  # G10, S7
    service = nlb_service(account, ports=(443,))
    account.lag.exactly("ec2", 2.0)
    mine = account.client("ec2", role)

    def state() -> str:
        [one] = mine.describe_instances(InstanceIds=[service.instance_ids[0]])["Reservations"]
        return str(one["Instances"][0]["State"]["Name"])

    assert state() == "running"
    mine.stop_instances(InstanceIds=[service.instance_ids[0]])
    assert state() == "running"
    account.advance(20)
    assert state() == "stopping"
    account.advance(2)
    assert state() == "stopped"


def test_an_execution_that_has_ended_is_still_listed_as_running(account, role):
    machine = account.states.put(
        "m",
        definition={
            "StartAt": "Wait",
            "States": {"Wait": {"Type": "Wait", "Seconds": 9, "Next": "End"}, "End": {"Type": "Succeed"}},
        },
        role_name=role,
    )
    account.lag.exactly("stepfunctions", 5.0)
    mine = account.client("stepfunctions", role)

    def running() -> int:
        return len(mine.list_executions(stateMachineArn=machine, statusFilter="RUNNING")["executions"])

    assert running() == 0
    account.states.start(machine, {})
    account.advance(8)
    assert running() == 1
    account.advance(1)
    assert running() == 1
    account.advance(5)
    assert running() == 0


@pytest.mark.parametrize("by", ["a person", "evaluation"])
def test_an_alarm_s_change_shows_late_to_a_role_however_it_comes(account: Account, role: str, by: str) -> None:  # E9
    mine, admin = account.client("cloudwatch", role), account.client("cloudwatch")
    late = "breaching" if by == "evaluation" else "ignore"
    admin.put_metric_alarm(
        AlarmName="a", Namespace="n", MetricName="m", Statistic="Sum", Period=60, EvaluationPeriods=1, Threshold=1,
        ComparisonOperator="GreaterThanThreshold", TreatMissingData=late,
    )  # fmt: skip
    account.lag.exactly("DescribeAlarms", 2.0)

    def seen(client: Any) -> str:
        return str(client.describe_alarms(AlarmNames=["a"])["MetricAlarms"][0]["StateValue"])

    while seen(mine) and seen(admin) == "INSUFFICIENT_DATA":
        if by == "a person":
            admin.set_alarm_state(AlarmName="a", StateValue="ALARM", StateReason="test")
        else:
            account.advance(1)
    assert (seen(mine), seen(admin)) == ("INSUFFICIENT_DATA", "ALARM")
    account.advance(1.9)
    assert seen(mine) == "INSUFFICIENT_DATA"
    account.advance(0.1)
    assert seen(mine) == "ALARM"


def lags(seed: str, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    monkeypatch.setenv("KIRIKAE_SANDBOX_SEED", seed)
    with Account() as account:
        account.roles["role"] = Role(policies=[EVERYTHING])
        account.lag.on()
        mine, admin, found = account.client("ssm", "role"), account.client("ssm"), []
        admin.put_parameter(Name="/a", Value="-", Type="String")
        account.advance(1)
        for number in range(20):
            admin.put_parameter(Name="/a", Value=str(number), Type="String", Overwrite=True)
            late = 0.0
            while value(mine) != str(number):
                account.advance(0.125)
                late += 0.125
            found.append(late)
        return found


def test_lags_are_drawn_by_the_seed_within_their_bound_and_many_are_none(monkeypatch):
    found = lags("1", monkeypatch)
    assert found == lags("1", monkeypatch) != lags("2", monkeypatch)
    assert max(found) <= 1.0
    assert 0 < found.count(0.0) < 20


def test_a_service_can_be_told_another_bound_or_none(account, role, put):
    mine = account.client("ssm", role)
    account.lag.exactly("ssm", 1.0)
    value(mine)
    put("two")
    account.lag.off("ssm")
    assert value(mine) == "two"
    account.lag.at_most("ssm", 0.0)
    put("three")
    assert value(mine) == "three"
    account.lag.exactly("ssm", 60.0)
    put("four")
    assert value(mine) == "three"
    account.lag.catch_up()
    assert value(mine) == "four"


# Pauses.

SLEEPER = """
import os, time, boto3
def lambda_handler(event, context):
    began = time.time(), time.monotonic(), time.perf_counter()
    left = context.get_remaining_time_in_millis()
    seen = []
    for pause in event["pauses"]:
        if "read" in event:
            seen.append(boto3.client("ssm").get_parameter(Name="/a")["Parameter"]["Value"])
        time.sleep(pause)
    passed = [clock() - was for clock, was in zip((time.time, time.monotonic, time.perf_counter), began)]
    return {"seen": seen, "passed": passed, "left": left - context.get_remaining_time_in_millis()}
"""


@pytest.fixture
def sleeper(account, role, tmp_path) -> Any:
    (tmp_path / "app.py").write_text(SLEEPER)
    name = make_function(account, tmp_path, role_name=role)
    return lambda event: account.functions.invoke(name, event)


def test_a_function_that_sleeps_sees_every_clock_move_and_takes_no_real_time(sleeper):
    sleeper({"pauses": []})
    began = time.monotonic()
    done = sleeper({"pauses": [7, 8.5]})
    assert time.monotonic() - began < 5
    assert all(15.5 <= passed < 18 for passed in done.payload["passed"])
    assert 15500 <= done.payload["left"] < 18000
    assert 15.5 <= done.seconds < 18


def test_slept_seconds_count_for_the_timeout(sleeper):
    done = sleeper({"pauses": [15, 15]})
    assert "timed out after 20.00 seconds" in str(done.error)
    again = sleeper({"pauses": [15]})
    assert (again.error, again.cold) == (None, True)


def test_a_lag_ends_while_the_function_sleeps(account, sleeper, put):
    account.lag.exactly("ssm", 1.0)
    account.client("ssm", "role").get_parameter(Name="/a")
    put("new")
    done = sleeper({"pauses": [0.4, 0.5, 0.2, 0], "read": True})
    assert done.payload["seen"] == ["old", "old", "old", "new"]


@pytest.mark.parametrize(("late", "shown"), [
    ("tags", [("stopped", ""), ("pending", ""), ("pending", "new")]),
    ("state", [("stopped", ""), ("stopped", "new"), ("pending", "new")]),
])  # fmt: skip
def test_tags_of_an_instance_and_its_state_are_late_each_by_itself(
    account: Account, role: str, late: str, shown: list[tuple[str, str]]
) -> None:  # S7
    admin, mine = account.client("ec2"), account.client("ec2", role)
    [launched] = admin.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1)["Instances"]
    instance = launched["InstanceId"]
    account.advance(60)
    admin.stop_instances(InstanceIds=[instance])
    account.advance(120)

    def seen() -> tuple[str, str]:
        [found] = mine.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"]
        return found["State"]["Name"], next((tag["Value"] for tag in found.get("Tags", [])), "")

    account.gaps.off()
    first = seen()
    for change, seconds in (("state", 2.0), ("tags", 1.0)) if late == "state" else (("tags", 2.0), ("state", 1.0)):
        account.lag.exactly("ec2", seconds)
        if change == "tags":
            admin.create_tags(Resources=[instance], Tags=[{"Key": "kirikae:note", "Value": "new"}])
        else:
            admin.start_instances(InstanceIds=[instance])
    account.advance(1)
    second = seen()
    account.advance(1)
    assert [first, second, seen()] == shown
