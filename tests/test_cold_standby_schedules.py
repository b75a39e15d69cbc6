"""Only one standby is started for one outage, however runs overlap: every schedule of API calls is a possible one."""

import itertools
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from standby_world import ACTIVE, STANDBYS, World, install

from kirikae.standby_notes import NOTES

SCHEDULES = st.lists(st.integers(0, 2), max_size=60)
MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def patched() -> Any:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield monkeypatch


def outage(patched: Any) -> World:
    """Return a world whose active has stopped."""
    world = install(World(), patched)
    world.set(ACTIVE, "stopped")
    return world


def attempts(world: World, answers: list[bool]) -> None:
    """Let the starts that EC2 is asked for fail or succeed in this order, whichever candidate they are for."""
    queue = iter(answers)
    world.lacks = lambda _one: next(queue, False)


@MANY
@given(schedule=SCHEDULES, lacking=st.lists(st.booleans(), max_size=6), runs=st.integers(2, 3))
def test_overlapping_runs_start_one(patched: Any, schedule: list[int], lacking: list[bool], runs: int) -> None:
    world = outage(patched)
    attempts(world, lacking)
    world.overlap(schedule, runs)
    assert len(world.starts) <= 1, (world.starts, schedule, lacking)
    assert len([mail for mail in world.mails if mail.endswith("started") and mail.startswith("standby")]) == len(world.starts)


@MANY
@given(schedule=SCHEDULES, lacking=st.lists(st.booleans(), max_size=6), wait=st.integers(60, 4000))
def test_overlapping_retries_start_one(patched: Any, schedule: list[int], lacking: list[bool], wait: int) -> None:
    world = outage(patched)
    world.lacks = lambda _one: True
    world.run()
    attempts(world, lacking)
    world.passes(wait)
    world.overlap(schedule, 3)
    assert len(world.starts) <= 1, (world.starts, schedule, lacking)


@MANY
@given(schedule=SCHEDULES, lacking=st.lists(st.booleans(), max_size=6))
def test_overlapping_runs_after_a_fall_start_one(patched: Any, schedule: list[int], lacking: list[bool]) -> None:
    world = outage(patched)
    world.falls_back = {STANDBYS[0]}
    world.run()
    world.passes(15)
    attempts(world, lacking)
    world.overlap(schedule, 3)
    assert len(world.up) <= 1, (world.starts, schedule, lacking)
    assert [one for _, one in world.starts].count(STANDBYS[0]) == 1


@MANY
@given(schedule=SCHEDULES, lacking=st.lists(st.booleans(), max_size=6), dies=st.dictionaries(st.integers(0, 2), st.integers(0, 12)))
def test_runs_that_die_leave_nothing_that_the_next_cannot_finish(
    patched: Any, schedule: list[int], lacking: list[bool], dies: dict[int, int]
) -> None:
    world = outage(patched)
    attempts(world, lacking)
    world.overlap(schedule, 3, dies)
    assert len(world.starts) <= 1
    for _ in range(10):
        world.passes(60)
        world.run()
    assert len(world.starts) == 1
    assert len(world.up) == 1
