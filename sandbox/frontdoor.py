"""The front door: one HTTP endpoint on loopback, where every request is recorded, authorised, faulted and served.

The services of an account are given it: they say which requests they answer, and reach moto's backends and the clock.
"""

import contextlib
import functools
import os
import random
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from time import sleep as really_sleep  # a test may move time.sleep
from typing import Any, Self

os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # two seconds for images nobody asks for

import boto3
import botocore.config
from moto.backends import get_backend
from moto.core import responses
from moto.core.base_backend import BackendDict
from moto.core.exceptions import ServiceException
from moto.core.model_instances import reset_model_data
from moto.core.request import Request as MotoRequest
from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.exceptions import HTTPException

from sandbox import ACCOUNT_ID, REGION, drawn, iam, kms, loopback, wire
from sandbox.clock import Clock
from sandbox.gaps import Gaps
from sandbox.lag import Lag
from sandbox.wire import Answer, Refusal

ADMINISTRATOR = "administrator"
ADMINISTRATOR_KEY = "AKIASANDBOXADMINISTRATOR"
_TROUBLED = 0.01  # the share of the calls of roles that meet an error which SDKs repeat, before they take effect
# How services refuse a caller who asks too often (S18): code and HTTP status.
_THROTTLING = {
    "ec2": ("RequestLimitExceeded", 503),
    "lambda": ("TooManyRequestsException", 429),
    "ssm": ("ThrottlingException", 400),
    "stepfunctions": ("ThrottlingException", 400),
}
# Calls that no SDK repeats for whoever makes them, so that each error of theirs belongs to a story: a start, whose want
# of capacity would be asked for again as slowly as EC2 says it (S3).
_ASKED_ONCE = {("ec2", "StartInstances")}
# The host name that moto reads the service and the Region from.
_HOSTS = {"elbv2": "elasticloadbalancing", "cloudwatch": "monitoring", "stepfunctions": "states"}

type Override = Callable[[dict[str, Any], str], dict[str, Any] | Answer | None]
type Around = Callable[[dict[str, Any], Callable[[], Answer]], Answer]

_session = boto3.Session(region_name=REGION)
# moto looks for its methods anew for each request.
responses.method_names_from_class = functools.cache(responses.method_names_from_class)
responses.XFormedAttributePicker = wire.Picker


@functools.cache
def _moto_app(service: str) -> Any:
    return create_backend_app(service)


def _ask_moto(service: str, request: MotoRequest) -> Answer:
    """Answer a request as moto's server does, without Flask around it: that would take as long as moto itself."""
    app = _moto_app(service)
    try:
        endpoint, _ = app.url_map.bind_to_environ(request.environ).match()
        answered = app.view_functions[endpoint].callback(request, request.raw_url, dict(request.headers))
        status, headers, body = answered if len(answered) == 3 else (200, {}, answered)
    except HTTPException as error:
        said = error.get_response(request.environ)
        status, headers, body = said.status_code, said.headers, said.get_data()
    return status, dict(headers), body.encode() if isinstance(body, str) else body


def _new_client(service: str, endpoint: str, attempts: int, key: str, secret: str, token: str | None) -> Any:
    retries = {"mode": "standard", "total_max_attempts": attempts}
    return _session.client(
        service,
        endpoint_url=endpoint,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=botocore.config.Config(retries=retries, read_timeout=900),
    )


# The administrator's: one for all accounts that have its endpoint one after another, because to make it takes long.
_shared_client = functools.cache(_new_client)


@dataclass(frozen=True)
class Call:
    """One API request and how it ended, in virtual time.

    principal: "administrator" or the name of a role. service: boto3's name of the client. params: in AWS's names.
    error: AWS's code, ConnectionClosed if the answer was lost, BadAnswer if its body was, None if it was served.
    """

    time: datetime
    principal: str
    service: str
    operation: str
    params: dict[str, Any]
    error: str | None


@dataclass
class Fault:
    """An error that the next matching requests get, as Faults.add describes it."""

    service: str
    operation: str
    code: str | None
    times: int | None = 1
    status: int = 400
    message: str | None = None
    latency: float = 0.0
    after: bool = False
    kills: bool = False
    body: str = ""
    role: str = ""
    when: Callable[[dict[str, Any]], bool] = lambda _params: True
    own: bool = False  # of AWS itself: nobody has added it


