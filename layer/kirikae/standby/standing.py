"""What people should know of a cold standby, and the mail for whoever finds it otherwise than they know."""

from kirikae import notify
from kirikae.decision import Result
from kirikae.notify import Mail, Times, Words
from kirikae.standby import mail, outage, retries, words, world
from kirikae.standby.follow import Step
from kirikae.standby.last_told import NONE, STANDBY, none_started
from kirikae.standby.notes import FAILED, SERVING, STARTED, UNFENCED, since_start
from kirikae.standby.run import Done
from kirikae.standby.world import Close, Config, Note, Observed, Start
from kirikae.tell import Tells
from kirikae.told import State

_SAID = {
    "started": Words("has started", "起動しました"),
    "serving": Words("is serving", "稼働しています"),
}


def standing(config: Config, seen: Observed, result: Result[Start | Note | Close, Done | Step] | None) -> State | None:
    """Return which standby was started or serves, or that none could be started; none at rest; None between two.

    Rest is that no outage is noted and there is none: a standby that nobody has stopped may still run.
    """
    if result:
        return _after(config, seen, result)
    if not seen.noted and outage.of(seen) is None:
        return {}
    if seen.up:
        standby, noted = seen.up[0], seen.notes(seen.up[0])
        if since_start(standby, noted, SERVING):
            return {STANDBY: f"{standby.id} serving"}
        if not seen.left(standby):
            return {STANDBY: f"{standby.id} started"} if since_start(standby, noted, STARTED) else None
    if outage.of(seen) is None:
        return None
    if name := _unfenced(config, seen).partition(":")[0]:
        return {STANDBY: f"{NONE}, {name} not fenced"}
    return none_started(seen.unnoted) if retries.exhausted(seen) else None


def _after(config: Config, seen: Observed, result: Result[Start | Note | Close, Done | Step]) -> State | None:
    """Return the same after a change; None for a step of no news."""
    done = result.done
    if isinstance(done, Done):
        if done.started:
            return {STANDBY: f"{done.started.id} started"}
        if done.unfenced:
            beside = standing(config, seen, None) if done.beside else None  # people know of that one, and go on to
            return beside or {STANDBY: f"{NONE}, {done.unfenced.partition(':')[0]} not fenced"}
        return none_started(done.unnoted) if done.failed and done.through else None
    match done.change:
        case Note(kind="note", standby=standby):
            return {STANDBY: f"{standby} started"}
        case Note(kind="serving", standby=standby):
            return {STANDBY: f"{standby} serving"}
        case Close():
            return {}
    return None


def _unfenced(config: Config, seen: Observed) -> str:
    """Return what may still serve, was not to be stopped and still is not, and why; empty if there is no such thing."""
    notes = [seen.notes(standby).get(UNFENCED, "") for standby in seen.standbys]
    said = next((note.partition(" ")[2] for note in notes if note), "")
    left = [standby.id for standby in seen.up if config.fences and seen.left(standby)]
    return said if said.partition(":")[0] in (world.to_fence(config, seen), *left) else ""


def found(config: Config, seen: Observed, known: State) -> Mail | None:
    """Return the mail about a world of which nobody was told: a run died, a mail was lost, or somebody else did it."""
    name, _, how = (standing(config, seen, None) or {}).get(STANDBY, "").partition(" ")
    if not name:
        return _over(config, seen, known)
    if how not in _SAID:
        return _none_started(config, seen)
    [standby] = [standby for standby in seen.standbys if standby.id == name]
    active, said = seen.active, _SAID[how]
    return notify.mail(
        config,
        f"standby {name} {how}, found by the periodic check",
        happened=notify.lines(
            [*mail.stopped(config, seen), Words(f"Found: {name} {said.en}.", f"確認した状態: {name} は{said.ja}。")]
        ),
        why=Words(
            "An earlier run did it and ended before it could tell you.",
            "前回の実行が変更後、通知前に終了しました。",
        ),
        check=Words(
            f"The active {active.id} is {active.state}; the tags kirikae:* on the standbys say the rest.",
            f"active {active.id} の状態は {active.state} です。実行内容は待機系のタグ kirikae:* を確認してください。",
        ),
        undo=mail.undo(config, seen, standby, seen.now),
    )


def _none_started(config: Config, seen: Observed) -> Mail | None:
    """Return the mail of the run that could start none, as far as its notes tell."""
    noted = {standby.id: seen.notes(standby).get(FAILED, "") for standby in seen.standbys}
    failed = {} if (unfenced := _unfenced(config, seen)) else {name: note for name, note in noted.items() if note}
    reason = outage.reason(seen)
    done = Done(change=None, reason=reason, unfenced=unfenced, failed=failed)
    return mail.of_start(config, seen, reason, done, Times(None, seen.now, seen.now))


def _over(config: Config, seen: Observed, known: State) -> Mail:
    """Return the mail that there is no outage any more; who ended it, or its notes, is not to be seen."""
    active, told = seen.active, known.get(STANDBY, "")
    lines = [
        Words(
            f"Found: the active {active.id} is {active.state}, and no outage is noted on the standbys. "
            f"You were told last: {told}.",
            f"確認した状態: active {active.id} の状態は {active.state} で、待機系に障害の記録はありません。"
            f"前回の通知内容: {told}。",
        )
    ]
    if named := ", ".join(standby.id for standby in seen.up):
        lines.append(words.still_running(named))
    return notify.mail(
        config,
        "no outage any more, found by the periodic check",
        happened=notify.lines(lines),
        why=Words(
            "The outage was closed by a run that ended before it could tell you, or somebody has removed its notes or "
            "changed the parameters.",
            "障害を終了した実行が通知前に終了したか、記録の削除またはパラメーターの変更がありました。",
        ),
        check=words.way_back(config, seen.active) if seen.up else None,
        undo=mail.undo(config, seen, seen.up[0], seen.now) if seen.up else None,
    )


TELLS: Tells[Config, Observed, Start | Note | Close, Done | Step] = Tells(standing, found, outages=True)
