"""Our rules as they are seen: where they stand, which match nothing, and what a rule of the user's own would take."""

from collections.abc import Mapping

from kirikae.decision import Change
from kirikae.maintenance import rules
from kirikae.maintenance.priorities import back, behind, hidden_by, rooms
from kirikae.maintenance.rules import LAST
from kirikae.maintenance.world import Close, Config, GoLive, LeaveAlone, Observed, Park
from kirikae.notify import Words


def placed(config: Config, seen: Observed) -> bool:
    """Tell whether the maintenance rule has the priority that belongs to an open window."""
    return seen.order.priorities[config.rule] == config.places[config.rule]


def shown(config: Config, seen: Observed) -> bool:
    """Tell whether visitors may have the page: the rule is not closed, nor still where a lost start found it."""
    if config.rule in seen.order.nothing:
        return False
    return placed(config, seen) or seen.memory.state != "moving"


def to_open(config: Config, seen: Observed) -> tuple[str, ...]:
    """Return the rules that the stack made and that match nothing, or the testers of before; the page's last."""
    clients = frozenset(config.maintenance_bypass_cidrs)
    again = {config.rule} if seen.started and changed(config, seen) else set[str]()
    there = seen.order.priorities.keys() & config.live.keys() - {config.rule}
    others = {rule for rule in there if seen.order.addresses.get(rule) != clients}
    return tuple(rule for rule in config.live if rule in seen.order.nothing | again | others)


def changed(config: Config, seen: Observed) -> bool:
    """Tell whether others made something else of the rule that the stack made: no visitor, or not all, get the page."""
    if config.rule not in config.live or config.rule in seen.order.nothing:
        return False
    group = config.maintenance_target_group_arn
    return config.rule not in seen.order.everything or seen.order.groups.get(config.rule, group) != group


def testers_behind(config: Config, seen: Observed) -> bool:
    """Tell whether somebody put the testers' rule behind the page, which they get then."""
    numbers = seen.order.priorities
    return any(numbers[rule] > numbers[config.rule] for rule in config.ours if rule in numbers)


def to_close(config: Config, seen: Observed) -> tuple[str, ...]:
    """Return the rules that the stack made and that match something, the page's first."""
    return tuple(rule for rule in reversed(config.live) if rule in seen.order.priorities.keys() - seen.order.nothing)


def for_testers(config: Config, change: GoLive) -> bool:
    """Tell whether a change only lets testers past a page that is on already."""
    return bool(change.opens or change.priorities) and config.rule not in {*change.opens, *change.priorities}


def left_there(config: Config, seen: Observed) -> bool:
    """Tell whether the maintenance rule has the number that we gave it, which an update may have made another one."""
    return seen.order.priorities[config.rule] == (seen.memory.place or config.live_priority)


def known_before(config: Config, seen: Observed, change: Change) -> bool:
    """Tell whether visitors had before a change what they have after it: then it is news to who was not told yet."""
    match change:
        case GoLive():
            there = placed(config, seen) or (left_there(config, seen) and seen.memory.state == "live")
            return there and seen.memory.state in rules.OURS and config.rule not in change.opens
        case Park():
            return not change.priorities and not change.closes
    return isinstance(change, LeaveAlone)


def unasked(seen: Observed, change: Change) -> bool:
    """Tell whether a change takes back what no window had asked for, so that people know of no beginning of it."""
    closes = isinstance(change, Park) and bool(change.closes) and seen.memory.state not in rules.OURS
    return closes or isinstance(change, Close)


def taken_over(config: Config, seen: Observed) -> Words | None:
    """Return what others did to the maintenance rule in a window, to be left so; None if nothing, or after a start."""
    if seen.started:
        return None
    number = seen.order.priorities[config.rule]
    if not placed(config, seen):
        moved = Words(
            f"others moved the maintenance rule to {number}",
            f"メンテナンスルールの優先度が kirikae 以外により {number} に変更されました",
        )
        return moved if _moved_by_others(config, seen) else None
    if seen.memory.state in ("live", "left") and changed(config, seen):
        return Words(
            "others changed what the maintenance rule asks for, or where it sends requests",
            "メンテナンスルールの条件またはアクションが kirikae 以外により変更されました",
        )
    return None


