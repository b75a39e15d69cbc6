"""The sandbox's CloudFormation refuses what AWS refuses and makes what AWS makes."""

import json
from pathlib import Path
from typing import Any

import pytest
import template_tools
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.account import Account
from sandbox.stack import cloudformation
from sandbox.stack.cloudformation import StackError
from sandbox.stack.intrinsics import (
    NO_VALUE,
    Identity,
    Scope,
    TemplateError,
    check_rules,
    condition_values,
    parameter_values,
    pseudo_parameters,
    references,
    resolve,
)

# Parameters


def test_ids_of_two_stacks_differ_in_their_first_part_and_not_in_their_last() -> None:
    first, second = (
        pseudo_parameters(name, "ap-northeast-1", "123456789012")["AWS::StackId"].rpartition("/")[2].split("-")
        for name in ("first", "second")
    )
    assert first[0] != second[0]
    assert first[4] == second[4]


@pytest.mark.parametrize(
    ("definition", "value", "expected"),
    [
        ({"Type": "String"}, "a", "a"),
        ({"Type": "String", "AllowedValues": [True, False]}, "true", "true"),
        ({"Type": "Number", "MinValue": 1, "MaxValue": 9}, "9", "9"),
        ({"Type": "CommaDelimitedList"}, "a, b", ["a", "b"]),
        ({"Type": "CommaDelimitedList"}, "", [""]),
        ({"Type": "List<Number>"}, "1,2", ["1", "2"]),
        ({"Type": "AWS::EC2::VPC::Id"}, "vpc-1", "vpc-1"),
        ({"Type": "CommaDelimitedList", "AllowedPattern": "i-[0-9a-f]+|"}, "i-1,i-2", ["i-1", "i-2"]),
    ],
)
def test_a_parameter_takes_a_good_value(definition: dict[str, Any], value: str, expected: Any) -> None:
    assert parameter_values({"P": definition}, {"P": value}) == {"P": expected}


