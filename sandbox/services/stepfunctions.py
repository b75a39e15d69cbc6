"""Step Functions: Standard state machines on the virtual clock, their tasks real invocations of Lambda functions.

It knows the part of the Amazon States Language that is used here, and refuses a definition with anything else.
https://docs.aws.amazon.com/step-functions/latest/dg/concepts-amazon-states-language.html
"""

import functools
import json
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sandbox import iam
from sandbox.clock import Timer
from sandbox.frontdoor import FrontDoor
from sandbox.services.awslambda import Functions, Throttled
from sandbox.services.cloudwatch_metrics import Metrics
from sandbox.services.eventbridge import Events
from sandbox.wire import Refusal

INVOKE = "arn:aws:states:::lambda:invoke"
_INVOKE_AND_WAIT = f"{INVOKE}.waitForTaskToken"
_MOST_EVENTS = 25_000  # of one execution's history
_MOST_BYTES = 256 * 1024  # of a state's input or output
_FIELDS = {  # besides Type and Comment
    "Choice": {"Choices", "Default"},
    "Fail": {"Error", "ErrorPath", "Cause", "CausePath"},
    "Pass": {"Parameters", "Next"},
    "Succeed": set(),
    "Task": {
        "Resource",
        "Parameters",
        "OutputPath",
        "ResultPath",
        "TimeoutSeconds",
        "TimeoutSecondsPath",
        "Retry",
        "Catch",
        "Next",
    },
    "Wait": {"Seconds", "SecondsPath", "Next"},
}
_RULE = {"Variable", "StringEquals", "Next"}
_RETRY = {"ErrorEquals", "IntervalSeconds", "BackoffRate", "MaxDelaySeconds", "MaxAttempts", "JitterStrategy"}
_CATCH = {"ErrorEquals", "ResultPath", "Next"}
_EVENTS = {"Task": 5}  # entered, scheduled, started, succeeded or failed, exited; the others: entered, exited


class AslError(ValueError):
    """A definition that Step Functions, or the sandbox, does not take."""


class _Failed(Exception):  # noqa: N818 (an error of the language, with its name and its cause)
    def __init__(self, error: str, cause: str = "") -> None:
        super().__init__(f"{error}: {cause}")
        self.error, self.cause = error, cause


