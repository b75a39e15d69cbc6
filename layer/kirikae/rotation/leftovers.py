"""The mails about what was left out: what is back, what is not everywhere, and what had lost its tags."""

from collections.abc import Collection, Mapping, Sequence
from shlex import quote

from kirikae import notify
from kirikae.elb import group_name
from kirikae.notify import Mail, Words
from kirikae.rotation import missing
from kirikae.rotation.known import Taken
from kirikae.rotation.world import Config, by_group

_NOTHING = Words("")


def restored(
    config: Config,
    back: Mapping[str, Taken],
    gone: Mapping[str, Taken],
    added: Sequence[str] = (),
    partly: Collection[str] = (),
    cancelled: Words = _NOTHING,
) -> Mail:
    """Return the mail about what ended executions had left out.

    added: where others have registered it besides.  partly: targets that are not back everywhere, of which another mail
    tells.  cancelled: what was done about commands that their hooks still ran.
    """
    others = "\n".join(added)
    what = [
        _registered(back, partly),
        _terminated(gone),
        Words(f"Others have registered these besides; they stay:\n{others}", f"他から追加登録されています:\n{others}"),
        Words(f"{cancelled.en}.", f"{cancelled.ja}。"),
    ]
    what_became = f"{len(back)} targets left out are registered again"
    if not back:
        what_became = f"{len(gone)} targets left out stay out, terminated"
    return notify.mail(
        config,
        f"rotation: {what_became}",
        happened=notify.lines(
            words for words, those in zip(what, (back, gone, added, cancelled.en), strict=True) if those
        ),
        check=Words(
            "That they become healthy, and whether their maintenance was complete.",
            "正常になること、および保守作業が完了していたかを確認してください。",
        )
        if back
        else None,
    )


def cancelled(config: Config, said: Words) -> Mail:
    """Return the mail about commands that were cancelled when their targets had come back already."""
    return notify.mail(
        config,
        "rotation: a command ran where targets had come back",
        happened=Words(
            f"{said.en}. Its execution had ended, and the targets were back: a task under way may have sent it.",
            f"{said.ja}。実行は終了し、ターゲットは戻っていました。終了時に動作中のタスクが送信した可能性があります。",
        ),
        check=Words("What it did, and whether they serve.", "実行内容と、正常に応答していることを確認してください。"),
    )


def tagged_again(config: Config, out: Mapping[str, Taken]) -> Mail:
    """Return the mail about targets that are out and had lost the tags that say so."""
    return notify.mail(
        config,
        f"rotation: {len(out)} targets are out, their tags had been removed",
        happened=Words(
            f"Something removed the tags kirikae:out:… that say so. They are written again:\n{_lines(out, 'en')}",
            f"切り離し中を示すタグ kirikae:out:… が削除されていたため、再度付与しました:\n{_lines(out, 'ja')}",
        ),
        check=Words(
            "What removes tags that it does not know. Terraform leaves them alone with ignore_tags "
            '{ key_prefixes = ["kirikae:"] } in its provider. The targets come back all the same.',
            "タグを削除した仕組みを確認してください。Terraform では provider に ignore_tags "
            '{ key_prefixes = ["kirikae:"] } を設定します。タグがなくてもターゲットは元に戻ります。',
        ),
    )


def moved(config: Config, back: Mapping[str, Taken]) -> Mail:
    """Return the mail about targets, taken out by hand, that somebody has registered on other ports since."""
    return notify.mail(
        config,
        f"rotation: {len(back)} targets are back on other ports",
        happened=Words(
            f"They were taken out by hand and serve again, but where they were not before. They count as back, and how "
            f"they were registered is forgotten:\n{_lines(back, 'en')}",
            f"手動で切り離したターゲットが、以前と異なるポートで登録され正常です。"
            f"復帰したものとして扱い、以前の登録内容は破棄しました:\n{_lines(back, 'ja')}",
        ),
    )


