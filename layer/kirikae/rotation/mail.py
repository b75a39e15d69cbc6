"""The mails of a target rotation."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from shlex import quote
from typing import assert_never

from kirikae import notify
from kirikae.clock import moment
from kirikae.elb import group_name
from kirikae.notify import Mail, Section, Words
from kirikae.rotation import missing, terms
from kirikae.rotation.world import Config, Member, Rotation


def begun(config: Config, state: Rotation, execution: str, notes: Sequence[Section] = ()) -> Mail:
    """Return the mail of a beginning: what is going to happen, what to know of the groups, and how to stop it."""
    ids, groups, size = _ids(state["queue"]), ", ".join(map(group_name, state["groups"])), state["batch_size"]
    hook, drain, kept = state["hook"]["type"], state["drain_seconds"], terms.kept(config.least, state["groups"])
    arn = f"{config.state_machine_arn.replace(':stateMachine:', ':execution:')}:{execution}"
    stop = notify.aws_command(config, "stepfunctions stop-execution", f"--execution-arn {quote(arn)}")
    undo = Words(
        "Stop it at any time; what is out is put back:", "いつでも停止できます。切り離し中のターゲットは戻されます:"
    )
    return notify.mail(
        config,
        f"rotation of {len(state['queue'])} targets begins",
        happened=Words(
            f"The execution {execution} takes these targets out of {groups}, {size} at a time, and puts each "
            f"back healthy before the next: {ids}. Hook: {hook}. Draining takes {drain} s. {kept.en}.",
            f"実行 {execution} が {groups} のターゲットを {size} 台ずつ切り離し、正常に戻してから次へ進みます: "
            f"{ids}。フック: {hook}。登録解除には {drain} 秒かかります。{kept.ja}。",
        ),
        more=[*notes, *_aside(state)],
        undo=notify.with_commands(undo, [stop]),
    )


def approval(config: Config, state: Rotation, token: str, now: datetime) -> Mail:
    """Return the mail that asks a person for the work, with the commands that report how it went."""
    out, groups = _ids(state["out"]), ", ".join(map(group_name, state["groups"]))
    until = notify.at(now + timedelta(seconds=state["hook"]["timeout_seconds"]))
    done, total = len(state["done"]), _total(state)
    answers = Words(
        f"The first command puts {out} back and goes on, the second puts it back and stops:",
        f"1 つ目は {out} を戻して続行、2 つ目は戻して中止します:",
    )
    token = f"--task-token '{token}'"
    success = notify.aws_command(config, "stepfunctions send-task-success", f"--task-output '{{}}' {token}")
    failure = notify.aws_command(config, "stepfunctions send-task-failure", f"--error Aborted --cause 'why' {token}")
    # Blank lines between them: a token is so long that each command takes many lines.
    commands = notify.with_commands(answers, ["", success, "", failure])
    return notify.mail(
        config,
        f"rotation: your turn on {out}",
        happened=Words(
            f"{out} is drained and out of {groups}; {done} of {total} targets are done. "
            f"Do the maintenance before {until.en}; after that, {out} is put back and the rotation ends.",
            f"{out} は {groups} から切り離されました ({total} 台中 {done} 台完了)。"
            f"{until.ja} までに作業してください。過ぎた場合は {out} を戻して終了します。",
        ),
        more=[(Words("Done, or abort", "完了または中止"), commands), *_table(state)],
    )


def ended(config: Config, state: Rotation, execution: str, now: datetime) -> Mail:
    """Return the mail of an end, target by target; that of a dry run says what would be done."""
    good, total, ending = sum(row["result"] == "rotated" for row in state["done"]), _total(state), state["ending"]
    match ending:
        case "Finished":
            subject = f"rotation finished, {good} of {total} targets"
        case "Stopped":
            subject = f"rotation stopped after {good} of {total} targets"
        case "Failed":
            subject = f"rotation FAILED after {good} of {total} targets"
        case "Refused":
            subject = "rotation refused, nothing was changed"
        case "DryRun":
            subject = f"rotation dry run, {total} targets would be rotated"
        case _:
            assert_never(ending)
    reason, took = Words(**state["reason"]), ""
    if "started" in state:
        took = f" ({(now - moment(state['started'])).total_seconds() / 60:.1f} min)"
    more = [*_table(state), *_aside(state)]
    if state["queue"] and ending not in ("Refused", "DryRun"):
        more.append((Words("Not touched", "未処理"), Words(_ids(state["queue"]))))
    return notify.mail(
        config,
        subject,
        happened=Words(f"The execution {execution}{took}: {reason.en}.", f"実行 {execution}{took}: {reason.ja}。"),
        more=more,
        check=missing.missing(config, state),
    )


def _table(state: Rotation) -> list[Section]:
    """Return the table of what was out: target, from when to when, minutes, result."""
    if not state["done"]:
        return []
    return [(Words("Targets", "ターゲット"), Words(_rows(state, "en"), _rows(state, "ja")))]


def _rows(state: Rotation, language: str) -> str:
    lines = []
    for row in state["done"]:
        times = [notify.at(moment(text), "%H:%M:%S").of(language) for text in (row["out_at"], row["back_at"])]
        lines.append(f"{row['id']}  {' - '.join(times)}  {row['minutes']:5.1f} min  {row['result']}")
    return "\n".join(lines)


def _aside(state: Rotation) -> list[Section]:
    """Return what was left aside: targets that cannot be rotated, and groups where nothing is checked."""
    notes = [f"{item['id']}: {item['reason']}" for item in state["skipped"]]
    notes += [f"{group_name(arn)}: unused, no load balancer forwards to it" for arn in state["unused"]]
    return [(Words("Left aside", "対象外"), Words("\n".join(notes)))] if notes else []


def _ids(members: Iterable[Member]) -> str:
    return ", ".join(member["id"] for member in members)


def _total(state: Rotation) -> int:
    return len(state["done"]) + len(state["out"]) + len(state["queue"])
