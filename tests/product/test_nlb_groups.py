"""Which servers are behind the listeners: groups of their own for each, addresses, zones; and what counts as up."""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from conftest import Shop
from stacks import LISTENERS, PRIMARY, SORRY

from functions.nlb_sorry_switchover.app import Config, Observed, decide
from functions.nlb_switchback import app as switchback
from kirikae.alarms import Alarm
from kirikae.elb import Target
from kirikae.listeners import Listener
from kirikae.nlb import look
from kirikae.nlb.parameters import hands_off
from kirikae.nlb.world import Config as SharedConfig
from kirikae.nlb.world import Switches, by_group
from sandbox.stack.intrinsics import TemplateError

ON, OFF = "sorry page ON, the primary cannot serve", "sorry page OFF, back on the primary"
FUNCTION, BACK = "NlbSorrySwitchoverFunction", "NlbSwitchbackFunction"
NOW = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)


def usual(new_shop: Callable[..., Shop], **parameters: str) -> Shop:
    """Return the usual NLB: ports 80 and 443, each with a group of its own, adopted and quiet."""
    shop = new_shop(ports=(80, 443), each=True, **parameters).deployed()
    shop.minutes(5)
    return shop


def hangs_on(shop: Shop, port: int) -> None:
    """Let the application hang on one port of every instance."""
    shop.account.targets.broken_ports.update((instance_id, port) for instance_id in shop.service.instance_ids)


# Groups of their own.


def test_each_listener_keeps_its_own_pair_of_groups(new_shop: Callable[..., Shop]) -> None:
    shop = usual(new_shop)
    for number, weights in enumerate(shop.service.weights().values()):
        assert weights == {shop.service.primary_arns[number]: 1, shop.service.sorry_arns[number]: 0}
    shop.stops()
    assert shop.serves == ["sorry", "sorry"]
    assert shop.subjects == [ON]
    for number, weights in enumerate(shop.service.weights().values()):
        assert weights == {shop.service.primary_arns[number]: 0, shop.service.sorry_arns[number]: 1}
    shop.comes_back()
    assert (shop.serves, shop.subjects) == (["primary", "primary"], [ON, OFF])


@pytest.mark.parametrize("mode", ["weighted", "replace"])
def test_if_one_group_cannot_serve_all_listeners_go_and_the_mail_says_which(
    new_shop: Callable[..., Shop], mode: str
) -> None:
    shop = usual(new_shop, SwitchMode=mode)
    hangs_on(shop, 443)
    shop.minutes(3)  # in replace mode the instances' checks bring it back soon
    assert (shop.serves, shop.subjects) == (["sorry", "sorry"], [ON])
    why = shop.mails[0].body.split("■ ")[2]
    assert shop.service.primary_arns[1] in why
    assert shop.service.primary_arns[0] not in why
    assert "shop-nlb-outage-2 is in ALARM" in why


def test_they_go_back_when_every_group_has_been_healthy_for_recovery_minutes(new_shop: Callable[..., Shop]) -> None:
    shop = usual(new_shop)
    hangs_on(shop, 443)
    shop.minutes(4)
    shop.minutes(6)
    assert shop.serves == ["sorry", "sorry"]  # the group of port 80 has been healthy all the time
    shop.account.targets.broken_ports.clear()
    shop.minutes(2)
    assert shop.serves == ["sorry", "sorry"]
    assert "shop-nlb-recovery-2 is ALARM" in shop.decisions(BACK)[-1]["reason"]
    shop.minutes(4)
    assert (shop.serves, shop.subjects) == (["primary", "primary"], [ON, OFF])


def test_a_group_whose_health_cannot_be_read_does_not_keep_a_dead_one_from_its_sorry_page(
    new_shop: Callable[..., Shop],
) -> None:
    shop = usual(new_shop)
    first = shop.service.primary_arns[0]
    shop.account.faults.add(
        "elbv2", "DescribeTargetHealth", "Throttling", when=lambda params: params["TargetGroupArn"] == first
    )
    shop.stops()
    assert shop.serves == ["sorry", "sorry"]


