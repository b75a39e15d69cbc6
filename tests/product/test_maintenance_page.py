"""What visitors, clients and health checks get while the maintenance rule is live."""

import ast
import contextlib
import graphlib
import http
import importlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import botocore.session
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sandbox import loopback
from sandbox.account import Account
from sandbox.lambdas import processes
from sandbox.services.awslambda import Function
from sandbox.stack import cloudformation
from sandbox.stack.intrinsics import TemplateError

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "functions" / "maintenance_page"
NOW = datetime(2026, 11, 21, 20, 20, tzinfo=UTC).timestamp()
FROM_THE_ARTICLE = [
    {"path": "/a", "status": 303, "location": "/a/maintenance"},
    {"path": "/", "status": 503, "json": {"message": "Service Unavailable"}},
]
PAGE = [{"path": "/", "status": 503, "page": True}]
ODD_PATHS = [
    *("", "/", "//", "//a", "/a//", "/a/../b", "/a/%2e%2e/b", "/a/%2E%2e%2fb", "/a%00", "/a/\u0000", "/%61/x", "/a;x"),
    *("/apple", "/A", "/日本語", "/a/日本語", "*", "a", "/a?b", "/a#b", "/a/" + "x" * 8192, "\\a", "http://x/a"),
]


def loaded(replies: Any = FROM_THE_ARTICLE, **environment: str) -> SimpleNamespace:
    """Import the function's modules afresh, as a cold start does, with an environment."""
    names = [path.stem for path in FOLDER.glob("*.py")]
    variables = {"MAINTENANCE_REPLIES": replies if isinstance(replies, str) else json.dumps(replies)}
    variables |= {"SERVICE_NAME": "shop"} | environment
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    try:
        with mock.patch.dict(os.environ, variables), mock.patch.object(sys, "path", [str(FOLDER), *sys.path]):
            return SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    finally:
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(before)


ARTICLE, PAGES = loaded(), loaded(PAGE)


def event(path: str = "/", method: str = "GET", *, multi_value: bool = False, **headers: str) -> dict[str, Any]:
    """Return the load balancer's event for a request."""
    sent = {"host": "shop.example.com", "user-agent": "test", "x-forwarded-for": "203.0.113.7"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    passed = {"multiValueHeaders": {k: [v] for k, v in sent.items()}} if multi_value else {"headers": sent}
    query = "multiValueQueryStringParameters" if multi_value else "queryStringParameters"
    return {
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:…"}},
        "httpMethod": method,
        "path": path,
        query: {},
        **passed,
        "body": "",
        "isBase64Encoded": False,
    }


def answer(modules: SimpleNamespace, request: dict[str, Any], windows: Any = (), now: float = NOW) -> SimpleNamespace:
    """Invoke the handler as Lambda does, at a time; return its reply with the headers flat."""
    modules.app._watch.windows = tuple(windows)
    with mock.patch("time.time", return_value=now):
        reply = json.loads(json.dumps(modules.app.lambda_handler(json.loads(json.dumps(request)), None)))
    assert problems(reply, request) == []
    headers = reply.get("headers") or {name: value[0] for name, value in reply.get("multiValueHeaders", {}).items()}
    return SimpleNamespace(status=reply["statusCode"], headers=headers, body=reply["body"], reply=reply)


def problems(reply: Any, request: dict[str, Any]) -> list[str]:
    """Say what a load balancer would answer with 502, or quietly change.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html#respond-to-load-balancer
    """
    multi_value = "multiValueHeaders" in request
    field = "multiValueHeaders" if multi_value else "headers"
    code, fields, body = reply.get("statusCode"), reply.get(field), reply.get("body")
    sent = [
        pair
        for name, value in (fields or {}).items()
        for pair in ((name, v) for v in (value if multi_value else [value]))
    ]
    phrase = http.HTTPStatus(code).phrase if code in set(http.HTTPStatus) else None
    size = len(json.dumps(reply, ensure_ascii=False).encode())  # fails on what is no UTF-8
    checks = {
        "unknown fields": reply.keys() - {"statusCode", "statusDescription", "isBase64Encoded", field, "body"},
        "the status is not a final one": type(code) is not int or not 200 <= code <= 599,
        "the description is not the status": reply.get("statusDescription") != f"{code} {phrase}",
        "isBase64Encoded is not a boolean": type(reply.get("isBase64Encoded")) is not bool,
        "headers are not in the request's way": not isinstance(fields, dict),
        "a header's name is no token": [n for n, _ in sent if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9a-z-]+", n)],
        "a header's value is no text": [v for _, v in sent if not isinstance(v, str) or not re.fullmatch(r"[ -~]*", v)],
        "a hop-by-hop header": {n for n, _ in sent} & {"connection", "transfer-encoding", "content-length", "upgrade"},
        "the body is no text": not isinstance(body, str),
        "an answer to HEAD has a body": request.get("httpMethod") == "HEAD" and body,
        "a body without its type": body and "content-type" not in dict(sent),
        "over 1 MB": size > 1_000_000,
    }
    return [problem for problem, found in checks.items() if found]


def window(minutes: float | None = 40, name: str = "release", reason: str = "", zone: str = "Asia/Tokyo") -> Any:
    """Return a window that ends so many minutes from NOW."""
    until = None if minutes is None else datetime.fromtimestamp(NOW + 60 * minutes, UTC).isoformat()
    (parsed,) = PAGES.parameter.parse(json.dumps({name: {"until": until, "reason": reason}}), zone)
    return parsed


# Which reply a path gets.


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/a", 303, id="the path itself is redirected"),
        pytest.param("/a/", 303, id="and what is below it"),
        pytest.param("/a/b/c", 303, id="however deep"),
        pytest.param("/apple", 503, id="a path that only begins alike is not below it"),
        pytest.param("/A", 503, id="case matters, as in the load balancer's rules"),
        pytest.param("/b", 503, id="every other path has the last reply"),
        pytest.param("", 503, id="an empty path is /"),
        pytest.param("/a/../b", 303, id="dots do not lead out of a rule"),
        pytest.param("/a/%2e%2e/b", 303, id="nor do encoded dots"),
        pytest.param("/a/%00", 303, id="nor does a NUL"),
        pytest.param("/b/../a/x", 503, id="and nothing leads into it"),
        pytest.param("/%61/x", 503, id="encoded letters are not decoded"),
        pytest.param("//a", 503, id="a doubled slash is another path"),
        pytest.param("/a/" + "x" * 8192, 303, id="a long path is a path"),
        pytest.param("/a/日本語", 303, id="a path may have any letters"),
    ],
)
def test_the_article_s_replies(path: str, status: int) -> None:
    found = answer(ARTICLE, event(path))
    assert found.status == status
    if status == 303:
        assert (found.headers["location"], found.body) == ("/a/maintenance", "")
        assert "retry-after" not in found.headers
    else:
        assert json.loads(found.body) == {"message": "Service Unavailable"}
        assert found.headers["content-type"] == "application/json"
    assert found.headers["cache-control"] == "no-store"


