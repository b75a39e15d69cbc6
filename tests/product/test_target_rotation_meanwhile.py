"""What others do, or parameters ask for, in the middle of a rotation; and what is asked by hand."""

import json
import shlex
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from rotation_stories import HOOKS, Site

from sandbox import REGION
from sandbox.services.stepfunctions import Execution
from sandbox.stack import cloudformation


def asked(site: Site, target: str) -> Callable[[], bool]:
    return lambda: f"your turn on {target}" in site.subjects[-1]


def pasted(site: Site, command: str) -> None:
    """Do what a person does who pastes a command of a mail."""
    words = shlex.split(command)
    given = dict(zip(words[3::2], words[4::2], strict=True))
    if words[2] == "register-targets":
        pairs = dict(part.split("=") for part in given["--targets"].split(","))
        target = {key: int(value) if key == "Port" else value for key, value in pairs.items()}
        site.elb.register_targets(TargetGroupArn=given["--target-group-arn"], Targets=[target])
    else:
        site.elb.remove_tags(ResourceArns=[given["--resource-arns"]], TagKeys=[given["--tag-keys"]])


def test_a_target_that_somebody_deregistered_meanwhile_is_not_registered(site: Site) -> None:
    third = site.third()
    execution = site.begins({"hook": {"type": "approval"}, "instance_ids": [site.ids[0], third]})
    site.until(asked(site, site.ids[0]))
    site.elb.deregister_targets(TargetGroupArn=site.group, Targets=[{"Id": third}])  # broken: a person, or CodeDeploy
    site.account.advance(120)
    assert third not in site.health()
    site.answers()
    site.until(lambda: execution.status != "RUNNING" or asked(site, third)())
    if execution.status == "RUNNING":
        site.answers()
        site.until(lambda: execution.status != "RUNNING")
    site.account.advance(60)
    assert third not in site.health(), site.subjects


def test_a_target_on_another_port_since_the_plan_gets_no_command_while_it_serves(site: Site) -> None:
    third = site.third()
    serving = {}

    def answer(instance_id: str, _command: Any) -> tuple[str, float]:
        serving[instance_id] = [
            t["Target"]
            for t in site.elb.describe_target_health(TargetGroupArn=site.group)["TargetHealthDescriptions"]
            if t["Target"]["Id"] == instance_id and t["TargetHealth"]["State"] != "draining"
        ]
        return "Success", 30

    site.account.commands.answer = answer
    execution = site.begins({"hook": HOOKS["ssm-command"], "instance_ids": [site.ids[0], third]})
    site.until(lambda: site.ids[0] not in site.health())
    # A release moves the application of the third one to 8080.
    site.elb.register_targets(TargetGroupArn=site.group, Targets=[{"Id": third, "Port": 8080}])
    site.elb.deregister_targets(TargetGroupArn=site.group, Targets=[{"Id": third, "Port": 80}])
    site.until(lambda: execution.status != "RUNNING")
    site.account.advance(60)
    now = [
        t["Target"]
        for t in site.elb.describe_target_health(TargetGroupArn=site.group)["TargetHealthDescriptions"]
        if t["Target"]["Id"] == third
    ]
    assert not serving.get(third), (serving, now, execution.status, site.subjects)


@pytest.mark.parametrize("ends", ["answered", "refused", "aborted"])
def test_a_port_that_somebody_adds_while_a_target_is_out_is_left_and_named(site: Site, ends: str) -> None:
    execution = site.begins({"hook": {"type": "approval"}, "instance_ids": [site.ids[0]]})
    site.reaches(execution, "Ask")
    site.elb.register_targets(TargetGroupArn=site.group, Targets=[{"Id": site.ids[0], "Port": 8080}])
    site.account.advance(30)
    site.aborted(execution) if ends == "aborted" else site.answers(ends == "answered")
    site.until(lambda: execution.status != "RUNNING")
    site.account.advance(300)
    name = site.group.split("/")[1]
    assert f"{site.ids[0]}:8080 is healthy in {name}" in site.mails[-1].body, site.mails[-1].body
    assert {json.loads(t)["Port"] for t in site.registered()[site.group] if site.ids[0] in t} == {80, 8080}
    ended, stopped = "rotation finished, 1 of 1 targets", "rotation stopped after 0 of 1 targets"
    assert (
        site.subjects[2:]
        == {
            "answered": [ended],
            "refused": [stopped],
            "aborted": ["rotation: 1 targets left out are registered again", stopped],
        }[ends]
    )


@pytest.mark.parametrize("kind", ["approval", "ssm-command"])
def test_a_target_that_others_put_back_again_and_again_ends_the_rotation(site: Site, kind: str) -> None:
    before, began = site.registered(), []
    site.account.lag.off("elbv2")
    site.account.targets.late_seconds = 0

    def put_back() -> None:
        if began and began[0].states[-1:] in (["Ask"], ["Run"]):
            site.elb.register_targets(TargetGroupArn=site.group, Targets=[{"Id": site.ids[0]}])
        site.account.before("elbv2", "DescribeTargetHealth", put_back)

    put_back()
    began.append(site.begins({"hook": HOOKS.get(kind, {"type": kind})}))
    site.until(lambda: began[0].status != "RUNNING")
    assert (began[0].error, len(site.writes("DeregisterTargets"))) == ("Stopped", 4)
    assert began[0].cause == f"somebody else has registered {site.ids[0]} again 4 times before its hook"
    assert (site.registered(), site.claims(), site.account.commands.sent) == (before, [], [])
    assert site.subjects == ["rotation of 2 targets begins", "rotation stopped after 0 of 2 targets"]


def test_dry_run_switched_on_in_mid_rotation_takes_no_further_target_out(site: Site) -> None:
    execution = site.begins({"hook": {"type": "approval"}})
    site.until(asked(site, site.ids[0]))
    site.updated(DryRun="true")
    site.answers()
    site.until(lambda: execution.status != "RUNNING" or asked(site, site.ids[1])())
    assert len(site.writes("DeregisterTargets")) == 1, site.subjects


