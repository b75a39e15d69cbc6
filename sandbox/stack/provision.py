"""How the resources of a stack are put into the account, changed and removed."""

import itertools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from sandbox.account import Account
from sandbox.iam import Role
from sandbox.stack.intrinsics import Identity, TemplateError, text
from sandbox.stack.resources import (
    ELB,
    TYPES,
    Resource,
    load_balancer_identity,
    local_path,
    target_group_identity,
)

_RUNTIME = "python3.13"


@dataclass(frozen=True)
class _Change:
    """One resource to put: what it becomes, what it was (None: it is created), and what the stack has so far."""

    account: Account
    new: Resource
    old: Resource | None
    made: Mapping[str, Resource]


def put(account: Account, resource: Resource, previous: Resource | None, made: Mapping[str, Resource]) -> Resource:
    """Create the resource, or change the previous one into it; return it with the identity it really has."""
    change = _Change(account, resource, previous, made)
    # Layers are read by the functions that name them; composite alarms are inert.
    real = _PUT[resource.type](change) if resource.type in _PUT else None
    return replace(resource, identity=real or resource.identity)


def remove(account: Account, resource: Resource) -> None:
    """Delete the resource from the account; ClientError or Refusal as the service says."""
    if resource.type in _REMOVE:  # the others go with what they belong to
        _REMOVE[resource.type](account, resource)


def _sole(logical_id: str, what: str, given: Any, supported: Any) -> None:
    if given != supported:
        raise TemplateError(f"the sandbox knows only {what} {supported!r}, not {given!r} of {logical_id}")


# IAM

_MANAGED_POLICIES = {
    "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole": [
        "logs:CreateLogGroup",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    ],
    "arn:aws:iam::aws:policy/AWSXRayDaemonWriteAccess": [
        "xray:GetSamplingRules",
        "xray:GetSamplingStatisticSummaries",
        "xray:GetSamplingTargets",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
    ],
}