@pytest.mark.parametrize(
    ("definition", "value", "message"),
    [
        ({"Type": "String", "AllowedValues": ["a", "b"]}, "c", "one of AllowedValues"),
        ({"Type": "String", "AllowedPattern": "a+"}, "ab", "must match pattern"),
        ({"Type": "String", "AllowedPattern": "a+", "ConstraintDescription": "only a"}, "b", "constraint: only a"),
        ({"Type": "String", "MinLength": 2}, "a", "at least 2 characters"),
        ({"Type": "String", "MaxLength": 2}, "aaa", "at most 2 characters"),
        ({"Type": "Number"}, "one", "must be a number"),
        ({"Type": "Number", "MinValue": 1}, "0", "not less than 1"),
        ({"Type": "Number", "MaxValue": 1}, "2", "not greater than 1"),
        ({"Type": "CommaDelimitedList", "AllowedPattern": "i-.+"}, "i-1,x", "must match pattern"),
        ({"Type": "CommaDelimitedList", "AllowedPattern": "i-.+"}, "", "must match pattern"),
        ({"Type": "List<Number>"}, "1,x", "must be a number"),
        ({"Type": "AWS::EC2::VPC::Id"}, "subnet-1", "does not exist"),
        ({"Type": "String"}, "あ" * 1366, "4096 bytes"),
        ({"Type": "Strnig"}, "", "Unrecognized parameter type: Strnig"),
    ],
)
def test_a_parameter_refuses_a_bad_value(definition: dict[str, Any], value: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        parameter_values({"P": definition}, {"P": value})


def test_defaults_are_checked_like_given_values() -> None:
    with pytest.raises(TemplateError, match="AllowedValues"):
        parameter_values({"P": {"Type": "String", "AllowedValues": ["a"], "Default": "b"}}, {})


def test_unknown_and_missing_parameters_are_named() -> None:
    with pytest.raises(TemplateError, match=r"Parameters: \[X\] do not exist in the template"):
        parameter_values({}, {"X": ""})
    with pytest.raises(TemplateError, match=r"Parameters: \[P\] must have values"):
        parameter_values({"P": {"Type": "String"}}, {})


# Rules

EMPTY, FULL = {"Ids": [""], "Mode": "a", "Groups": ["a", "b"]}, {"Ids": ["i-1"], "Mode": "b", "Groups": ["a", "c"]}


@pytest.mark.parametrize(
    ("assertion", "of_empty", "of_full"),
    [
        ({"Fn::Contains": [{"Ref": "Ids"}, ""]}, True, False),
        ({"Fn::Not": [{"Fn::Contains": [{"Ref": "Ids"}, ""]}]}, False, True),
        ({"Fn::Equals": [{"Ref": "Mode"}, "a"]}, True, False),
        ({"Fn::Contains": [["a", "b"], {"Ref": "Mode"}]}, True, True),
        ({"Fn::EachMemberIn": [{"Ref": "Groups"}, ["a", "b"]]}, True, False),
        ({"Fn::EachMemberEquals": [{"Ref": "Ids"}, ""]}, True, False),
        ({"Fn::And": [{"Fn::Equals": [{"Ref": "Mode"}, "a"]}, {"Fn::Equals": ["a", "a"]}]}, True, False),
        ({"Fn::Or": [{"Fn::Equals": [{"Ref": "Mode"}, "a"]}, {"Fn::Equals": ["a", "b"]}]}, True, False),
    ],
)
def test_a_rule_judges_the_parameters(assertion: dict[str, Any], of_empty: bool, of_full: bool) -> None:
    rules = {"R": {"Assertions": [{"Assert": assertion, "AssertDescription": "say this"}]}}
    for parameters, holds in ((EMPTY, of_empty), (FULL, of_full)):
        if holds:
            check_rules(rules, parameters)
        else:
            with pytest.raises(TemplateError, match="say this"):
                check_rules(rules, parameters)


def test_a_rule_whose_condition_is_false_asserts_nothing() -> None:
    never = {"Fn::Equals": ["a", "b"]}
    check_rules({"R": {"RuleCondition": never, "Assertions": [{"Assert": never}]}}, EMPTY)


@pytest.mark.parametrize(
    "assertion",
    [
        {"Condition": "HasIds"},
        {"Fn::If": ["HasIds", True, False]},
        {"Fn::Equals": [{"Fn::Join": ["", {"Ref": "Ids"}]}, ""]},
        {"Fn::Equals": [{"Ref": "Nobody"}, ""]},
    ],
)
def test_rules_know_only_their_own_functions(assertion: dict[str, Any]) -> None:
    with pytest.raises(TemplateError, match="not allowed in Rules"):
        check_rules({"R": {"Assertions": [{"Assert": assertion}]}}, EMPTY)


# Conditions and intrinsic functions

SCOPE = Scope(
    {"Name": "demo", "Ids": ["i-1", "i-2"], "AWS::Region": "ap-northeast-1", "AWS::NoValue": NO_VALUE},
    {"Yes": True, "No": False},
    {"Map": {"ja": {"word": "切り替え", "list": ["a"]}}},
    {"Topic": Identity("arn:topic", {"TopicName": "topic"})},
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"Ref": "Name"}, "demo"),
        ({"Ref": "Topic"}, "arn:topic"),
        ({"Fn::GetAtt": ["Topic", "TopicName"]}, "topic"),
        ({"Fn::GetAtt": "Topic.TopicName"}, "topic"),
        ({"Fn::Sub": "${Name}/${AWS::Region}/${Topic.TopicName}/${!Name}"}, "demo/ap-northeast-1/topic/${Name}"),
        ({"Fn::Sub": ["${Name}${x}", {"Name": "mine", "x": {"Ref": "Topic"}}]}, "minearn:topic"),
        ({"Fn::Join": [",", {"Ref": "Ids"}]}, "i-1,i-2"),
        ({"Fn::Join": ["-", [1, True, {"Ref": "Name"}]]}, "1-true-demo"),
        ({"Fn::Select": ["1", {"Ref": "Ids"}]}, "i-2"),
        ({"Fn::Split": ["/", "a/b"]}, ["a", "b"]),
        ({"Fn::Select": [1, {"Fn::Split": ["loadbalancer/", "x:loadbalancer/net/a/b"]}]}, "net/a/b"),
        ({"Fn::If": ["Yes", "a", {"Ref": "Nobody"}]}, "a"),
        ({"a": {"Fn::If": ["No", 1, {"Ref": "AWS::NoValue"}]}, "b": 2}, {"b": 2}),
        (["a", {"Fn::If": ["No", "b", {"Ref": "AWS::NoValue"}]}], ["a"]),
        ({"Fn::FindInMap": ["Map", "ja", "word"]}, "切り替え"),
        ({"Effect": "Allow", "Condition": {"StringEquals": {"a": "b"}}},) * 2,
    ],
)
def test_a_function_evaluates(value: Any, expected: Any) -> None:
    assert resolve(value, SCOPE) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"Ref": "Nobody"}, r"Unresolved resource dependencies \[Nobody\]"),
        ({"Fn::GetAtt": ["Nobody", "Arn"]}, "undefined resource Nobody"),
        ({"Fn::GetAtt": ["Topic", "Arn"]}, "does not support attribute Arn"),
        ({"Fn::GetAtt": ["Topic"]}, "two strings"),
        ({"Fn::Sub": "${Nobody}"}, "Nobody"),
        ({"Fn::Sub": "${Ids}"}, "a string was expected"),
        ({"Fn::Join": [",", "text"]}, "needs a list"),
        ({"Fn::Select": [2, {"Ref": "Ids"}]}, "nonexistent value at index 2"),
        ({"Fn::If": ["Maybe", 1, 2]}, "unresolved condition dependency Maybe"),
        ({"Fn::FindInMap": ["Map", "fr", "word"]}, "Unable to get mapping for Map::fr::word"),
        ({"Fn::Subb": "x"}, "Fn::Subb is unknown or malformed"),
    ],
)
def test_a_function_refuses(value: Any, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        resolve(value, SCOPE)


def test_conditions_build_on_each_other_in_any_order() -> None:
    definitions = {
        "Both": {"Fn::And": [{"Condition": "HasIds"}, {"Fn::Not": [{"Condition": "IsOther"}]}]},
        "HasIds": {"Fn::Not": [{"Fn::Equals": [{"Fn::Join": ["", {"Ref": "Ids"}]}, ""]}]},
        "IsOther": {"Fn::Or": [{"Fn::Equals": [{"Ref": "Name"}, "other"]}, {"Fn::Equals": ["1", "2"]}]},
    }
    assert condition_values(definitions, SCOPE) == {"HasIds": True, "IsOther": False, "Both": True}


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"Condition": "A"}, "Circular dependency"),
        ({"Condition": "B"}, "Unresolved condition dependency B"),
        ({"Fn::If": ["Yes", True, False]}, "is not a condition"),
        ({"Fn::Equals": ["a"]}, "is not a condition"),
        ({"Fn::Equals": [{"Fn::GetAtt": ["Nobody", "Arn"]}, "a"]}, "undefined resource"),
    ],
)
def test_a_condition_refuses(definition: dict[str, Any], message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        condition_values({"A": definition}, SCOPE)


LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda key: key != "Ref"), inner),
)


@settings(max_examples=50, deadline=None)  # a busy machine is no failure
@given(LITERALS)
def test_what_holds_no_function_stays_as_it_is(value: Any) -> None:
    assert resolve(value, SCOPE) == value
    assert list(references(value)) == []


