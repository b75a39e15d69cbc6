"""One look at the site from here, for the mail of a switch; it decides nothing, and its failure is only told."""

import html
import re
import string
import threading
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from typing import Any, override
from urllib.error import HTTPError
from urllib.parse import quote

from kirikae.notify import Words

SECONDS = 5.0
_BYTES = 4096
_SHOWN = 120  # characters


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The first answer is the one that a visitor's browser gets: where it sends him is not followed."""

    @override
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def look(url: str, get: Callable[[str], Words] | None = None) -> Words:
    """Return what one GET of the page answers; it takes SECONDS at most.

    In a thread, because a name that does not resolve has no time-out, and each byte of a slow answer has its own.
    """
    said = [Words(f"no answer within {SECONDS:.0f} s", f"{SECONDS:.0f} 秒以内に応答がありませんでした")]
    thread = threading.Thread(target=lambda: said.append((get or _get)(url)), daemon=True)
    thread.start()
    thread.join(SECONDS)
    found = said[-1]
    return Words(f"ProbeUrl {url}, asked once now: {found.en}.", f"ProbeUrl {url} を 1 回確認した結果: {found.ja}。")


def _get(url: str) -> Words:
    """Return the status and the first words of the page, or why there is none."""
    asked = quote(url, safe=string.punctuation)  # as a browser does: a request line holds ASCII only
    request = urllib.request.Request(asked, headers={"User-Agent": "kirikae"})  # noqa: S310 (the setting is http or https)
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=SECONDS) as response:
            return _page(response)
    except HTTPError as error:  # an answer too: the sorry page is a 503
        with error:
            return _page(error)
    except (OSError, HTTPException, ValueError) as error:  # no name, no connection, no valid certificate, no HTTP
        return Words(f"no answer ({error})", f"応答がありませんでした ({error})")


def _page(response: HTTPResponse | HTTPError) -> Words:
    text = response.read(_BYTES).decode("utf-8", "replace")
    visible = re.sub(r"<(style|script|title)\b.*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL | re.IGNORECASE)
    words = " ".join(html.unescape(visible).split())[:_SHOWN]
    where = response.headers.get("Location", "")
    shown = " ".join(filter(None, [str(response.status), where and f"-> {where[:_SHOWN]}", words and f"«{words}»"]))
    return Words(f"status {shown}", f"ステータス {shown}")
