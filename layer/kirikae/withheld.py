"""A change that is due and may not be made, and the mails about it."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from kirikae import env, notify
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


def rehearsal(config: env.Stack, reason: Words, change: Change | None) -> Mail:
    """Return the mail about what would be done; only alarms and wishes bring this mail, not every tick."""
    text = json.dumps(plain(change))
    would = Words(
        f"DryRun is true, so nothing was written. Would be done: {text}",
        f"DryRun が true のため、何も変更していません。実行される予定だった変更: {text}",
    )
    return notify.mail(config, "dry run: a change is due", happened=would, why=reason)
