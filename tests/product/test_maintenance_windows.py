"""Wishes are validated as a whole and stored without losing another's; windows end when they say, in their zone."""

import json
import random
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from botocore.exceptions import ClientError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kirikae import aws, patience
from kirikae.errors import InputError, UnfinishedError
from kirikae.maintenance import schedules, windows, wishes
from kirikae.maintenance.store import store_merged
from kirikae.maintenance.windows import Stored, Window, Wish
from sandbox.account import Account
from sandbox.services.schedules import occurrences

NOW = datetime(2026, 12, 1, 2, 0, tzinfo=UTC)
TOKYO, LONDON = ZoneInfo("Asia/Tokyo"), ZoneInfo("Europe/London")
HOUR = timedelta(hours=1)
NAME = "/shop/maintenance"


def wish(event: dict[str, Any], end: str = "", zone: str = "Asia/Tokyo", now: datetime = NOW) -> Wish:
    return wishes.read(event, now, end, zone)


# What a wish may be.


@pytest.mark.parametrize(
    ("event", "until"),
    [
        pytest.param({"until": "2026-12-01T12:00:00+09:00"}, "2026-12-01T12:00:00+09:00", id="until"),
        pytest.param({"until": "2026-12-01T03:00:00Z"}, "2026-12-01T03:00:00+00:00", id="until in UTC"),
        pytest.param({"minutes": 90}, "2026-12-01T12:30:00+09:00", id="minutes, said in the zone"),
        pytest.param({"minutes": 43200}, "2026-12-31T11:00:00+09:00", id="thirty days"),
        pytest.param({"until": None}, None, id="no end, said so"),
    ],
)
def test_a_start_says_when_it_ends(event: dict[str, Any], until: str | None) -> None:
    asked = wish({"type": "start", "window": "release", "reason": "r", **event})
    assert asked.name == "release"
    assert asked.window is not None
    assert (asked.window.until.isoformat() if asked.window.until else None, asked.window.reason) == (until, "r")


def test_a_wish_without_a_name_is_for_the_default_window() -> None:
    assert wish({"type": "start", "minutes": 1}).name == wish({"type": "end"}).name == "default"
    assert wish({"type": "end", "window": "x"}) == Wish("x", None)


def test_names_and_reasons_may_be_written_as_the_japanese_write_them() -> None:
    asked = wish({"type": "start", "minutes": 1, "window": "定期　メンテ", "reason": "一行目\n二行目　🚧"})
    assert asked.name == "定期　メンテ"
    assert asked.window is not None
    assert asked.window.reason == "一行目\n二行目　🚧"


