"""What people were told last: who is first to tell a change, and what a note that cannot be read or written means."""

import json
from datetime import timedelta

import pytest

from kirikae import told
from kirikae.told import Note
from sandbox.account import Account

NAME, ON = "/shop/told/lamp", {"lamp": "on"}


def put(account: Account, text: str) -> None:
    """Write the parameter as somebody else does."""
    account.client("ssm").put_parameter(Name=NAME, Value=text, Type="String", Overwrite=True)


def stored(account: Account) -> dict[str, object]:
    """Return what the parameter holds."""
    return dict(json.loads(account.client("ssm").get_parameter(Name=NAME)["Parameter"]["Value"]))


def test_no_parameter_means_at_rest(ours: Account) -> None:
    assert told.read(NAME) == Note(0, {}, None, Note().at)
    assert [call.error for call in ours.calls] == ["ParameterNotFound"]


@pytest.mark.parametrize("text", ["", "[]", "off", "{}", '{"known": []}', '{"known": {}, "at": "now"}', "null", "3"])
def test_what_kirikae_did_not_write_means_at_rest(text: str, ours: Account) -> None:
    put(ours, text or " ")
    found = told.read(NAME)
    assert found is not None
    assert (found.version, found.known, found.telling) == (1, {}, None)


def test_what_cannot_be_read_means_that_nothing_is_known_to_be_owed(ours: Account) -> None:
    ours.faults.add("ssm", "GetParameter", "InternalServerError", status=500)
    assert told.read(NAME) is None


def test_the_first_claim_wins_and_its_end_says_so(ours: Account) -> None:
    now = ours.clock.now()
    note, since = told.read(NAME), now - told.STALE_READS
    assert note is not None
    assert told.claim(NAME, note, ON, since, now)
    assert not told.claim(NAME, note, ON, since, now)
    told.close(NAME, ON, now)
    assert stored(ours)["known"] == ON
    assert "telling" not in stored(ours)


def test_a_late_claim_on_a_stale_note_leaves_the_note_as_it_was(ours: Account) -> None:
    now = ours.clock.now()
    stale, since = told.read(NAME), now - told.STALE_READS
    assert stale is not None
    told.claim(NAME, stale, ON, since, now)
    told.close(NAME, ON, now)
    before = stored(ours)
    assert not told.claim(NAME, stale, ON, since, now)
    assert stored(ours) == before


@pytest.mark.parametrize("other", [{"lamp": "red"}, {}], ids=str)
def test_a_claim_after_another_ones_about_something_else_is_the_first_of_its_own(
    other: dict[str, str], ours: Account
) -> None:
    now = ours.clock.now()
    stale, since = told.read(NAME), now - told.STALE_READS
    assert stale is not None
    assert told.claim(NAME, stale, other, since, now)
    assert told.claim(NAME, stale, ON, since, now)


@pytest.mark.parametrize("lost", [1, 2], ids="{} answers lost".format)
@pytest.mark.parametrize("others", [False, True], ids=["alone", "another run tells it"])
def test_a_claim_that_the_sdk_repeats_still_sees_what_it_has_replaced(ours: Account, lost: int, others: bool) -> None:
    now = ours.clock.now()
    stale, since = told.read(NAME), now - told.STALE_READS
    assert stale is not None
    if others:
        assert told.claim(NAME, stale, ON, since, now)
    ours.faults.add("ssm", "PutParameter", None, times=lost, after=True)
    assert bool(told.claim(NAME, stale, ON, since, now)) == (not others)


def test_an_old_note_about_the_same_state_is_about_an_earlier_change(ours: Account) -> None:
    now = ours.clock.now()
    told.close(NAME, ON, now)
    note = told.read(NAME)
    assert note is not None
    assert note.says(ON, now)
    assert not note.says(ON, now + timedelta(seconds=1))


@pytest.mark.parametrize(("seconds", "dead"), [(59, False), (60, True)])
def test_a_run_that_is_not_heard_of_for_as_long_as_it_can_live_has_died(
    seconds: int, dead: bool, ours: Account
) -> None:
    now = ours.clock.now()
    told.claim(NAME, Note(), ON, now, now)
    note = told.read(NAME)
    assert note is not None
    assert note.unheard_of(now + timedelta(seconds=seconds)) == dead
    told.close(NAME, ON, now)
    closed = told.read(NAME)
    assert closed is not None
    assert not closed.unheard_of(now + timedelta(seconds=seconds))


@pytest.mark.parametrize(("times", "first"), [(3, False), (4, True)])
def test_a_claim_that_meets_another_ones_write_is_made_again(times: int, first: bool, ours: Account) -> None:
    now = ours.clock.now()
    told.claim(NAME, Note(), ON, now, now)
    ours.faults.add("ssm", "PutParameter", "TooManyUpdates", times=times)
    assert bool(told.claim(NAME, Note(), ON, now, now)) == first, "after the last attempt it counts as the first"


def test_a_change_is_rather_told_twice_than_never(ours: Account) -> None:
    ours.faults.add("ssm", "PutParameter", "InternalServerError", status=500)
    now = ours.clock.now()
    assert told.claim(NAME, Note(), ON, now, now)
