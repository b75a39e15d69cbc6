"""Only one standby is started for one outage, however runs overlap: every schedule of API calls is a possible one."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from standby_world import ACTIVE, CONFIG, STANDBYS, World, install

from kirikae import ec2
from kirikae.standby.notes import FAILED, GAVE_UP, NOTES, time_of

SCHEDULES = st.lists(st.integers(0, 2), max_size=60)
# The same, in bursts: a run is hardly ever interrupted at every call.
BURSTS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 8)), max_size=20).map(
    lambda bursts: [run for run, calls in bursts for _ in range(calls)]
)
MANY = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def patched() -> Any:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield monkeypatch


def outage(patched: Any) -> World:
    """Return a world whose active has stopped."""
    world = install(World(), patched)
    world.set(ACTIVE, "stopped")
    return world


def started_mails(mails: Iterable[str]) -> int:
    """Count the mails that tell of a start."""
    return sum(mail.startswith("standby i-") and mail.endswith(" started") for mail in mails)


def attempts(world: World, answers: list[bool]) -> None:
    """Let the starts that EC2 is asked for fail or succeed in this order, whichever candidate they are for."""
    queue = iter(answers)
    world.lacks = lambda _standby: next(queue, False)


@MANY
@given(schedule=SCHEDULES | BURSTS, lacking=st.lists(st.booleans(), max_size=6), runs=st.integers(2, 3))
def test_overlapping_runs_start_one(patched: Any, schedule: list[int], lacking: list[bool], runs: int) -> None:
    world = outage(patched)
    attempts(world, lacking)
    world.overlap(schedule, runs)
    assert len(world.starts) <= 1, (world.starts, schedule, lacking)
    assert len([mail for mail in world.mails if mail.endswith("started") and mail.startswith("standby")]) == len(
        world.starts
    )
    assert world.mails.count("no standby started") + len(world.starts) <= 1, (world.mails, schedule, lacking)


@MANY
@given(schedule=BURSTS, spare=st.integers(0, 9))
def test_overlapping_runs_tell_once_that_nothing_can_be_had(patched: Any, schedule: list[int], spare: int) -> None:
    world = outage(patched)
    attempts(world, [True] * spare + [False] if spare else [True] * 99)
    world.overlap(schedule, 3)
    assert world.mails.count("no standby started") + len(world.starts) <= 1, (world.mails, schedule)
    assert spare or world.mails


@pytest.mark.parametrize("calls", range(20))
def test_a_run_inside_another_tells_it_or_leaves_it_to_that(patched: Any, calls: int) -> None:
    world = outage(patched)
    world.lacks = lambda _standby: True
    world.overlap([0] * calls + [1] * 40, 2)
    assert world.mails == ["no standby started"]


@MANY
@given(schedule=SCHEDULES, lacking=st.lists(st.booleans(), max_size=6), wait=st.integers(60, 4000))
def test_overlapping_retries_start_one(patched: Any, schedule: list[int], lacking: list[bool], wait: int) -> None:
    world = outage(patched)
    world.lacks = lambda _standby: True
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
    assert [standby for _, standby in world.starts].count(STANDBYS[0]) == 1


@MANY
@given(
    schedule=SCHEDULES,
    lacking=st.lists(st.booleans(), max_size=6),
    dies=st.dictionaries(st.integers(0, 2), st.integers(0, 12)),
)
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


def test_notes_of_an_earlier_outage_do_not_count_and_are_removed(patched: Any) -> None:
    world = outage(patched)
    world.run()
    world.passes(200)
    world.run()
    world.run()
    assert world.mails[1:] == [f"standby {STANDBYS[0]} is serving"]
    world.passes(60)
    world.set(ACTIVE, "running")  # and no run sees it: a hold, perhaps
    world.instances[ACTIVE]["launched"] = world.time
    world.passes(600)
    world.set(ACTIVE, "stopped")
    for _ in range(4):
        world.run()
    assert world.mails[2:] == [f"standby {STANDBYS[0]} is running already", f"standby {STANDBYS[0]} is serving"]


def test_removing_the_mark_of_a_start_that_fell_back_tries_it_again(patched: Any) -> None:
    world = outage(patched)
    world.falls_back = set(STANDBYS)
    for _ in range(8):
        world.run()
        world.passes(60)
    assert [standby for _, standby in world.starts] == list(STANDBYS)
    world.falls_back.clear()
    del world.instances[STANDBYS[1]]["tags"][FAILED]
    world.run()
    assert world.up == [STANDBYS[1]]


def test_an_active_that_cannot_be_fenced_revives_no_old_notes(patched: Any) -> None:
    world = install(World(replace(CONFIG, fence_active="true")), patched)
    day = 86400
    world.instances[ACTIVE]["launched"] = world.time - day
    old = f"{datetime.fromtimestamp(world.time - 2 * day, UTC):%Y-%m-%dT%H:%M:%SZ}"
    world.instances[STANDBYS[0]] |= {
        "tags": {"kirikae:outage": old, "kirikae:started": old},
        "reason": ec2_reason(),
    }
    world.alarm_since = world.time
    world.unstoppable = True
    world.run()
    assert world.mails == [f"active {ACTIVE} not fenced, no standby started"]
    world.unstoppable = False
    world.run()
    assert world.up == [STANDBYS[0]]


LACKING = "Server.InsufficientInstanceCapacity: Insufficient capacity to satisfy instance request"
LADDER = replace(CONFIG, standby_instance_types=("t3.small", "t3.medium", "t3.large", "t3.xlarge"))


@MANY
@given(schedule=SCHEDULES, lacking=st.lists(st.booleans(), max_size=12))
def test_overlapping_runs_on_a_ladder_start_one(patched: Any, schedule: list[int], lacking: list[bool]) -> None:
    world = install(World(LADDER), patched)
    world.set(ACTIVE, "stopped")
    attempts(world, lacking)
    world.overlap(schedule, 3)
    assert len(world.starts) <= 1, (world.starts, schedule, lacking)


@MANY
@given(schedule=SCHEDULES, lacking=st.lists(st.booleans(), max_size=12))
def test_overlapping_runs_after_a_fall_for_capacity_start_one(
    patched: Any, schedule: list[int], lacking: list[bool]
) -> None:
    world = install(World(LADDER), patched)
    world.set(ACTIVE, "stopped")
    world.falls_back, world.falls_for = {STANDBYS[0]}, LACKING
    world.run()
    world.passes(15)
    world.falls_back.clear()
    attempts(world, lacking)
    world.overlap(schedule, 3)
    assert len(world.up) <= 1, (world.starts, schedule, lacking)


@MANY
@given(schedule=SCHEDULES, lacking=st.lists(st.booleans(), max_size=6), fences=st.sampled_from(["false", "true"]))
def test_overlapping_runs_leave_a_standby_that_hangs_for_one(
    patched: Any, schedule: list[int], lacking: list[bool], fences: str
) -> None:
    world = install(World(replace(CONFIG, fence_active=fences)), patched)
    world.set(ACTIVE, "stopped")
    world.hangs = {STANDBYS[0]}
    for _ in range(15):
        world.run()
        world.passes(60)
    attempts(world, lacking)
    world.overlap(schedule, 3)
    assert len(world.starts) <= 2, (world.starts, schedule, lacking)
    assert [name for _, name in world.starts].count(STANDBYS[0]) == 1
    assert len([name for name in world.up if name != STANDBYS[0]]) <= 1
    if fences == "true" and len(world.starts) == 2:
        assert world.instances[STANDBYS[0]]["state"] == "stopping"


@MANY
@given(reads=st.lists(st.integers(0, 3), min_size=1, max_size=4), waits=st.lists(st.integers(0, 70), max_size=6))
def test_reads_that_lag_start_no_second_standby_and_fail_none(patched: Any, reads: list[int], waits: list[int]) -> None:
    world = outage(patched)
    world.instances[STANDBYS[0]] |= {"reason": ec2_reason(), "launched": world.time - 600}  # a person's stop, earlier
    world.run()
    for lag in reads:
        world.stale_reads = lag
        world.run()
        for seconds in waits:
            world.passes(seconds / 10)
            world.run()
    world.stale_reads = 0
    for _ in range(4):
        world.passes(60)
        world.run()
    assert world.up == [STANDBYS[0]]
    assert len(world.starts) == 1
    assert world.mails == [f"standby {STANDBYS[0]} started", f"standby {STANDBYS[0]} is serving"]


def test_old_news_is_true_in_the_end(patched: Any) -> None:
    world = outage(patched)
    world.run()
    world.set(STANDBYS[0], "stopped")  # without any reason, and as if it had never been launched
    world.instances[STANDBYS[0]]["launched"] -= 86400
    for _ in range(4):
        world.passes(60)
        world.run()
    assert len(world.starts) == 1
    for _ in range(2):
        world.passes(60)
        world.run()
    assert world.up == [STANDBYS[1]]


@pytest.mark.parametrize("takes", [0.1, 2, 5, 12])
def test_every_run_ends_in_time_and_the_next_goes_on(patched: Any, takes: float) -> None:
    world = install(World(LADDER), patched)
    world.set(ACTIVE, "stopped")
    world.lacks = lambda standby: standby != STANDBYS[1]
    world.takes = takes
    for _ in range(15):
        began = world.time
        world.run()
        assert world.time - began <= 15 + takes
        world.passes(max(0, 60 - (world.time - began)))
    assert world.up == [STANDBYS[1]]
    assert world.mails[0] == f"standby {STANDBYS[1]} started"
    assert world.instances[STANDBYS[0]]["type"] == "t3.micro"


@pytest.mark.parametrize("takes", [0.1, 2, 5, 12])
def test_a_slow_ladder_without_any_capacity_is_told_once(patched: Any, takes: float) -> None:
    world = install(World(LADDER), patched)
    world.set(ACTIVE, "stopped")
    world.lacks = lambda _standby: True
    world.takes = takes
    for _ in range(90):
        world.run()
        world.passes(60)
    assert world.mails == ["no standby started"]
    assert not world.starts


@pytest.mark.parametrize("accepted", [False, True])
@pytest.mark.parametrize("lag", [0, 1, 2])
def test_a_start_that_is_never_answered_leads_on_and_never_to_two(patched: Any, accepted: bool, lag: int) -> None:
    world = install(World(LADDER), patched)
    world.set(ACTIVE, "stopped")
    world.unheard = {STANDBYS[0]: accepted}
    for _ in range(12):
        with suppress(ReadTimeoutError):
            world.run()
        world.stale_reads = lag
        with suppress(ReadTimeoutError):
            world.run()  # at once, as an event may have it
        world.stale_reads = 0
        world.passes(60)
    assert world.up == [STANDBYS[0 if accepted else 1]]
    assert len(world.starts) == 1
    told = f"standby {STANDBYS[0]} is running already" if accepted else f"standby {STANDBYS[1]} started"
    assert world.mails == [told, f"standby {world.up[0]} is serving"]


@pytest.mark.parametrize("types", [(), LADDER.standby_instance_types], ids=["its own type", "a ladder"])
def test_a_start_that_always_falls_back_keeps_the_next_candidate_from_no_turn(
    patched: Any, types: tuple[str, ...]
) -> None:
    world = install(World(replace(CONFIG, standby_instance_types=types)), patched)
    world.set(ACTIVE, "stopped")
    world.lacks = lambda _standby: True
    world.run()
    assert world.mails == ["no standby started"]
    world.falls_back, world.falls_for = {STANDBYS[0]}, LACKING
    world.lacks = lambda standby: standby == STANDBYS[1]
    noted = set[datetime | None]()
    for _ in range(80):
        world.passes(15)
        world.run()
        noted |= {time_of(world.instances[standby]["tags"].get(FAILED, "")) for standby in STANDBYS[:2]}
    assert world.up == [STANDBYS[2]]
    last = max(at.timestamp() for at in noted if at and at.timestamp() < world.starts[-1][0])
    assert world.starts[-1][0] - last >= 60, "a run that noted something may live for so long"


def test_slow_refusals_keep_the_next_candidate_from_no_turn(patched: Any) -> None:
    world = install(World(LADDER), patched)
    world.set(ACTIVE, "stopped")
    world.lacks = lambda _standby: True
    for _ in range(10):
        world.passes(60)
        world.run()
    world.takes, world.lacks = 12, lambda standby: standby == STANDBYS[0]
    for _ in range(30):
        began = world.time
        world.run()
        world.passes(max(0, 60 - (world.time - began)))
    assert world.up == [STANDBYS[1]]


class Outages(RuleBasedStateMachine):
    """Anything may happen, in any order; runs come when they like, alone or together."""

    def __init__(self) -> None:
        super().__init__()
        self.patched = pytest.MonkeyPatch()
        self.world = install(World(), self.patched)
        self.lacking: set[str] = set()
        self.world.lacks = lambda standby: standby in self.lacking
        self.by_person: set[str] = set()  # stopped by a person during this outage
        self.left: set[str] = set()  # not stopped, since nothing is fenced, also when the active is back

    def teardown(self) -> None:
        try:
            self.quiet_period()
        finally:
            self.patched.undo()

    @property
    def active_serves(self) -> bool:
        active = self.world.instances[ACTIVE]
        return active["state"] == "running" and self.world.alarm_since is None

    @rule(minutes=st.sampled_from([0.25, 1, 1, 5, 40]))
    def time_passes(self, minutes: float) -> None:
        self.world.passes(60 * minutes)

    @rule()
    def tick(self) -> None:
        self.world.run()

    @rule(schedule=SCHEDULES, runs=st.integers(2, 3))
    def events_at_once(self, schedule: list[int], runs: int) -> None:
        self.world.overlap(schedule, runs)

    @rule(state=st.sampled_from(["stopping", "stopped", "terminated"]))
    def active_goes(self, state: str) -> None:
        if self.world.instances[ACTIVE]["state"] != "terminated":
            self.world.set(ACTIVE, state)

    @rule()
    def alarm_goes_off(self) -> None:
        self.world.alarm_since = self.world.time

    @rule()
    def active_comes_back(self) -> None:
        if self.world.instances[ACTIVE]["state"] == "stopped":
            self.world.passes(1)
            self.world.set(ACTIVE, "running")
            self.world.instances[ACTIVE]["launched"] = self.world.time
        if self.world.instances[ACTIVE]["state"] == "running":
            self.world.alarm_since = None

    @rule(standby=st.sampled_from(STANDBYS))
    def capacity_ends(self, standby: str) -> None:
        self.lacking.add(standby)

    @rule(standby=st.sampled_from(STANDBYS))
    def capacity_comes(self, standby: str) -> None:
        self.lacking.discard(standby)

    @rule(standby=st.sampled_from(STANDBYS))
    def starts_fall_back(self, standby: str) -> None:
        self.world.falls_back ^= {standby}

    @rule(reason=st.sampled_from(["Server.InternalError: on launch", LACKING]))
    def starts_fall_back_for(self, reason: str) -> None:
        self.world.falls_for = reason

    @rule(standby=st.sampled_from(STANDBYS))
    def checks_hang(self, standby: str) -> None:
        self.world.hangs ^= {standby}

    @rule(standby=st.sampled_from(STANDBYS))
    def a_stop_hangs(self, standby: str) -> None:
        self.world.lingers ^= {standby}

    @rule(standby=st.sampled_from(STANDBYS))
    def a_person_is_stopping_one_that_is_not_needed(self, standby: str) -> None:
        if self.active_serves and self.world.instances[standby]["state"] == "stopped":
            self.world.set(standby, "stopping", ec2_reason())

    @precondition(lambda self: self.world.up)
    @rule()
    def a_person_stops_the_standby(self) -> None:
        standby = self.world.up[-1]
        self.world.set(standby, "stopping", ec2_reason())
        self.by_person.add(standby)

    @rule(standby=st.sampled_from(STANDBYS))
    def a_person_removes_the_mark_of_one_that_was_left(self, standby: str) -> None:
        if GAVE_UP in self.world.instances[standby]["tags"].get(FAILED, ""):
            del self.world.instances[standby]["tags"][FAILED]

    @rule(standby=st.sampled_from(STANDBYS))
    def a_standby_is_terminated(self, standby: str) -> None:
        self.world.set(standby, "terminated")

    @invariant()
    def one_standby_at_most(self) -> None:
        notes = {standby: self.world.instances[standby]["tags"].get(FAILED, "") for standby in self.world.up}
        self.left = {standby for standby, noted in notes.items() if GAVE_UP in noted or standby in self.left}
        assert len(notes.keys() - self.left) <= 1, self.world.instances

    @invariant()
    def every_start_is_mailed_once(self) -> None:
        assert started_mails(self.world.mails) == len(self.world.starts), (self.world.mails, self.world.starts)

    @invariant()
    def nothing_undeclared_is_touched(self) -> None:
        assert self.world.touched <= set(STANDBYS)  # the active neither: FenceActive is false
        assert all(set(instance["tags"]) <= set(NOTES) for instance in self.world.instances.values())

    def quiet_period(self) -> None:
        """Let an hour pass without any event: a standby runs if the active does not serve and one can be started."""
        self.lacking.clear()
        before = len(self.world.mails)
        for _ in range(60):
            self.world.passes(60)
            self.world.run()
            self.every_start_is_mailed_once()
        active, states = self.world.instances[ACTIVE], self.world.instances
        down = active["state"] in ec2.DOWN
        able = [
            standby
            for standby in STANDBYS
            if states[standby]["state"] == "stopped" and standby not in self.world.falls_back
        ]
        if down and not self.world.up:
            by_hand = [standby for standby in self.by_person if self.is_of_this_outage(states[standby]["tags"])]
            fell_back = [standby for standby in able if "fell-back" in states[standby]["tags"].get(FAILED, "")]
            assert by_hand or able == fell_back, states
        # Each candidate is started once, and after each start that fell back the others may all be refused, once.
        mails = self.world.mails[before:]
        starts, failures = started_mails(mails), mails.count("no standby started")
        assert failures <= starts + 1, mails
        found = {mail for mail in mails if mail.endswith("is running already")}  # each once: what is found may hang
        assert len(mails) - starts - failures - len(found) <= 2, mails  # serving, back
        if self.active_serves:
            assert not any(instance["tags"] for instance in states.values())

    def is_of_this_outage(self, notes: dict[str, str]) -> bool:
        """Tell whether a candidate was started in an outage that no start of the active has ended."""
        began = time_of(notes.get("kirikae:outage", ""))
        last = self.world.instances[ACTIVE]["launched"]
        return "kirikae:started" in notes and began is not None and began.timestamp() >= last


def ec2_reason() -> str:
    """Return what EC2 says of an instance that a person has stopped."""
    return "Client.UserInitiatedShutdown: User initiated shutdown"


TestOutages = Outages.TestCase
TestOutages.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