@pytest.mark.parametrize(
    ("event", "words"),
    [
        pytest.param({"type": "stop"}, "type is 'stop'", id="unknown type"),
        pytest.param({"type": None}, "type is None", id="no type"),
        pytest.param({"type": ["start"]}, "type is", id="a type that is no text"),
        pytest.param({"type": "start"}, '"until": null', id="a start without any end"),
        pytest.param({"type": "start", "until": "2026-12-01T12:00:00"}, "no offset", id="naive until"),
        pytest.param({"type": "start", "until": "2026-12-01T10:59:59+09:00"}, "already past", id="past until"),
        pytest.param({"type": "start", "until": "2026-12-01T02:00:00Z"}, "already past", id="until now"),
        pytest.param({"type": "start", "until": "tomorrow"}, "until is 'tomorrow'", id="until in words"),
        pytest.param({"type": "start", "until": 1764568800}, "1764568800", id="until as a number"),
        pytest.param({"type": "start", "until": "2026-12-31T02:00:01Z"}, "30 days", id="longer than 30 days"),
        pytest.param({"type": "start", "minutes": 43201}, "30 days", id="minutes for longer than 30 days"),
        pytest.param({"type": "start", "minutes": 10**30}, "minutes is 1000", id="minutes beyond the calendar"),
        pytest.param({"type": "start", "minutes": 0}, "minutes is 0", id="no minutes"),
        pytest.param({"type": "start", "minutes": -5}, "minutes is -5", id="negative minutes"),
        pytest.param({"type": "start", "minutes": "30"}, "minutes is '30'", id="minutes as text"),
        pytest.param({"type": "start", "minutes": True}, "minutes is True", id="minutes as a boolean"),
        pytest.param({"type": "start", "minutes": 1.5}, "minutes is 1.5", id="a fraction of a minute"),
        pytest.param({"type": "start", "minutes": None}, "minutes is None", id="null minutes"),
        pytest.param({"type": "start", "minutes": 5, "until": None}, "either until or minutes", id="both"),
        pytest.param({"type": "start", "minutes": 5, "untill": "x"}, "untill", id="a misspelt field"),
        pytest.param({"type": "end", "minutes": 5}, "minutes", id="an end with minutes"),
        pytest.param({"type": "end", "window": ""}, "window is ''", id="empty name"),
        pytest.param({"type": "end", "window": "  "}, "window is", id="blank name"),
        pytest.param({"type": "end", "window": 7}, "window is 7", id="a name that is no text"),
        pytest.param({"type": "end", "window": "a\nb"}, "window is", id="a name of two lines"),
        pytest.param({"type": "end", "window": "x" * 65}, "window is", id="long name"),
        pytest.param({"type": "start", "minutes": 5, "reason": 3}, "reason is 3", id="a reason that is no text"),
        pytest.param({"type": "start", "minutes": 5, "reason": "x" * 501}, "500", id="long reason"),
        pytest.param({"type": "start", "minutes": 5, "reason": "\ud800"}, "reason is '\\ud800'", id="no UTF-8"),
        pytest.param({"type": "start", "minutes": 5, "reason": "a\0b"}, "reason is 'a\\x00b'", id="a control sign"),
        pytest.param({"type": "start", "minutes": 5, "reason": "{{ssm:x}}"}, 'must not contain "{{"', id="a reference"),
        pytest.param({"type": "start", "until": "MaintenanceEnd"}, "MaintenanceEnd is ''", id="no schedule to end it"),
        pytest.param({"type": "start", "until": "MaintenanceEnd", "at": "02:00"}, "at is '02:00'", id="a time of day"),
    ],
)
def test_a_bad_wish_is_refused_by_name(event: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as refused:
        wish(event)
    assert words in str(refused.value)


@given(
    st.dictionaries(
        st.sampled_from(["type", "window", "until", "minutes", "reason", "at"]),
        st.sampled_from(["start", "end"]) | st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()),
    )
)
def test_any_wish_is_either_understood_or_refused(event: dict[str, Any]) -> None:
    try:
        asked = wish(event)
    except InputError:
        return
    assert asked.name
    assert asked.window is None or asked.window.until is None or NOW < asked.window.until <= NOW + wishes.LONGEST


@pytest.mark.parametrize(
    ("event", "until", "words"),
    [
        pytest.param({"at": "2026-12-01T02:00:00Z"}, NOW + HOUR, "was prolonged until 2026-12-01T03", id="prolonged"),
        pytest.param({"at": "2026-12-01T02:00:00Z"}, None, "until somebody ends it", id="prolonged without an end"),
        pytest.param({"at": "2026-12-01T11:00:00+09:00"}, NOW, "", id="its own end"),
        pytest.param({"at": "2026-12-01T04:00:00Z"}, NOW + HOUR, "", id="made shorter"),
        pytest.param({"at": "at two"}, NOW + HOUR, "", id="a time nobody understands"),
        pytest.param({}, NOW + HOUR, "", id="by hand"),
    ],
)
def test_a_schedules_end_closes_what_it_knew(event: dict[str, Any], until: datetime | None, words: str) -> None:
    event = {"type": "end", "window": "a", **event}
    said = wishes.overruled(event, wish(event), {"a": Window(until)})
    assert (words in said, bool(said)) == (True, bool(words))
    assert not wishes.overruled(event, wish(event), {"b": Window(until)})


