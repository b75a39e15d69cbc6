"""One mail per change, to one SNS topic, in English or Japanese."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import aws


class Words(NamedTuple):
    """The same thing said in both languages of the mails; what is only logged or returned is said in English."""

    en: str
    ja: str = ""

    def of(self, language: str) -> str:
        """Return the text in `en` or `ja`."""
        return self.ja if language == "ja" and self.ja else self.en


class Mail(NamedTuple):
    """A subject that SNS accepts in both languages, and headed sections."""

    subject: str
    sections: tuple[tuple[Words, Words], ...]


JST = timezone(timedelta(hours=9), "JST")
HAPPENED = Words("What happened", "何が起きたか")
WHY = Words("Why", "理由")
WHEN = Words("Since when", "いつから")
CHECK = Words("What to check", "確認すること")
UNDO = Words("How to undo it by hand", "手動で元に戻すには")


def subject(service: str, text: str) -> str:
    """Return an SNS subject: printable ASCII, fewer than 100 characters.

    https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
    """
    line = f"[kirikae] {service[:30]}: {text}".encode("ascii", "replace").decode()
    return "".join(character for character in line if character.isprintable())[:99]


def at(moment: datetime) -> Words:
    """Say a time as the reader's clock shows it: UTC in English, Japan's in Japanese."""
    return Words(f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC", f"{moment.astimezone(JST):%Y-%m-%d %H:%M:%S} JST")


def letter(sections: Iterable[tuple[Words, Words]], language: str) -> str:
    """Return the plain text of a mail."""
    return "\n\n".join(f"■ {heading.of(language)}\n{text.of(language)}" for heading, text in sections) + "\n"


def publish(topic_arn: str, mail: Mail, language: str) -> str:
    """Send the mail; return what went wrong, or nothing.  A change that was made stays made whatever happens here.

    https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
    """
    try:
        aws.client("sns").publish(TopicArn=topic_arn, Subject=mail.subject, Message=letter(mail.sections, language))
    except (ClientError, BotoCoreError) as error:  # the caller counts it: a metric with an alarm
        return str(error)
    return ""
