"""Where the sandbox's load balancers do as AWS's do and moto does not. A5, H1: numbers of the facts behind them."""

import botocore.exceptions
import pytest
from sandbox_tools import error_of

from sandbox import iam
from sandbox.account import Account
from sandbox.estates.nlb import nlb_service
from sandbox.services.elb_routing import Visit, normalised

OTHER_ZONE = "Target is in an Availability Zone that is not enabled for the load balancer"
NOT_IN_USE = "Target group is not configured to receive traffic from the load balancer"


@pytest.fixture
def service(account):
    return nlb_service(account)


@pytest.fixture
def alb_listener(service, elb):
    """The HTTPS listener of the sorry ALB."""
    return elb.describe_listeners(LoadBalancerArn=service.alb_arn)["Listeners"][0]["ListenerArn"]


def forward(*groups):
    listed = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in groups]
    return [{"Type": "forward", "ForwardConfig": {"TargetGroups": listed}}]


def group(elb, vpc_id, name, **settings):
    settings = {"Protocol": "TCP", "Port": 80, "VpcId": vpc_id} | settings
    settings = {key: value for key, value in settings.items() if value is not None}
    return elb.create_target_group(Name=name, **settings)["TargetGroups"][0]["TargetGroupArn"]


def health(elb, group_arn, **params):
    """Return (state, reason) of all targets of a group."""
    found = elb.describe_target_health(TargetGroupArn=group_arn, **params)["TargetHealthDescriptions"]
    return [(item["TargetHealth"]["State"], item["TargetHealth"].get("Reason")) for item in found]


# ARNs and actions.


def test_arns_of_a_network_load_balancer_have_net(service, elb):  # L1
    assert ":loadbalancer/net/service-nlb/" in service.nlb_arn
    assert ":listener/net/service-nlb/" in service.listener_arn
    assert service.listener_arn.startswith(service.nlb_arn.replace(":loadbalancer/", ":listener/"))
    (rule,) = elb.describe_rules(ListenerArn=service.listener_arn)["Rules"]
    assert rule["RuleArn"].startswith(service.listener_arn.replace(":listener/", ":listener-rule/"))
    (balancer,) = elb.describe_load_balancers(LoadBalancerArns=[service.nlb_arn])["LoadBalancers"]
    assert balancer["DNSName"].endswith(".elb.ap-northeast-1.amazonaws.com")


def test_a_plain_forward_shows_both_forms(service, elb):  # A2
    (action,) = elb.describe_listeners(ListenerArns=[service.listener_arn])["Listeners"][0]["DefaultActions"]
    assert action["Type"] == "forward"
    assert action["TargetGroupArn"] == service.primary_arn
    assert action["ForwardConfig"]["TargetGroups"] == [{"TargetGroupArn": service.primary_arn, "Weight": 1}]


def test_a_weighted_forward_shows_the_weights_only(service, elb):  # A2, A3
    groups = forward((service.primary_arn, 0), (service.sorry_arn, 1))
    answer = elb.modify_listener(ListenerArn=service.listener_arn, DefaultActions=groups)["Listeners"][0]
    (action,) = elb.describe_listeners(ListenerArns=[service.listener_arn])["Listeners"][0]["DefaultActions"]
    assert answer["DefaultActions"] == [action]
    assert "TargetGroupArn" not in action
    assert action["ForwardConfig"]["TargetGroups"] == groups[0]["ForwardConfig"]["TargetGroups"]


def test_a_target_group_knows_its_load_balancers(service, elb):
    def balancers(arn):
        return elb.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"][0]["LoadBalancerArns"]

    assert (balancers(service.primary_arn), balancers(service.sorry_arn)) == ([service.nlb_arn], [])
    service.forward({service.sorry_arn: 1})
    assert (balancers(service.primary_arn), balancers(service.sorry_arn)) == ([], [service.nlb_arn])


# Refused actions.


@pytest.mark.parametrize("weight", [-1, 1000])
def test_weights_are_0_to_999(service, elb, weight):  # A3
    actions = forward((service.primary_arn, weight), (service.sorry_arn, 1))
    assert error_of(elb.modify_listener, ListenerArn=service.listener_arn, DefaultActions=actions) == "ValidationError"
    assert service.weights() == {service.listener_arn: {service.primary_arn: 1}}


def test_several_groups_need_weights(service, elb):  # A3
    actions = forward((service.primary_arn, 1), (service.sorry_arn, 0))
    del actions[0]["ForwardConfig"]["TargetGroups"][1]["Weight"]
    assert error_of(elb.modify_listener, ListenerArn=service.listener_arn, DefaultActions=actions) == "ValidationError"


def test_two_forms_must_name_the_same_group(service, elb):  # A2
    actions = forward((service.primary_arn, 1))
    actions[0]["TargetGroupArn"] = service.sorry_arn
    call = error_of(elb.modify_listener, ListenerArn=service.listener_arn, DefaultActions=actions)
    assert call == "InvalidLoadBalancerAction"
    actions[0]["TargetGroupArn"] = service.primary_arn
    assert elb.modify_listener(ListenerArn=service.listener_arn, DefaultActions=actions)["Listeners"]


