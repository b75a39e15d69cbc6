"""What the last mail of a rotation says of targets that are not back, with the commands that bring them back."""

from collections.abc import Iterable, Iterator
from shlex import quote

from kirikae import notify
from kirikae.notify import Words
from kirikae.rotation.claims import TAG
from kirikae.rotation.world import Config, Member, Rotation, by_group, description


def missing(config: Config, state: Rotation) -> Words | None:
    """Return which targets are not back: with commands where that is final, else that they are tried once more."""
    left = [row["member"] for row in state["done"] if "member" in row]
    gone, away = ([member for member in left if member.get("gone", False) is is_gone] for is_gone in (True, False))
    if commands := list(_commands(config, away)):
        said = Words(
            "Not in service, and not registered where it is not healthy unless its group needs it. When it can serve:",
            "サービスに戻っていません (正常でないグループでは、必要な場合を除き未登録)。復旧後に実行してください:",
        )
        return notify.with_commands(notify.lines([*_terminated(gone), *_standing_by(away), said]), commands)
    if gone:
        return notify.lines(_terminated(gone))
    if state["out"]:
        ids = ", ".join(member["id"] for member in state["out"])
        return Words(
            f"{ids} could not be put back yet; it is tried once more now, and a further mail tells the result.",
            f"{ids} をまだ戻せていません。この後もう一度試み、結果を別のメールで通知します。",
        )
    return None


def _commands(config: Config, away: Iterable[Member]) -> Iterator[str]:
    """Yield the commands that bring targets back where they were."""
    for member in away:
        if member["scaling_group"] and "in_at" not in member:
            arguments = f"--auto-scaling-group-name {quote(member['scaling_group'])} --instance-ids {member['id']}"
            yield notify.aws_command(config, "autoscaling exit-standby", arguments)
        yield from registrations(config, member)


def registrations(config: Config, member: Member, *, tagged: bool = False) -> Iterator[str]:
    """Yield the commands that register a target in its places, and remove the tags that say that it is out, if any."""
    for place in member["places"]:
        target = ",".join(f"{key}={value}" for key, value in description(member, place).items())
        arguments = f"--target-group-arn {place['group']} --targets {target}"
        yield notify.aws_command(config, "elbv2 register-targets", arguments)
    for group in by_group(member["places"]) if tagged else ():
        arguments = f"--resource-arns {group} --tag-keys {TAG}{member['id']}"
        yield notify.aws_command(config, "elbv2 remove-tags", arguments)


def _terminated(gone: Iterable[Member]) -> Iterator[Words]:
    """Yield which targets never come back, and whether something takes their place."""
    for member in gone:
        if group := member["scaling_group"]:
            yield Words(
                f"{member['id']} is terminated. If its Standby had lowered the MinSize of Auto Scaling group {group}, "
                f"that is restored by itself, and Auto Scaling launches another instance where MinSize asks for it.",
                f"{member['id']} は終了 (terminated) しています。Standby のために下げた Auto Scaling グループ {group} "
                f"の MinSize は自動で元に戻り、必要に応じて Auto Scaling が代わりのインスタンスを起動します。",
            )
        else:
            yield Words(
                f"{member['id']} is terminated: register what replaces it.",
                f"{member['id']} は終了 (terminated) しています。代わりのインスタンスを登録してください。",
            )


def _standing_by(away: Iterable[Member]) -> Iterator[Words]:
    """Yield which targets that are not back stay in Standby: they were not brought out of it."""
    for member in away:
        if (group := member["scaling_group"]) and "in_at" not in member:
            yield Words(
                f"{member['id']} stays in Standby of Auto Scaling group {group}, whose DesiredCapacity, and perhaps "
                f"MinSize, is lower until it leaves it. Start it before exit-standby: Auto Scaling terminates an "
                f"instance in service that does not run. MinSize is restored by itself after that.",
                f"{member['id']} は Auto Scaling グループ {group} の Standby のままで、解除するまで DesiredCapacity "
                f"(と必要に応じて MinSize) が下がっています。exit-standby の前にインスタンスを起動してください "
                f"(停止したままでは Auto Scaling が終了させます)。MinSize はその後自動で元に戻ります。",
            )
