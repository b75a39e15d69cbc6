"""Put an ALB listener into maintenance while a window is open: the maintenance rule goes before all others, and back.

A start or an end is a wish: it is stored in the maintenance parameter, and every run brings the rule to where the
stored windows want it. So a lost end costs nothing: its window is over at its `until`, and the next tick sees it.
While no window is open, the rules that the stack made match nothing, so that no priority decides what visitors get.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, assert_never

from kirikae import notify, patience, reconcile
from kirikae.decision import Decision, Made, Result
from kirikae.errors import UnfinishedError
from kirikae.events import Hint
from kirikae.log import logger
from kirikae.maintenance import missing, ours, rules, windows
from kirikae.maintenance.attempts import followed
from kirikae.maintenance.look import as_seen, patiently, reopened
from kirikae.maintenance.mail import closed, ended, left, started
from kirikae.maintenance.priorities import back, front
from kirikae.maintenance.rules import Memory
from kirikae.maintenance.standing import found, standing
from kirikae.maintenance.store import store_wish
from kirikae.maintenance.windows import Stored
from kirikae.maintenance.world import Close, Config, GoLive, LeaveAlone, Observed, Park
from kirikae.notify import Mail, Words
from kirikae.tell import Tells

type Changes = GoLive | Park | Close | LeaveAlone


def observe(config: Config, hint: Hint, newer: Stored | None = None) -> Observed:
    """Read the windows, unless these are newer, the listener's rules, and the memory in tags, until they agree."""
    return patiently(config, replace(hint, wish=newer or hint.wish), decide)


def decide(config: Config, seen: Observed) -> Decision[Changes]:
    """Make the rule live while a window is open, and park it when none is; what others have moved stays theirs."""
    return replace(_decided(config, seen), odd=missing.wrong(config, seen))


def _decided(config: Config, seen: Observed) -> Decision[Changes]:
    if seen.stored.problem:
        return Decision(Words(f"{config.maintenance_parameter}: {seen.stored.problem}"), refused=True, about="windows")
    if config.rule not in seen.order.priorities:
        waits = bool(seen.stored.open(seen.now))
        return Decision(missing.page(config, seen), refused=True, urgent=waits, about="no rule")
    return _in_maintenance(config, seen) if seen.stored.open(seen.now) else _out_of_maintenance(config, seen)


def _in_maintenance(config: Config, seen: Observed) -> Decision[Changes]:
    """Decide while a window is open."""
    said = windows.said(seen.stored.open(seen.now))
    lasting = ("MaintenanceWithoutEnd",) if windows.reminds(seen.stored, seen.now) else ()
    reason = Words(f"{seen.stored.note or 'windows are open'}: {said.en}", f"メンテナンス時間帯です: {said.ja}")
    if testers := missing.testers(config, seen):  # the page does not wait for them
        lasting, reason = (*lasting, "Refused"), notify.lines([reason, testers])
    if theirs := ours.taken_over(config, seen):
        en = f"{theirs.en}; left until the windows end or a new start: {said.en}"
        taken = Words(en, f"{theirs.ja}。時間帯: {said.ja}")
        return Decision(taken, LeaveAlone() if seen.memory.state == "live" else None, lasting=lasting)
    shut = ours.to_open(config, seen)
    settled = ours.placed(config, seen) and not shut and not ours.testers_behind(config, seen)
    if settled:
        if seen.memory.state in ("moving", "left"):
            return Decision(reason, GoLive({}), counts="MaintenanceStarted", lasting=lasting)  # visitors have the page
        if seen.memory.state == "live" or config.rule in config.live:
            return Decision(reason, lasting=lasting)
    if seen.memory.state not in rules.OURS and (harm := ours.harm(config, seen)):
        return Decision(Words(f"{harm}; windows: {said.en}"), refused=True, urgent=True, about="harm", lasting=lasting)
    change = front(seen.order.priorities, seen.memory, config.places)
    if change is None:
        room = f"no room at LivePriority {config.live_priority} among {len(seen.order.priorities)} rules"
        full = Words(f"{room}; windows: {said.en}")
        return Decision(full, refused=True, urgent=True, about="no room", lasting=lasting)
    if settled:
        reason = Words(
            f"the maintenance rule was there already, without its tag: the others keep their numbers; {reason.en}",
            f"メンテナンスルールは既にその位置にあり、元の順序の記録がないため、他のルールは変更しません。{reason.ja}",
        )
    if seen.memory.state == "live":
        en, ja = "the rules had been put back meanwhile", "ルールが元に戻されていました"
        if not ours.placed(config, seen) and ours.left_there(config, seen):
            en, ja = "the maintenance rule belongs elsewhere now", "メンテナンスルールの優先度が変更されました"
        reason = Words(
            f"{en}, as an update of the stack does; {reason.en}", f"スタックの更新などにより{ja}。{reason.ja}"
        )
    change = replace(change, opens=shut)
    counts, due = "" if ours.for_testers(config, change) else "MaintenanceStarted", bool(change.priorities or shut)
    return Decision(reason, change, urgent=due, counts=counts, lasting=lasting)


