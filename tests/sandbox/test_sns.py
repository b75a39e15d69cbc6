"""SNS in the sandbox: what it takes, what it refuses, and the mails that come of it."""

import json
from contextlib import nullcontext

import boto3
import pytest
from botocore.exceptions import ClientError

from sandbox import kms
from sandbox.account import Account
from sandbox.iam import Role
from sandbox.services.delivery import DeliveryError
from sandbox.services.sns import problem


@pytest.fixture
def topic(account: Account) -> str:
    return str(account.client("sns").create_topic(Name="alerts")["TopicArn"])


@pytest.mark.parametrize("subject", [None, "x", "x" * 100, "[kirikae] shop: sorry page on (2 of 2 down)", '"quoted"'])
def test_subjects_that_sns_takes(subject: str | None) -> None:
    assert problem(subject, "text") is None


@pytest.mark.parametrize("subject", ["", "x" * 101, "two\nlines", "a\ttab", "a\x7fdelete", " blank first", "切り替え"])
def test_subjects_that_sns_refuses(subject: str) -> None:
    assert problem(subject, "text") == "Invalid parameter: Subject"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("", "Invalid parameter: Empty message"),
        ("x" * 262144, None),
        ("x" * 262145, "Invalid parameter: Message too long"),
        ("切" * 87382, "Invalid parameter: Message too long"),  # three bytes each
        ("切" * 87381, None),
    ],
)
def test_the_length_of_a_message_is_counted_in_bytes(message: str, reason: str | None) -> None:
    assert problem(None, message) == reason


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ('{"default": "x"}', None),
        ('{"email": "x"}', "Invalid parameter: Message Structure - No default entry in JSON message body"),
        ("[]", "Invalid parameter: Message Structure - No default entry in JSON message body"),
        ("x", "Invalid parameter: Message Structure - JSON message body failed to parse"),
    ],
)
def test_a_structured_message_needs_a_default(message: str, reason: str | None) -> None:
    assert problem(None, message, "json") == reason


def test_a_publish_is_one_mail_to_all_email_subscribers(account: Account, topic: str) -> None:
    for address in ("a@example.com", "b@example.com"):
        account.client("sns").subscribe(TopicArn=topic, Protocol="email", Endpoint=address)
    other = account.client("sns").create_topic(Name="other")["TopicArn"]
    account.client("sns").subscribe(TopicArn=other, Protocol="email", Endpoint="c@example.com")
    account.advance(90)
    account.client("sns").publish(TopicArn=topic, Subject="hello", Message="本文")
    (mail,) = account.mails
    assert (mail.subject, mail.body, mail.topic_arn) == ("hello", "本文", topic)
    assert mail.recipients == ("a@example.com", "b@example.com")
    assert mail.time == account.clock.now()


def test_a_publish_without_subscribers_is_kept_too(account: Account, topic: str) -> None:
    account.client("sns").publish(TopicArn=topic, Message="text")
    assert [(mail.subject, mail.recipients) for mail in account.mails] == [(None, ())]


def test_the_email_part_of_a_structured_message_is_the_mail(account: Account, topic: str) -> None:
    message = json.dumps({"default": "short", "email": "long"})
    account.client("sns").publish(TopicArn=topic, Message=message, MessageStructure="json")
    assert [mail.body for mail in account.mails] == ["long"]


def test_what_is_refused_is_no_mail(account: Account, topic: str) -> None:
    with pytest.raises(ClientError, match=r"InvalidParameter.*Subject"):
        account.client("sns").publish(TopicArn=topic, Subject="two\nlines", Message="text")
    with pytest.raises(ClientError, match="NotFound"):
        account.client("sns").publish(TopicArn=f"{topic}2", Message="text")
    account.faults.add("sns", "Publish", "InternalError", status=500)
    with pytest.raises(ClientError, match="InternalError"):
        account.client("sns").publish(TopicArn=topic, Message="text")
    assert account.mails == []


def test_a_publish_whose_answer_is_lost_has_sent_its_mail(account: Account, topic: str) -> None:
    account.faults.add("sns", "Publish", "InternalError", status=500, after=True, times=1)
    with pytest.raises(ClientError, match="InternalError"):
        account.client("sns").publish(TopicArn=topic, Message="text")
    assert [mail.body for mail in account.mails] == ["text"]


def test_only_confirmed_subscriptions_count_and_get_mails(account: Account, topic: str) -> None:  # U10
    sns = account.client("sns")
    for address in ("a@example.com", "b@example.com", "c@example.com"):
        sns.subscribe(TopicArn=topic, Protocol="email", Endpoint=address)

    def counts() -> dict[str, str]:
        attributes = sns.get_topic_attributes(TopicArn=topic)["Attributes"]
        return {key: value for key, value in attributes.items() if key.startswith("Subscriptions")}

    assert counts() == {"SubscriptionsConfirmed": "3", "SubscriptionsPending": "0", "SubscriptionsDeleted": "0"}
    account.sns.pending.add("b@example.com")
    account.sns.ends("c@example.com")
    assert counts() == {"SubscriptionsConfirmed": "1", "SubscriptionsPending": "1", "SubscriptionsDeleted": "1"}
    sns.publish(TopicArn=topic, Message="text")
    assert account.mails[-1].recipients == ("a@example.com",)
    listed = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert [one["Endpoint"] for one in listed] == ["a@example.com", "b@example.com"]
    assert [one["SubscriptionArn"] == "PendingConfirmation" for one in listed] == [False, True]
    account.sns.pending.clear()
    assert counts()["SubscriptionsConfirmed"] == "2"