def test_unknown_things(service, elb):
    missing = service.primary_arn[:-4] + "0000"
    actions = forward((missing, 1))
    modify = elb.modify_listener
    assert error_of(modify, ListenerArn=service.listener_arn, DefaultActions=actions) == "TargetGroupNotFound"
    assert error_of(modify, ListenerArn=service.listener_arn + "0", DefaultActions=actions) == "ListenerNotFound"
    several = [service.listener_arn, service.listener_arn + "0"]
    assert error_of(elb.describe_listeners, ListenerArns=several) == "ListenerNotFound"  # Q10


def test_an_nlb_listener_only_forwards(service, elb):
    fixed = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}}]
    call = error_of(elb.modify_listener, ListenerArn=service.listener_arn, DefaultActions=fixed)
    assert call == "InvalidLoadBalancerAction"


def test_protocols_must_fit(service, elb):
    http = group(elb, service.vpc_id, "http", Protocol="HTTP")
    call = error_of(elb.modify_listener, ListenerArn=service.listener_arn, DefaultActions=forward((http, 1)))
    assert call == "IncompatibleProtocols"


def test_only_tcp_listeners_forward_to_an_alb(account, service, elb):  # C3
    def create(**settings):
        return error_of(
            elb.create_listener,
            LoadBalancerArn=service.nlb_arn,
            Port=8443,
            DefaultActions=forward((service.sorry_arn, 1)),
            **settings,
        )

    certificate = [{"CertificateArn": next(iter(account.elb.certificates))}]
    assert create(Protocol="TLS", Certificates=certificate) == "IncompatibleProtocols"
    assert create(Protocol="TCP_UDP") == "IncompatibleProtocols"


def test_groups_of_a_tls_listener_have_one_protocol(account, service, elb):  # A4
    tls = group(elb, service.vpc_id, "tls", Protocol="TLS", Port=443)
    call = error_of(
        elb.create_listener,
        LoadBalancerArn=service.nlb_arn,
        Port=8443,
        Protocol="TLS",
        Certificates=[{"CertificateArn": next(iter(account.elb.certificates))}],
        DefaultActions=forward((service.primary_arn, 1), (tls, 0)),
    )
    assert call == "IncompatibleProtocols"


def test_a_sticky_group_needs_a_sticky_action(service, elb):  # A4
    sticky = [{"Key": "stickiness.enabled", "Value": "true"}]
    elb.modify_target_group_attributes(TargetGroupArn=service.primary_arn, Attributes=sticky)
    actions = forward((service.primary_arn, 1), (service.sorry_arn, 0))
    call = error_of(elb.modify_listener, ListenerArn=service.listener_arn, DefaultActions=actions)
    assert call == "InvalidLoadBalancerAction"
    actions[0]["ForwardConfig"]["TargetGroupStickinessConfig"] = {"Enabled": True}
    assert elb.modify_listener(ListenerArn=service.listener_arn, DefaultActions=actions)["Listeners"]


def test_an_action_shows_its_stickiness_and_keeps_it_only_if_it_is_repeated(service, elb):  # Q2
    def shown():
        (action,) = elb.describe_listeners(ListenerArns=[service.listener_arn])["Listeners"][0]["DefaultActions"]
        return action["ForwardConfig"]["TargetGroupStickinessConfig"]

    assert shown() == {"Enabled": False}
    (action,) = forward((service.primary_arn, 1))
    action["ForwardConfig"]["TargetGroupStickinessConfig"] = {"Enabled": True}
    elb.modify_listener(ListenerArn=service.listener_arn, DefaultActions=[action])
    assert shown() == {"Enabled": True}
    elb.modify_listener(ListenerArn=service.listener_arn, DefaultActions=forward((service.primary_arn, 1)))
    assert shown() == {"Enabled": False}
    action["ForwardConfig"]["TargetGroupStickinessConfig"] = {"Enabled": True, "DurationSeconds": 60}
    code = error_of(elb.modify_listener, ListenerArn=service.listener_arn, DefaultActions=[action])
    assert code == "InvalidConfigurationRequest"


def test_an_action_of_a_tls_listener_is_not_sticky(account, service, elb):  # Q3
    arn = group(elb, service.vpc_id, "tls", Protocol="TLS", Port=443)
    certificate = [{"CertificateArn": next(iter(account.elb.certificates))}]
    (action,) = forward((arn, 1))
    action["ForwardConfig"]["TargetGroupStickinessConfig"] = {"Enabled": True}
    made = {"LoadBalancerArn": service.nlb_arn, "Protocol": "TLS", "Port": 8443, "Certificates": certificate}
    assert error_of(elb.create_listener, **made, DefaultActions=[action]) == "InvalidLoadBalancerAction"


def test_reads_of_listeners_can_lag(account, service, elb):  # Q8
    def read():
        (action,) = elb.describe_listeners(ListenerArns=[service.listener_arn])["Listeners"][0]["DefaultActions"]
        return action["ForwardConfig"]["TargetGroups"][0]["TargetGroupArn"]

    account.elb.late_reads = 2
    service.forward({service.sorry_arn: 1})
    assert [read(), read(), read()] == [service.primary_arn, service.primary_arn, service.sorry_arn]


def test_an_application_can_hang_on_one_port(account, service):
    first, second = service.instance_ids
    account.targets.broken_ports.add((first, 80))
    account.advance(30)
    assert account.targets.health(service.primary_arn) == {first: "unhealthy", second: "healthy"}


def test_a_group_of_another_vpc_is_refused(account, service, elb):
    elsewhere = account.client("ec2").create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    foreign = group(elb, elsewhere, "foreign")
    call = error_of(elb.modify_listener, ListenerArn=service.listener_arn, DefaultActions=forward((foreign, 1)))
    assert call == "InvalidConfigurationRequest"


