"""An operator's wish holds until its time; one that cannot be understood is a problem, never a guess."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kirikae import hold
from kirikae.hold import Hold
from sandbox.account import Account

NOW = datetime(2026, 12, 1, 3, 0, tzinfo=UTC)
WRITTEN = NOW - timedelta(hours=1)
JST = timezone(timedelta(hours=9))


def wish(until: Any, reason: Any = "database work") -> str:
    """Write a wish as an operator does."""
    return json.dumps({"until": until, "reason": reason})


def at(moment: datetime) -> str:
    """Write a time as an operator in Tokyo does."""
    return moment.astimezone(JST).isoformat()


@pytest.mark.parametrize("text", ["off", " off\n"])
def test_off_is_off(text: str) -> None:
    assert hold.parse(text, WRITTEN, NOW) == Hold()


@pytest.mark.parametrize(
    ("until", "on"),
    [
        pytest.param(NOW + timedelta(hours=1), True, id="in force"),
        pytest.param(NOW + timedelta(microseconds=1), True, id="the last moment"),
        pytest.param(NOW, False, id="at its end it is over"),
        pytest.param(NOW - timedelta(minutes=59), False, id="over since it was written"),
    ],
)
def test_a_wish_holds_until_its_time(until: datetime, on: bool) -> None:
    found = hold.parse(wish(at(until)), WRITTEN, NOW)
    assert (found.on, found.problem) == (on, "")
    assert found.reason == f"held until {at(until)}: database work"


@pytest.mark.parametrize("until", ["2026-12-01T06:00:00Z", "2026-12-01T15:00:00+09:00", "2026-11-30T19:00-11:00"])
def test_the_offset_counts_not_the_hour_on_the_clock(until: str) -> None:
    hour = timedelta(hours=1)
    moment = datetime(2026, 12, 1, 6, 0, tzinfo=UTC)
    assert hold.parse(wish(until), WRITTEN, moment - hour).on
    assert not hold.parse(wish(until), WRITTEN, moment + hour).on


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "Expecting value", id="nothing"),
        pytest.param("on", "Expecting value", id="on"),
        pytest.param("OFF", "Expecting value", id="in capitals"),
        pytest.param('"off"', "string indices", id="quoted"),
        pytest.param('{"until": "2026-12-01T06:00:00+09:00", ', "Expecting", id="cut off"),
        pytest.param("[]", "list indices", id="a list"),
        pytest.param("null", "NoneType", id="null"),
        pytest.param("5", "int", id="a number"),
        pytest.param("{}", "until", id="an empty object"),
        pytest.param('{"reason": "x"}', "until", id="no time"),
        pytest.param('{"until": "2026-12-01T15:00:00+09:00"}', "reason", id="no reason"),
        pytest.param(wish("2026-12-01T15:00:00"), "has no offset", id="no offset"),
        pytest.param(wish("2026-12-01"), "has no offset", id="a day"),
        pytest.param(wish("tomorrow"), "until is 'tomorrow'", id="no time at all"),
        pytest.param(wish("2026-12-32T15:00:00+09:00"), "day", id="a day that is none"),
        pytest.param(wish(1796137200), "ISO 8601", id="seconds"),
        pytest.param(wish(None), "ISO 8601", id="until null"),
        pytest.param(wish(["2026-12-01T15:00:00+09:00"]), "ISO 8601", id="until a list"),
    ],
)
def test_what_is_not_a_hold_is_a_problem_that_says_what_was_expected(text: str, said: str) -> None:
    found = hold.parse(text, WRITTEN, NOW)
    assert (found.on, found.reason) == (False, "")
    assert repr(text) in found.problem
    assert said in found.problem
    assert hold.EXPECTED in found.problem


@pytest.mark.parametrize("early", [timedelta(0), timedelta(seconds=1), timedelta(days=365)])
def test_a_wish_that_was_over_when_it_was_written_is_a_mistake(early: timedelta) -> None:
    found = hold.parse(wish(at(WRITTEN - early)), WRITTEN, NOW)
    assert not found.on
    assert "was already past when it was written at 2026-12-01T02:00:00Z" in found.problem


moments = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
texts = st.text(max_size=60) | st.builds(wish, moments.map(datetime.isoformat) | st.text() | st.integers(), st.text())
json_texts = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps)


@given(texts | json_texts, moments, moments)
def test_whatever_is_stored_is_off_on_over_or_a_problem(text: str, written: datetime, now: datetime) -> None:
    found = hold.parse(text, written, now)
    assert not (found.on and found.problem)
    assert bool(found.reason or found.problem) == (text.strip() != "off")


@given(moments, offsets, moments, moments)
def test_a_wish_is_on_exactly_between_writing_and_its_time(
    until: datetime, offset: timezone, written: datetime, now: datetime
) -> None:
    found = hold.parse(wish(until.astimezone(offset).isoformat()), written, now)
    assert found.on == (written < until and now < until)
    assert bool(found.problem) == (until <= written)


def test_a_parameter_as_deep_as_it_can_be_is_a_problem_not_a_crash() -> None:
    assert hold.parse("[" * 4096, WRITTEN, NOW).problem


def test_the_stored_wish_is_read_with_the_time_it_was_written_at(ours: Account) -> None:
    until = ours.clock.now() + timedelta(minutes=5)
    ours.client("ssm").put_parameter(Name="/shop/hold", Value=wish(at(until)), Type="String")
    assert hold.read("/shop/hold", ours.clock.now()) == Hold(on=True, reason=f"held until {at(until)}: database work")
    assert hold.read("/shop/hold", until) == Hold(on=False, reason=f"held until {at(until)}: database work")
    ours.client("ssm").put_parameter(Name="/shop/hold", Value=wish("2020-01-01T00:00:00Z"), Overwrite=True)
    past = hold.read("/shop/hold", NOW)
    assert past is not None
    assert "was already past" in past.problem


def test_a_hold_that_nobody_has_made_is_off(ours: Account) -> None:
    assert ours.client("ssm").describe_parameters()["Parameters"] == []
    assert hold.read("/shop/hold", NOW) == Hold()


@pytest.mark.parametrize("code", ["AccessDeniedException", "InternalServerError"])
def test_a_hold_that_cannot_be_read_is_none_which_is_not_off(ours: Account, code: str) -> None:
    ours.faults.add("ssm", "GetParameter", code)
    assert hold.read("/shop/hold", NOW) is None


def test_a_hold_that_nobody_answers_for_is_none(ours: Account) -> None:
    ours.faults.add("ssm", "GetParameter", "", after=True)
    assert hold.read("/shop/hold", NOW) is None
