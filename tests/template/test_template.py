"""The contract with those who deploy: parameters, refusals, outputs, and what each function is told."""

import importlib
import json
import os
import re
import runpy
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from stacks import (
    ELB,
    EVERYTHING,
    FOREIGN,
    FUNCTIONS,
    LISTENERS,
    MAINTENANCE,
    NLB,
    NLB_ALB,
    PAGE,
    PAIR,
    PRIMARY,
    ROTATION,
    SHARED,
    SORRY,
    SORRY_ALB,
    SOURCE,
    STANDBY,
    TOPIC,
    acting,
    all_of,
    arn,
    every_acting_function,
    every_way,
    topic,
)
from template_tools import STACK_NAME, TEMPLATE, expanded, of_type

from kirikae import env
from kirikae.errors import InputError
from sandbox.account import Account
from sandbox.stack import cloudformation, intrinsics

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
    "PrimaryTargetGroupArns": "",
    "SorryTargetGroupArns": "",
    "PrimaryTargetGroupArn": "",
    "SorryTargetGroupArn": "",
    "PrimaryInstanceIds": "",
    "MinHealthyTargets": "1",
    "SwitchMode": "weighted",
    "OutageMinutes": "1",
    "RecoveryMinutes": "3",
    "AutoSwitchback": "true",
    "MaxSwitchesPerHour": "4",
    "ProbeUrl": "",
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
    "PairMoveWhenImpaired": "false",
    "MaintenanceListenerArn": "",
    "MaintenanceRuleArn": "",
    "LivePriority": "1",
    "ParkedPriority": "49999",
    "TestersParkedPriority": "50000",
    "MaintenanceStart": "",
    "MaintenanceEnd": "",
    "MaintenanceTimezone": "Asia/Tokyo",
    "MaintenanceRetryAfterSeconds": "300",
    "MaintenanceLogQueries": "false",
    "MaintenanceBypassCidrs": "",
    "MaintenanceBypassTargetGroupArn": "",
    "RotationTargetGroupArns": "",
    "RotationMinHealthy": "1",
}
# Capabilities that are still to come, by the start of their parameters' names; each takes its line away when it comes.
TO_COME = ()
BESIDES = {
    "MaintenanceLogQueries",
    "MaintenanceReplies",
    "MaintenanceRetryAfterSeconds",
    "RotationAllowStandby",
    "RotationDefaults",
    "RotationDocuments",
    "RotationSchedule",
    "StandbyGiveUpMinutes",
}
# Their patterns count the elements, which no list can.
TEXTS = {
    "MaintenanceBypassCidrs",
    "PrimaryTargetGroupArns",
    "RotationDocuments",
    "SorryIngressCidrs",
    "SorryTargetGroupArns",
}
LISTS = {
    name for name in {*DEFAULTS, *BESIDES} if name.endswith(("Arns", "Ids", "Cidrs", "Types", "Addresses", "Documents"))
} - TEXTS


def test_parameters_and_defaults_are_those_of_the_contract() -> None:
    there = {name: str(parameter.get("Default")) for name, parameter in SOURCE["Parameters"].items()}
    promised = {name: default for name, default in DEFAULTS.items() if not name.startswith(TO_COME)}
    assert {name: there.get(name) for name in promised} == promised
    assert {name: default for name, default in there.items() if name in DEFAULTS} == promised
    unknown = there.keys() - DEFAULTS.keys()
    assert unknown <= BESIDES  # each is told in its own tests


@pytest.mark.parametrize("name", SOURCE["Parameters"])
def test_a_parameter_says_what_it_is_and_what_it_takes(name: str) -> None:
    parameter = SOURCE["Parameters"][name]
    assert parameter["Description"]
    assert (parameter["Type"] == "CommaDelimitedList") == (name in LISTS)
    if "AllowedValues" not in parameter:
        assert parameter["AllowedPattern"]
        assert parameter["ConstraintDescription"]


