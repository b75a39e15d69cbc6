"""Health as AWS shows it: late, in words with two meanings, zone by zone; and executions that go on after their end."""

from collections.abc import Callable
from typing import Any

import pytest
from rotation_stories import HOOKS, Site
from template_tools import short_id

from sandbox.services.stepfunctions import Execution
from sandbox.stack import cloudformation

CROSS_ZONE = "load_balancing.cross_zone.enabled"
DELAY = "deregistration_delay.timeout_seconds"
UNHEALTHY = "target_group_health.unhealthy_state_routing.minimum_healthy_targets"
DNS = "target_group_health.dns_failover.minimum_healthy_targets"


def serving(site: Site) -> int:
    """Return how many targets of the group are healthy."""
    return list(site.health().values()).count("healthy")


def least_serving(site: Site, execution: Execution, seconds: float = 3600) -> int:
    """Let an execution run to its end; return the fewest targets that were healthy at any moment."""
    least = serving(site)
    for _ in range(int(seconds)):
        if execution.status != "RUNNING":
            break
        site.account.advance(1)
        least = min(least, serving(site))
    assert execution.status != "RUNNING"
    return least


def behind_an_alb(site: Site, **attributes: str) -> str:
    """Make a group of both instances behind an ALB of its own; return its ARN."""
    elb = site.elb
    group = elb.create_target_group(
        Name="web", Protocol="HTTP", Port=80, VpcId=site.service.vpc_id, HealthCheckIntervalSeconds=10
    )["TargetGroups"][0]["TargetGroupArn"]
    elb.register_targets(TargetGroupArn=group, Targets=[{"Id": target} for target in site.ids])
    balancer = elb.create_load_balancer(Name="web", Type="application", Subnets=list(site.service.subnet_ids))
    arn = balancer["LoadBalancers"][0]["LoadBalancerArn"]
    action = {"Type": "forward", "TargetGroupArn": group}
    elb.create_listener(LoadBalancerArn=arn, Protocol="HTTP", Port=80, DefaultActions=[action])
    site.asks(group, **{DELAY: "0"} | attributes)
    site.account.advance(60)
    site.group = group
    return str(group)


# A reason with two meanings.


def in_a_dark_zone(site: Site, **parameters: str) -> str:
    """Add a target whose zone the load balancer does not serve any more; return its id."""
    dark = site.ids[1]
    site.third()  # in the first zone
    site.elb.set_subnets(LoadBalancerArn=site.service.nlb_arn, Subnets=[site.service.subnet_ids[0]])
    site.account.advance(30)
    site.deployed(**parameters)
    assert site.health()[dark] == "unused"
    return dark


def test_a_target_in_a_zone_without_load_balancer_is_skipped_and_named(new_site: Callable[..., Site]) -> None:
    site = new_site()
    dark = in_a_dark_zone(site)
    before = site.registered()
    execution = site.begins()
    assert least_serving(site, execution) == 1
    assert (execution.status, site.registered()) == ("SUCCEEDED", before)
    assert dark not in [call.params["Targets"][0]["Id"] for call in site.writes("DeregisterTargets")]
    assert all(f"{dark}: unused in service-primary: its Availability Zone is not" in mail.body for mail in site.mails)
    assert "finished, 2 of 2 targets" in site.mails[-1].subject


def test_a_target_in_a_dark_zone_is_no_capacity(new_site: Callable[..., Site]) -> None:
    site = new_site()
    in_a_dark_zone(site, RotationMinHealthy="2")
    execution = site.rotates()
    assert (execution.error, site.writes("DeregisterTargets")) == ("Refused", [])
    assert "would have 1 healthy targets" in execution.cause


def test_the_last_one_that_serves_comes_back_when_only_dark_ones_remain(new_site: Callable[..., Site]) -> None:
    site = new_site()
    in_a_dark_zone(site)
    first, other = (target for target, state in site.health().items() if state == "healthy")
    execution = site.begins({"instance_ids": [first], "hook": {"type": "approval"}})
    site.account.advance(10)
    site.elb.deregister_targets(TargetGroupArn=site.group, Targets=[{"Id": other}])
    site.until(lambda: execution.status == "FAILED")
    assert "the service needs it" in execution.cause
    assert site.health()[first] == "healthy"