# Whole templates

HEAD = """
Transform: AWS::Serverless-2016-10-31
Parameters:
  Ids: {Type: CommaDelimitedList, Default: ""}
Conditions:
  HasIds: !Not [!Equals [!Join ["", !Ref Ids], ""]]
Resources:
"""
QUEUE = "  Queue: {Type: AWS::SQS::Queue}\n"


def template(directory: Path, body: str) -> Path:
    path = directory / "template.yaml"
    path.write_text(HEAD + body)
    return path


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("  A: {Type: AWS::S3::Bucket}", r"Unrecognized resource types: \[AWS::S3::Bucket\]"),
        ("  A: {Type: AWS::S3::Bucket, Condition: HasIds}\n" + QUEUE, "AWS::S3::Bucket"),
        ("  A: {Type: AWS::SNS::Topic, Propertys: {}}", "Invalid key of resource A: Propertys"),
        ("  A: {Type: AWS::SNS::Topic, Properties: {TopicNam: a}}", "unsupported property TopicNam in A"),
        ("  A: {Type: AWS::SNS::Topic, Properties: {FifoTopic: true}}", "does not apply FifoTopic of A"),
        ("  A: {Type: AWS::SNS::Topic, DependsOn: B}", r"Unresolved resource dependencies \[B\]"),
        ("  A: {Type: AWS::SNS::Topic, Condition: HasIdz}", "Unresolved condition dependency HasIdz in A"),
        ("  A: {Type: AWS::SNS::Topic, Properties: {TopicName: !Ref B}}", r"dependencies \[B\] in A"),
        ("  A: {Type: AWS::SNS::Topic, Properties: {TopicName: !Sub '${B.Arn}'}}", r"dependencies \[B\] in A"),
        (QUEUE + "Outputs: {X: {Value: !GetAtt Queue.Url}}", "Queue does not support attribute type Url"),
        (QUEUE + "Outputs: {X: {Value: !If [HasIds, a, !GetAtt Queue.Url]}}", "attribute type Url"),
        (QUEUE + "Outputs: {X: {Value: !Ref Ids}}", "Output X is malformed"),
        (QUEUE + "Outputs: {X: {Valeu: a}}", "Invalid key of output X: Valeu"),
        (QUEUE + "Otputs: {}", "Invalid template section: Otputs"),
        (
            "  A: {Type: AWS::SNS::Topic, Condition: HasIds}\n" + QUEUE + "Outputs: {X: {Value: !Ref A}}",
            "the condition of that resource is false",
        ),
        (
            """
  A: {Type: AWS::SNS::Topic, Properties: {TopicName: !GetAtt B.TopicName}}
  B: {Type: AWS::SNS::Topic, Properties: {DisplayName: !GetAtt A.TopicName}}
""",
            r"Circular dependency between resources: \[[AB], [AB]\]",
        ),
        ("  A: {Type: AWS::Serverless::Function, Properties: {CodeUri: a, Runtime: python3.13}}", "Handler"),
        ("  A: {Type: AWS::Serverless::Function, Properties: {Handlr: a.b}}", "Handlr"),
        ("  Fn::ForEach::X: [Y, [a], {}]", "Fn::ForEach::X must be an object"),
        ("  A: {Type: AWS::SSM::Parameter, Properties: {Type: String}}", "'Value' is a required property"),
        ("  A: {Type: AWS::SQS::Queue, Properties: {DelaySeconds: 901}}", "901 is greater than the maximum of 900"),
        ("  A: {Type: AWS::SQS::Queue, Properties: {DelaySeconds: many}}", "'many' is not of type 'integer'"),
        (
            "  A: {Type: AWS::Events::Rule, Properties: {ScheduleExpression: rate(1 minute), Targets: [{Idd: a}]}}",
            "'Idd' was unexpected",
        ),
        ("  A: {Type: AWS::SNS::Topic, DeletionPolicy: Snapshot}", "does not apply DeletionPolicy Snapshot of A"),
        (f"  A: {{Type: AWS::SQS::Queue, Properties: {{QueueName: {'q' * 81}}}}}", "less than or equal to 80"),  # L2
        (
            f"  A: {{Type: AWS::CloudWatch::Dashboard, Properties: {{DashboardName: {'d' * 256}, DashboardBody: a}}}}",
            "255",
        ),
        (
            "  A: {Type: AWS::Events::Rule, Properties: {EventPattern: {source: [%s]}}}" % ("s" * 2034),
            "The event pattern of A .* is too large: 2049 of at most 2048",  # L3
        ),
        (
            f"  A: {{Type: AWS::SSM::Parameter, Properties: {{Type: String, Value: {'v' * 4097}}}}}",
            "4097 of at most 4096",
        ),
        (
            "  A: {Type: AWS::IAM::Role, Properties: {AssumeRolePolicyDocument: {}, Policies: [{PolicyName: a, "
            "PolicyDocument: {Statement: [%s]}}]}}" % ("s" * 10240),
            "The sum of the inline policies of A .* of at most 10240",  # L5
        ),
    ],
)
def test_a_template_is_refused_before_anything_is_created(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        template_tools.expanded({}, template(tmp_path, body))


def test_a_stack_name_has_at_most_128_characters(tmp_path: Path) -> None:  # L2
    path = template(tmp_path, QUEUE)
    assert template_tools.expanded({}, path, "s" * 128)
    for name in ("s" * 129, "1st", "a_b"):
        with pytest.raises(TemplateError, match="stackName"):
            template_tools.expanded({}, path, name)


@pytest.mark.parametrize(
    ("value", "fits"), [("v" * 4085, True), ("v" * 4086, False), ("あ" * 1361, True), ("あ" * 1362, False)]
)
def test_the_environment_of_a_function_is_measured_in_bytes_of_its_json(tmp_path: Path, value: str, fits: bool) -> None:
    body = f"""
  A:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: a
      Handler: app.lambda_handler
      Runtime: python3.13
      Environment: {{Variables: {{NAME: {value}}}}}
"""
    path = template(tmp_path, body)
    if fits:
        assert template_tools.expanded({}, path)
    else:
        with pytest.raises(TemplateError, match=r"The environment of A .* of at most 4096"):  # L4
            template_tools.expanded({}, path)


def test_another_transform_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "template.yaml"
    path.write_text("Transform: [AWS::LanguageExtensions, AWS::Serverless-2016-10-31]\nResources:\n" + QUEUE)
    with pytest.raises(TemplateError, match="LanguageExtensions"):
        template_tools.expanded({}, path)


def test_scalars_take_the_type_of_the_schema(tmp_path: Path) -> None:
    body = """
  A: {Type: AWS::SQS::Queue, Properties: {DelaySeconds: "60", SqsManagedSseEnabled: "true"}}
  B: {Type: AWS::SSM::Parameter, Properties: {Type: String, Value: 5}}
"""
    queue, parameter = (
        template_tools.expanded({}, template(tmp_path, body))["Resources"][name]["Properties"] for name in "AB"
    )
    assert queue == {"DelaySeconds": 60, "SqsManagedSseEnabled": True}
    assert parameter["Value"] == "5"


# A stack

BODY = """
  Shared:
    Type: AWS::Serverless::LayerVersion
    Properties: {ContentUri: Shared, CompatibleRuntimes: [python3.13]}
  Logs:
    Type: AWS::Logs::LogGroup
    Properties: {RetentionInDays: 30}
  Topic:
    Type: AWS::SNS::Topic
    Properties: {Subscription: [{Protocol: email, Endpoint: ops@example.com}]}
  DeadLetters: {Type: AWS::SQS::Queue}
  DeadLettersPolicy:
    Type: AWS::SQS::QueuePolicy
    Properties:
      Queues: [!Ref DeadLetters]
      PolicyDocument:
        Statement:
          - Effect: Allow
            Principal: {Service: events.amazonaws.com}
            Action: sqs:SendMessage
            Resource: !GetAtt DeadLetters.Arn
  Hold:
    Type: AWS::SSM::Parameter
    Properties: {Name: !Sub "/${AWS::StackName}/hold", Type: String, Value: "off"}
  Watch:
    Type: AWS::Serverless::Function
    Condition: HasIds
    Properties:
      CodeUri: Watch
      Handler: app.lambda_handler
      Runtime: python3.13
      Timeout: 30
      Layers: [!Ref Shared]
      Environment: {Variables: {IDS: !Join [",", !Ref Ids], RETRIES: 3}}
      Policies:
        - AWSXRayDaemonWriteAccess
        - Statement:
            - Effect: Allow
              Action: ec2:StopInstances
              Resource: "*"
              Condition: {StringEquals: {ec2:InstanceID: !Ref Ids}}
      EventInvokeConfig:
        MaximumRetryAttempts: 1
        MaximumEventAgeInSeconds: 120
        DestinationConfig: {OnFailure: {Type: SNS, Destination: !Ref Topic}}
      Events:
        State:
          Type: EventBridgeRule
          Properties:
            Pattern: {source: [aws.ec2], detail: {instance-id: !Ref Ids, state: [stopped]}}
            DeadLetterConfig: {Arn: !GetAtt DeadLetters.Arn}
  Outage:
    Type: AWS::CloudWatch::Alarm
    Condition: HasIds
    Properties:
      AlarmName: !Sub ${AWS::StackName}-outage
      Namespace: AWS/NetworkELB
      MetricName: HealthyHostCount
      Statistic: Minimum
      Period: 60
      EvaluationPeriods: 1
      Threshold: 1
      ComparisonOperator: LessThanThreshold
      AlarmActions: [!GetAtt Watch.Arn]
  OutagePermission:
    Type: AWS::Lambda::Permission
    Condition: HasIds
    Properties:
      Action: lambda:InvokeFunction
      FunctionName: !Ref Watch
      Principal: lambda.alarms.cloudwatch.amazonaws.com
      SourceArn: !GetAtt Outage.Arn
Outputs:
  Topic: {Value: !Ref Topic}
  Watch: {Condition: HasIds, Value: !GetAtt Watch.Arn}
"""
IDS = {"Ids": "i-1,i-2"}
ARN = "arn:aws:{}:ap-northeast-1:123456789012:{}"


@pytest.fixture
def build(tmp_path: Path) -> Path:
    template(tmp_path, BODY)
    (tmp_path / "Shared" / "python").mkdir(parents=True)
    (tmp_path / "Shared" / "python" / "word.py").write_text("WORD = 'switched'")
    (tmp_path / "Watch").mkdir()
    (tmp_path / "Watch" / "app.py").write_text(
        "import os, word\ndef lambda_handler(event, context):\n    return [word.WORD, os.environ['IDS']]\n"
    )
    return tmp_path


def test_a_stack_is_made_and_deleted(account: Account, build: Path) -> None:
    stack = cloudformation.deploy(account, build, "demo", IDS)

    topic = stack.resources["Topic"]
    assert topic.startswith("arn:aws:sns:ap-northeast-1:123456789012:demo-Topic-")
    assert stack.outputs == {"Topic": topic, "Watch": stack.attributes["Watch"]["Arn"]}
    assert stack.resources["Outage"] == "demo-outage"
    assert stack.attributes["Outage"] == {"Arn": ARN.format("cloudwatch", "alarm:demo-outage")}
    assert account.functions.invoke(stack.resources["Watch"], {}).payload == ["switched", "i-1,i-2"]
    subscriptions = account.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert [subscription["Endpoint"] for subscription in subscriptions] == ["ops@example.com"]
    assert account.client("ssm").get_parameter(Name="/demo/hold")["Parameter"]["Value"] == "off"
    assert account.client("logs").describe_log_groups()["logGroups"][0]["retentionInDays"] == 30
    queue = account.client("sqs").get_queue_attributes(
        QueueUrl=stack.resources["DeadLetters"], AttributeNames=["QueueArn", "Policy"]
    )["Attributes"]
    assert queue["QueueArn"] == stack.attributes["DeadLetters"]["Arn"]
    assert json.loads(queue["Policy"])["Statement"][0]["Resource"] == queue["QueueArn"]
    assert account.client("cloudwatch").describe_alarms()["MetricAlarms"][0]["AlarmName"] == "demo-outage"
    assert list(account.roles) == [stack.resources["WatchRole"]]

    cloudformation.delete(account, stack)

    assert account.roles == {}
    assert account.client("sns").list_topics()["Topics"] == []
    assert account.client("sqs").list_queues().get("QueueUrls", []) == []
    assert account.client("ssm").describe_parameters()["Parameters"] == []
    assert account.client("logs").describe_log_groups()["logGroups"] == []
    assert account.client("cloudwatch").describe_alarms()["MetricAlarms"] == []


def test_the_events_and_alarms_of_a_stack_reach_its_function(account: Account, build: Path) -> None:
    stack = cloudformation.deploy(account, build, "demo", IDS)
    for instance_id in ("i-1", "i-3"):
        detail = {"instance-id": instance_id, "state": "stopped"}
        account.events.emit("aws.ec2", "EC2 Instance State-change Notification", detail, [])
    account.advance(5)
    account.client("cloudwatch").set_alarm_state(AlarmName="demo-outage", StateValue="ALARM", StateReason="test")
    account.advance(5)
    assert {run.function for run in account.functions.runs} == {stack.resources["Watch"]}
    woken = [run.event.get("detail", {}).get("instance-id") or run.event["alarmArn"] for run in account.functions.runs]
    assert woken == ["i-1", stack.attributes["Outage"]["Arn"]]


def test_a_stack_without_parameters_makes_only_what_is_unconditional(account: Account, build: Path) -> None:
    stack = cloudformation.deploy(account, build, "demo", {})
    assert {"Topic", "Hold"} <= set(stack.resources)
    assert not {"Watch", "WatchRole", "WatchState", "Outage", "OutagePermission"} & set(stack.resources)
    assert set(stack.outputs) == {"Topic"}
    assert account.roles == {}


def test_an_update_changes_adds_and_removes(account: Account, build: Path) -> None:
    stack = cloudformation.deploy(account, build, "demo", IDS)
    account.client("ssm").put_parameter(Name="/demo/hold", Value="mine", Overwrite=True)

    changed = cloudformation.update(account, stack, build, {"Ids": "i-3"})
    assert changed.resources == stack.resources
    assert account.functions.invoke(changed.resources["Watch"], {}).payload == ["switched", "i-3"]
    statements = [s for p in account.roles[changed.resources["WatchRole"]].policies for s in p["Statement"]]
    [stops] = [statement for statement in statements if statement["Action"] == "ec2:StopInstances"]
    assert stops["Condition"] == {"StringEquals": {"ec2:InstanceID": ["i-3"]}}
    held = account.client("ssm").get_parameter(Name="/demo/hold")["Parameter"]["Value"]
    assert held == "mine", "an update leaves alone what did not change in the template"

    off = cloudformation.update(account, changed, build, {})
    assert "Watch" not in off.resources
    assert off.resources["Topic"] == stack.resources["Topic"]
    assert account.roles == {}
    assert account.client("cloudwatch").describe_alarms()["MetricAlarms"] == []


def test_a_change_that_needs_a_new_resource_makes_one(account: Account, tmp_path: Path) -> None:
    stack = cloudformation.deploy(account, template(tmp_path, QUEUE).parent, "demo", {})
    body = "  Queue: {Type: AWS::SQS::Queue, Properties: {QueueName: mine}}"
    renamed = cloudformation.update(account, stack, template(tmp_path, body).parent, {})
    assert renamed.attributes["Queue"]["QueueName"] == "mine"
    assert [url.rpartition("/")[2] for url in account.client("sqs").list_queues()["QueueUrls"]] == ["mine"]


def test_a_custom_named_resource_cannot_be_replaced(account: Account, tmp_path: Path) -> None:
    body = """
  Group:
    Type: AWS::EC2::SecurityGroup
    Properties: {GroupName: mine, GroupDescription: %s}
"""
    stack = cloudformation.deploy(account, template(tmp_path, body % "one").parent, "demo", {})
    with pytest.raises(StackError, match="Rename mine and update the stack again"):
        cloudformation.update(account, stack, template(tmp_path, body % "two").parent, {})


def test_a_failed_creation_leaves_nothing_behind(account: Account, build: Path) -> None:
    account.faults.add("ssm", "PutParameter", "ParameterLimitExceeded", message="no more")
    with pytest.raises(StackError, match=r"Hold \(AWS::SSM::Parameter\).*no more"):
        cloudformation.deploy(account, build, "demo", IDS)
    assert account.client("sns").list_topics()["Topics"] == []
    assert account.client("sqs").list_queues().get("QueueUrls", []) == []
    assert account.roles == {}


def test_code_that_was_not_built_is_an_error(account: Account, build: Path) -> None:
    (build / "Watch" / "app.py").unlink()
    (build / "Watch").rmdir()
    with pytest.raises(StackError, match="Watch does not exist: run sam build"):
        cloudformation.deploy(account, build, "demo", IDS)


def values(account: Account) -> dict[str, str]:
    """Return the parameters of the account and their values."""
    ssm = account.client("ssm")
    return {
        found["Name"]: ssm.get_parameter(Name=found["Name"])["Parameter"]["Value"]
        for found in ssm.describe_parameters()["Parameters"]
    }


def test_what_was_deleted_by_hand_is_not_made_again_by_an_update(account: Account, build: Path) -> None:  # P3
    def alarms() -> list[str]:
        return [alarm["AlarmName"] for alarm in account.client("cloudwatch").describe_alarms()["MetricAlarms"]]

    stack = cloudformation.deploy(account, build, "demo", IDS)
    account.client("cloudwatch").delete_alarms(AlarmNames=["demo-outage"])
    again = cloudformation.update(account, stack, build, IDS)
    assert alarms() == []
    off = cloudformation.update(account, again, build, {})
    cloudformation.update(account, off, build, IDS)
    assert alarms() == ["demo-outage"]


KEPT = """
  A:
    Type: AWS::SSM::Parameter
    %s
    Properties: {Name: %s, Type: String, Value: v}
"""


@pytest.mark.parametrize(
    ("policies", "left"),
    [("DeletionPolicy: Retain", {"a": "v"}), ("UpdateReplacePolicy: Retain", {}), ("DeletionPolicy: Delete", {})],
)
def test_a_resource_that_leaves_the_template_stays_by_its_old_deletion_policy(
    account: Account, tmp_path: Path, policies: str, left: dict[str, str]
) -> None:  # P6
    made = cloudformation.deploy(account, template(tmp_path, KEPT % (policies, "a") + QUEUE).parent, "demo", {})
    cloudformation.update(account, made, template(tmp_path, QUEUE).parent, {})
    assert values(account) == left


@pytest.mark.parametrize(
    ("policies", "left"),
    [("UpdateReplacePolicy: Retain", {"a": "v", "b": "v"}), ("DeletionPolicy: Retain", {"b": "v"})],
)
def test_a_resource_that_is_replaced_stays_by_its_update_replace_policy(
    account: Account, tmp_path: Path, policies: str, left: dict[str, str]
) -> None:  # P6
    made = cloudformation.deploy(account, template(tmp_path, KEPT % (policies, "a")).parent, "demo", {})
    cloudformation.update(account, made, template(tmp_path, KEPT % (policies, "b")).parent, {})
    assert values(account) == left


@pytest.mark.parametrize(("before", "left"), [(False, {"a": "v", "b": "v"}), (True, {"b": "v"})])
def test_whose_policy_counts_for_what_is_replaced_can_be_told(
    account: Account, tmp_path: Path, before: bool, left: dict[str, str]
) -> None:  # P6
    made = cloudformation.deploy(account, template(tmp_path, KEPT % ("", "a")).parent, "demo", {})
    new = template(tmp_path, KEPT % ("UpdateReplacePolicy: Retain", "b")).parent
    cloudformation.update(account, made, new, {}, policy_before=before)
    assert values(account) == left


def test_a_policy_that_is_all_that_changes_counts_from_then_on(account: Account, tmp_path: Path) -> None:  # P6
    made = cloudformation.deploy(account, template(tmp_path, KEPT % ("", "a") + QUEUE).parent, "demo", {})
    kept = template(tmp_path, KEPT % ("DeletionPolicy: Retain", "a") + QUEUE).parent
    made = cloudformation.update(account, made, kept, {})
    cloudformation.update(account, made, template(tmp_path, QUEUE).parent, {})
    assert values(account) == {"a": "v"}


def test_a_resource_in_a_policy_is_everything_or_an_arn(account: Account, tmp_path: Path) -> None:
    statement = "{Effect: Allow, Action: 's:Get', Resource: [arn:aws:s:::a, '%s']}"
    policy = "{PolicyName: a, PolicyDocument: {Statement: [" + statement + "]}}"
    body = "  A: {Type: AWS::IAM::Role, Properties: {AssumeRolePolicyDocument: {}, Policies: [" + policy + "]}}"
    for wrong in ("", "i-1"):
        with pytest.raises(
            cloudformation.StackError, match=f'A .*: Resource {wrong} must be in ARN format or "\\*"'
        ):  # L6
            cloudformation.deploy(account, template(tmp_path, body % wrong).parent, "demo", {})
    cloudformation.deploy(account, template(tmp_path, body % "*").parent, "demo", {})


def test_a_value_that_its_pattern_does_not_match_is_refused_with_the_pattern(account: Account, tmp_path: Path) -> None:
    body = "  A: {Type: AWS::SSM::Parameter, Properties: {Type: String, Value: %s, AllowedPattern: at most 1}}"
    refused = "A .*: .*Parameter value, cannot be validated against allowedPattern: at most 1$"
    with pytest.raises(cloudformation.StackError, match=refused):  # P15
        cloudformation.deploy(account, template(tmp_path, body % "at most 12").parent, "demo", {})
    cloudformation.deploy(account, template(tmp_path, body % "at most 1").parent, "demo", {})
    assert list(values(account).values()) == ["at most 1"]


HELD = """
  A:
    Type: AWS::SSM::Parameter
    Properties: {Name: a, Type: String, Value: v, Description: %s}
"""


def held(account: Account, tmp_path: Path) -> cloudformation.Stack:
    """Return a stack whose parameter an operator has written since."""
    made = cloudformation.deploy(account, template(tmp_path, HELD % "one" + QUEUE).parent, "demo", {})
    account.client("ssm").put_parameter(Name="a", Value="mine", Overwrite=True)
    return made


def test_a_parameter_that_changed_in_anything_is_sent_the_templates_value_again(
    account: Account, tmp_path: Path
) -> None:  # P1
    made = held(account, tmp_path)
    cloudformation.update(account, made, template(tmp_path, HELD % "two" + QUEUE).parent, {})
    assert values(account) == {"a": "v"}


def test_the_tags_of_a_parameter_come_and_go_without_its_value(account: Account, tmp_path: Path) -> None:  # P2
    def tags() -> list[Any]:
        return ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId="a")["TagList"]

    ssm, made = account.client("ssm"), held(account, tmp_path)
    same = template(tmp_path, HELD % "one" + QUEUE).parent
    made = cloudformation.update(account, made, same, {}, {"team": "shop"})
    assert (values(account), tags()) == ({"a": "mine"}, [{"Key": "team", "Value": "shop"}])
    cloudformation.update(account, made, same, {}, {})
    assert (values(account), tags()) == ({"a": "mine"}, [])


