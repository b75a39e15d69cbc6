"""What wakes a function, what becomes of an event that fails, and what an alarm watches and tells."""

import ast
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from stacks import (
    ACTIVE,
    BY_HAND,
    EVERYTHING,
    FOREIGN,
    FUNCTIONS,
    INSTANCES,
    NLB,
    PAIR,
    PRIMARY,
    ROOT,
    STANDBYS,
    acting,
    all_of,
    arn,
    every_function,
    every_way,
    topic,
)
from template_tools import STACK_NAME, alarms_of, event_pattern_matches, expanded, of_type

from sandbox import ACCOUNT_ID, REGION, iam


def callers(stack: Mapping[str, Any]) -> dict[str, Counter[tuple[str, str]]]:
    """Return who invokes each function, and on whose behalf, by the function's ARN."""
    found: dict[str, Counter[tuple[str, str]]] = {
        resource["Attributes"]["Arn"]: Counter() for resource in all_of(stack, "AWS::Lambda::Function").values()
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
    if "ColdStandbyStartFunction" in stack["Resources"]:  # any alarm may call it: the user's own, and so the stack's
        standby = found[arn(stack, "ColdStandbyStartFunction")]
        for caller in [caller for caller in standby if caller[0].startswith("lambda.alarms")]:
            del standby[caller]
        standby["lambda.alarms.cloudwatch.amazonaws.com", f"arn:aws:cloudwatch:{REGION}:{ACCOUNT_ID}:alarm:*"] = 1
    for group in all_of(stack, "AWS::ElasticLoadBalancingV2::TargetGroup").values():
        for target in group["Properties"].get("Targets", []):
            if target["Id"] in found:
                # Permitted before the group is there, for any group of its name.
                named = group["Ref"].rpartition("/")[0] + "/*"
                found[target["Id"]]["elasticloadbalancing.amazonaws.com", named] += 1
    return found


@every_way
def test_each_caller_has_exactly_one_permission_and_nobody_else_has_any(parameters: dict[str, str]) -> None:
    stack = expanded(parameters)
    names = {
        resource["Ref"]: resource["Attributes"]["Arn"] for resource in all_of(stack, "AWS::Lambda::Function").values()
    }
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
    functions = {resource["Attributes"]["Arn"] for resource in all_of(stack, "AWS::Lambda::Function").values()}
    return functions & {schedule["Target"]["Arn"] for schedule in of_type(stack, "AWS::Scheduler::Schedule").values()}


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
        for alarm in alarms_of(stack).values()
    )


@every_way
def test_an_event_that_a_function_cannot_finish_is_soon_given_up_and_reported(parameters: dict[str, str]) -> None:
    stack = expanded(parameters)
    asynchronous = {
        function
        for function, who in callers(stack).items()
        if {principal for principal, _ in who} - {"elasticloadbalancing.amazonaws.com"}
    } | scheduled(stack)
    names = {
        resource["Attributes"]["Arn"]: resource["Ref"] for resource in all_of(stack, "AWS::Lambda::Function").values()
    }
    settings = {
        resource["FunctionName"]: resource for resource in of_type(stack, "AWS::Lambda::EventInvokeConfig").values()
    }
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
            queue = target["DeadLetterConfig"]["Arn"]
            assert alarmed(stack, queue)
            assert delivers(stack, rule["Attributes"]["Arn"], queue)


@every_way
def test_no_rule_of_another_stack_or_account_puts_events_into_the_queue(parameters: dict[str, str]) -> None:
    stack = expanded(parameters)
    [queue] = [resource["Attributes"]["Arn"] for resource in all_of(stack, "AWS::SQS::Queue").values()]
    # One of the same parameters, whose name begins with this one's.
    other = expanded(parameters, stack_name=f"{STACK_NAME}-shop")
    rules = [rule["Attributes"]["Arn"] for rule in all_of(stack, "AWS::Events::Rule").values()]
    rules_of_other = [rule["Attributes"]["Arn"] for rule in all_of(other, "AWS::Events::Rule").values()]
    assert rules
    assert rules_of_other
    assert not any(delivers(stack, rule, queue) for rule in rules_of_other)
    for rule in rules:
        foreign = rule.replace(ACCOUNT_ID, "210987654321")
        assert not delivers(stack, foreign, queue)
        assert not delivers(stack, rule.replace(REGION, "eu-west-1"), queue)
        assert not delivers(stack, rule.replace(":rule/", ":rule/x"), queue)