@pytest.mark.parametrize("given", ["{hook: {type: approval}}", "{'batch_size': 2}", '{"batch_size": 2,}'])
def test_defaults_that_are_no_json_are_refused_by_name(new_site: Callable[..., Site], given: str) -> None:
    site = new_site().deployed(RotationDefaults=given)
    execution = site.rotates()
    assert (execution.error, "RotationDefaults" in execution.cause) == ("Refused", True)


@pytest.mark.parametrize("code", ["HealthUnavailable", "Throttling"])
def test_health_that_cannot_be_had_for_a_moment_does_not_end_an_approval(site: Site, code: str) -> None:
    execution = site.begins({"hook": {"type": "approval"}, "instance_ids": [site.ids[0]]})
    site.account.faults.add(
        "elbv2", "DescribeTargetHealth", code, status=500, times=4, when=lambda _: execution.states[-1:] == ["Ask"]
    )
    site.until(lambda: execution.status != "RUNNING" or asked(site, site.ids[0])(), 600)
    assert execution.status == "RUNNING", (execution.error, execution.cause)


def test_a_killed_run_does_not_end_an_approval(site: Site) -> None:
    execution = site.begins({"hook": {"type": "approval"}, "instance_ids": [site.ids[0]]})
    site.account.faults.add(
        "elbv2", "DescribeTargetHealth", None, kills=True, times=1, when=lambda _: execution.states[-1:] == ["Ask"]
    )
    site.until(lambda: execution.status != "RUNNING" or asked(site, site.ids[0])(), 600)
    assert execution.status == "RUNNING", (execution.error, execution.cause)


@pytest.mark.parametrize(("least", "batch"), [("2", 2), ("3", 1)])
def test_a_rotation_does_not_bring_the_sorry_page(new_site: Callable[..., Site], least: str, batch: int) -> None:
    site = new_site()
    third = site.third()
    site.deployed(
        NlbListenerArns=site.service.listener_arn,
        PrimaryTargetGroupArn=site.group,
        SorryTargetGroupArn=site.service.sorry_arn,
        PrimaryInstanceIds=",".join([*site.ids, third]),
        MinHealthyTargets=least,
        ReconcileExpression="rate(1 minute)",
    )
    site.account.advance(600)
    sorry = lambda: [w.get(site.service.sorry_arn) for w in site.service.weights().values()]  # noqa: E731
    assert not any(sorry()), site.subjects
    execution = site.begins({"hook": {"type": "approval"}, "batch_size": batch})
    seen = []
    for _ in range(60):
        site.account.advance(10)
        seen.append(any(sorry()))
    assert not any(seen), (site.subjects, execution.status, execution.cause)


def test_an_instance_whose_agent_has_gone_since_the_plan_is_named_at_once(site: Site) -> None:
    execution = site.begins({"hook": HOOKS["ssm-command"], "instance_ids": [site.ids[0]]})
    site.account.commands.deaf.add(site.ids[0])
    site.until(lambda: execution.states[-1:] == ["WaitForResult"] or execution.status != "RUNNING")
    began = site.account.clock.time()
    site.until(lambda: execution.status != "RUNNING", 7200)
    minutes = (site.account.clock.time() - began) / 60
    assert minutes < 15
    assert f"Systems Manager does not reach {site.ids[0]}" in execution.cause


def entering(site: Site, seconds: float) -> None:
    """Let EnteringStandby last, as long as load balancers drain (aws-samples/aws-codedeploy-samples#68)."""
    scaling = site.account.autoscaling
    plain = scaling._enter

    def enter(params: dict[str, Any], principal: str) -> dict[str, Any]:
        done = plain(params, principal)
        members = [
            m
            for m in scaling.group(params["AutoScalingGroupName"]).instance_states
            if m.instance.id in params["InstanceIds"]
        ]
        for member in members:
            member.lifecycle_state = "EnteringStandby"

            def end(member: Any = member) -> None:
                member.lifecycle_state = "Standby"

            site.account.clock.after(seconds, end)
        return done

    site.account.override("autoscaling", "EnterStandby", enter)


@pytest.mark.parametrize("seconds", [0, 300])
def test_an_abort_while_standby_is_being_entered_brings_the_instance_into_service(
    new_site: Callable[..., Site], seconds: float
) -> None:
    site = new_site()
    site.scaled(minimum=2)
    site.deployed(RotationAllowStandby="true", ReconcileExpression="rate(1 minute)")
    site.delay(site.group, 300)
    entering(site, seconds)
    before, group = site.registered(), site.account.autoscaling.group("asg")
    execution = site.begins({"instance_ids": [site.ids[0]]})
    site.reaches(execution, "WaitUntilDrained")
    site.account.advance(20)
    site.aborted(execution)
    site.account.advance(1200)
    states = {target: site.account.autoscaling.state(target) for target in site.ids}
    found = sorted(states.values()), group.min_size, group.desired_capacity, len(group.instance_states)
    assert found == (["InService", "InService"], 2, 2, 2), (found, site.subjects, site.registered() == before)


def test_a_standby_that_is_refused_by_hand_leaves_nothing_behind(new_site: Callable[..., Site]) -> None:
    site = new_site()
    site.scaled(minimum=2)
    site.deployed(RotationAllowStandby="true")
    site.account.faults.add("autoscaling", "EnterStandby", "ScalingActivityInProgress")
    answer = site.hand("deregister", instance_id=site.ids[0])  # the pipeline's script ends here
    site.account.faults.clear()
    site.account.advance(1800)
    group = site.account.autoscaling.group("asg")
    found = group.min_size, site.claims(), [*site.hand("status")["out"]], site.health()[site.ids[0]]
    assert found == (2, [], [], "healthy"), (answer, found, group.tags)


@pytest.mark.parametrize("name", ["release(42)", "it's"])
def test_the_command_that_stops_can_be_pasted_whatever_the_name(site: Site, name: str) -> None:
    execution = site.begins({"instance_ids": [site.ids[0]]}, name=name)
    site.until(lambda: execution.status != "RUNNING")
    line = next(line for line in site.mails[0].body.splitlines() if line.startswith("aws "))
    assert shlex.split(line)[-1] == execution.arn


