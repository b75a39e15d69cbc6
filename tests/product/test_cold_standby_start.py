"""When the active does not serve, one standby is started, seen through until it serves, and somebody is told."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from standby_stories import CAPACITY, FUNCTION, START, STOP, TYPE, Batch
from template_tools import expanded, of_type, policies_of

from functions.cold_standby_start.app import decide, mail
from kirikae import env
from kirikae.alarms import Alarm
from kirikae.checks import Status
from kirikae.decision import Change, Result, plain
from kirikae.ec2 import Instance
from kirikae.elb import Target
from kirikae.errors import InputError
from kirikae.notify import Times, Words, plain_text
from kirikae.standby import notes, outage
from kirikae.standby.follow import Step
from kirikae.standby.run import Done
from kirikae.standby.world import Close, Config, Note, Observed, Start, Started
from sandbox.estates import standby as estate_standby
from sandbox.stack.intrinsics import TemplateError

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
ACTIVE, ONE, TWO = "i-0000000a", "i-00000001", "i-00000002"
GROUP = "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012:targetgroup/batch/73e2d6bc24d8a067"
BY_A_PERSON = "Client.UserInitiatedShutdown: User initiated shutdown"

CONFIG = Config(
    service_name="batch",
    topic_arn="arn:aws:sns:ap-northeast-1:123456789012:batch",
    hold_parameter="/batch/hold",
    told_parameter="/batch/told/it",
    active_instance_id=ACTIVE,
    standby_instance_ids=(ONE, TWO),
    functions_arn="arn:aws:lambda:ap-northeast-1:123456789012:function",
    aws_lambda_function_name="batch-standby",
)
FENCED = replace(CONFIG, fence_active="true")
REGISTERED = replace(CONFIG, standby_target_group_arn=GROUP)


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def written(minutes: float) -> str:
    return f"{ago(minutes):%Y-%m-%dT%H:%M:%SZ}"


def instance(name: str, state: str, launched: float = 10_000, reason: str = "", **notes: str) -> Instance:
    tags = {f"kirikae:{key}": value for key, value in notes.items()}
    return Instance(name, state, "t3.micro", None if state == "missing" else ago(launched), None, reason, tags)


def alarm(minutes: float = 2) -> Alarm:
    return Alarm("status", "ALARM", ago(minutes))


def seen(active: str, first: str | Instance, second: str | Instance = "stopped", **more: Any) -> Observed:
    first = first if isinstance(first, Instance) else instance(ONE, first)
    second = second if isinstance(second, Instance) else instance(TWO, second)
    return Observed(NOW, instance(ACTIVE, active), (first, second), **more)


def started(state: str, minutes: float = 5, reason: str = "", **notes: str) -> Instance:
    """Return the first candidate, started for an outage that began then."""
    notes = {"outage": written(minutes), "started": written(minutes)} | notes
    return instance(ONE, state, minutes, reason, **notes)


def failed(name: str, minutes: float, how: str = "refused", began: float = 100) -> Instance:
    return instance(name, "stopped", outage=written(began), failed=f"{written(minutes)} {how} t3.micro Why")


IN_ALARM = {"alarms": (alarm(),)}
OK = {"statuses": (Status(ONE, "ok", "ok", "not-applicable"),)}
STARTING = {"statuses": (Status(ONE, "initializing", "initializing", "not-applicable"),)}
HEALTHY = {"targets": (Target(ONE, 80, "healthy"),)}
ACTIVE_OK = {"statuses": (Status(ACTIVE, "ok", "ok", "not-applicable"),)}
FELL = "Server.InternalError: Internal error on launch"
RAN = {"running": written(4)}


def start(*names: str, fallen: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return {"start": list(names), "fallen": list(fallen)} | more


SILENT = replace(alarm(), silent="muted by a rule")


def of_type_once(kind: str) -> Instance:
    return instance(ONE, "stopped", **{"instance-type": kind})


def silent(minutes: float) -> dict[str, Any]:
    return {"alarms": (replace(SILENT, since=ago(minutes)),)}


UNUSED = "Target.NotInUse"


def hangs(*targets: Target) -> Observed:
    """Return the first candidate after its time, with these targets in the group."""
    return seen("stopped", started("running", 20, running=written(19)), **OK, targets=targets)


NO_HEALTH, NO_CHECKS = {"target health": "the target health cannot be read"}, {"status checks": "cannot be read"}
NO_PORT = started("running", 30, running=f"{written(29)} port not known")
LEFT = started("running", 30, running=written(29), failed=f"{written(15)} gave-up Why")
TWO_STARTED = instance(TWO, "running", 5, outage=written(5), started=written(5))


def on_its_way(minutes: float) -> Instance:
    return replace(instance(ONE, "stopping", 60, BY_A_PERSON), stopped=ago(minutes))


TWO_FELL = instance(TWO, "stopped", 8, FELL, outage=written(30), started=written(8))


LONG_AGO: dict[str, Any] = {"stopped": ago(50), "serving": written(55), "failed": f"{written(58)} gave-up Why"}


def after_all(second: str | Instance = "stopped", **more: Any) -> Observed:
    """Return the first candidate, which was left, came to serve after all, and was stopped."""
    notes = {"failed": f"{written(40)} gave-up Why", "serving": written(30), "stopped": ago(10)} | more
    when = notes.pop("stopped")
    return seen("stopped", replace(started("stopped", 60, BY_A_PERSON, **notes), stopped=when), second)


BACK = {"active": instance(ACTIVE, "running", launched=20)}

WORLDS = {
    "all is well": (None, seen("running", "stopped")),
    "the active stops": (start(ONE, TWO), seen("stopping", "stopped")),
    "the active has stopped": (start(ONE, TWO), seen("stopped", "stopped")),
    "the active is being terminated": (start(ONE, TWO), seen("shutting-down", "stopped")),
    "the active is terminated": (start(ONE, TWO), seen("terminated", "stopped")),
    "the active is impaired": (start(ONE, TWO), seen("running", "stopped", **IN_ALARM)),
    "an alarm from before the active's last start": (
        None,
        replace(seen("running", "stopped", **IN_ALARM), active=instance(ACTIVE, "running", launched=1)),
    ),
    "the active is starting": (None, seen("pending", "stopped", **IN_ALARM)),
    "the first is pending": (None, seen("stopped", started("pending", 0.1))),
    "the first is running already": ({"note": ONE}, seen("stopped", "running")),
    "the second is running already": ({"note": TWO}, seen("stopped", "stopped", "running")),
    "another run is starting the first": (None, seen("stopped", instance(ONE, "pending", launched=0.5))),
    "a start that nobody noted": ({"note": ONE}, seen("stopped", instance(ONE, "pending", launched=1))),
    "the first is stopping: it is waited for": (None, seen("stopped", on_its_way(0.5))),
    "the second is stopping: the first is started": (start(ONE), seen("stopped", "stopped", "stopping")),
    "the first is terminated": (start(TWO), seen("stopped", "terminated")),
    "the first is missing": (start(TWO), seen("stopped", "missing")),
    "all are gone": (None, seen("stopped", "terminated", "missing")),
    "the first was refused": (start(TWO), seen("stopped", failed(ONE, 0.1))),
    "all were refused a moment ago": (None, seen("stopped", failed(ONE, 0.2), failed(TWO, 0.1))),
    "all were refused long ago": (
        start(ONE, TWO, retry=True),
        seen("stopped", failed(ONE, 31), failed(TWO, 31)),
    ),
    "the spacing grows with the age of the outage": (
        None,
        seen("stopped", failed(ONE, 10, began=25), failed(TWO, 10, began=25)),
    ),
    "the spacing is over": (
        start(ONE, TWO, retry=True),
        seen("stopped", failed(ONE, 10, began=20), failed(TWO, 10, began=20)),
    ),
    "refused in an earlier outage": (
        start(ONE, TWO),
        replace(seen("stopped", failed(ONE, 99), failed(TWO, 99)), active=instance(ACTIVE, "stopped", launched=50)),
    ),
    "the first was left out by a person": (start(TWO), seen("stopped", instance(ONE, "stopped", failed="broken disk"))),
    "left out by a person, never retried": (
        None,
        seen("stopped", instance(ONE, "stopped", failed="broken disk"), failed(TWO, 0.1)),
    ),
    "the start fell back": (start(TWO, fallen=(ONE,)), seen("stopped", started("stopped", reason=FELL))),
    "the start is falling back: not counted before it has stopped": (
        None,
        seen("stopped", started("stopping", 2, reason=FELL)),
    ),
    "the only one fell back": (
        start(fallen=(ONE,)),
        seen("stopped", started("stopped", reason=FELL), "terminated"),
    ),
    "the one that fell back is counted": (
        None,
        seen("stopped", started("stopped", reason=FELL, failed=f"{written(4)} fell-back Why"), "terminated"),
    ),
    "it was stopped by a person": (None, seen("stopped", started("stopped", reason=BY_A_PERSON))),
    "it is being stopped by a person": (None, seen("stopped", started("stopping", reason=BY_A_PERSON))),
    "it was stopped by a person after an earlier outage": (
        start(ONE, TWO),
        replace(
            seen("stopped", started("stopped", 99, reason=BY_A_PERSON)),
            active=instance(ACTIVE, "stopped", launched=50),
        ),
    ),
    "it runs": ({"running": ONE}, seen("stopped", started("running"), **STARTING)),
    "its status checks have not passed": (None, seen("stopped", started("running", **RAN), **STARTING)),
    "its status is not known": (None, seen("stopped", started("running", **RAN))),
    "it serves": ({"serving": ONE}, seen("stopped", started("running", **RAN), **OK)),
    "it was told that it serves": (None, seen("stopped", started("running", **RAN, serving=written(1)), **OK)),
    "it was told so before its last start": (
        {"serving": ONE},
        seen("stopped", started("running", **RAN, serving=written(9)), **OK),
    ),
    "the active is back, and nothing was noted": (None, seen("running", "running")),
    "the active is back, its checks have not passed": (None, seen("running", started("running", **RAN))),
    "the active is back": (
        {"close": [ONE]},
        seen("running", started("running", **RAN), **ACTIVE_OK),
    ),
    "a silent alarm": (None, seen("running", "stopped", alarms=(SILENT,))),
    "a silent alarm and another": (start(ONE, TWO), seen("running", "stopped", alarms=(SILENT, alarm()))),
    "a silent alarm, and the active is down": (start(ONE, TWO), seen("stopped", "stopped", alarms=(SILENT,))),
    "the alarm of the outage is silent now: nothing more is started": (
        None,
        seen("running", failed(ONE, 31, began=100), failed(TWO, 31, began=100), **silent(99)),
    ),
    "a silent alarm from before the outage does not hold it open": (
        {"close": [ONE]},
        seen("running", started("running", **RAN), **ACTIVE_OK, **silent(900)),
    ),
    "the alarm of the outage has lost its data": (
        {"running": ONE},
        seen("running", started("running"), **ACTIVE_OK, unknown=(replace(alarm(4), state="INSUFFICIENT_DATA"),)),
    ),
    "the start fell back for want of capacity": (
        start(ONE, TWO),
        seen("stopped", started("stopped", reason="Server.InsufficientInstanceCapacity: Why")),
    ),
    "the start fell back for a limit": (
        start(ONE, TWO),
        seen("stopped", started("stopped", reason="Client.VolumeLimitExceeded: Why")),
    ),
    "it was hibernated by a person": (
        None,
        seen("stopped", started("stopped", reason="Client.UserInitiatedHibernate: Why")),
    ),
    "it was shut down from inside": (
        start(TWO, fallen=(ONE,)),
        seen("stopped", started("stopped", reason="Client.InstanceInitiatedShutdown: Why")),
    ),
    "a start without an answer a moment ago": (
        None,
        seen("stopped", instance(ONE, "stopped", outage=written(1), tried=f"{written(0.5)} t3.micro first-unanswered")),
    ),
    "a start without an answer that does not show": (
        start(ONE, TWO),
        seen("stopped", instance(ONE, "stopped", outage=written(2), tried=f"{written(1)} t3.micro first-unanswered")),
    ),
    "it does not come to serve": (
        start(TWO, leave=[ONE]),
        seen("stopped", started("running", 15, running=written(14)), **STARTING),
    ),
    "it has a minute left": (None, seen("stopped", started("running", 14, running=written(13)), **STARTING)),
    "it served once": (
        None,
        seen("stopped", started("running", 15, running=written(14), serving=written(10)), **STARTING),
    ),
    "it ran long before the outage": (
        None,
        seen(
            "stopped",
            instance(ONE, "running", 900, outage=written(3), started=written(900), running=written(2)),
            **STARTING,
        ),
    ),
    "it does not come to serve, and no other is left": (
        None,
        seen("stopped", started("running", 15, running=written(14)), "terminated", **STARTING),
    ),
    "it does not come to serve, and the other was refused": (
        None,
        seen("stopped", started("running", 30, running=written(29)), failed(TWO, 29, began=30), **STARTING),
    ),
    "it does not come to serve while the alarm is silent": (
        None,
        seen("running", started("running", 15, running=written(14)), **STARTING, **silent(15)),
    ),
    "one was left, the next is up": (
        None,
        seen(
            "stopped",
            started("running", 30, running=written(29), failed=f"{written(15)} gave-up Why"),
            instance(TWO, "pending", 0.2, outage=written(30), started=written(0.2)),
        ),
    ),
    "one is on its way down for as long as that takes": (None, seen("stopped", on_its_way(2.9))),
    "one hangs on its way down": (start(TWO, fallen=(ONE,)), seen("stopped", on_its_way(3))),
    "nobody knows since when it is on its way down": (start(TWO, fallen=(ONE,)), seen("stopped", "stopping")),
    "the second hangs on its way down: the first is started": (start(ONE), seen("stopped", "stopped", "stopping")),
    "it hangs on its way down since the outage began": (
        start(TWO, fallen=(ONE,)),
        seen("running", "stopping", alarms=(alarm(3),)),
    ),
    "it is on its way down since the outage began": (None, seen("running", "stopping", alarms=(alarm(2.9),))),
    "one that was started hangs on its way down": (
        start(TWO, fallen=(ONE,)),
        seen("stopped", replace(started("stopping", 20, reason=FELL), stopped=ago(3))),
    ),
    "one that a person stops hangs on its way down": (
        None,
        seen("stopped", replace(started("stopping", 20, reason=BY_A_PERSON), stopped=ago(9))),
    ),
    "one that has failed is not waited for": (
        start(TWO, fallen=(), retry=True),
        seen("stopped", replace(failed(ONE, 31), state="stopping"), failed(TWO, 31, began=100)),
    ),
    "it had failed, served since, and was stopped by a person": (None, after_all()),
    "the same, and the others were refused before": (None, after_all(failed(TWO, 30))),
    "but was tried again since, and refused": (
        start(TWO, retry=True),
        after_all(failed(TWO, 31), failed=f"{written(5)} refused Why"),
    ),
    "but right after it was noted as serving: by a run of ours": (start(TWO), after_all(serving=written(10.9))),
    "but nobody knows when": (start(TWO), after_all(stopped=None)),
    "but the next one has fallen back since": (start(fallen=(TWO,)), after_all(TWO_FELL)),
    "but the next one was tried since": (start(TWO, retry=True), after_all(failed(TWO, 31), **LONG_AGO)),
    "its own type is restored": (
        {"close": [ONE]},
        seen("running", of_type_once("t3.micro")),
    ),
    "its own type is not restored": (None, seen("running", of_type_once("t3.large"))),
    "back, and nobody knows whether its checks pass": (
        None,
        replace(seen("running", started("running", 30), unread=NO_CHECKS), **BACK),
    ),
    "an alarm is left, and nobody knows whether it is healthy": (
        None,
        replace(seen("running", started("running", 30), **silent(900), **ACTIVE_OK, unread=NO_HEALTH), **BACK),
    ),
    "the active's name is unknown": (None, seen("missing", "stopped")),
    "the active was forgotten by EC2 during the outage": (start(TWO), seen("missing", failed(ONE, 0.1))),
    "the active was forgotten by EC2 during a hold": (start(ONE, TWO), seen("missing", "stopped", told=True)),
    "the active was forgotten by EC2 and not by its group": (
        start(ONE, TWO),
        seen("missing", "stopped", targets=(Target(ACTIVE, 80, "unused"),)),
    ),
}


@pytest.mark.parametrize(("change", "world"), WORLDS.values(), ids=WORLDS.keys())
def test_decide(change: dict[str, Any] | None, world: Observed) -> None:
    decided = decide(CONFIG, world)
    assert plain(decided.change) == change, decided.reason
    assert decided.reason.en


@pytest.mark.parametrize(
    ("change", "world"),
    [
        pytest.param(
            start(ONE, TWO, fence=ACTIVE), seen("running", "stopped", **IN_ALARM), id="it runs: stopped first"
        ),
        pytest.param(
            start(ONE, TWO, fence=ACTIVE, retry=True),
            seen("running", failed(ONE, 31), failed(TWO, 31), alarms=(alarm(99),)),
            id="it runs, and the standbys are tried again",
        ),
        pytest.param(start(ONE, TWO), seen("stopping", "stopped"), id="it is on its way down: nothing to fence"),
        pytest.param(start(ONE, TWO), seen("terminated", "stopped"), id="it is gone: nothing to fence"),
        pytest.param({"note": ONE}, seen("running", "running", **IN_ALARM), id="a standby is up: noted first"),
        pytest.param(
            {"fence": ACTIVE, "running": ONE},
            seen("running", started("running"), **IN_ALARM),
            id="a standby is up: the active is stopped before that counts",
        ),
        pytest.param(
            {"fence": ACTIVE, "serving": ONE},
            seen("running", started("running", **RAN), **IN_ALARM, **OK),
            id="a standby serves: the active is stopped before that is told",
        ),
        pytest.param(
            {"fence": ACTIVE, "running": ONE},
            seen("running", started("running", **RAN, serving=written(1)), **IN_ALARM, **OK),
            id="a standby serves, and fences are asked for since then",
        ),
        pytest.param(
            {"running": ONE}, seen("stopping", started("running")), id="a standby is up, the active goes down"
        ),
        pytest.param(None, seen("running", started("running"), **silent(4)), id="a standby is up, and nobody calls"),
        pytest.param(None, seen("pending", "stopped", **IN_ALARM), id="it starts: left alone"),
    ],
)
def test_the_active_is_fenced_before_a_start(change: dict[str, Any] | None, world: Observed) -> None:
    assert plain(decide(FENCED, world).change) == change


@pytest.mark.parametrize(
    ("change", "world"),
    [
        pytest.param(
            {"running": ONE, "register": GROUP, "ports": []},
            seen("stopped", started("running")),
            id="its own port",
        ),
        pytest.param(
            {"running": ONE, "register": GROUP, "ports": [8080, 8081]},
            seen(
                "stopped",
                started("running"),
                targets=(Target(ACTIVE, 8081, "unused"), Target(ACTIVE, 8080, "unused"), Target("i-7", 9, "healthy")),
            ),
            id="the ports of the active",
        ),
        pytest.param({"running": ONE}, seen("stopped", started("running"), **HEALTHY), id="registered already"),
        pytest.param(
            {"note": ONE, "register": GROUP, "ports": []},
            seen("stopped", "running"),
            id="the registration waits for no note",
        ),
        pytest.param({"note": ONE}, seen("stopped", instance(ONE, "pending", launched=1)), id="it does not run yet"),
        pytest.param(
            {"running": TWO, "register": GROUP, "ports": []},
            seen("stopped", "running", TWO_STARTED),
            id="the one that is noted as started is followed",
        ),
        pytest.param(
            {"running": TWO},
            seen("stopped", started("running"), TWO_STARTED, targets=(Target(TWO, 80, "initial"),)),
            id="the one that is registered is followed",
        ),
        pytest.param(
            {"running": TWO, "deregister": [[ONE, 80]]},
            seen("stopped", LEFT, TWO_STARTED, targets=(Target(ONE, 80, "unhealthy"), Target(TWO, 80, "initial"))),
            id="registered already: the one that was left leaves all the same",
        ),
        pytest.param(
            {"running": TWO},
            seen("stopped", LEFT, TWO_STARTED, targets=(Target(ONE, 80, "draining"), Target(TWO, 80, "initial"))),
            id="the one that was left drains",
        ),
        pytest.param(
            {"serving": ONE},
            seen("stopped", LEFT, TWO_STARTED, **OK, targets=(Target(ONE, 80, "healthy"), Target(TWO, 80, "initial"))),
            id="the one that was left serves after all",
        ),
        pytest.param(
            None,
            seen("stopped", LEFT, TWO_STARTED, targets=(Target(ONE, 80, "healthy"),), unread=NO_CHECKS),
            id="the one that was left is healthy, and nothing is known against it: no other is registered",
        ),
        pytest.param(
            {"running": TWO, "deregister": [[ONE, 80]]},
            seen(
                "stopped",
                LEFT,
                TWO_STARTED,
                **STARTING,
                targets=(Target(ONE, 80, "healthy"), Target(TWO, 80, "initial")),
            ),
            id="the one that was left is healthy, and its checks fail",
        ),
        pytest.param(None, seen("stopped", started("running", **RAN), **OK), id="taken out by somebody: left out"),
        pytest.param(
            None,
            seen("stopped", started("running", **RAN), **OK, targets=(Target(ONE, 80, "initial"),)),
            id="checks ok, target initial",
        ),
        pytest.param(
            None,
            seen("stopped", started("running", **RAN), **OK, targets=(Target(ONE, 80, "unused"),)),
            id="a group that no load balancer uses tells nothing",
        ),
        pytest.param(None, hangs(Target(ONE, 80, "unused", UNUSED)), id="and nothing against it"),
        pytest.param(
            {"running": ONE, "register": GROUP, "ports": []},
            seen("stopped", started("running", 20)),
            id="its time begins with its registration",
        ),
        pytest.param(
            None,
            seen("stopped", started("running", 20, running=written(14)), targets=(Target(ONE, 80, "unhealthy"),)),
            id="a minute is left",
        ),
        pytest.param(
            start(TWO, leave=[ONE]),
            seen("stopped", started("running", 20), targets=(Target(ONE, 80, "unhealthy"),)),
            id="registered by somebody: its time began with its start",
        ),
        pytest.param(
            start(TWO, leave=[ONE]),
            replace(hangs(Target(ONE, 80, "unused", UNUSED)), **STARTING),
            id="but its checks do",
        ),
        pytest.param(
            start(TWO, leave=[ONE]),
            hangs(Target(ONE, 80, "unused", UNUSED), Target("i-7", 80, "healthy")),
            id="a group in use, and the standby gets nothing",
        ),
        pytest.param(
            start(TWO, leave=[ONE]),
            hangs(
                Target(ONE, 80, "unused", UNUSED, description="Target is in an Availability Zone that is not enabled")
            ),
            id="a zone that is not enabled",
        ),
        pytest.param(
            None, seen("stopped", started("running", **RAN), **STARTING, **HEALTHY), id="healthy, checks not ok"
        ),
        pytest.param({"serving": ONE}, seen("stopped", started("running", **RAN), **OK, **HEALTHY), id="both"),
        pytest.param(None, seen("stopped", started("running", 1), unread=NO_HEALTH), id="the ports are not known yet"),
        pytest.param(
            {"running": ONE, "register": GROUP, "ports": []},
            seen("stopped", started("running", 2), unread=NO_HEALTH),
            id="the ports stay unknown",
        ),
        pytest.param(
            None,
            seen("stopped", started("running", 9), instance(TWO, "running"), unread=NO_HEALTH),
            id="two are up, and nobody knows which one is registered",
        ),
        pytest.param(
            {"running": ONE, "register": GROUP, "ports": [8080], "deregister": [[ONE, 80]]},
            seen("stopped", NO_PORT, **OK, targets=(Target(ACTIVE, 8080, "unused"), Target(ONE, 80, "unhealthy"))),
            id="it entered on a port that is not the active's",
        ),
        pytest.param(
            {"serving": ONE},
            seen("stopped", NO_PORT, **OK, targets=(Target(ACTIVE, 8080, "unused"), Target(ONE, 80, "healthy"))),
            id="and serves there",
        ),
        pytest.param(
            None, replace(hangs(Target(ONE, 80, "healthy")), statuses=(), unread=NO_CHECKS), id="no checks: not left"
        ),
        pytest.param(
            start(TWO, leave=[ONE]),
            replace(hangs(Target(ONE, 80, "unhealthy")), statuses=(), unread=NO_CHECKS),
            id="no checks, but it is not healthy",
        ),
        pytest.param(None, replace(hangs(), unread=NO_HEALTH), id="no health: not left"),
        pytest.param(
            start(TWO, leave=[ONE]), replace(hangs(), **STARTING, unread=NO_HEALTH), id="no health, but its checks fail"
        ),
        pytest.param(None, seen("missing", "stopped", unread=NO_HEALTH), id="its target may remember the active"),
    ],
)
def test_with_a_target_group(change: dict[str, Any] | None, world: Observed) -> None:
    assert plain(decide(REGISTERED, world).change) == change


NAMES_ACTIVE = replace(CONFIG, standby_instance_ids=(ACTIVE, ONE))
NAMES_TWICE = replace(CONFIG, standby_instance_ids=(ONE, TWO, ONE))
IN_VAIN = {"target_type": "ip", "gone": "no alarm", "unknown_types": ("m99.huge",)}


@pytest.mark.parametrize(
    ("change", "config", "world"),
    [
        (start(ONE, TWO), NAMES_ACTIVE, seen("stopped", "stopped")),
        (start(ONE, TWO), NAMES_TWICE, seen("stopped", "stopped")),
        ({"close": [ONE]}, REGISTERED, seen("running", started("running"), **ACTIVE_OK, **IN_VAIN)),
    ],
)
def test_a_wrong_parameter_keeps_nothing_back(change: dict[str, Any], config: Config, world: Observed) -> None:
    assert plain(decide(config, world).change) == change


@pytest.mark.parametrize(
    ("words", "config", "world"),
    [
        pytest.param("StandbyInstanceIds names i-0000000a", NAMES_ACTIVE, seen("running", "stopped"), id="active"),
        pytest.param("i-00000001 twice", NAMES_TWICE, seen("running", "stopped"), id="twice"),
        pytest.param("itself; expected others", NAMES_ACTIVE, replace(seen("stopped", ""), standbys=()), id="no other"),
        pytest.param("m99.huge", CONFIG, seen("running", "stopped", unknown_types=("m99.huge",)), id="unknown type"),
        pytest.param("type ip", REGISTERED, seen("running", "stopped", target_type="ip"), id="group of addresses"),
        pytest.param("ActiveInstanceId names i-0000000a", CONFIG, seen("missing", "stopped"), id="unknown active"),
        pytest.param("i-00000001 (missing)", CONFIG, seen("running", "missing"), id="unknown standby"),
        pytest.param("i-00000002 (terminated)", CONFIG, seen("running", "stopped", "terminated"), id="lost standby"),
        pytest.param(
            "more than one standby is up",
            CONFIG,
            seen("stopped", started("running", **RAN), "running"),
            id="two are up",
        ),
        pytest.param(
            "more than one standby is up",
            REGISTERED,
            seen("stopped", started("running", serving=written(1)), "running", targets=(Target(TWO, 80, "healthy"),)),
            id="a second one is not registered",
        ),
        pytest.param("no standby is left", CONFIG, seen("stopped", "missing", "terminated"), id="none left"),
        pytest.param(
            "stopped by a person", CONFIG, seen("stopped", started("stopped", reason=BY_A_PERSON)), id="undone"
        ),
        pytest.param(
            "every standby has failed",
            CONFIG,
            seen("stopped", instance(ONE, "stopped", failed="broken disk"), "terminated"),
            id="left out by a person",
        ),
        pytest.param(
            "a standby starts when it is seen stopped",
            replace(CONFIG, fence_active="strict"),
            replace(seen("stopping", "stopped"), active=replace(instance(ACTIVE, "stopping"), stopped=ago(3))),
            id="the active hangs",
        ),
        pytest.param(
            "a standby takes its place when it is seen stopped",
            replace(CONFIG, fence_active="strict"),
            replace(
                seen("stopping", started("running", 20), **STARTING),
                active=replace(instance(ACTIVE, "stopping"), stopped=ago(20)),
            ),
            id="the active hangs, and so does the standby: no other is started",
        ),
    ],
)
def test_what_is_refused_says_why(words: str, config: Config, world: Observed) -> None:
    decided = decide(config, world)
    assert decided.refused
    assert decided.change is None
    assert words in decided.reason.en


@pytest.mark.parametrize(
    ("urgent", "config", "world"),
    [
        (True, CONFIG, seen("stopped", "stopped")),
        (True, CONFIG, seen("missing", "stopped", **IN_ALARM)),
        (False, CONFIG, seen("missing", "stopped")),
        (True, CONFIG, seen("stopped", instance(ONE, "stopped", failed="broken disk"), "terminated")),
        (False, CONFIG, seen("stopped", failed(ONE, 0.2), failed(TWO, 0.1))),
        (True, REGISTERED, seen("stopped", started("running"))),
        (False, REGISTERED, seen("stopped", started("running"), **HEALTHY)),
        (
            False,
            replace(CONFIG, fence_active="strict"),
            replace(seen("stopping", "stopped"), active=replace(instance(ACTIVE, "stopping"), stopped=ago(2))),
        ),
    ],
    ids=[
        "a start",
        "an alarm calls",
        "unknown",
        "all are left out",
        "all were refused: told",
        "a registration",
        "a note",
        "a stop takes its time",
    ],
)
def test_what_an_outage_needs_and_may_not_have_is_urgent(urgent: bool, config: Config, world: Observed) -> None:
    assert decide(config, world).urgent == urgent


RESTARTED = {"active": instance(ACTIVE, "running", launched=5)}
IMPAIRED = {"statuses": (Status(ACTIVE, "ok", "impaired"),)}


@pytest.mark.parametrize(
    ("change", "world"),
    [
        (None, replace(seen("running", "stopped", **IN_ALARM), active=instance(ACTIVE, "running", launched=1))),
        (start(ONE, TWO), replace(seen("running", "stopped", alarms=(alarm(9),), **IMPAIRED), **RESTARTED)),
        (None, replace(seen("running", "stopped", alarms=(alarm(9),), **ACTIVE_OK), **RESTARTED)),
        (None, replace(seen("running", "stopped", alarms=(alarm(9),)), **RESTARTED)),
        (
            None,
            replace(
                seen("running", "stopped", alarms=(alarm(9),), **IMPAIRED),
                active=instance(ACTIVE, "running", launched=4.9),
            ),
        ),
        (
            start(ONE, TWO),
            replace(
                seen("running", "stopped", alarms=(alarm(9),), **ACTIVE_OK, targets=(Target(ACTIVE, 80, "unhealthy"),)),
                **RESTARTED,
            ),
        ),
        (
            None,
            replace(
                seen("running", "stopped", alarms=(alarm(9),), **ACTIVE_OK, targets=(Target(ACTIVE, 80, "initial"),)),
                **RESTARTED,
            ),
        ),
    ],
    ids=[
        "too young",
        "its checks fail",
        "they pass",
        "not known",
        "not its time yet",
        "its health fails",
        "no health yet",
    ],
)
def test_an_alarm_from_before_the_active_s_start(change: dict[str, Any] | None, world: Observed) -> None:
    assert plain(decide(CONFIG, world).change) == change
    if change:
        assert outage.began(world) >= ago(5), "notes of what began before the active's start would be over"


@pytest.mark.parametrize(
    ("shown", "state"),
    [
        (instance(ONE, "stopped", 600, BY_A_PERSON), "pending"),
        (instance(ONE, "stopped", 600), "pending"),
        (instance(ONE, "stopping", 600), "pending"),
        (instance(ONE, "stopped", 2), "pending"),
        (replace(instance(ONE, "stopped", 2, BY_A_PERSON), stopped=ago(500)), "pending"),
        (replace(instance(ONE, "stopped", 600, BY_A_PERSON), stopped=ago(1)), "stopped"),
        (instance(ONE, "stopped", 2, FELL), "stopped"),
        (instance(ONE, "stopped", 2, BY_A_PERSON), "stopped"),
        (instance(ONE, "running", 600), "running"),
        (instance(ONE, "terminated", 600), "terminated"),
    ],
)
def test_a_start_of_two_minutes_ago_is_newer_than_what_ec2_shows_of_before(shown: Instance, state: str) -> None:
    noted = {"kirikae:outage": written(2), "kirikae:started": written(2)}
    active = instance(ACTIVE, "stopped")
    assert notes.believed(replace(shown, tags=noted), active, NOW).state == state
    assert notes.believed(replace(shown, tags=noted), active, NOW + timedelta(minutes=4)).state == shown.state
    assert notes.believed(shown, active, NOW).state == shown.state
    over = replace(active, launched=ago(1))
    assert notes.believed(replace(shown, tags=noted), over, NOW).state == shown.state, "of an earlier outage"


def test_what_a_person_may_force() -> None:
    undone = seen("running", started("stopped", reason=BY_A_PERSON), **IN_ALARM)
    assert plain(decide(CONFIG, undone).forced) == start(ONE, TWO)
    assert plain(decide(FENCED, undone).forced) == start(ONE, TWO, fence=ACTIVE)
    fell = started("stopped", reason=FELL, failed=f"{written(4)} fell-back Why")
    left_out = instance(TWO, "stopped", failed="broken disk")
    assert plain(decide(CONFIG, seen("stopped", fell, left_out)).forced) == start(ONE)
    assert decide(CONFIG, seen("stopped", instance(ONE, "stopped", failed="broken disk"), left_out)).forced is None


@pytest.mark.parametrize(
    ("change", "record"),
    [
        (Start((ONE, TWO)), {"start": [ONE, TWO], "fallen": []}),
        (Start((), (ONE,)), {"start": [], "fallen": [ONE]}),
        (
            Start((TWO,), (ONE,), ACTIVE, retry=True),
            {"fence": ACTIVE, "start": [TWO], "fallen": [ONE], "retry": True},
        ),
        (Note("note", ONE), {"note": ONE}),
        (Note("running", ONE), {"running": ONE}),
        (Note("running", ONE, GROUP, (80, 81)), {"running": ONE, "register": GROUP, "ports": [80, 81]}),
        (Note("running", ONE, GROUP), {"running": ONE, "register": GROUP, "ports": []}),
        (Note("serving", ONE), {"serving": ONE}),
        (Close((ONE, TWO)), {"close": [ONE, TWO]}),
        (Started(fenced=ACTIVE), {"fenced": ACTIVE}),
        (Started(None, ONE, "t3.micro"), {"started": ONE, "type": "t3.micro"}),
        (Started(ACTIVE, ONE, "t3.micro"), {"fenced": ACTIVE, "started": ONE, "type": "t3.micro"}),
    ],
)
def test_a_change_is_logged_and_returned_as_json(change: Change, record: dict[str, Any]) -> None:
    assert json.loads(json.dumps(plain(change))) == record


def mailed(config: Config, world: Observed, done: Done | Step, language: str) -> tuple[str, str]:
    """Return the subject, without the service, and the text of the mail about what was made at NOW."""
    decided = decide(config, world)
    change = decided.change or decided.forced
    assert change
    written_mail = mail(config, world, Result(change, decided.reason, done, Times(None, ago(0.5), NOW)))
    assert written_mail
    return written_mail.subject.split(": ", 1)[1], plain_text(written_mail.sections, language)


def test_the_mail_of_a_start_says_what_was_stopped_started_and_passed_over() -> None:
    config = replace(FENCED, standby_instance_ids=(ONE, TWO, "i-00000003", "i-00000004"))
    world = seen("running", failed(ONE, 9, began=10), **IN_ALARM)
    gone = instance("i-00000003", "terminated"), instance("i-00000004", "stopping")
    world = replace(world, standbys=(*world.standbys, *gone))
    up = replace(instance(TWO, "pending", 0), type="t3.small")
    done = Done(
        change=Started(ACTIVE, TWO, "t3.small"),
        reason=Words("the start was accepted"),
        started=up,
        own_type="t3.micro",
    )
    subject, text = mailed(config, world, done, "en")
    assert subject == f"standby {TWO} started"
    assert (
        f"""■ What happened
