"""A Network Load Balancer's listener as a port on loopback: traffic goes where its action says."""

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
        page = self.server.plane.get(self.path, self.headers.get("Host", ""))
        # Each request is a new connection, as a new client's is, so it follows the weights of the moment.
        self.close_connection = True
        if page is None:
            return
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Connection", "close")
        if page.location:
            self.send_header("Location", page.location)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    do_GET = do_HEAD = _answer  # noqa: N815 (http.server's names)


class _Server(loopback.Server):
    plane: "DataPlane"


class DataPlane:
    """One listener of a Network Load Balancer, reachable at .url until it or the account is closed."""

    def __init__(self, account: "Account", listener_arn: str) -> None:
        self.account = account
        self.listener_arn = listener_arn
        self._turns = itertools.count()
        self._server = _Server(_Handler)
        self._server.plane = self
        self.url = f"{self._server.url}/"
        account.at_close(self.close)

    def get(self, path: str, host: str) -> Page | None:
        """Return the page that the next connection gets, None if nobody answers it."""
        visit = Visit(path, host, client="127.0.0.1", turn=next(self._turns))
        return traffic.from_listener(self.account.elb, self.listener_arn, visit)

    def close(self) -> None:
        """Close the port."""
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
