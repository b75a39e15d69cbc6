"""What a target rotation is, and what it decides: pure functions of its document and of what is seen.

The document is plain JSON, the state of a Step Functions execution: every operation gets it and returns the next one.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NotRequired, TypedDict

from kirikae import env
from kirikae.elb import Target, TargetGroup
from kirikae.env import InputError
from kirikae.notify import Words

NLB_TAIL_SECONDS = 120  # a Network Load Balancer may send new connections for this long after a deregistration
POLL_SECONDS = 15
HELD_POLL_SECONDS = 300  # an execution has 25,000 events of history: a pause must be frugal
HELD_LIMIT_SECONDS = 86400
CLAIM_SECONDS = 120  # a deregistration follows its claim within seconds; an older claim says no more than health does
MOST_TARGETS = 100  # of one execution, for the same 25,000 events
TAG = "kirikae:out:"  # + the target's id, on each group it was taken out of; the value is a Claim
HAND = "hand-"  # begins the owner of a claim that no execution made
HOOKS: Mapping[str, frozenset[str]] = {  # type -> what it takes besides the type
    "none": frozenset(),
    "approval": frozenset({"timeout_seconds"}),
    "ssm-document": frozenset({"document", "parameters", "timeout_seconds"}),
    "ssm-command": frozenset({"commands", "timeout_seconds"}),
}
_NUMBERS = {  # name -> least, most, default
    "batch_size": (1, 50, 1),
    "healthy_timeout_seconds": (30, 7200, 900),
    "drain_timeout_seconds": (1, 7200, 0),
    "timeout_seconds": (30, 172800, 3600),
}
_KEYS = {"instance_ids", "target_group_arns", "hook", "drain_timeout_seconds", "healthy_timeout_seconds", "batch_size"}


type Health = Mapping[str, tuple[Target, ...]]  # by target group ARN


@dataclass(frozen=True, kw_only=True)
class Config(env.Stack):
    """What the function is told."""

    rotation_target_group_arns: tuple[str, ...] = env.target_group_arn()
    rotation_min_healthy: int = env.must("[1-9][0-9]*", "a whole number from 1", default=1)
    rotation_defaults: str = "{}"
    rotation_documents: tuple[str, ...] = ()
    rotation_allow_standby: bool = False
    state_machine_arn: str
    nlb_listener_arns: tuple[str, ...] = env.listener_arns(default=())
    sorry_target_group_arn: str = ""


class Place(TypedDict):
    """One registration of a target, exactly as it was."""

    group: str
    port: int
    zone: str
    quic_server_id: str


class Member(TypedDict):
    """A target of the rotation: everything registered under one id."""

    id: str
    places: list[Place]
    scaling_group: str
    out_at: NotRequired[str]  # ISO 8601, when it was deregistered


class Rotation(TypedDict, total=False):
    """The document."""

    groups: list[str]
    hook: dict[str, Any]
    batch_size: int
    drain_seconds: int  # what AWS says draining takes
    tail_seconds: int  # how long connections may come after a deregistration
    drain_timeout_seconds: int
    healthy_timeout_seconds: int
    started: str
    queue: list[Member]
    out: list[Member]
    done: list[dict[str, Any]]  # id, out_at, back_at, minutes, result
    skipped: list[dict[str, str]]  # id, reason
    unused: list[str]  # groups without a load balancer: nothing drains and nothing is checked there
    phase: str  # what `since` counts
    since: str
    command_ids: list[str]
    next: str  # what the state machine does now
    wait_seconds: int
    reason: dict[str, str]  # why it waits, stops or fails; English and Japanese
    ending: str  # Finished, Stopped, Failed, Refused or DryRun
    failure: dict[str, str]  # what a Catch of the state machine left: Error and Cause


@dataclass(frozen=True)
class Request:
    """A validated input."""

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    hook: Mapping[str, Any]
    drain_timeout_seconds: int  # 0: from the groups
    healthy_timeout_seconds: int
    batch_size: int


@dataclass(frozen=True)
class World:
    """What a plan is judged by."""

    groups: tuple[TargetGroup, ...]
    health: Health
    scaling: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # instance -> group, life cycle state
    running: str = ""  # the older execution on the same groups
    hold: str = ""  # why nothing may begin
    sorry: bool = False
    document: str = ""  # what is wrong with the hook's document
    managed: frozenset[str] | None = None  # instances that Systems Manager can reach; None: not asked


@dataclass(frozen=True)
class Claim:
    """The tag that is written before a target is taken out: who took it, when, and how it was registered."""

    at: datetime
    by: str
    places: tuple[Place, ...]


# The input.


def request(config: Config, given: object, defaults: object) -> Request:
    """Read an execution's input over the stack's defaults; raise InputError that names every problem."""
    problems: list[str] = []
    for name, value in (("the input", given), ("RotationDefaults", defaults)):
        if not isinstance(value, dict):
            raise InputError(f"{name} is {value!r}, expected a JSON object")
        if unknown := sorted(value.keys() - _KEYS):
            problems.append(f"{name} has {', '.join(unknown)}; expected {', '.join(sorted(_KEYS))}")
    merged: dict[str, Any] = {**defaults, **given}  # type: ignore[dict-item]  # both were found to be objects
    ids = _texts(merged, "instance_ids", problems)
    groups = _texts(merged, "target_group_arns", problems) or config.rotation_target_group_arns
    if foreign := [arn for arn in groups if arn not in config.rotation_target_group_arns]:
        problems.append(f"target_group_arns has {', '.join(foreign)}, expected only groups of RotationTargetGroupArns")
    numbers = {name: _number(merged, name, problems) for name in _NUMBERS if name != "timeout_seconds"}
    hook = _hook(config, merged.get("hook", {"type": "none"}), problems)
    if problems:
        raise InputError("; ".join(problems))
    return Request(tuple(dict.fromkeys(ids)), tuple(dict.fromkeys(groups)), hook, **numbers)


def _texts(given: Mapping[str, Any], name: str, problems: list[str]) -> tuple[str, ...]:
    value = given.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
        problems.append(f"{name} is {value!r}, expected a list of texts")
        return ()
    if name in given and not value:
        problems.append(f"{name} is empty; leave it out for all")
    return tuple(item.strip() for item in value)


def _number(given: Mapping[str, Any], name: str, problems: list[str]) -> int:
    least, most, default = _NUMBERS[name]
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or (name in given and not least <= value <= most):
        problems.append(f"{name} is {value!r}, expected a whole number from {least} to {most}")
        return default
    return value


def _hook(config: Config, hook: object, problems: list[str]) -> dict[str, Any]:
    if not isinstance(hook, dict) or str(hook.get("type")) not in HOOKS:
        problems.append(f'hook is {hook!r}, expected {{"type": …}} with one of {", ".join(HOOKS)}')
        return {}
    kind = hook["type"]
    if unknown := sorted(hook.keys() - HOOKS[kind] - {"type"}):
        problems.append(
            f"the hook {kind} has {', '.join(unknown)}; it takes {', '.join(sorted(HOOKS[kind])) or 'none'}"
        )
    made = {**hook, "timeout_seconds": _number(hook, "timeout_seconds", problems)}
    if kind == "ssm-command":
        if not _texts(hook, "commands", problems):
            problems.append("the hook ssm-command needs commands, a list of shell lines")
        if not {"AWS-RunShellScript", "AWS-RunPowerShellScript"} & set(config.rotation_documents):
            problems.append("RotationDocuments lists neither AWS-RunShellScript nor AWS-RunPowerShellScript")
    if kind == "ssm-document":
        if not isinstance(hook.get("document"), str) or not hook["document"]:
            problems.append("the hook ssm-document needs document, the name of a Command document")
        elif hook["document"] not in config.rotation_documents:
            problems.append(f"document {hook['document']} is not listed in RotationDocuments")
        parameters = hook.get("parameters", {})
        if not isinstance(parameters, dict) or not all(
            isinstance(value, list) and all(isinstance(item, str) for item in value) for value in parameters.values()
        ):
            problems.append(f"parameters is {parameters!r}, expected an object of lists of texts")
    return made


# The plan.


def idle(health: Health, unused: Iterable[str]) -> set[str]:
    """Return the groups that no load balancer uses: nothing is checked and nothing drains there."""
    return {*unused, *(group for group, ts in health.items() if any(t.reason == "Target.NotInUse" for t in ts))}


def members(health: Health, kinds: Mapping[str, str]) -> dict[str, Member]:
    """Return what is registered, by id; a target that is being deregistered is no longer."""
    found: dict[str, Member] = {}
    for group, targets in health.items():
        for target in targets:
            if target.state != "draining":
                member = found.setdefault(target.id, Member(id=target.id, places=[], scaling_group=""))
                member["places"].append(place(group, target, kinds.get(group, "instance")))
    return found


def place(group: str, target: Target, kind: str) -> Place:
    """Return how a target is registered; only addresses have a zone of their own."""
    zone = target.availability_zone if kind == "ip" else ""
    return Place(group=group, port=target.port, zone=zone, quic_server_id=target.quic_server_id)


def description(member: Member, place: Place) -> dict[str, Any]:
    """Return a registration as the API's TargetDescription."""
    parts = {"AvailabilityZone": place["zone"], "QuicServerId": place["quic_server_id"]}
    return {"Id": member["id"], "Port": place["port"]} | {name: value for name, value in parts.items() if value}


