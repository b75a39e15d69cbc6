"""What woke us is read leniently, because it is only a hint; what a person asks for strictly, because it is a wish."""

import json
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kirikae import events
from kirikae.errors import InputError
from kirikae.events import Hint, Request

EVENTS = {path.stem: json.loads(path.read_text()) for path in (Path(__file__).parents[2] / "events").glob("*.json")}
INSTANCE = "i-0a1b2c3d4e5f60718"
CHANGED = datetime(2026, 11, 22, 2, 10, 3, tzinfo=UTC)
ALARMED = datetime(2026, 11, 22, 2, 12, 16, 490000, tzinfo=UTC)

OUTAGE, RECOVERY = "kirikae-shop-nlb-outage", "kirikae-shop-nlb-recovery"
HINTS = {
    "alarm_outage": Hint(f"alarm {OUTAGE} went ALARM", "alarm", ALARMED, state="ALARM", calling_alarm=OUTAGE),
    "alarm_recovery": Hint(f"alarm {RECOVERY} went OK", "alarm", ALARMED, state="OK", calling_alarm=RECOVERY),
    "alarm_state_change": Hint(f"alarm {OUTAGE} went ALARM", "alarm", ALARMED, state="ALARM"),
    "ec2_running": Hint(
        f"instance {INSTANCE} is running", "event", CHANGED, running_instance=INSTANCE, state="running"
    ),
    "ec2_stopping": Hint(f"instance {INSTANCE} is stopping", "event", CHANGED, INSTANCE, state="stopping"),
    "ec2_stopped": Hint(f"instance {INSTANCE} is stopped", "event", CHANGED, INSTANCE, state="stopped"),
    "ec2_terminated": Hint(f"instance {INSTANCE} is terminated", "event", CHANGED, INSTANCE, state="terminated"),
    "tick": Hint("tick", "tick"),
    "manual_reconcile": Hint("by hand", "person"),
    "manual_force": Hint("by hand", "person"),
    "manual_dry_run": Hint("by hand", "person"),
}


@pytest.mark.parametrize("name", HINTS)
def test_the_hint_of_each_sample_event(name: str) -> None:
    assert events.hint(EVENTS[name]) == HINTS[name]


@pytest.mark.parametrize("name", EVENTS)
def test_every_sample_event_can_be_read(name: str) -> None:
    hint = events.request(EVENTS[name]).hint if "action" in EVENTS[name] else events.hint(EVENTS[name])
    assert hint.text
    assert hint.kind == {"alarm": "alarm", "tick": "tick", "manual": "person"}.get(name.split("_")[0], hint.kind)


EC2 = EVENTS["ec2_stopped"]
ALARM = EVENTS["alarm_outage"]


@pytest.mark.parametrize(
    ("event", "hint"),
    [
        pytest.param({}, Hint("by hand", "person"), id="nothing"),
        pytest.param({"detail-type": "New Thing"}, Hint("event New Thing"), id="an event of a type that is not ours"),
        pytest.param(EC2 | {"detail": None}, Hint(f"event {EC2['detail-type']}", at=CHANGED), id="no detail"),
        pytest.param(
            EC2 | {"detail": {"instance-id": [INSTANCE], "state": "stopped"}},
            Hint(f"event {EC2['detail-type']}", at=CHANGED),
            id="an instance id that is no text",
        ),
        pytest.param(
            EC2 | {"time": "yesterday"},
            Hint(f"instance {INSTANCE} is stopped", stopped_instance=INSTANCE, state="stopped"),
            id="a time that is none",
        ),
        pytest.param(
            EC2 | {"time": "2026-11-22T02:10:03"},
            Hint(f"instance {INSTANCE} is stopped", stopped_instance=INSTANCE, state="stopped"),
            id="a time without an offset",
        ),
        pytest.param(
            EC2 | {"detail": {"instance-id": INSTANCE, "state": "shutting-down"}},
            Hint(f"instance {INSTANCE} is shutting-down", at=CHANGED, stopped_instance=INSTANCE, state="shutting-down"),
            id="shutting-down",
        ),
        pytest.param(
            EC2 | {"detail": {"instance-id": INSTANCE, "state": "pending"}},
            Hint(f"instance {INSTANCE} is pending", at=CHANGED),
            id="pending",
        ),
        pytest.param({"alarmData": {}}, Hint("by hand", "person"), id="alarm data without an alarm"),
        pytest.param(
            {"alarmData": {"alarmName": "a", "state": {"value": "OK"}}, "time": ALARM["time"]},
            Hint("alarm a went OK", "alarm", ALARMED, state="OK", calling_alarm="a"),
            id="an alarm whose state has no time of its own",
        ),
    ],
)
def test_what_an_event_lacks_is_not_guessed(event: dict[str, Any], hint: Hint) -> None:
    assert events.hint(event) == hint


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
LEAVES = ["detail-type", "detail", "time", "alarmData", "instance-id", "state", "alarmName", "value", "timestamp"]