def test_the_first_rule_that_covers_a_path_decides() -> None:
    rules = [
        {"path": "/a/api", "status": 503, "json": {"which": "api"}},
        {"path": "/a", "status": 307, "location": "https://status.example.com/"},
        {"path": "/", "status": 200, "json": {"which": "rest"}},
    ]
    modules = loaded(rules)
    assert [answer(modules, event(path)).status for path in ("/a/api/x", "/a/apis", "/b")] == [503, 307, 200]
    assert answer(modules, event("/a")).headers["location"] == "https://status.example.com/"


@pytest.mark.parametrize(
    ("location", "host", "path"),
    [
        pytest.param("/a/maintenance", "shop.example.com", "/a/maintenance", id="a path below the redirected one"),
        pytest.param("/a?why=maintenance#now", "shop.example.com", "/a", id="the redirected path, with a query"),
        pytest.param("https://shop.example.com/a/x", "SHOP.example.com:443", "/a/x", id="an address of the same host"),
        pytest.param("https://shop.example.com", "shop.example.com", "/", id="the root of the same host"),
        pytest.param("https://shop.example.com/a/x", "origin.example.com", "/a/x", id="behind a CDN with another Host"),
        pytest.param("https://shop.example.com/a/x?y", "origin.example.com:8443", "/a/x", id="the same with a query"),
    ],
)
def test_where_a_redirect_leads_there_is_the_page_so_it_cannot_loop(location: str, host: str, path: str) -> None:
    rules = [{"path": "/a", "status": 303, "location": location}, {"path": "/", "status": 302, "location": location}]
    found = answer(loaded(rules), event(path, host=host))
    assert found.status == 503
    assert "<h1>" in found.body


def test_everything_may_be_redirected_to_the_root_of_another_host() -> None:
    modules = loaded([{"path": "/", "status": 302, "location": "https://status.example.com/"}])
    assert [answer(modules, event(path)).status for path in ("/", "/a")] == [302, 302]


def test_two_redirects_that_lead_to_each_other_end_with_the_page() -> None:
    rules = [
        {"path": "/a", "status": 303, "location": "/b/x"},
        {"path": "/b", "status": 303, "location": "/a/x"},
        {"path": "/", "status": 503, "page": True},
    ]
    modules = loaded(rules)
    assert answer(modules, event("/a/y")).headers["location"] == "/b/x"
    assert answer(modules, event("/b/x")).status == 503
    rules[0]["location"], rules[1]["location"] = "https://shop.example.com/b/x", "https://www.example.com/a/x"
    modules = loaded(rules)
    assert [answer(modules, event(path)).status for path in ("/a/y", "/b/x", "/b/y", "/a/x")] == [303, 503, 303, 503]


@pytest.mark.parametrize(
    ("replies", "named"),
    [
        pytest.param("{", "is not JSON", id="broken JSON"),
        pytest.param("[]", "expected a list of rules", id="no rules"),
        pytest.param({"path": "/"}, "expected a list of rules", id="not a list"),
        pytest.param(["/"], "rule 1 is '/', expected an object", id="not an object"),
        pytest.param(FROM_THE_ARTICLE[:1], "the last rule must have the path /", id="paths without an answer"),
        pytest.param([*PAGE, {"path": "/a", "status": 503, "page": True}], "rule 2 is never reached", id="hidden rule"),
        pytest.param([{"path": "a", "status": 503, "page": True}, *PAGE], "the path 'a'", id="no slash"),
        pytest.param([{"path": "/a/", "status": 503, "page": True}, *PAGE], "the path '/a/'", id="slash at the end"),
        pytest.param([{"status": 503, "page": True}], "the path None", id="no path"),
        pytest.param([{"path": "/", "status": "503", "page": True}], "the status '503'", id="status as text"),
        pytest.param([{"path": "/", "status": True, "page": True}], "the status True", id="status as boolean"),
        pytest.param([{"path": "/", "status": 301, "location": "/x"}], "the status 301", id="a redirect that stays"),
        pytest.param([{"path": "/", "status": 503, "location": "/x"}], "the status 503", id="503 with a location"),
        pytest.param([{"path": "/", "status": 303, "page": True}], "the status 303", id="redirect without location"),
        pytest.param([{"path": "/", "status": 503}], "has not exactly one of", id="nothing to answer"),
        pytest.param(
            [{"path": "/", "status": 503, "page": True, "json": 1}], "has not exactly one of", id="two answers"
        ),
        pytest.param([{"path": "/", "status": 503, "page": False}], "has not exactly one of", id="page false"),
        pytest.param([{"path": "/", "status": 503, "page": True, "when": 1}], "rule 1 has when", id="unknown field"),
        pytest.param([{"path": "/", "status": 303, "location": "//evil.example"}], "location", id="another host by //"),
        pytest.param([{"path": "/", "status": 303, "location": "/a/%2E%2e/b"}], "location", id="dots in a location"),
        pytest.param([{"path": "/", "status": 303, "location": "javascript:x"}], "location", id="not a web address"),
        pytest.param([{"path": "/", "status": 303, "location": "/x\r\nset-cookie: a=b"}], "location", id="line break"),
        pytest.param([{"path": "/", "status": 303, "location": ""}], "location", id="empty location"),
        pytest.param('[{"path": "/", "status": 503, "json": NaN}]', "NaN is not a JSON number", id="not a number"),
    ],
)
def test_malformed_replies_are_named_in_one_error(replies: Any, named: str) -> None:
    with pytest.raises(ValueError, match=r"^MAINTENANCE_REPLIES \(MaintenanceReplies\)") as error:
        loaded(replies)
    assert named in str(error.value)


