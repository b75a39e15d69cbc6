"""Pure plans of priorities: the maintenance rule to the front, and every rule back to where it was."""

import itertools
from collections.abc import Iterator, Mapping

from kirikae.maintenance.conditions import covers, meets, parts
from kirikae.maintenance.rules import LAST, OURS, RULES_PER_TAG, TAGS, Memory, Order
from kirikae.maintenance.world import Config, GoLive, Park
from kirikae.notify import Words

DEFAULT = "the default action"


def front(priorities: Mapping[str, int], memory: Memory, places: Mapping[str, int]) -> GoLive | None:
    """Plan the moves that put our rules at their live priorities; None if there is no room.

    `places` gives our rules consecutive priorities. Rules in the way move down by the least that works, and so do
    those that these meet, until there is a gap: the order of the others stays the same. A move that an earlier run left
    half remembered starts from the order before that run.
    """
    others, _ = _restored(priorities, memory, set(places))
    room, free = dict(others), max(places.values()) + 1
    for rule_id, number in sorted(others.items(), key=lambda item: item[1]):
        if number < min(places.values()):
            continue
        if number >= free:
            break
        room[rule_id] = free
        free += 1
    if free - 1 > LAST or len(others) > RULES_PER_TAG * TAGS:
        return None
    numbers = {rule_id: (number, room[rule_id]) for rule_id, number in others.items()}
    return GoLive(_moves(priorities, {**room, **places}), numbers)


def back(config: Config, order: Order, memory: Memory) -> Park:
    """Plan the moves that park our rules at their homes and give those that made room their numbers back.

    A rule that others moved meanwhile, or whose number they took, stays where it is. A rule of the user's own, which
    goes on matching, is parked behind what it would hide at its home.
    """
    priorities, homes = order.priorities, config.homes
    final, notes = _restored(priorities, memory, set(homes))
    for rule_id, home in homes.items():
        if rule_id in priorities:
            number = next(rooms(config, final, rule_id)) if rule_id in config.live else behind(config, order, final)
            if number != home:
                en, ja = "would take requests of other rules", "では他のルールへのリクエストを受け取る"
                if home in final.values():
                    en, ja = "is taken", "は使用中の"
                notes.append(
                    Words(
                        f"priority {home} {en}, so rule {rule_id} is parked at {number}",
                        f"優先度 {home} {ja}ため、ルール {rule_id} を {number} に戻しました",
                    )
                )
            final[rule_id] = number
    return Park(_moves(priorities, final), tuple(notes))


def rooms(config: Config, others: Mapping[str, int], rule_id: str) -> Iterator[int]:
    """Return the free numbers where a rule of ours can be parked, the best first.

    If its home is taken, a rule of the user's own comes behind it, so that it hides nothing of who took it. The
    stack's, which match nothing, come before it, as long as that is not live: the last numbers are for others.
    """
    home, taken = config.homes[rule_id], set(others.values())
    below, above = range(home - 1, max(config.places.values()), -1), range(home + 1, LAST + 1)
    rest = (below, above) if rule_id in config.live else (above, below)
    return (number for number in itertools.chain([home], *rest) if number not in taken)


def behind(config: Config, order: Order, others: Mapping[str, int]) -> int:
    """Return where a rule of the user's own is parked: behind the rules that it would hide, as far as numbers go."""
    number, taken = next(rooms(config, others, config.rule)), set(others.values())
    while hidden := [others[rule] for rule in hidden_by(order, others, config.rule, number) if rule in others]:
        after = next((free for free in range(min(hidden) + 1, LAST + 1) if free not in taken), 0)
        if not after:
            break
        number = after
    return number


def hidden_by(order: Order, others: Mapping[str, int], rule_id: str, number: int) -> list[str]:
    """Return which of the others a rule may take requests from if it stands at this number, and the default action.

    It takes what no single rule before it takes anyway. That the default action gets less does no harm if this is an
    error page.
    """
    if rule_id in order.nothing:
        return []
    first = sorted(others, key=others.__getitem__)
    before = [order.asks[rule] for rule in first if others[rule] < number]
    takes = [part for part in parts(order.asks[rule_id]) if not any(covers(asked, part) for asked in before)]
    rules = [rule for rule in first if others[rule] > number and rule not in order.nothing]
    hidden = [rule for rule in rules if any(meets(order.asks[rule], part) for part in takes)]
    return hidden + ([DEFAULT] if takes and order.default_action != "fixed-response" else [])


def _restored(priorities: Mapping[str, int], memory: Memory, ours: set[str]) -> tuple[dict[str, int], list[Words]]:
    """Return the others' numbers with our moves undone where that is still possible, and notes on the rest."""
    final = {rule_id: number for rule_id, number in priorities.items() if rule_id not in ours}
    if memory.state not in OURS:
        return final, []
    notes: list[Words] = []
    for rule_id, (before, given) in sorted(memory.numbers.items(), key=lambda item: item[1]):
        if obstacle := _obstacle(final, rule_id, before, given):
            notes.append(obstacle)
        else:
            final[rule_id] = before
    for rule_id in sorted(final.keys() - memory.numbers.keys()):
        notes.append(
            Words(
                f"rule {rule_id} was added by others at {final[rule_id]}: left there",
                f"ルール {rule_id} は他者により優先度 {final[rule_id]} に追加されました (変更していません)",
            )
        )
    return final, notes


def _obstacle(final: Mapping[str, int], rule_id: str, before: int, given: int) -> Words | None:
    """Return why a rule cannot have its earlier number back; None if it can."""
    if rule_id not in final:
        return Words(
            f"rule {rule_id}, which had priority {before}, was removed",
            f"優先度 {before} だったルール {rule_id} は削除されています",
        )
    now = final[rule_id]
    if now not in (before, given):
        return Words(
            f"rule {rule_id} was moved by others to {now} (it had {before}): left there",
            f"ルール {rule_id} は他者により {before} から {now} に変更されたため、そのままにしました",
        )
    if now != before and before in final.values():
        return Words(
            f"rule {rule_id} stays at {now}: its priority {before} was taken by others",
            f"ルール {rule_id} の元の優先度 {before} は使用中のため、{now} のままにしました",
        )
    return None


def _moves(priorities: Mapping[str, int], final: Mapping[str, int]) -> dict[str, int]:
    """Return the rules whose number changes, those that exist."""
    return {rule: number for rule, number in final.items() if priorities.get(rule, number) != number}
