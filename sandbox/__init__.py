"""An AWS account on this machine: moto's backends, corrected to AWS, on one virtual clock."""

import os
import random

REGION = "ap-northeast-1"
ACCOUNT_ID = "123456789012"


def seed() -> str:
    """Return what an account's chances are drawn from: 1, unless KIRIKAE_SANDBOX_SEED gives another."""
    return os.environ.get("KIRIKAE_SANDBOX_SEED") or "1"


def drawn(what: str) -> random.Random:
    """Return the chances of one kind, the same ones each time for the same seed."""
    return random.Random(f"{what} {seed()}")  # noqa: S311 (to be repeated, not to be secret)