def test_a_parameter_that_was_deleted_by_hand_fails_the_update_that_touches_it(
    account: Account, tmp_path: Path
) -> None:  # P3
    made = held(account, tmp_path)
    account.client("ssm").delete_parameter(Name="a")
    with pytest.raises(StackError, match="ParameterNotFound"):
        cloudformation.update(account, made, template(tmp_path, HELD % "two" + QUEUE).parent, {})


def test_a_failed_update_is_rolled_back_with_the_values_of_the_template_before(
    account: Account, tmp_path: Path
) -> None:  # P4
    made = held(account, tmp_path)
    account.faults.add("sqs", "CreateQueue", "OverLimit")
    both = HELD % "two" + QUEUE + "  B: {Type: AWS::SQS::Queue, DependsOn: A}\n  C: {Type: AWS::SNS::Topic}\n"
    with pytest.raises(StackError, match="OverLimit"):
        cloudformation.update(account, made, template(tmp_path, both).parent, {})
    found = account.client("ssm").describe_parameters()["Parameters"]
    assert [(one["Name"], one["Description"]) for one in found] == [("a", "one")]
    assert values(account) == {"a": "v"}  # not the operator's
    assert account.client("sns").list_topics()["Topics"] == []


# Load balancing

ALB = """
  Open:
    Type: AWS::EC2::SecurityGroup
    Properties:
      GroupDescription: sorry page
      VpcId: %(vpc)s
      SecurityGroupIngress: [{IpProtocol: tcp, FromPort: 80, ToPort: 80, CidrIp: 0.0.0.0/0}]
  Sorry:
    Type: AWS::ElasticLoadBalancingV2::LoadBalancer
    Properties:
      Type: application
      Subnets: [%(a)s, %(b)s]
      SecurityGroups: [!Ref Open]
      LoadBalancerAttributes: [{Key: idle_timeout.timeout_seconds, Value: "30"}]
  SorryListener:
    Type: AWS::ElasticLoadBalancingV2::Listener
    Properties:
      LoadBalancerArn: !Ref Sorry
      Port: 80
      Protocol: HTTP
      DefaultActions:
        - {Type: fixed-response, FixedResponseConfig: {StatusCode: "503", ContentType: text/plain, MessageBody: sorry}}
  SorryHealth:
    Type: AWS::ElasticLoadBalancingV2::ListenerRule
    Properties:
      ListenerArn: !Ref SorryListener
      Priority: 10
      Conditions: [{Field: path-pattern, PathPatternConfig: {Values: [/health]}}]
      Actions: [{Type: fixed-response, FixedResponseConfig: {StatusCode: "200"}}]
  SorryGroup:
    Type: AWS::ElasticLoadBalancingV2::TargetGroup
    DependsOn: SorryListener
    Properties:
      TargetType: alb
      Protocol: TCP
      Port: 80
      VpcId: %(vpc)s
      HealthCheckProtocol: HTTP
      HealthCheckPath: /health
      Targets: [{Id: !Ref Sorry, Port: 80}]
  PrimaryGroup:
    Type: AWS::ElasticLoadBalancingV2::TargetGroup
    Properties:
      Protocol: TCP
      Port: 80
      VpcId: %(vpc)s
      TargetGroupAttributes: [{Key: deregistration_delay.timeout_seconds, Value: "0"}]
Outputs:
  Group: {Value: !GetAtt SorryGroup.TargetGroupFullName}
  Balancer: {Value: !GetAtt Sorry.LoadBalancerFullName}
"""


