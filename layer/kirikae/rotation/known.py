"""What is out, and how that is known: from the executions themselves and from what operations by hand remembered.

A tag is believed only as far as one of the two bears it out; any other is named and passed over.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import cast

from kirikae import clock, elb
from kirikae.clock import moment
from kirikae.rotation import claims, deleted, executions, memory
from kirikae.rotation.claims import Claim
from kirikae.rotation.executions import Execution
from kirikae.rotation.stored import Memory
from kirikae.rotation.world import Config, Health, Member, Rotation

_SETTLED = timedelta(seconds=claims.CLAIM_SECONDS)  # by then no task of an execution that has ended is under way


@dataclass(frozen=True)
class Taken:
    """A target that is out, or on its way; execution: who has it, None for an operation by hand."""

    member: Member  # as it was registered
    by: str  # how its claims are signed
    at: datetime
    left: bool = True  # it has left its groups, as far as who took it has noted; False: it may have
    execution: Execution | None = None
    document: Rotation = field(default_factory=Rotation)  # what the execution handed on last

    @property
    def ended(self) -> bool:
        """Tell whether nobody will bring it back who has not been asked to."""
        return self.execution is not None and self.execution.stopped is not None


@dataclass(frozen=True)
class Known:
    """All of it: by target id; foreign are claims of other stacks, doubts say why a tag is not believed, by its key."""

    taken: Mapping[str, Taken] = field(default_factory=dict)
    foreign: Mapping[str, Claim] = field(default_factory=dict)
    doubts: Mapping[str, str] = field(default_factory=dict)
    over: frozenset[str] = frozenset()  # executions in the memory that have ended, and long enough ago
    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by group, read after `seen`
    hidden: tuple[Taken, ...] = ()  # what an ended execution has out of other groups than who took the target last
    elsewhere: tuple[Taken, ...] = ()  # what is out of groups that were not seen

    def tagged(self, group: str, target: str) -> bool:
        """Tell whether a tag on the group says that the target is out."""
        return claims.TAG + target in self.tags.get(group, {})

    def told(self, member: Member) -> bool:
        """Tell whether a tag on any of its groups says that the target is out."""
        return any(self.tagged(place["group"], member["id"]) for place in member["places"])


def known(config: Config, seen: Health, remembered: Memory) -> Known:
    """Read what is out of the groups whose health was seen before."""
    tags, now = elb.tags(seen), clock.now()
    signed = list(_signed(config, tags))
    names = {claims.owner(name): name for name in remembered.executions}
    told = {by for _, _, by in signed if executions.is_name(by) and not by.startswith(claims.HAND)}
    names |= {by: by for by in told - names.keys()}
    found = {name: executions.described(executions.arn(config, name)) for name in names.values()}
    taken = [
        Taken(Member(id=target, places=list(claim.places), scaling_group=""), claim.by, claim.at)
        for target, claim in remembered.by_hand.items()
    ]
    for name, execution in found.items():
        if execution:
            claimed = {target: claim for target, claim, by in signed if by == claims.owner(name)}
            back = remembered.returned.get(name, frozenset())
            taken += [one for one in _of_execution(config, name, execution, claimed) if one.member["id"] not in back]
    ordered = sorted(taken, key=lambda one: one.at)
    latest = _draining(signed, seen) | {one.member["id"]: one for one in ordered}
    here = {target: _within(one, seen) for target, one in latest.items()}
    hidden = list(_hidden(ordered, latest))
    return Known(
        taken={target: one for target, one in here.items() if one.member["places"]},
        foreign=_foreign(signed),
        doubts=claims.unreadable(tags) | dict(_doubts(config, signed, latest, now)),
        over=frozenset(n for n in remembered.executions if settled(found[n], now)),
        tags=tags,
        hidden=tuple(_within(one, seen) for one in hidden if _within(one, seen).member["places"]),
        elsewhere=tuple(_beyond((*latest.values(), *hidden), seen)),
    )


def others(config: Config, out: Iterable[Member], by: str, seen: Health) -> dict[str, Claim]:
    """Return what others have taken of what an execution holds for out, by target id: it may have been redriven since.

    A tag alone does not say so: it has to be borne out, or be that of another stack.
    """
    ids = {member["id"] for member in out}
    signed = {target for target, claim in claims.each(elb.tags(seen)) if target in ids and claim.by != by}
    found = known(config, seen, memory.read_if_possible(config) or Memory()) if signed else Known()
    taken = {
        target: Claim(one.at, one.by, tuple(one.member["places"]))
        for target, one in found.taken.items()
        if target in signed and one.by != by
    }
    return taken | {target: claim for target, claim in found.foreign.items() if target in signed}


def _signed(config: Config, tags: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, Claim, str]]:
    """Yield target id, claim and who signed it in this stack, "" for another one."""
    yield from ((target, claim, claims.signed(config, claim)) for target, claim in claims.each(tags))


def _foreign(signed: Iterable[tuple[str, Claim, str]]) -> dict[str, Claim]:
    """Return what other stacks have claimed, by target id, each with the places of all groups."""
    found = dict[str, Claim]()
    for target, claim, by in signed:
        if not by:
            so_far = found[target].places if target in found else ()
            found[target] = replace(claim, places=so_far + claim.places)
    return found


def _of_execution(config: Config, name: str, execution: Execution, claimed: Mapping[str, Claim]) -> list[Taken]:
    """Return what an execution has out: what its document says, and of its queue what it has claimed since."""
    documents, by = executions.documents(executions.arn(config, name)), claims.mark(config, name)
    if documents is None:  # its claims must do, or what it has left out stays out
        held = {target: Member(id=target, places=list(c.places), scaling_group="") for target, c in claimed.items()}
        return [Taken(held[target], by, claim.at, True, execution) for target, claim in claimed.items()]
    state = next((cast("Rotation", found) for found in documents if "out" in found and "queue" in found), None)
    if state is None:
        return []
    out = [Taken(member, by, moment(member["out_at"]), True, execution, state) for member in state["out"]]
    queue = [member for member in state["queue"] if member["id"] in claimed]
    return [Taken(member, by, claimed[member["id"]].at, False, execution, state) for member in queue] + out


def _hidden(ordered: Iterable[Taken], latest: Mapping[str, Taken]) -> Iterator[Taken]:
    """Yield what ended executions have out of places from which nobody has taken the target since."""
    others = {target: list(one.member["places"]) for target, one in latest.items()}
    for one in reversed([one for one in ordered if latest[one.member["id"]] is not one]):
        later = others[one.member["id"]]
        places = [place for place in one.member["places"] if place not in later]
        later += places
        if one.ended and places:
            yield replace(one, member={**one.member, "places": places})


def _within(taken: Taken, seen: Health) -> Taken:
    """Return it without places in other groups, in such as the stack's parameters no longer name, or were deleted."""
    return replace(taken, member=deleted.within(taken.member, seen))


