"""A request of a client and the response that it gets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Visit:
    """A request of a client."""

    path: str = "/"
    host: str = ""
    client: str = ""
    agent: str = "sandbox"
    turn: int = 0  # the number of the connection: it follows the weights and goes round the targets
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()  # as sent
    body: bytes = b""


@dataclass(frozen=True)
class Page:
    """An HTTP response of a load balancer or of an application behind it."""

    status: int
    body: bytes
    content_type: str = "text/html"
    location: str | None = None
    headers: tuple[tuple[str, str], ...] = ()  # all of them, where a function gave them
