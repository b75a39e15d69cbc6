"""What EC2 and CloudWatch do at the wrong moment: silent alarms, refusals of every kind, lags, standbys that hang."""

from collections.abc import Callable
from typing import Any

import pytest
from standby_stories import CAPACITY, START, STOP, TYPE, Batch

from sandbox.estates.standby import PORT

World = Callable[..., Batch]
DENIED = {"status": 403, "message": "You are not authorized to perform this operation."}


def heartbeat(world: Batch) -> None:
    """Make a user's own alarm that calls the function, and no other action."""
    world.alarm("heartbeat", [world.arn])


# Alarms that do not call.


@pytest.mark.parametrize("fences", ["false", "true"])
def test_a_muted_alarm_stops_and_starts_nothing_until_the_mute_ends(batch: World, fences: str) -> None:
    world = batch(FenceActive=fences)
    heartbeat(world)
    world.mute("heartbeat", 10)
    world.sets("heartbeat", "ALARM")
    world.minutes(6)
    assert world.states == ["stopped", "stopped"]
    assert world.service.state(world.active) == "running"
    assert world.subjects == []
    world.minutes(5)
    assert world.subjects == ["standby ONE started"]


def test_a_suppressed_composite_alarm_starts_nothing(batch: World) -> None:
    world = batch(FenceActive="true")
    world.alarm("part", [])
    world.alarm("work", [])
    world.account.client("cloudwatch").put_composite_alarm(
        AlarmName="whole", AlarmRule='ALARM("part")', AlarmActions=[world.arn], ActionsSuppressor="work"
    )
    world.sets("work", "ALARM")
    world.sets("part", "ALARM")
    world.minutes(5)
    assert (world.states, world.service.state(world.active)) == (["stopped", "stopped"], "running")
    world.sets("work", "OK")
    assert world.subjects == ["standby ONE started"]


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAction", "Throttling"])
def test_an_alarm_counts_if_cloudwatch_does_not_say_whether_it_is_muted(batch: World, code: str) -> None:
    world = batch()
    world.account.faults.add("cloudwatch", "ListAlarmMuteRules", code)
    heartbeat(world)
    function = world.stack.resources["ColdStandbyStartFunction"]
    for sid in [sid for sid in world.account.functions._policies[function] if "Alarms" in sid]:
        world.account.functions.disallow(function, sid)
    world.sets("heartbeat", "ALARM")
    assert world.states == ["stopped", "stopped"], "CloudWatch may not call"
    world.minutes(1)
    assert world.states == ["pending", "stopped"]


def test_an_alarm_that_calls_is_not_asked_whether_it_is_muted(batch: World) -> None:
    world = batch()
    heartbeat(world)
    world.sets("heartbeat", "ALARM")
    assert world.subjects == ["standby ONE started"]
    asked = [call for call in world.account.calls if call.operation == "ListAlarmMuteRules"]
    assert asked == []


def test_an_alarm_that_is_muted_later_neither_ends_the_outage_nor_leaves_the_standby_alone(batch: World) -> None:
    world = batch(StandbyTargetGroupArn="its own")
    heartbeat(world)
    world.sets("heartbeat", "ALARM")
    world.mute("heartbeat", 60)
    world.minutes(10)
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]
    world.sets("heartbeat", "OK")
    world.minutes(2)
    assert world.subjects[2:] == ["active is back"]


def test_an_alarm_from_before_the_active_s_restart_counts_again_when_the_active_does_not_come_up(batch: World) -> None:
    world = batch()
    world.hold(3)
    heartbeat(world)
    world.sets("heartbeat", "ALARM")
    world.service.stop()
    world.minutes(1)
    # Never done, and no failure that the stack's own alarm on the checks would count.
    world.account.ec2.checks[world.service.active] = {"InstanceStatus": "initializing"}
    world.service.start()
    world.minutes(4)
    assert world.states == ["stopped", "stopped"], "it is given its time"
    world.minutes(7)
    assert world.subjects == ["NOT answered (held): a change is due", "standby ONE started", "standby ONE is serving"]


def test_an_alarm_from_before_a_restart_says_nothing_of_an_active_that_passes_its_checks(batch: World) -> None:
    world = batch()
    world.hold(2)
    heartbeat(world)
    world.sets("heartbeat", "ALARM")
    world.service.stop()
    world.minutes(1)
    world.service.start()
    world.minutes(12)
    assert world.states == ["stopped", "stopped"]


@pytest.mark.parametrize("rate", ["rate(1 minute)", "rate(2 minutes)", "rate(5 minutes)"])
def test_that_nothing_serves_raises_an_alarm_however_slow_the_ticks_come(batch: World, rate: str) -> None:
    world = batch(ReconcileExpression=rate)
    world.service.lacks(CAPACITY, world.one, world.two)
    world.dies()
    world.minutes(25)
    assert len(world.alarm_mails("StandbyNotServing")) == 1


@pytest.mark.parametrize(("code", "status"), [("ServiceUnavailable", 503), ("Throttling", 400), ("AccessDenied", 403)])
def test_a_standby_is_started_for_an_active_that_is_down_though_cloudwatch_does_not_answer(
    batch: World, code: str, status: int
) -> None:
    world = batch(StandbyTargetGroupArn="its own")
    world.account.faults.add("cloudwatch", "DescribeAlarms", code, status=status, role="ColdStandby")
    world.dies()
    world.minutes(10)
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]
    assert not world.alarm_mails("Errors")


def test_alarms_that_cannot_be_read_are_no_all_clear_while_the_active_runs(batch: World) -> None:
    world = batch()
    heartbeat(world)
    world.sets("heartbeat", "ALARM")
    world.account.faults.add("cloudwatch", "DescribeAlarms", "ServiceUnavailable", status=503, role="ColdStandby")
    world.minutes(4)
    assert world.subjects == ["standby ONE started"]
    assert world.alarm_mails("Errors")
    world.account.faults.clear()
    world.minutes(4)
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]


@pytest.mark.parametrize("seconds", [10, 60])
def test_an_alarm_that_loses_its_data_does_not_end_the_outage(batch: World, seconds: int) -> None:
    world = batch(StandbyTargetGroupArn="its own")
    world.alarm("never had any", [world.arn])
    world.minutes(1)
    heartbeat(world)
    world.service.hangs()
    world.sets("heartbeat", "ALARM")
    world.account.advance(seconds)
    world.sets("heartbeat", "INSUFFICIENT_DATA")
    world.minutes(8)
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]
    assert world.service.health()[world.one] == "healthy"
    world.account.ec2.applications[world.active] = True
    world.sets("heartbeat", "OK")
    world.minutes(5)
    assert world.subjects[2:] == ["active is back"]