@pytest.mark.parametrize("strip", [False, True])
def test_both_come_back_when_two_executions_on_other_groups_are_stopped(
    new_site: Callable[..., Site], strip: bool
) -> None:
    site = new_site()
    second = site.another_group(8080)
    site.deployed(RotationTargetGroupArns=f"{site.group},{second}", ReconcileExpression="rate(1 minute)")
    before = site.registered()
    both = []
    for group in (site.group, second):
        both.append(
            site.begins({"instance_ids": [site.ids[0]], "target_group_arns": [group], "hook": {"type": "approval"}})
        )
        site.account.advance(60)
    site.account.advance(200)
    assert [e.states[-1] for e in both] == ["Ask", "Ask"], site.subjects
    if strip:
        for group in (site.group, second):
            site.elb.remove_tags(ResourceArns=[group], TagKeys=[f"kirikae:out:{site.ids[0]}"])
    for execution in both:
        site.account.client("stepfunctions").stop_execution(executionArn=execution.arn)
    site.account.settle()
    site.account.advance(60)
    assert site.registered() == before


def test_force_that_is_no_true_does_not_pass_the_hold(site: Site) -> None:
    site.held(60)
    answer = site.hand("deregister", instance_id=site.ids[0], force="false")
    assert not isinstance(answer, dict) or answer["outcome"] == "refused", answer


def test_a_word_that_means_nothing_by_hand_is_an_error(new_site: Callable[..., Site]) -> None:
    site = new_site()
    second = site.another_group(8080)
    site.deployed(RotationTargetGroupArns=f"{site.group},{second}")
    answer = site.hand("deregister", instance_id=site.ids[0], target_group_arn=[second])  # arns
    assert site.health()[site.ids[0]] == "healthy", answer


def test_a_stopped_executions_target_comes_back_though_another_one_has_it_out_of_another_group(
    new_site: Callable[..., Site],
) -> None:
    site = new_site()
    second = site.another_group(8080)
    site.deployed(RotationTargetGroupArns=f"{site.group},{second}", ReconcileExpression="rate(1 minute)")
    both = []
    for group in (site.group, second):
        both.append(
            site.begins(
                {
                    "instance_ids": [site.ids[0]],
                    "target_group_arns": [group],
                    "hook": {"type": "approval", "timeout_seconds": 86400},
                }
            )
        )
        site.account.advance(60)
    site.account.advance(200)
    assert [e.states[-1] for e in both] == ["Ask", "Ask"], site.subjects
    site.aborted(both[0])
    site.account.advance(3600)
    assert (site.ids[0] in site.health(), both[1].status) == (True, "RUNNING"), (site.subjects, site.hand("status"))


def test_a_stopped_executions_target_comes_back_though_a_pipeline_has_it_out_of_another_group(
    new_site: Callable[..., Site],
) -> None:
    site = new_site()
    second = site.another_group(8080)
    site.deployed(RotationTargetGroupArns=f"{site.group},{second}", ReconcileExpression="rate(1 minute)")
    execution = site.begins(
        {"instance_ids": [site.ids[0]], "target_group_arns": [site.group], "hook": {"type": "approval"}}
    )
    site.reaches(execution, "Ask")
    answer = site.hand("deregister", instance_id=site.ids[0], target_group_arns=[second])
    site.aborted(execution)
    site.account.advance(3600)
    assert site.ids[0] in site.health(), (answer, site.subjects)


def test_a_stopped_instance_is_registered_after_the_rotation_as_it_was_before(site: Site) -> None:
    third = site.third()
    site.service.stop(third)  # as an instance scheduler does at night
    site.account.advance(300)
    before, states = site.registered(), site.health()
    execution = site.rotates()
    site.account.advance(300)
    assert site.registered() == before, (states, execution.status, execution.cause, site.mails[-1].body)


def test_a_target_is_back_when_the_time_of_its_hook_is_over(site: Site) -> None:
    hours = 3
    site.account.commands.answer = lambda *_: ("Success", 1e7)
    site.begins({"hook": {**HOOKS["ssm-command"], "timeout_seconds": 3600 * hours}, "instance_ids": [site.ids[0]]})
    site.until(lambda: bool(site.account.commands.sent))
    began = site.account.clock.time()
    for _ in range(100_000):
        if site.ids[0] in site.health():
            break
        site.account.advance(60)
    took = site.account.clock.time() - began
    assert took <= 3600 * hours + 120, took / 3600


def test_a_server_on_two_ports_is_one_target_to_the_guard(new_site: Callable[..., Site]) -> None:
    site = new_site()
    second = site.another_group(8080, 8081)
    site.deployed(RotationTargetGroupArns=second, RotationMinHealthy="2")
    execution = site.begins({"hook": {"type": "approval"}})
    site.account.advance(300)
    serving = {json.loads(t)["Id"] for t in site.registered()[second]}
    assert len(serving) >= 2, (serving, execution.status, site.mails[0].body[:400])


def test_a_person_may_put_back_what_he_took_out_while_an_execution_waits(site: Site) -> None:
    third = site.third()
    fourth = site.third()
    assert site.hand("deregister", instance_id=third)["outcome"] == "changed"
    site.account.advance(300)
    execution = site.begins({"hook": {"type": "approval"}, "instance_ids": [site.ids[0]]})
    site.until(asked(site, site.ids[0]))
    answer = site.hand("register", instance_id=third)
    assert answer["outcome"] != "refused", (answer, fourth, execution.status)


# What stays in Standby.


def scaled_and_stopped(new_site: Callable[..., Site]) -> tuple[Site, Any]:
    """Return a site, and its Auto Scaling group, whose first instance a hook has stopped in Standby."""
    site = new_site()
    site.scaled(minimum=2)
    site.deployed(RotationAllowStandby="true", ReconcileExpression="rate(1 minute)")
    site.account.commands.answer = lambda target, _command: (site.service.stop(target), ("Success", 5))[1]
    execution = site.rotates({"hook": HOOKS["ssm-command"], "healthy_timeout_seconds": 120})
    assert (execution.status, site.account.autoscaling.state(site.ids[0])) == ("FAILED", "Standby")
    return site, site.account.autoscaling.group("asg")