def test_a_dark_target_is_refused_by_hand_at_once(new_site: Callable[..., Site]) -> None:
    site = new_site()
    dark = in_a_dark_zone(site)
    for operation in ("deregister", "register"):
        answer = site.hand(operation, instance_id=dark)
        assert (answer["outcome"], "Availability Zone is not enabled" in answer["reason"]) == ("refused", True)
    assert site.writes() == []


def test_only_dark_targets_are_nothing_to_rotate(new_site: Callable[..., Site]) -> None:
    site = new_site()
    dark = in_a_dark_zone(site)
    execution = site.rotates({"instance_ids": [dark]})
    assert (execution.error, site.writes()) == ("Refused", [])
    assert f"no target is left to rotate: {dark} is unused in service-primary" in execution.cause


# What has left counts as gone, whatever health shows.


@pytest.mark.parametrize(("late", "batch"), [(3, 3), (20, 2), (45, 1), (45, 3)])
def test_a_batch_never_takes_the_last_one_although_health_is_shown_late(site: Site, late: float, batch: int) -> None:
    site.account.targets.late_seconds = late
    before = site.registered()
    execution = site.begins({"batch_size": batch})
    assert least_serving(site, execution) == 1
    assert (execution.status, site.registered(), site.claims()) == ("SUCCEEDED", before, [])


def test_what_was_taken_out_by_hand_a_moment_ago_counts_as_gone(site: Site) -> None:
    site.account.targets.late_seconds = 30
    assert site.hand("deregister", instance_id=site.ids[0])["outcome"] == "changed"
    site.account.advance(5)
    refused = site.hand("deregister", instance_id=site.ids[1])
    assert (refused["outcome"], site.ids[0] in refused["reason"]) == ("refused", True)
    assert serving(site) == 1


@pytest.mark.parametrize("seconds", [0, 5, 40])
def test_a_target_that_leaves_and_is_wanted_back_at_once_comes_back(site: Site, seconds: float) -> None:
    site.account.targets.late_seconds = 30
    before = site.registered()
    site.hand("deregister", instance_id=site.ids[0])
    site.account.advance(seconds)
    answer = site.hand("register", instance_id=site.ids[0])
    assert (answer["outcome"], answer["healthy"]) == ("changed", False)  # not believed: it is shown as it was before
    for _ in range(20):
        site.account.advance(answer["wait_seconds"])
        answer = site.hand("register", instance_id=site.ids[0])
        if answer["healthy"]:
            break
    assert (answer["healthy"], site.registered(), site.claims()) == (True, before, [])
    assert site.health()[site.ids[0]] == "healthy"


@pytest.mark.parametrize("seconds", [0, 10, 40])
def test_an_abort_brings_back_what_health_still_shows_as_registered(site: Site, seconds: float) -> None:
    site.account.targets.late_seconds = 30
    before = site.registered()
    execution = site.begins({"hook": {"type": "approval"}})
    site.account.advance(seconds)
    site.aborted(execution)
    site.account.advance(600)
    assert (site.registered(), site.claims(), serving(site)) == (before, [], 2)


@pytest.mark.parametrize("abort", ["after its task", "in the middle of its task"])
def test_what_has_just_come_back_counts_as_gone_until_health_can_show_it(site: Site, abort: str) -> None:
    site.account.targets.late_seconds = 50
    site.account.lag.off("stepfunctions")

    def stop() -> None:
        [execution] = site.account.states.executions
        site.account.client("stepfunctions").stop_execution(executionArn=execution.arn)

    if abort == "in the middle of its task":
        site.account.before("elbv2", "DeregisterTargets", stop)
    execution = site.begins({"hook": {"type": "approval"}})
    if abort == "after its task":
        site.aborted(execution)
    assert (execution.status, serving(site), len(site.writes("RegisterTargets")) > 0) == ("ABORTED", 1, True)
    refused = site.hand("deregister", instance_id=site.ids[1])
    assert (refused["outcome"], site.ids[0] in refused["reason"]) == ("refused", True)
    least = [serving(site) for _ in range(120) if not site.account.advance(1)]
    site.account.advance(480)
    assert (min(least), site.claims()) == (1, [])
    assert site.hand("deregister", instance_id=site.ids[1])["outcome"] == "changed"
    tags = site.elb.describe_tags(ResourceArns=[site.group])["TagDescriptions"][0]["Tags"]
    assert [tag["Key"] for tag in tags] == [f"kirikae:out:{site.ids[1]}"], "and nothing else is left behind"


