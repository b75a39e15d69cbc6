"""Rules of ours that DescribeRules does not show: somebody deleted them, or they are too new to be shown."""

from kirikae import notify
from kirikae.maintenance.world import Config, Observed
from kirikae.notify import Words

UNLESS = "it was deleted, unless it was made within the last minute, which AWS may show later"
UNLESS_JA = "削除されています (作成後 1 分以内であれば、まだ表示されていない可能性があります)"
# CloudFormation makes nothing again in a stack that did not change, and refuses these without their listener.
MADE_AGAIN = (
    "deploy once with MaintenanceListenerArn, MaintenanceStart, MaintenanceEnd, MaintenanceBypassCidrs and "
    "MaintenanceBypassTargetGroupArn empty, then with their values"
)
TESTERS = "MaintenanceBypassCidrs and MaintenanceBypassTargetGroupArn"


def page(config: Config, seen: Observed) -> Words:
    """Return that the maintenance rule is not shown, and how it is made again."""
    gone = f"rule {config.rule} is not among the listener's rules"
    why = f": {UNLESS}; if it was, {MADE_AGAIN}" if config.live else " that have a priority; name another"
    return notify.lines(
        [Words(f"MaintenanceRuleArn: {gone}{why}"), *([kept_numbers(config)] if seen.forgotten else [])]
    )


def testers(config: Config, seen: Observed) -> Words | None:
    """Return that the testers' rule is not shown, so that they get the page, and how it is made again."""
    if not (gone := config.live.keys() - seen.order.priorities.keys() - {config.rule}):
        return None
    rule = ", ".join(gone)
    return Words(
        f"MaintenanceBypassCidrs: rule {rule} is not among the listener's rules, so testers get the page like all "
        f"others: {UNLESS}; if it was, deploy once with {TESTERS} empty, then with their values",
        f"MaintenanceBypassCidrs: テスター用のルール {rule} がリスナーにないため、テスターにもメンテナンスページが"
        f"表示されます。ルールは{UNLESS_JA}。削除されている場合は、{TESTERS} を空にして一度デプロイし、"
        f"その後、元の値でデプロイしてください",
    )


def wrong(config: Config, seen: Observed) -> dict[str, Words]:
    """Return in a word which of our rules are not shown, and in words what a person does about it."""
    if config.rule not in seen.order.priorities:
        return {"no rule": page(config, seen)}
    return {"testers": said} if (said := testers(config, seen)) else {}


def kept_numbers(config: Config) -> Words:
    """Return what became of the other rules where the live rule was deleted or replaced: its tags went with it."""
    shows = f"--listener-arn {config.maintenance_listener_arn} --query 'Rules[].[Priority,RuleArn]' --output text"
    said = Words(
        "The rule that showed the page in this window is gone, and the memory of the order before it too. Rules that "
        "had made room for it keep their numbers, in the same order. These are (if MaintenanceListenerArn was changed "
        "since, give the ARN of the listener of before):",
        "この時間帯にページを表示していたルールと、その元の順序の記録がなくなりました。場所を空けたルールの優先度は"
        "そのままです (順序は同じです)。現在の優先度 (MaintenanceListenerArn を変更した場合は、変更前のリスナーの ARN "
        "を指定してください):",
    )
    return notify.with_commands(said, [notify.aws_command(config, "elbv2 describe-rules", shows)])