def test_nothing_more_is_started_for_an_alarm_that_has_lost_its_data(batch: World) -> None:
    world = batch()
    heartbeat(world)
    world.service.lacks(CAPACITY, world.one, world.two)
    world.sets("heartbeat", "ALARM")
    world.account.faults.clear()
    world.sets("heartbeat", "INSUFFICIENT_DATA")
    world.minutes(6)
    assert world.states == ["stopped", "stopped"]
    assert "alarms that call nobody (heartbeat: no data)" in world.invoke()["reason"]
    world.sets("heartbeat", "ALARM")
    world.minutes(2)
    assert world.subjects == ["no standby started", "standby ONE started"]


# Tags that cannot be written or removed.


@pytest.mark.parametrize("code", ["UnauthorizedOperation", "RequestLimitExceeded", None])
def test_old_notes_that_cannot_be_removed_do_not_keep_the_next_standby_down(batch: World, code: str | None) -> None:
    world = batch(StandbyInstanceTypes="t3.small")
    world.account.faults.add("ec2", "DeleteTags", code, status=403, after=code is None)
    world.service.lacks(CAPACITY, world.one, times=1)
    world.dies()
    world.minutes(5)
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]
    world.service.start()
    world.minutes(10)
    assert world.subjects[2:] == ["active is back"]
    world.service.stop(world.one)
    world.minutes(2)
    world.dies()
    world.minutes(5)
    assert world.subjects[3:] == ["standby ONE started", "standby ONE is serving"]


def test_a_failure_of_an_earlier_outage_that_cannot_be_removed_is_tried_again(batch: World) -> None:
    world = batch()
    world.account.faults.add("ec2", "DeleteTags", "UnauthorizedOperation", status=403)
    world.service.lacks(CAPACITY, world.one, world.two)
    world.dies()
    world.minutes(1)
    world.service.start()
    world.minutes(5)
    world.account.faults.clear()
    world.account.faults.add("ec2", "DeleteTags", "UnauthorizedOperation", status=403)
    world.dies()
    world.minutes(1)
    assert "standby ONE started" in world.subjects
    assert world.states == ["running", "stopped"]


def test_a_start_that_cannot_be_noted_is_mailed(batch: World) -> None:
    world = batch()
    world.account.faults.add("ec2", "CreateTags", "UnauthorizedOperation", **DENIED)
    world.service.lacks(CAPACITY, world.one)
    world.dies()
    assert world.states == ["stopped", "pending"]
    assert world.subjects == ["standby TWO started"]
    world.account.faults.clear()
    world.minutes(5)
    assert world.subjects == ["standby TWO started", "standby TWO is serving"], "noted late, and told already"


@pytest.mark.parametrize("code", ["TagLimitExceeded", "UnauthorizedOperation"])
def test_a_standby_is_registered_though_nothing_can_be_noted(batch: World, code: str) -> None:
    world = batch(StandbyTargetGroupArn="its own")
    world.account.faults.add("ec2", "CreateTags", code, status=400, role="ColdStandby")
    world.dies()
    world.minutes(10)
    assert world.service.health()[world.one] == "healthy"
    assert world.subjects == ["standby ONE started"]
    assert world.alarm_mails("ColdStandbyStartErrors"), "the notes are missed"
    world.account.faults.clear()
    world.minutes(4)
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]


def test_a_standby_that_serves_is_told_though_that_cannot_be_noted(batch: World) -> None:
    world = batch()
    world.dies()
    world.minutes(1)
    world.account.faults.add("ec2", "CreateTags", "TagLimitExceeded", status=400, role="ColdStandby")
    world.minutes(6)
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]
    world.account.faults.clear()
    world.minutes(4)
    assert world.subjects[2:] == [], "known when it could be noted at last"


# Whatever EC2 has against a candidate.


@pytest.mark.parametrize(
    ("code", "status", "fences"),
    [
        ("OptInRequired", 401, "false"),
        ("AttachmentLimitExceeded", 400, "false"),
        ("InternalError", 500, "false"),
        ("InternalError", 500, "true"),
        ("UnauthorizedOperation", 403, "false"),
        ("UnauthorizedOperation", 403, "true"),
        ("Blocked", 403, "false"),
        ("PendingVerification", 400, "false"),
        ("IncorrectInstanceState", 400, "true"),
        ("SomethingNew", 400, "true"),
    ],
)
def test_the_next_candidate_is_tried_in_the_same_run(batch: World, code: str, status: int, fences: str) -> None:
    world = batch(FenceActive=fences)
    heartbeat(world)
    world.account.faults.add("ec2", START, code, status=status, when=lambda p: world.one in p["InstanceIds"])
    world.sets("heartbeat", "ALARM")
    assert world.states == ["stopped", "pending"]
    assert world.subjects == ["standby TWO started"]
    assert f"{world.one} failed: " in world.mails[0].body
    assert code in world.mails[0].body


def test_the_active_is_not_stopped_for_standbys_that_may_not_be_started(batch: World) -> None:
    world = batch(FenceActive="true")
    heartbeat(world)
    world.account.faults.add("ec2", START, "UnauthorizedOperation", **DENIED)
    world.sets("heartbeat", "ALARM")
    world.minutes(10)
    assert world.service.state(world.active) == "running"
    assert world.calls(STOP) == []
    assert world.subjects == ["no standby started"]
    assert "every candidate: the fault is the function's role" in world.mails[0].body.replace("\n", " ")


def test_an_active_that_was_stopped_for_nothing_is_told_at_once(batch: World) -> None:
    world = batch(FenceActive="true")
    heartbeat(world)
    world.service.lacks(CAPACITY, world.one, world.two)
    world.sets("heartbeat", "ALARM")
    assert world.calls(STOP) == [(STOP, world.active)]
    assert world.subjects == ["active ACTIVE stopped, no standby started"]
    assert f"start-instances --region ap-northeast-1 --instance-ids {world.active}" in world.mails[0].body


@pytest.mark.parametrize("code", ["AuthFailure", "RequestLimitExceeded"])
def test_an_error_of_the_caller_fences_nothing_and_counts_against_no_candidate(batch: World, code: str) -> None:
    world = batch(FenceActive="true")
    heartbeat(world)
    world.account.faults.add("ec2", START, code, status=503 if "Limit" in code else 401)
    world.sets("heartbeat", "ALARM")
    assert world.service.state(world.active) == "running"
    assert world.service.tags(world.one) == {}
    world.account.faults.clear()
    world.minutes(2)
    assert world.subjects == ["standby ONE started"]


def test_an_error_of_the_caller_after_the_fence_is_told(batch: World) -> None:
    world = batch(FenceActive="true")
    heartbeat(world)
    world.account.faults.add("ec2", START, "AuthFailure", status=401, when=lambda p: not p.get("DryRun"), times=1)
    world.sets("heartbeat", "ALARM")
    assert world.subjects == ["active ACTIVE stopped, no standby started", "standby ONE started"]
    assert "AuthFailure" in world.mails[0].body