def test_every_problem_is_in_the_one_error() -> None:
    rules = [{"path": "a", "status": 1}, {"path": "/b", "status": 503, "page": True}]
    with pytest.raises(ValueError, match="MaintenanceReplies") as error:
        loaded(rules)
    assert all(text in str(error.value) for text in ("path 'a'", "status 1", "exactly one", "last rule"))


# When it ends.


@pytest.mark.parametrize(
    ("windows", "seconds"),
    [
        pytest.param((), 300, id="as long as nothing is known, the default"),
        pytest.param((window(40),), 2400, id="the real seconds to the end"),
        pytest.param((window(40, "a"), window(90, "b"), window(-5, "c")), 5400, id="the latest of several windows"),
        pytest.param((window(-1),), 300, id="a window that is over says nothing"),
        pytest.param((window(40, "a"), window(None, "b")), 300, id="an open end is later than any other"),
        pytest.param((window(0.001),), 1, id="never less than a second"),
    ],
)
def test_retry_after(windows: Any, seconds: int) -> None:
    for modules in (ARTICLE, PAGES):
        assert answer(modules, event("/b"), windows).headers["retry-after"] == str(seconds)
    status = json.loads(answer(PAGES, event("/.well-known/maintenance.json"), windows).body)
    assert status["retry_after_seconds"] == seconds


def test_the_default_is_a_setting() -> None:
    assert answer(loaded(RETRY_AFTER_SECONDS="77"), event("/b")).headers["retry-after"] == "77"


def test_only_a_503_asks_to_come_back() -> None:
    rules = [{"path": "/gone", "status": 410, "json": {}}, {"path": "/", "status": 200, "page": True}]
    modules = loaded(rules)
    assert all("retry-after" not in answer(modules, event(path), [window()]).headers for path in ("/gone", "/x"))


@pytest.mark.parametrize(
    ("zone", "end", "english", "japanese"),
    [
        ("Asia/Tokyo", "2026-11-22T06:00:00+09:00", "Sunday 22 November, 6:00 JST", "11月22日(日) 6:00(日本時間)"),
        ("Asia/Tokyo", "2026-11-21T21:00:00Z", "Sunday 22 November, 6:00 JST", "11月22日(日) 6:00(日本時間)"),
        ("Europe/London", "2026-07-01T00:30:00+00:00", "Wednesday 1 July, 1:30 BST", "7月1日(水) 1:30(BST)"),
        ("Etc/UTC", "2026-11-21T21:05:00Z", "Saturday 21 November, 21:05 UTC", "11月21日(土) 21:05(UTC)"),
        ("Asia/Dubai", "2026-11-21T21:05:00Z", "Sunday 22 November, 1:05 UTC+04:00", "11月22日(日) 1:05(UTC+04:00)"),
        ("Asia/Tokyo", "9999-12-31T23:59:59Z", "Friday 31 December, 23:59 UTC", "12月31日(金) 23:59(UTC)"),
        ("No/Such", "2026-11-22T06:00:00+09:00", "Sunday 22 November, 6:00 UTC+09:00", "11月22日(日) 6:00(UTC+09:00)"),
        ("Asia", "2026-11-22T06:00:00+09:00", "Sunday 22 November, 6:00 UTC+09:00", "11月22日(日) 6:00(UTC+09:00)"),
        ("", "2026-11-22T06:00:00+09:00", "Sunday 22 November, 6:00 UTC+09:00", "11月22日(日) 6:00(UTC+09:00)"),
    ],
)  # fmt: skip
def test_the_end_in_words(zone: str, end: str, english: str, japanese: str) -> None:
    words = PAGES.parameter.in_words(datetime.fromisoformat(end), zone)
    assert words == {"en": english, "ja": japanese}


@pytest.mark.parametrize("text", ["", "off", "[]", '{"a": 1}', '{"a": {"until": "soon"}}', '{"a": {"until": 5}}',
                                  '{"a": {"until": "2026-11-22T06:00:00"}}'])  # fmt: skip
