"""CloudFormation: a built SAM template becomes a stack of resources in the account, or is refused with a reason.

Nothing is skipped: an unknown type, property, attribute or name is an error, as is one that the sandbox does not apply.
"""

import json
import pickle
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError
from samcli.yamlhelper import yaml_parse
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator import translator as sam
from samtranslator.utils.py27hash_fix import to_py27_compatible_template, undo_mark_unicode_str_in_template

from sandbox import ACCOUNT_ID, REGION
from sandbox.account import Account
from sandbox.stack import provision, resources
from sandbox.stack.intrinsics import (
    Scope,
    TemplateError,
    check_rules,
    condition_values,
    parameter_values,
    pseudo_parameters,
    references,
    resolve,
)
from sandbox.stack.resources import Resource
from sandbox.wire import Refusal

# The translator checks its own templates of policies, which are always the same, at each translation.
sam.make_policy_template_for_function_plugin = cache(sam.make_policy_template_for_function_plugin)

_SECTIONS = {
    "AWSTemplateFormatVersion",
    "Conditions",
    "Description",
    "Mappings",
    "Metadata",
    "Outputs",
    "Parameters",
    "Resources",
    "Rules",
}
_RESOURCE_KEYS = {"Condition", "DeletionPolicy", "DependsOn", "Metadata", "Properties", "Type", "UpdateReplacePolicy"}
_POLICIES = "DeletionPolicy", "UpdateReplacePolicy"
_OUTPUT_KEYS = {"Condition", "Description", "Export", "Value"}
_TRANSFORM = "AWS::Serverless-2016-10-31"
_LOCAL_PATHS = {
    "AWS::Serverless::Function": "CodeUri",
    "AWS::Serverless::LayerVersion": "ContentUri",
    "AWS::Serverless::StateMachine": "DefinitionUri",
}


class StackError(Exception):
    """A resource could not be created, updated or deleted."""


@dataclass(frozen=True)
class Stack:
    """A deployed stack: its parameters, with AWS's own, its outputs by name and its resources by logical id."""

    name: str
    parameters: Mapping[str, Any]
    outputs: Mapping[str, str]
    made: Mapping[str, Resource]
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def resources(self) -> dict[str, str]:
        """Return the physical id (what Ref returns) of each logical id."""
        return {logical_id: resource.identity.ref for logical_id, resource in self.made.items()}

    @property
    def attributes(self) -> dict[str, dict[str, Any]]:
        """Return what Fn::GetAtt returns, by logical id and attribute."""
        return {logical_id: dict(resource.identity.attributes) for logical_id, resource in self.made.items()}


@dataclass(frozen=True)
class Plan:
    """A checked template: what to make, in which order."""

    stack_name: str
    order: tuple[str, ...]
    definitions: Mapping[str, Any]
    outputs: Mapping[str, Any]
    scope: Scope


def deploy(
    account: Account,
    build_dir: Path | str,
    stack_name: str,
    parameters: Mapping[str, str],
    tags: Mapping[str, str] | None = None,
) -> Stack:
    """Create the stack of a `sam build` directory, or of any with a template.yaml whose code needs no build.

    Tags of the stack go to every resource whose type has tags.
    TemplateError for what CloudFormation, or the sandbox, does not take: nothing is created. StackError if a resource
    cannot be created: what was made is deleted.
    """
    plan = planned(Path(build_dir) / "template.yaml", stack_name, parameters)
    made: dict[str, Resource] = {}

    def create(resource: Resource) -> Resource:
        with _naming(resource):
            made[resource.logical_id] = provision.put(account, resource, None, made)
        return made[resource.logical_id]

    try:
        _, outputs = realise(plan, create, tags or {})
    except Exception:
        _remove(account, made.values())
        raise
    account.lag.catch_up()  # a deployment takes minutes on AWS
    return Stack(stack_name, plan.scope.parameters, outputs, made, tags or {})


