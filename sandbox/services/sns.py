"""SNS: moto keeps topics and subscriptions; a publish is judged as strictly as AWS does and leaves one mail."""

import json
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from moto.sns.models import Topic

from sandbox.frontdoor import FrontDoor
from sandbox.services.delivery import DeliveryError, allows
from sandbox.wire import Refusal

_SUBJECT_CHARACTERS = 100  # the documents say less than 100; AWS takes 100
_MESSAGE_BYTES = 256 * 1024


@dataclass(frozen=True)
class Message:
    """What was published to a topic, when in virtual time, and the e-mail addresses that get it."""

    time: datetime
    topic_arn: str
    subject: str | None
    body: str
    recipients: tuple[str, ...] = ()


def problem(subject: str | None, message: str, structure: str | None = None) -> str | None:
    """Return SNS's message against a publish, None if it is taken. structure: MessageStructure.

    https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
    """
    if subject is not None:
        if not subject or len(subject) > _SUBJECT_CHARACTERS:
            return "Invalid parameter: Subject"
        if any(unicodedata.category(character) == "Cc" for character in subject):
            return "Invalid parameter: Subject"
        # The API reference has come to say UTF-8, the developer guide still says ASCII that starts with a letter,
        # number or punctuation mark: what both allow is safe.
        if not subject.isascii() or subject[0] == " ":
            return "Invalid parameter: Subject"
    if not message:
        return "Invalid parameter: Empty message"
    if len(message.encode()) > _MESSAGE_BYTES:
        return "Invalid parameter: Message too long"
    if structure == "json":
        try:
            parts = json.loads(message)
        except ValueError:
            return "Invalid parameter: Message Structure - JSON message body failed to parse"
        if not isinstance(parts, dict) or "default" not in parts:
            return "Invalid parameter: Message Structure - No default entry in JSON message body"
    return None


class Sns:
    """The account's SNS; subscriptions by e-mail count as confirmed."""

    def __init__(self, account: FrontDoor) -> None:
        self._account = account
        self.messages: list[Message] = []
        account.override("sns", "Publish", self._judge)
        account.after("sns", "Publish", self._record)

    def publish(self, topic_arn: str, subject: str | None, message: str) -> None:
        """Publish without a request, whatever the topic's policy says; Refusal if SNS would not take it."""
        with self._account.lock:
            params = {"TopicArn": topic_arn, "Subject": subject, "Message": message}
            self._judge(params, "")
            topic: Topic = self._account.backend("sns").topics[topic_arn]
            topic.publish(message, subject=subject)
            self._record(params)

    def deliver(self, arn: str, subject: str | None, message: str, *, service: str, source_arn: str) -> None:
        """Publish for an AWS service on behalf of one of its resources.

        DeliveryError if there is no such topic, or its policy does not let the service publish.
        """
        with self._account.lock:
            topic = self._account.backend("sns").topics.get(arn)
            if topic is None:
                raise DeliveryError("NO_RESOURCE", f"There is no topic {arn}.")
            if not allows(json.loads(topic.policy), service, "sns:Publish", arn, source_arn):
                raise DeliveryError(
                    "NO_PERMISSIONS", f"The policy of {arn} does not let {service} publish for {source_arn}."
                )
            self.publish(arn, subject, message)

    def _judge(self, params: dict[str, Any], _principal: str) -> None:
        reason = problem(params.get("Subject"), params.get("Message", ""), params.get("MessageStructure"))
        if reason:
            raise Refusal("InvalidParameter", reason)

    def _record(self, params: dict[str, Any]) -> None:
        arn = params.get("TopicArn") or params.get("TargetArn")
        if arn is None:  # a text message to a telephone
            return
        body = params["Message"]
        if params.get("MessageStructure") == "json":
            parts = json.loads(body)
            body = parts.get("email", parts["default"])
        subscriptions = self._account.backend("sns").subscriptions.values()
        recipients = tuple(
            subscription.endpoint
            for subscription in subscriptions
            if subscription.topic_arn == arn and subscription.protocol == "email"
        )
        self.messages.append(Message(self._account.clock.now(), arn, params.get("Subject"), body, recipients))
