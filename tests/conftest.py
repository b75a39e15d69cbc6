"""Worlds with verbs: an account on this machine, a service in it, and the built stack that protects it."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from partners import (  # noqa: F401 (hooks of pytest)
    pytest_addoption,
    pytest_configure,
    pytest_sessionfinish,
    pytest_terminal_summary,
)
from rotation_stories import Site
from standby_stories import Batch

from kirikae import aws, told
from sandbox.account import Account
from sandbox.estates import nlb as estate
from sandbox.frontdoor import ADMINISTRATOR_KEY
from sandbox.stack import cloudformation

# A busy machine makes an example slow, not wrong.
settings.register_profile("kirikae", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kirikae")

ROOT = Path(__file__).parents[1]
BUILD = ROOT / ".aws-sam" / "build"
EVENTS = sorted((ROOT / "events").glob("*.json"))


@pytest.fixture
def account() -> Iterator[Account]:
    """Return an account; whatever is mailed in it, a command must work where it is pasted."""
    told._unnoted.clear()  # what this process remembers is of an earlier account
    with Account() as account:
        yield account
        commands = [line for mail in account.mails for line in mail.body.splitlines() if line.startswith("aws ")]
    assert [command for command in commands if " --region " not in command] == []


@pytest.fixture
def ours(account: Account, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """Return the account, which the layer's own clients in this process now reach."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", account.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", account.region)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ADMINISTRATOR_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    aws._session.cache_clear()
    aws.client.cache_clear()
    with account.lag.pauses():
        yield account
    aws.client.cache_clear()
    aws._session.cache_clear()


@pytest.fixture
def build() -> Path:
    """Return what `sam build` made; `make test` runs it first."""
    if not (BUILD / "template.yaml").is_file():
        pytest.fail("nothing is built: run make build")
    return BUILD


