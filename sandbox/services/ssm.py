"""Systems Manager where moto is kinder: Run Command with agents that take time; dates and patterns of parameters."""

import functools
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sandbox.frontdoor import FrontDoor
from sandbox.services.ec2 import Ec2
from sandbox.wire import Refusal

_OF_AWS = {"AWS-RunShellScript": ["Linux", "MacOS"], "AWS-RunPowerShellScript": ["Windows", "Linux", "MacOS"]}

type Answer = tuple[str, float]  # the status with which a command ends, and after how many virtual seconds


@dataclass
class Command:
    """One SendCommand; statuses are those of its invocations, such as InProgress, Success or TimedOut."""

    id: str
    document: str
    parameters: dict[str, list[str]]
    comment: str
    sent: datetime
    statuses: dict[str, str] = field(default_factory=dict)  # by instance id


class Commands:
    """The Run Command of one account; every running instance has its agent, unless it is in deaf."""

    def __init__(self, account: FrontDoor, ec2: Ec2) -> None:
        self._account = account
        self._ec2 = ec2
        # What a test may set.
        self.answer: Callable[[str, Command], Answer] = lambda _instance_id, _command: ("Success", 20.0)
        self.deaf: set[str] = set()
        self.behind_seconds = 2.0  # its clock and a function's are not one
        self.platforms: dict[str, str] = {}  # Linux, if not said
        self.shared: dict[str, str] = {}  # documents that other accounts share (T10): name or ARN -> owner
        self.sent: list[Command] = []
        for operation, fn in {
            "CancelCommand": self._cancel,
            "DescribeDocument": self._describe_document,
            "DescribeInstanceInformation": self._describe_instances,
            "ListCommandInvocations": self._list_invocations,
            "ListCommands": self._list,
            "PutParameter": self._check_value,
            "SendCommand": self._send,
        }.items():
            account.override("ssm", operation, fn)
        account.after("ssm", "PutParameter", self._stamp)

    def _stamp(self, params: dict[str, Any]) -> None:
        # The date of a parameter is in virtual time, as all others.
        self._account.backend("ssm").get_parameter(params["Name"]).last_modified_date = self._account.clock.now()

    def _check_value(self, params: dict[str, Any], _principal: str) -> None:
        # P14: requests are served one after another here; that two writes meet is a fault, TooManyUpdates, of a story.
        longest = 4096 if params.get("Tier", "Standard") == "Standard" else 8192  # P13
        if len(params["Value"]) > longest:
            raise Refusal("ValidationException", f"Parameter value has more than {longest} characters.")
        pattern = params.get("AllowedPattern", "")
        if pattern and not re.fullmatch(pattern, params["Value"]):  # P15
            message = f"Parameter value, cannot be validated against allowedPattern: {pattern}"
            raise Refusal("ParameterPatternMismatchException", message)

    def _online(self, instance_id: str) -> bool:
        instance = self._ec2.instance(instance_id)
        return instance is not None and instance.state == "running" and instance_id not in self.deaf

    def _describe_document(self, params: dict[str, Any], _principal: str) -> dict[str, Any] | None:
        name = params["Name"]
        if name not in _OF_AWS and name not in self.shared:
            return None
        kinds, owner = _OF_AWS.get(name, ["Linux"]), self.shared.get(name, "Amazon")
        found = {"Name": name, "Owner": owner, "DocumentType": "Command", "Status": "Active", "PlatformTypes": kinds}
        return {"Document": found}

    def _describe_instances(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        wanted = next(condition["Values"] for condition in params["Filters"] if condition["Key"] == "InstanceIds")
        if len(wanted) > 100 or len(params["Filters"]) > 1:  # S17
            raise Refusal("InvalidFilterValue", "A filter takes 100 values; there can be one filter here")
        if len(wanted) > params.get("MaxResults", 10):
            raise NotImplementedError("further pages of DescribeInstanceInformation")
        return {
            "InstanceInformationList": [
                {
                    "InstanceId": instance_id,
                    "PingStatus": "Online" if self._online(instance_id) else "ConnectionLost",
                    "PlatformType": self.platforms.get(instance_id, "Linux"),
                }
                for instance_id in wanted
                if self._ec2.instance(instance_id)
            ]
        }

    def _send(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        name, ids = params["DocumentName"], params["InstanceIds"]
        if name not in _OF_AWS and name not in self.shared:
            self._account.backend("ssm").describe_document(name, None, None)  # raises InvalidDocument
        if any(not self._online(instance_id) for instance_id in ids):
            raise Refusal("InvalidInstanceId", f"Instances {ids} not in a valid state for account")
        parameters = params.get("Parameters", {})
        now = datetime.fromtimestamp(self._account.lag.now - self.behind_seconds, UTC)
        command = Command(str(uuid.uuid4()), name, parameters, params.get("Comment", ""), now)
        self.sent.append(command)
        for instance_id in ids:
            command.statuses[instance_id] = "InProgress"
            # Later, when nobody holds the account's lock: what runs on an instance may itself make requests.
            self._account.clock.after(0, functools.partial(self._run, command, instance_id))
        return {"Command": self._show(command)}

    def _run(self, command: Command, instance_id: str) -> None:
        status, seconds = self.answer(instance_id, command)

        def end() -> None:
            if command.statuses[instance_id] == "InProgress":
                command.statuses[instance_id] = status

        self._account.clock.after(seconds, end)

    def _show(self, command: Command) -> dict[str, Any]:
        return {
            "CommandId": command.id,
            "DocumentName": command.document,
            "Comment": command.comment,
            "RequestedDateTime": command.sent,
            "InstanceIds": list(command.statuses),
        }

    def _list(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        after = next(condition["value"] for condition in params["Filters"] if condition["key"] == "InvokedAfter")
        found = [
            self._show(command)
            for command in self.sent
            if params["InstanceId"] in command.statuses and command.sent >= datetime.fromisoformat(after)
        ]
        return {"Commands": found}

    def _list_invocations(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        command = self._find(params)
        return {
            "CommandInvocations": [
                {"CommandId": command.id, "InstanceId": instance_id, "Status": status, "StatusDetails": status}
                for instance_id, status in command.statuses.items()
            ]
        }

    def _cancel(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        command = self._find(params)
        for instance_id, status in command.statuses.items():
            if status == "InProgress":
                command.statuses[instance_id] = "Cancelled"
        return {}

    def _find(self, params: dict[str, Any]) -> Command:
        for command in self.sent:
            if command.id == params["CommandId"]:
                return command
        raise Refusal("InvalidCommandId", "")