def test_a_stored_value_that_is_no_window_is_an_error_of_the_read(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        PAGES.parameter.parse(text, "Asia/Tokyo")


def test_a_call_is_signed_as_botocore_signs_it() -> None:
    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials

    credentials = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token"}
    body = b'{"Name": "/shop/maintenance"}'
    ours = PAGES.parameter.signed("ssm.ap-northeast-1.amazonaws.com", body, "ap-northeast-1", NOW, credentials)
    unsigned = {name: value for name, value in ours.items() if name not in ("authorization", "host")}
    request = botocore.awsrequest.AWSRequest(
        "POST", "https://ssm.ap-northeast-1.amazonaws.com/", headers=unsigned, data=body
    )
    request.context["timestamp"] = ours["x-amz-date"]
    signer = botocore.auth.SigV4Auth(botocore.credentials.Credentials(*credentials.values()), "ssm", "ap-northeast-1")
    text = signer.string_to_sign(request, signer.canonical_request(request))
    assert ours["authorization"].endswith(f"Signature={signer.signature(text, request)}")
    assert f"SignedHeaders={signer.signed_headers(signer.headers_to_sign(request))}," in ours["authorization"]


# What people see.


@pytest.mark.parametrize(
    ("accept_language", "language"),
    [
        ("ja", "ja"), ("ja-JP,ja;q=0.9,en;q=0.8", "ja"), ("en-GB,en;q=0.9,ja;q=0.1", "en"), ("JA-jp", "ja"),
        ("fr,ja;q=0.5,en;q=0.2", "ja"), ("ja;q=0.2, en;q=0.7", "en"), ("", "en"), ("*", "en"), ("fr", "en"),
        ("ja;q=0", "en"), ("ja;q=x", "en"), ("jam", "en"), (";;,,=", "en"),
    ],
)  # fmt: skip
def test_the_page_speaks_the_visitor_s_language(accept_language: str, language: str) -> None:
    found = answer(PAGES, event(accept_language=accept_language), [window(40)])
    assert found.headers["content-language"] == language
    assert f'<html lang="{language}">' in found.body
    assert ("メンテナンス中です" in found.body) == (language == "ja")
    assert ("11月22日(日) 6:00(日本時間)" if language == "ja" else "Sunday 22 November, 6:00 JST") in found.body
    assert '<time datetime="2026-11-21T21:00:00+00:00">' in found.body
    assert found.headers["vary"] == "accept, accept-language, origin"


def test_a_page_without_a_known_end_promises_none() -> None:
    for windows in ((), (window(None),)):
        assert "<time" not in answer(PAGES, event(), windows).body


def test_the_reason_is_text_whatever_is_in_it() -> None:
    reason = "<script>alert(1)</script>\"'&amp; $title ${x} \ud800 " + "x" * 5000
    found = answer(PAGES, event(), [window(reason=reason)])
    assert "<script" not in found.body
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;amp; $title ${x} ? xxx" in found.body
    assert len(found.body) < 5000


def test_the_service_s_name_is_text_too() -> None:
    body = answer(loaded(PAGE, SERVICE_NAME="<b>$shop & co</b>"), event()).body
    assert body.count("&lt;b&gt;$shop &amp; co&lt;/b&gt;") == 3
    assert "<b>" not in body


def test_nothing_is_loaded_and_nothing_may_run() -> None:
    for language in ("en", "ja"):
        found = answer(PAGES, event(accept_language=language), [window(reason="work")])
        assert not re.search(r"src=|href=|url\(|@import|<script|<img|<link|https?:", found.body)
        assert found.headers["content-security-policy"].startswith("default-src 'none';")
        assert found.headers["x-content-type-options"] == "nosniff"


def test_text_stands_out_from_its_ground_in_light_and_dark() -> None:
    # WCAG 2.2, 1.4.3: 4.5 to 1
    themes = re.findall(r":root \{.*?(--.*?)\}", PAGES.page.render("en", "shop", None), re.DOTALL)
    assert len(themes) == 2
    for theme in themes:
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", theme))
        for name in ("ink", "soft", "mark"):
            assert contrast(colours[name], colours["ground"]) >= 4.5, (name, theme)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


# What machines get.


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/json", "application/json"), ("application/json, text/plain, */*;q=0.5", "application/json"),
        ("application/json, text/plain, */*", "application/json"), ("application/vnd.api+json", "application/json"),
        ("text/html,application/json,*/*", "text/html; charset=utf-8"),
        ("application/json;q=0.5,*/*", "text/html; charset=utf-8"),
        ("application/problem+json", "application/json"), ("APPLICATION/JSON;charset=utf-8", "application/json"),
        ("text/html,application/json;q=0.9", "text/html; charset=utf-8"), ("*/*", "text/html; charset=utf-8"),
        ("", "text/html; charset=utf-8"), ("application/json;q=0", "text/html; charset=utf-8"),
        ("application/json;q=nan", "text/html; charset=utf-8"), ("image/png", "text/html; charset=utf-8"),
    ],
)  # fmt: skip
def test_a_client_that_likes_json_better_gets_json(accept: str, kind: str) -> None:
    found = answer(PAGES, event(accept=accept), [window(40, reason="データベース")])
    assert (found.status, found.headers["content-type"], found.headers["retry-after"]) == (503, kind, "2400")
    if kind == "application/json":
        assert json.loads(found.body) == {
            "message": "Service Unavailable",
            "maintenance": True,
            "service": "shop",
            "until": "2026-11-21T21:00:00+00:00",
            "reason": "データベース",
            "retry_after_seconds": 2400,
        }


def test_the_status_is_readable_by_machines_from_any_front_end() -> None:
    found = answer(ARTICLE, event("/.well-known/maintenance.json"), [window(None, reason="network")])
    assert (found.status, found.headers["access-control-allow-origin"]) == (200, "*")
    assert json.loads(found.body) == {
        "maintenance": True, "service": "shop", "until": None, "reason": "network", "retry_after_seconds": 300,
    }  # fmt: skip


def test_head_has_the_headers_of_get_and_no_body() -> None:
    for modules in (ARTICLE, PAGES):
        get, head = answer(modules, event("/b")), answer(modules, event("/b", "HEAD"))
        assert (head.status, head.headers, head.body) == (get.status, get.headers, "")


def test_headers_go_back_the_way_they_came() -> None:
    for request in (event("/b"), event("/b", multi_value=True)):
        reply = answer(PAGES, request).reply
        assert ("multiValueHeaders" in reply, "headers" in reply) == (
            "multiValueHeaders" in request,
            "headers" in request,
        )
    several = event("/b", multi_value=True)
    several["multiValueHeaders"]["accept-language"] = ["fr;q=0.3", "ja"]
    assert answer(PAGES, several).headers["content-language"] == "ja"


# Scripts of other origins.

SAFE_HEADERS = {"accept", "accept-language", "content-language", "content-type", "range"}
SHOWN = {"cache-control", "content-language", "content-length", "content-type", "expires", "last-modified", "pragma"}


def fetched(
    modules: SimpleNamespace, path: str, method: str = "GET", *, cookies: bool = False, **headers: str
) -> SimpleNamespace | None:
    """Return what a script of https://app.example.com sees of an answer, None for its «network error».

    https://fetch.spec.whatwg.org/#http-cors-protocol
    """
    origin = "https://app.example.com"
    names = sorted(name.replace("_", "-") for name in headers if name.replace("_", "-") not in SAFE_HEADERS)
    if headers.get("content_type", "text/plain") not in ("text/plain", "application/x-www-form-urlencoded"):
        names.append("content-type")

    def may_read(answered: SimpleNamespace) -> bool:
        allowed = answered.headers.get("access-control-allow-origin")
        if cookies:
            return allowed == origin and answered.headers.get("access-control-allow-credentials") == "true"
        return allowed in ("*", origin)

    if method not in ("GET", "HEAD", "POST") or names:
        asked = {"access_control_request_method": method}
        asked |= {"access_control_request_headers": ",".join(sorted(names))} if names else {}
        allowed = answer(modules, event(path, "OPTIONS", origin=origin, **asked))
        methods = allowed.headers.get("access-control-allow-methods", "").split(",")
        permitted = set(allowed.headers.get("access-control-allow-headers", "").split(","))
        if not may_read(allowed) or allowed.status not in range(200, 300):
            return None
        if method not in methods or not set(names) <= permitted:
            return None
    answered = answer(modules, event(path, method, origin=origin, **headers))
    exposed = {name.strip() for name in answered.headers.get("access-control-expose-headers", "").split(",")}
    shown = {name: value for name, value in answered.headers.items() if name in SHOWN | exposed}
    return SimpleNamespace(status=answered.status, headers=shown, body=answered.body) if may_read(answered) else None


