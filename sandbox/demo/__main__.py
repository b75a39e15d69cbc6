"""`make demo`: the product's stories, told as they happen in an account on this machine."""

import sys
import time
from importlib import import_module

from sandbox.account import Account
from sandbox.demo.story import Story
from sandbox.lambdas import processes

STORIES = ("nlb", "standby", "addresses", "maintenance", "rotation")


def main(*names: str) -> None:
    """Tell the stories of these names, or all of them; any surprise ends the demo with an error."""
    began = time.monotonic()
    processes.forks = False  # the stories tell how long a cold start took
    for name in names or STORIES:
        told = import_module(f"sandbox.demo.{name}")
        print(f"== {told.TITLE} ==")
        with Account() as account:
            told.story(Story(account))
        print()
    print(f"Everything above ran on this machine in {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    main(*sys.argv[1:])
