"""What comes next in a rotation: each step returns a new document, made from the last one and from what is seen."""

import re
from collections.abc import Mapping
from datetime import datetime

from kirikae.clock import moment
from kirikae.notify import Words
from kirikae.rotation.commands import ENDED
from kirikae.rotation.guard import present
from kirikae.rotation.world import Ending, Health, Next, Phase, Rotation

POLL_SECONDS = 15
LONGEST_POLL_SECONDS = 120  # while something healthy is waited for
HELD_POLL_SECONDS = 300  # an execution has 25,000 events of history: a pause must be frugal
HELD_LIMIT_SECONDS = 86400
MOST_CHARACTERS = 8000  # of a reason: the table names each target that is not back, too
GRACE_SECONDS = 300  # beyond what AWS says draining takes


def ended(rotation: Rotation, ending: Ending, reason: Words) -> Rotation:
    """End the rotation; what is out is put back first."""
    following: Next = "back" if rotation.get("out") else "finish"
    return {**rotation, "next": following, "ending": ending, "reason": said(reason)}


def said(words: Words) -> dict[str, str]:
    """Return words as the document holds them: no more than it has room for."""
    return {
        tongue: text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"
        for tongue, text in (("en", words.en), ("ja", words.ja or words.en))
    }


def also(rotation: Rotation, words: Words) -> Rotation:
    """Return an ending whose reason says this, too, if it is anything."""
    if not words.en:
        return rotation
    reason = rotation["reason"]
    more = Words(f"{reason['en']}; {words.en}", f"{reason['ja']}; {words.of('ja')}")
    return {**rotation, "reason": said(more)}


def timed(rotation: Rotation, phase: Phase, now: datetime) -> Rotation:
    """Count time from now on, unless it counts for this phase already."""
    if rotation.get("phase") == phase:
        return rotation
    return {**rotation, "phase": phase, "since": now.isoformat(timespec="seconds")}


def elapsed(rotation: Rotation, now: datetime) -> float:
    """Return the seconds since the phase began."""
    return (now - moment(rotation["since"])).total_seconds()


def wait(rotation: Rotation, following: Next, seconds: float, reason: Words | None = None) -> Rotation:
    """Go on after so many seconds."""
    waiting: Rotation = {**rotation, "next": following, "wait_seconds": max(1, round(seconds))}
    return {**waiting, "reason": said(reason)} if reason else waiting


def paused(rotation: Rotation, now: datetime, reason: Words) -> Rotation:
    """Wait for the end of a hold, for a day at most; nothing is out meanwhile."""
    rotation = timed(rotation, "held", now)
    if elapsed(rotation, now) > HELD_LIMIT_SECONDS:
        words = Words(f"held for a day: {reason.en}", f"保留が 1 日続きました: {reason.of('ja')}")
        return ended(rotation, "Stopped", words)
    return wait(rotation, "wait", HELD_POLL_SECONDS, reason)


def crowded(rotation: Rotation, now: datetime, reason: Words) -> Rotation:
    """Wait until the next target can be spared, for as long as a target may take to become healthy."""
    rotation = timed(rotation, "crowded", now)
    if elapsed(rotation, now) > rotation["healthy_timeout_seconds"]:
        return ended(rotation, "Stopped", reason)
    return wait(rotation, "wait", pause(elapsed(rotation, now)), reason)


def pause(passed: float) -> float:
    """Return the seconds until the next look: less and less often, because a long wait must not fill the history."""
    return min(max(POLL_SECONDS, passed / 4), LONGEST_POLL_SECONDS)


