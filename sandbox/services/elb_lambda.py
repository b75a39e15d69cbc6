"""What an Application Load Balancer sends to a Lambda target, and what it takes as an answer (H7).

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
"""

import base64
import json
import re
from typing import Any

from sandbox.services.elb_routing import Page, Visit

_LIMIT_BYTES = 1024 * 1024  # of the request body and of the response JSON
_TEXT = re.compile(r"text/.*|application/(json|javascript|xml)")
BAD_GATEWAY = Page(502, b"<html><head><title>502 Bad Gateway</title></head></html>")


def refusal(visit: Visit) -> Page | None:
    """Return what the ALB answers itself instead of invoking a function, None if it invokes it (O1)."""
    if any(name.lower() == "upgrade" for name, _ in visit.headers):
        return Page(400, b"<html><head><title>400 Bad Request</title></head></html>")
    if len(visit.body) > _LIMIT_BYTES:
        return Page(413, b"<html><head><title>413 Request Entity Too Large</title></head></html>")
    return None


def event(visit: Visit, group_arn: str, *, several: bool) -> dict[str, Any]:
    """Return the event; `several`: the group's attribute lambda.multi_value_headers.enabled. Nothing is decoded."""
    path, _, query = visit.path.partition("?")
    headers = [(name.lower(), value) for name, value in visit.headers]
    for name, value in (("host", visit.host), ("user-agent", visit.agent)):
        if value and name not in dict(headers):
            headers.append((name, value))
    headers += [
        ("x-amzn-trace-id", "Root=1-5bdb40ca-556d8b0c50dc66f0511bf520"),
        ("x-forwarded-for", visit.client),
        ("x-forwarded-port", "443"),
        ("x-forwarded-proto", "https"),
    ]
    pairs = [tuple(pair.partition("=")[::2]) for pair in query.split("&") if pair]
    kind = dict(headers).get("content-type", "").partition(";")[0].strip()
    plain = not visit.body or ("content-encoding" not in dict(headers) and bool(_TEXT.fullmatch(kind)))
    common = {
        "requestContext": {"elb": {"targetGroupArn": group_arn}},
        "httpMethod": visit.method,
        "path": path,
        "body": visit.body.decode() if plain else base64.b64encode(visit.body).decode(),
        "isBase64Encoded": not plain,
    }
    if several:
        return common | {
            "multiValueQueryStringParameters": _grouped(pairs),
            "multiValueHeaders": _grouped(headers),
        }
    return common | {"queryStringParameters": dict(pairs), "headers": dict(headers)}


def _grouped(pairs: Any) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return grouped


def answer(payload: Any, *, several: bool) -> Page:
    """Return the response that a client gets for a function's answer: 502 for one that is not in the format."""
    if not isinstance(payload, dict) or len(json.dumps(payload).encode()) > _LIMIT_BYTES:
        return BAD_GATEWAY
    status, body = payload.get("statusCode"), payload.get("body", "")
    if type(status) is not int or not 100 <= status <= 599 or not isinstance(body, str):
        return BAD_GATEWAY
    described = payload.get("statusDescription", str(status))
    if not isinstance(described, str) or not described.startswith(str(status)):
        return BAD_GATEWAY
    given = payload.get("multiValueHeaders" if several else "headers") or {}
    if not isinstance(given, dict):
        return BAD_GATEWAY
    pairs = [(name, text) for name, value in given.items() for text in (value if several else [value])]
    if not all(isinstance(name, str) and isinstance(value, str) for name, value in pairs):
        return BAD_GATEWAY
    if any(not name or re.search(r"[\r\n\0]", name + value) for name, value in pairs):
        return BAD_GATEWAY
    try:
        content = base64.b64decode(body, validate=True) if payload.get("isBase64Encoded") else body.encode()
    except ValueError:
        return BAD_GATEWAY
    lower = {name.lower(): value for name, value in pairs}
    kind = lower.get("content-type", "application/octet-stream")
    return Page(status, content, kind, lower.get("location"), tuple(pairs))
