"""The resource types of a stack: their properties, how each is named, what Ref and Fn::GetAtt return.

Properties are judged by CloudFormation's own schemas. Beyond that, TYPES says of every property whether the sandbox
applies it or may ignore it (it changes nothing that can be seen here); any other property is refused.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import regex
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from sandbox import ACCOUNT_ID, REGION
from sandbox.stack.intrinsics import Identity, TemplateError, text

_BUCKET = "sandbox-build"
ELB = "AWS::ElasticLoadBalancingV2"


@dataclass(frozen=True)
class Resource:
    """One resource of a stack, its properties resolved; name is the physical one.

    retained: not deleted when it leaves the stack, or with it; retained_if_replaced: when another takes its place.
    """

    logical_id: str
    type: str
    name: str
    properties: dict[str, Any]
    identity: Identity
    retained: bool = False
    retained_if_replaced: bool = False


@dataclass(frozen=True)
class Type:
    """What the sandbox makes of a resource type: properties in one string, the one that names it, a name's length."""

    applied: str
    ignored: str = ""
    name: str | None = None
    name_length: int = 64


TYPES = {
    "AWS::CloudWatch::Alarm": Type(
        "ActionsEnabled AlarmActions AlarmDescription AlarmName ComparisonOperator DatapointsToAlarm Dimensions"
        " EvaluationPeriods ExtendedStatistic InsufficientDataActions MetricName Metrics Namespace OKActions Period"
        " Statistic Threshold TreatMissingData Unit",
        "Tags",
        name="AlarmName",
        name_length=255,
    ),
    # Inert: nothing in the sandbox evaluates a composite alarm.
    "AWS::CloudWatch::CompositeAlarm": Type(
        "", "AlarmActions AlarmDescription AlarmName AlarmRule OKActions Tags", name="AlarmName", name_length=255
    ),
    "AWS::CloudWatch::Dashboard": Type("DashboardBody DashboardName", name="DashboardName", name_length=255),
    "AWS::EC2::SecurityGroup": Type(
        "GroupDescription GroupName SecurityGroupEgress SecurityGroupIngress Tags VpcId",
        name="GroupName",
        name_length=255,
    ),
    f"{ELB}::Listener": Type(
        "AlpnPolicy Certificates DefaultActions ListenerAttributes LoadBalancerArn Port Protocol SslPolicy Tags"
    ),
    f"{ELB}::ListenerRule": Type("Actions Conditions ListenerArn Priority Tags"),
    f"{ELB}::LoadBalancer": Type(
        "IpAddressType LoadBalancerAttributes Name Scheme SecurityGroups SubnetMappings Subnets Tags Type",
        name="Name",
        name_length=32,
    ),
    f"{ELB}::TargetGroup": Type(
        "HealthCheckEnabled HealthCheckIntervalSeconds HealthCheckPath HealthCheckPort HealthCheckProtocol"
        " HealthCheckTimeoutSeconds HealthyThresholdCount IpAddressType Matcher Name Port Protocol ProtocolVersion Tags"
        " TargetGroupAttributes Targets TargetType UnhealthyThresholdCount VpcId",
        name="Name",
        name_length=32,
    ),
    "AWS::Events::Rule": Type(
        "EventBusName EventPattern Name ScheduleExpression State Targets", "Description Tags", name="Name"
    ),
    "AWS::IAM::Policy": Type("PolicyDocument PolicyName Roles"),
    "AWS::IAM::Role": Type(
        "AssumeRolePolicyDocument ManagedPolicyArns Policies RoleName",
        "Description MaxSessionDuration Tags",
        name="RoleName",
    ),
    "AWS::Lambda::EventInvokeConfig": Type(
        "DestinationConfig FunctionName MaximumEventAgeInSeconds MaximumRetryAttempts Qualifier"
    ),
    "AWS::Lambda::Function": Type(
        "Code Environment FunctionName Handler Layers MemorySize PackageType ReservedConcurrentExecutions Role Runtime"
        " Timeout",
        "Architectures Description EphemeralStorage KmsKeyArn LoggingConfig Tags TracingConfig",
        name="FunctionName",
    ),
    "AWS::Lambda::LayerVersion": Type(
        "Content LayerName", "CompatibleArchitectures CompatibleRuntimes Description LicenseInfo", name="LayerName"
    ),
    "AWS::Lambda::Permission": Type("Action FunctionName Principal SourceAccount SourceArn"),
    "AWS::Logs::LogGroup": Type(
        "KmsKeyId LogGroupName RetentionInDays", "LogGroupClass Tags", name="LogGroupName", name_length=512
    ),
    "AWS::Logs::MetricFilter": Type("FilterName FilterPattern LogGroupName MetricTransformations", name="FilterName"),
    "AWS::SNS::Subscription": Type("Endpoint FilterPolicy FilterPolicyScope Protocol RawMessageDelivery TopicArn"),
    "AWS::SNS::Topic": Type(
        "DisplayName KmsMasterKeyId Subscription TopicName", "Tags", name="TopicName", name_length=256
    ),
    "AWS::SNS::TopicPolicy": Type("PolicyDocument Topics"),
    "AWS::SQS::Queue": Type(
        "DelaySeconds KmsDataKeyReusePeriodSeconds KmsMasterKeyId MaximumMessageSize MessageRetentionPeriod QueueName"
        " ReceiveMessageWaitTimeSeconds RedriveAllowPolicy RedrivePolicy SqsManagedSseEnabled VisibilityTimeout",
        "Tags",
        name="QueueName",
        name_length=80,
    ),
    "AWS::SQS::QueuePolicy": Type("PolicyDocument Queues"),
    "AWS::SSM::Parameter": Type(
        "AllowedPattern DataType Description Name Tags Tier Type Value", name="Name", name_length=1011
    ),
    "AWS::Scheduler::Schedule": Type(
        "EndDate FlexibleTimeWindow GroupName Name ScheduleExpression ScheduleExpressionTimezone StartDate State"
        " Target",
        "Description",
        name="Name",
    ),
    "AWS::StepFunctions::StateMachine": Type(
        "Definition DefinitionS3Location DefinitionString DefinitionSubstitutions RoleArn StateMachineName"
        " StateMachineType",
        "LoggingConfiguration Tags TracingConfiguration",
        name="StateMachineName",
        name_length=80,
    ),
}


