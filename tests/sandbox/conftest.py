"""An account of one test, and its clients."""

from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.account import Account


@pytest.fixture
def account() -> Iterator[Account]:
    with Account() as account:
        account.faults.off()  # these tests ask without an SDK that repeats
        yield account


@pytest.fixture
def ec2(account: Account) -> Any:
    return account.client("ec2")


@pytest.fixture
def elb(account: Account) -> Any:
    return account.client("elbv2")
