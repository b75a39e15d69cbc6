"""What `make demo` tells is what happens: each story ends with the world that it promises, or fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.demo.__main__ import STORIES

ROOT = Path(__file__).parents[2]
PROMISES = {
    "nlb": ["sorry page ON", "503 We will be back soon", "sorry page OFF", "200 The service"],
    "standby": ["InsufficientInstanceCapacity", "is serving", "200 The service", "active stopped"],
    "addresses": ["addresses moved to", "both route tables lead"],
    "rotation": ["0 failed"],
    "maintenance": ["maintenance ON", "303 to /a/maintenance", "503, Retry-After 120 s", "maintenance OFF"],
}


def test_every_story_is_promised_something() -> None:
    assert sorted(PROMISES) == sorted(STORIES)


@pytest.mark.parametrize("story", STORIES)
def test_a_story_keeps_its_promise(story: str) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "sandbox.demo", story],
        cwd=ROOT,
        env=os.environ | {"KIRIKAE_DEMO_PACE": "0.0001"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    for words in PROMISES[story]:
        assert words in told
    assert "FAILED" not in told