def test_strict_starts_when_the_active_is_seen_stopped(batch: World) -> None:
    world = batch(FenceActive="strict")
    heartbeat(world)
    world.sets("heartbeat", "ALARM")
    assert set(world.calls(STOP)) == {(STOP, world.active)}  # again, where its event comes before EC2 shows it
    assert (world.states, world.service.state(world.active)) == (["stopped", "stopped"], "stopping")
    assert world.subjects == ["active ACTIVE stopped, a standby starts when it is seen stopped"]
    world.minutes(0.3)
    assert world.states == ["stopped", "stopped"]
    world.minutes(0.1)
    assert world.states == ["pending", "stopped"]
    assert world.subjects[1:] == ["standby ONE started"]


def test_strict_waits_for_an_active_that_is_stopping(batch: World) -> None:
    world = batch(FenceActive="strict")
    world.dies()
    assert world.states == ["stopped", "stopped"]
    said = world.invoke({"action": "reconcile", "force": True, "reason": "its disk is detached"})
    assert said["outcome"] == "changed"
    assert world.states == ["pending", "stopped"]


# The ladder.


def test_each_type_is_asked_for_once(batch: World) -> None:
    world = batch(StandbyInstanceTypes="t3.small,t3.medium")
    world.service.lacks(CAPACITY, "t3.micro", "t3.small", "t3.medium")
    world.dies()
    asked = [call for call in world.calls(START) if call == (START, world.one)]
    assert len(asked) == 3
    assert world.subjects == ["no standby started"]


def test_capacity_that_is_told_after_the_start_leads_to_the_next_type_and_later_again(batch: World) -> None:
    world = batch(StandbyInstanceTypes="t3.small")
    reason = "Server.InsufficientInstanceCapacity: Insufficient capacity to satisfy instance request"
    world.account.ec2.falls_back = dict.fromkeys((world.one, world.two), reason)
    world.dies()
    world.minutes(0.4)
    assert world.account.ec2.instance(world.one).instance_type == "t3.small"
    assert world.subjects[:2] == ["standby ONE started", "standby ONE started"]
    assert reason in world.mails[1].body
    world.minutes(0.2)
    assert world.states == ["stopped", "pending"], "both types of the first are through"
    assert world.account.ec2.instance(world.one).instance_type == "t3.micro"
    world.minutes(2)
    assert world.subjects[2:5] == ["standby TWO started", "standby TWO started", "no standby started"]
    world.account.ec2.falls_back.clear()
    world.minutes(6)
    assert world.subjects[5:6] == ["standby ONE started"], "it was no fault of its own"
    assert world.account.ec2.instance(world.one).instance_type == "t3.micro"


def test_the_next_outage_begins_with_the_standby_s_own_type(batch: World) -> None:
    world = batch(StandbyInstanceTypes="t3.small")
    world.service.lacks(CAPACITY, world.one, times=1)
    world.dies()
    world.minutes(5)
    world.service.start()
    world.minutes(10)
    assert world.subjects[-1] == "active is back"
    assert world.service.tags(world.one) == {"instance-type": "t3.micro"}, "the mail says to look there"
    world.account.faults.clear()
    world.service.stop(world.one)
    world.minutes(2)
    world.dies()
    assert world.account.ec2.instance(world.one).instance_type == "t3.micro"
    assert world.states == ["pending", "stopped"]


def test_the_note_of_the_own_type_goes_when_a_person_has_restored_it(batch: World) -> None:
    world = batch(StandbyInstanceTypes="t3.small")
    world.service.lacks(CAPACITY, world.one, times=1)
    world.dies()
    world.minutes(5)
    world.service.start()
    world.minutes(10)
    world.service.stop(world.one)
    world.minutes(2)
    ec2 = world.account.client("ec2")
    ec2.modify_instance_attribute(InstanceId=world.one, InstanceType={"Value": "t3.micro"})
    world.minutes(2)
    assert world.service.tags(world.one) == {}
    assert world.subjects[-1] == "active is back"


# Standbys that run and do not serve.


@pytest.mark.parametrize(
    ("check", "status"),
    [
        ("AttachedEbsStatus", "impaired"),
        ("PerformanceStatus", "insufficient-data"),
        ("ApplicationStatus", "initializing"),
    ],
)
def test_a_standby_serves_when_every_check_passes(batch: World, check: str, status: str) -> None:
    world = batch()
    world.account.ec2.checks[world.one] = {check: status}
    world.dies()
    world.minutes(5)
    assert world.subjects == ["standby ONE started"]
    world.account.ec2.checks[world.one] = {check: "not-applicable"}
    world.minutes(1)
    assert world.subjects[1:] == ["standby ONE is serving"]


def test_a_standby_that_never_passes_its_checks_is_left_for_the_next(batch: World) -> None:
    world = batch(StandbyTargetGroupArn="its own")
    world.service.impair(world.one)
    world.dies()
    world.minutes(14)
    assert world.subjects == ["standby ONE started"]
    world.minutes(3)
    assert world.states == ["running", "running"]
    assert world.subjects[1:] == ["standby TWO started"]
    assert f"{world.one} was left" in world.mails[1].body
    health = world.service.health()
    assert (health[world.one], health[world.two]) == ("draining", "healthy"), "two never serve"
    world.service.repair(world.one)
    world.minutes(6)
    assert world.subjects[2:] == ["standby TWO is serving"]
    assert set(world.service.health()) & {world.one, world.two} == {world.two}
    assert not world.calls(STOP)


def test_with_fences_it_is_stopped_before_the_next_starts(batch: World) -> None:
    world = batch(StandbyTargetGroupArn="its own", FenceActive="true", StandbyGiveUpMinutes="5")
    world.account.ec2.applications[world.one] = False  # its checks are fine, but nothing answers
    world.dies()
    world.minutes(8)
    assert list(dict.fromkeys(world.calls(START, STOP)))[-2:] == [(STOP, world.one), (START, world.two)]
    assert world.states[0] in ("stopping", "stopped")
    world.minutes(5)
    assert world.subjects == ["standby ONE started", "standby TWO started", "standby TWO is serving"]
    assert world.states == ["stopped", "running"], "stopped by the function, so no person's wish"


def test_a_standby_is_not_left_before_that_is_noted(batch: World) -> None:
    world = batch(FenceActive="true")
    world.account.ec2.checks[world.one] = {"AttachedEbsStatus": "impaired"}
    world.dies()
    world.minutes(10)
    world.service.lacks(CAPACITY, world.two, times=1)

    def left(params: dict[str, Any]) -> bool:
        return any(tag["Key"] == "kirikae:failed" and "gave-up" in tag["Value"] for tag in params["Tags"])

    fault = {"status": 503, "role": "ColdStandby", "when": left}
    world.account.faults.add("ec2", "CreateTags", "RequestLimitExceeded", **fault)
    world.minutes(8)
    assert world.states == ["running", "stopped"]
    assert world.calls(STOP) == [], "its stop would be taken for a person's"
    world.account.faults.clear()
    world.minutes(8)
    assert world.states == ["stopped", "running"]
    assert not world.alarm_mails("Refused")