@pytest.mark.parametrize(("at", "closes"), [("01:30", False), ("02:00", False), ("02:30", True), ("03:00", True)])
def test_a_schedules_end_closes_what_a_schedule_began_before_it(at: str, closes: bool) -> None:
    start = {"type": "start", "window": "a", "until": "MaintenanceEnd", "at": "2026-12-01T02:00:00Z"}
    begun = wish(start, "cron(0 12 * * ? *)").window
    assert begun is not None
    assert begun.until == NOW + HOUR
    read = windows.parse(windows.write({"a": begun}))
    end = {"type": "end", "window": "a", "at": f"2026-12-01T{at}:00Z"}
    assert bool(wishes.overruled(end, wish(end), read)) != closes


# What is stored.


def test_what_is_written_is_read_back() -> None:
    held = {"a": Window(NOW + HOUR, "理由"), "b": Window(None)}
    assert windows.parse(windows.write(held)) == held
    assert windows.write({}) == "{}"
    assert json.loads(windows.write(held))["a"] == {"until": "2026-12-01T03:00:00+00:00", "reason": "理由"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "off",
        "[]",
        "null",
        "7",
        '{"a": null}',
        '{"a": {}}',
        '{"a": {"until": "2026-12-01"}}',
        '{"a": {"until": 5}}',
        "{",
    ],
)
def test_a_text_that_holds_no_windows_is_a_problem(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(windows.EXPECTED)):
        windows.parse(text)


def test_too_many_windows_for_a_parameter_are_refused_before_they_are_written() -> None:
    many = {f"window {number}": Window(NOW + HOUR, "x" * 400) for number in range(10)}
    with pytest.raises(InputError, match="4096 bytes"):
        windows.write(many)


def test_a_wish_leaves_other_open_windows_and_drops_those_that_are_over() -> None:
    held = {"over": Window(NOW), "open": Window(NOW + HOUR), "endless": Window(None)}
    assert windows.after(held, Wish("new", Window(None)), NOW).keys() == {"open", "endless", "new"}
    assert windows.after(held, Wish("endless", None), NOW).keys() == {"open"}


@dataclass
class Parameter:
    """A Systems Manager parameter with its versions; `meanwhile` runs once before the next write, as another client."""

    versions: list[str] = field(default_factory=lambda: ["{}"])
    meanwhile: list[Callable[[], object]] = field(default_factory=list)
    late: int = 0  # so many reads still show an earlier version
    shown: int = 1  # which one

    def get_parameter(self, Name: str) -> dict[str, Any]:  # noqa: N803
        if self.late and ":" not in Name:
            self.late -= 1
            Name = f"{Name}:{self.shown}"  # noqa: N806
        number = int(Name.partition(":")[2] or len(self.versions))
        found = {"Value": self.versions[number - 1], "Version": number, "LastModifiedDate": NOW}
        return {"Parameter": found}

    def put_parameter(self, Name: str, Value: str, Type: str, Overwrite: bool) -> dict[str, int]:  # noqa: N803
        assert (Name, Type, Overwrite) == (NAME, "String", True)
        if self.meanwhile:
            self.meanwhile.pop(0)()
        self.versions.append(Value)
        return {"Version": len(self.versions)}

    @property
    def windows(self) -> dict[str, Window]:
        return windows.parse(self.versions[-1])


@pytest.fixture
def parameter(monkeypatch: pytest.MonkeyPatch) -> Parameter:
    parameter = Parameter()
    monkeypatch.setattr(aws, "client", {"ssm": parameter}.__getitem__)
    monkeypatch.setattr(patience, "PAUSES", ())  # nothing changes between two looks
    return parameter


def start(name: str, hours: int = 1) -> Wish:
    return Wish(name, Window(NOW + hours * HOUR))


def store(asked: Wish, *, dry_run: bool = False) -> Stored:
    return store_merged(NAME, asked, NOW, dry_run=dry_run)


def test_a_start_is_written_even_if_its_window_shows(parameter: Parameter) -> None:
    store(start("a"))
    store(Wish("a", None))
    parameter.late, parameter.shown = 1, 2
    assert store(start("a")).windows == parameter.windows == {"a": Window(NOW + HOUR)}


def test_an_end_whose_window_does_not_show_yet_is_not_lost(parameter: Parameter) -> None:
    store(start("a"))
    parameter.late = 1
    assert (store(Wish("a", None)).note, parameter.windows) == ("", {})


