"""Deliveries of an AWS service in its own name: whether a resource's policy allows one, and how one fails."""

from typing import Any

from sandbox import iam


class DeliveryError(Exception):
    """A service could not hand something over; code and message as AWS reports them."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def allows(policy: dict[str, Any], service: str, action: str, resource: str, source_arn: str) -> bool:
    """Return whether a resource policy lets a service act on the resource on behalf of one of its own resources.

    service: a principal such as events.amazonaws.com. source_arn: that resource, for conditions on aws:SourceArn.
    """
    account_id = source_arn.split(":")[4]
    context = {"aws:SourceArn": source_arn, "aws:SourceAccount": account_id, "aws:SourceOwner": account_id}
    statements = [part for part in _list(policy.get("Statement", [])) if _speaks_of(part.get("Principal", {}), service)]
    return iam.evaluate([{"Statement": statements}], action, resource, context)


def _speaks_of(principal: Any, service: str) -> bool:
    if principal == "*" or "*" in _list(principal.get("AWS", [])):
        return True
    return service in _list(principal.get("Service", []))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