def role_policies(properties: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the policy documents of a role's properties, managed ones first."""
    documents = []
    for arn in properties.get("ManagedPolicyArns", []):
        if arn not in _MANAGED_POLICIES:
            raise TemplateError(f"the sandbox does not know the managed policy {arn}")
        statement = {"Effect": "Allow", "Action": _MANAGED_POLICIES[arn], "Resource": "*"}
        documents.append({"Version": "2012-10-17", "Statement": [statement]})
    return documents + [policy["PolicyDocument"] for policy in properties.get("Policies", [])]


def _put_role(c: _Change) -> None:
    for statement in itertools.chain.from_iterable(policy["Statement"] for policy in role_policies(c.new.properties)):
        named = statement.get("Resource", "*")
        if wrong := [one for one in ([named] if isinstance(named, str) else named) if not re.match(r"\*$|arn:", one)]:
            raise TemplateError(f'Resource {wrong[0]} must be in ARN format or "*".')  # L6
    attached: list[dict[str, Any]] = []
    if c.old:
        own = role_policies(c.old.properties)
        attached = [policy for policy in c.account.roles[c.old.name].policies if policy not in own]
    c.account.roles[c.new.name] = Role(
        c.new.properties["AssumeRolePolicyDocument"], role_policies(c.new.properties) + attached
    )


def _put_policy(c: _Change) -> None:
    if c.old:
        _remove_policy(c.account, c.old)
    for role in c.new.properties["Roles"]:
        if role not in c.account.roles:
            raise TemplateError(f"The role with name {role} cannot be found.")
        c.account.roles[role].policies.append(c.new.properties["PolicyDocument"])


def _remove_policy(account: Account, gone: Resource) -> None:
    for role in gone.properties["Roles"]:
        if role in account.roles:
            account.roles[role].policies.remove(gone.properties["PolicyDocument"])


# Lambda


def _function_name(name_or_arn: str) -> str:
    """Return the name in a function's name or ARN; a version or alias is refused."""
    name, _, qualifier = name_or_arn.rpartition(":function:")[2].partition(":")
    _sole(name, "the qualifier", qualifier, "")
    return name


def _function_settings(new: Resource, made: Mapping[str, Resource]) -> dict[str, Any]:
    p = new.properties
    _sole(new.logical_id, "the runtime", p.get("Runtime"), _RUNTIME)
    _sole(new.logical_id, "the package type", p.get("PackageType", "Zip"), "Zip")
    code = p["Code"]
    if code.keys() != {"S3Bucket", "S3Key"}:
        raise TemplateError(f"the sandbox knows only code in a bucket, not {sorted(code)} of {new.logical_id}")
    layers = {
        resource.identity.ref: resource.properties["Content"]
        for resource in made.values()
        if resource.type.endswith("LayerVersion")
    }
    if unknown := [arn for arn in p.get("Layers", []) if arn not in layers]:
        raise TemplateError(f"the sandbox knows only layers of the stack, not {unknown}")
    return {
        "code_dir": local_path(code["S3Bucket"], code["S3Key"]),
        "layers": [local_path(layers[arn]["S3Bucket"], layers[arn]["S3Key"]) for arn in p.get("Layers", [])],
        "handler": p["Handler"],
        "role_name": p["Role"].rpartition("/")[2],
        "environment": p.get("Environment", {}).get("Variables", {}),
        "timeout": p.get("Timeout", 3),
        "memory": p.get("MemorySize", 128),
        "reserved_concurrency": p.get("ReservedConcurrentExecutions"),
    }


def _put_function(c: _Change) -> None:
    change = c.account.functions.update if c.old else c.account.functions.create
    change(c.new.name, **_function_settings(c.new, c.made))


def _put_permission(c: _Change) -> None:
    p = c.new.properties
    _sole(c.new.logical_id, "the action", p["Action"], "lambda:InvokeFunction")
    c.account.functions.allow(
        _function_name(p["FunctionName"]), c.new.name, p["Principal"], p.get("SourceArn"), p.get("SourceAccount")
    )


_INVOKE_DEFAULTS = 2, 21600  # retries, seconds of age


def _put_invoke_config(c: _Change) -> None:
    p = c.new.properties
    _sole(c.new.logical_id, "the qualifier", p["Qualifier"], "$LATEST")
    destinations = p.get("DestinationConfig", {})
    if destinations.keys() - {"OnFailure"}:
        raise TemplateError(f"the sandbox knows only an OnFailure destination, not {sorted(destinations)}")
    c.account.functions.event_invoke_config(
        _function_name(p["FunctionName"]),
        p.get("MaximumRetryAttempts", _INVOKE_DEFAULTS[0]),
        p.get("MaximumEventAgeInSeconds", _INVOKE_DEFAULTS[1]),
        destinations.get("OnFailure", {}).get("Destination"),
    )


def _remove_invoke_config(account: Account, gone: Resource) -> None:
    account.functions.event_invoke_config(_function_name(gone.properties["FunctionName"]), *_INVOKE_DEFAULTS, None)


# EventBridge and CloudWatch


def _put_rule(c: _Change) -> None:
    p = c.new.properties
    _sole(c.new.logical_id, "the event bus", p.get("EventBusName", "default"), "default")
    c.account.events.put_rule(
        c.new.name,
        pattern=p.get("EventPattern"),
        schedule=p.get("ScheduleExpression"),
        state=p.get("State", "ENABLED"),
        targets=p.get("Targets", []),
    )


def _put_schedule(c: _Change) -> None:
    p = c.new.properties
    _sole(c.new.logical_id, "the schedule group", p.get("GroupName", "default"), "default")
    _sole(c.new.logical_id, "the time window", p["FlexibleTimeWindow"], {"Mode": "OFF"})
    c.account.scheduler.put_schedule(
        c.new.name,
        expression=p["ScheduleExpression"],
        timezone=p.get("ScheduleExpressionTimezone", "UTC"),
        target=p["Target"],
        state=p.get("State", "ENABLED"),
        start=p.get("StartDate"),
        end=p.get("EndDate"),
    )


def _put_alarm(c: _Change) -> None:
    c.account.alarms.put_alarm({**_named(c.new), "AlarmName": c.new.name})


def _named(resource: Resource) -> dict[str, Any]:
    """Return the properties without those that change nothing here."""
    ignored = TYPES[resource.type].ignored.split()
    return {name: value for name, value in resource.properties.items() if name not in ignored}


def _put_dashboard(c: _Change) -> None:
    body = json.loads(c.new.properties["DashboardBody"])
    if not isinstance(body, dict) or not isinstance(body.get("widgets"), list):
        raise TemplateError("The dashboard body is invalid: it has no list of widgets")
    c.account.client("cloudwatch").put_dashboard(DashboardName=c.new.name, DashboardBody=json.dumps(body))


# SNS, SQS, logs and parameters


def _put_topic(c: _Change) -> Identity:
    sns, arn = c.account.client("sns"), c.new.identity.ref
    attributes = {key: c.new.properties.get(key, "") for key in ("DisplayName", "KmsMasterKeyId")}
    if c.old:
        for key, value in attributes.items():
            sns.set_topic_attributes(TopicArn=arn, AttributeName=key, AttributeValue=value)
        for page in sns.list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"]:
            ours = page["Endpoint"] in [given["Endpoint"] for given in c.old.properties.get("Subscription", [])]
            if ours and page["SubscriptionArn"] != "PendingConfirmation":  # which nobody can end (U10)
                sns.unsubscribe(SubscriptionArn=page["SubscriptionArn"])
    else:
        sns.create_topic(Name=c.new.name, Attributes={key: value for key, value in attributes.items() if value})
    for given in c.new.properties.get("Subscription", []):
        sns.subscribe(TopicArn=arn, Protocol=given["Protocol"], Endpoint=given["Endpoint"])
    return c.new.identity


def _put_subscription(c: _Change) -> Identity:
    p = c.new.properties
    attributes: dict[str, str] = {key: text(p[key]) for key in ("FilterPolicyScope", "RawMessageDelivery") if key in p}
    if "FilterPolicy" in p:
        attributes["FilterPolicy"] = json.dumps(p["FilterPolicy"])
    sns = c.account.client("sns")
    if c.old:
        arn = c.old.identity.ref
        for key, value in attributes.items():
            sns.set_subscription_attributes(SubscriptionArn=arn, AttributeName=key, AttributeValue=value)
    else:
        arn = sns.subscribe(
            TopicArn=p["TopicArn"],
            Protocol=p["Protocol"],
            Endpoint=p["Endpoint"],
            Attributes=attributes,
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
    return Identity(arn, {"Arn": arn})


def _put_topic_policy(c: _Change) -> None:
    for topic in c.new.properties["Topics"]:
        c.account.client("sns").set_topic_attributes(
            TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps(c.new.properties["PolicyDocument"])
        )


def _put_queue(c: _Change) -> Identity:
    p = {key: value for key, value in _named(c.new).items() if key != "QueueName"}
    attributes = {key: json.dumps(value) if isinstance(value, dict) else text(value) for key, value in p.items()}
    sqs = c.account.client("sqs")
    if c.old:
        url = c.old.identity.ref
        sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)
    else:
        url = sqs.create_queue(QueueName=c.new.name, Attributes=attributes)["QueueUrl"]
    return Identity(url, {**c.new.identity.attributes, "QueueUrl": url})


def _put_queue_policy(c: _Change) -> None:
    for url in c.new.properties["Queues"]:
        c.account.client("sqs").set_queue_attributes(
            QueueUrl=url, Attributes={"Policy": json.dumps(c.new.properties["PolicyDocument"])}
        )


def _put_log_group(c: _Change) -> None:
    logs, p = c.account.client("logs"), c.new.properties
    if not c.old:
        logs.create_log_group(logGroupName=c.new.name, **({"kmsKeyId": p["KmsKeyId"]} if "KmsKeyId" in p else {}))
    if "RetentionInDays" in p:
        logs.put_retention_policy(logGroupName=c.new.name, retentionInDays=p["RetentionInDays"])
    elif c.old and "RetentionInDays" in c.old.properties:
        logs.delete_retention_policy(logGroupName=c.new.name)


def _put_metric_filter(c: _Change) -> None:
    p = c.new.properties
    names = {"MetricName": "metricName", "MetricNamespace": "metricNamespace", "MetricValue": "metricValue"}
    c.account.client("logs").put_metric_filter(
        logGroupName=p["LogGroupName"],
        filterName=c.new.name,
        filterPattern=p["FilterPattern"],
        metricTransformations=[
            {names[key]: value for key, value in given.items() if key in names} for given in p["MetricTransformations"]
        ],
    )


def _put_parameter(c: _Change) -> None:
    ssm, tags, p = c.account.client("ssm"), c.new.properties.get("Tags", {}), _named(c.new) | {"Name": c.new.name}
    p.pop("Tags", None)  # with Overwrite they are refused (P11)
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    if not c.old:
        ssm.put_parameter(**p | ({"Tags": listed} if listed else {}))
        return
    ssm.get_parameter(Name=c.new.name)  # P3: one that was deleted by hand is not found
    before = c.old.properties.get("Tags", {})
    if {**c.old.properties, "Tags": tags} != {**c.new.properties, "Tags": tags}:
        ssm.put_parameter(**p, Overwrite=True)  # P1: the template's value again, whatever else it is that changed
    if gone := sorted(before.keys() - tags.keys()):  # P2: tags have calls of their own, and leave the value
        ssm.remove_tags_from_resource(ResourceType="Parameter", ResourceId=c.new.name, TagKeys=gone)
    if listed and before != tags:
        ssm.add_tags_to_resource(ResourceType="Parameter", ResourceId=c.new.name, Tags=listed)


# Load balancing


def _put_load_balancer(c: _Change) -> Identity:
    elb, p = c.account.client("elbv2"), dict(_named(c.new))
    attributes = p.pop("LoadBalancerAttributes", [])
    if c.old:
        _only_changed(c.new, c.old, "LoadBalancerAttributes", "SecurityGroups", "Tags")
        arn = c.old.identity.ref
        if p.get("SecurityGroups") != c.old.properties.get("SecurityGroups"):
            elb.set_security_groups(LoadBalancerArn=arn, SecurityGroups=p.get("SecurityGroups", []))
        identity = c.old.identity
        _tag(c, arn)
    else:
        made_now = elb.create_load_balancer(**{**p, "Name": c.new.name})["LoadBalancers"][0]
        arn = made_now["LoadBalancerArn"]
        identity = load_balancer_identity(arn, made_now["DNSName"], made_now["CanonicalHostedZoneId"])
    if attributes:
        elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=attributes)
    return identity


