"""Cells of a matrix: a fault in one of the calls that the functions make, and which calls those were."""

import os
from collections.abc import Callable
from typing import Any

from sandbox.account import Account

SOAK = bool(os.environ.get("KIRIKAE_SOAK"))  # every cell, and not a sample

FAULTS: dict[str, dict[str, Any]] = {
    "killed before": {"code": None, "kills": True},
    "killed after": {"code": None, "kills": True, "after": True},
    "its answer is lost": {"code": None, "after": True},
    "three failures": {"code": "ServiceUnavailable", "status": 503, "times": 3},
}


def calls_of(account: Account, role: str, since: int) -> list[tuple[str, str, int]]:
    """Return service, operation and how manieth of its kind each call of a role was."""
    found: list[tuple[str, str, int]] = []
    for call in account.calls[since:]:
        if role in call.principal:
            nth = sum(1 for service, operation, _ in found if (service, operation) == (call.service, call.operation))
            found.append((call.service, call.operation, nth))
    return found


def nth_time(number: int) -> Callable[[dict[str, Any]], bool]:
    """Return a condition that holds from the call with this number on."""
    left = [number]

    def when(_params: dict[str, Any]) -> bool:
        left[0] -= 1
        return left[0] < 0

    return when


def fails(account: Account, role: str, call: tuple[str, str, int], given: dict[str, Any]) -> None:
    """Let this call of a role meet a fault."""
    (service, operation, number), fault = call, {"times": 1, **given}
    account.faults.add(service, operation, fault.pop("code"), role=role, when=nth_time(number), **fault)
