"""What both directions of the NLB switch do to listeners: every one is tried, read back, and named when it fails."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError
from conftest import Shop

from kirikae import elb
from kirikae.errors import InputError, UnfinishedError
from kirikae.nlb import look, switch
from kirikae.nlb.look import due
from kirikae.nlb.parameters import gone, hands_off
from kirikae.nlb.world import Adopt, Config, Switch, Switches
from sandbox.account import Account
from sandbox.estates import nlb as estate
from sandbox.estates import parts
from sandbox.estates.nlb import NlbService

GONE = ("listener/net/gone/50dc6c495c0c9188/0467ef3c8400ae65", "targetgroup/gone/73e2d6bc24d8a067")


@pytest.fixture
def service(ours: Account) -> NlbService:
    """Return a service with two listeners that our clients reach."""
    return estate.nlb_service(ours, ports=(443, 8443))


@pytest.fixture
def config(service: NlbService) -> Config:
    """Return what a function is told of it."""
    return Config(
        service_name="shop",
        topic_arn="arn:aws:sns:ap-northeast-1:123456789012:shop",
        hold_parameter="/shop/hold",
        told_parameter="/told/it",
        nlb_listener_arns=service.listener_arns,
        primary_target_group_arn=service.primary_arn,
        sorry_target_group_arn=service.sorry_arn,
    )


def looked(config: Config) -> Switches:
    """Return what a run sees, or raise what it could not read."""
    missed: list[Exception] = []
    seen = look.look(config, missed)
    for error in missed:
        raise error
    return seen


def to_sorry(service: NlbService) -> Switch:
    """Return the change that brings every listener to the sorry page."""
    return Switch("sorry", service.listener_arns)


def writes(account: Account) -> list[str]:
    """Return the listeners that were written, refused writes too."""
    return [call.params["ListenerArn"] for call in account.calls if call.operation == "ModifyListener"]


def tagged(service: NlbService) -> list[bool]:
    """Tell which listeners remember that AWS refused."""
    return [tags.get(look.REFUSED_TAG) == "refused" for tags in elb.tags(service.listener_arns).values()]


@pytest.mark.parametrize("mode", ["weighted", "replace"])
def test_a_switch_keeps_both_groups_attached_or_one_as_the_mode_says(
    ours: Account, service: NlbService, config: Config, mode: str
) -> None:
    config = replace(config, switch_mode=mode)
    assert switch.make(config, looked(config), to_sorry(service)).mode == mode
    kept = {service.primary_arn: 0} if mode == "weighted" else {}
    assert set(service.weights()) == set(service.listener_arns)
    for weights in service.weights().values():
        assert weights == {service.sorry_arn: 1} | kept
    assert writes(ours) == list(service.listener_arns)
    assert due(config, looked(config), "sorry") == ()
    assert due(config, looked(config), "primary") == service.listener_arns


def test_an_adoption_leaves_each_listener_on_its_side(service: NlbService, config: Config) -> None:
    first, second = service.listener_arns
    service.forward({service.sorry_arn: 1}, second)
    seen = looked(config)
    change = switch.adoption(config, seen)
    assert change == Adopt({first: "primary", second: "sorry"})
    switch.make(config, seen, change)
    assert service.serving() == {first: service.primary_arn, second: service.sorry_arn}
    assert [len(weights) for weights in service.weights().values()] == [2, 2]
    assert switch.adoption(config, looked(config)) is None


def reset(service: NlbService) -> None:
    """Bring the listeners back to where they were first."""
    for arn in service.listener_arns:
        service.forward({service.primary_arn: 1}, arn)
        service.account.client("elbv2").remove_tags(ResourceArns=[arn], TagKeys=[look.REFUSED_TAG])
    service.account.faults.clear()
    service.account.calls.clear()


def test_a_weighted_action_that_aws_refuses_becomes_replace_mode_on_all_listeners_and_is_remembered(
    ours: Account, service: NlbService, config: Config
) -> None:
    # The first ten are in the service model of ModifyListener; which code AWS has for this is proven by nobody.
    for code in (
        "IncompatibleProtocols",
        "InvalidConfigurationRequest",
        "InvalidLoadBalancerAction",
        "TargetGroupAssociationLimit",
        "TooManyActions",
        "TooManyListeners",
        "TooManyRegistrationsForTargetId",
        "TooManyTargets",
        "TooManyUniqueTargetGroupsPerLoadBalancer",
        "UnsupportedProtocol",
        "OperationNotPermitted",
        "ValidationError",
        "SomethingNew",
    ):
        reset(service)
        ours.faults.add("elbv2", "ModifyListener", code, status=400, times=1)
        assert switch.make(config, looked(config), to_sorry(service)).mode == "replace", code
        assert list(service.weights().values()) == [{service.sorry_arn: 1}] * 2, code
        assert tagged(service) == [True, True], code
        assert looked(config).mode == "replace", code


def test_any_other_refusal_is_named_and_the_other_listener_is_switched(
    ours: Account, service: NlbService, config: Config
) -> None:
    first, second = service.listener_arns
    for code, status in {
        "TargetGroupNotFound": 400,
        "AccessDenied": 403,
        "ExpiredToken": 403,
        "OptInRequired": 403,
        "UnauthorizedOperation": 400,
        "Throttling": 400,
        "RequestLimitExceeded": 400,
        "RequestExpired": 400,
        "InternalFailure": 500,
    }.items():
        ours.faults.clear()
        reset(service)
        ours.faults.add(
            "elbv2", "ModifyListener", code, status=status, when=lambda asked: asked["ListenerArn"] == first
        )
        with pytest.raises(UnfinishedError, match=rf"1 of 2 listeners .*{first}: .*{code}"):
            switch.make(config, looked(config), to_sorry(service))
        assert [*dict.fromkeys(writes(ours))] == [first, second], code
        assert service.serving() == {first: service.primary_arn, second: service.sorry_arn}, code
        assert tagged(service) == [False, False], code


def test_in_replace_mode_a_refusal_is_a_refusal(ours: Account, service: NlbService, config: Config) -> None:
    config = replace(config, switch_mode="replace")
    ours.faults.add("elbv2", "ModifyListener", "InvalidLoadBalancerAction")
    with pytest.raises(UnfinishedError, match="2 of 2 listeners"):
        switch.make(config, looked(config), to_sorry(service))
    assert writes(ours) == list(service.listener_arns)


def test_a_listener_that_nobody_answers_for_does_not_keep_the_other_from_its_switch(
    ours: Account, service: NlbService, config: Config
) -> None:
    first, second = service.listener_arns
    ours.faults.add(
        "elbv2", "ModifyListener", "ServiceUnavailable", status=503, when=lambda p: p["ListenerArn"] == first
    )
    with pytest.raises(UnfinishedError, match=first):
        switch.make(config, looked(config), to_sorry(service))
    assert service.serving()[second] == service.sorry_arn


def test_what_reads_back_otherwise_is_named_although_no_call_failed(
    ours: Account, service: NlbService, config: Config
) -> None:
    first, second = service.listener_arns
    seen = looked(config)
    ours.before(
        "elbv2", "DescribeListeners", lambda: service.forward({service.sorry_arn: 1, service.primary_arn: 1}, second)
    )
    with pytest.raises(UnfinishedError, match=rf"1 of 2 listeners .*{second}: reads back as") as caught:
        switch.make(config, seen, to_sorry(service))
    assert first not in str(caught.value)


def test_an_answer_that_is_lost_after_the_write_is_a_write(ours: Account, service: NlbService, config: Config) -> None:
    ours.faults.add("elbv2", "ModifyListener", "", after=True)
    assert switch.make(config, looked(config), to_sorry(service)).mode == "weighted"
    assert set(service.serving().values()) == {service.sorry_arn}


def test_tags_are_not_asked_where_the_mode_cannot_depend_on_them(
    ours: Account, service: NlbService, config: Config
) -> None:
    assert looked(replace(config, switch_mode="replace")).mode == "replace"
    switch.make(config, looked(config), to_sorry(service))
    ours.calls.clear()
    assert looked(config).mode == "weighted"
    assert {call.operation for call in ours.calls} == {"DescribeListeners", "DescribeRules"}


def test_a_group_of_another_load_balancer_is_seen_and_named(ours: Account, service: NlbService, config: Config) -> None:
    client = ours.client("elbv2")
    made = client.create_load_balancer(Name="other", Type="network", Subnets=list(service.subnet_ids))
    other = made["LoadBalancers"][0]["LoadBalancerArn"]
    action = {"Type": "forward", "TargetGroupArn": service.sorry_arn}
    client.create_listener(LoadBalancerArn=other, Protocol="TCP", Port=9443, DefaultActions=[action])
    seen = looked(config)
    assert (dict(seen.elsewhere), seen.ruled) == ({service.sorry_arn: other}, ())
    reason = hands_off(config, seen)
    assert reason is not None
    assert "SorryTargetGroupArn" in reason.en
    assert other in reason.en


def test_a_listener_with_rules_is_seen_and_named(ours: Account, service: NlbService, config: Config) -> None:
    second = service.listener_arns[1]
    ours.client("elbv2").create_rule(
        ListenerArn=second,
        Priority=5,
        Conditions=[{"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}}],
        Actions=[{"Type": "forward", "TargetGroupArn": service.primary_arn}],
    )
    seen = looked(config)
    assert seen.ruled == (second,)
    reason = hands_off(config, seen)
    assert reason is not None
    assert second in reason.en


def test_one_group_for_both_sides_is_refused(config: Config) -> None:
    config = replace(config, sorry_target_group_arn=config.primary_target_group_arn)
    reason = hands_off(config, looked(config))
    assert reason is not None
    assert "the same target group" in reason.en


def test_what_is_gone_is_named_by_its_parameter(config: Config) -> None:
    listener, group = (f"arn:aws:elasticloadbalancing:ap-northeast-1:123456789012:{kind}" for kind in GONE)
    with pytest.raises(InputError, match=f"^NlbListenerArns is '{listener}'"):
        looked(replace(config, nlb_listener_arns=(listener,)))
    with pytest.raises(InputError, match=f"SorryTargetGroupArn.*{group}"):
        looked(replace(config, sorry_target_group_arn=group))


def test_a_listener_that_is_gone_is_left_out_and_named(ours: Account, service: NlbService, config: Config) -> None:
    first, second = service.listener_arns
    ours.client("elbv2").delete_listener(ListenerArn=second)
    seen = looked(config)
    assert ([each.arn for each in seen.listeners], seen.gone) == ([first], (second,))
    ours.elb.refuse_mixed_weighted_action = True
    assert switch.make(config, seen, Switch("sorry", (first,))).mode == "replace"
    assert elb.tags([first])[first][look.REFUSED_TAG] == "refused"
    lost = gone(seen)
    assert lost is not None
    assert f"NlbListenerArns: {second} does not exist" in lost.en


def test_listeners_that_are_all_gone_are_an_input_error(ours: Account, service: NlbService, config: Config) -> None:
    for arn in service.listener_arns:
        ours.client("elbv2").delete_listener(ListenerArn=arn)
    with pytest.raises(InputError, match=r"^NlbListenerArns is "):
        looked(config)


def test_a_read_that_is_not_permitted_is_no_input_error(ours: Account, config: Config) -> None:
    ours.faults.add("elbv2", "DescribeListeners", "AccessDenied", status=403)
    with pytest.raises(ClientError, match="AccessDenied"):
        looked(config)


def _udp(shop: Shop) -> dict[str, str]:
    """Make a listener of UDP, whose sorry group has an ALB."""
    vpc, arns = shop.service.vpc_id, []
    for name in ("udp-primary", "udp-other"):
        checks = {"Protocol": "UDP", "HealthCheckProtocol": "TCP"}
        arns.append(parts.target_group(shop.account, name, vpc, Port=53, TargetType="instance", **checks))
    made = parts.listener(shop.account, shop.service.nlb_arn, "UDP", 53, parts.forward(arns[0]))
    return {"NlbListenerArns": made, "PrimaryTargetGroupArns": arns[0], "PrimaryInstanceIds": ""}


def _taken(shop: Shop, group: str) -> None:
    """Let another load balancer use a group."""
    other = parts.load_balancer(shop.account, "other-nlb", "network", shop.service.subnet_ids)
    parts.listener(shop.account, other, "TCP", 8443, parts.forward(group))


def _sorry_taken(shop: Shop) -> dict[str, str]:
    _taken(shop, shop.service.sorry_arn)
    return {}


def _primary_taken(shop: Shop) -> dict[str, str]:
    shop.service.forward({shop.service.sorry_arn: 1})
    _taken(shop, shop.service.primary_arn)
    return {}


@pytest.mark.parametrize(("prepare", "words"), [
    (_udp, "has an ALB as its target, to which only a TCP listener can forward"),
    (_sorry_taken, "SorryTargetGroupArns: {sorry} is used by another load balancer"),
    (_primary_taken, "PrimaryTargetGroupArns: {primary} is used by another load balancer"),
])  # fmt: skip
def test_what_cannot_be_switched_is_refused_by_its_name(
    prepare: Callable[[Shop], dict[str, str]], words: str, new_shop: Callable[..., Shop]
) -> None:
    shop = new_shop()
    shop.deployed(**prepare(shop))
    before = shop.service.weights()
    shop.minutes(2)
    said = words.format(sorry=shop.service.sorry_arn, primary=shop.service.primary_arn)
    for function in ("NlbSorrySwitchoverFunction", "NlbSwitchbackFunction"):
        assert {(d["outcome"], said in d["reason"]) for d in shop.decisions(function)} == {("refused", True)}
    assert (shop.service.weights(), shop.writes()) == (before, [])