def test_min_size_stays_owed_until_what_stayed_in_standby_is_in_service(new_site: Callable[..., Site]) -> None:
    site, group = scaled_and_stopped(new_site)
    body = site.mails[-1].body
    assert f"{site.ids[0]} stays in Standby of Auto Scaling group asg" in body
    assert f"exit-standby --region {REGION} --auto-scaling-group-name asg --instance-ids {site.ids[0]}" in body
    site.account.advance(600)
    assert (group.min_size, group.desired_capacity, len(group.instance_states)) == (1, 1, 2)
    group.tags[:] = []  # some tools remove what they do not know
    site.service.start(site.ids[0])
    site.account.advance(60)
    site.account.client("autoscaling").exit_standby(InstanceIds=[site.ids[0]], AutoScalingGroupName="asg")
    site.account.advance(180)
    assert (group.min_size, group.desired_capacity, len(group.instance_states)) == (2, 2, 2)
    assert "min_sizes" not in site.account.client("ssm").get_parameter(Name="/site/rotation")["Parameter"]["Value"]
    assert set(site.health().values()) == {"healthy"}


@pytest.mark.parametrize("batch", [1, 2])
def test_min_size_is_as_before_however_late_auto_scaling_shows_it(new_site: Callable[..., Site], batch: int) -> None:
    site = new_site()
    site.third()
    site.scaled(minimum=2)
    site.deployed(RotationAllowStandby="true", ReconcileExpression="rate(1 minute)")
    site.account.lag.exactly("autoscaling", 4)
    execution = site.rotates({"batch_size": batch, "instance_ids": list(site.ids)})
    site.account.advance(180)
    group = site.account.autoscaling.group("asg")
    assert (execution.status, group.min_size, group.desired_capacity) == ("SUCCEEDED", 2, 2)
    if batch == 2:
        assert len({call.time for call in site.writes("EnterStandby")}) == 1


@pytest.mark.parametrize(
    ("operation", "off"),
    [
        ("UpdateAutoScalingGroup", ()),
        ("EnterStandby", ("stepfunctions", "ssm")),  # the end is seen at once
        ("ExitStandby", ()),
        ("ExitStandby", ("stepfunctions", "ssm")),
    ],
)
def test_min_size_is_as_before_after_a_death_and_an_abort(
    new_site: Callable[..., Site], operation: str, off: tuple[str, ...]
) -> None:
    site = new_site()
    site.scaled(minimum=2)
    site.deployed(RotationAllowStandby="true", ReconcileExpression="rate(1 minute)")
    site.account.lag.exactly("autoscaling", 4)
    if off:
        site.account.lag.off(*off)
    site.account.faults.add("autoscaling", operation, None, times=1, kills=True, after=True, role="TargetRotation")
    execution = site.begins({"instance_ids": [site.ids[0]]})
    if operation == "ExitStandby":
        site.until(lambda: any(call.operation == operation for call in site.account.calls))
    site.aborted(execution)
    site.account.advance(600)
    group = site.account.autoscaling.group("asg")
    assert (group.min_size, group.desired_capacity, set(site.health().values())) == (2, 2, {"healthy"})
    assert "min_sizes" not in site.account.client("ssm").get_parameter(Name="/site/rotation")["Parameter"]["Value"]


@pytest.mark.parametrize(("size", "late"), [(1, 9), (0, 4)])
def test_min_size_is_as_before_though_it_is_shown_late_that_a_dead_run_lowered_it(
    new_site: Callable[..., Site], size: int, late: float
) -> None:
    site = new_site()
    site.third()
    site.scaled(minimum=2)
    site.deployed(RotationAllowStandby="true", ReconcileExpression="rate(1 minute)")
    site.account.lag.exactly("autoscaling", late)
    site.account.lag.off("stepfunctions", "ssm")  # the end is seen at once, and what is owed
    lowers = {"times": 1, "kills": True, "after": True, "when": lambda given: given["MinSize"] == size}
    site.account.faults.add("autoscaling", "UpdateAutoScalingGroup", None, role="TargetRotation", **lowers)
    execution = site.begins({"batch_size": 2, "instance_ids": list(site.ids)})
    site.aborted(execution)
    site.account.advance(600)
    group = site.account.autoscaling.group("asg")
    assert (group.min_size, group.desired_capacity, set(site.health().values())) == (2, 2, {"healthy"})
    assert "min_sizes" not in remembered(site)


@pytest.mark.parametrize("ends", ["answered", "aborted"])
def test_one_that_is_terminated_in_standby_keeps_no_other_out_and_is_told(
    new_site: Callable[..., Site], ends: str
) -> None:
    site = new_site()
    site.third()
    site.scaled(minimum=2)
    site.deployed(RotationAllowStandby="true", ReconcileExpression="rate(1 minute)")
    hook = {"type": "approval", "timeout_seconds": 600}
    execution = site.begins({"hook": hook, "batch_size": 2, "instance_ids": list(site.ids)})
    site.reaches(execution, "Ask")
    site.account.client("ec2").terminate_instances(InstanceIds=[site.ids[0]])
    site.account.advance(60)
    site.answers() if ends == "answered" else site.aborted(execution)
    site.account.advance(1800)
    assert site.health()[site.ids[1]] == "healthy"
    assert site.account.autoscaling.state(site.ids[1]) == "InService"
    told = [m.subject.split(": ", 1)[1] for m in site.mails if site.ids[0] in m.body and "your turn" not in m.subject]
    assert (
        told[1:]
        == {
            "answered": ["rotation FAILED after 1 of 2 targets"],
            "aborted": ["rotation: 1 targets left out stay out, terminated", "rotation stopped after 0 of 2 targets"],
        }[ends]
    )
    assert (execution.status != "RUNNING", site.claims()) == (True, [])