def test_the_console_lists_every_parameter_once() -> None:
    groups = SOURCE["Metadata"]["AWS::CloudFormation::Interface"]
    listed = Counter(name for group in groups["ParameterGroups"] for name in group["Parameters"])
    assert listed == Counter(list(SOURCE["Parameters"]))
    assert set(groups["ParameterLabels"]) <= set(SOURCE["Parameters"])
    assert all(group["Label"]["default"] for group in groups["ParameterGroups"])


STANDBY_ALARMS = tuple(f"StandbyActive{what}Alarm" for what in ("Status", "Application", "Cpu"))


def test_outputs_name_every_function_the_topic_the_parameters_and_the_dashboard() -> None:
    stack = expanded(EVERYTHING)
    expected = {f"{function}Arn": arn(stack, function) for function in FUNCTIONS}
    expected |= {
        f"{name}Arn": machine["Ref"] for name, machine in all_of(stack, "AWS::StepFunctions::StateMachine").items()
    }
    [dashboard] = all_of(stack, "AWS::CloudWatch::Dashboard").values()
    expected |= {"TopicArn": stack["Resources"]["Topic"]["Ref"], "DashboardName": dashboard["Ref"]}
    expected |= {"HoldParameterName": f"/{STACK_NAME}/hold", "MaintenanceParameterName": f"/{STACK_NAME}/maintenance"}
    expected |= {"LogGroupName": stack["Resources"]["Log"]["Ref"]}
    expected |= {"MaintenancePageLogGroupName": stack["Resources"]["MaintenancePageLog"]["Ref"]}
    expected |= {"FailedEventsQueueUrl": stack["Resources"]["FailedEvents"]["Ref"]}
    expected |= {"MaintenanceTargetGroupArn": stack["Resources"]["MaintenanceTargetGroup"]["Ref"]}
    # Names and ARNs that commands in the documents ask for.
    expected |= {f"{name}Name": stack["Resources"][name]["Ref"] for name in STANDBY_ALARMS}
    expected |= {"MaintenanceRuleArn": stack["Resources"]["MaintenanceRule"]["Ref"]}
    expected |= {f"{name}Arn": arn(stack, name) for name in ("ColdStandbyStartRole", "SecondaryIpReassignmentRole")}
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


def test_no_template_owns_a_parameter_that_people_or_functions_write() -> None:
    stack = expanded(EVERYTHING)
    notes = all_of(stack, "AWS::SSM::Parameter")
    names = {one["Properties"]["Name"] for one in notes.values()}
    assert names == {f"/{STACK_NAME}/about/hold", f"/{STACK_NAME}/about/maintenance"}
    written = {
        value
        for properties in of_type(stack, "AWS::Lambda::Function").values()
        for name, value in properties["Environment"]["Variables"].items()
        if name.endswith("_PARAMETER")
    }
    assert {f"/{STACK_NAME}/hold", f"/{STACK_NAME}/maintenance"} <= written
    assert not written & names


