"""Store a wish; that it cannot be stored is told at once, once, however often Lambda repeats it.

What people were told is kept in Systems Manager, which is what does not answer here.  So a tag of the maintenance rule
holds the ids of the last requests that they were told of: Lambda repeats an event under the same one.
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import elb, notify, patience, ssm
from kirikae.clock import iso, moment_if_any
from kirikae.errors import InputError, UnfinishedError
from kirikae.events import Request
from kirikae.maintenance import attempts, windows, wishes
from kirikae.maintenance.mail import end_all, put
from kirikae.maintenance.windows import Stored, Window, Wish
from kirikae.maintenance.world import Config
from kirikae.notify import Mail, Words

TAG = "kirikae:maintenance-unstored"
ATTEMPTS = 10
REMEMBERED = 6  # ids of 36 characters, of the 256 that a tag's value can have


def store_wish(request_id: str, config: Config, request: Request, now: datetime) -> Stored:
    """Validate the wish in the event and store it; one that is repeated does not undo a newer one in between.

    Lambda repeats a wish under the same request id, EventBridge Scheduler with the same scheduled time.
    https://docs.aws.amazon.com/scheduler/latest/UserGuide/what-is-scheduler.html
    """
    event, asked = request.wish or {}, request_id
    if at := moment_if_any(event.get("at")):
        asked = iso(at)
    try:
        wish = wishes.read(event, now, config.maintenance_end, config.maintenance_timezone)
    except InputError as error:
        if at is None or not attempts.known(config, asked, str(event.get("type"))):
            raise
        return replace(windows.read(config.maintenance_parameter), note=f"delivered again, and too late: {error}")
    dry_run = config.dry_run or request.dry_run
    repeated = partial(attempts.repeated, config, asked, wish, now)
    overruled = partial(wishes.overruled, event, wish)
    with _telling(config, request_id, wish, dry_run=dry_run):
        return store_merged(
            config.maintenance_parameter, wish, now, dry_run=dry_run, repeated=repeated, overruled=overruled
        )


def store_merged(
    name: str,
    wanted: Wish,
    now: datetime,
    *,
    dry_run: bool,
    repeated: Callable[[Stored], Stored | None] = lambda _last: None,
    overruled: Callable[[Mapping[str, Window]], str] = lambda _open: "",
) -> Stored:
    """Store the wish and return the parameter as it is then; raise InputError if it cannot be understood.

    `repeated` takes the parameter as it is and returns it if this wish is a repetition that is not to be stored again.
    `overruled` takes open windows and returns why the wish gives way to them: to those that show, whenever they do.
    A start is written even if its window shows: what shows may be from before an end.
    """
    first = _understood(name)
    if wanted.window is None and wanted.name not in first.open(now):  # just started, maybe: an end must not be lost
        first = patience.until(lambda: _understood(name), lambda shown: wanted.name in shown.open(now)) or first
    if why := overruled(first.open(now)):
        return replace(first, note=why)
    if not dry_run and (again := repeated(first)):
        return again
    unknown = wanted.window is None and wanted.name not in first.open(now)
    note = f"no window {wanted.name!r} is open, so there is nothing to end" if unknown else ""
    if dry_run or unknown:
        result, starts = windows.after(first.windows, wanted, now), bool(wanted.window)
        return Stored(result, first.written, first.version, note=note, started=starts, rehearsed=dry_run)
    return _written(name, wanted, now, first, overruled)


def _written(
    name: str, wanted: Wish, now: datetime, first: Stored, overruled: Callable[[Mapping[str, Window]], str]
) -> Stored:
    """Write the wish, merged with those of the same moment, and return the parameter as it is then.

    Systems Manager has no conditional write, but it numbers the versions. A write that does not get the next number has
    overwritten those of others in between: these versions are read, merged with ours and written again, so that of two
    wishes at the same moment none is lost. One of them may overrule ours: then it is written again without ours.
    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
    """
    base, ended, starts, why = first, not first.open(now), bool(wanted.window), ""
    result = windows.after(first.windows, wanted, now)
    for _ in range(ATTEMPTS):
        version = ssm.put(name, windows.write(result))
        others = [_understood(f"{name}:{number}") for number in range(base.version + 1, version)]
        ended = ended or not all(other.open(now) for other in others)
        why = why or next((said for other in others if (said := overruled(other.open(now)))), "")
        starts = starts and not why
        base = Stored(result, now, version, note=why, started=starts, first=starts and ended)
        merged = windows.merge(result, first.windows, [other.windows for other in others])
        result = merged if why else windows.after(merged, wanted, now)
        if result == base.windows:
            return base
    raise UnfinishedError(f"{name} is being written by others all the time; the wish for {wanted.name!r} may be lost")


def _understood(name: str) -> Stored:
    stored = windows.read(name)
    if stored.problem:
        raise InputError(f"{name}: {stored.problem}")
    return stored


@contextmanager
def _telling(config: Config, request_id: str, wish: Wish, *, dry_run: bool) -> Iterator[None]:
    """Mail that the wish could not be stored, and raise what was raised, so that Lambda repeats the event."""
    try:
        yield
    except (ClientError, BotoCoreError, UnfinishedError) as error:
        rule, letter = config.maintenance_rule_arn, _letter(config, wish, error)
        told = _told(rule)
        if not dry_run and request_id not in told and notify.announce(config, letter):
            with suppress(ClientError, BotoCoreError):  # then the next attempt tells it once more
                elb.tag(rule, {TAG: " ".join([*told, request_id][-REMEMBERED:])})
        raise


def _told(rule_arn: str) -> list[str]:
    """Return the requests of which people were told; none if that cannot be read: rather three mails than none."""
    try:
        return elb.tags([rule_arn])[rule_arn].get(TAG, "").split()
    except (ClientError, BotoCoreError):
        return []


def _letter(config: Config, wish: Wish, error: Exception) -> Mail:
    """Return the mail about a start or an end that is lost unless a further attempt, or a person, stores it."""
    kind, kind_ja, follows = ("start", "開始", "ON") if wish.window else ("end", "終了", "OFF")
    check = Words(
        f"Lambda repeats an asynchronous wish, such as a schedule's, one and three minutes after the first attempt. If "
        f'it succeeds, the mail "maintenance {follows}" follows. If that does not come, the {kind} is lost: give it '
        f"again as soon as Systems Manager answers (https://health.aws.amazon.com).",
        f"スケジュールなど非同期の要求は、1 分後と 3 分後に Lambda が再試行します。成功すると"
        f"「maintenance {follows}」のメールが届きます。届かない場合、この{kind_ja}の要求は失われています。"
        f"Systems Manager の復旧後 (https://health.aws.amazon.com) に、もう一度要求してください。",
    )
    return notify.mail(
        config,
        f"maintenance {kind} NOT stored",
        happened=Words(
            f'Systems Manager did not confirm that the {kind} of the window "{wish.name}" is stored in '
            f"{config.maintenance_parameter}. This run changed no rule.",
            f"時間帯「{wish.name}」の{kind_ja}が {config.maintenance_parameter} に保存されたことを Systems Manager で"
            f"確認できませんでした。この実行ではルールを変更していません。",
        ),
        why=Words(str(error)),
        check=check,
        undo=_by_hand(config, wish.name, wish.window) if wish.window else end_all(config),
    )


def _by_hand(config: Config, name: str, window: Window) -> Words:
    """Return how a person stores the window: in ASCII, and without a quote that would end the shell's word."""
    until = window.until.isoformat() if window.until else None
    value = json.dumps({name: {"until": until, "reason": "..."}}).replace("'", r"\u0027")
    said = Words(
        "To store it by hand, instead of all windows that are stored now:",
        "手動で保存するには (現在保存されている時間帯はすべて置き換えられます):",
    )
    return notify.with_commands(said, [put(config, value)])