def standing_by(new_site: Callable[..., Site], **given: Any) -> tuple[Site, Any, Execution]:
    """Return a site, its Auto Scaling group, and an execution that asks a person while the first instance stands by."""
    site = new_site()
    site.scaled(minimum=2)
    site.deployed(RotationAllowStandby="true", ReconcileExpression="rate(1 minute)")
    execution = site.begins({"hook": {"type": "approval"}, "instance_ids": [site.ids[0]], **given})
    site.reaches(execution, "Ask")
    group = site.account.autoscaling.group("asg")
    assert (group.min_size, group.desired_capacity, group.instance_states[0].lifecycle_state) == (1, 1, "Standby")
    return site, group, execution


def remembered(site: Site) -> str:
    return str(site.account.client("ssm").get_parameter(Name="/site/rotation")["Parameter"]["Value"])


@pytest.mark.parametrize("ends", ["answered", "aborted"])
@pytest.mark.parametrize("shown", ["in Standby", "no more", "detached"])
def test_min_size_is_as_before_when_what_stood_by_is_no_more(
    new_site: Callable[..., Site], shown: str, ends: str
) -> None:
    """Whether Auto Scaling still lists one that was terminated in Standby, where it checks no health, nobody says."""
    site, group, execution = standing_by(new_site)
    if shown == "detached":
        site.account.client("autoscaling").detach_instances(
            InstanceIds=[site.ids[0]], AutoScalingGroupName="asg", ShouldDecrementDesiredCapacity=False
        )
    else:
        site.service.terminate(site.ids[0])
    if shown == "no more":
        group.instance_states[:] = group.instance_states[1:]
    site.account.advance(60)
    site.answers() if ends == "answered" else site.aborted(execution)
    site.until(lambda: execution.status != "RUNNING")
    site.account.advance(600)
    assert (group.min_size, group.desired_capacity, group.tags) == (2, 2, [])
    assert [member.lifecycle_state for member in group.instance_states].count("InService") == 2
    assert "min_sizes" not in remembered(site)
    assert not [mail for mail in site.mails if "stays in Standby" in mail.body]
    if shown != "detached":
        body = site.mails[-1].body
        assert "is terminated. If its Standby had" in body or "If Standby had lowered a MinSize for them" in body
        assert ("exit-standby" in body, "register-targets" in body) == (False, False)


def test_nothing_is_owed_to_an_auto_scaling_group_that_is_no_more(new_site: Callable[..., Site]) -> None:
    site, _group, execution = standing_by(new_site)
    del site.account.backend("autoscaling").autoscaling_groups["asg"]
    site.answers()
    site.until(lambda: execution.status != "RUNNING")
    site.account.advance(300)
    assert "min_sizes" not in remembered(site)
    assert not [mail for mail in site.mails if "stays in Standby" in mail.body]


def test_min_size_is_as_before_though_a_person_has_another_target_out(new_site: Callable[..., Site]) -> None:
    site, group, execution = standing_by(new_site)
    third = site.third()
    site.service.terminate(site.ids[0])
    site.account.advance(60)
    site.aborted(execution)
    assert site.hand("deregister", instance_id=third, force=True)["outcome"] == "changed"
    site.account.advance(600)
    assert (group.min_size, group.desired_capacity, group.tags) == (2, 2, [])
    assert third not in site.registered()[site.group]


def test_a_tick_does_not_raise_min_size_while_it_makes_room(new_site: Callable[..., Site]) -> None:
    site = new_site()
    site.scaled(minimum=2)
    site.deployed(RotationAllowStandby="true")
    function = site.stack.resources["TargetRotationFunction"]
    site.account.before(
        "autoscaling", "EnterStandby", lambda: site.account.functions.invoke(function, {"source": "aws.events"})
    )
    assert site.hand("deregister", instance_id=site.ids[0])["outcome"] == "changed"
    assert (site.account.autoscaling.group("asg").min_size, site.account.autoscaling.state(site.ids[0])) == (
        1,
        "Standby",
    )


@pytest.mark.parametrize("size", [0, 1, 2])
def test_a_min_size_that_somebody_sets_in_mid_rotation_stays(new_site: Callable[..., Site], size: int) -> None:
    site = new_site()
    site.scaled(minimum=2)
    site.deployed(RotationAllowStandby="true", ReconcileExpression="rate(1 minute)")
    execution = site.begins({"hook": {"type": "approval"}, "instance_ids": [site.ids[0]]})
    site.reaches(execution, "Ask")
    if size != 1:  # the size that it has been lowered to
        site.account.client("autoscaling").update_auto_scaling_group(AutoScalingGroupName="asg", MinSize=size)
    site.answers()
    site.until(lambda: execution.status == "SUCCEEDED")
    site.account.advance(180)
    group = site.account.autoscaling.group("asg")
    assert (group.min_size, group.tags) == (0 if size == 0 else 2, [])
    assert "min_sizes" not in site.account.client("ssm").get_parameter(Name="/site/rotation")["Parameter"]["Value"]


def test_an_instance_that_is_stopped_is_left_in_standby_where_auto_scaling_does_not_terminate_it(
    new_site: Callable[..., Site],
) -> None:
    site = new_site()
    site.scaled(minimum=2)
    site.deployed(RotationAllowStandby="true", ReconcileExpression="rate(1 minute)")
    before, group = site.registered(), site.account.autoscaling.group("asg")
    execution = site.begins({"hook": {"type": "approval"}, "instance_ids": [site.ids[0]]})
    site.reaches(execution, "Ask")
    site.service.stop(site.ids[0])
    site.account.advance(60)
    site.aborted(execution)
    site.account.advance(300)
    assert site.account.autoscaling.state(site.ids[0]) == "Standby"
    assert (group.min_size, group.desired_capacity) == (1, 1)
    site.service.start(site.ids[0])
    site.account.advance(300)
    assert site.account.autoscaling.state(site.ids[0]) == "InService"
    assert (group.min_size, group.desired_capacity, site.registered()) == (2, 2, before)