def test_what_a_stack_of_the_version_before_owns_is_replaced_and_left() -> None:
    notes = {name: SOURCE["Resources"][name] for name in ("Hold", "Maintenance")}
    assert {note["UpdateReplacePolicy"] for note in notes.values()} == {"Retain"}
    assert notes.keys() == all_of(expanded(EVERYTHING), "AWS::SSM::Parameter").keys()


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
        pytest.param(NLB | {"SorryTargetGroupArn": ""}, "needs SorryTargetGroupArns, or", id="no sorry page"),
        pytest.param(NLB | {"SorryTargetGroupArn": "sorry"}, "ARN of a target group", id="name of a group"),
        pytest.param(NLB | SORRY_ALB, "exclude each other", id="both sorry pages"),
        pytest.param(NLB | {"PrimaryInstanceIds": "web-1"}, "instance ids like", id="name of an instance"),
        pytest.param(NLB | {"PrimaryInstanceIds": f"{FOREIGN},x"}, "instance ids like", id="one bad instance id"),
        pytest.param(NLB | {"MinHealthyTargets": "0"}, "a whole number from 1 to 1000", id="no target needed"),
        pytest.param(NLB | {"MinHealthyTargets": "two"}, "a whole number", id="a number in words"),
        pytest.param(NLB | {"OutageMinutes": "0"}, "a whole number from 1 to 60", id="no minutes of outage"),
        pytest.param(NLB | {"RecoveryMinutes": "61"}, "a whole number from 1 to 60", id="an hour of recovery and more"),
        pytest.param(NLB | {"MaxSwitchesPerHour": "0"}, "a whole number from 1 to 60", id="no switch at all"),
        pytest.param(NLB | {"SwitchMode": "both"}, "AllowedValues", id="mode"),
        pytest.param(NLB | {"AutoSwitchback": "yes"}, "AllowedValues", id="yes for true"),
        pytest.param(NLB_ALB | {"SorrySubnetIds": ""}, "needs SorrySubnetIds", id="sorry ALB, no subnets"),
        pytest.param(NLB_ALB | {"SorryIngressCidrs": ""}, "needs SorryIngressCidrs", id="sorry ALB, no CIDRs"),
        pytest.param(
            NLB_ALB | {"SorryCertificateArn": ""}, "needs SorryCertificateArn", id="sorry ALB, no certificate"
        ),
        pytest.param(NLB_ALB | {"SorryVpcId": "vpc"}, "a VPC id", id="sorry ALB, no VPC id"),
        pytest.param(NLB_ALB | {"SorryIngressCidrs": "10.0.0.1"}, "IPv4 CIDR", id="sorry ALB, address for CIDR"),
        pytest.param(
            NLB_ALB | {"SorryIngressCidrs": ", ".join(["10.0.0.0/8"] * 6)}, "one to five IPv4", id="six CIDRs"
        ),
        pytest.param(NLB_ALB | {"SorryIngressCidrs": "10.0.0.0/8,"}, "one to five IPv4", id="an empty CIDR"),
        pytest.param(
            MAINTENANCE
            | {"MaintenanceBypassCidrs": ",".join(["10.0.0.0/8"] * 6), "MaintenanceBypassTargetGroupArn": PRIMARY},
            "one to five CIDR blocks",
            id="six testers",
        ),
        pytest.param(
            ROTATION | {"RotationDocuments": "a_b,b_c,c_d,d_e,e_f,f_g"}, "one to five names", id="six documents"
        ),
        pytest.param(
            ROTATION | {"RotationDefaults": f"{{{' ' * 499}}}"}, "at most 500 ASCII characters", id="long defaults"
        ),
        pytest.param(NLB | {"ProbeUrl": f"https://{'a' * 193}"}, "at most 200 characters", id="long URL"),
        pytest.param(
            ROTATION | {"RotationDefaults": f'{{"hook": "{"あ" * 149}"}}'},
            "160 with any others",
            id="Japanese defaults",
        ),
        pytest.param(NLB | {"ProbeUrl": f"https://{'あ' * 53}"}, "60 with a name", id="long Japanese URL"),
        pytest.param(
            MAINTENANCE | {"MaintenanceReplies": f'[{{"path": "/", "location": "{"a" * 2500}"}}]'},
            "at most 2,500 ASCII characters",
            id="long replies",
        ),
        pytest.param(NLB_ALB | {"SorryPort": "8443"}, "AllowedValues", id="sorry ALB, port"),
        pytest.param(
            PAIR | {"PairInterfaceIds": ""}, "PairInstanceIds needs PairInterfaceIds", id="pair, no interfaces"
        ),
        pytest.param(PAIR | {"PairInstanceIds": ""}, "need PairInstanceIds", id="addresses, no pair"),
        pytest.param(
            {"PairInstanceIds": FOREIGN, "PairInterfaceIds": "eni-0123456789abcdef0"},
            "PairInstanceIds needs FloatingIpAddresses, ElasticIpAllocationIds or OverlayCidrs",
            id="pair, nothing that floats",
        ),
        pytest.param(PAIR | {"OverlayRouteTableIds": ""}, "OverlayCidrs needs", id="overlay, no tables"),
        pytest.param(PAIR | {"OverlayCidrs": ""}, "OverlayRouteTableIds needs OverlayCidrs", id="tables, no overlay"),
        pytest.param(PAIR | {"PairInstanceIds": "mail-1,mail-2"}, "two instance ids like", id="names of instances"),
        pytest.param(PAIR | {"PairInterfaceIds": "eth0"}, "two network interface ids like", id="name of an interface"),
        pytest.param(PAIR | {"FloatingIpAddresses": "mail"}, "addresses like 10.0.0.50", id="name for an address"),
        pytest.param(PAIR | {"FloatingIpAddresses": "10.0.0.50/32"}, "addresses like", id="CIDR for an address"),
        pytest.param(PAIR | {"ElasticIpAllocationIds": "203.0.113.5"}, "allocation ids like", id="address for an id"),
        pytest.param(PAIR | {"OverlayCidrs": "192.168.99.1"}, "CIDR blocks like", id="overlay, address for a CIDR"),
        pytest.param(PAIR | {"OverlayRouteTableIds": "main"}, "route table ids like", id="name of a table"),
        pytest.param({"NotificationEmail": "oncall"}, "an e-mail address", id="no address"),
        pytest.param({"NotificationTopicArn": "oncall"}, "ARN of an SNS", id="name of a topic"),
        pytest.param({"NotificationTopicArn": f"{TOPIC}.fifo"}, "standard topic", id="FIFO topic"),
        pytest.param({"NotificationLanguage": "fr"}, "AllowedValues", id="language"),
        pytest.param({"ServiceName": "店"}, "at most 40 letters", id="name that no subject takes"),
        pytest.param({"ReconcileExpression": "1 minute"}, "rate(1 minute) to", id="no expression"),
        pytest.param({"ReconcileExpression": "rate(1 hour)"}, "rate(1 minute) to", id="ticks too slow to count"),
        pytest.param({"KmsKeyArn": "alias/aws/sns"}, "ARN of a KMS key", id="alias"),
        pytest.param({"LogRetentionInDays": "2"}, "AllowedValues", id="retention"),
        pytest.param({"DryRun": "maybe"}, "AllowedValues", id="dry run"),
    ],
)
def test_a_parameter_that_cannot_work_is_refused_when_it_is_deployed(parameters: dict[str, str], said: str) -> None:
    with pytest.raises(intrinsics.TemplateError, match=re.escape(said)):
        expanded(parameters)


