"""The mails of a target rotation."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from kirikae import notify
from kirikae.notify import Mail, Words
from kirikae.rotation import world
from kirikae.rotation.claims import Claim
from kirikae.rotation.world import Config, Member, Rotation


def begun(config: Config, state: Rotation, execution: str) -> Mail:
    """Say what is going to happen."""
    ids = ", ".join(member["id"] for member in state["queue"])
    groups, size, hook = _groups(state["groups"]), state["batch_size"], state["hook"]["type"]
    return Mail(
        notify.subject(config.service_name, f"rotation of {len(state['queue'])} targets begins"),
        (
            (
                notify.HAPPENED,
                Words(
                    f"The execution {execution} takes these targets out of {groups}, {size} at a time, and puts each "
                    f"back healthy before the next: {ids}. Hook: {hook}. Draining takes {state['drain_seconds']} s. "
                    f"At least {config.rotation_min_healthy} targets stay healthy in each group.",
                    f"実行 {execution} が {groups} のターゲットを {size} 台ずつ切り離し、正常に戻してから次へ進みます: "
                    f"{ids}。フック: {hook}。登録解除には {state['drain_seconds']} 秒かかります。"
                    f"各グループで最低 {config.rotation_min_healthy} 台を正常に保ちます。",
                ),
            ),
            *_notes(state),
            (notify.UNDO, _stop(config, execution)),
        ),
    )


def approval(config: Config, state: Rotation, token: str, now: datetime) -> Mail:
    """Ask a person for the work, with the commands that say how it went."""
    out = ", ".join(member["id"] for member in state["out"])
    until = now + timedelta(seconds=state["hook"]["timeout_seconds"])
    done, total = len(state["done"]), len(state["done"]) + len(state["out"]) + len(state["queue"])
    commands = (
        f"aws stepfunctions send-task-success --task-output '{{}}' --task-token '{token}'\n\n"
        f"aws stepfunctions send-task-failure --error Aborted --cause 'why' --task-token '{token}'"
    )
    return Mail(
        notify.subject(config.service_name, f"rotation: your turn on {out}"),
        (
            (
                notify.HAPPENED,
                Words(
                    f"{out} is drained and out of {_groups(state['groups'])}; {done} of {total} targets are done. "
                    f"Do the maintenance before {until:%Y-%m-%d %H:%M:%S} UTC; after that, {out} is put back and the "
                    f"rotation ends.",
                    f"{out} は {_groups(state['groups'])} から切り離されました ({total} 台中 {done} 台完了)。"
                    f"{until:%Y-%m-%d %H:%M:%S} UTC までに作業してください。"
                    f"過ぎた場合は {out} を戻して終了します。",
                ),
            ),
            (
                Words("Done, or abort", "完了または中止"),
                Words(
                    f"The first command puts {out} back and goes on, the second puts it back and stops:\n\n{commands}",
                    f"1 つ目は {out} を戻して続行、2 つ目は戻して中止します:\n\n{commands}",
                ),
            ),
            *_table(state),
        ),
    )


def ended(config: Config, state: Rotation, execution: str, now: datetime) -> Mail:
    """Say how it ended, target by target."""
    reason = Words(**state["reason"])
    good = sum(row["result"] == "rotated" for row in state["done"])
    total = len(state["done"]) + len(state["out"]) + len(state["queue"])
    subjects = {
        "Finished": f"rotation finished, {good} of {total} targets",
        "Stopped": f"rotation stopped after {good} of {total} targets",
        "Failed": f"rotation FAILED after {good} of {total} targets",
        "Refused": "rotation refused, nothing was changed",
    }
    took = ""
    if "started" in state:
        took = f" ({(now - datetime.fromisoformat(state['started'])).total_seconds() / 60:.1f} min)"
    untouched = ", ".join(member["id"] for member in state["queue"])
    sections = [
        (
            notify.HAPPENED,
            Words(
                f"The execution {execution}{took}: {reason.en}.",
                f"実行 {execution}{took}: {reason.ja}。",
            ),
        ),
        *_table(state),
        *_notes(state),
    ]
    if untouched and state["ending"] != "Refused":
        left = Words("Not touched", "未処理")
        sections.append((left, Words(untouched, untouched)))
    if lost := [row["id"] for row in state["done"] if row["result"].startswith("NOT BACK")]:
        sections.append((notify.CHECK, _by_hand(state, lost)))
    if state["out"]:
        ids = ", ".join(member["id"] for member in state["out"])
        words = Words(
            f"{ids} could not be put back yet; it is tried once more now, and a further mail tells the result.",
            f"{ids} をまだ戻せていません。この後もう一度試み、結果を別のメールで通知します。",
        )
        sections.append((notify.CHECK, words))
    return Mail(notify.subject(config.service_name, subjects[state["ending"]]), tuple(sections))


def restored(config: Config, back: Mapping[str, Claim]) -> Mail:
    """Say what ended executions had left out."""
    lines = "\n".join(
        f"{target}: {claim.by} {claim.at:%Y-%m-%d %H:%M:%S} UTC, "
        + ", ".join(f"{world.group_name(place['group'])}:{place['port']}" for place in claim.places)
        for target, claim in back.items()
    )
    return Mail(
        notify.subject(config.service_name, f"rotation: {len(back)} targets left out are registered again"),
        (
            (
                notify.HAPPENED,
                Words(
                    f"An execution that has ended had left these out. They are registered as they were:\n{lines}",
                    f"終了した実行が切り離したままのターゲットを、元どおり再登録しました:\n{lines}",
                ),
            ),
            (
                notify.CHECK,
                Words(
                    "That they become healthy, and whether their maintenance was complete.",
                    "正常になること、および保守作業が完了していたかを確認してください。",
                ),
            ),
        ),
    )


def _groups(arns: Iterable[str]) -> str:
    return ", ".join(world.group_name(arn) for arn in arns)


def _table(state: Rotation) -> list[tuple[Words, Words]]:
    """Return the table of what was out: target, times (UTC), minutes, result."""
    lines = [
        f"{row['id']}  {row['out_at'][11:19]} - {row['back_at'][11:19]}  {row['minutes']:5.1f} min  {row['result']}"
        for row in state["done"]
    ]
    text = "\n".join(lines)
    return [(Words("Targets (UTC)", "ターゲット (UTC)"), Words(text, text))] if lines else []


def _notes(state: Rotation) -> list[tuple[Words, Words]]:
    """Say what was left aside: targets that cannot be rotated, and groups where nothing is checked."""
    notes = [f"{item['id']}: {item['reason']}" for item in state["skipped"]]
    notes += [f"{_groups([arn])}: unused, no load balancer forwards to it" for arn in state["unused"]]
    text = "\n".join(notes)
    return [(Words("Left aside", "対象外"), Words(text, text))] if notes else []


def _by_hand(state: Rotation, ids: Iterable[str]) -> Words:
    lost = [row["member"] for row in state["done"] if row["id"] in ids]
    commands = "\n".join(_register(member) for member in lost)
    return Words(
        f"Not in service, and not registered unless its group needs it. When it can serve:\n{commands}",
        f"サービスに戻っていません (グループに必要な場合を除き未登録)。復旧後に実行してください:\n{commands}",
    )


def _register(member: Member) -> str:
    """Return the commands that register a target exactly as it was."""
    commands = []
    for place in member["places"]:
        parts = world.description(member, place)
        target = ",".join(f"{key}={value}" for key, value in parts.items())
        commands.append(f"aws elbv2 register-targets --target-group-arn {place['group']} --targets {target}")
    return "\n".join(commands)


def _stop(config: Config, execution: str) -> Words:
    arn = f"{config.state_machine_arn.replace(':stateMachine:', ':execution:')}:{execution}"
    command = f"aws stepfunctions stop-execution --execution-arn {arn}"
    return Words(
        f"Stop it at any time; what is out is put back:\n{command}",
        f"いつでも停止できます。切り離し中のターゲットは戻されます:\n{command}",
    )
