"""The mails of the maintenance mode."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from kirikae import notify
from kirikae.decision import Result
from kirikae.maintenance import missing, ours, windows
from kirikae.maintenance.priorities import front
from kirikae.maintenance.rules import OURS
from kirikae.maintenance.world import Config, GoLive, Observed, Park
from kirikae.notify import Mail, Words


def started(config: Config, seen: Observed, change: GoLive, result: Result[Any, None]) -> Mail:
    """Return the mail of a start: until when maintenance is on, and how to end it."""
    until = windows.announced(seen.stored.open(seen.now)).of(config.notification_language)
    kept = [missing.kept_numbers(config)] if seen.forgotten else []
    endless = "" if until else ", except one without a time: mailed every hour"
    return notify.mail(
        config,
        f"maintenance ON {f'until {until}' if until else 'WITHOUT an announced end'}",
        happened=notify.lines([comes_before(config, ours.before(config, seen, change.priorities)), *kept]),
        why=result.reason,
        since=notify.since(result.times),
        check=Words(
            f"The page itself, from outside; it can take some seconds until all requests see it. Every window ends by "
            f"itself at its time{endless}.",
            "外部からメンテナンスページの表示を確認してください。反映まで数秒かかることがあります。"
            "各時間帯は終了時刻に自動で終わります (終了時刻のないものは 1 時間ごとに通知します)。",
        ),
        undo=end_all(config),
    )


def comes_before(config: Config, others: Sequence[str]) -> Words:
    """Return which requests get the page: all, but for those of the rules that still come before it."""
    listener = config.maintenance_listener_arn
    if not others:
        return Words(
            f"The maintenance rule now comes before the other rules of {listener}.",
            f"メンテナンスルールを {listener} の先頭に移動しました。",
        )
    rules, place = ", ".join(others), config.places[config.rule]
    return Words(
        f"The maintenance rule of {listener} now has priority {place}. Rules that still come before it, and whose "
        f"visitors get no page: {rules}.",
        f"{listener} のメンテナンスルールを優先度 {place} に移動しました。"
        f"これより前にあり、引き続き応答するルール: {rules}",
    )


def put(config: Config, value: str) -> str:
    """Return the command that stores these windows instead of all others."""
    arguments = f"--type String --overwrite --name {config.maintenance_parameter} --value '{value}'"
    return notify.aws_command(config, "ssm put-parameter", arguments)


def end_all(config: Config) -> Words:
    """Return how to end all windows by hand."""
    said = Words(
        "This ends all windows; the next tick puts the rules back:",
        "次のコマンドで全時間帯を終了すると、次の定期確認でルールが元に戻ります:",
    )
    return notify.with_commands(said, [put(config, "{}")])


def ended(config: Config, seen: Observed, change: Park, result: Result[Any, None]) -> Mail:
    """Return the mail of an end, with what is not as it was before."""
    notes, state = list(change.notes), seen.memory.state
    if state not in OURS:
        notes.append(
            Words(
                f"The tag that remembers the order of before is {state or 'missing'}: only the maintenance rule "
                f"was parked, no other rule was moved. Rules that had made room for it keep their numbers",
                "元の順序を記録したタグが見つからないか壊れているため、メンテナンスルールのみを戻しました。"
                "他のルールは変更していません",
            )
        )
    said = Words("".join(f"\n- {note.en}" for note in notes), "".join(f"\n- {note.ja}" for note in notes))
    rest = Words(f"NOT as it was before:{said.en}", f"以前と異なる点:{said.ja}") if notes else Words("", "")
    number = change.priorities.get(config.rule, seen.order.priorities[config.rule])
    hidden = ours.hides(config, seen, number, change.priorities)
    parked, taker = _parked(config, hidden), ours.in_the_way(config, seen, change)
    differs = ", rules differ from before" if notes else ""
    if taker:
        differs = ", but another rule takes every request"
        parked = notify.lines([parked, _taken(taker, {**seen.order.priorities, **change.priorities}[taker])])
    return notify.mail(
        config,
        f"maintenance OFF{', but your parked rule takes requests' if hidden else differs}",
        happened=Words(f"{parked.en} {rest.en}", f"{parked.ja}{rest.ja}"),
        why=result.reason,
        since=notify.since(result.times),
        check=Words("The site itself, from outside.", "外部からサイトの表示を確認してください。"),
        undo=begin_again(config, result.times.done),
    )


def _parked(config: Config, hidden: str) -> Words:
    """Return what visitors have of the end: all of the service, unless a rule of the user's own hides some of it."""
    if not hidden:
        return Words(
            f"The maintenance rule is parked and the rules of {config.maintenance_listener_arn} are in force again.",
            f"メンテナンスルールを戻し、{config.maintenance_listener_arn} のルールが再び有効になりました。",
        )
    hidden_ja = hidden.replace("the default action", "デフォルトアクション").replace("rule ", "ルール ")
    return Words(
        f"The maintenance rule is parked, but it keeps its conditions: it still takes those meant for {hidden} of "
        f"{config.maintenance_listener_arn}. Move it behind them, let it ask for less, or delete it.",
        f"メンテナンスルールを戻しましたが、条件は変わらないため、{config.maintenance_listener_arn} の "
        f"{hidden_ja} へのリクエストを引き続き受け取っています。後ろに移動するか、条件を限定するか、削除してください。",
    )


