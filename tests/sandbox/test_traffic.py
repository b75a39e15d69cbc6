"""Traffic through the sandbox's load balancers, as a client sees it."""

import http.client
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest

from sandbox.account import Account
from sandbox.estates.nlb import nlb_service
from sandbox.services.elb_routing import Visit
from sandbox.traffic import NlbPlane


@pytest.fixture
def service(account):
    return nlb_service(account)


@pytest.fixture
def plane(account, service):
    return NlbPlane(account, service.listener_arn)


def get(plane, path=""):
    """Return status and text of a GET, None if the connection is closed without an answer."""
    try:
        with urllib.request.urlopen(plane.url + path) as answer:  # noqa: S310 (a port of this test)
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except http.client.RemoteDisconnected:
        return None


def servers(plane, times):
    """Return which instances answered so many requests."""
    return [get(plane)[1].split("Served by ")[1].split(".<")[0] for _ in range(times)]


def test_the_primary_serves_its_page(service, plane):
    assert set(servers(plane, 4)) == set(service.instance_ids)


def test_only_healthy_targets_get_traffic(account, service, plane):
    service.break_application(service.instance_ids[0])
    account.advance(20)
    assert servers(plane, 4) == [service.instance_ids[1]] * 4


def test_a_dead_target_is_noticed_after_its_health_checks(account, service, plane):
    service.break_application(service.instance_ids[0])
    assert [get(plane) is None for _ in range(4)] == [True, False, True, False]
    account.advance(20)
    assert [get(plane) is None for _ in range(4)] == [False] * 4


def test_nobody_answers_when_all_are_stopped(account, service, plane):
    service.stop()
    account.advance(20)
    assert get(plane) is None


def test_no_weight_spills_over_to_the_other_group(account, service, plane):  # A12
    service.forward({service.primary_arn: 1, service.sorry_arn: 0})
    service.stop()
    account.advance(60)
    assert get(plane) is None


def test_a_group_without_a_healthy_target_fails_open(account, service, plane):  # A12
    service.break_application()
    account.advance(20)
    service.mend_application()
    assert set(service.health().values()) == {"unhealthy"}
    assert get(plane)[0] == 200


def test_the_sorry_page_comes_from_the_alb(account, service, plane):
    service.forward({service.primary_arn: 0, service.sorry_arn: 1})
    status, text = get(plane)
    assert status == 503
    assert "We will be back soon" in text
    assert "しばらくしてから" in text
    assert get(plane, "health") == (200, "ok")
    account.targets.broken_albs.add(service.alb_arn)
    assert get(plane) is None


def test_weights_share_the_connections(service, plane):
    service.forward({service.primary_arn: 3, service.sorry_arn: 1})
    assert [get(plane)[0] for _ in range(8)].count(503) == 2


def test_no_weight_at_all_means_no_answer(service, plane):
    service.forward({service.primary_arn: 0, service.sorry_arn: 0})
    assert get(plane) is None


def test_draining_targets_get_no_new_connection(account, service, plane):
    first = service.instance_ids[0]
    account.client("elbv2").deregister_targets(TargetGroupArn=service.primary_arn, Targets=[{"Id": first}])
    assert servers(plane, 3) == [service.instance_ids[1]] * 3


def test_the_alb_follows_its_rules_in_order(account, service, plane):
    elb = account.client("elbv2")
    listener = elb.describe_listeners(LoadBalancerArn=service.alb_arn)["Listeners"][0]["ListenerArn"]
    redirect = {"StatusCode": "HTTP_303", "Path": "/elsewhere", "Protocol": "HTTPS", "Host": "example.com"}

    def rule(priority, field, value, action):
        condition = [{"Field": field, "Values": [value]}]
        elb.create_rule(ListenerArn=listener, Priority=priority, Conditions=condition, Actions=[action])

    fixed = {"StatusCode": "418", "ContentType": "text/plain", "MessageBody": "host"}
    rule(30, "path-pattern", "/a/*", {"Type": "redirect", "RedirectConfig": redirect})
    rule(20, "host-header", "127.0.0.*", {"Type": "fixed-response", "FixedResponseConfig": fixed})
    service.forward({service.sorry_arn: 1})
    assert get(plane, "a/b") == (418, "host")
    elb.set_rule_priorities(
        RulePriorities=[
            {"RuleArn": one["RuleArn"], "Priority": 40}
            for one in elb.describe_rules(ListenerArn=listener)["Rules"]
            if one["Priority"] == "20"
        ]
    )
    connection = http.client.HTTPConnection(plane.url.split("/")[2])
    connection.request("GET", "/a/b")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Location"]) == (303, "https://example.com/elsewhere")
    connection.close()


