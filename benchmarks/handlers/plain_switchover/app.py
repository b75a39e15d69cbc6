"""The switch as one would write it in an afternoon: the calls of kirikae's fast path and nothing around them."""

import os
from typing import Any

import boto3


def lambda_handler(event: dict[str, Any], context: object) -> dict[str, str]:
    """Send the listener to the sorry group when no primary target has a running instance."""
    elbv2 = boto3.client("elbv2")
    ec2 = boto3.client("ec2")
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
    ids = [target["Target"]["Id"] for target in health if target["TargetHealth"]["State"] == "healthy"]
    reservations = ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": ids}])["Reservations"]
    states = [instance["State"]["Name"] for reservation in reservations for instance in reservation["Instances"]]
    if serving == sorry or "running" in states:
        return {"result": "nothing to do"}
    if not elbv2.describe_target_health(TargetGroupArn=sorry)["TargetHealthDescriptions"]:
        return {"result": "nobody would answer there either"}
    weights = [{"TargetGroupArn": primary, "Weight": 0}, {"TargetGroupArn": sorry, "Weight": 1}]
    elbv2.modify_listener(
        ListenerArn=listener_arn,
        DefaultActions=[{"Type": "forward", "ForwardConfig": {"TargetGroups": weights}}],
    )
    action = elbv2.describe_listeners(ListenerArns=[listener_arn])["Listeners"][0]["DefaultActions"][0]
    sns.publish(TopicArn=os.environ["TOPIC_ARN"], Subject="Sorry page is on", Message=f"{health}\n{action}")
    return {"result": "switched"}
