"""The narrator of the stories, and a visitor's view of a page."""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path

from sandbox.account import Account
from sandbox.lambdas.runtime import Invocation
from sandbox.stack import cloudformation

BUILD = Path(__file__).parents[2] / ".aws-sam" / "build"
PACE = float(os.environ.get("KIRIKAE_DEMO_PACE", "0.025"))  # real seconds for a second in the account


class Story:
    """A narrator: prints each line beside the account's clock, and what has happened since the last one."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._began = 0.0  # when the first line was told
        self._runs = self._mails = 0
        self._last: dict[str, str] = {}

    def tell(self, text: str) -> None:
        """Print a line with the minutes and seconds since the first."""
        self._began = self._began or self.account.clock.time()
        minutes, seconds = divmod(int(self.account.clock.time() - self._began), 60)
        print(f"{minutes:3d}:{seconds:02d}  {text}")

    def begins(self, where: str = "") -> None:
        """Print how fast time runs, and where the service answers."""
        self.tell(f"An account on this machine; its time runs {1 / PACE:.0f} times as fast.{where and f' {where}'}")

    def deploys(self, name: str, parameters: Mapping[str, str]) -> cloudformation.Stack:
        """Deploy the built template as this stack."""
        given = {**parameters, "NotificationEmail": "oncall@example.com"}
        return cloudformation.deploy(self.account, BUILD, name, given)

    def visits(self, url: str, words: str = "") -> str:
        """Fetch a page, print it and return it; end the demo if these words are not in it."""
        page = get(url)
        if words not in page:
            raise SystemExit(f"expected a page with {words!r} at {url}, got {page}")
        self.tell(f"GET {url} -> {page}")
        return page

    def passes(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Let so many seconds pass at the demo's pace, or fewer if `until` holds, and print what happens."""
        self.happened()
        for _ in range(int(seconds)):
            if until():
                return
            self.account.advance(1, PACE)
            self.happened()

    def happened(self) -> None:
        """Print the decisions and mails that are new; a decision for the same reason as the last one is not."""
        self.account.settle()
        for run in self.account.functions.runs[self._runs :]:
            self._runs += 1
            for line in run.invocation.log:
                if '"decision"' in line:
                    self._decided(run.function, json.loads(line)["decision"], run.invocation)
            if run.invocation.error:
                self.tell(f"  FAILED {run.function}: {run.invocation.error}")
        for mail in self.account.mails[self._mails :]:
            self._mails += 1
            if (mail.subject or "").startswith("[kirikae]"):
                self.tell(f"  mail to {', '.join(mail.recipients)}: {mail.subject}")
                for part in mail.body.splitlines():
                    print(f"          | {part[:150]}{'…' if len(part) > 150 else ''}")

    def _decided(self, function: str, decision: dict[str, str], invocation: Invocation) -> None:
        name = function.split("-")[1].removesuffix("Function")
        if self._last.get(name) == decision["reason"] and decision["outcome"] == "unchanged":
            return
        self._last[name] = decision["reason"]
        cold = f", cold start {invocation.init_seconds:.2f} s" if invocation.cold else ""
        self.tell(f"  {name} <- {decision['hint']}: {decision['outcome'].upper()} ({invocation.seconds:.2f} s{cold})")
        print(f"            because {decision['reason']}")


def get(url: str) -> str:
    """Fetch a page as a browser does; return its status and what a reader sees of it."""
    request = urllib.request.Request(url, headers={"Connection": "close"})  # noqa: S310 (loopback only)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return f"{answer.status} {_text(answer.read())}"
    except urllib.error.HTTPError as error:
        return f"{error.code} {_text(error.read())}"
    except (urllib.error.URLError, HTTPException, ConnectionError) as error:
        return f"no answer ({error})"


def _text(body: bytes) -> str:
    """Return the words of a page without its markup."""
    page, words, inside = body.decode(), "", False
    for character in page[page.find("<h1") :] if "<h1" in page else page:
        inside = character == "<" or (inside and character != ">")
        words += " " if character == ">" else "" if inside else character
    return " ".join(words.split())[:90]