# Every group and every port.


@pytest.fixture
def two_ports(new_site: Callable[..., Site]) -> Site:
    site = new_site()
    second = site.another_group(8080, 8081)
    site.asks(second, **{DELAY: "300"})
    return site.deployed(RotationTargetGroupArns=f"{site.group},{second}")


def until_it_is_so(site: Site, operation: str, said: str, target: str) -> None:
    """Repeat an operation by hand as a pipeline does."""
    for _ in range(60):
        answer = site.hand(operation, instance_id=target)
        assert answer["outcome"] != "refused", answer
        if answer[said]:
            return
        site.account.advance(answer["wait_seconds"])
    pytest.fail("it did not happen")


@pytest.mark.parametrize("seconds", [10, 150, 400], ids=["all drain", "one group is drained", "all are drained"])
def test_a_target_is_back_when_it_is_healthy_on_every_port_of_every_group(two_ports: Site, seconds: float) -> None:
    site, before = two_ports, two_ports.registered()
    site.hand("deregister", instance_id=site.ids[0])
    site.account.advance(seconds)
    until_it_is_so(site, "register", "healthy", site.ids[0])
    assert (site.registered(), site.claims()) == (before, [])
    assert all(set(site.health(group).values()) == {"healthy"} for group in before if "primary" in group)


@pytest.mark.parametrize("port", [8080, 8081])
@pytest.mark.parametrize("seconds", [100, 400], ids=["the other port drains", "the other port is gone"])
def test_a_port_that_somebody_registered_again_lets_no_other_be_forgotten(
    two_ports: Site, port: int, seconds: float
) -> None:
    site, before = two_ports, two_ports.registered()
    [second] = [group for group in before if "second" in group]
    site.hand("deregister", instance_id=site.ids[0])
    site.account.advance(seconds)
    site.elb.register_targets(TargetGroupArn=site.group, Targets=[{"Id": site.ids[0]}])
    site.elb.register_targets(TargetGroupArn=second, Targets=[{"Id": site.ids[0], "Port": port}])
    site.account.advance(60)
    until_it_is_so(site, "register", "healthy", site.ids[0])
    assert (site.registered(), site.claims()) == (before, [])


def test_a_deregistration_that_died_between_two_groups_is_finished_when_it_is_repeated(two_ports: Site) -> None:
    site = two_ports
    [second] = [group for group in site.registered() if "second" in group]
    only = {"when": lambda given: given["TargetGroupArn"] == second}
    site.account.faults.add("elbv2", "DeregisterTargets", "Throttling", times=5, **only)
    assert "Throttling" in site.hand("deregister", instance_id=site.ids[0])
    site.account.faults.clear()
    site.account.advance(90)
    until_it_is_so(site, "deregister", "drained", site.ids[0])
    assert site.ids[0] not in site.health() | site.health(second)


def test_what_a_dead_task_took_out_is_not_forgotten_by_its_repetition_that_sees_it_as_before(site: Site) -> None:
    site.account.targets.late_seconds = 40
    before = site.registered()

    def dies_after_it() -> None:
        site.account.lag.exactly("DescribeTags", 8)  # longer than a run looks for what it has written
        site.account.faults.add("elbv2", "DescribeTargetHealth", None, role="TargetRotation", times=1, kills=True)

    site.account.before("elbv2", "DeregisterTargets", dies_after_it)
    execution = site.begins({"instance_ids": [site.ids[0]]})
    site.account.advance(20)
    assert list(site.registered()[site.group]) != before[site.group]
    site.account.lag.exactly("DescribeTags", 0)
    site.until(lambda: execution.status != "RUNNING")
    assert (execution.status, site.registered(), site.claims()) == ("SUCCEEDED", before, [])
    assert "1 of 1 targets" in site.subjects[-1]


# Each by itself on the way back.


