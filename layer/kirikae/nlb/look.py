"""Where the listeners point, and what is needed to know that they are ours to change."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import elb, env, listeners
from kirikae.errors import InputError
from kirikae.listeners import Listener
from kirikae.nlb.parameters import static_problems
from kirikae.nlb.world import Config, Side, Switches, serving, used

REFUSED_TAG = "kirikae:weighted"  # on a listener, value `refused`: AWS did not take both groups in one action


@contextmanager
def later(missed: list[Exception]) -> Iterator[None]:
    """Keep what a read raises that a due switch can do without; where none is due, the caller raises it after all."""
    try:
        yield
    except (ClientError, BotoCoreError, InputError) as error:
        missed.append(error)


def look(config: Config, missed: list[Exception], *, guess_mode: bool = False) -> Switches:
    """Read the listeners, and what is needed to know that they are ours to change.

    What only lets us refuse earlier than AWS would goes to `missed` if it fails; so does the mode, for who may
    `guess_mode`.  For others it is that of the evidence that there is.
    """
    if any(static_problems(config)):
        return Switches((), (), config.switch_mode, {})
    with env.naming("NlbListenerArns", ", ".join(config.nlb_listener_arns)):
        found = listeners.there(config.nlb_listener_arns)
    ruled, gone = list[str](), {*config.nlb_listener_arns} - {listener.arn for listener in found}
    for listener in found:
        with later(missed):  # a listener's rules are not touched by a switch of its default action
            ruled += [listener.arn] if any(rule.priority for rule in listeners.rules(listener.arn)) else []
    seen = Switches(found, tuple(ruled), config.switch_mode, {}, gone=tuple(sorted(gone)))
    if plain := [listener for listener in found if len(listener.weights) < 2]:
        with later(missed):
            elsewhere, albs = _groups(config, seen, plain)
            seen = replace(seen, elsewhere=elsewhere, alb_groups=albs)
        before, alone = len(missed), not guess_mode and _alone(config, found)
        with later(missed) if guess_mode or alone else nullcontext():
            seen = replace(seen, mode=_mode(config, plain))
        if alone and seen.mode == "weighted":
            return replace(seen, mode="replace", guessed=True)
        seen = replace(seen, guessed=len(missed) > before)
    return seen


def _alone(config: Config, found: Iterable[Listener]) -> bool:
    """Tell whether a listener is on the sorry page and its primary group in no listener, so that no health tells of it.

    So where AWS refused both groups and the tag could not be written: the way back then is that of replace mode.
    """
    attached = {group for listener in found for group in listener.weights}
    return any(
        serving(config, listener) == "sorry" and config.group("primary", listener.arn) not in attached
        for listener in found
    )


def _mode(config: Config, plain: Iterable[Listener]) -> str:
    """Return the mode in force: replace also where AWS once refused both groups in one action."""
    tags = elb.tags(listener.arn for listener in plain).values() if config.switch_mode == "weighted" else ()
    return "replace" if any(of.get(REFUSED_TAG) == "refused" for of in tags) else config.switch_mode


def _groups(config: Config, seen: Switches, plain: Iterable[Listener]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return which of the groups another load balancer uses (a group belongs to one), and which have an ALB."""
    arns = tuple(dict.fromkeys(used(config, seen, "primary") + used(config, seen, "sorry")))
    with env.naming(f"{config.names('primary')}, {config.names('sorry')}", ", ".join(arns)):
        found = elb.target_groups(arns)
    own = {listener.load_balancer_arn for listener in plain}
    elsewhere = {group.arn: user for group in found for user in group.load_balancer_arns if user not in own}
    return elsewhere, tuple(group.arn for group in found if group.target_type == "alb")


def due(config: Config, seen: Switches, side: Side) -> tuple[str, ...]:
    """Return the listeners that do not serve `side` yet."""
    return tuple(listener.arn for listener in seen.listeners if serving(config, listener) != side)
