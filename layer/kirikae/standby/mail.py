"""The mails of the cold standby."""

from datetime import datetime

from kirikae import hold, notify
from kirikae.notify import Mail, Words
from kirikae.reconcile import Decision, Times
from kirikae.standby.follow import Step
from kirikae.standby.notes import FAILED, OUTAGE, RUNNING, TYPE, moment, written
from kirikae.standby.start import Done
from kirikae.standby.world import GONE, Config, Observed, outage


def of_start(config: Config, seen: Observed, decision: Decision, done: Done, times: Times) -> Mail | None:
    """Tell of a start, of a failure, or of an active that could not be fenced; nothing if nothing is new."""
    if not done.news and not done.change:
        return None
    happened, check = _started(seen, done), _watch(config)
    if done.started:
        text = f"standby {done.started.id} started"
    elif done.unfenced:
        text = f"active {config.active_instance_id} not fenced, no standby started"
        check = Words(
            "Stop the active by hand; a standby is started by the next run, within a minute. Or set FenceActive=false.",
            "active を手動で停止してください。1 分以内に次の実行がスタンバイを起動します。"
            "または FenceActive=false にしてください。",
        )
    elif done.failed:
        text, check = "no standby started", _failed_check()
    else:
        text = f"active {done.fenced} stopped, another run starts the standby"
    return Mail(
        notify.subject(config.service_name, text),
        (
            (notify.HAPPENED, happened),
            (notify.WHY, decision.reason),
            (notify.WHEN, _when(seen, done, times)),
            (notify.CHECK, check),
            (notify.UNDO, _undo(config, seen, done.started.id if done.started else "", times, done.fenced)),
        ),
    )


def of_step(config: Config, seen: Observed, decision: Decision, step: Step, times: Times) -> Mail | None:
    """Tell that a standby runs already, that it serves, or that the active is back; other steps are told with these."""
    change, one = step.change or {}, step.standby
    if "close" in change:
        return _closed(config, seen, decision, one.id if one else "", times)
    if one is None or "running" in change:
        return None
    noted = one.tags
    if "note" in change:
        text = f"standby {one.id} is {one.state} already"
        happened = Words(
            f"The active does not serve, and the standby {one.id} is {one.state}: nothing had to be started.",
            f"active の障害を検知しましたが、スタンバイ {one.id} はすでに {one.state} のため、起動は行いません。",
        )
    else:
        text = f"standby {one.id} is serving"
        happened = Words(f"The standby serves: {step.reason.en}.", f"スタンバイが稼働しました: {step.reason.ja}。")
    moments = (
        (Words("outage since", "障害発生"), noted.get(OUTAGE) or _began(seen)),
        (Words("start accepted", "起動受付"), written(one.launched) if one.launched else ""),
        (Words("running", "running"), noted.get(RUNNING, "")),
        (Words("serving", "稼働"), written(seen.now) if "serving" in change else ""),
    )
    told = [(name, value) for name, value in moments if value]
    return Mail(
        notify.subject(config.service_name, text),
        (
            (notify.HAPPENED, happened),
            (
                notify.WHEN,
                Words(
                    "\n".join(f"{name.en}: {value}" for name, value in told),
                    "\n".join(f"{name.ja}: {_in_japan(value)}" for name, value in told),
                ),
            ),
            (notify.CHECK, _watch(config) if "note" in change else _way_back()),
            (notify.UNDO, _undo(config, seen, one.id, times)),
        ),
    )


def _closed(config: Config, seen: Observed, decision: Decision, standby_id: str, times: Times) -> Mail:
    """Tell that the active is back, and that nothing stops the standby but a person."""
    if standby_id:
        happened = Words(
            f"The active is back. The standby {standby_id} still runs: kirikae never stops it. Its notes were removed.",
            f"active が復旧しました。スタンバイ {standby_id} は稼働したままです (kirikae は停止しません)。"
            f"記録用タグは削除しました。",
        )
    else:
        happened = Words(
            "The active is back; no standby runs. The notes on the standbys were removed.",
            "active が復旧しました。稼働中のスタンバイはありません。記録用タグは削除しました。",
        )
    return Mail(
        notify.subject(config.service_name, "active is back"),
        (
            (notify.HAPPENED, happened),
            (notify.WHY, decision.reason),
            (notify.CHECK, _way_back()),
            (notify.UNDO, _undo(config, seen, standby_id, times)),
        ),
    )