The active {ACTIVE} was stopped first (FenceActive).
The start of the standby {TWO} (t3.small) was accepted; it is pending.
Its type was changed from t3.micro to t3.small, for want of capacity; see below.
{ONE} failed earlier: {written(9)} refused t3.micro Why
i-00000003 is terminated.
i-00000004 is stopping.

■ Why
status is in ALARM since {written(2)}

■ Since when
outage since: 2026-11-22 02:50:00 UTC
noticed: 2026-11-22 02:59:30 UTC
start accepted: 2026-11-22 03:00:00 UTC

"""
        in text
    )
    assert text.endswith(
        f"aws ec2 stop-instances --region ap-northeast-1 --instance-ids {TWO}\n"
        f"aws ec2 start-instances --region ap-northeast-1 --instance-ids {ACTIVE}\n"
    )
    _, text = mailed(config, world, replace(done, failed={ONE: "t3.micro Why"}), "en")
    assert f"{ONE} failed: t3.micro Why\ni-00000003 is terminated." in text, "this time, so not earlier, too"
    _, text = mailed(config, world, done, "ja")
    assert (
        f"{ONE} は以前に失敗しています: 2026-11-22 11:51:00 JST refused t3.micro Why\ni-00000003 は terminated です。"
        in text
    )
    assert "障害発生: 2026-11-22 11:50:00 JST\n検知: 2026-11-22 11:59:30 JST\n起動受付: 2026-11-22 12:00:00 JST" in text


@pytest.mark.parametrize(
    ("subject", "words", "done"),
    [
        pytest.param(
            "no standby started",
            [f"No standby was started.\n{ONE} failed: t3.micro Why\n", "refused is tried again after 1, 2, 4"],
            Done(change=None, reason=Words("none"), failed={ONE: "t3.micro Why"}),
            id="failed",
        ),
        pytest.param(
            f"active {ACTIVE} not fenced, no standby started",
            [f"could not be stopped, so no standby is started: {ACTIVE}: Why\n", "Stop it by hand"],
            Done(change=None, reason=Words("none"), unfenced=f"{ACTIVE}: Why"),
            id="not fenced",
        ),
        pytest.param(
            f"active {ACTIVE} stopped, another run starts the standby",
            [
                f"The active {ACTIVE} was stopped first",
                f"start-instances --region ap-northeast-1 --instance-ids {ACTIVE}",
            ],
            Done(change=Started(ACTIVE), reason=Words("none"), news=False),
            id="another run starts",
        ),
    ],
)
def test_the_mail_of_a_run_that_starts_nothing(subject: str, words: list[str], done: Done) -> None:
    said, text = mailed(FENCED, seen("running", "stopped", **IN_ALARM), done, "en")
    assert said == subject
    assert all(word in text for word in words), text


def test_what_is_not_new_is_not_mailed() -> None:
    world = seen("stopped", "stopped")
    reason, times = Words("why"), Times(None, NOW, NOW)
    again = Done(change=None, reason=reason, failed={ONE: "Why"}, news=False)
    other = Step(change=None, reason=reason)
    runs = Step(change=Note("running", ONE), reason=reason, standby=started("running"))
    for change, done in ((Start((ONE,)), again), (Note("serving", ONE), other), (Note("running", ONE), runs)):
        assert mail(CONFIG, world, Result(change, reason, done, times)) is None


def test_the_mails_of_a_standby_that_is_up() -> None:
    found = started("running", 6, **RAN)
    world = seen("stopped", found, **OK, targets=(Target(ONE, 8080, "healthy"),))
    step = Step(change=Note("serving", ONE), reason=Words("it passes", "合格"), standby=found)
    subject, text = mailed(REGISTERED, world, step, "en")
    assert subject == f"standby {ONE} is serving"
    assert (
        """The standby serves: it passes.

