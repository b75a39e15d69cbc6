"""Look where everything declared is, move it, and look until it has arrived."""

import time
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import patience, told
from kirikae.decision import Made
from kirikae.errors import TimeUpError, UnfinishedError
from kirikae.notify import Words
from kirikae.pair import refusals, writes
from kirikae.pair.look import has_arrived, look
from kirikae.pair.plan import Plan, places, plan, unread
from kirikae.pair.world import Config, Move, Observed, is_ipv4, is_ipv6, is_route, told_of

# Half of the functions' timeout: a last write that hangs takes 20, and then it is looked at and told.
WRITING_SECONDS = 30
_BY_OTHERS = Words("everything is there by now: another run moved it, or somebody else")

type Write = tuple[list[str], Callable[[], None]]  # the names of what it moves, and the call


@dataclass(frozen=True, kw_only=True)
class Done(Made):
    """What was seen on the interface afterwards, and where it was before; what was not seen there or refused, and why.

    `unseen` is, or may be, written; `refused` certainly did not arrive.  `earlier` had arrived before, and nobody told
    it: a run died in the middle of the move, perhaps.
    """

    change: Move | None = None  # the move if anything came of it, by this run or by one before it
    reason: Words = _BY_OTHERS
    moved: Mapping[str, str] = field(default_factory=dict)
    unseen: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    earlier: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, str] = field(default_factory=dict)  # what people knew of where things were, and of what was odd


def move(config: Config, seen: Observed, change: Move) -> Done:
    """Look again, move what still has to move, and look until it has arrived.

    Everything is attempted.  Raises UnfinishedError that names what did not arrive; the next run finishes it.
    """
    now = look(config, seen)  # since the decision, somebody else may have acted
    due = _due(config, now, change)
    cuts = refusals.remembered(config, now, due.moves)
    tried = {name: place for name, place in due.moves.items() if name not in cuts.waiting}
    problems = _attempt(config, now, change, replace(due, moves=tried))
    refused = {name for name in tried if writes.refused(problems.get(name) or problems.get(_carrier(now, name)))}
    refused |= cuts.waiting.keys()
    last = patience.until(lambda: look(config, seen), lambda shown: _missing(config, shown, due) <= refused)
    missing = _missing(config, last, due) if last else set(due.moves)
    open_ = {name for name in due.moves if last is None or unread(last, name)}
    asked = dict.fromkeys(due.moves, f"EC2 accepted it, but it was not seen on {due.to}")
    asked |= dict.fromkeys(open_, "written, not yet seen: EC2 could not be asked")
    said = {name: cuts.waiting.get(name) or _why(now, name, problems) or asked[name] for name in due.moves}
    said |= {name: said[name] + refusals.later() for name in cuts.names & refused - cuts.waiting.keys()}
    why = {name: text for name, text in said.items() if name in missing}
    done = _done(config, now, change, due, why, refused)
    if missing or now.unread:
        named = "; ".join(f"{name}: {text}" for name, text in why.items())
        news = refusals.remember(config, cuts, refused) or _changed(done, problems.keys() - open_, problems)
        text = f"{len(missing)} of {len(due.moves)} did not arrive on {due.to}: {named}" if missing else ""
        again = Done(refused=done.refused, lasts=True)
        raise UnfinishedError("; ".join(filter(None, [text, *now.unread.values()])), done if news else again)
    return done


def _done(config: Config, now: Observed, change: Move, due: Plan, why: Mapping[str, str], refused: set[str]) -> Done:
    """Return what came of it; `why` names what did not arrive."""
    note = told.read(config.told_parameter)
    earlier = _earlier(config, now, change, note.known if note else {})
    moved = {name: place for name, place in due.moves.items() if name not in why}
    has_arrived(moved, change.to)
    unseen = {name: text for name, text in why.items() if name not in refused}
    return Done(
        change=change if moved or unseen or earlier else None,
        moved=moved,
        unseen=unseen,
        refused={name: text for name, text in why.items() if name in refused},
        earlier=earlier,
        known=note.known if note else {},
    )


