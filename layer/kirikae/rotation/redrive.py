"""What a redriven execution finds: its document is older than the world, where others have put targets back since.

https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html
"""

from collections.abc import Container, Iterable, Mapping
from typing import Any

from kirikae.clock import moment
from kirikae.notify import Words
from kirikae.rotation.claims import Claim, Found, mine
from kirikae.rotation.guard import absent, present
from kirikae.rotation.world import Health, Member, Rotation

_MOST_RETURNS = 3  # of a target that somebody else puts back; each costs it the time of draining


def timed_anew(rotation: Rotation, execution: Mapping[str, Any]) -> Rotation:
    """Count no time from before the execution was redriven, as its context says.

    https://docs.aws.amazon.com/step-functions/latest/dg/input-output-contextobject.html
    """
    again = execution.get("RedriveTime")
    if not again or "since" not in rotation or moment(again) <= moment(rotation["since"]):
        return rotation
    return {**rotation, "since": moment(again).isoformat(timespec="seconds")}


def own(rotation: Rotation, others: Mapping[str, Claim]) -> tuple[Rotation, Words | None]:
    """Leave to others what they have taken out, by target id, and say so; what they have not taken stays ours."""
    out, left, said = list[Member](), list[dict[str, str]](), dict[str, str]()
    for member in rotation["out"]:
        theirs = others.get(member["id"])
        places = {(place["group"], place["port"]) for place in theirs.places} if theirs else set()
        ours = [place for place in member["places"] if (place["group"], place["port"]) not in places]
        if theirs and len(ours) < len(member["places"]):
            said[member["id"]] = theirs.by
            left += [] if ours else [{"id": member["id"], "reason": f"out, by {theirs.by}"}]
        out += [{**member, "places": ours}] if ours else []
    if not said:
        return rotation, None
    en = "; ".join(f"{target} is out, by {other}" for target, other in said.items())
    ja = "; ".join(f"{target} は {other} が切り離し中です" for target, other in said.items())
    return {**rotation, "out": out, "skipped": [*rotation["skipped"], *left]}, Words(en, ja)


def requeued(rotation: Rotation, health: Health) -> tuple[Rotation, Words | None]:
    """Let targets that are registered again everywhere wait for their turn once more; say so if that does not end.

    An Auto Scaling group or a deployment may put back at once whatever leaves.
    """
    back = [member for member in rotation["out"] if not absent(member, health)]
    if restless := [member["id"] for member in back if member.get("returns", 0) >= _MOST_RETURNS]:
        ids, times = ", ".join(restless), _MOST_RETURNS + 1
        ja = f"{ids} は作業の前に {times} 回、他から再登録されました"
        return rotation, Words(f"somebody else has registered {ids} again {times} times before its hook", ja)
    queue = [
        Member(id=m["id"], places=m["places"], scaling_group=m["scaling_group"], returns=m.get("returns", 0) + 1)
        for m in back
    ]
    out = [member for member in rotation["out"] if member not in back]
    return {**rotation, "out": out, "queue": [*queue, *rotation["queue"]]}, None


def placed(
    rotation: Rotation,
    registered: Mapping[str, Member],
    scaling_groups: Mapping[str, str],
    aside: Mapping[str, str],
    claimed: Container[str],
) -> Rotation:
    """Return it with the targets that wait for their turn as they are registered now; one that has gone is left aside.

    scaling_groups: the Auto Scaling groups that instances are in now.  aside: why some are left as they are.  claimed:
    those that this execution has claimed; they are on their way out, and were registered as its document says.
    """
    queue, gone = list[Member](), list[dict[str, str]]()
    for member in rotation["queue"]:
        target, now = member["id"], registered.get(member["id"])
        if target in claimed:
            queue.append(member)
        elif now and target not in aside:
            queue.append({**member, "places": now["places"], "scaling_group": scaling_groups.get(target, "")})
        else:
            reason = aside[target] if now else "registered no more"
            gone.append({"id": target, "reason": f"{reason} when its turn came"})
    return {**rotation, "queue": queue, "skipped": [*rotation["skipped"], *gone]} if gone or queue else rotation


def moved(before: Rotation, now: Rotation) -> bool:
    """Tell whether a target that waits for its turn is, or is registered, elsewhere than its document said before."""
    return bool(now["queue"]) and _waiting(before) != _waiting(now)


def _waiting(rotation: Rotation) -> set[tuple[str, str, str, int]]:
    """Return target, Auto Scaling group, group and port of every registration that waits for its turn."""
    return {
        (m["id"], m["scaling_group"], place["group"], place["port"]) for m in rotation["queue"] for place in m["places"]
    }


def returned(out: Iterable[Member], found: Found, by: str, health: Health) -> bool:
    """Tell whether somebody has put a target back: it is registered, and this execution's claim on it is closed."""
    return any(
        len(absent(member, health)) < len(member["places"]) and not mine(found, member["id"], by) for member in out
    )


def serving(out: Iterable[Member], others: Mapping[str, Claim], health: Health) -> str:
    """Return why the hook may not begin, or "": a target that is not out, or is out for another reason than this."""
    problems = [problem for member in out for problem in present(member, health)]
    return "; ".join([*problems, *(f"{target} is out, by {other.by}" for target, other in others.items())])
