"""Visitors' ways into the account: a load balancer's listener as a port on loopback."""

import itertools
from dataclasses import replace
from typing import Any, Self

from sandbox import loopback
from sandbox.account import Account
from sandbox.services.elb_routing import Page, Visit


class _Server(loopback.Server):
    plane: Any  # the plane that the server belongs to


class _Handler(loopback.Handler):
    server: _Server

    def _send(self, page: Page, headers: list[tuple[str, str]]) -> None:
        self.send_response(page.status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(page.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)


class _Plane:
    """One listener, reachable at .url until it or the account is closed."""

    _handler: type[_Handler]

    def __init__(self, account: Account, listener_arn: str) -> None:
        self._account = account
        self._listener_arn = listener_arn
        self._turns = itertools.count()
        self._server = _Server(self._handler)
        self._server.plane = self
        self.url = self._server.url
        account.at_close(self.close)

    def close(self) -> None:
        """Close the port."""
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _NlbHandler(_Handler):
    def _answer(self) -> None:
        page = self.server.plane.get(self.path, self.headers.get("Host", ""))
        # Each request is a new connection, as a new client's is, so it follows the weights of the moment.
        self.close_connection = True
        if page:
            self._send(page, [*_own_headers(page), ("Connection", "close")])

    do_GET = do_HEAD = _answer  # noqa: N815 (http.server's names)


class NlbPlane(_Plane):
    """A listener of a Network Load Balancer: each request goes where its action says, or gets no answer at all."""

    _handler = _NlbHandler

    def __init__(self, account: Account, listener_arn: str) -> None:
        super().__init__(account, listener_arn)
        self.url += "/"

    def get(self, path: str, host: str) -> Page | None:
        """Return the page that the next connection gets, None if nobody answers it."""
        visit = Visit(path, host, client="127.0.0.1", turn=next(self._turns))
        return self._account.targets.nlb_page(self._listener_arn, visit)


class _AlbHandler(_Handler):
    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        visit = Visit(
            self.path,
            self.headers.get("Host", ""),
            self.client_address[0],
            self.headers.get("User-Agent", ""),
            method=self.command,
            headers=tuple(self.headers.items()),
            body=body,
        )
        page = self.server.plane.visit(visit)
        given = [(name, value) for name, value in page.headers if name.lower() not in ("content-length", "connection")]
        self._send(page, given or _own_headers(page))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer  # noqa: N815 (http.server's names)


class AlbPlane(_Plane):
    """A listener of an Application Load Balancer: rules by priority, functions as targets.

    The address that a client connects from is the one that source-ip conditions see: all of 127.0.0.0/8 is loopback.
    """

    _handler = _AlbHandler

    def visit(self, visit: Visit) -> Page:
        """Return the response that a request gets."""
        return self._account.targets.alb_page(self._listener_arn, replace(visit, turn=next(self._turns)))

    def get(self, path: str, client: str = "203.0.113.9", host: str = "shop.example.com") -> Page:
        """Return the response to a GET, without a connection."""
        return self.visit(Visit(path, host, client))


def _own_headers(page: Page) -> list[tuple[str, str]]:
    """Return the headers of a page that no function gave any."""
    return [("Content-Type", page.content_type)] + ([("Location", page.location)] if page.location else [])
