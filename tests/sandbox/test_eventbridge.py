"""EventBridge in the sandbox: patterns, schedules in time zones, rules, targets and their dead letters."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sandbox_tools import make_function

from sandbox.account import Account
from sandbox.iam import Role
from sandbox.services.eventbridge import matches
from sandbox.services.schedules import occurrences

RULES = "events.amazonaws.com"
STOPPED = {"source": ["aws.ec2"], "detail": {"instance-id": ["i-1"], "state": [{"prefix": "stop"}]}}


@pytest.fixture
def function(account: Account, tmp_path: Path) -> str:
    return make_function(account, tmp_path)


def queue(account: Account, name: str, *services: str) -> str:
    """Make a queue that these services may send to."""
    arn = account.arn("sqs", name)
    statement = {"Effect": "Allow", "Principal": {"Service": list(services)}, "Action": "sqs:SendMessage"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [{**statement, "Resource": arn}]})
    account.client("sqs").create_queue(QueueName=name, Attributes={"Policy": policy})
    return arn


def messages(account: Account, name: str) -> list[dict[str, Any]]:
    url = account.client("sqs").get_queue_url(QueueName=name)["QueueUrl"]
    wanted = {"MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]}
    return list(account.client("sqs").receive_message(QueueUrl=url, **wanted).get("Messages", []))


def ec2_event(account: Account, state: str, instance: str = "i-1") -> None:
    detail = {"instance-id": instance, "state": state}
    account.events.emit(
        "aws.ec2", "EC2 Instance State-change Notification", detail, [account.arn("ec2", f"instance/{instance}")]
    )


def events(account: Account) -> list[Any]:
    return [run.event for run in account.functions.runs]


# Patterns.

EVENT = {
    "source": "aws.ec2",
    "resources": ["arn:1", "arn:2"],
    "detail": {"state": "stopped", "code": 7, "nothing": None},
}


@pytest.mark.parametrize(
    ("pattern", "result"),
    [
        ({"source": ["aws.ec2"]}, True),
        ({"source": ["aws.ec2"], "detail": {"state": ["running", "stopped"]}}, True),
        ({"source": ["aws.ec2"], "detail": {"state": ["running"]}}, False),
        ({"resources": ["arn:2"]}, True),
        ({"detail": {"state": [{"prefix": "stop"}]}}, True),
        ({"detail": {"state": [{"anything-but": ["stopped"]}]}}, False),
        ({"detail": {"muteDetail": [{"exists": False}]}}, True),
        ({"detail": {"state": [{"exists": False}]}}, False),
        ({"detail": {"code": [{"numeric": [">", 5, "<=", 7]}]}}, True),
        ({"detail": {"state": [{"wildcard": "st*ed"}]}}, True),
        ({"detail": {"nothing": [None]}}, True),
        ({"$or": [{"source": ["x"]}, {"detail": {"state": ["stopped"]}}]}, True),
        ({"detail": {"absent": ["x"]}}, False),
    ],
)
def test_a_pattern_matches(pattern: dict[str, Any], result: bool) -> None:
    assert matches(pattern, EVENT) is result


@pytest.mark.parametrize(
    "pattern",
    [
        {},
        {"source": "aws.ec2"},
        {"source": []},
        {"detail": {"state": [{"starts-with": "s"}]}},
        {"detail": {"state": [["stopped"]]}},
        {"detail": {"state": [{"prefix": "s", "suffix": "d"}]}},
    ],
)
def test_a_pattern_that_aws_refuses(account: Account, pattern: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Event pattern is not valid"):
        account.events.put_rule("r", pattern=pattern, schedule=None, state="ENABLED", targets=[])


# Schedule expressions.


def due(expression: str, after: str, zone: str = "UTC", count: int = 3) -> list[str]:
    moments = occurrences(expression, datetime.fromisoformat(after), zone)
    return [f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in itertools.islice(moments, count)]


NEW_YEAR = "2026-01-01T00:00:30+00:00"  # a Thursday


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("rate(1 minute)", ["2026-01-01T00:01:30Z", "2026-01-01T00:02:30Z"]),
        ("rate(2 days)", ["2026-01-03T00:00:30Z", "2026-01-05T00:00:30Z"]),
        ("at(2026-01-01T00:01:00)", ["2026-01-01T00:01:00Z"]),
        ("at(2025-12-31T23:59:59)", []),
        ("cron(0 3 * * ? *)", ["2026-01-01T03:00:00Z", "2026-01-02T03:00:00Z"]),
        ("cron(0/20 0 1 1 ? 2026)", ["2026-01-01T00:20:00Z", "2026-01-01T00:40:00Z"]),
        ("cron(15,45 9-10 ? * MON-FRI *)", ["2026-01-01T09:15:00Z", "2026-01-01T09:45:00Z"]),
        ("cron(0 0 ? * 1 *)", ["2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"]),  # 1 is Sunday
        ("cron(0 0 L * ? *)", ["2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z"]),
        ("cron(0 0 LW * ? *)", ["2026-01-30T00:00:00Z", "2026-02-27T00:00:00Z"]),
        ("cron(0 0 3W * ? *)", ["2026-01-02T00:00:00Z", "2026-02-03T00:00:00Z"]),  # the third is a Saturday
        ("cron(0 0 ? * TUE#3 *)", ["2026-01-20T00:00:00Z", "2026-02-17T00:00:00Z"]),
        ("cron(0 0 ? * 6L *)", ["2026-01-30T00:00:00Z", "2026-02-27T00:00:00Z"]),  # the last Friday
        ("cron(0 0 29 FEB ? *)", ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]),
        ("cron(0 0 1 1 ? 2025)", []),
    ],
)
def test_when_an_expression_is_due(expression: str, wanted: list[str]) -> None:
    assert due(expression, NEW_YEAR, count=2) == wanted


def test_a_weekly_window_in_tokyo_is_the_day_before_in_utc() -> None:
    assert due("cron(0 2 ? * SUN *)", NEW_YEAR, "Asia/Tokyo", 2) == ["2026-01-03T17:00:00Z", "2026-01-10T17:00:00Z"]
    assert due("at(2026-01-02T02:00:00)", NEW_YEAR, "Asia/Tokyo") == ["2026-01-01T17:00:00Z"]


def test_a_time_that_the_clocks_skip_is_skipped() -> None:  # I1
    spring = due("cron(30 2 * * ? *)", "2026-03-07T00:00:00+00:00", "America/New_York", 3)
    assert spring == ["2026-03-07T07:30:00Z", "2026-03-09T06:30:00Z", "2026-03-10T06:30:00Z"]
    assert due("at(2026-03-08T02:30:00)", NEW_YEAR, "America/New_York") == []


def test_a_time_that_the_clocks_repeat_is_taken_once() -> None:  # I1
    autumn = due("cron(30 1 * * ? *)", "2026-10-31T00:00:00+00:00", "America/New_York", 3)
    assert autumn == ["2026-10-31T05:30:00Z", "2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"]


@pytest.mark.parametrize(
    "expression",
    [
        "rate(0 minutes)",
        "rate(5 weeks)",
        "every minute",
        "cron(0 3 * * * *)",  # one of the two days must be ?
        "cron(0 3 ? * ? *)",
        "cron(99 3 * * ? *)",
        "cron(0 24 * * ? *)",
        "cron(0 3 32 * ? *)",
        "cron(0 3 ? * FOO *)",
        "cron(0 3 ? * 8 *)",
        "cron(0 3 * * ?)",
        "cron(5-1 3 * * ? *)",
    ],
)
def test_an_expression_that_aws_refuses(expression: str) -> None:
    with pytest.raises(ValueError, match=r"not valid|Not a valid|must be"):
        occurrences(expression, datetime.now(UTC))


# Rules.


def test_a_rule_hands_matching_events_to_its_function(account: Account, function: str) -> None:
    target = {"Arn": function, "Id": "f"}
    rule = account.events.put_rule("stop", pattern=STOPPED, schedule=None, state="ENABLED", targets=[target])
    account.functions.allow("f", "stop", RULES, rule, None)
    for state in ("running", "stopping", "stopped"):
        ec2_event(account, state)
    ec2_event(account, "stopped", "i-2")
    assert events(account) == []
    account.settle()
    assert [event["detail"]["state"] for event in events(account)] == ["stopping", "stopped"]
    event = events(account)[0]
    assert event.keys() == {
        "version",
        "id",
        "detail-type",
        "source",
        "account",
        "time",
        "region",
        "resources",
        "detail",
    }
    assert (event["version"], event["account"], event["region"]) == ("0", "123456789012", "ap-northeast-1")
    assert datetime.fromisoformat(event["time"]) == account.clock.now()


def failed_invocations(account: Account) -> float:
    now = account.clock.time()
    read = account.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/Events",
        MetricName="FailedInvocations",
        StartTime=now - 3600,
        EndTime=now + 1,
        Period=3600,
        Statistics=["Sum"],
    )
    return sum(point["Sum"] for point in read["Datapoints"])


def test_without_permission_the_event_goes_to_the_dead_letter_queue(account: Account, function: str) -> None:
    dead = queue(account, "dlq", RULES)
    target = {"Arn": function, "Id": "f", "DeadLetterConfig": {"Arn": dead}}
    rule = account.events.put_rule("stop", pattern=STOPPED, schedule=None, state="ENABLED", targets=[target])
    ec2_event(account, "stopped")
    account.settle()
    assert events(account) == []
    assert failed_invocations(account) == 1
    (message,) = messages(account, "dlq")
    assert json.loads(message["Body"])["detail"]["state"] == "stopped"
    about = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert (about["RULE_ARN"], about["TARGET_ARN"], about["ERROR_CODE"]) == (rule, function, "NO_PERMISSIONS")


def test_a_dead_letter_queue_without_a_policy_gets_nothing(account: Account, function: str) -> None:
    dead = queue(account, "dlq", "lambda.amazonaws.com")
    target = {"Arn": function, "Id": "f", "DeadLetterConfig": {"Arn": dead}}
    account.events.put_rule("stop", pattern=STOPPED, schedule=None, state="ENABLED", targets=[target])
    ec2_event(account, "stopped")
    account.settle()
    assert failed_invocations(account) == 1
    assert messages(account, "dlq") == []


def test_a_rule_can_tell_a_queue_and_a_topic(account: Account) -> None:
    topic = account.client("sns").create_topic(Name="alerts")["TopicArn"]
    targets = [{"Arn": queue(account, "all", RULES), "Id": "q", "Input": '{"fixed": 1}'}, {"Arn": topic, "Id": "t"}]
    account.events.put_rule("stop", pattern=STOPPED, schedule=None, state="ENABLED", targets=targets)
    ec2_event(account, "stopped")
    account.settle()
    assert [message["Body"] for message in messages(account, "all")] == ['{"fixed": 1}']
    assert [json.loads(mail.body)["detail"]["state"] for mail in account.mails] == ["stopped"]


def test_events_can_be_lost_doubled_and_late(account: Account, function: str) -> None:  # F5
    rule = account.events.put_rule(
        "stop", pattern=STOPPED, schedule=None, state="ENABLED", targets=[{"Arn": function, "Id": "f"}]
    )
    account.functions.allow("f", "stop", RULES, rule, None)
    for arrivals, seconds, count in [((), 60, 0), ((0, 0), 0, 2), ((30,), 29, 0), ((), 1, 1)]:
        account.events.arrivals = lambda _, chosen=arrivals: chosen
        ec2_event(account, "stopped")
        account.advance(seconds)
        assert len(events(account)) == count
        account.functions.runs.clear()


def test_a_rule_ticks_at_its_rate_until_it_is_disabled(account: Account, function: str) -> None:
    def put(state: str) -> str:
        targets = [{"Arn": function, "Id": "f"}]
        return account.events.put_rule("tick", pattern=None, schedule="rate(1 minute)", state=state, targets=targets)

    rule = put("ENABLED")
    account.functions.allow("f", "tick", RULES, rule, None)
    account.advance(59)
    assert events(account) == []
    account.advance(121)
    assert [event["detail-type"] for event in events(account)] == ["Scheduled Event"] * 3
    assert events(account)[0]["source"] == "aws.events"
    assert events(account)[0]["resources"] == [rule]
    put("ENABLED")
    account.advance(60)
    assert len(events(account)) == 4, "the old schedule ended when the new one began"
    put("DISABLED")
    account.advance(300)
    assert len(events(account)) == 4
    put("ENABLED")
    account.events.delete_rule("tick")
    account.advance(300)
    assert len(events(account)) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "rate(1 minutes)"}, "not valid"),
        ({"schedule": "rate(5 minute)"}, "not valid"),
        ({"schedule": "at(2030-01-01T00:00:00)", "pattern": STOPPED}, "either a pattern or a schedule"),
        ({"targets": [{"Arn": "arn:aws:lambda:r:1:function:f", "Id": "f", "InputPath": "$"}]}, "InputPath"),
        ({"targets": [{"Arn": "arn:aws:kinesis:r:1:stream/s", "Id": "s"}]}, "lacks the target"),
        ({"targets": [{"Arn": "arn:aws:states:r:1:stateMachine:m", "Id": "m"}]}, "lacks the target"),
        ({"targets": [{"Arn": "arn:aws:lambda:r:1:function:f", "Id": "f", "Input": "{"}]}, "property name"),
        (
            {
                "targets": [
                    {
                        "Arn": "arn:aws:lambda:r:1:function:f",
                        "Id": "f",
                        "RetryPolicy": {"MaximumEventAgeInSeconds": 30},
                    }
                ]
            },
            "60-86400",
        ),
    ],
)
def test_a_rule_that_is_refused(account: Account, changes: dict[str, Any], message: str) -> None:
    rule = {"pattern": None, "schedule": "rate(1 minute)", "state": "ENABLED", "targets": []}
    with pytest.raises(ValueError, match=message):
        account.events.put_rule("r", **{**rule, **changes})


def test_nobody_else_can_speak_for_aws(account: Account) -> None:
    account.events.put_rule(
        "own",
        pattern={"source": ["aws.ec2", "mine"]},
        schedule=None,
        state="ENABLED",
        targets=[{"Arn": queue(account, "all", RULES), "Id": "q"}],
    )
    entries = [{"Source": source, "DetailType": "t", "Detail": '{"a": 1}'} for source in ("aws.ec2", "mine")]
    answer = account.client("events").put_events(Entries=entries)
    assert answer["FailedEntryCount"] == 1
    assert answer["Entries"][0]["ErrorCode"] == "NotAuthorizedForSourceException"
    account.settle()
    assert [json.loads(message["Body"])["source"] for message in messages(account, "all")] == ["mine"]


# EventBridge Scheduler.


@pytest.fixture
def scheduler(account: Account, function: str) -> dict[str, Any]:
    """Return a target with a role that may invoke the function and send to the dead letter queue."""
    trust = {"Effect": "Allow", "Principal": {"Service": "scheduler.amazonaws.com"}, "Action": "sts:AssumeRole"}
    dead = queue(account, "dlq")
    allowed = {"Effect": "Allow", "Action": ["lambda:InvokeFunction", "sqs:SendMessage"], "Resource": [function, dead]}
    account.roles["scheduler"] = Role({"Statement": [trust]}, [{"Statement": [allowed]}])
    role = f"arn:aws:iam::{account.account_id}:role/scheduler"
    return {"Arn": function, "RoleArn": role, "Input": '{"type": "start"}', "DeadLetterConfig": {"Arn": dead}}


def schedule(account: Account, target: dict[str, Any], expression: str, **changes: Any) -> str:
    settings = {"timezone": "Asia/Tokyo", "target": target, "state": "ENABLED"}
    return account.scheduler.put_schedule("window", expression=expression, **{**settings, **changes})


def test_a_one_time_schedule_fires_once_at_its_local_time(account: Account, scheduler: dict[str, Any]) -> None:
    moment = account.clock.now() + timedelta(hours=10)  # nine of which are Tokyo's
    schedule(account, scheduler, f"at({moment:%Y-%m-%dT%H:%M:%S})")
    account.advance(3599)
    assert events(account) == []
    account.advance(1)
    assert events(account) == [{"type": "start"}]
    account.advance(100_000)
    assert len(events(account)) == 1


def test_a_cron_schedule_fires_every_day_in_its_zone(account: Account, scheduler: dict[str, Any]) -> None:
    schedule(account, scheduler, "cron(0 2 * * ? *)")
    account.advance(3 * 86400)
    assert [f"{run.time:%H:%M}" for run in account.functions.runs] == ["17:00"] * 3


def test_a_rate_without_a_start_begins_at_once_and_ends_with_its_end(
    account: Account, scheduler: dict[str, Any]
) -> None:
    end = account.clock.now() + timedelta(seconds=130)
    schedule(account, scheduler, "rate(1 minute)", end=end)
    account.settle()
    assert len(events(account)) == 1
    account.advance(600)
    assert len(events(account)) == 3


def test_a_rate_with_a_start_counts_from_it(account: Account, scheduler: dict[str, Any]) -> None:
    began = account.clock.time()
    start = (account.clock.now() + timedelta(seconds=90)).isoformat()
    schedule(account, scheduler, "rate(1 minute)", start=start)
    account.advance(200)
    assert [run.time.timestamp() - began for run in account.functions.runs] == [90, 150]


def test_a_start_in_the_past_keeps_its_beat(account: Account, scheduler: dict[str, Any]) -> None:
    began = account.clock.time()
    schedule(account, scheduler, "rate(1 minute)", start=account.clock.now() - timedelta(seconds=150))
    account.advance(100)
    assert [run.time.timestamp() - began for run in account.functions.runs] == [30, 90]


def test_a_schedule_that_is_off_or_deleted_does_nothing(account: Account, scheduler: dict[str, Any]) -> None:
    schedule(account, scheduler, "rate(1 minute)", state="DISABLED")
    account.advance(120)
    schedule(account, scheduler, "rate(1 minute)", start=account.clock.now() + timedelta(seconds=30))
    account.scheduler.delete_schedule("window")
    account.advance(120)
    assert events(account) == []


def test_without_input_the_target_gets_a_scheduled_event(account: Account, scheduler: dict[str, Any]) -> None:
    del scheduler["Input"]
    arn = schedule(account, scheduler, "rate(1 hour)")
    account.settle()
    (event,) = events(account)
    assert (event["source"], event["detail-type"], event["resources"]) == ("aws.scheduler", "Scheduled Event", [arn])


@pytest.mark.parametrize("broken", ["trust", "policy"])
def test_a_role_that_may_not_invoke_leaves_a_dead_letter(
    account: Account, scheduler: dict[str, Any], broken: str
) -> None:
    role = account.roles["scheduler"]
    send = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*"}
    account.roles["scheduler"] = {
        "trust": Role({"Statement": []}, role.policies),
        "policy": Role(role.trust, [{"Statement": [send]}]),
    }[broken]
    arn = schedule(account, scheduler, "rate(1 hour)")
    account.settle()
    assert events(account) == []
    (message,) = messages(account, "dlq")
    assert message["Body"] == '{"type": "start"}'
    about = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert (about["SCHEDULE_ARN"], about["ERROR_CODE"]) == (arn, "AccessDeniedException")


def test_a_function_that_is_gone_leaves_a_dead_letter(account: Account, scheduler: dict[str, Any]) -> None:
    account.functions.delete("f")
    schedule(account, scheduler, "rate(1 hour)")
    account.settle()
    (message,) = messages(account, "dlq")
    assert message["MessageAttributes"]["ERROR_CODE"]["StringValue"] == "ResourceNotFoundException"


@pytest.mark.parametrize("allowed", [False, True])
def test_a_dead_letter_queue_with_a_key_takes_nothing_from_a_role_without_the_key(
    account: Account, scheduler: dict[str, Any], allowed: bool
) -> None:
    key = account.arn("kms", "key/00000000-0000-4000-8000-000000000000")
    url = account.client("sqs").get_queue_url(QueueName="dlq")["QueueUrl"]
    account.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"KmsMasterKeyId": key})
    if allowed:
        statement = {"Effect": "Allow", "Action": ["kms:GenerateDataKey", "kms:Decrypt"], "Resource": key}
        account.roles["scheduler"].policies.append({"Statement": [statement]})
    account.functions.delete("f")
    schedule(account, scheduler, "rate(1 hour)")
    account.settle()
    assert len(messages(account, "dlq")) == (1 if allowed else 0)
