"""Where the sandbox's EC2 does as AWS does and moto does not. F5, G7: numbers of the facts behind each test."""

import pytest
from sandbox_tools import error_of


@pytest.fixture
def subnet(ec2):
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    zone = "ap-northeast-1a"
    return ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]


@pytest.fixture
def instance(account, ec2, subnet):
    """A t3.micro that has been running for three minutes."""
    created = launch(ec2, subnet)
    account.advance(180)
    return created


def launch(ec2, subnet, **settings):
    settings = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1} | settings
    return ec2.run_instances(SubnetId=subnet, **settings)["Instances"][0]["InstanceId"]


def state(ec2, instance):
    return ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["State"]["Name"]


def changes(answer):
    return [(item["PreviousState"]["Name"], item["CurrentState"]["Name"]) for item in next(iter(answer.values()))]


@pytest.fixture
def states_on_the_bus(account, monkeypatch):
    """The states of the EC2 state-change events, in order."""
    seen = []

    def emit(source, detail_type, detail, resources):
        assert (source, detail_type) == ("aws.ec2", "EC2 Instance State-change Notification")
        assert resources == [account.arn("ec2", f"instance/{detail['instance-id']}")]
        seen.append(detail["state"])

    monkeypatch.setattr(account.events, "emit", emit)
    return seen


# States take time.


def test_a_new_instance_is_pending_for_15_seconds(account, ec2, subnet):
    new = launch(ec2, subnet)
    assert state(ec2, new) == "pending"
    account.advance(14)
    assert state(ec2, new) == "pending"
    account.advance(1)
    assert state(ec2, new) == "running"


def test_stop_and_start_take_their_time_and_tell_both_states(account, ec2, instance):
    assert changes(ec2.stop_instances(InstanceIds=[instance])) == [("running", "stopping")]
    account.advance(19)
    assert state(ec2, instance) == "stopping"
    account.advance(1)
    assert state(ec2, instance) == "stopped"
    assert changes(ec2.start_instances(InstanceIds=[instance])) == [("stopped", "pending")]
    account.advance(15)
    assert state(ec2, instance) == "running"


def test_a_start_sets_the_launch_time(account, ec2, instance):
    ec2.stop_instances(InstanceIds=[instance])
    account.advance(20)
    ec2.start_instances(InstanceIds=[instance])
    launched = ec2.describe_instances()["Reservations"][0]["Instances"][0]["LaunchTime"]
    assert launched == account.clock.now()


def test_a_stopped_instance_says_why(account, ec2, instance):
    ec2.stop_instances(InstanceIds=[instance])
    account.advance(20)
    reason = ec2.describe_instances()["Reservations"][0]["Instances"][0]["StateReason"]
    assert reason["Code"] == "Client.UserInitiatedShutdown"


def test_starting_what_runs_and_stopping_what_is_stopped_change_nothing(account, ec2, instance):
    assert changes(ec2.start_instances(InstanceIds=[instance])) == [("running", "running")]
    ec2.stop_instances(InstanceIds=[instance])
    account.advance(20)
    assert changes(ec2.stop_instances(InstanceIds=[instance])) == [("stopped", "stopped")]


def test_every_change_is_an_event(account, ec2, instance, states_on_the_bus):  # F5
    ec2.stop_instances(InstanceIds=[instance])
    account.advance(20)
    ec2.start_instances(InstanceIds=[instance])
    account.advance(15)
    ec2.terminate_instances(InstanceIds=[instance])
    account.advance(20)
    assert states_on_the_bus == ["stopping", "stopped", "pending", "running", "shutting-down", "terminated"]


# Refusals.


def test_what_is_stopping_cannot_be_started(ec2, instance):  # G7
    ec2.stop_instances(InstanceIds=[instance])
    assert error_of(ec2.start_instances, InstanceIds=[instance]) == "IncorrectInstanceState"


