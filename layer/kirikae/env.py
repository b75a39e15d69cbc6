"""The environment, read into frozen dataclasses; every problem is named in one error."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from botocore.exceptions import ClientError

from kirikae.errors import InputError

_PARSERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    int: int,
    bool: lambda text: {"true": True, "false": False}[text.lower()],
    tuple[str, ...]: lambda text: tuple(part.strip() for part in text.split(",")),
}


# SAM CLI takes a blank for the end of a value: `PrimaryInstanceIds=i-a, i-b` is one instance and an empty element.
_CUT = "with an empty element, expected a list like a,b without blanks (in quotes where it is typed)"


def must(pattern: str, expected: str, **options: Any) -> Any:
    """Declare a field whose value, or each value of a list, matches `pattern` in full; `expected` says so in words."""

    def matching(value: object) -> object:
        if not re.fullmatch(pattern, str(value)):
            raise ValueError(value)
        return value

    return read_by(matching, expected, **options)


def read_by(read: Callable[[Any], Any], expected: str, **options: Any) -> Any:
    """Declare a field whose value, or each value of a list, is what `read` makes of it; ValueError is a mismatch."""
    return field(metadata={"read": read, "expected": expected}, **options)


def arn(service: str, resource: str, expected: str, **options: Any) -> Any:
    """Declare a field that holds ARNs of one resource type in any partition, region and account."""
    return must(rf"arn:aws[a-z-]*:{service}:[a-z0-9-]+:\d{{12}}:{resource}", expected, **options)


def listener_arns(**options: Any) -> Any:
    """Declare a field of listener ARNs, of an NLB or an ALB: its protocol shows which."""
    return arn(
        "elasticloadbalancing", r"listener/(net|app)/[^/]+/[^/]+/[^/]+", "listener ARNs (…:listener/net/…)", **options
    )


def target_group_arn(**options: Any) -> Any:
    """Declare a field of target group ARNs."""
    return arn("elasticloadbalancing", "targetgroup/[^/]+/[^/]+", "target group ARNs (…:targetgroup/…)", **options)


def instance_ids(**options: Any) -> Any:
    """Declare a field of EC2 instance ids."""
    return must(r"i-[0-9a-f]{8,17}", "instance ids like i-0123456789abcdef0", **options)


def of_stack(**options: Any) -> Any:
    """Declare a field that no parameter holds: the template writes the name of something that the stack itself made."""
    return field(metadata={"parameter": "which the template sets"}, **options)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Settings that every acting function has."""

    service_name: str
    topic_arn: str = of_stack()
    hold_parameter: str = of_stack()
    told_parameter: str = of_stack()
    notification_language: str = must("en|ja", "en or ja", default="en")
    dry_run: bool = False

    @property
    def region(self) -> str:
        """The Region that the stack is in."""
        return self.topic_arn.split(":")[3]

    @property
    def stack(self) -> str:
        """The stack's name."""
        return self.told_parameter.split("/")[1]

    @property
    def capability(self) -> str:
        """Return the capability's name, which its functions share: nlb, pair, maintenance, standby or rotation."""
        return self.told_parameter.rpartition("/")[2]


def parameter(item: Field[Any]) -> str:
    """Return the template parameter behind a field, NlbListenerArns for `nlb_listener_arns`, or who sets it instead."""
    return str(item.metadata.get("parameter") or "".join(word.capitalize() for word in item.name.split("_")))


def load[T](cls: type[T], environ: Mapping[str, str] = os.environ) -> T:
    """Build `cls` from variables named after its fields, `min_healthy` from MIN_HEALTHY; an empty one is as if not set.

    Raises InputError that lists every problem at once.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for item in fields(cls):  # type: ignore[arg-type]  # T is always a dataclass here
        variable, text = item.name.upper(), environ.get(item.name.upper(), "").strip()
        if not text:
            if item.default is MISSING and item.default_factory is MISSING:
                problems.append(f"{variable} ({parameter(item)}) is not set")
            continue
        kind: Any = item.type
        try:
            value = _PARSERS[kind](text)
        except (ValueError, KeyError):
            wanted = {int: "a whole number", bool: "true or false"}[kind]
            problems.append(f"{variable} ({parameter(item)}) is {text!r}, expected {wanted}")
            continue
        if isinstance(value, tuple) and "" in value:
            problems.append(f"{variable} ({parameter(item)}) is {text!r} {_CUT}")
            continue
        values[item.name], mismatches = _read(item.metadata, value)
        problems += [f"{variable} ({parameter(item)}) has {mismatch}" for mismatch in mismatches]
    if problems:
        raise InputError("; ".join(problems))
    return cls(**values)


def _read(metadata: Mapping[str, Any], value: Any) -> tuple[Any, list[str]]:
    """Return the value as its field keeps it, and a sentence for each part that is not what the field declares."""
    kept, mismatches = [], []
    for part in value if isinstance(value, tuple) else (value,):
        try:
            kept.append(metadata["read"](part) if "read" in metadata else part)
        except ValueError:
            mismatches.append(f"{part!r}, expected {metadata['expected']}")
    return tuple(kept) if isinstance(value, tuple) else next(iter(kept), None), mismatches


@contextmanager
def naming(name: str, value: str) -> Iterator[None]:
    """Turn «no such thing» of an AWS call into InputError that names the parameter it came from."""
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if not code.endswith(("NotFound", "NotFoundException", "Malformed", "ValidationError")):
            raise
        raise InputError(
            f"{name} is {value!r}, but AWS says {code}: {error.response['Error']['Message']}; "
            f"expected one that exists in this account and region"
        ) from error


def in_lambda(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether this process is a Lambda execution environment."""
    return "AWS_LAMBDA_RUNTIME_API" in environ
