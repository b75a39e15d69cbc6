"""What a due switch does without, what its mail knows and does not, and what of a listener stays as it was."""

import json
import shlex
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from conftest import Shop

from kirikae.nlb import probe
from kirikae.notify import Words
from sandbox.account import Account
from sandbox.estates import parts
from sandbox.loopback import Handler, Server
from sandbox.traffic import NlbPlane

ON, OFF = "sorry page ON, the primary cannot serve", "sorry page OFF, back on the primary"
FUNCTION, BACK = "NlbSorrySwitchoverFunction", "NlbSwitchbackFunction"
FAILURES = [("Throttling", 400), ("AccessDenied", 403), ("InternalFailure", 500)]


def of_sorry(shop: Shop) -> Callable[[dict[str, str]], bool]:
    """Return what finds requests about the sorry group."""
    return lambda params: params["TargetGroupArn"] == shop.service.sorry_arn


# What only informs.


@pytest.mark.parametrize(("code", "status"), FAILURES)
def test_an_unreadable_sorry_group_does_not_keep_a_dead_primary_from_its_sorry_page(
    shop: Shop, code: str, status: int
) -> None:
    shop.account.faults.add("elbv2", "DescribeTargetHealth", code, status=status, when=of_sorry(shop))
    shop.stops()
    assert (shop.serves, shop.subjects) == (["sorry"], [ON])
    assert "ATTENTION: the sorry page is not known to be healthy" in shop.mails[0].body


def test_an_unreadable_sorry_group_is_an_error_while_no_switch_is_due(shop: Shop) -> None:
    shop.account.faults.add("elbv2", "DescribeTargetHealth", "AccessDenied", status=403, when=of_sorry(shop))
    shop.minutes(6)
    assert len(shop.alarm_mails("NlbSorrySwitchoverErrors")) == 1


@pytest.mark.parametrize("operation", ["DescribeTargetGroups", "DescribeTags"])
def test_a_switch_needs_no_more_of_a_plain_listener_than_where_it_points(
    new_shop: Callable[..., Shop], operation: str
) -> None:
    shop = new_shop().deployed()
    shop.account.faults.add("elbv2", operation, "AccessDenied", status=403)
    shop.stops()
    assert (shop.serves, shop.subjects) == (["sorry"], [ON])
    shop.account.faults.clear()
    shop.minutes(1)
    shop.account.faults.add("elbv2", operation, "AccessDenied", status=403)
    shop.comes_back()
    assert (shop.serves, shop.subjects) == (["primary"], [ON, OFF])


@pytest.mark.parametrize("operation", ["DescribeTargetGroups", "DescribeTags"])
def test_without_a_due_switch_nothing_is_adopted_on_a_guess(new_shop: Callable[..., Shop], operation: str) -> None:
    shop = new_shop()
    shop.account.faults.add("elbv2", operation, "AccessDenied", status=403)
    shop.deployed()
    shop.minutes(6)
    assert shop.weights == [{"primary": 1}]
    assert len(shop.alarm_mails("NlbSorrySwitchoverErrors")) == 1


def test_an_outage_that_the_alarm_tells_needs_no_ec2(shop: Shop) -> None:
    shop.account.faults.add("ec2", "DescribeInstances", "RequestLimitExceeded", status=503)
    shop.service.break_application()
    shop.minutes(4)
    assert (shop.serves, shop.subjects) == (["sorry"], [ON])


def test_rules_that_cannot_be_read_stop_no_switch_in_either_direction(shop: Shop) -> None:
    shop.account.faults.add("elbv2", "DescribeRules", "AccessDenied", status=403)
    shop.stops()
    assert (shop.serves, shop.subjects) == (["sorry"], [ON])
    shop.comes_back()
    assert (shop.serves, shop.subjects) == (["primary"], [ON, OFF])
    shop.minutes(6)  # without a due switch it is an error
    assert len(shop.alarm_mails("NlbSorrySwitchoverErrors")) == 1


def test_a_cut_answer_is_no_answer(shop: Shop) -> None:
    shop.account.override("elbv2", "DescribeTargetHealth", lambda _params, _principal: {})
    done = shop.account.functions.invoke(shop.stack.resources[FUNCTION], {})
    assert done.payload["errorType"] == "AnswerError"
    assert "TargetHealthDescriptions" in done.payload["errorMessage"]


# Reads that lag.