def uploaded(path: Path) -> str:
    """Return the URI in a bucket under which a local file or directory is deployed."""
    return f"s3://{_BUCKET}/{path}"


def local_path(bucket: str, key: str) -> Path:
    """Return the local path of an object that `uploaded` named."""
    if bucket != _BUCKET:
        raise TemplateError(f"the sandbox cannot read s3://{bucket}/{key}: deploy the output of sam build")
    path = Path("/") / key
    if not path.exists():
        raise TemplateError(f"{path} does not exist: run sam build")
    return path


# Checks


@lru_cache
def _schema(type_name: str) -> dict[str, Any]:
    """Return CloudFormation's schema of a resource type."""
    schema: dict[str, Any] = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, type_name).schema
    return schema


def _matches(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[jsonschema.ValidationError]:
    # The schemas use \\p{L}, which Python's own re does not know.
    if isinstance(instance, str) and not regex.search(pattern, instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern}")


def _named_by(validator: Any, patterns: Any, instance: Any, _: Any) -> Iterator[jsonschema.ValidationError]:
    for name, pattern in ((name, pattern) for name in instance for pattern in patterns):
        if regex.search(pattern, name):
            yield from validator.descend(instance[name], patterns[pattern], path=name)


def _no_others(_: Any, others: Any, instance: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name in instance if others is False and isinstance(instance, dict) else ():
        if name not in known and not any(regex.search(pattern, name) for pattern in patterns):
            yield jsonschema.ValidationError(f"Additional properties are not allowed ({name!r} was unexpected)")


_KEYWORDS = {"pattern": _matches, "patternProperties": _named_by, "additionalProperties": _no_others}
_Validator = jsonschema.validators.extend(jsonschema.Draft7Validator, _KEYWORDS)


def check_property_names(logical_id: str, type_name: str, properties: Mapping[str, Any]) -> None:
    """Refuse properties that the type does not have, and those that the sandbox does not apply."""
    schema, kind = _schema(type_name), TYPES[type_name]
    if unknown := sorted(set(properties) - schema["properties"].keys()):
        raise TemplateError(f"Encountered unsupported property {', '.join(unknown)} in {logical_id} ({type_name})")
    if unapplied := sorted(set(properties) - set(kind.applied.split()) - set(kind.ignored.split())):
        raise TemplateError(f"the sandbox does not apply {', '.join(unapplied)} of {logical_id} ({type_name})")


def checked(logical_id: str, type_name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties in the types of the schema, or refuse what the schema refuses."""
    schema = _schema(type_name)
    converted: dict[str, Any] = _converted(properties, schema, schema)
    problems = [
        f"#/{'/'.join(str(part) for part in error.absolute_path)}: {error.message}"
        for error in _Validator(schema).iter_errors(converted)
    ]
    if problems:
        raise TemplateError(f"Properties validation failed for resource {logical_id} with message: {problems}")
    return converted


def _check_limits(logical_id: str, type_name: str, name: str, properties: Mapping[str, Any]) -> None:
    """Refuse a name that is too long, and what is too large, as the services do (L2 to L5)."""
    longest = TYPES[type_name].name_length
    if TYPES[type_name].name and len(name) > longest:
        raise TemplateError(
            f"1 validation error detected: Value {name!r} at the name of {logical_id} ({type_name}) failed to satisfy "
            f"constraint: Member must have length less than or equal to {longest}"
        )
    for what, value, limit in _sizes(type_name, properties):
        if (size := len(value.encode())) > limit:
            raise TemplateError(f"{what} of {logical_id} ({type_name}) is too large: {size} of at most {limit}")


def _sizes(type_name: str, p: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Yield what has a limit in bytes, its text, and the limit."""
    match type_name:
        case "AWS::Events::Rule":
            yield "The event pattern", _compact(p.get("EventPattern", {})), 2048  # L3
        case "AWS::IAM::Role":
            documents = [policy["PolicyDocument"] for policy in p.get("Policies", [])]
            yield "The sum of the inline policies", "".join(map(_compact, documents)), 10240  # L5
        case "AWS::Lambda::Function":
            yield "The environment", _compact(p.get("Environment", {}).get("Variables", {})), 4096  # L4
        case "AWS::SSM::Parameter" if p.get("Tier") != "Advanced":
            yield "The value", p["Value"], 4096


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _converted(value: Any, node: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Convert scalars as CloudFormation does: "60" where a number is due, 60 where a string is."""
    if "$ref" in node:
        node = root["definitions"][node["$ref"].rsplit("/", 1)[1]]
        return _converted(value, node, root)
    if isinstance(value, list):
        return [_converted(member, node.get("items", {}), root) for member in value]
    if isinstance(value, Mapping):
        others: Mapping[str, Any] = next(iter(node.get("patternProperties", {}).values()), {})
        named = node.get("properties", {})
        return {key: _converted(member, named.get(key, others), root) for key, member in value.items()}
    kinds = node.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if "string" in kinds and not isinstance(value, str):
        return text(value)
    if isinstance(value, str) and kinds and "string" not in kinds:
        return _scalar(value, kinds)
    return value


def _scalar(value: str, kinds: list[str]) -> Any:
    if "boolean" in kinds and value in ("true", "false"):
        return value == "true"
    for kind, convert in (("integer", int), ("number", float)):
        if kind in kinds:
            try:
                return convert(value)
            except ValueError:
                pass  # the schema says what is wrong with it
    return value


# Names and identities


def describe(stack_name: str, logical_id: str, type_name: str, given: dict[str, Any]) -> Resource:
    """Check the properties against the type's schema and give the resource its name and identity."""
    properties = checked(logical_id, type_name, given)
    name = _physical_name(stack_name, logical_id, type_name, properties)
    _check_limits(logical_id, type_name, name, properties)
    return Resource(logical_id, type_name, name, properties, _identity(type_name, name, properties))


def tagged(type_name: str, properties: dict[str, Any], tags: Mapping[str, str]) -> dict[str, Any]:
    """Return the properties with the tags of the stack, if the type has tags; a tag of its own wins."""
    if not tags or not _schema(type_name).get("tagging", {}).get("tagProperty"):
        return properties
    if isinstance(own := properties.get("Tags", []), dict) or type_name == "AWS::SSM::Parameter":
        return {**properties, "Tags": {**tags, **dict(own)}}
    names = {tag["Key"] for tag in own}
    others = [{"Key": key, "Value": value} for key, value in tags.items() if key not in names]
    return {**properties, "Tags": [*own, *others]}


def attribute_names(type_name: str) -> set[str]:
    """Return the attributes that Fn::GetAtt knows of a type."""
    return set(_identity(type_name, "", defaultdict(str)).attributes)


def must_replace(previous: Resource, resource: Resource) -> bool:
    """Return whether the change needs a new resource: another type, or a property that is create-only in the schema."""
    return previous.type != resource.type or _fixed(previous.type, previous.properties) != _fixed(
        resource.type, resource.properties
    )


def _fixed(type_name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties that cannot change in place."""
    names = {pointer.split("/")[2] for pointer in _schema(type_name).get("createOnlyProperties", [])}
    return {name: value for name, value in properties.items() if name in names}


def _physical_name(stack_name: str, logical_id: str, type_name: str, properties: Mapping[str, Any]) -> str:
    """Return the given name, or one of CloudFormation's form that is new for every replacement."""
    kind = TYPES[type_name]
    if kind.name is not None and kind.name in properties:
        return str(properties[kind.name])
    seed = json.dumps([stack_name, logical_id, _fixed(type_name, properties)], sort_keys=True)
    suffix = hashlib.sha256(seed.encode()).hexdigest()[:12].upper()
    return f"{f'{stack_name}-{logical_id}'[: kind.name_length - 13].rstrip('-')}-{suffix}"


def _arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT_ID}:{resource}"


def _identity(type_name: str, name: str, p: Mapping[str, Any]) -> Identity:
    """Return what Ref and Fn::GetAtt return; where the service chooses an id itself, `put` returns the real one."""
    uid = hashlib.sha256(name.encode()).hexdigest()[:16]
    match type_name.removeprefix("AWS::"):
        case "CloudWatch::Alarm" | "CloudWatch::CompositeAlarm":
            return Identity(name, {"Arn": _arn("cloudwatch", f"alarm:{name}")})
        case "EC2::SecurityGroup":
            group = f"sg-0{uid}"
            return Identity(group, {"GroupId": group, "Id": group, "VpcId": p.get("VpcId")})
        case "ElasticLoadBalancingV2::Listener":
            listener = f"{p['LoadBalancerArn'].replace(':loadbalancer/', ':listener/')}/{uid}"
            return Identity(listener, {"ListenerArn": listener})
        case "ElasticLoadBalancingV2::ListenerRule":
            rule = f"{p['ListenerArn'].replace(':listener/', ':listener-rule/')}/{uid}"
            return Identity(rule, {"RuleArn": rule, "IsDefault": False})
        case "ElasticLoadBalancingV2::LoadBalancer":
            full = f"{'net' if p.get('Type') == 'network' else 'app'}/{name}/{uid}"
            return load_balancer_identity(
                _arn("elasticloadbalancing", f"loadbalancer/{full}"),
                f"{name}-{uid}.elb.amazonaws.com",
                "Z14GRHDCWA56QT",
            )
        case "ElasticLoadBalancingV2::TargetGroup":
            return target_group_identity(_arn("elasticloadbalancing", f"targetgroup/{name}/{uid}"))
        case "Events::Rule":
            return Identity(name, {"Arn": _arn("events", f"rule/{name}")})
        case "IAM::Role":
            role = f"arn:aws:iam::{ACCOUNT_ID}:role/{name}"
            return Identity(name, {"Arn": role, "RoleId": f"AROA{uid.upper()}"})
        case "Lambda::EventInvokeConfig":
            return Identity(f"{p['FunctionName']}|{p['Qualifier']}", {})
        case "Lambda::Function":
            return Identity(name, {"Arn": _arn("lambda", f"function:{name}")})
        case "Lambda::LayerVersion":
            version = _arn("lambda", f"layer:{name}:{int(uid[:6], 16)}")
            return Identity(version, {"LayerVersionArn": version})
        case "Logs::LogGroup":
            return Identity(name, {"Arn": _arn("logs", f"log-group:{name}:*")})
        case "SNS::Subscription":
            return Identity(f"{p['TopicArn']}:{uid}", {"Arn": f"{p['TopicArn']}:{uid}"})
        case "SNS::Topic":
            return Identity(_arn("sns", name), {"TopicArn": _arn("sns", name), "TopicName": name})
        case "SQS::Queue":
            url = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT_ID}/{name}"
            return Identity(url, {"Arn": _arn("sqs", name), "QueueName": name, "QueueUrl": url})
        case "SSM::Parameter":
            return Identity(name, {"Type": p["Type"], "Value": p["Value"]})
        case "Scheduler::Schedule":
            return Identity(name, {"Arn": _arn("scheduler", f"schedule/default/{name}")})
        case "StepFunctions::StateMachine":
            machine = _arn("states", f"stateMachine:{name}")
            return Identity(machine, {"Arn": machine, "Name": name})
        case _:  # CloudWatch::Dashboard, IAM::Policy, Lambda::Permission, Logs::MetricFilter and the two policies
            return Identity(name, {})


def load_balancer_identity(arn: str, dns_name: str, zone: str) -> Identity:
    """Return what Ref and Fn::GetAtt return for a load balancer; zone: the id of its hosted zone."""
    full_name = arn.partition("loadbalancer/")[2]
    return Identity(
        arn,
        {
            "CanonicalHostedZoneID": zone,
            "DNSName": dns_name,
            "LoadBalancerArn": arn,
            "LoadBalancerFullName": full_name,
            "LoadBalancerName": full_name.split("/")[1] if "/" in full_name else "",
        },
    )


def target_group_identity(arn: str) -> Identity:
    """Return what Ref and Fn::GetAtt return for a target group."""
    full_name = arn.rpartition(":")[2]
    name = full_name.split("/")[1] if "/" in full_name else ""
    return Identity(arn, {"TargetGroupArn": arn, "TargetGroupFullName": full_name, "TargetGroupName": name})