def broken(event: Any, path: tuple[str, ...], value: Any) -> Any:
    """Return the event with something else at the path, as far as the path exists."""
    if not path:
        return value
    return event | {path[0]: broken(event[path[0]], path[1:], value)} if path[0] in event else event


def paths(event: Any) -> list[tuple[str, ...]]:
    """Return the way to everything in the event."""
    found = [(key, *path) for key, value in event.items() for path in paths(value)] if isinstance(event, dict) else []
    return [(), *found]


@given(st.data(), st.sampled_from(sorted(EVENTS)), json_values)
def test_an_event_broken_anywhere_is_still_only_a_hint(data: st.DataObject, name: str, value: Any) -> None:
    path = data.draw(st.sampled_from(paths(EVENTS[name])[1:]))
    hint = events.hint(broken(EVENTS[name], path, value))
    kinds = {"text": str, "kind": str, "at": datetime | None, "wish": object}
    kinds |= {"stopped_instance": str, "running_instance": str, "state": str, "calling_alarm": str}
    for field in fields(hint):
        assert isinstance(getattr(hint, field.name), kinds[field.name]), field.name
    assert hint.at is None or hint.at.tzinfo


@pytest.mark.parametrize(
    ("event", "options"),
    [
        ({}, {}),
        ({"action": "reconcile"}, {}),
        ({"action": "dry-run"}, {"dry_run": True}),
        ({"action": "reconcile", "force": True, "reason": "why"}, {"force": True, "reason": "why"}),
        ({"action": "reconcile", "force": False}, {}),
        ({"reason": "only said"}, {"reason": "only said"}),
        ({"key1": "value1"}, {}),  # the console's test
    ],
)
def test_a_persons_wish(event: dict[str, Any], options: dict[str, Any]) -> None:
    assert events.request(event) == Request(Hint("by hand", "person"), **options)


@pytest.mark.parametrize(
    ("event", "named"),
    [
        *[(event, "the event is") for event in (None, [], "stopped", 5, True)],
        *[({"action": action}, "action is") for action in ("", "Reconcile", "switch", None, 1, [], {})],
        *[({"force": force, "reason": "why"}, "force is") for force in ("true", 1, None, [])],
        *[({"force": True, "reason": reason}, "reason") for reason in (None, 5, ["why"])],
        *[({"force": True} | reason, "force needs a reason") for reason in ({}, {"reason": ""}, {"reason": " \n"})],
        ({"force": True, "reason": "a try", "dryRun": True}, "by hand has no dryRun"),
        ({"action": "reconcile", "forced": True}, "by hand has no forced"),
        ({"window": "night", "minutes": 60}, "by hand has no minutes, window"),
    ],
)
def test_a_wish_that_cannot_be_understood_is_refused_with_what_was_expected(event: Any, named: str) -> None:
    with pytest.raises(InputError, match=named) as caught:
        events.request(event)
    assert "expected" in str(caught.value) or '"reason": "why"' in str(caught.value)