def _out_of_maintenance(config: Config, seen: Observed) -> Decision[Changes]:
    """Decide while no window is open."""
    note = f"{seen.stored.note}; " if seen.stored.note else ""
    closes = ours.to_close(config, seen)
    doubted = ours.doubted(config, seen)
    if doubted or (seen.memory.state not in rules.OURS and not ours.placed(config, seen)):
        if closes:
            en = f"{note}no window is open, but {', '.join(closes)} would take requests"
            ja = f"メンテナンス時間帯ではないのに、ルール {', '.join(closes)} がリクエストに一致する状態でした"
            return Decision(Words(en, ja), Close(closes), urgent=True)
        if doubted:
            en = f"the rule's tags say {seen.memory.state}, but no window was ever stored: no rule is moved"
            ja = "タグの記録に対応するメンテナンス時間帯がないため、ルールは移動しません"
            return Decision(Words(f"{note}{en}", ja), Park({}))
        testers = missing.testers(config, seen)
        problem = "; ".join(filter(None, [ours.harm(config, seen), testers.en if testers else ""]))
        idle = "no window is open and the maintenance rule is parked"
        return Decision(Words(f"{note}{problem or idle}"), refused=bool(problem), about="harm")
    if problem := ours.untouched(config, seen):
        return Decision(Words(f"{note}{problem}"), refused=True, about="untouched")
    over = windows.said(seen.stored.windows)
    reason = Words(
        f"{note}no window is open any more" + (f": {over.en}" if over.en else ""),
        "メンテナンス時間帯が終了しました" + (f": {over.ja}" if over.ja else ""),
    )
    change = replace(back(config, seen.order, seen.memory), closes=closes)
    lasting = ("MaintenanceWithoutEnd",) if config.dry_run else ()  # which leaves the page on
    page = ours.shown(config, seen)
    return Decision(reason, change, urgent=page, unseen=not page, counts="MaintenanceEnded", lasting=lasting)


@as_seen()
def act(config: Config, seen: Observed, change: Changes) -> Made:
    """Write so that no visitor gets anything wrong wherever a run dies, and read back; raise UnfinishedError.

    What is to come is remembered first. A rule is moved while it matches nothing: it is opened last, and closed first.
    """
    numbers, problem, place = dict[str, tuple[int, int]](), "", 0
    match change:
        case GoLive():
            numbers = dict(seen.memory.numbers if change.numbers is None else change.numbers)
            place = config.places[config.rule]
            if change.numbers is not None:
                rules.remember(config.maintenance_rule_arn, Memory("moving", numbers, seen.stored.version, place))
            rules.arrange(config.prefix, change.priorities)
            opened, problem = rules.open_to(
                config.prefix, {rule: config.live[rule] for rule in change.opens}, config.rule
            )
            rules.check(config.maintenance_listener_arn, change.priorities, opened, ())
        case Park() | Close():
            if ours.unasked(seen, change):
                rules.count_closed(config.maintenance_rule_arn, seen.memory)
            for rule in change.closes:
                rules.close(config.prefix + rule)
            moves = change.priorities if isinstance(change, Park) else {}
            rules.arrange(config.prefix, moves)
            rules.check(config.maintenance_listener_arn, moves, (), change.closes)
        case LeaveAlone():
            numbers = dict(seen.memory.numbers)
        case _:
            assert_never(change)
    made = Made(change=change, reason=decide(config, seen).reason, found=ours.known_before(config, seen, change))
    if not isinstance(change, Close):
        rules.conclude(config.maintenance_rule_arn, Memory(change.to, numbers, seen.stored.version, place), made)
    if problem:
        raise UnfinishedError(f"the page is on, also for the testers (MaintenanceBypassCidrs): {problem}", made)
    return made


def mail(config: Config, seen: Observed, result: Result[Changes, Any]) -> Mail | None:
    """Return the mail of a start, an end, a rule that had to be closed, or one that others moved."""
    match result.change:
        case GoLive() as change:  # for testers only, it changes nothing for visitors
            return None if ours.for_testers(config, change) else started(config, seen, change, result)
        case Park() as change:
            return ended(config, seen, change, result)
        case Close():
            return closed(config, result.reason, notify.since(result.times))
        case LeaveAlone():
            return left(config, seen, result.reason, notify.since(result.times))
        case _:
            assert_never(result.change)


TELLS: Tells[Config, Observed, Changes, Any] = Tells(standing, found, outages=True)

reconcile.warm_up(Config, lambda config: rules.read(config.maintenance_listener_arn))


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Store the wish, if the event is one, and reconcile the rule with the windows.

    Where others have changed the rules since they were read, the event is taken once more, as Lambda would repeat it.
    A start that came while the rules went back was told that the page is on: so the page comes back at once.
    """

    def run(event: object, observe: Callable[[Config, Hint], Observed], store: Any) -> dict[str, Any]:
        return patience.anew(lambda: reconcile.reconcile(event, Config, observe, decide, act, mail, store, TELLS))

    report = run(event, observe, partial(store_wish, str(getattr(context, "aws_request_id", ""))))
    followed(report)
    while later := reopened(report):
        report = run({"action": "reconcile"}, partial(observe, newer=later), None)
    return report
