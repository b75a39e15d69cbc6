"""States of a cold standby that only come about by wrong parameters, or by hands other than the function's."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from standby_stories import CAPACITY, FUNCTION, START, STOP, TYPE, Batch

from sandbox.estates import parts
from sandbox.estates.standby import PORT, standby_service
from sandbox.services import ec2
from sandbox.stack import cloudformation

World = Callable[..., Batch]
GONE = "i-0123456789abcdef0"


def refusal(world: Batch) -> str:
    said = world.invoke()
    assert said["outcome"] == "refused", said
    return str(said["reason"])


@pytest.mark.parametrize(
    ("parameter", "value", "words", "told"),
    [
        (
            "StandbyInstanceIds",
            "{one},{one}",
            "StandbyInstanceIds names {one} twice, expected different",
            "ONE started",
        ),
        ("StandbyInstanceTypes", "x9.huge", "StandbyInstanceTypes names x9.huge, expected instance", "ONE started"),
        ("ActiveInstanceId", GONE, f"ActiveInstanceId names {GONE}, which EC2 does not know; expected", "NOT answered"),
        (
            "StandbyInstanceIds",
            f"{{one}},{GONE}",
            f"StandbyInstanceIds names {GONE} (missing), expected",
            "ONE started",
        ),
    ],
)
def test_a_wrong_parameter_is_named_and_keeps_nothing_down(
    batch: World, parameter: str, value: str, words: str, told: str
) -> None:
    world = batch()
    world.alarm("heartbeat", [world.arn])
    world.deployed_again(**{parameter: value.format(one=world.one)})
    assert words.format(one=world.one) in refusal(world)
    assert world.states == ["stopped", "stopped"]
    world.dies()
    world.sets("heartbeat", "ALARM")
    world.minutes(1)
    assert [told in subject for subject in world.subjects] == [True]
    world.minutes(3)
    assert world.states[0] == ("running" if "started" in told else "stopped")


def test_a_standby_that_is_named_twice_is_one(batch: World) -> None:
    world = batch(StandbyInstanceIds="{one},{one}")
    world.dies()
    world.minutes(6)
    world.service.start(world.active)
    world.minutes(8)
    assert world.subjects == ["standby ONE started", "standby ONE is serving", "active is back"]
    assert f"Still running: standby {world.one}." in world.mails[-1].body


def test_a_group_of_addresses_is_refused(batch: World) -> None:
    world = batch()
    vpc = world.account.ec2.instance(world.active).vpc_id
    group = parts.target_group(world.account, "addresses", vpc, TargetType="ip", Port=80)
    world.deployed_again(StandbyTargetGroupArn=group)
    assert "has targets of type ip, expected a group of instances" in refusal(world)


def test_a_second_standby_that_is_gone_is_told_while_the_first_one_lasts(batch: World) -> None:
    world = batch()
    for standby, told in ((world.one, []), (world.two, ["ATTENTION, something else is not as it must be"])):
        world.service.terminate(standby)
        world.minutes(8)
        assert world.subjects == told
    assert f"StandbyInstanceIds names {world.two} (terminated)" in world.mails[0].body


def test_no_standby_is_left_when_the_active_dies(batch: World) -> None:
    world = batch()
    world.service.terminate(world.one, world.two)
    world.minutes(2)
    assert f"StandbyInstanceIds names {world.one} (terminated)" in refusal(world)
    world.dies()
    world.minutes(2)
    assert f"no standby is left: {world.one} is terminated" in refusal(world)


def test_an_outage_is_told_at_once_when_a_person_has_left_out_every_standby(batch: World) -> None:
    world = batch()
    mark = {"Key": "kirikae:failed", "Value": "disk is broken"}
    world.account.client("ec2").create_tags(Resources=[world.one, world.two], Tags=[mark])
    world.minutes(1)
    world.dies()
    world.minutes(4)
    assert world.subjects == ["NOT answered (refused): a change is due"]
    assert "every standby has failed" in refusal(world)
    assert world.states == ["stopped", "stopped"]


def test_an_active_that_hangs_in_stopping_is_told_though_a_strict_start_waits(
    batch: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = batch(FenceActive="strict")
    monkeypatch.setattr(ec2, "STOPPING", 3600)
    world.dies()
    world.minutes(2)
    assert world.subjects == [], "a stop takes its time"
    world.minutes(2)
    assert world.subjects == ["NOT answered (refused): a change is due"]
    assert world.states == ["stopped", "stopped"]


def test_an_active_that_hangs_in_stopping_is_told_though_a_standby_is_up_already(
    batch: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = batch(FenceActive="strict", StandbyTargetGroupArn="its own")
    monkeypatch.setattr(ec2, "STOPPING", 3600)
    world.account.client("ec2").start_instances(InstanceIds=[world.one])
    world.minutes(3)
    world.dies()
    world.minutes(6)
    assert world.subjects == ["NOT answered (refused): a change is due"]
    assert "is stopping, and a standby takes its place when it is seen stopped" in world.mails[0].body


def forget(world: Batch) -> None:
    """Let EC2 forget the active, as it does an hour after the termination."""
    for reservation in list(world.account.ec2.backend.reservations.values()):
        reservation.instances = [each for each in reservation.instances if each.id != world.active]


def test_an_active_that_ec2_forgets_during_a_hold_gets_its_standby_after_it(batch: World) -> None:
    world = batch()
    world.hold(60)
    world.service.terminate()
    world.settle()
    world.minutes(10)
    forget(world)
    world.minutes(45)
    assert world.alarm_mails("StandbyNotServing")
    assert not world.alarm_mails("StandbyNotServing", "OK")[1:], "the outage is not over: the first is of the new stack"
    world.minutes(15)
    assert world.calls(START) == [(START, world.one)]
    assert world.subjects == [
        "NOT answered (held): a change is due",
        "standby ONE started",
        "standby ONE is serving",
    ]


def test_an_active_that_ec2_does_not_know_is_an_outage_while_its_target_shows(batch: World) -> None:
    world = batch(StandbyTargetGroupArn="its own")
    forget(world)
    world.minutes(2)
    assert world.calls(START) == [(START, world.one)]


def test_two_standbys_that_a_person_has_let_run_are_named(batch: World) -> None:
    world = batch()
    world.dies()
    world.minutes(3)
    world.service.start(world.two)
    world.minutes(3)
    assert f"more than one standby is up: {world.one} is running, {world.two} is running" in refusal(world)
    assert world.calls(START, STOP) == [(START, world.one)]


def test_a_standby_that_a_person_starts_beside_the_one_that_serves_is_named_and_not_registered(batch: World) -> None:
    world = batch(StandbyTargetGroupArn="its own")
    world.service.lacks(CAPACITY, world.one, times=1)
    world.dies()
    world.minutes(6)
    world.service.start(world.one)
    world.minutes(8)
    assert world.subjects == ["standby TWO started", "standby TWO is serving"]
    assert set(world.service.health()) == {world.active, world.two}
    assert f"more than one standby is up: {world.two} is running, {world.one} is running" in refusal(world)


def test_a_standby_that_was_left_leaves_the_group_though_the_next_is_registered_in_it_already(batch: World) -> None:
    world = batch(StandbyTargetGroupArn="its own", StandbyGiveUpMinutes="5")
    world.service.start(world.two)  # as after an outage before, when nobody took it out of the group
    world.minutes(2)
    places = [{"Id": world.two, "Port": PORT}]
    world.account.client("elbv2").register_targets(TargetGroupArn=world.service.group_arn, Targets=places)
    world.minutes(2)
    world.service.stop(world.two)
    world.minutes(3)
    world.account.ec2.checks[world.one] = {"AttachedEbsStatus": "impaired"}
    world.dies()
    world.minutes(8)
    assert world.states == ["running", "running"]
    assert world.service.health()[world.one] == "draining"
    world.minutes(8)
    assert set(world.service.health()) == {world.active, world.two}
    assert world.subjects == ["standby ONE started", "standby TWO started", "standby TWO is serving"]


@pytest.mark.parametrize("next_one", ["hangs, too", "would serve"])
def test_a_standby_that_was_left_and_serves_after_all_is_not_taken_out(
    batch: World, monkeypatch: pytest.MonkeyPatch, next_one: str
) -> None:
    world = batch(StandbyTargetGroupArn="its own", StandbyGiveUpMinutes="5")
    world.account.ec2.applications |= {world.one: False, world.two: next_one == "would serve"}
    world.dies()
    monkeypatch.setattr(ec2, "PENDING", 90)
    while world.states[1] != "pending":
        world.minutes(0.1)
    world.account.ec2.applications[world.one] = True  # it only took its time
    world.minutes(1)
    assert world.service.health()[world.one] == "healthy"
    world.minutes(15)
    assert world.service.health()[world.one] == "healthy"
    assert world.two not in world.service.health(), "two never serve"
    assert world.subjects == ["standby ONE started", "standby TWO started", "standby ONE is serving"]
    assert f"more than one standby is up: {world.one} is running, {world.two} is running" in refusal(world)
    assert not world.alarm_mails("StandbyNotServing", "OK")[2:]


def test_one_that_served_and_hangs_is_replaced_when_a_person_marks_and_stops_it(batch: World) -> None:
    world = batch(StandbyTargetGroupArn="its own", StandbyGiveUpMinutes="5")
    world.dies()
    world.minutes(6)
    world.service.impair(world.one)
    world.account.ec2.applications[world.one] = False
    world.minutes(20)
    assert world.states == ["running", "stopped"]
    assert world.alarm_mails("StandbyNotServing")
    mark = [{"Key": "kirikae:failed", "Value": "hangs"}]
    world.account.client("ec2").create_tags(Resources=[world.one], Tags=mark)
    world.service.stop(world.one)
    world.minutes(8)
    assert world.states == ["stopped", "running"]
    assert world.service.health().get(world.two) == "healthy"


def test_the_next_takes_over_when_one_that_was_left_serves_for_a_moment_only(
    batch: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = batch(StandbyTargetGroupArn="its own", StandbyGiveUpMinutes="5")
    world.account.ec2.applications[world.one] = False
    world.dies()
    monkeypatch.setattr(ec2, "PENDING", 90)
    while world.states[1] != "pending":
        world.minutes(0.1)
    world.account.ec2.applications[world.one] = True
    world.minutes(3)
    world.account.ec2.applications[world.one] = False
    world.minutes(10)
    assert world.service.health().get(world.two) == "healthy"
    assert world.one not in world.service.health()
    assert world.subjects[2:] == ["standby ONE is serving", "standby TWO is serving"]


def test_a_standby_that_was_left_is_not_registered_again_when_its_tags_are_lost(batch: World) -> None:
    world = batch(StandbyTargetGroupArn="its own", StandbyGiveUpMinutes="5")
    world.account.ec2.checks[world.one] = {"AttachedEbsStatus": "impaired"}
    world.dies()
    world.minutes(12)
    assert world.subjects[1:] == ["standby TWO started", "standby TWO is serving"]
    for name in (world.one, world.two):
        tags = [{"Key": f"kirikae:{key}"} for key in world.service.tags(name)]
        world.account.client("ec2").delete_tags(Resources=[name], Tags=tags)
    world.minutes(6)
    assert set(world.service.health()) == {world.active, world.two}
    assert "more than one standby is up" in refusal(world)


def test_no_second_one_is_registered_when_a_person_has_put_another_in_its_place(batch: World) -> None:
    world = batch(StandbyTargetGroupArn="its own")
    ec2, elb, group = world.account.client("ec2"), world.account.client("elbv2"), world.service.group_arn
    world.dies()
    world.minutes(5)
    world.service.start(world.two)
    world.minutes(1)
    elb.register_targets(TargetGroupArn=group, Targets=[{"Id": world.two, "Port": PORT}])
    elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": world.one, "Port": PORT}])
    ec2.delete_tags(Resources=[world.one], Tags=[{"Key": "kirikae:running"}])
    world.minutes(8)
    assert set(world.service.health()) == {world.active, world.two}
    assert "more than one standby is up" in refusal(world)


def test_a_standby_that_somebody_starts_in_an_outage_is_left_to_whoever_starts_it_for_a_minute(batch: World) -> None:
    world = batch()
    world.hold(1)
    world.dies()
    world.service.start(world.one)
    world.account.lag.catch_up("ec2")
    said = world.invoke()
    assert f"{world.one} is pending: another run is starting it" in said["reason"], said
    world.minutes(3)
    assert world.calls(START) == []
    assert world.subjects[-1] == "standby ONE is serving"


def test_a_muted_alarm_starts_no_second_standby_when_the_first_is_lost(batch: World) -> None:
    world = batch()
    world.alarm("heartbeat", [world.arn])
    world.sets("heartbeat", "ALARM")
    world.minutes(3)
    world.mute("heartbeat", 20)
    world.service.terminate(world.one)
    world.minutes(3)
    said = world.invoke()
    assert "nothing is started for alarms that call nobody (heartbeat: muted by a rule)" in said["reason"], said
    assert world.states == ["terminated", "stopped"]
    world.minutes(20)
    assert world.states == ["terminated", "running"]


def test_a_standby_that_hangs_is_not_left_while_the_alarm_is_muted(batch: World) -> None:
    world = batch(StandbyTargetGroupArn="its own", StandbyGiveUpMinutes="5")
    world.alarm("heartbeat", [world.arn])
    world.service.impair(world.one)
    world.sets("heartbeat", "ALARM")
    world.minutes(2)
    world.mute("heartbeat", 20)
    world.minutes(15)
    assert world.states == ["running", "stopped"], "whoever muted it may be at work on it"
    assert world.subjects == ["standby ONE started"]
    world.minutes(15)
    assert world.states == ["running", "running"]
    assert world.subjects == ["standby ONE started", "standby TWO started", "standby TWO is serving"]


def test_of_two_that_are_up_already_the_one_that_passes_its_checks_takes_over(batch: World) -> None:
    world = batch(StandbyGiveUpMinutes="5")
    world.service.impair(world.one)
    world.dies()
    world.minutes(12)
    assert world.states == ["running", "running"]
    world.service.start()
    world.minutes(6)
    before = len(world.mails)
    world.dies()
    world.minutes(4)
    assert world.subjects[before:] == ["standby TWO is running already", "standby TWO is serving"]


@pytest.mark.parametrize(("count", "rest"), [(4, "candidates"), (6, "types")])
def test_what_a_run_has_no_time_for_is_tried_by_the_next(batch: World, count: int, rest: str) -> None:
    types = ["t3.small", "t3.medium", "t3.large", "t3.xlarge", "m5.large", "m5.xlarge"][:count]
    world = batch(StandbyInstanceTypes=",".join(types))
    turns = itertools.cycle([True, True, False])

    def busy(params: dict[str, Any]) -> bool:
        """Throttle two of three requests: with the pauses between them each start takes three seconds."""
        return not params.get("DryRun") and next(turns)

    world.account.faults.add("ec2", START, "RequestLimitExceeded", status=503, when=busy)
    world.service.lacks(CAPACITY, world.one)
    world.dies()
    world.minutes(2)
    assert world.subjects[:1] == ["standby TWO started"]
    tried = [call.params["InstanceType"]["Value"] for call in world.account.calls if call.operation == TYPE]
    assert tried == [*types, "t3.micro"], "each once, and at last its own again"
    reasons = [line for run in world.account.functions.runs for line in run.invocation.log if "time is up" in line]
    assert f"the next run tries the other {rest}" in reasons[0]
    assert all(f"{kind} {CAPACITY}" in world.mails[0].body for kind in types)


def test_a_start_is_noted_and_told_though_ec2_does_not_answer_afterwards(batch: World) -> None:
    world = batch()
    done = world.calls
    world.account.faults.add("ec2", "DescribeInstances", "Unavailable", status=503, times=3, when=lambda _: done(START))
    world.dies()
    assert world.subjects == ["standby ONE started"]
    assert world.service.tags(world.one)["started"].endswith("t3.micro first")
    world.minutes(4)
    assert world.subjects[1:] == ["standby ONE is serving"]
    assert world.calls(START) == [(START, world.one)]


def test_a_step_that_another_run_makes_meanwhile_is_made_once(batch: World) -> None:
    world = batch()
    world.account.lag.off("ec2")
    world.loses_events()
    world.dies()
    world.invoke()
    while world.states[0] != "running":
        world.account.advance(5)
    before = dict(world.service.tags(world.one))
    world.account.before("ec2", "DescribeInstanceStatus", world.invoke)
    said = world.invoke()
    assert f"another run has noted kirikae:running on {world.one}" in said["reason"], said
    assert world.service.tags(world.one).keys() - before.keys() == {"running"}


@pytest.mark.parametrize("registered", [True, False], ids=["the active is registered", "the active was taken out"])
def test_a_standby_that_still_drains_from_the_outage_before_is_registered_again(batch: World, registered: bool) -> None:
    world = batch(StandbyTargetGroupArn="its own")
    elb, group = world.account.client("elbv2"), world.service.group_arn
    places = [{"Id": world.one, "Port": port} for port in (PORT, 9090)]

    def drain_for(seconds: int, targets: list[dict[str, Any]]) -> None:
        attribute = {"Key": "deregistration_delay.timeout_seconds", "Value": str(seconds)}
        elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=[attribute])
        elb.deregister_targets(TargetGroupArn=group, Targets=targets)
        world.minutes(1)

    if not registered:
        drain_for(0, [{"Id": world.active, "Port": PORT}])
    world.service.start(world.one)
    world.minutes(1)
    elb.register_targets(TargetGroupArn=group, Targets=places)
    world.minutes(3)
    drain_for(600, places)
    world.service.stop(world.one)
    world.minutes(2)
    world.dies()
    world.minutes(6)
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]
    assert world.service.health()[world.one] == "healthy"
    world.minutes(10)
    shown = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    ports = {target["Target"]["Port"] for target in shown if target["Target"]["Id"] == world.one}
    assert ports == ({PORT} if registered else {PORT, 9090}), "those of the active, or its own while nobody knows these"


# Two stacks with one spare server.


def test_a_standby_that_stands_in_for_another_stack_is_left_to_it(batch: World) -> None:
    world = batch()
    account, ec2_client = world.account, world.account.client("ec2")
    other = standby_service(account, count=0, name="shop")
    given = {"ActiveInstanceId": other.active, "StandbyInstanceIds": world.one}
    shop = cloudformation.deploy(account, world.build, "shop", given | {"NotificationEmail": "oncall@example.com"})
    world.dies()
    world.minutes(5)
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]
    noted = ec2_client.describe_tags(Filters=[{"Name": "resource-id", "Values": [world.one]}])["Tags"]
    other.stop()
    world.minutes(5)
    assert ec2_client.describe_tags(Filters=[{"Name": "resource-id", "Values": [world.one]}])["Tags"] == noted
    [mail] = world.mails[2:]
    assert mail.subject == "[kirikae] shop: NOT answered (refused): a change is due"
    assert f"no standby is left: {world.one} is taken by an outage of the stack batch" in mail.body
    forced = {"action": "reconcile", "force": True, "reason": "try it all the same"}
    assert account.functions.invoke(shop.resources[FUNCTION], forced).payload["outcome"] == "refused"
    world.service.start()
    world.minutes(6)  # the spare runs on, and is free
    assert [mail.subject.split(": ", 1)[1].replace(world.one, "ONE") for mail in world.mails[3:]] == [
        "active is back",
        "standby ONE is running already",
        "standby ONE is serving",
    ]


def test_the_next_candidate_is_started_instead_of_one_of_another_stack_whose_notes_stay(batch: World) -> None:
    world = batch()
    noted = {"Key": "kirikae:outage", "Value": f"{world.account.clock.now():%Y-%m-%dT%H:%M:%SZ} shop"}
    ec2_client = world.account.client("ec2")
    ec2_client.create_tags(Resources=[world.one], Tags=[noted])
    world.account.lag.catch_up()
    world.dies()
    world.minutes(5)
    assert world.subjects == ["standby TWO started", "standby TWO is serving"]
    world.service.start()
    world.minutes(6)
    assert (world.subjects[2:], world.states) == (["active is back"], ["stopped", "running"])
    tags = ec2_client.describe_tags(Filters=[{"Name": "key", "Values": ["kirikae:*"]}])["Tags"]
    assert [(tag["ResourceId"], tag["Value"]) for tag in tags] == [(world.one, noted["Value"])]


def test_a_candidate_of_another_stack_is_not_looked_at_where_the_others_cannot_be_had(batch: World) -> None:
    world = batch()
    noted = {"Key": "kirikae:outage", "Value": f"{world.account.clock.now():%Y-%m-%dT%H:%M:%SZ} shop"}
    world.account.client("ec2").create_tags(Resources=[world.one], Tags=[noted])
    world.account.lag.catch_up()
    world.service.lacks(CAPACITY, world.two)
    world.dies()
    world.minutes(8)
    assert world.subjects == ["no standby started"]
    assert not [run for run in world.account.functions.runs if run.invocation.error]


def test_a_spare_that_a_stack_left_behind_is_named_before_it_is_needed(batch: World) -> None:
    world = batch()
    noted = {"Key": "kirikae:outage", "Value": f"{world.account.clock.now():%Y-%m-%dT%H:%M:%SZ} shop"}
    world.account.client("ec2").create_tags(Resources=[world.one], Tags=[noted])
    world.minutes(3)  # another stack may be starting it
    assert world.invoke()["outcome"] == "unchanged"
    world.minutes(4)
    assert f"{world.one} is stopped, and is kept for the stack shop by its tag kirikae:outage" in refusal(world)
    world.account.client("ec2").delete_tags(Resources=[world.one], Tags=[{"Key": "kirikae:outage"}])
    world.minutes(1)
    assert world.invoke()["outcome"] == "unchanged"


@pytest.mark.parametrize("call", ["CreateTags", "StartInstances"])
def test_two_stacks_that_want_one_spare_at_once_never_both_believe_to_have_it(batch: World, call: str) -> None:
    world = batch()
    other = standby_service(world.account, count=0, name="shop")
    given = {"ActiveInstanceId": other.active, "StandbyInstanceIds": world.one}
    shop = cloudformation.deploy(
        world.account, world.build, "shop", given | {"NotificationEmail": "oncall@example.com"}
    )

    def second() -> None:
        other.stop()
        world.account.lag.catch_up()
        world.account.functions.invoke(shop.resources[FUNCTION], {"action": "reconcile"})

    world.account.before("ec2", call, second)
    world.dies()
    world.minutes(10)
    serving = [mail.subject for mail in world.mails if "is serving" in mail.subject]
    unanswered = [mail.subject for mail in world.mails if "NOT answered" in mail.subject]
    assert len([subject for subject in serving if world.one in subject]) == 1
    assert len(serving) + len(unanswered) == 2  # the other one has the next candidate, or is told that there is none


def test_a_candidate_on_its_way_down_is_waited_for_and_no_later_one_takes_its_place(batch: World) -> None:
    world = batch()
    world.service.start(world.one)
    world.minutes(3)
    world.service.stop(world.one)
    world.dies()
    world.minutes(0.2)
    assert (world.states, world.calls(START)) == (["stopping", "stopped"], [])
    [run] = [run for run in world.account.functions.runs if "waiting: " in "".join(run.invocation.log)][:1]
    assert f"{world.one} is stopping" in "".join(run.invocation.log)
    world.minutes(3)
    assert (world.states, set(world.calls(START))) == (["running", "stopped"], {(START, world.one)})


def on_its_way_down_for_hours(world: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first standby be stopped after its updates, and hang."""
    world.service.start(world.one)
    world.minutes(3)
    monkeypatch.setattr(ec2, "STOPPING", 7200)
    world.service.stop(world.one)
    monkeypatch.setattr(ec2, "STOPPING", 30)


