"""Systems Manager: documents, the instances that it reaches, and commands with their results."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import batched
from typing import assert_never

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import aws, ec2, notify
from kirikae.clock import iso
from kirikae.log import logger
from kirikae.notify import Words
from kirikae.rotation.world import Config, Hook, Rotation

ENDED = frozenset({"Success", "Cancelled", "TimedOut", "Failed"})
_CLOCKS_APART = timedelta(minutes=1)  # at most; a target that has been back is out again only after longer
_DELIVERY_SECONDS = 600  # for an agent to pick a command up
_SHELLS = {"Windows": "AWS-RunPowerShellScript"}


def document(hook: Hook, platform: str) -> str:
    """Return the document that a hook runs: its own, or the one for shell lines on Linux, macOS or Windows."""
    return hook.get("document") or _SHELLS.get(platform, "AWS-RunShellScript")


def parameters(hook: Hook) -> dict[str, list[str]] | None:
    """Return the parameters of the hook's document, or None if the hook runs no command."""
    match hook["type"]:
        case "none" | "approval":
            return None
        case "ssm-document":
            return hook.get("parameters", {})
        case "ssm-command":
            return {"commands": hook["commands"], "executionTimeout": [str(hook["timeout_seconds"])]}
        case _:
            assert_never(hook["type"])


def document_problem(config: Config, name: str) -> str:
    """Return why a document may not or cannot be run on an instance, or "".

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeDocument.html
    """
    if name not in config.rotation_documents:
        return f"{name} is not listed in RotationDocuments"
    if ":" in name:  # only another account's document needs its ARN
        return f"{name} is an ARN, expected the name of a document of AWS or of this account"
    try:
        found = aws.client("ssm").describe_document(Name=name)["Document"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidDocument":
            raise
        return f"there is no document {name} in this account and region"
    if found.get("Owner", "Amazon") not in ("Amazon", config.account):
        return f"document {name} belongs to account {found['Owner']}, expected one of AWS or of this account"
    if found["DocumentType"] != "Command":
        return f"document {name} is of type {found['DocumentType']}, expected Command"
    return "" if found["Status"] == "Active" else f"document {name} is {found['Status']}"


def platforms(instance_ids: Iterable[str]) -> dict[str, str]:
    """Return the platform (Linux, Windows or MacOS) of the instances whose agent is online.

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


def send(document: str, instance_ids: list[str], hook: Hook, comment: str, since: datetime) -> str:
    """Run the document once and return the command's id; a command with this comment since then is an earlier try.

    Since then by the clock of Systems Manager, which may be behind.
    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_SendCommand.html
    """
    for command_id, name in _sent(instance_ids[0], comment, since):
        if name == document:
            return command_id
    sent = aws.client("ssm", attempts=1).send_command(
        DocumentName=document,
        InstanceIds=instance_ids,
        Parameters=parameters(hook) or {},
        Comment=comment,
        TimeoutSeconds=_DELIVERY_SECONDS,
    )
    return str(sent["Command"]["CommandId"])


def comment(execution: str) -> str:
    """Return the comment that the commands of an execution have."""
    return f"kirikae {execution}"[:100]


def _sent(instance_id: str, comment: str, since: datetime) -> Iterator[tuple[str, str]]:
    """Yield id and document of the commands with this comment that were sent to an instance since then.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_ListCommands.html
    """
    recent = [{"key": "InvokedAfter", "value": iso(since - _CLOCKS_APART)}]
    for command in aws.client("ssm").list_commands(InstanceId=instance_id, Filters=recent)["Commands"]:
        if command["Comment"] == comment:
            yield str(command["CommandId"]), str(command["DocumentName"])


def results(command_id: str) -> dict[str, tuple[str, str]]:
    """Return status and details by instance, without instances that Systems Manager does not show yet.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_ListCommandInvocations.html
    """
    answer = aws.client("ssm").list_command_invocations(CommandId=command_id)["CommandInvocations"]
    return {found["InstanceId"]: (found["Status"], found.get("StatusDetails", "")) for found in answer}


def cancel(command_id: str) -> None:
    """Stop the command on instances where it has not ended.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_CancelCommand.html
    """
    aws.client("ssm").cancel_command(CommandId=command_id)


def withdraw(rotation: Rotation, execution: str, since: Mapping[str, datetime]) -> Words:
    """Cancel what an execution's hook may still run on targets that come back; return that in words, or "".

    since: when each target left, by its id.  A command is found by its comment, too: who sent it may have died before
    the document named it.  Best effort: no target stays out because Systems Manager does not answer.
    """
    if "hook" in rotation and parameters(rotation["hook"]) is None:
        return Words("")
    ids, asked, left = {*rotation.get("command_ids", ())}, list[str](), list[str]()
    try:
        with suppress(ClientError):  # the document's own must do
            for instance_id in filter(ec2.is_id, since):
                ids |= {found for found, _ in _sent(instance_id, comment(execution), since[instance_id])}
        for command_id in sorted(ids):
            if not _over(command_id):
                left.append(command_id)
                with suppress(ClientError):
                    cancel(command_id)
                    asked.append(left.pop())
    except BotoCoreError as error:  # it is not asked again and again while targets wait
        logger.warning("what runs cannot be cancelled", commands=sorted(ids), problem=str(error))
        left = [command_id for command_id in sorted(ids) if command_id not in asked]
    return notify.lines(filter(lambda words: words.en, (withdrawn(asked), _left(left))))


def _over(command_id: str) -> bool:
    """Tell whether a command has ended by itself everywhere; one that was cancelled is named, by whomever it was."""
    try:
        statuses = {status for status, _ in results(command_id).values()}
    except ClientError:
        return False
    return bool(statuses) and statuses <= ENDED - {"Cancelled"}


def withdrawn(command_ids: Iterable[str]) -> Words:
    """Return in words that commands were cancelled, "" for none.

    Systems Manager does not promise that what they have started ends.
    """
    if not (named := ", ".join(command_ids)):
        return Words("")
    return Words(
        f"Systems Manager was asked to cancel command {named}; what it has started may go on",
        f"Systems Manager にコマンド {named} の取り消しを要求しました (開始済みの処理は続くことがあります)",
    )


def _left(command_ids: Iterable[str]) -> Words:
    if not (named := ", ".join(command_ids)):
        return Words("")
    return Words(
        f"command {named} could not be cancelled and may go on",
        f"コマンド {named} は取り消せなかったため、実行が続くことがあります",
    )