def test_one_that_aws_does_not_take_back_keeps_no_other_out(site: Site) -> None:
    third, before = site.third(), site.registered()
    stubborn = site.ids[0]
    execution = site.begins({"batch_size": 2, "instance_ids": [stubborn, third], "healthy_timeout_seconds": 120})
    refuses = {"when": lambda given: given["Targets"][0]["Id"] == stubborn}
    site.account.faults.add("elbv2", "RegisterTargets", "TooManyRegistrationsForTargetId", **refuses)
    site.until(lambda: execution.status == "FAILED")
    assert site.health() == {site.ids[1]: "healthy", third: "healthy"}
    assert "TooManyRegistrationsForTargetId" in execution.cause
    body = next(mail.body for mail in site.mails if "FAILED" in mail.subject)
    assert f"{stubborn} could not be put back yet" in body
    assert f"{third} could" not in body
    assert site.claims() == [stubborn]
    site.account.faults.clear()
    site.account.advance(600)
    assert (site.registered(), site.claims()) == (before, [])


def test_after_an_abort_each_comes_back_that_can(site: Site) -> None:
    third = site.third()
    execution = site.begins({"batch_size": 2, "instance_ids": [site.ids[0], third], "hook": {"type": "approval"}})
    refuses = {"when": lambda given: given["Targets"][0]["Id"] == site.ids[0]}
    site.account.faults.add("elbv2", "RegisterTargets", "InternalFailure", **refuses)
    site.reaches(execution, "Ask")
    site.aborted(execution)
    site.account.advance(60)
    assert site.health() == {site.ids[1]: "healthy", third: "healthy"}
    site.account.faults.clear()
    site.account.advance(600)
    assert serving(site) == 3


def test_a_group_that_refuses_a_target_keeps_it_from_no_other_group(two_ports: Site) -> None:
    site = two_ports
    [second] = [group for group in site.registered() if "second" in group]
    execution = site.begins({"instance_ids": [site.ids[0]], "healthy_timeout_seconds": 120})
    refuses = {"when": lambda given: given["TargetGroupArn"] == min(site.group, second)}
    site.account.faults.add("elbv2", "RegisterTargets", "TooManyTargets", **refuses)
    site.until(lambda: execution.status == "FAILED")
    assert site.health(max(site.group, second))[site.ids[0]] == "healthy"


@pytest.mark.parametrize("apart", ["another group", "another port"])
def test_a_batch_that_is_not_back_stays_where_it_serves_alone(new_site: Callable[..., Site], apart: str) -> None:
    site = new_site()
    third, (a, b) = site.third(), site.ids
    groups = site.group
    if apart == "another group":
        groups += f",{(second := site.another_group(8080))}"
    else:
        second = site.group
    site.elb.register_targets(TargetGroupArn=second, Targets=[{"Id": each, "Port": 8080} for each in (a, b, third)])
    site.account.advance(60)
    site.deployed(RotationTargetGroupArns=groups)
    execution = site.begins({"batch_size": 2, "instance_ids": [a, b], "hook": {"type": "approval"}})
    site.reaches(execution, "Ask")
    site.account.targets.broken_ports |= {(a, 8080), (b, 8080)}  # the work broke what listens there
    if apart == "another group":
        site.account.targets.broken_ports.add((third, 80))  # and the one that stayed fails here meanwhile
    site.answers()
    site.until(lambda: execution.status != "RUNNING")
    found = site.elb.describe_target_health(TargetGroupArn=site.group)["TargetHealthDescriptions"]
    serving = [
        t["Target"]["Id"] for t in found if t["TargetHealth"]["State"] == "healthy" and t["Target"]["Port"] == 80
    ]
    assert {a, b} <= set(serving), found
    sick = site.elb.describe_target_health(TargetGroupArn=second)["TargetHealthDescriptions"]
    assert [t for t in sick if t["Target"]["Port"] == 8080 and t["TargetHealth"]["State"] == "unhealthy"] == []
    assert (execution.error, site.claims()) == ("Failed", [])
    assert all(f"--targets Id={target},Port=8080" in site.mails[-1].body for target in (a, b))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("late", [0, 40])
def test_a_target_whose_health_is_not_believed_yet_is_not_sick(
    new_site: Callable[..., Site], batch: int, late: float
) -> None:
    site = new_site()
    third, group = site.third(), behind_an_alb(site)
    site.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": third}])
    site.account.advance(60)
    site.account.targets.late_seconds = late
    before = site.registered()
    site.deployed(RotationTargetGroupArns=group)
    execution = site.rotates({"healthy_timeout_seconds": 30, "batch_size": batch})
    assert (execution.status, site.registered()) == ("SUCCEEDED", before), execution.cause