# Functions and their settings.


def config_of(function: str) -> Any:
    """Return the dataclass into which a function reads its environment."""
    return importlib.import_module(f"functions.{FUNCTIONS[function]}.app").Config


@every_acting_function
def test_an_error_about_the_environment_names_a_parameter_of_the_template(function: str) -> None:
    for field in fields(config_of(function)):
        named = env.parameter(field)
        assert (named in SOURCE["Parameters"]) == (named != "which the template sets"), field.name


@every_way
def test_the_environment_of_a_function_is_exactly_what_its_config_reads(parameters: dict[str, str]) -> None:
    stack = expanded(parameters)
    for function, properties in acting(stack).items():
        variables = properties["Environment"]["Variables"]
        config = config_of(function)
        names = {name for name in variables if not name.startswith("POWERTOOLS_")}
        # Lambda itself tells a function its name.
        assert names == {field.name.upper() for field in fields(config)} - {"AWS_LAMBDA_FUNCTION_NAME"}, function
        assert variables["POWERTOOLS_SERVICE_NAME"] == STACK_NAME
        loaded = env.load(config, {"AWS_LAMBDA_FUNCTION_NAME": "name"} | variables)
        assert loaded.service_name == parameters.get("ServiceName", STACK_NAME)
        assert loaded.topic_arn == topic(stack)
        assert loaded.hold_parameter == f"/{STACK_NAME}/hold"


@every_acting_function
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
    by_parameter = {
        env.parameter(field): variables[field.name.upper()]
        for field in fields(config_of(function))
        if field.name.upper() in variables
    }
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
    for name, function in acting(stack).items():
        assert function["Layers"] == [layer["Ref"]]
        assert function["LoggingConfig"]["LogGroup"] == stack["Resources"]["Log"]["Ref"]
        assert function["Runtime"] == layer["Properties"]["CompatibleRuntimes"][0] == "python3.13"
        assert function["Timeout"] == (30 if name == "ColdStandbyStartFunction" else 60)
        assert function.get("ReservedConcurrentExecutions") == (1 if serialized else None)
    page = of_type(stack, "AWS::Lambda::Function").get(PAGE, {})
    assert page.keys().isdisjoint({"Layers", "ReservedConcurrentExecutions"})