def test_a_listener_whose_sorry_group_is_empty_stays_and_the_other_goes(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(ports=(80, 443), each=True)
    alb = {"Id": shop.service.alb_arn, "Port": 80}
    shop.account.client("elbv2").deregister_targets(TargetGroupArn=shop.service.sorry_arns[0], Targets=[alb])
    shop.deployed()
    shop.minutes(5)
    shop.stops()
    shop.minutes(2)
    assert shop.serves == ["primary", "sorry"]
    assert "has no registered target" in shop.decisions(FUNCTION)[-1]["reason"]


def test_one_group_for_all_listeners_may_still_be_given_by_its_older_name(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(ports=(443, 8443))
    primary, sorry = shop.service.primary_arn, shop.service.sorry_arn
    lists = {"PrimaryTargetGroupArns": "", "SorryTargetGroupArns": ""}
    shop.deployed(PrimaryTargetGroupArn=primary, SorryTargetGroupArn=sorry, **lists)
    shop.minutes(5)
    shop.stops()
    assert (shop.serves, shop.subjects) == (["sorry", "sorry"], [ON])


def test_lists_of_different_lengths_are_one_clear_refusal(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(ports=(80, 443, 8443), each=True)
    shop.deployed(PrimaryTargetGroupArns=",".join(shop.service.primary_arns[:2]))
    shop.minutes(2)
    for function in (FUNCTION, BACK):
        decided = shop.decisions(function)[-1]
        assert decided["outcome"] == "refused"
        assert "NlbListenerArns names 3 listeners and PrimaryTargetGroupArns 2 target groups" in decided["reason"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param({"PrimaryTargetGroupArn": SORRY}, "exclude each other", id="both names, different values"),
        pytest.param({"PrimaryTargetGroupArns": f"{PRIMARY},"}, "one to four target group ARNs", id="empty element"),
        pytest.param({"SorryTargetGroupArns": f"{SORRY}, {SORRY}"}, "one to four target group ARNs", id="a blank"),
        pytest.param(
            {"PrimaryTargetGroupArns": ",".join(f"{PRIMARY}{n}" for n in range(5))}, "one to four", id="five groups"
        ),
        pytest.param({"PrimaryInstanceIds": "i-0123456789abcdef0,"}, "has an empty element", id="cut instance ids"),
        pytest.param({"NlbListenerArns": f"{LISTENERS[0]},"}, "has an empty element", id="cut listeners"),
        pytest.param({"ProbeUrl": "ftp://www.example.com/"}, "a URL like", id="no web page"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_the_deployment(
    new_shop: Callable[..., Shop], given: Mapping[str, str], words: str
) -> None:
    with pytest.raises(TemplateError, match=words):
        new_shop().deployed(**given)


def with_groups(**groups: Any) -> Config:
    """Return settings with two listeners and these groups."""
    return Config(
        service_name="shop",
        topic_arn="arn:aws:sns:ap-northeast-1:123456789012:shop",
        hold_parameter="/shop/hold",
        told_parameter="/shop/told/nlb",
        nlb_listener_arns=LISTENERS,
        outage_alarm_name="shop-nlb-outage",
        **groups,
    )


def plain(*weights: Mapping[str, int]) -> tuple[Listener, ...]:
    """Return the listeners with these weights."""
    return tuple(
        Listener(arn, "nlb", "TCP", 443, "forward", found) for arn, found in zip(LISTENERS, weights, strict=True)
    )


@pytest.mark.parametrize(
    ("config", "names"),
    [
        pytest.param(
            with_groups(sorry_target_group_arns=(SORRY,)),
            ("PrimaryTargetGroupArns", "PrimaryTargetGroupArn"),
            id="nothing",
        ),
        pytest.param(
            with_groups(primary_target_group_arns=(PRIMARY,) * 3, sorry_target_group_arn=SORRY),
            ("NlbListenerArns", "PrimaryTargetGroupArns"),
            id="three groups for two",
        ),
        pytest.param(
            with_groups(primary_target_group_arn=f"{PRIMARY}9", primary_target_group_arns=(PRIMARY,)),
            ("PrimaryTargetGroupArn", "PrimaryTargetGroupArns"),
            id="both names",
        ),
        pytest.param(
            with_groups(primary_target_group_arns=(PRIMARY, SORRY), sorry_target_group_arns=(SORRY,)),
            ("PrimaryTargetGroupArns", "SorryTargetGroupArns", SORRY),
            id="a group on both sides",
        ),
    ],
)
def test_an_error_in_the_groups_is_a_refusal_that_names_the_parameters(config: Config, names: tuple[str, ...]) -> None:
    reason = hands_off(config, look.look(config, []))
    assert reason is not None
    assert [name for name in names if name not in reason.en] == []


def test_the_same_group_by_both_names_is_no_error() -> None:
    both = {"primary_target_group_arn": PRIMARY, "primary_target_group_arns": (PRIMARY,)}
    seen = Switches(plain({PRIMARY: 1}, {PRIMARY: 1}), (), "weighted", {})
    assert hands_off(with_groups(**both, sorry_target_group_arn=SORRY), seen) is None


def test_each_group_has_an_alarm_and_a_group_that_is_named_twice_has_the_first() -> None:
    config = with_groups(primary_target_group_arns=(PRIMARY, f"{PRIMARY}2", PRIMARY))
    assert by_group(config, "a") == {PRIMARY: "a", f"{PRIMARY}2": "a-2"}


def test_a_group_that_is_ill_right_now_keeps_all_listeners_on_the_sorry_page_although_every_alarm_is_ok() -> None:
    given = with_groups(primary_target_group_arns=(PRIMARY, f"{PRIMARY}2"), sorry_target_group_arn=SORRY)
    shared = {field.name: getattr(given, field.name) for field in fields(SharedConfig)}
    names = {"recovery_alarm_name": "r", "ready_alarm_name": "p", "flapping_alarm_name": "f"}
    config = switchback.Config(**shared, **names)
    health = {PRIMARY: (Target("i-1", 80, "healthy"),), f"{PRIMARY}2": (Target("i-1", 443, "unhealthy"),)}
    alarms, flapping = (Alarm("r", "OK", NOW), Alarm("r-2", "OK", NOW)), Alarm("f", "OK", NOW)
    on_sorry = Switches(plain({SORRY: 1}, {SORRY: 1}), (), "weighted", {})
    seen = switchback.Observed(on_sorry, health, recovery=alarms, flapping=flapping)
    assert switchback.decide(config, seen).change is None
    well = health | {f"{PRIMARY}2": (Target("i-1", 443, "healthy"),)}
    assert switchback.decide(config, replace(seen, primary=well)).change is not None


# Addresses.


def test_instances_behind_addresses_are_switched_as_fast_as_instances(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(addresses=True).deployed()
    shop.minutes(5)
    shop.stops()
    assert (shop.serves, shop.subjects) == (["sorry"], [ON])
    assert shop.account.alarms.state("shop-nlb-outage").value == "OK"
    shop.comes_back()
    assert (shop.serves, shop.subjects) == (["primary"], [ON, OFF])


def test_one_of_two_instances_behind_addresses_is_no_outage(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(addresses=True).deployed()
    shop.minutes(5)
    shop.stops(shop.service.instance_ids[0])
    shop.minutes(3)
    assert (shop.serves, shop.mails) == (["primary"], [])


def test_an_address_whose_instance_is_gone_does_not_delay_the_switch(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(addresses=True).deployed()
    shop.minutes(5)
    gone, left = shop.service.instance_ids
    shop.service.terminate(gone)
    shop.minutes(20)
    assert shop.serves == ["primary"]
    shop.stops(left)
    assert (shop.serves, shop.subjects) == (["sorry"], [ON])


@pytest.mark.parametrize(
    ("other", "known", "switches"),
    [
        pytest.param(Target("10.0.0.2", 80, "unhealthy"), {}, True, id="no interface has it"),
        pytest.param(Target("10.0.0.2", 80, "unhealthy"), {"10.0.0.2": ""}, False, id="an interface has it"),
        pytest.param(
            Target("10.0.0.2", 80, "healthy"), {}, False, id="it is healthy: the interface is not shown to us"
        ),
        pytest.param(Target("192.168.7.7", 80, "unhealthy", availability_zone="all"), {}, False, id="outside the VPC"),
    ],
)
def test_an_address_is_useless_only_when_no_interface_has_it(
    other: Target, known: Mapping[str, str], switches: bool
) -> None:
    config = with_groups(primary_target_group_arn=PRIMARY, sorry_target_group_arn=SORRY)
    seen = Switches(plain({PRIMARY: 1, SORRY: 0}, {PRIMARY: 1, SORRY: 0}), (), "weighted", {})
    targets = {PRIMARY: (Target("10.0.0.1", 80, "healthy"), other)}
    behind, page = {"10.0.0.1": "i-1", **known}, {SORRY: (Target("alb", 443, "healthy"),)}
    decided = decide(config, Observed(NOW, seen, targets, page, behind, {"i-1": "stopping"}))
    assert (getattr(decided.change, "to", "") == "sorry") == switches


def test_instances_cost_no_call_for_addresses(shop: Shop) -> None:
    shop.minutes(2)
    asked = {call.operation for call in shop.account.calls if "Role" in call.principal}
    assert "DescribeNetworkInterfaces" not in asked


def test_replace_mode_goes_back_by_the_status_checks_of_the_instances_behind_the_addresses(
    new_shop: Callable[..., Shop],
) -> None:
    shop = new_shop(addresses=True, SwitchMode="replace", PrimaryInstanceIds="").deployed()
    shop.minutes(5)
    shop.stops()
    shop.minutes(2)
    assert (shop.weights, shop.subjects) == ([{"sorry": 1}], [ON])
    shop.comes_back()
    assert (shop.weights, shop.subjects) == ([{"primary": 1}], [ON, OFF])


def drains_for(shop: Shop, seconds: str) -> None:
    """Let targets that leave the primary group drain so long."""
    shop.account.client("elbv2").modify_target_group_attributes(
        TargetGroupArn=shop.service.primary_arn,
        Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": seconds}],
    )


def outside(shop: Shop, delay: str = "0", targets: int = 1) -> None:
    """Put addresses outside the VPC in the place of the targets, which drain for so many seconds."""
    elb, group = shop.account.client("elbv2"), shop.service.primary_arn
    held = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    drains_for(shop, delay)
    elb.deregister_targets(TargetGroupArn=group, Targets=[described["Target"] for described in held])
    far = [{"Id": f"192.168.7.{7 + number}", "AvailabilityZone": "all"} for number in range(targets)]
    elb.register_targets(TargetGroupArn=group, Targets=far)
    shop.account.lag.catch_up()


@pytest.mark.parametrize("delay", ["0", "3000"], ids=["alone", "while others drain"])
def test_replace_mode_with_addresses_outside_ec2_is_refused_at_the_first_run(
    new_shop: Callable[..., Shop], delay: str
) -> None:
    shop = new_shop(addresses=True, SwitchMode="replace", PrimaryInstanceIds="")
    outside(shop, delay)
    shop.deployed()
    shop.minutes(10)
    decided = shop.decisions(FUNCTION)[-1]
    assert decided["outcome"] == "refused"
    assert "192.168.7.7" in decided["reason"]
    assert "PrimaryInstanceIds" in decided["reason"]
    assert shop.serves == ["primary"]


@pytest.mark.parametrize(
    ("addresses", "given"),
    [(False, {"PrimaryInstanceIds": ""}), (True, {})],
    ids=["instances, not declared", "addresses, declared"],
)
def test_replace_mode_does_not_go_back_for_a_server_that_has_left_the_group(
    new_shop: Callable[..., Shop], addresses: bool, given: dict[str, str]
) -> None:
    shop = new_shop(addresses=addresses, SwitchMode="replace", **given).deployed()
    elb, group, (stays, leaves) = shop.account.client("elbv2"), shop.service.primary_arn, shop.service.instance_ids
    drains_for(shop, "900")
    shop.minutes(5)
    place = {"Id": shop.account.ec2.instance(leaves).private_ip if addresses else leaves}
    elb.deregister_targets(TargetGroupArn=group, Targets=[place])
    shop.minutes(1)
    shop.stops(stays)
    shop.minutes(15)
    assert (shop.serves, shop.subjects) == (["sorry"], [ON]), "one is stopped, and the other one is registered no more"
    shop.service.start(stays)
    shop.minutes(8)
    assert (shop.serves, shop.subjects) == (["primary"], [ON, OFF])


def test_targets_in_their_first_health_check_are_not_known_to_be_down(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(PrimaryInstanceIds="").deployed()
    elb, group = shop.account.client("elbv2"), shop.service.primary_arn
    places = [{"Id": server} for server in shop.service.instance_ids]
    shop.minutes(5)
    drains_for(shop, "0")
    shop.held(60)
    elb.deregister_targets(TargetGroupArn=group, Targets=places)
    shop.minutes(4)
    elb.register_targets(TargetGroupArn=group, Targets=places)
    shop.account.advance(6)
    shop.account.lag.catch_up()
    said = shop.switchover()
    assert said["outcome"] == "unchanged", said["reason"]
    assert "not known to be an outage: shop-nlb-outage is ALARM" in said["reason"]


def test_replace_mode_does_not_leave_a_primary_whose_health_still_shows_that_nobody_used_it(
    new_shop: Callable[..., Shop],
) -> None:
    shop = new_shop(SwitchMode="replace").deployed()
    shop.minutes(5)
    shop.stops()
    shop.minutes(2)
    shop.account.lag.exactly("elbv2", 0)
    shop.account.lag.exactly("DescribeTargetHealth", 10)
    shop.service.start()
    for _ in range(60):
        shop.minutes(0.1)
        if "primary" in shop.serves:
            break
    said = shop.switchover()
    assert "Target.NotInUse" in json.dumps(said["seen"]["primary"])
    assert said["outcome"] == "unchanged", said["reason"]
    shop.minutes(5)
    assert (shop.serves, shop.subjects) == (["primary"], [ON, OFF])


@pytest.mark.parametrize(
    ("world", "needed", "named"),
    [
        pytest.param({}, "1", "{stays}", id="the one that stays stopped is named"),
        pytest.param({}, "2", "{back},i-0123456789abcdef0", id="a replaced server is named"),
        pytest.param({"addresses": True}, "2", "{back},i-0123456789abcdef0", id="a replaced server, by addresses"),
    ],
)
def test_replace_mode_counts_registered_servers_whether_or_not_they_are_declared(
    new_shop: Callable[..., Shop], world: dict[str, Any], needed: str, named: str
) -> None:
    shop = new_shop(SwitchMode="replace", MinHealthyTargets=needed, **world)
    stays, back = shop.service.instance_ids
    shop.deployed(PrimaryInstanceIds=named.format(stays=stays, back=back))
    shop.minutes(5)
    shop.stops()
    shop.minutes(1)
    shop.service.start(*([back] if needed == "1" else []))
    shop.minutes(12)
    assert shop.serves == ["primary"]


def test_declared_servers_that_are_too_few_are_no_way_back_where_nobody_knows_the_others(
    new_shop: Callable[..., Shop],
) -> None:
    shop = new_shop(
        addresses=True, SwitchMode="replace", MinHealthyTargets="2", PrimaryInstanceIds="i-0123456789abcdef0"
    )
    outside(shop, targets=2)
    shop.deployed()
    shop.minutes(10)
    decided = shop.decisions(FUNCTION)[-1]
    assert decided["outcome"] == "refused"
    assert "192.168.7.7" in decided["reason"]


def test_replace_mode_does_not_go_back_to_a_group_that_is_empty(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(SwitchMode="replace").deployed()
    elb, group = shop.account.client("elbv2"), shop.service.primary_arn
    places = [{"Id": server} for server in shop.service.instance_ids]
    shop.minutes(5)
    shop.stops()
    shop.minutes(2)
    drains_for(shop, "0")
    elb.deregister_targets(TargetGroupArn=group, Targets=places)
    shop.service.start()
    shop.minutes(10)
    assert (shop.serves, shop.subjects) == (["sorry"], [ON])
    elb.register_targets(TargetGroupArn=group, Targets=places)
    shop.minutes(8)
    assert (shop.serves, shop.subjects) == (["primary"], [ON, OFF])


def test_a_declared_server_that_is_registered_nowhere_does_not_delay_the_switch(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop().deployed()
    elb, group, (stays, leaves) = shop.account.client("elbv2"), shop.service.primary_arn, shop.service.instance_ids
    drains_for(shop, "0")
    elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": leaves}])
    shop.minutes(5)
    assert shop.serves == ["primary"]
    shop.stops(stays)
    assert (shop.serves, shop.subjects) == (["sorry"], [ON])


def test_weights_that_aws_refuses_are_no_way_to_stay_on_the_sorry_page_for_good(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(addresses=True, PrimaryInstanceIds="")
    shop.account.elb.refuse_mixed_weighted_action = True
    shop.deployed()
    shop.stops()
    shop.minutes(1)
    assert shop.weights == [{"sorry": 1}]
    shop.comes_back()
    assert (shop.weights, shop.subjects) == ([{"primary": 1}], [ON, OFF])


def test_the_mail_of_a_switch_that_cannot_end_by_itself_says_so(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(addresses=True, SwitchMode="replace", PrimaryInstanceIds="").deployed()
    shop.service.terminate()
    shop.account.advance(45)  # their addresses are free when the alarm is in ALARM, and nobody has seen them stop
    shop.minutes(5)
    assert shop.weights == [{"sorry": 1}]
    assert "kirikae cannot take the listeners back" in shop.mails[0].body
    forced = shop.switchback({"action": "reconcile", "force": True, "reason": "checked by hand"})
    assert (forced["outcome"], shop.weights) == ("changed", [{"primary": 1}])
    why = shop.mails[-1].body.split("■ ")[2]
    assert "0 primary targets are on instances that pass their status checks (none known); forced by hand" in why
    assert "RecoveryMinutes" not in why


# Several ports of a server.


def with_two_ports(shop: Shop) -> Shop:
    """Let each server answer on two ports, behind a balancer that counts across zones, and protect the service."""
    elb, service = shop.account.client("elbv2"), shop.service
    across = [{"Key": "load_balancing.cross_zone.enabled", "Value": "true"}]
    elb.modify_load_balancer_attributes(LoadBalancerArn=service.nlb_arn, Attributes=across)
    second = [{"Id": server, "Port": 8081} for server in service.instance_ids]
    elb.register_targets(TargetGroupArn=service.primary_arn, Targets=second)
    shop.minutes(5)
    shop.deployed()
    shop.minutes(8)
    return shop


@pytest.mark.parametrize("mode", ["weighted", "replace"])
@pytest.mark.parametrize(("least", "told"), [("2", []), ("3", [ON])])
def test_two_ports_of_a_server_are_two_targets(
    new_shop: Callable[..., Shop], mode: str, least: str, told: list[str]
) -> None:
    shop = with_two_ports(new_shop(MinHealthyTargets=least, SwitchMode=mode))
    shop.stops(shop.service.instance_ids[0])
    shop.minutes(15)
    assert shop.subjects == told
    if told:
        shop.service.start(shop.service.instance_ids[0])
        shop.minutes(8)
        assert shop.subjects == [ON, OFF]


def test_more_targets_than_servers_may_be_needed(new_shop: Callable[..., Shop]) -> None:
    shop = with_two_ports(new_shop(MinHealthyTargets="3"))
    shop.service.break_application()
    shop.minutes(10)
    assert (shop.serves, shop.subjects) == (["sorry"], [ON])


# Many servers.


def with_many(shop: Shop, more: int, *, addresses: bool = False) -> Shop:
    """Let so many more servers answer, and protect the service; the fixture's two are declared nowhere."""
    account, service = shop.account, shop.service
    account.lag.off()  # what lags is read before each change of each of the hundreds: minutes of real time a story
    ec2 = account.client("ec2")
    [held] = ec2.describe_instances(InstanceIds=service.instance_ids[:1])["Reservations"]
    image, subnet = held["Instances"][0]["ImageId"], service.subnet_ids[0]
    made = ec2.run_instances(ImageId=image, MinCount=more, MaxCount=more, InstanceType="t3.micro", SubnetId=subnet)
    account.advance(30)
    shop.service = replace(
        service, instance_ids=service.instance_ids + tuple(one["InstanceId"] for one in made["Instances"])
    )
    targets = [{"Id": one["PrivateIpAddress" if addresses else "InstanceId"]} for one in made["Instances"]]
    account.client("elbv2").register_targets(TargetGroupArn=service.primary_arn, Targets=targets)
    shop.minutes(3)
    shop.deployed(PrimaryInstanceIds="")
    shop.minutes(3)
    return shop


@pytest.mark.parametrize("addresses", [False, True], ids=["instances", "addresses"])
def test_a_group_of_more_than_200_servers_goes_to_the_sorry_page_and_comes_back(
    new_shop: Callable[..., Shop], addresses: bool
) -> None:
    shop = with_many(new_shop(addresses=addresses), 210, addresses=addresses)
    assert shop.weights == [{"primary": 1, "sorry": 0}]
    shop.service.break_application()
    shop.minutes(5)
    assert (shop.serves, shop.subjects) == (["sorry"], [ON])
    shop.service.mend_application()
    shop.minutes(8)
    assert (shop.serves, shop.subjects) == (["primary"], [ON, OFF])
    assert {run.invocation.error for function in (FUNCTION, BACK) for run in shop.runs(function)} == {None}


def test_replace_mode_with_more_than_100_servers_comes_back(new_shop: Callable[..., Shop]) -> None:
    shop = with_many(new_shop(SwitchMode="replace"), 110)
    shop.account.events.arrivals = lambda _event: ()  # hundreds of state events; alarms and ticks see it, too
    shop.stops()
    shop.minutes(4)
    assert (shop.serves, shop.subjects) == (["sorry"], [ON])
    shop.comes_back()
    assert (shop.serves, shop.subjects) == (["primary"], [ON, OFF])
    assert {run.invocation.error for run in shop.runs(BACK)} == {None}


# Zones, and targets that are on their way out.


def test_a_target_in_a_zone_that_is_not_enabled_is_not_up(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop().deployed()
    first, second = shop.service.instance_ids
    shop.account.client("elbv2").set_subnets(LoadBalancerArn=shop.service.nlb_arn, Subnets=shop.service.subnet_ids[:1])
    shop.minutes(5)
    shop.stops(first)
    assert (shop.serves, shop.subjects) == (["sorry"], [ON])
    assert first in shop.mails[0].body.split("■ ")[2]
    assert shop.account.ec2.state(second) == "running"


@pytest.mark.parametrize(
    ("addresses", "given"),
    [(False, {"PrimaryInstanceIds": ""}), (True, {})],
    ids=["instances, not declared", "addresses, declared"],
)
def test_replace_mode_does_not_go_back_for_a_server_in_a_zone_that_is_not_enabled(
    new_shop: Callable[..., Shop], addresses: bool, given: dict[str, str]
) -> None:
    shop = new_shop(SwitchMode="replace", addresses=addresses, **given).deployed()
    first, second = shop.service.instance_ids
    shop.account.client("elbv2").set_subnets(LoadBalancerArn=shop.service.nlb_arn, Subnets=shop.service.subnet_ids[:1])
    shop.minutes(5)
    shop.stops(first)
    shop.minutes(15)
    assert (shop.serves, shop.subjects) == (["sorry"], [ON])
    assert f"{second} ok/ok/not-applicable, in a zone that is not enabled" in shop.decisions(BACK)[-1]["reason"]
    shop.service.start(first)
    shop.minutes(8)
    assert (shop.serves, shop.subjects) == (["primary"], [ON, OFF])


def test_a_target_that_traffic_is_shifted_from_is_not_up(shop: Shop) -> None:
    first, _ = shop.service.instance_ids
    shop.account.targets.shifted_zones.add("ap-northeast-1c")
    shop.minutes(2)
    assert shop.serves == ["primary"]
    shop.stops(first)
    shop.minutes(1)  # EC2 may show the stop later than its event tells it
    assert shop.serves == ["sorry"]


def test_a_target_that_drains_is_not_up(shop: Shop) -> None:
    first, second = shop.service.instance_ids
    shop.account.client("elbv2").deregister_targets(TargetGroupArn=shop.service.primary_arn, Targets=[{"Id": second}])
    shop.minutes(2)
    assert shop.serves == ["primary"]
    shop.stops(first)
    shop.minutes(1)  # EC2 may show the stop later than its event tells it
    assert shop.serves == ["sorry"]


def test_healthy_targets_that_traffic_is_shifted_from_do_not_bring_the_listeners_back(shop: Shop) -> None:
    shop.stops()
    shop.account.targets.shifted_zones.update(["ap-northeast-1a", "ap-northeast-1c"])
    shop.comes_back()
    assert shop.serves == ["sorry"]
    assert "zonal_shift_active" in shop.decisions(BACK)[-1]["reason"]


@pytest.mark.parametrize(
    ("mode", "description", "switches"),
    [
        pytest.param("weighted", "", True, id="in weighted mode the group is always in use"),
        pytest.param("replace", "", False, id="in replace mode the group may have been put back just now"),
        pytest.param("replace", "Target is in an Availability Zone that is not enabled", True, id="the zone is named"),
    ],
)
def test_not_in_use_is_no_capacity_only_where_it_can_mean_the_zone(mode: str, description: str, switches: bool) -> None:
    config = with_groups(primary_target_group_arn=PRIMARY, sorry_target_group_arn=SORRY)
    stopped = Target("i-1", 80, "unused", "Target.InvalidState")
    other = Target("i-2", 80, "unused", "Target.NotInUse", description=description)
    weights = {PRIMARY: 1} if mode == "replace" else {PRIMARY: 1, SORRY: 0}
    seen = Switches(plain(weights, weights), (), mode, {})
    page = {SORRY: (Target("alb", 443, "healthy"),)}
    decided = decide(config, Observed(NOW, seen, {PRIMARY: (stopped, other)}, page))
    assert (getattr(decided.change, "to", "") == "sorry") == switches
