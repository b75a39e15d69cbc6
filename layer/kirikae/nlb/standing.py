"""What people should know of the NLB switch, and the mail for whoever finds it otherwise than they know."""

from typing import Any, Protocol

from kirikae import notify
from kirikae.decision import Result
from kirikae.nlb.switch import hands_off, serving
from kirikae.nlb.world import Config, Switch, Switches
from kirikae.notify import Mail, Words
from kirikae.told import State

SORRY_PAGE = "sorry page"


class Seen(Protocol):
    """What both directions observe."""

    @property
    def switches(self) -> Switches:
        """Where the listeners point."""


def standing(config: Config, seen: Seen, result: Result[Any, str] | None) -> State | None:
    """Return whether the sorry page is on: at rest it is not; None while listeners differ, or are not ours to judge."""
    if result:
        return _state(result.change.to) if isinstance(result.change, Switch) else None
    sides = {serving(config, listener) for listener in seen.switches.listeners}
    return None if len(sides) != 1 or hands_off(config, seen.switches) else _state(*sides)


def _state(side: str | None) -> State | None:
    return {"sorry": {SORRY_PAGE: "on"}, "primary": dict[str, str]()}.get(side or "")


def found(config: Config, seen: Seen, known: State) -> Mail:
    """Return the mail about a sorry page that is on, or off, and of which nobody was told."""
    is_on = SORRY_PAGE not in known
    ports = ", ".join(f"{each.protocol}:{each.port} {each.arn}" for each in seen.switches.listeners)
    said = (
        Words("the listeners forward to the sorry page", "リスナーは sorry ページに転送しています")
        if is_on
        else Words("the listeners forward to the primary again", "リスナーは再びプライマリに転送しています")
    )
    return notify.mail(
        config,
        f"sorry page {'ON' if is_on else 'OFF'}, found by the periodic check",
        happened=Words(f"Found: {said.en}: {ports}.", f"確認した状態: {said.ja}: {ports}"),
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