def dies(site: Site, target: str) -> None:
    """Let a server stop, and somebody take it out of the group, so that every read shows it."""
    site.service.stop(target)
    site.elb.deregister_targets(TargetGroupArn=site.group, Targets=[{"Id": target}])


def test_what_could_not_be_put_back_by_hand_at_once_comes_back_when_it_is_asked_for_again(site: Site) -> None:
    site.account.lag.off("elbv2")
    site.account.targets.late_seconds = 0
    site.account.before("elbv2", "DeregisterTargets", lambda: dies(site, site.ids[1]))
    site.account.faults.add("elbv2", "RegisterTargets", "TooManyTargets")
    said = site.hand("deregister", instance_id=site.ids[0])
    assert "would have 0 healthy targets" in said
    assert "TooManyTargets" in said
    assert said == site.hand("deregister", instance_id=site.ids[0]), "nor is it done when it is asked for once more"
    site.account.faults.clear()
    again = site.hand("deregister", instance_id=site.ids[0])
    assert (again["outcome"], "put back at once" in again["reason"]) == ("refused", True)
    site.account.advance(60)
    assert (site.health()[site.ids[0]], site.claims()) == ("healthy", [])


def test_a_target_that_the_service_needs_comes_back_by_hand_while_it_is_draining(site: Site) -> None:
    site.hand("deregister", instance_id=site.ids[0])
    site.service.break_application(site.ids[1])
    site.until(lambda: site.health()[site.ids[1]] == "unhealthy")
    said = site.hand("deregister", instance_id=site.ids[0])
    assert (said["outcome"], "would have 0 healthy targets" in said["reason"]) == ("refused", True)
    site.account.advance(60)
    assert (site.health()[site.ids[0]], site.claims()) == ("healthy", [])


@pytest.mark.parametrize("why", ["it is drained", "hold", "DryRun"])
def test_asked_whether_a_target_is_drained_nothing_is_put_back(site: Site, why: str) -> None:
    site.hand("deregister", instance_id=site.ids[0])
    site.service.break_application(site.ids[1])
    site.until(lambda: site.health()[site.ids[1]] == "unhealthy")
    if why == "it is drained":  # and its maintenance may have begun
        site.account.advance(300)
    elif why == "hold":
        site.held(60)
    else:
        site.updated(DryRun="true")
    said = site.hand("deregister", instance_id=site.ids[0])
    assert (said["outcome"], said["drained"]) == ("unchanged", why == "it is drained")
    assert "would have 0 healthy targets" in said["reason"]
    assert site.claims() == [site.ids[0]]


# Addresses.


@pytest.fixture
def addresses(new_site: Callable[..., Site]) -> Site:
    """The service's instances are registered by address, and AWS does not take an address that drains."""
    site = new_site()
    own = [site.account.ec2.instance(target).private_ip for target in site.ids]
    group = site.elb.create_target_group(
        Name="addresses", Protocol="TCP", Port=80, VpcId=site.service.vpc_id, TargetType="ip"
    )["TargetGroups"][0]["TargetGroupArn"]
    site.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": address} for address in own])
    site.service.forward({group: 1})
    site.asks(group, **{DELAY: "300", CROSS_ZONE: "true"})
    site.account.advance(60)
    site.group, site.ids = group, tuple(own)
    site.account.targets.refuses_draining = "InvalidTarget"
    return site.deployed()


def test_an_address_comes_back_by_hand_once_it_has_drained(addresses: Site) -> None:
    site, before = addresses, addresses.registered()
    site.hand("deregister", instance_id=site.ids[0])
    site.account.advance(30)
    answer = site.hand("register", instance_id=site.ids[0])
    assert (answer["outcome"], answer["healthy"]) == ("unchanged", False)
    assert 270 <= answer["wait_seconds"] <= 275, "and what repeated calls took"
    assert f"not yet, repeat after {answer['wait_seconds']} s" in answer["reason"]
    until_it_is_so(site, "register", "healthy", site.ids[0])
    assert (site.registered(), site.claims()) == (before, [])


def test_an_address_that_is_refused_for_good_is_refused_by_hand_in_the_end(addresses: Site) -> None:
    site = addresses
    site.hand("deregister", instance_id=site.ids[0])
    site.account.faults.add("elbv2", "RegisterTargets", "InvalidTarget")
    site.account.advance(590)
    assert site.hand("register", instance_id=site.ids[0])["outcome"] == "unchanged"
    site.account.advance(20)
    answer = site.hand("register", instance_id=site.ids[0])
    assert (answer["outcome"], "InvalidTarget" in answer["reason"]) == ("refused", True)


