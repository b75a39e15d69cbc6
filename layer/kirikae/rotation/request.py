"""Read the input of a rotation; every problem is named in one error."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from kirikae.errors import InputError
from kirikae.rotation.world import Config, Hook, HookType

HOOKS: Mapping[HookType, frozenset[str]] = {  # type -> what it takes besides the type
    "none": frozenset(),
    "approval": frozenset({"timeout_seconds"}),
    "ssm-document": frozenset({"document", "parameters", "timeout_seconds"}),
    "ssm-command": frozenset({"commands", "timeout_seconds"}),
}
_NUMBERS = {  # name -> least, most, default
    "batch_size": (1, 50, 1),
    "healthy_timeout_seconds": (30, 7200, 900),
    "drain_timeout_seconds": (1, 7200, 0),
    "timeout_seconds": (30, 172800, 3600),
}
BY_HAND = frozenset({"operation", "instance_id", "target_group_arns", "empty_zones", "force", "reason"})
_KEYS = {"instance_ids", "target_group_arns", "hook", "empty_zones", *_NUMBERS} - {"timeout_seconds"}


@dataclass(frozen=True)
class Request:
    """A validated input."""

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    hook: Hook
    drain_timeout_seconds: int  # 0: from the groups
    healthy_timeout_seconds: int
    batch_size: int
    empty_zones: bool = False  # a zone may lose its last healthy target although cross-zone load balancing is off


def request(config: Config, given: object, defaults: object) -> Request:
    """Read an execution's input over the stack's defaults; raise InputError that names every problem."""
    problems: list[str] = []
    for name, value in (("the input", given), ("RotationDefaults", defaults)):
        if not isinstance(value, dict):
            raise InputError(f"{name} is {value!r}, expected a JSON object")
        if unknown := sorted(value.keys() - _KEYS):
            problems.append(f"{name} has {', '.join(unknown)}; expected {', '.join(sorted(_KEYS))}")
    merged: dict[str, Any] = {**defaults, **given}  # type: ignore[dict-item]  # both were found to be objects
    ids = _texts(merged, "instance_ids", problems)
    groups = _texts(merged, "target_group_arns", problems) or config.rotation_target_group_arns
    if foreign := [arn for arn in groups if arn not in config.rotation_target_group_arns]:
        problems.append(f"target_group_arns has {', '.join(foreign)}, expected only groups of RotationTargetGroupArns")
    numbers = {name: _number(merged, name, problems) for name in _NUMBERS if name != "timeout_seconds"}
    empty_zones = merged.get("empty_zones", False)
    if not isinstance(empty_zones, bool):
        problems.append(f"empty_zones is {empty_zones!r}, expected true or false")
    hook = _hook(config, merged.get("hook", {"type": "none"}), problems)
    if problems:
        raise InputError("; ".join(problems))
    return Request(tuple(dict.fromkeys(ids)), tuple(dict.fromkeys(groups)), hook, **numbers, empty_zones=empty_zones)


def _texts(given: Mapping[str, Any], name: str, problems: list[str]) -> tuple[str, ...]:
    value = given.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
        problems.append(f"{name} is {value!r}, expected a list of texts")
        return ()
    if name in given and not value:
        problems.append(f"{name} is empty; leave it out for all")
    return tuple(item.strip() for item in value)


def _number(given: Mapping[str, Any], name: str, problems: list[str]) -> int:
    least, most, default = _NUMBERS[name]
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or (name in given and not least <= value <= most):
        problems.append(f"{name} is {value!r}, expected a whole number from {least} to {most}")
        return default
    return value


def _hook(config: Config, hook: object, problems: list[str]) -> Hook:
    if not isinstance(hook, dict) or str(hook.get("type")) not in HOOKS:
        problems.append(f'hook is {hook!r}, expected {{"type": …}} with one of {", ".join(HOOKS)}')
        return Hook(type="none", timeout_seconds=0)
    kind: HookType = hook["type"]
    if unknown := sorted(hook.keys() - HOOKS[kind] - {"type"}):
        takes = ", ".join(sorted(HOOKS[kind])) or "none"
        problems.append(f"the hook {kind} has {', '.join(unknown)}; it takes {takes}")
    made = {**hook, "timeout_seconds": _number(hook, "timeout_seconds", problems)}
    if kind == "ssm-command":
        if not _texts(hook, "commands", problems):
            problems.append("the hook ssm-command needs commands, a list of shell lines")
        if not {"AWS-RunShellScript", "AWS-RunPowerShellScript"} & set(config.rotation_documents):
            problems.append("RotationDocuments lists neither AWS-RunShellScript nor AWS-RunPowerShellScript")
    if kind == "ssm-document":
        if not isinstance(hook.get("document"), str) or not hook["document"]:
            problems.append("the hook ssm-document needs document, the name of a Command document")
        elif hook["document"] not in config.rotation_documents:
            problems.append(f"document {hook['document']} is not listed in RotationDocuments")
        parameters = hook.get("parameters", {})
        if not isinstance(parameters, dict) or not all(
            isinstance(value, list) and all(isinstance(item, str) for item in value) for value in parameters.values()
        ):
            problems.append(f"parameters is {parameters!r}, expected an object of lists of texts")
    return cast("Hook", made)  # its parts were found to be what they must be


def by_hand(event: Mapping[str, Any]) -> None:
    """Refuse an operation by hand with a field that it does not have, or a flag that is none; raise InputError."""
    if unknown := sorted(event.keys() - BY_HAND):
        raise InputError(
            f"an operation by hand has no {', '.join(unknown)}, expected only {', '.join(sorted(BY_HAND))}"
        )
    for flag in ("force", "empty_zones"):
        if not isinstance(event.get(flag, False), bool):
            raise InputError(f"{flag} is {event[flag]!r}, expected true or false")