def test_an_end_of_an_unknown_window_writes_nothing_and_says_so(parameter: Parameter) -> None:
    store(start("a"))
    stored = store(Wish("b", None))
    assert stored.note == "no window 'b' is open, so there is nothing to end"
    assert parameter.windows.keys() == {"a"}
    assert len(parameter.versions) == 2


def test_a_dry_run_writes_nothing_and_sees_what_would_be(parameter: Parameter) -> None:
    assert store(start("a"), dry_run=True).windows.keys() == {"a"}
    assert parameter.versions == ["{}"]


def test_a_wish_is_not_merged_into_what_cannot_be_understood(parameter: Parameter) -> None:
    parameter.versions.append("oops")
    with pytest.raises(InputError, match="/shop/maintenance: 'oops' holds no windows"):
        store(start("a"))
    assert parameter.versions == ["{}", "oops"]


def test_a_parameter_that_nobody_has_made_holds_no_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(**_: str) -> None:
        raise ClientError({"Error": {"Code": "ParameterNotFound", "Message": "gone"}}, "GetParameter")

    monkeypatch.setattr(aws, "client", lambda _service: SimpleNamespace(get_parameter=gone))
    found = windows.read(NAME)
    assert (found.windows, found.version, found.problem) == ({}, 0, "")


def test_two_first_wishes_at_once_lose_none(ours: Account) -> None:
    def meanwhile() -> None:
        ours.client("ssm").put_parameter(Name=NAME, Type="String", Value=windows.write({"b": Window(NOW + HOUR)}))

    ours.before("ssm", "PutParameter", meanwhile)
    assert store(start("a")).windows.keys() == {"a", "b"}
    assert windows.read(NAME).windows.keys() == {"a", "b"}


@pytest.mark.parametrize(
    ("before", "meanwhile", "asked", "after"),
    [
        pytest.param([], [start("b")], start("a"), {"a", "b"}, id="two starts"),
        pytest.param(["b"], [Wish("b", None)], start("a"), {"a"}, id="a start and an end"),
        pytest.param(["a", "b"], [start("c")], Wish("a", None), {"b", "c"}, id="an end and a start"),
        pytest.param(["a", "b"], [Wish("b", None)], Wish("a", None), set(), id="two ends"),
        pytest.param([], [start("b"), start("c")], start("a"), {"a", "b", "c"}, id="two others, one after the other"),
        pytest.param(["b"], [start("b", 5)], start("a"), {"a", "b"}, id="a window made longer"),
    ],
)
def test_two_wishes_at_once_lose_none(
    parameter: Parameter, before: list[str], meanwhile: list[Wish], asked: Wish, after: set[str]
) -> None:
    """Each of the others reads and writes wholly between our read and our write."""
    for name in before:
        store(start(name))
    parameter.meanwhile = [lambda other=other: store(other) for other in meanwhile]  # type: ignore[misc]
    store(asked)
    assert parameter.windows.keys() == after
    if Wish("b", Window(NOW + 5 * HOUR)) in meanwhile:
        assert parameter.windows["b"].until == NOW + 5 * HOUR


@given(st.integers(0, 10**9), st.booleans())
@settings(max_examples=100, deadline=None)
def test_however_two_writers_interleave_both_wishes_come_true(seed: int, ends: bool) -> None:
    """Every writer waits before each of its calls; a seeded dealer decides who goes on."""
    writers = 2
    dealer, parameter = random.Random(seed), Parameter([windows.write({"old": Window(NOW + HOUR)})])  # noqa: S311
    turns = {number: threading.Semaphore(0) for number in range(writers)}
    done, given_up, back = set[int](), list[UnfinishedError](), threading.Semaphore(0)

    class Client:
        def __init__(self, number: int) -> None:
            self.number = number

        def __getattr__(self, name: str) -> Callable[..., Any]:
            def call(**params: Any) -> Any:
                back.release()
                turns[self.number].acquire()
                return getattr(parameter, name)(**params)

            return call

    local = threading.local()

    def work(number: int) -> None:
        local.client = Client(number)
        try:
            store(Wish("old", None) if ends and number else start(f"w{number}"))
        except UnfinishedError as error:
            given_up.append(error)
        finally:
            done.add(number)
            back.release()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aws, "client", lambda _service: local.client)
        threads = [threading.Thread(target=work, args=(number,)) for number in range(writers)]
        for thread in threads:
            thread.start()
            back.acquire()
        while len(done) < writers:
            turns[dealer.choice([number for number in turns if number not in done])].release()
            back.acquire()
        for thread in threads:
            thread.join()
    assert not given_up
    assert parameter.windows.keys() == ({"w0"} if ends else {"w0", "w1", "old"})


