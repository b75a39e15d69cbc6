"""KMS: a role that sends to a queue or topic with a key of the customer needs the key as well.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html

Services that send in their own name, as the rules of EventBridge and the alarms of CloudWatch do, are judged by the
policy of the key. That is not part of a stack: here it admits them.
"""

from typing import Any

from sandbox import ACCOUNT_ID, REGION, iam
from sandbox.wire import Refusal, Request

# The data key of a message is made anew or, within the reuse period, decrypted.
TO_SEND = ("kms:GenerateDataKey", "kms:Decrypt")
SENDS = {("sns", "Publish"), ("sqs", "SendMessage")}
CODES = {"sns": "KMSAccessDenied", "sqs": "KMS.AccessDeniedException"}


def key_of(account: Any, arn: str) -> str | None:
    """Return the ARN of the customer's key that encrypts a queue or topic; None of anything else."""
    service, name = arn.split(":")[2], arn.split(":")[-1]
    with account.lock:
        match service:
            case "sqs":
                place = account.backend("sqs").queues.get(name)
            case "sns":
                place = account.backend("sns").topics.get(arn)
            case _:
                return None
        key = getattr(place, "kms_master_key_id", None)
    if not key or key.startswith("alias/aws/"):  # those admit everybody who may use the service
        return None
    if key.startswith("alias/"):
        raise NotImplementedError(f"the sandbox looks no key up by its alias: {key}")
    return key if key.startswith("arn:") else f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/{key}"


def missing(account: Any, role: iam.Role, arn: str) -> str | None:
    """Say what of the key a role lacks to send to a queue or topic; None if nothing."""
    key = key_of(account, arn)
    if key is None:
        return None
    context: iam.Context = {"kms:ViaService": f"{arn.split(':')[2]}.{REGION}.amazonaws.com"}
    for action in TO_SEND:
        if not iam.evaluate(role.policies, action, key, context):
            return f"not authorized to perform: {action} on resource: {key}"
    return None


def authorize(account: Any, role: iam.Role, name: str, request: Request) -> None:
    """Refuse a role's request to send, in its service's own words, unless the role may use the key."""
    if (request.service, request.operation) not in SENDS:
        return
    needed = iam.required(request.service, request.operation, request.params)
    for arn in needed[1] if needed else []:
        lacks = missing(account, role, arn) if arn != "*" else None
        if lacks:
            user = f"arn:aws:sts::{ACCOUNT_ID}:assumed-role/{name}/session"
            raise Refusal(CODES[request.service], f"User: {user} is {lacks} (Service: AWSKMS; Status Code: 400)")
