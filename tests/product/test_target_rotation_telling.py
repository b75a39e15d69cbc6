"""Every mail of a rotation once, whatever dies: tasks and ticks are repeated, and find what their predecessors told."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fault_cells
import pytest
from fault_cells import SOAK, calls_of
from rotation_stories import HOOKS, Site

from sandbox import drawn
from sandbox.account import Account
from sandbox.services.stepfunctions import Execution

NOTE = "/site/told/rotation"
FAULTS: dict[str, dict[str, Any]] = {
    "refused": {"code": "InternalFailure", "status": 500, "times": 3},  # as often as the SDK asks
    "lost": {"code": None, "times": 1, "after": True},
    "killed": {"code": None, "times": 1, "kills": True},
    "killed after": {"code": None, "times": 1, "kills": True, "after": True},
}


@pytest.fixture
def site(new_site: Callable[..., Site]) -> Site:
    return new_site().deployed(ReconcileExpression="rate(1 minute)")


def told(site: Site, text: str, repeated: bool = False) -> int:
    """Count the mails with the text that say, or do not say, that they may be repetitions."""
    return sum(
        text in mail.subject + mail.body and ("Perhaps repeated" in mail.body) == repeated for mail in site.mails
    )


def fails(site: Site, operation: str, how: str, now: Callable[[], bool], **more: Any) -> None:
    """Let a call by which a rotation tells something fail, from a moment on."""
    service, fault = "sns" if operation == "Publish" else "ssm", FAULTS[how] | more
    name = "" if operation == "Publish" else "/told/"
    site.account.faults.add(
        service,
        operation,
        role="TargetRotation",
        when=lambda p: now() and name in p.get("Name", ""),
        **fault,
    )


@pytest.mark.parametrize("how", FAULTS)
@pytest.mark.parametrize("operation", ["GetParameter", "PutParameter", "Publish"])
def test_an_end_is_told_once_whatever_call_fails(site: Site, operation: str, how: str) -> None:
    execution = site.begins({"instance_ids": [site.ids[0]]})
    fails(site, operation, how, lambda: execution.states[-1:] == ["Finish"])
    site.until(lambda: execution.status != "RUNNING")
    site.account.faults.clear()
    site.account.advance(360)
    assert execution.status == "SUCCEEDED"
    once = told(site, "rotation finished, 1 of 1 targets")
    if (operation, how) == ("Publish", "lost"):  # the SDK repeats it, and SNS knows no repetitions
        assert once >= 1
    else:
        assert once <= 1
        assert once + told(site, "rotation finished, 1 of 1 targets", repeated=True) >= 1
    assert operation == "Publish" or how.startswith("killed") or not told(site, "", repeated=True)


def test_an_end_that_could_not_be_mailed_is_told_within_minutes_after_it_can(site: Site) -> None:
    execution = site.begins({"instance_ids": [site.ids[0]]})
    fails(site, "Publish", "refused", lambda: execution.states[-1:] in (["Finish"], ["Finished"]), times=None)
    site.until(lambda: execution.status != "RUNNING")
    site.account.advance(600)
    site.account.faults.clear()
    site.account.advance(300)
    assert [mail.subject.split(": ", 1)[1] for mail in site.mails] == [
        "rotation of 1 targets begins",
        "rotation: a mail may not have reached you",
    ]
    assert "rotation finished, 1 of 1 targets" in site.mails[-1].body
    assert execution.arn.rpartition(":")[2] in site.mails[-1].body


@pytest.mark.parametrize("seconds", [5, 40])
def test_a_mail_of_another_kind_does_not_take_the_place_of_one_that_did_not_leave(site: Site, seconds: int) -> None:
    execution = site.begins({"instance_ids": [site.ids[0]]})
    ends = (["Finish"], ["Finished"])
    fails(site, "Publish", "refused", lambda: execution.states[-1:] in ends, times=None)
    site.until(lambda: execution.status != "RUNNING")
    site.account.faults.clear()
    site.account.advance(seconds)
    site.begins({"instance_ids": ["i-0123456789abcdef0"]}, "refused")  # within the minute of the one that may yet leave
    site.account.advance(300)
    assert told(site, "rotation of 1 targets begins") == 1
    assert told(site, "rotation refused") == 1
    assert told(site, "rotation finished, 1 of 1 targets") + told(site, "finished, 1 of 1 targets", repeated=True) == 1


def full(execution: Execution, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the history have no room for a further state."""
    monkeypatch.setattr("sandbox.services.stepfunctions._MOST_EVENTS", execution.events + 1)


