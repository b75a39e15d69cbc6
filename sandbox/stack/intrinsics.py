"""CloudFormation's parameters, rules, conditions and intrinsic functions, as pure functions.

The messages are CloudFormation's own where it has one, so that a refusal here reads like a refusal there.
"""

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


class TemplateError(Exception):
    """A template or parameter that CloudFormation refuses before it creates anything."""


class _NoValue:
    """What `AWS::NoValue` becomes: whatever holds it is removed."""


NO_VALUE = _NoValue()


@dataclass(frozen=True)
class Identity:
    """What `Ref` and `Fn::GetAtt` return for a resource."""

    ref: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Scope:
    """Everything a reference can name: parameters with pseudo parameters, conditions, mappings and resources."""

    parameters: Mapping[str, Any]
    conditions: Mapping[str, bool] = field(default_factory=dict)
    mappings: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, Identity] = field(default_factory=dict)


def pseudo_parameters(stack_name: str, region: str, account_id: str) -> dict[str, Any]:
    """Return the values of the `AWS::` parameters."""
    # A stack's id is a UUID of version 1: the first part is of the time, the last one of the host, which stacks share.
    made_up_id = uuid.UUID(fields=(*uuid.uuid5(uuid.NAMESPACE_DNS, stack_name).fields[:5], 0x0A58A9FEAC02), version=1)
    return {
        "AWS::AccountId": account_id,
        "AWS::NoValue": NO_VALUE,
        "AWS::NotificationARNs": [],
        "AWS::Partition": "aws",
        "AWS::Region": region,
        "AWS::StackId": f"arn:aws:cloudformation:{region}:{account_id}:stack/{stack_name}/{made_up_id}",
        "AWS::StackName": stack_name,
        "AWS::URLSuffix": "amazonaws.com",
    }


def text(value: Any) -> str:
    """Return a scalar as CloudFormation writes it: YAML's true is "true"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise TemplateError(f"Template error: a string was expected, not {value!r}")
    return str(value)


# Parameters and rules

_ID_PREFIXES = {
    "AWS::EC2::Image::Id": "ami-",
    "AWS::EC2::Instance::Id": "i-",
    "AWS::EC2::SecurityGroup::Id": "sg-",
    "AWS::EC2::Subnet::Id": "subnet-",
    "AWS::EC2::VPC::Id": "vpc-",
}


def parameter_values(definitions: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """Return every parameter's value, lists as lists, or refuse as CloudFormation does."""
    if unknown := sorted(set(given) - set(definitions)):
        raise TemplateError(f"Parameters: [{', '.join(unknown)}] do not exist in the template")
    if missing := sorted(n for n, d in definitions.items() if n not in given and "Default" not in d):
        raise TemplateError(f"Parameters: [{', '.join(missing)}] must have values")
    return {
        name: _parameter_value(name, definition, given.get(name, definition.get("Default")))
        for name, definition in definitions.items()
    }


def _parameter_value(name: str, definition: Mapping[str, Any], raw: Any) -> Any:
    value, kind = text(raw), definition.get("Type")
    if len(value.encode()) > 4096:
        raise TemplateError(f"Parameter '{name}' must not be longer than 4096 bytes")
    listed = re.fullmatch(r"List<(.+)>", str(kind))
    is_list = listed is not None or kind == "CommaDelimitedList"
    # An empty list parameter is a list of one empty string, which is why templates compare its join with "".
    members = [member.strip() for member in value.split(",")] if is_list else [value]
    member_kind = listed[1] if listed else kind
    if member_kind not in {"String", "Number", "CommaDelimitedList", *_ID_PREFIXES}:
        raise TemplateError(f"Template format error: Unrecognized parameter type: {kind}")
    for member in members:
        if problem := _member_problem(name, str(member_kind), definition, member):
            raise TemplateError(problem)
    return members if is_list else value


def _member_problem(name: str, kind: str, definition: Mapping[str, Any], value: str) -> str | None:
    """Return CloudFormation's complaint about one value, or None."""
    constraint = definition.get("ConstraintDescription")
    own = f"Parameter {name} failed to satisfy constraint: {constraint}" if constraint else None
    if kind in _ID_PREFIXES and not value.startswith(_ID_PREFIXES[kind]):
        return f"Parameter validation failed: parameter value {value} for parameter name {name} does not exist"
    if kind == "Number" and not re.fullmatch(r"[+-]?\d+(\.\d+)?", value):
        return f"Parameter '{name}' must be a number."
    allowed = [text(v) for v in definition.get("AllowedValues", [value])]
    if value not in allowed:
        return own or f"Parameter '{name}' must be one of AllowedValues [{', '.join(allowed)}]"
    pattern = definition.get("AllowedPattern")
    if pattern is not None and not re.fullmatch(pattern, value, re.ASCII):  # classes as in Java
        return own or f"Parameter '{name}' must match pattern {pattern}"
    if len(value) < int(definition.get("MinLength", 0)):
        return own or f"Parameter '{name}' must contain at least {definition['MinLength']} characters"
    if len(value) > int(definition.get("MaxLength", 4096)):
        return own or f"Parameter '{name}' must contain at most {definition['MaxLength']} characters"
    if kind == "Number" and float(value) < float(definition.get("MinValue", value)):
        return own or f"Parameter '{name}' must be a number not less than {definition['MinValue']}"
    if kind == "Number" and float(value) > float(definition.get("MaxValue", value)):
        return own or f"Parameter '{name}' must be a number not greater than {definition['MaxValue']}"
    return None