@pytest.mark.parametrize(("operation", "after"), [("EnterStandby", True), ("DeregisterTargets", False)])
def test_what_an_operation_by_hand_left_in_standby_as_it_died_comes_into_service(
    new_site: Callable[..., Site], operation: str, after: bool
) -> None:
    site = new_site()
    site.scaled(minimum=2)
    group = site.account.autoscaling.group("asg")
    group.target_group_arns.clear()  # its instances are registered by somebody else
    site.deployed(RotationAllowStandby="true", ReconcileExpression="rate(1 minute)")
    service = "autoscaling" if operation == "EnterStandby" else "elbv2"
    site.account.faults.add(service, operation, None, times=1, kills=True, after=after, role="TargetRotation")
    assert "Runtime.ExitError" in site.hand("deregister", instance_id=site.ids[0])
    assert site.account.autoscaling.state(site.ids[0]) == "Standby"
    site.account.advance(600)
    found = group.min_size, group.desired_capacity, site.account.autoscaling.state(site.ids[0]), site.claims()
    assert found == (2, 2, "InService", []), (found, group.tags)
    assert (site.hand("status")["out"], "min_sizes" in remembered(site), site.mails) == ({}, False, [])


@pytest.mark.parametrize("who", ["a tick", "a person"])
def test_what_somebody_else_registered_again_does_not_stay_in_standby(new_site: Callable[..., Site], who: str) -> None:
    site = new_site()
    site.scaled(minimum=2)
    site.deployed(RotationAllowStandby="true", ReconcileExpression="rate(1 minute)")
    assert site.hand("deregister", instance_id=site.ids[0])["outcome"] == "changed"
    site.account.advance(60)
    site.elb.register_targets(TargetGroupArn=site.group, Targets=[{"Id": site.ids[0]}])
    if who == "a tick":
        site.account.faults.add("autoscaling", "ExitStandby", "ScalingActivityInProgress", times=2)
    else:
        site.account.advance(30)
        answer = site.hand("register", instance_id=site.ids[0])
        assert (answer["outcome"], site.account.autoscaling.state(site.ids[0])) == ("changed", "Pending")
    site.account.advance(600)
    group = site.account.autoscaling.group("asg")
    found = group.min_size, group.desired_capacity, site.account.autoscaling.state(site.ids[0]), site.claims()
    assert found == (2, 2, "InService", []), (found, group.tags)
    assert (site.hand("status")["out"], "min_sizes" in remembered(site)) == ({}, False)


def test_min_size_is_as_before_where_two_stacks_have_lowered_it(new_site: Callable[..., Site]) -> None:
    site = new_site()
    third, client = site.third(), site.account.client("autoscaling")
    site.scaled(minimum=2)
    client.attach_instances(AutoScalingGroupName="asg", InstanceIds=[third])
    client.update_auto_scaling_group(AutoScalingGroupName="asg", MinSize=3)
    site.deployed(RotationAllowStandby="true")
    given = {"RotationTargetGroupArns": site.group, "RotationAllowStandby": "true"}
    other = cloudformation.deploy(site.account, site.build, "other", given | {"ReconcileExpression": "rate(5 minutes)"})
    others = other.resources["TargetRotationFunction"]

    def theirs(operation: str) -> Any:
        given = {"operation": operation, "instance_id": site.ids[1]}
        return site.account.functions.invoke(others, given).payload["outcome"]

    assert (site.hand("deregister", instance_id=site.ids[0])["outcome"], theirs("deregister")) == ("changed", "changed")
    group = site.account.autoscaling.group("asg")
    assert (group.min_size, group.desired_capacity) == (1, 1)
    site.account.advance(40)
    assert (site.hand("register", instance_id=site.ids[0])["outcome"], theirs("register")) == ("changed", "changed")
    site.account.advance(40)
    assert site.hand("register", instance_id=site.ids[0])["healthy"]  # it goes back to 3, but only from its own 2
    assert (group.min_size, theirs("register"), group.min_size) == (1, "unchanged", 2)
    site.account.advance(320)
    assert (group.min_size, group.desired_capacity, group.tags, "min_sizes" in remembered(site)) == (3, 3, [], False)


def test_a_port_that_was_added_before_its_turn_comes_back_though_the_task_that_took_it_out_dies(site: Site) -> None:
    execution = site.begins({"hook": {"type": "approval"}, "instance_ids": list(site.ids)})
    site.reaches(execution, "Ask")
    site.elb.register_targets(TargetGroupArn=site.group, Targets=[{"Id": site.ids[1], "Port": 8081}])
    site.account.advance(60)
    before = [target for target in site.registered()[site.group] if site.ids[1] in target]
    site.account.faults.add("elbv2", "DeregisterTargets", None, role="TargetRotation", times=1, kills=True, after=True)
    site.answers()
    site.until(lambda: f"{site.ids[1]}" in site.mails[-1].body and "your turn" in site.mails[-1].subject)
    site.answers()
    site.until(lambda: execution.status != "RUNNING")
    assert [target for target in site.registered()[site.group] if site.ids[1] in target] == before
    assert len(before) == 2
    assert (execution.status, site.claims()) == ("SUCCEEDED", [])


# What other executions, stacks and owners of a group leave room for.


@pytest.mark.parametrize("changed", [False, True])
def test_an_execution_works_on_the_groups_of_the_defaults_that_it_was_planned_with(
    new_site: Callable[..., Site], changed: bool
) -> None:
    site = new_site()
    second = site.another_group(80)
    both = f"{site.group},{second}"
    defaults = {"RotationTargetGroupArns": both, "RotationDefaults": json.dumps({"target_group_arns": [site.group]})}
    site.deployed(**defaults)
    site.reaches(site.begins({"hook": {"type": "approval"}}), "Ask")
    if changed:
        site.updated(**defaults | {"RotationDefaults": json.dumps({"target_group_arns": [second]})})
    other = site.begins({"target_group_arns": [second]})
    assert other.error != "Refused", other.cause
    site.until(lambda: other.status != "RUNNING")
    assert other.status == "SUCCEEDED", other.cause
    assert "rotates the same groups" in site.begins({"target_group_arns": [site.group]}).cause