KEY = "arn:aws:kms:ap-northeast-1:123456789012:key/00000000-0000-4000-8000-000000000000"
SENDS = ["sns:Publish", "sqs:SendMessage"]


@pytest.mark.parametrize(
    ("allowed", "on", "lacks"),
    [
        ([], KEY, "kms:GenerateDataKey"),
        (["kms:Decrypt"], KEY, "kms:GenerateDataKey"),
        (["kms:GenerateDataKey"], KEY, "kms:Decrypt"),
        (["kms:GenerateDataKey*", "kms:Decrypt"], KEY[:-1] + "1", "kms:GenerateDataKey"),
        (["kms:GenerateDataKey*", "kms:Decrypt"], KEY, None),
    ],
)
@pytest.mark.parametrize("written", [KEY, KEY.rpartition("/")[2]], ids=["ARN", "id"])
def test_who_sends_to_what_a_key_encrypts_needs_the_key(
    account: Account, allowed: list[str], on: str, lacks: str | None, written: str
) -> None:
    topic = account.client("sns").create_topic(Name="secret", Attributes={"KmsMasterKeyId": written})["TopicArn"]
    url = account.client("sqs").create_queue(QueueName="secret", Attributes={"KmsMasterKeyId": written})["QueueUrl"]
    statements = [{"Effect": "Allow", "Action": SENDS, "Resource": "*"}]
    statements += [{"Effect": "Allow", "Action": allowed, "Resource": on}] if allowed else []
    account.roles["role"] = Role({}, [{"Statement": statements}])
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    given = dict(zip(names, account.credentials_for("role"), strict=True))
    session = boto3.Session(region_name=account.region, **given)

    sends = {
        "KMSAccessDenied": lambda: session.client("sns", endpoint_url=account.endpoint).publish(
            TopicArn=topic, Message="text"
        ),
        "KMS.AccessDeniedException": lambda: session.client("sqs", endpoint_url=account.endpoint).send_message(
            QueueUrl=url, MessageBody="text"
        ),
    }
    for code, send in sends.items():
        if lacks is None:
            send()
            continue
        with pytest.raises(ClientError, match=f"{lacks} on resource: {KEY}") as caught:
            send()
        assert caught.value.response["Error"]["Code"] == code
    arrived = account.client("sqs").receive_message(QueueUrl=url).get("Messages", [])
    assert (len(account.mails), len(arrived)) == ((0, 0) if lacks else (1, 1))


def test_the_key_of_aws_admits_everybody_and_an_alias_is_not_looked_up(account: Account) -> None:
    role = Role({}, [])
    for name, key in (("of-aws", "alias/aws/sqs"), ("none", ""), ("alias", "alias/mine")):
        attributes = {"KmsMasterKeyId": key} if key else {}
        account.client("sqs").create_queue(QueueName=name, Attributes=attributes)
    assert kms.missing(account, role, account.arn("sqs", "of-aws")) is None
    assert kms.missing(account, role, account.arn("sqs", "none")) is None
    assert kms.missing(account, role, account.arn("sqs", "not-there")) is None
    with pytest.raises(NotImplementedError, match="alias/mine"):
        kms.missing(account, role, account.arn("sqs", "alias"))


@pytest.mark.parametrize(("key", "arrives"), [("", True), ("alias/aws/sns", False)])
def test_no_service_may_use_the_key_of_aws_for_topics(account: Account, key: str, arrives: bool) -> None:
    attributes = {"KmsMasterKeyId": key} if key else {}
    topic = account.client("sns").create_topic(Name="ops", Attributes=attributes)["TopicArn"]
    with nullcontext() if arrives else pytest.raises(DeliveryError, match="no authorization to access the key"):
        account.sns.deliver(
            topic, "s", "m", service="cloudwatch.amazonaws.com", source_arn=account.arn("cloudwatch", "a")
        )
    assert len(account.sns.messages) == arrives


def test_a_queue_takes_from_a_service_only_what_its_policy_allows(account: Account) -> None:
    url = account.client("sqs").create_queue(QueueName="dlq")["QueueUrl"]
    queue, rule = account.arn("sqs", "dlq"), account.arn("events", "rule/tick")

    def send(source_arn: str) -> None:
        source = {"service": "events.amazonaws.com", "source_arn": source_arn}
        account.sqs.deliver(queue, "text", {"RULE_ARN": source_arn}, **source)

    with pytest.raises(DeliveryError, match="NO_PERMISSIONS"):
        send(rule)
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    account.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    with pytest.raises(DeliveryError, match="NO_PERMISSIONS"):
        send(account.arn("events", "rule/other"))
    send(rule)
    (message,) = account.client("sqs").receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
    assert message["Body"] == "text"
    assert message["MessageAttributes"]["RULE_ARN"]["StringValue"] == rule
    with pytest.raises(DeliveryError, match="NO_RESOURCE"):
        account.sqs.deliver(f"{queue}2", "", {}, service="events.amazonaws.com", source_arn=rule)