def test_writes_without_an_end_are_given_up_aloud(parameter: Parameter) -> None:
    parameter.meanwhile = [
        lambda n=n: parameter.versions.append(windows.write({f"{n}": Window(None)})) for n in range(99)
    ]  # type: ignore[misc]
    with pytest.raises(UnfinishedError, match="by others all the time"):
        store(start("a"))


@pytest.mark.parametrize(
    ("hours", "says"),
    [
        (0, False),
        (0.99, False),
        (1, True),
        (1.49, True),
        (1.5, False),
        (1.99, False),
        (2, True),
        (24.2, True),
        (24.7, False),
    ],
)
def test_a_window_without_an_end_is_said_again_in_half_of_every_hour(hours: float, says: bool) -> None:
    moment = NOW + hours * HOUR
    assert windows.reminds(Stored({"a": Window(None), "b": Window(NOW)}, NOW, 1), moment) == says
    assert not windows.reminds(Stored({"a": Window(NOW + 99 * HOUR)}, NOW, 1), moment)


def test_windows_are_said_with_their_ends_and_reasons_in_the_order_of_their_ends() -> None:
    held = {"b": Window(None, "repair"), "c": Window(NOW + 2 * HOUR), "a": Window((NOW + HOUR).astimezone(TOKYO), "db")}
    assert windows.said(held) == (
        "a until 2026-12-01T12:00:00+09:00 (db); c until 2026-12-01T04:00:00+00:00; b until somebody ends it (repair)",
        "a 2026-12-01T12:00:00+09:00 まで (db)、c 2026-12-01T04:00:00+00:00 まで、b 終了時刻なし (repair)",
    )


# Ends by schedule.


def end_of(expression: str, zone: ZoneInfo, start: str) -> datetime:
    """Return the end of the window that a schedule starts at this local time, in the local time of the zone."""
    began = datetime.fromisoformat(start).replace(tzinfo=zone)
    event = {"type": "start", "until": "MaintenanceEnd", "at": began.astimezone(UTC).isoformat()}
    window = wish(event, expression, str(zone), began.astimezone(UTC)).window
    assert window is not None
    assert window.until is not None
    return window.until


