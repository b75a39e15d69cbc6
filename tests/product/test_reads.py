"""What the layer makes of AWS's answers, in every shape that AWS gives them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.stub import Stubber

from kirikae import alarms, aws, checks, clock, ec2, elb, listeners
from kirikae.alarms import Alarm
from kirikae.checks import Status
from kirikae.elb import Target, TargetGroup
from kirikae.errors import AnswerError, InputError, OutdatedError
from kirikae.events import Hint
from kirikae.listeners import Rule
from sandbox.account import Account

ARN = "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012"
ONE, TWO = f"{ARN}:targetgroup/one/73e2d6bc24d8a067", f"{ARN}:targetgroup/two/2453ed029918f21f"
FIRST, SECOND = (f"{ARN}:listener/net/shop/50dc6c495c0c9188/{number}" for number in "12")
WHEN = datetime(2026, 11, 22, 2, 12, 16, tzinfo=UTC)

type Answer = Callable[..., Stubber]


@pytest.fixture
def answer(ours: Account) -> Answer:
    """Return how to give the next answers of an operation, in order."""
    assert ours

    def give(service: str, operation: str, *answers: dict[str, Any]) -> Stubber:
        stubber = Stubber(aws.client(service))
        for given in answers:
            stubber.add_response(operation, given)
        stubber.activate()
        return stubber

    return give


def listener(arn: str, *actions: dict[str, Any]) -> dict[str, Any]:
    """Return a listener as AWS describes it."""
    return {
        "ListenerArn": arn,
        "LoadBalancerArn": f"{ARN}:loadbalancer/net/shop/50dc6c495c0c9188",
        "Protocol": "TCP",
        "Port": 443,
        "DefaultActions": list(actions),
    }


def groups(**weights: int | None) -> dict[str, Any]:
    """Return a forward configuration; a weight of None is left out."""
    arns = {"one": ONE, "two": TWO}
    members = [
        {"TargetGroupArn": arns[name]} | ({} if weight is None else {"Weight": weight})
        for name, weight in weights.items()
    ]
    return {"TargetGroups": members}


@pytest.mark.parametrize(
    ("action", "weights"),
    [
        pytest.param({"TargetGroupArn": ONE}, {ONE: 1}, id="plain"),
        pytest.param({"TargetGroupArn": ONE, "ForwardConfig": groups(one=None)}, {ONE: 1}, id="plain, both forms"),
        pytest.param({"TargetGroupArn": ONE, "ForwardConfig": groups(one=1)}, {ONE: 1}, id="plain, with its weight"),
        pytest.param({"ForwardConfig": groups(one=1, two=0)}, {ONE: 1, TWO: 0}, id="weighted"),
        pytest.param({"ForwardConfig": groups(one=0, two=999)}, {ONE: 0, TWO: 999}, id="other numbers"),
        pytest.param({"ForwardConfig": groups(one=None, two=0)}, {ONE: 1, TWO: 0}, id="a weight left out is one"),
        pytest.param({"Type": "fixed-response"}, {}, id="no forward"),
    ],
)
def test_a_listeners_action_in_each_form(answer: Answer, action: dict[str, Any], weights: dict[str, int]) -> None:
    answer("elbv2", "describe_listeners", {"Listeners": [listener(FIRST, {"Type": "forward"} | action)]})
    [found] = listeners.read([FIRST])
    assert (found.weights, found.action) == (weights, action.get("Type", "forward"))
    assert (found.arn, found.protocol, found.port) == (FIRST, "TCP", 443)


def test_the_last_action_is_where_requests_go(answer: Answer) -> None:
    login, forward = {"Type": "authenticate-oidc", "Order": 1}, {"Type": "forward", "TargetGroupArn": ONE, "Order": 2}
    answer("elbv2", "describe_listeners", {"Listeners": [listener(FIRST, login, forward)]})
    assert [found.weights for found in listeners.read([FIRST])] == [{ONE: 1}]


def test_listeners_come_in_the_order_asked_for(answer: Answer) -> None:
    forward = {"Type": "forward", "TargetGroupArn": ONE}
    answer("elbv2", "describe_listeners", {"Listeners": [listener(SECOND, forward), listener(FIRST, forward)]})
    assert [found.arn for found in listeners.read([FIRST, SECOND])] == [FIRST, SECOND]


def test_the_default_rule_has_no_priority(answer: Answer) -> None:
    action, conditions = {"Actions": [{"Type": "forward"}]}, [{"Field": "path-pattern", "Values": ["/a"]}]
    described = [
        {"RuleArn": "…/default", "IsDefault": True, "Priority": "default", "Conditions": []} | action,
        {"RuleArn": "…/mine", "IsDefault": False, "Priority": "7", "Conditions": conditions} | action,
    ]
    answer("elbv2", "describe_rules", {"Rules": described})
    assert listeners.rules(FIRST) == (
        Rule("…/default", None, (), "forward"),
        Rule("…/mine", 7, tuple(conditions), "forward"),
    )


def test_tags_are_asked_of_twenty_resources_at_a_time(answer: Answer) -> None:
    arns = [f"{ONE}{number}" for number in range(21)]
    described = [{"ResourceArn": arn, "Tags": [{"Key": "kirikae:x", "Value": arn}]} for arn in arns]
    asked = answer("elbv2", "describe_tags", {"TagDescriptions": described[:20]}, {"TagDescriptions": described[20:]})
    assert elb.tags(arns) == {arn: {"kirikae:x": arn} for arn in arns}
    asked.assert_no_pending_responses()


def test_target_health_with_and_without_port_and_reason(answer: Answer) -> None:
    stopped = {"State": "unused", "Reason": "Target.InvalidState", "Description": "Target is in the stopped state"}
    described = [
        {"Target": {"Id": "i-1", "Port": 80}, "TargetHealth": {"State": "healthy"}},
        {"Target": {"Id": "i-2"}, "TargetHealth": stopped},
    ]
    answer("elbv2", "describe_target_health", {"TargetHealthDescriptions": described})
    assert elb.target_health(ONE) == (
        Target("i-1", 80, "healthy"),
        Target("i-2", 0, "unused", "Target.InvalidState", description="Target is in the stopped state"),
    )


@pytest.mark.parametrize(
    ("states", "ill"),
    [
        ("unhealthy", True),
        ("unhealthy draining", True),
        ("unavailable", True),
        ("unhealthy healthy", False),
        ("unused", False),
        ("unhealthy unused", False),
        ("initial", False),
        ("unhealthy initial", False),
    ],
)
def test_a_group_is_known_to_be_ill_only_while_it_is_checked(states: str, ill: bool) -> None:
    assert elb.known_unhealthy((Target("i-1", 80, state) for state in states.split()), attached=False) == ill


@pytest.mark.parametrize("state", ["initial", "unhealthy", "unused", "draining", "unavailable", "unhealthy.draining"])
def test_only_healthy_is_healthy(state: str) -> None:
    assert not Target("i-1", 80, state).healthy
    assert Target("i-1", 80, "healthy").healthy


def test_the_type_and_the_load_balancers_of_each_group(answer: Answer) -> None:
    described = [
        {"TargetGroupArn": ONE, "TargetType": "instance", "LoadBalancerArns": ["nlb"]},
        {"TargetGroupArn": TWO, "TargetType": "alb", "LoadBalancerArns": []},
    ]
    answer("elbv2", "describe_target_groups", {"TargetGroups": described})
    assert elb.target_groups([TWO, ONE]) == (TargetGroup(TWO, "alb", ()), TargetGroup(ONE, "instance", ("nlb",)))


def reservations(*states: str) -> dict[str, Any]:
    """Return instances i-1, i-2, … as EC2 describes them, each in a reservation of its own."""
    return {
        "Reservations": [
            {"Instances": [{"InstanceId": f"i-{number}", "State": {"Name": state}}]}
            for number, state in enumerate(states, 1)
        ]
    }


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the pauses that were made, none of them real."""
    made: list[float] = []
    monkeypatch.setattr("time.sleep", made.append)
    return made