def test_the_last_one_is_not_given_up(batch: World) -> None:
    world = batch(FenceActive="true", StandbyGiveUpMinutes="5")
    world.service.terminate(world.two)
    world.service.impair(world.one)
    world.dies()
    world.minutes(20)
    assert world.states == ["running", "terminated"]
    world.service.repair(world.one)
    world.minutes(1)
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]


@pytest.mark.parametrize("fences", ["false", "true"])
def test_a_standby_that_a_hold_kept_out_of_the_group_has_its_time_afterwards(batch: World, fences: str) -> None:
    world = batch(StandbyTargetGroupArn="its own", FenceActive=fences)
    world.dies()
    world.hold(20)
    world.minutes(30)
    assert world.states == ["running", "stopped"]
    assert world.service.health()[world.one] == "healthy"


@pytest.mark.parametrize("tags", ["shown at once", "shown late"])
def test_a_standby_that_elb_does_not_register_is_not_left_for_another(batch: World, tags: str) -> None:
    world = batch(StandbyTargetGroupArn="its own", FenceActive="true")
    world.account.lag.exactly("ec2", 0.0 if tags == "shown at once" else 4.0)
    world.account.faults.add("elbv2", "RegisterTargets", "ServiceUnavailable", status=503, role="ColdStandby")
    world.dies()
    world.minutes(16)
    assert world.states == ["running", "stopped"]
    world.account.faults.clear()
    world.minutes(5)
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]


def test_a_standby_that_somebody_has_registered_is_left_after_its_time(batch: World) -> None:
    world = batch(StandbyTargetGroupArn="its own", StandbyGiveUpMinutes="5")
    world.account.ec2.applications[world.one] = False
    world.dies()
    world.hold(6)
    world.minutes(0.5)
    places = [{"Id": world.one, "Port": PORT}]
    world.account.client("elbv2").register_targets(TargetGroupArn=world.service.group_arn, Targets=places)
    world.minutes(8)
    assert world.states == ["running", "running"]


def test_a_group_that_no_load_balancer_uses_is_named_and_costs_no_standby(batch: World) -> None:
    world = batch(StandbyTargetGroupArn="its own", FenceActive="true")
    world.account.client("elbv2").delete_listener(ListenerArn=world.service.listener_arn)
    world.dies()
    world.minutes(25)
    assert world.states == ["running", "stopped"]
    assert f"no load balancer uses {world.service.group_arn}" in world.invoke()["reason"]
    assert len(world.alarm_mails("StandbyNotServing")) == 1


def test_the_last_one_is_not_given_up_for_one_that_ec2_has_refused(batch: World) -> None:
    world = batch(FenceActive="true", StandbyGiveUpMinutes="5")
    world.service.lacks(CAPACITY, world.one)
    world.service.impair(world.two)
    world.dies()
    world.minutes(40)
    assert world.states == ["stopped", "running"]
    world.service.repair(world.two)
    world.minutes(1)
    assert world.subjects == ["standby TWO started", "standby TWO is serving"]


def test_one_that_was_left_is_followed_while_no_other_can_be_had(batch: World) -> None:
    world = batch(StandbyGiveUpMinutes="5")
    world.service.impair(world.one)
    world.service.lacks(CAPACITY, world.two)
    world.dies()
    world.minutes(8)
    assert world.subjects == ["standby ONE started", "no standby started"]
    world.service.repair(world.one)
    world.minutes(1)
    assert world.subjects[2:] == ["standby ONE is serving"]


def test_one_that_was_left_is_registered_again_when_the_one_that_took_its_place_is_lost(batch: World) -> None:
    world = batch(StandbyTargetGroupArn="its own", StandbyGiveUpMinutes="5")
    world.service.impair(world.one)
    world.dies()
    world.minutes(12)
    assert world.subjects == ["standby ONE started", "standby TWO started", "standby TWO is serving"]
    world.service.terminate(world.two)
    world.minutes(4)
    assert world.subjects[3:] == [], "its start was told long ago"
    world.service.repair(world.one)
    world.minutes(6)
    assert world.subjects[3:] == ["standby ONE is serving"]
    assert world.service.health()[world.one] == "healthy"


# Stops by a person, and reads that lag.


def test_a_standby_that_a_person_hibernates_stays_down(batch: World) -> None:
    world = batch()
    world.dies()
    world.minutes(4)
    world.service.hibernate(world.one)
    world.minutes(10)
    assert world.states == ["stopped", "stopped"]
    assert len(world.alarm_mails("Refused")) == 1


@pytest.mark.parametrize(("seconds", "tags"), [(1, 1), (20, 0), (90, 90), (200, 200), (200, 0)])
def test_what_was_just_started_is_believed_before_what_ec2_shows(batch: World, seconds: float, tags: float) -> None:
    world = batch()
    world.service.start(world.one)
    world.minutes(1)
    world.service.stop(world.one)  # by a person, before the outage
    world.minutes(10)
    world.account.lag.exactly("ec2", seconds)
    world.account.lag.exactly("tags", tags)
    world.dies()
    for _ in range(12):
        world.invoke()
        world.minutes(0.5)
    world.minutes(8)
    assert world.states == ["running", "stopped"]
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]
    assert "failed" not in world.service.tags(world.one)
    assert not world.alarm_mails("Refused")


@pytest.mark.parametrize("seconds", [20, 90, 200])
def test_a_standby_is_started_once_however_late_ec2_shows_it(batch: World, seconds: float) -> None:
    world = batch(FenceActive="true", StandbyTargetGroupArn="its own")
    heartbeat(world)
    world.service.start(world.one)
    world.minutes(1)
    world.service.stop(world.one)  # by a person, before the outage
    world.minutes(10)
    world.account.lag.exactly("ec2", seconds)
    world.sets("heartbeat", "ALARM")
    for _ in range(12):
        world.minutes(0.5)
        world.invoke()
    world.account.lag.off()
    world.minutes(5)
    assert world.states == ["running", "stopped"]
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]
    assert "failed" not in world.service.tags(world.one)
    assert not world.alarm_mails("Refused")


def test_old_news_is_not_believed_for_ever(batch: World) -> None:
    world = batch()
    world.account.ec2.falls_back[world.one] = "Server.InternalError: Internal error on launch"
    world.dies()
    world.minutes(1)
    assert world.states == ["stopped", "running"]


# Mails.