@dataclass
class Faults:
    """The errors and delays that the account has been told to produce, and those of AWS itself (S14, S18)."""

    _armed: list[Fault] = field(default_factory=list)
    _random: random.Random = field(default_factory=lambda: drawn("troubles"))
    _troubled: float = _TROUBLED

    def off(self) -> None:
        """Let no call meet an error that nobody has added."""
        self._troubled = 0.0

    def always(self) -> None:
        """Let every call of a role that an SDK repeats meet an error."""
        self._troubled = 1.0

    def add(
        self,
        service: str,
        operation: str,
        code: str | None,
        *,
        times: int | None = None,
        status: int = 400,
        message: str | None = None,
        latency: float = 0.0,
        after: bool = False,
        kills: bool = False,
        body: str = "",
        role: str = "",
        when: Callable[[dict[str, Any]], bool] = lambda _params: True,
    ) -> None:
        """Fail the matching requests with this code; None as the code only delays them.

        service: boto3's name of the client, such as elbv2. times: how many requests, None for all until clear().
        status: of HTTP; boto3 retries 500 and above. latency: real seconds before the answer. after: the request takes
        effect first, and with None as the code the connection closes without an answer. kills: the function that asks
        ends there, by a signal. body: the answer is a 200 whose body is "empty", "cut" in its middle, "bare" of every
        member, or the "html" of a proxy; cut and bare ones come from AWS, after the effect, the others only with after.
        role: only requests of a role with this in its name. when: of the parameters.
        """
        self._armed.append(
            Fault(service, operation, code, times, status, message, latency, after, kills, body, role, when)
        )

    def clear(self) -> None:
        """Disarm all of them."""
        self._armed.clear()

    def take(self, request: wire.Request, principal: str) -> Fault | None:
        """Return the fault that this request gets and count it."""
        spared = principal == ADMINISTRATOR
        for fault in self._armed:
            if (fault.service, fault.operation) != (request.service, request.operation) or fault.role not in principal:
                continue
            spared = True  # a story counts these calls, perhaps
            if fault.when(request.params):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._armed.remove(fault)
                return fault
        return None if spared else self._trouble(request)

    def _trouble(self, request: wire.Request) -> Fault | None:
        """Return the error of AWS's own that a request of a role meets, if it is its turn."""
        once = (request.service, request.operation) in _ASKED_ONCE and not request.params.get("DryRun")
        if once or self._random.random() >= self._troubled:
            return None
        throttled = _THROTTLING.get(request.service, ("Throttling", 400))
        code, status = self._random.choice(
            (("NobodyListsThisException", 500), ("NobodyListsThisException", 503), throttled)
        )
        return Fault(request.service, request.operation, code, status=status, own=True)


class _LostAnswer(Exception):  # noqa: N818 (not an error of the server)
    """The connection closes without an answer."""


class _Server(loopback.Server):
    door: "FrontDoor"
    last_port = 0  # of the account before: the next one has it again, and clients that know it


class _Handler(loopback.Handler):
    server: _Server

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            status, answer_headers, content = self.server.door.serve(self.command, self.path, headers, body)
        except _LostAnswer:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in answer_headers.items():
            if name.lower() not in ("content-length", "connection", "date", "server"):
                self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _serve  # noqa: N815 (http.server's names)


