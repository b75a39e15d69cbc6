"""What a client gets from a load balancer: the way of one connection to the page at its end."""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from sandbox.services.delivery import DeliveryError
from sandbox.traffic import lambdatarget
from sandbox.traffic.visits import Page, Visit

if TYPE_CHECKING:
    from sandbox.services.elb import Elb


SERVICE = "elasticloadbalancing.amazonaws.com"

# A page that a function makes is made later, when nobody holds the account's lock. None: nobody answers.
type Found = Page | Callable[[], Page] | None


def from_listener(elb: "Elb", listener_arn: str, visit: Visit) -> Page | None:
    """Return what a Network Load Balancer's listener gives this visit."""
    with elb.account.lock:
        group = chosen(elb.listener(listener_arn).default_actions[0].data, visit.turn)
        found = from_group(elb, elb.group(group), visit) if group else None
    return found() if callable(found) else found


def from_alb_listener(elb: "Elb", listener_arn: str, visit: Visit, turn: int) -> Page:
    """Return what an Application Load Balancer's listener gives this visit, the turn-th of all."""
    with elb.account.lock:
        found = from_alb(elb, elb.listener(listener_arn), replace(visit, turn=turn))
    return (found() if callable(found) else found) or Page(502, b"Bad Gateway")


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
    several = group.attributes.get("lambda.multi_value_headers.enabled") == "true"
    name = function_arn.split(":function:")[1].split(":")[0]
    try:
        elb.account.functions.check(name, principal=SERVICE, source_arn=group.arn)
    except DeliveryError:
        return lambdatarget.BAD_GATEWAY
    invoked = elb.account.functions.invoke(name, lambdatarget.event(visit, group.arn, several=several))
    return lambdatarget.BAD_GATEWAY if invoked.error else lambdatarget.answer(invoked.payload, several=several)


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
            return any(_like(path, one) for one in values)
        case "host-header":
            return any(_like(visit.host.split(":")[0].lower(), one.lower()) for one in values)
        case "http-request-method":
            return visit.method in values
        case "source-ip":
            # C5: the client's own address, also behind an NLB. A health check has none.
            address = ipaddress.ip_address(visit.client) if visit.client else None
            return address is not None and any(address in ipaddress.ip_network(one) for one in values)
        case _:
            pairs = parse_qsl(query)
            return any(
                _like(value, one["Value"]) and one.get("Key") in (None, key) for one in values for key, value in pairs
            )


def _like(value: str, pattern: str) -> bool:
    """Match an ALB's wildcards: * is any text and ? is one character, everything else is itself."""
    parts = (".*" if one == "*" else "." if one == "?" else re.escape(one) for one in pattern)
    return re.fullmatch("".join(parts), value, re.DOTALL) is not None