def test_nothing_can_be_had_is_told_once_by_overlapping_runs(batch: World) -> None:
    world = batch()
    world.loses_events()
    world.service.stop()
    world.settle()
    world.account.lag.catch_up()
    world.service.lacks(CAPACITY, world.one, world.two)
    world.account.before("ec2", START, world.invoke)
    world.invoke()
    assert world.subjects == ["no standby started"]


@pytest.mark.parametrize("shown_after", [0, 2], ids=["shown at once", "shown late"])
def test_nothing_started_is_not_told_after_a_start(batch: World, shown_after: float) -> None:
    world = batch()
    world.loses_events()
    world.service.stop()
    world.settle()
    world.account.lag.catch_up()
    world.service.lacks(CAPACITY, world.one, times=2)
    world.service.lacks(CAPACITY, world.two, times=1)

    def another() -> None:
        world.account.lag.exactly("DescribeInstances", shown_after)
        world.invoke()

    world.account.lag.exactly("ec2", 0)
    world.account.before("ec2", "CreateTags", lambda: world.account.before("ec2", "CreateTags", another))
    world.invoke()
    world.minutes(3)
    started = [subject for subject in world.subjects if subject.endswith("started")]
    assert started[-1] in ("standby ONE started", "standby TWO started"), started
    assert len([subject for subject in started if subject.startswith("standby")]) == 1


def test_a_standby_that_ran_already_is_told_with_the_times_of_this_outage(batch: World) -> None:
    world = batch()
    world.dies()
    world.minutes(4)
    first = world.account.clock.now()
    world.loses_events()
    world.service.start()
    world.minutes(0.9)
    world.hold(60)  # so that nobody closes the first outage
    world.minutes(30)
    world.account.client("ssm").put_parameter(Name="/batch/hold", Type="String", Value="off", Overwrite=True)
    world.service.stop()
    world.minutes(1)
    assert world.subjects[-1] == "standby ONE is running already"
    told = world.mails[-1].body
    [since] = [line for line in told.splitlines() if line.startswith("outage since: ")]
    assert since > f"outage since: {first:%Y-%m-%d %H:%M:%S} UTC"


def test_types_are_changed_only_for_candidates(batch: World) -> None:
    world = batch(StandbyInstanceTypes="t3.small")
    world.service.lacks(CAPACITY, "t3.micro")
    world.dies()
    assert {name for _, name in world.calls(TYPE)} == {world.one}


# Notes that cannot be written: what EC2 itself remembers, and what people were told, stand in for them.


def test_a_candidate_whose_notes_cannot_be_written_is_not_started_for_ever(batch: World) -> None:
    world = batch()
    full = {"role": "ColdStandby", "when": lambda params: params["Resources"] == [world.one]}
    world.account.faults.add("ec2", "CreateTags", "TagLimitExceeded", **full)  # ONE has its 50 tags
    world.account.ec2.falls_back[world.one] = "Server.InternalError: on launch"
    world.dies()
    world.minutes(10)
    assert world.states[1] == "running"
    assert world.subjects == ["standby ONE started", "standby TWO started", "standby TWO is serving"]
    assert world.calls(START) == [(START, world.one), (START, world.two)]


@pytest.mark.parametrize("ends", ["stopped", "terminated"])
def test_starts_that_fall_back_without_notes_are_made_once_each(batch: World, ends: str) -> None:
    world = batch()
    world.account.faults.add("ec2", "CreateTags", "UnauthorizedOperation", status=403, role="ColdStandby")
    world.account.ec2.falls_back |= dict.fromkeys((world.one, world.two), "Server.InternalError: on launch")
    world.service.stop() if ends == "stopped" else world.service.terminate()
    world.minutes(50)
    assert world.calls(START) == [(START, world.one), (START, world.two)]
    assert world.subjects == ["standby ONE started", "standby TWO started", "no standby started"]
    world.account.ec2.falls_back.clear()
    world.invoke({"action": "reconcile", "force": True, "reason": "mended"})
    assert world.states[0] == "pending"


def test_nothing_to_be_had_is_told_once_and_tried_ever_less_often_without_notes(batch: World) -> None:
    world = batch()
    world.account.faults.add("ec2", "CreateTags", "UnauthorizedOperation", status=403, role="ColdStandby")
    world.service.lacks(CAPACITY, world.one, world.two)
    world.dies()
    world.minutes(60)
    assert world.subjects == ["no standby started"]
    assert 5 <= len(world.calls(START)) / 2 <= 8
    world.account.faults.clear()
    world.minutes(31)
    assert world.states[0] == "running"
    assert world.subjects == ["no standby started", "standby ONE started", "standby ONE is serving"]


def test_one_of_two_that_cannot_be_noted_is_tried_as_often_as_the_other(batch: World) -> None:
    world = batch()
    full = {"role": "ColdStandby", "when": lambda params: params["Resources"] == [world.one]}
    world.account.faults.add("ec2", "CreateTags", "TagLimitExceeded", **full)
    world.service.lacks(CAPACITY, world.one, world.two)
    world.dies()
    world.minutes(60)
    assert world.subjects == ["no standby started"]
    assert len(world.calls(START)) <= 16


def test_a_standby_that_is_added_when_none_could_be_noted_is_started_at_once(batch: World) -> None:
    world = batch(StandbyInstanceIds="{one}")
    world.account.faults.add("ec2", "CreateTags", "UnauthorizedOperation", status=403, role="ColdStandby")
    world.service.lacks(CAPACITY, world.one)
    world.dies()
    world.minutes(40)
    world.deployed_again(StandbyInstanceIds=f"{world.one},{world.two}")
    world.minutes(2)
    assert world.states[1] == "running"


def test_an_active_that_cannot_be_stopped_is_told_once_without_notes(batch: World) -> None:
    world = batch(FenceActive="true")
    world.account.faults.add("ec2", "CreateTags", "UnauthorizedOperation", status=403, role="ColdStandby")
    world.account.faults.add("ec2", STOP, "OperationNotPermitted", status=400, role="ColdStandby")
    heartbeat(world)
    world.sets("heartbeat", "ALARM")
    world.minutes(10)
    assert world.subjects == ["active ACTIVE not fenced, no standby started"]


@pytest.mark.parametrize("fence", ["true", "strict"])
def test_the_standby_that_serves_leaves_the_list_and_no_second_one_runs(batch: World, fence: str) -> None:
    world = batch(FenceActive=fence)
    world.dies()
    world.minutes(8)
    assert world.subjects[-1] == "standby ONE is serving"
    world.deployed_again(StandbyInstanceIds=world.two)
    world.minutes(10)
    assert world.states == ["running", "stopped"]
    assert world.subjects[-1] == "NOT answered (refused): a change is due"
    assert f"{world.one} is running and stands in" in world.mails[-1].body
    world.service.stop(world.one)
    world.minutes(3)
    assert world.states[1] == "running"


# What only tells who serves: the status checks and the target health.