def failed(rotation: Rotation) -> Rotation:
    """Turn what a Catch of the state machine left into an ending with its reason; a person's abort is no failure."""
    failure = rotation.get("failure")
    if not failure or "ending" in rotation:
        return rotation
    error, cause = failure.get("Error", ""), failure.get("Cause", "")
    if found := re.search(r'"errorMessage": ?"((?:[^"\\]|\\.)*)"', cause):
        cause = found[1]
    if error == "Aborted":
        words = Words(f"aborted: {cause}", f"中止されました: {cause}")
    elif error == "States.Timeout" and rotation.get("next") == "hook" and rotation["hook"]["type"] == "approval":
        limit = rotation["hook"]["timeout_seconds"]
        words = Words(f"nobody answered within {limit} s", f"{limit} 秒以内に回答がありませんでした")
    else:
        words = Words(cause if error == "InputError" else f"{error}: {cause}".strip(": "))
    return {**rotation, "ending": "Stopped" if error == "Aborted" else "Failed", "reason": said(words)}


def drained(rotation: Rotation, health: Health, short: str, now: datetime) -> Rotation:
    """Go on to the hook when every target is gone from its groups and the tail is over; put back what is needed.

    A target that is still registered is not drained: somebody registered it again, or health is not up to date.
    short: which group has too few healthy targets without those that are out.
    """
    if short:
        needed = f"put back before its hook, the service needs it: {short}"
        return ended(rotation, "Stopped", Words(needed, f"サービスに必要なため戻しました: {short}"))
    passed = (now - max(moment(member["out_at"]) for member in rotation["out"])).total_seconds()
    there = [problem for member in rotation["out"] for problem in present(member, health)]
    tail = rotation["tail_seconds"] - passed
    if not there:
        return wait(rotation, "drain", tail) if tail > 0 else {**timed(rotation, "hook", now), "next": "hook"}
    if passed > rotation["drain_timeout_seconds"]:
        still, limit = ", ".join(there), rotation["drain_timeout_seconds"]
        words = Words(
            f"still draining or registered after {limit} s: {still}",
            f"{limit} 秒経っても登録解除が終わりません: {still}",
        )
        return ended(rotation, "Failed", words)
    # Less and less often: targets of an ALB may be drained early, and a long wait must not fill the history.
    soon = min(max(POLL_SECONDS, passed / 4), max(POLL_SECONDS, rotation["drain_seconds"] - passed))
    return wait(rotation, "drain", max(tail, soon))


def ran(rotation: Rotation, found: Mapping[str, tuple[str, str]], now: datetime) -> Rotation:
    """Judge the hook's command by its status and details on each instance; Pending where none is shown yet."""
    outcomes = {member["id"]: found.get(member["id"], ("Pending", "")) for member in rotation["out"]}
    said_so = "; ".join(f"{instance} {status} {details}".strip() for instance, (status, details) in outcomes.items())
    statuses = {status for status, _ in outcomes.values()}
    commands = ", ".join(rotation["command_ids"])
    if statuses == {"Success"}:
        return {**rotation, "next": "back"}
    limit = rotation["hook"]["timeout_seconds"]
    if statuses <= ENDED:
        words = Words(f"command {commands} failed: {said_so}", f"コマンド {commands} が失敗しました: {said_so}")
    elif elapsed(rotation, now) > limit:
        words = Words(
            f"command {commands} has not ended within {limit} s: {said_so}",
            f"コマンド {commands} が {limit} 秒以内に終わりませんでした: {said_so}",
        )
    else:
        passed = elapsed(rotation, now)
        return wait(rotation, "result", min(max(POLL_SECONDS, passed / 4), limit - passed + 1))
    return ended(rotation, "Failed", words)


def finished(rotation: Rotation) -> Rotation:
    """Complete the document for the last mail; a rotation that no task has ended has failed."""
    state: Rotation = {"done": [], "queue": [], "out": [], "skipped": [], "unused": [], **rotation}
    if "ending" not in state:
        problem = Words("; ".join(f"{member['id']} is out" for member in state["out"]) or "ended for no known reason")
        state = {**ended(state, "Failed", problem), "next": "finish"}
    # Only before anything was touched: a person may send an error of this name, too.
    if state["ending"] == "Failed" and not state["done"] and rotation.get("failure", {}).get("Error") == "InputError":
        state["ending"] = "Refused"
    return state
