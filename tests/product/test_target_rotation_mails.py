"""What people read of a rotation: commands that can be pasted anywhere, and times of the reader's clock."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kirikae import notify
from kirikae.notify import Mail
from kirikae.rotation import leftovers, mail
from kirikae.rotation.known import Taken
from kirikae.rotation.world import Config, Member, Place, Rotation

NOW = datetime(2026, 11, 22, 16, 15, tzinfo=UTC)  # the next day in Japan
A, B = (f"arn:aws:elasticloadbalancing:eu-west-3:123456789012:targetgroup/{name}/73e2d6bc24d8a067" for name in "ab")
CONFIG = Config(
    service_name="shop",
    topic_arn="arn:aws:sns:eu-west-3:123456789012:shop",
    hold_parameter="/shop/hold",
    told_parameter="/told/it",
    rotation_target_group_arns=(A, B),
    state_machine_arn="arn:aws:states:eu-west-3:123456789012:stateMachine:shop",
    rotation_parameter="/shop/rotation",
)
LANGUAGES = ("en", "ja")


def place(group: str, port: int = 80, **other: str) -> Place:
    return Place(**{"group": group, "port": port, "zone": "", "quic_server_id": ""} | other)  # type: ignore[typeddict-item]


def member(name: str, *places: Place) -> Member:
    return Member(id=name, places=list(places or [place(A)]), scaling_group="")


FIRST, SECOND = member("i-1"), member("10.0.0.5", place(A, zone="all"), place(B, 443, quic_server_id="0x1f"))


def row(result: str, **other: Any) -> dict[str, Any]:
    times = {"out_at": "2026-11-22T14:30:00+00:00", "back_at": "2026-11-22T15:10:30+00:00", "minutes": 40.5}
    return {"id": "i-1", **times, "result": result, **other}


def document(**given: Any) -> Rotation:
    made: dict[str, Any] = {
        "groups": [A, B],
        "hook": {"type": "approval", "timeout_seconds": 3600},
        "batch_size": 1,
        "drain_seconds": 300,
        "started": "2026-11-22T14:00:00+00:00",
        "queue": [],
        "out": [],
        "done": [],
        "skipped": [],
        "unused": [],
    }
    return made | given  # type: ignore[return-value]


def ended(ending: str, **given: Any) -> Mail:
    reason = {"en": "because", "ja": "理由です"}
    return mail.ended(CONFIG, document(ending=ending, reason=reason, **given), "nightly", NOW)


ASIDE = {"skipped": [{"id": "i-9", "reason": "Standby in Auto Scaling group web"}], "unused": [B]}
LOST = row("NOT BACK: i-1 is stopped", member={**SECOND, "out_at": "2026-11-22T14:30:00+00:00"})
STANDING_BY = row("NOT BACK: i-1 is stopped", member={**FIRST, "scaling_group": "web tier"})
LEFT = Taken(member("i-1", place(A), place(B, 443)), "shop:nightly", NOW)
# The mail, how many commands it has, and its headings.
MAILS: dict[str, tuple[Mail, int, list[str]]] = {
    "it begins": (
        mail.begun(CONFIG, document(queue=[FIRST, SECOND], **ASIDE), "nightly"),
        1,
        ["What happened", "Left aside", "How to undo it by hand"],
    ),
    "a person's turn": (
        mail.approval(CONFIG, document(out=[FIRST], queue=[SECOND], done=[row("rotated")]), "AQC=", NOW),
        2,
        ["What happened", "Done, or abort", "Targets"],
    ),
    "finished": (
        ended("Finished", done=[row("rotated")], **ASIDE),
        0,
        ["What happened", "Targets", "Left aside"],
    ),
    "stopped": (
        ended("Stopped", done=[row("put back")], queue=[SECOND]),
        0,
        ["What happened", "Targets", "Not touched"],
    ),
    "failed, one is not back": (ended("Failed", done=[LOST]), 2, ["What happened", "Targets", "What to check"]),
    "failed, one stays in Standby": (
        ended("Failed", done=[STANDING_BY]),
        2,
        ["What happened", "Targets", "What to check"],
    ),
    "failed, one is still out": (ended("Failed", out=[FIRST]), 0, ["What happened", "What to check"]),
    "refused": (ended("Refused", queue=[SECOND]), 0, ["What happened"]),
    "a dry run": (ended("DryRun", queue=[SECOND], **ASIDE), 0, ["What happened", "Left aside"]),
    "left out before": (leftovers.restored(CONFIG, {"i-1": LEFT}, {}), 0, ["What happened", "What to check"]),
    "left out before, and gone": (leftovers.restored(CONFIG, {}, {"i-1": LEFT}), 0, ["What happened"]),
    "back on another port": (leftovers.moved(CONFIG, {"i-1": LEFT}), 0, ["What happened"]),
    "out, without its tag": (leftovers.tagged_again(CONFIG, {"i-1": LEFT}), 0, ["What happened", "What to check"]),
}


def body(name: str, language: str) -> str:
    return notify.plain_text(MAILS[name][0].sections, language)


def commands(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("aws ")]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", MAILS)
def test_every_command_names_the_region_wherever_it_is_pasted(name: str, language: str) -> None:
    found = commands(body(name, language))
    assert len(found) == MAILS[name][1]
    assert [line for line in found if " --region eu-west-3 " not in line] == []


@pytest.mark.parametrize("name", MAILS)
def test_sections_come_in_the_order_in_which_a_woken_reader_needs_them(name: str) -> None:
    found, _, headings = MAILS[name]
    assert [heading.en for heading, _ in found.sections] == headings
    assert all(heading.ja for heading, _ in found.sections)


@pytest.mark.parametrize("name", MAILS)
def test_no_mail_mixes_the_clocks_of_its_readers(name: str) -> None:
    assert "JST" not in body(name, "en")
    assert "UTC" not in body(name, "ja")


TIMES = {
    "a person's turn": (
        ["before 2026-11-22 17:15:00 UTC", "14:30:00 UTC - 15:10:30 UTC   40.5 min  rotated"],
        ["2026-11-23 02:15:00 JST までに", "23:30:00 JST - 00:10:30 JST   40.5 min  rotated"],
    ),
    "failed, one is not back": (["14:30:00 UTC - 15:10:30 UTC"], ["23:30:00 JST - 00:10:30 JST"]),
    "left out before": (["nightly 2026-11-22 16:15:00 UTC, a:80, b:443"], ["2026-11-23 01:15:00 JST, a:80, b:443"]),
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", TIMES)
def test_times_are_those_of_the_readers_clock(name: str, language: str) -> None:
    said = body(name, language)
    assert [words for words in TIMES[name][LANGUAGES.index(language)] if words not in said] == []


def test_a_target_that_is_not_back_can_be_registered_exactly_as_it_was() -> None:
    registers = "aws elbv2 register-targets --region eu-west-3 --target-group-arn"
    assert commands(body("failed, one is not back", "ja")) == [
        f"{registers} {A} --targets Id=10.0.0.5,Port=80,AvailabilityZone=all",
        f"{registers} {B} --targets Id=10.0.0.5,Port=443,QuicServerId=0x1f",
    ]


def test_what_stays_in_standby_leaves_it_before_it_is_registered() -> None:
    leave, register = commands(body("failed, one stays in Standby", "ja"))
    group = "--auto-scaling-group-name 'web tier' --instance-ids i-1"
    assert leave == f"aws autoscaling exit-standby --region eu-west-3 {group}"
    assert register.endswith("--targets Id=i-1,Port=80")
    assert "i-1 stays in Standby of Auto Scaling group web tier" in body("failed, one stays in Standby", "en")


def test_a_person_answers_with_the_token_and_stops_with_the_name() -> None:
    done, abort = commands(body("a person's turn", "en"))
    assert re.fullmatch(r"aws stepfunctions send-task-success .*--task-output '{}' --task-token 'AQC='", done)
    assert re.fullmatch(r"aws stepfunctions send-task-failure .*--error Aborted .*--task-token 'AQC='", abort)
    [stop] = commands(body("it begins", "en"))
    arn = "arn:aws:states:eu-west-3:123456789012:execution:shop:nightly"
    assert re.fullmatch(rf"aws stepfunctions stop-execution .*--execution-arn {arn}", stop)


@pytest.mark.parametrize(("least", "words"), [(1, "at least 1 healthy target."), (2, "at least 2 healthy targets.")])
def test_the_first_mail_promises_what_stays_healthy(least: int, words: str) -> None:
    made = mail.begun(replace(CONFIG, rotation_min_healthy=least), document(queue=[FIRST]), "nightly")
    assert f"Each group keeps {words}" in notify.plain_text(made.sections, "en")


@pytest.mark.parametrize(
    ("ending", "subject"),
    [
        ("Finished", "rotation finished, 1 of 2 targets"),
        ("Stopped", "rotation stopped after 1 of 2 targets"),
        ("Failed", "rotation FAILED after 1 of 2 targets"),
        ("Refused", "rotation refused, nothing was changed"),
        ("DryRun", "rotation dry run, 2 targets would be rotated"),
    ],
)
def test_the_subject_tells_the_ending(ending: str, subject: str) -> None:
    assert ended(ending, done=[row("rotated")], queue=[SECOND]).subject == f"[kirikae] shop: {subject}"


def test_the_last_mail_says_how_long_it_took() -> None:
    assert "The execution nightly (135.0 min): because." in body("finished", "en")
    sooner = document(ending="Failed", reason={"en": "x", "ja": "x"})
    del sooner["started"]  # it was not even planned
    told = mail.ended(CONFIG, sooner, "nightly", NOW - timedelta(hours=1))
    assert "The execution nightly: x." in notify.plain_text(told.sections, "en")
