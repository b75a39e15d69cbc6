"""What people read: one mail for each change, to one SNS topic, in English or Japanese."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import aws, env, log

JST = timezone(timedelta(hours=9), "JST")
_LATEST = datetime.max.replace(tzinfo=UTC) - timedelta(
    days=1
)  # «for ever», as people write it: every clock can show it


class Words(NamedTuple):
    """The same text in both languages of the mails; what is only logged or returned is in English."""

    en: str
    ja: str = ""

    def of(self, language: str) -> str:
        """Return the text in `en` or `ja`."""
        return self.ja if language == "ja" and self.ja else self.en


type Section = tuple[Words, Words]  # a heading and its text


class Mail(NamedTuple):
    """A subject that SNS accepts in both languages, and headed sections."""

    subject: str
    sections: tuple[Section, ...]


class Times(NamedTuple):
    """When the cause happened (where the event says so), when this run began, and when its last write was done."""

    caused: datetime | None
    began: datetime
    done: datetime


def mail(  # the order of the sections is the order in which a woken reader needs them
    config: env.Stack,
    subject: str,
    *,
    happened: Words,
    why: Words | None = None,
    since: Words | None = None,
    more: Iterable[Section] = (),
    check: Words | None = None,
    undo: Words | None = None,
) -> Mail:
    """Return a mail about the service; `more` are sections with headings of their own, before what to check."""
    sections = (
        (Words("What happened", "何が起きたか"), happened),
        (Words("Why", "理由"), why),
        (Words("Since when", "いつから"), since),
        *more,
        (Words("What to check", "確認すること"), check),
        (Words("How to undo it by hand", "手動で元に戻すには"), undo),
    )
    return Mail(subject_line(config.service_name, subject), tuple((head, text) for head, text in sections if text))


def again(letter: Mail) -> Mail:
    """Return the mail with a last section: the run that was about to tell this ended without saying that it did."""
    repeated = Words(
        "An earlier run ended while it was sending a mail about this. You may have it already.",
        "この件のメールを送信中に前回の実行が終了しました。同じ内容のメールが既に届いている場合があります。",
    )
    return letter._replace(sections=(*letter.sections, (Words("Perhaps repeated", "重複の可能性"), repeated)))


def subject_line(service: str, text: str) -> str:
    """Return an SNS subject: printable ASCII, fewer than 100 characters; one that is cut ends in three dots.

    https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
    """
    line = f"[kirikae] {service[:30]}: {text}".encode("ascii", "replace").decode()
    line = "".join(character for character in line if character.isprintable())
    return line if len(line) < 100 else f"{line[:96]}..."


def at(moment: datetime, form: str = "%Y-%m-%d %H:%M:%S") -> Words:
    """Write a time as the reader's clock shows it: UTC in English, Japan's time in Japanese."""
    moment = min(moment, _LATEST)
    return Words(f"{moment.astimezone(UTC):{form}} UTC", f"{moment.astimezone(JST):{form}} JST")


def since(times: Times) -> Words:
    """Return when it began, and how long noticing it and acting took."""
    done = at(times.done)
    if times.caused is None:
        took = (times.done - times.began).total_seconds()
        return Words(
            f"Noticed by the periodic check or by hand; done at {done.en}, {took:.1f} s after this run began.",
            f"定期確認または手動実行により検知しました。{done.ja} に完了 (実行開始から {took:.1f} 秒)。",
        )
    caused = at(times.caused)
    noticed = max(0.0, (times.began - times.caused).total_seconds())
    took = max(0.0, (times.done - times.caused).total_seconds())
    return Words(
        f"Event at {caused.en}; noticed {noticed:.1f} s later; done at {done.en}, {took:.1f} s after the event.",
        f"イベント発生: {caused.ja}。{noticed:.1f} 秒後に検知し、{done.ja} に完了 (発生から {took:.1f} 秒)。",
    )


def aws_command(config: env.Stack, operation: str, arguments: str) -> str:
    """Return a command of the AWS CLI to paste, `elbv2 register-targets` with its arguments, in the stack's Region."""
    return f"aws {operation} --region {config.region} {arguments}"


def lines(texts: Iterable[Words]) -> Words:
    """Return the texts below each other."""
    listed = list(texts)
    return Words("\n".join(text.en for text in listed), "\n".join(text.of("ja") for text in listed))


def with_commands(said: Words, commands: Iterable[str]) -> Words:
    """Return the text and below it, in both languages, a line for each command."""
    return lines([said, *map(Words, commands)])


def plain_text(sections: Iterable[Section], language: str) -> str:
    """Return the text of a mail."""
    return "\n\n".join(f"■ {heading.of(language)}\n{text.of(language)}" for heading, text in sections) + "\n"


def publish(topic_arn: str, mail: Mail, language: str) -> str:
    """Send the mail; return what went wrong, or nothing.  A change that was made stays made whatever happens here.

    https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
    """
    try:
        aws.client("sns").publish(TopicArn=topic_arn, Subject=mail.subject, Message=plain_text(mail.sections, language))
    except (ClientError, BotoCoreError) as error:  # the caller counts it: a metric with an alarm
        return str(error)
    return ""


def announce(config: env.Stack, mail: Mail | None) -> bool:
    """Publish the mail, if there is one; a failure is logged and counted, returns False and never undoes a change."""
    if mail and (problem := publish(config.topic_arn, mail, config.notification_language)):
        log.logger.error("the mail was not sent", subject=mail.subject, problem=problem)
        log.count("MailFailed")
        return False
    return True


def topic_attributes(topic_arn: str) -> Mapping[str, str] | None:
    """Return the attributes of the topic: None if it is gone, none of them if it cannot be asked.

    A subscription by mail counts as confirmed once its link was followed, until somebody follows the link that ends it.
    https://docs.aws.amazon.com/sns/latest/api/API_GetTopicAttributes.html
    """
    try:
        found: Mapping[str, str] = aws.client("sns").get_topic_attributes(TopicArn=topic_arn)["Attributes"]
    except (ClientError, BotoCoreError) as error:
        if isinstance(error, ClientError) and error.response["Error"]["Code"] == "NotFound":
            return None
        log.logger.warning("the topic cannot be asked", topic=topic_arn, problem=str(error))
        return {}
    return found