@pytest.mark.parametrize(
    ("said_of", "shown", "found", "looks"),
    [
        pytest.param("", ["running"], "running", 1, id="nothing was said"),
        pytest.param("i-1", ["stopping"], "stopping", 1, id="shown at once"),
        pytest.param("i-1", ["running", "running", "stopping"], "stopping", 3, id="shown late"),
        pytest.param("i-1", ["running"] * 5, "running", 5, id="never shown: it may be up again"),
        pytest.param("i-9", ["running"], "running", 1, id="said of an instance that is not ours"),
    ],
)
def test_what_an_event_said_is_waited_for_a_moment(
    answer: Answer, pauses: list[float], said_of: str, shown: list[str], found: str, looks: int
) -> None:
    stubber = answer("ec2", "describe_instances", *(reservations(state) for state in shown))
    assert ec2.instance_states(["i-1"], said_of) == {"i-1": found}
    stubber.assert_no_pending_responses()
    assert len(shown) == looks
    assert sum(pauses) <= 3.0


@pytest.mark.parametrize(
    ("said", "shown", "found"),
    [
        pytest.param("running", ["stopped", "pending", "running"], "running", id="shown late"),
        pytest.param("running", ["stopping"], "stopping", id="it is over already"),
        pytest.param("running", ["pending"] * 5, "pending", id="never shown"),
        pytest.param("stopped", ["running", "stopping", "stopped"], "stopped", id="the end of its way down"),
        pytest.param("terminated", ["shutting-down"], "shutting-down", id="far enough"),
        pytest.param("unheard-of", ["running"], "running", id="a state that is new"),
    ],
)
def test_each_state_that_an_event_says_is_waited_for_a_moment(
    answer: Answer, pauses: list[float], said: str, shown: list[str], found: str
) -> None:
    stubber = answer("ec2", "describe_instances", *(reservations(state) for state in shown))
    assert ec2.instance_states(["i-1"], "i-1", said) == {"i-1": found}
    stubber.assert_no_pending_responses()
    assert sum(pauses) <= 3.0