@every_way
def test_every_rule_delivers_however_long_the_stacks_name_is(parameters: dict[str, str]) -> None:
    stack = expanded(parameters, stack_name="StackSet-kirikae-shop-466df9e0-0dff-11e8-8e2f-5088487c4896")
    [queue] = [resource["Attributes"]["Arn"] for resource in all_of(stack, "AWS::SQS::Queue").values()]
    for name, rule in all_of(stack, "AWS::Events::Rule").items():
        assert delivers(stack, rule["Attributes"]["Arn"], queue), name
        assert len(rule["Ref"]) <= 64, name


def delivers(stack: Mapping[str, Any], rule: str, queue: str) -> bool:
    """Tell whether the queue's policy takes undelivered events of a rule, whose account is that of its ARN."""
    statements = [
        {key: value for key, value in statement.items() if key != "Principal"}
        for policy in of_type(stack, "AWS::SQS::QueuePolicy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Principal"] == {"Service": "events.amazonaws.com"}
    ]
    context: iam.Context = {"aws:SourceArn": rule}  # the one key that EventBridge is documented to send with it
    return iam.evaluate([{"Statement": statements}], "sqs:SendMessage", queue, context)


@every_way
def test_every_acting_function_is_on_one_tick(parameters: dict[str, str]) -> None:
    stack = expanded(parameters | {"ReconcileExpression": "rate(5 minutes)"})
    ticks = [rule for rule in of_type(stack, "AWS::Events::Rule").values() if "ScheduleExpression" in rule]
    assert {tick["ScheduleExpression"] for tick in ticks} == {"rate(5 minutes)"}
    targets = [target for tick in ticks for target in tick["Targets"]]
    assert Counter(target["Arn"] for target in targets) == Counter(
        arn(stack, name) for name in acting(stack) if name != BY_HAND
    )
    # A tick that comes late is worth nothing: there is another one.
    assert all(target["RetryPolicy"]["MaximumEventAgeInSeconds"] == 60 for target in targets)


@every_way
def test_targets_of_a_rule_have_ids_of_their_own(parameters: dict[str, str]) -> None:
    for name, rule in of_type(expanded(parameters), "AWS::Events::Rule").items():
        assert len({target["Id"] for target in rule["Targets"]}) == len(rule["Targets"]) <= 5, name


# Event patterns.

STATES = {"pending", "running", "stopping", "stopped", "shutting-down", "terminated"}
EC2_RULES = {  # rule: the states of which instances it passes on, to which functions
    "NlbPrimaryGoes": (STATES - {"pending", "running"}, INSTANCES, {"NlbSorrySwitchoverFunction"}),
    "NlbPrimaryRuns": ({"running"}, INSTANCES, {"NlbSwitchbackFunction"}),
    "StandbyChanges": (STATES - {"pending"}, (ACTIVE, *STANDBYS), {"ColdStandbyStartFunction"}),
    "PairChanges": (
        STATES - {"pending"},
        tuple(PAIR["PairInstanceIds"].split(",")),
        {"SecondaryIpReassignmentFunction"},
    ),
}


def test_every_rule_with_a_pattern_is_in_the_table() -> None:
    rules = of_type(expanded(EVERYTHING), "AWS::Events::Rule")
    others = {"TargetRotationEnds"}  # told in test_target_rotation_asl
    assert {name for name, rule in rules.items() if "EventPattern" in rule} == EC2_RULES.keys() | others


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


def test_each_instance_of_a_pair_has_its_alarm_by_the_name_that_the_function_knows() -> None:
    stack = expanded(PAIR)
    alarms = {
        alarm["AlarmName"]: alarm["Dimensions"][0]["Value"]
        for name, alarm in alarms_of(stack).items()
        if name.endswith("ImpairedAlarm")
    }
    function = stack["Resources"]["SecondaryIpReassignmentFunction"]["Properties"]
    assert ",".join(alarms) == function["Environment"]["Variables"]["IMPAIRED_ALARM_NAMES"]
    assert ",".join(alarms.values()) == PAIR["PairInstanceIds"]