def _beyond(out: Iterable[Taken], seen: Health) -> Iterator[Taken]:
    """Yield what is out of other groups than those that were seen, with its places there only."""
    for taken in out:
        if places := [place for place in taken.member["places"] if place["group"] not in seen]:
            yield replace(taken, member={**taken.member, "places": places})


def _draining(signed: Iterable[tuple[str, Claim, str]], seen: Health) -> dict[str, Taken]:
    """Return what was taken out by hand, as far as health still shows that it was registered where its tag says."""
    found = {}
    for target, claim, by in signed:
        still = {(group, t.port) for group, ts in seen.items() for t in ts if t.id == target and t.state == "draining"}
        places = [place for place in claim.places if (place["group"], place["port"]) in still]
        if by.startswith(claims.HAND) and places:
            found[target] = Taken(Member(id=target, places=places, scaling_group=""), claim.by, claim.at)
    return found


def _doubts(
    config: Config, signed: Iterable[tuple[str, Claim, str]], taken: Mapping[str, Taken], now: datetime
) -> Iterator[tuple[str, str]]:
    """Yield the tags that nothing bears out; a young one is not judged, its execution may not show yet."""
    for target, claim, by in signed:
        borne_out = target in taken and (
            taken[target].by == claims.mark(config, by)
            or (by.startswith(claims.HAND) and taken[target].by.partition(":")[2].startswith(claims.HAND))
        )
        if by and not borne_out and abs(now - claim.at) >= _SETTLED:
            why = f"no execution and no operation by hand of this stack bears out that {claim.by} took {target} out"
            yield claims.TAG + target, why


def settled(execution: Execution | None, now: datetime) -> bool:
    """Tell whether an execution has ended and none of its tasks is under way any more."""
    return execution is not None and execution.stopped is not None and now - execution.stopped >= _SETTLED