def _only_changed(new: Resource, old: Resource, *changeable: str) -> None:
    names = new.properties.keys() | old.properties.keys()
    changed = sorted(name for name in names if new.properties.get(name) != old.properties.get(name))
    if others := [name for name in changed if name not in changeable]:
        raise TemplateError(f"the sandbox cannot change {', '.join(others)} of {new.logical_id} ({new.type}) in place")


def _tag(c: _Change, arn: str) -> None:
    """Bring the template's tags up to date; those that others have added stay."""
    before = {tag["Key"]: tag["Value"] for tag in c.old.properties.get("Tags", [])} if c.old else {}
    now = {tag["Key"]: tag["Value"] for tag in c.new.properties.get("Tags", [])}
    if gone := sorted(before.keys() - now.keys()):
        c.account.client("elbv2").remove_tags(ResourceArns=[arn], TagKeys=gone)
    if changed := [{"Key": key, "Value": value} for key, value in now.items() if before.get(key) != value]:
        c.account.client("elbv2").add_tags(ResourceArns=[arn], Tags=changed)


def _put_target_group(c: _Change) -> Identity:
    elb, p = c.account.client("elbv2"), dict(_named(c.new))
    attributes, targets = p.pop("TargetGroupAttributes", []), p.pop("Targets", [])
    if c.old:
        health = {key: value for key, value in p.items() if key.startswith(("Health", "Unhealthy", "Matcher"))}
        arn, before = c.old.identity.ref, c.old.properties.get("Targets", [])
        elb.modify_target_group(TargetGroupArn=arn, **health)
        _tag(c, arn)
        if gone := [target for target in before if target not in targets]:
            elb.deregister_targets(TargetGroupArn=arn, Targets=gone)
        targets = [target for target in targets if target not in before]
    else:
        arn = elb.create_target_group(**{**p, "Name": c.new.name})["TargetGroups"][0]["TargetGroupArn"]
    if attributes:
        elb.modify_target_group_attributes(TargetGroupArn=arn, Attributes=attributes)
    if targets:
        elb.register_targets(TargetGroupArn=arn, Targets=targets)
    return target_group_identity(arn)


