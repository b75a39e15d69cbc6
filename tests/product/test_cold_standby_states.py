"""States of a cold standby that only come about by wrong parameters, or by hands other than the function's."""

from collections.abc import Callable

import pytest
from standby_stories import Batch

from sandbox.estates import parts

World = Callable[..., Batch]
GONE = "i-0123456789abcdef0"


def refusal(world: Batch) -> str:
    said = world.invoke()
    assert said["outcome"] == "refused", said
    return str(said["reason"])


@pytest.mark.parametrize(
    ("parameter", "value", "words"),
    [
        ("StandbyInstanceIds", "{one},{one}", "StandbyInstanceIds names {one} twice, expected different instances"),
        ("StandbyInstanceTypes", "x9.huge", "StandbyInstanceTypes names x9.huge, expected instance types of this"),
        ("ActiveInstanceId", GONE, f"ActiveInstanceId names {GONE}, which EC2 does not know; expected an instance"),
        ("StandbyInstanceIds", f"{{one}},{GONE}", f"StandbyInstanceIds names {GONE} (missing), expected instances"),
    ],
)
def test_a_wrong_parameter_is_named(batch: World, parameter: str, value: str, words: str) -> None:
    world = batch()
    world.deployed_again(**{parameter: value.format(one=world.one)})
    assert words.format(one=world.one) in refusal(world)
    assert world.states == ["stopped", "stopped"]


def test_a_group_of_addresses_is_refused(batch: World) -> None:
    world = batch()
    vpc = world.account.ec2.instance(world.active).vpc_id
    group = parts.target_group(world.account, "addresses", vpc, TargetType="ip", Port=80)
    world.deployed_again(StandbyTargetGroupArn=group)
    assert "has targets of type ip, expected a group of instances" in refusal(world)


def test_no_standby_is_left_when_the_active_dies(batch: World) -> None:
    world = batch()
    world.service.terminate(world.one, world.two)
    world.minutes(2)
    assert f"StandbyInstanceIds names {world.one} (terminated)" in refusal(world)
    world.dies()
    world.minutes(2)
    assert f"no standby is left: {world.one} is terminated" in refusal(world)


def test_two_standbys_that_a_person_has_let_run_are_named(batch: World) -> None:
    world = batch()
    world.dies()
    world.minutes(3)
    world.service.start(world.two)
    world.minutes(3)
    assert f"more than one standby is up: {world.one} is running, {world.two} is running" in refusal(world)
    assert world.calls("StartInstances", "StopInstances") == [("StartInstances", world.one)]


def test_a_standby_that_somebody_starts_in_an_outage_is_left_to_whoever_starts_it_for_a_minute(batch: World) -> None:
    world = batch()
    world.hold(1)
    world.dies()
    world.service.start(world.one)
    said = world.invoke()
    assert f"{world.one} is pending: another run is starting it" in said["reason"], said
    world.minutes(3)
    assert world.calls("StartInstances") == []
    assert world.subjects[-1] == "standby ONE is serving"