@pytest.mark.parametrize("cookies", [False, True], ids=["without cookies", "with cookies"])
@pytest.mark.parametrize(
    ("method", "headers"),
    [
        pytest.param("GET", {}, id="a plain request"),
        pytest.param("HEAD", {}, id="its headers only"),
        pytest.param("POST", {"content_type": "application/json"}, id="JSON"),
        pytest.param("DELETE", {"authorization": "Bearer x", "x_request_id": "7"}, id="headers of its own"),
    ],
)
@pytest.mark.parametrize("modules", [ARTICLE, PAGES], ids=["the article's replies", "pages"])
def test_a_script_of_another_origin_reads_the_answer_and_when_to_come_back(
    modules: SimpleNamespace, method: str, headers: dict[str, str], cookies: bool
) -> None:
    seen = fetched(modules, "/b", method, cookies=cookies, **headers)
    assert seen is not None, "a network error"
    assert (seen.status, seen.headers["retry-after"], seen.headers["cache-control"]) == (503, "300", "no-store")


def test_a_script_of_another_origin_may_follow_a_redirect_and_read_the_status() -> None:
    assert (redirected := fetched(ARTICLE, "/a", cookies=True))
    assert redirected.status == 303
    assert (known := fetched(ARTICLE, "/.well-known/maintenance.json", cookies=True))
    assert known.status == 200


def test_no_browser_remembers_after_the_maintenance_what_it_was_allowed() -> None:
    asked = {"origin": "https://app.example.com", "access_control_request_method": "DELETE"}
    found = answer(PAGES, event("/b", "OPTIONS", **asked))
    assert (found.status, found.body, found.headers["access-control-max-age"]) == (204, "", "0")
    assert "origin" in found.headers["vary"]


def test_options_that_no_browser_asks_are_answered_like_any_request() -> None:
    for headers in ({}, {"origin": "https://app.example.com"}, {"access_control_request_method": "PUT"}):
        assert answer(ARTICLE, event("/b", "OPTIONS", **headers)).status == 503


def test_who_names_no_origin_gets_no_permission() -> None:
    found = answer(PAGES, event("/b"))
    assert not [name for name in found.headers if name.startswith("access-control")]
    assert "origin" in found.headers["vary"]
    assert not answer(PAGES, event("/b", origin="https://a\nb")).headers.get("access-control-allow-origin")


def test_no_cache_keeps_the_page() -> None:
    for path in ("/a", "/b", "/.well-known/maintenance.json"):
        found = answer(ARTICLE, event(path))
        kept = [found.headers[name] for name in ("cache-control", "cdn-cache-control", "surrogate-control")]
        assert kept == ["no-store"] * 3


def test_the_page_can_be_read_without_its_style() -> None:
    """A listener's own content-security-policy replaces the page's, and may forbid inline styles."""
    body = answer(PAGES, event("/"), [window(reason="database")]).body
    plain = re.sub("<style>.*</style>", "", body, flags=re.DOTALL)
    shown = re.findall(r"<(p|h1|dt|dd|time)\b[^>]*>([^<]+)", plain[plain.index("<body>") :])
    assert [kind for kind, _ in shown] == ["p", "h1", "p", "dt", "time", "dt", "dd", "p"]
    assert "style=" not in plain
    assert "hidden" not in plain


# The access log.