def shortfall(least: int, health: Health, member: Member, unused: Iterable[str], leaving: Iterable[str] = ()) -> str:
    """Say which group has too few healthy targets without this member and those leaving; nothing if none has."""
    gone = {member["id"], *leaving}
    for group in sorted({place["group"] for place in member["places"]} - idle(health, unused)):
        left = [target for target in health[group] if target.healthy and target.id not in gone]
        if len(left) < least:
            return f"{group_name(group)} would have {len(left)} healthy targets without {member['id']}, needed {least}"
    return ""


def group_name(target_group_arn: str) -> str:
    """Return the name in a target group's ARN."""
    return target_group_arn.split("/")[1]


def plan(config: Config, asked: Request, world: World, started: datetime) -> Rotation:
    """Judge the whole rotation before its first change; the document's next is take-out, or finish when refused."""
    problems = [*_busy(world), *_unfit(config, asked, world)]
    registered = members(world.health, {group.arn: group.target_type for group in world.groups})
    skipped: list[dict[str, str]] = []
    queue: list[Member] = []
    unused = [group.arn for group in world.groups if not group.load_balancer_arns]
    hopeful = {group: tuple(map(_hopeful, targets)) for group, targets in world.health.items()}
    for target in asked.ids or registered:
        scaling_group, state = world.scaling.get(target, ("", ""))
        if scaling_group and state != "InService":
            skipped.append({"id": target, "reason": f"{state} in Auto Scaling group {scaling_group}"})
            continue
        if target not in registered:
            problems.append(f"{target} is registered in none of the groups, or is being deregistered")
            continue
        member = registered[target]
        if scaling_group and not config.rotation_allow_standby:
            problems.append(
                f"{member['id']} is in Auto Scaling group {scaling_group}, which would replace it; "
                f"RotationAllowStandby=true lets it enter Standby"
            )
        queue.append({**member, "scaling_group": scaling_group})
        if short := shortfall(config.rotation_min_healthy, hopeful, member, unused):
            problems.append(short)
    if len(queue) > MOST_TARGETS:
        problems.append(f"{len(queue)} targets are more than one execution takes ({MOST_TARGETS}); name some")
    if not queue and not problems:
        problems.append("no target is left to rotate: " + "; ".join(f"{s['id']} is {s['reason']}" for s in skipped))
    drain, tail = delays(world.groups)
    if 0 < asked.drain_timeout_seconds < drain:
        problems.append(f"drain_timeout_seconds is {asked.drain_timeout_seconds}, but draining takes {drain} s here")
    made = Rotation(
        groups=list(asked.groups),
        hook=dict(asked.hook),
        batch_size=asked.batch_size,
        drain_seconds=drain,
        tail_seconds=tail,
        drain_timeout_seconds=asked.drain_timeout_seconds or drain + 300,
        healthy_timeout_seconds=asked.healthy_timeout_seconds,
        started=started.isoformat(timespec="seconds"),
        queue=queue,
        out=[],
        done=[],
        skipped=skipped,
        unused=unused,
        next="take-out",
    )
    if problems:
        return ended(made, "Refused", Words("; ".join(dict.fromkeys(problems))))
    if config.dry_run:
        ids = ", ".join(member["id"] for member in queue)
        return ended(made, "DryRun", Words(f"DryRun is true, so nothing was changed. Would be rotated: {ids}"))
    return made