def check_rules(rules: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that fail an assertion of the template's Rules."""
    failed = [
        assertion.get("AssertDescription", f"rule {name}")
        for name, rule in rules.items()
        if _holds(rule.get("RuleCondition", True), parameters)
        for assertion in rule["Assertions"]
        if not _holds(assertion["Assert"], parameters)
    ]
    if failed:
        raise TemplateError(f"Template error: assertion failed: {'; '.join(failed)}")


def _holds(rule: Any, parameters: Mapping[str, Any]) -> bool:
    """Evaluate a rule function; the Rules section knows no others, not even Fn::Join."""
    if isinstance(rule, bool):
        return rule
    match _call(rule):
        case "Fn::And", list(parts):
            return all(_holds(part, parameters) for part in parts)
        case "Fn::Or", list(parts):
            return any(_holds(part, parameters) for part in parts)
        case "Fn::Not", [part]:
            return not _holds(part, parameters)
        case "Fn::Equals", [left, right]:
            return bool(_operand(left, parameters) == _operand(right, parameters))
        case "Fn::Contains", [members, value]:
            return _operand(value, parameters) in _operand(members, parameters)
        case "Fn::EachMemberEquals", [members, value]:
            return all(member == _operand(value, parameters) for member in _operand(members, parameters))
        case "Fn::EachMemberIn", [members, allowed]:
            return set(_operand(members, parameters)) <= set(_operand(allowed, parameters))
    raise TemplateError(f"Template format error: {json.dumps(rule)} is not allowed in Rules")


def _operand(value: Any, parameters: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [text(member) for member in value]
    if not isinstance(value, dict):
        return text(value)
    match _call(value):
        case "Ref", str(name) if name in parameters:
            return parameters[name]
    raise TemplateError(f"Template format error: {json.dumps(value)} is not allowed in Rules")


# Conditions


def condition_values(definitions: Mapping[str, Any], scope: Scope) -> dict[str, bool]:
    """Return every condition's value; an unknown or circular condition is an error."""
    values: dict[str, bool] = {}
    pending: list[str] = []

    def value_of(name: str) -> bool:
        if name not in definitions:
            raise TemplateError(f"Template format error: Unresolved condition dependency {name}")
        if name in pending:
            raise TemplateError(f"Template format error: Circular dependency between conditions: {[*pending, name]}")
        if name not in values:
            pending.append(name)
            values[name] = _truth(definitions[name], scope, value_of)
            pending.pop()
        return values[name]

    for name in definitions:
        value_of(name)
    return values


def _truth(condition: Any, scope: Scope, value_of: Callable[[str], bool]) -> bool:
    match _call(condition):
        case "Condition", str(name):
            return value_of(name)
        case ("Fn::And" | "Fn::Or") as function, list(parts) if 2 <= len(parts) <= 10:
            truths = [_truth(part, scope, value_of) for part in parts]
            return all(truths) if function == "Fn::And" else any(truths)
        case "Fn::Not", [part]:
            return not _truth(part, scope, value_of)
        case "Fn::Equals", [left, right]:
            return bool(_comparable(resolve(left, scope)) == _comparable(resolve(right, scope)))
    raise TemplateError(f"Template format error: {json.dumps(condition)} is not a condition")


def _comparable(value: Any) -> Any:
    return [text(member) for member in value] if isinstance(value, list) else text(value)


# Intrinsic functions


def resolve(value: Any, scope: Scope) -> Any:
    """Return the value with every intrinsic function replaced by what it evaluates to."""
    if isinstance(value, list):
        return [item for item in (resolve(member, scope) for member in value) if item is not NO_VALUE]
    if not isinstance(value, dict):
        return value
    name, argument = _call(value)
    if name == "Ref":
        return _ref(argument, scope)
    if name.startswith("Fn::"):
        return _function(name, argument, scope)
    resolved = {key: resolve(member, scope) for key, member in value.items()}
    return {key: member for key, member in resolved.items() if member is not NO_VALUE}


def _call(value: Any) -> tuple[str, Any]:
    """Return (function, argument) of `{function: argument}`, or ("", value) of anything else."""
    if isinstance(value, dict) and len(value) == 1:
        ((name, argument),) = value.items()
        return str(name), argument
    return "", value


def _ref(name: Any, scope: Scope) -> Any:
    if not isinstance(name, str):
        raise TemplateError(f"Template format error: Ref takes a name, not {name!r}")
    if name in scope.parameters:
        return scope.parameters[name]
    if name in scope.resources:
        return scope.resources[name].ref
    raise TemplateError(f"Template format error: Unresolved resource dependencies [{name}]")


def _attribute(logical_id: str, attribute: str, scope: Scope) -> Any:
    if logical_id not in scope.resources:
        raise TemplateError(f"Template error: instance of Fn::GetAtt references undefined resource {logical_id}")
    attributes = scope.resources[logical_id].attributes
    if attribute not in attributes:
        raise TemplateError(f"Template error: {logical_id} does not support attribute {attribute} in Fn::GetAtt")
    return attributes[attribute]


def _function(name: str, argument: Any, scope: Scope) -> Any:
    match name, argument:
        case "Fn::GetAtt", _:
            return _attribute(*_split_attribute(argument), scope)
        case "Fn::If", [condition, yes, no]:
            return resolve(yes if _condition(condition, scope) else no, scope)
        case "Fn::Sub", str(template):
            return _sub(template, {}, scope)
        case "Fn::Sub", [str(template), dict(variables)]:
            return _sub(template, resolve(variables, scope), scope)
        case "Fn::Join", [str(separator), members]:
            return separator.join(text(member) for member in _list(members, scope, name))
        case "Fn::Split", [str(separator), whole]:
            return text(resolve(whole, scope)).split(separator)
        case "Fn::Select", [index, members]:
            choices, chosen = _list(members, scope, name), int(text(resolve(index, scope)))
            if not 0 <= chosen < len(choices):
                raise TemplateError(f"Template error: Fn::Select cannot select nonexistent value at index {chosen}")
            return choices[chosen]
        case "Fn::FindInMap", [*path]:
            return _find_in_map([text(resolve(part, scope)) for part in path], scope)
    raise TemplateError(f"Template error: {name} is unknown or malformed: {json.dumps(argument)}")


def _condition(name: Any, scope: Scope) -> bool:
    if name not in scope.conditions:
        raise TemplateError(f"Template error: unresolved condition dependency {name}")
    return scope.conditions[name]


def _list(value: Any, scope: Scope, function: str) -> list[Any]:
    resolved = resolve(value, scope)
    if not isinstance(resolved, list):
        raise TemplateError(f"Template error: {function} needs a list, not {resolved!r}")
    return resolved


def _find_in_map(path: list[str], scope: Scope) -> Any:
    value: Any = scope.mappings
    for part in path:
        if not isinstance(value, Mapping) or part not in value:
            raise TemplateError(f"Template error: Unable to get mapping for {'::'.join(path)}")
        value = value[part]
    return value


_VARIABLE = re.compile(r"\$\{(!?)([^}]*)\}")


def _sub(template: str, variables: Mapping[str, Any], scope: Scope) -> str:
    def value(match: re.Match[str]) -> str:
        literal, name = match.groups()
        if literal:
            return "${" + name + "}"
        if name in variables:
            return text(variables[name])
        if "." in name:
            return text(_attribute(*_split_attribute(name), scope))
        return text(_ref(name, scope))

    return _VARIABLE.sub(value, template)


def _split_attribute(argument: Any) -> tuple[str, str]:
    """Return (logical id, attribute) of either form of Fn::GetAtt."""
    match argument.split(".", 1) if isinstance(argument, str) else argument:
        case [str(logical_id), str(attribute)]:
            return logical_id, attribute
    raise TemplateError(f"Template error: every Fn::GetAtt object must have two strings, not {argument!r}")


def references(value: Any, conditions: Mapping[str, bool] | None = None) -> Iterator[tuple[str, str | None]]:
    """Yield (name, attribute or None) of every reference; with conditions given, only those of the branch taken."""
    if isinstance(value, list):
        for member in value:
            yield from references(member, conditions)
    if not isinstance(value, dict):
        return
    match _call(value):
        case "Ref", str(name):
            yield name, None
        case "Fn::GetAtt", argument:
            yield _split_attribute(argument)
        case "Fn::Sub", str(template):
            yield from _variables(template)
        case "Fn::Sub", [str(template), dict(variables)]:
            yield from ((name, attribute) for name, attribute in _variables(template) if name not in variables)
            yield from references(list(variables.values()), conditions)
        case "Fn::If", [str(condition), yes, no] if conditions is not None and condition in conditions:
            yield from references(yes if conditions[condition] else no, conditions)
        case _:
            yield from references(list(value.values()), conditions)


def _variables(template: str) -> Iterator[tuple[str, str | None]]:
    for literal, name in _VARIABLE.findall(template):
        if not literal:
            logical_id, _, attribute = name.partition(".")
            yield logical_id, attribute or None