■ Since when
outage since: 2026-11-22 02:54:00 UTC
start accepted: 2026-11-22 02:54:00 UTC
running: 2026-11-22 02:56:00 UTC
serving: 2026-11-22 03:00:00 UTC

"""
        in text
    )
    leaves = f"--target-group-arn {GROUP} --targets Id={ONE},Port=8080\naws ec2 stop-instances"
    assert f"aws elbv2 deregister-targets --region ap-northeast-1 {leaves}" in text
    assert "稼働: 2026-11-22 12:00:00 JST" in mailed(REGISTERED, world, step, "ja")[1]
    subject, text = mailed(REGISTERED, world, replace(step, change=Note("note", ONE)), "en")
    assert subject == f"standby {ONE} is running already"
    assert "\nserving: " not in text
    back = Step(change=Close((ONE,)), reason=Words("back"), standby=found)
    subject, text = mailed(CONFIG, seen("running", found, **ACTIVE_OK), back, "en")
    assert subject == "active is back"
    assert f"Still running: standby {ONE}." in text
    assert "■ Since when" not in text
    subject, text = mailed(CONFIG, seen("running", found, **ACTIVE_OK), replace(back, standby=None), "en")
    assert "no standby runs" in text
    assert "stop-instances" not in text


ENVIRONMENT = {
    "SERVICE_NAME": "batch",
    "TOPIC_ARN": CONFIG.topic_arn,
    "HOLD_PARAMETER": "/batch/hold",
    "TOLD_PARAMETER": "/batch/told/it",
    "ACTIVE_INSTANCE_ID": ACTIVE,
    "STANDBY_INSTANCE_IDS": f"{ONE}, {TWO}",
    "FUNCTIONS_ARN": CONFIG.functions_arn,
    "AWS_LAMBDA_FUNCTION_NAME": "batch-standby",
}


def test_the_environment_is_read() -> None:
    assert env.load(Config, ENVIRONMENT) == CONFIG


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STANDBY_INSTANCE_IDS", ""),
        ("STANDBY_INSTANCE_IDS", "i-1 i-2"),
        ("ACTIVE_INSTANCE_ID", "server-1"),
        ("STANDBY_INSTANCE_TYPES", "large"),
        ("STANDBY_TARGET_GROUP_ARN", "batch"),
        ("FENCE_ACTIVE", "perhaps"),
        ("STANDBY_GIVE_UP_MINUTES", "soon"),
    ],
)
def test_a_wrong_parameter_is_named(name: str, value: str) -> None:
    with pytest.raises(InputError, match=name):
        env.load(Config, ENVIRONMENT | {name: value})


# Stories.


def test_the_whole_way_from_a_stop_to_serving_and_back(batch: Callable[..., Batch]) -> None:
    world = batch(StandbyTargetGroupArn="its own")
    began = world.account.clock.now()
    world.dies()
    assert world.states == ["pending", "stopped"]
    assert world.subjects == ["standby ONE started"]
    world.minutes(0.5)
    assert world.service.health()[world.one] == "initial"
    [registered] = [c for c in world.account.calls if c.operation == "RegisterTargets" and "ColdStandby" in c.principal]
    assert registered.params["Targets"] == [{"Id": world.one, "Port": estate_standby.PORT}]
    world.minutes(1)
    assert world.subjects == ["standby ONE started"], "status checks take two minutes"
    world.minutes(2)
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]
    told = world.mails[-1].body
    times = [f"{began + timedelta(seconds=s):%Y-%m-%d %H:%M:%S} UTC" for s in (0, 0, 15)]
    assert f"outage since: {times[0]}\nstart accepted: {times[1]}\nrunning: {times[2]}\nserving: " in told
    assert f"Id={world.one},Port={estate_standby.PORT}" in told
    world.service.start()
    world.minutes(10)
    assert world.subjects[2:] == ["active is back"]
    leaves = f"--target-group-arn {world.service.group_arn} --targets Id={world.one},Port={estate_standby.PORT}"
    assert leaves in world.mails[-1].body
    assert world.states == ["running", "stopped"], "kirikae never stops a standby"
    assert world.service.tags(world.one) == {}
    world.service.stop(world.one)
    world.minutes(5)
    world.dies()
    assert world.subjects[3:] == ["standby ONE started"]


def test_a_failed_status_check_starts_it_and_the_active_is_left_alone(batch: Callable[..., Batch]) -> None:
    world = batch()
    world.service.impair()
    world.minutes(1)
    assert world.states == ["stopped", "stopped"], "one failed minute is not yet an outage"
    world.minutes(2)
    assert world.states == ["running", "stopped"]
    assert world.service.state(world.active) == "running"
    assert "is in ALARM since" in world.mails[0].body


def test_healthy_again_before_anything_was_started(batch: Callable[..., Batch]) -> None:
    world = batch()
    world.hold(10)
    world.service.impair()
    world.minutes(5)
    assert "held" in world.outcomes()
    world.service.repair()
    world.minutes(15)
    assert world.states == ["stopped", "stopped"]
    assert world.subjects == ["NOT answered (held): a change is due"]


def test_stopped_on_purpose_under_a_hold_until_the_hold_ends(batch: Callable[..., Batch]) -> None:
    world = batch()
    world.hold(10)
    world.dies()
    world.minutes(9)
    assert world.states == ["stopped", "stopped"]
    assert set(world.outcomes()[-9:]) == {"held"}
    assert not world.calls(START, "CreateTags")
    world.minutes(2)
    assert world.states[0] in ("pending", "running")


@pytest.mark.parametrize("kind", ["own", "composite", "alias"])
def test_a_user_s_own_alarm_starts_it(batch: Callable[..., Batch], kind: str) -> None:
    world = batch()
    action = world.arn if kind != "alias" else f"{world.arn}:live"
    world.alarm("heartbeat", [action])
    world.alarm("other", ["arn:aws:sns:ap-northeast-1:123456789012:somewhere"])
    world.alarm("longer", [f"{world.arn}-2"])
    for name in ("other", "longer"):
        world.sets(name, "ALARM")
    world.minutes(2)
    assert world.states == ["stopped", "stopped"], "only alarms that call this function count"
    world.sets("heartbeat", "ALARM")
    world.minutes(1 if kind == "alias" else 0)  # the tick: the sandbox has no aliases to invoke
    assert world.states[0] in ("pending", "running")


@pytest.mark.parametrize("late", [2.0, 5.0, 30.0])
def test_the_run_that_the_alarm_called_starts_it_though_the_alarm_shows_late(
    batch: Callable[..., Batch], late: float
) -> None:
    world = batch(FenceActive="true")
    world.alarm("heartbeat", [world.arn])
    world.minutes(1)
    world.account.lag.exactly("cloudwatch", late)
    now = world.account.clock.now().isoformat()
    by_hand = {"alarmData": {"alarmName": "heartbeat", "state": {"value": "ALARM", "timestamp": now}}}
    assert world.invoke(by_hand)["outcome"] == "unchanged", "an event says nothing by itself"
    world.sets("heartbeat", "ALARM")
    assert world.calls(STOP, START)[:2] == ([(STOP, world.active), (START, world.one)] if late < 6 else [])
    world.minutes(1.5)
    assert world.calls(STOP, START)[:2] == [(STOP, world.active), (START, world.one)], "else the tick does"
    assert world.subjects[:1] == ["standby ONE started"]


def test_an_alarm_whose_actions_are_disabled_does_not_count(batch: Callable[..., Batch]) -> None:
    world = batch()
    world.alarm("heartbeat", [world.arn])
    world.account.client("cloudwatch").disable_alarm_actions(AlarmNames=["heartbeat"])
    world.sets("heartbeat", "ALARM")
    world.minutes(2)
    assert world.states == ["stopped", "stopped"]


def test_every_event_was_lost_but_the_tick(batch: Callable[..., Batch]) -> None:
    world = batch(StandbyTargetGroupArn="its own")
    world.loses_events()
    world.dies()
    assert world.states == ["stopped", "stopped"]
    world.minutes(6)
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]


# Fencing.


def test_the_active_is_stopped_before_the_standby_starts(batch: Callable[..., Batch]) -> None:
    world = batch(FenceActive="true")
    world.alarm("heartbeat", [world.arn])  # without an EC2 action: the function makes sure by itself
    world.sets("heartbeat", "ALARM")
    first, then, *again = world.calls(STOP, START)
    assert (first, then) == ((STOP, world.active), (START, world.one))
    assert {first, then} >= set(again)  # where its event comes before EC2 shows both: neither does anything twice
    assert world.subjects == ["standby ONE started"]
    assert f"The active {world.active} was stopped first" in world.mails[0].body
    undo = [line.split() for line in world.mails[0].body.splitlines() if line.startswith("aws ec2 ")]
    assert [(words[2], words[-1]) for words in undo] == [
        ("stop-instances", world.one),
        ("start-instances", world.active),
    ]


def test_the_alarm_itself_stops_the_active_too(batch: Callable[..., Batch]) -> None:
    world = batch(FenceActive="true", ActiveCpuThreshold="50")
    world.account.client("cloudwatch").put_metric_data(
        Namespace="AWS/EC2",
        MetricData=[
            {"MetricName": "CPUUtilization", "Dimensions": [{"Name": "InstanceId", "Value": world.active}], "Value": 97}
        ],
    )
    world.minutes(6)
    assert world.service.state(world.active) == "stopped"
    assert world.subjects[:1] == ["standby ONE started"]
    assert world.states == ["running", "stopped"]


@pytest.mark.parametrize("fences", ["true", "strict"])
def test_a_fence_is_told_with_its_undo_though_the_run_dies(batch: Callable[..., Batch], fences: str) -> None:
    world = batch(FenceActive=fences)
    world.alarm("heartbeat", [world.arn])
    world.account.faults.add("ec2", STOP, None, kills=True, after=True, times=1, role="ColdStandby")
    world.sets("heartbeat", "ALARM")
    world.minutes(10)
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]
    assert f"The active {world.active} was stopped first, at " in world.mails[0].body
    assert f"--instance-ids {world.active}" in world.mails[0].body


@pytest.mark.parametrize(
    ("operation", "subject"),
    [(START, "standby ONE is running already"), ("CreateTags", "standby ONE started, found by the periodic check")],
)
def test_a_fence_and_a_start_are_told_together_though_the_run_dies(
    batch: Callable[..., Batch], operation: str, subject: str
) -> None:
    world = batch(FenceActive="true")
    world.alarm("heartbeat", [world.arn])
    dies = {"kills": True, "after": True, "times": 1, "role": "ColdStandby"}
    world.account.faults.add("ec2", operation, None, when=lambda params: not params.get("DryRun"), **dies)
    world.account.ec2.checks[world.one] = {"InstanceStatus": "impaired"}
    world.sets("heartbeat", "ALARM")
    world.minutes(4)
    assert world.subjects == [subject]
    assert f"The active {world.active} was stopped first, at " in world.mails[0].body
    assert f"start-instances --region ap-northeast-1 --instance-ids {world.active}" in world.mails[0].body


def test_an_active_whose_application_fails_its_check_is_replaced(batch: Callable[..., Batch]) -> None:
    world = batch(FenceActive="true")
    world.account.ec2.checks[world.active] = {"ApplicationStatus": "impaired"}
    world.minutes(10)
    assert world.states == ["running", "stopped"]
    assert world.account.ec2.state(world.active) == "stopped"
    assert "batch-active-application" in world.mails[0].body


def test_a_fence_whose_answer_is_lost_is_told_as_our_own(batch: Callable[..., Batch]) -> None:
    world = batch(FenceActive="true")
    world.alarm("heartbeat", [world.arn])
    world.account.faults.add("ec2", STOP, None, after=True, times=1, role="ColdStandby")
    world.sets("heartbeat", "ALARM")
    world.minutes(6)
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]
    assert f"The active {world.active} was stopped first (FenceActive)." in world.mails[0].body
    assert f"--instance-ids {world.active}" in world.mails[0].body


def test_an_active_that_a_person_stops_without_an_alarm_was_not_fenced(batch: Callable[..., Batch]) -> None:
    world = batch(FenceActive="true")
    world.dies()
    world.minutes(5)
    assert world.subjects == ["standby ONE started", "standby ONE is serving"]
    assert not [mail for mail in world.mails if "was stopped first" in mail.body]


def test_a_fence_that_failed_or_was_for_nothing_is_told_though_the_mail_is_lost(batch: Callable[..., Batch]) -> None:
    world = batch(FenceActive="true")
    world.alarm("heartbeat", [world.arn])
    world.account.faults.add("ec2", STOP, "OperationNotPermitted", role="ColdStandby")
    world.account.faults.add("sns", "Publish", "InternalError", status=500, times=3, role="ColdStandby")
    world.sets("heartbeat", "ALARM")
    world.minutes(5)
    assert world.subjects == ["active ACTIVE not fenced, no standby started"]
    assert "OperationNotPermitted" in world.mails[0].body
    world.account.faults.clear()
    world.service.lacks(CAPACITY, world.one, world.two)
    world.account.faults.add("sns", "Publish", "InternalError", status=500, times=3, role="ColdStandby")
    world.minutes(9)
    assert world.subjects[1:] == ["no standby started"]
    assert f"The active {world.active} was stopped first, at " in world.mails[1].body
    assert f"start-instances --region ap-northeast-1 --instance-ids {world.active}" in world.mails[1].body


def test_an_active_that_cannot_be_fenced_keeps_the_standby_down_and_is_told_once(batch: Callable[..., Batch]) -> None:
    world = batch(FenceActive="true")
    world.alarm("heartbeat", [world.arn])
    message = "The instance may not be stopped. Modify its 'disableApiStop' attribute and try again."
    world.account.faults.add("ec2", STOP, "OperationNotPermitted", message=message)
    world.sets("heartbeat", "ALARM")
    world.minutes(5)
    assert world.states == ["stopped", "stopped"]
    assert world.subjects == ["active ACTIVE not fenced, no standby started"]
    assert message in world.mails[0].body
    world.account.faults.clear()
    world.minutes(1)
    assert world.service.state(world.active) == "stopping"
    assert world.subjects[1:] == ["standby ONE started"]


def test_an_active_that_is_gone_when_it_is_to_be_fenced_is_fenced(batch: Callable[..., Batch]) -> None:
    world = batch(FenceActive="true")
    world.alarm("heartbeat", [world.arn])

    def goes() -> None:
        world.service.terminate()

    world.account.before("ec2", STOP, goes)
    world.sets("heartbeat", "ALARM")
    assert world.subjects == ["standby ONE started"]


def test_the_active_is_stopped_before_a_standby_that_is_up_already_takes_its_place(batch: Callable[..., Batch]) -> None:
    world = batch(FenceActive="true", StandbyTargetGroupArn="its own")
    world.alarm("heartbeat", [world.arn])
    world.service.start(world.one)
    world.minutes(4)
    world.sets("heartbeat", "ALARM")
    world.minutes(8)
    made = [call.operation for call in world.account.calls if "ColdStandby" in call.principal]
    assert made.index(STOP) < made.index("RegisterTargets")
    assert world.subjects == [
        "active ACTIVE stopped, standby ONE is up",
        "standby ONE is running already",
        "standby ONE is serving",
    ]
    assert f"start-instances --region ap-northeast-1 --instance-ids {world.active}" in world.mails[0].body
    assert world.service.health() == {world.active: "unused", world.one: "healthy"}
    assert world.calls(START) == []


def test_the_active_is_stopped_in_the_next_outage_too_while_the_standby_of_the_last_one_runs(
    batch: Callable[..., Batch],
) -> None:
    world = batch(FenceActive="true", StandbyTargetGroupArn="its own")
    world.alarm("heartbeat", [world.arn])
    world.sets("heartbeat", "ALARM")
    world.minutes(8)
    world.service.start()
    world.sets("heartbeat", "OK")
    world.minutes(10)
    assert world.subjects[-1] == "active is back"
    world.sets("heartbeat", "ALARM")
    world.minutes(8)
    assert world.service.state(world.active) == "stopped"
    assert world.subjects[-1] == "standby ONE is serving"
    assert world.service.health()[world.one] == "healthy"


def test_a_standby_that_is_up_waits_for_an_active_that_cannot_be_fenced(batch: Callable[..., Batch]) -> None:
    world = batch(FenceActive="true", StandbyTargetGroupArn="its own")
    world.alarm("heartbeat", [world.arn])
    world.service.start(world.one)
    world.minutes(4)
    world.account.faults.add("ec2", STOP, "OperationNotPermitted", message="The instance may not be stopped.")
    world.sets("heartbeat", "ALARM")
    world.minutes(5)
    assert world.subjects == ["active ACTIVE not fenced, standby ONE waits"]
    assert f"so the standby {world.one} does not take its place" in world.mails[0].body.replace("\n", " ")
    assert world.one not in world.service.health()
    world.account.faults.clear()
    world.minutes(5)
    assert world.subjects[1:] == [
        "active ACTIVE stopped, standby ONE is up",
        "standby ONE is running already",
        "standby ONE is serving",
    ]


def test_strict_lets_a_standby_that_is_up_wait_until_the_active_is_seen_stopped(batch: Callable[..., Batch]) -> None:
    world = batch(FenceActive="strict", StandbyTargetGroupArn="its own")
    world.alarm("heartbeat", [world.arn])
    world.service.start(world.one)
    world.minutes(4)
    world.sets("heartbeat", "ALARM")
    while world.service.state(world.active) != "stopped":
        assert world.one not in world.service.health()
        world.account.advance(5)
    world.minutes(5)
    assert world.subjects == [
        "active ACTIVE stopping, standby ONE waits",
        "standby ONE is running already",
        "standby ONE is serving",
    ]


def test_a_muted_alarm_fences_nothing_for_a_standby_that_is_up_already(batch: Callable[..., Batch]) -> None:
    world = batch(FenceActive="true", StandbyTargetGroupArn="its own")
    world.alarm("heartbeat", [world.arn])
    world.service.start(world.one)
    world.minutes(4)
    world.hold(1)
    world.sets("heartbeat", "ALARM")
    world.mute("heartbeat", 10)
    world.minutes(8)
    assert world.service.state(world.active) == "running"
    assert world.one not in world.service.health()
    world.minutes(8)
    assert world.service.state(world.active) == "stopped"
    assert world.service.health()[world.one] == "healthy"


# The ladder.


def test_the_next_type_when_there_is_no_capacity_for_its_own(batch: Callable[..., Batch]) -> None:
    world = batch(StandbyInstanceTypes="t3.small,t3.medium")
    world.service.lacks(CAPACITY, "t3.micro", "t3.small")
    world.dies()
    assert world.states == ["pending", "stopped"]
    assert world.account.ec2.instance(world.one).instance_type == "t3.medium"
    assert world.calls(START, TYPE) == [(call, world.one) for call in (START, TYPE, START, TYPE, START)]
    assert "Its type was changed from t3.micro to t3.medium" in world.mails[0].body
    assert world.service.tags(world.one)["instance-type"] == "t3.micro"


@pytest.mark.parametrize(
    "code", ["InsufficientInstanceCapacity", "InsufficientHostCapacity", "VcpuLimitExceeded", "Unsupported"]
)
def test_the_next_candidate_when_no_type_can_be_had(batch: Callable[..., Batch], code: str) -> None:
    world = batch(StandbyInstanceTypes="t3.small")
    world.service.lacks(code, world.one)
    world.dies()
    assert world.states == ["stopped", "pending"]
    assert world.account.ec2.instance(world.one).instance_type == "t3.micro", "it has its own type again"
    assert world.subjects == ["standby TWO started"]
    assert f"{world.one} failed: t3.micro {code}, t3.small {code}" in world.mails[0].body


def test_when_nothing_can_be_had_it_is_told_once_and_tried_at_growing_spacing(
    batch: Callable[..., Batch],
) -> None:
    world = batch()
    world.service.lacks(CAPACITY, world.one, world.two)
    world.dies()
    for _ in range(4):
        world.account.functions.retire(world.stack.resources[FUNCTION])  # nothing is remembered in a process
        world.minutes(10)
    tried = [c.time for c in world.account.calls if c.operation == START and c.params["InstanceIds"] == [world.one]]
    gaps = [round((later - earlier) / timedelta(minutes=1)) for earlier, later in pairwise(tried)]
    assert gaps == sorted(gaps)
    assert gaps[0] in (1, 2)
    assert 4 <= len(gaps) <= 6, gaps
    assert world.subjects == ["no standby started"]
    assert "InsufficientInstanceCapacity" in world.mails[0].body
    assert len(world.alarm_mails("StandbyNotServing")) == 1
    world.account.faults.clear()
    world.minutes(32)
    assert world.subjects[1:2] == ["standby ONE started"]


def test_an_unforeseen_error_raises_and_the_next_run_goes_on(batch: Callable[..., Batch]) -> None:
    world = batch()
    world.account.faults.add("ec2", START, "RequestLimitExceeded", times=3, status=503)
    world.dies()
    assert world.states == ["stopped", "stopped"]
    world.minutes(1)
    assert world.subjects == ["standby ONE started"]


def test_candidates_that_are_gone_are_passed_over_and_named(batch: Callable[..., Batch]) -> None:
    world = batch()
    world.service.terminate(world.one)
    world.minutes(2)
    assert len(world.alarm_mails("Refused")) == 1, "told while nothing is the matter"
    world.dies()
    assert world.subjects == ["standby TWO started"]
    assert f"{world.one} is terminated" in world.mails[0].body


def test_a_candidate_that_is_stopping_is_started_when_it_has_stopped(batch: Callable[..., Batch]) -> None:
    world = batch()
    world.service.start(world.one)
    world.minutes(1)
    world.service.stop(world.one)
    world.dies()
    assert world.states == ["stopping", "stopped"]
    assert world.subjects == []
    world.minutes(0.5)
    assert world.states == ["pending", "stopped"]


def test_one_that_runs_already_is_not_started(batch: Callable[..., Batch]) -> None:
    world = batch()
    world.service.start(world.two)
    world.minutes(4)
    world.dies()
    world.minutes(2)
    assert world.states == ["stopped", "running"]
    assert world.subjects == ["standby TWO is running already", "standby TWO is serving"]
    assert not world.calls(START)


# Starts that do not last.


def test_a_start_that_falls_back_is_told_with_its_reason_and_the_next_follows(
    batch: Callable[..., Batch],
) -> None:
    world = batch()
    world.account.ec2.falls_back[world.one] = "Client.InvalidKMSKey.InvalidState: The KMS key has no grant"
    world.dies()
    world.minutes(5)
    assert world.states == ["stopped", "running"]
    assert world.subjects == ["standby ONE started", "standby TWO started", "standby TWO is serving"]
    assert "fell back: Client.InvalidKMSKey.InvalidState: The KMS key has no grant" in world.mails[1].body


def test_nothing_is_started_in_a_loop_when_every_start_falls_back(batch: Callable[..., Batch]) -> None:
    world = batch()
    world.account.ec2.falls_back = dict.fromkeys((world.one, world.two), "Server.InternalError: Internal error")
    world.dies()
    world.minutes(20)
    assert world.calls(START) == [(START, world.one), (START, world.two)]
    assert world.subjects == ["standby ONE started", "standby TWO started", "no standby started"]
    world.account.ec2.falls_back.clear()
    world.invoke({"action": "reconcile", "force": True, "reason": "the key has its grant again"})
    assert world.subjects[3:] == ["standby ONE started"]
    world.minutes(4)
    assert world.subjects[4:] == ["standby ONE is serving"]


def test_a_standby_that_a_person_stops_stays_stopped(batch: Callable[..., Batch]) -> None:
    world = batch()
    world.dies()
    world.minutes(4)
    world.service.stop(world.one)
    world.minutes(10)
    assert world.states == ["stopped", "stopped"]
    assert len(world.alarm_mails("Refused")) == 1
    world.account.client("ec2").create_tags(
        Resources=[world.one], Tags=[{"Key": "kirikae:failed", "Value": "bad disk"}]
    )
    world.minutes(1)
    assert world.states == ["stopped", "pending"], "left out by a person, so the next one"


# Overlapping runs, and answers that are lost.


@pytest.mark.parametrize(
    ("operation", "times"), [("DescribeAlarms", 0), (START, 0), (START, 1), ("CreateTags", 1), (START, 2)]
)
def test_a_run_inside_another_run_starts_no_second_standby(
    batch: Callable[..., Batch], operation: str, times: int
) -> None:
    world = batch()
    world.loses_events()
    world.service.stop()
    world.settle()
    if times:
        world.service.lacks(CAPACITY, world.one, times=times)
    service = "cloudwatch" if operation == "DescribeAlarms" else "ec2"
    world.account.before(service, operation, world.invoke)
    world.invoke()
    assert sorted(world.states) in (["pending", "stopped"], ["stopped", "stopped"])
    world.minutes(5)
    assert sorted(world.states) == ["running", "stopped"]
    assert [subject for subject in world.subjects if subject.endswith("started")] == [
        "standby ONE started" if world.states[0] == "running" else "standby TWO started"
    ]


def test_five_at_once_start_one_and_send_one_mail(batch: Callable[..., Batch]) -> None:
    world = batch()
    world.loses_events()
    world.service.stop()
    world.settle()
    world.service.lacks(CAPACITY, world.one, times=2)
    world.account.functions.concurrently(world.stack.resources[FUNCTION], [{"action": "reconcile"}] * 5)
    world.minutes(5)
    assert sorted(world.states) == ["running", "stopped"]
    assert len([subject for subject in world.subjects if subject.endswith("started")]) == 1
    assert len([subject for subject in world.subjects if subject.endswith("serving")]) == 1


def test_a_start_whose_answer_was_lost_is_told_all_the_same(batch: Callable[..., Batch]) -> None:
    world = batch()
    world.account.faults.add("ec2", START, None, after=True, times=1)
    world.dies()
    world.minutes(5)
    assert world.states == ["running", "stopped"]
    assert world.subjects == ["standby ONE is running already", "standby ONE is serving"]


def test_a_mail_that_cannot_be_sent_undoes_nothing(batch: Callable[..., Batch]) -> None:
    world = batch()
    world.account.faults.add("sns", "Publish", "AuthorizationError", status=403, times=1)
    world.dies()
    assert world.states == ["pending", "stopped"]
    world.minutes(2)
    assert len(world.alarm_mails("MailFailed")) == 1


def test_the_mails_are_japanese_where_that_is_asked_for(batch: Callable[..., Batch]) -> None:
    world = batch(NotificationLanguage="ja")
    world.service.lacks(CAPACITY, world.one)
    world.dies()
    world.minutes(4)
    start, serving = (mail.body for mail in world.mails)
    assert f"スタンバイ {world.two} (t3.micro) の起動が受け付けられました" in start
    assert f"{world.one} は失敗しました: t3.micro {CAPACITY}" in start
    assert f"{world.active} の停止を検知しました" in start
    for word in ("障害発生", "起動受付", "running", "稼働"):
        assert re.search(rf"{word}: \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d JST", serving), word


def test_a_registration_that_is_held_is_told_at_once(batch: Callable[..., Batch]) -> None:
    world = batch(StandbyTargetGroupArn="its own")
    world.dies()
    world.hold(8)
    world.minutes(5)
    assert world.subjects == ["standby ONE started", "NOT answered (held): a change is due"]
    world.minutes(9)
    assert world.subjects[2:] == ["standby ONE is serving"]


def test_a_registration_that_a_dry_run_forbids_is_told_at_once(batch: Callable[..., Batch]) -> None:
    world = batch(StandbyTargetGroupArn="its own")
    world.dies()
    world.deployed_again(DryRun="true")
    world.minutes(5)
    assert world.subjects == ["standby ONE started", "NOT answered (dry-run): a change is due"]


@pytest.mark.parametrize("later", [0, 1])
def test_a_start_whose_run_dies_is_told_though_ec2_has_launched_it_a_second_later(
    batch: Callable[..., Batch], later: int
) -> None:
    world = batch()
    world.account.lag.exactly("ec2", 2)
    world.account.ec2.checks[world.one] = {"InstanceStatus": "impaired"}

    def launched_later(_params: dict[str, Any]) -> bool:
        instance = world.account.ec2.instance(world.one)
        at = datetime.fromisoformat(str(instance.launch_time)) + timedelta(seconds=later)
        instance.launch_time = f"{at:%Y-%m-%dT%H:%M:%S.000Z}"
        return True

    dies = {"kills": True, "after": True, "times": 1, "role": "ColdStandby", "when": launched_later}
    world.account.faults.add("ec2", "CreateTags", None, **dies)
    world.dies()
    world.minutes(6)
    assert world.subjects == ["standby ONE started, found by the periodic check"]
    assert "ONE has started" in world.mails[0].body.replace(world.one, "ONE")


def test_an_outage_whose_notes_somebody_has_removed_is_told_to_be_over_and_no_more(
    batch: Callable[..., Batch],
) -> None:
    world = batch()
    world.dies()
    world.minutes(5)
    world.service.start()
    world.minutes(0.5)
    world.service.stop(world.one)
    tags = [{"Key": f"kirikae:{key}"} for key in world.service.tags(world.one)]
    world.account.client("ec2").delete_tags(Resources=[world.one], Tags=tags)
    world.minutes(6)
    assert world.subjects[2:] == ["no outage any more, found by the periodic check"]
    assert f"You were told last: {world.one} serving." in world.mails[-1].body
    assert "An earlier run did it" not in world.mails[-1].body


def test_the_parts_of_active_and_standby_are_changed_and_nobody_is_told_that_one_of_them_is_not_needed(
    batch: Callable[..., Batch],
) -> None:
    world = batch()
    world.dies()
    world.minutes(5)
    world.deployed_again(ActiveInstanceId=world.one, StandbyInstanceIds=f"{world.active},{world.two}")
    world.minutes(6)
    assert world.subjects[2:] == ["no outage any more, found by the periodic check"]
    assert f"the active {world.one} is running" in world.mails[-1].body


def test_a_dry_run_says_what_it_would_do(batch: Callable[..., Batch]) -> None:
    world = batch(DryRun="true")
    world.dies()
    said = world.invoke()
    assert (said["outcome"], said["change"]["start"]) == ("dry-run", [world.one, world.two])
    assert world.states == ["stopped", "stopped"]
    assert not world.calls(START, STOP, TYPE, "CreateTags", "DeleteTags")


def test_any_event_finds_the_same_outage(batch: Callable[..., Batch], every_event: dict[str, Any]) -> None:
    world = batch()
    world.loses_events()
    for event in every_event.values():
        world.invoke(event)
    assert world.states == ["stopped", "stopped"]
    assert world.subjects == []
    world.service.stop()
    world.account.lag.catch_up()
    for event in every_event.values():
        world.invoke(event)
    assert world.states == ["pending", "stopped"]
    assert world.subjects == ["standby ONE started"]


def test_wrong_parameters_are_refused_before_anything_is_written(batch: Callable[..., Batch]) -> None:
    world = batch(StandbyInstanceTypes="m99.huge")
    said = world.invoke()
    assert said["outcome"] == "refused"
    assert "StandbyInstanceTypes names m99.huge" in said["reason"]
    assert not world.calls(START, STOP, TYPE, "CreateTags", "DeleteTags")


def test_an_outage_costs_few_calls(batch: Callable[..., Batch]) -> None:
    world = batch()
    world.account.lag.off()  # what does not show yet is asked for again
    world.dies()
    began = max(n for n, call in enumerate(world.account.calls) if call.operation == STOP)
    made = [c.operation for c in world.account.calls[began + 1 :] if "ColdStandby" in c.principal]
    assert made == [
        "DescribeInstances",
        "DescribeAlarms",
        "GetParameter",
        START,
        "DescribeInstances",
        "CreateTags",
        "GetParameter",  # what people were told, and that they are about to be told this
        "PutParameter",
        "Publish",
        "PutParameter",
    ]


# The template.

GIVEN = {"ActiveInstanceId": ACTIVE, "StandbyInstanceIds": f"{ONE},{TWO}"}


def allowed(**parameters: str) -> dict[str, dict[str, Any]]:
    """Return the statement of each action."""
    found = {}
    for statement in policies_of(expanded(GIVEN | parameters), FUNCTION):
        actions = statement["Action"]
        found |= dict.fromkeys(actions if isinstance(actions, list) else [actions], statement)
    return found


def test_the_role_may_write_to_the_given_resources_only() -> None:
    plain = allowed()
    assert not {"ec2:StopInstances", "ec2:ModifyInstanceAttribute", "elasticloadbalancing:RegisterTargets"} & set(plain)
    more = allowed(FenceActive="true", StandbyInstanceTypes="t3.small", StandbyTargetGroupArn=GROUP)
    assert more["ec2:StopInstances"]["Condition"]["StringEquals"] == {"ec2:InstanceID": [ACTIVE, ONE, TWO]}
    for action in ("elasticloadbalancing:RegisterTargets", "elasticloadbalancing:DeregisterTargets"):
        assert more[action]["Resource"] == GROUP
    assert [arn.rpartition("/")[2] for arn in more["ec2:DeleteTags"]["Resource"]] == [ONE, TWO]
    for action in ("ec2:StartInstances", "ec2:CreateTags", "ec2:ModifyInstanceAttribute"):
        assert more[action]["Condition"]["StringEquals"] == {"ec2:InstanceID": [ONE, TWO]}
    assert plain["ec2:StartInstances"]["Condition"]["StringNotLike"] == {"aws:ResourceTag/kirikae:failed": "?*"}
    unscoped = {action for action, statement in more.items() if statement["Resource"] == "*"}
    assert all(action.split(":")[1].startswith("Describe") for action in unscoped - {"cloudwatch:ListAlarmMuteRules"})


@pytest.mark.parametrize(
    ("fences", "dry", "cpu", "alarms", "stops"),
    [
        pytest.param("false", "false", "0", 2, False, id="no fence"),
        pytest.param("true", "false", "50", 3, True, id="fence"),
        pytest.param("true", "true", "50", 3, False, id="a dry run stops nothing"),
    ],
)
def test_the_alarms_on_the_active(fences: str, dry: str, cpu: str, alarms: int, stops: bool) -> None:
    template = expanded(GIVEN | {"FenceActive": fences, "DryRun": dry, "ActiveCpuThreshold": cpu})
    found = [
        declared
        for declared in of_type(template, "AWS::CloudWatch::Alarm").values()
        if {"Name": "InstanceId", "Value": ACTIVE} in declared["Dimensions"]
    ]
    assert len(found) == alarms
    for declared in found:
        assert any(":ColdStandbyStartFunction" in a or FUNCTION in a for a in declared["AlarmActions"])
        assert any(a.endswith(":ec2:stop") for a in declared["AlarmActions"]) == stops


def test_any_alarm_of_the_account_and_region_may_call() -> None:
    permissions = of_type(expanded(GIVEN), "AWS::Lambda::Permission").values()
    [permission] = [p for p in permissions if p["Principal"] == "lambda.alarms.cloudwatch.amazonaws.com"]
    assert permission["SourceAccount"] == "123456789012"
    assert permission["SourceArn"] == "arn:aws:cloudwatch:ap-northeast-1:123456789012:alarm:*"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        pytest.param({"ActiveInstanceId": ACTIVE}, "ActiveInstanceId needs StandbyInstanceIds", id="no candidate"),
        pytest.param({"StandbyInstanceIds": ONE}, "StandbyInstanceIds needs ActiveInstanceId", id="no active"),
        pytest.param({"ActiveInstanceId": ONE, "StandbyInstanceIds": f"{TWO},{ONE}"}, "must not contain", id="itself"),
        pytest.param(GIVEN | {"StandbyInstanceTypes": "large"}, "StandbyInstanceTypes", id="no type"),
        pytest.param(GIVEN | {"ActiveCpuThreshold": "101"}, "ActiveCpuThreshold", id="more than all"),
        pytest.param(GIVEN | {"FenceActive": "yes"}, "FenceActive", id="neither true nor false"),
    ],
)
def test_the_template_refuses(parameters: dict[str, str], words: str) -> None:
    with pytest.raises(TemplateError, match=words):
        expanded(parameters)
