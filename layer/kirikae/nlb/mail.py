"""The mails of the NLB switch."""

import json
from collections.abc import Iterable
from typing import Any

from kirikae import hold, notify
from kirikae.decision import Result
from kirikae.elb import Target
from kirikae.nlb import switch
from kirikae.nlb.world import Config, Side, Switch, Switches
from kirikae.notify import Mail, Times, Words


def to_sorry(config: Config, seen: Switches, sorry: Iterable[Target], result: Result[Any, str]) -> Mail:
    """Return the mail of a switch to the sorry page, whose targets are these."""
    primary = Words(
        "The primary: instance state, system log, application log. The listeners go back by "
        "themselves when the primary is healthy again, unless AutoSwitchback is false.",
        "プライマリのインスタンス状態、システムログ、アプリケーションログを確認してください。"
        "プライマリが正常に戻れば自動で切り戻します (AutoSwitchback=false の場合を除く)。",
    )
    return notify.mail(
        config,
        "sorry page ON, the primary cannot serve",
        happened=_switched(seen, "sorry", result.done),
        why=result.reason,
        since=notify.since(result.times),
        check=notify.lines([_sorry_path(sorry), primary]),
        undo=_undo(config, seen, "primary", result.done, result.times),
    )


def to_primary(config: Config, seen: Switches, evidence: Words, alarm: str, result: Result[Switch, str]) -> Mail:
    """Return the mail of a switch back, for this evidence over the minutes that the alarm counts."""
    by_hand = Words("; forced by hand", "。手動で強制的に切り戻しました") if result.forced else Words("")
    return notify.mail(
        config,
        "sorry page OFF, back on the primary",
        happened=_switched(seen, "primary", result.done),
        why=Words(
            f"{evidence.en}, for the configured minutes (alarm {alarm}){by_hand.en}",
            f"{evidence.ja}。この状態が設定時間続きました (アラーム {alarm}){by_hand.ja}",
        ),
        since=notify.since(result.times),
        check=Words(
            "The site itself, from outside. New connections can take some minutes to follow.",
            "外部からサイトの表示を確認してください。新しい接続が切り替わるまで数分かかることがあります。",
        ),
        undo=_undo(config, seen, "sorry", result.done, result.times),
    )


def refused(config: Config, mode: str) -> Mail | None:
    """Return the mail of an adoption that AWS refused; one that went well is only logged."""
    if mode == config.switch_mode:
        return None
    return notify.mail(
        config,
        "weighted switching refused by AWS, replace mode in force",
        happened=Words(
            "AWS did not take both target groups in one weighted action, so SwitchMode=replace is in force "
            "from now on. No traffic was moved. The sorry path is not health-checked until it is used.",
            "AWS が 2 つのターゲットグループの加重アクションを受け付けなかったため、以後 SwitchMode=replace で"
            "動作します。トラフィックは移動していません。"
            "sorry 側のターゲットグループは、切り替わるまでヘルスチェックされません。",
        ),
        check=Words(
            f"To try again, remove the tag {switch.REFUSED_TAG} from the listeners.",
            f"再試行するには、リスナーからタグ {switch.REFUSED_TAG} を削除してください。",
        ),
    )


def _sorry_path(targets: Iterable[Target]) -> Words:
    """Return whether the sorry page itself is known to answer."""
    found = "; ".join(f"{target.id} {target.state} {target.reason}".strip() for target in targets)
    if any(target.healthy for target in targets):
        return Words(f"The sorry page is healthy: {found}.", f"sorry ページは正常です: {found}。")
    return Words(
        f"ATTENTION: the sorry page is not known to be healthy: {found}. Open the site from outside.",
        f"注意: sorry ページの正常性を確認できていません: {found}。外部からサイトを開いて確認してください。",
    )


def _switched(seen: Switches, side: Side, mode: str) -> Words:
    """Return which listeners now go where."""
    ports = ", ".join(f"{listener.protocol}:{listener.port} {listener.arn}" for listener in seen.listeners)
    place = {"primary": Words("the primary", "プライマリ"), "sorry": Words("the sorry page", " sorry ページ")}[side]
    said = Words(
        f"New connections of these listeners now go to {place.en}: {ports}.",
        f"次のリスナーへの新しい接続は{place.ja}に振り向けられます: {ports}",
    )
    replaced = Words(
        "AWS refused both groups in one weighted action, so one group was set: replace mode is in force.",
        "AWS が加重アクションを拒否したため、一方のグループだけを設定しました。以後は replace モードで動作します。",
    )
    return said if mode == seen.mode else notify.lines([said, replaced])


def _undo(config: Config, seen: Switches, side: Side, mode: str, times: Times) -> Words:
    """Return the exact commands that bring the listeners back to `side`, and hold kirikae off meanwhile."""
    weights = switch.weights(config, side, mode)
    groups = [{"TargetGroupArn": group, "Weight": weight} for group, weight in weights.items()]
    action = json.dumps([{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}])
    commands = [
        notify.aws_command(
            config, "elbv2 modify-listener", f"--listener-arn {listener.arn} --default-actions '{action}'"
        )
        for listener in seen.listeners
    ]
    said = Words(
        "First hold kirikae off, or it will switch again; then move the listeners:",
        "kirikae が再び切り替えないよう、先に 1 行目のコマンドで保留 (2 時間) にし、"
        "その後 2 行目以降でリスナーを戻してください:",
    )
    return notify.with_commands(said, [hold.command(config, times.done), *commands])