READS = [("ec2", "DescribeInstanceStatus"), ("elbv2", "DescribeTargetHealth")]


def cannot_read(
    world: Batch, service: str, operation: str, code: str = "ServiceUnavailable", status: int = 503
) -> None:
    world.account.faults.add(service, operation, code, status=status, role="ColdStandby")


@pytest.mark.parametrize(("code", "status"), [("RequestLimitExceeded", 503), ("UnauthorizedOperation", 403)])
def test_a_standby_is_registered_though_its_checks_cannot_be_read(batch: World, code: str, status: int) -> None:
    world = batch(StandbyTargetGroupArn="its own", StandbyGiveUpMinutes="5")
    cannot_read(world, *READS[0], code, status)
    world.dies()
    world.minutes(20)
    assert world.service.health().get(world.one) == "healthy"
    assert world.states == ["running", "stopped"], "what cannot be read speaks against nobody"
    assert world.alarm_mails("ColdStandbyStartErrors")
    assert world.alarm_mails("StandbyNotServing"), "nobody knows that it serves"
    world.account.faults.clear()
    world.minutes(2)
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]


def test_a_standby_enters_on_the_group_s_port_while_target_health_cannot_be_read(batch: World) -> None:
    world = batch(StandbyTargetGroupArn="its own", StandbyGiveUpMinutes="5")
    cannot_read(world, *READS[1])
    world.account.targets.broken_ports |= {(world.one, 80)}
    world.dies()
    world.minutes(1.5)
    assert world.one not in world.service.health(), "the active's ports may be known in a moment"
    world.minutes(18.5)
    assert world.service.health().get(world.one) == "unhealthy", "which is better than nowhere"
    assert world.states == ["running", "stopped"]
    assert world.alarm_mails("ColdStandbyStartErrors")
    world.account.faults.clear()
    world.minutes(10)
    assert world.service.health().get(world.one) == "healthy", "on the active's port"
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]


def test_a_short_failure_to_read_target_health_costs_no_port(batch: World) -> None:
    world = batch(StandbyTargetGroupArn="its own")
    world.service.start(world.one)
    world.minutes(5)
    cannot_read(world, *READS[1])
    world.dies()
    world.minutes(1)
    world.account.faults.clear()
    world.minutes(5)
    registered = [call.params["Targets"] for call in world.account.calls if call.operation == "RegisterTargets"]
    assert registered[-1] == [{"Id": world.one, "Port": 8080}]
    assert [{"Id": world.one}] not in registered


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [
        (*READS[0], "ServiceUnavailable"),
        (*READS[1], "ServiceUnavailable"),
        pytest.param(*READS[1], "TargetGroupNotFound", id="the group was deleted"),
    ],
)
def test_the_next_is_started_though_who_serves_cannot_be_read(
    batch: World, service: str, operation: str, code: str
) -> None:
    world = batch(StandbyTargetGroupArn="its own")
    cannot_read(world, service, operation, code, 503 if code == "ServiceUnavailable" else 400)
    heartbeat(world)
    world.account.ec2.falls_back[world.one] = "Server.InternalError: on launch"
    world.sets("heartbeat", "ALARM")
    world.minutes(20)
    assert world.states == ["stopped", "running"]
    assert world.subjects[:2] == ["standby ONE started", "standby TWO started"]


def test_an_active_is_fenced_for_a_standby_that_is_up_though_the_checks_cannot_be_read(batch: World) -> None:
    world = batch(StandbyTargetGroupArn="its own", FenceActive="true", DryRun="true")
    world.deployed_again(DryRun="false")
    world.service.start(world.one)
    world.minutes(3)
    cannot_read(world, *READS[0])
    heartbeat(world)
    world.sets("heartbeat", "ALARM")
    world.minutes(10)
    assert world.service.state(world.active) == "stopped"
    assert world.service.health().get(world.one) == "healthy"


def test_retries_go_on_for_an_active_that_ec2_has_forgotten_though_its_target_cannot_be_read(batch: World) -> None:
    world = batch(StandbyTargetGroupArn="its own")
    world.service.lacks(CAPACITY, world.one, world.two)
    world.service.terminate()
    world.minutes(70)
    for reservation in list(world.account.ec2.backend.reservations.values()):
        reservation.instances = [each for each in reservation.instances if each.id != world.active]
    world.account.faults.clear()
    cannot_read(world, *READS[1])
    world.minutes(45)
    assert "running" in world.states


def test_an_active_that_nobody_knows_is_not_called_wrong_while_its_target_cannot_be_read(batch: World) -> None:
    world = batch(StandbyTargetGroupArn="its own")
    cannot_read(world, *READS[1])
    world.deployed_again(ActiveInstanceId="i-0123456789abcdef0")
    world.minutes(3)
    assert world.alarm_mails("ColdStandbyStartErrors")
    assert not world.alarm_mails("Refused")
    world.account.faults.clear()
    world.minutes(3)
    assert len(world.alarm_mails("Refused")) == 1
    assert world.states == ["stopped", "stopped"]


@pytest.mark.parametrize(("service", "operation"), READS)
def test_what_cannot_be_read_takes_nothing_back(batch: World, service: str, operation: str) -> None:
    world = batch(StandbyTargetGroupArn="its own", StandbyGiveUpMinutes="5")
    world.dies()
    world.minutes(8)
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]
    cannot_read(world, service, operation)
    world.minutes(30)
    assert world.states == ["running", "stopped"]
    assert world.service.health().get(world.one) == "healthy"
    assert world.alarm_mails("ColdStandbyStartErrors")
    assert not world.alarm_mails("StandbyNotServing"), "nothing is known against it"
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]


def test_an_outage_is_closed_once_the_checks_of_the_active_can_be_read(batch: World) -> None:
    world = batch()
    world.dies()
    world.minutes(6)
    cannot_read(world, *READS[0])
    world.service.start()
    world.minutes(20)
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]
    assert world.alarm_mails("ColdStandbyStartErrors")
    world.account.faults.clear()
    world.minutes(2)
    assert world.subjects[2:] == ["active is back"]


# A person's stop, and the failure that it was about.


def told_to_stop(world: Batch, *, under_a_hold: bool = True) -> None:
    """Let the active fail by an alarm, without a restart, and a person stop the standby once the alarm is OK."""
    heartbeat(world)
    world.sets("heartbeat", "ALARM")
    world.minutes(6)
    if under_a_hold:
        world.hold(120)
    world.sets("heartbeat", "OK")
    world.account.lag.catch_up("cloudwatch")
    world.service.stop(world.one)
    world.minutes(60)


