"""EC2's instances where moto is kinder: states that take time, refusals, events and status checks."""

from collections.abc import Callable
from typing import Any

from moto.ec2.models.instances import StateReason

from sandbox.clock import Timer
from sandbox.frontdoor import FrontDoor
from sandbox.services.cloudwatch_metrics import Put
from sandbox.services.ec2_network import Network
from sandbox.services.eventbridge import Events
from sandbox.wire import Answer, Refusal

PENDING = 15.0  # seconds from the start to running
STOPPING = 20.0
SHUTTING_DOWN = 20.0
BOOTING = 20.0  # seconds from running until the application answers
INITIALIZING = 120.0  # seconds from running until both status checks have an answer

_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
_CHECKS = ("SystemStatus", "InstanceStatus", "AttachedEbsStatus")  # those that every instance has (S6)


class Ec2:
    """The instances of one account: their states, the applications on them and what EC2 says about them."""

    def __init__(self, account: FrontDoor, network: Network, events: Events) -> None:
        self._account = account
        self._network = network
        self._events = events
        self.on_change: list[Callable[[str, str], object]] = []  # called with instance id and new state
        # What a test may set.
        self.applications: dict[str, bool] = {}  # instance id -> whether its application answers, if not as usual
        self.falls_back: dict[str, str] = {}  # instance id -> state reason of a start that ends in stopped
        self.impaired: set[str] = set()  # instances whose status checks fail
        # instance id -> part of DescribeInstanceStatus, like AttachedEbsStatus or PerformanceStatus -> its status
        self.checks: dict[str, dict[str, str]] = {}
        self._running_since: dict[str, float] = {}
        self._timers: dict[str, Timer] = {}
        account.around("ec2", "RunInstances", self._run)
        account.override("ec2", "StartInstances", self._start)
        account.override("ec2", "StopInstances", self._stop)
        account.override("ec2", "TerminateInstances", self._terminate)
        account.override("ec2", "DescribeInstanceStatus", self._describe_status)
        account.override("ec2", "DescribeInstances", self._describe)
        account.override("ec2", "DescribeNetworkInterfaces", _check_filters)

    # What the rest of the sandbox asks.

    @property
    def backend(self) -> Any:
        """Moto's backend of EC2."""
        return self._account.backend("ec2")

    def instance(self, instance_id: str) -> Any:
        """Return moto's instance, None if there is none."""
        return self.backend.get_instance_by_id(instance_id)

    def state(self, instance_id: str) -> str:
        """Return the state of an instance as it really is, however late reads show it."""
        return str(self.instance(instance_id).state)

    def answers(self, instance_id: str) -> bool:
        """Return whether the application on this instance answers requests now."""
        since = self._running_since.get(instance_id)
        booted = since is not None and self._account.clock.time() - since >= BOOTING
        return booted and self.applications.get(instance_id, True)

    # States. They take time and every change is an event on the bus (F5).

    def _set(self, instance: Any, state: str) -> None:
        instance._state.name, instance._state.code = state, _CODES[state]
        if state == "running":
            self._running_since[instance.id] = self._account.clock.time()
        else:
            self._running_since.pop(instance.id, None)
        for tell in self.on_change:
            tell(instance.id, state)
        self._events.emit(
            "aws.ec2",
            "EC2 Instance State-change Notification",
            {"instance-id": instance.id, "state": state},
            [self._account.arn("ec2", f"instance/{instance.id}")],
        )

    def _later(self, instance: Any, seconds: float, fn: Callable[[], None]) -> None:
        if timer := self._timers.get(instance.id):
            timer.cancel()

        def run() -> None:
            with self._account.lock:
                self._account.lag.before_change("ec2")
                fn()

        self._timers[instance.id] = self._account.clock.after(seconds, run)

    def _boot(self, instance: Any) -> None:
        instance.launch_time = self._account.clock.now()
        self._set(instance, "pending")

        def end() -> None:
            if reason := self.falls_back.get(instance.id):
                self._stopped(instance, reason)
            else:
                self._set(instance, "running")

        self._later(instance, PENDING, end)

    def _stopped(self, instance: Any, reason: str) -> None:
        for nic in instance.nics.values():
            nic.stop()
        instance.state_reason = StateReason(reason, reason.split(":")[0])
        self._set(instance, "stopped")

    def _terminated(self, instance: Any) -> None:
        # Interfaces with DeleteOnTermination go with it, others are free again (G5).
        for nic in list(instance.nics.values()):
            if nic.delete_on_termination:
                self._network.release(nic)
            else:
                instance.detach_eni(nic)
        instance.terminate()
        self._set(instance, "terminated")

    def _run(self, params: dict[str, Any], serve: Callable[[], Answer]) -> Answer:
        known = {instance.id for instance in self.backend.all_instances()}
        specified = {given.get("DeviceIndex", 0): given for given in params.get("NetworkInterfaces", [])}
        answered = serve()
        for instance in self.backend.all_instances():
            if instance.id not in known:
                for index, nic in instance.nics.items():
                    # G5: what a launch creates goes with the instance, unless the launch says otherwise.
                    wanted = specified.get(index, {})
                    nic.delete_on_termination = wanted.get("DeleteOnTermination", "NetworkInterfaceId" not in wanted)
                self._network.made(list(instance.nics.values()))
                self._boot(instance)
        return answered

    def _start(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        def start(instance: Any) -> None:
            if instance.state == "stopped":
                instance.state_reason, instance._reason = StateReason(), ""
                for nic in instance.nics.values():
                    nic.start()
                self._boot(instance)

        # G7: what is on its way down cannot be started; what runs already is left alone.
        refused = {"stopping", "shutting-down", "terminated"}
        return {"StartingInstances": self._each(params, refused, "started", start)}

    def _stop(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        def stop(instance: Any) -> None:
            if instance.state == "running":
                instance._reason = f"User initiated ({self._account.clock.now():%Y-%m-%d %H:%M:%S} GMT)"
                code = f"Client.UserInitiated{'Hibernate' if params.get('Hibernate') else 'Shutdown'}"  # S4
                reason = f"{code}: User initiated {'hibernate' if params.get('Hibernate') else 'shutdown'}"
                instance.state_reason = StateReason(reason, code)
                self._set(instance, "stopping")
                self._later(instance, STOPPING, lambda: self._stopped(instance, reason))

        refused = {"pending", "shutting-down", "terminated"}
        return {"StoppingInstances": self._each(params, refused, "stopped", stop)}

    def _terminate(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        def terminate(instance: Any) -> None:
            if instance.disable_api_termination:
                raise Refusal("OperationNotPermitted", f"The instance '{instance.id}' may not be terminated.")
            if instance.state == "stopped":
                self._terminated(instance)
            elif instance.state not in ("shutting-down", "terminated"):
                self._set(instance, "shutting-down")
                self._later(instance, SHUTTING_DOWN, lambda: self._terminated(instance))

        return {"TerminatingInstances": self._each(params, set(), "terminated", terminate)}

    def _each(
        self, params: dict[str, Any], refused: set[str], verb: str, act: Callable[[Any], None]
    ) -> list[dict[str, Any]]:
        """Do it to all instances or, if AWS refuses one of them, to none; return their state changes."""
        instances = self._named(params.get("InstanceIds", []))
        if params.get("DryRun"):  # S1: it is about permission only, neither state nor capacity
            raise Refusal("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
        for instance in instances:
            if instance.state in refused:
                message = f"The instance '{instance.id}' is not in a state from which it can be {verb}."
                raise Refusal("IncorrectInstanceState", message)
        changes = []
        for instance in instances:
            previous = _state(instance.state)
            act(instance)
            changes.append(
                {"InstanceId": instance.id, "PreviousState": previous, "CurrentState": _state(instance.state)}
            )
        return changes

    def _named(self, instance_ids: list[str]) -> list[Any]:
        for instance_id in instance_ids:
            if not instance_id.startswith("i-"):
                raise Refusal("InvalidInstanceID.Malformed", f'Invalid id: "{instance_id}" (expecting "i-...")')
        return list(self.backend.get_multi_instances_by_id(instance_ids))

    # Reads.

    def _describe(self, params: dict[str, Any], principal: str) -> None:
        _check_filters(params, principal)
        self._named(params.get("InstanceIds", []))

    def _describe_status(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        # G10: only running instances unless IncludeAllInstances.
        wanted = params.get("InstanceIds")
        if wanted and len(wanted) > 100:  # S16
            raise Refusal("InvalidParameterValue", "The maximum number of instance ids that can be specified is 100")
        instances = self._named(wanted) if wanted else self.backend.all_instances()
        statuses = []
        for instance in instances:
            if instance.state == "running" or params.get("IncludeAllInstances"):
                statuses.append(self._status(instance, instance.state))
        return {"InstanceStatuses": [status for status in statuses if _matches(status, params.get("Filters", []))]}

    def _status(self, instance: Any, state: str) -> dict[str, Any]:
        checks = self._checks(instance.id, state)
        parts = {name: {"Status": status} | _details(name, status) for name, status in checks.items()}
        described = {
            "AvailabilityZone": instance.placement.zone,
            "InstanceId": instance.id,
            "InstanceState": _state(state),
        }
        return described | parts

    def _checks(self, instance_id: str, state: str) -> dict[str, str]:
        """Return each part of DescribeInstanceStatus; those that are not in _CHECKS only if a test sets them."""
        since = self._running_since.get(instance_id)
        if state != "running" or since is None:
            return dict.fromkeys(_CHECKS, "not-applicable")
        if self._account.clock.time() - since < INITIALIZING:
            return dict.fromkeys(_CHECKS, "initializing")
        usual = dict.fromkeys(_CHECKS, "ok")
        if instance_id in self.impaired:
            usual |= {"SystemStatus": "impaired", "InstanceStatus": "impaired"}
        return usual | self.checks.get(instance_id, {})

    def publish(self, put: Put) -> None:
        """Publish the status checks of the minute, 0 or 1: of running instances only."""
        for instance in self.backend.all_instances():
            checks = self._checks(instance.id, instance.state)
            if checks["SystemStatus"] not in ("not-applicable", "initializing"):
                for name in _CHECKS:
                    metric = f"StatusCheckFailed_{name.removesuffix('Status').replace('Ebs', 'EBS')}"
                    put("AWS/EC2", metric, {"InstanceId": instance.id}, float(checks[name] == "impaired"))
                if "ApplicationStatus" in checks:  # a metric of its own, of instances that have such a check (S6)
                    failed = checks["ApplicationStatus"] == "impaired"
                    put("AWS/EC2", "StatusCheckFailed_Application", {"InstanceId": instance.id}, float(failed))
                # S6: whichever of the three it is.
                failed = "impaired" in [checks[name] for name in _CHECKS]
                put("AWS/EC2", "StatusCheckFailed", {"InstanceId": instance.id}, float(failed))


def _check_filters(params: dict[str, Any], _principal: str) -> None:
    if sum(len(condition.get("Values", [])) for condition in params.get("Filters", [])) > 200:  # S15
        message = "The maximum number of filter values specified on a single call is 200"
        raise Refusal("FilterLimitExceeded", message)


def _state(name: str) -> dict[str, Any]:
    return {"Code": _CODES[name], "Name": name}


def _details(name: str, status: str) -> dict[str, Any]:
    """Return the details that a check has, if it has any."""
    if status == "not-applicable" or name not in _CHECKS:
        return {}
    passed = {"ok": "passed", "impaired": "failed"}.get(status, status)
    return {"Details": [{"Name": "reachability", "Status": passed}]}


def _matches(status: dict[str, Any], filters: list[dict[str, Any]]) -> bool:
    values = {
        "availability-zone": status["AvailabilityZone"],
        "instance-state-name": status["InstanceState"]["Name"],
        "instance-status.status": status["InstanceStatus"]["Status"],
        "system-status.status": status["SystemStatus"]["Status"],
    }
    for condition in filters:
        if condition["Name"] not in values:
            raise Refusal("InvalidParameterValue", f"The sandbox lacks the filter '{condition['Name']}'")
        if values[condition["Name"]] not in condition["Values"]:
            return False
    return True
