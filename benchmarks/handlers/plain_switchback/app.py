"""The way back as one would write it in an afternoon: the calls of kirikae's handler and nothing around them."""

import os
from typing import Any

import boto3


def lambda_handler(event: dict[str, Any], context: object) -> dict[str, str]:
    """Send the listener back to the primary group when it is healthy and its alarm is OK."""
    elbv2 = boto3.client("elbv2")
    ec2 = boto3.client("ec2")
    cloudwatch = boto3.client("cloudwatch")
    ssm = boto3.client("ssm")
    sns = boto3.client("sns")
    listener_arn = os.environ["NLB_LISTENER_ARNS"]
    primary, sorry = os.environ["PRIMARY_TARGET_GROUP_ARN"], os.environ["SORRY_TARGET_GROUP_ARN"]
    if ssm.get_parameter(Name=os.environ["HOLD_PARAMETER"])["Parameter"]["Value"] != "off":
        return {"result": "on hold"}
    listener = elbv2.describe_listeners(ListenerArns=[listener_arn])["Listeners"][0]
    if elbv2.describe_rules(ListenerArn=listener_arn)["Rules"]:
        return {"result": "the listener has rules of somebody else"}
    groups = listener["DefaultActions"][0]["ForwardConfig"]["TargetGroups"]
    serving = next(group["TargetGroupArn"] for group in groups if group["Weight"] > 0)
    health = elbv2.describe_target_health(TargetGroupArn=primary)["TargetHealthDescriptions"]
    if serving == primary or not any(target["TargetHealth"]["State"] == "healthy" for target in health):
        return {"result": "nothing to do"}
    servers = [{"Name": "instance-id", "Values": [target["Target"]["Id"] for target in health]}]
    found = ec2.describe_instances(Filters=servers)["Reservations"]
    if not any(instance["State"]["Name"] == "running" for group in found for instance in group["Instances"]):
        return {"result": "going down"}
    names = [os.environ["RECOVERY_ALARM_NAME"], os.environ["FLAPPING_ALARM_NAME"]]
    alarms = cloudwatch.describe_alarms(AlarmNames=names, AlarmTypes=["MetricAlarm"])["MetricAlarms"]
    if any(alarm["StateValue"] != "OK" for alarm in alarms):
        return {"result": "not for long enough"}
    weights = [{"TargetGroupArn": primary, "Weight": 1}, {"TargetGroupArn": sorry, "Weight": 0}]
    elbv2.modify_listener(
        ListenerArn=listener_arn,
        DefaultActions=[{"Type": "forward", "ForwardConfig": {"TargetGroups": weights}}],
    )
    action = elbv2.describe_listeners(ListenerArns=[listener_arn])["Listeners"][0]["DefaultActions"][0]
    sns.publish(TopicArn=os.environ["TOPIC_ARN"], Subject="Sorry page is off", Message=f"{health}\n{action}")
    return {"result": "switched"}
