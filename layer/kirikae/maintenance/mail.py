"""The mails of the maintenance mode."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Protocol

from kirikae import notify, reconcile
from kirikae.maintenance.priorities import Plan
from kirikae.maintenance.rules import OURS, Memory
from kirikae.maintenance.windows import Window
from kirikae.notify import Mail, Words
from kirikae.reconcile import Times


class Config(Protocol):
    """What the mails need to know."""

    @property
    def service_name(self) -> str: ...
    @property
    def maintenance_parameter(self) -> str: ...
    @property
    def maintenance_listener_arn(self) -> str: ...
    @property
    def prefix(self) -> str: ...
    @property
    def places(self) -> Mapping[str, int]: ...


def started(config: Config, open_windows: Mapping[str, Window], reason: Words, times: Times) -> Mail:
    """Say that maintenance is on, until when, and how to end it."""
    ends = [window.until for window in open_windows.values()]
    known = [end for end in ends if end]
    last = f"until {max(known):%Y-%m-%d %H:%M %Z}" if len(known) == len(ends) and known else "WITHOUT an announced end"
    return Mail(
        notify.subject(config.service_name, f"maintenance ON {last}"),
        (
            (
                notify.HAPPENED,
                Words(
                    f"The maintenance rule now comes before the other rules of {config.maintenance_listener_arn}.",
                    f"メンテナンスルールを {config.maintenance_listener_arn} の先頭に移動しました。",
                ),
            ),
            (notify.WHY, reason),
            (notify.WHEN, reconcile.since(times)),
            (
                notify.CHECK,
                Words(
                    "The page itself, from outside; it can take some seconds until all requests see it. Every window "
                    "ends by itself at its time"
                    + ("." if known and len(known) == len(ends) else ", except one without a time: mailed every hour."),
                    "外部からメンテナンスページの表示を確認してください。反映まで数秒かかることがあります。"
                    "各時間帯は終了時刻に自動で終わります (終了時刻のないものは 1 時間ごとに通知します)。",
                ),
            ),
            (notify.UNDO, _end_all(config)),
        ),
    )


def _region(config: Config) -> str:
    return config.maintenance_listener_arn.split(":")[3]


def _put(config: Config, value: str) -> str:
    name = config.maintenance_parameter
    return f"aws ssm put-parameter --region {_region(config)} --overwrite --name {name} --value '{value}'"


def _end_all(config: Config) -> Words:
    command = _put(config, "{}")
    return Words(
        f"This ends all windows; the next tick puts the rules back:\n{command}",
        f"次のコマンドで全時間帯を終了すると、次の定期確認でルールが元に戻ります:\n{command}",
    )


def ended(config: Config, memory: Memory, plan: Plan, reason: Words, times: Times) -> Mail:
    """Say that maintenance is over, and what is not as it was before."""
    notes = list(plan.notes)
    if memory.state not in OURS:
        notes.append(
            Words(
                f"The tag that remembers the order of before is {memory.state or 'missing'}: only the maintenance rule "
                f"was parked, no other rule was moved. Rules that had made room for it keep their numbers",
                "元の順序を記録したタグが見つからないか壊れているため、メンテナンスルールのみを戻しました。"
                "他のルールは変更していません",
            )
        )
    said = Words("\n".join(f"- {note.en}" for note in notes), "\n".join(f"- {note.ja}" for note in notes))
    rest = Words(f"NOT as it was before:\n{said.en}", f"以前と異なる点:\n{said.ja}") if notes else Words("", "")
    until = (times.done + timedelta(hours=2)).isoformat(timespec="seconds")
    again = _put(config, json.dumps({"again": {"until": until, "reason": "..."}}))
    return Mail(
        notify.subject(config.service_name, "maintenance OFF" + (", rules differ from before" if notes else "")),
        (
            (
                notify.HAPPENED,
                Words(
                    f"The maintenance rule is parked and the rules of {config.maintenance_listener_arn} are in force "
                    f"again. {rest.en}",
                    f"メンテナンスルールを戻し、{config.maintenance_listener_arn} のルールが再び有効になりました。"
                    f"{rest.ja}",
                ),
            ),
            (notify.WHY, reason),
            (notify.WHEN, reconcile.since(times)),
            (
                notify.CHECK,
                Words("The site itself, from outside.", "外部からサイトの表示を確認してください。"),
            ),
            (
                notify.UNDO,
                Words(
                    f"A new window brings the page back at the next tick:\n{again}",
                    f"新しい時間帯を登録すると、次の定期確認でメンテナンスに戻ります:\n{again}",
                ),
            ),
        ),
    )


def left(config: Config, reason: Words, times: Times) -> Mail:
    """Say, once, that others moved the maintenance rule while a window is open."""
    live = " ".join(f"RuleArn={config.prefix}{rule},Priority={number}" for rule, number in config.places.items())
    back = f"aws elbv2 set-rule-priorities --region {_region(config)} --rule-priorities {live}\n"
    return Mail(
        notify.subject(config.service_name, "the maintenance rule was moved by others, it is left alone"),
        (
            (
                notify.HAPPENED,
                Words(
                    "A window is open, but somebody or something else moved the maintenance rule. kirikae does not "
                    "fight: it leaves the rule there. When the last window ends, the rules are put back as usual.",
                    "メンテナンス時間帯中に、kirikae 以外がメンテナンスルールを移動しました。kirikae は元に戻しません。"
                    "最後の時間帯が終わると、通常どおりルールを復元します。",
                ),
            ),
            (notify.WHY, reason),
            (notify.WHEN, reconcile.since(times)),
            (
                notify.CHECK,
                Words(
                    "Who did it (CloudTrail: SetRulePriorities), and whether maintenance should go on.",
                    "CloudTrail の SetRulePriorities で操作者を確認し、メンテナンスを続けるか判断してください。",
                ),
            ),
            (
                notify.UNDO,
                Words(
                    f'A new {{"type": "start", ...}} makes it live again; so does this:\n{back}{_end_all(config).en}',
                    f'{{"type": "start", ...}} で再開できます。手動の場合:\n{back}{_end_all(config).ja}',
                ),
            ),
        ),
    )
