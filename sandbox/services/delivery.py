"""What AWS's services do in their own name: send to a queue or a topic, if its resource policy lets them."""

import json
from typing import Any

from sandbox.services import iam


class DeliveryError(Exception):
    """A service could not hand something over; code and message as AWS reports them."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def allows(policy: dict[str, Any], service: str, action: str, resource: str, source_arn: str) -> bool:
    """Say whether a resource policy lets a service act on the resource on behalf of one of its own resources."""
    account_id = source_arn.split(":")[4]
    context = {"aws:SourceArn": source_arn, "aws:SourceAccount": account_id, "aws:SourceOwner": account_id}
    statements = [one for one in _list(policy.get("Statement", [])) if _speaks_of(one.get("Principal", {}), service)]
    return iam.evaluate([{"Statement": statements}], action, resource, context)


def to_queue(account: Any, arn: str, body: str, attributes: dict[str, str], *, service: str, source_arn: str) -> None:
    """Send a message to an SQS queue."""
    with account.lock:
        queue = account.backend("sqs").queues.get(arn.split(":")[-1])
        if queue is None:
            raise DeliveryError("NO_RESOURCE", f"There is no queue {arn}.")
        if not allows(json.loads(queue.policy or "{}"), service, "sqs:SendMessage", arn, source_arn):
            raise DeliveryError("NO_PERMISSIONS", f"The policy of {arn} does not let {service} send for {source_arn}.")
        typed = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        account.backend("sqs").send_message(queue.name, body, message_attributes=typed)


def to_topic(account: Any, arn: str, subject: str | None, message: str, *, service: str, source_arn: str) -> None:
    """Publish to an SNS topic."""
    with account.lock:
        topic = account.backend("sns").topics.get(arn)
        if topic is None:
            raise DeliveryError("NO_RESOURCE", f"There is no topic {arn}.")
        if not allows(json.loads(topic.policy), service, "sns:Publish", arn, source_arn):
            raise DeliveryError(
                "NO_PERMISSIONS", f"The policy of {arn} does not let {service} publish for {source_arn}."
            )
        account.mail.publish(arn, subject, message)


def _speaks_of(principal: Any, service: str) -> bool:
    if principal == "*" or "*" in _list(principal.get("AWS", [])):
        return True
    return service in _list(principal.get("Service", []))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
