"""The write that both directions share, and what AWS shows of it."""

import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import elb, listeners, patience
from kirikae.errors import OtherRunError, UnfinishedError
from kirikae.listeners import Listener
from kirikae.nlb.look import REFUSED_TAG
from kirikae.nlb.world import Adopt, Config, Done, Side, Switch, Switches, serving

# What AWS says of the caller or of the moment, not of the action that it was asked to take: the words of its codes.
# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/CommonErrors.html
_NOT_OF_THE_ACTION = re.compile(
    r"NotFound$|Throttl|LimitExceeded$|Denied|Unauthorized|NotAuthorized|Expired|Timeout|Token"
)


def adoption(config: Config, seen: Switches, unfit: Collection[str] = ()) -> Adopt | None:
    """Return the change that attaches both groups to every listener without moving its traffic, if one needs it.

    Not a sorry group that is unfit: one unhealthy group takes the whole load balancer out of DNS.
    https://docs.aws.amazon.com/Route53/latest/APIReference/API_AliasTarget.html
    """
    sides = {
        listener.arn: side
        for listener in seen.listeners
        if seen.mode == "weighted" and len(listener.weights) < 2 and (side := serving(config, listener))
        if side == "sorry" or config.group("sorry", listener.arn) not in unfit
    }
    return Adopt(sides) if sides else None


def weights(config: Config, listener_arn: str, side: Side, mode: str) -> dict[str, int]:
    """Return the default action that serves `side`: both groups attached in weighted mode, one in replace mode."""
    groups: dict[str, Side] = {config.group("primary", listener_arn): "primary"}
    groups[config.group("sorry", listener_arn)] = "sorry"
    return {group: int(name == side) for group, name in groups.items() if mode == "weighted" or name == side}


def make(config: Config, seen: Switches, change: Switch | Adopt) -> Done:
    """Make the change on every listener, look until it shows, and return what came of it.

    All listeners are attempted.  Raises UnfinishedError that names those that failed or show something else.  A read
    that still shows what was before is no failure: AWS took the write.  Nor is a listener that an adoption leaves to
    another run; raises OtherRunError if nothing else was to be done.
    """
    wanted = change.adopt if isinstance(change, Adopt) else dict.fromkeys(change.listeners, change.to)
    before = {listener.arn: listener for listener in seen.listeners}
    mode, written, errors = _write(config, seen, wanted, adopt=isinstance(change, Adopt))
    left = [arn for arn, error in errors.items() if isinstance(error, OtherRunError)]
    if left == [*wanted]:
        raise errors[left[0]]
    wanted = {arn: side for arn, side in wanted.items() if arn not in left}
    shown = _look_again(config, {arn: side for arn, side in wanted.items() if not _refused(errors.get(arn))})
    problems = {arn: str(error) for arn, error in errors.items() if arn in wanted}
    for arn, listener in shown.items():
        if serving(config, listener) == wanted[arn]:
            problems.pop(arn, None)  # only the answer was lost: else nobody would ever mail this switch
        elif listener.weights != before[arn].weights:
            problems.setdefault(arn, f"reads back as {dict(listener.weights)}")
    made = tuple(arn for arn in wanted if arn not in problems)
    unseen = tuple(arn for arn in made if arn not in shown or serving(config, shown[arn]) != wanted[arn])
    refusal = next((one.refusal for one in written.values() if one.refusal), "")
    untagged = _remember(before) if refusal else ""
    kept = {arn: written[arn].kept if arn in written else before[arn].kept for arn in made}
    unsure = tuple(arn for arn in problems if arn in errors and not _refused(errors[arn]))
    nothing = bool(untagged) and isinstance(change, Adopt)  # every run tries it again
    came = None if nothing else change
    done = Done(mode, made, kept, refusal, untagged, unseen, problems, unsure, change=came, lasts=nothing)
    if problems:
        named = "; ".join(f"{arn}: {problem}" for arn, problem in problems.items())
        told = done if made and isinstance(change, Switch) else None
        raise UnfinishedError(f"{len(problems)} of {len(wanted)} listeners are not as they should be: {named}", told)
    return done