def _hopeful(target: Target) -> Target:
    """Count a target in its first health check as healthy: it will have to be before another one leaves."""
    return replace(target, state="healthy") if target.state == "initial" else target


def delays(groups: Iterable[TargetGroup]) -> tuple[int, int]:
    """Return how long draining takes, and how long new connections may go on to come, in seconds."""
    in_use = [group for group in groups if group.load_balancer_arns]
    tail = NLB_TAIL_SECONDS if any(group.of_nlb for group in in_use) else 0
    return max([tail, *(group.deregistration_delay_seconds for group in in_use)]), tail


def _busy(world: World) -> list[str]:
    """Say why no rotation may begin now."""
    problems = []
    if world.running:
        problems.append(f"the execution {world.running} rotates the same groups")
    if world.hold:
        problems.append(world.hold)
    if world.sorry:
        problems.append("the sorry page is on")
    return problems


def _unfit(config: Config, asked: Request, world: World) -> list[str]:
    """Say what is wrong with the groups and the hook."""
    problems = [world.document] if world.document else []
    for group in world.groups:
        targets = world.health[group.arn]
        healthy, least = sum(_hopeful(target).healthy for target in targets), config.rotation_min_healthy
        if group.target_type not in ("instance", "ip"):
            problems.append(f"{group.name} has targets of type {group.target_type}, expected instance or ip")
        elif not targets:
            problems.append(f"{group.name} has no registered target")
        elif group.load_balancer_arns and healthy < least:
            problems.append(f"{group.name} has {healthy} healthy targets, needed {least} to begin with")
    if world.managed is not None:
        ids = {target.id for targets in world.health.values() for target in targets}
        if deaf := sorted((set(asked.ids) & ids or ids) - world.managed):
            problems.append(f"Systems Manager does not reach {', '.join(deaf)}: is the agent online?")
    return problems


