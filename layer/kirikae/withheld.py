"""A change that is due and may not be made, and the mails about it."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from kirikae import env, notify, told
from kirikae.decision import Change, Decision, plain
from kirikae.notify import Mail, Words

_LONGEST = 500  # characters of an outage, of the 4,096 that a parameter holds


@dataclass(frozen=True)
class Withheld:
    """A change that an outage needs and that a hold, DryRun or a refusal forbids."""

    outcome: str  # held, dry-run or refused
    why: Words
    about: str  # the outage, so that people are told of the next one, too

    @property
    def known(self) -> str:
        """What people know once they were told; of what is too long to be noted, a digest."""
        short = len(self.about) <= _LONGEST
        return f"{self.outcome}: {self.about if short else hashlib.sha256(self.about.encode()).hexdigest()}"


def not_answered(config: env.Stack, decision: Decision[Any], withheld: Withheld) -> Mail:
    """Return the mail about a due change that is withheld, and how to let it happen."""
    happened = Words(
        "Nothing was changed. This was due and may not be done now.",
        "何も変更していません。次の変更が必要な状態ですが、現在は実行できません。",
    )
    if decision.change:
        text = json.dumps(plain(decision.change))
        happened = Words(f"{happened.en} Would be done: {text}", f"{happened.ja} 実行されるはずの変更: {text}")
    why = notify.lines([decision.reason, withheld.why]) if withheld.why.en else decision.reason
    lift = {
        "held": notify.with_commands(
            Words("To end the hold now:", "保留を今すぐ解除するには:"),
            [
                notify.aws_command(
                    config,
                    "ssm put-parameter",
                    f"--type String --overwrite --name {config.hold_parameter} --value off",
                )
            ],
        ),
        "dry-run": Words(
            "The stack's parameter DryRun is true: set it to false to let kirikae act.",
            "スタックのパラメーター DryRun が true です。kirikae に実行させるには false に変更してください。",
        ),
    }
    return notify.mail(
        config,
        f"NOT answered ({withheld.outcome}): a change is due",
        happened=happened,
        why=why,
        check=lift.get(withheld.outcome),
    )


def _odd(decision: Decision[Any]) -> dict[str, Words]:
    """Return what a person has to mend, by a word without blanks."""
    found, reason = dict(decision.odd), decision.reason
    if decision.refused and not any(said.en in reason.en for said in found.values()):
        found[decision.about or "refused"] = reason
    return {word.replace(" ", "_"): said for word, said in found.items()}


def odd_of(decision: Decision[Any], outages: bool) -> dict[str, str]:
    """Return the same as it is noted, by the function that answers outages or by another one."""
    words = " ".join(sorted(_odd(decision)))
    return {told.ODD[0 if outages else 1]: words} if words else {}


def something_else(config: env.Stack, decision: Decision[Any], known: told.State, *, reasoned: bool) -> Mail | None:
    """Return the mail about what is to be mended besides what people know, None if nothing is.

    The first is told by its alarm, which then hides the next.  reasoned: another mail tells the decision's reason.
    """
    before = " ".join(known.get(key, "") for key in told.ODD).split()
    new = [text for word, text in _odd(decision).items() if before and word not in before]
    said = [text for text in new if not (reasoned and text.en in decision.reason.en)]
    if not said:
        return None
    return notify.mail(
        config,
        "ATTENTION, something else is not as it must be",
        happened=notify.lines(said),
        why=Words(
            "The alarm «refused» has been on because of something else, so it does not tell this.",
            "「refused」アラームは別の理由で既に発生しているため、この件は通知されません。",
        ),
    )


def rehearsal(config: env.Stack, reason: Words, change: Change | None) -> Mail:
    """Return the mail about what would be done; only alarms and wishes bring this mail, not every tick."""
    text = json.dumps(plain(change))
    would = Words(
        f"DryRun is true, so nothing was written. Would be done: {text}",
        f"DryRun が true のため、何も変更していません。実行される予定だった変更: {text}",
    )
    return notify.mail(config, "dry run: a change is due", happened=would, why=reason)