def _taken(rule: str, number: int) -> Words:
    """Return which rule of others leaves the service nothing."""
    return Words(
        f"Rule {rule} has priority {number} and matches every request, so visitors get what it answers. If it is your "
        f"MaintenanceRuleArn of before, move it to the end, or delete it.",
        f"ルール {rule} (優先度 {number}) がすべてのリクエストに一致するため、利用者にはこのルールの応答が返ります。"
        f"以前の MaintenanceRuleArn であれば、末尾に移動するか削除してください。",
    )


def begin_again(config: Config, now: datetime) -> Words:
    """Return how to bring the page back by hand."""
    until = (now + timedelta(hours=2)).isoformat(timespec="seconds")
    said = Words(
        "A new window brings the page back at the next tick:",
        "新しい時間帯を登録すると、次の定期確認でメンテナンスに戻ります:",
    )
    return notify.with_commands(said, [put(config, json.dumps({"again": {"until": until, "reason": "..."}}))])


def closed(config: Config, why: Words, since: Words | None = None) -> Mail:
    """Return the mail about parked rules that would have taken requests: of an earlier version, or opened by others."""
    return notify.mail(
        config,
        "the parked maintenance rule matches nothing now",
        happened=Words(
            f"No window is open, but a parked rule of kirikae on {config.maintenance_listener_arn} matched requests. "
            f"Those meant for the listener's default action got the maintenance page. It matches nothing any more.",
            f"メンテナンス時間帯ではありませんが、{config.maintenance_listener_arn} の待機中のルールがリクエストに"
            "一致し、"
            "デフォルトアクションの代わりにメンテナンスページを返していました。何にも一致しない条件に変更しました。",
        ),
        why=why,
        since=since,
        check=Words(
            "The site itself, from outside. After an update from an earlier version this comes once; otherwise see who "
            "opened the rule (CloudTrail: ModifyRule).",
            "外部からサイトの表示を確認してください。旧バージョンからの更新後は一度だけ通知されます。それ以外の場合は、"
            "CloudTrail の ModifyRule で操作者を確認してください。",
        ),
    )


def left(config: Config, seen: Observed, why: Words, since: Words | None = None) -> Mail:
    """Return the one mail about a maintenance rule that others moved, or changed where it is, in a window."""
    moved = not ours.placed(config, seen)
    did, did_ja, by = ("moved", "移動", "SetRulePriorities") if moved else ("changed", "変更", "ModifyRule")
    again = Words('A new {"type": "start", ...} makes it live again', '{"type": "start", ...} で再開できます')
    plan = front(seen.order.priorities, seen.memory, config.places)  # with those that took its number meanwhile
    if plan and plan.priorities:
        live = " ".join(f"RuleArn={config.prefix}{rule},Priority={number}" for rule, number in plan.priorities.items())
        command = notify.aws_command(config, "elbv2 set-rule-priorities", f"--rule-priorities {live}")
        again = notify.with_commands(Words(f"{again.en}; so does this:", f"{again.ja}。手動の場合:"), [command])
    return notify.mail(
        config,
        f"the maintenance rule was {did} by others, it is left alone",
        happened=Words(
            f"In a window, somebody or something else {did} the maintenance rule. kirikae does not fight: it leaves "
            f"the rule {'there' if moved else 'so'}. When the last window ends, the rules are put back as usual.",
            f"メンテナンス時間帯中に、kirikae 以外がメンテナンスルールを{did_ja}しました。kirikae は元に戻しません。"
            "最後の時間帯が終わると、通常どおりルールを復元します。",
        ),
        why=why,
        since=since,
        check=Words(
            f"Who did it (CloudTrail: {by}), and whether maintenance should go on.",
            f"CloudTrail の {by} で操作者を確認し、メンテナンスを続けるか判断してください。",
        ),
        undo=notify.lines([again, end_all(config)]),
    )
