"""What we ask of Systems Manager: whether a document exists, whom it reaches, and commands with their results."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import batched
from typing import Any

from botocore.exceptions import ClientError

from kirikae import aws

ENDED = frozenset({"Success", "Cancelled", "TimedOut", "Failed"})
_DELIVERY_SECONDS = 600  # for an agent to pick a command up
_SHELLS = {"Windows": "AWS-RunPowerShellScript"}


def shell(platform: str) -> str:
    """Return the document that runs shell lines on Linux, macOS or Windows."""
    return _SHELLS.get(platform, "AWS-RunShellScript")


def document_problem(name: str) -> str:
    """Say why a document cannot be run on an instance, or nothing.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeDocument.html
    """
    try:
        found = aws.client("ssm").describe_document(Name=name)["Document"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidDocument":
            raise
        return f"there is no document {name} in this account and region"
    if found["DocumentType"] != "Command":
        return f"document {name} is of type {found['DocumentType']}, expected Command"
    return "" if found["Status"] == "Active" else f"document {name} is {found['Status']}"


def platforms(instance_ids: Iterable[str]) -> dict[str, str]:
    """Return the platform (Linux, Windows or MacOS) of the instances that the agent is online on.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeInstanceInformation.html
    """
    found = {}
    for ids in batched(instance_ids, 50, strict=False):
        wanted = [{"Key": "InstanceIds", "Values": list(ids)}]
        answer = aws.client("ssm").describe_instance_information(Filters=wanted, MaxResults=50)
        for instance in answer["InstanceInformationList"]:
            if instance["PingStatus"] == "Online":
                found[instance["InstanceId"]] = instance["PlatformType"]
    return found


def send(
    document: str, instance_ids: Iterable[str], parameters: Mapping[str, Any], comment: str, since: datetime
) -> str:
    """Run the document once: a command of this comment since then is the same one, whose answer was lost.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_SendCommand.html
    """
    ids = list(instance_ids)
    earlier = aws.client("ssm").list_commands(
        InstanceId=ids[0], Filters=[{"key": "InvokedAfter", "value": f"{since:%Y-%m-%dT%H:%M:%SZ}"}]
    )["Commands"]
    for command in earlier:
        if command["Comment"] == comment and command["DocumentName"] == document:
            return str(command["CommandId"])
    sent = aws.client("ssm", attempts=1).send_command(
        DocumentName=document,
        InstanceIds=ids,
        Parameters=dict(parameters),
        Comment=comment,
        TimeoutSeconds=_DELIVERY_SECONDS,
    )
    return str(sent["Command"]["CommandId"])


def results(command_id: str) -> dict[str, tuple[str, str]]:
    """Return status and details by instance; one that is missing has not shown yet.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_ListCommandInvocations.html
    """
    answer = aws.client("ssm").list_command_invocations(CommandId=command_id)["CommandInvocations"]
    return {found["InstanceId"]: (found["Status"], found.get("StatusDetails", "")) for found in answer}


def cancel(command_id: str) -> None:
    """Stop the command where it can still be stopped.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_CancelCommand.html
    """
    aws.client("ssm").cancel_command(CommandId=command_id)