def test_a_group_belongs_to_one_load_balancer(service, elb):  # A7
    second = elb.create_load_balancer(Name="second", Type="network", Subnets=list(service.subnet_ids))
    wanted = {"Protocol": "TCP", "Port": 443, "DefaultActions": forward((service.primary_arn, 1))}
    second_arn = second["LoadBalancers"][0]["LoadBalancerArn"]
    assert error_of(elb.create_listener, LoadBalancerArn=second_arn, **wanted) == "TargetGroupAssociationLimit"
    wanted["Port"] = 8443
    assert elb.create_listener(LoadBalancerArn=service.nlb_arn, **wanted)["Listeners"]


def test_one_listener_per_port(service, elb):
    wanted = {
        "LoadBalancerArn": service.nlb_arn,
        "Protocol": "TCP",
        "DefaultActions": forward((service.primary_arn, 1)),
    }
    assert error_of(elb.create_listener, Port=443, **wanted) == "DuplicateListener"


def test_an_https_listener_needs_a_certificate_that_exists(service, elb):
    wanted = {
        "LoadBalancerArn": service.alb_arn,
        "Protocol": "HTTPS",
        "Port": 8443,
        "DefaultActions": [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}}],
    }
    unknown = [{"CertificateArn": "arn:aws:acm:ap-northeast-1:123456789012:certificate/none"}]
    assert error_of(elb.create_listener, **wanted) == "ValidationError"
    assert error_of(elb.create_listener, Certificates=unknown, **wanted) == "CertificateNotFound"


def test_a_mixed_weighted_action_can_be_refused(account, service, elb):  # A5
    account.elb.refuse_mixed_weighted_action = True
    mixed = forward((service.primary_arn, 1), (service.sorry_arn, 0))
    call = error_of(elb.modify_listener, ListenerArn=service.listener_arn, DefaultActions=mixed)
    assert call == "InvalidLoadBalancerAction"
    service.forward({service.sorry_arn: 1})
    assert service.serving() == {service.listener_arn: service.sorry_arn}


# Target groups and targets.


@pytest.mark.parametrize(
    "settings",
    [
        {"TargetType": "alb", "Protocol": "HTTP"},  # C1
        {"TargetType": "alb", "HealthCheckProtocol": "TCP"},  # C2
        {"TargetType": "instance", "HealthCheckEnabled": False},  # D2
    ],
)
def test_impossible_target_groups(service, elb, settings):
    settings = {"Name": "no", "Protocol": "TCP", "Port": 80, "VpcId": service.vpc_id} | settings
    assert error_of(elb.create_target_group, **settings) == "ValidationError"


def test_attribute_keys_are_checked(service, elb):  # D1
    wrong = [{"Key": "healthcheck.enabled", "Value": "false"}]
    modify = elb.modify_target_group_attributes
    assert error_of(modify, TargetGroupArn=service.primary_arn, Attributes=wrong) == "ValidationError"
    right = [{"Key": "deregistration_delay.timeout_seconds", "Value": "30"}]
    assert modify(TargetGroupArn=service.primary_arn, Attributes=right)["Attributes"]
    call = error_of(modify, TargetGroupArn=service.sorry_arn, Attributes=right)
    assert call == "InvalidConfigurationRequest"  # C5


def test_instances_must_exist_and_run_to_be_registered(service, elb):  # G11
    first = service.instance_ids[0]

    def register(target):
        return error_of(elb.register_targets, TargetGroupArn=service.primary_arn, Targets=[{"Id": target}])

    assert register("i-0123456789abcdef0") == "InvalidTarget"
    service.stop(first)
    assert register(first) == "InvalidTarget"


def test_an_alb_target_needs_a_listener_on_its_port(service, elb):  # C1, C7
    def register(target, arn, **port):
        return error_of(elb.register_targets, TargetGroupArn=arn, Targets=[{"Id": target, **port}])

    no_listener = group(elb, service.vpc_id, "port-80", TargetType="alb")
    assert register(service.alb_arn, no_listener) == "InvalidTarget"
    assert register(service.nlb_arn, service.sorry_arn) == "InvalidTarget"
    assert register(service.alb_arn, service.sorry_arn, Port=80) == "InvalidTarget"


def test_a_registered_alb_cannot_be_deleted(service, elb):  # C5
    assert error_of(elb.delete_load_balancer, LoadBalancerArn=service.alb_arn) == "ResourceInUse"


def test_a_deleted_group_lets_its_targets_go(account, service, elb):
    elb.delete_target_group(TargetGroupArn=service.sorry_arn)
    elb.delete_load_balancer(LoadBalancerArn=service.alb_arn)
    service.terminate()
    account.advance(600)
    assert service.health() == {}


def test_deregistering_an_absent_target_is_accepted(service, elb):  # G11
    elb.deregister_targets(TargetGroupArn=service.primary_arn, Targets=[{"Id": "i-0123456789abcdef0"}])
    assert health(elb, service.primary_arn) == [("healthy", None)] * 2


