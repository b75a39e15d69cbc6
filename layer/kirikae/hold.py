"""The hold: an operator's wish that nothing is changed until a time, kept in the parameter `/<stack>/hold`."""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import aws, env
from kirikae.clock import moment
from kirikae.notify import Words, aws_command

_FORM = '{"until": "2026-12-01T06:00:00+09:00", "reason": "..."}'
EXPECTED = f"expected off or {_FORM}"
_EXPECTED_JA = f"off または {_FORM} の形式で指定してください"


@dataclass(frozen=True)
class Hold:
    """`on` while the wish is in force; `problem` says why a stored wish cannot be read; `ja` is either in Japanese."""

    on: bool = False
    reason: str = ""
    problem: str = ""
    ja: str = field(default="", compare=False)

    def why(self, name: str) -> Words:
        """Return why nothing may be changed while the wish stands in the parameter of this name."""
        return Words(f"{name}: {self.problem}", f"{name}: {self.ja}") if self.problem else Words(self.reason, self.ja)


def parse(text: str, written: datetime, now: datetime) -> Hold:
    """Return what the stored text, last written at `written`, means at `now`.

    A wish that was already over when it was written is a mistake; one that has ended since is simply over.
    """
    if text.strip() == "off":
        return Hold()
    try:
        wish = json.loads(text)
        until, reason = moment(wish["until"], "until"), str(wish["reason"])
    except (ValueError, KeyError, TypeError) as error:
        wrong = f"{text!r} を保留の指定として解釈できません ({error})。{_EXPECTED_JA}"
        return Hold(problem=f"{text!r} is not a hold ({error}); {EXPECTED}", ja=wrong)
    if until <= written:
        past = f"until {wish['until']} was already past when it was written at {written:%FT%TZ}"
        over = f"until の {wish['until']} は、書き込んだ時点 ({written:%FT%TZ}) で過ぎていました。{_EXPECTED_JA}"
        return Hold(problem=f"{past}; {EXPECTED}", ja=over)
    held = f"held until {wish['until']}: {reason}"
    return Hold(on=now < until, reason=held, ja=f"{wish['until']} まで保留中です: {reason}")


def command(config: env.Stack, now: datetime) -> str:
    """Return the command that holds kirikae off for two hours."""
    until = (now + timedelta(hours=2)).isoformat(timespec="seconds")
    wish = json.dumps({"until": until, "reason": "switched by hand"})
    arguments = f"--type String --overwrite --name {config.hold_parameter} --value '{wish}'"
    return aws_command(config, "ssm put-parameter", arguments)


def read(name: str, now: datetime) -> Hold | None:
    """Return the hold, or None when the parameter cannot be read: then the handler goes on.

    No template owns the parameter, and nobody has to make it: without one there is no hold.
    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
    """
    try:
        found = aws.client("ssm").get_parameter(Name=name)["Parameter"]
        text, written = found["Value"], found["LastModifiedDate"]
    except (ClientError, BotoCoreError) as error:  # design: a hold that cannot be read does not stop a failover
        absent = isinstance(error, ClientError) and error.response["Error"]["Code"] == "ParameterNotFound"
        return Hold() if absent else None
    return parse(text, written, now)
