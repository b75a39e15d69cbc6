"""What a rotation believes: its own executions and its own memory, and no document or tag that somebody else wrote."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from rotation_stories import HOOKS, Site
from template_tools import short_id

from sandbox.services.stepfunctions import Execution
from sandbox.stack import cloudformation

STRANGER = "i-0123456789abcdef0"
ASKS = {"hook": {"type": "approval"}}
MACHINE = f"kirikae-{short_id('site')}-target-rotation"


@pytest.fixture
def site(new_site: Callable[..., Site]) -> Site:
    return new_site().deployed(ReconcileExpression="rate(1 minute)")


def tagged(site: Site, target: str, by: str, port: str = "22", seconds: float = -600) -> None:
    """Write a claim as whoever may tag the group can."""
    at = site.account.clock.now() + timedelta(seconds=seconds)
    told(site, target, f"{at:%Y-%m-%dT%H:%M:%SZ} {by} {port}")


def told(site: Site, target: str, value: str) -> None:
    site.elb.add_tags(ResourceArns=[site.group], Tags=[{"Key": f"kirikae:out:{target}", "Value": value}])


def stripped(site: Site) -> None:
    """Remove every tag, as a tool does that knows only its own."""
    site.elb.remove_tags(ResourceArns=[site.group], TagKeys=[f"kirikae:out:{target}" for target in site.claims()])


def alarms(site: Site, name: str) -> int:
    """Return how often an alarm has gone off."""
    return len([mail for mail in site.account.mails if mail.subject.startswith("ALARM") and name in mail.subject])


def lost(event: dict[str, Any]) -> tuple[float, ...]:
    """Deliver no event of Step Functions."""
    return () if event["source"] == "aws.states" else (0.0,)


def at(site: Site, entrance: str, event: Any) -> Any:
    """Invoke a function as somebody who may; return its answer, or its error as a text."""
    done = site.account.functions.invoke(site.stack.resources[entrance], event)
    return done.error or done.payload


def asking(site: Site, **given: Any) -> Execution:
    """Begin a rotation and let it come to its question, with the first target out."""
    execution = site.begins({**ASKS, **given})
    site.reaches(execution, "Ask")
    return execution


# Doors.

OPERATIONS = ["plan", "take-out", "drained", "ask", "run", "result", "back", "finish"]


def made_up(site: Site, like: dict[str, Any]) -> dict[str, Any]:
    """Return a document in which a stranger is out, and a command waits for it."""
    place = {"group": site.group, "port": 22, "zone": "", "quic_server_id": ""}
    stranger = {"id": STRANGER, "places": [place], "scaling_group": "", "out_at": "2026-01-01T00:00:00+00:00"}
    hook = {"type": "ssm-command", "commands": ["id"], "timeout_seconds": 60}
    return {**like, "hook": hook, "out": [stranger], "queue": [{**stranger, "id": site.ids[1]}], "command_ids": ["c"]}


EXECUTIONS: dict[str, Callable[[Site, Execution], Any]] = {
    "none": lambda *_: None,
    "no object": lambda *_: "first",
    "of another machine": lambda _, running: {"Id": running.arn.replace(MACHINE, "another"), "Name": "first"},
    "of another account": lambda _, running: {"Id": running.arn.replace("123456789012", "210987654321")},
    "that never was": lambda _, running: {"Id": f"{running.arn}-not"},
    "that has ended": lambda site, _: {"Id": site.account.states.executions[0].arn},
    "that runs": lambda _, running: {"Id": running.arn, "Name": running.name, "StartTime": "2026-01-01T00:00:00Z"},
}


def test_nothing_is_done_for_a_document_that_the_machine_did_not_hand_on(site: Site) -> None:
    site.rotates({"instance_ids": [site.ids[0]]})
    running = asking(site)
    document, before = made_up(site, running.data), site.registered()
    calls, mails = len(site.writes("RegisterTargets", "DeregisterTargets", "AddTags", "SendCommand")), len(site.mails)
    for which, execution in EXECUTIONS.items():
        given = {"execution": execution(site, running), "token": "t", "input": ASKS, "rotation": document}
        for operation in OPERATIONS if which != "that runs" else OPERATIONS[1:]:
            answer = at(site, "TargetRotationFunction", {"operation": operation, **given})
            assert "Error" in str(answer), (which, operation)
    assert len(site.writes("RegisterTargets", "DeregisterTargets", "AddTags", "SendCommand")) == calls
    assert (site.registered(), len(site.mails)) == (before, mails)


def test_a_document_that_was_handed_on_before_is_none_any_more(site: Site) -> None:
    running = asking(site)
    before = dict(running.data)
    site.answers()
    site.until(lambda: len(site.mails) == 3)
    given = {"operation": "back", "execution": {"Id": running.arn}, "rotation": before}
    assert "is not the one" in at(site, "TargetRotationFunction", given)


def test_a_plan_is_made_of_the_execution_s_own_input(site: Site) -> None:
    execution = asking(site)
    given = {"operation": "plan", "execution": {"Id": execution.arn}, "input": {"hook": HOOKS["ssm-command"]}}
    assert at(site, "TargetRotationFunction", given)["hook"]["type"] == "approval"


def test_the_entrance_of_the_operations_by_hand_leads_to_no_task(site: Site) -> None:
    running = asking(site)
    for operation in OPERATIONS:
        given = {"operation": operation, "rotation": running.data, "execution": {"Id": running.arn}}
        assert "expected one of deregister, register, status" in at(site, "TargetByHandFunction", given)


@pytest.mark.parametrize("detail", [None, "ABORTED", ["x"], {"executionArn": 5}])
def test_an_end_that_names_no_execution_is_a_tick(site: Site, detail: object) -> None:
    event = {"source": "aws.states", "detail": detail}
    assert at(site, "TargetRotationFunction", event)["put_back"] == []


@pytest.mark.parametrize("entrance", ["TargetByHandFunction", "TargetRotationFunction"])
def test_a_pipeline_takes_a_target_out_and_puts_it_back_at_either_entrance(site: Site, entrance: str) -> None:
    before = site.registered()
    one = {"instance_id": site.ids[0]}
    assert at(site, entrance, {"operation": "deregister", **one})["outcome"] == "changed"
    site.account.advance(150)
    assert at(site, entrance, {"operation": "deregister", **one})["drained"]
    assert at(site, entrance, {"operation": "status"})["out"].keys() == {site.ids[0]}
    at(site, entrance, {"operation": "register", **one})
    site.account.advance(30)
    assert at(site, entrance, {"operation": "register", **one})["healthy"]
    assert (site.registered(), site.claims()) == (before, [])
    assert 'by_hand":{}' in site.account.client("ssm").get_parameter(Name="/site/rotation")["Parameter"]["Value"]


def test_the_time_of_a_lagging_history_is_waited_for(site: Site) -> None:
    site.account.states.describe_lag_seconds = 4  # the machine asks again after 5 s
    assert site.rotates({"instance_ids": [site.ids[0]]}).status == "SUCCEEDED"


def test_without_a_history_the_input_and_the_claims_must_do(site: Site) -> None:
    site.account.faults.add("stepfunctions", "GetExecutionHistory", "AccessDeniedException", status=400)
    before = site.registered()
    running = asking(site)
    given = {"execution": {"Id": running.arn}, "rotation": made_up(site, running.data)}
    for operation in ("run", "back", "finish"):
        assert "Error" in at(site, "TargetRotationFunction", {"operation": operation, **given})
    site.answers()
    site.until(lambda: site.mails[-1].body.count("1 of 2 targets are done") == 1)
    site.answers()
    site.until(lambda: running.status == "SUCCEEDED")
    assert site.registered() == before


# Documents of Systems Manager.


def test_a_document_of_another_account_is_refused(site: Site) -> None:
    site.account.commands.shared["Patch"] = "210987654321"
    execution = site.rotates({"hook": HOOKS["ssm-document"]})
    assert (execution.error, site.writes()) == ("Refused", [])
    assert "document Patch belongs to account 210987654321" in execution.cause


def test_a_document_that_changed_hands_since_it_was_judged_is_not_run(site: Site) -> None:
    site.patch_document()
    execution, before = site.begins({"hook": HOOKS["ssm-document"]}), site.registered()
    site.account.commands.shared["Patch"] = "210987654321"
    site.until(lambda: execution.status == "FAILED")
    assert (site.account.commands.sent, "belongs to account" in execution.cause) == ([], True)
    assert (site.claims(), site.health()[site.ids[0]]) == ([], "healthy")
    assert before != site.registered()


# Tags that nothing bears out.

FORGERS = (
    "nobody",
    f"{MACHINE}:nobody",
    f"{MACHINE}:hand-0a1b2c3d",
    "hand-0a1b2c3d",  # as an operation by hand was signed once
    f"{MACHINE}:good",
    f"{MACHINE}:aborted",
    "aborted",  # as an execution was signed once
    f"{MACHINE}:running",
    f"{MACHINE}:=/=",
    f"{MACHINE}:{'x' * 90}",
)


@pytest.mark.parametrize("half", [0, 1])  # moto's groups have room for ten tags
def test_a_stranger_in_a_tag_is_never_registered_and_the_tags_are_told_once(site: Site, half: int) -> None:
    strangers = {f"{STRANGER[:-1]}{number}": by for number, by in enumerate(FORGERS[half::2])}
    site.begins({"instance_ids": [site.ids[0]]}, "good")
    site.until(lambda: not site.claims() and site.account.states.executions[0].status == "SUCCEEDED")
    aborted = site.begins({**ASKS, "instance_ids": [site.ids[0]]}, "aborted")
    site.reaches(aborted, "Ask")
    site.aborted(aborted)
    site.account.advance(300)
    running = site.begins({**ASKS, "instance_ids": [site.ids[0]]}, "running")
    site.reaches(running, "Ask")
    for stranger, by in strangers.items():
        tagged(site, stranger, by)
    site.account.advance(900)
    not_believed = str(at(site, "TargetByHandFunction", {"operation": "status"})["not_believed"])
    for stranger, by in strangers.items():
        assert "bears out" in at(site, "TargetByHandFunction", {"operation": "register", "instance_id": stranger}), by
        assert stranger in not_believed, by
        assert not [call for call in site.writes("RegisterTargets") if stranger in str(call.params)], by
    assert alarms(site, "TargetRotationDoubtfulAlarm") == 1
    site.answers()
    site.until(lambda: running.status == "SUCCEEDED")
    assert site.claims() == [*strangers]


VALUES = {
    "nothing": "",
    "no time": "yesterday patch-day 80",
    "no offset": "2026-11-22T02:15:00 patch-day 80",
    "no port": "2026-11-22T02:15:00Z patch-day http",
    "the year 1": "0001-01-01T00:00:00+14:00 patch-day 80",
}


def test_a_tag_that_is_no_claim_is_named_and_breaks_nothing(site: Site) -> None:
    told(site, site.ids[1], "x")
    for number, value in enumerate(VALUES.values()):
        told(site, f"{STRANGER[:-1]}{number}", value)
    before = site.registered()
    not_believed = at(site, "TargetByHandFunction", {"operation": "status"})["not_believed"]
    assert [why.endswith("which is no claim") for why in not_believed.values()] == [True] * (len(VALUES) + 1)
    assert site.hand("deregister", instance_id=site.ids[0])["outcome"] == "changed"
    site.hand("register", instance_id=site.ids[0])
    site.account.advance(120)
    assert site.hand("register", instance_id=site.ids[0])["healthy"]
    assert site.rotates({"instance_ids": [site.ids[0]]}).status == "SUCCEEDED"
    site.account.advance(300)
    assert site.registered() == before
    [run] = {bool(run.invocation.error) for run in site.account.functions.runs if "Rotation" in run.function}
    assert run is False


def test_without_a_history_the_claims_of_an_aborted_execution_must_do(site: Site) -> None:
    site.account.faults.add("stepfunctions", "GetExecutionHistory", "AccessDeniedException", status=400)
    before = site.registered()
    site.aborted(asking(site))
    site.account.advance(120)
    assert (site.registered(), site.claims()) == (before, [])


def test_what_an_execution_of_an_earlier_release_left_out_comes_back(site: Site) -> None:
    before = site.registered()
    execution = asking(site)
    site.account.client("ssm").delete_parameter(Name="/site/rotation")
    tagged(site, site.ids[0], execution.name, "80")
    site.aborted(execution)
    site.account.advance(120)
    assert (site.registered(), site.claims()) == (before, [])


@pytest.mark.parametrize("name", ["what-was-told", "what-was-hidden"])
def test_a_target_comes_back_as_it_was_whatever_its_tag_says_now(site: Site, name: str) -> None:
    before = site.registered()
    execution = site.begins({**ASKS, "instance_ids": [site.ids[0]]}, name)
    site.reaches(execution, "Ask")
    tagged(site, site.ids[0], f"{MACHINE}:{name}" if name == "what-was-told" else "x:y", "22")
    site.aborted(execution)
    site.account.advance(120)
    assert site.registered() == before


def test_a_claim_from_the_far_future_holds_nobody_up(site: Site) -> None:
    tagged(site, site.ids[1], f"{MACHINE}:nobody", seconds=86400 * 365)
    assert site.rotates().status == "SUCCEEDED"


def test_what_a_person_answers_or_starts_an_execution_with_is_no_document(site: Site) -> None:
    forged = made_up(site, {})
    execution = asking(site, instance_ids=[site.ids[0]])
    before = site.registered()
    token = re.search(r"send-task-success .*--task-token '([^']+)'", site.mails[-1].body)
    assert token
    site.account.client("stepfunctions").send_task_success(taskToken=token[1], output=json.dumps(forged))
    tagged(site, STRANGER, f"{MACHINE}:{execution.name}")
    site.aborted(execution)
    second = site.begins(forged, "second")
    site.until(lambda: second.status == "FAILED")
    tagged(site, STRANGER, f"{MACHINE}:second")
    site.account.advance(300)
    assert STRANGER not in str(site.registered())
    assert before != site.registered()


def test_what_a_person_took_out_while_an_execution_waited_stays_out_after_its_abort(site: Site) -> None:
    execution = site.begins()
    site.held(600)
    site.until(lambda: execution.states[-1] == "WaitForTurn")
    site.elb.deregister_targets(TargetGroupArn=site.group, Targets=[{"Id": site.ids[1]}])
    site.account.advance(60)
    site.aborted(execution)
    site.account.advance(600)
    assert site.health() == {site.ids[0]: "healthy"}


def test_what_a_dying_task_takes_out_after_the_end_of_its_execution_comes_back(site: Site) -> None:
    before = site.registered()
    site.account.events.arrivals = lost

    def ends() -> None:
        [execution] = site.account.states.executions
        site.account.client("stepfunctions").stop_execution(executionArn=execution.arn)
        assert at(site, "TargetRotationFunction", {"source": "aws.states"})["put_back"] == []
        site.account.faults.add("elbv2", "DescribeTargetHealth", "Throttling", times=3)  # its second look

    site.account.before("elbv2", "DeregisterTargets", ends)
    site.begins()
    assert site.health()[site.ids[0]] == "draining"
    site.account.advance(120)
    assert (site.registered(), site.claims()) == (before, [])


def test_a_target_that_drains_again_after_days_is_still_asked_about(new_site: Callable[..., Site]) -> None:
    site = new_site().deployed()
    site.account.events.delete_rule(site.stack.resources["TargetRotationTick"])
    site.hand("deregister", instance_id=site.ids[0])
    site.account.advance(60)
    site.elb.register_targets(TargetGroupArn=site.group, Targets=[{"Id": site.ids[0]}])
    site.account.advance(90000)
    site.elb.deregister_targets(TargetGroupArn=site.group, Targets=[{"Id": site.ids[0]}])
    site.account.advance(10)
    answer = site.hand("deregister", instance_id=site.ids[0])
    assert (answer["outcome"], answer["drained"], answer["wait_seconds"]) == ("unchanged", False, 15)
    site.account.advance(30)
    assert site.hand("deregister", instance_id=site.ids[0])["drained"]


# Claims of others.


@pytest.mark.parametrize("operation", ["register", "deregister"])
@pytest.mark.parametrize("state", ["Ask", "WaitUntilHealthy"])
def test_a_target_of_a_running_execution_is_left_to_it(site: Site, operation: str, state: str) -> None:
    before = site.registered()
    execution = asking(site, instance_ids=[site.ids[0]])
    if state != "Ask":
        site.answers()
        site.reaches(execution, state)
        site.until(lambda: site.health()[site.ids[0]] == "healthy", 60)
    answer = site.hand(operation, instance_id=site.ids[0], force=True)
    assert (answer["outcome"], f"the execution {execution.name} rotates" in answer["reason"]) == ("refused", True)
    assert site.claims() == [site.ids[0]]
    site.aborted(execution)
    site.account.advance(60)
    assert (site.registered(), site.claims()) == (before, [])


def test_what_an_ended_execution_left_out_may_be_registered_by_hand(site: Site) -> None:
    before = site.registered()
    execution = asking(site, instance_ids=[site.ids[0]])
    site.account.events.arrivals = lost
    site.aborted(execution)
    site.account.lag.catch_up("stepfunctions")
    assert site.hand("deregister", instance_id=site.ids[0])["outcome"] == "refused"
    assert site.hand("register", instance_id=site.ids[0])["outcome"] == "changed"
    site.account.advance(30)
    assert site.hand("register", instance_id=site.ids[0])["healthy"]
    assert (site.registered(), site.claims()) == (before, [])


def test_a_target_that_another_stack_rotates_is_left_to_it(site: Site) -> None:
    given = {"RotationTargetGroupArns": site.group, "ReconcileExpression": "rate(1 minute)"}
    other = cloudformation.deploy(site.account, site.build, "other", given)
    before = site.registered()
    execution = site.account.states.start(other.resources["TargetRotationStateMachine"], ASKS, "theirs")
    site.reaches(execution, "Ask")
    site.account.advance(900)
    assert (site.claims(), site.ids[0] in site.health()) == ([site.ids[0]], False)
    answer = site.hand("register", instance_id=site.ids[0])
    assert (answer, site.ids[0] in site.health()) == (answer, False)
    assert f"kirikae-{short_id('other')}-target-rotation:theirs, which is of another stack" in str(answer)
    status = site.hand("status")
    assert status["of_other_stacks"][site.ids[0]]["by"] == f"kirikae-{short_id('other')}-target-rotation:theirs"
    assert (status["out"], status["not_believed"]) == ({}, {})
    site.aborted(execution)
    site.account.advance(60)
    assert (site.registered(), site.claims()) == (before, [])


# Tags that are gone.


@pytest.mark.parametrize("event", ["told", "lost"])
def test_an_aborted_execution_s_target_comes_back_without_its_tag(site: Site, event: str) -> None:
    before = site.registered()
    execution = asking(site, instance_ids=[site.ids[0]])
    if event == "lost":
        site.account.events.arrivals = lost
    stripped(site)
    site.aborted(execution)
    if event == "lost":
        site.account.advance(60)
    assert (site.registered(), site.claims()) == (before, [])
    assert site.subjects[-1] == "rotation: 1 targets left out are registered again"
    site.account.advance(900)
    assert site.subjects.count("rotation: 1 targets left out are registered again") == 1


@pytest.mark.parametrize("who", ["an execution", "a pipeline"])
def test_whoever_has_a_target_out_tags_that_were_removed_are_written_again_and_told_once(site: Site, who: str) -> None:
    before = site.registered()
    if who == "an execution":
        execution = asking(site, instance_ids=[site.ids[0]])
    else:
        site.hand("deregister", instance_id=site.ids[0])
        site.account.advance(30)
    stripped(site)
    assert site.hand("status")["out"].keys() == {site.ids[0]}
    site.account.advance(600)
    assert site.claims() == [site.ids[0]]
    assert site.subjects.count("rotation: 1 targets are out, their tags had been removed") == 1
    assert "ignore_tags" in next(mail.body for mail in site.mails if "tags had been removed" in mail.subject)
    if who == "an execution":
        site.answers()
        site.until(lambda: execution.status == "SUCCEEDED")
    else:
        stripped(site)
        site.hand("register", instance_id=site.ids[0])
        site.account.advance(30)
        site.hand("register", instance_id=site.ids[0])
    site.account.advance(300)
    assert (site.registered(), site.claims()) == (before, [])


def test_a_tag_that_cannot_be_written_again_fails_no_tick(site: Site) -> None:
    asking(site, instance_ids=[site.ids[0]])
    stripped(site)
    site.account.faults.add("elbv2", "AddTags", "TooManyTags", role="TargetRotation")
    since = len(site.account.functions.runs)
    site.account.advance(600)
    assert [run.invocation.payload for run in site.account.functions.runs[since:] if run.invocation.error] == []
    assert [subject for subject in site.subjects if "tags had been removed" in subject] == []
    site.account.faults.clear()
    site.account.advance(600)
    assert site.claims() == [site.ids[0]]
    assert site.subjects.count("rotation: 1 targets are out, their tags had been removed") == 1


def test_what_cannot_come_back_yet_is_not_forgotten_with_its_tag(site: Site) -> None:
    before = site.registered()
    execution = asking(site, instance_ids=[site.ids[0]])
    site.service.stop(site.ids[0])
    site.account.advance(30)
    site.aborted(execution)
    for _ in range(3):
        stripped(site)
        site.account.advance(400)
    assert alarms(site, "TargetRotationLeftOutAlarm") == 1
    stripped(site)
    site.service.start(site.ids[0])
    site.account.advance(180)
    assert (site.registered(), site.claims()) == (before, [])


def test_a_target_whose_instance_is_terminated_is_given_up_and_told(site: Site) -> None:
    execution = asking(site, instance_ids=[site.ids[0]])
    site.account.client("ec2").terminate_instances(InstanceIds=[site.ids[0]])
    site.account.advance(60)
    site.aborted(execution)
    site.account.advance(900)
    assert (site.claims(), site.hand("status")["out"]) == ([], {})
    assert [site.ids[0] in mail.body for mail in site.mails if "left out" in mail.subject] == [True]


# Times.


def test_an_execution_that_is_just_starting_is_not_taken_for_ended(site: Site) -> None:
    site.account.states.list_lag_seconds = 10_000
    execution = asking(site, instance_ids=[site.ids[0]])
    site.account.advance(600)
    assert (site.claims(), site.ids[0] in site.health(), execution.status) == ([site.ids[0]], False, "RUNNING")


def test_an_end_that_does_not_show_yet_is_seen_by_a_later_tick(site: Site) -> None:
    before = site.registered()
    site.account.states.describe_lag_seconds = 4
    execution = asking(site, instance_ids=[site.ids[0]])
    site.aborted(execution)
    site.account.advance(120)
    assert (site.registered(), site.claims()) == (before, [])


def test_an_end_that_shows_a_moment_later_is_waited_for(site: Site) -> None:
    before = site.registered()
    execution = asking(site, instance_ids=[site.ids[0]])
    site.account.lag.exactly("stepfunctions", 4)
    site.aborted(execution)
    assert (site.registered(), site.claims()) == (before, [])


def test_a_target_that_came_back_and_was_taken_out_again_by_hand_stays_out(site: Site) -> None:
    site.aborted(asking(site, instance_ids=[site.ids[0]]))
    site.account.advance(30)
    assert site.hand("deregister", instance_id=site.ids[0])["outcome"] == "changed"
    site.account.advance(900)
    assert (site.ids[0] in site.health(), site.claims()) == (False, [site.ids[0]])


def test_a_target_that_somebody_took_out_long_after_an_abort_stays_out(site: Site) -> None:
    site.aborted(asking(site, instance_ids=[site.ids[0]]))
    site.account.advance(300)
    site.elb.deregister_targets(TargetGroupArn=site.group, Targets=[{"Id": site.ids[0]}])
    site.account.advance(900)
    assert site.ids[0] not in site.health()


def test_of_two_that_are_remembered_at_the_same_moment_none_is_lost(site: Site) -> None:
    third, fourth = site.third(), site.third()
    others = []
    for target in (site.ids[1], fourth):
        deregister = lambda target=target: others.append(site.hand("deregister", instance_id=target))  # noqa: E731
        site.account.before("ssm", "PutParameter", deregister)
    others.append(site.hand("deregister", instance_id=site.ids[0]))
    out = {answer["id"] for answer in others if answer["outcome"] == "changed"}
    stripped(site)
    assert site.hand("status")["out"].keys() == out >= {site.ids[0]}
    assert third in site.health()


def test_a_target_that_the_guard_keeps_in_is_remembered_by_nobody(site: Site) -> None:
    site.account.lag.exactly("ssm", 1)
    site.service.break_application(site.ids[1])
    site.account.advance(30)
    assert site.hand("deregister", instance_id=site.ids[0])["outcome"] == "refused"
    site.account.advance(1)
    assert site.hand("status")["out"] == {}


def test_what_an_aborted_execution_left_out_comes_back_while_the_memory_cannot_be_read(site: Site) -> None:
    before = site.registered()
    execution = asking(site, instance_ids=[site.ids[0]])
    site.account.faults.add("ssm", "GetParameter", "InternalServerError", status=500)
    site.aborted(execution)
    site.account.advance(120)
    assert (site.registered(), site.claims()) == (before, [])
    site.account.faults.clear()
    site.account.advance(300)
    assert site.subjects.count("rotation: 1 targets left out are registered again") == 1
    assert site.account.client("ssm").get_parameter(Name="/site/rotation")["Parameter"]["Value"].count("[]") == 1


def test_a_memory_that_somebody_wrote_by_hand_breaks_nothing(site: Site) -> None:
    site.account.client("ssm").put_parameter(Name="/site/rotation", Value='{"by_hand": 7}', Type="String")
    before = site.registered()
    assert site.rotates().status == "SUCCEEDED"
    assert site.registered() == before


@pytest.mark.parametrize(
    "by_hand", [{"i-0bad": 7}, {"i-0bad": ["yesterday", "me"]}, {"i-0bad": ["2027-01-01T00:00:00Z", "me", ["group"]]}]
)
def test_an_entry_that_somebody_wrote_by_hand_loses_no_other(site: Site, by_hand: dict[str, Any]) -> None:
    before, name = site.registered(), "/site/rotation"
    assert site.hand("deregister", instance_id=site.ids[0])["outcome"] == "changed"
    ssm = site.account.client("ssm")
    stored = json.loads(ssm.get_parameter(Name=name)["Parameter"]["Value"])
    stored |= {"by_hand": by_hand | stored["by_hand"], "min_sizes": {"a": "b"}, "returned": 7, "executions": 7}
    ssm.put_parameter(Name=name, Value=json.dumps(stored), Type="String", Overwrite=True)
    site.account.advance(300)
    assert site.hand("status")["out"].keys() == {site.ids[0]}
    assert site.hand("register", instance_id=site.ids[0])["outcome"] == "changed"
    assert site.registered() == before


def test_what_has_come_back_is_not_put_back_again_while_another_target_cannot(site: Site) -> None:
    site.third()
    execution = asking(site, instance_ids=list(site.ids), batch_size=2)
    site.service.stop(site.ids[0])
    site.account.advance(30)
    site.aborted(execution)
    site.account.advance(300)
    assert site.health()[site.ids[1]] == "healthy"
    site.elb.deregister_targets(TargetGroupArn=site.group, Targets=[{"Id": site.ids[1]}])
    site.account.advance(600)
    assert site.ids[1] not in site.health()
    site.service.start(site.ids[0])
    site.account.advance(300)
    assert (site.ids[0] in site.health(), site.ids[1] in site.health()) == (True, False)
    stored = site.account.client("ssm").get_parameter(Name="/site/rotation")["Parameter"]["Value"]
    assert json.loads(stored) == {"executions": [], "by_hand": {}}


def test_two_operations_by_hand_on_two_groups_of_one_target_bear_each_other_out(new_site: Callable[..., Site]) -> None:
    site = new_site()
    second = site.another_group(8080)
    site.deployed(RotationTargetGroupArns=f"{site.group},{second}", ReconcileExpression="rate(1 minute)")
    before = site.registered()
    for group in (site.group, second):
        answer = site.hand("deregister", instance_id=site.ids[0], target_group_arns=[group])
        assert answer["outcome"] == "changed"
        site.account.advance(200)
    site.account.advance(900)
    assert (site.hand("status")["not_believed"], alarms(site, "DoubtfulClaims")) == ({}, 0)
    site.hand("register", instance_id=site.ids[0])
    site.account.advance(300)
    assert (site.registered(), site.hand("status")["out"]) == (before, {})


# What was taken out by hand and is over.


def test_what_was_registered_by_hand_and_not_asked_about_again_is_closed_when_it_is_healthy(site: Site) -> None:
    before = site.registered()
    assert site.hand("deregister", instance_id=site.ids[0])["outcome"] == "changed"
    site.account.advance(90)
    assert not site.hand("register", instance_id=site.ids[0])["healthy"]
    site.account.advance(300)
    assert (site.hand("status")["out"], site.claims(), site.registered()) == ({}, [], before)
    assert site.mails == []


def test_what_was_registered_by_hand_and_is_not_healthy_stays_remembered(site: Site) -> None:
    site.hand("deregister", instance_id=site.ids[0])
    site.account.advance(90)
    site.service.break_application(site.ids[0])
    site.hand("register", instance_id=site.ids[0])
    site.account.advance(600)
    assert (site.hand("status")["out"].keys(), site.claims()) == ({site.ids[0]}, [site.ids[0]])


def test_what_somebody_registered_on_another_port_counts_as_back_and_is_told_once(site: Site) -> None:
    site.hand("deregister", instance_id=site.ids[0])
    site.account.advance(150)
    site.elb.register_targets(TargetGroupArn=site.group, Targets=[{"Id": site.ids[0], "Port": 8080}])
    site.account.advance(900)
    assert (site.hand("status")["out"], site.claims()) == ({}, [])
    assert site.subjects == ["rotation: 1 targets are back on other ports"]
    assert f"{site.ids[0]}: " in site.mails[0].body
    assert "service-primary:8080" in site.mails[0].body
    assert [json.loads(t)["Port"] for t in site.registered()[site.group] if site.ids[0] in t] == [8080]


def test_one_port_of_two_and_another_one_do_not_count_as_back(new_site: Callable[..., Site]) -> None:
    site = new_site()
    second = site.another_group(8080, 8081)
    site.deployed(RotationTargetGroupArns=f"{site.group},{second}", ReconcileExpression="rate(1 minute)")
    site.hand("deregister", instance_id=site.ids[0])
    site.account.advance(150)
    for group, port in ((site.group, 80), (second, 8081), (second, 9090)):
        site.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": site.ids[0], "Port": port}])
    site.account.advance(600)
    assert (site.hand("status")["out"].keys(), site.mails) == ({site.ids[0]}, [])


def test_the_answer_to_a_registration_names_where_others_have_registered_it_too(site: Site) -> None:
    site.hand("deregister", instance_id=site.ids[0])
    site.account.advance(20)
    site.elb.register_targets(TargetGroupArn=site.group, Targets=[{"Id": site.ids[0], "Port": 8080}])
    site.account.advance(10)
    answer = site.hand("register", instance_id=site.ids[0])
    assert answer["outcome"] == "changed"
    assert re.search(rf"; others have registered it elsewhere: {site.ids[0]}:8080 is \w+ in ", answer["reason"])


def test_what_was_taken_out_by_hand_and_terminated_is_forgotten_and_told_once(site: Site) -> None:
    third = site.third()
    for target in (site.ids[0], third):
        assert site.hand("deregister", instance_id=target)["outcome"] == "changed"
    site.account.advance(90)
    site.account.client("ec2").terminate_instances(InstanceIds=[third])
    site.account.advance(900)
    assert (site.hand("status")["out"].keys(), site.claims()) == ({site.ids[0]}, [site.ids[0]])
    assert [(third in mail.body, site.ids[0] in mail.body) for mail in site.mails] == [(True, False)]
    assert site.subjects == ["rotation: 1 targets left out stay out, terminated"]
