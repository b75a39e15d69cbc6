"""Targets leave, are maintained and come back: the decisions, the executions, and what may go wrong on the way."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rotation_stories import HOOKS, Site

from sandbox import drawn
from sandbox.account import Account
from sandbox.estates import parts

PORT = 8080
NAMED = "AnswerError"
KEY = "arn:aws:kms:ap-northeast-1:123456789012:key/00000000-0000-4000-8000-000000000000"

# One after another.


def test_every_target_leaves_and_comes_back_as_it_was_one_after_another(site: Site) -> None:
    before = site.registered()
    execution = site.rotates()
    assert (execution.status, site.registered(), site.claims()) == ("SUCCEEDED", before, [])
    assert set(site.health().values()) == {"healthy"}
    out = [call.params["Targets"][0]["Id"] for call in site.writes("DeregisterTargets")]
    assert out == list(site.ids)
    back = site.writes("RegisterTargets")[0].time
    assert site.writes("DeregisterTargets")[1].time > back
    assert site.subjects == ["rotation of 2 targets begins", "rotation finished, 2 of 2 targets"]
    assert all(re.search(rf"{target}  \d\d:.* min  rotated", site.mails[-1].body) for target in site.ids)


def test_a_body_that_is_no_answer_is_asked_for_again_and_harms_no_target(build: Path) -> None:
    """Each call of a rotation is answered so once; a sample of them, all with KIRIKAE_SOAK=1."""
    with Account() as account:
        site = Site(account, build).deployed()
        site.rotates()
        called = {
            (c.service, c.operation) for c in account.calls if "TargetRotation" in c.principal and c.service != "sns"
        }
    cells = [(*call, body) for call in sorted(called) for body in ("empty", "cut", "bare", "html")]
    seeded = drawn("cells")
    wrong = {}
    for service, operation, body in cells if os.environ.get("KIRIKAE_SOAK") else seeded.sample(cells, 1):
        with Account() as account:
            site = Site(account, build).deployed()
            before = site.registered()
            account.faults.add(service, operation, None, times=1, body=body, role="TargetRotation")
            execution = site.rotates()
            ended = {run.invocation.payload["errorType"] for run in account.functions.runs if run.invocation.error}
            found = execution.status, site.registered(), site.claims(), set(site.health().values()), ended - {NAMED}
            if found != ("SUCCEEDED", before, [], {"healthy"}, set()):
                wrong[service, operation, body] = found
    assert wrong == {}


def test_an_instance_leaves_every_group_on_every_port_and_comes_back_so(new_site: Callable[..., Site]) -> None:
    site = new_site()
    second = site.another_group(8080, 8081)
    site.deployed(RotationTargetGroupArns=f"{site.group},{second}")
    before = site.registered()
    execution = site.begins({"instance_ids": [site.ids[0]]})
    assert {json.loads(target)["Id"] for target in site.registered()[second]} == {site.ids[1]}
    assert set(site.health().values()) == {"draining", "healthy"}
    site.until(lambda: execution.status == "SUCCEEDED")
    assert site.registered() == before


def test_the_hook_waits_for_the_tail_of_a_network_load_balancer(site: Site) -> None:
    execution = site.begins({"hook": {"type": "approval"}})
    began = site.account.clock.time()
    site.account.advance(60)
    assert site.health()[site.ids[1]] == "healthy"
    assert site.ids[0] not in site.health()  # drained after 30 seconds, as AWS says
    site.reaches(execution, "Ask")
    assert site.account.clock.time() - began >= 120


def test_a_group_that_nothing_uses_is_reported_and_not_waited_for(new_site: Callable[..., Site]) -> None:
    site = new_site()
    second = site.another_group(80, used=False)
    site.deployed(RotationTargetGroupArns=f"{site.group},{second}")
    before = site.registered()
    execution = site.rotates()
    assert (execution.status, site.registered()) == ("SUCCEEDED", before)
    assert all("second: unused, no load balancer forwards to it" in mail.body for mail in site.mails)


def test_a_batch_leaves_together_as_far_as_the_guard_lets_it(site: Site) -> None:
    third = site.third()
    execution = site.begins({"batch_size": 3})
    assert len(site.registered()[site.group]) == 1
    site.until(lambda: execution.status == "SUCCEEDED")
    assert [len(call.params["Targets"]) for call in site.writes("DeregisterTargets")] == [1, 1, 1]
    assert site.health() == dict.fromkeys((*site.ids, third), "healthy")


def test_the_schedule_starts_a_rotation_with_the_defaults(new_site: Callable[..., Site]) -> None:
    site = new_site().deployed(RotationSchedule="rate(30 minutes)", RotationDefaults='{"hook": {"type": "approval"}}')
    site.account.advance(300)
    [execution] = site.account.states.executions
    assert execution.states[-1] == "Ask"


@pytest.mark.parametrize("key", ["", KEY], ids=["without a key", "with a key"])
def test_a_schedule_that_cannot_start_the_rotation_is_told_of(new_site: Callable[..., Site], key: str) -> None:
    site = new_site().deployed(RotationSchedule="rate(30 minutes)", KmsKeyArn=key)
    site.account.states.delete(site.machine.rpartition(":")[2])
    site.account.advance(2100)
    assert [mail.subject for mail in site.account.mails if "FailedEventsAlarm" in mail.subject]


def test_a_dry_run_says_what_would_be_rotated(new_site: Callable[..., Site]) -> None:
    site = new_site().deployed(DryRun="true")
    execution = site.rotates()
    assert (execution.status, site.writes()) == ("SUCCEEDED", [])
    assert site.subjects == ["rotation dry run, 2 targets would be rotated"]
    assert all(target in execution.output["reason"]["en"] and target in site.mails[0].body for target in site.ids)


# The guard.


def test_the_next_target_waits_until_the_others_can_spare_it(new_site: Callable[..., Site]) -> None:
    site = new_site()
    third = site.third()
    site.deployed(RotationMinHealthy="2")
    execution = site.begins({"hook": {"type": "approval"}, "instance_ids": list(site.ids)})
    site.reaches(execution, "Ask")
    site.service.break_application(third)
    site.account.advance(30)
    site.answers()
    site.reaches(execution, "WaitForTurn")
    site.account.advance(120)
    assert site.health() == {site.ids[0]: "healthy", site.ids[1]: "healthy", third: "unhealthy"}
    site.service.mend_application(third)
    site.reaches(execution, "WaitUntilDrained")
    assert site.health()[site.ids[1]] == "draining"


def test_a_target_that_the_service_needs_comes_back_while_it_is_draining(site: Site) -> None:
    before = site.registered()
    execution = site.begins({"hook": {"type": "approval"}})
    site.service.break_application(site.ids[1])
    site.until(lambda: execution.status == "FAILED")
    assert (execution.error, site.registered(), site.claims()) == ("Stopped", before, [])
    assert site.health()[site.ids[0]] == "healthy"
    assert "put back before its hook" in site.mails[-1].body
    assert "Ask" not in execution.states


@pytest.mark.parametrize("late", [0, 3], ids=["at once", "by a read that lags"])
def test_a_target_that_dies_just_before_is_seen(site: Site, late: float) -> None:
    site.account.targets.late_seconds = late
    if not late:
        site.account.lag.off("elbv2")

    def dies() -> None:
        site.service.stop(site.ids[1])
        site.account.client("elbv2").deregister_targets(TargetGroupArn=site.group, Targets=[{"Id": site.ids[1]}])

    site.account.before("elbv2", "AddTags", dies)
    execution = site.begins()
    if not late:
        assert execution.states[-1] == "WaitForTurn"
        assert site.health()[site.ids[0]] == "initial"  # it was put back at once
    site.until(lambda: execution.status == "FAILED")
    assert execution.error == "Stopped"
    assert "would have 0 healthy targets" in execution.cause
    assert (site.health()[site.ids[0]], site.claims()) == ("healthy", [])


@pytest.mark.parametrize("seconds", [0, 3])
def test_of_two_that_take_one_out_at_the_same_moment_at_most_one_succeeds(site: Site, seconds: float) -> None:
    site.account.lag.exactly("elbv2", seconds)
    answers = []
    site.account.before(
        "elbv2", "DeregisterTargets", lambda: answers.append(site.hand("deregister", instance_id=site.ids[1]))
    )
    answers.append(site.hand("deregister", instance_id=site.ids[0]))
    assert sorted(answer["outcome"] for answer in answers) == ["changed", "refused"]
    assert sorted(site.health().values()) == ["draining", "healthy"]
    assert len(site.writes("DeregisterTargets")) == 1  # the other saw the claim and never touched its target


@pytest.mark.parametrize("seconds", [0, 3])
def test_two_that_both_claimed_first_both_retreat(site: Site, seconds: float) -> None:
    site.account.lag.exactly("elbv2", seconds)
    answers = []
    site.account.before("elbv2", "AddTags", lambda: answers.append(site.hand("deregister", instance_id=site.ids[1])))
    site.hand("deregister", instance_id=site.ids[0])
    assert "healthy" in site.health().values()


# One at a time.


def test_a_second_execution_is_refused_with_the_name_of_the_running_one(site: Site) -> None:
    first = site.begins({"hook": {"type": "approval"}}, "first")
    second = site.begins(name="second")
    assert (first.status, second.status, second.error) == ("RUNNING", "FAILED", "Refused")
    assert "the execution first rotates the same groups" in second.cause
    assert len(site.writes("DeregisterTargets")) == 1


def test_of_two_started_at_once_the_first_goes_on(site: Site) -> None:
    executions = [site.account.states.start(site.machine, {}, name) for name in ("b", "a")]
    site.account.settle()
    site.until(lambda: all(execution.status != "RUNNING" for execution in executions))
    assert sorted(execution.status for execution in executions) == ["FAILED", "SUCCEEDED"]
    assert set(site.health().values()) == {"healthy"}


def test_executions_on_other_groups_do_not_mind_each_other(new_site: Callable[..., Site]) -> None:
    site = new_site()
    second = site.another_group(8080)
    site.deployed(RotationTargetGroupArns=f"{site.group},{second}")
    executions = [site.begins({"target_group_arns": [group]}) for group in (site.group, second)]
    site.until(lambda: all(execution.status == "SUCCEEDED" for execution in executions))


def test_an_aborted_execution_does_not_block_the_next(site: Site) -> None:
    site.aborted(site.begins({"hook": {"type": "approval"}}))
    site.account.advance(10)  # until health shows that its target is back
    assert site.rotates().status == "SUCCEEDED"


# Hooks.


def test_a_person_is_asked_for_every_target_and_sees_the_progress(site: Site) -> None:
    execution = site.begins({"hook": {"type": "approval", "timeout_seconds": 600}})
    site.reaches(execution, "Ask")
    assert f"{site.ids[0]} is drained" in site.mails[-1].body
    assert "0 of 2 targets are done" in site.mails[-1].body
    site.answers()
    site.until(lambda: "1 of 2 targets are done" in site.mails[-1].body)
    site.answers()
    site.until(lambda: execution.status == "SUCCEEDED")


@pytest.mark.parametrize("answer", ["abort", "silence"])
def test_an_abort_or_no_answer_puts_the_target_back_and_leaves_the_others(site: Site, answer: str) -> None:
    before = site.registered()
    execution = site.begins({"hook": {"type": "approval", "timeout_seconds": 60}})
    site.reaches(execution, "Ask")
    if answer == "abort":
        site.answers(done=False)
    site.until(lambda: execution.status == "FAILED")
    reasons = {"abort": ("Stopped", "aborted: not today"), "silence": ("Failed", "nobody answered within 60 s")}
    assert (execution.error, execution.cause) == reasons[answer]
    assert (site.registered(), site.health()[site.ids[0]], site.claims()) == (before, "healthy", [])
    assert len(site.writes("DeregisterTargets")) == 1
    assert f"■ Not touched\n{site.ids[1]}" in site.mails[-1].body
    assert re.search(rf"{site.ids[0]} .* put back", site.mails[-1].body)


@pytest.mark.parametrize("kind", HOOKS)
def test_a_command_runs_on_each_instance_while_it_is_out(site: Site, kind: str) -> None:
    site.patch_document()
    seen = []

    def answer(instance_id: str, _command: Any) -> tuple[str, float]:
        seen.append((instance_id, instance_id in site.health()))
        return "Success", 100

    site.account.commands.answer = answer
    execution = site.rotates({"hook": HOOKS[kind]})
    assert (execution.status, seen) == ("SUCCEEDED", [(target, False) for target in site.ids])
    [command, _] = site.account.commands.sent
    expected = {
        "ssm-command": {"commands": HOOKS["ssm-command"].get("commands"), "executionTimeout": ["3600"]},
        "ssm-document": {"Level": ["all"]},
    }
    assert command.parameters == expected[kind]


@pytest.mark.parametrize(("ends", "seconds"), [("Failed", 20), ("TimedOut", 20), ("Cancelled", 20), ("Success", 9999)])
def test_a_failed_or_late_command_stops_the_rotation(site: Site, ends: str, seconds: float) -> None:
    before = site.registered()
    site.account.commands.answer = lambda *_: (ends, seconds)
    execution = site.rotates({"hook": {**HOOKS["ssm-command"], "timeout_seconds": 300}})
    assert (execution.status, execution.error) == ("FAILED", "Failed")
    assert (site.registered(), site.health()[site.ids[0]]) == (before, "healthy")
    [command] = site.account.commands.sent
    assert command.id in site.mails[-1].body
    assert command.statuses[site.ids[0]] == ("Cancelled" if seconds > 300 else ends)


def test_a_command_whose_answer_is_lost_runs_once(site: Site) -> None:
    site.account.faults.add("ssm", "SendCommand", "InternalServerError", status=500, times=1, after=True)
    assert site.rotates({"hook": HOOKS["ssm-command"], "instance_ids": [site.ids[0]]}).status == "SUCCEEDED"
    assert len(site.account.commands.sent) == 1


def test_what_cannot_be_healthy_after_its_hook_stays_out_and_is_named(site: Site) -> None:
    def breaks(instance_id: str, _command: Any) -> tuple[str, float]:
        site.service.break_application(instance_id)
        return "Failed", 5

    site.account.commands.answer = breaks
    execution = site.rotates({"hook": HOOKS["ssm-command"], "healthy_timeout_seconds": 120})
    assert (execution.status, execution.error) == ("FAILED", "Failed")
    assert (site.health()[site.ids[1]], site.health().get(site.ids[0], "out")) == ("healthy", "draining")
    body = site.mails[-1].body
    assert f"NOT BACK: {site.ids[0]}:80 is unhealthy in service-primary" in body
    assert f"--target-group-arn {site.group} --targets Id={site.ids[0]},Port=80" in body
    assert site.claims() == []


def test_an_instance_that_its_hook_stopped_is_named(site: Site) -> None:
    def stops(instance_id: str, _command: Any) -> tuple[str, float]:
        site.service.stop(instance_id)
        return "Success", 5

    site.account.commands.answer = stops
    execution = site.rotates({"hook": HOOKS["ssm-command"], "healthy_timeout_seconds": 120})
    assert execution.status == "FAILED"
    assert f"NOT BACK: {site.ids[0]} is stopped" in site.mails[-1].body
    assert site.health() == {site.ids[1]: "healthy"}


def test_an_instance_that_reboots_in_its_hook_is_waited_for(site: Site) -> None:
    def stops(instance_id: str, _command: Any) -> tuple[str, float]:
        site.service.stop(instance_id)
        site.account.clock.after(90, lambda: site.service.start(instance_id))
        return "Success", 5

    site.account.commands.answer = stops
    before = site.registered()
    assert site.rotates({"hook": HOOKS["ssm-command"]}).status == "SUCCEEDED"
    assert site.registered() == before


# Aborted, crashed, throttled.

STATES = ["Plan", "TakeOut", "WaitUntilDrained", "Drained", "Ask", "PutBack", "WaitUntilHealthy"]


@pytest.mark.parametrize("state", STATES)
def test_an_abort_at_any_point_leaves_every_target_registered_as_it_was(site: Site, state: str) -> None:
    before = site.registered()
    execution = site.account.states.start(site.machine, {"hook": {"type": "approval"}})
    answered = False
    while execution.states[-1:] != [state]:
        if execution.states[-1:] == ["Ask"] and not answered:
            site.answers()
            answered = True
        assert site.account.clock.step()
    site.aborted(execution)
    site.account.advance(60)
    assert (execution.status, site.registered()) == ("ABORTED", before)
    assert set(site.health().values()) == {"healthy"}
    site.account.advance(300)  # a task under way at the end is waited for, then the claim is closed
    assert site.claims() == []


def test_an_abort_in_the_middle_of_a_task_is_seen_by_its_second_look(site: Site) -> None:
    before = site.registered()

    def abort() -> None:
        for execution in site.account.states.executions:
            site.account.client("stepfunctions").stop_execution(executionArn=execution.arn)

    site.account.lag.off("stepfunctions")  # an end that shows later is found by the next tick
    site.account.before("elbv2", "DeregisterTargets", abort)
    site.begins()
    assert (site.registered(), site.claims()) == (before, [])


def test_a_task_that_dies_after_its_change_is_repeated_without_harm(site: Site) -> None:
    site.account.faults.add("elbv2", "DeregisterTargets", None, times=1, after=True)
    before = site.registered()
    assert site.rotates().status == "SUCCEEDED"
    assert site.registered() == before


def test_a_task_that_fails_between_two_groups_is_finished_before_the_hook(new_site: Callable[..., Site]) -> None:
    site = new_site()
    second = site.another_group(80)
    site.deployed(RotationTargetGroupArns=f"{site.group},{second}")
    site.account.faults.add(
        "elbv2", "DeregisterTargets", "Throttling", times=3, when=lambda given: given["TargetGroupArn"] == site.group
    )
    before = site.registered()
    execution = site.begins({"instance_ids": [site.ids[0]], "hook": {"type": "approval"}})
    site.reaches(execution, "Ask")
    assert site.ids[0] not in site.health() | site.health(second)
    site.answers()
    site.until(lambda: execution.status == "SUCCEEDED")
    assert site.registered() == before


def test_throttling_is_waited_out(site: Site) -> None:
    execution = site.begins()
    site.account.faults.add("elbv2", "DescribeTargetHealth", "Throttling", times=10)
    site.until(lambda: execution.status != "RUNNING")
    assert execution.status == "SUCCEEDED"


def test_what_could_not_be_put_back_comes_back_when_the_api_does(site: Site) -> None:
    before = site.registered()
    execution = site.begins({"instance_ids": [site.ids[0]]})
    site.account.faults.add("elbv2", "RegisterTargets", "ServiceUnavailable", status=503)
    site.until(lambda: execution.status != "RUNNING")
    assert (execution.status, site.claims()) == ("FAILED", [site.ids[0]])
    assert "could not be put back yet" in site.mails[-1].body
    site.account.faults.clear()
    site.account.advance(420)
    assert (site.registered(), site.claims()) == (before, [])
    assert site.subjects[-1] == "rotation: 1 targets left out are registered again"


# Holds and the sorry page.


def test_a_held_stack_refuses_to_begin(site: Site) -> None:
    site.held(60)
    execution = site.rotates()
    assert (execution.error, site.writes()) == ("Refused", [])
    assert "database work" in execution.cause


def test_a_hold_pauses_between_targets(site: Site) -> None:
    execution = site.begins()
    site.held(600)
    site.account.advance(1800)
    assert execution.states[-1] == "WaitForTurn"
    assert (len(site.writes("DeregisterTargets")), set(site.health().values())) == (1, {"healthy"})
    site.held(None)
    site.until(lambda: execution.status == "SUCCEEDED")


@pytest.mark.parametrize("parameter", ["SorryTargetGroupArn", "SorryTargetGroupArns"])
def test_a_switch_to_the_sorry_page_stops_it_after_the_current_target(
    new_site: Callable[..., Site], parameter: str
) -> None:
    site = new_site()
    site.deployed(
        NlbListenerArns=site.service.listener_arn,
        PrimaryTargetGroupArn=site.group,
        **{parameter: site.service.sorry_arn},
        AutoSwitchback="false",
    )
    before = site.registered()
    execution = site.begins({"hook": {"type": "approval"}})
    site.reaches(execution, "Ask")
    site.service.forward({site.group: 0, site.service.sorry_arn: 1})
    site.answers()
    site.until(lambda: execution.status == "FAILED")
    assert (execution.error, execution.cause) == ("Stopped", "the sorry page is on")
    assert (site.registered()[site.group], len(site.writes("DeregisterTargets"))) == (before[site.group], 1)
    assert site.rotates().cause == "the sorry page is on"


def test_a_listener_that_was_deleted_keeps_no_target_from_its_maintenance(new_site: Callable[..., Site]) -> None:
    site = new_site()
    other = parts.listener(site.account, site.service.nlb_arn, "TCP", 8444, parts.forward(site.group))
    arns = f"{site.service.listener_arn},{other}"
    sorry = site.service.sorry_arn
    site.deployed(NlbListenerArns=arns, PrimaryTargetGroupArn=site.group, SorryTargetGroupArn=sorry)
    site.elb.delete_listener(ListenerArn=other)
    assert site.rotates().status == "SUCCEEDED"


# Auto Scaling.


def test_an_instance_of_an_auto_scaling_group_is_refused_unless_standby_is_allowed(site: Site) -> None:
    site.scaled()
    execution = site.rotates()
    assert (execution.error, site.writes()) == ("Refused", [])
    assert "RotationAllowStandby=true lets it enter Standby" in execution.cause


@pytest.mark.parametrize("ends", ["Success", "Failed", "abort"])
def test_standby_is_entered_and_left_and_min_size_is_restored(new_site: Callable[..., Site], ends: str) -> None:
    site = new_site()
    site.scaled(minimum=2)
    site.deployed(RotationAllowStandby="true")
    before, group = site.registered(), site.account.autoscaling.group("asg")
    seen = []

    def answer(instance_id: str, _command: Any) -> tuple[str, float]:
        seen.append((site.account.autoscaling.state(instance_id), group.min_size, group.desired_capacity))
        return ("Success", 9999) if ends == "abort" else (ends, 5)

    site.account.commands.answer = answer
    execution = site.begins({"hook": HOOKS["ssm-command"]})
    site.until(lambda: bool(seen))
    if ends == "abort":
        site.aborted(execution)
    site.until(lambda: execution.status != "RUNNING")
    site.account.advance(60)
    assert set(seen) == {("Standby", 1, 1)}
    assert (group.min_size, group.desired_capacity) == (2, 2)
    assert {site.account.autoscaling.state(target) for target in site.ids} == {"InService"}
    assert (site.registered(), set(site.health().values())) == (before, {"healthy"})
    assert [tag for tag in group.tags if tag["Key"].startswith("kirikae")] == []


def tag_min_size(site: Site, value: str) -> None:
    """Write what a rotation remembers MinSize by, as anybody may who may tag the group."""
    tag = {"ResourceId": "asg", "ResourceType": "auto-scaling-group", "Key": "kirikae:min-size", "Value": value}
    site.account.client("autoscaling").create_or_update_tags(Tags=[{**tag, "PropagateAtLaunch": False}])


@pytest.mark.parametrize("value", ["4", "0", "many", ""])
def test_a_min_size_that_somebody_else_has_tagged_is_not_believed(new_site: Callable[..., Site], value: str) -> None:
    site = new_site()
    site.scaled(minimum=2)
    site.deployed(RotationAllowStandby="true")
    tag_min_size(site, value)
    assert site.rotates().status == "SUCCEEDED"
    group = site.account.autoscaling.group("asg")
    assert (group.min_size, group.desired_capacity) == (2, 2)
    assert [tag for tag in group.tags if tag["Key"].startswith("kirikae")] == []


@pytest.mark.parametrize("value", ["4", "many"])
def test_a_min_size_that_somebody_tags_in_mid_rotation_is_not_believed(
    new_site: Callable[..., Site], value: str
) -> None:
    site = new_site()
    site.scaled(minimum=2)
    site.deployed(RotationAllowStandby="true")
    site.account.commands.answer = lambda _instance_id, _command: (tag_min_size(site, value), ("Success", 5))[1]
    assert site.rotates({"hook": HOOKS["ssm-command"], "instance_ids": [site.ids[0]]}).status == "SUCCEEDED"
    group = site.account.autoscaling.group("asg")
    assert (group.min_size, group.desired_capacity) == (2, 2)
    assert [tag for tag in group.tags if tag["Key"].startswith("kirikae")] == []


@pytest.mark.parametrize("value", ["4", "many"])
def test_a_min_size_that_would_launch_instances_is_left_to_people(new_site: Callable[..., Site], value: str) -> None:
    """Nothing was lowered here, so nothing but the tag says what is owed."""
    site = new_site()
    site.scaled(minimum=1)
    site.deployed(RotationAllowStandby="true")
    tag_min_size(site, value)
    assert site.rotates({"instance_ids": [site.ids[0]]}).status == "SUCCEEDED"
    group = site.account.autoscaling.group("asg")
    assert (group.min_size, group.desired_capacity) == (1, 2)
    assert [tag["Value"] for tag in group.tags if tag["Key"].startswith("kirikae")] == [value]


def test_an_instance_in_standby_is_left_aside(new_site: Callable[..., Site]) -> None:
    site = new_site()
    site.scaled(minimum=0)
    site.deployed(RotationAllowStandby="true")
    third = site.third()
    site.account.client("autoscaling").enter_standby(
        InstanceIds=[site.ids[0]], AutoScalingGroupName="asg", ShouldDecrementDesiredCapacity=True
    )
    execution = site.rotates({"instance_ids": [site.ids[0], third]})
    assert execution.status == "SUCCEEDED"
    assert f"{site.ids[0]}: Standby in Auto Scaling group asg" in site.mails[-1].body


def in_one_by_one(new_site: Callable[..., Site]) -> Site:
    """Return a site whose Auto Scaling group has no target group: its instances were registered one by one."""
    site = new_site()
    site.scaled(minimum=0)
    site.account.autoscaling.group("asg").target_group_arns.clear()
    return site


def stands_by(site: Site, target: str) -> None:
    """Let a person put an instance into Standby."""
    given = {"AutoScalingGroupName": "asg", "ShouldDecrementDesiredCapacity": True}
    site.account.client("autoscaling").enter_standby(InstanceIds=[target], **given)


def test_an_instance_that_a_person_has_put_into_standby_meanwhile_stays_there(new_site: Callable[..., Site]) -> None:
    site = in_one_by_one(new_site).deployed(RotationAllowStandby="true")
    x, y = site.ids
    execution = site.begins({"instance_ids": [y, x]})
    stands_by(site, x)
    site.until(lambda: execution.status != "RUNNING")
    assert (site.account.autoscaling.state(x), site.account.autoscaling.state(y)) == ("Standby", "InService")
    assert (execution.status, x in site.health()) == ("SUCCEEDED", True)
    assert f"{x}: Standby in Auto Scaling group asg when its turn came" in site.mails[-1].body


def test_an_instance_that_another_execution_has_in_standby_stays_there(new_site: Callable[..., Site]) -> None:
    site = in_one_by_one(new_site)
    second, (x, y) = site.another_group(8080), site.ids
    site.account.client("autoscaling").update_auto_scaling_group(AutoScalingGroupName="asg", MinSize=2)
    site.deployed(RotationTargetGroupArns=f"{site.group},{second}", RotationAllowStandby="true")
    other = site.begins({"target_group_arns": [second], "instance_ids": [y, x]})
    site.account.advance(10)
    one = site.begins({"target_group_arns": [site.group], "instance_ids": [x], "hook": {"type": "approval"}})
    site.until(lambda: other.status != "RUNNING")
    group = site.account.autoscaling.group("asg")
    assert (one.states[-1], site.account.autoscaling.state(x)) == ("Ask", "Standby")
    site.answers()
    site.until(lambda: one.status != "RUNNING")
    site.account.advance(60)
    assert (site.account.autoscaling.state(x), group.min_size, group.desired_capacity) == ("InService", 2, 2)


def test_an_instance_that_a_person_has_in_standby_is_refused_by_hand(new_site: Callable[..., Site]) -> None:
    site = in_one_by_one(new_site).deployed(RotationAllowStandby="true")
    stands_by(site, site.ids[0])
    before, refused = site.registered(), site.hand("deregister", instance_id=site.ids[0])
    site.account.advance(30)
    assert (refused["outcome"], "in Standby of Auto Scaling group asg already" in refused["reason"]) == (
        "refused",
        True,
    )
    assert (site.registered(), site.claims(), site.hand("status")["out"]) == (before, [], {})
    site.account.advance(900)
    assert site.account.autoscaling.state(site.ids[0]) == "Standby"


def with_another_attached(new_site: Callable[..., Site]) -> tuple[Site, str]:
    """Return a site whose Auto Scaling group has another target group attached, which the first one serves alone."""
    site = new_site()
    second = site.another_group(80)
    site.elb.deregister_targets(TargetGroupArn=second, Targets=[{"Id": site.ids[1], "Port": 80}])
    site.scaled()
    site.account.autoscaling.group("asg").target_group_arns.append(second)
    site.account.advance(60)
    return site, second


@pytest.mark.parametrize("how", ["RotationTargetGroupArns", "target_group_arns", "by hand"])
def test_standby_empties_no_group_that_is_not_guarded(new_site: Callable[..., Site], how: str) -> None:
    site, second = with_another_attached(new_site)
    groups = site.group if how == "RotationTargetGroupArns" else f"{site.group},{second}"
    site.deployed(RotationAllowStandby="true", RotationTargetGroupArns=groups)
    before = site.registered()
    if how == "by hand":
        said = site.hand("deregister", instance_id=site.ids[0], target_group_arns=[site.group])["reason"]
    else:
        execution = site.rotates({"target_group_arns": [site.group]})
        said = execution.cause
        assert execution.error == "Refused"
    assert "would leave second, too, which Auto Scaling group asg has attached" in said
    assert "RotationTargetGroupArns" in said
    site.account.advance(60)
    assert (site.registered(), site.writes(), site.claims()) == (before, [], [])
    assert site.account.autoscaling.group("asg").min_size == 2


def test_a_group_that_is_attached_after_the_plan_is_not_emptied(new_site: Callable[..., Site]) -> None:
    site, second = with_another_attached(new_site)
    attached = site.account.autoscaling.group("asg").target_group_arns
    attached.remove(second)
    site.deployed(RotationAllowStandby="true")
    execution = site.begins({"instance_ids": [site.ids[1], site.ids[0]], "healthy_timeout_seconds": 60})
    site.reaches(execution, "WaitUntilHealthy")
    attached.append(second)
    site.until(lambda: execution.status != "RUNNING")
    assert (execution.error, site.health(second)[site.ids[0]]) == ("Stopped", "healthy")
    assert "would leave second, too" in execution.cause


def over_two_zones(new_site: Callable[..., Site], *subnets: int) -> tuple[Site, list[str]]:
    """Return a site whose Auto Scaling group has more instances, in its first or second zone, and all of them."""
    site = new_site()
    ec2, more = site.account.client("ec2"), list[str]()
    for subnet in subnets:
        given = {"ImageId": "ami-1", "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
        ran = ec2.run_instances(SubnetId=site.service.subnet_ids[subnet], **given)
        more.append(str(ran["Instances"][0]["InstanceId"]))
    site.account.advance(40)
    site.elb.register_targets(TargetGroupArn=site.group, Targets=[{"Id": target} for target in more])
    site.scaled(minimum=0)
    site.account.client("autoscaling").attach_instances(AutoScalingGroupName="asg", InstanceIds=more)
    site.account.advance(60)
    return site, [*site.ids, *more]


def members_of(site: Site) -> set[str]:
    """Return the instances of the Auto Scaling group."""
    return {member.instance.id for member in site.account.autoscaling.group("asg").instance_states}


@pytest.mark.parametrize("how", ["rotation", "by hand"])
def test_nothing_leaves_that_would_have_auto_scaling_balance_its_zones(new_site: Callable[..., Site], how: str) -> None:
    site, targets = over_two_zones(new_site, 0)
    site.deployed(RotationAllowStandby="true")
    alone = targets[1]  # in the second zone
    said = site.rotates().cause if how == "rotation" else site.hand("deregister", instance_id=alone)["reason"]
    assert f"without {alone}, Auto Scaling group asg would have 2 instances in service in ap-northeast-1a and 0" in said
    assert "aws autoscaling suspend-processes --region ap-northeast-1 --auto-scaling-group-name asg" in said
    site.account.advance(300)
    assert (members_of(site), site.writes(), site.claims()) == (set(targets), [], [])


@pytest.mark.parametrize("why", ["suspended", "each zone can spare one"])
def test_a_rotation_leaves_the_instances_of_an_auto_scaling_group_as_they_are(
    new_site: Callable[..., Site], why: str
) -> None:
    site, targets = over_two_zones(new_site, *([0] if why == "suspended" else [0, 1]))
    client = site.account.client("autoscaling")
    if why == "suspended":
        client.suspend_processes(AutoScalingGroupName="asg", ScalingProcesses=["AZRebalance"])
    site.deployed(RotationAllowStandby="true")
    before = site.registered()
    order = [targets[0], *targets[2:3], targets[1], *targets[3:]]  # zone by zone, so that a batch is of one zone
    execution = site.rotates({"batch_size": 2, "instance_ids": order})
    assert (execution.status, members_of(site)) == ("SUCCEEDED", set(targets)), execution.cause
    assert site.registered() == before


@pytest.mark.parametrize("when", ["before its turn", "before the plan", "before the plan, and a group is idle"])
def test_a_stopped_instance_stays_registered(new_site: Callable[..., Site], when: str) -> None:
    site = new_site()
    third, second = site.third(), site.another_group(80, used=False)
    site.elb.register_targets(TargetGroupArn=second, Targets=[{"Id": third, "Port": 80}])
    site.account.advance(30)
    groups = f"{site.group},{second}" if "idle" in when else site.group
    site.deployed(RotationTargetGroupArns=groups)
    before = site.registered()
    if when == "before its turn":
        execution = site.begins({"instance_ids": [site.ids[0], third]})
        site.service.stop(third)
    else:
        site.service.stop(third)
        site.account.advance(120)
        execution = site.begins({"instance_ids": [site.ids[0], third]})
    site.until(lambda: execution.status != "RUNNING")
    assert (execution.status, site.registered()) == ("SUCCEEDED", before), execution.cause
    assert f"{third}: registered, but its instance does not run" in site.mails[-1].body


def test_an_instance_that_auto_scaling_is_about_to_terminate_at_its_turn_is_left_aside(
    new_site: Callable[..., Site],
) -> None:
    site = new_site()
    site.scaled(minimum=0)
    third = site.third()
    site.deployed(RotationAllowStandby="true")
    execution = site.begins({"instance_ids": [third, site.ids[0]]})
    members = site.account.autoscaling.group("asg").instance_states
    next(each for each in members if each.instance.id == site.ids[0]).lifecycle_state = "Terminating:Wait"
    site.until(lambda: execution.status != "RUNNING")
    assert execution.status == "SUCCEEDED", execution.cause
    assert f"{site.ids[0]}: Terminating:Wait in Auto Scaling group asg when its turn came" in site.mails[-1].body


def test_an_instance_that_has_joined_an_auto_scaling_group_leaves_as_it_is_at_its_turn(
    new_site: Callable[..., Site],
) -> None:
    site = new_site()
    third = site.third()
    site.deployed()
    execution = site.begins({"instance_ids": [third, site.ids[0]]})
    site.scaled(minimum=0)
    site.until(lambda: execution.status != "RUNNING")
    assert (execution.status, len(site.writes("DeregisterTargets"))) == ("SUCCEEDED", 1), execution.cause
    assert f"{site.ids[0]}: in Auto Scaling group asg, RotationAllowStandby being false" in site.mails[-1].body


@pytest.mark.parametrize("why", ["stopped", "draining", "Standby"])
def test_a_target_that_is_not_rotated_refuses_no_command_on_the_others(new_site: Callable[..., Site], why: str) -> None:
    site = new_site()
    if why == "Standby":
        site.scaled(minimum=0)
        site.account.autoscaling.group("asg").target_group_arns.clear()
    third, target = site.third(), site.ids[0]
    site.deployed(RotationAllowStandby="true")
    site.delay(site.group, 600)
    if why == "stopped":
        site.service.stop(target)
        site.account.advance(120)
    elif why == "draining":
        site.elb.deregister_targets(TargetGroupArn=site.group, Targets=[{"Id": target}])
    else:
        stands_by(site, target)
    site.account.advance(10)
    site.account.commands.deaf.add(target)
    execution = site.rotates({"hook": HOOKS["ssm-command"]}, seconds=7200)
    assert execution.status == "SUCCEEDED", execution.cause
    assert sorted(each for command in site.account.commands.sent for each in command.statuses) == sorted(
        [site.ids[1], third]
    )


# Bad input: one clear refusal, nothing deregistered.

BAD = [
    pytest.param("text", "the input is 'text', expected a JSON object", id="an input that is no object"),
    pytest.param({"hooks": {}}, "the input has hooks", id="an unknown field"),
    pytest.param({"instance_ids": ["i-0123456789abcdef0"]}, "registered in none", id="an instance in no group"),
    pytest.param(
        {"instance_ids": ["i-0123456789abcdef01"]},
        "i-0123456789abcdef01 is registered in none",
        id="an id that is too long",
    ),
    pytest.param({"instance_ids": []}, "instance_ids is empty", id="an empty list"),
    pytest.param({"hook": {"type": "script"}}, "hook is", id="an unknown hook"),
    pytest.param({"hook": "none"}, "hook is 'none'", id="a hook that is no object"),
    pytest.param({"hook": {"type": "none", "commands": ["a"]}}, "has commands", id="a hook with another's field"),
    pytest.param({"hook": {"type": "ssm-command"}}, "needs commands", id="a command hook without commands"),
    pytest.param(
        {"hook": {"type": "ssm-document", "document": "Patch"}}, "there is no document Patch", id="a missing document"
    ),
    pytest.param(
        {"hook": {"type": "ssm-document", "document": "Other"}},
        "document Other is not listed in RotationDocuments",
        id="a document that is not allowed",
    ),
    pytest.param({"batch_size": 0}, "batch_size is 0", id="an empty batch"),
    pytest.param({"batch_size": True}, "batch_size is True", id="a batch that is no number"),
    pytest.param({"drain_timeout_seconds": 60}, "draining takes 120 s", id="less time than draining takes"),
    pytest.param({"target_group_arns": ["arn:x"]}, "expected only groups of RotationT", id="a foreign group"),
]


@pytest.mark.parametrize(("given", "reason"), BAD)
def test_bad_input_is_refused_whole(site: Site, given: Any, reason: str) -> None:
    execution = site.rotates(given)
    assert (execution.status, execution.error, site.writes()) == ("FAILED", "Refused", [])
    assert reason in execution.cause
    assert site.subjects == ["rotation refused, nothing was changed"]
    assert reason in site.mails[0].body


def test_every_problem_is_named_at_once(site: Site) -> None:
    given = {"batch_size": 99, "hook": {"type": "ssm-command"}, "healthy_timeout_seconds": "soon"}
    cause = site.rotates(given).cause
    assert all(word in cause for word in ("batch_size", "commands", "healthy_timeout_seconds"))


def test_groups_that_cannot_be_rotated_are_refused(new_site: Callable[..., Site]) -> None:
    site = new_site().deployed(RotationMinHealthy="2")
    assert "would have 1 healthy targets" in site.rotates().cause
    site.service.break_application()
    site.account.advance(60)
    assert "service-primary has 0 healthy targets, needed 2 to begin with" in site.rotates().cause
    site.elb.deregister_targets(TargetGroupArn=site.group, Targets=[{"Id": target} for target in site.ids])
    site.account.advance(60)
    assert "service-primary has no registered target" in site.rotates().cause
    assert site.writes() == []


def test_a_group_of_a_load_balancer_is_refused(new_site: Callable[..., Site]) -> None:
    site = new_site()
    site.deployed(RotationTargetGroupArns=site.service.sorry_arn)
    assert "service-sorry has targets of type alb, expected instance or ip" in site.rotates().cause


def test_an_instance_that_systems_manager_does_not_reach_is_refused(site: Site) -> None:
    site.account.commands.deaf.add(site.ids[1])
    execution = site.rotates({"hook": HOOKS["ssm-command"]})
    assert (execution.error, site.writes()) == ("Refused", [])
    assert f"Systems Manager does not reach {site.ids[1]}" in execution.cause


# By hand.


def test_a_pipeline_takes_a_target_out_and_puts_it_back_by_asking_until_it_is_so(site: Site) -> None:
    before = site.registered()
    answer = site.hand("deregister", instance_id=site.ids[0])
    assert (answer["outcome"], answer["drained"]) == ("changed", False)
    for _ in range(20):
        site.account.advance(answer["wait_seconds"])
        answer = site.hand("deregister", instance_id=site.ids[0])
        if answer["drained"]:
            break
    assert (answer["outcome"], answer["drained"], answer["wait_seconds"]) == ("unchanged", True, 0)
    assert site.hand("status")["out"].keys() == {site.ids[0]}
    answer = site.hand("register", instance_id=site.ids[0])
    assert (answer["outcome"], answer["healthy"], site.registered()) == ("changed", False, before)
    site.account.advance(answer["wait_seconds"])
    assert site.hand("register", instance_id=site.ids[0])["healthy"]
    assert site.claims() == []
    assert site.hand("register", instance_id=site.ids[0])["outcome"] == "unchanged"


def test_an_instance_that_is_just_starting_is_not_refused(site: Site) -> None:
    site.hand("deregister", instance_id=site.ids[0])
    site.account.advance(150)
    site.service.stop(site.ids[0])
    site.account.advance(1000)
    assert site.hand("register", instance_id=site.ids[0])["outcome"] == "refused"
    site.account.client("ec2").start_instances(InstanceIds=[site.ids[0]])
    answer = site.hand("register", instance_id=site.ids[0])
    assert answer["outcome"] == "unchanged", answer
    assert "not yet, repeat after 15 s" in answer["reason"]


@pytest.mark.parametrize(
    ("code", "status"), [("Throttling", 400), ("ServiceUnavailable", 503), ("InternalFailure", 500)]
)
def test_what_passes_refuses_no_registration(site: Site, code: str, status: int) -> None:
    site.hand("deregister", instance_id=site.ids[0])
    site.account.advance(1000)
    site.account.faults.add("elbv2", "RegisterTargets", code, status=status)
    answer = site.hand("register", instance_id=site.ids[0])
    assert (answer["outcome"], answer["healthy"], answer["wait_seconds"]) == ("unchanged", False, 15), answer
    site.account.faults.clear()
    assert site.hand("register", instance_id=site.ids[0])["outcome"] == "changed"


def test_what_was_taken_out_by_hand_stays_out_until_it_is_registered_by_hand(new_site: Callable[..., Site]) -> None:
    site = new_site().deployed(ReconcileExpression="rate(1 minute)")
    site.hand("deregister", instance_id=site.ids[0])
    site.account.advance(1200)
    assert site.claims() == [site.ids[0]]


def test_the_guard_and_the_hold_are_for_single_operations_too(site: Site) -> None:
    site.held(60)
    held = site.hand("deregister", instance_id=site.ids[0])
    assert (held["outcome"], "database work" in held["reason"]) == ("refused", True)
    assert site.hand("deregister", instance_id=site.ids[0], force=True)["outcome"] == "changed"
    refused = site.hand("deregister", instance_id=site.ids[1], force=True)
    assert (refused["outcome"], "would have 0 healthy" in refused["reason"]) == ("refused", True)


def test_nothing_is_done_by_hand_while_an_execution_runs(site: Site) -> None:
    site.begins({"hook": {"type": "approval"}}, "first")
    assert "the execution first rotates" in site.hand("deregister", instance_id=site.ids[1])["reason"]
    assert "the execution first rotates" in site.hand("register", instance_id=site.ids[0])["reason"]
    assert site.hand("status")["running"] == "first"


@pytest.mark.parametrize("event", [{}, {"operation": "reboot"}, {"operation": "deregister"}, {"action": "reconcile"}])
def test_an_event_that_means_nothing_here_is_an_error_that_says_so(site: Site, event: dict[str, Any]) -> None:
    name = site.stack.resources["TargetRotationFunction"]
    error = site.account.functions.invoke(name, event).error
    assert error.startswith("InputError")
    assert "expected" in error


def test_the_mails_are_in_japanese(new_site: Callable[..., Site]) -> None:
    site = new_site().deployed(NotificationLanguage="ja")
    execution = site.begins({"hook": {"type": "approval"}, "instance_ids": [site.ids[0]]})
    site.reaches(execution, "Ask")
    site.answers()
    site.until(lambda: execution.status == "SUCCEEDED")
    assert all("■ 何が起きたか" in mail.body for mail in site.mails)
    assert "全ターゲットが正常です" in site.mails[-1].body


# What a hook runs, after its execution: no command goes on where visitors are.


def after_cancelling(site: Site) -> bool:
    """Tell whether every cancellation was asked for before the first registration."""
    asked = [call.operation for call in site.account.calls if call.operation in ("CancelCommand", "RegisterTargets")]
    asked = asked[asked.index("CancelCommand") :]  # those before made the site
    return "RegisterTargets" in asked and "CancelCommand" not in asked[asked.index("RegisterTargets") :]


@pytest.mark.parametrize("how", ["abort", "no result", "no result and no list"])
def test_a_target_does_not_serve_while_its_command_runs(site: Site, how: str) -> None:
    site.account.commands.answer = lambda *_: ("Success", 3000)
    execution = site.begins({"hook": HOOKS["ssm-command"]})
    site.reaches(execution, "WaitForResult")
    if how == "abort":
        site.aborted(execution)
    else:
        site.account.faults.add("ssm", "ListCommandInvocations", "AccessDeniedException", status=400)
        if how == "no result and no list":
            site.account.faults.add("ssm", "ListCommands", "AccessDeniedException", status=400)
        site.until(lambda: execution.status != "RUNNING")
    site.account.advance(60)
    [command] = site.account.commands.sent
    assert (site.health()[site.ids[0]], command.statuses[site.ids[0]]) == ("healthy", "Cancelled")
    assert after_cancelling(site)
    told = f"Systems Manager was asked to cancel command {command.id}"
    assert [told in mail.body for mail in site.mails].count(True) == 1, site.mails[-1].body


@pytest.mark.parametrize("how", ["failure", "abort", "abort after the parameter was emptied"])
def test_a_command_that_no_document_names_is_cancelled_too(new_site: Callable[..., Site], how: str) -> None:
    site = new_site(RotationDocuments="AWS-RunShellScript,AWS-RunPowerShellScript")
    site.third()
    site.deployed()
    linux, windows = site.ids
    site.account.commands.platforms[windows] = "Windows"
    site.account.commands.answer = lambda *_: ("Success", 3000)
    second = {"when": lambda params: params["DocumentName"] == "AWS-RunShellScript"}
    site.account.faults.add("ssm", "SendCommand", "InvalidDocument", **second)
    given = {"hook": HOOKS["ssm-command"], "instance_ids": [linux, windows], "batch_size": 2}
    execution = site.begins(given)
    site.reaches(execution, "Run")
    if how != "failure":
        if "parameter" in how:
            site.updated(RotationDocuments="")
        site.aborted(execution)
    site.until(lambda: execution.status != "RUNNING")
    site.account.advance(60)
    sent = {(command.document, *command.statuses.values()) for command in site.account.commands.sent}
    assert sent == {("AWS-RunPowerShellScript", "Cancelled")}
    assert set(site.health().values()) == {"healthy"}
    assert any("was asked to cancel" in mail.body for mail in site.mails)


def test_a_target_comes_back_though_its_command_cannot_be_cancelled(site: Site) -> None:
    site.account.commands.answer = lambda *_: ("Success", 3000)
    execution = site.begins({"hook": HOOKS["ssm-command"]})
    site.reaches(execution, "WaitForResult")
    site.account.faults.add("ssm", "CancelCommand", "AccessDeniedException", status=400)
    site.aborted(execution)
    site.account.advance(60)
    [command] = site.account.commands.sent
    assert site.health()[site.ids[0]] == "healthy"
    assert f"command {command.id} could not be cancelled and may go on" in site.mails[-1].body


def test_a_command_that_is_late_is_said_to_be_cancelled(site: Site) -> None:
    site.account.commands.answer = lambda *_: ("Success", 9999)
    site.rotates({"hook": {**HOOKS["ssm-command"], "timeout_seconds": 300}})
    [command] = site.account.commands.sent
    assert f"Systems Manager was asked to cancel command {command.id}" in site.mails[-1].body


@pytest.mark.parametrize("status", ["Success", "Failed"])
def test_a_command_that_has_ended_is_not_said_to_be_cancelled(site: Site, status: str) -> None:
    site.account.commands.answer = lambda *_: (status, 5)
    execution = site.begins({"hook": HOOKS["ssm-command"]})
    site.reaches(execution, "WaitForResult")
    site.account.advance(10)
    site.aborted(execution)
    site.account.advance(60)
    assert site.health()[site.ids[0]] == "healthy"
    assert not site.writes("CancelCommand")