class Shop:
    """A service behind an NLB, protected by the stack `shop`; time passes only when a verb lets it pass."""

    def __init__(
        self,
        account: Account,
        build: Path,
        ports: tuple[int, ...] = (443,),
        *,
        each: bool = False,
        addresses: bool = False,
        **parameters: str,
    ) -> None:
        self.account = account
        self.build = build
        self.service = estate.nlb_service(account, ports=ports, each=each, addresses=addresses)
        self.given = parameters

    def deployed(self, **parameters: str) -> "Shop":
        """Deploy the stack onto the service."""
        self.stack = cloudformation.deploy(self.account, self.build, "shop", self._all(parameters))
        return self

    def deployed_again(self, **parameters: str) -> None:
        """Update the stack."""
        self.stack = cloudformation.update(self.account, self.stack, self.build, self._all(parameters))

    def _all(self, parameters: dict[str, str]) -> dict[str, str]:
        given = {
            "NlbListenerArns": ",".join(self.service.listener_arns),
            "PrimaryTargetGroupArns": ",".join(self.service.primary_arns),
            "SorryTargetGroupArns": ",".join(self.service.sorry_arns),
            "PrimaryInstanceIds": ",".join(self.service.instance_ids),
            "NotificationEmail": "oncall@example.com",
        }
        return given | self.given | parameters

    # What happens.

    def minutes(self, count: float) -> None:
        """Let minutes pass."""
        self.account.advance(60 * count)

    def settle(self) -> None:
        """Let everything happen that is due now."""
        self.account.settle()

    def stops(self, *instance_ids: str) -> None:
        """Stop instances, all of them by default, and let their events arrive."""
        self.service.stop(*instance_ids)
        self.settle()

    def comes_back(self) -> None:
        """Start all instances and let the application answer and the switchback happen."""
        self.minutes(1)  # an instance that is still stopping cannot be started
        self.service.start()
        self.minutes(8)

    def hold(self, value: object) -> None:
        """Write the hold parameter as an operator does, a moment before anything else happens."""
        text = value if isinstance(value, str) else json.dumps(value)
        self.account.client("ssm").put_parameter(Name="/shop/hold", Type="String", Value=text, Overwrite=True)
        self.account.lag.catch_up("ssm")

    def held(self, minutes: float, reason: str = "database work") -> None:
        """Hold for so many minutes from now."""
        until = self.account.clock.time() + 60 * minutes
        self.hold({"until": _iso(until), "reason": reason})

    def invoke(self, logical_id: str, event: Any) -> Any:
        """Invoke a function by hand and return what it returns; an error fails the test."""
        done = self.account.functions.invoke(self.stack.resources[logical_id], event)
        assert done.error is None, (done.error, done.payload)
        return done.payload

    def switchover(self, event: Any = None) -> Any:
        """Invoke the switchover by hand."""
        return self.invoke("NlbSorrySwitchoverFunction", {"action": "reconcile"} if event is None else event)

    def switchback(self, event: Any = None) -> Any:
        """Invoke the switchback by hand."""
        return self.invoke("NlbSwitchbackFunction", {"action": "reconcile"} if event is None else event)

    # What can be seen.

    @property
    def serves(self) -> list[str]:
        """Name the side that each listener serves: primary, sorry, or what else it is."""
        names = dict.fromkeys(self.service.primary_arns, "primary") | dict.fromkeys(self.service.sorry_arns, "sorry")
        return [names.get(arn, arn) for arn in self.service.serving().values()]

    @property
    def weights(self) -> list[dict[str, int]]:
        """Return each listener's weights by side."""
        names = {self.service.primary_arn: "primary", self.service.sorry_arn: "sorry"}
        return [{names.get(arn, arn): weight for arn, weight in w.items()} for w in self.service.weights().values()]

    @property
    def mails(self) -> list[Any]:
        """Return the mails that the functions sent."""
        return [mail for mail in self.account.mails if (mail.subject or "").startswith("[kirikae]")]

    @property
    def subjects(self) -> list[str]:
        """Return the subjects of the functions' mails after the service's name."""
        return [mail.subject.split(": ", 1)[1] for mail in self.mails]

    def alarm_mails(self, name: str, state: str = "ALARM") -> list[Any]:
        """Return CloudWatch's mails of an alarm whose name contains `name`."""
        return [m for m in self.account.mails if (m.subject or "").startswith(f"{state}: ") and name in m.subject]

    def writes(self, operation: str = "ModifyListener") -> list[Any]:
        """Return the writes that functions asked for, refused ones too."""
        return [c for c in self.account.calls if c.operation == operation and "Role" in c.principal]

    def runs(self, logical_id: str) -> list[Any]:
        """Return the invocations of a function."""
        return [run for run in self.account.functions.runs if run.function == self.stack.resources[logical_id]]

    def decisions(self, logical_id: str) -> list[dict[str, Any]]:
        """Return the decision lines that a function logged."""
        lines = [line for run in self.runs(logical_id) for line in run.invocation.log if '"decision"' in line]
        return [json.loads(line)["decision"] for line in lines]


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


@pytest.fixture
def new_shop(account: Account, build: Path) -> Callable[..., Shop]:
    """Return a maker of shops that are not protected yet."""
    return lambda **parameters: Shop(account, build, **parameters)


@pytest.fixture
def shop(new_shop: Callable[..., Shop]) -> Shop:
    """Return a protected service, adopted and quiet."""
    shop = new_shop().deployed()
    shop.minutes(5)
    return shop


@pytest.fixture
def batch(account: Account, build: Path) -> Callable[..., Batch]:
    """Return a maker of servers with two cold standbys, protected by the stack `batch`."""
    return lambda **parameters: Batch(account, build, **parameters)


@pytest.fixture
def new_site(account: Account, build: Path) -> Callable[..., Site]:
    """Return a maker of services whose targets no stack rotates yet."""
    return lambda **parameters: Site(account, build, **parameters)


@pytest.fixture
def site(new_site: Callable[..., Site]) -> Site:
    """Return a service whose targets the stack `site` rotates."""
    return new_site().deployed()


@pytest.fixture
def every_event() -> dict[str, Any]:
    """Return every sample event by name, and an empty one."""
    return {path.stem: json.loads(path.read_text()) for path in EVENTS} | {"empty": {}}