def _remember(listener_arns: Collection[str]) -> str:
    """Write the tag on the listeners that AWS refused; return the error if none of them could get it, else ""."""
    errors = list[str]()
    for arn in listener_arns:
        try:
            elb.tag(arn, {REFUSED_TAG: "refused"})
        except (ClientError, BotoCoreError) as error:
            errors.append(str(error))
    return errors[0] if len(errors) == len(listener_arns) else ""


class _Written(NamedTuple):
    """What was written besides the groups, and why AWS refused both of them, if it did, in its own words."""

    kept: dict[str, Any]
    refusal: str = ""


def _write(
    config: Config, seen: Switches, wanted: Mapping[str, Side], *, adopt: bool
) -> tuple[str, dict[str, _Written], dict[str, Exception]]:
    """Write every listener; return the mode that is in force then, what was written, and what failed."""
    before = {listener.arn: listener for listener in seen.listeners}
    mode, written, errors = seen.mode, dict[str, _Written](), dict[str, Exception]()
    for arn, side in wanted.items():
        try:
            written[arn] = _forward(config, before[arn], side, mode, adopt=adopt)
        except (ClientError, BotoCoreError, OtherRunError) as error:  # the others are attempted first
            errors[arn] = error
        else:
            mode = "replace" if written[arn].refusal else mode
    return mode, written, errors


def _forward(config: Config, listener: Listener, side: Side, mode: str, *, adopt: bool) -> _Written:
    """Point one listener at `side`; where AWS refuses both groups in one action, at that one group alone.

    An action with a sticky group must be sticky itself.  An adoption asks the groups first, because it moves nothing
    and must change nothing; a switch asks only when it is refused.  For the same reason an adoption looks once more
    right before its write, or it would undo the switch of an outage that has begun since.
    """
    arn, both = listener.arn, weights(config, listener.arn, side, mode)
    kept = listener.kept | _stickiness(both) if adopt else listener.kept
    if adopt and (now := listeners.read([arn])[0]).weights != listener.weights:
        raise OtherRunError(f"it was changed to {dict(now.weights)} meanwhile, so it was left as it is")
    try:
        listeners.forward(arn, both, kept)
    except ClientError as error:
        if mode == "replace" or not _of_the_action(error):
            raise
        refusal = f"{error.response['Error']['Code']}: {error.response['Error']['Message']}"
    else:
        return _Written(kept)
    with suppress(ClientError, BotoCoreError):
        if not adopt and (sticky := _stickiness(both)):
            listeners.forward(arn, both, listener.kept | sticky)
            return _Written(listener.kept | sticky)
    listeners.forward(arn, weights(config, arn, side, "replace"), listener.kept)
    return _Written(listener.kept, refusal)


def _of_the_action(error: ClientError) -> bool:
    """Tell whether AWS may have refused the action itself, by whichever code: one group alone then shows it."""
    found = error.response
    bad = found["ResponseMetadata"]["HTTPStatusCode"] == 400
    return bad and not _NOT_OF_THE_ACTION.search(found["Error"]["Code"])


def _stickiness(groups: Iterable[str]) -> dict[str, Any]:
    """Return what the action needs besides these groups: stickiness if one of them is sticky.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-listeners.html
    """
    sticky = any(elb.attributes(group).get("stickiness.enabled") == "true" for group in groups)
    return {"TargetGroupStickinessConfig": {"Enabled": True}} if sticky else {}


def _look_again(config: Config, wanted: Mapping[str, Side]) -> dict[str, Listener]:
    """Return the listeners as they are shown once they all show what was written, or when the patience is over."""

    def all_serve(found: Iterable[Listener]) -> bool:
        return all(serving(config, listener) == wanted[listener.arn] for listener in found)

    found = patience.until(lambda: listeners.read(wanted), all_serve) if wanted else ()
    return {listener.arn: listener for listener in found or ()}


def _refused(error: Exception | None) -> bool:
    """Tell whether it is certain that nothing was done: a lost answer or a failing server leaves that open."""
    return isinstance(error, ClientError) and error.response["ResponseMetadata"]["HTTPStatusCode"] < 500