def update(
    account: Account,
    stack: Stack,
    build_dir: Path | str,
    parameters: Mapping[str, str],
    tags: Mapping[str, str] | None = None,
    *,
    policy_before: bool = False,
) -> Stack:
    """Return the stack brought to this template and these parameters; one that is not given takes its default.

    A resource that differs in anything, its tags too, is sent all its properties (N28). One that does not is not even
    looked at: what was deleted by hand stays deleted (P3). Without tags the stack keeps those that it has. For what is
    replaced the new template's UpdateReplacePolicy counts, or, if policy_before, that of the one before (P6: unproven).
    Errors as deploy(); what had been changed is then sent as it was (P4).
    """
    tags = stack.tags if tags is None else tags
    plan = planned(Path(build_dir) / "template.yaml", stack.name, parameters)
    made: dict[str, Resource] = {}
    left_behind: list[Resource] = [r for logical_id, r in stack.made.items() if logical_id not in plan.order]

    def change(resource: Resource) -> Resource:
        previous = stack.made.get(resource.logical_id)
        if previous and resources.must_replace(previous, resource):
            if previous.name == resource.name:
                raise StackError(
                    "CloudFormation cannot update a stack when a custom-named resource requires replacing. "
                    f"Rename {resource.name} and update the stack again."
                )
            kept = previous if policy_before else resource
            left_behind.append(replace(previous, retained=kept.retained_if_replaced))
            previous = None
        if previous and previous.properties == resource.properties:
            made[resource.logical_id] = replace(previous, retained=resource.retained)
        else:
            with _naming(resource):
                made[resource.logical_id] = provision.put(account, resource, previous, made)
        return made[resource.logical_id]

    try:
        _, outputs = realise(plan, change, tags)
    except Exception:
        _roll_back(account, stack, made)
        raise
    order = {logical_id: place for place, logical_id in enumerate(stack.made)}
    _remove(account, sorted(left_behind, key=lambda resource: order[resource.logical_id]))
    account.lag.catch_up()
    return Stack(stack.name, plan.scope.parameters, outputs, made, tags)


def _roll_back(account: Account, stack: Stack, made: Mapping[str, Resource]) -> None:
    """Send what a failed update has changed as the stack had it, and remove what it has created, last first."""
    for logical_id, resource in reversed(made.items()):
        previous = stack.made.get(logical_id)
        if previous is None or previous.name != resource.name:
            with _naming(resource), _already_gone():
                provision.remove(account, resource)
        elif previous.properties != resource.properties:
            with _naming(resource):
                provision.put(account, previous, resource, stack.made)


def delete(account: Account, stack: Stack) -> None:
    """Delete the stack's resources, last made first, but not those with DeletionPolicy Retain; or StackError."""
    _remove(account, stack.made.values())


def _remove(account: Account, made: Iterable[Resource]) -> None:
    for resource in reversed([resource for resource in made if not resource.retained]):
        with _naming(resource), _already_gone():
            provision.remove(account, resource)


@contextmanager
def _already_gone() -> Iterator[None]:
    """Let a resource that somebody has deleted count as deleted, as CloudFormation does."""
    try:
        yield
    except (ClientError, Refusal) as error:
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else error.code
        if not re.search("NotFound|NonExistent|DoesNotExist", code):
            raise


@contextmanager
def _naming(resource: Resource) -> Iterator[None]:
    """Raise an error in here as StackError with the name of the resource."""
    try:
        yield
    except Exception as error:
        raise StackError(f"{resource.logical_id} ({resource.type}): {error}") from error


