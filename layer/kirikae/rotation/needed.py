"""Outages while targets are out for their maintenance: who is out is needed then, and people are told so, once."""

from collections.abc import Iterator

from kirikae import elb
from kirikae.rotation import guard, leftovers, restoration, telling, terms
from kirikae.rotation.known import Known, Taken
from kirikae.rotation.world import Config, Health, by_group


def tell(config: Config, found: Known, seen: Health) -> None:
    """Mail which targets are out of groups that have too few healthy ones; once for each outage.

    Nothing puts them back: somebody may be at work on them.
    """
    out = {one.member["id"]: one for one in _maintained(found, seen)}
    shorts = {target: short for target, one in out.items() if (short := _short(config, one, seen))}
    if out and not shorts:
        telling.over(config, "needed")
    if shorts:
        those = {target: out[target] for target in shorts}
        telling.once(config, "needed", restoration.listed(those), leftovers.needed(config, those, shorts))


def _maintained(found: Known, seen: Health) -> Iterator[Taken]:
    """Yield what is out and drained; before its hook, an execution puts back by itself what is needed."""
    for one in found.taken.values():
        states = [guard.state_of(one.member, place, seen) for place in one.member["places"]]
        begun = one.left and not one.ended and one.document.get("phase", "hook") in ("hook", "back")
        if begun and "" in states and "draining" not in states:
            yield one


def _short(config: Config, one: Taken, seen: Health) -> str:
    """Return which group has too few healthy targets without one that is out, or "".

    A zone counts where the execution's document says so: whoever takes a target out by hand may have passed that.
    """
    state = one.document
    asked = terms.read(
        elb.target_groups(by_group(one.member["places"])),
        seen,
        config.least,
        ids=[one.member["id"]],
        unused=state.get("unused", ()),
        empty_zones=state.get("empty_zones", False) if state else True,
    )
    return guard.shortfall(one.member, seen, asked)