@pytest.mark.parametrize("late", [1, 3, 5])
def test_a_switch_that_is_not_shown_at_once_is_made_once_and_told_once(shop: Shop, late: int) -> None:
    shop.account.lag.off("elbv2")  # the story has a lag of its own
    before = len(shop.writes())
    shop.account.elb.late_reads = late
    shop.stops()
    shop.account.elb.late_reads = 0
    assert [run.invocation.error for run in shop.runs(FUNCTION)[-2:]] == [None, None]
    assert (shop.serves, shop.subjects) == (["sorry"], [ON])
    shop.minutes(2)
    assert (len(shop.writes()), shop.subjects) == (before + 1, [ON])
    assert "does not show it yet" not in shop.mails[0].body


def test_a_switch_that_is_not_shown_within_the_patience_is_told_as_far_as_it_is_known(shop: Shop) -> None:
    shop.account.elb.late_reads = 6
    shop.service.stop(shop.service.instance_ids[0])
    shop.stops(shop.service.instance_ids[1])
    shop.account.elb.late_reads = 0
    assert shop.subjects[0] == ON
    assert "AWS took the change, but does not show it yet: TCP:443 " in shop.mails[0].body
    shop.minutes(2)
    assert shop.serves == ["sorry"]
    assert [run.invocation.error for run in shop.runs(FUNCTION) if run.invocation.error] == []


def test_a_run_that_is_still_shown_the_listeners_of_before_tells_nothing(shop: Shop) -> None:
    shop.account.events.arrivals = lambda _event: ()  # the state events; the runs are ours
    shop.stops()
    shop.account.lag.off("ssm", "ec2")
    shop.account.lag.exactly("elbv2", 8.0)  # longer than the patience of the switch
    shop.switchover()
    shop.switchback()
    assert shop.subjects == [ON]
    shop.account.lag.at_most("elbv2", 1.0)
    shop.minutes(2)
    assert (shop.serves, shop.subjects) == (["sorry"], [ON])


@pytest.mark.parametrize("refused", ["", "TooManyUpdates"])
def test_of_two_runs_that_switch_at_the_same_moment_one_tells(shop: Shop, refused: str) -> None:
    shop.account.events.arrivals = lambda _event: ()  # the state events; the runs are ours
    shop.account.lag.off()
    shop.stops()
    both = threading.Barrier(2)

    def at_once(_params: object, _principal: str) -> None:
        both.wait(20)

    shop.account.override("elbv2", "ModifyListener", at_once, locked=False)
    if refused:
        shop.account.faults.add("ssm", "PutParameter", refused, times=1)
    function = shop.stack.resources[FUNCTION]
    runs = shop.account.functions.concurrently(function, [{"action": "reconcile"}] * 2)
    assert [(run.error, run.payload["outcome"]) for run in runs] == [(None, "changed")] * 2
    shop.minutes(5)
    assert (shop.serves, shop.subjects) == (["sorry"], [ON])