@pytest.fixture
def alb(account: Account) -> str:
    ec2 = account.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    a, b = (
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"ap-northeast-1{zone}")["Subnet"]
        for n, zone in enumerate("ac")
    )
    return ALB % {"vpc": vpc, "a": a["SubnetId"], "b": b["SubnetId"]}


def test_a_sorry_load_balancer_is_made_in_the_right_order(account: Account, tmp_path: Path, alb: str) -> None:
    ec2, elb = account.client("ec2"), account.client("elbv2")

    stack = cloudformation.deploy(account, template(tmp_path, alb).parent, "demo", {})

    group = stack.resources["SorryGroup"]
    assert group.endswith(f":{stack.outputs['Group']}")
    assert stack.resources["Sorry"].endswith(f":loadbalancer/{stack.outputs['Balancer']}")
    health = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    assert [target["Target"] for target in health] == [{"Id": stack.resources["Sorry"], "Port": 80}]
    attributes = elb.describe_target_group_attributes(TargetGroupArn=stack.resources["PrimaryGroup"])["Attributes"]
    assert {"Key": "deregistration_delay.timeout_seconds", "Value": "0"} in attributes
    rules = elb.describe_rules(ListenerArn=stack.resources["SorryListener"])["Rules"]
    assert [rule["Priority"] for rule in rules] == ["10", "default"]
    ingress = ec2.describe_security_groups(GroupIds=[stack.resources["Open"]])["SecurityGroups"][0]["IpPermissions"]
    assert [block["FromPort"] for block in ingress] == [80]