def test_a_port_override_must_be_named_to_deregister(service, elb):  # G11
    first = service.instance_ids[0]
    elb.register_targets(TargetGroupArn=service.primary_arn, Targets=[{"Id": first, "Port": 8080}])
    elb.deregister_targets(TargetGroupArn=service.primary_arn, Targets=[{"Id": first}])
    states = elb.describe_target_health(TargetGroupArn=service.primary_arn)["TargetHealthDescriptions"]
    assert {(state["Target"]["Id"], state["Target"]["Port"], state["TargetHealth"]["State"]) for state in states} == {
        (first, 80, "draining"),
        (first, 8080, "initial"),
        (service.instance_ids[1], 80, "healthy"),
    }


# Target health.


def test_initial_until_the_first_check_passes(account, service, elb):  # B2
    first = service.instance_ids[0]
    elb.modify_target_group(TargetGroupArn=service.primary_arn, HealthyThresholdCount=10)
    elb.register_targets(TargetGroupArn=service.primary_arn, Targets=[{"Id": first, "Port": 8080}])
    asked = {"Targets": [{"Id": first, "Port": 8080}]}
    assert health(elb, service.primary_arn, **asked) == [("initial", "Elb.RegistrationInProgress")]
    account.advance(9)
    assert health(elb, service.primary_arn, **asked) == [("initial", "Elb.RegistrationInProgress")]
    account.advance(1)
    assert health(elb, service.primary_arn, **asked) == [("healthy", None)]


def test_unhealthy_after_the_threshold_and_healthy_after_the_other(account, service, elb):
    elb.modify_target_group(
        TargetGroupArn=service.primary_arn,
        HealthCheckIntervalSeconds=10,
        UnhealthyThresholdCount=3,
        HealthyThresholdCount=4,
    )
    service.break_application()
    account.advance(29)
    assert health(elb, service.primary_arn)[0] == ("healthy", None)
    account.advance(10)
    assert health(elb, service.primary_arn)[0] == ("unhealthy", "Target.FailedHealthChecks")
    service.mend_application()
    account.advance(29)
    assert health(elb, service.primary_arn)[0] == ("unhealthy", "Target.FailedHealthChecks")
    account.advance(11)
    assert health(elb, service.primary_arn)[0] == ("healthy", None)


def test_one_failed_check_in_between_starts_the_count_again(account, service, elb):
    service.break_application()
    account.advance(10)
    service.mend_application()
    account.advance(10)
    service.break_application()
    account.advance(10)
    assert health(elb, service.primary_arn) == [("healthy", None)] * 2


def test_a_stopped_instance_is_unused_at_once_and_initial_when_it_starts(account, service, elb):  # B3
    first = service.instance_ids[0]
    asked = {"Targets": [{"Id": first}]}
    service.stop(first)
    assert health(elb, service.primary_arn, **asked) == [("healthy", None)]
    account.advance(20)
    (found,) = elb.describe_target_health(TargetGroupArn=service.primary_arn, **asked)["TargetHealthDescriptions"]
    assert found["TargetHealth"] == {
        "State": "unused",
        "Reason": "Target.InvalidState",
        "Description": "Target is in the stopped state",
    }
    service.start(first)
    assert health(elb, service.primary_arn, **asked) == [("initial", "Elb.RegistrationInProgress")]
    account.advance(10)
    assert health(elb, service.primary_arn, **asked) == [("initial", "Elb.InitialHealthChecking")]
    account.advance(15 + 20 + 20)
    assert health(elb, service.primary_arn, **asked) == [("healthy", None)]


def test_a_group_in_no_listener_is_not_in_use(account, service, elb):  # B1, B2
    service.forward({service.sorry_arn: 1})
    found = elb.describe_target_health(TargetGroupArn=service.primary_arn)["TargetHealthDescriptions"][0]
    assert found["TargetHealth"] == {"State": "unused", "Reason": "Target.NotInUse", "Description": NOT_IN_USE}
    account.advance(600)
    assert health(elb, service.primary_arn) == [("unused", "Target.NotInUse")] * 2
    service.forward({service.primary_arn: 1})
    assert health(elb, service.primary_arn) == [("initial", "Elb.RegistrationInProgress")] * 2
    account.advance(10)
    assert health(elb, service.primary_arn) == [("healthy", None)] * 2


def test_a_target_in_a_zone_that_is_not_enabled_is_unused_until_it_is(account, service, elb):  # R1
    elb.set_subnets(LoadBalancerArn=service.nlb_arn, Subnets=[service.subnet_ids[0]])
    assert health(elb, service.primary_arn) == [("healthy", None), ("unused", "Target.NotInUse")]
    found = elb.describe_target_health(TargetGroupArn=service.primary_arn)["TargetHealthDescriptions"][1]
    assert found["TargetHealth"]["Description"] == OTHER_ZONE
    service.stop(service.instance_ids[0])
    account.advance(60)
    assert account.targets.nlb_page(service.listener_arn, Visit()) is None  # nobody is left, not even to fail open
    elb.set_subnets(LoadBalancerArn=service.nlb_arn, Subnets=list(service.subnet_ids))
    assert health(elb, service.primary_arn)[1] == ("initial", "Elb.RegistrationInProgress")
    account.advance(10)
    assert health(elb, service.primary_arn)[1] == ("healthy", None)