def test_an_instance_that_ec2_has_forgotten_is_missing_and_hides_no_other(answer: Answer) -> None:
    answer("ec2", "describe_instances", reservations("stopped"))
    assert ec2.instance_states(["i-1", "i-2"]) == {"i-1": "stopped", "i-2": ec2.MISSING}


@pytest.mark.parametrize(
    ("checks", "ready"),
    [
        (("ok", "ok", "not-applicable"), True),
        (("ok", "ok", "ok"), True),
        (("ok", "ok", "impaired"), False),
        (("ok", "ok", "initializing"), False),
        (("ok", "initializing", "not-applicable"), False),
        (("impaired", "ok", "not-applicable"), False),
        (("impaired", "impaired", "ok"), False),
        (("ok", "insufficient-data", "ok"), False),
    ],
)
def test_an_instance_is_ready_when_it_passes_every_check_it_has(checks: tuple[str, str, str], ready: bool) -> None:
    assert Status("i-1", *checks).ready == ready


@pytest.mark.parametrize(
    "status", ["ok", "not-applicable", "impaired", "initializing", "insufficient-data", "new-word"]
)
@pytest.mark.parametrize("name", ["AttachedEbsStatus", "PerformanceStatus", "ACheckOfNextYearStatus"])
def test_every_check_that_ec2_tells_of_counts(name: str, status: str) -> None:
    passing = {"SystemStatus": {"Status": "ok"}, "InstanceStatus": {"Status": "ok"}}
    described = {"InstanceId": "i-1", "InstanceState": {"Name": "running"}, "Events": [], **passing}
    found = checks._status(described | {name: {"Status": status, "ImpairedSince": WHEN}})
    assert found.ready == (status in ("ok", "not-applicable"))
    assert (name in found.text) != found.ready
    assert not checks._status({"InstanceId": "i-1"}).ready


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"Code": "Server.InternalError", "Message": "Server.InternalError: Why"}, "Server.InternalError: Why"),
        ({"Code": "Client.UserInitiatedHibernate", "Message": "By hand"}, "Client.UserInitiatedHibernate: By hand"),
        ({"Code": "Server.ScheduledStop"}, "Server.ScheduledStop"),
        ({"Message": "Why"}, "Why"),
        ({}, ""),
    ],
)
def test_a_state_reason_begins_with_its_code(answer: Answer, told: dict[str, str], reason: str) -> None:
    described = {"InstanceId": "i-1", "State": {"Name": "stopped"}, "StateReason": told}
    answer("ec2", "describe_instances", {"Reservations": [{"Instances": [described]}]})
    [found] = ec2.instances(["i-1"])
    assert found.reason == reason


