"""What people should know of an address pair, and the mail for whoever finds it otherwise than they know."""

from kirikae import notify
from kirikae.decision import Result
from kirikae.notify import Mail, Words
from kirikae.pair.move import Done
from kirikae.pair.plan import places
from kirikae.pair.world import Config, Move, Observed
from kirikae.told import State

NOWHERE = "nowhere"


def standing(config: Config, seen: Observed, result: Result[Move, Done] | None) -> State | None:
    """Return what is on which interface, interface -> names; None while the parameters cannot be right."""
    if not seen.instances:
        return None
    here = places(config, seen)
    if result:
        here |= dict.fromkeys([*result.done.moved, *result.done.unseen], result.change.to)
    found: dict[str, list[str]] = {}
    for name, place in here.items():
        found.setdefault(place or NOWHERE, []).append(name.replace(" ", "_"))
    return {place: " ".join(sorted(names)) for place, names in found.items()}


def found(config: Config, seen: Observed, known: State) -> Mail | None:
    """Return the mail about addresses that are not where people were told they are; none if they were told nothing."""
    was = {name: place for place, names in known.items() for name in names.split()}
    now = {name.replace(" ", "_"): place or NOWHERE for name, place in places(config, seen).items()}
    moved = {name: place for name, place in now.items() if was.get(name, place) != place}
    if not moved:
        return None
    return notify.mail(
        config,
        "addresses are on another interface, found by the periodic check",
        happened=notify.lines(
            [Words("Found:", "確認した状態:")]
            + [Words(f"  {name.replace('_', ' ')}: {was[name]} -> {place}") for name, place in moved.items()]
        ),
        why=Words(
            "Not made by this run: an earlier run ended before it could tell you, or somebody else moved them.",
            "この実行による変更ではありません。前回の実行が通知前に終了したか、別の操作で移動されました。",
        ),
        check=Words(
            "The service itself, from a client, and CloudTrail for the interfaces.",
            "クライアントからサービスを確認し、CloudTrail でこれらのインターフェイスへの操作を確認してください。",
        ),
    )
