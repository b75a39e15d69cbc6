"""Pure plans of priorities: the maintenance rule to the front, and every rule back to where it was."""

import itertools
from collections.abc import Mapping

from kirikae.maintenance.rules import LAST, OURS, RULES_PER_TAG, TAGS, Memory
from kirikae.maintenance.world import Config, GoLive, Park
from kirikae.notify import Words


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


def back(config: Config, priorities: Mapping[str, int], memory: Memory) -> Park:
    """Plan the moves that park our rules at their homes and give those that made room their numbers back.

    A rule that others moved meanwhile, or whose number they took, stays where it is. If a home is taken, a rule of the
    user's own, which goes on matching, gets the next free number behind it, so that it hides nothing of who took it.
    The stack's, which match nothing, get the next one before it, as long as that is not live: the last are for others.
    """
    homes = config.homes
    final, notes = _restored(priorities, memory, set(homes))
    for rule_id, home in homes.items():
        if rule_id in priorities:
            below, above = range(home - 1, max(config.places.values()), -1), range(home + 1, LAST + 1)
            rest = (below, above) if rule_id in config.live else (above, below)
            taken = set(final.values())
            final[rule_id] = next(number for number in itertools.chain([home], *rest) if number not in taken)
            if final[rule_id] != home:
                behind = [other for other, number in final.items() if number > final[rule_id] and other not in homes]
                notes.append(
                    Words(
                        f"priority {home} is taken, so rule {rule_id} is parked at {final[rule_id]}; "
                        f"behind it, where it may take their requests: {', '.join(behind) or 'no rule'}",
                        f"優先度 {home} は使用中のため、ルール {rule_id} を {final[rule_id]} に戻しました。"
                        f"これより後ろにあり、リクエストが届かない可能性のあるルール: {', '.join(behind) or 'なし'}",
                    )
                )
    return Park(_moves(priorities, final), tuple(notes))


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