def test_nothing_is_asked_about_no_instances(ours: Account) -> None:
    assert checks.instance_statuses([]) == ()
    assert ours.calls == []


def test_instance_statuses_with_the_checks_that_aws_tells(answer: Answer) -> None:
    status = {"InstanceId": "i-1", "SystemStatus": {"Status": "ok"}, "InstanceStatus": {"Status": "initializing"}}
    answer("ec2", "describe_instance_status", {"InstanceStatuses": [status]})
    assert checks.instance_statuses(["i-1"]) == (Status("i-1", "ok", "initializing", "not-applicable"),)


def raised(name: str, action: str, **more: Any) -> dict[str, Any]:
    """Return an alarm in ALARM as CloudWatch describes it, with no more than it must have."""
    times = {"StateUpdatedTimestamp": WHEN, "StateTransitionedTimestamp": WHEN}
    return {"AlarmName": name, "StateValue": "ALARM", "AlarmActions": [action], **times, **more}


def test_an_alarm_that_calls_nobody_says_why(answer: Answer) -> None:
    function = "arn:aws:lambda:ap-northeast-1:123456789012:function:f"
    metric = [raised("a", function), raised("b", function, ActionsEnabled=False), raised("c", f"{function}-2")]
    whole = [raised("d", function, ActionsSuppressedBy="ExtensionPeriod", ActionsSuppressedReason="Why")]
    answer("cloudwatch", "describe_alarms", {"MetricAlarms": metric, "CompositeAlarms": whole})
    found = {alarm.name: alarm.silent for alarm in alarms.in_alarm(function)}
    assert found == {"a": "", "b": "its actions are disabled", "d": "its actions are suppressed by ExtensionPeriod"}


@pytest.mark.parametrize(
    ("pages", "muted"),
    [
        ([{"AlarmMuteRuleSummaries": []}], False),
        ([{}], False),
        ([{"AlarmMuteRuleSummaries": [{"AlarmMuteRuleArn": "arn", "Status": "ACTIVE"}]}], True),
        ([{"AlarmMuteRuleSummaries": [{"AlarmMuteRuleArn": "arn", "Status": "SCHEDULED"}]}], False),
        ([{"NextToken": "more"}, {"AlarmMuteRuleSummaries": [{"Status": "ACTIVE"}]}], True),
        ([{"NextToken": "more"}, {"AlarmMuteRuleSummaries": []}], False),
    ],
)
def test_whether_an_alarm_is_muted(ours: Account, pages: list[dict[str, Any]], muted: bool) -> None:
    assert ours
    stubber = Stubber(aws.client("cloudwatch"))
    for page in pages:
        stubber.add_response("list_alarm_mute_rules", page)
    stubber.activate()
    assert bool(alarms.muted(Alarm("a", "ALARM", WHEN)).silent) == muted
    stubber.assert_no_pending_responses()


def test_an_alarm_has_its_state_and_since_when(answer: Answer) -> None:
    earlier = WHEN - timedelta(hours=1)
    described = [
        {"AlarmName": "a", "StateValue": "ALARM", "StateUpdatedTimestamp": WHEN, "StateTransitionedTimestamp": earlier},
        {"AlarmName": "b", "StateValue": "OK", "StateUpdatedTimestamp": WHEN},
    ]
    answer("cloudwatch", "describe_alarms", {"MetricAlarms": described})
    assert alarms.read("a", "b", removed_by='X=""') == {"a": Alarm("a", "ALARM", earlier), "b": Alarm("b", "OK", WHEN)}


CALLED = Hint("alarm a went ALARM", "alarm", WHEN, state="ALARM", calling_alarm="a")