def test_an_update_puts_a_rule_back_to_the_priority_of_the_template(account: Account, tmp_path: Path, alb: str) -> None:
    stack = cloudformation.deploy(account, template(tmp_path, alb).parent, "demo", {})
    changed = template(tmp_path, alb.replace("Priority: 10", "Priority: 20"))
    assert cloudformation.update(account, stack, changed.parent, {}).resources == stack.resources
    rules = account.client("elbv2").describe_rules(ListenerArn=stack.resources["SorryListener"])["Rules"]
    assert [rule["Priority"] for rule in rules] == ["20", "default"]


def test_tags_of_the_stack_change_a_rule_and_put_back_all_of_it(account: Account, tmp_path: Path, alb: str) -> None:
    elb = account.client("elbv2")
    path = template(tmp_path, alb).parent
    stack = cloudformation.deploy(account, path, "demo", {}, {"team": "web"})
    listener, rule = stack.resources["SorryListener"], stack.resources["SorryHealth"]
    open_now = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}}

    def by_hand() -> None:
        elb.modify_rule(RuleArn=rule, Actions=[open_now])
        elb.set_rule_priorities(RulePriorities=[{"RuleArn": rule, "Priority": 5}])
        elb.add_tags(ResourceArns=[rule], Tags=[{"Key": "mine", "Value": "yes"}])

    def seen() -> tuple[str, str, dict[str, str]]:
        found = elb.describe_rules(ListenerArn=listener)["Rules"][0]
        tags = elb.describe_tags(ResourceArns=[rule])["TagDescriptions"][0]["Tags"]
        status = found["Actions"][0]["FixedResponseConfig"]["StatusCode"]
        return found["Priority"], status, {tag["Key"]: tag["Value"] for tag in tags}

    assert seen() == ("10", "200", {"team": "web"})
    by_hand()
    stack = cloudformation.update(account, stack, path, {})
    assert seen() == ("5", "503", {"team": "web", "mine": "yes"})  # P3: without a word about tags they stay
    stack = cloudformation.update(account, stack, path, {}, {"owner": "ops"})
    assert seen() == ("10", "200", {"owner": "ops", "mine": "yes"})  # N28
    for kind in ("Sorry", "SorryGroup", "SorryListener"):
        [described] = elb.describe_tags(ResourceArns=[stack.resources[kind]])["TagDescriptions"]
        assert {tag["Key"] for tag in described["Tags"]} == {"owner"}


