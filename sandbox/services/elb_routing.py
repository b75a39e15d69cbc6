"""How a load balancer reads a request: actions by weight, rules by condition; pure functions.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-rules.html
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl


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


def _holds(condition: dict[str, Any], visit: Visit) -> bool:
    """Return whether a rule's condition holds for this visit."""
    kind = condition["Field"]
    config = {
        "path-pattern": "PathPatternConfig",
        "host-header": "HostHeaderConfig",
        "http-request-method": "HttpRequestMethodConfig",
        "source-ip": "SourceIpConfig",
        "query-string": "QueryStringConfig",
    }[kind]
    values = condition.get("Values") or condition.get(config, {}).get("Values", [])
    path, _, query = visit.path.partition("?")
    match kind:
        case "path-pattern":
            return any(_like(path, pattern) for pattern in values)
        case "host-header":
            return any(_like(visit.host.split(":")[0].lower(), pattern.lower()) for pattern in values)
        case "http-request-method":
            return visit.method in values
        case "source-ip":
            # C5: the client's own address, also behind an NLB. A health check has none.
            address = ipaddress.ip_address(visit.client) if visit.client else None
            return address is not None and any(address in ipaddress.ip_network(network) for network in values)
        case _:
            pairs = parse_qsl(query)
            return any(
                _like(value, wanted["Value"]) and wanted.get("Key") in (None, key)
                for wanted in values
                for key, value in pairs
            )


def _like(value: str, pattern: str) -> bool:
    """Match an ALB's wildcards: * is any text and ? is one character, everything else is itself."""
    parts = (".*" if character == "*" else "." if character == "?" else re.escape(character) for character in pattern)
    return re.fullmatch("".join(parts), value, re.DOTALL) is not None
