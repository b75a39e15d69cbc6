"""An Application Load Balancer's listener as a port on loopback: rules by priority, functions as targets."""

import itertools
from typing import TYPE_CHECKING, Self

from sandbox.traffic import loopback
from sandbox.traffic import routing as traffic
from sandbox.traffic.visits import Page, Visit

if TYPE_CHECKING:
    from sandbox.account import Account


class _Handler(loopback.Handler):
    server: "_Server"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        page = self.server.plane.visit(
            Visit(
                self.path,
                self.headers.get("Host", ""),
                self.client_address[0],
                self.headers.get("User-Agent", ""),
                method=self.command,
                headers=tuple(self.headers.items()),
                body=body,
            )
        )
        self.send_response(page.status)
        for name, value in _headers(page):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(page.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer  # noqa: N815 (http.server's names)


def _headers(page: Page) -> list[tuple[str, str]]:
    """Return the headers of a page; the ALB itself says how long it is."""
    if page.headers:
        return [(name, value) for name, value in page.headers if name.lower() not in ("content-length", "connection")]
    return [("Content-Type", page.content_type)] + ([("Location", page.location)] if page.location else [])


class _Server(loopback.Server):
    plane: "AlbPlane"


class AlbPlane:
    """One listener of an Application Load Balancer, reachable at .url until it or the account is closed.

    The address that a client connects from is the one that source-ip conditions see: all of 127.0.0.0/8 is loopback.
    """

    def __init__(self, account: "Account", listener_arn: str) -> None:
        self.account = account
        self.listener_arn = listener_arn
        self._turns = itertools.count()
        self._server = _Server(_Handler)
        self._server.plane = self
        self.url = self._server.url
        account.at_close(self.close)

    def visit(self, visit: Visit) -> Page:
        """Return the response that a request gets."""
        return traffic.from_alb_listener(self.account.elb, self.listener_arn, visit, next(self._turns))

    def get(self, path: str, client: str = "203.0.113.9", host: str = "shop.example.com") -> Page:
        """Return the response to a GET, without a connection."""
        return self.visit(Visit(path, host, client))

    def close(self) -> None:
        """Close the port."""
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
