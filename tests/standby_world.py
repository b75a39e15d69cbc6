"""A small model of EC2, fast enough to try thousands of schedules: runs take turns, one API call at a time."""

import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError

from functions.cold_standby_start.app import act, decide, mail, observe
from kirikae import aws, clock, patience
from kirikae.decision import Decision, Result
from kirikae.events import Hint
from kirikae.notify import Times
from kirikae.standby.notes import FAILED
from kirikae.standby.world import Close, Config, Note, Start

ACTIVE = "i-0000000a"
STANDBYS = ("i-00000001", "i-00000002", "i-00000003")
CONFIG = Config(
    service_name="batch",
    topic_arn="arn:aws:sns:ap-northeast-1:123456789012:batch",
    hold_parameter="/batch/hold",
    told_parameter="/told/it",
    active_instance_id=ACTIVE,
    standby_instance_ids=STANDBYS,
    functions_arn="arn:aws:lambda:ap-northeast-1:123456789012:function",
    aws_lambda_function_name="batch-ColdStandbyStartFunction",
)
START = datetime(2026, 11, 22, 3, 0, tzinfo=UTC).timestamp()


class Killed(BaseException):
    """The run dies between two calls, as at a timeout: nothing of it goes on."""


class World:
    """An active and three standbys; what EC2 lacks, and what falls back, is said by `lacks` and `falls_back`."""

    def __init__(self, config: Config = CONFIG) -> None:
        self.config = config
        self.time = START
        self.instances = {
            name: {"state": "stopped", "launched": START - 86400, "reason": "", "type": "t3.micro", "tags": {}}
            for name in (*STANDBYS, ACTIVE)
        }
        self.set(ACTIVE, "running")
        self.alarm_since: float | None = None
        self.lacks: Callable[[str], bool] = lambda _name: False
        self.falls_back: set[str] = set()
        self.falls_for = "Server.InternalError: on launch"
        self.hangs: set[str] = set()  # these never pass their checks
        self.lingers: set[str] = set()  # these hang on their way down
        self.unheard: dict[str, bool] = {}  # starts of these are never answered -> whether they are accepted
        self.takes = 0.0  # seconds that EC2 takes to answer a start
        self.stale_reads = 0  # so many reads of instances show the world as it was before the last start
        self._before: dict[str, dict[str, Any]] = {}
        self.unstoppable = False
        self.starts: list[tuple[float, str]] = []  # those that EC2 accepted
        self.touched: set[str] = set()
        self.mails: list[str] = []
        self.turns: Turns | None = None

    # What happens.

    def set(self, name: str, state: str, reason: str = "") -> None:
        """Change an instance's state, now."""
        self.instances[name] |= {"state": state, "reason": reason}

    def passes(self, seconds: float) -> None:
        """Let time pass: what is pending runs or falls back, what is stopping stops."""
        self.time += seconds
        for name, instance in self.instances.items():
            if instance["state"] == "pending":
                falls = name in self.falls_back
                self.set(name, "stopped" if falls else "running", self.falls_for if falls else "")
            elif instance["state"] == "stopping" and name not in self.lingers:
                self.set(name, "stopped", instance["reason"])

    @property
    def up(self) -> list[str]:
        """Return the standbys that start or run."""
        return [name for name in STANDBYS if self.instances[name]["state"] in ("pending", "running")]

    # Runs.

    def run(self) -> Decision[Start | Note | Close]:
        """Do what an invocation does between the event and the mail."""
        began = clock.now()
        seen = observe(self.config, Hint("tick", "tick"))
        decision = decide(self.config, seen)
        if decision.change:
            done = act(self.config, seen, decision.change)
            result = Result(decision.change, decision.reason, done, Times(None, began, clock.now()))
            if written := mail(self.config, seen, result):
                self.mails.append(written.subject.split(": ", 1)[1])
        return decision

    def overlap(self, schedule: Iterable[int], runs: int = 2, dies: dict[int, int] | None = None) -> None:
        """Let runs overlap: each number of the schedule lets that run make its next call; then they finish in turn.

        dies: run -> the number of calls after which it is killed.
        """
        self.turns = Turns(runs, dies or {})
        try:
            self.turns.go(self.run, schedule)
        finally:
            self.turns = None

    # EC2 and the others, as far as they are asked.

    def client(self, service: str, **_settings: Any) -> Any:
        """Return what `aws.client` would."""
        operations = {
            "ec2": (
                "describe_instances",
                "start_instances",
                "stop_instances",
                "create_tags",
                "delete_tags",
                "describe_instance_status",
                "describe_instance_types",
                "modify_instance_attribute",
            ),
            "cloudwatch": ("describe_alarms", "list_alarm_mute_rules"),
            "ssm": ("get_parameter",),
        }[service]
        return SimpleNamespace(**{name: self._gate(getattr(self, f"_{name}")) for name in operations})

    def _gate(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(**params: Any) -> Any:
            if self.turns:
                self.turns.wait()
            return operation(**params)

        return call

    def _describe_instances(self, Filters: list[dict[str, Any]]) -> Any:  # noqa: N803 (AWS's name)
        stale, self.stale_reads = self.stale_reads > 0, max(0, self.stale_reads - 1)
        shown = self.instances | (self._before if stale else {})
        found = [(name, shown[name]) for name in Filters[0]["Values"] if shown[name]["state"] != "missing"]
        described = [
            {
                "InstanceId": name,
                "State": {"Name": instance["state"]},
                "InstanceType": instance["type"],
                "LaunchTime": datetime.fromtimestamp(instance["launched"], UTC),
                "StateReason": {"Message": instance["reason"]},
                "Tags": [{"Key": key, "Value": value} for key, value in instance["tags"].items()],
            }
            for name, instance in found
        ]
        return {"Reservations": [{"Instances": described}]}

    def _get_parameter(self, **_params: Any) -> Any:  # of what people were told: nothing that a start must know
        raise _error("ParameterNotFound", "GetParameter")

    def _list_alarm_mute_rules(self, **_params: Any) -> Any:
        return {"AlarmMuteRuleSummaries": []}

    def _start_instances(self, InstanceIds: list[str], DryRun: bool = False) -> Any:  # noqa: N803
        [name] = InstanceIds
        instance = self.instances[name]
        self.touched.add(name)
        if instance["tags"].get(FAILED):  # the condition in the function's policy
            raise _error("UnauthorizedOperation", "StartInstances")
        if DryRun:
            raise _error("DryRunOperation", "StartInstances")
        self.time += self.takes
        before = instance["state"]
        if before not in ("stopped", "pending", "running"):
            raise _error("IncorrectInstanceState", "StartInstances")
        if before == "stopped":
            if self.unheard.get(name) is False:
                raise ReadTimeoutError(endpoint_url="ec2")
            if self.lacks(name):
                raise _error("InsufficientInstanceCapacity", "StartInstances")
            self._before = {name: instance | {"tags": dict(instance["tags"])}}
            self.set(name, "pending")
            instance["launched"] = self.time
            self.starts.append((self.time, name))
            if name in self.unheard:
                raise ReadTimeoutError(endpoint_url="ec2")
        return {"StartingInstances": [{"PreviousState": {"Name": before}}]}

    def _stop_instances(self, InstanceIds: list[str]) -> Any:  # noqa: N803
        [name] = InstanceIds
        self.touched.add(name)
        if self.unstoppable:
            raise _error("OperationNotPermitted", "StopInstances")
        before = self.instances[name]["state"]
        if self.instances[name]["state"] == "running":
            self.set(name, "stopping", "Client.UserInitiatedShutdown: User initiated shutdown")
        after = self.instances[name]["state"]
        return {"StoppingInstances": [{"PreviousState": {"Name": before}, "CurrentState": {"Name": after}}]}

    def _create_tags(self, Resources: list[str], Tags: list[dict[str, str]]) -> None:  # noqa: N803
        for name in Resources:
            self.touched.add(name)
            if any(tag["Key"] == FAILED and tag["Value"] for tag in Tags) and self.instances[name]["tags"].get(FAILED):
                raise _error("UnauthorizedOperation", "CreateTags")  # a condition in the function's policy, too
            self.instances[name]["tags"] |= {tag["Key"]: tag["Value"] for tag in Tags}

    def _delete_tags(self, Resources: list[str], Tags: list[dict[str, str]]) -> None:  # noqa: N803
        for name in Resources:
            self.touched.add(name)
            if not Tags:  # EC2 removes all that a user has set
                self.instances[name]["tags"].clear()
            for tag in Tags:
                if self.instances[name]["tags"].get(tag["Key"]) == tag["Value"]:
                    del self.instances[name]["tags"][tag["Key"]]

    def _describe_instance_status(self, InstanceIds: list[str]) -> Any:  # noqa: N803
        def check(name: str) -> dict[str, str]:
            if name in self.hangs:
                return {"Status": "impaired"}
            if name == ACTIVE:
                return {"Status": "impaired" if self.alarm_since else "ok"}
            return {"Status": "ok" if self.time - self.instances[name]["launched"] > 150 else "initializing"}

        statuses = [{"InstanceId": i, "SystemStatus": check(i), "InstanceStatus": check(i)} for i in InstanceIds]
        return {"InstanceStatuses": statuses}

    def _modify_instance_attribute(self, InstanceId: str, InstanceType: dict[str, str]) -> None:  # noqa: N803
        self.touched.add(InstanceId)
        if self.instances[InstanceId]["state"] != "stopped":
            raise _error("IncorrectInstanceState", "ModifyInstanceAttribute")
        self.instances[InstanceId]["type"] = InstanceType["Value"]

    def _describe_instance_types(self, **_params: Any) -> Any:
        return {"InstanceTypes": []}

    def _describe_alarms(self, **_params: Any) -> Any:
        if self.alarm_since is None:
            return {"MetricAlarms": [], "CompositeAlarms": []}
        since = datetime.fromtimestamp(self.alarm_since, UTC)
        alarm = {
            "AlarmName": "status",
            "StateValue": "ALARM",
            "StateUpdatedTimestamp": since,
            "StateTransitionedTimestamp": since,
            "AlarmActions": [self.config.own_arn],
        }
        return {"MetricAlarms": [alarm], "CompositeAlarms": []}


class Turns:
    """A scheduler: each run stands before its next call until it is let through."""

    def __init__(self, runs: int, dies: dict[int, int]) -> None:
        self._runs, self._dies = runs, dies
        self._may = [threading.Semaphore(0) for _ in range(runs)]
        self._stands = [threading.Event() for _ in range(runs)]
        self._over = [False] * runs
        self._calls = [0] * runs
        self._mine = threading.local()
        self._errors: list[BaseException] = []

    def wait(self) -> None:
        """Stand before a call until it is this run's turn."""
        number = self._mine.number
        self._stands[number].set()
        self._may[number].acquire()
        if self._calls[number] == self._dies.get(number):
            raise Killed
        self._calls[number] += 1

    def go(self, run: Callable[[], object], schedule: Iterable[int]) -> None:
        """Start the runs and let them through in this order."""
        threads = [threading.Thread(target=self._body, args=(number, run)) for number in range(self._runs)]
        for number, thread in enumerate(threads):
            thread.start()
            self._stands[number].wait()
        for number in schedule:
            self._step(number % self._runs)
        for number in range(self._runs):
            while not self._over[number]:
                self._step(number)
        for thread in threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _step(self, number: int) -> None:
        if self._over[number]:
            return
        self._stands[number].clear()
        self._may[number].release()
        self._stands[number].wait()

    def _body(self, number: int, run: Callable[[], object]) -> None:
        self._mine.number = number
        try:
            run()
        except Killed:
            pass
        except Exception as error:  # noqa: BLE001 (raised again in the test's own thread)
            self._errors.append(error)
        finally:
            self._over[number] = True
            self._stands[number].set()


def _error(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "in the model"}}, operation)


def install(world: World, monkeypatch: Any) -> World:
    """Make the product live in this world."""
    monkeypatch.setattr(aws, "client", world.client)
    monkeypatch.setattr(clock, "now", lambda: datetime.fromtimestamp(world.time, UTC))
    # Looks that wait until something shows have their pauses in no time.
    monkeypatch.setattr(patience, "time", SimpleNamespace(time=lambda: world.time, sleep=lambda _seconds: None))
    return world
