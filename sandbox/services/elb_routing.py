"""How a load balancer reads a request: actions by weight, rules by condition; pure functions.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-rules.html
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

_CONFIGS = {
    "host-header": "HostHeaderConfig",
    "http-header": "HttpHeaderConfig",
    "http-request-method": "HttpRequestMethodConfig",
    "path-pattern": "PathPatternConfig",
    "query-string": "QueryStringConfig",
    "source-ip": "SourceIpConfig",
}
_ONCE = {"host-header", "http-request-method", "path-pattern", "source-ip"}
_VALUES_PER_RULE, _WILDCARDS_PER_RULE = 5, 5  # N23: the pages say 5 and 6 wildcards


@dataclass(frozen=True)
class Visit:
    """A request of a client: its path with the query, the host it asks for, the address and agent of the client."""

    path: str = "/"
    host: str = ""
    client: str = ""
    agent: str = "sandbox"
    turn: int = 0  # the number of the connection: it follows the weights and goes round the targets
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()  # as sent
    body: bytes = b""


@dataclass(frozen=True)
class Page:
    """An HTTP response of a load balancer or of an application behind it."""

    status: int
    body: bytes
    content_type: str = "text/html"
    location: str | None = None
    headers: tuple[tuple[str, str], ...] = ()  # all of them, where a function gave them


def weights(action: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the target groups of a forward action as [{TargetGroupArn, Weight}]."""
    if groups := action.get("ForwardConfig", {}).get("TargetGroups"):
        return [{"Weight": 1, **group} for group in groups]
    return [{"TargetGroupArn": action["TargetGroupArn"], "Weight": 1}] if action.get("TargetGroupArn") else []


def chosen(action: dict[str, Any], turn: int) -> str | None:
    """Return the ARN of the group that the turn-th connection goes to, None if all weights are 0."""
    groups = weights(action)
    total = sum(group["Weight"] for group in groups)
    if not total:
        return None
    place = turn % total
    for group in groups:
        place -= group["Weight"]
        if place < 0:
            return str(group["TargetGroupArn"])
    return None


def matches(status: int, codes: str) -> bool:
    """Return whether a status is among codes such as 200,202 or 200-399."""
    spans = [part.split("-") for part in str(codes).split(",")]
    return any(int(span[0]) <= status <= int(span[-1]) for span in spans)


def with_attributes(page: Page, attributes: Mapping[str, str]) -> Page:
    """Return the page with the headers that a listener's attributes set on every response (O3)."""
    ours = {
        key.removeprefix("routing.http.response.").removesuffix(".header_value").replace("_", "-"): value
        for key, value in attributes.items()
        if key.startswith("routing.http.response.") and key.endswith(".header_value") and value
    }
    if not ours:
        return page
    given = page.headers or (("content-type", page.content_type),)
    kept = [(name, value) for name, value in given if name.lower() not in ours]
    return replace(page, headers=(*kept, *ours.items()))


def rule_for(rules: Any, visit: Visit) -> Any:
    """Return the first of a listener's rules, by priority, whose conditions all hold for this visit."""
    numbered = sorted((rule for rule in rules if rule.priority != "default"), key=lambda rule: int(rule.priority))
    default = [rule for rule in rules if rule.priority == "default"]
    return next(rule for rule in numbered + default if all(_holds(condition, visit) for condition in rule.conditions))


def own_page(action: dict[str, Any], visit: Visit) -> Page | None:
    """Return the page of an action that the load balancer performs itself, None for one that forwards."""
    if action["Type"] == "fixed-response":
        fixed = action["FixedResponseConfig"]
        kind = f"{fixed.get('ContentType', 'text/plain')}; charset=utf-8"
        return Page(int(fixed["StatusCode"]), fixed.get("MessageBody", "").encode(), kind)
    if action["Type"] == "redirect":
        to = action["RedirectConfig"]
        location = f"{to.get('Protocol', 'https').lower()}://{to.get('Host', visit.host)}{to.get('Path', visit.path)}"
        return Page(int(to["StatusCode"].removeprefix("HTTP_")), b"", location=location)
    return None


def values_of(condition: dict[str, Any]) -> list[Any]:
    """Return the values of a rule's condition, whichever of its two forms holds them."""
    return list(condition.get(_CONFIGS[condition["Field"]], {}).get("Values") or condition.get("Values", []))


