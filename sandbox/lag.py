"""Eventual consistency: for a moment after a change, a role still reads what was before; the administrator never does.

Just before a change of a service, what roles have asked of it lately is answered once more, and each answer is kept
until a moment of its own. Moments are on a fine clock: virtual time and the seconds that functions have slept.
Where a test lets answers go back, one may be new until then, the next old and the one after it new, as if whoever asks
met one replica or another.
Tags of instances lag by themselves: an answer may have those of now with the state of before, and the other way round.
"""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlencode

from botocore.serialize import create_serializer

from sandbox import seed
from sandbox.clock import Clock
from sandbox.wire import Answer, Request, answer, read, result

# Every account lags, unless KIRIKAE_SANDBOX_LAG=0, or one account's `lag.off()`, says that none does.
BY_DEFAULT = os.environ.get("KIRIKAE_SANDBOX_LAG", "1") != "0"
# The share of answers that are new already while others are old; with 0, new ones stay new, unless a test says so.
_BACK = float(os.environ.get("KIRIKAE_SANDBOX_BACK", "0"))
_AT_ONCE = 0.4  # the share of answers that are true at once, so that a story sees both
_REMEMBERED = 600.0  # virtual seconds for which a read is expected to be asked again

# How long an answer may lag, in seconds. AWS promises nothing and gives no figure (G10, Q7, Q8, S7): what others have
# seen of created things is longer than any of these, of changed ones nobody has published a figure.
SECONDS = {
    "ec2": {
        # "Eventual consistency" of the EC2 API; its guide tells callers to retry for seconds (S7).
        "DescribeInstances": 2.0,
        "DescribeInstanceStatus": 2.0,
        "DescribeTags": 2.0,
        # A move of addresses is asynchronous by its own documentation (G1).
        "DescribeNetworkInterfaces": 3.0,
        "DescribeAddresses": 3.0,
        "DescribeRouteTables": 3.0,
    },
    "elbv2": {
        # Created rules were missing for up to a minute; changed ones: unproven (Q7, Q8).
        "DescribeListeners": 3.0,
        "DescribeListenerAttributes": 3.0,
        "DescribeLoadBalancers": 3.0,
        "DescribeRules": 3.0,
        "DescribeTags": 3.0,
        "DescribeTargetGroupAttributes": 3.0,
        "DescribeTargetGroups": 3.0,
        "DescribeTargetHealth": 5.0,  # after De- and RegisterTargets: unproven (Q8)
    },
    # No word about it either, with which an alarm's action would come before its state is shown (E9): short.
    "cloudwatch": {"DescribeAlarms": 3.0},
    "autoscaling": {"DescribeAutoScalingGroups": 3.0, "DescribeAutoScalingInstances": 3.0},
    "ssm": {"GetParameter": 1.0, "GetParameters": 1.0, "GetParametersByPath": 1.0},  # no word about it: short
    # "This operation is eventually consistent. The results are best effort" (model stepfunctions, ListExecutions).
    "stepfunctions": {"DescribeExecution": 5.0, "ListExecutions": 5.0},
}

# The read with which a caller looks at what it has just written: stale even if nobody has asked it before (Q8).
_READ_BACK: dict[tuple[str, str], tuple[str, Callable[[dict[str, object]], dict[str, object]]]] = {
    ("elbv2", "ModifyListener"): ("DescribeListeners", lambda p: {"ListenerArns": [p.get("ListenerArn")]}),
    ("elbv2", "RegisterTargets"): ("DescribeTargetHealth", lambda p: {"TargetGroupArn": p.get("TargetGroupArn")}),
    ("elbv2", "DeregisterTargets"): ("DescribeTargetHealth", lambda p: {"TargetGroupArn": p.get("TargetGroupArn")}),
    ("ssm", "PutParameter"): ("GetParameter", lambda p: {"Name": p.get("Name")}),
}

# What a write changes, where that is less than what is read of its service.
_CHANGES: dict[tuple[str, str], tuple[str, ...]] = {
    ("cloudwatch", "PutMetricData"): (),
    ("cloudwatch", "SetAlarmState"): (),  # the change of the state itself does
    ("elbv2", "AddTags"): ("DescribeTags",),
    ("elbv2", "RemoveTags"): ("DescribeTags",),
    ("elbv2", "RegisterTargets"): ("DescribeTargetHealth",),
    ("elbv2", "DeregisterTargets"): ("DescribeTargetHealth",),
    ("elbv2", "SetRulePriorities"): ("DescribeRules",),
}