def test_an_execution_that_is_too_large_to_be_handed_on_is_refused_with_a_mail(new_site: Callable[..., Site]) -> None:
    site, groups = new_site(), []
    for n in range(5):
        name, vpc = f"g{n}-a-name-as-long-as-it-may-be", site.service.vpc_id
        made = site.elb.create_target_group(Name=name, Protocol="TCP", Port=80, VpcId=vpc, TargetType="ip")
        groups.append(made["TargetGroups"][0]["TargetGroupArn"])
        for port in (8080, 8081, 8082):
            targets = [{"Id": f"10.0.1.{i}", "Port": port} for i in range(20, 120)]
            site.elb.register_targets(TargetGroupArn=groups[-1], Targets=targets)
    site.account.advance(30)
    site.deployed(RotationTargetGroupArns=",".join(groups))
    before, execution = site.registered(), site.rotates()
    assert (execution.error, site.subjects) == ("Refused", ["rotation refused, nothing was changed"])
    assert "100 targets in 1500 places, and their hook, are" in site.mails[-1].body
    assert site.registered() == before
    few = {"target_group_arns": groups[:1], "instance_ids": ["10.0.1.20", "10.0.1.21"]}
    assert site.rotates(few).status == "SUCCEEDED"


def tagged(site: Site, room: int) -> None:
    """Give the group so many tags of its owner's that no more than these fit."""
    try:
        for n in range(50):
            site.elb.add_tags(ResourceArns=[site.group], Tags=[{"Key": f"Own{n}", "Value": "v"}])
    except ClientError:
        site.elb.remove_tags(ResourceArns=[site.group], TagKeys=[f"Own{n}" for n in range(room)])


@pytest.mark.parametrize("room", [1, 0])
def test_a_batch_ends_where_the_tags_of_a_group_leave_no_room(new_site: Callable[..., Site], room: int) -> None:
    site = new_site()
    third = site.third()
    site.deployed()
    tagged(site, room)
    before = site.registered()
    execution = site.rotates({"batch_size": 2, "instance_ids": [*site.ids, third], "healthy_timeout_seconds": 60})
    expected = ("SUCCEEDED", None) if room else ("FAILED", "Stopped")
    assert (execution.status, execution.error if not room else None) == expected, execution.cause
    assert (site.registered(), site.claims()) == (before, [])
    assert room or "leave no room for its claim" in execution.cause
    by_hand = site.hand("deregister", instance_id=third)
    assert by_hand["outcome"] == ("changed" if room else "refused"), by_hand


def test_what_comes_back_at_once_counts_as_gone_also_where_no_further_tag_fits(site: Site) -> None:
    site.account.lag.off("elbv2")
    site.account.targets.late_seconds = 0
    tagged(site, 1)

    def dies() -> None:
        site.service.stop(site.ids[1])
        site.elb.deregister_targets(TargetGroupArn=site.group, Targets=[{"Id": site.ids[1]}])

    site.account.before("elbv2", "DeregisterTargets", dies)
    refused = site.hand("deregister", instance_id=site.ids[0])
    assert (refused["outcome"], "put back at once" in refused["reason"]) == ("refused", True), refused
    shown = site.elb.describe_tags(ResourceArns=[site.group])["TagDescriptions"][0]["Tags"]
    assert [tag["Key"] for tag in shown if tag["Key"].startswith("kirikae")] == [f"kirikae:back:{site.ids[0]}"]


@pytest.mark.parametrize("how", ["rotation", "by hand"])
def test_a_target_that_another_stack_is_just_taking_out_is_left_to_it(site: Site, how: str) -> None:
    other = cloudformation.deploy(site.account, site.build, "other", site._parameters())
    site.account.settle()
    site.third()
    site.account.targets.late_seconds = 4
    asked = {"hook": {"type": "approval"}, "instance_ids": [site.ids[0]]}
    execution = site.begins(asked)
    if how == "by hand":
        given = {"operation": "deregister", "instance_id": site.ids[0]}
        answer = site.account.functions.invoke(other.resources["TargetByHandFunction"], given).payload
        assert (answer["outcome"], "is leaving, by" in answer["reason"]) == ("refused", True)
    else:
        theirs = site.account.states.start(other.resources["TargetRotationStateMachine"], asked, "theirs")
        site.account.settle()
        assert theirs.states[-1] == "WaitForTurn"
    site.account.advance(300)
    assert (execution.status, execution.states[-1]) == ("RUNNING", "Ask"), execution.cause
    site.answers()
    site.until(lambda: execution.status != "RUNNING")
    assert execution.status == "SUCCEEDED"


def test_a_target_that_another_stack_took_out_after_the_first_look_is_left_to_it(site: Site) -> None:
    other = cloudformation.deploy(site.account, site.build, "other", site._parameters())
    site.account.settle()
    site.third()
    site.account.lag.off("elbv2")
    site.account.targets.late_seconds = 0
    given = {"operation": "deregister", "instance_id": site.ids[0]}

    def theirs() -> None:
        taken = site.account.functions.invoke(other.resources["TargetByHandFunction"], given).payload
        assert taken["outcome"] == "changed"

    site.account.before("ssm", "PutParameter", theirs)
    answer = site.hand("deregister", instance_id=site.ids[0])
    assert (answer["outcome"], "is out already, by kirikae-" in answer["reason"]) == ("refused", True), answer
    assert site.health()[site.ids[0]] == "draining"


# What a group is no more, or no more named.