def test_a_load_balancer_is_in_one_subnet_of_each_of_its_zones(service, elb):
    elb.set_subnets(LoadBalancerArn=service.nlb_arn, Subnets=[service.subnet_ids[0]])
    (balancer,) = elb.describe_load_balancers(LoadBalancerArns=[service.nlb_arn])["LoadBalancers"]
    assert [zone["ZoneName"] for zone in balancer["AvailabilityZones"]] == ["ap-northeast-1a"]
    for arn, subnet_ids in ((service.alb_arn, [service.subnet_ids[0]]), (service.nlb_arn, [service.subnet_ids[0]] * 2)):
        refused = error_of(elb.set_subnets, LoadBalancerArn=arn, Subnets=subnet_ids)
        assert refused == "InvalidConfigurationRequest", arn


def test_the_zone_of_an_address_is_that_of_its_subnet_or_the_one_it_was_registered_for(account, service, elb):  # R3
    arn = group(elb, service.vpc_id, "addresses", TargetType="ip")
    own = [account.ec2.instance(instance_id).private_ip for instance_id in service.instance_ids]
    outside = [{"Id": "192.168.0.9", "AvailabilityZone": "all"}]
    elb.register_targets(TargetGroupArn=arn, Targets=[{"Id": address} for address in own] + outside)
    assert health(elb, arn) == [("unused", "Target.NotInUse")] * 3
    service.forward({arn: 1})
    elb.set_subnets(LoadBalancerArn=service.nlb_arn, Subnets=[service.subnet_ids[0]])
    assert [state for state, _ in health(elb, arn)] == ["initial", "unused", "initial"]


def test_a_zonal_shift_keeps_traffic_from_healthy_targets(account, service, elb):  # R12
    account.targets.shifted_zones.add("ap-northeast-1c")
    found = elb.describe_target_health(TargetGroupArn=service.primary_arn)["TargetHealthDescriptions"]
    assert [target["TargetHealth"]["State"] for target in found] == ["healthy", "healthy"]
    states = [target.get("AdministrativeOverride", {}).get("State") for target in found]
    assert states == [None, "zonal_shift_active"]
    pages = [account.targets.nlb_page(service.listener_arn, Visit(turn=turn)) for turn in range(4)]
    assert all(service.instance_ids[0].encode() in page.body for page in pages)


def test_a_group_with_weight_0_is_in_use(account, service, elb):  # A11
    service.forward({service.primary_arn: 1, service.sorry_arn: 0})
    account.advance(10)
    assert health(elb, service.sorry_arn) == [("healthy", None)]
    service.forward({service.primary_arn: 0, service.sorry_arn: 1})
    service.break_application()
    account.advance(20)
    assert health(elb, service.primary_arn)[0] == ("unhealthy", "Target.FailedHealthChecks")


def test_a_target_that_is_not_registered(service, elb):  # B1
    asked = {"Targets": [{"Id": "i-0123456789abcdef0"}]}
    assert health(elb, service.primary_arn, **asked) == [("unused", "Target.NotRegistered")]


def test_a_deregistered_target_drains_for_its_delay(account, service, elb):  # D4
    first = service.instance_ids[0]
    delay = [{"Key": "deregistration_delay.timeout_seconds", "Value": "60"}]
    elb.modify_target_group_attributes(TargetGroupArn=service.primary_arn, Attributes=delay)
    elb.deregister_targets(TargetGroupArn=service.primary_arn, Targets=[{"Id": first}])
    asked = {"Targets": [{"Id": first}]}
    assert health(elb, service.primary_arn, **asked) == [("draining", "Target.DeregistrationInProgress")]
    account.advance(59)
    assert health(elb, service.primary_arn, **asked) == [("draining", "Target.DeregistrationInProgress")]
    account.advance(1)
    assert health(elb, service.primary_arn, **asked) == [("unused", "Target.NotRegistered")]
    assert health(elb, service.primary_arn) == [("healthy", None)]


def test_a_target_that_comes_back_while_draining_is_initial(account, service, elb):
    first = [{"Id": service.instance_ids[0]}]
    elb.deregister_targets(TargetGroupArn=service.primary_arn, Targets=first)
    elb.register_targets(TargetGroupArn=service.primary_arn, Targets=first)
    assert health(elb, service.primary_arn, Targets=first) == [("initial", "Elb.RegistrationInProgress")]
    account.advance(400)
    assert health(elb, service.primary_arn, Targets=first) == [("healthy", None)]


def test_a_terminated_instance_leaves_its_groups(account, service, elb):
    first = service.instance_ids[0]
    service.terminate(first)
    account.advance(20)
    asked = {"Targets": [{"Id": first}]}
    assert health(elb, service.primary_arn, **asked) == [("draining", "Target.DeregistrationInProgress")]
    account.advance(300)
    assert health(elb, service.primary_arn, **asked) == [("unused", "Target.NotRegistered")]


def test_a_lambda_group_is_not_checked_and_needs_permission_to_invoke(account, elb, alb_listener, monkeypatch):  # H7
    lambda_group = group(elb, None, "page", TargetType="lambda", Protocol=None, Port=None, HealthCheckEnabled=False)
    function = account.arn("lambda", "function:page")
    targets = {"TargetGroupArn": lambda_group, "Targets": [{"Id": function}]}
    assert error_of(elb.register_targets, **targets) == "AccessDenied"
    asked = []
    monkeypatch.setattr(account.functions, "check", lambda name, **who: asked.append((name, who["source_arn"])))
    elb.register_targets(TargetGroupArn=lambda_group, Targets=[{"Id": function}])
    assert asked == [(function, lambda_group)]
    assert health(elb, lambda_group) == [("unused", "Target.NotInUse")]
    elb.modify_listener(ListenerArn=alb_listener, DefaultActions=forward((lambda_group, 1)))
    assert health(elb, lambda_group) == [("unavailable", "Target.HealthCheckDisabled")]