@pytest.fixture
def function_page(account, service, plane, monkeypatch):
    """Let a function answer behind the ALB; return how to get its page and the events it was given."""
    elb = account.client("elbv2")
    listener = elb.describe_listeners(LoadBalancerArn=service.alb_arn)["Listeners"][0]["ListenerArn"]
    group = elb.create_target_group(Name="page", TargetType="lambda")["TargetGroups"][0]["TargetGroupArn"]
    monkeypatch.setattr(account.functions, "check", lambda _name, **_who: None)
    elb.register_targets(TargetGroupArn=group, Targets=[{"Id": account.arn("lambda", "function:page")}])
    elb.modify_listener(ListenerArn=listener, DefaultActions=[{"Type": "forward", "TargetGroupArn": group}])
    service.forward({service.sorry_arn: 1})
    events = []

    def answer(payload, path="", attributes=()):
        elb.modify_target_group_attributes(
            TargetGroupArn=group, Attributes=[{"Key": key, "Value": value} for key, value in attributes]
        )

        def invoke(name, event):
            assert name.endswith(":function:page")
            elb.describe_target_groups()  # a function may call the account while its page is awaited
            events.append(event)
            return SimpleNamespace(payload=payload, error=None)

        monkeypatch.setattr(account.functions, "invoke", invoke)
        return get(plane, path)

    return answer, events


def test_a_function_answers_behind_the_alb(function_page):  # H7
    get_page, events = function_page
    payload = {"statusCode": 503, "headers": {"Content-Type": "text/html"}, "body": "maintenance"}
    assert get_page(payload, "a/b?x=1&y=2") == (503, "maintenance")
    assert events[0]["path"] == "/a/b"
    assert events[0]["queryStringParameters"] == {"x": "1", "y": "2"}
    assert events[0]["headers"]["x-forwarded-for"] == "127.0.0.1"


def test_a_function_with_multi_value_headers_gets_and_gives_lists(function_page):  # H7
    get_page, events = function_page
    attributes = [("lambda.multi_value_headers.enabled", "true")]
    payload = {
        "statusCode": 200,
        "multiValueHeaders": {"Content-Type": ["text/plain"]},
        "body": "b2s=",
        "isBase64Encoded": True,
    }
    assert get_page(payload, "?x=1&x=2", attributes) == (200, "ok")
    assert events[0]["multiValueQueryStringParameters"] == {"x": ["1", "2"]}
    assert "headers" not in events[0]


def test_a_function_without_a_status_is_a_bad_gateway(function_page):  # H7
    get_page, _ = function_page
    assert get_page({"body": "no status"})[0] == 502


def test_two_listeners_have_two_ports(account):
    service = nlb_service(account, ports=(443, 8443))
    first, second = (NlbPlane(account, arn) for arn in service.listener_arns)
    service.forward({service.sorry_arn: 1}, service.listener_arns[1])
    assert get(first)[0] == 200
    assert get(second)[0] == 503
    assert service.serving() == {
        service.listener_arns[0]: service.primary_arn,
        service.listener_arns[1]: service.sorry_arn,
    }


def test_the_port_closes_with_the_account():
    with Account() as account:
        plane = NlbPlane(account, nlb_service(account).listener_arn)
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(plane.url)  # noqa: S310 (a port of this test)


@pytest.fixture
def alb_listener(account, service):
    return account.client("elbv2").describe_listeners(LoadBalancerArn=service.alb_arn)["Listeners"][0]["ListenerArn"]


def test_what_a_function_never_sees(account, function_page, alb_listener):  # O1
    answer, events = function_page
    assert answer({"statusCode": 200, "headers": {}, "body": ""}) == (200, "")
    upgrade = Visit(headers=(("Connection", "Upgrade"), ("Upgrade", "websocket")))
    upload = Visit(method="POST", body=b"x" * (1024 * 1024 + 1))
    assert [account.targets.alb_page(alb_listener, visit).status for visit in (upgrade, upload)] == [400, 413]
    assert len(events) == 1


def test_a_listeners_headers_replace_those_of_a_function(account, function_page, alb_listener):  # O3
    answer, _ = function_page
    policy = {"Key": "routing.http.response.content_security_policy.header_value", "Value": "script-src 'self'"}
    account.client("elbv2").modify_listener_attributes(ListenerArn=alb_listener, Attributes=[policy])
    headers = {"content-security-policy": "default-src 'none'", "retry-after": "60"}
    answer({"statusCode": 503, "headers": headers, "body": ""})
    page = account.targets.alb_page(alb_listener, Visit("/"))
    assert dict(page.headers) == {"content-security-policy": "script-src 'self'", "retry-after": "60"}