@pytest.mark.parametrize(
    ("state", "since", "hint", "asked", "before"),
    [
        pytest.param("OK", -60, CALLED, 3, True, id="of before"),
        pytest.param("OK", 0, CALLED, 3, True, id="of before, in the same second"),
        pytest.param("OK", 10, CALLED, 30, False, id="of after"),
        pytest.param("ALARM", 0, CALLED, 3, False, id="of the call"),
        pytest.param("ALARM", -60, CALLED, 3, False, id="in the state of the call"),
        pytest.param("OK", -60, CALLED, 299, True, id="called a while ago"),
        pytest.param("OK", -60, CALLED, 301, False, id="called long ago"),
        pytest.param("OK", -60, replace(CALLED, at=None), 3, False, id="called nobody knows when"),
        pytest.param("OK", -60, replace(CALLED, calling_alarm=""), 3, False, id="not a call"),
        pytest.param("ALARM", -60, replace(CALLED, state="OK"), 3, True, id="of before the end"),
        pytest.param("OK", -60, None, 3, False, id="nobody called"),
    ],
)
def test_an_alarm_that_is_shown_as_before_it_called_is_no_answer(
    answer: Answer, monkeypatch: pytest.MonkeyPatch, state: str, since: int, hint: Hint | None, asked: int, before: bool
) -> None:
    monkeypatch.setattr(clock, "now", lambda: WHEN + timedelta(seconds=asked))
    function = "arn:aws:lambda:ap-northeast-1:123456789012:function:f"
    times = {"StateUpdatedTimestamp": WHEN + timedelta(seconds=since)}
    shown = {"AlarmName": "a", "StateValue": state, "AlarmActions": [function], **times}
    reads = (
        lambda: [*alarms.read("a", removed_by='X=""', hint=hint).values()],
        lambda: [*alarms.in_alarm(function, state, hint=hint)],
    )
    answer("cloudwatch", "describe_alarms", *[{"MetricAlarms": [shown]}] * 2)
    for read in reads:
        if before:
            with pytest.raises(OutdatedError, match="alarm a went"):
                read()
        else:
            assert [alarm.state for alarm in read()] == [state]


def test_only_who_is_asked_for_the_alarm_that_called_waits_for_it(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now", lambda: WHEN)
    silent, other = raised("a", "arn", ActionsSuppressedBy="Alarm"), raised("b", "arn")
    shown = {"MetricAlarms": []}, {"CompositeAlarms": [silent]}, {"MetricAlarms": [other]}
    answer("cloudwatch", "describe_alarms", *shown)
    with pytest.raises(OutdatedError, match="no such alarm"):  # it was not this function's before
        alarms.in_alarm("arn", hint=CALLED)
    with pytest.raises(OutdatedError, match="suppressed"):
        alarms.in_alarm("arn", hint=replace(CALLED, at=WHEN - timedelta(hours=9)))  # it calls when that ends
    assert [*alarms.read("b", removed_by='X=""', hint=CALLED)] == ["b"]


def test_an_alarm_that_is_gone_is_named(answer: Answer) -> None:
    answer("cloudwatch", "describe_alarms", {"MetricAlarms": []})
    with pytest.raises(InputError, match=r'no alarm named a, b: .* Deploy twice: once with X=""'):
        alarms.read("a", "b", removed_by='X=""')


def test_the_instances_behind_addresses_in_every_shape_of_an_interface(answer: Answer) -> None:
    of_ipv4 = [
        {
            "PrivateIpAddress": "10.0.0.4",
            "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.0.4"}, {"PrivateIpAddress": "10.0.0.50"}],
            "Attachment": {"InstanceId": "i-1"},
        },
        {"PrivateIpAddresses": [{"PrivateIpAddress": "10.0.0.6"}], "Attachment": {"InstanceOwnerId": "amazon-elb"}},
        {"PrivateIpAddresses": [{"PrivateIpAddress": "10.0.0.7"}]},
    ]
    of_ipv6 = [{"Ipv6Addresses": [{"Ipv6Address": "2001:db8::5"}], "Attachment": {"InstanceId": "i-2"}}]
    answer("ec2", "describe_network_interfaces", {"NetworkInterfaces": of_ipv4}, {"NetworkInterfaces": of_ipv6})
    asked = ["10.0.0.50", "10.0.0.6", "10.0.0.7", "192.168.0.9", "2001:DB8:0::5"]
    without = {"10.0.0.6": "", "10.0.0.7": ""}
    assert ec2.instances_behind(asked, "vpc-1") == {"10.0.0.50": "i-1", "2001:DB8:0::5": "i-2", **without}


