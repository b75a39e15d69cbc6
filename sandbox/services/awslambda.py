"""Lambda: functions as real processes, invoked at once or through the asynchronous queue on the virtual clock.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

import atexit
import json
import math
import secrets
import threading
import uuid
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from sandbox.frontdoor import FrontDoor
from sandbox.lambdas.runtime import Environment, Invocation
from sandbox.services.cloudwatch_math import emf
from sandbox.services.cloudwatch_metrics import Metrics
from sandbox.services.delivery import DeliveryError, allows
from sandbox.wire import Answer, Refusal

_RETRY_SECONDS = (60, 120)  # from the end of an attempt to the second and the third one (K4)
_LONGEST_BACKOFF_SECONDS = 300  # of a throttled asynchronous event, which starts with one second (K4)
_ENVIRONMENT_BYTES = 4096  # of all variables of a function together
# Variables of Lambda that a function may set for itself; all others are reserved.
_OPEN_VARIABLES = {"LANG", "PATH", "TZ", "PYTHONPATH", "AWS_XRAY_CONTEXT_MISSING", "AWS_XRAY_DAEMON_ADDRESS"}


class Throttled(Exception):  # noqa: N818 (it is not an error of the function)
    """All of the function's reserved concurrency is in use."""


@dataclass(frozen=True)
class Function:
    """What a function is made of; timeout in seconds, memory in MB."""

    name: str
    arn: str
    code_dir: Path
    layers: tuple[Path, ...]
    handler: str
    role_name: str
    environment: dict[str, str]
    timeout: int
    memory: int
    reserved_concurrency: int | None


@dataclass(frozen=True)
class _AsyncSettings:
    """How asynchronous events of a function are treated."""

    retries: int = 2
    max_age_seconds: int = 21600
    on_failure_arn: str | None = None


@dataclass(frozen=True)
class Run:
    """One invocation, for the record; time is virtual."""

    time: datetime
    function: str
    event: Any
    invocation: Invocation


@dataclass(frozen=True)
class _Queued:
    """An asynchronous event on its way."""

    name: str
    event: Any
    request_id: str
    arrived: float
    attempts: int = 0
    throttles: int = 0
    last: Invocation | None = None


