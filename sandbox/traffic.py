"""What a client gets from a load balancer: the way of one connection to the page at its end."""

import base64
import fnmatch
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from sandbox.elb import Elb


@dataclass(frozen=True)
class Visit:
    """A GET request of a client."""

    path: str = "/"
    host: str = ""
    client: str = ""
    agent: str = "sandbox"
    turn: int = 0  # the number of the connection: it follows the weights and goes round the targets


@dataclass(frozen=True)
class Page:
    """An HTTP response of a load balancer or of an application behind it."""

    status: int
    body: bytes
    content_type: str = "text/html"
    location: str | None = None


# A page that a function makes is made later, when nobody holds the account's lock. None: nobody answers.
type Found = Page | Callable[[], Page] | None


def from_listener(elb: "Elb", listener_arn: str, visit: Visit) -> Page | None:
    """Return what a Network Load Balancer's listener gives this visit."""
    with elb.account.lock:
        group = chosen(elb.listener(listener_arn).default_actions[0].data, visit.turn)
        found = from_group(elb, elb.group(group), visit) if group else None
    return found() if callable(found) else found


def from_group(elb: "Elb", group: Any, visit: Visit) -> Found:
    """Return what a target group gives this visit."""
    targets = elb.open_to(group)
    if not targets:
        return None
    target = targets[visit.turn % len(targets)]
    if group.target_type == "alb":
        listener = elb.alb_listener(target)
        return from_alb(elb, listener, visit) if listener else None
    if not elb.answers(group, target):
        return None
    text = f"<!doctype html><title>The service</title><h1>The service</h1><p>Served by {target.id}.</p>\n"
    return Page(200, text.encode(), "text/html; charset=utf-8")


def from_alb(elb: "Elb", listener: Any, visit: Visit) -> Found:
    """Return what an Application Load Balancer's listener gives this visit, by the first rule that holds."""
    numbered = [rule for rule in listener.rules.values() if rule.priority != "default"]
    default = [rule for rule in listener.rules.values() if rule.priority == "default"]
    rules = sorted(numbered, key=lambda rule: int(rule.priority)) + default
    rule = next(one for one in rules if all(_holds(condition, visit) for condition in one.conditions))
    action = rule.actions[-1].data
    if action["Type"] == "fixed-response":
        fixed = action["FixedResponseConfig"]
        kind = f"{fixed.get('ContentType', 'text/plain')}; charset=utf-8"
        return Page(int(fixed["StatusCode"]), fixed.get("MessageBody", "").encode(), kind)
    if action["Type"] == "redirect":
        to = action["RedirectConfig"]
        location = f"{to.get('Protocol', 'https').lower()}://{to.get('Host', visit.host)}{to.get('Path', visit.path)}"
        return Page(int(to["StatusCode"].removeprefix("HTTP_")), b"", location=location)
    group_arn = chosen(action, visit.turn)
    group = elb.group(group_arn) if group_arn else None
    if group is None or not elb.open_to(group):
        return Page(503, b"Service Temporarily Unavailable")
    if group.target_type == "lambda":
        function = elb.open_to(group)[0].id
        return lambda: _from_function(elb, function, group, visit)
    return from_group(elb, group, visit) or Page(502, b"Bad Gateway")


def _from_function(elb: "Elb", function_arn: str, group: Any, visit: Visit) -> Page:
    """Invoke a Lambda target as an ALB does and read its answer (H7)."""
    path, _, query = visit.path.partition("?")
    several = group.attributes.get("lambda.multi_value_headers.enabled") == "true"
    headers = {"host": visit.host, "user-agent": visit.agent, "x-forwarded-for": visit.client}
    pairs = [pair.split("=", 1) for pair in query.split("&") if "=" in pair]
    event: dict[str, Any] = {
        "requestContext": {"elb": {"targetGroupArn": group.arn}},
        "httpMethod": "GET",
        "path": path,
        "body": "",
        "isBase64Encoded": False,
    }
    if several:
        event["multiValueHeaders"] = {name: [value] for name, value in headers.items()}
        event["multiValueQueryStringParameters"] = {
            name: [value for other, value in pairs if other == name] for name, _ in pairs
        }
    else:
        event["headers"] = headers
        event["queryStringParameters"] = dict(pairs)
    invoked = elb.account.functions.invoke(function_arn.split(":function:")[1].split(":")[0], event)
    answer = invoked.payload
    if invoked.error or not isinstance(answer, dict) or not isinstance(answer.get("statusCode"), int):
        return Page(502, b"Bad Gateway")
    if several:
        given = {name: values[-1] for name, values in (answer.get("multiValueHeaders") or {}).items()}
    else:
        given = answer.get("headers") or {}
    lower = {name.lower(): value for name, value in given.items()}
    body = answer.get("body") or ""
    content = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
    kind = lower.get("content-type", "application/octet-stream")
    return Page(answer["statusCode"], content, kind, lower.get("location"))


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
    """Say whether a status is among codes such as 200,202 or 200-399."""
    spans = [part.split("-") for part in str(codes).split(",")]
    return any(int(span[0]) <= status <= int(span[-1]) for span in spans)


def _holds(condition: dict[str, Any], visit: Visit) -> bool:
    """Say whether a rule's condition holds for this visit."""
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
            return any(fnmatch.fnmatchcase(path, one) for one in values)
        case "host-header":
            return any(fnmatch.fnmatch(visit.host.split(":")[0], one) for one in values)
        case "http-request-method":
            return "GET" in values
        case "source-ip":
            # C5: the client's own address, also behind an NLB. A health check has none.
            address = ipaddress.ip_address(visit.client) if visit.client else None
            return address is not None and any(address in ipaddress.ip_network(one) for one in values)
        case _:
            pairs = parse_qsl(query)
            return any(
                fnmatch.fnmatchcase(value, one["Value"]) and one.get("Key") in (None, key)
                for one in values
                for key, value in pairs
            )
