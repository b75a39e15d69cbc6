"""What people should know of the maintenance mode, and the mail for whoever finds it otherwise than they know."""

import json
from collections.abc import Mapping
from typing import Any

from kirikae import notify
from kirikae.decision import Result
from kirikae.maintenance import ours, rules, windows
from kirikae.maintenance.mail import begin_again, closed, comes_before, end_all, left, put
from kirikae.maintenance.schedules import left_out, next_time
from kirikae.maintenance.world import Close, Config, GoLive, LeaveAlone, Observed, Park
from kirikae.notify import Mail, Words
from kirikae.told import State

PAGE, BEFORE, UNTIL = "maintenance page", "rules before the page", "until"
OVER, NEVER = "(over)", "without an end"  # of UNTIL, where it is no time in UTC: before and after all of these
SKIPPED = "start that the clocks skip"
CLOSED = "closed without a window"  # how often: only by this it shows afterwards
NAMED = 20  # of them: the parameter that holds what people know has 4 KB
ON, OFF, LEFT = {PAGE: "on"}, dict[str, str](), {PAGE: "moved by others"}  # or changed by them, where it is


def standing(config: Config, seen: Observed, result: Result[Any, None] | None) -> State | None:
    """Return whether visitors get the page, and how often a rule was closed that no window had opened.

    And a start that the clocks have just skipped. At rest they do not; None while the rules are on their way.
    """
    state = _after(config, seen, result.change) if result else _now(config, seen)
    times = seen.memory.closed + bool(result and ours.unasked(seen, result.change))
    skipped = left_out(config.maintenance_start, config.maintenance_timezone, seen.now)
    more = ({CLOSED: str(times)} if times else {}) | ({SKIPPED: f"{skipped:%Y-%m-%d %H:%M}"} if skipped else {})
    return state if state is None or not more else {**state, **more}


def _now(config: Config, seen: Observed) -> State | None:
    """Return what visitors get; a rule that is placed and open is the page, whatever is remembered of it."""
    if config.rule not in seen.order.priorities:
        return None
    if ours.placed(config, seen) and config.rule not in ours.to_open(config, seen) and not ours.changed(config, seen):
        return _on(config, seen, {})
    if seen.memory.state == "left" or (seen.stored.open(seen.now) and ours.taken_over(config, seen)):
        return LEFT
    if config.rule in seen.order.nothing and not seen.stored.open(seen.now):
        return OFF
    return None if seen.memory.state in rules.OURS or ours.to_close(config, seen) else OFF


def _on(config: Config, seen: Observed, moves: Mapping[str, int]) -> State:
    """Return that visitors get the page after these moves, until when, and which rules still come before it."""
    windows_open = seen.stored.open(seen.now)
    until = windows.announced(windows_open).en or NEVER if windows_open else OVER
    rules_before = ours.before(config, seen, moves)
    more = [f"{len(rules_before) - NAMED} more"] if len(rules_before) > NAMED else []
    return ON | {UNTIL: until} | ({BEFORE: ", ".join(rules_before[:NAMED] + more)} if rules_before else {})


def _after(config: Config, seen: Observed, change: GoLive | Park | Close | LeaveAlone) -> State | None:
    """Return the same after a change; None for one that visitors do not see."""
    match change:
        case GoLive():
            return None if ours.for_testers(config, change) else _on(config, seen, change.priorities)
        case LeaveAlone():
            return LEFT
    return OFF


def found(config: Config, seen: Observed, known: State) -> Mail | None:
    """Return the mail about a page that is on or off, or a rule that others moved, of which nobody was told.

    So of rules that somebody puts before the page, and of a later end; that a rule is gone, or the end earlier, is
    no news: its own mail tells that.
    """
    now = standing(config, seen, None) or OFF
    if now.get(PAGE) == known.get(PAGE) and SKIPPED in now.keys() - known.keys():
        return _skipped(config, seen, now[SKIPPED])
    if now.get(PAGE) == known.get(PAGE) == ON[PAGE]:
        come = set(now.get(BEFORE, "").split(", ")) - set(known.get(BEFORE, "").split(", "))
        later = _later(seen) if known.get(UNTIL, NEVER) < now[UNTIL] else None
        if come - {""}:
            return _put_before(config, seen, later)
        return _prolonged(config, seen, later) if later else None
    if now.get(PAGE) == known.get(PAGE):
        return closed(config, _why(known)) if _times(now) > _times(known) else None
    if now.get(PAGE) == LEFT[PAGE]:
        return left(config, seen, _why(known))
    is_on = now.get(PAGE) == ON[PAGE]
    said = Words(
        f"Found: visitors of {config.maintenance_listener_arn} get "
        f"{'the maintenance page' if is_on else 'the service'}.",
        f"確認した状態: {config.maintenance_listener_arn} の利用者には"
        f"{'メンテナンスページ' if is_on else '通常のサービス'}が表示されています。",
    )
    return notify.mail(
        config,
        f"maintenance {'ON' if is_on else 'OFF'}, found by the periodic check",
        happened=said,
        why=_why(known),
        check=Words(
            "The site itself, from outside, and CloudTrail for SetRulePriorities and ModifyRule.",
            "外部からサイトの表示を確認し、CloudTrail で SetRulePriorities と ModifyRule を確認してください。",
        ),
        undo=end_all(config) if is_on else begin_again(config, seen.now),
    )


