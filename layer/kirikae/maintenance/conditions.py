"""What a rule asks of a request: the conditions of our own rules, live and parked, how open those of others are, and
which of them ask for the same.

A parked rule asks for a method that nobody sends. So it takes nothing, wherever it stands and whatever is behind it:
not even from the default action, which no priority is behind.
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-condition-types.html
"""

import functools
import ipaddress
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

type Condition = Mapping[str, Any]  # RuleCondition of the API
type Asks = tuple[tuple[str, tuple[str, ...]], ...]  # a rule's kinds of conditions with their values, of which one does
type Part = tuple[tuple[str, str], ...]  # the same with one value each

PARKED = "KIRIKAE-PARKED"
NOTHING = ({"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": [PARKED]}},)
EVERYTHING = ({"Field": "path-pattern", "PathPatternConfig": {"Values": ["/*"]}},)
# Of a regular expression nobody can say whether it matches all, so these stand for all; `^/b` and `^www` are some.
_SAMPLES = {
    "path-pattern": ("/", "/a", "/b/", "/C/d-1.e?", "/%E6%97%A5//_~"),
    "host-header": ("a.b", "www.example.com", "192.0.2.1", "x-1.y.z.invalid"),
}
_CONFIGS = {
    "host-header": "HostHeaderConfig",
    "http-request-method": "HttpRequestMethodConfig",
    "path-pattern": "PathPatternConfig",
    "source-ip": "SourceIpConfig",
}


def cidr(text: str) -> str:
    """Return an address block as it is compared, the network of `10.0.0.1/8`; raise ValueError if it is none."""
    return str(ipaddress.ip_network(text, strict=False))


def from_addresses(cidrs: Iterable[str]) -> tuple[Condition, ...]:
    """Return the conditions of a rule for these clients."""
    return ({"Field": "source-ip", "SourceIpConfig": {"Values": list(cidrs)}},)


def match_nothing(conditions: Iterable[Condition]) -> bool:
    """Tell whether a rule is parked: beside the method that nobody sends, other conditions do not matter."""
    return any(
        condition["Field"] == "http-request-method" and _values(condition) == [PARKED] for condition in conditions
    )


def match_everything(conditions: Iterable[Condition]) -> bool:
    """Tell whether a rule takes every visitor: none of its conditions keeps a usual request out."""
    return all(_open(condition) for condition in conditions)


def addresses(conditions: tuple[Condition, ...]) -> frozenset[str]:
    """Return the address blocks that a rule asks for, if it asks for nothing else."""
    if [condition["Field"] for condition in conditions] != ["source-ip"]:
        return frozenset()
    return frozenset(map(cidr, _values(conditions[0])))


def asks(conditions: Iterable[Condition]) -> Asks:
    """Return what a rule asks for, without conditions that keep no usual request out, other than some methods."""
    return tuple(map(_ask, (one for one in conditions if one["Field"] == "http-request-method" or not _open(one))))


def parts(asked: Asks) -> list[Part]:
    """Return what a rule asks for, taken apart: who matches one of these matches the rule."""
    return list(itertools.product(*([(kind, value) for value in values] for kind, values in asked)))


def covers(asked: Asks, part: Part) -> bool:
    """Tell whether a rule surely takes all requests of this part of another one."""
    return all(
        any(kind == wanted and any(_within(kind, value, one) for one in values) for wanted, value in part)
        for kind, values in asked
    )


def meets(asked: Asks, part: Part) -> bool:
    """Tell whether a rule may take a request of this part of another one; what nobody can compare may meet."""
    wanted = dict(asked)
    return all(any(_meet(kind, value, one) for one in wanted.get(kind, (value,))) for kind, value in part)


def _ask(condition: Condition) -> tuple[str, tuple[str, ...]]:
    """Return the kind and the values of a condition; one that is compared as a whole only is a value itself."""
    field, values = condition["Field"], _values(condition)
    if field not in _CONFIGS or condition.get(_CONFIGS[field], {}).get("RegexValues"):
        return f"{field} as it is", (json.dumps(condition, sort_keys=True),)
    if field == "host-header":
        return field, tuple(value.lower() for value in values)
    return field, tuple(map(cidr, values) if field == "source-ip" else values)


def _within(kind: str, value: str, wide: str) -> bool:
    """Tell whether everything that one value stands for is in what the other one stands for."""
    if kind in _SAMPLES:
        return bool(re.fullmatch(re.escape(wide).replace(r"\*", ".*").replace(r"\?", "[^*]"), value))
    if kind == "source-ip":
        nets = ipaddress.ip_network(value), ipaddress.ip_network(wide)
        return nets[0].version == nets[1].version and nets[0].subnet_of(nets[1])  # type: ignore[arg-type]
    return value == wide


def _meet(kind: str, value: str, other: str) -> bool:
    """Tell whether something may be in what both values stand for."""
    if kind in _SAMPLES:
        return _patterns_meet(value, other)
    if kind == "source-ip":
        return ipaddress.ip_network(value).overlaps(ipaddress.ip_network(other))
    return value == other or kind != "http-request-method"


@functools.cache
def _patterns_meet(one: str, other: str) -> bool:
    """Tell whether a text matches both patterns, in which `*` is any text and `?` any character."""
    if not one or not other:
        return not (one + other).strip("*")
    if "*" in (one[0], other[0]):
        star, rest = (one, other) if one[0] == "*" else (other, one)
        return _patterns_meet(star[1:], rest) or _patterns_meet(star, rest[1:])
    return (one[0] == other[0] or "?" in (one[0], other[0])) and _patterns_meet(one[1:], other[1:])


def _values(condition: Condition) -> list[str]:
    """Return the values of a condition; the API shows paths and hosts in two forms, other fields in one."""
    config = condition.get(_CONFIGS.get(condition["Field"], ""), {})
    found: list[str] = config.get("Values") or config.get("RegexValues") or condition.get("Values", [])
    return found


def _open(condition: Condition) -> bool:
    values, expressions = _values(condition), condition.get(_CONFIGS.get(condition["Field"], ""), {}).get("RegexValues")
    match condition["Field"]:
        case "path-pattern" | "host-header" as field if expressions:
            return any(_matches(expression, _SAMPLES[field]) for expression in expressions)
        case "path-pattern" | "host-header":  # of wildcards only
            return any("*" in value and set(value) <= set("*?/.") for value in values)
        case "http-request-method":
            return "GET" in values
        case "source-ip":
            return any(value.endswith("/0") for value in values)
        case _:
            return False


def _matches(expression: str, samples: Iterable[str]) -> bool:
    """Tell whether a regular expression is found in each of these; one that Python cannot read counts as all.

    AWS does not say whether it has to match the whole: what is open if a part is enough counts as open.
    """
    try:
        return all(re.search(expression, sample) for sample in samples)
    except re.error:
        return True