def _moved_by_others(config: Config, seen: Observed) -> bool:
    """Tell a person's move of the maintenance rule from one of the stack or of our own, which are not left alone.

    CloudFormation closes a rule that it puts back. A rule of the user's own that stands where an end puts it, that of
    earlier windows, is one whose end could not be noted.
    """
    if seen.memory.state != "live":
        return seen.memory.state == "left"
    if config.rule in seen.order.nothing or left_there(config, seen):
        return False
    parked = back(config, seen.order, seen.memory)
    ended = config.rule not in parked.priorities and seen.stored.version > seen.memory.version
    return config.rule in config.live or not ended


def doubted(config: Config, seen: Observed) -> bool:
    """Tell whether the tags speak of a window where none was ever stored and the rule is not live either.

    Anybody who may tag can write them; what they say of the others' numbers would move these.
    """
    return seen.memory.state in rules.OURS and not seen.stored.version and not placed(config, seen)


def hides(config: Config, seen: Observed, number: int, moves: Mapping[str, int]) -> str:
    """Return what a rule of the user's own takes from others while it is parked at this number, after these moves."""
    if config.rule in config.live:
        return ""
    others = theirs(config, {**seen.order.priorities, **moves})
    hidden = hidden_by(seen.order, others, config.rule, number)
    return ", ".join(f"rule {rule} ({others[rule]})" if rule in others else rule for rule in hidden)


def theirs(config: Config, numbers: Mapping[str, int]) -> dict[str, int]:
    """Return the numbers of the rules that are not ours."""
    return {rule: number for rule, number in numbers.items() if rule not in config.ours}


def in_the_way(config: Config, seen: Observed, change: Park) -> str:
    """Return the rule of others that has our live number after an end and takes every request of rules behind it.

    So does a MaintenanceRuleArn of before that was live when the parameter was changed.
    """
    others = theirs(config, {**seen.order.priorities, **change.priorities})
    first = min(others, key=others.__getitem__, default="")
    live = others.get(first) in config.places.values() and first in seen.order.everything
    return first if live and len(others) > 1 else ""


def before(config: Config, seen: Observed, moves: Mapping[str, int]) -> list[str]:
    """Return the rules of others that come before the maintenance rule after these moves, the first one first."""
    numbers = {**seen.order.priorities, **moves}
    others = [rule for rule in numbers if rule not in config.ours and rule not in seen.order.nothing]
    return sorted((rule for rule in others if numbers[rule] < numbers[config.rule]), key=numbers.__getitem__)


def harm(config: Config, seen: Observed) -> str:
    """Return what a rule of the user's own would do to visitors while it is parked, nothing if it does none.

    Or does to them by now, where the last end, or a person, has put it: the end of a new window puts it elsewhere.
    """
    stands, others = seen.order.priorities[config.rule], theirs(config, seen.order.priorities)
    number, better = next(rooms(config, others, config.rule)), ""
    hidden = hides(config, seen, number, {})
    if not hidden and seen.memory.state == "parked" and not seen.stored.open(seen.now):
        hidden, better = hides(config, seen, stands, {}), f"it at {number}, so move it there"
        number = stands
    if not hidden:
        return ""
    if not better and (last := behind(config, seen.order, others)) < LAST and not hides(config, seen, last, {}):
        better = f"ParkedPriority {last}, where it takes nothing"
    taken = f" ({config.parked_priority} is taken)" if config.parked_priority in others.values() else ""
    does = f"it stands at {number} and takes" if number == stands else f"parked at {number}{taken} it would take"
    return (
        f"MaintenanceRuleArn: rule {config.rule} keeps its conditions and goes on taking requests; {does} those meant "
        f"for {hidden}. Expected {better or 'one for less, which rules before it take anyway'}, or none: the stack's "
        f"own rule takes nothing. It is made at ParkedPriority, so let no rule of yours stand there"
    )


def untouched(config: Config, seen: Observed) -> str:
    """Return why a rule of the user's own that stands at the live priority is not parked, nothing if it is to be.

    No memory says that kirikae has put it there, and taking it away would change what visitors get.
    """
    if config.rule in config.live or seen.memory.state in rules.OURS:
        return ""
    return (
        f"MaintenanceRuleArn: rule {config.rule} stands at the live priority {config.places[config.rule]}, and it was "
        f"not kirikae that put it there; start a window, whose end parks it, or park the rule by hand"
    )
