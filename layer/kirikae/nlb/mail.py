"""The mails of the NLB switch."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kirikae import hold, listeners, notify
from kirikae.decision import Result
from kirikae.elb import Target
from kirikae.nlb import switch
from kirikae.nlb.look import REFUSED_TAG
from kirikae.nlb.servers import Health
from kirikae.nlb.world import Config, Done, Side, Switch, Switches, serving
from kirikae.notify import Mail, Times, Words


def to_sorry(
    config: Config,
    seen: Switches,
    sorry: Health,
    kept: Mapping[str, Words],
    by_hand: Words | None,
    result: Result[Any, Done],
    behind: Iterable[Words] = (),
) -> Mail:
    """Return the mail of a switch to the sorry page with these targets.

    kept: the listeners that stay as they are, with the reason.  by_hand: why the switch will not end by itself.
    behind: what is said of listeners that an update left on the page.
    """
    primary = Words(
        "The primary: instance state, system log, application log. The listeners go back by themselves when the "
        "primary is healthy again, unless AutoSwitchback is false.",
        "プライマリのインスタンス状態、システムログ、アプリケーションログを確認してください。"
        "プライマリが正常に戻れば自動で切り戻します (AutoSwitchback=false の場合を除く)。",
    )
    if by_hand:
        primary = Words(
            f"The primary: its host and its logs. kirikae cannot take the listeners back: {by_hand.en}. "
            f'When the primary is back, invoke the switchback function with {{"action": "reconcile", "force": true, '
            f'"reason": "..."}}.',
            f"プライマリのホスト、システムログ、アプリケーションログを確認してください。自動では切り戻せません: "
            f'{by_hand.ja}。プライマリが復旧したら、切り戻し関数を {{"action": "reconcile", "force": true, '
            f'"reason": "..."}} で実行してください。',
        )
    used = dict.fromkeys(config.group("sorry", arn) for arn in result.done.made)
    return notify.mail(
        config,
        f"sorry page ON{_part(config, seen, result)}, the primary cannot serve",
        happened=notify.lines([_switched(config, seen, result.change, result.done, kept), *behind]),
        why=result.reason,
        since=notify.since(result.times),
        check=notify.lines([_sorry_path([sorry.get(group) for group in used]), primary]),
        undo=_undo(config, seen, "primary", result.done, result.times),
    )


def to_primary(
    config: Config, seen: Switches, why: Words, result: Result[Switch, Done], behind: Iterable[Words] = ()
) -> Mail:
    """Return the mail of a switch back, for this evidence; `behind` is what is said of listeners that stay behind."""
    by_hand = Words("; forced by hand", "。手動で強制的に切り戻しました") if result.forced else Words("")
    return notify.mail(
        config,
        f"sorry page OFF{_part(config, seen, result)}, back on the primary",
        happened=notify.lines([_switched(config, seen, result.change, result.done, {}), *behind]),
        why=Words(f"{why.en}{by_hand.en}", f"{why.ja}{by_hand.ja}"),
        since=notify.since(result.times),
        check=Words("The site itself, from outside.", "外部からサイトの表示を確認してください。"),
        undo=_undo(config, seen, "sorry", result.done, result.times),
    )


def _part(config: Config, seen: Switches, result: Result[Switch, Done]) -> str:
    """Return how many of the listeners were switched, if others are not where these are."""
    made, side = result.done.made, result.change.to
    whole = all(each.arn in made or serving(config, each) == side for each in seen.listeners)
    return "" if whole else f" for {len(made)} of {len(seen.listeners)} listeners"


def refused(config: Config, done: Done) -> Mail:
    """Return the mail of an adoption that AWS refused."""
    said = Words(f" AWS says {done.refusal}.", f"AWS の応答: {done.refusal}。")
    return replace_mode(config, notify.lines([said, *_no_tag(done)]))


def _no_tag(done: Done) -> Iterator[Words]:
    """Yield that nothing remembers a refusal, if so."""
    if done.untagged:
        yield Words(
            f"The tag {REFUSED_TAG} that remembers it cannot be written: {done.untagged}. Every run tries again.",
            f"これを記録するタグ {REFUSED_TAG} を書き込めません: {done.untagged}。実行のたびに再試行します。",
        )


REPLACED = Words(
    "AWS did not take both target groups in one weighted action, so SwitchMode=replace is in force from now on.",
    "AWS が 2 つのターゲットグループの加重アクションを受け付けなかったため、以後 SwitchMode=replace で動作します。",
)


def replace_mode(config: Config, refusal: Words) -> Mail:
    """Return the mail about a mode that is not the parameter's, with AWS's own words if they are known."""
    return notify.mail(
        config,
        "weighted switching refused by AWS, replace mode in force",
        happened=Words(
            f"{REPLACED.en}{refusal.en} No traffic was moved. The sorry path is not health-checked until it is used.",
            f"{REPLACED.ja}{refusal.ja}トラフィックは移動していません。"
            f"sorry 側のターゲットグループは、切り替わるまでヘルスチェックされません。",
        ),
        check=Words(
            f"To try again, remove the tag {REFUSED_TAG} from the listeners.",
            f"再試行するには、リスナーからタグ {REFUSED_TAG} を削除してください。",
        ),
    )


def _sorry_path(groups: Sequence[tuple[Target, ...] | None]) -> Words:
    """Return whether the sorry page itself is known to answer, by the targets of its groups, None where not read."""
    found = "; ".join(f"{each.id} {each.state} {each.reason}".strip() for targets in groups for each in targets or ())
    if all(any(target.healthy for target in targets or ()) for targets in groups):
        return Words(f"The sorry page is healthy: {found}.", f"sorry ページは正常です: {found}。")
    if None in groups or not found:
        found = "; ".join(filter(None, [found, "its target health could not be read, or it has no target"]))
    return Words(
        f"ATTENTION: the sorry page is not known to be healthy: {found}. Open the site from outside.",
        f"注意: sorry ページの正常性を確認できていません: {found}。外部からサイトを開いて確認してください。",
    )


def _switched(config: Config, seen: Switches, change: Switch, done: Done, kept: Mapping[str, Words]) -> Words:
    """Return which listeners now go where, as far as it is known, and what a visitor gets."""
    named = {listener.arn: f"{listener.protocol}:{listener.port} {listener.arn}" for listener in seen.listeners}
    ports = ", ".join(named[arn] for arn in done.made)
    places = {"primary": Words("the primary", "プライマリ"), "sorry": Words("the sorry page", " sorry ページ")}
    place = places[change.to]
    said = [
        Words(
            f"These listeners now forward to {place.en}: {ports}. The NLB itself can take some minutes to send new "
            f"connections there.",
            f"次のリスナーの転送先を{place.ja}に変更しました: {ports}。"
            f"NLB が新しい接続を実際に振り向けるまで数分かかることがあります。",
        )
    ]
    said += [
        Words(f"NOT switched: {named[arn]}: {why.en}", f"切り替えていません: {named[arn]}: {why.of('ja')}")
        for arn, why in kept.items()
    ]
    return notify.lines([*said, *_besides(named, done), *probed(config)])


def probed(config: Config) -> list[Words]:
    """Return what ProbeUrl answers now; nothing if there is none."""
    if not config.probe_url:
        return []
    from kirikae.nlb import probe

    return [probe.look(config.probe_url)]


def _besides(named: Mapping[str, str], done: Done) -> Iterator[Words]:
    """Yield what is not as it should be: listeners that do not show it or failed, and the mode that AWS refused."""
    if done.unseen:
        listed = ", ".join(named[arn] for arn in done.unseen)
        yield Words(
            f"AWS took the change, but does not show it yet: {listed}.",
            f"AWS は変更を受け付けましたが、まだ表示に反映されていません: {listed}。",
        )
    for arn, problem in done.failed.items():
        said = Words("NOT switched, tried again", "切り替えられていません (毎回の実行で再試行します)")
        if arn in done.unsure:
            said = Words(
                "NOT KNOWN whether switched, looked at again", "切り替わったかどうか不明です (毎回の実行で再確認します)"
            )
        yield Words(f"{said.en} at every run: {named[arn]}: {problem}", f"{said.ja}: {named[arn]}: {problem}")
    if done.refusal:
        yield Words(
            f"AWS refused both groups in one weighted action, so one group was set: replace mode is in force. "
            f"AWS says {done.refusal}",
            f"AWS が加重アクションを拒否したため、一方のグループだけを設定しました。"
            f"以後は replace モードで動作します。AWS の応答: {done.refusal}",
        )
        yield from _no_tag(done)


def _undo(config: Config, seen: Switches, side: Side, done: Done, times: Times) -> Words:
    """Return the exact commands that bring the listeners back to `side`, and hold kirikae off meanwhile."""
    commands = []
    for listener in seen.listeners:
        if listener.arn in done.made:
            action = listeners.action(switch.weights(config, listener.arn, side, done.mode), done.kept[listener.arn])
            arguments = f"--listener-arn {listener.arn} --default-actions '{json.dumps([action])}'"
            commands.append(notify.aws_command(config, "elbv2 modify-listener", arguments))
    said = Words(
        "First hold kirikae off, or it will switch again; then move the listeners:",
        "kirikae が再び切り替えないよう、先に 1 行目のコマンドで保留 (2 時間) にし、"
        "その後 2 行目以降でリスナーを戻してください:",
    )
    return notify.with_commands(said, [hold.command(config, times.done), *commands])