def test_what_is_terminated_can_be_neither_started_nor_stopped(account, ec2, instance):  # G7
    ec2.terminate_instances(InstanceIds=[instance])
    account.advance(20)
    assert error_of(ec2.start_instances, InstanceIds=[instance]) == "IncorrectInstanceState"
    assert error_of(ec2.stop_instances, InstanceIds=[instance]) == "IncorrectInstanceState"


def test_one_refused_instance_refuses_the_whole_request(account, ec2, subnet, instance):
    other = launch(ec2, subnet)
    account.advance(15)
    ec2.stop_instances(InstanceIds=[other])
    account.advance(20)
    ec2.stop_instances(InstanceIds=[instance])
    assert error_of(ec2.start_instances, InstanceIds=[other, instance]) == "IncorrectInstanceState"
    assert state(ec2, other) == "stopped"


@pytest.mark.parametrize("call", ["start_instances", "stop_instances", "describe_instance_status"])
def test_unknown_and_malformed_ids(ec2, call):
    assert error_of(getattr(ec2, call), InstanceIds=["i-0123456789abcdef0"]) == "InvalidInstanceID.NotFound"
    assert error_of(getattr(ec2, call), InstanceIds=["nope"]) == "InvalidInstanceID.Malformed"


def test_a_dry_run_does_nothing(ec2, instance):
    assert error_of(ec2.stop_instances, InstanceIds=[instance], DryRun=True) == "DryRunOperation"
    assert state(ec2, instance) == "running"


def test_a_dry_run_tells_permission_only(ec2, instance):  # S1
    ec2.stop_instances(InstanceIds=[instance])
    assert error_of(ec2.start_instances, InstanceIds=[instance], DryRun=True) == "DryRunOperation"


def test_a_hibernated_instance_is_stopped_and_says_so(account, ec2, instance):  # S4
    ec2.stop_instances(InstanceIds=[instance], Hibernate=True)
    account.advance(20)
    [reservation] = ec2.describe_instances()["Reservations"]
    [described] = reservation["Instances"]
    assert described["State"]["Name"] == "stopped"
    assert described["StateReason"]["Code"] == "Client.UserInitiatedHibernate"


def test_a_volume_that_cannot_be_reached_is_a_check_of_its_own(account, ec2, instance):  # S6
    account.ec2.checks[instance] = {"AttachedEbsStatus": "impaired", "PerformanceStatus": "ok"}
    [status] = ec2.describe_instance_status()["InstanceStatuses"]
    told = {name: part["Status"] for name, part in status.items() if "Status" in part}
    assert told == {
        "SystemStatus": "ok",
        "InstanceStatus": "ok",
        "AttachedEbsStatus": "impaired",
        "PerformanceStatus": "ok",
    }
    put = {}
    account.ec2.publish(lambda _namespace, metric, _dimensions, value: put.update({metric: value}))
    assert put == {
        "StatusCheckFailed": 1,
        "StatusCheckFailed_AttachedEBS": 1,
        "StatusCheckFailed_Instance": 0,
        "StatusCheckFailed_System": 0,
    }


def test_an_application_that_fails_its_check_is_a_metric_of_its_own(account, instance):  # S6
    for status, failed in (("impaired", 1.0), ("suppressed", 0.0)):
        account.ec2.checks[instance] = {"ApplicationStatus": status}
        put = {}
        account.ec2.publish(lambda _namespace, metric, _dimensions, value, put=put: put.update({metric: value}))
        assert (put["StatusCheckFailed"], put["StatusCheckFailed_Application"]) == (0, failed)


def test_capacity_can_run_out(account, ec2, instance):  # G7
    ec2.stop_instances(InstanceIds=[instance])
    account.advance(20)
    account.faults.add("ec2", "StartInstances", "InsufficientInstanceCapacity", times=1, status=500)
    assert error_of(ec2.start_instances, InstanceIds=[instance]) == "InsufficientInstanceCapacity"
    assert state(ec2, instance) == "stopped"