@pytest.mark.parametrize("ends", ["answer", "abort"])
def test_a_group_that_was_deleted_keeps_no_target_out_of_the_others_and_is_named(
    new_site: Callable[..., Site], ends: str
) -> None:
    site = new_site()
    second = site.another_group(8080)
    site.deployed(RotationTargetGroupArns=f"{site.group},{second}")
    execution = site.begins({"hook": {"type": "approval"}})
    site.reaches(execution, "Ask")
    site.deletes(second)
    if ends == "answer":
        site.answers()
    else:
        site.aborted(execution)
    site.until(lambda: execution.status != "RUNNING")
    site.account.advance(900)
    assert site.health() == dict.fromkeys(site.ids, "healthy")
    assert site.claims() == []
    assert any("deleted" in mail.body and "second" in mail.body for mail in site.mails[2:])
    told = len(site.mails)
    site.account.advance(3600)  # the parameter names it still
    assert len(site.mails) == told
    tick = site.stack.resources["TargetRotationFunction"]
    assert site.account.functions.invoke(tick, {"source": "aws.events"}).error is None


def test_a_group_that_was_deleted_before_its_hook_ends_the_rotation(new_site: Callable[..., Site]) -> None:
    site = new_site()
    second = site.another_group(8080)
    site.deployed(RotationTargetGroupArns=f"{site.group},{second}")
    execution = site.begins({"hook": {"type": "approval"}})
    site.reaches(execution, "WaitUntilDrained")
    site.deletes(second)
    site.until(lambda: execution.status != "RUNNING")
    assert (execution.error, "Ask" in execution.states) == ("Stopped", False)
    assert execution.cause == "second was deleted"
    assert site.health() == dict.fromkeys(site.ids, "healthy")


@pytest.mark.parametrize("left", [[], [8080]], ids=["of both groups", "of the deleted one only"])
def test_a_group_that_was_deleted_refuses_no_registration_by_hand(
    new_site: Callable[..., Site], left: list[int]
) -> None:
    site = new_site(RotationAllowStandby="true")
    second = site.another_group(8080)
    site.scaled()
    site.account.autoscaling.group("asg").target_group_arns.clear()  # the targets were registered one by one
    site.deployed(RotationTargetGroupArns=f"{site.group},{second}")
    groups = {"target_group_arns": [second]} if left else {}
    assert site.hand("deregister", instance_id=site.ids[0], **groups)["outcome"] == "changed"
    site.account.advance(150)
    site.deletes(second)
    assert site.hand("status")["deleted"] == ["second"]
    answer = site.hand("register", instance_id=site.ids[0])
    assert answer["outcome"] == "changed", answer
    assert "second was deleted" in answer["reason"]
    site.account.advance(150)
    assert site.hand("register", instance_id=site.ids[0])["healthy"] is True
    site.account.lag.catch_up("ssm")  # what follows is not of the same second
    assert site.hand("status")["out"] == {}
    assert site.account.autoscaling.state(site.ids[0]) == "InService"


@pytest.mark.parametrize("ends", ["answer", "abort"])
def test_where_a_group_left_the_parameter_a_person_is_told_how_to_register(
    new_site: Callable[..., Site], ends: str
) -> None:
    site = new_site()
    second = site.another_group(8080)
    site.deployed(RotationTargetGroupArns=f"{site.group},{second}")
    before, target = site.registered(), site.ids[0]
    execution = site.begins({"hook": {"type": "approval"}})
    site.reaches(execution, "Ask")
    site.updated(RotationTargetGroupArns=site.group)
    if ends == "answer":
        site.answers()
    else:
        site.aborted(execution)
    site.until(lambda: execution.status != "RUNNING")
    site.account.advance(3600)
    lines = [line for mail in site.mails for line in mail.body.splitlines()]
    commands = [line for line in lines if line.startswith("aws ") and second in line]
    named = [line.split()[2] for line in commands]
    assert named == ["register-targets", "remove-tags"] + ["register-targets"] * (ends == "abort")  # and at its end
    assert "registered as they were" not in "".join(mail.body for mail in site.mails)
    assert site.health() == dict.fromkeys(site.ids, "healthy")
    assert list(site.hand("status")["elsewhere"]) == [target]  # it is not forgotten
    for line in commands:
        pasted(site, line)
    site.account.advance(900)
    assert site.registered() == before
    assert site.hand("status")["elsewhere"] == {}


def test_by_hand_it_is_said_where_a_group_left_the_parameter(new_site: Callable[..., Site]) -> None:
    site = new_site()
    second, target = site.another_group(8080), site.ids[0]
    site.deployed(RotationTargetGroupArns=f"{site.group},{second}")
    before = site.registered()
    site.hand("deregister", instance_id=target)
    site.account.advance(150)
    site.updated(RotationTargetGroupArns=site.group)
    assert (
        f"--target-group-arn {second} --targets Id={target},Port=8080"
        in site.hand("register", instance_id=target)["reason"]
    )
    site.account.advance(900)
    site.updated(RotationTargetGroupArns=f"{site.group},{second}")
    assert list(site.hand("status")["out"]) == [target]
    assert not site.hand("status")["not_believed"]
    site.hand("register", instance_id=target)
    site.account.advance(150)
    assert site.hand("register", instance_id=target)["healthy"] is True
    assert (site.registered(), site.claims()) == (before, [])


def test_what_stands_by_comes_back_after_the_parameter_is_off(new_site: Callable[..., Site]) -> None:
    site = new_site(RotationAllowStandby="true")
    site.scaled()
    site.deployed()
    execution = site.begins({"hook": {"type": "approval", "timeout_seconds": 600}, "instance_ids": [site.ids[0]]})
    site.reaches(execution, "Ask")
    site.updated(RotationAllowStandby="false")
    site.until(lambda: execution.status != "RUNNING", 7200)
    site.account.advance(900)
    assert {site.account.autoscaling.state(target) for target in site.ids} == {"InService"}


def test_a_command_that_runs_is_waited_for_after_the_parameter_is_emptied(site: Site) -> None:
    site.account.commands.answer = lambda *_: ("Success", 300)
    execution = site.begins({"hook": HOOKS["ssm-command"], "instance_ids": [site.ids[0]]})
    site.reaches(execution, "WaitForResult")
    site.updated(RotationDocuments="")
    site.until(lambda: execution.status != "RUNNING", 7200)
    [command] = site.account.commands.sent
    assert (execution.status, command.statuses[site.ids[0]]) == ("SUCCEEDED", "Success"), execution.cause