def _earlier(config: Config, now: Observed, change: Move, known: told.State) -> dict[str, str]:
    """Return what was there before this move, and where it was when people were told of it last."""
    here = places(config, now)
    known = told_of(known, here)
    return {
        name: known[name]
        for name, place in here.items()
        if place == change.to != known.get(name, place) and name not in change.sources
    }


def _changed(done: Done, settled: Set[str], problems: Mapping[str, Exception]) -> bool:
    """Tell whether anything was, or may have been, written that nobody tells later.

    An error alone is no change; but an address that was taken from its holder is, and so is whatever was written and
    cannot be looked at.
    """
    return bool(done.moved or done.unseen.keys() - settled) or any(
        isinstance(error, UnfinishedError) for error in problems.values()
    )


def _due(config: Config, now: Observed, change: Move) -> Plan:
    """Return what of the change is still to be moved."""
    due = plan(config, now)
    moves = {name: place for name, place in due.moves.items() if name in change.sources and due.to == change.to}
    return replace(due, to=change.to, moves=moves)


def _attempt(config: Config, now: Observed, change: Move, due: Plan) -> dict[str, Exception]:
    """Make every write that is begun in time; return what went wrong, by name.

    If EC2 refuses one of several addresses, whether it has moved the others is not said anywhere: look, and move those
    that are left one by one, so that what can move moves.
    """
    until = time.monotonic() + WRITING_SECONDS
    made = [(names, _problem(write, until)) for names, write in _writes(now, due)]
    problems = {name: problem for names, problem in made if problem for name in names}
    together = {name for names, problem in made if len(names) > 1 and writes.answered(problem) for name in names}
    if not together or time.monotonic() > until:
        return problems
    with suppress(ClientError, BotoCoreError):  # else by what was seen before: to assign what has arrived does no harm
        due = _due(config, look(config, now), change)
    left = {name: place for name, place in due.moves.items() if name in together}
    again = [(names, _problem(write, until)) for names, write in _writes(now, replace(due, moves=left), apart=True)]
    problems = {name: problem for name, problem in problems.items() if name not in together}
    return problems | {name: problem for names, problem in again if problem for name in names}


def _problem(write: Callable[[], None], until: float) -> Exception | None:
    """Make a write unless it is too late for one; return what went wrong."""
    if time.monotonic() > until:
        return TimeUpError("not tried, the run's time is up; the next run goes on")
    try:
        write()
    except (ClientError, BotoCoreError, UnfinishedError) as error:  # the rest is attempted first, then it is raised
        return error
    return None


def _writes(seen: Observed, due: Plan, *, apart: bool = False) -> Iterator[Write]:
    """Yield each write: IPv4 in one, IPv6 by source, unless every address is to move apart; the others one by one."""
    ipv4, ipv6 = list(filter(is_ipv4, due.moves)), list(filter(is_ipv6, due.moves))
    for names in [[name] for name in ipv4] if apart else [ipv4] * bool(ipv4):
        yield names, partial(writes.assign, due.to, names)
    for source in sorted({due.moves[name] for name in ipv6}):
        of_source = [name for name in ipv6 if due.moves[name] == source]
        for names in [[name] for name in of_source] if apart else [of_source]:
            yield names, partial(writes.move_ipv6, due.to, names, source)
    for allocation, private_ip in due.landings.items():
        if allocation in due.moves and seen.elastic[allocation].private_ip not in ipv4:  # those go with their address
            yield [allocation], partial(writes.associate, allocation, due.to, private_ip)
    for name in filter(is_route, due.moves):
        table, cidr = name.split()
        yield [name], partial(writes.replace_route, table, cidr, due.to)


def _carrier(seen: Observed, name: str) -> str:
    """Return the private address that an Elastic IP goes with, nothing for other names."""
    return seen.elastic[name].private_ip if name in seen.elastic else ""


def _missing(config: Config, shown: Observed, due: Plan) -> set[str]:
    """Return what has not arrived."""
    here = places(config, shown)
    return {name for name in due.moves if here.get(name) != due.to}


def _why(seen: Observed, name: str, problems: Mapping[str, Exception]) -> str:
    """Return why something did not arrive, in EC2's words if it has said any."""
    if name in problems:
        return str(problems[name])
    carrier = _carrier(seen, name)
    return f"goes with {carrier}, which did not move" if carrier in problems else ""