def test_a_start_can_fall_back_to_stopped(account, ec2, instance, states_on_the_bus):
    ec2.stop_instances(InstanceIds=[instance])
    account.advance(20)
    account.ec2.falls_back[instance] = "Client.InvalidKMSKey.InvalidState: The KMS key is not available"
    ec2.start_instances(InstanceIds=[instance])
    account.advance(15)
    found = ec2.describe_instances()["Reservations"][0]["Instances"][0]
    assert found["State"]["Name"] == "stopped"
    assert found["StateReason"] == {
        "Code": "Client.InvalidKMSKey.InvalidState",
        "Message": "Client.InvalidKMSKey.InvalidState: The KMS key is not available",
    }
    assert states_on_the_bus == ["stopping", "stopped", "pending", "stopped"]


# Termination.


def test_termination_deletes_the_interfaces_that_ask_for_it(account, ec2, subnet):  # G5
    kept = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    instance = launch(ec2, subnet)
    account.advance(15)
    first = ec2.describe_instances()["Reservations"][0]["Instances"][0]["NetworkInterfaces"][0]
    assert first["Attachment"]["DeleteOnTermination"] is True
    ec2.attach_network_interface(NetworkInterfaceId=kept, InstanceId=instance, DeviceIndex=1)
    assert changes(ec2.terminate_instances(InstanceIds=[instance])) == [("running", "shutting-down")]
    account.advance(20)
    assert state(ec2, instance) == "terminated"
    left = ec2.describe_network_interfaces()["NetworkInterfaces"]
    assert [(interface["NetworkInterfaceId"], interface["Status"]) for interface in left] == [(kept, "available")]


def test_a_stopped_instance_terminates_at_once(account, ec2, instance):
    ec2.stop_instances(InstanceIds=[instance])
    account.advance(20)
    assert changes(ec2.terminate_instances(InstanceIds=[instance])) == [("stopped", "terminated")]


# Status checks.


def test_only_running_instances_have_a_status_unless_all_are_asked_for(account, ec2, instance):  # G10
    ec2.stop_instances(InstanceIds=[instance])
    account.advance(20)
    assert ec2.describe_instance_status(InstanceIds=[instance])["InstanceStatuses"] == []
    (found,) = ec2.describe_instance_status(IncludeAllInstances=True)["InstanceStatuses"]
    assert found["InstanceState"]["Name"] == "stopped"
    assert found["InstanceStatus"] == found["SystemStatus"] == {"Status": "not-applicable"}


def test_one_call_takes_200_values_of_filters_and_100_ids_of_status(ec2):  # S15, S16
    ids = [f"i-{number:017x}" for number in range(201)]
    for call, name in ((ec2.describe_instances, "instance-id"), (ec2.describe_network_interfaces, "subnet-id")):
        call(Filters=[{"Name": name, "Values": ids[:200]}])
        assert error_of(call, Filters=[{"Name": name, "Values": ids}]) == "FilterLimitExceeded"
    assert error_of(ec2.describe_instance_status, InstanceIds=ids[:101]) == "InvalidParameterValue"


def test_other_calls_take_50_ids_100_values_or_20_resources(account):  # S17
    ids = [f"i-{number:017x}" for number in range(101)]
    scaling, ssm, elb = (account.client(service) for service in ("autoscaling", "ssm", "elbv2"))
    scaling.describe_auto_scaling_instances(InstanceIds=ids[:50])
    assert error_of(scaling.describe_auto_scaling_instances, InstanceIds=ids[:51]) == "ValidationError"
    wanted = [{"Key": "InstanceIds", "Values": ids}]
    assert error_of(ssm.describe_instance_information, Filters=wanted) == "InvalidFilterValue"
    assert error_of(elb.describe_tags, ResourceArns=ids[:21]) == "ValidationError"