@pytest.mark.parametrize("fails", ["by an alarm", "stopped", "terminated"])
def test_a_stop_by_a_person_from_before_the_failure_is_no_wish_about_it(batch: World, fails: str) -> None:
    world = batch()
    told_to_stop(world)
    match fails:
        case "by an alarm":
            world.sets("heartbeat", "ALARM")
        case "stopped":
            world.dies()
        case _:
            world.service.terminate()
    world.minutes(70)
    assert world.states == ["running", "stopped"]
    assert [subject for subject in world.subjects if subject.startswith("standby")] == [
        "standby ONE started",
        "standby ONE is serving",
    ] * 2


@pytest.mark.parametrize("silenced", ["its actions are disabled", "muted by a rule"])
def test_a_false_alarm_that_a_person_has_silenced_keeps_no_standby_down_when_the_active_dies(
    batch: World, silenced: str
) -> None:
    world = batch()
    heartbeat(world)
    world.sets("heartbeat", "ALARM")
    world.minutes(6)
    if silenced == "muted by a rule":
        world.mute("heartbeat", 600)
    else:
        world.account.client("cloudwatch").disable_alarm_actions(AlarmNames=["heartbeat"])
    world.service.stop(world.one)
    world.minutes(60)
    assert world.states == ["stopped", "stopped"]
    world.dies()
    world.minutes(5)
    assert world.states == ["running", "stopped"]


def test_a_stop_in_the_outage_is_a_wish_about_it_whatever_becomes_of_the_alarm(batch: World) -> None:
    world = batch()
    heartbeat(world)
    world.sets("heartbeat", "ALARM")
    world.minutes(6)
    world.service.stop(world.one)
    world.minutes(10)
    world.sets("heartbeat", "INSUFFICIENT_DATA")
    world.minutes(30)
    assert world.states == ["stopped", "stopped"]
    assert len(world.alarm_mails("Refused")) == 1


def test_an_outage_whose_alarms_are_ok_is_refused_while_a_check_fails_that_no_alarm_counts(batch: World) -> None:
    world = batch()
    world.account.ec2.checks[world.active] = {"PerformanceStatus": "impaired"}
    told_to_stop(world, under_a_hold=False)
    assert len(world.alarm_mails("Refused")) == 1
    answer = world.invoke()
    assert "does not pass its status checks (PerformanceStatus impaired)" in answer["reason"]
    world.service.terminate()
    world.minutes(10)
    assert world.states == ["running", "stopped"]


def test_an_active_that_still_comes_up_is_waited_for_in_silence(batch: World) -> None:
    world = batch()
    world.dies()
    world.minutes(6)
    world.service.start(world.active)
    world.minutes(15)
    assert not world.alarm_mails("Refused")
    assert world.subjects[-1] == "active is back"


# The mark of one that was left.


@pytest.mark.parametrize("fences", ["true", "false"])
def test_one_that_was_left_is_tried_again_when_its_mark_is_removed(batch: World, fences: str) -> None:
    world = batch(FenceActive=fences, StandbyGiveUpMinutes="5")
    world.account.ec2.checks[world.one] = {"AttachedEbsStatus": "impaired"}
    world.service.lacks(CAPACITY, world.two)
    world.dies()
    world.minutes(10)
    if fences == "false":
        world.service.stop(world.one)
        world.minutes(2)
    world.account.ec2.checks.clear()
    world.account.client("ec2").delete_tags(Resources=[world.one], Tags=[{"Key": "kirikae:failed"}])
    world.minutes(5)
    assert world.states == ["running", "stopped"]
    assert world.subjects[-2:] == ["standby ONE started", "standby ONE is serving"]
    world.service.stop(world.one)  # and now by a person, who is heeded
    world.minutes(40)
    assert world.states == ["stopped", "stopped"]


def test_a_person_s_stop_of_one_that_was_left_and_serves_since_is_a_wish(batch: World) -> None:
    world = batch(StandbyGiveUpMinutes="5")
    world.account.ec2.checks[world.one] = {"AttachedEbsStatus": "impaired"}
    world.service.lacks(CAPACITY, world.two)
    world.dies()
    world.minutes(10)
    world.account.ec2.checks.clear()
    world.minutes(5)
    assert world.subjects[-1] == "standby ONE is serving"
    world.account.faults.clear()
    world.service.stop(world.one)
    world.minutes(40)
    assert world.subjects[3:] == ["NOT answered (refused): a change is due"]
    world.account.client("ec2").delete_tags(Resources=[world.one], Tags=[{"Key": "kirikae:failed"}])
    world.minutes(10)
    assert world.states == ["stopped", "stopped"]
    assert "stopped by a person" in world.invoke()["reason"]


def test_a_first_stop_by_a_person_counts_though_ec2_says_no_time_of_the_active_s_end(batch: World) -> None:
    world = batch()
    heartbeat(world)
    world.sets("heartbeat", "ALARM")
    world.minutes(6)
    world.service.terminate()
    world.minutes(2)
    world.service.stop(world.one)
    world.minutes(10)
    assert world.states == ["stopped", "stopped"]
    assert world.subjects[2:] == ["NOT answered (refused): a change is due"]


def test_a_standby_that_cannot_be_stopped_is_told_though_the_active_could_not_either(batch: World) -> None:
    world = batch(FenceActive="true", StandbyGiveUpMinutes="5")
    world.account.faults.add("ec2", STOP, "OperationNotPermitted", status=400, role="ColdStandby")
    heartbeat(world)
    world.sets("heartbeat", "ALARM")
    world.minutes(3)
    world.account.ec2.checks[world.one] = {"AttachedEbsStatus": "impaired"}
    world.service.stop(world.active)
    world.minutes(15)
    told = ["active ACTIVE not fenced", "standby ONE started", "standby ONE not fenced"]
    assert [subject.partition(",")[0] for subject in world.subjects] == told


@pytest.mark.parametrize("since", ["it serves", "it runs"])
def test_an_active_beside_a_standby_is_fenced_and_told_once_also_when_that_is_asked_for_or_possible_only_later(
    batch: World, since: str
) -> None:
    world = batch(FenceActive=str(since == "it runs").lower())
    world.account.faults.add("ec2", STOP, "OperationNotPermitted", status=400, role="ColdStandby")
    heartbeat(world)
    if since == "it runs":
        world.service.start(world.one)
        world.minutes(3)
    world.sets("heartbeat", "ALARM")
    world.minutes(6)
    if since == "it serves":
        world.deployed_again(FenceActive="true")
        world.minutes(6)
    assert world.subjects[-1] == "active ACTIVE not fenced, standby ONE waits"
    world.account.faults.clear()
    world.minutes(6)
    fenced = ["active ACTIVE not fenced, standby ONE waits", "active ACTIVE stopped, standby ONE is up"]
    if since == "it runs":
        assert world.subjects == ["standby ONE is running already", *fenced, "standby ONE is serving"]
    else:
        assert world.subjects == ["standby ONE started", "standby ONE is serving", *fenced]
    assert world.service.state(world.active) == "stopped"


# The way back.