def test_a_group_of_more_servers_than_one_question_takes_is_planned_whole(new_site: Callable[..., Site]) -> None:
    site = new_site().deployed(DryRun="true")
    ran = site.account.client("ec2").run_instances(
        ImageId="ami-1", InstanceType="t3.micro", MinCount=60, MaxCount=60, SubnetId=site.service.subnet_ids[0]
    )
    targets = [{"Id": instance["InstanceId"]} for instance in ran["Instances"]]
    site.account.advance(40)
    site.elb.register_targets(TargetGroupArn=site.group, Targets=targets)
    site.account.advance(60)
    execution = site.rotates({"hook": HOOKS["ssm-command"]})
    assert (execution.status, len(execution.output["queue"])) == ("SUCCEEDED", 62)


def test_more_targets_than_the_history_of_an_execution_holds_are_refused(addresses: Site) -> None:
    site = addresses
    targets = [{"Id": f"10.0.0.{number}"} for number in range(100, 201)]
    site.elb.register_targets(TargetGroupArn=site.group, Targets=targets)
    site.account.advance(60)
    before, execution = site.registered(), site.rotates()
    assert "103 targets are more than one execution takes (100); name some" in (execution.cause or "")
    assert site.registered() == before


@pytest.mark.parametrize("end", ["the service needs it", "abort"])
def test_an_address_that_has_to_come_back_early_is_waited_for(addresses: Site, end: str) -> None:
    site, before = addresses, addresses.registered()
    execution = site.begins({"hook": {"type": "approval"}, "healthy_timeout_seconds": 60})
    site.account.advance(20)
    if end == "abort":
        site.aborted(execution)
    else:
        site.service.break_application(site.service.instance_ids[1])
    site.until(lambda: execution.status != "RUNNING")
    site.account.advance(900)
    assert (site.registered(), site.claims()) == (before, [])
    assert site.health()[site.ids[0]] == "healthy"


# A hold that cannot be read.


def test_a_hold_that_cannot_be_read_at_first_is_waited_for(site: Site) -> None:
    site.account.faults.add("ssm", "GetParameter", "InternalServerError", status=500)
    execution = site.begins()
    site.account.advance(900)
    assert (execution.states[-1], site.writes()) == ("WaitForTurn", [])
    site.account.faults.clear()
    site.until(lambda: execution.status == "SUCCEEDED")


def test_by_hand_a_hold_that_cannot_be_read_is_no_refusal(site: Site) -> None:
    site.account.faults.add("ssm", "GetParameter", "InternalServerError", status=500)
    answer = site.hand("deregister", instance_id=site.ids[0])
    assert (answer["outcome"], answer["drained"], answer["wait_seconds"]) == ("unchanged", False, 60)
    assert "/site/hold cannot be read" in answer["reason"]
    site.account.faults.clear()
    assert site.hand("deregister", instance_id=site.ids[0])["outcome"] == "changed"
    site.account.faults.add("ssm", "GetParameter", "InternalServerError", status=500)
    assert site.hand("register", instance_id=site.ids[0])["wait_seconds"] == 60


# Redriven.


def redriven(site: Site, execution: Execution) -> None:
    """Let an execution go on that has ended."""
    site.account.client("stepfunctions").redrive_execution(executionArn=execution.arn)
    site.account.settle()