@every_way
def test_two_stacks_in_one_account_share_no_name(parameters: dict[str, str]) -> None:
    given: list[set[tuple[str, str]]] = []  # the names that the template chooses, by type
    for stack_name in (STACK_NAME, f"{STACK_NAME}-shop"):
        resources = expanded(parameters, stack_name=stack_name)["Resources"].values()
        keys = {"Name", "AlarmName", "DashboardName", "StateMachineName"}
        given.append(
            {
                (resource["Type"], resource["Properties"][key])
                for resource in resources
                for key in resource["Properties"].keys() & keys
            }
        )
    assert len(given[0]) == len(given[1]) > 1
    assert given[0] & given[1] == set()


# Limits: the sandbox refuses names that are too long, and what is too large, as AWS does.


@every_way
def test_a_stack_may_have_the_longest_name(parameters: dict[str, str]) -> None:
    stack = expanded(parameters, stack_name="s" * 128)
    assert stack["Resources"].keys() == expanded(parameters)["Resources"].keys()


NAME = "n" * 32  # the longest of a load balancer or target group
# How many members a list takes, and the longest of them.
LONGEST = {
    "NlbListenerArns": (5, f"{ELB}:listener/net/{NAME}/50dc6c495c0c9188/50dc6c495c0c91%02x"),
    "PrimaryInstanceIds": (25, "i-0123456789abcde%02x"),
    "PairInstanceIds": (2, "i-0123456789abcde%02x"),
    "PairInterfaceIds": (2, "eni-0123456789abcde%02x"),
    "FloatingIpAddresses": (25, "2001:db8:aaaa:aaaa:aaaa:aaaa:aaaa:aa%02x"),
    "ElasticIpAllocationIds": (20, "eipalloc-0123456789abcde%02x"),
    "OverlayCidrs": (10, "2001:db8:aaaa:aaaa:aaaa:aaaa:aaaa:aa%02x/128"),
    "OverlayRouteTableIds": (20, "rtb-0123456789abcde%02x"),
    "StandbyInstanceIds": (20, "i-0123456789abcde%02x"),
    "StandbyInstanceTypes": (20, "u7inh-%02xtb.metal-112xlarge"),
    "RotationTargetGroupArns": (5, f"{ELB}:targetgroup/{NAME}/50dc6c495c0c91%02x"),
}


def members(name: str, more: int = 0) -> str:
    """Return as much as a list takes, or some members more."""
    count, member = LONGEST[name]
    return ",".join(member % number for number in range(count + more))


GROUPS = ",".join(f"{ELB}:targetgroup/{NAME}/50dc6c495c0c91{number:02x}" for number in range(4))
AT_MOST = {name: members(name) for name in LONGEST} | {
    "PrimaryTargetGroupArn": "",
    "SorryTargetGroupArn": "",
    "PrimaryTargetGroupArns": GROUPS,
    "SorryTargetGroupArns": GROUPS,
    "ProbeUrl": f"https://{'a' * 192}",
    "RotationDocuments": ",".join(["d" * 59] * 5),
    "RotationDefaults": f'{{"hook": "{"h" * 488}"}}',
    "MaintenanceReplies": f'[{{"path": "/", "status": 303, "location": "{"a" * 2450}"}}]',
}
LONGEST_TOPIC = f"arn:aws:sns:ap-northeast-1:123456789012:{'t' * 128}"
IN_JAPANESE = {
    "MaintenanceReplies": f'[{{"path": "/", "status": 503, "json": {{"message": "{"あ" * 740}"}}}}]',
    "RotationDefaults": f'{{"hook": "{"あ" * 148}"}}',
    "ProbeUrl": f"https://{'あ' * 52}",
}
ONE_GROUP = {"PrimaryTargetGroupArn": PRIMARY, "SorryTargetGroupArn": SORRY}


