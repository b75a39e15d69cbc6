"""What people have been told of rotations: every mail once, though tasks and ticks are repeated, and whatever dies.

The note holds by kind what its last mail was about.  A task is repeated until it succeeds; its repetition does not tell
again what it has told.  A mail that did not leave is owed, and the next tick sends what the note says of it.
"""

from collections.abc import Sequence
from dataclasses import replace

from kirikae import clock, notify, patience, told
from kirikae.notify import Mail, Words
from kirikae.rotation.world import Config

_MOST_CHARACTERS = 350  # of what a mail was about: ten of them have to fit into a parameter of 4 KB
_BEFORE = ", before"  # ends the kind of a mail that is owed, while a later one of its kind is told

# (parameter, kind) -> what this process has told while the note could not be read: the next tick is not to repeat it.
_unread: dict[tuple[str, str], str] = {}


def once(config: Config, kind: str, about: str, letter: Mail) -> None:
    """Send the mail, unless an earlier run has sent it; about: what no other mail of its kind is about."""
    name, now, text = config.told_parameter, clock.now(), f"{letter.subject}: {about}"[:_MOST_CHARACTERS]
    note = _read(name)
    if _unread.get((name, kind)) == text or (note and note.telling is None and note.known.get(kind) == text):
        return
    begun = note is not None and note.telling is not None and note.telling.get(kind) == text
    if note and note.unheard_of(now) and not begun:  # what another mail was to say must not be forgotten for this one
        owed(config)
        note = _read(name)
    if note is None:  # nor what the note holds: it is not written
        if notify.announce(config, letter):
            _unread[name, kind] = text
        return
    due = _due(note, kind, text)
    state = {**note.known, **due, kind: text}
    # It replaces what was read, or what another run has written since and this one was not shown.
    if replaced := told.claim(name, note, state, now - told.STALE_READS, now):
        due |= _due(replaced, kind, text)
        others = replace(replaced, telling={**state, **due}) if due else None
        _send(config, notify.again(letter) if begun else letter, {**replaced.known, kind: text}, others)


def _read(name: str) -> told.Note | None:
    """Return the note; None if it cannot be read for some seconds."""
    return patience.until(lambda: told.read(name), lambda note: note is not None)


def knows(config: Config, about: str) -> bool:
    """Tell whether the last mail of any kind was about this, whatever its subject and whatever else it was about."""
    note = told.read(config.told_parameter)
    return note is not None and any(f": {about}" in text for text in note.known.values())


def over(config: Config, kind: str) -> None:
    """Forget the last mail of a kind: what it was about has ended, and is told once more if it begins again."""
    name = config.told_parameter
    _unread.pop((name, kind), None)
    note = told.read(name)
    if note and note.telling is None and kind in note.known:
        told.close(name, {each: text for each, text in note.known.items() if each != kind}, clock.now())


def owed(config: Config) -> None:
    """Send what a run was about to tell when it was last heard of."""
    name, now = config.told_parameter, clock.now()
    note = told.read(name)
    if note is None or note.telling is None or not note.unheard_of(now):
        return
    texts = [text for kind, text in note.telling.items() if note.known.get(kind) != text]
    if told.claim(name, note, note.telling, now - told.STALE_READS, now):
        state = {kind: text for kind, text in note.telling.items() if not kind.endswith(_BEFORE)}
        _send(config, notify.again(_unsent(config, texts)), state)


def _due(note: told.Note, kind: str, text: str) -> dict[str, str]:
    """Return what other runs were about to tell when this one came to tell a text, and have not said that they did."""
    found = {k: t for k, t in (note.telling or {}).items() if note.known.get(k) != t and (k, t) != (kind, text)}
    return {kind + _BEFORE if k == kind else k: t for k, t in found.items()}


def _send(config: Config, letter: Mail, state: told.State, others: told.Note | None = None) -> None:
    """Send the mail and note it; others: what other runs are about to tell, or died before they did: it stays owed."""
    if not notify.announce(config, letter):
        return
    name = config.told_parameter
    later = told.read(name) if others else None
    if others and later and later.version > others.version + 1 and later.telling is None:
        state, others = {**later.known, **state}, None  # they have said since that they did
    version = told.close(name, state, clock.now(), others)
    patience.until(lambda: told.read(name), lambda note: note is None or note.version >= version)  # for the next mail


def _unsent(config: Config, texts: Sequence[str]) -> Mail:
    """Return the mail about mails of which nobody knows whether they left: their subjects, and what they were about."""
    arn = config.state_machine_arn
    executions = notify.aws_command(config, "stepfunctions list-executions", f"--state-machine-arn {arn} --max-items 5")
    return notify.mail(
        config,
        "rotation: a mail may not have reached you",
        happened=Words(
            "\n".join(("This was to be told in a mail of its own, which may not have left:", *texts)),
            "\n".join(("次の内容のメールは送信できなかった可能性があります:", *texts)),
        ),
        check=notify.with_commands(
            Words("How it went, target by target, is in the output:", "各ターゲットの結果は実行の出力にあります:"),
            [executions, notify.aws_command(config, "stepfunctions describe-execution", "--execution-arn EXECUTION")],
        ),
    )
