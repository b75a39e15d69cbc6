"""Every subject is one that SNS takes, and a mail that cannot be sent is told, never raised."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kirikae import notify
from kirikae.notify import Mail, Words
from sandbox.account import Account
from sandbox.services import sns

SECTIONS = ((Words("Why", "理由"), Words("because", "なぜなら")), (Words("Later"), Words("the site")))


@pytest.mark.parametrize(
    ("service", "text", "subject"),
    [
        ("shop", "sorry page ON", "[kirikae] shop: sorry page ON"),
        ("店舗", "sorry page ON", "[kirikae] ??: sorry page ON"),
        ("shop\r\nBcc: everybody", "x\t\x00\x7fy", "[kirikae] shopBcc: everybody: xy"),
        ("s" * 40, "x" * 100, "[kirikae] " + "s" * 30 + ": " + "x" * 54 + "..."),
        ("s" * 40, "x" * 57, "[kirikae] " + "s" * 30 + ": " + "x" * 57),
    ],
)
def test_a_subject_is_one_short_line_of_printable_ascii(service: str, text: str, subject: str) -> None:
    assert notify.subject_line(service, text) == subject


@given(st.text(), st.text())
def test_every_subject_is_one_that_sns_takes(service: str, text: str) -> None:
    subject = notify.subject_line(service, text)
    assert sns.problem(subject, "x") is None
    assert len(subject) < 100  # the API reference says fewer, whatever AWS takes
    assert subject.startswith("[kirikae] ")


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "■ Why\nbecause\n\n■ Later\nthe site\n"),
        ("ja", "■ 理由\nなぜなら\n\n■ Later\nthe site\n"),
    ],
)
def test_the_text_says_each_section_in_the_language_asked_for(language: str, text: str) -> None:
    assert notify.plain_text(SECTIONS, language) == text


@pytest.fixture
def topic(ours: Account) -> str:
    """Return a topic of the account that our clients reach."""
    return str(ours.client("sns").create_topic(Name="shop")["TopicArn"])


def test_a_published_mail_arrives_in_its_language(ours: Account, topic: str) -> None:
    assert notify.publish(topic, Mail("[kirikae] shop: test", SECTIONS), "ja") == ""
    [arrived] = ours.mails
    assert (arrived.topic_arn, arrived.subject) == (topic, "[kirikae] shop: test")
    assert arrived.body == notify.plain_text(SECTIONS, "ja")


@pytest.mark.parametrize("code", ["AuthorizationError", "NotFound", "InvalidParameter", "KMSDisabled"])
def test_a_refused_mail_is_told(ours: Account, topic: str, code: str) -> None:
    ours.faults.add("sns", "Publish", code)
    assert code in notify.publish(topic, Mail("[kirikae] shop: test", SECTIONS), "en")
    assert ours.mails == []


def test_a_mail_is_told_that_nobody_takes(ours: Account, topic: str) -> None:
    ours.faults.add("sns", "Publish", "", after=True)
    assert "onnection" in notify.publish(topic, Mail("[kirikae] shop: test", SECTIONS), "en")