def test_a_load_balancer_goes_after_the_group_it_is_a_target_of(account: Account, tmp_path: Path, alb: str) -> None:
    stack = cloudformation.deploy(account, template(tmp_path, alb).parent, "demo", {})
    cloudformation.delete(account, stack)
    assert account.client("elbv2").describe_load_balancers()["LoadBalancers"] == []
    assert account.client("elbv2").describe_target_groups()["TargetGroups"] == []


def test_a_function_is_a_target_once_the_load_balancer_may_invoke_it(account: Account, build: Path) -> None:
    template(
        build,
        BODY.partition("Outputs:")[0]
        + """
  Page:
    Type: AWS::ElasticLoadBalancingV2::TargetGroup
    Condition: HasIds
    DependsOn: PagePermission
    Properties:
      TargetType: lambda
      Targets: [{Id: !GetAtt Watch.Arn}]
      TargetGroupAttributes: [{Key: lambda.multi_value_headers.enabled, Value: "true"}]
  PagePermission:
    Type: AWS::Lambda::Permission
    Condition: HasIds
    Properties:
      Action: lambda:InvokeFunction
      FunctionName: !GetAtt Watch.Arn
      Principal: elasticloadbalancing.amazonaws.com
""",
    )
    stack = cloudformation.deploy(account, build, "demo", IDS)
    health = account.client("elbv2").describe_target_health(TargetGroupArn=stack.resources["Page"])
    targets = [target["Target"]["Id"] for target in health["TargetHealthDescriptions"]]
    assert targets == [stack.attributes["Watch"]["Arn"]]


