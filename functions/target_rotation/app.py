"""Take targets out of their groups one after another, let them be maintained, and put them back healthy.

One operation at each invocation: a task of the state machine, or the restoration of targets that an ended execution
left out.  The operations by hand have an entrance of their own, `functions/target_by_hand`.  They are taken here too,
from pipelines that are older than it; no task does anything for a document that the machine itself did not hand on.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from kirikae import clock, env, log, notify, unheard
from kirikae.errors import InputError
from kirikae.rotation import (
    by_hand,
    claims,
    cut_off,
    elsewhere,
    executions,
    guard,
    hook,
    known,
    leftovers,
    membership,
    memory,
    needed,
    restoration,
    taken_by_hand,
    tasks,
    telling,
    trust,
)
from kirikae.rotation.stored import Memory
from kirikae.rotation.world import Config, Event, Health

TASKS: Mapping[str, Callable[[Config, Event], Any]] = {
    "plan": tasks.plan,
    "take-out": tasks.take_out,
    "drained": tasks.drained,
    "ask": hook.ask,
    "run": hook.run,
    "result": hook.result,
    "back": tasks.back,
    "finish": tasks.finish,
}


def restore(config: Config, ended: object = None) -> dict[str, Any]:
    """Put back what ended executions left out; the event of an end, with an ARN, is a hint: the tick does the same."""
    if isinstance(ended, str) and ended == executions.arn(config, executions.name(ended)):
        executions.see_end(ended)
    telling.owed(config)
    now, seen = clock.now(), membership.there(config.rotation_target_group_arns)
    remembered = memory.read_if_possible(config)
    found = known.known(config, seen, remembered or Memory())
    left = restoration.left_out(found)
    cancelled = restoration.withdraw(config, left)
    problems = restoration.give_back(config, left, found, seen)
    gone = restoration.gone(left, problems, now) if not config.dry_run else {}
    may_forget = remembered and not config.dry_run
    back_by_hand, gone_by_hand = taken_by_hand.over(found, seen, now) if may_forget else ({}, {})
    closed = restoration.closed(left, problems, seen, now)
    back = restoration.worth_telling(found, closed, seen)
    lost = gone | gone_by_hand
    _tell(config, back, lost, found, seen, cancelled)
    restoration.close(config, closed, gone, now)
    _forget(config, back_by_hand, gone_by_hand, seen)
    out = {target: problem for target, problem in problems.items() if problem and target not in gone}
    if out:
        log.count("LeftOut")
    if remembered and not config.dry_run:
        stuck = {left[target].by for target in out} | {one.by for one in found.hidden if one.member["id"] in out}
        _remember(config, found, remembered, stuck, closed | gone)
        _tag_again(config, found, {*back, *lost}, seen)
    needed.tell(config, found, seen)
    if remembered and found.doubts:
        log.count("DoubtfulClaims")
    for condition in unheard.conditions(config) if ended is None else ():
        log.count(condition)
    return {
        "put_back": list(back),
        "gone": list(lost),
        "out": out,
        "doubts": dict(found.doubts),
        "foreign": list(found.foreign),
    }


def _tell(
    config: Config,
    back: Mapping[str, known.Taken],
    lost: Mapping[str, known.Taken],
    found: known.Known,
    seen: Health,
    cancelled: notify.Words,
) -> None:
    """Mail what is back, and what never will be; what is not back everywhere has a further mail.

    And a command that was sent by a task under way at the end, after the targets had come back.
    """
    about = ", ".join(filter(None, (cancelled.en, restoration.listed({**back, **lost}))))
    if not back and not lost:
        if cancelled.en and not telling.knows(config, cancelled.en):
            telling.once(config, "cancelled", about, leftovers.cancelled(config, cancelled))
        return
    added = [place for taken in back.values() for place in guard.added(taken.member, seen)]
    partly = sorted({one.member["id"] for one in found.elsewhere if one.ended} & back.keys())
    letter = leftovers.restored(config, back, lost, added, partly, cancelled)
    telling.once(config, "restored", about, letter)


def _tag_again(config: Config, found: known.Known, but: Collection[str], seen: Health) -> None:
    """Write the tags that are missing on groups that targets have left, but for some, and mail that."""
    if again := restoration.tag_again(found, but, seen):
        telling.once(config, "tagged", restoration.listed(again), leftovers.tagged_again(config, again))


def _forget(config: Config, back: Mapping[str, known.Taken], gone: Mapping[str, known.Taken], seen: Health) -> None:
    """Close what was taken out by hand and serves again, or never will; nobody was told of what is on other ports."""
    back = taken_by_hand.into_service(back)
    if moved := taken_by_hand.moved(back, seen):
        telling.once(config, "moved", restoration.listed(moved), leftovers.moved(config, moved))
    taken_by_hand.forget(config, {**back, **gone})


def _remember(
    config: Config,
    found: known.Known,
    remembered: Memory,
    stuck: Collection[str],
    closed: Mapping[str, known.Taken],
) -> None:
    """Forget executions of which nothing is out, and restore what is owed to Auto Scaling groups.

    stuck: how executions sign whose targets cannot come back yet; closed: what has come
    back, or never will, also of these.
    """
    elsewhere.settle(config, found)
    over = frozenset(name for name in found.over if claims.mark(config, name) not in stuck)
    if over:
        for name in sorted(over):
            cut_off.tell(config, name)
        memory.over(config, over)
    returned = {
        name: frozenset(target for target, taken in closed.items() if taken.by == claims.mark(config, name))
        for name in found.over - over
    }
    if returned := {name: targets for name, targets in returned.items() if targets}:
        memory.gave_back(config, returned)
    restoration.raise_min_sizes(config, found, remembered)
    restoration.unmark(found, clock.now())


@log.logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: Any) -> Any:
    """Do one operation: a task, the restoration after the end of an execution, or an operation by hand."""
    if not isinstance(event, dict):
        raise InputError(f"the event is {event!r}, expected a JSON object")
    config, name = env.load(Config), event.get("operation")
    if event.get("source") in ("aws.states", "aws.events"):
        detail = event.get("detail")
        name, done = "restore", restore(config, detail.get("executionArn") if isinstance(detail, dict) else None)
    elif task := TASKS.get(str(name)):
        done = task(config, trust.verified(config, event))
    else:
        done = by_hand.operate(config, event, context.aws_request_id, others=TASKS)
    log.logger.info("rotation", operation=name, result=done)
    log.flush()
    return done
