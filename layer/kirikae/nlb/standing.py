"""What people should know of the NLB switch, and the mail for whoever finds it otherwise than they know."""

from typing import Any, Protocol

from kirikae import clock, notify, patience, told
from kirikae.decision import Result
from kirikae.nlb import left
from kirikae.nlb.mail import REPLACED, probed, refused, replace_mode
from kirikae.nlb.parameters import hands_off
from kirikae.nlb.world import Config, Done, Switch, Switches, serving
from kirikae.notify import Mail, Words
from kirikae.told import Note, State

SORRY_PAGE, WEIGHTED = "sorry page", "weighted switching"
REFUSED, NO_TAG = "refused", "refused, and no tag remembers it"  # the second says more than the first
COUNTS = {SORRY_PAGE: "SwitchedToSorry"}  # for MaxSwitchesPerHour, by whoever tells it


class Seen(Protocol):
    """What both directions observe."""

    @property
    def switches(self) -> Switches:
        """Where the listeners point."""


def standing(config: Config, seen: Seen, result: Result[Any, Done] | None) -> State | None:
    """Return whether the sorry page is on and where, and whether AWS refused weighted switching: at rest, neither.

    After a switch of some listeners only, for how many it is on, so that the rest is told when it is made.  None while
    listeners differ and nobody tells a switch, or are not ours to judge, or nobody knows what AWS takes.  A refusal is
    over when both groups are attached, and not when somebody has removed its tag.
    """
    if not result and (hands_off(config, seen.switches) or seen.switches.guessed):
        return None
    sides = {listener.arn: serving(config, listener) for listener in seen.switches.listeners}
    if result and isinstance(result.change, Switch):  # an adoption moves none of them
        sides |= dict.fromkeys(result.done.made, result.change.to)
    elif len(set(sides.values())) != 1 or None in sides.values():
        return None
    mode, away = result.done.mode if result else seen.switches.mode, [arn for arn in sides if sides[arn] == "sorry"]
    page = "on" if len(away) == len(sides) else f"on for {len(away)} of {len(sides)} listeners"
    on = {SORRY_PAGE: page, left.AWAY: " ".join(away)} if away else dict[str, str]()
    if result and result.done.refusal:
        return on | {WEIGHTED: NO_TAG if result.done.untagged else REFUSED}
    if mode != config.switch_mode:
        return on | {WEIGHTED: told.AS_KNOWN if seen.switches.guessed else REFUSED}
    untried = not result and mode == "weighted" and any(len(each.weights) < 2 for each in seen.switches.listeners)
    return on | {WEIGHTED: told.AS_KNOWN} if untried else on


def known_seconds(told_parameter: str) -> float | None:
    """Return for how long people have known that the sorry page is on; None if they do not, or nobody can tell.

    Whoever has just switched may be about to note it, so that this looks again for some seconds.  A mail that cannot
    leave is tried again for ever, and keeps nobody on the sorry page.
    """
    note = patience.until(lambda: told.read(told_parameter), lambda shown: shown is not None and _on(shown))
    if note is None or not _on(note):
        return None
    seconds = (clock.now() - note.since.get(SORRY_PAGE, note.at)).total_seconds()
    return max(0.0, seconds) if seconds > -told.STALE_READS.total_seconds() else None  # else somebody else wrote it


def _on(note: Note) -> bool:
    return note.telling is None and SORRY_PAGE in note.known


def adopted(config: Config, seen: Seen, result: Result[Any, Done]) -> Mail | None:
    """Return the mail of an adoption that AWS refused; None if people know it, or the sorry page is news besides.

    Who finds that tells both, as where the run that switched died, and where somebody else has moved the listeners.
    """
    now = standing(config, seen, result) or {}
    if WEIGHTED not in now or (note := told.read(config.told_parameter)) is None or note.telling is not None:
        return None
    known = note.known.get(SORRY_PAGE) == now.get(SORRY_PAGE)
    return (
        refused(config, result.done) if known and not note.known.get(WEIGHTED, "").startswith(now[WEIGHTED]) else None
    )


def found(config: Config, seen: Seen, known: State) -> Mail | None:
    """Return the mail about a sorry page that is on, or off, or a refusal of AWS, of which nobody was told."""
    now, behind = standing(config, seen, None) or {}, left.said_of(config, known)
    refused_now = now.get(WEIGHTED) == REFUSED and WEIGHTED not in known
    if known.get(SORRY_PAGE) == now.get(SORRY_PAGE):
        if behind:
            return left.mail(config, [*behind, REPLACED] if refused_now else behind)
        return replace_mode(config, Words("", "")) if refused_now else None
    is_on = SORRY_PAGE in now
    ports = ", ".join(f"{each.protocol}:{each.port} {each.arn}" for each in seen.switches.listeners)
    said = (
        Words("the listeners forward to the sorry page", "リスナーは sorry ページに転送しています")
        if is_on
        else Words("the listeners forward to the primary again", "リスナーは再びプライマリに転送しています")
    )
    lines = [Words(f"Found: {said.en}: {ports}.", f"確認した状態: {said.ja}: {ports}"), *behind, *probed(config)]
    if refused_now:
        lines.append(REPLACED)
    return notify.mail(
        config,
        f"sorry page {'ON' if is_on else 'OFF'}, found by the periodic check",
        happened=notify.lines(lines),
        why=Words(
            "Not made by this run: an earlier run ended before it could tell you, or somebody else changed the "
            "listeners, a stack update for example.",
            "この実行による変更ではありません。前回の実行が通知前に終了したか、"
            "スタックの更新など別の操作でリスナーが変更されました。",
        ),
        check=Words(
            "The site itself, from outside, and CloudTrail for ModifyListener on these listeners.",
            "外部からサイトの表示を確認し、CloudTrail でこれらのリスナーへの ModifyListener を確認してください。",
        ),
    )