@pytest.mark.parametrize("kind", ["approval", *HOOKS])
@pytest.mark.parametrize("state", ["Hook", "WaitUntilDrained", "Drained"])
def test_no_target_is_commanded_while_it_serves(site: Site, kind: str, state: str) -> None:
    site.patch_document()
    commanded: list[bool] = []

    def answer(instance_id: str, _command: Any) -> tuple[str, float]:
        commanded.append(instance_id in site.health())
        return "Success", 20

    site.account.commands.answer = answer
    last = {"approval": "Ask"}.get(kind, "Run") if state == "Hook" else state
    hook = HOOKS.get(kind, {"type": "approval"})
    execution = site.account.states.start(site.machine, {"hook": hook, "instance_ids": [site.ids[0]]})
    while execution.states[-1:] != [last]:
        assert site.account.clock.step()
    sent = len(site.account.commands.sent)
    site.aborted(execution)
    site.account.advance(3600)
    assert serving(site) == 2
    asked = len(site.mails)
    commanded.clear()
    redriven(site, execution)
    assert site.health()[site.ids[0]] != "healthy" or state != "Hook"  # it leaves anew
    site.until(lambda: execution.states[-1] in ("Ask", "WaitForResult"))
    assert site.ids[0] not in site.health()
    if kind == "approval":
        assert "your turn" in site.mails[-1].subject
        assert len(site.mails) == asked + 1
        site.answers()
    site.until(lambda: execution.status == "SUCCEEDED")
    assert (serving(site), site.claims()) == (2, [])
    assert len(site.account.commands.sent) >= sent
    assert commanded == ([] if kind == "approval" else [False])


def test_what_is_out_for_somebody_else_is_left_to_him(site: Site) -> None:
    execution = site.begins({"hook": {"type": "approval"}, "instance_ids": [site.ids[0]]})
    site.reaches(execution, "Ask")
    site.aborted(execution)
    site.account.advance(600)
    site.hand("deregister", instance_id=site.ids[0])
    site.account.advance(300)
    mails = len(site.mails)
    redriven(site, execution)
    site.until(lambda: execution.status != "RUNNING")
    assert (execution.status, site.ids[0] in site.health()) == ("FAILED", False)
    assert f"{site.ids[0]} is out, by kirikae-{short_id('site')}-target-rotation:hand-" in execution.cause
    assert [mail.subject for mail in site.mails[mails:] if "your turn" in mail.subject] == []
    assert site.claims() == [site.ids[0]]


def test_what_is_out_of_two_groups_for_another_stack_is_left_to_it_in_both(new_site: Callable[..., Site]) -> None:
    site = new_site()
    both = f"{site.group},{(second := site.another_group(8080))}"
    site.deployed(RotationTargetGroupArns=both, ReconcileExpression="rate(1 minute)")
    other = cloudformation.deploy(site.account, site.build, "other", {"RotationTargetGroupArns": both})
    asked = {"hook": {"type": "approval"}, "instance_ids": [site.ids[0]]}
    execution = site.begins(asked)
    site.reaches(execution, "Ask")
    site.aborted(execution)
    site.account.advance(600)
    theirs = site.account.states.start(other.resources["TargetRotationStateMachine"], asked, "theirs")
    site.reaches(theirs, "Ask")
    redriven(site, execution)
    site.until(lambda: execution.status != "RUNNING", 300)
    assert (site.ids[0] in site.health(), site.ids[0] in site.health(second)) == (False, False)
    assert (execution.status, theirs.status) == ("FAILED", "RUNNING")


def test_a_redriven_way_back_has_its_time_again(site: Site) -> None:
    execution = site.begins({"instance_ids": [site.ids[0]], "healthy_timeout_seconds": 120})
    site.reaches(execution, "WaitUntilHealthy")
    site.aborted(execution)
    site.account.advance(3600)
    site.service.break_application(site.ids[0])
    site.account.advance(30)
    redriven(site, execution)
    site.account.advance(60)
    assert execution.status == "RUNNING"
    site.service.mend_application(site.ids[0])
    site.until(lambda: execution.status == "SUCCEEDED")


def test_an_execution_that_has_ended_does_nothing_more_when_it_is_redriven(site: Site) -> None:
    execution = site.begins({"hook": {"type": "approval"}, "instance_ids": [site.ids[0]]})
    site.reaches(execution, "Ask")
    site.answers(done=False)
    site.until(lambda: execution.status == "FAILED")
    site.account.advance(600)
    before, mails, writes = site.registered(), len(site.mails), len(site.writes())
    redriven(site, execution)
    site.account.advance(900)
    assert (execution.status, execution.error, execution.redrives) == ("FAILED", "Stopped", 1)
    assert (site.registered(), site.claims(), len(site.mails), len(site.writes())) == (before, [], mails, writes)
    assert site.rotates({"instance_ids": [site.ids[0]]}).status == "SUCCEEDED", "nor does it keep the next one from it"


# What the attributes of a group ask.