def _put_listener(c: _Change) -> Identity:
    elb, p = c.account.client("elbv2"), dict(_named(c.new))
    attributes = p.pop("ListenerAttributes", [])
    if c.old:
        arn = c.old.identity.ref
        elb.modify_listener(ListenerArn=arn, **{k: v for k, v in p.items() if k not in ("LoadBalancerArn", "Tags")})
        _tag(c, arn)
    else:
        arn = elb.create_listener(**p)["Listeners"][0]["ListenerArn"]
    if attributes:
        elb.modify_listener_attributes(ListenerArn=arn, Attributes=attributes)
    return Identity(arn, {"ListenerArn": arn})


def _put_listener_rule(c: _Change) -> Identity:
    elb, p = c.account.client("elbv2"), c.new.properties
    if c.old:
        arn = c.old.identity.ref
        elb.modify_rule(RuleArn=arn, Conditions=p["Conditions"], Actions=p["Actions"])
        # An update of the rule puts its priority back, whatever moved it at run time (H4, N28).
        elb.set_rule_priorities(RulePriorities=[{"RuleArn": arn, "Priority": p["Priority"]}])
        _tag(c, arn)
    else:
        arn = elb.create_rule(**p)["Rules"][0]["RuleArn"]
    return Identity(arn, {"RuleArn": arn, "IsDefault": False})