@pytest.mark.parametrize(
    ("zone", "end", "start", "until", "hours"),
    [
        pytest.param(TOKYO, "cron(0 6 ? * SUN *)", "2026-12-06T02:00", "2026-12-06T06:00:00+09:00", 4, id="weekly"),
        pytest.param(
            TOKYO, "cron(30 1 ? * MON *)", "2026-12-06T23:00", "2026-12-07T01:30:00+09:00", 2.5, id="midnight"
        ),
        pytest.param(
            TOKYO, "cron(59 23 * * ? *)", "2026-12-06T22:00", "2026-12-06T23:59:00+09:00", 1 + 59 / 60, id="23:59"
        ),
        pytest.param(TOKYO, "cron(0 0 1 * ? *)", "2026-12-31T22:00", "2027-01-01T00:00:00+09:00", 2, id="new year"),
        pytest.param(TOKYO, "at(2026-12-06T06:00:00)", "2026-12-06T02:00", "2026-12-06T06:00:00+09:00", 4, id="once"),
        pytest.param(LONDON, "cron(0 4 ? * SUN *)", "2027-03-28T00:00", "2027-03-28T04:00:00+01:00", 3, id="spring"),
        pytest.param(LONDON, "cron(0 4 ? * SUN *)", "2027-10-31T00:00", "2027-10-31T04:00:00+00:00", 5, id="autumn"),
        pytest.param(
            LONDON, "cron(30 1 ? * SUN *)", "2027-03-27T23:00", "2027-03-28T02:30:00+01:00", 2.5, id="in the gap"
        ),
        pytest.param(
            LONDON, "cron(30 1 ? * SUN *)", "2027-10-30T23:00", "2027-10-31T01:30:00+01:00", 2.5, id="the first"
        ),
        pytest.param(TOKYO, "cron(0 6 * * ? *)", "2026-12-06T06:00", "2026-12-07T06:00:00+09:00", 24, id="at an end"),
        pytest.param(LONDON, "cron(0 4 ? * SUN *)", "2027-06-06T00:00", "2027-06-06T04:00:00+01:00", 4, id="summer"),
        pytest.param(
            ZoneInfo("Australia/Lord_Howe"),
            "cron(5,10,30 2 ? * SUN *)",
            "2027-10-03T00:00",
            "2027-10-03T02:30:00+11:00",
            2,
            id="behind two in the gap",
        ),
        pytest.param(
            ZoneInfo("America/Nuuk"),
            "cron(30 23 ? * SAT *)",
            "2027-03-28T00:10",
            "2027-03-28T00:30:00-01:00",
            1 / 3,
            id="in a gap before midnight",
        ),
    ],
)
def test_a_scheduled_window_ends_at_the_local_time_of_its_schedule(
    zone: ZoneInfo, end: str, start: str, until: str, hours: float
) -> None:
    found = end_of(end, zone, start)
    assert found.isoformat() == until
    assert found - datetime.fromisoformat(start).replace(tzinfo=zone).astimezone(UTC) == hours * HOUR


@pytest.mark.parametrize(
    ("at", "hours"),
    [
        pytest.param("00:05", 35 / 60, id="the first time"),
        pytest.param("00:45", 55 / 60, id="after the first time"),
        pytest.param("01:05", 35 / 60, id="the second time"),
        pytest.param("01:40", 24, id="after the second time"),
    ],
)
def test_a_window_that_begins_while_the_clocks_repeat_an_hour_does_not_last_until_the_next_day(
    at: str, hours: float
) -> None:
    """AWS says that such a schedule runs once, and not which of the two times."""
    began = datetime.fromisoformat(f"2026-10-25T{at}:00Z")
    found = schedules.next_time("cron(40 2 * * ? *)", "Europe/Berlin", began)
    assert found - began == hours * HOUR


@pytest.mark.parametrize(
    ("expression", "zone", "moment", "skipped"),
    [
        ("cron(30 1 ? * SUN *)", "Europe/London", "2029-03-25T01:00:00Z", "2029-03-25T01:30:00"),
        ("cron(30 1 ? * SUN *)", "Europe/London", "2029-03-25T01:59:00Z", "2029-03-25T01:30:00"),
        ("cron(30 1 ? * SUN *)", "Europe/London", "2029-03-25T00:59:00Z", None),
        ("cron(30 1 ? * SUN *)", "Europe/London", "2029-03-25T02:00:00Z", None),
        ("cron(30 1 ? * SUN *)", "Europe/London", "2029-03-18T01:10:00Z", None),
        ("cron(0 1 * * ? *)", "Europe/London", "2029-03-25T01:00:00Z", "2029-03-25T01:00:00"),
        ("cron(0 2 * * ? *)", "Europe/London", "2029-03-25T01:10:00Z", None),
        ("cron(59 0 * * ? *)", "Europe/London", "2029-03-25T01:10:00Z", None),
        ("at(2029-03-25T01:15:00)", "Europe/London", "2029-03-25T01:10:00Z", "2029-03-25T01:15:00"),
        ("cron(30 1 * * ? *)", "Europe/London", "2029-10-28T01:30:00Z", None),  # clocks repeat it
        ("cron(15 2 * * ? *)", "Australia/Lord_Howe", "2029-10-06T15:45:00Z", "2029-10-07T02:15:00"),
        ("cron(45 2 * * ? *)", "Australia/Lord_Howe", "2029-10-06T15:45:00Z", None),
        ("cron(30 1 * * ? *)", "UTC", "2029-03-25T01:30:00Z", None),
        ("", "Europe/London", "2029-03-25T01:10:00Z", None),
        ("cron(30 1 L-3 * ? *)", "Europe/London", "2029-03-25T01:10:00Z", None),  # which only Scheduler understands
    ],
)
def test_a_start_that_the_clocks_have_just_skipped_is_known(
    expression: str, zone: str, moment: str, skipped: str | None
) -> None:
    found = schedules.left_out(expression, zone, datetime.fromisoformat(moment))
    assert (found and found.isoformat()) == skipped


