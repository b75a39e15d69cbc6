"""The story of planned maintenance: the page answers while a window is open, testers get through, all goes back."""

import http.client
import json
from urllib.parse import urlsplit

from sandbox.demo.story import Story
from sandbox.estates.alb import alb_service
from sandbox.traffic import AlbPlane

VISITOR, TESTER = "127.0.0.1", "127.0.0.2"  # all of 127.0.0.0/8 is this machine
MINUTES = 3
TITLE = "Planned maintenance: an ALB with /a, /b and /c, testers who go past the page, and a lost end"


def look(url: str, path: str, source: str = VISITOR) -> str:
    """Open one page from an address; return its status, and where it leads or when to come back."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, source_address=(source, 0), timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    more = f" to {answer.headers['Location']}" if answer.headers["Location"] else ""
    more += f", Retry-After {answer.headers['Retry-After']} s" if answer.headers["Retry-After"] else ""
    return f"{answer.status}{more}"


def story(told: Story) -> None:
    """Tell it, and fail if a page is not the one that the story promises."""
    account = told.account
    shop = alb_service(account, priorities=(1, 2, 10))
    plane = AlbPlane(account, shop.listener_arn)
    stack = told.deploys(
        "shop",
        {
            "MaintenanceListenerArn": shop.listener_arn,
            "MaintenanceBypassCidrs": f"{TESTER}/32",
            "MaintenanceBypassTargetGroupArn": shop.group_arns["/b"],
        },
    )
    names = {arn: path for path, arn in shop.rule_arns.items()}
    names |= {stack.resources["MaintenanceRule"]: "page", stack.resources["MaintenanceTestersRule"]: "testers"}

    def order() -> str:
        return ", ".join(f"{number} {names[arn]}" for arn, number in shop.priorities().items())

    def see(expected: list[str]) -> None:
        told.tell(f"rules: {order()}")
        pages = [look(plane.url, path) for path in ("/a", "/b", "/c/items?id=7")]
        tester = look(plane.url, "/b", TESTER)
        told.tell(f"GET /a -> {pages[0]}   /b -> {pages[1]}   /c -> {pages[2]}   a tester's /b -> {tester}")
        if [page[:3] for page in [*pages, tester]] != expected:
            raise SystemExit(f"expected {expected}")

    told.tell(f"The ALB answers at {plane.url}. Before the window:")
    before = order()
    see(["200", "200", "200", "200"])
    wish = {"type": "start", "window": "release 42", "minutes": MINUTES, "reason": "database upgrade"}
    told.tell(f"An operator invokes the function with {json.dumps(wish)}")
    account.functions.invoke(stack.resources["AlbMaintenancePriorityFunction"], wish)
    told.happened()
    see(["303", "503", "503", "200"])
    told.passes(60)
    told.tell("A minute later:")
    see(["303", "503", "503", "200"])
    told.tell("Nobody ends the window. It ends by itself:")
    told.passes(60 * MINUTES + 60, until=lambda: order() == before)
    see(["200", "200", "200", "200"])
    calls = [call.operation for call in account.calls if "AlbMaintenance" in call.principal]
    told.tell(f"SetRulePriorities was called {calls.count('SetRulePriorities')} times: once there, once back.")
    if calls.count("SetRulePriorities") != 2 or order() != before:
        raise SystemExit(f"expected two calls and the order {before}, got {order()}")