# The tools for template tests


def test_the_expanded_template_is_literal_and_the_same_every_time(build: Path) -> None:
    first = template_tools.expanded(IDS, build / "template.yaml")
    template_tools._expanded.cache_clear()
    assert template_tools.expanded(IDS, build / "template.yaml") == first
    variables = first["Resources"]["Watch"]["Properties"]["Environment"]["Variables"]
    assert variables == {"IDS": "i-1,i-2", "RETRIES": "3"}
    assert not [name for name in ("Ref", "Fn::") if f'{{"{name}' in json.dumps(first)]
    assert "Watch" not in template_tools.expanded({}, build / "template.yaml")["Resources"]


def test_the_statements_of_a_function_are_those_of_its_role(build: Path) -> None:
    statements = template_tools.policies_of(template_tools.expanded(IDS, build / "template.yaml"), "Watch")
    [stops] = [statement for statement in statements if statement["Action"] == "ec2:StopInstances"]
    assert stops["Condition"] == {"StringEquals": {"ec2:InstanceID": ["i-1", "i-2"]}}
    assert ["logs:PutLogEvents" in statement["Action"] for statement in statements].count(True) == 1


def test_a_pattern_matches_only_its_events(build: Path) -> None:
    rule = template_tools.of_type(template_tools.expanded(IDS, build / "template.yaml"), "AWS::Events::Rule")
    pattern = rule["WatchState"]["EventPattern"]
    event = {"source": "aws.ec2", "detail": {"instance-id": "i-1", "state": "stopped"}}
    assert template_tools.event_pattern_matches(pattern, event)
    assert not template_tools.event_pattern_matches(pattern, event | {"source": "aws.ecs"})
    assert not template_tools.event_pattern_matches(pattern, event | {"detail": {"instance-id": "i-3"}})