def refused(conditions: list[dict[str, Any]], per_condition: int) -> str:
    """Return why an ALB refuses a rule's conditions, nothing if it takes them (N18, N22, N23)."""
    counts = Counter(condition["Field"] for condition in conditions)
    if twice := [field for field in _ONCE if counts[field] > 1]:
        return f"A rule can only have one '{twice[0]}' condition"
    for condition in conditions:
        if "Values" in condition and _CONFIGS[condition["Field"]] in condition:  # N18: as DescribeRules shows it
            return f"You cannot specify both Values and {_CONFIGS[condition['Field']]} for '{condition['Field']}'"
        values = values_of(condition)
        if not values or not all(values):
            return "A condition value must be specified"
        if len(values) > per_condition:
            return f"A condition can only have '{per_condition}' values"
        if wrong := [value for value in values if not _can_be_asked_for(condition["Field"], value)]:
            return f"The '{condition['Field']}' value '{wrong[0]}' is not valid"
    every = [value for condition in conditions for value in values_of(condition)]
    if len(every) > _VALUES_PER_RULE:
        return f"A rule can only have '{_VALUES_PER_RULE}' condition values"
    if len(re.findall("[*?]", "".join(map(str, every)))) > _WILDCARDS_PER_RULE:
        return f"A rule can only have '{_WILDCARDS_PER_RULE}' wildcards"
    return ""


def _can_be_asked_for(field: str, value: Any) -> bool:
    match field:
        case "http-request-method":  # N22: custom methods too; no wildcards, upper case
            return re.fullmatch(r"[A-Z_-]{1,40}", value) is not None
        case "source-ip":  # N22
            try:
                return str(ipaddress.ip_network(value, strict=False)) != "255.255.255.255/32"
            except ValueError:
                return False
        case "host-header" | "path-pattern":
            return len(value) <= 128 and value.isascii()
        case _:
            return True


def _holds(condition: dict[str, Any], visit: Visit) -> bool:
    """Return whether a rule's condition holds for this visit."""
    kind, values = condition["Field"], values_of(condition)
    path, _, query = visit.path.partition("?")
    match kind:
        case "path-pattern":
            return any(_like(normalised(path), pattern) for pattern in values)
        case "host-header":
            return any(_like(visit.host.split(":")[0].lower(), pattern.lower()) for pattern in values)
        case "http-request-method":  # N22: exactly
            return visit.method in values
        case "http-header":
            name = condition["HttpHeaderConfig"]["HttpHeaderName"].lower()
            sent = [value for key, value in visit.headers if key.lower() == name]
            return any(_like(value.lower(), pattern.lower()) for value in sent for pattern in values)
        case "source-ip":
            # C5: the client's own address, also behind an NLB. A health check has none.
            address = ipaddress.ip_address(visit.client) if visit.client else None
            return address is not None and any(
                address in ipaddress.ip_network(network, strict=False) for network in values
            )
        case _:
            pairs = parse_qsl(query)
            return any(
                _like(value, wanted["Value"]) and wanted.get("Key") in (None, key)
                for wanted in values
                for key, value in pairs
            )


def normalised(path: str) -> str:
    """Return the path that rules see (N23): RFC 3986, 6.2.2. The function behind gets it as the client sent it (H7)."""
    decoded = re.sub(
        "%([0-9A-Fa-f]{2})",
        lambda found: letter if re.match("[A-Za-z0-9._~-]", letter := chr(int(found[1], 16))) else found[0].upper(),
        path,
    )
    kept: list[str] = []
    *parents, last = decoded.split("/")
    for segment in [*parents, "" if last in (".", "..") else last]:
        if segment == "..":
            kept = kept[:1] if len(kept) <= 1 else kept[:-1]
        elif segment != ".":
            kept.append(segment)
    if last == "..":
        kept = [*kept[:-2], ""] if len(kept) > 2 else ["", ""]
    return "/".join(kept)


def _like(value: str, pattern: str) -> bool:
    """Match an ALB's wildcards: * is any text and ? is one character, everything else is itself."""
    parts = (".*" if character == "*" else "." if character == "?" else re.escape(character) for character in pattern)
    return re.fullmatch("".join(parts), value, re.DOTALL) is not None