def _started(seen: Observed, done: Done) -> Words:
    """Say what was stopped, started and found wanting."""
    en, ja = [], []
    if done.fenced:
        en.append(f"The active {done.fenced} was stopped first (FenceActive).")
        ja.append(f"先に active {done.fenced} を停止しました (FenceActive)。")
    if done.unfenced:
        en.append(f"The active could not be stopped, so no standby is started: {done.unfenced}")
        ja.append(f"active を停止できないため、スタンバイは起動しません: {done.unfenced}")
    if one := done.started:
        en.append(f"The start of the standby {one.id} ({one.type}) was accepted; it is {one.state}.")
        ja.append(f"スタンバイ {one.id} ({one.type}) の起動が受け付けられました。状態: {one.state}。")
        if done.own_type:
            en.append(f"Its type was changed from {done.own_type} to {one.type}, for want of capacity; see below.")
            ja.append(f"容量不足のため、インスタンスタイプを {done.own_type} から {one.type} に変更しました。")
    elif done.failed:
        en.append("No standby was started.")
        ja.append("起動できたスタンバイはありません。")
    en += [f"{one} failed: {why}" for one, why in done.failed.items()]
    ja += [f"{one} は失敗しました: {why}" for one, why in done.failed.items()]
    others = [one for one in seen.standbys if one.id not in done.failed and one != done.started]
    passed = [(one.id, seen.notes(one).get(FAILED, "")) for one in others]
    en += [f"{one} failed earlier: {why}" for one, why in passed if why]
    ja += [f"{one} は以前に失敗しています: {why}" for one, why in passed if why]
    en += [f"{one.id} is {one.state}." for one in others if one.state in GONE or one.state == "stopping"]
    ja += [f"{one.id} は {one.state} です。" for one in others if one.state in GONE or one.state == "stopping"]
    return Words("\n".join(en), "\n".join(ja))


def _in_japan(text: str) -> str:
    """Say the time of a note as the clocks in Japan show it."""
    found = moment(text)
    return notify.at(found).ja if found else text


def _began(seen: Observed) -> str:
    found = outage(seen)
    return written(found.began) if found else ""


def _when(seen: Observed, done: Done, times: Times) -> Words:
    """Say when the outage began, when it was noticed, and when EC2 accepted the start."""
    began, noticed = _began(seen), written(times.began)
    en = [f"outage since: {began}", f"noticed: {noticed}"]
    ja = [f"障害発生: {_in_japan(began)}", f"検知: {_in_japan(noticed)}"]
    accepted: datetime | None = done.started.launched if done.started else None
    if accepted:
        en.append(f"start accepted: {written(accepted)}")
        ja.append(f"起動受付: {_in_japan(written(accepted))}")
    return Words("\n".join(en), "\n".join(ja))


def _watch(config: Config) -> Words:
    group = f", and is healthy in {config.standby_target_group_arn}" if config.standby_target_group_arn else ""
    return Words(
        f"Another mail comes when the standby passes its status checks{group}; an alarm, when that takes too long.",
        "スタンバイが正常に稼働した時点で次のメールを送信します。時間がかかりすぎる場合はアラームが通知します。",
    )


def _failed_check() -> Words:
    return Words(
        "What EC2 refused is tried again after 1, 2, 4 … at most every 30 minutes, without another mail. A start that "
        "fell back is not: mend its cause, then invoke the function with "
        '{"action": "reconcile", "force": true, "reason": "…"}, or remove the tag '
        f"{FAILED} from the standby.",
        "EC2 に拒否された起動は 1 分、2 分、4 分…最大 30 分間隔で再試行します (再試行ごとのメールはありません)。"
        "起動後に停止へ戻ったスタンバイは再試行しません。原因を取り除いてから関数を "
        '{"action": "reconcile", "force": true, "reason": "…"} '
        f"で実行するか、タグ {FAILED} を削除してください。",
    )


def _way_back() -> Words:
    return Words(
        "The way back is a person's: bring up the active, see it serve, then deregister and stop the standby and give "
        f"it back its own type (tag {TYPE}) if that was changed.",
        "切り戻しは手動です。active の稼働を確認した後、スタンバイを登録解除して停止し、"
        f"タイプが変更されていれば元に戻してください (タグ {TYPE})。",
    )


def _undo(config: Config, seen: Observed, standby_id: str, times: Times, fenced: str = "") -> Words:
    """Return the commands that hold kirikae off, stop the standby and start the active if this run has stopped it.

    A standby on another port than the group's leaves with its port.
    """
    region = config.topic_arn.split(":")[3]
    commands = [hold.command(config, times.done)]
    if standby_id:
        if own := [f"Id={target.id},Port={target.port}" for target in seen.targets if target.id == standby_id]:
            group = config.standby_target_group_arn
            commands.append(
                f"aws elbv2 deregister-targets --region {region} --target-group-arn {group} --targets {' '.join(own)}"
            )
        commands.append(f"aws ec2 stop-instances --region {region} --instance-ids {standby_id}")
    if fenced:
        commands.append(f"aws ec2 start-instances --region {region} --instance-ids {fenced}")
    return Words(
        "First hold kirikae off:\n" + "\n".join(commands), "先に kirikae を保留にしてください:\n" + "\n".join(commands)
    )
