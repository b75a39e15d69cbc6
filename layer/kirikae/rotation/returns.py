"""How targets come back: waited for until they are healthy and warm, and named if they are not in time."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from kirikae.clock import moment
from kirikae.ec2 import GONE
from kirikae.notify import Words
from kirikae.rotation.guard import SETTLE_SECONDS, added, ailing, unplaced
from kirikae.rotation.steps import also, elapsed, ended, pause, said, timed, wait
from kirikae.rotation.world import Health, Member, Place, Rotation, Terms


def back(
    rotation: Rotation,
    sick: Mapping[str, str],
    refused: Mapping[str, str],
    slow_start_seconds: int,
    now: datetime,
) -> Rotation:
    """Go on when everything that was out is healthy again, or when the time for that is over.

    sick: why a target is not back, by its id.  refused: those of them that AWS did not take; they stay out, claimed,
    and are tried again after the end.  slow_start_seconds: how long one that is healthy has less than its share.
    """
    rotation = timed(rotation, "back", now) if rotation.get("phase") != "slow-start" else rotation
    if sick and elapsed(rotation, now) <= _patience(rotation, refused):
        return wait(rotation, "back", pause(elapsed(rotation, now)))
    if not sick and slow_start_seconds and rotation["queue"] and "ending" not in rotation:
        rotation = timed(rotation, "slow-start", now)
        if (rest := slow_start_seconds - elapsed(rotation, now)) > 0:
            return wait(rotation, "back", rest)
    good = "put back" if "ending" in rotation else "rotated"
    done = [member for member in rotation["out"] if member["id"] not in refused]
    rows = [row(member, good, sick.get(member["id"], ""), now) for member in done]
    out = [member for member in rotation["out"] if member["id"] in refused]
    following: Rotation = {**rotation, "out": out, "done": [*rotation["done"], *rows], "phase": ""}
    if sick:
        limit, named = rotation["healthy_timeout_seconds"], "; ".join(sick.values())
        en, ja = (f"{rotation['reason'][tongue]}; " if "ending" in rotation else "" for tongue in ("en", "ja"))
        words = Words(
            f"{en}not healthy {limit} s after being put back: {named}",
            f"{ja}戻してから {limit} 秒経っても正常になりません: {named}",
        )
        return {**ended(following, "Failed", words), "next": "finish"}
    return {**following, "next": "finish" if "ending" in rotation else "take-out"}


def _patience(rotation: Rotation, refused: Mapping[str, str]) -> float:
    """Return how many seconds targets have to become healthy, from the beginning of the way back.

    AWS may not take a target back before it has drained: the time of each begins when it is registered, or could be,
    and health can be that of the new registration.
    """
    since, drain = moment(rotation["since"]), timedelta(seconds=rotation["drain_seconds"])
    begins = [since, *(moment(member["in_at"]) for member in rotation["out"] if "in_at" in member)]
    for member in (member for member in rotation["out"] if "out_at" in member):
        out_at, settle = moment(member["out_at"]), timedelta(seconds=SETTLE_SECONDS)
        begins.append(out_at + (max(drain, settle) if member["id"] in refused else settle))
    return rotation["healthy_timeout_seconds"] + (max(begins) - since).total_seconds()


def noted(member: Member, stopped: Mapping[str, str], refused: Mapping[str, str], now: datetime) -> Member:
    """Note when a target was registered again, and whether it never will be."""
    member = {**member, "gone": stopped.get(member["id"]) in GONE}
    if member["id"] in stopped.keys() | refused.keys() or "in_at" in member:
        return member
    return {**member, "in_at": now.isoformat(timespec="seconds")}


def named(rotation: Rotation, back: Iterable[Member], health: Health) -> Rotation:
    """Name where others have registered what is back besides: it stays so."""
    found = {member["id"]: added(member, health) for member in back}
    aside = [
        {"id": target, "reason": f"others have registered it elsewhere: {', '.join(places)}"}
        for target, places in found.items()
        if places
    ]
    return {**rotation, "skipped": [*rotation["skipped"], *aside]}


def unwell(ids: Iterable[str], health: Health, terms: Mapping[str, Terms]) -> str:
    """Return which of these targets are not healthy, and where, or ""; where nothing is checked, nothing is asked."""
    left = unplaced(health, terms)
    found = []
    for target in dict.fromkeys(ids):
        places = [
            Place(group=group, port=t.port, zone="", quic_server_id="")
            for group, targets in health.items()
            for t in targets
            if t.id == target and t.state != "draining" and (group, target) not in left
        ]
        here = Member(id=target, places=places, scaling_group="")
        found.append(ailing(here, health, terms) if places else f"{target} is not registered")
    return ", ".join(filter(None, found))


def judged(rotation: Rotation, unwell: str | None) -> Rotation:
    """Return an ended rotation whose reason says who is not healthy by now; None: that could not be read."""
    if unwell == "":
        return rotation
    words = Words(f"not healthy now: {unwell}", f"現在正常でないターゲット: {unwell}")
    if unwell is None:
        words = Words("whether all are healthy now cannot be read", "現在の正常性は読み取れません")
    if rotation["ending"] != "Finished":
        return also(rotation, words)
    return {**rotation, "reason": said(Words(f"all were rotated; {words.en}", f"全台の作業は完了; {words.ja}"))}


def row(member: Member, good: str, problem: str, now: datetime) -> dict[str, Any]:
    """Return a line of the table, with the way that a target was registered if it is not back."""
    out_at = member.get("out_at") or now.isoformat()
    made = {
        "id": member["id"],
        "out_at": out_at,
        "back_at": now.isoformat(timespec="seconds"),
        "minutes": round((now - moment(out_at)).total_seconds() / 60, 1),
        "result": f"NOT BACK: {problem}" if problem else good,
    }
    return {**made, "member": member} if problem else made