def test_an_adoption_that_an_outage_overtakes_does_not_undo_the_switch(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop().deployed()
    shop.account.events.arrivals = lambda _event: ()  # the state events; the runs are ours

    def outage() -> None:
        shop.service.stop()
        shop.account.lag.catch_up("ec2")
        assert shop.switchover()["change"]["to"] == "sorry"
        shop.account.lag.catch_up("elbv2")

    shop.account.before("elbv2", "DescribeTargetGroupAttributes", outage)
    adopting = shop.switchover()  # a run that another one is ahead of has not failed
    assert (adopting["outcome"], adopting["change"], "it was changed to" in adopting["reason"]) == (
        "unchanged",
        None,
        True,
    )
    assert (shop.serves, shop.subjects) == (["sorry"], [ON])
    shop.minutes(3)
    assert (shop.serves, len(shop.writes()), shop.subjects) == (["sorry"], 1, [ON])
    assert not shop.alarm_mails("Errors")


@pytest.mark.parametrize("refused", [False, True])
def test_an_adoption_goes_on_for_the_listeners_that_no_other_run_has_changed(
    new_shop: Callable[..., Shop], refused: bool
) -> None:
    shop = new_shop(ports=(80, 443)).deployed()
    first, second = shop.service.listener_arns

    def somebody() -> None:
        actions = [parts.forward(shop.service.sorry_arn)]
        shop.account.client("elbv2").modify_listener(ListenerArn=first, DefaultActions=actions)
        shop.account.lag.catch_up("elbv2")

    shop.account.before("elbv2", "DescribeTargetGroupAttributes", somebody)
    if refused:
        shop.account.faults.add(
            "elbv2", "ModifyListener", "AccessDenied", status=403, when=lambda params: params["ListenerArn"] == second
        )
    adopting = shop.account.functions.invoke(shop.stack.resources[FUNCTION], {"action": "reconcile"})
    if refused:  # what failed is an error, and names no listener that was left
        assert second in adopting.payload["errorMessage"]
        assert first not in adopting.payload["errorMessage"]
    else:
        assert (adopting.error, adopting.payload["outcome"]) == (None, "changed")
        assert shop.service.weights()[second] == {shop.service.primary_arn: 1, shop.service.sorry_arn: 0}
    assert shop.service.weights()[first] == {shop.service.sorry_arn: 1}


# The mail and a visitor.


def test_both_mails_tell_that_the_listener_was_written_and_not_that_visitors_follow_already(shop: Shop) -> None:
    shop.stops()
    shop.comes_back()
    assert shop.subjects == [ON, OFF]
    for mail in shop.mails:
        assert "These listeners now forward to" in mail.body
        assert "The NLB itself can take some minutes to send new connections there." in mail.body
        assert "ProbeUrl" not in mail.body


def test_with_a_probe_the_mails_tell_what_a_visitor_got(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop()
    with NlbPlane(shop.account, shop.service.listener_arn) as plane:
        shop.deployed(ProbeUrl=plane.url)
        shop.minutes(5)
        shop.stops()
        shop.comes_back()
    assert shop.subjects == [ON, OFF]
    assert f"ProbeUrl {plane.url}, asked once now: status 503 «We will be back soon" in shop.mails[0].body
    assert "status 200 «The service Served by i-" in shop.mails[1].body


def test_a_probe_that_nobody_answers_changes_nothing_and_is_told(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(ProbeUrl="http://127.0.0.1:9/").deployed()
    shop.minutes(5)
    shop.stops()
    assert (shop.serves, shop.subjects) == (["sorry"], [ON])
    assert "asked once now: no answer (" in shop.mails[0].body
    assert shop.runs(FUNCTION)[-1].invocation.error is None


class Site(Handler):
    """A site with a page that has moved, a long one, and one in Japanese."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:  # noqa: N802 (the name of http.server)
        """Answer."""
        self.asked.append(self.path)
        pages = {
            "/long": "<p>" + "x" * 100_000,
            "/ja": "<h1>メンテナンス中 &amp; 復旧作業中</h1>",
            "/old": "moved",
            "/%E9%80%9A": "ok",
        }
        body = f"<style>p {{}}</style>{pages[self.path]}".encode()
        self.send_response(302 if self.path == "/old" else 503)
        if self.path == "/old":
            self.send_header("Location", "/new")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def site() -> Iterator[str]:
    """Return the URL of a site."""
    Site.asked.clear()
    server = Server(Site)
    yield server.url
    server.close()


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/ja", "status 503 «メンテナンス中 & 復旧作業中»"),
        ("/old", "status 302 -> /new «moved»"),
        ("/long", f"status 503 «{'x' * 120}»"),
    ],
)
def test_a_probe_tells_the_status_and_the_first_words_and_follows_nothing(site: str, path: str, found: str) -> None:
    said = probe.look(f"{site}{path}")
    assert said.en == f"ProbeUrl {site}{path}, asked once now: {found}."
    assert found.removeprefix("status ") in said.ja
    assert Site.asked == [path]


def test_a_probe_asks_for_a_page_with_a_japanese_name_as_a_browser_does(site: str) -> None:
    assert probe.look(f"{site}/通").en == f"ProbeUrl {site}/通, asked once now: status 503 «ok»."
    assert Site.asked == ["/%E9%80%9A"]


def test_a_probe_ends_after_its_time_however_slow_the_site_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SECONDS", 0.05)
    ends = threading.Event()

    def late(_url: str) -> Words:
        ends.wait()
        return Words("late")

    said = probe.look("http://example.com/", late)
    ends.set()
    assert "asked once now: no answer within" in said.en


# A listener that is deleted.


@pytest.mark.parametrize("mode", ["weighted", "replace"])
@pytest.mark.parametrize("on_sorry", [False, True], ids=["at rest", "on the sorry page"])
def test_a_deleted_listener_keeps_the_other_neither_from_its_sorry_page_nor_there(
    new_shop: Callable[..., Shop], mode: str, on_sorry: bool
) -> None:
    shop = new_shop(ports=(443, 80), each=True, SwitchMode=mode).deployed()
    shop.minutes(5)
    if on_sorry:
        shop.stops()
        shop.minutes(1)
    elb, (first, second) = shop.account.client("elbv2"), shop.service.listener_arns
    elb.delete_listener(ListenerArn=second)
    for group in (shop.service.primary_arns[1], shop.service.sorry_arns[1]):
        elb.delete_target_group(TargetGroupArn=group)
    if not on_sorry:
        shop.minutes(6)
        assert f"NlbListenerArns: {second} does not exist" in shop.decisions(FUNCTION)[-1]["reason"]
        assert len(shop.alarm_mails("Refused")) == 1
        shop.stops()
        shop.minutes(1)
    assert shop.account.elb.weights(first)[shop.service.sorry_arns[0]] == 1
    shop.service.start()
    shop.minutes(10)
    assert shop.account.elb.weights(first)[shop.service.primary_arns[0]] == 1
    assert shop.subjects == [ON, OFF]


def test_a_group_of_a_deleted_listener_takes_nothing_from_the_other(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(ports=(443, 80), each=True).deployed()
    shop.minutes(5)
    shop.account.client("elbv2").delete_listener(ListenerArn=shop.service.listener_arns[1])
    leave(shop, shop.service.primary_arns[1])
    first = shop.service.listener_arns[0]
    assert shop.account.elb.weights(first) == {shop.service.primary_arns[0]: 1, shop.service.sorry_arns[0]: 0}
    assert shop.subjects == []


# What is not ours stays.


def stickiness(shop: Shop) -> bool:
    """Tell whether the listener is sticky."""
    found = shop.account.client("elbv2").describe_listeners(ListenerArns=[shop.service.listener_arn])["Listeners"][0]
    return bool(found["DefaultActions"][0]["ForwardConfig"]["TargetGroupStickinessConfig"]["Enabled"])


def make_sticky(shop: Shop, *, group: bool) -> None:
    """Make the listener sticky, and its primary group if asked."""
    elb, arn = shop.account.client("elbv2"), shop.service.primary_arn
    if group:
        on = [{"Key": "stickiness.enabled", "Value": "true"}]
        elb.modify_target_group_attributes(TargetGroupArn=arn, Attributes=on)
    config = {"TargetGroups": [{"TargetGroupArn": arn}], "TargetGroupStickinessConfig": {"Enabled": True}}
    action = {"Type": "forward", "ForwardConfig": config}
    elb.modify_listener(ListenerArn=shop.service.listener_arn, DefaultActions=[action])


@pytest.mark.parametrize("mode", ["weighted", "replace"])
def test_a_sticky_listener_stays_sticky_in_every_write_and_in_the_commands_of_the_mails(
    new_shop: Callable[..., Shop], mode: str
) -> None:
    shop = new_shop(SwitchMode=mode)
    make_sticky(shop, group=True)
    shop.deployed()
    shop.minutes(5)
    assert (stickiness(shop), len(shop.weights[0])) == (True, 2 if mode == "weighted" else 1)
    shop.stops()
    assert (shop.serves, stickiness(shop)) == (["sorry"], True)
    shop.comes_back()
    assert (shop.serves, stickiness(shop)) == (["primary"], True)
    assert shop.subjects == [ON, OFF]
    for mail in shop.mails:
        [command] = [line for line in mail.body.splitlines() if line.startswith("aws elbv2 modify-listener")]
        [action] = json.loads(shlex.split(command)[-1])
        assert action["ForwardConfig"]["TargetGroupStickinessConfig"] == {"Enabled": True}


@pytest.mark.parametrize("outage", [False, True])
def test_an_action_with_a_sticky_group_is_made_sticky_before_or_after_the_adoption(
    new_shop: Callable[..., Shop], outage: bool
) -> None:
    shop = new_shop()
    on = [{"Key": "stickiness.enabled", "Value": "true"}]
    shop.account.client("elbv2").modify_target_group_attributes(TargetGroupArn=shop.service.primary_arn, Attributes=on)
    shop.deployed()
    if outage:
        shop.stops()
    shop.minutes(2)
    assert (stickiness(shop), len(shop.weights[0])) == (True, 2)
    assert shop.serves == (["sorry"] if outage else ["primary"])
    if outage:
        assert '"TargetGroupStickinessConfig": {"Enabled": true}' in shop.mails[0].body
        assert shop.subjects == [ON]


@pytest.mark.parametrize("outage", [False, True])
def test_a_refusal_is_told_in_the_words_of_aws(new_shop: Callable[..., Shop], outage: bool) -> None:
    shop = new_shop()
    shop.account.elb.refuse_mixed_weighted_action = True
    shop.deployed()
    if outage:
        shop.stops()
    shop.minutes(2)
    said = "AWS says InvalidLoadBalancerAction: A target group with target type 'alb' cannot be combined"
    assert said in shop.mails[0].body


# The sorry page's own health.


def with_sorry_servers(shop: Shop) -> tuple[str, ...]:
    """Let two instances answer the sorry page instead of the ALB; return their ids."""
    account, service = shop.account, shop.service
    servers = tuple(parts.launch(account, subnet_id)["InstanceId"] for subnet_id in service.subnet_ids)
    account.advance(15)
    group = parts.target_group(account, "sorry-servers", service.vpc_id, Port=80, TargetType="instance")
    targets = [{"Id": server} for server in servers]
    account.client("elbv2").register_targets(TargetGroupArn=group, Targets=targets)
    shop.service = replace(service, sorry_arns=(group,))
    return servers


def test_a_sorry_page_on_stopped_servers_is_told_before_it_is_needed(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop()
    servers = with_sorry_servers(shop)
    shop.deployed()
    shop.minutes(6)
    assert shop.alarm_mails("SorryUnhealthy") == []
    shop.service.stop(*servers)
    shop.minutes(6)
    assert shop.account.targets.health(shop.service.sorry_arn) == dict.fromkeys(servers, "unused")
    assert len(shop.alarm_mails("SorryUnhealthy")) == 1


def test_a_sorry_page_in_a_zone_that_is_not_enabled_is_told_too(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop()
    servers = with_sorry_servers(shop)
    shop.service.terminate(servers[0])
    shop.deployed()
    shop.minutes(6)
    shop.account.client("elbv2").set_subnets(LoadBalancerArn=shop.service.nlb_arn, Subnets=shop.service.subnet_ids[:1])
    shop.minutes(6)
    assert len(shop.alarm_mails("SorryUnhealthy")) == 1


def test_a_sorry_group_that_is_in_no_listener_is_not_called_ill(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(SwitchMode="replace").deployed()
    shop.minutes(10)
    assert shop.account.targets.health(shop.service.sorry_arn) == {shop.service.alb_arn: "unused"}
    assert shop.alarm_mails("SorryUnhealthy") == []


def dies(shop: Shop, *ports: int) -> None:
    """Let the sorry page answer no health check any more, on some ports or on all."""
    elb = shop.account.client("elbv2")
    for listener in elb.describe_listeners(LoadBalancerArn=shop.service.alb_arn)["Listeners"]:
        if not ports or listener["Port"] in ports:
            for rule in elb.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]:
                if not rule["IsDefault"]:
                    elb.delete_rule(RuleArn=rule["RuleArn"])
    shop.minutes(3)


def leave(shop: Shop, group: str) -> None:
    """Take every target out of a group, and wait until they have left."""
    elb = shop.account.client("elbv2")
    found = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    elb.deregister_targets(TargetGroupArn=group, Targets=[described["Target"] for described in found])
    shop.minutes(6)


def across_zones(shop: Shop) -> None:
    """Let every node of the load balancer send to all targets."""
    on = [{"Key": "load_balancing.cross_zone.enabled", "Value": "true"}]
    elb = shop.account.client("elbv2")
    elb.modify_load_balancer_attributes(LoadBalancerArn=shop.service.nlb_arn, Attributes=on)


def test_a_healthy_pair_is_not_sent_to_a_sorry_page_that_is_known_dead(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(ports=(443, 80), each=True).deployed()
    shop.minutes(5)
    dies(shop)
    leave(shop, shop.service.primary_arns[1])
    shop.minutes(4)
    assert set(shop.account.targets.health(shop.service.primary_arns[0]).values()) == {"healthy"}
    assert shop.serves == ["primary", "sorry"]
    [told] = shop.mails
    assert "sorry page ON for 1 of 2 listeners" in told.subject
    assert f"NOT switched: TCP:443 {shop.service.listener_arns[0]}: no target of SorryTargetGroupArns" in told.body
    shop.stops()  # now it has nothing to lose either
    shop.minutes(2)
    assert shop.serves == ["sorry", "sorry"]


def test_a_healthy_pair_stays_where_the_other_one_would_get_no_sorry_page(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(ports=(443, 80), each=True).deployed()
    shop.minutes(5)
    leave(shop, shop.service.sorry_arns[1])
    leave(shop, shop.service.primary_arns[1])
    shop.minutes(4)
    assert (shop.serves, shop.subjects) == (["primary", "primary"], ["NOT answered (refused): a change is due"])
    assert "its own primary is well" in shop.mails[0].body


def test_a_dead_sorry_page_is_no_better_than_one_of_two_servers(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(MinHealthyTargets="2")
    across_zones(shop)
    shop.deployed()
    shop.minutes(8)
    dies(shop)
    shop.stops(shop.service.instance_ids[0])
    shop.minutes(3)
    assert (shop.serves, shop.subjects) == (["primary"], ["NOT answered (refused): a change is due"])
    assert "no target of SorryTargetGroupArns can serve" in shop.mails[0].body
    shop.stops(shop.service.instance_ids[1])  # the target is still healthy: EC2 tells
    assert (shop.serves, shop.subjects[1:]) == (["sorry"], [ON])


@pytest.mark.parametrize("back", ["one of two", "both, not for long", "both, of three that are wanted"])
def test_a_sorry_page_that_dies_gives_way_to_what_serves(new_shop: Callable[..., Shop], back: str) -> None:
    shop = new_shop(MinHealthyTargets="3" if "three" in back else "2", RecoveryMinutes="30")
    across_zones(shop)
    shop.deployed()
    shop.minutes(8)
    shop.stops()
    shop.minutes(3)
    shop.service.start(*shop.service.instance_ids[: 1 if back == "one of two" else 2])
    shop.minutes(4)
    told = len(shop.subjects)  # more healthy targets than are registered is refused, besides
    assert (shop.serves, shop.subjects[-1]) == (["sorry"], ON)
    dies(shop)
    shop.minutes(3)
    assert shop.serves == ["primary"]
    assert "sorry page OFF" in shop.subjects[told]
    assert "no target of the sorry page can serve" in shop.mails[told].body
    shop.minutes(10)
    assert shop.serves == ["primary"]
    assert not [subject for subject in shop.subjects[told + 1 :] if "sorry page" in subject], shop.subjects


@pytest.mark.parametrize("what", ["its servers stop", "AutoSwitchback"])
def test_a_sorry_page_that_dies_gives_way_to_nothing_that_stops_and_to_no_one_who_asks_first(
    new_shop: Callable[..., Shop], what: str
) -> None:
    shop = new_shop(MinHealthyTargets="2", AutoSwitchback="false" if what == "AutoSwitchback" else "true")
    across_zones(shop)
    shop.deployed()
    shop.minutes(8)
    shop.stops(shop.service.instance_ids[0])
    assert shop.serves == ["sorry"]
    dies(shop)
    if what == "its servers stop":
        shop.service.stop(shop.service.instance_ids[1])  # and its target is healthy for a while
    shop.minutes(5)
    assert shop.serves == ["sorry"]


def test_a_switch_for_fewer_servers_than_are_needed_does_not_say_that_none_is_left(
    new_shop: Callable[..., Shop],
) -> None:
    shop = new_shop(MinHealthyTargets="2")
    across_zones(shop)
    shop.deployed()
    shop.minutes(8)
    shop.stops(shop.service.instance_ids[0])
    assert (shop.serves, shop.subjects) == (["sorry"], [ON])
    assert "at most 1 of 2 primary targets can serve, needed 2: " in shop.mails[0].body


def test_the_mail_of_a_switch_names_the_listener_that_stays_and_its_empty_sorry_group(
    new_shop: Callable[..., Shop],
) -> None:
    shop = new_shop(ports=(443, 80), each=True).deployed()
    shop.minutes(5)
    leave(shop, shop.service.sorry_arns[1])
    shop.stops()
    assert shop.serves == ["sorry", "primary"]
    assert shop.subjects[0] == "sorry page ON for 1 of 2 listeners, the primary cannot serve"
    stays, group = shop.service.listener_arns[1], shop.service.sorry_arns[1]
    said = f"NOT switched: TCP:80 {stays}: SorryTargetGroupArns {group} has no registered target"
    assert said in shop.mails[0].body
    assert "The sorry page is healthy: " in shop.mails[0].body


def test_a_sorry_page_with_one_group_that_cannot_be_read_is_not_called_healthy(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(ports=(443, 80), each=True).deployed()
    shop.minutes(5)
    unread = shop.service.sorry_arns[1]
    shop.account.faults.add(
        "elbv2", "DescribeTargetHealth", "Throttling", when=lambda params: params["TargetGroupArn"] == unread
    )
    shop.stops()
    assert (shop.serves, shop.subjects) == (["sorry", "sorry"], [ON])
    assert "ATTENTION: the sorry page is not known to be healthy: " in shop.mails[0].body


def test_a_sorry_group_that_is_empty_is_attached_when_it_has_a_target(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop()
    leave(shop, shop.service.sorry_arn)
    shop.deployed()
    shop.minutes(7)
    assert (shop.weights, len(shop.alarm_mails("SorryUnhealthy"))) == ([{"primary": 1}], 1)
    alb = {"Id": shop.service.alb_arn, "Port": 443}
    shop.account.client("elbv2").register_targets(TargetGroupArn=shop.service.sorry_arn, Targets=[alb])
    shop.minutes(2)
    assert shop.weights == [{"primary": 1, "sorry": 0}]


# Parameters that do not fit the service.


@pytest.mark.parametrize("given", [{}, {"PrimaryInstanceIds": ""}], ids=["declared", "not declared"])
def test_more_healthy_targets_than_are_registered_are_no_outage(
    new_shop: Callable[..., Shop], given: dict[str, str]
) -> None:
    shop = new_shop(MinHealthyTargets="3", **given).deployed()
    shop.minutes(10)
    said = shop.switchover()
    few = "MinHealthyTargets is 3, but fewer targets are registered, all of them fit: 2 in "
    assert (said["outcome"], shop.serves) == ("refused", ["primary"])
    assert f"{few}{shop.service.primary_arn}" in said["reason"]
    assert shop.subjects == ["NOT answered (refused): a change is due"]
    shop.service.break_application()
    shop.minutes(2)
    assert (shop.serves, shop.subjects[1:]) == (["sorry"], [ON])


@pytest.mark.parametrize("mode", ["weighted", "replace"])
def test_a_way_back_that_wants_more_targets_than_are_registered_says_so(
    new_shop: Callable[..., Shop], mode: str
) -> None:
    shop = new_shop(MinHealthyTargets="2", SwitchMode=mode).deployed()
    shop.stops()
    elb, group = shop.account.client("elbv2"), shop.service.primary_arn
    elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": shop.service.instance_ids[1]}])
    shop.minutes(7)
    shop.service.start()
    shop.minutes(10)
    said = shop.switchback()
    assert (said["outcome"], shop.serves) == ("refused", ["sorry"])
    assert f"MinHealthyTargets is 2, but fewer targets are registered, all of them fit: 1 in {group}" in said["reason"]
    elb.register_targets(TargetGroupArn=group, Targets=[{"Id": shop.service.instance_ids[1]}])
    shop.minutes(10)
    assert (shop.serves, shop.subjects) == (["primary"], [ON, OFF])


def behind_an_alb(shop: Shop) -> str:
    """Put an ALB of the application's own in front of its servers and behind the NLB; return its target group."""
    account, service = shop.account, shop.service
    elb = account.client("elbv2")
    app = parts.load_balancer(account, "app-alb", "application", service.subnet_ids)
    account.advance(60)
    servers = parts.target_group(account, "servers", service.vpc_id, Port=80, Protocol="HTTP", TargetType="instance")
    elb.register_targets(TargetGroupArn=servers, Targets=[{"Id": server} for server in service.instance_ids])
    parts.listener(account, app, "HTTP", 80, parts.forward(servers))
    checked = {"HealthCheckProtocol": "HTTP", "HealthCheckPath": "/"}
    front = parts.target_group(account, "front", service.vpc_id, Port=80, TargetType="alb", **checked)
    elb.register_targets(TargetGroupArn=front, Targets=[{"Id": app, "Port": 80}])
    elb.modify_listener(ListenerArn=service.listener_arn, DefaultActions=[parts.forward(front)])
    shop.minutes(3)
    shop.service = replace(service, primary_arns=(front,))
    return front


@pytest.mark.parametrize("mode", ["weighted", "replace"])
def test_a_primary_that_is_an_alb_is_refused_at_the_first_run_and_its_outage_is_told_at_once(
    new_shop: Callable[..., Shop], mode: str
) -> None:
    shop = new_shop(PrimaryInstanceIds="", SwitchMode=mode)
    front = behind_an_alb(shop)
    shop.deployed()
    shop.minutes(3)
    decided = shop.decisions(FUNCTION)[0]
    assert decided["outcome"] == "refused"
    assert f"PrimaryTargetGroupArns: the target of {front} is a load balancer" in decided["reason"]
    assert "expected a group of instances or addresses" in decided["reason"]
    assert (shop.serves, shop.subjects) == (["primary"], [])
    shop.service.break_application()
    shop.minutes(5)
    assert (shop.serves, shop.subjects) == (["primary"], ["NOT answered (refused): a change is due"])
    assert "expected a group of instances or addresses" in shop.mails[0].body
    assert len(shop.alarm_mails("Refused")) == 1
    assert shop.writes() == []


def test_only_force_brings_the_listeners_back_to_a_primary_that_is_an_alb(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(PrimaryInstanceIds="")
    front = behind_an_alb(shop)
    shop.service.forward({front: 0, shop.service.sorry_arn: 1})
    shop.deployed()
    shop.minutes(8)
    assert shop.serves == ["sorry"]
    assert f"the target of {front} is a load balancer" in shop.decisions(BACK)[-1]["reason"]
    shop.switchback({"action": "reconcile", "force": True, "reason": "checked by hand"})
    assert shop.serves == ["primary"]


def test_a_server_that_ec2_does_not_know_is_named(new_shop: Callable[..., Shop]) -> None:
    gone = "i-0123456789abcdef0"
    shop = new_shop().deployed()
    shop.deployed_again(PrimaryInstanceIds=f"{shop.service.instance_ids[0]},{gone}")
    said = shop.switchover()
    assert said["outcome"] == "refused"
    assert f"PrimaryInstanceIds names {gone}, which EC2 does not know" in said["reason"]


# Something of the stack was deleted.


def test_a_deleted_alarm_comes_back_by_what_the_error_says(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(PrimaryInstanceIds="").deployed()
    shop.minutes(5)
    shop.account.client("cloudwatch").delete_alarms(AlarmNames=["shop-nlb-outage"])
    shop.service.break_application()
    shop.minutes(3)
    failed = shop.runs(FUNCTION)[-1].invocation
    once = "Deploy twice: once with 'NlbListenerArns=\"\"', which removes what it made"
    assert once in failed.payload["errorMessage"]
    shop.deployed_again()
    shop.minutes(3)
    assert shop.serves == ["primary"]  # an unchanged stack makes nothing anew
    shop.deployed_again(NlbListenerArns="")
    shop.deployed_again()
    shop.minutes(4)
    assert shop.serves == ["sorry"]


# Somebody hears.


def test_that_no_alarm_reaches_the_topic_is_mailed_once(account: Account, build: Path) -> None:
    key = {"KmsMasterKeyId": "alias/aws/sns"}
    topic = account.client("sns").create_topic(Name="ops", Attributes=key)["TopicArn"]
    account.client("sns").subscribe(TopicArn=topic, Protocol="email", Endpoint="oncall@example.com")
    shop = Shop(account, build).deployed(NotificationTopicArn=topic, NotificationEmail="")
    shop.minutes(8)
    assert shop.subjects == ["ATTENTION, no alarm reaches this topic"]
    assert account.alarms.state(shop.stack.resources["AlarmsUnheardAlarm"]).value == "ALARM"
    shop.stops()
    shop.minutes(8)
    assert [subject[:13] for subject in shop.subjects[1:]] == ["sorry page ON"]


@pytest.mark.parametrize("ends", [False, True], ids=["never confirmed", "ended by its reader"])
def test_that_nobody_hears_is_an_alarm_until_somebody_does(new_shop: Callable[..., Shop], ends: bool) -> None:
    shop = new_shop().deployed()
    alarm, reader = shop.stack.resources["NobodyHearsAlarm"], "oncall@example.com"
    shop.minutes(6)
    assert shop.account.alarms.state(alarm).value == "OK"
    if ends:
        shop.account.sns.ends(reader)
    else:
        shop.account.sns.pending.add(reader)
    shop.minutes(6)
    assert shop.account.alarms.state(alarm).value == "ALARM"
    assert [mail.recipients for mail in shop.alarm_mails("NobodyHears")] == [()]
    shop.account.sns.pending.clear()
    shop.account.client("sns").subscribe(TopicArn=shop.stack.resources["Topic"], Protocol="email", Endpoint=reader)
    shop.minutes(6)
    assert shop.account.alarms.state(alarm).value == "OK"
