"""Ordered path rules: which reply a path gets.

A path is compared as the load balancer passes it on: undecoded, with its dots, and with regard to case. Its own rules
see `/a/%2e%2e/b` normalised, as `/b`; here it is below `/a`. What an odd path means to the application does not matter
while no application answers.
"""

import json
import re
from typing import NamedTuple, NoReturn

# No permanent redirect: browsers would follow it when the maintenance is long over.
PHRASES = {
    200: "OK",
    302: "Found",
    303: "See Other",
    307: "Temporary Redirect",
    403: "Forbidden",
    404: "Not Found",
    410: "Gone",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
REDIRECTS = (302, 303, 307)
_PATH = re.compile(r"/|(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+")
# Only what browsers send back as it is: what they rewrite could not be known again as the target.
_LOCATION = re.compile(
    r"(?P<origin>https?://(?P<host>[A-Za-z0-9.-]+)(:\d+)?)?(?P<path>/(?!/)[A-Za-z0-9._~!$&'()*+,;=:@%/-]*|/)?"
    r"([?#][!-~]*)?"
)
_DOTS = re.compile(r"/(\.|%2e){1,2}(/|$)", re.IGNORECASE)


class Reply(NamedTuple):
    """One rule: a redirect (`location`), a JSON text (`body`), or else the page."""

    path: str
    status: int
    location: str = ""
    body: str = ""

    def covers(self, path: str) -> bool:
        """Tell whether a path is this rule's path or below it."""
        return path == self.path or self.path == "/" or path.startswith(self.path + "/")

    def leads_to(self, host: str, path: str) -> bool:
        """Tell whether this redirect leads to a path on a host.

        Behind a CDN the host may be the one of its origin, not the one that visitors ask for, so it only counts for /,
        to which every redirect to a status page of another host may lead.
        https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/RequestAndResponseBehaviorCustomOrigin.html
        """
        if not self.location or not (parts := _LOCATION.fullmatch(self.location)):
            return False
        there = parts["path"] or "/"
        return there == path and (there != "/" or (parts["host"] or host).lower() == host.lower())


def choose(replies: tuple[Reply, ...], host: str, path: str) -> Reply:
    """Return the first rule that covers a path; where a redirect leads, there is the page, so that none can loop."""
    path = path or "/"
    found = next(reply for reply in replies if reply.covers(path))
    if found.location and any(reply.leads_to(host.partition(":")[0], path) for reply in replies):
        return Reply(found.path, 503)
    return found


def parse(text: str) -> tuple[Reply, ...]:
    """Read MaintenanceReplies; raise ValueError that names every problem at once."""
    try:
        rules = json.loads(text, parse_constant=_no_number)
    except ValueError as error:
        raise _refused(f"is not JSON: {error}", text) from None
    problems: list[str] = []
    replies: list[Reply] = []
    reply = None
    if not isinstance(rules, list) or not rules:
        problems.append("expected a list of rules")
        rules = []
    for number, rule in enumerate(rules, 1):
        reply, wrong = _rule(rule)
        if earlier := next((before for before in replies if reply and before.covers(reply.path)), None):
            wrong.append(f"is never reached, because {earlier.path} comes before it")
        problems += [f"rule {number} {problem}" for problem in wrong]
        replies += [reply] if reply else []
    if reply and reply.path != "/":
        problems.append("the last rule must have the path /, so that every request has an answer")
    if problems:
        raise _refused("; ".join(problems), text)
    return tuple(replies)


def _rule(rule: object) -> tuple[Reply | None, list[str]]:
    """Return the rule, None if it has no path that can be compared, and its problems."""
    if not isinstance(rule, dict):
        return None, [f"is {rule!r}, expected an object with path, status and one of location, json, page"]
    path, status, location = rule.get("path"), rule.get("status"), rule.get("location", "")
    wrong: list[str] = []
    if unknown := sorted(rule.keys() - {"path", "status", "location", "json", "page"}):
        wrong.append(f"has {', '.join(unknown)}, expected only path, status and one of location, json, page")
    if len(rule.keys() & {"location", "json", "page"}) != 1 or rule.get("page", True) is not True:
        wrong.append('has not exactly one of "location", "json" and "page": true')
    allowed = [code for code in PHRASES if (code in REDIRECTS) == ("location" in rule)]
    if type(status) is not int or status not in allowed:
        wrong.append(f"has the status {status!r}, expected one of {', '.join(map(str, allowed))}")
    if "location" in rule and not _sound(location):
        wrong.append(f"has the location {location!r}, expected /path or https://host/path, no .. in it")
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        return None, [f"has the path {path!r}, expected one like / or /a without a / at its end", *wrong]
    body = json.dumps(rule["json"]) if "json" in rule else ""
    return Reply(path, status if type(status) is int else 0, location if isinstance(location, str) else "", body), wrong


def _sound(location: object) -> bool:
    """Tell whether a location can be sent, and be known again when a browser comes back with it."""
    if not isinstance(location, str) or not (parts := _LOCATION.fullmatch(location)):
        return False
    return bool(parts["origin"] or parts["path"]) and not _DOTS.search(parts["path"] or "/")


def _refused(problems: str, text: str) -> ValueError:
    # ASCII only: the runtime cannot report any other error of INIT.
    message = f"MAINTENANCE_REPLIES (MaintenanceReplies): {problems}; it is {text!r}"
    return ValueError(message.encode("ascii", "backslashreplace").decode())


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
