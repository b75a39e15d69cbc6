"""The steps of every handler: what is read when, what is written before what, and what is said of it."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kirikae import clock, errors, reconcile
from kirikae.decision import Change, Decision, Made, Result, plain
from kirikae.env import Stack
from kirikae.errors import InputError
from kirikae.events import Hint
from kirikae.log import logger
from kirikae.log import metrics as powertools
from kirikae.notify import Mail, Times, Words
from sandbox.account import Account

FORCE = {"action": "reconcile", "force": True, "reason": "because I say so"}


@dataclass(frozen=True)
class Light(Change):
    """Make the lamp be like this."""

    lamp: str


DUE = Decision(Words("the lamp is off", "消えている"), Light("on"), counts="LampLit")
FINE = Decision(Words("the lamp is on"))
WRITE, MAIL, HOLD = "PutParameter", "Publish", "GetParameter"


@dataclass(frozen=True)
class Seen:
    """A world with one lamp."""

    lamp: str
    since: datetime


@dataclass
class Lamp:
    """The four steps of a handler that keeps a lamp on, written down as parameter /lamp."""

    account: Account
    decision: Decision[Light] = DUE
    fails: Exception | None = None
    letter: Callable[[Times], Mail | None] = lambda times: Mail(
        "[kirikae] lamp: on", ((Words("When"), Words(str(times))),)
    )
    results: list[Result[Light, str]] = field(default_factory=list)

    def observe(self, _config: Stack, _hint: Hint) -> Seen:
        return Seen("off", datetime(2026, 11, 22, tzinfo=UTC))

    def decide(self, _config: Stack, _seen: Seen) -> Decision[Light]:
        return self.decision

    def act(self, _config: Stack, _seen: Seen, change: Light) -> str:
        ssm = self.account.client("ssm")
        ssm.put_parameter(Name="/lamp", Value=change.lamp, Type="String", Overwrite=True)
        if self.fails:
            raise self.fails
        return "done"

    def mail(self, _config: Stack, _seen: Seen, result: Result[Light, str]) -> Mail | None:
        assert result.done == "done"
        self.results.append(result)
        return self.letter(result.times)

    def run(self, event: object = None) -> dict[str, Any]:
        """Run the steps."""
        event = {} if event is None else event
        return reconcile.reconcile(event, Stack, self.observe, self.decide, self.act, self.mail)

    @property
    def calls(self) -> list[str]:
        """Return what was asked of the account since the lamp was made, in order."""
        return [call.operation for call in self.account.calls if call.operation in (WRITE, MAIL, HOLD)]


@pytest.fixture
def lamp(ours: Account, monkeypatch: pytest.MonkeyPatch) -> Lamp:
    """Return a lamp that should be on; its stack is not held."""
    monkeypatch.setenv("SERVICE_NAME", "lamp")
    monkeypatch.setenv("TOPIC_ARN", ours.client("sns").create_topic(Name="lamp")["TopicArn"])
    monkeypatch.setenv("HOLD_PARAMETER", "/lamp-stack/hold")
    monkeypatch.setenv("TOLD_PARAMETER", "/lamp-stack/told/lamp")
    monkeypatch.setattr(powertools.provider, "service", "lamp")  # read from the environment at the import
    hold(ours, "off")
    ours.calls.clear()
    return Lamp(ours)


def hold(account: Account, text: str) -> None:
    """Write the hold as an operator does."""
    account.client("ssm").put_parameter(Name="/lamp-stack/hold", Value=text, Type="String", Overwrite=True)
    account.calls.clear()


def held(account: Account) -> None:
    """Hold the stack for an hour."""
    until = (account.clock.now() + timedelta(hours=1)).isoformat()
    hold(account, json.dumps({"until": until, "reason": "new bulb"}))


class Lines(logging.Handler):
    """What was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(dict(vars(record)))

    @property
    def decision(self) -> dict[str, Any]:
        """Return the one decision."""
        [found] = [record["decision"] for record in self.records if record["msg"] == "decision"]
        return dict(found)