def needed(config: Config, out: Mapping[str, Taken], shorts: Mapping[str, str]) -> Mail:
    """Return the mail about targets that are out while their groups have too few healthy ones; shorts: which group."""
    said = "\n".join(f"{target}: {short}" for target, short in shorts.items())
    stop = {
        f"{config.state_machine_arn.replace(':stateMachine:', ':execution:')}:{one.execution.name}"
        for one in out.values()
        if one.execution
    }
    commands = [
        notify.aws_command(config, "stepfunctions stop-execution", f"--execution-arn {quote(arn)}")
        for arn in sorted(stop)
    ]
    by_hand = [taken.member for taken in out.values() if not taken.execution]
    commands += [line for member in by_hand for line in missing.registrations(config, member)]
    return notify.mail(
        config,
        f"rotation: {len(out)} targets are out and needed",
        happened=Words(
            f"Too few targets are healthy, while these are out for their maintenance:\n{_lines(out, 'en')}\n{said}\n"
            f"They come back when that is over; nothing puts them back before.",
            f"正常なターゲットが不足していますが、次のターゲットは保守のため切り離されています:\n{_lines(out, 'ja')}\n"
            f"{said}\n作業が終わるまで自動では戻しません。",
        ),
        undo=notify.with_commands(
            Words(
                "To put them back now, if nobody is at work on them (a stopped execution puts back what it has out):",
                "作業中でなければ、次のコマンドですぐに戻せます (実行を停止すると切り離し中のターゲットが戻ります):",
            ),
            commands,
        ),
    )


def names(taken: Taken) -> list[str]:
    """Return the names of the groups that a target was taken out of."""
    return [group_name(group) for group in by_group(taken.member["places"])]


def _lines(out: Mapping[str, Taken], language: str) -> str:
    """Return a line for each target: who took it out, since when, from where."""
    lines = []
    for target, taken in out.items():
        places = ", ".join(f"{group_name(place['group'])}:{place['port']}" for place in taken.member["places"])
        lines.append(f"{target}: {taken.by.rpartition(':')[2]} {notify.at(taken.at).of(language)}, {places}")
    return "\n".join(lines)


def _terminated(gone: Mapping[str, Taken]) -> Words:
    """Return what will not come back, and what becomes of a MinSize that was lowered for it."""
    return Words(
        f"These stay out, because their instances are terminated:\n{_lines(gone, 'en')}\nIf Standby had "
        f"lowered a MinSize for them, it is restored by itself; Auto Scaling launches what it asks for.",
        f"次のインスタンスは終了 (terminated) しているため、再登録しません:\n{_lines(gone, 'ja')}\nStandby の"
        f"ために下げた MinSize は自動で元に戻り、必要に応じて Auto Scaling が代わりのインスタンスを起動します。",
    )


def _registered(back: Mapping[str, Taken], partly: Collection[str]) -> Words:
    """Return what was registered again; a further mail says where that is not possible."""
    en, ja = _lines(back, "en"), _lines(back, "ja")
    if not partly:
        return Words(
            f"An execution that has ended had left these out. They are registered as they were:\n{en}",
            f"終了した実行が切り離したままのターゲットを、元どおり再登録しました:\n{ja}",
        )
    but = ", ".join(partly)
    return Words(
        f"An execution that has ended had left these out. They are registered again where the stack may do it; "
        f"a further mail names the groups where {but} is not back:\n{en}",
        f"終了した実行が切り離したままのターゲットを、可能なグループに再登録しました。"
        f"{but} が戻っていないグループは別のメールで通知します:\n{ja}",
    )


def elsewhere(config: Config, out: Mapping[str, Taken], deleted: Mapping[str, Taken]) -> Mail:
    """Return the mail about targets that the stack cannot register everywhere where they were: a person has to."""
    said = [
        Words(
            f"These are out of groups that RotationTargetGroupArns no longer names, so the stack may not register them "
            f"there, nor remove the tags that say so:\n{_lines(out, 'en')}",
            f"次のターゲットは、RotationTargetGroupArns から外れたグループから切り離されたままです。"
            f"このスタックには再登録もタグの削除もできません:\n{_lines(out, 'ja')}",
        )
    ]
    said = said if out else []
    if deleted:
        said.append(
            Words(
                f"The groups of these were deleted, so nothing is registered there:\n{_lines(deleted, 'en')}",
                f"次のグループは削除されたため、再登録しません:\n{_lines(deleted, 'ja')}",
            )
        )
    undo = Words("To register them as they were:", "元どおり再登録するコマンド:")
    commands = [line for taken in out.values() for line in missing.registrations(config, taken.member, tagged=True)]
    return notify.mail(
        config,
        f"rotation: {len(out.keys() | deleted.keys())} targets are not back in every group",
        happened=notify.lines(said),
        undo=notify.with_commands(undo, commands) if commands else None,
    )