# The ALB as a target.


@pytest.fixture
def sorry_health(account, service, elb):
    """Attach the sorry group at weight 0 and return its health after 20 seconds."""

    def find():
        service.forward({service.primary_arn: 1, service.sorry_arn: 0})
        account.advance(20)
        (found,) = elb.describe_target_health(TargetGroupArn=service.sorry_arn)["TargetHealthDescriptions"]
        return found["TargetHealth"]

    return find


def test_an_alb_with_a_health_path_is_healthy(sorry_health):
    assert sorry_health() == {"State": "healthy"}


def test_an_alb_whose_health_path_answers_503_is_unhealthy(service, elb, sorry_health):  # C2
    elb.modify_target_group(TargetGroupArn=service.sorry_arn, HealthCheckPath="/")
    assert sorry_health() == {
        "State": "unhealthy",
        "Reason": "Target.ResponseCodeMismatch",
        "Description": "Health checks failed with these codes: [503]",
    }


def test_a_matcher_can_accept_503(service, elb, sorry_health):  # C2
    elb.modify_target_group(TargetGroupArn=service.sorry_arn, HealthCheckPath="/", Matcher={"HttpCode": "200-399,503"})
    assert sorry_health() == {"State": "healthy"}


def test_a_health_check_in_the_wrong_protocol_fails(service, elb, sorry_health):  # C2
    elb.modify_target_group(TargetGroupArn=service.sorry_arn, HealthCheckProtocol="HTTP")
    assert sorry_health()["Reason"] == "Target.FailedHealthChecks"


def test_a_broken_alb_is_unhealthy(account, service, sorry_health):
    account.targets.broken_albs.add(service.alb_arn)
    assert sorry_health()["Reason"] == "Target.FailedHealthChecks"


def test_an_alb_that_lost_its_listener_is_unhealthy(elb, alb_listener, sorry_health):
    elb.delete_listener(ListenerArn=alb_listener)
    assert sorry_health()["Reason"] == "Target.FailedHealthChecks"


# Metrics.


def published(account):
    found = {}

    def put(namespace, metric, dimensions, value):
        found[namespace, metric, dimensions["LoadBalancer"], dimensions["TargetGroup"]] = value

    account.targets.publish(put)
    return found


def test_host_counts_are_published_for_groups_in_use(account, service):  # F1, F2, C5
    service.forward({service.primary_arn: 0, service.sorry_arn: 1})
    service.stop(service.instance_ids[0])
    account.advance(20)
    balancer, primary = service.nlb_arn.split(":loadbalancer/")[1], service.primary_arn.rsplit(":", 1)[1]
    assert published(account) == {
        ("AWS/NetworkELB", "HealthyHostCount", balancer, primary): 1,
        ("AWS/NetworkELB", "UnHealthyHostCount", balancer, primary): 1,
    }
    service.forward({service.sorry_arn: 1})
    assert published(account) == {}


def test_host_counts_count_targets_not_servers(account, service, elb):  # F1
    second = [{"Id": target, "Port": 8081} for target in service.instance_ids]
    elb.register_targets(TargetGroupArn=service.primary_arn, Targets=second)
    account.advance(60)
    primary = service.primary_arn.rsplit(":", 1)[1]
    assert {key[1]: count for key, count in published(account).items() if key[3] == primary} == {
        "HealthyHostCount": 4,
        "UnHealthyHostCount": 0,
    }


def test_host_counts_need_registered_targets(account, service, elb):  # F1
    elb.deregister_targets(
        TargetGroupArn=service.primary_arn, Targets=[{"Id": target} for target in service.instance_ids]
    )
    assert published(account) == {}


# Rules.


@pytest.fixture
def rules(elb, alb_listener):
    """Two rules with the priorities 10 and 20."""

    def create(priority, path):
        return elb.create_rule(
            ListenerArn=alb_listener,
            Priority=priority,
            Conditions=[{"Field": "path-pattern", "Values": [path]}],
            Actions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}],
        )["Rules"][0]["RuleArn"]

    return create(10, "/a"), create(20, "/b")


def priorities(elb, listener, *arns):
    found = {rule["RuleArn"]: rule["Priority"] for rule in elb.describe_rules(ListenerArn=listener)["Rules"]}
    return tuple(found[arn] for arn in arns)


def move(elb, *moves):
    return elb.set_rule_priorities(RulePriorities=[{"RuleArn": arn, "Priority": number} for arn, number in moves])


def test_rules_swap_in_one_call(elb, alb_listener, rules):  # H1
    first, second = rules
    answer = move(elb, (first, 20), (second, 10))
    assert [rule["Priority"] for rule in answer["Rules"]] == ["20", "10"]
    assert priorities(elb, alb_listener, *rules) == ("20", "10")


def test_a_rule_may_move_to_where_it_is(elb, alb_listener, rules):  # H1
    move(elb, (rules[0], 10))
    assert priorities(elb, alb_listener, *rules) == ("10", "20")