def test_no_zone_loses_its_last_healthy_target_where_each_zone_counts(new_site: Callable[..., Site]) -> None:
    site = new_site().deployed()
    site.asks(site.group, **{CROSS_ZONE: "use_load_balancer_configuration"})
    execution = site.rotates()
    assert (execution.error, site.writes("DeregisterTargets")) == ("Refused", [])
    assert "would have 0 healthy targets in ap-northeast-1a" in execution.cause
    refused = site.hand("deregister", instance_id=site.ids[0])
    assert (refused["outcome"], "ap-northeast-1a" in refused["reason"]) == ("refused", True)


def test_a_zone_with_two_can_spare_one(new_site: Callable[..., Site]) -> None:
    site = new_site()
    third = site.third()  # in the first zone
    site.deployed()
    site.asks(site.group, **{CROSS_ZONE: "false"})
    execution = site.begins({"instance_ids": [site.ids[0], third], "batch_size": 2})
    assert site.registered()[site.group] != []
    assert least_serving(site, execution) == 2
    assert execution.status == "SUCCEEDED"


def test_an_empty_zone_can_be_taken_into_account(new_site: Callable[..., Site]) -> None:
    site = new_site().deployed()
    site.asks(site.group, **{CROSS_ZONE: "false"})
    execution = site.begins({"empty_zones": True})
    assert least_serving(site, execution) == 1
    assert execution.status == "SUCCEEDED"
    assert "a zone whose last healthy target is out serves nobody" in site.mails[0].body
    assert site.hand("deregister", instance_id=site.ids[0], empty_zones=True)["outcome"] == "changed"


def test_the_load_balancers_own_attribute_counts_where_the_group_has_none(new_site: Callable[..., Site]) -> None:
    site = new_site().deployed()
    site.asks(site.group, **{CROSS_ZONE: "use_load_balancer_configuration"})
    on = [{"Key": CROSS_ZONE, "Value": "true"}]
    site.elb.modify_load_balancer_attributes(LoadBalancerArn=site.service.nlb_arn, Attributes=on)
    assert site.rotates().status == "SUCCEEDED"


@pytest.mark.parametrize(
    "threshold", [{f"{UNHEALTHY}.count": "2"}, {f"{DNS}.count": "2"}, {f"{UNHEALTHY}.percentage": "60"}]
)
def test_the_thresholds_of_a_group_are_a_minimum_too(new_site: Callable[..., Site], threshold: dict[str, str]) -> None:
    site = new_site()
    site.asks(site.group, **threshold)
    site.deployed()
    execution = site.rotates()
    assert (execution.error, site.writes("DeregisterTargets")) == ("Refused", [])
    assert "would have 1 healthy targets" in execution.cause
    site.third()
    execution = site.begins()
    assert least_serving(site, execution) == 2
    assert execution.status == "SUCCEEDED"
    assert "its own health thresholds ask for" in site.mails[-2].body


def test_the_next_one_leaves_when_the_one_before_has_started_slowly(new_site: Callable[..., Site]) -> None:
    site = new_site()
    group = behind_an_alb(site, **{"slow_start.duration_seconds": "300"})
    site.deployed(RotationTargetGroupArns=group)
    execution = site.begins()
    healthy_since = None
    while len(site.writes("DeregisterTargets")) < 2:
        site.account.advance(1)
        if site.writes("RegisterTargets") and healthy_since is None and site.health().get(site.ids[0]) == "healthy":
            healthy_since = site.account.clock.time()
    assert site.account.clock.time() - healthy_since >= 300
    site.until(lambda: execution.status == "SUCCEEDED")
    assert "slow start" in site.mails[0].body


def test_connections_that_stay_open_are_named_at_the_start(new_site: Callable[..., Site]) -> None:
    site = new_site().deployed()
    site.rotates()
    assert "connection termination is off" in site.mails[0].body
    site.asks(site.group, **{"deregistration_delay.connection_termination.enabled": "true"})
    site.rotates()
    assert "connection termination" not in site.mails[2].body


def test_a_zonal_shift_leaves_no_capacity_in_its_zone(site: Site) -> None:
    site.account.targets.shifted_zones.add("ap-northeast-1c")  # that of the second
    execution = site.rotates({"instance_ids": [site.ids[0]]})
    assert (execution.error, site.writes("DeregisterTargets")) == ("Refused", [])
    assert "would have 0 healthy targets" in execution.cause