# Claims.


def claim_text(member: Member, group: str, by: str, at: datetime) -> str:
    """Return the value of the tag on one group; tags take letters, digits, spaces and _.:/=+-@."""
    ports = [
        "/".join((str(place["port"]), place["zone"], place["quic_server_id"])).rstrip("/")
        for place in member["places"]
        if place["group"] == group
    ]
    return " ".join((f"{at:%Y-%m-%dT%H:%M:%SZ}", owner(by), *ports))[:256]


def owner(by: str) -> str:
    """Return a name as a tag's value can hold it."""
    return re.sub(r"[^\w.:/=+@-]", "_", by) or "_"


def claims(tags: Mapping[str, Mapping[str, str]]) -> dict[str, Claim]:
    """Return the claims that the groups carry, by target id; group ARN -> its tags."""
    found: dict[str, Claim] = {}
    for group, of_group in tags.items():
        for key, value in of_group.items():
            if key.startswith(TAG):
                at, by, *ports = value.split()
                target = key.removeprefix(TAG)
                so_far = found[target].places if target in found else ()
                found[target] = Claim(datetime.fromisoformat(at), by, so_far + tuple(_place(group, p) for p in ports))
    return found


def _place(group: str, text: str) -> Place:
    port, zone, quic_server_id, *_ = [*text.split("/"), "", ""]
    return Place(group=group, port=int(port), zone=zone, quic_server_id=quic_server_id)


def leaving(found: Mapping[str, Claim], by: str, now: datetime) -> list[str]:
    """Return the targets that somebody else is about to take out."""
    young = timedelta(seconds=CLAIM_SECONDS)
    return [target for target, claim in found.items() if claim.by != owner(by) and now - claim.at < young]


def whole(registered: Member | None, claim: Claim | None, target: str) -> Member | None:
    """Return a target as it is registered now, or as its claim says that it was where it is out of a group."""
    claimed = claim.places if claim else ()
    if claimed and not {p["group"] for p in claimed} <= {p["group"] for p in (registered or {"places": []})["places"]}:
        return Member(id=target, places=list(claimed), scaling_group="")
    return registered


def left_out(found: Mapping[str, Claim], running: Iterable[str], ended: str, now: datetime) -> dict[str, Claim]:
    """Return what ended executions left out; what was taken out by hand stays out until it is registered by hand.

    ended: the execution that an event says has ended; a list of running ones may not show the youngest yet.
    """
    alive, young = {owner(name) for name in running}, timedelta(seconds=CLAIM_SECONDS)
    return {
        target: claim
        for target, claim in found.items()
        if not claim.by.startswith(HAND)
        and (claim.by == owner(ended) or (claim.by not in alive and now - claim.at >= young))
    }


# What comes next. Each returns a new document.


def ended(rotation: Rotation, ending: str, reason: Words) -> Rotation:
    """End it: nothing is out any more that can be put back."""
    return {**rotation, "next": "finish", "ending": ending, "reason": said(reason)}


def said(words: Words) -> dict[str, str]:
    """Return words as the document holds them."""
    return {"en": words.en, "ja": words.ja or words.en}


def timed(rotation: Rotation, phase: str, now: datetime) -> Rotation:
    """Start the phase's time, unless it runs already."""
    if rotation.get("phase") == phase:
        return rotation
    return {**rotation, "phase": phase, "since": now.isoformat(timespec="seconds")}