# EC2


def _put_security_group(c: _Change) -> Identity:
    ec2, p = c.account.client("ec2"), c.new.properties
    if c.old:
        group = c.old.identity.ref
        if before := _permissions(c.old.properties.get("SecurityGroupIngress", [])):
            ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=before)
    else:
        vpc = {"VpcId": p["VpcId"]} if "VpcId" in p else {}
        group = ec2.create_security_group(GroupName=c.new.name, Description=p["GroupDescription"], **vpc)["GroupId"]
    if ingress := _permissions(p.get("SecurityGroupIngress", [])):
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=ingress)
    if egress := _permissions(p.get("SecurityGroupEgress", [])):
        # Given rules take the place of the one that lets everything out.
        held = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissionsEgress"]
        ec2.revoke_security_group_egress(GroupId=group, IpPermissions=held)
        ec2.authorize_security_group_egress(GroupId=group, IpPermissions=egress)
    if tags := p.get("Tags"):
        ec2.create_tags(Resources=[group], Tags=tags)
    return Identity(group, {"GroupId": group, "Id": group, "VpcId": p.get("VpcId")})


_PEERS = {
    "CidrIp": ("IpRanges", "CidrIp"),
    "CidrIpv6": ("Ipv6Ranges", "CidrIpv6"),
    "DestinationPrefixListId": ("PrefixListIds", "PrefixListId"),
    "DestinationSecurityGroupId": ("UserIdGroupPairs", "GroupId"),
    "SourcePrefixListId": ("PrefixListIds", "PrefixListId"),
    "SourceSecurityGroupId": ("UserIdGroupPairs", "GroupId"),
}


