"""What EC2 is asked about a start, with one attempt for each request: a client of its own.

Want of capacity is an HTTP 500, which the SDK would repeat, each time as slowly as EC2 answers.
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StartInstances.html
"""

import time

from botocore.exceptions import ClientError

from kirikae import aws
from kirikae.errors import one

# These are about the caller, and another candidate would get the same answer.
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
THROTTLED = frozenset({"RequestLimitExceeded", "Throttling", "ThrottlingException"})
OF_THE_CALLER = THROTTLED | {
    "AuthFailure", "ExpiredToken", "ExpiredTokenException", "IncompleteSignature", "InvalidClientTokenId",
    "MissingAuthenticationToken", "RequestExpired", "SignatureDoesNotMatch", "UnrecognizedClientException",
}  # fmt: skip


def connection() -> None:
    """Open, during INIT, the connection that a start takes; by a read."""
    aws.client("ec2", attempts=1).describe_instances(MaxResults=5)


def permission(instance_id: str) -> None:
    """Raise what EC2 has against this caller's start of the instance; permission is all that a dry run tells."""
    try:
        aws.client("ec2").start_instances(InstanceIds=[instance_id], DryRun=True)
    except ClientError as error:
        if error.response["Error"]["Code"] != "DryRunOperation":
            raise


def start(instance_id: str) -> str:
    """Start the instance; return its state before, which tells the one of two runs that has started it.

    A caller who asks too often pauses, because the instance is not to blame: three requests in as many seconds.
    """
    for pause in (1, 2):
        try:
            return _start(instance_id)
        except ClientError as error:
            if error.response["Error"]["Code"] not in THROTTLED:
                raise
        time.sleep(pause)
    return _start(instance_id)


def _start(instance_id: str) -> str:
    found = aws.client("ec2", attempts=1).start_instances(InstanceIds=[instance_id])["StartingInstances"]
    changed = one(found, "StartingInstances", "ec2 StartInstances")
    return str(changed["PreviousState"]["Name"])
