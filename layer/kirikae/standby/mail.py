"""The mails of the cold standby."""

from collections.abc import Iterator
from datetime import datetime
from typing import assert_never

from kirikae import hold, notify
from kirikae.ec2 import GONE, Instance
from kirikae.notify import Mail, Times, Words
from kirikae.standby import words
from kirikae.standby.follow import Step
from kirikae.standby.notes import FAILED, OUTAGE, RUNNING, time_of
from kirikae.standby.outage import began as outage_began
from kirikae.standby.outage import stopped_first
from kirikae.standby.run import Done
from kirikae.standby.words import (
    CALLER_CHECK,
    FAILED_CHECK,
    GOES_ON,
    UNFENCED_CHECK,
    not_fenced,
    takes_its_place,
)
from kirikae.standby.world import Close, Config, Observed


def of_start(config: Config, seen: Observed, reason: Words, done: Done, times: Times) -> Mail | None:
    """Return the mail of a start, of a failure, or of an active that could not be stopped; None if nothing is new."""
    if not done.news and not done.change:
        return None
    fenced = (done.change.fenced if done.change else None) or ""
    subject, check = _headline(config, done, fenced)
    return notify.mail(
        config,
        subject,
        happened=notify.lines([*_made(config, seen, done, fenced), *_failures(seen, done)]),
        why=reason,
        since=_moments(
            (Words("outage since", "障害発生"), outage_began(seen)),
            (Words("noticed", "検知"), times.began),
            (Words("start accepted", "起動受付"), done.started.launched if done.started else None),
        ),
        check=check,
        undo=undo(config, seen, done.started, times.done, fenced),
    )


def _headline(config: Config, done: Done, fenced: str) -> tuple[str, Words]:
    """Return the subject, and what to check."""
    if done.started:
        return f"standby {done.started.id} started", _watch(config)
    if done.unfenced:
        name = done.unfenced.split(":")[0]
        kind = "active" if name == config.active_instance_id else "standby"
        without = f"standby {done.beside} waits" if done.beside else "no standby started"
        return f"{kind} {name} not fenced, {without}", UNFENCED_CHECK
    if done.beside:  # short: SNS takes 100 characters
        how, then = ("stopping", "waits") if done.waits else ("stopped", "is up")
        return f"active {fenced} {how}, standby {done.beside} {then}", _watch(config)
    if done.waits:
        return f"active {fenced} stopped, a standby starts when it is seen stopped", _watch(config)
    if fenced and done.through and not done.news:
        return f"active {fenced} stopped, another run starts the standby", _watch(config)
    denied = bool(done.failed) and all("UnauthorizedOperation" in why for why in done.failed.values())
    check = CALLER_CHECK if denied else FAILED_CHECK if done.through else GOES_ON
    return (f"active {fenced} stopped, no standby started" if fenced else "no standby started"), check


def _made(config: Config, seen: Observed, done: Done, fenced: str) -> Iterator[Words]:
    """Yield what was stopped and started."""
    if fenced:
        yield Words(
            f"The active {fenced} was stopped first (FenceActive).",
            f"先に active {fenced} を停止しました (FenceActive)。",
        )
        if done.beside:
            yield takes_its_place(done.beside)
    else:
        yield from stopped(config, seen)
    if done.unfenced:
        yield not_fenced(done.unfenced, done.beside)
    for name, why in done.left.items():
        yield words.left(name, why)
    if standby := done.started:
        yield Words(
            f"The start of the standby {standby.id} ({standby.type}) was accepted; it is {standby.state}.",
            f"スタンバイ {standby.id} ({standby.type}) の起動が受け付けられました。状態: {standby.state}。",
        )
        if done.own_type:
            yield words.another_type(done.own_type, standby.type)
        if done.before:
            yield Words(f"EC2 said before: {done.before}", f"それまでの EC2 の応答: {done.before}")
    elif done.failed:
        yield Words("No standby was started.", "起動できたスタンバイはありません。")


def stopped(config: Config, seen: Observed) -> list[Words]:
    """Return a line about an active that was stopped first, by another run perhaps, if EC2 tells of it."""
    return [words.stopped_first(seen.active)] if stopped_first(config, seen) else []


def _failures(seen: Observed, done: Done) -> Iterator[Words]:
    """Yield why each other candidate was not started."""
    for name, why in done.failed.items():
        yield Words(f"{name} failed: {why}", f"{name} は失敗しました: {why}")
    others = [standby for standby in seen.standbys if standby.id not in done.failed]
    for standby in others:
        if earlier := seen.notes(standby).get(FAILED):
            yield words.failed_earlier(standby.id, earlier)
    for standby in others:
        if standby.state in GONE or standby.state == "stopping":
            yield Words(f"{standby.id} is {standby.state}.", f"{standby.id} は {standby.state} です。")


