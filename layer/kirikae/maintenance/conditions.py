"""What a rule asks of a request: the conditions of our own rules, live and parked, and how open those of others are.

A parked rule asks for a method that nobody sends. So it takes nothing, wherever it stands and whatever is behind it:
not even from the default action, which no priority is behind.
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-condition-types.html
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

type Condition = Mapping[str, Any]  # RuleCondition of the API

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