@pytest.fixture
def log() -> Iterator[Lines]:
    """Return the log of the run."""
    lines = Lines()
    logger.addHandler(lines)
    yield lines
    logger.removeHandler(lines)


def metrics(capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    """Return the metrics that were put, by name."""
    found: dict[str, float] = {}
    for line in capsys.readouterr().out.splitlines():
        if '"CloudWatchMetrics"' in line:
            blob = json.loads(line)
            [kind] = blob["_aws"]["CloudWatchMetrics"]
            assert kind["Namespace"] == "kirikae"
            assert kind["Dimensions"] in ([["service"]], [["service", "capability"]])
            found |= {metric["Name"]: sum(blob[metric["Name"]]) for metric in kind["Metrics"]}
    return found


def test_the_change_is_made_before_anybody_is_told_and_both_once(lamp: Lamp) -> None:
    report = lamp.run()
    assert lamp.calls == [HOLD, WRITE, MAIL]
    assert report == {
        "hint": "by hand",
        "seen": {"lamp": "off", "since": "2026-11-22T00:00:00+00:00"},
        "reason": "the lamp is off",
        "change": {"lamp": "on"},
        "outcome": "changed",
    }


@pytest.mark.parametrize(
    ("decision", "outcome"),
    [
        pytest.param(FINE, "unchanged", id="all is well"),
        pytest.param(replace(FINE, refused=True), "refused", id="not ours"),
        pytest.param(replace(FINE, forced=Light("on")), "unchanged", id="only a person may"),
    ],
)
def test_without_a_change_not_even_the_hold_is_read(lamp: Lamp, decision: Decision[Light], outcome: str) -> None:
    lamp.decision = decision
    assert lamp.run()["outcome"] == outcome
    assert lamp.calls == []


@pytest.mark.parametrize(
    ("change", "outcome"),
    [pytest.param(Light("dim"), "changed", id="less"), pytest.param(None, "unchanged", id="none")],
)
def test_what_the_act_really_made_is_what_is_reported(
    lamp: Lamp, monkeypatch: pytest.MonkeyPatch, change: Light | None, outcome: str
) -> None:
    made = Made(change=change, reason=Words("the bulb is old"))
    monkeypatch.setattr(lamp, "act", lambda *_: made)
    monkeypatch.setattr(lamp, "mail", lambda *_: lamp.letter(None))
    report = lamp.run()
    assert (report["change"], report["reason"], report["outcome"]) == (plain(change), "the bulb is old", outcome)
    assert lamp.calls == [HOLD, MAIL], "the mail is the function's to decide"


def test_a_change_that_needs_no_mail_sends_none(lamp: Lamp) -> None:
    lamp.letter = lambda _: None
    assert lamp.run()["outcome"] == "changed"
    assert lamp.calls == [HOLD, WRITE]


def test_a_hold_stops_the_write_and_the_mail_and_says_why(lamp: Lamp, capsys: pytest.CaptureFixture[str]) -> None:
    held(lamp.account)
    report = lamp.run()
    assert lamp.calls == [HOLD]
    assert report["outcome"] == "held"
    assert "new bulb" in report["reason"]
    assert "due otherwise: the lamp is off" in report["reason"]
    assert report["change"] == {"lamp": "on"}
    assert metrics(capsys) == {"Held": 1}


def test_a_hold_that_cannot_be_understood_refuses(lamp: Lamp, capsys: pytest.CaptureFixture[str]) -> None:
    hold(lamp.account, "please wait")
    report = lamp.run()
    assert (report["outcome"], lamp.calls) == ("refused", [HOLD])
    assert "/lamp-stack/hold: 'please wait' is not a hold" in report["reason"]
    assert metrics(capsys) == {"Refused": 1}


@pytest.mark.parametrize(
    "fault",
    [{"code": "AccessDeniedException"}, *({"code": None, "body": body} for body in ("empty", "cut", "bare", "html"))],
)
def test_a_hold_that_cannot_be_read_is_logged_and_does_not_stop_the_change(
    lamp: Lamp, log: Lines, fault: dict[str, Any]
) -> None:
    held(lamp.account)
    lamp.account.faults.add("ssm", HOLD, **fault)
    assert lamp.run()["outcome"] == "changed"
    assert [record["parameter"] for record in log.records if record["levelname"] == "WARNING"] == ["/lamp-stack/hold"]


@pytest.mark.parametrize("missing", ["Value", "LastModifiedDate"])
def test_a_hold_without_what_makes_it_one_does_not_stop_the_change(lamp: Lamp, missing: str) -> None:
    stored = {"Name": "/lamp-stack/hold", "Value": "off", "LastModifiedDate": 1.0, "Version": 1}
    found = {"Parameter": {name: value for name, value in stored.items() if name != missing}}
    lamp.account.override("ssm", HOLD, lambda _params, _principal: found)
    assert lamp.run()["outcome"] == "changed"


@pytest.mark.parametrize("error", [KeyError("State"), errors.AnswerError(call="ec2 X", problem="is none")])
@pytest.mark.usefixtures("lamp")
def test_whatever_goes_wrong_in_init_leaves_it_to_the_invocation(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def read(_config: Stack) -> None:
        asked.append(True)
        raise error

    monkeypatch.setattr(reconcile.env, "in_lambda", lambda: True)
    reconcile.warm_up(Stack, read)
    assert asked == [True]


def test_force_does_not_read_the_hold_and_its_reason_is_logged(lamp: Lamp, log: Lines) -> None:
    held(lamp.account)
    assert lamp.run(FORCE)["outcome"] == "changed"
    assert lamp.calls == [WRITE, MAIL]
    assert [record["forced"] for record in log.records if record["msg"] == "decision"] == ["because I say so"]


@pytest.mark.parametrize(("event", "outcome"), [({}, "refused"), (FORCE, "changed")])
def test_what_only_a_person_may_do_takes_force(lamp: Lamp, event: object, outcome: str) -> None:
    lamp.decision = replace(FINE, refused=True, forced=Light("on"))
    report = lamp.run(event)
    assert (report["outcome"], WRITE in lamp.calls) == (outcome, outcome == "changed")


ALARM = {"alarmData": {"alarmName": "dark", "state": {"value": "ALARM"}}}


@pytest.mark.parametrize(
    ("dry_stack", "event", "mailed"),
    [
        pytest.param(False, {"action": "dry-run"}, False, id="a person asks"),
        pytest.param(True, {}, False, id="a dry stack, by hand"),
        pytest.param(True, FORCE, False, id="a dry stack, forced"),
        pytest.param(True, {"detail-type": "Scheduled Event"}, False, id="a dry stack's tick"),
        pytest.param(True, ALARM, True, id="a dry stack's alarm"),
    ],
)
def test_a_dry_run_writes_nothing_and_mails_only_for_an_alarm(
    lamp: Lamp, monkeypatch: pytest.MonkeyPatch, dry_stack: bool, event: object, mailed: bool
) -> None:
    monkeypatch.setenv("DRY_RUN", str(dry_stack).lower())
    report = lamp.run(event)
    assert (report["outcome"], report["change"]) == ("dry-run", {"lamp": "on"})
    assert lamp.calls == [MAIL] * mailed
    assert ['"lamp": "on"' in mail.body for mail in lamp.account.mails] == [True] * mailed


def test_a_dry_run_with_nothing_to_do_is_unchanged(lamp: Lamp) -> None:
    lamp.decision = FINE
    assert lamp.run({"action": "dry-run"})["outcome"] == "unchanged"


def test_an_act_that_raises_is_logged_as_failed_told_nobody_and_raised(
    lamp: Lamp, log: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    lamp.fails = errors.UnfinishedError("1 of 2 lamps")
    with pytest.raises(errors.UnfinishedError, match="1 of 2 lamps"):
        lamp.run()
    assert lamp.calls == [HOLD, WRITE]
    assert (log.decision["outcome"], log.decision["change"]) == ("failed", {"lamp": "on"})
    assert metrics(capsys) == {}


def test_what_lasts_is_counted_even_when_the_act_raises(lamp: Lamp, capsys: pytest.CaptureFixture[str]) -> None:
    lamp.decision = replace(DUE, lasting=("BulbOld",))
    lamp.fails = RuntimeError("dark")
    with pytest.raises(RuntimeError, match="dark"):
        lamp.run()
    assert metrics(capsys) == {"BulbOld": 1}


@pytest.mark.parametrize("decision", [FINE, DUE, replace(FINE, refused=True)])
def test_every_run_logs_what_it_returns(lamp: Lamp, log: Lines, decision: Decision[Light]) -> None:
    lamp.decision = decision
    assert lamp.run() == log.decision


def test_a_mail_that_fails_neither_undoes_the_change_nor_fails_the_run(
    lamp: Lamp, log: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    lamp.account.faults.add("sns", MAIL, "AuthorizationError", status=403)
    assert lamp.run()["outcome"] == "changed"
    assert metrics(capsys) == {"LampLit": 1, "MailFailed": 1}
    assert [record["subject"] for record in log.records if record["levelname"] == "ERROR"] == ["[kirikae] lamp: on"]


CAUSED = {"detail-type": "Anything", "source": "test"}


def test_the_time_from_the_cause_to_the_change_is_counted(lamp: Lamp, capsys: pytest.CaptureFixture[str]) -> None:
    caused = clock.now() - timedelta(seconds=5)
    lamp.run(CAUSED | {"time": caused.isoformat()})
    found = metrics(capsys)
    assert found["LampLit"] == 1
    assert 5_000 <= found["EventToSwitched"] < 15_000
    [result] = lamp.results
    times = result.times
    assert times.caused == caused
    assert caused < times.began <= times.done


def test_without_the_time_of_a_cause_none_is_counted(lamp: Lamp, capsys: pytest.CaptureFixture[str]) -> None:
    lamp.run()
    assert metrics(capsys) == {"LampLit": 1}


def test_a_clock_that_is_ahead_of_ours_counts_as_no_time(lamp: Lamp, capsys: pytest.CaptureFixture[str]) -> None:
    lamp.run(CAUSED | {"time": (clock.now() + timedelta(hours=1)).isoformat()})
    assert metrics(capsys)["EventToSwitched"] == 0


def test_a_change_that_nobody_counts_is_not_counted(lamp: Lamp, capsys: pytest.CaptureFixture[str]) -> None:
    lamp.decision = replace(DUE, counts="")
    lamp.run(CAUSED | {"time": clock.now().isoformat()})
    assert metrics(capsys) == {}


def test_a_broken_environment_is_named_before_anything_is_asked(lamp: Lamp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPIC_ARN", "")
    with pytest.raises(InputError, match=r"^TOPIC_ARN .*is not set$"):
        lamp.run()
    assert lamp.calls == []


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.datetimes(),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
        | st.frozensets(st.text(), max_size=3)
        | st.builds(Seen, inner, inner)
        | st.builds(Words, st.text(), st.text())
    ),
    max_leaves=8,
)


@given(plain_values)
def test_whatever_is_seen_can_be_returned_from_lambda(value: Any) -> None:
    written = plain(value)
    assert json.loads(json.dumps(written)) == written


def test_words_are_returned_in_english_and_times_with_their_offset() -> None:
    moment = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
    assert plain({"why": Words("en", "ja"), "seen": (Seen("off", moment),)}) == {
        "why": "en",
        "seen": [{"lamp": "off", "since": "2026-11-22T02:15:00+00:00"}],
    }
