"""CloudWatch in the sandbox: when an alarm changes its state, and what it does then."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sandbox_tools import make_function

from sandbox.account import Account
from sandbox.services.cloudwatch_alarms import LAMBDA_PRINCIPAL
from sandbox.services.cloudwatch_math import emf, evaluated, math


def alarm(account: Account, **changes: Any) -> str:
    """Alarm when fewer than one host is healthy."""
    properties = {
        "AlarmName": "outage",
        "AlarmDescription": "nobody is healthy",
        "Namespace": "AWS/NetworkELB",
        "MetricName": "HealthyHostCount",
        "Dimensions": [{"Name": "TargetGroup", "Value": "targetgroup/g/1"}],
        "Statistic": "Maximum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1,
        "ComparisonOperator": "LessThanThreshold",
        "TreatMissingData": "breaching",
    }
    return account.alarms.put_alarm({**properties, **changes})


def hosts(account: Account, count: float) -> None:
    account.metrics.put("AWS/NetworkELB", "HealthyHostCount", {"TargetGroup": "targetgroup/g/1"}, count, "Count")


def to_next_minute(account: Account) -> None:
    account.advance(60 - account.clock.time() % 60)


# The two tables of "How alarm state is evaluated when data is missing"; = is the state it had.
@pytest.mark.parametrize(
    ("points", "needed", "missing", "ignore", "breaching", "not_breaching"),
    [
        ("0-X-X", 3, "OK", "OK", "OK", "OK"),
        ("0----", 3, "OK", "OK", "OK", "OK"),
        ("-----", 3, "INSUFFICIENT_DATA", "=", "ALARM", "OK"),
        ("0XX-X", 3, "ALARM", "ALARM", "ALARM", "ALARM"),
        ("--X--", 3, "ALARM", "=", "ALARM", "OK"),
        ("0-X-X", 2, "ALARM", "ALARM", "ALARM", "ALARM"),
        ("00X0X", 2, "ALARM", "ALARM", "ALARM", "ALARM"),
        ("0-X--", 2, "OK", "OK", "ALARM", "OK"),
        ("----0", 2, "OK", "OK", "ALARM", "OK"),
        ("---X-", 2, "ALARM", "=", "ALARM", "OK"),
        # From the text below them: not prematurely.
        ("----X", 3, "=", "=", "ALARM", "OK"),
        ("---X-", 3, "=", "=", "ALARM", "OK"),
    ],
)
@pytest.mark.parametrize("current", ["OK", "INSUFFICIENT_DATA"])
def test_the_tables_of_the_user_guide(
    points: str, needed: int, missing: str, ignore: str, breaching: str, not_breaching: str, current: str
) -> None:
    series = [{"0": False, "X": True, "-": None}[point] for point in points]
    for treat, wanted in [
        ("missing", missing),
        ("ignore", ignore),
        ("breaching", breaching),
        ("notBreaching", not_breaching),
    ]:
        state = evaluated(series, needed, 3, treat, current)
        assert (treat, state) == (treat, current if wanted == "=" else wanted)


def test_an_alarm_begins_without_data_and_follows_its_metric_minute_by_minute(account: Account) -> None:
    alarm(account)
    assert account.alarms.state("outage").value == "INSUFFICIENT_DATA"
    hosts(account, 2)
    to_next_minute(account)
    assert account.alarms.state("outage").value == "OK"
    hosts(account, 0)
    assert account.alarms.state("outage").value == "OK", "not before the minute is over"
    to_next_minute(account)
    state = account.alarms.state("outage")
    assert state.value == "ALARM"
    assert state.reason.startswith("Threshold Crossed: 1 out of the last 1 datapoint [0.0 (")
    assert state.reason.endswith("was less than the threshold (1.0) (minimum 1 datapoint for OK -> ALARM transition).")
    assert json.loads(state.reason_data or "")["recentDatapoints"] == [0.0]


def test_the_last_values_count_for_a_while_after_a_metric_has_stopped(account: Account) -> None:
    alarm(account)
    hosts(account, 2)
    to_next_minute(account)
    account.advance(120)
    assert account.alarms.state("outage").value == "OK", "the value is still in the evaluation range"
    account.advance(60)
    assert account.alarms.state("outage").value == "ALARM"
    assert "no datapoints were received for 1 period" in account.alarms.state("outage").reason


def test_m_of_n_waits_for_m_minutes(account: Account) -> None:
    alarm(account, EvaluationPeriods="3", DatapointsToAlarm="2", Threshold="1", TreatMissingData="notBreaching")
    seen = []
    for count in (2, 0, 2, 0, 2, 2, 2):
        hosts(account, count)
        to_next_minute(account)
        seen.append(account.alarms.state("outage").value)
    assert seen == ["OK", "OK", "OK", "ALARM", "OK", "OK", "OK"]


def switches(account: Account) -> None:
    """Alarm when there were three switches in an hour; there are three in the first three minutes."""
    series = {"Namespace": "kirikae", "MetricName": "Switches", "Dimensions": [], "Statistic": "Sum"}
    counting = {"ComparisonOperator": "GreaterThanOrEqualToThreshold", "TreatMissingData": "notBreaching"}
    alarm(account, **series, **counting, Period=3600, Threshold=3)
    for _ in range(3):
        account.metrics.put("kirikae", "Switches", {}, 1)
        to_next_minute(account)
    assert account.alarms.state("outage").value == "ALARM"


def test_a_longer_period_adds_its_minutes_up(account: Account) -> None:
    switches(account)
    for _ in range(58):
        account.metrics.put("kirikae", "Switches", {}, 0)
        to_next_minute(account)
    assert account.alarms.state("outage").value == "OK"


def test_a_long_period_remembers_a_silent_metric_for_two_more(account: Account) -> None:
    switches(account)
    account.advance(2 * 3600)
    assert account.alarms.state("outage").value == "ALARM", "the evaluation range reaches beyond the last period"
    account.advance(3600)
    assert account.alarms.state("outage").value == "OK"


def test_metric_math_sees_both_metrics(account: Account) -> None:
    def stat(name: str, instance: str) -> dict[str, Any]:
        dimensions = [{"Name": "InstanceId", "Value": instance}]
        metric = {"Namespace": "AWS/EC2", "MetricName": "StatusCheckFailed", "Dimensions": dimensions}
        return {"Id": name, "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Maximum"}, "ReturnData": False}

    account.alarms.put_alarm(
        {
            "AlarmName": "both",
            "Metrics": [stat("a", "i-1"), stat("b", "i-2"), {"Id": "c", "Expression": "MIN([FILL(a, 1), b])"}],
            "EvaluationPeriods": 1,
            "Threshold": 1,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        }
    )
    account.metrics.put("AWS/EC2", "StatusCheckFailed", {"InstanceId": "i-2"}, 0)
    to_next_minute(account)
    assert account.alarms.state("both").value == "OK"
    account.metrics.put("AWS/EC2", "StatusCheckFailed", {"InstanceId": "i-2"}, 1)
    to_next_minute(account)
    assert account.alarms.state("both").value == "ALARM"
    (event,) = [one for one in account.events.emitted if one["detail"]["state"]["value"] == "ALARM"]
    metrics = event["detail"]["configuration"]["metrics"]
    assert metrics[0]["metricStat"]["metric"]["dimensions"] == {"InstanceId": "i-1"}
    assert metrics[2] == {"id": "c", "expression": "MIN([FILL(a, 1), b])", "returnData": True}


@pytest.mark.parametrize(
    ("expression", "result"),
    [("a + b * 2", 7.0), ("a / 0", None), ("missing + 1", None), ("IF(a < b, 10, 20)", 10.0), ("-AVG([a, b])", -2.0)],
)
def test_metric_math(expression: str, result: float | None) -> None:
    assert math(expression, {"a": 1.0, "b": 3.0, "missing": None}) == result


def test_unknown_metric_math_is_refused_and_not_guessed(account: Account) -> None:
    metric = {"Namespace": "AWS/EC2", "MetricName": "CPUUtilization"}
    stat = {"Id": "m", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Average"}, "ReturnData": False}
    band = {"Id": "e", "Expression": "ANOMALY_DETECTION_BAND(m, 2)"}
    properties = {"AlarmName": "a", "Metrics": [stat, band], "EvaluationPeriods": 1, "Threshold": 1}
    with pytest.raises(ClientError, match="lacks this metric math"):
        account.alarms.put_alarm({**properties, "ComparisonOperator": "GreaterThanThreshold"})


def test_describe_alarms_shows_state_and_times_of_the_virtual_clock(account: Account) -> None:
    alarm(account)
    hosts(account, 2)
    to_next_minute(account)
    turned = account.clock.now()
    account.advance(600)
    (found,) = account.client("cloudwatch").describe_alarms(AlarmNames=["outage"])["MetricAlarms"]
    assert found["StateValue"] == "ALARM", "the metric is missing by now"
    assert found["StateUpdatedTimestamp"] == found["StateTransitionedTimestamp"]
    assert (found["StateTransitionedTimestamp"] - turned).total_seconds() == 180
    assert found["AlarmArn"] == "arn:aws:cloudwatch:ap-northeast-1:123456789012:alarm:outage"


def test_a_new_definition_keeps_the_state(account: Account) -> None:
    alarm(account)
    hosts(account, 2)
    to_next_minute(account)
    alarm(account, Threshold=2)
    (found,) = account.client("cloudwatch").describe_alarms(AlarmNames=["outage"])["MetricAlarms"]
    assert found["StateValue"] == "OK"
    assert found["Threshold"] == 2


def test_a_state_set_by_hand_acts_and_falls_back_at_the_next_minute(account: Account) -> None:
    alarm(account)
    hosts(account, 2)
    to_next_minute(account)
    client = account.client("cloudwatch")
    client.set_alarm_state(AlarmName="outage", StateValue="ALARM", StateReason="test")
    account.settle()
    client.set_alarm_state(AlarmName="outage", StateValue="ALARM", StateReason="again")
    account.settle()
    events = [event for event in account.events.emitted if event["detail"]["state"]["value"] == "ALARM"]
    assert [event["detail"]["state"]["reason"] for event in events] == ["test"], "only a transition is an event (E3)"
    hosts(account, 2)
    to_next_minute(account)
    assert account.alarms.state("outage").value == "OK"
    with pytest.raises(ClientError, match="ResourceNotFound"):
        client.set_alarm_state(AlarmName="nobody", StateValue="OK", StateReason="")


def test_the_event_has_the_form_of_eventbridge(account: Account) -> None:  # E5
    arn = alarm(account)
    account.client("cloudwatch").set_alarm_state(AlarmName="outage", StateValue="ALARM", StateReason="test")
    (event,) = account.events.emitted
    assert (event["source"], event["detail-type"]) == ("aws.cloudwatch", "CloudWatch Alarm State Change")
    assert event["resources"] == [arn]
    detail = event["detail"]
    assert detail["alarmName"] == "outage"
    assert (detail["state"]["value"], detail["previousState"]["value"]) == ("ALARM", "INSUFFICIENT_DATA")
    assert "reasonData" not in detail["state"]


def test_an_action_tells_a_topic_and_one_mail_comes_of_it(account: Account) -> None:
    topic = account.client("sns").create_topic(Name="alerts")["TopicArn"]
    account.client("sns").subscribe(TopicArn=topic, Protocol="email", Endpoint="ops@example.com")
    alarm(account, AlarmActions=[topic], OKActions=[topic])
    hosts(account, 0)
    to_next_minute(account)
    account.advance(300)
    (mail,) = account.mails
    assert mail.subject == 'ALARM: "outage" in Asia Pacific (Tokyo)'
    assert json.loads(mail.body)["NewStateValue"] == "ALARM"
    assert mail.recipients == ("ops@example.com",)


def test_a_topic_policy_without_cloudwatch_keeps_the_action_out(account: Account) -> None:
    topic = account.client("sns").create_topic(Name="alerts")["TopicArn"]
    statement = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}}
    statement |= {"Action": "sns:Publish", "Resource": topic}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    account.client("sns").set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
    alarm(account, AlarmActions=[topic])
    hosts(account, 0)
    to_next_minute(account)
    account.settle()
    assert account.mails == []
    ((name, action, why),) = account.alarms.failed_actions
    assert (name, action) == ("outage", topic)
    assert "does not let cloudwatch.amazonaws.com publish" in why


def test_no_action_is_taken_while_actions_are_off(account: Account) -> None:
    topic = account.client("sns").create_topic(Name="alerts")["TopicArn"]
    alarm(account, AlarmActions=[topic], ActionsEnabled="false")
    hosts(account, 0)
    to_next_minute(account)
    account.settle()
    assert account.alarms.state("outage").value == "ALARM"
    assert account.mails == []


def test_the_ec2_action_stops_the_instance_of_the_alarm(account: Account) -> None:
    stopped: list[str] = []
    account.override("ec2", "StopInstances", lambda params, _: stopped.extend(params["InstanceIds"]) or {})
    account.alarms.put_alarm(
        {
            "AlarmName": "fence",
            "Namespace": "AWS/EC2",
            "MetricName": "StatusCheckFailed",
            "Dimensions": [{"Name": "InstanceId", "Value": "i-0123456789abcdef0"}],
            "Statistic": "Maximum",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 0,
            "ComparisonOperator": "GreaterThanThreshold",
            "AlarmActions": ["arn:aws:automate:ap-northeast-1:ec2:stop"],
        }
    )
    account.metrics.put("AWS/EC2", "StatusCheckFailed", {"InstanceId": "i-0123456789abcdef0"}, 1)
    to_next_minute(account)
    account.settle()
    assert stopped == ["i-0123456789abcdef0"]


def test_an_action_that_ec2_refuses_is_kept_and_time_goes_on(account: Account) -> None:
    dimensions = [{"Name": "InstanceId", "Value": "i-0123456789abcdef0"}]
    action = "arn:aws:automate:ap-northeast-1:ec2:stop"
    alarm(account, Dimensions=dimensions, AlarmActions=[action])
    account.advance(300)
    ((_, failed, why),) = account.alarms.failed_actions
    assert failed == action
    assert "InvalidInstanceID.NotFound" in why


def test_a_function_gets_the_documented_payload_if_its_policy_allows_it(account: Account, tmp_path: Any) -> None:
    # E1, E2, E4
    function = make_function(account, tmp_path)
    arn = alarm(account, AlarmActions=[function], OKActions=[function])
    hosts(account, 0)
    to_next_minute(account)
    account.settle()
    assert account.functions.runs == []
    assert "is not authorized to perform: lambda:InvokeFunction" in account.alarms.failed_actions[0][2]

    account.functions.allow("f", "alarm", LAMBDA_PRINCIPAL, arn, account.account_id)
    hosts(account, 1)
    to_next_minute(account)
    account.settle()
    (run,) = account.functions.runs
    event = run.invocation.payload
    assert (event["source"], event["alarmArn"], event["region"]) == ("aws.cloudwatch", arn, "ap-northeast-1")
    assert event["accountId"] == "123456789012"
    data = event["alarmData"]
    assert data["alarmName"] == "outage"
    assert (data["state"]["value"], data["previousState"]["value"]) == ("OK", "ALARM")
    assert data["state"]["timestamp"] == event["time"]
    assert data["configuration"]["description"] == "nobody is healthy"
    (metric,) = data["configuration"]["metrics"]
    assert metric["metricStat"] == {
        "metric": {
            "namespace": "AWS/NetworkELB",
            "name": "HealthyHostCount",
            "dimensions": {"TargetGroup": "targetgroup/g/1"},
        },
        "period": 60,
        "stat": "Maximum",
    }
    assert metric["returnData"] is True


def test_publishers_run_before_the_alarms_of_their_minute(account: Account) -> None:
    account.metrics.publishers.append(lambda _put: hosts(account, 3))
    alarm(account)
    to_next_minute(account)
    assert account.alarms.state("outage").value == "OK"


def test_waiting_messages_of_a_queue_are_a_metric(account: Account) -> None:
    url = account.client("sqs").create_queue(QueueName="dlq")["QueueUrl"]
    account.client("sqs").send_message(QueueUrl=url, MessageBody="lost")
    queue = [{"Name": "QueueName", "Value": "dlq"}]
    metric = {"Namespace": "AWS/SQS", "MetricName": "ApproximateNumberOfMessagesVisible", "Dimensions": queue}
    alarm(account, **metric, ComparisonOperator="GreaterThanThreshold", Threshold=0)
    to_next_minute(account)
    assert account.alarms.state("outage").value == "ALARM"


def test_metrics_of_the_api_reach_alarms_and_can_be_read_back(account: Account) -> None:
    data = {"MetricName": "HealthyHostCount", "Values": [1, 2], "Counts": [1, 2]}
    data["Dimensions"] = [{"Name": "TargetGroup", "Value": "targetgroup/g/1"}]
    account.client("cloudwatch").put_metric_data(Namespace="AWS/NetworkELB", MetricData=[data])
    alarm(account, Statistic="Sum", Threshold=5)
    to_next_minute(account)
    assert account.alarms.state("outage").value == "OK", "1 + 2 + 2 is not less than 5"
    now = account.clock.time()
    read = account.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/NetworkELB",
        MetricName="HealthyHostCount",
        StartTime=now - 120,
        EndTime=now + 1,
        Period=60,
        Statistics=["SampleCount"],
    )
    assert sum(point["SampleCount"] for point in read["Datapoints"]) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Period": 30}, "lacks periods other than full minutes"),
        ({"Statistic": "p99"}, "lacks the statistic p99"),
        ({"DatapointsToAlarm": 2}, "DatapointsToAlarm must be smaller"),
        ({"TreatMissingData": "bad"}, "Option bad is not supported"),
        ({"EvaluationPeriods": 2000}, "more than a day"),
        ({"AlarmActions": ["arn:aws:ssm:ap-northeast-1:123456789012:opsitem:1"]}, "Invalid arn"),
        ({"AlarmActions": ["arn:aws:automate:ap-northeast-1:ec2:stop"]}, "must have the dimension InstanceId"),
    ],
)
def test_what_the_sandbox_cannot_evaluate_is_refused(account: Account, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message):
        alarm(account, **changes)


def test_a_deleted_alarm_is_gone(account: Account) -> None:
    alarm(account)
    account.alarms.delete_alarm("outage")
    account.advance(120)
    assert account.client("cloudwatch").describe_alarms()["MetricAlarms"] == []


def test_embedded_metrics_are_read_from_a_log_line() -> None:
    metrics = [{"Name": "Switches", "Unit": "Count"}, {"Name": "Seconds", "Unit": "Seconds"}]
    directive = {"Namespace": "kirikae", "Dimensions": [["service"], ["service", "direction"]], "Metrics": metrics}
    line = json.dumps(
        {
            "_aws": {"Timestamp": 0, "CloudWatchMetrics": [directive]},
            "service": "shop",
            "direction": "sorry",
            "Switches": 1,
            "Seconds": [2.5, 3],
        }
    )
    both = {"service": "shop", "direction": "sorry"}
    assert emf(line) == [
        ("kirikae", "Switches", {"service": "shop"}, 1.0, "Count"),
        ("kirikae", "Seconds", {"service": "shop"}, 2.5, "Seconds"),
        ("kirikae", "Seconds", {"service": "shop"}, 3.0, "Seconds"),
        ("kirikae", "Switches", both, 1.0, "Count"),
        ("kirikae", "Seconds", both, 2.5, "Seconds"),
        ("kirikae", "Seconds", both, 3.0, "Seconds"),
    ]
    assert emf('{"message": "\\"_aws\\" is only mentioned"}') == []
    assert emf("not json") == []
    assert emf('{"_aws": {"CloudWatchMetrics": [{"Namespace": "n", "Dimensions": [["gone"]], "Metrics": []}]}}') == []


# Alarms that say nothing.


@pytest.fixture
def invoked(account: Account, tmp_path: Path) -> Any:
    """Return how often the action of the alarm `outage` has invoked its function; its action is the function."""
    function = make_function(account, tmp_path)
    account.functions.allow("f", "sid", LAMBDA_PRINCIPAL, None, account.account_id)
    alarm(account, AlarmActions=[function], TreatMissingData="ignore")

    def count() -> int:
        account.settle()
        return len(account.functions.runs)

    return count


def to(account: Account, state: str, name: str = "outage") -> None:
    account.client("cloudwatch").set_alarm_state(AlarmName=name, StateValue=state, StateReason="test")


def mute(account: Account, minutes: int) -> None:
    """Mute the alarm `outage` from the minute that runs."""
    began = datetime.fromtimestamp(account.clock.time() // 60 * 60, UTC)
    account.client("cloudwatch").put_alarm_mute_rule(
        Name="work",
        Rule={"Schedule": {"Expression": f"at({began:%Y-%m-%dT%H:%M})", "Duration": f"PT{minutes}M"}},
        MuteTargets={"AlarmNames": ["outage"]},
    )


def active_rules(account: Account, name: str) -> list[str]:
    found = account.client("cloudwatch").list_alarm_mute_rules(AlarmName=name, Statuses=["ACTIVE"])
    return [rule["AlarmMuteRuleArn"].rsplit(":", 1)[1] for rule in found["AlarmMuteRuleSummaries"]]


def test_a_muted_alarm_goes_on_without_its_actions_and_looks_like_any_other(account: Account, invoked: Any) -> None:
    """S8, S9."""
    mute(account, 30)
    to(account, "ALARM")
    assert invoked() == 0
    [described] = account.client("cloudwatch").describe_alarms(AlarmNames=["outage"])["MetricAlarms"]
    assert described["StateValue"] == "ALARM"
    assert described["ActionsEnabled"]
    assert not [key for key in described if "Mute" in key or "Suppress" in key]
    assert (active_rules(account, "outage"), active_rules(account, "other")) == (["work"], [])


def test_what_was_muted_is_done_at_the_end_if_the_state_still_holds(account: Account, invoked: Any) -> None:
    """S9."""
    mute(account, 30)
    to(account, "ALARM")
    account.advance(31 * 60)
    assert invoked() == 1
    assert active_rules(account, "outage") == []
    to(account, "OK")
    mute(account, 90)
    to(account, "ALARM")
    account.client("cloudwatch").delete_alarm_mute_rule(AlarmMuteRuleName="work")
    assert invoked() == 2
    to(account, "OK")
    mute(account, 90)
    to(account, "ALARM")
    to(account, "OK")
    account.client("cloudwatch").delete_alarm_mute_rule(AlarmMuteRuleName="work")
    assert invoked() == 2


def test_disabled_actions_are_not_run(account: Account, invoked: Any) -> None:
    account.client("cloudwatch").disable_alarm_actions(AlarmNames=["outage"])
    to(account, "ALARM")
    assert invoked() == 0
    account.client("cloudwatch").enable_alarm_actions(AlarmNames=["outage"])
    to(account, "OK")
    to(account, "ALARM")
    assert invoked() == 1


def test_a_composite_alarm_says_that_it_is_suppressed(account: Account, invoked: Any) -> None:
    """S8."""
    client = account.client("cloudwatch")
    alarm(account, AlarmName="part", TreatMissingData="ignore")
    alarm(account, AlarmName="work", TreatMissingData="ignore")
    [function] = client.describe_alarms(AlarmNames=["outage"])["MetricAlarms"][0]["AlarmActions"]
    client.put_composite_alarm(
        AlarmName="whole", AlarmRule='ALARM("part")', AlarmActions=[function], ActionsSuppressor="work"
    )
    to(account, "ALARM", "work")
    to(account, "ALARM", "part")
    assert invoked() == 0
    [described] = client.describe_alarms(AlarmNames=["whole"], AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
    assert (described["StateValue"], described["ActionsSuppressedBy"]) == ("ALARM", "Alarm")
    to(account, "OK", "work")
    assert invoked() == 1
    [described] = client.describe_alarms(AlarmNames=["whole"], AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
    assert "ActionsSuppressedBy" not in described
