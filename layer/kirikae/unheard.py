"""Who does not get the mails of this stack: its topic has no subscription, or a key that alarms cannot use."""

from kirikae import clock, env, notify, told
from kirikae.notify import Mail, Words


def conditions(config: env.Stack) -> tuple[str, ...]:
    """Return the conditions of the topic, and mail once per topic that no alarm reaches it: no alarm could.

    The key policy of alias/aws/sns cannot be changed, and does not admit CloudWatch.
    https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
    """
    topic = notify.topic_attributes(config.topic_arn)
    if topic is None or topic.get("SubscriptionsConfirmed") == "0":
        return ("NobodyHears",)
    if not topic.get("KmsMasterKeyId", "").endswith("alias/aws/sns"):
        return ()
    _tell(config)
    return ("AlarmsUnheard",)


def _tell(config: env.Stack) -> None:
    """Mail that alarms reach nobody, unless it is noted already, or another run is about to tell something."""
    name, now = config.told_parameter, clock.now()
    note, about = told.read(name), config.topic_arn.rpartition(":")[2]
    if note is None or note.telling is not None or note.known.get(told.ALARMS) == about:
        return
    state, since = {**note.known, told.ALARMS: about}, {key: note.since.get(key, note.at) for key in note.known}
    if told.claim(name, note, state, now - told.STALE_READS, now) and notify.announce(config, _mail(config)):
        told.close(name, state, clock.now(), since=since)


def _mail(config: env.Stack) -> Mail:
    key = notify.aws_command(
        config,
        "sns set-topic-attributes",
        f"--topic-arn {config.topic_arn} --attribute-name KmsMasterKeyId --attribute-value KEY",
    )
    return notify.mail(
        config,
        "ATTENTION, no alarm reaches this topic",
        happened=Words(
            f"{config.topic_arn} is encrypted with alias/aws/sns, which CloudWatch may not use. Mails like this one "
            f"arrive; those of every alarm (refused, held, failed events, function errors) are lost.",
            f"{config.topic_arn} は alias/aws/sns で暗号化されており、CloudWatch はこのキーを使用できません。"
            f"このようなメールは届きますが、アラーム (refused、held、failed events、function errors) の通知は"
            f"届きません。",
        ),
        check=notify.with_commands(
            Words(
                "Give the topic a key of your own that admits cloudwatch.amazonaws.com, and name it in KmsKeyArn:",
                "キーポリシーで cloudwatch.amazonaws.com を許可したカスタマーマネージドキーをトピックに設定し、"
                "KmsKeyArn にも指定してください:",
            ),
            [key],
        ),
    )
