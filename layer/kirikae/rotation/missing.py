"""What the last mail of a rotation says of targets that are not back, with the commands that bring them back."""

from collections.abc import Iterator
from shlex import quote

from kirikae import notify
from kirikae.notify import Words
from kirikae.rotation.world import Config, Rotation, description


def missing(config: Config, state: Rotation) -> Words | None:
    """Return which targets are not back: with commands where that is final, else that they are tried once more."""
    commands = []
    for member in (row["member"] for row in state["done"] if "member" in row):
        if member["scaling_group"] and "in_at" not in member:
            arguments = f"--auto-scaling-group-name {quote(member['scaling_group'])} --instance-ids {member['id']}"
            commands.append(notify.aws_command(config, "autoscaling exit-standby", arguments))
        for place in member["places"]:
            target = ",".join(f"{key}={value}" for key, value in description(member, place).items())
            arguments = f"--target-group-arn {place['group']} --targets {target}"
            commands.append(notify.aws_command(config, "elbv2 register-targets", arguments))
    if commands:
        said = Words(
            "Not in service, and not registered unless its group needs it. When it can serve:",
            "サービスに戻っていません (グループに必要な場合を除き未登録)。復旧後に実行してください:",
        )
        return notify.with_commands(notify.lines([*_standing_by(state), said]), commands)
    if state["out"]:
        ids = ", ".join(member["id"] for member in state["out"])
        return Words(
            f"{ids} could not be put back yet; it is tried once more now, and a further mail tells the result.",
            f"{ids} をまだ戻せていません。この後もう一度試み、結果を別のメールで通知します。",
        )
    return None


def _standing_by(state: Rotation) -> Iterator[Words]:
    """Yield which targets that are not back stay in Standby: they were not brought out of it."""
    for member in (row["member"] for row in state["done"] if "member" in row):
        if (group := member["scaling_group"]) and "in_at" not in member:
            yield Words(
                f"{member['id']} stays in Standby of Auto Scaling group {group}, whose DesiredCapacity, and perhaps "
                f"MinSize, is lower until it leaves it. Start it before exit-standby: Auto Scaling terminates an "
                f"instance in service that does not run. MinSize is restored by itself after that.",
                f"{member['id']} は Auto Scaling グループ {group} の Standby のままで、解除するまで DesiredCapacity "
                f"(と必要に応じて MinSize) が下がっています。exit-standby の前にインスタンスを起動してください "
                f"(停止したままでは Auto Scaling が終了させます)。MinSize はその後自動で元に戻ります。",
            )