def test_a_candidate_that_hangs_on_its_way_down_keeps_no_other_down(
    batch: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = batch()
    on_its_way_down_for_hours(world, monkeypatch)
    world.dies()
    world.minutes(2)
    assert world.states == ["stopping", "stopped"], "a stop takes its time"
    world.minutes(8)
    assert world.states == ["stopping", "running"]
    assert world.subjects == ["standby TWO started", "standby TWO is serving"]
    assert f"{world.one} failed: it hangs in stopping" in world.mails[0].body


def test_a_candidate_that_hangs_on_its_way_down_is_tried_when_it_has_stopped(
    batch: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = batch()
    on_its_way_down_for_hours(world, monkeypatch)
    world.service.lacks(CAPACITY, world.two)
    world.dies()
    world.minutes(60)
    assert world.states == ["stopping", "stopped"]
    world.minutes(100)
    assert world.states == ["running", "stopped"]
    assert world.subjects == ["no standby started", "standby ONE started", "standby ONE is serving"]


def test_the_only_candidate_hangs_on_its_way_down(batch: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = batch(StandbyInstanceIds="{one}")
    on_its_way_down_for_hours(world, monkeypatch)
    world.dies()
    world.minutes(10)
    assert world.subjects == ["no standby started"]
    assert "tried again when it has stopped" in world.invoke()["reason"]
    world.minutes(160)
    assert world.states == ["running", "stopped"]
    assert world.subjects == ["no standby started", "standby ONE started", "standby ONE is serving"]


@pytest.mark.parametrize("first", ["refused", "not tried"])
def test_one_that_was_left_and_hangs_on_its_way_down_ends_no_retries(
    batch: World, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    world = batch(FenceActive="true", StandbyGiveUpMinutes="5")
    world.service.impair(world.one)
    world.service.lacks(CAPACITY, world.two, times=1 if first == "refused" else None)
    world.dies()
    monkeypatch.setattr(ec2, "STOPPING", 7200)
    world.minutes(10)
    assert world.subjects[:2] == ["standby ONE started", "no standby started"]
    world.account.faults.clear()
    world.minutes(30)
    assert world.states == ["stopping", "running"]


def test_a_candidate_that_somebody_starts_in_the_middle_of_ours_is_left_to_them(batch: World) -> None:
    world = batch()
    refused = {"times": 1, "role": "ColdStandby", "when": lambda params: not params.get("DryRun")}
    world.account.faults.add("ec2", START, "IncorrectInstanceState", **refused)
    world.account.before("ec2", START, lambda: world.service.start(world.one))
    world.dies()
    world.minutes(6)
    assert world.states == ["running", "stopped"]
    assert world.subjects[-1] == "standby ONE is serving"
    assert not [line for run in world.account.functions.runs for line in run.invocation.log if "failed" in line]
