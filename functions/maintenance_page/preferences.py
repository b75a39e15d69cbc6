"""The client's preferences in Accept and Accept-Language (RFC 9110, section 12.5)."""

from page import LANGUAGES


def json_before_html(accept: str) -> bool:
    """Tell whether a client would rather have JSON than a page; one that does not say so gets the page.

    What it names counts before what a wildcard lets through: `application/json, text/plain, */*` asks for JSON.
    """
    liked = _weights(accept)
    json = max((weight for kind, weight in liked.items() if kind.endswith(("/json", "+json"))), default=0.0)
    html = max(liked.get(kind, 0.0) for kind in ("text/html", "application/xhtml+xml"))
    anything = max(liked.get(kind, 0.0) for kind in ("text/*", "*/*"))
    return json > html and json >= anything


def language(accept_language: str) -> str:
    """Return the language of the page that a client likes best; English if it names none of them."""
    liked = _weights(accept_language)
    return max(LANGUAGES, key=lambda tag: max((w for n, w in liked.items() if n.partition("-")[0] == tag), default=0.0))


def _weights(header: str) -> dict[str, float]:
    """Return the names in a header, in lower case, with their weights; a weight that is no number is 0."""
    found = {}
    for part in header.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        weight = next((piece[2:].strip() for piece in parameters if piece.startswith("q=")), "1")
        found[name] = float(weight) if weight.isascii() and weight.replace(".", "", 1).isdecimal() else 0.0
    return found
