"""Listeners of load balancers and their rules: reads return plain values, writes name their end state."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from kirikae import aws


@dataclass(frozen=True)
class Listener:
    """A listener and its default action; `weights` is empty when the action is not `forward`."""

    arn: str
    load_balancer_arn: str
    protocol: str
    port: int
    action: str
    weights: Mapping[str, int]  # target group ARN -> weight; the one group of a plain forward has weight 1


def read(listener_arns: Iterable[str]) -> tuple[Listener, ...]:
    """Return the listeners in the order asked for.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeListeners.html
    """
    wanted = list(listener_arns)
    answer = aws.client("elbv2").describe_listeners(ListenerArns=wanted)["Listeners"]
    found = {described["ListenerArn"]: described for described in answer}
    return tuple(_listener(found[arn]) for arn in wanted)


def _listener(described: Mapping[str, Any]) -> Listener:
    action = described["DefaultActions"][-1]  # the last action decides where requests go; an NLB has no other
    groups = action.get("ForwardConfig", {}).get("TargetGroups") or [{"TargetGroupArn": action.get("TargetGroupArn")}]
    return Listener(
        arn=described["ListenerArn"],
        load_balancer_arn=described["LoadBalancerArn"],
        protocol=described["Protocol"],
        port=described["Port"],
        action=action["Type"],
        weights={group["TargetGroupArn"]: group.get("Weight", 1) for group in groups if group["TargetGroupArn"]},
    )


def forward(listener_arn: str, weights: Mapping[str, int]) -> None:
    """Make the listener's default action forward to these groups by weight; a single group makes a plain forward.

    The weights are always spelled out: a group without one would get the default, not zero.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_ModifyListener.html
    """
    action: dict[str, object] = {"Type": "forward"}
    if len(weights) == 1:
        [action["TargetGroupArn"]] = weights
    else:
        groups = [{"TargetGroupArn": group, "Weight": weight} for group, weight in weights.items()]
        action["ForwardConfig"] = {"TargetGroups": groups}
    aws.client("elbv2").modify_listener(ListenerArn=listener_arn, DefaultActions=[action])


class Rule(NamedTuple):
    """A rule of a listener; the default one has no priority."""

    arn: str
    priority: int | None
    conditions: tuple[Mapping[str, Any], ...]  # RuleCondition of the API
    action: str  # type of the last action, which decides where requests go

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
    return Rule(
        described["RuleArn"],
        None if described["IsDefault"] else int(described["Priority"]),
        tuple(described["Conditions"]),
        described["Actions"][-1]["Type"],
    )