def logged(modules: SimpleNamespace, request: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines that a request leaves in the log."""
    capsys.readouterr()
    answer(modules, request)
    return capsys.readouterr().out.splitlines()


def test_who_asked_for_what_is_one_structured_line(capsys: pytest.CaptureFixture[str]) -> None:
    request = json.loads((ROOT / "events" / "maintenance_page_multi_value.json").read_text())
    (line,) = logged(ARTICLE, request, capsys)
    assert json.loads(line)["access"] == {
        "method": "GET",
        "host": "shop.example.com",
        "path": "/a/cart",
        "status": 303,
        "client": "203.0.113.7",  # whom the load balancer saw, not whom the client claims to be
        "forwarded_for": "198.51.100.23, 203.0.113.7",
        "user_agent": request["multiValueHeaders"]["user-agent"][0],
        "trace": "Root=1-692107c9-58e1d2c3b4a5968778695a4b",
    }


def test_nothing_that_a_client_sends_begins_a_line_or_colours_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = 'x\n{"access": {"path": "/forged"}}\r\u2028\u0085\x1b[31m\x00\x9b'
    request = event(f"/{evil}", user_agent=evil, x_forwarded_for=evil, host=evil)
    (line,) = logged(ARTICLE, request, capsys)
    assert re.fullmatch(r"[ -~]*", line)
    assert json.loads(line)["access"]["path"] == f"/{evil}"


def test_a_long_value_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = logged(ARTICLE, event("/" + "x" * 100_000, user_agent="y" * 100_000), capsys)
    assert len(line) < 5000


def test_query_strings_are_logged_only_when_switched_on(capsys: pytest.CaptureFixture[str]) -> None:
    request = event("/b") | {"queryStringParameters": {"token": "s3cret"}}
    assert "s3cret" not in "".join(logged(ARTICLE, request, capsys))
    (line,) = logged(loaded(LOG_QUERIES="true"), request, capsys)
    assert json.loads(json.loads(line)["access"]["query"]) == {"token": "s3cret"}


def test_a_health_check_is_answered_with_200_and_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    request = json.loads((ROOT / "events" / "maintenance_page_health_check.json").read_text())
    many = request | {"multiValueHeaders": {"user-agent": ["ELB-HealthChecker/2.0"]}}
    del many["headers"]
    for check in (request, many):
        assert logged(PAGES, check, capsys) == []
        assert (answer(PAGES, check).status, answer(PAGES, check).body) == (200, "ok")


def test_a_client_that_calls_itself_a_health_check_is_a_client(capsys: pytest.CaptureFixture[str]) -> None:
    request = event("/b", user_agent="ELB-HealthChecker/2.0")
    assert answer(ARTICLE, request).status == 503
    assert len(logged(ARTICLE, request, capsys)) == 1


# Whatever a load balancer sends.

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
tokens = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
texts = st.text(max_size=40) | st.sampled_from(["ja,en;q=0.5", "application/json", "q=;,", "203.0.113.7", "a;q=1e9"])
known = st.sampled_from(["accept", "accept-language", "host", "user-agent", "x-forwarded-for", "x-amzn-trace-id"])
paths = (
    st.sampled_from([*ODD_PATHS, "/.well-known/maintenance.json"])
    | st.text(max_size=60)
    | st.text(max_size=60).map("/a/{}".format)
)
plain = st.fixed_dictionaries(
    {
        "headers": st.dictionaries(known | tokens, texts, max_size=8),
        "queryStringParameters": st.dictionaries(texts, texts),
    }
)
several = st.fixed_dictionaries(
    {
        "multiValueHeaders": st.dictionaries(known | tokens, st.lists(texts, min_size=1, max_size=3), max_size=8),
        "multiValueQueryStringParameters": st.dictionaries(texts, st.lists(texts, max_size=3)),
    }
)
requests = st.builds(
    lambda base, passed: base | passed,
    st.fixed_dictionaries(
        {
            "requestContext": st.just({"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:…"}}),
            "httpMethod": st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]) | tokens,
            "path": paths,
            "body": st.text(max_size=40) | st.none(),
            "isBase64Encoded": st.booleans(),
        }
    ),
    plain | several,
)
LOGS_ALL = loaded(
    [{"path": "/a", "status": 302, "location": "https://shop.example.com/a/x"}, *PAGE], LOG_QUERIES="true"
)


@settings(unhurried, max_examples=300)
@given(requests, st.sampled_from([ARTICLE, PAGES, LOGS_ALL]), st.lists(st.integers(-5, 5), max_size=3))
@example({"httpMethod": "GET", "path": "/", "headers": None}, PAGES, [])
@example({"path": "/a", "multiValueHeaders": None}, ARTICLE, [])
def test_any_event_of_a_load_balancer_has_a_valid_answer(request: Any, modules: Any, minutes: list[int]) -> None:
    with contextlib.redirect_stdout(None):
        found = answer(modules, request, [window(m or None, str(m), reason="<\ud800$&") for m in minutes])
    path = request["path"]
    if modules is ARTICLE and path.startswith("/a/") and path != "/a/maintenance" and not is_check(request):
        assert found.status == 303, "a path escaped its rule"


def is_check(request: Any) -> bool:
    """Tell a request that Hypothesis made look like a health check."""
    return len(request.get("headers") or request.get("multiValueHeaders") or {}) == 1


fields = st.sampled_from(["path", "status", "location", "json", "page"])
values = st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["/", "/a", 303, 503])


@settings(unhurried)
@given(st.recursive(values, lambda inner: st.lists(inner) | st.dictionaries(fields, inner)))
def test_any_replies_are_either_understood_or_refused_by_name(rules: Any) -> None:
    refused = ""
    try:
        understood = ARTICLE.replies.parse(json.dumps(rules))
    except ValueError as error:
        refused = str(error)
    if refused:
        assert "MaintenanceReplies" in refused
    else:
        assert all(ARTICLE.replies.choose(understood, "h", path) for path in ODD_PATHS)


# In Lambda.


class Page:
    """The page of a stack `shop`, in Lambda."""

    def __init__(self, account: Account, build: Path, **parameters: str) -> None:
        self.account = account
        self.build = build
        given = {"MaintenanceListenerArn": listener(account)} | parameters
        self.stack = cloudformation.deploy(account, build, "shop", given)
        self.name = self.stack.resources["MaintenancePageFunction"]

    @property
    def function(self) -> Function:
        """What the function was deployed as."""
        return self.account.functions._functions[self.name]

    def announces(self, value: object) -> None:
        """Write the maintenance parameter, a moment before the next visit."""
        text = value if isinstance(value, str) else json.dumps(value)
        client = self.account.client("ssm")
        client.put_parameter(Name="/shop/maintenance", Type="String", Value=text, Overwrite=True)
        self.account.lag.catch_up("ssm")

    def window(self, minutes: float, reason: str = "") -> None:
        """Announce one window that ends so many minutes from now."""
        until = (self.account.clock.now() + timedelta(minutes=minutes)).isoformat()
        self.announces({"release": {"until": until, "reason": reason}})

    def visit(self, path: str = "/b", **headers: str) -> Any:
        """Request a path; the invocation must not fail."""
        done = self.account.functions.invoke(self.name, event(path, **headers))
        assert done.error is None, (done.error, done.log)
        return done

    def retry_after(self) -> str:
        """Return what a visitor is told to wait."""
        return str(self.visit().payload["headers"]["retry-after"])

    @property
    def reads(self) -> list[Any]:
        """Return the calls that the function made."""
        return [call for call in self.account.calls if "MaintenancePageRole" in call.principal]


def listener(account: Account) -> str:
    """Make an Application Load Balancer and return its listener's ARN."""
    ec2, elb = account.client("ec2"), account.client("elbv2")
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.1.{n}.0/24", AvailabilityZone=f"ap-northeast-1{zone}")
        for n, zone in enumerate("ac")
    ]
    made = elb.create_load_balancer(Name="web", Subnets=[subnet["Subnet"]["SubnetId"] for subnet in subnets])
    page = {"StatusCode": "200", "ContentType": "text/plain", "MessageBody": "the service"}
    created = elb.create_listener(
        LoadBalancerArn=made["LoadBalancers"][0]["LoadBalancerArn"], Protocol="HTTP", Port=80,
        DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": page}],
    )  # fmt: skip
    return str(created["Listeners"][0]["ListenerArn"])


@pytest.fixture
def new_page(account: Account, build: Path) -> Callable[..., Page]:
    """Return a maker of deployed pages."""
    return lambda **parameters: Page(account, build, **parameters)