@pytest.mark.parametrize(
    ("given", "stack_name", "capabilities", "more"),
    [
        pytest.param(NLB, "s" * 128, ("Nlb", "Primary", "Sorry", "Probe"), {}, id="nlb"),
        pytest.param(PAIR, "s" * 128, ("Pair", "Floating", "Elastic", "Overlay"), {}, id="pair"),
        pytest.param(STANDBY, "s" * 128, ("Standby",), {}, id="standby"),
        pytest.param(ROTATION, "s" * 128, ("Rotation",), {}, id="rotation"),
        pytest.param(MAINTENANCE, "s" * 128, ("Maintenance",), {}, id="maintenance"),
        pytest.param(MAINTENANCE, "s" * 128, ("Maintenance",), IN_JAPANESE, id="maintenance in Japanese"),
        pytest.param(EVERYTHING, "s" * 128, ("",), {}, id="everything"),
        pytest.param(EVERYTHING, "s" * 128, ("",), IN_JAPANESE, id="everything in Japanese"),
        pytest.param(
            EVERYTHING, "s" * 128, ("",), {"NotificationTopicArn": LONGEST_TOPIC}, id="everything, and a topic"
        ),
    ],
)
def test_as_much_as_the_parameters_take_fits_into_the_environments(
    given: dict[str, str], stack_name: str, capabilities: tuple[str, ...], more: dict[str, str]
) -> None:
    largest = {name: value for name, value in (AT_MOST | more).items() if name.startswith(capabilities)}
    stack = expanded(given | largest, stack_name=stack_name)
    assert not refusing(stack)
    for properties in of_type(stack, "AWS::Lambda::Function").values():
        variables = properties.get("Environment", {}).get("Variables", {})
        text = json.dumps(variables, separators=(",", ":"), ensure_ascii=False)
        longer = len("aws-us-gov:us-gov-west-1") - len("aws:ap-northeast-1")  # of all partitions the longest
        assert len(text.encode()) + longer * text.count("arn:aws:") <= 4096


AT_REST = {"AWS::Lambda::LayerVersion", "AWS::Logs::LogGroup", "AWS::SNS::Topic", "AWS::SSM::Parameter"}


def refusing(stack: Mapping[str, Any]) -> set[str]:
    """Return the resources that cannot be made, because a list is too long."""
    return {name for name in stack["Resources"] if name.endswith(("TooLong", "NotTwo"))}


@pytest.mark.parametrize("name", LONGEST)
def test_a_list_that_is_longer_than_its_description_says_is_refused_with_a_sentence(name: str) -> None:
    count, _ = LONGEST[name]
    words = {2: "two", 5: "five"}.get(count, str(count))
    for more in (1, 3) if count > 2 else (-1, 1):
        stack = expanded(EVERYTHING | NLB_ALB | {name: members(name, more)})
        assert refusing(stack) == {f"{name}TooLong" if count > 2 else f"{name}NotTwo"}
        assert {resource["Type"] for resource in stack["Resources"].values()} == AT_REST
        [refused] = [stack["Resources"][one]["Properties"] for one in refusing(stack)]
        than = "more" if count > 2 else "other"
        assert re.fullmatch(f"{name} names {than} than {words} [A-Za-z ]+", refused["AllowedPattern"])
        assert not re.search(refused["AllowedPattern"], refused["Value"])
    assert f"at most {words}" in SOURCE["Parameters"][name]["Description"] or count == 2


def test_beside_a_list_that_is_too_long_nothing_that_acts_is_made_or_changed(account: Account, build: Path) -> None:
    given = EVERYTHING | NLB_ALB | {name: members(name, 15) for name in ("NlbListenerArns", "RotationTargetGroupArns")}
    stack = expanded(given)
    assert refusing(stack) == {"NlbListenerArnsTooLong", "RotationTargetGroupArnsTooLong"}
    assert {resource["Type"] for resource in stack["Resources"].values()} == AT_REST
    sentence = "NlbListenerArns names more than five listeners"
    with pytest.raises(cloudformation.StackError, match=rf"^NlbListenerArnsTooLong \(.*\): .*: {sentence}$"):
        cloudformation.deploy(account, build, "shop", {"NlbListenerArns": members("NlbListenerArns", 1)} | ONE_GROUP)
    assert (account.roles, account.client("events").list_rules()["Rules"]) == ({}, [])


