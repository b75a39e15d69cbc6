"""Sentences of the mails of the cold standby: most of them what their reader is to check."""

from kirikae.ec2 import Instance
from kirikae.notify import Words, at
from kirikae.standby.notes import FAILED, TYPE, time_of
from kirikae.standby.world import UP, Config

WAY_BACK = Words(
    "The way back is a person's: bring up the active, see it serve, then deregister and stop the standby and give "
    f"it back its own type (tag {TYPE}) if that was changed.",
    "切り戻しは手動です。active の稼働を確認した後、スタンバイを登録解除して停止し、"
    f"タイプが変更されていれば元に戻してください (タグ {TYPE})。",
)
# With FenceActive two never serve, also on the way back.
STANDBY_FIRST = Words(
    "The way back is a person's, and FenceActive forbids two that serve: hold kirikae off, deregister and stop the "
    "standby, and start the active only when the standby is stopped. Give the standby back its own type "
    f"(tag {TYPE}) if that was changed.",
    "切り戻しは手動です。FenceActive では 2 台を同時に稼働させません。kirikae を保留にし、"
    "スタンバイを登録解除して停止し、停止を確認してから active を起動してください。"
    f"タイプが変更されていれば元に戻してください (タグ {TYPE})。",
)
BOTH_RUN = Words(
    "Both run now, which FenceActive forbids: deregister and stop the standby at once, or stop the active again if the "
    f"standby is to serve on. Give the standby back its own type (tag {TYPE}) if that was changed.",
    "FenceActive では 2 台を同時に稼働させませんが、現在は両方が稼働しています。"
    "ただちにスタンバイを登録解除して停止するか、スタンバイで運用を続ける場合は active を再び停止してください。"
    f"タイプが変更されていれば元に戻してください (タグ {TYPE})。",
)
FAILED_CHECK = Words(
    "What EC2 refused is tried again after 1, 2, 4 … at most every 30 minutes, without another mail. A start that "
    "fell back is not: mend its cause, then invoke the function with "
    '{"action": "reconcile", "force": true, "reason": "…"}, or remove the tag '
    f"{FAILED} from the standby.",
    "EC2 に拒否された起動は 1 分、2 分、4 分…最大 30 分間隔で再試行します (再試行ごとのメールはありません)。"
    "起動後に停止へ戻ったスタンバイは再試行しません。原因を取り除いてから関数を "
    '{"action": "reconcile", "force": true, "reason": "…"} '
    f"で実行するか、タグ {FAILED} を削除してください。",
)
UNFENCED_CHECK = Words(
    "Stop it by hand; the next run, within a minute, starts a standby, or lets the one that is up take its place. "
    "Or set FenceActive=false.",
    "手動で停止してください。1 分以内に次の実行がスタンバイを起動するか、起動済みのスタンバイを稼働させます。"
    "または FenceActive=false にしてください。",
)
CALLER_CHECK = Words(
    "EC2 denies the start of every candidate: the fault is the function's role or a policy of the organization, "
    "not a standby. Compare the role with the template; the next runs try again.",
    "すべてのスタンバイの起動が拒否されています。スタンバイではなく、関数のロールまたは組織のポリシーが原因です。"
    "ロールをテンプレートと比較してください。以降の実行でも再試行します。",
)
GOES_ON = Words(
    "The next run goes on. If the active is fine after all, start it again as below.",
    "次の実行が続行します。active に問題がない場合は、下のコマンドで再び起動してください。",
)


def way_back(config: Config, active: Instance) -> Words:
    """Return what a person does once a standby serves, in the order that FenceActive asks for."""
    if not config.fences:
        return WAY_BACK
    return BOTH_RUN if active.state in UP else STANDBY_FIRST


def failed_earlier(standby: str, note: str) -> Words:
    """Return the note of an earlier failure, which begins with its time unless a person wrote it."""
    when = time_of(note)
    ja = f"{at(when).ja} {note.partition(' ')[2]}" if when else note
    return Words(f"{standby} failed earlier: {note}", f"{standby} は以前に失敗しています: {ja}")


def stopped_first(active: Instance) -> Words:
    """Say that the active was stopped in the outage, and by whom that may be: EC2 does not name the caller."""
    when = at(active.stopped) if active.stopped else Words("a time that EC2 does not tell", "時刻不明")
    return Words(
        f"The active {active.id} was stopped first, at {when.en}, when its alarm had called (FenceActive): by a run of "
        f"kirikae, by the alarm itself, or by a person.",
        f"アラームの発生後、先に active {active.id} が停止されています ({when.ja}、FenceActive)。"
        f"kirikae の実行、アラーム自身のアクション、または手動によるものです。",
    )


def still_running(named: str) -> Words:
    """Say that nobody but a person stops these standbys."""
    return Words(
        f"Still running: standby {named}. kirikae does not stop it.",
        f"スタンバイ {named} は稼働したままです (kirikae は停止しません)。",
    )


def takes_its_place(standby: str) -> Words:
    """Say what comes after the stop of the active where a standby is up already."""
    return Words(
        f"The standby {standby} is up already and takes its place.",
        f"スタンバイ {standby} はすでに起動しているため、起動は行わず、active の代わりに稼働させます。",
    )


def not_fenced(problem: str, beside: str) -> Words:
    """Say what could not be stopped, and what does not happen for that: a start, or that `beside` takes its place."""
    return Words(
        f"What may still serve could not be stopped, so "
        f"{f'the standby {beside} does not take its place' if beside else 'no standby is started'}: {problem}",
        f"稼働中の可能性があるインスタンスを停止できないため、"
        f"{f'起動済みのスタンバイ {beside} は稼働させません' if beside else 'スタンバイは起動しません'}: {problem}",
    )


def left(standby: str, why: str) -> Words:
    """Say that a standby was left, and why."""
    return Words(
        f"The standby {standby} was left, because it has not come to serve: {why}. The next one takes its place.",
        f"スタンバイ {standby} は時間内に稼働しなかったため、次のスタンバイに切り替えます: {why}。",
    )


def another_type(own: str, given: str) -> Words:
    """Say that a standby was started with another type than its own."""
    return Words(
        f"Its type was changed from {own} to {given}, for want of capacity; see below.",
        f"容量不足のため、インスタンスタイプを {own} から {given} に変更しました。",
    )