@dataclass
class Execution:
    """One run of a machine, as DescribeExecution shows it, with the names of the states that it has entered.

    data: the input of the present state. token: of its task, if that waits. events: so many are in the history.
    """

    arn: str
    machine_arn: str
    definition: dict[str, Any]
    role_name: str
    input: str
    started: datetime
    status: str = "RUNNING"
    stopped: datetime | None = None
    output: Any = None
    error: str = ""
    cause: str = ""
    states: list[str] = field(default_factory=list)
    data: Any = None
    token: str = ""
    events: int = 1
    attempts: Counter[int] = field(default_factory=Counter)  # of the present state, by retrier
    timer: Timer | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The last part of its ARN."""
        return self.arn.rpartition(":")[2]


def check(definition: dict[str, Any]) -> None:
    """Raise AslError for a state, a field or a target that is unknown."""
    states = definition["States"]
    targets = {definition["StartAt"]}
    for name, state in states.items():
        if state["Type"] not in _FIELDS:
            raise AslError(f"{name}: the sandbox lacks states of type {state['Type']}")
        _known(name, state, _FIELDS[state["Type"]] | {"Type", "Comment"})
        for rule, known in (("Choices", _RULE), ("Retry", _RETRY), ("Catch", _CATCH)):
            for part in state.get(rule, []):
                _known(f"{name}.{rule}", part, known)
                targets |= {part["Next"]} if "Next" in part else set()
        targets |= {state[key] for key in ("Next", "Default") if key in state}
        if "Next" not in state and state["Type"] in ("Pass", "Task", "Wait"):
            raise AslError(f"{name}: Next is missing")
        if state["Type"] == "Task" and state["Resource"] not in (INVOKE, _INVOKE_AND_WAIT):
            raise AslError(f"{name}: the sandbox lacks the resource {state['Resource']}")
    if unknown := targets - states.keys():
        raise AslError(f"there is no state {', '.join(sorted(unknown))}")


def _known(name: str, given: dict[str, Any], known: set[str]) -> None:
    if unknown := given.keys() - known:
        raise AslError(f"{name}: the sandbox lacks {', '.join(sorted(unknown))}")


def _look_up(path: str, data: Any, context: Any) -> Any:
    """Return what a reference path such as $.a.b, or $$.Execution.Name, points to."""
    value = context if path.startswith("$$") else data
    for part in path.lstrip("$").split("."):
        if part:
            if not isinstance(value, dict) or part not in value:
                raise _Failed("States.Runtime", f"The path '{path}' could not be found in the input")
            value = value[part]
    return value


def _fill(template: Any, data: Any, context: Any) -> Any:
    """Return a payload template with its paths looked up."""
    if isinstance(template, dict):
        return {
            key.removesuffix(".$"): _look_up(item, data, context) if key.endswith(".$") else _fill(item, data, context)
            for key, item in template.items()
        }
    return [_fill(item, data, context) for item in template] if isinstance(template, list) else template


def _put_at(path: str | None, data: Any, result: Any) -> Any:
    """Return the data with a result at a path of one name, in place of all of it ($), or nowhere (None)."""
    if path is None:
        return data
    if path == "$":
        return result
    if not isinstance(data, dict):
        raise _Failed("States.ResultPathMatchFailure", f"Unable to apply step {path} to input {data!r}")
    return {**data, path.removeprefix("$."): result}


class StepFunctions:
    """The state machines of one account."""

    def __init__(self, account: FrontDoor, metrics: Metrics, functions: Functions, events: Events) -> None:
        self._account = account
        self._metrics = metrics
        self._functions = functions
        self._events = events
        self._machines: dict[str, tuple[dict[str, Any], str]] = {}
        self.executions: list[Execution] = []
        self._kinds: dict[str, Callable[[Execution, dict[str, Any]], None]] = {
            "Choice": self._choose,
            "Fail": self._give_up,
            "Pass": self._pass,
            "Succeed": lambda execution, _: self._end(execution, "SUCCEEDED", output=execution.data),
            "Task": self._task,
            "Wait": self._wait,
        }
        for operation, fn in {
            "StartExecution": self._start_execution,
            "StopExecution": self._stop_execution,
            "DescribeExecution": self._describe_execution,
            "ListExecutions": self._list_executions,
            "SendTaskSuccess": self._send_task_success,
            "SendTaskFailure": self._send_task_failure,
        }.items():
            account.override("stepfunctions", operation, fn)

    def put(self, name: str, *, definition: dict[str, Any], role_name: str) -> str:
        """Create a machine or change its definition, in the States Language; return its ARN. AslError as check()."""
        check(definition)
        arn = self._account.arn("states", f"stateMachine:{name}")
        self._machines[arn] = (definition, role_name)
        return arn

    def delete(self, name: str) -> None:
        """Delete a machine; one that is not there is no error, and its executions go on."""
        self._machines.pop(self._account.arn("states", f"stateMachine:{name}"), None)

    def start(self, machine_arn: str, given: Any, name: str = "") -> Execution:
        """Start an execution with this input, a JSON value; its first state is entered when the clock runs.

        Refusal StateMachineDoesNotExist or ExecutionAlreadyExists.
        """
        if machine_arn not in self._machines:
            raise Refusal("StateMachineDoesNotExist", f"State Machine Does Not Exist: '{machine_arn}'")
        name = name or secrets.token_hex(8)
        arn = f"{machine_arn.replace(':stateMachine:', ':execution:')}:{name}"
        if any(execution.arn == arn for execution in self.executions):
            raise Refusal("ExecutionAlreadyExists", f"Execution Already Exists: '{arn}'")
        definition, role_name = self._machines[machine_arn]
        now = self._account.clock.now()
        execution = Execution(arn, machine_arn, definition, role_name, json.dumps(given), now, data=given)
        self.executions.append(execution)
        self._tell(execution)
        self._count(execution, "ExecutionsStarted")
        self._later(execution, 0, lambda: self._enter(execution, definition["StartAt"]))
        return execution

    # The API.

    def _start_execution(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        try:
            given = json.loads(params.get("input", "{}"))
        except ValueError as error:
            raise Refusal("InvalidExecutionInput", f"Invalid State Machine Execution Input: '{error}'") from error
        execution = self.start(params["stateMachineArn"], given, params.get("name", ""))
        return {"executionArn": execution.arn, "startDate": execution.started}

    def _stop_execution(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        execution = self._find(params["executionArn"])
        if execution.status == "RUNNING":
            self._end(execution, "ABORTED", error=params.get("error", ""), cause=params.get("cause", ""))
        return {"stopDate": execution.stopped}

    def _describe_execution(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        execution = self._find(params["executionArn"])
        output = {"output": json.dumps(execution.output)} if execution.status == "SUCCEEDED" else {}
        ended = {"stopDate": execution.stopped} if execution.stopped else {}
        failed = {"error": execution.error, "cause": execution.cause} if execution.error else {}
        return {**self._summary(execution), "input": execution.input, **output, **ended, **failed}

    def _list_executions(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        wanted = params.get("statusFilter")
        found = [
            self._summary(execution)
            for execution in reversed(self.executions)
            if execution.machine_arn == params["stateMachineArn"] and wanted in (None, execution.status)
        ]
        return {"executions": found}

    def _summary(self, execution: Execution) -> dict[str, Any]:
        return {
            "executionArn": execution.arn,
            "stateMachineArn": execution.machine_arn,
            "name": execution.name,
            "status": execution.status,
            "startDate": execution.started,
        }

    def _send_task_success(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        execution, output = self._waiting(params), json.loads(params["output"])
        self._later(execution, 0, lambda: self._succeed(execution, output))
        return {}

    def _send_task_failure(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        execution = self._waiting(params)
        failure = _Failed(params.get("error", ""), params.get("cause", ""))
        self._later(execution, 0, lambda: self._fail(execution, failure))
        return {}

    def _waiting(self, params: dict[str, Any]) -> Execution:
        for execution in self.executions:
            if execution.token == params["taskToken"]:
                if execution.status != "RUNNING":
                    break
                execution.token = ""
                return execution
        raise Refusal("TaskTimedOut", "Task Timed Out: 'Provided task does not exist anymore'")

    def _find(self, arn: str) -> Execution:
        for execution in self.executions:
            if execution.arn == arn:
                return execution
        raise Refusal("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'")

    # How it is done. Everything happens in timers, one after another.

    def _later(self, execution: Execution, seconds: float, fn: Callable[[], object]) -> None:
        if execution.timer:
            execution.timer.cancel()

        def run() -> None:
            if execution.status == "RUNNING":
                fn()

        execution.timer = self._account.clock.after(seconds, run)

    def _enter(self, execution: Execution, name: str) -> None:
        execution.states.append(name)
        execution.attempts.clear()
        self._do(execution)

    def _do(self, execution: Execution) -> None:
        state = execution.definition["States"][execution.states[-1]]
        execution.events += _EVENTS.get(state["Type"], 2)
        try:
            if execution.events > _MOST_EVENTS:
                raise _Failed("States.Runtime", f"The execution reached the maximum of {_MOST_EVENTS} history events")
            if len(json.dumps(execution.data)) > _MOST_BYTES:
                raise _Failed("States.DataLimitExceeded", f"The state has more than {_MOST_BYTES} bytes of input")
            self._kinds[state["Type"]](execution, state)
        except _Failed as failure:
            self._fail(execution, failure)

    def _context(self, execution: Execution) -> dict[str, Any]:
        return {
            "Execution": {
                "Id": execution.arn,
                "Input": json.loads(execution.input),
                "Name": execution.name,
                "RoleArn": f"arn:aws:iam::{self._account.account_id}:role/{execution.role_name}",
                "StartTime": execution.started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            },
            "StateMachine": {"Id": execution.machine_arn, "Name": execution.machine_arn.rpartition(":")[2]},
            "State": {"Name": execution.states[-1]},
            "Task": {"Token": execution.token},
        }

    def _task(self, execution: Execution, state: dict[str, Any]) -> None:
        waits = state["Resource"] == _INVOKE_AND_WAIT
        execution.token = secrets.token_urlsafe(48) if waits else ""
        given = _fill(state["Parameters"], execution.data, self._context(execution))
        role = self._account.roles[execution.role_name]
        if not iam.evaluate(role.policies, "lambda:InvokeFunction", given["FunctionName"], {}):
            message = f"{execution.role_name} is not authorized to perform: lambda:InvokeFunction"
            raise _Failed("Lambda.AWSLambdaException", message)
        if waits:
            path = state.get("TimeoutSecondsPath")
            seconds = _look_up(path, execution.data, None) if path else state.get("TimeoutSeconds", 99999999)
            self._later(execution, seconds, lambda: self._fail(execution, _Failed("States.Timeout")))
        token = execution.token
        try:
            invocation = self._functions.invoke(given["FunctionName"], given["Payload"])
        except Throttled as error:
            raise _Failed("Lambda.TooManyRequestsException", "Rate Exceeded.") from error
        if execution.status != "RUNNING" or execution.token != token:
            return  # stopped or answered meanwhile
        if invocation.error:
            raise _Failed(invocation.payload.get("errorType", "Unknown"), json.dumps(invocation.payload))
        if not waits:
            self._succeed(execution, {"ExecutedVersion": "$LATEST", "Payload": invocation.payload, "StatusCode": 200})

    def _succeed(self, execution: Execution, result: Any) -> None:
        state = execution.definition["States"][execution.states[-1]]
        try:
            made = _put_at(state.get("ResultPath", "$"), execution.data, result)
            execution.data = _look_up(state.get("OutputPath", "$"), made, None)
        except _Failed as failure:
            self._fail(execution, failure)
            return
        self._later(execution, 0, lambda: self._enter(execution, state["Next"]))

    def _pass(self, execution: Execution, state: dict[str, Any]) -> None:
        if "Parameters" in state:
            execution.data = _fill(state["Parameters"], execution.data, self._context(execution))
        self._enter(execution, state["Next"])

    def _choose(self, execution: Execution, state: dict[str, Any]) -> None:
        for rule in state["Choices"]:
            if _look_up(rule["Variable"], execution.data, None) == rule["StringEquals"]:
                self._enter(execution, rule["Next"])
                return
        if "Default" not in state:
            raise _Failed("States.NoChoiceMatched", "No Choice rule matched and there is no Default")
        self._enter(execution, state["Default"])

    def _wait(self, execution: Execution, state: dict[str, Any]) -> None:
        path = state.get("SecondsPath")
        seconds = _look_up(path, execution.data, None) if path else state["Seconds"]
        if isinstance(seconds, bool) or not isinstance(seconds, int) or not 0 <= seconds <= 99999999:
            raise _Failed("States.Runtime", f"The SecondsPath parameter {seconds!r} is no whole number of seconds")
        self._later(execution, seconds, lambda: self._enter(execution, state["Next"]))

    def _give_up(self, execution: Execution, state: dict[str, Any]) -> None:
        error, cause = (
            _look_up(state[f"{name}Path"], execution.data, None) if f"{name}Path" in state else state.get(name, "")
            for name in ("Error", "Cause")
        )
        self._end(execution, "FAILED", error=error, cause=cause)

    def _fail(self, execution: Execution, failure: _Failed) -> None:
        """Retry, catch, or end the execution."""
        execution.token = ""
        state = execution.definition["States"][execution.states[-1]]
        for number, retrier in enumerate(state.get("Retry", [])):
            if _meant(retrier["ErrorEquals"], failure.error):
                tried = execution.attempts[number]
                if tried >= retrier.get("MaxAttempts", 3):
                    break
                execution.attempts[number] += 1
                seconds = retrier.get("IntervalSeconds", 1) * retrier.get("BackoffRate", 2.0) ** tried
                seconds = min(seconds, retrier.get("MaxDelaySeconds", seconds))  # without jitter: stories repeat
                self._later(execution, seconds, lambda: self._do(execution))
                return
        for catcher in state.get("Catch", []):
            if _meant(catcher["ErrorEquals"], failure.error):
                found = {"Error": failure.error, "Cause": failure.cause}
                try:
                    execution.data = _put_at(catcher.get("ResultPath", "$"), execution.data, found)
                except _Failed as another:
                    failure = another
                    break
                self._later(execution, 0, functools.partial(self._enter, execution, catcher["Next"]))
                return
        self._end(execution, "FAILED", error=failure.error, cause=failure.cause)

    def _end(self, execution: Execution, status: str, *, output: Any = None, error: str = "", cause: str = "") -> None:
        with self._account.lock:
            self._account.lag.before_change("stepfunctions")
        execution.status, execution.stopped = status, self._account.clock.now()
        execution.output, execution.error, execution.cause = output, error, cause
        if execution.timer:
            execution.timer.cancel()
        self._count(execution, f"Executions{status.replace('_', ' ').title().replace(' ', '')}")
        self._tell(execution)

    def _tell(self, execution: Execution) -> None:
        detail = {
            "executionArn": execution.arn,
            "stateMachineArn": execution.machine_arn,
            "name": execution.name,
            "status": execution.status,
            "startDate": int(execution.started.timestamp() * 1000),
            "stopDate": int(execution.stopped.timestamp() * 1000) if execution.stopped else None,
            "input": execution.input,
            "output": json.dumps(execution.output) if execution.status == "SUCCEEDED" else None,
            "error": execution.error or None,
            "cause": execution.cause or None,
        }
        self._events.emit("aws.states", "Step Functions Execution Status Change", detail, [execution.arn])

    def _count(self, execution: Execution, metric: str) -> None:
        dimensions = {"StateMachineArn": execution.machine_arn}
        self._metrics.put("AWS/States", metric, dimensions, 1, "Count")


def _meant(names: list[str], error: str) -> bool:
    if error in ("States.DataLimitExceeded", "States.Runtime"):  # States.ALL does not mean these
        return error in names
    return bool({error, "States.ALL"} & set(names)) or ("States.TaskFailed" in names and error != "States.Timeout")