def test_status_checks_are_initializing_for_two_minutes(account, ec2, subnet):  # F5
    launch(ec2, subnet)
    account.advance(15)

    def found():
        (status,) = ec2.describe_instance_status()["InstanceStatuses"]
        return status["InstanceStatus"]["Status"], status["SystemStatus"]["Status"]

    assert found() == ("initializing", "initializing")
    account.advance(119)
    assert found() == ("initializing", "initializing")
    account.advance(1)
    assert found() == ("ok", "ok")


def test_an_impaired_instance(account, ec2, instance):
    account.ec2.impaired.add(instance)
    (found,) = ec2.describe_instance_status(Filters=[{"Name": "instance-status.status", "Values": ["impaired"]}])[
        "InstanceStatuses"
    ]
    assert found["InstanceStatus"]["Details"] == [{"Name": "reachability", "Status": "failed"}]


def test_status_checks_are_metrics_of_running_instances(account, ec2, instance):
    account.ec2.impaired.add(instance)
    put = []
    account.ec2.publish(lambda *values: put.append(values))
    assert ("AWS/EC2", "StatusCheckFailed", {"InstanceId": instance}, 1.0) in put
    ec2.stop_instances(InstanceIds=[instance])
    account.advance(20)
    put.clear()
    account.ec2.publish(lambda *values: put.append(values))
    assert put == []


# The application on an instance.


def test_the_application_answers_20_seconds_after_running(account, ec2, subnet):
    new = launch(ec2, subnet)
    account.advance(15 + 19)
    assert not account.ec2.answers(new)
    account.advance(1)
    assert account.ec2.answers(new)
    account.ec2.applications[new] = False
    assert not account.ec2.answers(new)


def test_a_stopping_instance_answers_nothing(account, ec2, instance):
    assert account.ec2.answers(instance)
    ec2.stop_instances(InstanceIds=[instance])
    assert not account.ec2.answers(instance)


def test_auto_scaling_refuses_an_id_that_is_too_long_with_all_others(account, instance):
    client = account.client("autoscaling")
    assert client.describe_auto_scaling_instances(InstanceIds=[instance])["AutoScalingInstances"] == []
    asked = lambda: client.describe_auto_scaling_instances(InstanceIds=[instance, f"{instance}0"])  # noqa: E731
    assert error_of(asked) == "ValidationError"


@pytest.mark.parametrize("suspended", [False, True])
def test_standby_makes_zones_uneven_which_auto_scaling_balances(account, ec2, subnet, suspended):
    client, vpc = account.client("autoscaling"), ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["VpcId"]
    zone = "ap-northeast-1c"
    other = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]
    client.create_launch_configuration(LaunchConfigurationName="lc", ImageId="ami-1", InstanceType="t3.micro")
    sizes = {"MinSize": 0, "MaxSize": 4, "DesiredCapacity": 0, "LaunchConfigurationName": "lc"}
    client.create_auto_scaling_group(AutoScalingGroupName="asg", VPCZoneIdentifier=f"{subnet},{other}", **sizes)
    first, second, alone = launch(ec2, subnet), launch(ec2, subnet), launch(ec2, other)
    account.advance(60)
    client.attach_instances(AutoScalingGroupName="asg", InstanceIds=[first, second, alone])
    if suspended:
        client.suspend_processes(AutoScalingGroupName="asg", ScalingProcesses=["AZRebalance"])
    client.enter_standby(AutoScalingGroupName="asg", InstanceIds=[alone], ShouldDecrementDesiredCapacity=True)
    account.advance(180)
    [group] = client.describe_auto_scaling_groups(AutoScalingGroupNames=["asg"])["AutoScalingGroups"]
    zones = sorted(each["AvailabilityZone"][-1] for each in group["Instances"] if each["LifecycleState"] == "InService")
    assert (zones, state(ec2, second)) == (["a", "a"] if suspended else ["a", "c"], "running")
    assert state(ec2, first) == ("running" if suspended else "terminated")