def test_no_address_needs_no_call(answer: Answer) -> None:
    answer("ec2", "describe_network_interfaces")
    assert ec2.instances_behind([], "vpc-1") == {}


@pytest.mark.parametrize(
    ("service", "operation", "read", "name"),
    [
        ("elbv2", "describe_listeners", lambda: listeners.read([FIRST]), "Listeners"),
        ("elbv2", "describe_rules", lambda: listeners.rules(FIRST), "Rules"),
        ("elbv2", "describe_target_health", lambda: elb.target_health(ONE), "TargetHealthDescriptions"),
        ("elbv2", "describe_target_groups", lambda: elb.target_groups([ONE]), "TargetGroups"),
        ("elbv2", "describe_target_group_attributes", lambda: elb.attributes(ONE), "Attributes"),
        ("elbv2", "describe_tags", lambda: elb.tags([ONE]), "TagDescriptions"),
        ("ec2", "describe_instances", lambda: ec2.instances(["i-1"]), "Reservations"),
        ("ec2", "describe_network_interfaces", lambda: ec2.instances_behind(["10.0.0.4"], "v"), "NetworkInterfaces"),
        ("cloudwatch", "describe_alarms", lambda: alarms.read("a", removed_by='X=""'), "MetricAlarms"),
    ],
)
def test_a_cut_answer_is_one_error_that_names_what_is_missing(
    answer: Answer, service: str, operation: str, read: Callable[[], Any], name: str
) -> None:
    answer(service, operation, {})
    with pytest.raises(AnswerError, match=f"AWS's answer has no {name}"):
        read()


def test_a_listener_that_an_answer_leaves_out_is_named(answer: Answer) -> None:
    answer("elbv2", "describe_listeners", {"Listeners": [listener(FIRST, {"Type": "forward", "TargetGroupArn": ONE})]})
    with pytest.raises(AnswerError, match=SECOND):
        listeners.read([FIRST, SECOND])


def test_what_else_a_forward_holds_is_read_and_written_again(answer: Answer) -> None:
    sticky = {"TargetGroupStickinessConfig": {"Enabled": True}}
    action = {"Type": "forward", "ForwardConfig": groups(one=1, two=0) | sticky}
    answer("elbv2", "describe_listeners", {"Listeners": [listener(FIRST, action)]})
    [found] = listeners.read([FIRST])
    assert found.kept == sticky
    assert listeners.action({ONE: 0, TWO: 1}, found.kept) == {
        "Type": "forward",
        "ForwardConfig": groups(one=0, two=1) | sticky,
    }


@pytest.mark.parametrize(
    ("reason", "attached", "ill"),
    [
        ("Target.InvalidState", True, True),
        ("Target.InvalidState", False, True),
        ("Target.IpUnusable", False, True),
        ("Target.NotInUse", True, True),
        ("Target.NotInUse", False, False),
        ("", False, False),
    ],
)
def test_unused_is_known_ill_where_it_cannot_mean_that_nobody_uses_the_group(
    reason: str, attached: bool, ill: bool
) -> None:
    assert elb.known_unhealthy([Target("i-1", 80, "unused", reason)], attached) == ill


@pytest.mark.parametrize("override", ["", "no_override", "unknown", "zonal_shift_delegated_to_dns"])
def test_only_an_active_zonal_shift_keeps_traffic_away(answer: Answer, override: str) -> None:
    described = {"Target": {"Id": "i-1", "Port": 80}, "TargetHealth": {"State": "healthy"}}
    shifted = described | {"AdministrativeOverride": {"State": "zonal_shift_active"}}
    other = described | ({"AdministrativeOverride": {"State": override}} if override else {})
    answer("elbv2", "describe_target_health", {"TargetHealthDescriptions": [shifted, other]})
    assert [target.healthy for target in elb.target_health(ONE)] == [False, True]