type _Key = tuple[str, str, str]  # service, operation and parameters


class _Kept(NamedTuple):
    """An answer of before; back: it may be shown until then even if a newer one has been, and need not be."""

    until: float
    answer: Answer
    back: bool


@dataclass
class _Read:
    """A read that a role has asked; old: what it may still get, oldest first, each until a moment.

    tags: the same for tags of instances, of which old says nothing.
    """

    request: Request
    asked: float
    old: list[_Kept] = field(default_factory=list)
    tags: list[_Kept] = field(default_factory=list)

    @property
    def split(self) -> bool:
        """Tell whether its answers have two parts, each as late as it is."""
        return self.request.operation == "DescribeInstances"


class Lag:
    """How late the reads of one account are; `now` is their clock in seconds."""

    def __init__(self, clock: Clock, answer: Callable[[Request], Answer]) -> None:
        """Make it of the account's clock and of how a request is answered as it is now."""
        self._clock = clock
        self._answer = answer
        self.seed = seed()
        self._random = random.Random(self.seed)  # noqa: S311 (to be repeated, not to be secret)
        self._replicas = random.Random(self.seed)  # noqa: S311
        self._back = _BACK
        self._slept = 0.0
        self._bounds: dict[str, tuple[float, float] | None] = {}  # service or operation -> least and most; None: never
        self._off = not BY_DEFAULT
        self._reads: dict[_Key, _Read] = {}

    # What a test may set.

    def off(self, *services: str) -> None:
        """Let reads be true at once, of these services or of all; what lags now does so no more."""
        self._off = self._off or not services
        self._bounds |= dict.fromkeys(services)
        self.catch_up(*services)

    def catch_up(self, *services: str) -> None:
        """End the lags that there are now, of these services or of all: enough time has passed since."""
        for key, known in self._reads.items():
            if not services or key[0] in services:
                known.old.clear()
                known.tags.clear()

    def on(self, *services: str) -> None:
        """Let reads lag as by the table, of these services or of all."""
        if not services:
            self._bounds.clear()
            self._off = False
        for service in services:
            self._bounds[service] = (-1.0, -1.0)

    def at_most(self, service: str, seconds: float) -> None:
        """Let no read of a service lag longer."""
        self._bounds[service] = (0.0, seconds)

    def exactly(self, what: str, seconds: float) -> None:
        """Let every read of a service, of one operation, or the "tags" of instances lag so long, and never back."""
        self._bounds[what] = (seconds, seconds)

    def may_go_back(self, share: float = 0.25) -> None:
        """Let this share of the answers be new already while others are old, 0: let what was new once stay new."""
        self._back = share

    @contextmanager
    def pauses(self) -> Iterator[None]:
        """Let time.sleep() in this process take no real time, as in a function's; its clocks move on by as much."""
        real, before = (time.sleep, time.time, time.monotonic), self._slept

        def moved(clock: Callable[[], float]) -> Callable[[], float]:
            return lambda: clock() + self._slept - before

        time.sleep, time.time, time.monotonic = self.slept, moved(time.time), moved(time.monotonic)
        try:
            yield
        finally:
            time.sleep, time.time, time.monotonic = real

    # What the account tells.

    @property
    def now(self) -> float:
        """The fine clock: virtual time stands still while a function runs, its pauses do not."""
        return self._clock.time() + self._slept

    def slept(self, seconds: float) -> None:
        """Count a pause of a function, which takes no virtual time."""
        self._slept += seconds

    def asked(self, request: Request) -> None:
        """Remember a read of a role."""
        if request.operation in SECONDS.get(request.service, {}):
            known = self._reads.setdefault(_key(request), _Read(request, 0.0))
            known.request, known.asked = request, self._clock.time()  # before, it may have been one of an administrator

    def stale(self, request: Request) -> Answer | None:
        """Return the answer of before that a role still gets, None if it gets the truth."""
        known = self._reads.get(_key(request))
        if known is None:
            return None
        old, tags = self._shown(known.old), self._shown(known.tags)
        if not known.split or not (old or tags):
            return old
        return _with_tags(known.request, *(each or self._answer(known.request) for each in (old, tags)))

    def _shown(self, kept: list[_Kept]) -> Answer | None:
        """Return what one replica still shows of what is kept, None if it shows the truth; forget what is over."""
        kept[:] = [each for each in kept if each.until > self.now]
        if kept and kept[0].back and self._replicas.random() < self._back:
            return None
        return kept[0].answer if kept else None

    def before_write(self, request: Request) -> None:
        """Keep what reads of this service say before the request changes it, if it is one that does."""
        if request.service not in SECONDS or request.operation.startswith(("Describe", "Get", "List")):
            return
        if self._active(request.service) and (natural := _read_back(request)):
            self._reads.setdefault(_key(natural), _Read(natural, self._clock.time()))
        tags = request.service == "ec2" and request.operation in ("CreateTags", "DeleteTags")
        self.before_change(request.service, lambda asked: _changes(request, asked), tags=tags)

    def before_change(
        self, service: str, changes: Callable[[Request], bool] = lambda _asked: True, *, tags: bool = False
    ) -> None:
        """Keep what reads of this service say before a change that nobody has asked for now, those that it changes.

        tags: it is one of tags.
        """
        if not self._active(service):
            return
        for known in list(self._asked_lately(service)):
            split = tags and known.split
            if not changes(known.request):
                continue
            seconds, back = self._draw(service, known.request.operation, tags=split)
            if seconds:
                # What is kept later is not shown before what was kept earlier has gone.
                kept = known.tags if split else known.old
                until = max([self.now + seconds, *(each.until for each in kept)])
                kept.append(_Kept(until, self._answer(known.request), back))

    def _active(self, service: str) -> bool:
        bounds = self._bounds.get(service, ())
        return bounds is not None and (bool(bounds) or not self._off)

    def _asked_lately(self, service: str) -> Iterator[_Read]:
        """Yield what roles have asked of a service, and forget what was asked long ago."""
        for key in [key for key in self._reads if key[0] == service]:
            if self._clock.time() - self._reads[key].asked > _REMEMBERED:
                del self._reads[key]
            else:
                yield self._reads[key]

    def _draw(self, service: str, operation: str, *, tags: bool = False) -> tuple[float, bool]:
        """Return how long an answer lags, and whether new ones may come before."""
        of_tags = self._bounds.get("tags") if tags else None
        least, most = of_tags or self._bounds.get(operation) or self._bounds.get(service) or (-1.0, -1.0)
        if least == most >= 0:
            return most, False
        bound = SECONDS[service][operation]
        drawn = self._random.random(), self._random.random()
        return 0.0 if drawn[0] < _AT_ONCE else drawn[1] * (bound if most < 0 else min(bound, most)), True