@pytest.mark.parametrize("ends", ["comes back", "is gone"])
def test_an_execution_that_step_functions_ends_is_told_of_once(
    site: Site, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    execution = site.begins({"hook": {"type": "approval"}})
    site.reaches(execution, "Ask")
    full(execution, monkeypatch)
    if ends == "is gone":
        site.account.client("ec2").terminate_instances(InstanceIds=[site.ids[0]])
        site.account.advance(60)
    else:
        site.elb.register_targets(TargetGroupArn=site.group, Targets=[{"Id": site.ids[0], "Port": 8080}])
    site.answers()
    site.account.advance(900)
    assert (execution.status, execution.error) == ("FAILED", "States.Runtime")
    assert told(site, "rotation FAILED after 0 of 2 targets") == 1
    [body] = [mail.body for mail in site.mails if "FAILED" in mail.subject]
    assert "Step Functions ended it: States.Runtime: The execution reached the maximum of" in body
    assert (f"{site.ids[0]}  " in body, "NOT BACK: not registered" in body) == (True, ends == "is gone")
    assert (f"others have registered it elsewhere: {site.ids[0]}:8080" in body) == (ends == "comes back")
    assert f"Not touched\n{site.ids[1]}" in body
    assert (f"{site.ids[0]} is terminated: register what replaces it." in body) == (ends == "is gone")
    assert "register-targets" not in body


def test_an_execution_that_ends_while_it_waits_is_told_of(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.account.client("elbv2").deregister_targets(TargetGroupArn=site.group, Targets=[{"Id": site.ids[1]}])
    site.account.advance(60)
    site.third()
    execution = site.begins()
    site.until(lambda: execution.states[-1:] == ["WaitUntilHealthy"])
    full(execution, monkeypatch)
    site.account.advance(900)
    assert execution.error == "States.Runtime"
    assert told(site, "rotation FAILED after 0 of 2 targets") == 1


def unsent(site: Site) -> None:
    """Let the mail fail that tells what an aborted execution had left out."""
    execution = site.begins({"hook": {"type": "approval"}, "instance_ids": [site.ids[0]]})
    site.reaches(execution, "Ask")
    site.account.faults.add("sns", "Publish", "InternalError", status=500)
    site.aborted(execution)
    site.account.faults.clear()


def test_a_refusal_does_not_take_the_place_of_a_mail_about_what_was_left_out(site: Site) -> None:
    unsent(site)
    site.begins({"instance_ids": ["i-0123456789abcdef0"]}, "refused")
    site.account.advance(300)
    assert told(site, "rotation refused") == 1
    assert told(site, "1 targets left out are registered again", repeated=True) == 1


def test_a_mail_that_another_run_has_sent_meanwhile_is_not_owed(site: Site) -> None:
    unsent(site)
    site.account.lag.catch_up("ssm")  # what follows is not of the same second
    ssm = site.account.client("ssm")

    def sent() -> None:
        note = json.loads(ssm.get_parameter(Name=NOTE)["Parameter"]["Value"])
        done = {"known": {k: text for k, text in note["telling"].items() if k != "ended"}, "at": note["at"]}
        ssm.put_parameter(Name=NOTE, Type="String", Value=json.dumps(done), Overwrite=True)
        site.account.lag.catch_up("ssm")

    site.account.before("sns", "Publish", sent)
    site.begins({"instance_ids": ["i-0123456789abcdef0"]}, "refused")
    site.account.advance(300)
    assert (told(site, "rotation refused"), told(site, "", repeated=True)) == (1, 0)
    assert json.loads(ssm.get_parameter(Name=NOTE)["Parameter"]["Value"])["known"].keys() == {
        "begun",
        "restored",
        "ended",
    }


@pytest.mark.parametrize("how", ["killed", "killed after", "refused"])
def test_what_was_left_out_is_told_once_though_its_tags_stay(site: Site, how: str) -> None:
    execution = site.begins({"hook": {"type": "approval"}, "instance_ids": [site.ids[0]]})
    site.until(lambda: "your turn" in site.mails[-1].subject)
    site.account.faults.add("elbv2", "RemoveTags", role="TargetRotation", **FAULTS[how])
    site.aborted(execution)
    site.account.advance(400)
    assert set(site.health().values()) == {"healthy"}
    assert told(site, "1 targets left out are registered again") == 1
    assert not told(site, "", repeated=True)


@pytest.mark.parametrize("ends", ["comes back", "is gone"])
def test_what_was_left_out_is_told_once_though_its_tags_were_stripped(site: Site, ends: str) -> None:
    execution = site.begins({"hook": {"type": "approval"}, "instance_ids": [site.ids[0]]})
    site.reaches(execution, "Ask")
    if ends == "is gone":
        site.account.client("ec2").terminate_instances(InstanceIds=[site.ids[0]])
        site.account.advance(90)
    else:
        site.account.faults.add("elbv2", "RegisterTargets", role="TargetRotation", **FAULTS["killed after"])
    site.elb.remove_tags(ResourceArns=[site.group], TagKeys=[f"kirikae:out:{target}" for target in site.ids])
    site.account.lag.catch_up()  # removed in the same second as the run dies: nobody would know
    site.aborted(execution)
    site.account.advance(900)
    said = "1 targets left out are registered again" if ends == "comes back" else "1 targets left out stay out"
    assert (told(site, said), told(site, "", repeated=True), site.claims()) == (1, 0, [])


@pytest.mark.parametrize("seconds", [20, 300])
def test_one_that_is_gone_is_told_of_once_though_another_one_comes_back_later(site: Site, seconds: int) -> None:
    site.third()
    execution = site.begins({"hook": {"type": "approval"}, "batch_size": 2, "instance_ids": list(site.ids)})
    site.reaches(execution, "Ask")
    site.account.client("ec2").terminate_instances(InstanceIds=[site.ids[0]])
    site.account.advance(60)
    site.account.faults.add(
        "elbv2", "RegisterTargets", "InternalFailure", when=lambda p: p["Targets"][0]["Id"] == site.ids[1]
    )
    site.aborted(execution)
    site.account.advance(seconds)
    site.account.faults.clear()
    site.account.advance(600)
    named = [[target in mail.body for target in site.ids] for mail in site.mails if "left out" in mail.subject]
    assert sorted(named) == [[False, True], [True, False]]


def test_what_was_left_out_comes_back_though_its_tag_cannot_be_written_again(site: Site) -> None:
    execution = site.begins({"hook": {"type": "approval"}, "instance_ids": [site.ids[0]]})
    site.reaches(execution, "Ask")
    site.elb.remove_tags(ResourceArns=[site.group], TagKeys=[f"kirikae:out:{site.ids[0]}"])
    site.account.faults.add("elbv2", "AddTags", "TooManyTags", role="TargetRotation")
    site.aborted(execution)
    site.account.advance(300)
    assert set(site.health().values()) == {"healthy"}
    assert told(site, "1 targets left out are registered again") == 1


def test_a_stack_that_only_rotates_says_that_nobody_hears_it(account: Account, build: Path) -> None:
    reader = "oncall@example.com"
    site = Site(account, build).deployed(NotificationEmail=reader)
    account.sns.pending.add(reader)
    account.advance(60 * 20)
    assert account.alarms.state(site.stack.resources["NobodyHearsAlarm"]).value == "ALARM"
    account.sns.pending.clear()
    account.advance(60 * 20)
    assert account.alarms.state(site.stack.resources["NobodyHearsAlarm"]).value == "OK"


def test_a_mail_that_is_owed_goes_before_that_of_the_next_rotation(site: Site) -> None:
    execution = site.begins({"hook": {"type": "approval"}, "instance_ids": [site.ids[0]]})
    site.reaches(execution, "Ask")
    site.account.faults.add("sns", "Publish", "InternalError", status=500)
    site.aborted(execution)
    site.account.advance(20)
    site.account.faults.clear()
    site.account.advance(50)  # nobody has been heard of for a minute, and the next tick has not come
    site.begins({"instance_ids": [site.ids[1]]})
    site.account.advance(30)
    assert [s for s in site.subjects if "may not have reached you" in s or "begins" in s][-2:] == [
        "rotation: a mail may not have reached you",
        "rotation of 1 targets begins",
    ]


# A whole rotation, whichever of its calls fails.

ROLE, SAMPLE = "TargetRotation", 1  # of the cells, in `make test`; all of them with KIRIKAE_SOAK=1
WORLD = {"ReconcileExpression": "rate(1 minute)"}
ENDS = {"SUCCEEDED": "rotation finished, 1 of 1 targets", "FAILED": r"rotation (FAILED|stopped) after 0 of 1 targets"}


@pytest.mark.parametrize("hook", ["none", "ssm-command", "standby"])
def test_a_rotation_puts_its_target_back_and_tells_its_end_once_whatever_call_fails(hook: str, build: Path) -> None:
    with Account() as account:
        site = _site(account, build, scaled=hook == "standby")
        since = len(account.calls)
        _rotates_one(site, hook)
        calls = dict.fromkeys(calls_of(account, ROLE, since))
    cells = [(call, fault) for call in calls for fault in fault_cells.FAULTS]
    chosen = cells if SOAK else drawn("cells").sample(cells, SAMPLE)
    wrong = {cell: problem for cell in chosen if (problem := played_wrong(build, hook, *cell))}
    assert wrong == {}


def _site(account: Account, build: Path, *, scaled: bool) -> Site:
    """Deploy the stack; scaled: for instances of an Auto Scaling group, which stand by."""
    site = Site(account, build)
    if scaled:
        site.scaled()
    return site.deployed(RotationAllowStandby=str(scaled).lower(), **WORLD)


def _min_sizes(account: Account) -> list[int]:
    groups = account.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    return [group["MinSize"] for group in groups]


def _rotates_one(site: Site, hook: str) -> Execution:
    """Rotate one target."""
    more = {"hook": HOOKS[hook]} if hook in HOOKS else {}
    return site.rotates({"instance_ids": [site.ids[0]], **more}, seconds=900)


def played_wrong(build: Path, hook: str, call: tuple[str, str, int], fault: str) -> str:
    """Rotate one target with a fault in this call; return what is wrong with the world or the mails, or nothing."""
    with Account() as account:
        site = _site(account, build, scaled=hook == "standby")
        before = site.registered(), _min_sizes(account)
        fault_cells.fails(account, ROLE, call, fault_cells.FAULTS[fault])
        execution = _rotates_one(site, hook)
        account.advance(360)  # an owed mail leaves
        found = (site.registered(), _min_sizes(account)), set(site.health().values()), site.claims()
        if found != (before, {"healthy"}, []):
            return f"it is not as before: {found}"
        return _told_wrong(site, execution, hook, call)


def _told_wrong(site: Site, execution: Execution, hook: str, call: tuple[str, str, int]) -> str:
    """Return what is wrong with the mails: each once, except where Amazon SNS cannot be asked whether it has one."""
    ran = len(site.account.commands.sent)
    if execution.status == "SUCCEEDED" and hook in HOOKS and not ran:
        return "it has finished without its command"
    said = [f"{mail.subject} {mail.body}" for mail in site.mails]
    for text in ("rotation of 1 targets begins", ENDS[execution.status]):
        told = [mail for mail in said if re.search(text, mail)]
        first = [mail for mail in told if "Perhaps repeated" not in mail]
        if not told or len(first) > (1 + (call[:2] == ("sns", "Publish"))):
            return f"{len(told)} times {text!r}: {site.subjects}"
    left = [mail.subject for mail in site.mails if not re.search(f"begins|{ENDS[execution.status]}", mail.subject)]
    unsent = "rotation: a mail may not have reached you"
    if any(not subject.endswith(unsent) for subject in left) or (left and call[1] not in ("Publish", "PutParameter")):
        return f"it is said that {left}"
    return ""


@pytest.mark.parametrize("scaled", [False, True])
def test_by_hand_a_target_leaves_and_comes_back_as_it_was_whatever_call_fails(build: Path, scaled: bool) -> None:
    with Account() as account:
        site = _site(account, build, scaled=scaled)
        since = len(account.calls)
        assert _one_by_hand(site) == ""
        calls = dict.fromkeys(calls_of(account, ROLE, since))
    cells = [(call, fault) for call in calls for fault in fault_cells.FAULTS]
    chosen = cells if SOAK else drawn("cells").sample(cells, SAMPLE)
    wrong = {cell: problem for cell in chosen if (problem := by_hand_wrong(build, scaled, *cell))}
    assert wrong == {}


def _one_by_hand(site: Site) -> str:
    """Take one target out and put it back as a pipeline does that repeats what failed; return what went wrong."""
    for operation, done, serves in (("deregister", "drained", 1), ("register", "healthy", 2)):
        for _ in range(60):
            answer = site.hand(operation, instance_id=site.ids[0])
            if isinstance(answer, dict) and answer.get(done):
                break
            site.account.advance(answer.get("wait_seconds", 5) if isinstance(answer, dict) else 5)
        else:
            return f"{operation}: {answer}"
        if (healthy := list(site.health().values()).count("healthy")) != serves:
            return f"{done}, and {healthy} of 2 targets are healthy"
    return ""


def by_hand_wrong(build: Path, scaled: bool, call: tuple[str, str, int], fault: str) -> str:
    """Do so with a fault in this call; return what is wrong with the answers, the world or the mails, or nothing."""
    with Account() as account:
        site = _site(account, build, scaled=scaled)
        before = site.registered(), _min_sizes(account)
        fault_cells.fails(account, ROLE, call, fault_cells.FAULTS[fault])
        if problem := _one_by_hand(site):
            return problem
        account.advance(360)
        found = (site.registered(), _min_sizes(account)), set(site.health().values()), site.claims(), site.subjects
        return "" if found == (before, {"healthy"}, [], []) else f"it is not as before: {found}"


@pytest.mark.parametrize("how", ["before", "after", "after, and its task dies"])
def test_a_command_of_a_stopped_execution_is_cancelled_and_told_once(site: Site, how: str) -> None:
    site.account.commands.answer = lambda *_: ("Success", 3000)
    if how != "before":
        site.account.before("ssm", "SendCommand", lambda: site.aborted(execution))
    if "dies" in how:
        site.account.faults.add("ssm", "SendCommand", None, times=1, kills=True, after=True)
    execution = site.begins({"hook": HOOKS["ssm-command"]})
    site.until(lambda: bool(site.account.commands.sent))
    [command] = site.account.commands.sent
    if how == "before":
        site.aborted(execution)
    site.account.advance(61 if "dies" in how else 0)
    assert command.statuses[site.ids[0]] == "Cancelled"
    site.account.advance(900)
    assert site.health()[site.ids[0]] == "healthy"
    assert told(site, f"Systems Manager was asked to cancel command {command.id}") == 1, site.subjects


@pytest.mark.parametrize("who", ["an execution", "a person"])
def test_an_outage_while_a_target_is_out_is_told_once(site: Site, who: str) -> None:
    if who == "a person":
        site.hand("deregister", instance_id=site.ids[0])
        site.account.advance(200)
    else:
        site.reaches(site.begins({"hook": {"type": "approval", "timeout_seconds": 7200}}), "Ask")
        site.account.advance(600)
    assert told(site, "out and needed") == 0
    site.service.break_application(site.ids[1])
    site.account.advance(1800)
    assert told(site, "1 targets are out and needed") == 1
    [body] = [mail.body for mail in site.mails if "needed" in mail.subject]
    assert "would have 0 healthy targets" in body
    assert ("stepfunctions stop-execution", "elbv2 register-targets")[who == "a person"] in body
    assert site.ids[0] not in site.health()
    site.service.mend_application(site.ids[1])
    site.account.advance(300)
    site.service.break_application(site.ids[1])
    site.account.advance(600)
    assert told(site, "1 targets are out and needed") == 2


def test_a_zone_that_may_be_empty_is_no_outage_while_its_target_is_out(new_site: Callable[..., Site]) -> None:
    site = new_site()
    site.asks(site.group, **{"load_balancing.cross_zone.enabled": "false"})
    site.deployed()
    site.reaches(site.begins({"hook": {"type": "approval"}, "empty_zones": True}), "Ask")
    site.account.advance(900)
    assert told(site, "out and needed") == 0


@pytest.mark.parametrize("state", ["TakeOut", "Ask", "WaitForTurn"])
def test_whoever_stops_an_execution_its_end_is_told_once(site: Site, state: str) -> None:
    execution = site.account.states.start(site.machine, {"hook": {"type": "approval"}})
    while execution.states[-1:] != [state]:
        if state == "WaitForTurn" and execution.states[-1:] == ["Ask"]:
            site.held(60)
            site.answers()
        else:
            assert site.account.clock.step()
    site.account.client("stepfunctions").stop_execution(executionArn=execution.arn, error="Bob", cause="wrong day")
    site.account.advance(900)
    done = int(state == "WaitForTurn")
    assert told(site, f"rotation stopped after {done} of 2 targets") == 1, site.subjects
    [body] = [mail.body for mail in site.mails if "rotation stopped" in mail.subject]
    assert "the execution was stopped (StopExecution): Bob: wrong day" in body
    untouched = {"TakeOut": ", ".join(site.ids), "Ask": site.ids[1], "WaitForTurn": site.ids[1]}
    assert f"Not touched\n{untouched[state]}" in body


@pytest.mark.parametrize("ends", ["Finished", "Stopped"])
@pytest.mark.parametrize("fails", ["is unhealthy", "is not registered"])
def test_the_last_mail_says_who_is_not_healthy(new_site: Callable[..., Site], fails: str, ends: str) -> None:
    site = new_site()
    site.third()
    site.deployed()
    a, b = site.ids
    execution = site.begins({"instance_ids": [a, b], "hook": {"type": "approval"}})
    site.reaches(execution, "Ask")
    site.answers()
    site.until(lambda: f"your turn on {b}" in site.subjects[-1])
    if fails == "is unhealthy":
        site.service.break_application(a)
    else:
        site.elb.deregister_targets(TargetGroupArn=site.group, Targets=[{"Id": a}])
    site.account.advance(60)
    site.answers(done=ends == "Finished")
    site.until(lambda: execution.status != "RUNNING")
    body = site.mails[-1].body
    assert "every target is back and healthy" not in body
    assert re.search(rf"not healthy now: {a}(:80)? {fails}", body), body
    assert (execution.status, execution.error) == {"Finished": ("SUCCEEDED", ""), "Stopped": ("FAILED", "Stopped")}[
        ends
    ]


@pytest.mark.parametrize("error", ["DeployFailed", "InputError", "States.TaskFailed", ""])
def test_a_failure_of_any_name_that_a_person_sends_is_an_answer(site: Site, error: str) -> None:
    execution = site.begins({"hook": {"type": "approval"}})
    site.reaches(execution, "Ask")
    token = re.search(r"send-task-success .*--task-token '([^']+)'", site.mails[-1].body)[1]
    given = {"error": error} if error else {}
    site.account.client("stepfunctions").send_task_failure(taskToken=token, cause="no such version", **given)
    site.until(lambda: execution.status != "RUNNING")
    assert (told(site, "your turn"), execution.error) == (1, "Failed")
    assert "no such version" in site.mails[-1].body
    assert site.health() == dict.fromkeys(site.ids, "healthy")


def test_what_people_were_told_is_not_forgotten_while_it_cannot_be_read(site: Site) -> None:
    execution = site.begins({"instance_ids": [site.ids[0]]})
    site.until(lambda: told(site, "begins") == 1)
    before = json.loads(site.account.client("ssm").get_parameter(Name=NOTE)["Parameter"]["Value"])["known"]
    fails(site, "GetParameter", "refused", lambda: True, times=None)
    site.until(lambda: execution.status != "RUNNING")
    site.account.advance(360)
    site.account.faults.clear()
    site.account.advance(360)
    after = json.loads(site.account.client("ssm").get_parameter(Name=NOTE)["Parameter"]["Value"])["known"]
    assert before.items() <= after.items()
    assert 1 <= told(site, "rotation finished, 1 of 1 targets") <= 2
    assert told(site, "begins") == 1