@pytest.mark.parametrize("fence", ["false", "true", "strict"])
def test_the_way_back_of_the_mails_has_the_order_that_fences_ask_for(batch: World, fence: str) -> None:
    world = batch(FenceActive=fence, StandbyTargetGroupArn="its own")
    heartbeat(world)
    world.sets("heartbeat", "ALARM")
    world.minutes(6)
    serving = world.mails[-1]
    assert world.subjects[-1] == "standby ONE is serving"
    world.sets("heartbeat", "OK")
    world.service.start(world.active)  # though the standby serves
    world.minutes(6)
    back = world.mails[-1]
    assert world.subjects[-1] == "active is back"
    if fence == "false":
        assert "bring up the active, see it serve, then deregister and stop the standby" in serving.body
        assert "Both run now" not in back.body
        return
    assert "deregister and stop the standby, and start the active only when the standby is stopped" in serving.body
    assert "Both run now, which FenceActive forbids" in back.body
    commands = [line.split()[2] for line in serving.body.split("Undo")[-1].splitlines() if line.startswith("aws ")]
    waits = ["wait"] if fence == "strict" else []
    assert commands == ["put-parameter", "deregister-targets", "stop-instances", *waits, "start-instances"]


# Ports.


def ports_of(world: Batch, standby: str, *states: str) -> set[int]:
    """Return the ports on which a standby is registered and has one of these states."""
    shown = world.account.client("elbv2").describe_target_health(TargetGroupArn=world.service.group_arn)
    return {
        described["Target"]["Port"]
        for described in shown["TargetHealthDescriptions"]
        if described["Target"]["Id"] == standby and described["TargetHealth"]["State"] in states
    }


@pytest.mark.parametrize("falls", [False, True], ids=["no capacity at first", "the first falls back"])
def test_the_active_s_port_outlives_its_target(batch: World, falls: bool) -> None:
    world = batch(StandbyTargetGroupArn="its own", StandbyGiveUpMinutes="5")
    world.account.targets.broken_ports |= {(world.one, 80), (world.two, 80)}
    if falls:
        world.account.ec2.falls_back[world.one] = "Server.InternalError: on launch"
    world.service.lacks(CAPACITY, *[world.two] if falls else [world.one, world.two])
    world.service.terminate()
    world.minutes(20)
    assert not ports_of(world, world.active, "draining", "unused")
    world.account.faults.clear()
    world.minutes(60)
    assert ports_of(world, world.two if falls else world.one, "healthy") == {PORT}
    assert len(world.subjects) == (4 if falls else 3), world.subjects


@pytest.mark.parametrize("old", [(80,), (80, PORT)], ids=["on an old port", "on an old port and the active's"])
def test_a_standby_that_is_registered_serves_on_the_active_s_ports(batch: World, old: tuple[int, ...]) -> None:
    world = batch(StandbyTargetGroupArn="its own", StandbyGiveUpMinutes="5")
    world.account.targets.broken_ports |= {(world.one, 80), (world.two, 80)}
    world.service.start(world.one, world.two)
    world.minutes(1)
    places = [{"Id": standby, "Port": port} for standby in (world.one, world.two) for port in old]
    world.account.client("elbv2").register_targets(TargetGroupArn=world.service.group_arn, Targets=places)
    world.service.stop(world.one, world.two)
    world.minutes(3)
    world.dies()
    world.minutes(15)
    assert ports_of(world, world.one, "healthy") == {PORT}
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]


def test_a_standby_serves_on_every_port_of_the_active(batch: World) -> None:
    world = batch(StandbyTargetGroupArn="its own")
    also = {"TargetGroupArn": world.service.group_arn, "Targets": [{"Id": world.active, "Port": 9090}]}
    world.account.client("elbv2").register_targets(**also)
    world.account.targets.broken_ports |= {(world.one, 9090)}
    world.dies()
    world.minutes(6)
    assert ports_of(world, world.one, "healthy") == {PORT}
    assert world.subjects == ["standby ONE started"]
    world.account.targets.broken_ports.clear()
    world.minutes(3)
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]


def test_a_port_from_which_the_active_only_drains_is_none_of_its_ports(batch: World) -> None:
    world = batch(StandbyTargetGroupArn="its own")
    old = {"TargetGroupArn": world.service.group_arn, "Targets": [{"Id": world.active, "Port": 9090}]}
    world.account.client("elbv2").register_targets(**old)
    world.minutes(2)
    world.account.client("elbv2").deregister_targets(**old)
    world.dies()
    world.minutes(6)
    assert ports_of(world, world.one, "healthy", "unhealthy", "initial") == {PORT}


# The stack's own alarms.


@pytest.mark.parametrize(
    ("alarm", "removed"),
    [
        ("StandbyActiveStatusAlarm", {"ActiveInstanceId": "", "StandbyInstanceIds": ""}),
        ("StandbyActiveCpuAlarm", {"ActiveCpuThreshold": "0"}),
    ],
)
def test_a_deleted_alarm_is_told_before_it_is_needed(batch: World, alarm: str, removed: dict[str, str]) -> None:
    world = batch(ActiveCpuThreshold="90")
    world.minutes(10)
    assert not world.alarm_mails("Refused")
    world.account.client("cloudwatch").delete_alarms(AlarmNames=[world.stack.resources[alarm]])
    world.minutes(3)
    assert len(world.alarm_mails("Refused")) == 1
    reason = world.invoke()["reason"]
    assert f"no alarm named {world.stack.resources[alarm]}" in reason
    assert all(f"{name}={value or chr(34) * 2}" in reason for name, value in removed.items())
    world.dies()  # and it keeps nothing else down
    world.minutes(6)
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]
    world.service.start(world.active)
    world.minutes(8)
    assert world.subjects[-1] == "active is back"
    given = dict(world.given)
    world.deployed_again()
    assert world.invoke()["outcome"] == "refused", "CloudFormation does not see that it is gone"
    world.deployed_again(**removed)
    world.deployed_again(**given)
    assert "no alarm that calls this function has gone off" in world.invoke()["reason"]


def test_an_outage_that_begins_while_the_one_before_is_closed_keeps_its_notes(batch: World) -> None:
    world = batch()
    told_to_stop(world)
    world.account.lag.off("ec2", "cloudwatch")
    world.account.client("ssm").delete_parameter(Name="/batch/hold")
    world.account.lag.catch_up("ssm")

    def fails_anew() -> None:
        world.account.client("cloudwatch").set_alarm_state(
            AlarmName="heartbeat", StateValue="ALARM", StateReason="test"
        )
        world.invoke()

    world.account.before("ec2", "DescribeInstanceStatus", fails_anew)
    assert world.invoke()["reason"].endswith(f"another run has noted an outage on {world.one}")
    assert world.subjects[-1] == "standby ONE started"
    world.minutes(6)
    assert world.subjects[2:] == ["standby ONE started", "standby ONE is serving"]