def test_a_start_that_arrives_after_its_end_does_not_wait_for_the_next_one() -> None:
    event = {"type": "start", "until": "MaintenanceEnd", "at": "2026-11-30T17:00:00Z"}
    with pytest.raises(InputError, match="already past"):
        wish(event, "cron(0 6 * * ? *)")


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        pytest.param("rate(1 day)", "expected cron", id="a rate"),
        pytest.param("cron(0 6 * *)", "expected cron", id="too few fields"),
        pytest.param("cron(0 x * * ? *)", "has 'x'", id="a letter for an hour"),
        pytest.param("cron(0 6 31 2 ? *)", "does not come", id="a day that never comes"),
    ],
)
def test_a_schedule_that_gives_no_end_is_refused_by_name(expression: str, words: str) -> None:
    with pytest.raises(InputError) as refused:
        wish({"type": "start", "until": "MaintenanceEnd"}, expression)
    assert words in str(refused.value)


MINUTES = st.sampled_from(["0", "30", "15,45", "*/20", "10-12", "5/25"])
HOURS = st.sampled_from(["0", "1", "2", "23", "*", "1-3", "0/6", "22,23"])
DAYS = st.one_of(
    st.tuples(st.sampled_from(["*", "1", "28-31", "L", "LW", "15W", "1W", "31W", "1/7"]), st.just("?")),
    st.tuples(
        st.just("?"), st.sampled_from(["*", "SUN", "MON-FRI", "1", "SAT,SUN", "6L", "FRIL", "3#2", "SUN#5", "L"])
    ),
)
MONTHS = st.sampled_from(["*", "*", "3", "OCT", "JAN-JUN", "3,10"])
YEARS = st.sampled_from(["*", "2026-2028"])
ZONES = st.sampled_from(["Asia/Tokyo", "Europe/London", "America/New_York", "Australia/Lord_Howe", "UTC"])


@settings(max_examples=150, deadline=None)
@given(MINUTES, HOURS, DAYS, MONTHS, YEARS, ZONES, st.datetimes(datetime(2026, 11, 1), datetime(2028, 1, 1)))  # noqa: DTZ001
@example("5/25", "2", ("?", "SUN"), "*", "*", "Australia/Lord_Howe", datetime(2027, 9, 26))  # noqa: DTZ001
def test_the_next_time_is_the_scheduler_s_own_but_for_times_that_clocks_skip(
    minutes: str, hours: str, days: tuple[str, str], months: str, years: str, zone: str, moment: datetime
) -> None:
    """Two independent readings of the same expression: the product's, and that of the sandbox's scheduler."""
    expression = f"cron({minutes} {hours} {days[0]} {months} {days[1]} {years})"
    after = moment.replace(tzinfo=UTC)
    horizon = after + timedelta(days=31)
    due = list(takewhile(lambda time: time <= horizon, occurrences(expression, after, zone)))
    try:
        found = schedules.next_time(expression, zone, after).astimezone(UTC)
    except ValueError:
        assert not due
        return
    if not due or found != due[0]:
        assert found > horizon or not due or found < due[0], "later than the scheduler's"
        if found <= horizon:
            local = found.astimezone(ZoneInfo(zone))
            assert local.utcoffset() != (found - 2 * HOUR).astimezone(ZoneInfo(zone)).utcoffset(), (
                "not at a change of clocks"
            )