@pytest.mark.parametrize("name", [*LONGEST, "SorrySubnetIds"])
def test_a_list_with_an_empty_element_is_refused(name: str) -> None:
    given = EVERYTHING | SORRY_ALB | {"SorryTargetGroupArn": ""}
    expanded(given)
    for cut in (f"{given[name]},", f",{given[name]}"):
        with pytest.raises(intrinsics.TemplateError, match=f"{name} has an empty element"):
            expanded(given | {name: cut})


@pytest.mark.parametrize("given", ["0.0", "00", "100", "-1"])
def test_no_percentage_that_is_none_makes_an_alarm_on_cpu(given: str) -> None:
    assert "StandbyActiveCpuAlarm" not in expanded(EVERYTHING | {"ActiveCpuThreshold": "0"})["Resources"]
    with pytest.raises(intrinsics.TemplateError, match="a whole percentage from 1 to 99, or 0"):
        expanded(EVERYTHING | {"ActiveCpuThreshold": given})


# What one parameter takes, the functions understand: each value is refused with the parameter's sentence, or every
# function of the stack starts with it.
ODD = {
    "NlbListenerArns": [f"{LISTENERS[0]} x", f"{LISTENERS[0]}\n"],
    "PrimaryTargetGroupArns": [f"{ELB}:targetgroup/a,b/1", f"{PRIMARY} ", f"{PRIMARY} ,{SORRY}"],
    "SorryTargetGroupArns": [f"{ELB}:targetgroup/a,b/1"],
    "PrimaryTargetGroupArn": [f"{PRIMARY},x", f"{PRIMARY} ", f"{PRIMARY}\n"],
    "ProbeUrl": ["https://日本.example/", "https://shop.example/日本", "HTTP://shop.example", "https://["],
    "FloatingIpAddresses": [
        *("300.0.0.1", "10.0.0.256", "010.0.0.1", "10.0.0.1.1", ":", ":::", "1:2", "1::2::3", "12345::", "::1/128"),
        *("1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::8", "::1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8::"),
        *("::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "2001:DB8:0::5", "fe80::1%eth0"),
    ],
    "OverlayCidrs": [
        *(
            "192.168.99.1/24",
            "192.168.99.1/33",
            "192.168.99.256/32",
            "192.168.99.1/032",
            "192.168.99.0/24",
            "0.0.0.0/0",
        ),
        *("2001:db8::1/64", "2001:db8::1/129", "2001:db8::/32", "1:2/64", "::/0", "2001:db8::/064"),
    ],
    "MaintenanceBypassCidrs": [
        *("300.1.1.1/24", "10.0.0.1/8", "10.0.0.1/33", "1:2/64", ":/1", "2001:db8::/32, 10.0.0.0/8 ", ",10.0.0.0/8"),
        *("10.0.0.0/8,", "10.0.0.0/8,,10.1.0.0/16", " ", ",".join(["2001:db8:1:2:3:4:5:6/128"] * 5)),
    ],
    "MaintenanceListenerArn": [f"{MAINTENANCE['MaintenanceListenerArn']} "],
    "ServiceName": ["   ", " shop", "shop "],
    "StandbyInstanceTypes": ["m7i.large ", "M7i.large", "m7i"],
    "RotationDocuments": [" Patch , Update", "Patch,", ","],
}


def as_people_and_tools_write(value: str) -> list[str]:
    """Return a value as spreadsheets, Terraform, JSON tools and Japanese keyboards may hand it on."""
    numbers = [f"{value}{more}" for more in (".0", ".5", "e0", "_0")] + [f"{sign}{value}" for sign in ("0", "+", "-")]
    wide = value.translate({ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"})
    return [" ", f" {value}", f"{value} ", f"{value}\n", f"{value},", f"{value}.", value.upper(), wide, *numbers]


def refusal(parameters: Mapping[str, str]) -> str:
    """Return why CloudFormation does not take these parameters, or nothing."""
    try:
        expanded(parameters)
    except intrinsics.TemplateError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", SOURCE["Parameters"])
def test_what_a_parameter_takes_no_function_refuses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TEMPLATE.parent / "functions" / "maintenance_page"))
    testers = {"MaintenanceBypassTargetGroupArn": PRIMARY, "MaintenanceBypassCidrs": "10.0.0.0/8"}
    given = EVERYTHING | testers | {name: EVERYTHING.get(name, str(SOURCE["Parameters"][name]["Default"]))}
    if name in ("PrimaryTargetGroupArns", "SorryTargetGroupArns"):
        given |= {name.removesuffix("s"): "", name: PRIMARY}
    told = str(SOURCE["Parameters"][name].get("ConstraintDescription", "AllowedValues"))
    # No pattern lists the time zones or knows what is JSON: there the error of the function has to do.
    unknown = {"MaintenanceTimezone": InputError, "MaintenanceReplies": ValueError}.get(name)
    for value in [*as_people_and_tools_write(given[name]), *ODD.get(name, [])]:
        if said := refusal(given | {name: value}):
            assert told in said or re.search(rf"assertion failed: .*\b{name}\b", said), value
            continue
        stack = expanded(given | {name: value})
        with suppress(unknown) if unknown else nullcontext():
            for function, properties in acting(stack).items():
                variables = {"AWS_LAMBDA_FUNCTION_NAME": "name"} | properties["Environment"]["Variables"]
                env.load(config_of(function), variables)
            with mock.patch.dict(os.environ, of_type(stack, "AWS::Lambda::Function")[PAGE]["Environment"]["Variables"]):
                runpy.run_path(str(TEMPLATE.parent / "functions" / "maintenance_page" / "app.py"))


def test_no_parameter_is_a_number() -> None:
    assert [name for name, parameter in SOURCE["Parameters"].items() if "Number" in parameter["Type"]] == []


def test_blanks_in_a_list_that_is_a_text_reach_nobody() -> None:
    given = {"MaintenanceBypassCidrs": " 10.0.0.0/8 , 2001:db8::/32", "MaintenanceBypassTargetGroupArn": PRIMARY}
    functions = of_type(expanded(EVERYTHING | given | {"RotationDocuments": "Patch, Update"}), "AWS::Lambda::Function")
    variables = functions["AlbMaintenancePriorityFunction"]["Environment"]["Variables"]
    assert variables["MAINTENANCE_BYPASS_CIDRS"] == "10.0.0.0/8,2001:db8::/32"
    assert functions["TargetRotationFunction"]["Environment"]["Variables"]["ROTATION_DOCUMENTS"] == "Patch,Update"


# The order of the template.

BANNER = re.compile(r"^  #+\n  # (.+) #\n  #+\n", re.MULTILINE)
# Whoever stands under the banner on the left also names what stands under those on the right.
NEIGHBOURS = {
    "ALB maintenance mode": {"Maintenance page"},
    "Maintenance page": {"ALB maintenance mode"},
    "Target rotation": {"NLB sorry switchover and switchback"},  # whether the sorry page serves
}


def banners() -> dict[str, str]:
    """Return the banner that each resource stands under."""
    text = TEMPLATE.read_text(encoding="utf-8").partition("\nResources:\n")[2].partition("\nOutputs:\n")[0]
    _, *parts = BANNER.split(text)
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return {name: banner for banner, part in pairs for name in re.findall(r"^  (\w+):", part, re.MULTILINE)}


@pytest.mark.parametrize("name", SOURCE["Resources"])
def test_a_capability_is_one_banner_and_nothing_that_is_shared_names_it(name: str) -> None:
    under = banners()
    named = {other for other, _ in intrinsics.references(SOURCE["Resources"][name]["Properties"])} & under.keys()
    allowed = {"Shared", under[name]} | NEIGHBOURS.get(under[name], set())
    assert {other: under[other] for other in named if under[other] not in allowed} == {}
