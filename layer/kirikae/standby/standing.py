"""What people should know of a cold standby, and the mail for whoever finds it otherwise than they know."""

from kirikae import notify
from kirikae.decision import Result
from kirikae.notify import Mail, Words
from kirikae.standby.follow import Step
from kirikae.standby.notes import SERVING, STARTED, since_start
from kirikae.standby.run import Done
from kirikae.standby.world import Close, Config, Note, Observed, Start
from kirikae.tell import Tells
from kirikae.told import State

STANDBY = "standby"
_JA = {"started": "起動しました", "serving": "稼働しています"}


def standing(_config: Config, seen: Observed, result: Result[Start | Note | Close, Done | Step] | None) -> State | None:
    """Return which standby was started, or serves: none at rest; None between two, or for a step of no news."""
    if result:
        return _after(result)
    if seen.up:
        standby, noted = seen.up[0], seen.notes(seen.up[0])
        if since_start(standby, noted, SERVING):
            return {STANDBY: f"{standby.id} serving"}
        told = since_start(standby, noted, STARTED) and not seen.left(standby)  # that one was told before it was left
        return {STANDBY: f"{standby.id} started"} if told else None
    return None if seen.noted else {}


def _after(result: Result[Start | Note | Close, Done | Step]) -> State | None:
    """Return the same after a change."""
    done = result.done
    if isinstance(done, Done):
        return {STANDBY: f"{done.started.id} started"} if done.started else None
    match done.change:
        case Note(kind="note", standby=standby):
            return {STANDBY: f"{standby} started"}
        case Note(kind="serving", standby=standby):
            return {STANDBY: f"{standby} serving"}
        case Close():
            return {}
    return None


def found(config: Config, seen: Observed, known: State) -> Mail:
    """Return the mail about a standby that was started, serves, or is needed no more, and of which nobody was told."""
    now = standing(config, seen, None) or {}
    name, _, how = now.get(STANDBY, known.get(STANDBY, "")).partition(" ")
    over = not now
    return notify.mail(
        config,
        f"standby {name} {'is no longer needed' if over else how}, found by the periodic check",
        happened=Words(
            f"Found: the outage is over; the notes on {name} are gone." if over else f"Found: {name} has {how}.",
            f"確認した状態: 障害は終了し、{name} の記録は削除されています。"
            if over
            else f"確認した状態: {name} は{_JA.get(how, how)}。",
        ),
        why=Words(
            "An earlier run did it and ended before it could tell you.",
            "前回の実行が変更後、通知前に終了しました。",
        ),
        check=Words(
            f"The active {seen.active.id} is {seen.active.state}; the tags kirikae:* on the standbys say the rest.",
            f"active {seen.active.id} の状態は {seen.active.state} です。"
            "実行内容は待機系のタグ kirikae:* を確認してください。",
        ),
    )


TELLS: Tells[Config, Observed, Start | Note | Close, Done | Step] = Tells(standing, found, outages=True)