def _why(known: State) -> Words:
    last = known.get(PAGE, "off")
    return Words(
        f"Not made by this run: an earlier run ended before it could tell you, or somebody else changed the rules. "
        f"You were told last: {last}.",
        f"この実行による変更ではありません。前回の実行が通知前に終了したか、別の操作でルールが変更されました。"
        f"前回の通知: {last}",
    )


def _times(state: State) -> int:
    text = state.get(CLOSED, "")
    return int(text) if text.isdecimal() else 0


def _skipped(config: Config, seen: Observed, local: str) -> Mail:
    """Return the mail about a start that EventBridge Scheduler leaves out, because the clocks skip its time.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
    """
    zone = config.maintenance_timezone
    end = next_time(config.maintenance_end, zone, seen.now).isoformat()
    by_hand = Words(
        "To open the window by hand, instead of all that are open now:",
        "手動で時間帯を開始するには (現在の時間帯はすべて置き換えられます):",
    )
    return notify.mail(
        config,
        "maintenance does NOT start: the clocks skip its time",
        happened=Words(
            f"MaintenanceStart was due at {local} in {zone}, which the clocks skip today. EventBridge Scheduler leaves "
            f"it out: no window was opened.",
            f"MaintenanceStart の予定時刻 {local} ({zone}) は、夏時間への切り替えのため存在しません。"
            f"EventBridge Scheduler はこの時刻を実行しないため、メンテナンス時間帯は開始されていません。",
        ),
        check=Words(
            "Whether the maintenance is to begin all the same; and give MaintenanceStart a time that every day has.",
            "メンテナンスを開始するか判断してください。また、MaintenanceStart には毎日存在する時刻を指定してください。",
        ),
        undo=notify.with_commands(by_hand, [put(config, json.dumps({"scheduled": {"until": end, "reason": "..."}}))]),
    )


def _later(seen: Observed) -> Words:
    """Return until when the page is on now."""
    open_windows = seen.stored.open(seen.now)
    until, said = windows.announced(open_windows), windows.said(open_windows)
    return Words(
        f"The page stays on, now {f'until {until.en}' if until.en else 'without an announced end'}: {said.en}.",
        f"メンテナンスページの表示を続けます。終了予定: {until.ja or '未定'} ({said.ja})。",
    )


def _prolonged(config: Config, seen: Observed, later: Words) -> Mail:
    """Return the mail about a page that stays on for longer than people were told."""
    until = windows.announced(seen.stored.open(seen.now)).of(config.notification_language)
    return notify.mail(
        config,
        f"maintenance ON, now {f'until {until}' if until else 'WITHOUT an announced end'}",
        happened=later,
        why=Words(
            "A later start, or a window written by hand, ends after the time that you were told last.",
            "前回通知した終了時刻より後に終わる時間帯が登録されました。",
        ),
        check=Words(
            "Whether those who were told the earlier end need to know.",
            "以前の終了時刻を伝えた相手への連絡が必要か確認してください。",
        ),
        undo=end_all(config),
    )


def _put_before(config: Config, seen: Observed, later: Words | None) -> Mail:
    """Return the mail about rules that others put before the live maintenance rule, and of a later end."""
    return notify.mail(
        config,
        "maintenance ON, but rules were put before the page",
        happened=notify.lines([comes_before(config, ours.before(config, seen, {})), *([later] if later else [])]),
        why=Words(
            "Somebody else added or moved rules in a window. kirikae leaves them there.",
            "メンテナンス時間帯中に、kirikae 以外がルールを追加または移動しました。kirikae は変更しません。",
        ),
        check=Words(
            "Who did it (CloudTrail: CreateRule, SetRulePriorities), and whether their visitors should get no page.",
            "CloudTrail の CreateRule と SetRulePriorities で操作者を確認し、そのルールの利用者に通常のサービスを"
            "表示してよいか判断してください。",
        ),
        undo=end_all(config),
    )
