"""SQS: moto keeps the queues; AWS's services send to them, as far as a queue's policy lets them."""

import json

from sandbox.frontdoor import FrontDoor
from sandbox.services.cloudwatch_metrics import Put
from sandbox.services.delivery import DeliveryError, allows


class Sqs:
    """The queues of one account."""

    def __init__(self, account: FrontDoor) -> None:
        self._account = account

    def deliver(self, arn: str, body: str, attributes: dict[str, str], *, service: str, source_arn: str) -> None:
        """Send a message for an AWS service on behalf of one of its resources, with attributes of type String.

        DeliveryError if there is no such queue, or its policy does not let the service send.
        """
        with self._account.lock:
            queue = self._account.backend("sqs").queues.get(arn.split(":")[-1])
            if queue is None:
                raise DeliveryError("NO_RESOURCE", f"There is no queue {arn}.")
            if not allows(json.loads(queue.policy or "{}"), service, "sqs:SendMessage", arn, source_arn):
                message = f"The policy of {arn} does not let {service} send for {source_arn}."
                raise DeliveryError("NO_PERMISSIONS", message)
            self.send(arn, body, attributes)

    def send(self, arn: str, body: str, attributes: dict[str, str]) -> None:
        """Send a message whatever the queue's policy says; DeliveryError if there is no such queue."""
        name = arn.split(":")[-1]
        with self._account.lock:
            if name not in self._account.backend("sqs").queues:
                raise DeliveryError("AWS.SimpleQueueService.NonExistentQueue", f"There is no queue {arn}.")
            typed = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
            self._account.backend("sqs").send_message(name, body, message_attributes=typed)

    def publish(self, put: Put) -> None:
        """Publish how many messages wait in each queue."""
        for queue in list(self._account.backend("sqs").queues.values()):
            waiting = queue.approximate_number_of_messages
            put("AWS/SQS", "ApproximateNumberOfMessagesVisible", {"QueueName": queue.name}, waiting, "Count")