@pytest.mark.parametrize(
    ("moves", "code"),
    [
        ([("first", 7), ("second", 7)], "PriorityInUse"),
        ([("first", 7), ("second", 1)], "PriorityInUse"),  # 1 is the health path's
        ([("first", 7), ("second", 50001)], "ValidationError"),
        ([("first", 7), ("default", 8)], "OperationNotPermitted"),
        ([("first", 7), ("missing", 8)], "RuleNotFound"),
    ],
)
def test_what_is_refused_moves_nothing(elb, alb_listener, rules, moves, code):  # H1
    default = next(rule for rule in elb.describe_rules(ListenerArn=alb_listener)["Rules"] if rule["IsDefault"])
    arns = {"first": rules[0], "second": rules[1], "default": default["RuleArn"], "missing": rules[0] + "0"}
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        move(elb, *[(arns[name], number) for name, number in moves])
    assert refused.value.response["Error"]["Code"] == code
    assert priorities(elb, alb_listener, *rules) == ("10", "20")


@pytest.mark.usefixtures("rules")
def test_a_new_rule_needs_a_free_priority_in_range(elb, alb_listener):  # H1
    def create(priority):
        return error_of(
            elb.create_rule,
            ListenerArn=alb_listener,
            Priority=priority,
            Conditions=[{"Field": "path-pattern", "Values": ["/c"]}],
            Actions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}],
        )

    assert create(10) == "PriorityInUse"
    assert create(50001) == "ValidationError"


def test_an_nlb_listener_can_have_rules(service, elb):  # A16
    rule = elb.create_rule(
        ListenerArn=service.listener_arn,
        Priority=1,
        Conditions=[{"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}}],
        Actions=forward((service.primary_arn, 1)),
    )["Rules"][0]
    assert ":listener-rule/net/" in rule["RuleArn"]
    found = elb.describe_rules(ListenerArn=service.listener_arn)["Rules"]
    assert sorted(item["Priority"] for item in found) == ["1", "default"]


def conditions(*pairs):
    configs = {
        "path-pattern": "PathPatternConfig",
        "http-request-method": "HttpRequestMethodConfig",
        "source-ip": "SourceIpConfig",
        "host-header": "HostHeaderConfig",
    }
    return [{"Field": field, configs[field]: {"Values": list(values)}} for field, *values in pairs]


def test_what_describe_rules_shows_cannot_be_sent_back(elb, alb_listener, rules):  # N18
    shown = next(rule for rule in elb.describe_rules(ListenerArn=alb_listener)["Rules"] if rule["RuleArn"] == rules[0])
    assert shown["Conditions"] == [{"Field": "path-pattern", "Values": ["/a"], "PathPatternConfig": {"Values": ["/a"]}}]
    assert error_of(elb.modify_rule, RuleArn=rules[0], Conditions=shown["Conditions"]) == "ValidationError"
    one_form = [{name: value for name, value in shown["Conditions"][0].items() if name != "Values"}]
    assert elb.modify_rule(RuleArn=rules[0], Conditions=one_form)["Rules"]


def test_what_modify_rule_does_not_name_stays(elb, alb_listener, rules):  # N17
    def shown():
        found = elb.describe_rules(ListenerArn=alb_listener)["Rules"]
        return next(rule for rule in found if rule["RuleArn"] == rules[0])

    before = shown()
    elb.modify_rule(RuleArn=rules[0], Conditions=conditions(("http-request-method", "NOBODY-ASKS")))
    after = shown()
    assert after["Conditions"] == conditions(("http-request-method", "NOBODY-ASKS"))
    assert (after["Actions"], after["Priority"]) == (before["Actions"], before["Priority"])


@pytest.mark.parametrize(
    ("taken", "given"),
    [
        (True, [("http-request-method", "KIRIKAE-PARKED")]),  # N22
        (True, [("http-request-method", "A" * 40)]),
        (False, [("http-request-method", "A" * 41)]),
        (False, [("http-request-method", "get")]),
        (False, [("http-request-method", "*")]),
        (False, [("http-request-method", "")]),
        (False, [("source-ip", "255.255.255.255/32")]),
        (False, [("source-ip", "everywhere")]),
        (True, [("source-ip", "192.0.2.0/32")]),
        (True, [("path-pattern", "/a", "/b", "/c"), ("source-ip", "10.0.0.0/8", "10.1.0.0/16")]),  # N23
        (False, [("path-pattern", "/a", "/b", "/c"), ("source-ip", "10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16")]),
        (False, [("source-ip", *(f"10.{n}.0.0/16" for n in range(4)))]),
        (False, [("path-pattern", "/a"), ("path-pattern", "/b")]),
        (False, [("path-pattern", "/*/*/*"), ("host-header", "*.*.*.example.com")]),
        (False, [("path-pattern", "/メンテナンス")]),
    ],
)
def test_conditions_are_checked(elb, alb_listener, rules, taken, given):  # N22, N23
    wanted = conditions(*given)
    new = {"ListenerArn": alb_listener, "Priority": 77, "Actions": rule_actions()}
    if taken:
        assert elb.modify_rule(RuleArn=rules[0], Conditions=wanted)["Rules"]
        assert elb.create_rule(Conditions=wanted, **new)["Rules"]
    else:
        assert error_of(elb.modify_rule, RuleArn=rules[0], Conditions=wanted) == "ValidationError"
        assert error_of(elb.create_rule, Conditions=wanted, **new) == "ValidationError"


def rule_actions():
    return [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}]


def test_five_values_in_one_condition_can_be_taken(account, elb, rules):  # N23
    account.elb.values_per_condition = 5
    five = conditions(("source-ip", *(f"10.{n}.0.0/16" for n in range(5))))
    assert elb.modify_rule(RuleArn=rules[0], Conditions=five)["Rules"]


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/a/./b", "/a/b"), ("/a/../b", "/b"), ("/a/%2e%2E/b", "/b"), ("/%61", "/a"), ("/a%2fb", "/a%2Fb"),
        ("/..", "/"), ("/a/b/..", "/a/"), ("/a/.", "/a/"), ("/", "/"), ("//a", "//a"), ("/a/", "/a/"),
    ],
)  # fmt: skip
def test_rules_see_a_path_normalised(path, seen):  # N23
    assert normalised(path) == seen