def _permissions(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return CloudFormation's ingress or egress rules as IpPermissions."""
    permissions = []
    for rule in rules:
        permission: dict[str, Any] = {key: rule[key] for key in ("IpProtocol", "FromPort", "ToPort") if key in rule}
        description = {"Description": rule["Description"]} if "Description" in rule else {}
        for key in rule.keys() - permission.keys() - {"Description"}:
            if key not in _PEERS:
                raise TemplateError(f"the sandbox does not apply {key} of a security group rule")
            ranges, name = _PEERS[key]
            permission[ranges] = [{name: rule[key], **description}]
        permissions.append(permission)
    return permissions


# Step Functions


def _definition(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state machine's definition, its substitutions made."""
    if "DefinitionS3Location" in properties:
        place = properties["DefinitionS3Location"]
        body = local_path(place["Bucket"], place["Key"]).read_text()
    else:
        body = properties.get("DefinitionString") or json.dumps(properties["Definition"])
    substitutions = properties.get("DefinitionSubstitutions", {})
    for name, value in substitutions.items():
        body = body.replace("${" + name + "}", text(value))
    return yaml.safe_load(body)  # type: ignore[no-any-return]  # JSON is YAML too


def _put_state_machine(c: _Change) -> None:
    role_name = c.new.properties["RoleArn"].rpartition("/")[2]
    c.account.states.put(c.new.name, definition=_definition(c.new.properties), role_name=role_name)


_PUT: dict[str, Callable[[_Change], Identity | None]] = {
    "AWS::CloudWatch::Alarm": _put_alarm,
    "AWS::CloudWatch::Dashboard": _put_dashboard,
    "AWS::EC2::SecurityGroup": _put_security_group,
    f"{ELB}::Listener": _put_listener,
    f"{ELB}::ListenerRule": _put_listener_rule,
    f"{ELB}::LoadBalancer": _put_load_balancer,
    f"{ELB}::TargetGroup": _put_target_group,
    "AWS::Events::Rule": _put_rule,
    "AWS::IAM::Policy": _put_policy,
    "AWS::IAM::Role": _put_role,
    "AWS::Lambda::EventInvokeConfig": _put_invoke_config,
    "AWS::Lambda::Function": _put_function,
    "AWS::Lambda::Permission": _put_permission,
    "AWS::Logs::LogGroup": _put_log_group,
    "AWS::Logs::MetricFilter": _put_metric_filter,
    "AWS::SNS::Subscription": _put_subscription,
    "AWS::SNS::Topic": _put_topic,
    "AWS::SNS::TopicPolicy": _put_topic_policy,
    "AWS::SQS::Queue": _put_queue,
    "AWS::SQS::QueuePolicy": _put_queue_policy,
    "AWS::SSM::Parameter": _put_parameter,
    "AWS::Scheduler::Schedule": _put_schedule,
    "AWS::StepFunctions::StateMachine": _put_state_machine,
}

_REMOVE: dict[str, Callable[[Account, Resource], object]] = {
    "AWS::CloudWatch::Alarm": lambda a, r: a.alarms.delete_alarm(r.name),
    "AWS::CloudWatch::Dashboard": lambda a, r: a.client("cloudwatch").delete_dashboards(DashboardNames=[r.name]),
    "AWS::EC2::SecurityGroup": lambda a, r: a.client("ec2").delete_security_group(GroupId=r.identity.ref),
    f"{ELB}::Listener": lambda a, r: a.client("elbv2").delete_listener(ListenerArn=r.identity.ref),
    f"{ELB}::ListenerRule": lambda a, r: a.client("elbv2").delete_rule(RuleArn=r.identity.ref),
    f"{ELB}::LoadBalancer": lambda a, r: a.client("elbv2").delete_load_balancer(LoadBalancerArn=r.identity.ref),
    f"{ELB}::TargetGroup": lambda a, r: a.client("elbv2").delete_target_group(TargetGroupArn=r.identity.ref),
    "AWS::Events::Rule": lambda a, r: a.events.delete_rule(r.name),
    "AWS::IAM::Policy": _remove_policy,
    "AWS::IAM::Role": lambda a, r: a.roles.pop(r.name),
    "AWS::Lambda::EventInvokeConfig": _remove_invoke_config,
    "AWS::Lambda::Function": lambda a, r: a.functions.delete(r.name),
    "AWS::Lambda::Permission": lambda a, r: a.functions.disallow(_function_name(r.properties["FunctionName"]), r.name),
    "AWS::Logs::LogGroup": lambda a, r: a.client("logs").delete_log_group(logGroupName=r.name),
    "AWS::Logs::MetricFilter": lambda a, r: a.client("logs").delete_metric_filter(
        logGroupName=r.properties["LogGroupName"], filterName=r.name
    ),
    "AWS::SNS::Subscription": lambda a, r: a.client("sns").unsubscribe(SubscriptionArn=r.identity.ref),
    "AWS::SNS::Topic": lambda a, r: a.client("sns").delete_topic(TopicArn=r.identity.ref),
    "AWS::SQS::Queue": lambda a, r: a.client("sqs").delete_queue(QueueUrl=r.identity.ref),
    "AWS::SSM::Parameter": lambda a, r: a.client("ssm").delete_parameter(Name=r.name),
    "AWS::Scheduler::Schedule": lambda a, r: a.scheduler.delete_schedule(r.name),
    "AWS::StepFunctions::StateMachine": lambda a, r: a.states.delete(r.name),
}
