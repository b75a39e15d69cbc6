"""SNS: moto keeps topics and subscriptions; a publish is judged as strictly as AWS does and leaves one mail."""

import json
import unicodedata
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from moto.sns.models import Subscription, Topic

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
    """The account's SNS; a subscription by e-mail counts as confirmed unless a test says otherwise."""

    def __init__(self, account: FrontDoor) -> None:
        self._account = account
        self.messages: list[Message] = []
        self.pending: set[str] = set()  # addresses that have not followed the link in their subscription's mail
        self._ended: Counter[str] = Counter()  # topic -> subscriptions that their readers have ended
        account.override("sns", "Publish", self._judge)
        account.after("sns", "Publish", self._record)
        account.override("sns", "GetTopicAttributes", self._count)
        account.override("sns", "ListSubscriptionsByTopic", self._list)

    def ends(self, address: str) -> None:
        """Let the reader of an address, or what scans its mail, follow the link that ends its subscriptions."""
        with self._account.lock:
            for subscription in self._subscriptions():
                if subscription.endpoint == address:
                    self._ended[subscription.topic_arn] += 1
                    self._account.backend("sns").unsubscribe(subscription.arn)

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
            # Its key policy cannot be changed, and does not admit other services:
            # https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
            if topic.kms_master_key_id == "alias/aws/sns":
                raise DeliveryError("NO_PERMISSIONS", f"{service} has no authorization to access the key of {arn}.")
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
        recipients = tuple(
            subscription.endpoint
            for subscription in self._subscriptions(arn)
            if subscription.protocol == "email" and self._confirmed(subscription)
        )
        self.messages.append(Message(self._account.clock.now(), arn, params.get("Subject"), body, recipients))

    # Subscriptions. One by mail is pending until its reader follows the link in it, and gets nothing before (U10).

    def _subscriptions(self, topic_arn: str | None = None) -> list[Subscription]:
        found = list(self._account.backend("sns").subscriptions.values())
        return [one for one in found if topic_arn in (None, one.topic_arn)]

    def _confirmed(self, subscription: Subscription) -> bool:
        return subscription.endpoint not in self.pending

    def _count(self, params: dict[str, Any], _principal: str) -> None:
        """Give moto the numbers of a topic's subscriptions, which it does not count."""
        if topic := self._account.backend("sns").topics.get(params["TopicArn"]):
            found = [self._confirmed(one) for one in self._subscriptions(topic.arn)]
            topic.subscriptions_confimed, topic.subscriptions_pending = found.count(True), found.count(False)
            topic.subscriptions_deleted = self._ended[topic.arn]

    def _list(self, params: dict[str, Any], _principal: str) -> dict[str, Any] | None:
        if params["TopicArn"] not in self._account.backend("sns").topics:
            return None
        return {
            "Subscriptions": [
                {
                    "SubscriptionArn": one.arn if self._confirmed(one) else "PendingConfirmation",
                    "Owner": one.owner,
                    "Protocol": one.protocol,
                    "Endpoint": one.endpoint,
                    "TopicArn": one.topic_arn,
                }
                for one in self._subscriptions(params["TopicArn"])
            ]
        }