def test_a_change_of_a_rule_is_followed_later(account, elb, alb_listener, rules):  # N20
    def answers(path="/a"):
        return account.targets.alb_page(alb_listener, Visit(path)).status

    before, there = answers(), {"RuleArn": rules[0]}
    account.elb.rule_lags = {"ModifyRule": 5.0, "SetRulePriorities": 2.0}
    elb.modify_rule(**there, Conditions=conditions(("http-request-method", "NOBODY-ASKS")))
    assert (before, answers()) == (200, 200)
    account.advance(6)
    assert answers() == 503
    account.elb.rule_lags = {"SetRulePriorities": 2.0}
    elb.modify_rule(RuleArn=rules[1], Conditions=conditions(("path-pattern", "/*")))
    move(elb, (rules[1], 5))
    assert {rule.priority for rule in account.elb.in_force(account.elb.listener(alb_listener))} == {
        1,
        10,
        20,
        "default",
    }
    account.advance(3)
    assert {rule.priority for rule in account.elb.in_force(account.elb.listener(alb_listener))} == {1, 10, 5, "default"}


# Reads that lag, and addresses that drain.


def a_function(account, role="r"):
    """Return load balancing as a function asks it."""
    everything = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
    account.roles[role] = iam.Role(policies=[everything])
    return account.client("elbv2", role)


def states(elb, arn):
    """Return the states of a group's targets, the first instance's first."""
    found = elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
    return [t["TargetHealth"]["State"] for t in sorted(found, key=lambda t: t["Target"]["Id"])]


def test_a_function_reads_what_was_before_for_some_seconds(account, service, elb):  # Q8
    account.lag.off()  # health has a lag of its own
    account.targets.late_seconds = 3.0
    client, arn = a_function(account), service.primary_arn
    client.deregister_targets(TargetGroupArn=arn, Targets=[{"Id": min(service.instance_ids)}])
    assert states(client, arn) == ["healthy", "healthy"]
    assert states(elb, arn) == ["draining", "healthy"]  # an administrator's eyes are the test's
    account.advance(account.targets.late_seconds)
    assert states(client, arn) == ["draining", "healthy"]
    client.register_targets(TargetGroupArn=arn, Targets=[{"Id": min(service.instance_ids)}])
    assert states(client, arn) == ["draining", "healthy"]
    account.advance(account.targets.late_seconds)
    assert states(client, arn) == ["initial", "healthy"]


def test_how_late_a_change_shows_is_drawn_from_the_seed_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:  # Q8
    def lates(seed: str) -> list[float]:
        monkeypatch.setenv("KIRIKAE_SANDBOX_SEED", seed)
        with Account() as account:
            service = nlb_service(account)
            account.faults.off()
            account.lag.off()
            client, found = a_function(account), []
            gone = {"TargetGroupArn": service.primary_arn, "Targets": [{"Id": min(service.instance_ids)}]}
            for change, shown in ((client.deregister_targets, "draining"), (client.register_targets, "initial")) * 2:
                change(**gone)
                began = account.clock.time()
                while states(client, service.primary_arn)[0] != shown:
                    account.advance(0.25)
                found.append(account.clock.time() - began)
                account.advance(1)
            return found

    first, second = lates("1"), lates("2")
    assert first != second
    assert 2 < max(first + second) <= 5.25


def test_late_reads_follow_each_change_at_its_distance(account, service, elb):  # Q8
    account.targets.late_seconds = 30
    account.lag.exactly("elbv2", 4)  # besides, and never to something newer
    client, arn = a_function(account), service.primary_arn
    gone = {"TargetGroupArn": arn, "Targets": [{"Id": min(service.instance_ids)}]}
    elb.register_targets(**gone)
    states(client, arn)
    client.deregister_targets(**gone)
    account.advance(5)
    client.register_targets(**gone)
    shown = []
    for seconds in (0, 5, 18, 4, 10):
        account.advance(seconds)
        shown.append(states(client, arn)[0])
    assert shown == ["healthy", "healthy", "healthy", "draining", "healthy"]


@pytest.mark.parametrize("code", ["", "InvalidTarget"], ids=["taken", "refused"])
def test_an_address_that_drains_can_come_back_or_not(account, service, elb, code):  # R10
    account.targets.refuses_draining = code
    arn = group(elb, service.vpc_id, "addresses", TargetType="ip")
    one = {"TargetGroupArn": arn, "Targets": [{"Id": account.ec2.instance(min(service.instance_ids)).private_ip}]}
    elb.register_targets(**one)
    service.forward({arn: 1})
    elb.deregister_targets(**one)
    if code:
        assert error_of(elb.register_targets, **one) == code
        account.advance(300)
    elb.register_targets(**one)
    assert states(elb, arn) == ["initial"]