def elapsed(rotation: Rotation, now: datetime) -> float:
    """Return the seconds since the phase began."""
    return (now - datetime.fromisoformat(rotation["since"])).total_seconds()


def wait(rotation: Rotation, following: str, seconds: float, reason: Words | None = None) -> Rotation:
    """Go on after so many seconds."""
    waiting: Rotation = {**rotation, "next": following, "wait_seconds": max(1, round(seconds))}
    return {**waiting, "reason": said(reason)} if reason else waiting


def stopped(rotation: Rotation, ending: str, reason: Words) -> Rotation:
    """Stop it: what is out comes back first."""
    following = "back" if rotation.get("out") else "finish"
    return {**rotation, "next": following, "ending": ending, "reason": said(reason)}


def paused(rotation: Rotation, now: datetime, reason: Words) -> Rotation:
    """Wait for the end of a hold, a day at the most; nothing is out meanwhile."""
    rotation = timed(rotation, "held", now)
    if elapsed(rotation, now) > HELD_LIMIT_SECONDS:
        return stopped(
            rotation, "Stopped", Words(f"held for a day: {reason.en}", f"保留が 1 日続きました: {reason.ja}")
        )
    return wait(rotation, "wait", HELD_POLL_SECONDS, reason)


def crowded(rotation: Rotation, now: datetime, reason: Words) -> Rotation:
    """Wait until taking the next one out is safe again, as long as a target may take to become healthy."""
    rotation = timed(rotation, "crowded", now)
    if elapsed(rotation, now) > rotation["healthy_timeout_seconds"]:
        return stopped(rotation, "Stopped", reason)
    return wait(rotation, "wait", POLL_SECONDS, reason)


def adopted(rotation: Rotation, found: Mapping[str, Claim], by: str, health: Health) -> Rotation:
    """Count as out what this execution took out when the answer was lost: its claim says so, and so does health."""
    lost = [
        {**member, "out_at": found[member["id"]].at.isoformat()}
        for member in rotation["queue"]
        if member["id"] in found and found[member["id"]].by == owner(by) and absent(member, health)
    ]
    ids = {member["id"] for member in lost}
    rest = [member for member in rotation["queue"] if member["id"] not in ids]
    return {**rotation, "out": [*rotation["out"], *lost], "queue": rest}  # type: ignore[list-item]  # a Member with a time


def failed(rotation: Rotation) -> Rotation:
    """Take note of what a Catch of the state machine left; a person's abort is no failure."""
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


def drained(rotation: Rotation, health: Health, least: int, now: datetime) -> Rotation:
    """Go on to the hook when every group says gone and AWS's own delay is over; put back what the service needs.

    Whatever is still registered is not drained, be it that somebody registered it again or that the answer is old.
    """
    for member in rotation["out"]:
        if short := shortfall(least, health, member, rotation["unused"]):
            return stopped(rotation, "Stopped", _needed(short))
    passed = (now - max(datetime.fromisoformat(member["out_at"]) for member in rotation["out"])).total_seconds()
    there = [
        f"{member['id']}:{place['port']} is {state} in {group_name(place['group'])}"
        for member in rotation["out"]
        for place in member["places"]
        if (state := _state(member, place, health))
    ]
    tail = rotation["tail_seconds"] - passed
    if not there:
        return wait(rotation, "drain", tail) if tail > 0 else {**timed(rotation, "hook", now), "next": "hook"}
    if passed > rotation["drain_timeout_seconds"]:
        still, limit = ", ".join(there), rotation["drain_timeout_seconds"]
        words = Words(
            f"still draining or registered after {limit} s: {still}",
            f"{limit} 秒経っても登録解除が終わりません: {still}",
        )
        return stopped(rotation, "Failed", words)
    # Ever more seldom, because an application's group may be drained early and a slow one must not fill the history.
    soon = min(max(POLL_SECONDS, passed / 4), max(POLL_SECONDS, rotation["drain_seconds"] - passed))
    return wait(rotation, "drain", max(tail, soon))


def _state(member: Member, place: Place, health: Health) -> str:
    """Return the state of one registration; draining, if it is both going and coming, tells less than the other."""
    found = {t.state for t in health[place["group"]] if t.id == member["id"] and t.port == place["port"]}
    return min(found, key=lambda state: state == "draining", default="")


def _needed(short: str) -> Words:
    return Words(f"put back before its hook, the service needs it: {short}", f"サービスに必要なため戻しました: {short}")