def test_the_alarms_on_status_checks_count_the_application_too() -> None:
    """StatusCheckFailed does not; an expression cannot stop an instance, so the standby has two alarms."""
    alarms = of_type(expanded(EVERYTHING), "AWS::CloudWatch::Alarm")
    counted = {"StatusCheckFailed", "StatusCheckFailed_Application"}
    for name in ("PairFirstImpairedAlarm", "PairSecondImpairedAlarm"):
        told, *queries = alarms[name]["Metrics"]
        assert told == {"Id": "failed", "Expression": "MAX([checks, FILL(application, 0)])"}
        assert {query["MetricStat"]["Metric"]["MetricName"] for query in queries} == counted
        [instance] = {query["MetricStat"]["Metric"]["Dimensions"][0]["Value"] for query in queries}
        assert instance == PAIR["PairInstanceIds"].split(",")["Second" in name]
    both = [alarms["StandbyActiveStatusAlarm"], alarms["StandbyActiveApplicationAlarm"]]
    assert {alarm["MetricName"] for alarm in both} == counted
    what = {"MetricName": "", "AlarmDescription": "", "AlarmName": ""}
    assert both[0] | what == both[1] | what


def test_without_instance_ids_there_is_no_rule_but_the_tick() -> None:
    assert of_type(expanded(NLB | {"PrimaryInstanceIds": ""}), "AWS::Events::Rule").keys() == {"NlbTick"}


# Alarms.