def of_step(config: Config, seen: Observed, reason: Words, step: Step, times: Times) -> Mail | None:
    """Return the mail of a standby that is up already, of one that serves, or of the active's return; else None."""
    change, standby = step.change, step.standby
    if isinstance(change, Close):
        return _closed(config, seen, reason, step, times) if step.change else None
    if change is None or standby is None or change.kind == "running":  # mailed once it serves
        return None
    noted = seen.notes(standby)
    match change.kind:
        case "note":
            subject, check, serving = f"standby {standby.id} is {standby.state} already", _watch(config), None
            happened = Words(
                f"The active does not serve, and the standby {standby.id} is {standby.state}: "
                f"nothing had to be started.",
                f"active の障害を検知しましたが、スタンバイ {standby.id} はすでに {standby.state} のため、"
                f"起動は行いません。",
            )
        case "serving":
            subject, check, serving = f"standby {standby.id} is serving", words.way_back(config, seen.active), seen.now
            happened = Words(f"The standby serves: {step.reason.en}.", f"スタンバイが稼働しました: {step.reason.ja}。")
        case _:
            assert_never(change.kind)
    return notify.mail(
        config,
        subject,
        happened=notify.lines([*(stopped(config, seen) if serving is None else []), happened]),
        since=_moments(
            (Words("outage since", "障害発生"), time_of(noted.get(OUTAGE, "")) or outage_began(seen)),
            (Words("start accepted", "起動受付"), standby.launched),
            (Words("running", "running"), time_of(noted.get(RUNNING, ""))),
            (Words("serving", "稼働"), serving),
        ),
        check=check,
        undo=undo(config, seen, standby, times.done),
    )


def _closed(config: Config, seen: Observed, reason: Words, step: Step, times: Times) -> Mail:
    """Return the mail that the active is back, and that nothing stops the standby but a person."""
    if standby := step.standby:
        named = ", ".join([standby.id, *step.others])
        happened = Words(
            f"The active is back. Still running: standby {named}. kirikae does not stop it. The notes were removed.",
            f"active が復旧しました。スタンバイ {named} は稼働したままです (kirikae は停止しません)。"
            f"記録用タグは削除しました。",
        )
    else:
        happened = Words(
            "The active is back; no standby runs. The notes on the standbys were removed.",
            "active が復旧しました。稼働中のスタンバイはありません。記録用タグは削除しました。",
        )
    by_hand = undo(config, seen, step.standby, times.done)
    check = words.way_back(config, seen.active) if step.standby else None
    return notify.mail(config, "active is back", happened=happened, why=reason, check=check, undo=by_hand)


def _moments(*moments: tuple[Words, datetime | None]) -> Words:
    """Return a line for each moment that is known."""
    known = [(name, notify.at(moment)) for name, moment in moments if moment]
    return notify.lines(Words(f"{name.en}: {at.en}", f"{name.ja}: {at.ja}") for name, at in known)


def _watch(config: Config) -> Words:
    group = f", and is healthy in {config.standby_target_group_arn}" if config.standby_target_group_arn else ""
    return Words(
        f"Another mail comes when the standby passes its status checks{group}; an alarm, when that takes too long.",
        "スタンバイが正常に稼働した時点で次のメールを送信します。時間がかかりすぎる場合はアラームが通知します。",
    )


def undo(config: Config, seen: Observed, standby: Instance | None, now: datetime, fenced: str = "") -> Words:
    """Return the commands that hold kirikae off, stop the standby and start the active if it was stopped first.

    A standby on another port than the group's leaves with its port.
    """
    commands = [hold.command(config, now)]
    if standby:
        if own := [f"Id={target.id},Port={target.port}" for target in seen.targets if target.id == standby.id]:
            leaving = f"--target-group-arn {config.standby_target_group_arn} --targets {' '.join(own)}"
            commands.append(notify.aws_command(config, "elbv2 deregister-targets", leaving))
        commands.append(notify.aws_command(config, "ec2 stop-instances", f"--instance-ids {standby.id}"))
    if active := fenced or stopped_first(config, seen):
        if standby and config.strict:  # as kirikae itself: not while the other is still stopping
            commands.append(notify.aws_command(config, "ec2 wait instance-stopped", f"--instance-ids {standby.id}"))
        commands.append(notify.aws_command(config, "ec2 start-instances", f"--instance-ids {active}"))
    return notify.with_commands(Words("First hold kirikae off:", "先に kirikae を保留にしてください:"), commands)
