"""Answer in place of the service while the maintenance rule of the load balancer is live.

Nothing stands before the first reply: no SDK, no layer, no read. The end of the maintenance is known from a read after
an earlier reply (`watch`); until then Retry-After is RETRY_AFTER_SECONDS.
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
"""

import json
import math
import os
import re
import time
from typing import Any, NamedTuple

import page
import preferences
import replies
from replies import PHRASES
from watch import Watch
from window import Window, last

STATUS_PATH = "/.well-known/maintenance.json"
# Caches of all kinds, also those that are told to keep what says no-store.
NO_STORE = dict.fromkeys(("cache-control", "cdn-cache-control", "surrogate-control"), "no-store")
LONGEST_LOGGED = 2048  # characters of a value that a client chose

_REPLIES = replies.parse(os.environ["MAINTENANCE_REPLIES"])
_SERVICE = os.environ.get("SERVICE_NAME", "")
_RETRY_AFTER_SECONDS = int(os.environ.get("RETRY_AFTER_SECONDS") or 300)
_LOG_QUERIES = os.environ.get("LOG_QUERIES") == "true"
_watch = Watch(os.environ.get("MAINTENANCE_PARAMETER", ""), os.environ.get("MAINTENANCE_TIMEZONE", ""))
_watch.start()


class Request(NamedTuple):
    """A request as the load balancer passes it on."""

    method: str
    path: str  # undecoded
    headers: dict[str, str]  # by lower-case name; several values are joined as HTTP joins them
    query: object
    multi_value: bool  # how the target group passes headers, and wants them back


def read(event: dict[str, Any]) -> Request:
    """Understand an event of the load balancer, whichever way its target group passes headers."""
    multi_value = "multiValueHeaders" in event
    many = {name: ", ".join(values) for name, values in (event.get("multiValueHeaders") or {}).items()}
    return Request(
        event.get("httpMethod") or "GET",
        event.get("path") or "/",
        {name.lower(): value for name, value in (many or event.get("headers") or {}).items()},
        event.get("multiValueQueryStringParameters") or event.get("queryStringParameters"),
        multi_value,
    )


def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Return what the load balancer is to answer."""
    try:
        request = read(event)
        if is_health_check(request):
            return respond(request, 200, {"content-type": "text/plain"}, "ok")
        answer = preflight(request) if is_preflight(request) else reply(request, time.time())
        log_access(request, answer["statusCode"])
        return answer
    finally:
        _watch.replied()


def is_health_check(request: Request) -> bool:
    """Tell a health check, which has this one header, from a client that calls itself so."""
    return list(request.headers) == ["user-agent"] and request.headers["user-agent"].startswith("ELB-HealthChecker/")


def is_preflight(request: Request) -> bool:
    """Tell a browser's question whether a script may ask, from other requests with OPTIONS."""
    return request.method == "OPTIONS" and {"origin", "access-control-request-method"} <= request.headers.keys()


def preflight(request: Request) -> dict[str, Any]:
    """Let the script ask, whatever it wants: only then can it read the answer to its request.

    No browser may remember it: after the maintenance the service itself says who may ask for what.
    https://fetch.spec.whatwg.org/#cors-preflight-fetch
    """
    headers = {"access-control-max-age": "0"}
    for asked, allowed in (("method", "methods"), ("headers", "headers")):
        if value := _token(request, f"access-control-request-{asked}"):
            headers[f"access-control-allow-{allowed}"] = value
    return respond(request, 204, headers)


def cross_origin(request: Request) -> dict[str, str]:
    """Return what lets a script of another origin read an answer, and when to come back.

    Every origin may, with its cookies too: what is said here is the same for everybody. The origin is named, because
    browsers do not take a star from who sends cookies.
    """
    if not (origin := _token(request, "origin")):
        return {}
    return {
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "retry-after",
    }


def _token(request: Request, name: str) -> str:
    """Return what a client sent, if it can be sent back: printable ASCII."""
    value = request.headers.get(name, "")
    return value if re.fullmatch("[ -~]{1,1024}", value) else ""


def reply(request: Request, now: float) -> dict[str, Any]:
    """Answer a client by the rules for its path."""
    shown = last(_watch.windows, now)
    if request.path == STATUS_PATH:
        headers = {"content-type": "application/json", "access-control-allow-origin": "*"}
        return respond(request, 200, headers, json.dumps(status(shown, now)))
    chosen = replies.choose(_REPLIES, request.headers.get("host", ""), request.path)
    if chosen.location:
        return respond(request, chosen.status, {"location": chosen.location})
    headers = {"retry-after": str(retry_after_seconds(shown, now))} if chosen.status == 503 else {}
    if chosen.body:
        return respond(request, chosen.status, {"content-type": "application/json", **headers}, chosen.body)
    headers["vary"] = "accept, accept-language, origin"
    if preferences.json_before_html(request.headers.get("accept", "")):
        text = json.dumps({"message": PHRASES[chosen.status], **status(shown, now)})
        return respond(request, chosen.status, {"content-type": "application/json", **headers}, text)
    language = preferences.language(request.headers.get("accept-language", ""))
    headers |= {
        "content-type": "text/html; charset=utf-8",
        "content-language": language,
        "content-security-policy": page.POLICY,
    }
    return respond(request, chosen.status, headers, page.render(language, _SERVICE, shown))


def retry_after_seconds(shown: Window | None, now: float) -> int:
    """Return the seconds to the end of the maintenance, or the default while that is not known."""
    return _RETRY_AFTER_SECONDS if shown is None or shown.ends is None else max(1, math.ceil(shown.ends - now))


def status(shown: Window | None, now: float) -> dict[str, Any]:
    """Return for machines what the page shows to people."""
    return {
        "maintenance": True,
        "service": _SERVICE,
        "until": (shown.until if shown else "") or None,
        "reason": (shown.reason if shown else "") or None,
        "retry_after_seconds": retry_after_seconds(shown, now),
    }


def respond(request: Request, code: int, headers: dict[str, str], body: str = "") -> dict[str, Any]:
    """Return an answer as the load balancer wants it."""
    always = {**NO_STORE, "x-content-type-options": "nosniff", "vary": "origin"}
    headers = {**always, **headers, **cross_origin(request)}
    many = {"multiValueHeaders": {name: [value] for name, value in headers.items()}}
    return {
        "statusCode": code,
        "statusDescription": f"{code} {'No Content' if code == 204 else PHRASES[code]}",
        "isBase64Encoded": False,
        **(many if request.multi_value else {"headers": headers}),
        "body": "" if request.method == "HEAD" else body,
    }


def log_access(request: Request, code: int) -> None:
    """Log who asked for what. Escaped by JSON, so that nothing a client sends can begin a line or colour a terminal."""
    forwarded = request.headers.get("x-forwarded-for", "")
    access = {
        "method": request.method,
        "host": request.headers.get("host", ""),
        "path": request.path,
        "status": code,
        "client": forwarded.rpartition(",")[2].strip(),  # whom the load balancer itself has seen
        "forwarded_for": forwarded,  # and before that, whom clients and their proxies name
        "user_agent": request.headers.get("user-agent", ""),
        "trace": request.headers.get("x-amzn-trace-id", ""),
    }
    if _LOG_QUERIES:
        access["query"] = json.dumps(request.query)
    print(json.dumps({"access": {k: v[:LONGEST_LOGGED] if isinstance(v, str) else v for k, v in access.items()}}))