def planned(template_path: Path, stack_name: str, parameters: Mapping[str, str]) -> Plan:
    """Read, transform and check a template; nothing is created. TemplateError as CloudFormation words it."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,127}", stack_name):  # L2
        raise TemplateError(
            f"1 validation error detected: Value {stack_name!r} at 'stackName' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*, and have at most 128 characters"
        )
    directory = template_path.resolve().parent
    template = _expanded(template_path.read_text(), str(directory), tuple(sorted(parameters.items())))
    _refuse_others("template section", template, _SECTIONS)
    values = parameter_values(template.get("Parameters", {}), parameters)
    check_rules(template.get("Rules", {}), values)
    values |= pseudo_parameters(stack_name, REGION, ACCOUNT_ID)
    scope = Scope(values, mappings=template.get("Mappings", {}))
    scope = replace(scope, conditions=condition_values(template.get("Conditions", {}), scope))
    definitions, outputs = template["Resources"], template.get("Outputs", {})
    _check_structure(definitions, outputs, scope)
    active = {name: d for name, d in definitions.items() if _is_active(d, scope)}
    active_outputs = {name: d for name, d in outputs.items() if _is_active(d, scope)}
    order = _ordered(active, scope)
    _check_targets("Outputs", active_outputs, active, scope)
    return Plan(stack_name, order, active, active_outputs, scope)


def realise(
    plan: Plan, make: Callable[[Resource], Resource], tags: Mapping[str, str] | None = None
) -> tuple[dict[str, Resource], dict[str, str]]:
    """Hand each resource, its properties resolved, to make, in order; return what was made and the outputs."""
    made: dict[str, Resource] = {}

    def scope() -> Scope:
        return replace(plan.scope, resources={logical_id: resource.identity for logical_id, resource in made.items()})

    for logical_id in plan.order:
        definition = plan.definitions[logical_id]
        properties = resolve(definition.get("Properties", {}), scope())
        properties = resources.tagged(definition["Type"], properties, tags or {})
        described = resources.describe(plan.stack_name, logical_id, definition["Type"], properties)
        # Which policy counts when a resource goes: for one that leaves the template that of the template before (P6).
        deleted, replaced = (definition.get(key) == "Retain" for key in _POLICIES)
        made[logical_id] = make(replace(described, retained=deleted, retained_if_replaced=replaced))
    return made, dict(_output_values(plan, scope()))


def _output_values(plan: Plan, scope: Scope) -> Iterator[tuple[str, str]]:
    for name, output in plan.outputs.items():
        value = resolve(output["Value"], scope)
        if not isinstance(value, str | int | float):
            raise TemplateError(
                f"Template format error: Output {name} is malformed. The Value field of every Outputs member must "
                "evaluate to a String."
            )
        yield name, str(value)


# The SAM transform


def _expanded(text: str, directory: str, parameters: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """Return the template that the SAM transform makes, with local paths as keys of a bucket.

    The transform is slow and copies values without reading them, so that it is given tokens instead, whatever they are.
    """
    tokens = tuple((name, f"<the value of {name}>") for name, _ in parameters)
    made = _transformed(text, directory, tokens)
    for (_, value), (_, token) in zip(parameters, tokens, strict=True):
        made = made.replace(token, json.dumps(value)[1:-1])
    return json.loads(made)  # type: ignore[no-any-return]


@lru_cache
def _parsed(text: str) -> bytes:
    return pickle.dumps(yaml_parse(text))  # the transform changes what it is given


@lru_cache
def _transformed(text: str, directory: str, parameters: tuple[tuple[str, str], ...]) -> str:
    template = pickle.loads(_parsed(text))  # noqa: S301 (of our own making)
    if (transform := template.pop("Transform", _TRANSFORM)) not in (_TRANSFORM, [_TRANSFORM]):
        raise TemplateError(f"the sandbox runs only the transform {_TRANSFORM}, not {transform}")
    for logical_id, resource in template["Resources"].items():
        if not isinstance(resource, dict):
            raise TemplateError(f"Template format error: resource {logical_id} must be an object")
        key = _LOCAL_PATHS.get(resource.get("Type", ""), "")
        path = resource.get("Properties", {}).get(key)
        if isinstance(path, str) and not path.startswith("s3://"):
            resource["Properties"][key] = resources.uploaded(Path(directory) / path)
    given = dict(parameters)
    to_py27_compatible_template(template, given)  # the transform hashes as Python 2.7 did
    try:
        translator = sam.Translator(None, Parser(), boto_session=boto3.Session(region_name=REGION))
        translated = translator.translate(template, given, get_managed_policy_map=dict)
        translator.metrics.publish()  # to nowhere; without it the translator complains when it is collected
    except InvalidDocumentException as error:
        raise TemplateError("; ".join(str(cause.message) for cause in error.causes)) from error
    return json.dumps(undo_mark_unicode_str_in_template(translated))


# Checks


def _refuse_others(what: str, given: Mapping[str, Any], known: set[str]) -> None:
    if others := sorted(set(given) - known):
        raise TemplateError(f"Invalid {what}: {', '.join(others)}")


def _is_active(definition: Mapping[str, Any], scope: Scope) -> bool:
    return "Condition" not in definition or scope.conditions[definition["Condition"]]


def _check_structure(definitions: Mapping[str, Any], outputs: Mapping[str, Any], scope: Scope) -> None:
    """Check what holds whatever the parameters are: types, properties, and that every name exists."""
    if unknown := sorted({d["Type"] for d in definitions.values()} - resources.TYPES.keys()):
        raise TemplateError(f"Template format error: Unrecognized resource types: [{', '.join(unknown)}]")
    for logical_id, definition in definitions.items():
        _refuse_others(f"key of resource {logical_id}", definition, _RESOURCE_KEYS)
        resources.check_property_names(logical_id, definition["Type"], definition.get("Properties", {}))
        for key in _POLICIES:
            if (policy := definition.get(key, "Delete")) not in ("Delete", "Retain"):
                raise TemplateError(f"the sandbox does not apply {key} {policy} of {logical_id}")
        for name in _depends_on(definition):
            if name not in definitions:
                raise TemplateError(f"Template format error: Unresolved resource dependencies [{name}]")
    for name, output in outputs.items():
        _refuse_others(f"key of output {name}", output, _OUTPUT_KEYS)
    for name, definition in {**definitions, **outputs}.items():
        if (condition := definition.get("Condition")) is not None and condition not in scope.conditions:
            raise TemplateError(f"Template format error: Unresolved condition dependency {condition} in {name}")
        _check_references(name, [definition.get("Properties"), definition.get("Value")], definitions, scope)


def _check_references(where: str, value: Any, definitions: Mapping[str, Any], scope: Scope) -> None:
    for name, attribute in references(value):
        if attribute is None and name in scope.parameters:
            continue
        if name not in definitions:
            raise TemplateError(f"Template format error: Unresolved resource dependencies [{name}] in {where}")
        if attribute is not None and attribute not in resources.attribute_names(definitions[name]["Type"]):
            raise TemplateError(
                f"Template error: resource {name} does not support attribute type {attribute} in Fn::GetAtt ({where})"
            )


def _check_targets(where: str, value: Any, active: Mapping[str, Any], scope: Scope) -> set[str]:
    """Return the resources that the value needs; one whose condition is false cannot be named."""
    names = {name for name, _ in references(value, scope.conditions) if name not in scope.parameters}
    if absent := sorted(names - active.keys()):
        raise TemplateError(
            f"Template format error: Unresolved resource dependencies [{', '.join(absent)}] in {where}: "
            "the condition of that resource is false"
        )
    return names


def _depends_on(definition: Mapping[str, Any]) -> list[str]:
    names = definition.get("DependsOn", [])
    return [names] if isinstance(names, str) else names


def _ordered(active: Mapping[str, Any], scope: Scope) -> tuple[str, ...]:
    """Return the logical ids so that each comes after those it names."""
    needs = {
        logical_id: sorted(
            _check_targets(logical_id, definition.get("Properties"), active, scope)
            # CloudFormation ignores DependsOn when the condition of the other resource is false.
            | (active.keys() & set(_depends_on(definition)))
        )
        for logical_id, definition in active.items()
    }
    try:
        return tuple(TopologicalSorter(needs).static_order())
    except CycleError as error:
        circle = ", ".join(dict.fromkeys(error.args[1]))
        raise TemplateError(f"Circular dependency between resources: [{circle}]") from error