def test_the_first_reply_waits_for_nothing_and_the_next_one_knows_the_end(new_page: Callable[..., Page]) -> None:
    page = new_page()
    page.window(40)
    page.account.faults.add("ssm", "GetParameter", None, latency=1.5)
    first = page.visit()
    assert (first.cold, first.payload["headers"]["retry-after"]) == (True, "300")
    assert first.seconds < 1, "the reply waited for the read"
    assert page.retry_after() == "2400"
    assert [(call.operation, call.params["Name"], call.error) for call in page.reads] == [
        ("GetParameter", "/shop/maintenance", None)
    ]


def test_a_change_of_the_window_is_known_after_half_a_minute(new_page: Callable[..., Page]) -> None:
    page = new_page()
    page.account.faults.off()  # a read that fails is asked for again half a minute later
    page.window(40)
    page.visit()
    page.window(90)
    page.account.advance(29)
    assert page.retry_after() == str(40 * 60 - 29)
    page.account.advance(2)
    page.visit()  # reads after its reply
    assert page.retry_after() == str(90 * 60 - 31)
    assert len(page.reads) == 2


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServerError", "AccessDeniedException"])
def test_a_read_that_fails_changes_nothing_but_the_log(new_page: Callable[..., Page], code: str) -> None:
    page = new_page()
    page.window(40)
    page.visit()
    page.account.faults.add("ssm", "GetParameter", code)
    page.account.advance(31)
    failed = page.visit()
    assert page.retry_after() == str(40 * 60 - 31), "what was known before stays"
    assert any("/shop/maintenance cannot be read" in line and code in line for line in failed.log)
    assert len(page.reads) == 2, "and it is not asked again before half a minute is over"


def test_without_a_parameter_no_window_is_open(new_page: Callable[..., Page]) -> None:
    page = new_page()
    page.window(40)
    page.visit()
    page.account.faults.add("ssm", "GetParameter", "ParameterNotFound", status=400)
    page.account.advance(31)
    assert not any("cannot be read" in line for line in page.visit().log)
    assert page.retry_after() == "300"


def test_a_value_that_cannot_be_understood_is_said_in_the_log(new_page: Callable[..., Page]) -> None:
    page = new_page()
    page.announces("tomorrow")
    first = page.visit()
    assert any("cannot be read" in line and "JSONDecodeError" in line for line in first.log)
    assert page.retry_after() == "300"


def test_a_read_that_never_ends_does_not_keep_the_replies(new_page: Callable[..., Page]) -> None:
    page = new_page()
    page.window(40)
    page.account.faults.add("ssm", "GetParameter", None, latency=4, times=1)  # longer than the read waits
    first = page.visit()
    assert first.seconds < 2
    assert any("TimeoutError" in line for line in first.log)
    assert page.visit().cold is False


def test_in_lambda_every_sample_event_has_a_valid_answer(new_page: Callable[..., Page]) -> None:
    page = new_page(MaintenanceReplies=json.dumps([*FROM_THE_ARTICLE[:1], *PAGE]), ServiceName="Sakura Shop")
    page.window(40, "データベースの更新 <1/2>")
    files = sorted((ROOT / "events").glob("maintenance_page_*.json"))
    assert len(files) == 4
    for file in files:
        sample = json.loads(file.read_text())
        done = page.account.functions.invoke(page.name, sample)
        assert done.error is None
        assert problems(done.payload, sample) == []
    page_in_japanese = page.visit("/a/maintenance", accept_language="ja").payload
    assert "データベースの更新 &lt;1/2&gt;" in page_in_japanese["body"]
    assert "Sakura Shop は現在ご利用いただけません" in page_in_japanese["body"]


def test_malformed_replies_that_pass_the_template_stop_the_function_with_one_clear_error(
    new_page: Callable[..., Page],
) -> None:
    page = new_page(MaintenanceReplies='[{"path": "/", "status": 200, "理由": "保守"}]')
    done = page.account.functions.invoke(page.name, event())
    assert done.payload["errorType"] == "ValueError"
    assert done.payload["errorMessage"].startswith("MAINTENANCE_REPLIES (MaintenanceReplies): rule 1 has ")
    assert done.payload["errorMessage"].isascii(), "the runtime cannot report any other error of INIT"


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"MaintenanceReplies": "/a"}, id="no JSON list"),
        pytest.param({"MaintenanceReplies": "[]"}, id="an empty list"),
        pytest.param({"MaintenanceReplies": '[{"path": "/a", "status": 503}]'}, id="paths without an answer"),
        pytest.param({"MaintenanceReplies": json.dumps(PAGE * 100)}, id="too long for the environment"),
        pytest.param({"MaintenanceRetryAfterSeconds": "0"}, id="come back at once"),
        pytest.param(
            {"MaintenanceListenerArn": "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012:listener/net/a/b/c"},
            id="a listener of an NLB",
        ),
    ],
)
def test_what_can_be_seen_to_be_wrong_is_refused_at_deploy_time(
    new_page: Callable[..., Page], given: dict[str, str]
) -> None:
    with pytest.raises(TemplateError, match=next(iter(given))):
        new_page(**given)


def test_the_function_may_do_one_thing_and_carries_no_layer(new_page: Callable[..., Page]) -> None:
    page = new_page(SerializeInvocations="true")
    assert page.function.layers == ()
    assert page.function.reserved_concurrency is None, "visitors are not served one by one"
    statements = page.account.roles[page.function.role_name].policies
    allowed = json.dumps(statements, default=str)
    assert set(re.findall(r"\b(?:ssm|logs|sns|ec2|elasticloadbalancing):[A-Z]\w+", allowed)) == {
        "ssm:GetParameter", "logs:CreateLogStream", "logs:PutLogEvents",
    }  # fmt: skip
    assert "parameter/shop/maintenance" in allowed