class Functions:
    """The account's Lambda."""

    def __init__(self, account: FrontDoor, metrics: Metrics) -> None:
        self._account = account
        self._metrics = metrics
        self._functions: dict[str, Function] = {}
        self._policies: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)  # function: sid: statement
        self._settings: dict[str, _AsyncSettings] = {}
        self._idle: dict[str, list[Environment]] = defaultdict(list)
        self._busy: dict[str, int] = defaultdict(int)
        self._environments: dict[Environment, Function] = {}
        self._lock = threading.Lock()
        self.runs: list[Run] = []
        account.override("lambda", "Invoke", self._api_invoke, locked=False)
        account.override("lambda", "GetPolicy", self._api_get_policy)
        account.kill = self.kill
        account.at_close(self.close)
        atexit.register(self.close)

    # Functions and what belongs to them.

    def create(
        self,
        name: str,
        *,
        code_dir: Path,
        layers: Sequence[Path],
        handler: str,
        role_name: str,
        environment: dict[str, str],
        timeout: int,
        memory: int,
        reserved_concurrency: int | None = None,
    ) -> str:
        """Create a function from an unzipped package and layers, return its ARN; timeout in seconds, memory in MB.

        ValueError if there is one of this name, or Lambda would refuse its variables.
        """
        if name in self._functions:
            raise ValueError(f"Function already exists: {name}")
        return self._put(
            Function(
                name,
                self._account.arn("lambda", f"function:{name}"),
                Path(code_dir),
                tuple(Path(layer) for layer in layers),
                handler,
                role_name,
                {key: str(value) for key, value in environment.items()},
                int(timeout),
                int(memory),
                None if reserved_concurrency is None else int(reserved_concurrency),
            )
        )

    def update(self, name: str, **changes: Any) -> str:
        """Change what create() was given and return the ARN; the next invocation is a cold start. Errors as there."""
        old = self._function(name)
        self.retire(name)
        del self._functions[name]
        kept = {key: value for key, value in vars(old).items() if key not in ("name", "arn")}
        try:
            return self.create(name, **{**kept, **changes})
        except BaseException:
            self._functions[name] = old
            raise

    def delete(self, name: str) -> None:
        """Delete a function with its policy and settings; one that is not there is no error."""
        self._functions.pop(name, None)
        self._policies.pop(name, None)
        self._settings.pop(name, None)
        self.retire(name)

    def allow(
        self, function_name: str, sid: str, principal: str, source_arn: str | None, source_account: str | None
    ) -> None:
        """Add or replace a statement of the function's policy: this principal, for this source, may invoke it."""
        conditions: dict[str, dict[str, str]] = {}
        if source_arn:
            conditions["ArnLike"] = {"AWS:SourceArn": source_arn}
        if source_account:
            conditions["StringEquals"] = {"AWS:SourceAccount": source_account}
        function = self._function(function_name)
        self._policies[function.name][sid] = {
            "Sid": sid,
            "Effect": "Allow",
            "Principal": {"Service": principal},
            "Action": "lambda:InvokeFunction",
            "Resource": function.arn,
            **({"Condition": conditions} if conditions else {}),
        }

    def disallow(self, function_name: str, sid: str) -> None:
        """Remove a statement of the function's resource policy; KeyError if there is none of this id."""
        del self._policies[_name(function_name)][sid]

    def event_invoke_config(self, name: str, retries: int, max_age_seconds: int, on_failure_arn: str | None) -> None:
        """Set how asynchronous events are treated: retries 0-2, age 60-21600 s, an SNS topic or SQS queue."""
        function = self._function(name)
        if not 0 <= int(retries) <= 2 or not 60 <= int(max_age_seconds) <= 21600:
            raise ValueError(f"Out of range: {retries} retries, {max_age_seconds} seconds of age")
        if on_failure_arn and on_failure_arn.split(":")[2] not in ("sns", "sqs"):
            raise ValueError(f"The sandbox lacks the destination {on_failure_arn}")
        self._settings[function.name] = _AsyncSettings(int(retries), int(max_age_seconds), on_failure_arn)

    def retire(self, name: str) -> None:
        """End the idle environments of a function, as Lambda does after minutes of silence."""
        with self._lock:
            idle = self._idle.pop(name, [])
            for environment in idle:
                del self._environments[environment]
        for environment in idle:
            environment.close()

    def kill(self, access_key: str) -> None:
        """End the process of the environment that has this key, by a signal; nobody is no error."""
        with self._lock:
            found = [environment for environment in self._environments if environment.access_key == access_key]
        for environment in found:
            environment.kill()

    def close(self) -> None:
        """End every process."""
        atexit.unregister(self.close)
        with self._lock:
            environments = list(self._environments)
            self._environments.clear()
            self._idle.clear()
        for environment in environments:
            environment.close()

    # Invocations.

    def invoke(self, name: str, event: Any) -> Invocation:
        """Invoke a function, by name or ARN, and wait for its end; JSON in, JSON out.

        ValueError if there is none, Throttled if its reserved concurrency is in use.
        """
        return self._run(self._function(name), event, str(uuid.uuid4()))

    def concurrently(self, name: str, events: Sequence[Any]) -> list[Invocation]:
        """Invoke a function with all events at the same time, as far as its reserved concurrency goes."""
        limit = self._function(name).reserved_concurrency
        with ThreadPoolExecutor(min(len(events), limit or len(events))) as pool:
            return list(pool.map(lambda event: self.invoke(name, event), events))

    def invoke_async(self, name: str, event: Any) -> str:
        """Queue an event, which runs when the clock does; return its request id. ValueError if there is no function."""
        queued = _Queued(self._function(name).name, event, str(uuid.uuid4()), self._account.clock.time())
        self._account.clock.after(0, lambda: self._attempt(queued))
        return queued.request_id

    def check(self, name: str, *, principal: str, source_arn: str) -> None:
        """Raise DeliveryError unless the function's policy lets this service invoke it for this resource."""
        function = self._functions.get(_name(name))
        if function is None:
            raise DeliveryError("NO_RESOURCE", f"Function not found: {name}")
        policy = {"Statement": list(self._policies[function.name].values())}
        if not allows(policy, principal, "lambda:InvokeFunction", function.arn, source_arn):
            raise DeliveryError(
                "NO_PERMISSIONS",
                f"{principal} is not authorized to perform: lambda:InvokeFunction on the resource {function.arn} "
                "because no resource-based policy allows the lambda:InvokeFunction action",
            )

    def accept(self, name: str, event: Any, *, principal: str, source_arn: str) -> None:
        """Queue an event that a service sends for one of its resources; DeliveryError if it may not."""
        self.check(name, principal=principal, source_arn=source_arn)
        self.invoke_async(name, event)

    # The API.

    def _api_invoke(self, params: dict[str, Any], _principal: str) -> Answer:
        if _name(params["FunctionName"]) not in self._functions:
            raise Refusal("ResourceNotFoundException", f"Function not found: {params['FunctionName']}", 404)
        try:
            event = json.loads(params.get("Payload") or b"{}")
        except ValueError as error:
            raise Refusal(
                "InvalidRequestContentException", f"Could not parse request body into json: {error}"
            ) from error
        match params.get("InvocationType", "RequestResponse"):
            case "DryRun":
                return 204, {}, b""
            case "Event":
                return 202, {"x-amzn-RequestId": self.invoke_async(params["FunctionName"], event)}, b""
        try:
            invocation = self.invoke(params["FunctionName"], event)
        except Throttled as error:
            raise Refusal("TooManyRequestsException", "Rate Exceeded.", 429) from error
        headers = {"X-Amz-Executed-Version": "$LATEST", "Content-Type": "application/json"}
        if invocation.error:
            headers["X-Amz-Function-Error"] = "Unhandled"
        return 200, headers, json.dumps(invocation.payload).encode()

    def _api_get_policy(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        name = _name(params["FunctionName"])
        if not self._policies.get(name):
            raise Refusal("ResourceNotFoundException", "The resource you requested does not exist.", 404)
        document = {"Version": "2012-10-17", "Id": "default", "Statement": list(self._policies[name].values())}
        return {"Policy": json.dumps(document), "RevisionId": str(uuid.uuid4())}

    # How it is done.

    def _function(self, name: str) -> Function:
        try:
            return self._functions[_name(name)]
        except KeyError:
            raise ValueError(f"Function not found: {name}") from None

    def _put(self, function: Function) -> str:
        reserved = set(self._variables(function)) - _OPEN_VARIABLES
        if taken := sorted(reserved & function.environment.keys()):
            raise ValueError(f"Reserved keys used in this request: {', '.join(taken)}")
        if len(json.dumps(function.environment, ensure_ascii=False).encode()) > _ENVIRONMENT_BYTES:
            raise ValueError(f"Environment variables exceeded the {_ENVIRONMENT_BYTES} bytes limit of {function.name}")
        self._functions[function.name] = function
        return function.arn

    def _variables(self, function: Function) -> dict[str, str]:
        """Return the environment variables that Lambda sets, without those of the runtime process itself."""
        stream = f"{self._account.clock.now():%Y/%m/%d}/[$LATEST]{secrets.token_hex(16)}"
        return {
            "AWS_DEFAULT_REGION": self._account.region,
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": stream,
            "AWS_REGION": self._account.region,
            "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
            "AWS_XRAY_DAEMON_ADDRESS": "169.254.79.129:2000",
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "LANG": "en_US.UTF-8",
            "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
            "SHLVL": "0",
            "TZ": ":UTC",
        }

    def _acquire(self, function: Function) -> Environment:
        with self._lock:
            limit = function.reserved_concurrency
            if limit is not None and self._busy[function.name] >= limit:
                raise Throttled(function.name)
            if self._idle[function.name]:
                environment = self._idle[function.name].pop()
            else:
                key, secret, token = self._account.credentials_for(function.role_name)
                variables = {
                    **self._variables(function),
                    **function.environment,
                    "AWS_ACCESS_KEY_ID": key,
                    "AWS_SECRET_ACCESS_KEY": secret,
                    "AWS_SESSION_TOKEN": token,
                    "AWS_ENDPOINT_URL": self._account.endpoint,
                }
                environment = Environment(
                    function.handler,
                    function.code_dir,
                    list(function.layers),
                    variables,
                    function.arn,
                    self._account.lag.slept,
                )
                self._environments[environment] = function
            self._busy[function.name] += 1
            return environment

    def _release(self, function: Function, environment: Environment) -> None:
        with self._lock:
            self._busy[function.name] -= 1
            known = environment in self._environments
            if known and self._functions.get(function.name) is self._environments[environment]:
                self._idle[function.name].append(environment)
                return
            self._environments.pop(environment, None)
        if known:  # updated or deleted meanwhile
            environment.close()

    def _run(self, function: Function, event: Any, request_id: str) -> Invocation:
        count = self._metrics.put
        dimensions = {"FunctionName": function.name}
        payload = json.dumps(event).encode()
        try:
            environment = self._acquire(function)
        except Throttled:
            count("AWS/Lambda", "Throttles", dimensions, 1, "Count")
            raise
        now = self._account.clock.now()
        try:
            invocation = environment.invoke(payload, request_id, now.timestamp(), function.timeout)
        finally:
            self._release(function, environment)
        self.runs.append(Run(now, function.name, event, invocation))
        count("AWS/Lambda", "Invocations", dimensions, 1, "Count")
        count("AWS/Lambda", "Errors", dimensions, 1 if invocation.error else 0, "Count")
        count("AWS/Lambda", "Duration", dimensions, invocation.seconds * 1000, "Milliseconds")
        for line in invocation.log:
            for metric in emf(line):
                count(*metric)
        return invocation

    def _attempt(self, queued: _Queued) -> None:
        """Run a queued event; after an error try it again later, or give it up."""
        function = self._functions.get(queued.name)
        if function is None:
            return
        clock, settings = self._account.clock, self._settings.get(queued.name, _AsyncSettings())
        # An attempt takes some time on AWS and none on the virtual clock: an event of exactly the limit is too old.
        if (queued.attempts or queued.throttles) and clock.time() - queued.arrived >= settings.max_age_seconds:
            self._give_up(function, queued, "EventAgeExceeded")
            return
        try:
            invocation = self._run(function, queued.event, queued.request_id)
        except Throttled:
            later = replace(queued, throttles=queued.throttles + 1)
            clock.after(min(2**queued.throttles, _LONGEST_BACKOFF_SECONDS), lambda: self._attempt(later))
            return
        if invocation.error is None:
            return
        again = replace(queued, attempts=queued.attempts + 1, last=invocation)
        if again.attempts > settings.retries:
            self._give_up(function, again, "RetriesExhausted")
        else:
            took = math.ceil(invocation.seconds)  # the virtual clock stood still meanwhile; the function's own did not
            clock.after(took + _RETRY_SECONDS[queued.attempts], lambda: self._attempt(again))

    def _give_up(self, function: Function, queued: _Queued, condition: str) -> None:
        """Drop an event and send it to the on-failure destination, with the permissions of the function's role."""
        dimensions = {"FunctionName": function.name}
        self._metrics.put("AWS/Lambda", "AsyncEventsDropped", dimensions, 1, "Count")
        arn = self._settings.get(queued.name, _AsyncSettings()).on_failure_arn
        if arn is None:
            return
        now = self._account.clock.now()
        record: dict[str, Any] = {
            "version": "1.0",
            "timestamp": f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z",
            "requestContext": {
                "requestId": queued.request_id,
                "functionArn": f"{function.arn}:$LATEST",
                "condition": condition,
                "approximateInvokeCount": queued.attempts,
            },
            "requestPayload": queued.event,
        }
        if queued.last:
            context = {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
            record |= {"responseContext": context, "responsePayload": queued.last.payload}
        try:
            self._send_as(function.role_name, arn, json.dumps(record, ensure_ascii=False))
        except ClientError:
            self._metrics.put("AWS/Lambda", "DestinationDeliveryFailures", dimensions, 1, "Count")

    def _send_as(self, role_name: str, arn: str, message: str) -> None:
        *_, service, _, account_id, name = arn.split(":")
        client = self._account.client(service, role_name, attempts=3)
        if service == "sns":
            client.publish(TopicArn=arn, Message=message)
        else:
            client.send_message(QueueUrl=f"{self._account.endpoint}/{account_id}/{name}", MessageBody=message)


def _name(name_or_arn: str) -> str:
    """Return the name in a function's name or ARN, qualified or not."""
    return name_or_arn.rpartition(":function:")[2].split(":")[0]