def _changes(write: Request, asked: Request) -> bool:
    """Tell whether a write may change what a read of its service says."""
    if write.operation == "PutParameter" and asked.operation == "GetParameter":
        return write.params.get("Name") == str(asked.params.get("Name")).partition(":")[0]
    return asked.operation in _CHANGES.get((write.service, write.operation), (asked.operation,))


def _with_tags(request: Request, whole: Answer, tagged: Answer) -> Answer:
    """Return an answer about instances with the tags that they have in another one."""
    if whole[0] >= 400 or tagged[0] >= 400:
        return whole
    found, other = result(request, whole), result(request, tagged)
    tags = {each["InstanceId"]: each.get("Tags", []) for held in other["Reservations"] for each in held["Instances"]}
    for held in found["Reservations"]:
        for each in held["Instances"]:
            each.pop("Tags", None)
            if now := tags.get(each["InstanceId"]):
                each["Tags"] = now
    return answer(request, found)


def _key(request: Request) -> _Key:
    return request.service, request.operation, repr(sorted(request.params.items()))


def _read_back(request: Request) -> Request | None:
    """Return the read that looks at what this request writes, as a client would send it."""
    if (request.service, request.operation) not in _READ_BACK:
        return None
    name, params = _READ_BACK[request.service, request.operation]
    service = request.model.service_model
    model = service.operation_model(name)
    sent = create_serializer(service.metadata["protocol"]).serialize_to_request(params(request.params), model)
    headers = {key.lower(): str(value) for key, value in sent["headers"].items()}
    body = sent["body"]
    if isinstance(body, dict):
        body = urlencode(body)
    headers["authorization"] = request.headers["authorization"]
    return read(sent["method"], sent["url_path"], headers, body if isinstance(body, bytes) else body.encode())