def test_before_the_first_reply_nothing_heavy_is_imported(build: Path) -> None:
    program = "import sys; known = set(sys.modules); import app; print(*sorted(set(sys.modules) - known))"
    done = subprocess.run(
        [str(processes.python()), "-P", "-c", program],
        cwd=build / "MaintenancePageFunction",
        env={"PYTHONPATH": ".", "MAINTENANCE_REPLIES": json.dumps(PAGE)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    heavy = {"parameter", "datetime", "zoneinfo", "http", "ssl", "urllib", "email", "logging", "dataclasses", "hashlib"}
    heavy |= {"boto3", "botocore", "kirikae", "aws_lambda_powertools"}
    before = set(done.stdout.split())
    assert heavy & before == set()
    assert {path.stem for path in FOLDER.glob("*.py")} - before == {"parameter"}, "the reader's part comes later"


def test_no_module_of_the_page_imports_in_a_circle() -> None:
    imports = {path.stem: imported(path) for path in FOLDER.glob("*.py")}
    order = list(graphlib.TopologicalSorter(imports).static_order())  # raises CycleError that names the circle
    assert order[-1] == "app"


def imported(path: Path) -> set[str]:
    """Return the modules of the page that a module imports, at once or later."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name for name in names if (FOLDER / f"{name}.py").exists()}


def test_the_package_ships_byte_code_that_lambda_accepts(build: Path) -> None:
    # An unchecked hash: the archive's times of 1980 would make any other stale.
    for source in FOLDER.glob("*.py"):
        code = build / "MaintenancePageFunction" / "__pycache__" / f"{source.stem}.cpython-313.pyc"
        assert int.from_bytes(code.read_bytes()[4:8], "little") == 0b01, code


def test_times_are_said_in_their_zone_where_the_system_knows_no_zones(build: Path) -> None:
    program = "import datetime, parameter; t = datetime.datetime(2026, 7, 1, tzinfo=datetime.UTC)"
    done = subprocess.run(
        [str(processes.python()), "-P", "-c", f"{program}; print(parameter.in_words(t, 'Europe/London')['en'])"],
        cwd=build / "MaintenancePageFunction",
        env={"PYTHONPATH": ".", "PYTHONTZPATH": ""},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "Wednesday 1 July, 1:00 BST\n"


# In a browser.

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium): the page is not looked at"
)
SCREENSHOTS = os.environ.get("KIRIKAE_SCREENSHOTS")  # a directory that keeps them, such as docs
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
GROUNDS = {"light": "#f6f4ef", "dark": "#15191c"}
ANNOUNCED = {"ja": "データベースのバージョンアップ作業を行っています。", "en": "We are upgrading the database."}


class Visited(loopback.Handler):
    """Passes requests on to the handler, as a load balancer does."""

    def do_GET(self) -> None:  # noqa: N802 (http.server's name)
        """Answer with the handler's reply; where asked, with one that measures itself in a frame as wide as a phone."""
        language = self.headers.get("Accept-Language", "").partition(",")[0].partition("-")[0]
        shown = window(40, reason=ANNOUNCED.get(language, ""))
        found = answer(SHOP, event(self.path, accept="text/html", accept_language=language), [shown])
        body = found.body
        if self.path == "/measured":
            del found.headers["content-security-policy"]
            body += "<script>parent.document.title = [document.documentElement.scrollWidth, innerWidth]</script>"
        if self.path == "/in-a-phone":
            del found.headers["content-security-policy"]
            body = f'<title></title><iframe src="/measured" width="{SIZES["phone"][0]}" frameborder="0"></iframe>'
        self.send_response(found.status)
        for name, value in {**found.headers, "content-length": str(len(body.encode()))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())


SHOP = loaded(PAGE, SERVICE_NAME="Sakura Shop")


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Return a browser that opens a path with command line options, and returns what it prints."""
    server = loopback.Server(Visited)

    def run(path: str, language: str, size: tuple[int, int], mode: str, option: str) -> str:
        done = subprocess.run(
            [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
             f"--user-data-dir={tmp_path}", f"--accept-lang={language}", f"--window-size={size[0]},{size[1]}",
             f"--blink-settings=preferredColorScheme={0 if mode == 'dark' else 1}", option, f"{server.url}{path}"],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return done.stdout

    yield run
    server.close()


@needs_chromium
@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("screen", ["desktop", "phone"])
@pytest.mark.parametrize("language", ["ja", "en"])
def test_a_browser_shows_the_page(
    browse: Callable[..., str], tmp_path: Path, language: str, screen: str, mode: str
) -> None:
    picture = Path(SCREENSHOTS or tmp_path) / f"maintenance-page-{language}-{screen}-{mode}.png"
    browse("/", language, SIZES[screen], mode, f"--screenshot={picture}")
    data = picture.read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    assert (width, height) == SIZES[screen]
    assert "#" + first_pixel(data).hex() == GROUNDS[mode], "the page's own style was not applied"


def first_pixel(png: bytes) -> bytes:
    """Return the colour at the top left of a PNG of eight bits a colour."""
    place, packed = 8, b""
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        if png[place + 4 : place + 8] == b"IDAT":
            packed += png[place + 8 : place + 8 + length]
        place += 12 + length
    return zlib.decompress(packed)[1:4]  # after the first row's filter, which has nothing to refer to here


@needs_chromium
@pytest.mark.parametrize("language", ["ja", "en"])
def test_a_phone_never_scrolls_sideways(browse: Callable[..., str], language: str) -> None:
    shown = browse("/in-a-phone", language, SIZES["desktop"], "light", "--dump-dom")
    width = SIZES["phone"][0]
    assert f"<title>{width},{width}</title>" in shown


@pytest.mark.parametrize(
    ("region", "suffix"),
    [
        ("ap-northeast-1", "amazonaws.com"),
        ("cn-north-1", "amazonaws.com.cn"),
        ("us-gov-west-1", "amazonaws.com"),
        ("eusc-de-east-1", "amazonaws.eu"),
        ("us-iso-east-1", "c2s.ic.gov"),
        ("us-isob-east-1", "sc2s.sgov.gov"),
    ],
)
def test_systems_manager_is_asked_where_the_partition_has_it(
    region: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = botocore.session.get_session().create_client("ssm", region_name=region).meta.endpoint_url
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_REGION", region)
    monkeypatch.setenv("URL_SUFFIX", suffix)  # AWS::URLSuffix there
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    refused = ConnectionRefusedError("nobody")
    with (
        mock.patch("http.client.HTTPSConnection", side_effect=refused) as connection,
        pytest.raises(OSError, match="nobody"),
    ):
        PAGES.parameter.value("/shop/maintenance")
    assert connection.call_args.args[0] == full.removeprefix("https://")