class FrontDoor:
    """The endpoint of an account in one Region, its clock, its roles and what was asked of it; one per process."""

    region = REGION
    account_id = ACCOUNT_ID

    def __init__(self) -> None:
        _reset_moto()
        self.clock = Clock()
        self.lock = threading.RLock()  # held while state is read or changed, never while a function runs
        self.calls: list[Call] = []
        self.repeated: list[Call] = []  # attempts that met an error of AWS's own, after which SDKs ask again
        self.faults = Faults()
        self.lag = Lag(self.clock, self._now)
        self.gaps = Gaps()
        self.roles: dict[str, iam.Role] = {}
        self._keys = {ADMINISTRATOR_KEY: ADMINISTRATOR}
        self._overrides: dict[tuple[str, str], tuple[Override, bool]] = {}
        self._around: dict[tuple[str, str], Around] = {}
        self._before: list[tuple[str, str, Callable[[], object]]] = []
        self._clients: dict[tuple[str, str, int], Any] = {}
        self._at_close: list[Callable[[], object]] = []
        self._mistakes: list[Exception] = []
        self.kill: Callable[[str], object] = lambda _access_key: None  # end the function that has this key
        self._server = _Server(_Handler, _Server.last_port)
        _Server.last_port = self._server.server_port
        self._server.door = self
        self.endpoint = self._server.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What a test or the demo uses.

    def client(self, service: str, role_name: str = "", attempts: int = 1) -> Any:
        """Return a boto3 client, without retries by itself, of the administrator or of this role.

        KeyError if there is no such role.
        """
        if (service, role_name, attempts) not in self._clients:
            key, *others = self.credentials_for(role_name) if role_name else (ADMINISTRATOR_KEY, "secret", None)
            made = _new_client if role_name else _shared_client
            self._clients[service, role_name, attempts] = made(service, self.endpoint, attempts, key, *others)
        return self._clients[service, role_name, attempts]

    def credentials_for(self, role_name: str) -> tuple[str, str, str]:
        """Return access key, secret and session token of this role; KeyError if there is no such role."""
        if role_name not in self.roles:
            raise KeyError(f"there is no role {role_name}")
        key = f"ASIA{secrets.token_hex(8).upper()}"
        self._keys[key] = role_name
        return key, secrets.token_hex(20), secrets.token_hex(32)

    def before(self, service: str, operation: str, fn: Callable[[], object]) -> None:
        """Run fn once, just before the next such request is authorised and served: a change between two calls."""
        self._before.append((service, operation, fn))

    def advance(self, seconds: float, pace: float = 0) -> None:
        """Let so many virtual seconds pass; everything that becomes due happens, in order. pace: as Clock.advance."""
        self.clock.advance(seconds, pace)

    def settle(self) -> None:
        """Run everything that is due now, until nothing is; no time passes."""
        self.clock.advance(0)

    def close(self) -> None:
        """Close the front door and end what the account started; raise what went wrong inside the sandbox."""
        while self._at_close:
            self._at_close.pop()()
        self._server.close()
        for client in self._clients.values():
            client.close()
        if self._mistakes:
            raise ExceptionGroup("the sandbox failed to serve a request", self._mistakes)

    # What the services use.

    def override(self, service: str, operation: str, fn: Override, *, locked: bool = True) -> None:
        """Let fn(params, principal) serve this operation before moto does.

        principal is as in Call. It returns a dict in the names of the service's model, or (status, headers, body), or
        None to go on to moto, and raises Refusal for AWS's error. It holds the account's lock unless locked is False.
        """
        self._overrides[service, operation] = (fn, locked)

    def around(self, service: str, operation: str, fn: Around) -> None:
        """Let fn(params, serve) answer this operation; serve() gives the (status, headers, body) it had otherwise."""
        self._around[service, operation] = fn

    def after(self, service: str, operation: str, fn: Callable[[dict[str, Any]], object]) -> None:
        """Run fn(params) each time this operation has been served without an error."""

        def around(params: dict[str, Any], serve: Callable[[], Answer]) -> Answer:
            answered = serve()
            if answered[0] < 400:
                fn(params)
            return answered

        self.around(service, operation, around)

    def at_close(self, fn: Callable[[], object]) -> None:
        """Run fn when the account closes, last first."""
        self._at_close.append(fn)

    def backend(self, service: str) -> Any:
        """Return moto's backend of a service, by boto3's name: to look at its resources without a request."""
        return get_backend(service)[ACCOUNT_ID]["aws" if service == "iam" else REGION]  # type: ignore[call-overload]

    def arn(self, service: str, resource: str) -> str:
        """Write the ARN of a resource in this account and Region."""
        return f"arn:aws:{service}:{REGION}:{ACCOUNT_ID}:{resource}"

    # One request.

    def serve(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Answer one HTTP request, given with its header names in lower case, and record it."""
        request = None
        try:
            request = wire.read(method, path, headers, body)
            if request.access_key not in self._keys:
                raise Refusal("InvalidClientTokenId", "The security token included in the request is invalid.", 403)
        except Refusal as error:
            return wire.refuse(request, error)
        principal = self._keys[request.access_key]
        arrived = self.clock.now()
        lost, fault = False, None
        try:
            self._run_before(request)  # until here the request is on its way
            if principal != ADMINISTRATOR:
                iam.authorize(self.roles[principal], principal, request, self._tags)
                kms.authorize(self, self.roles[principal], principal, request)
            fault = self.faults.take(request, principal)
            if fault and fault.latency:
                really_sleep(fault.latency)
            reached = not fault or not fault.body or fault.after or fault.body in ("cut", "bare")
            if fault and not fault.after and (fault.kills or fault.code):
                lost = fault.kills
                raise Refusal(fault.code or "ConnectionClosed", fault.message or "", fault.status)
            answered = self._served(request, principal) if reached else wire.answer(request, {})
            if fault and fault.body:
                answered = wire.spoiled(request, answered, fault.body)
            elif fault and fault.after:
                lost = fault.kills or not fault.code
                raise Refusal(fault.code or "ConnectionClosed", fault.message or "", fault.status)
        except Refusal as error:
            answered = wire.refuse(request, error)
        except Exception as error:  # noqa: BLE001 (a mistake in the sandbox must not look like an answer of AWS)
            self._mistakes.append(error)
            lost = True
        error_code = "ConnectionClosed" if lost else wire.error_code(answered)
        if fault and fault.body and not error_code:
            error_code = "BadAnswer"
        if fault and fault.kills:
            self.kill(request.access_key)
        record = self.repeated if fault and fault.own else self.calls
        record.append(Call(arrived, principal, request.service, request.operation, request.params, error_code))
        if lost:
            raise _LostAnswer
        return answered

    def _tags(self, arn: str) -> dict[str, str]:
        """Return the tags of a resource; conditions on those of services that are not here are not used."""
        match arn.split(":")[2:3]:
            case ["ec2"]:
                return dict(self.backend("ec2").tags.get(arn.rpartition("/")[2], {}))
            case ["elasticloadbalancing"]:
                return dict(self.backend("elbv2").tagging_service.get_tag_dict_for_resource(arn))
            case ["autoscaling"]:
                group = self.backend("autoscaling").autoscaling_groups.get(arn.rpartition("/")[2])
                return {tag["Key"]: tag["Value"] for tag in group.tags} if group else {}
        return {}

    def _run_before(self, request: wire.Request) -> None:
        for hook in self._before:
            if hook[:2] == (request.service, request.operation):
                self._before.remove(hook)
                hook[2]()
                return

    def _served(self, request: wire.Request, principal: str) -> Answer:
        """Serve a request; a role may read what was before the last change (G10, Q8)."""
        with self.lock:
            self.lag.before_write(request)
            if principal != ADMINISTRATOR:
                self.lag.asked(request)
                if old := self.lag.stale(request):
                    return old
        answered = self._perform(request, principal)
        return answered if principal == ADMINISTRATOR else self.gaps.thinned(request, answered)

    def _now(self, request: wire.Request) -> Answer:
        """Answer a read once more as its reader would get it now, an error too."""
        try:
            return self._perform(request, self._keys[request.access_key])
        except Refusal as error:
            return wire.refuse(request, error)

    def _perform(self, request: wire.Request, principal: str) -> Answer:
        override, locked = self._overrides.get((request.service, request.operation), (None, True))
        around = self._around.get((request.service, request.operation))

        def serve() -> Answer:
            result = override(request.params, principal) if override else None
            if result is None:
                return self._moto(request)
            return wire.answer(request, result) if isinstance(result, dict) else result

        with self.lock if locked else contextlib.nullcontext():
            try:
                return around(request.params, serve) if around else serve()
            except ServiceException as error:
                raise Refusal(error.code, error.message) from error

    def _moto(self, request: wire.Request) -> Answer:
        host = _HOSTS.get(request.service, request.service)
        headers = {k: v for k, v in request.headers.items() if k not in ("host", "content-length", "transfer-encoding")}
        url = f"https://{host}.{REGION}.amazonaws.com{request.path}"
        asked = MotoRequest.from_primitives(request.method, url, headers, request.body)
        try:
            with self.lock:
                return _ask_moto(request.service, asked)
        except NotImplementedError as error:
            raise Refusal("NotImplemented", f"The sandbox lacks this: {error}", 501) from error


def _reset_moto() -> None:
    """Forget everything that an earlier account left in moto's backends."""
    BackendDict.reset()
    reset_model_data()
