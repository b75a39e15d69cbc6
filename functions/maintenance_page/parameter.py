"""The maintenance parameter: one signed call, and the windows in its value.

Without an SDK: importing one would take a second of the processor from the replies that follow the first.
"""

import hmac
import http.client
import json
import os
import time
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from window import Window

TIMEOUT_SECONDS = 2  # to connect, and for each answer
LONGEST_REASON = 500  # characters


def parse(text: str, zone: str) -> tuple[Window, ...]:
    """Return the windows in {"<window>": {"until": …, "reason": …}}; raise ValueError for anything else."""
    stored = json.loads(text)
    if not isinstance(stored, dict) or not all(isinstance(wish, dict) for wish in stored.values()):
        raise ValueError(f'expected {{"<window>": {{"until": "…", "reason": "…"}}}}, found {text!r}')
    return tuple(_window(name, wish, zone) for name, wish in stored.items())


def _window(name: str, wish: Mapping[str, Any], zone: str) -> Window:
    reason = str(wish.get("reason") or "").encode(errors="replace").decode()[:LONGEST_REASON]
    until = wish.get("until")
    if until is None:
        return Window(name, None, "", {}, reason)
    if not isinstance(until, str) or (end := datetime.fromisoformat(until)).tzinfo is None:
        raise ValueError(f"until of {name} is {until!r}, expected a time with an offset like +09:00 or Z")
    return Window(name, end.timestamp(), end.isoformat(), in_words(end, zone), reason)


def in_words(end: datetime, zone: str) -> dict[str, str]:
    """Return a time in words, in the maintenance's time zone or, if that is not known, in its own offset."""
    try:
        end = end.astimezone(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError, OverflowError):  # a folder; the end of the year 9999, elsewhere
        zone = ""
    named = end.tzname() or ""
    if not named.isalpha() or named == "UTC":
        named = f"UTC{end:%:z}" if end.utcoffset() else "UTC"
    japanese = "日本時間" if zone == "Asia/Tokyo" else named
    weekday = "月火水木金土日"[end.weekday()]
    return {
        "en": f"{end:%A} {end.day} {end:%B}, {end.hour}:{end:%M} {named}",
        "ja": f"{end.month}月{end.day}日({weekday}) {end.hour}:{end:%M}({japanese})",
    }


def value(name: str) -> str:
    """Return the value of a parameter; without it there are no windows, as before the first wish.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
    """
    region = os.environ["AWS_REGION"]
    url = urlsplit(os.environ.get("AWS_ENDPOINT_URL") or f"https://ssm.{region}.{os.environ['URL_SUFFIX']}")
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=TIMEOUT_SECONDS)
    body = json.dumps({"Name": name}).encode()
    try:
        connection.request("POST", "/", body, signed(url.netloc, body, region, time.time(), os.environ))
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    if answer.status == 400 and b"ParameterNotFound" in text:
        return "{}"
    if answer.status != 200:
        raise OSError(f"GetParameter was answered with {answer.status}: {text[:300]!r}")
    return str(json.loads(text)["Parameter"]["Value"])


def signed(host: str, body: bytes, region: str, now: float, credentials: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a call of GetParameter with its signature, version 4.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    headers = {  # in the order of their names, as the signature wants them
        "content-type": "application/x-amz-json-1.1",
        "host": host,
        "x-amz-date": stamp,
        "x-amz-security-token": credentials["AWS_SESSION_TOKEN"],
        "x-amz-target": "AmazonSSM.GetParameter",
    }
    names = ";".join(headers)
    lines = "".join(f"{name}:{text}\n" for name, text in headers.items())
    request = f"POST\n/\n\n{lines}\n{names}\n{sha256(body).hexdigest()}"
    scope = f"{stamp[:8]}/{region}/ssm/aws4_request"
    key = b"AWS4" + credentials["AWS_SECRET_ACCESS_KEY"].encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(request.encode()).hexdigest()}"
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    credential = f"{credentials['AWS_ACCESS_KEY_ID']}/{scope}"
    return headers | {
        "authorization": f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
    }
