"""The attempts at a wish: Lambda repeats one that failed, and may deliver any of them twice, under the same request id.

EventBridge Scheduler may do so too, each time under another one: what a schedule asks is known by its scheduled time.

The version of the parameter before the first attempt is remembered in tags of the maintenance rule, of the last few
starts and of the last few ends: `ID@7 ID@9`. If a later version changed the window, the wish is stored already, or a
newer one is, which counts: either way there is nothing to store.
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import elb, env
from kirikae.maintenance import windows
from kirikae.maintenance.rules import OURS, VERSION_TAG, Memory
from kirikae.maintenance.windows import Stored, Window, Wish
from kirikae.maintenance.world import Config

TAG = "kirikae:maintenance-{}"  # one for starts and one for ends: of two wishes that contradict, each has its own
LONGEST = 256  # characters of a tag's value


def repeated(config: Config, request_id: str, wish: Wish, now: datetime, last: Stored) -> Stored | None:
    """Return the windows as they are if this wish is repeated and not to be stored again; otherwise None."""
    before = _first_version(config.maintenance_rule_arn, request_id, wish, last.version)
    if before is None:
        return None
    name, numbers = config.maintenance_parameter, range(max(before, 1), last.version)
    held = [None] * (before == 0) + [windows.read(f"{name}:{number}").windows.get(wish.name) for number in numbers]
    changes = _changes([*held, last.windows.get(wish.name)], now)
    if not changes:
        return None
    if len(changes) == 1 and (changes[0] is None) == (wish.window is None):
        return replace(last, started=wish.window is not None)
    note = f"the {wish.kind} of {wish.name!r} was repeated after a later wish for that window, which counts"
    return replace(last, note=note)


def known(config: Config, request_id: str, kind: str) -> bool:
    """Tell whether there was an attempt at this wish before."""
    rule = config.maintenance_rule_arn
    return request_id in _known(elb.tags([rule])[rule], TAG.format(kind))


def last_start(config: Config, tags: Mapping[str, str], memory: Memory, last: Stored, now: datetime) -> int:
    """Return the first version of the parameter that can hold the last start, 0 if none is remembered.

    And 0 for one that no run has followed and whose window has ended since: nobody asks for it any more.
    """
    start = 1 + max(_known(tags, TAG.format("start")).values(), default=-1)
    waits = memory.state in OURS and 0 < memory.version < start <= last.version
    return 0 if waits and not _open_still(config.maintenance_parameter, memory.version, last, now) else start


def _open_still(name: str, since: int, last: Stored, now: datetime) -> bool:
    """Tell whether a window that was given since a version is open; of one that was given as it was, nobody can say."""
    held = [*(windows.read(f"{name}:{number}") for number in range(since, last.version)), last]
    for earlier, later in pairwise(held):
        given = {name for name, window in later.windows.items() if earlier.windows.get(name) != window}
        ended = earlier.open(later.written).keys() - later.windows.keys()
        if given & last.open(now).keys() or not (given or ended):
            return True
    return False


def followed(report: Mapping[str, Any]) -> None:
    """Remember of a start that it found the page on: so what others do to the rule from now on is newer than it.

    Otherwise it counts as one that is still to be followed: one under a hold, or of a run that died.
    """
    stored, memory = report["seen"]["stored"], report["seen"]["memory"]
    if report["outcome"] == "unchanged" and stored["started"] and stored["version"] > memory["version"]:
        with suppress(ClientError, BotoCoreError):  # then a rule that others move is taken back from them, once
            elb.tag(env.load(Config).maintenance_rule_arn, {VERSION_TAG: str(stored["version"])})


def _known(tags: Mapping[str, str], tag: str) -> dict[str, int]:
    """Return the attempts that a tag remembers: request id -> the version before the first."""
    entries = (entry.partition("@") for entry in tags.get(tag, "").split())
    return {request_id: int(version) for request_id, _, version in entries if version.isdecimal()}


def _changes(held: Iterable[Window | None], now: datetime) -> list[Window | None]:
    """Return what a window became, of its values in one version after the other; that it was over is no change."""
    return [
        later
        for earlier, later in pairwise(held)
        if later != earlier and (later is not None or (earlier is not None and earlier.open(now)))
    ]


def _first_version(rule_arn: str, request_id: str, wish: Wish, version: int) -> int | None:
    """Return the parameter's version before the first attempt at this wish; None if this is the first, and note it."""
    tag = TAG.format(wish.kind)
    try:
        tags = elb.tags([rule_arn])[rule_arn] if request_id else {}
        before = _known(tags, tag)
        if request_id in before:
            return before[request_id]
        if request_id:
            acted = tags.get(VERSION_TAG, "")  # no older than what a run has acted on, whatever the read showed
            newest = max(version, int(acted)) if acted.isdecimal() else version
            elb.tag(rule_arn, {tag: _fitting([*before.items(), (request_id, newest)])})
    except (ClientError, BotoCoreError):  # a wish is stored whatever happens to its tag: the tick makes it come true
        pass
    return None


def _fitting(known: list[tuple[str, int]]) -> str:
    """Return the tag's value with the last few attempts."""
    entries = [f"{request_id}@{version}" for request_id, version in known]
    while len(" ".join(entries)) > LONGEST:
        del entries[0]
    return " ".join(entries)
