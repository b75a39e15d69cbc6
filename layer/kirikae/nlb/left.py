"""Listeners that were taken out of NlbListenerArns while they were on the sorry page: nobody brings them back."""

import json
from collections.abc import Iterable, Iterator

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import listeners, notify, told
from kirikae.errors import AnswerError
from kirikae.listeners import Listener
from kirikae.nlb.world import Config
from kirikae.notify import Mail, Words
from kirikae.told import State

AWAY = "listeners on it"  # the key of their ARNs, in what people know of the sorry page


def behind(config: Config) -> list[Words]:
    """Return what to say of such listeners in the mail of a switch."""
    note = told.read(config.told_parameter)
    return said_of(config, note.known) if note else []


def said_of(config: Config, known: State) -> list[Words]:
    """Return what to say of listeners that are on the sorry page by what people know, and in the parameter no more.

    Nothing of one that is gone, or forwards to a primary group again.
    """
    left = [arn for arn in known.get(AWAY, "").split() if arn not in config.nlb_listener_arns]
    return [words for arn in left for words in _said(config, arn)]


def mail(config: Config, said: Iterable[Words]) -> Mail:
    """Return the mail about such listeners alone."""
    return notify.mail(
        config,
        "a listener left NlbListenerArns on the sorry page",
        happened=notify.lines(said),
        why=Words(
            "An update of the stack took it out of NlbListenerArns during an outage.",
            "障害中に、スタックの更新でこのリスナーが NlbListenerArns から外されました。",
        ),
    )


def _said(config: Config, arn: str) -> Iterator[Words]:
    """Yield where a listener forwards to, and how to bring it back; a read that fails keeps no mail from leaving."""
    try:
        [listener] = listeners.read([arn])
    except (ClientError, BotoCoreError, AnswerError) as error:
        if not (isinstance(error, ClientError) and error.response["Error"]["Code"] == "ListenerNotFound"):
            yield Words(
                f"NOT brought back by kirikae, because NlbListenerArns names it no more: {arn} ({error}).",
                f"NlbListenerArns から外されたため、kirikae は切り戻しません: {arn} ({error})。",
            )
        return
    used = {group for group, weight in listener.weights.items() if weight}
    if not used or not used <= set(config.groups("primary")):
        yield _way_back(config, listener, ", ".join(sorted(used)) or listener.action)


def _way_back(config: Config, listener: Listener, used: str) -> Words:
    """Return where the listener forwards to, and the command that brings it to its primary group, as far as known."""
    [primary, *_] = [*(group for group, weight in listener.weights.items() if not weight), *config.groups("primary")]
    action = json.dumps([listeners.action({primary: 1}, listener.kept)])
    arguments = f"--listener-arn {listener.arn} --default-actions '{action}'"
    named = f"{listener.protocol}:{listener.port} {listener.arn}"
    return notify.with_commands(
        Words(
            f"NOT brought back by kirikae, because NlbListenerArns names it no more: {named} forwards to {used}. "
            f"To bring it back when the primary serves:",
            f"NlbListenerArns から外されたため、kirikae は切り戻しません: {named} の転送先は {used} です。"
            f"プライマリの復旧後に戻すには:",
        ),
        [notify.aws_command(config, "elbv2 modify-listener", arguments)],
    )