def constants(path: Path) -> set[str]:
    """Return every text in a module."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


MODULES = [*(ROOT / "layer" / "kirikae").glob("*.py"), *(ROOT / "functions").glob("*/app.py")]
SAID = set().union(*(constants(path) for path in MODULES))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_primary_group_has_an_alarm_in_each_direction_that_may_invoke_the_function(count: int) -> None:
    groups = ",".join(f"{PRIMARY}{number}" for number in range(count))
    stack = expanded(NLB | {"PrimaryTargetGroupArn": "", "PrimaryTargetGroupArns": groups})
    alarms = {n: a for n, a in alarms_of(stack).items() if a["Namespace"] == "AWS/NetworkELB"}
    watched = [a["Dimensions"][1]["Value"].rpartition("/")[2] for a in alarms.values()]
    assert sorted(watched) == sorted([group.rpartition("/")[2] for group in groups.split(",")] * 2)
    numbers = ["", *(f"-{number}" for number in range(2, count + 1))]
    names = {f"{STACK_NAME}-nlb-{kind}{number}" for kind in ("outage", "recovery") for number in numbers}
    assert {alarm["AlarmName"] for alarm in alarms.values()} == names
    allowed = {permission.get("SourceArn") for permission in of_type(stack, "AWS::Lambda::Permission").values()}
    assert {arn(stack, name) for name in alarms} <= allowed


@every_way
def test_an_alarm_watches_something_that_is_there(parameters: dict[str, str]) -> None:
    stack = expanded(parameters)
    functions = {resource["Ref"] for resource in all_of(stack, "AWS::Lambda::Function").values()}
    queues = {resource["Attributes"]["QueueName"] for resource in all_of(stack, "AWS::SQS::Queue").values()}
    for name, alarm in alarms_of(stack).items():
        dimensions = {dimension["Name"]: dimension["Value"] for dimension in alarm["Dimensions"]}
        match alarm["Namespace"]:
            case "kirikae":
                assert alarm["MetricName"] in SAID, name
                refuses = {"capability": REFUSING[name.removesuffix("RefusedAlarm")]} if "Refused" in name else {}
                assert dimensions == {"service": STACK_NAME} | refuses, name
            case "AWS/Lambda":
                assert dimensions.keys() == {"FunctionName"}, name
                assert dimensions["FunctionName"] in functions, name
            case "AWS/SQS":
                assert dimensions["QueueName"] in queues, name
            case "AWS/NetworkELB":
                group = f"targetgroup/primary/73e2d6bc24d8a067{name.rpartition('Alarm')[2]}"
                assert dimensions == {"LoadBalancer": "net/shop/50dc6c495c0c9188", "TargetGroup": group}, name
            case "AWS/States":
                machines = {resource["Ref"] for resource in all_of(stack, "AWS::StepFunctions::StateMachine").values()}
                assert dimensions["StateMachineArn"] in machines, name
            case "AWS/EC2":
                watched = PAIR["PairInstanceIds"].split(",") if name.startswith("Pair") else [ACTIVE]
                assert dimensions.keys() == {"InstanceId"}, name
                assert dimensions["InstanceId"] in watched, name
            case other:
                pytest.fail(f"{name}: say here what an alarm on {other} watches")


@every_way
def test_an_alarm_tells_a_person_or_a_function_and_says_what_it_means(parameters: dict[str, str]) -> None:
    stack = expanded(parameters)
    functions = {resource["Attributes"]["Arn"] for resource in all_of(stack, "AWS::Lambda::Function").values()}
    for name, alarm in alarms_of(stack).items():
        told = {to for actions in alarm if actions.endswith("Actions") for to in alarm[actions]}
        assert told, name
        stops = {f"arn:aws:automate:{REGION}:ec2:stop"} if name.startswith("StandbyActive") else set()
        assert told <= functions | {topic(stack)} | stops, name
        assert alarm["AlarmDescription"].startswith("kirikae"), name
        # An instance that is stopped or boots has no status, and its state tells of itself.
        status = name.startswith("StandbyActive") or name.endswith("ImpairedAlarm")
        # There «none» is what is told, and not of a new stack before its first tick.
        silent = name.endswith("NotLookingAlarm")
        said = ("missing",) if status or silent else ("breaching", "notBreaching")
        assert alarm["TreatMissingData"] in said, name


def test_every_lasting_condition_and_every_failure_has_an_alarm() -> None:
    stack = expanded(EVERYTHING)
    told = {
        alarm["MetricName"]: alarm["AlarmActions"] for alarm in alarms_of(stack).values() if "AlarmActions" in alarm
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
    for metric in (
        "Refused",
        "Held",
        "MailFailed",
        "NobodyHears",
        "AlarmsUnheard",
        "SorryUnhealthy",
        "OnSorryPage",
        "WaitingForPerson",
        "SwitchedToSorry",
    ):
        assert told[metric] == [topic(stack)], metric


@every_function
def test_a_function_that_keeps_failing_is_reported(function: str) -> None:
    stack = expanded(EVERYTHING)
    watched = [
        alarm
        for alarm in alarms_of(stack).values()
        if alarm["Namespace"] == "AWS/Lambda"
        and alarm["MetricName"] == "Errors"
        and alarm["Dimensions"] == [{"Name": "FunctionName", "Value": stack["Resources"][function]["Ref"]}]
    ]
    assert [alarm["AlarmActions"] for alarm in watched] == [[topic(stack)]]


@every_way
def test_a_tick_that_does_not_come_is_reported(parameters: dict[str, str]) -> None:
    stack = expanded(parameters | {"ReconcileExpression": "rate(5 minutes)"})
    ticks = [rule for rule in of_type(stack, "AWS::Events::Rule").values() if "ScheduleExpression" in rule]
    called = {target["Arn"].rpartition(":")[2] for rule in ticks for target in rule["Targets"]}
    watched = {
        alarm["Dimensions"][0]["Value"]: (alarm["Period"], alarm["EvaluationPeriods"], alarm["InsufficientDataActions"])
        for alarm in alarms_of(stack).values()
        if (alarm["Namespace"], alarm["MetricName"]) == ("AWS/Lambda", "Invocations")
    }
    assert watched == dict.fromkeys(called, (300, 3, [topic(stack)]))
    assert len(called) == len(acting(stack).keys() - {BY_HAND})


def test_what_an_alarm_says_has_an_entry_in_the_runbook() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    alarms = alarms_of(expanded(EVERYTHING)).values()
    named = {words for alarm in alarms for words in re.findall(r"\(runbook: (.+)\)", alarm["AlarmDescription"])}
    headings = "\n".join(line for line in runbook.splitlines() if line.startswith("#"))
    assert "not looking" in named
    assert {words for words in named if words not in headings.replace("rotation FAILED", "rotation failed")} == set()


# Each capability has its own: the refusal of one hides none of another.
REFUSING = {
    "Nlb": "nlb",
    "Pair": "pair",
    "Maintenance": "maintenance",
    "Standby": "standby",
    "TargetRotation": "rotation",
}
BELOW, FROM = "LessThanThreshold", "GreaterThanOrEqualToThreshold"
# With OutageMinutes 2, RecoveryMinutes 5, MinHealthyTargets 3 and MaxSwitchesPerHour 7. Alarm: of how many minutes how
# many (None: all), compared with what, missing minutes, and who is told of which state.
EVIDENCE = {
    "NlbOutageAlarm": (2, None, BELOW, 3, "breaching", {"AlarmActions": "NlbSorrySwitchoverFunction"}),
    "NlbRecoveryAlarm": (5, 1, BELOW, 3, "breaching", {"OKActions": "NlbSwitchbackFunction"}),
    "NlbPrimaryReadyAlarm": (5, None, FROM, 1, "notBreaching", {"AlarmActions": "NlbSwitchbackFunction"}),
    "NlbFlappingAlarm": (60, 7, FROM, 1, "notBreaching", {"AlarmActions": "Topic", "OKActions": "Topic"}),
    "NlbSorryUnhealthyAlarm": (3, None, FROM, 1, "notBreaching", {"AlarmActions": "Topic", "OKActions": "Topic"}),
    "NlbOnSorryPageAlarm": (30, 25, FROM, 1, "notBreaching", {"AlarmActions": "Topic"}),
    "NlbWaitingForPersonAlarm": (5, 1, FROM, 1, "notBreaching", {"AlarmActions": "Topic"}),
    "NlbSorrySwitchoverErrorsAlarm": (5, 2, FROM, 1, "notBreaching", {"AlarmActions": "Topic"}),
    "NlbSorrySwitchoverNotLookingAlarm": (5, None, BELOW, 1, "missing", {"InsufficientDataActions": "Topic"}),
    "NlbSwitchbackErrorsAlarm": (5, 2, FROM, 1, "notBreaching", {"AlarmActions": "Topic"}),
    "NlbSwitchbackNotLookingAlarm": (5, None, BELOW, 1, "missing", {"InsufficientDataActions": "Topic"}),
    "StandbyNotServingAlarm": (15, 10, FROM, 1, "notBreaching", {"AlarmActions": "Topic", "OKActions": "Topic"}),
    "ColdStandbyStartErrorsAlarm": (5, 2, FROM, 1, "notBreaching", {"AlarmActions": "Topic"}),
    "ColdStandbyStartNotLookingAlarm": (5, None, BELOW, 1, "missing", {"InsufficientDataActions": "Topic"}),
    "PairFirstImpairedAlarm": (3, 2, FROM, 1, "missing", {"AlarmActions": "SecondaryIpReassignmentFunction"}),
    "PairSecondImpairedAlarm": (3, 2, FROM, 1, "missing", {"AlarmActions": "SecondaryIpReassignmentFunction"}),
    "PairDownAlarm": (5, 1, FROM, 1, "notBreaching", {"AlarmActions": "Topic", "OKActions": "Topic"}),
    "SecondaryIpReassignmentErrorsAlarm": (5, 2, FROM, 1, "notBreaching", {"AlarmActions": "Topic"}),
    "SecondaryIpReassignmentNotLookingAlarm": (5, None, BELOW, 1, "missing", {"InsufficientDataActions": "Topic"}),
    "AlbMaintenancePriorityErrorsAlarm": (5, 2, FROM, 1, "notBreaching", {"AlarmActions": "Topic"}),
    "AlbMaintenancePriorityNotLookingAlarm": (5, None, BELOW, 1, "missing", {"InsufficientDataActions": "Topic"}),
    "MaintenanceWithoutEndAlarm": (15, 1, FROM, 1, "notBreaching", {"AlarmActions": "Topic"}),
    "MaintenancePageErrorsAlarm": (1, None, FROM, 1, "notBreaching", {"AlarmActions": "Topic"}),
    "TargetByHandErrorsAlarm": (5, 2, FROM, 1, "notBreaching", {"AlarmActions": "Topic"}),
    "TargetRotationDoubtfulAlarm": (5, 1, FROM, 1, "notBreaching", {"AlarmActions": "Topic", "OKActions": "Topic"}),
    "TargetRotationErrorsAlarm": (5, 2, FROM, 1, "notBreaching", {"AlarmActions": "Topic"}),
    "TargetRotationNotLookingAlarm": (5, None, BELOW, 1, "missing", {"InsufficientDataActions": "Topic"}),
    "TargetRotationFailedAlarm": (1, None, FROM, 1, "notBreaching", {"AlarmActions": "Topic"}),
    "TargetRotationLeftOutAlarm": (5, 1, FROM, 1, "notBreaching", {"AlarmActions": "Topic", "OKActions": "Topic"}),
    **{
        f"{capability}RefusedAlarm": (5, 1, FROM, 1, "notBreaching", {"AlarmActions": "Topic", "OKActions": "Topic"})
        for capability in REFUSING
    },
    "HeldAlarm": (30, 25, FROM, 1, "notBreaching", {"AlarmActions": "Topic", "OKActions": "Topic"}),
    "MailFailedAlarm": (1, None, FROM, 1, "notBreaching", {"AlarmActions": "Topic"}),
    "NobodyHearsAlarm": (3, None, FROM, 1, "notBreaching", {"AlarmActions": "Topic"}),
    "AlarmsUnheardAlarm": (3, None, FROM, 1, "notBreaching", {"AlarmActions": "Topic"}),
    "FailedEventsAlarm": (1, None, FROM, 1, "notBreaching", {"AlarmActions": "Topic"}),
}


def test_every_alarm_is_in_the_table() -> None:
    on_the_active = {
        f"StandbyActive{what}Alarm" for what in ("Status", "Application", "Cpu")
    }  # tested with the standby
    assert alarms_of(expanded(EVERYTHING)).keys() == EVIDENCE.keys() | on_the_active


@pytest.mark.parametrize("name", EVIDENCE)
def test_an_alarm_weighs_so_many_minutes_as_the_parameters_say(name: str) -> None:
    minutes = {"OutageMinutes": "2", "RecoveryMinutes": "5", "MinHealthyTargets": "3", "MaxSwitchesPerHour": "7"}
    stack = expanded(EVERYTHING | minutes)
    alarm = alarms_of(stack)[name]
    of, needed, compared, threshold, missing, told = EVIDENCE[name]
    assert (alarm["EvaluationPeriods"], alarm.get("DatapointsToAlarm"), alarm["Period"]) == (of, needed, 60)
    assert (alarm["ComparisonOperator"], alarm["Threshold"], alarm["TreatMissingData"]) == (
        compared,
        threshold,
        missing,
    )
    assert alarm["Statistic"] == ("Sum" if alarm["Namespace"] in ("kirikae", "AWS/Lambda", "AWS/States") else "Maximum")
    places = {"Topic": topic(stack)} | {function: arn(stack, function) for function in FUNCTIONS}
    states = {state: alarm[state] for state in alarm if state.endswith("Actions")}
    assert states == {state: [places[who]] for state, who in told.items()}


COUNT_TICKS = {
    *(f"{capability}RefusedAlarm" for capability in REFUSING),
    "HeldAlarm",
    "NobodyHearsAlarm",
    "AlarmsUnheardAlarm",
    "NlbOnSorryPageAlarm",
    "NlbPrimaryReadyAlarm",
    "NlbSorryUnhealthyAlarm",
    "NlbWaitingForPersonAlarm",
    "PairDownAlarm",
    "StandbyNotServingAlarm",
    "TargetRotationDoubtfulAlarm",
    "TargetRotationLeftOutAlarm",
}
# A switch or a mail that failed is counted when it happens; an alarm that reminds is to go off between two ticks.
COUNT_NO_TICKS = {"MailFailedAlarm", "NlbFlappingAlarm", "MaintenanceWithoutEndAlarm"}


def test_every_alarm_on_our_own_metrics_counts_ticks_or_is_known_not_to() -> None:
    alarms = alarms_of(expanded(EVERYTHING))
    own = {name for name, alarm in alarms.items() if alarm["Namespace"] == "kirikae"}
    assert own == COUNT_TICKS | COUNT_NO_TICKS


@pytest.mark.parametrize("name", sorted(COUNT_TICKS))
def test_an_alarm_that_counts_ticks_has_one_in_each_of_its_periods_however_slow_they_come(name: str) -> None:
    slow = expanded(EVERYTHING | {"ReconcileExpression": "rate(5 minutes)"})["Resources"][name]["Properties"]
    quick = expanded(EVERYTHING)["Resources"][name]["Properties"]
    assert (slow["Period"], quick["Period"]) == (300, 60)
    assert slow["EvaluationPeriods"] <= quick["EvaluationPeriods"]
    assert slow.get("DatapointsToAlarm", 1) <= slow["EvaluationPeriods"]


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