def ran(rotation: Rotation, found: Mapping[str, tuple[str, str]], now: datetime) -> Rotation:
    """Judge the hook's command by its status and details on each instance; one that has not shown yet is pending."""
    outcomes = {member["id"]: found.get(member["id"], ("Pending", "")) for member in rotation["out"]}
    said_so = "; ".join(f"{instance} {status} {details}".strip() for instance, (status, details) in outcomes.items())
    statuses = {status for status, _ in outcomes.values()}
    commands = ", ".join(rotation["command_ids"])
    if statuses == {"Success"}:
        return {**rotation, "next": "back"}
    if statuses <= {"Success", "Cancelled", "TimedOut", "Failed"}:
        return stopped(
            rotation,
            "Failed",
            Words(f"command {commands} failed: {said_so}", f"コマンド {commands} が失敗しました: {said_so}"),
        )
    if elapsed(rotation, now) > (limit := rotation["hook"]["timeout_seconds"]):
        return stopped(
            rotation,
            "Failed",
            Words(
                f"command {commands} has not ended within {limit} s: {said_so}",
                f"コマンド {commands} が {limit} 秒以内に終わりませんでした: {said_so}",
            ),
        )
    return wait(rotation, "result", max(POLL_SECONDS, elapsed(rotation, now) / 4))


def finished(rotation: Rotation) -> Rotation:
    """Say how it ended: what a task could not do, even after its retries, is a failure; so is a target left out."""
    state: Rotation = {"done": [], "queue": [], "out": [], "skipped": [], "unused": [], **rotation}
    if "ending" not in state:
        problem = Words("; ".join(f"{member['id']} is out" for member in state["out"]) or "ended for no known reason")
        state = ended(state, "Failed", problem)
    if state["ending"] == "Failed" and rotation.get("failure", {}).get("Error") == "InputError":
        state["ending"] = "Refused"
    return state


def ailing(member: Member, health: Health, unused: Iterable[str]) -> str:
    """Say what of a member is not healthy; nothing is waited for in a group that no load balancer uses."""
    quiet = idle(health, unused)
    found = [
        f"{member['id']}:{place['port']} is {_state(member, place, health) or 'not registered'} "
        f"in {group_name(place['group'])}"
        for place in member["places"]
        if place["group"] not in quiet and _state(member, place, health) != "healthy"
    ]
    return ", ".join(found)


def absent(member: Member, health: Health) -> list[Place]:
    """Return the places where a member is not registered; one that is draining is not."""
    return [place for place in member["places"] if _state(member, place, health) in ("", "draining")]


def back(rotation: Rotation, health: Health, problems: Mapping[str, str], now: datetime) -> Rotation:
    """Go on when everything that was out is healthy again, or when the time for that is over.

    problems: why a target could not even be registered, by its id.
    """
    rotation = timed(rotation, "back", now)
    sick = {
        member["id"]: problems.get(member["id"]) or ailing(member, health, rotation["unused"])
        for member in rotation["out"]
    }
    late = elapsed(rotation, now) > rotation["healthy_timeout_seconds"]
    if any(sick.values()) and not late:
        return wait(rotation, "back", POLL_SECONDS)
    good = "put back" if "ending" in rotation else "rotated"
    rows = [
        _row(member, f"NOT BACK: {problem}" if (problem := sick[member["id"]]) else good, now)
        for member in rotation["out"]
    ]
    following: Rotation = {**rotation, "out": [], "done": [*rotation["done"], *rows], "phase": ""}
    if any(sick.values()):
        limit, named = rotation["healthy_timeout_seconds"], "; ".join(text for text in sick.values() if text)
        earlier = rotation["reason"]["en"] + "; " if "ending" in rotation else ""
        words = Words(
            f"{earlier}not healthy {limit} s after being put back: {named}",
            f"{earlier}戻してから {limit} 秒経っても正常になりません: {named}",
        )
        return ended(following, "Failed", words)
    return {**following, "next": "finish" if "ending" in rotation else "take-out"}


def _row(member: Member, result: str, now: datetime) -> dict[str, Any]:
    """Return a line of the table; one that is not back says how it was registered."""
    out_at = member.get("out_at") or now.isoformat()
    row = {
        "id": member["id"],
        "out_at": out_at,
        "back_at": now.isoformat(timespec="seconds"),
        "minutes": round((now - datetime.fromisoformat(out_at)).total_seconds() / 60, 1),
        "result": result,
    }
    return {**row, "member": member} if result.startswith("NOT BACK") else row
