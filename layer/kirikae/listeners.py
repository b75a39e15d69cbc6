"""Listeners of load balancers and their rules: reads return plain values, writes name their end state."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from kirikae import aws
from kirikae.errors import AnswerError, part


@dataclass(frozen=True)
class Listener:
    """A listener and its default action; `weights` is empty when the action is not `forward`."""

    arn: str
    load_balancer_arn: str
    protocol: str
    port: int
    action: str
    weights: Mapping[str, int]  # target group ARN -> weight; the one group of a plain forward has weight 1
    kept: dict[str, Any] = field(default_factory=dict)  # the rest of its ForwardConfig, the groups' stickiness


def read(listener_arns: Iterable[str]) -> tuple[Listener, ...]:
    """Return the listeners in the order asked for.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeListeners.html
    """
    wanted = list(listener_arns)
    answer = aws.client("elbv2").describe_listeners(ListenerArns=wanted)["Listeners"]
    found = {described["ListenerArn"]: described for described in answer}
    return tuple(_listener(part(found, arn, "elbv2 DescribeListeners")) for arn in wanted)


def there(listener_arns: Iterable[str]) -> tuple[Listener, ...]:
    """Return those of the listeners that exist; raise ListenerNotFound, as AWS does, if none of them does.

    AWS refuses a question about several as a whole if one of them does not exist.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeListeners.html
    """
    wanted, found = list(listener_arns), list[Listener]()
    with _unless_deleted():
        found += read(wanted)
    for arn in wanted if not found else ():
        with _unless_deleted():
            found += read([arn])
    return tuple(found) if found else read(wanted)


@contextmanager
def _unless_deleted() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] != "ListenerNotFound":
            raise


def _listener(described: Mapping[str, Any]) -> Listener:
    action = _last(
        described["DefaultActions"], "elbv2 DescribeListeners"
    )  # the last action decides where requests go; an NLB has no other
    config = dict(action.get("ForwardConfig", {}))
    groups = config.pop("TargetGroups", None) or [{"TargetGroupArn": action.get("TargetGroupArn")}]
    return Listener(
        arn=described["ListenerArn"],
        load_balancer_arn=described["LoadBalancerArn"],
        protocol=described["Protocol"],
        port=described["Port"],
        action=action["Type"],
        weights={group["TargetGroupArn"]: group.get("Weight", 1) for group in groups if group["TargetGroupArn"]},
        kept=config,
    )


def _last(actions: Sequence[Any], call: str) -> Any:
    if not actions:
        raise AnswerError(call=call, problem="has no actions")
    return actions[-1]


def action(weights: Mapping[str, int], kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return the action that forwards to these groups by weight, with what a ForwardConfig holds besides.

    The weights are always spelled out: a group without one would get the default, not zero.  What is not repeated would
    be switched off: AWS replaces the default action as a whole.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_ForwardActionConfig.html
    """
    groups = [{"TargetGroupArn": group, "Weight": weight} for group, weight in weights.items()]
    return {"Type": "forward", "ForwardConfig": {"TargetGroups": groups, **kept}}


def forward(listener_arn: str, weights: Mapping[str, int], kept: Mapping[str, Any]) -> None:
    """Make the listener's default action this one.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_ModifyListener.html
    """
    aws.client("elbv2").modify_listener(ListenerArn=listener_arn, DefaultActions=[action(weights, kept)])


class Rule(NamedTuple):
    """A rule of a listener; the default one has no priority."""

    arn: str
    priority: int | None
    conditions: tuple[Mapping[str, Any], ...]  # RuleCondition of the API
    action: str  # type of the last action, which decides where requests go
    group: str = ""  # the target group that it forwards to, if it is one

    @property
    def id(self) -> str:
        """The last part of the ARN."""
        return self.arn.rpartition("/")[2]


def rules(listener_arn: str) -> tuple[Rule, ...]:
    """Return all rules of a listener, of whichever type; dual-stack NLBs have them since 2026.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeRules.html
    """
    found: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        page = aws.client("elbv2").describe_rules(ListenerArn=listener_arn, PageSize=400, **more)
        found += page["Rules"]
        if not page.get("NextMarker"):
            return tuple(map(_rule, found))
        more = {"Marker": page["NextMarker"]}


def _rule(described: Mapping[str, Any]) -> Rule:
    action = _last(described["Actions"], "elbv2 DescribeRules")
    groups = [group["TargetGroupArn"] for group in action.get("ForwardConfig", {}).get("TargetGroups", [])]
    return Rule(
        described["RuleArn"],
        None if described["IsDefault"] else int(described["Priority"]),
        tuple(described["Conditions"]),
        action["Type"],
        action.get("TargetGroupArn") or (groups[0] if len(groups) == 1 else ""),
    )
