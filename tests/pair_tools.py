"""A pair of instances with verbs: with the function run in this process, or as the stack runs it."""

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from functions.secondary_ip_reassignment import app
from kirikae import aws, reconcile
from kirikae.pair import look
from kirikae.pair.world import Config
from sandbox import iam
from sandbox.account import Account
from sandbox.estates.pair import PairService, pair_service
from sandbox.stack import cloudformation

FUNCTION = "SecondaryIpReassignmentFunction"
TICK = {"detail-type": "Scheduled Event", "source": "aws.events", "time": "2026-11-22T02:11:00Z", "detail": {}}
WRITES = {
    "AssignPrivateIpAddresses",
    "UnassignPrivateIpAddresses",
    "AssignIpv6Addresses",
    "UnassignIpv6Addresses",
    "AssociateAddress",
    "DisassociateAddress",
    "ReplaceRoute",
}


class Pair:
    """What both kinds of world have in common: the service, what happens to it and what can be seen."""

    account: Account
    service: PairService

    @property
    def where(self) -> dict[str, Any]:
        """Return the side, 0 or 1, that everything declared is on."""
        return self.service.where()

    @property
    def sides(self) -> set[Any]:
        """Return the sides that something declared is on."""
        return set(self.where.values())

    @property
    def mails(self) -> list[Any]:
        """Return the mails that the function sent."""
        return [mail for mail in self.account.mails if (mail.subject or "").startswith("[kirikae]")]

    def calls(self, since: int = 0) -> list[str]:
        """Return the operations of EC2 that the function has called, refused ones too."""
        return [
            c.operation for c in self.account.calls[since:] if c.principal != "administrator" and c.service == "ec2"
        ]

    def writes(self, since: int = 0) -> list[str]:
        """Return the writes among them."""
        return [operation for operation in self.calls(since) if operation in WRITES]

    def stops(self, *sides: int) -> None:
        """Stop instances and let their events arrive."""
        self.service.stop(*sides)
        self.account.settle()

    def passes(self, minutes: float) -> None:
        """Let minutes pass."""
        self.account.advance(60 * minutes)


class Inside(Pair):
    """The function runs in this process, against the account, as often as a test says."""

    def __init__(self, account: Account, **estate: Any) -> None:
        self.account = account
        self.service = pair_service(account, **estate)
        topic = account.client("sns").create_topic(Name="kirikae")["TopicArn"]
        account.client("ssm").put_parameter(Name="/pair/hold", Type="String", Value="off")
        everything = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        account.roles["kirikae"] = iam.Role(policies=[everything])
        key, secret, token = account.credentials_for("kirikae")
        self.told = {
            "AWS_ENDPOINT_URL": account.endpoint,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_SESSION_TOKEN": token,
            "AWS_DEFAULT_REGION": account.region,
            "POWERTOOLS_SERVICE_NAME": "pair",
            "SERVICE_NAME": "mail server",
            "TOPIC_ARN": topic,
            "HOLD_PARAMETER": "/pair/hold",
            "TOLD_PARAMETER": "/pair/told/it",
        }
        self.declare()
        look._arrived.clear()
        account.lag.catch_up()
        aws.client.cache_clear()
        aws._session()._credentials = None  # those of an earlier account; the loaded service models are kept

    def declare(self, **parameters: str) -> None:
        """Set the template parameters, as they are in the estate unless given."""
        for name, value in (self.service.parameters | parameters).items():
            words = "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in name)
            self.told[words.lstrip("_")] = value

    def passes(self, minutes: float) -> None:
        """Let minutes pass; this process's own clock stands still."""
        super().passes(minutes)
        look._arrived.clear()

    def run(self, event: Any = TICK) -> dict[str, Any]:
        """Run the function once; what it returns must be JSON."""
        before = {name: os.environ.get(name) for name in self.told}
        os.environ.update(self.told)
        try:
            with self.account.lag.pauses():
                report = reconcile.reconcile(event, Config, app.observe, app.decide, app.act, app.mail)
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
        return dict(json.loads(json.dumps(report)))


class Deployed(Pair):
    """The stack protects the service: the function runs by events and ticks, as its own role."""

    def __init__(self, account: Account, build: Path, **estate: Any) -> None:
        self.account = account
        self.build = build
        self.service = pair_service(account, **estate)

    def deploy(self, **parameters: str) -> "Deployed":
        """Deploy the stack onto the service."""
        given = self.service.parameters | {"NotificationEmail": "oncall@example.com"} | parameters
        self.stack = cloudformation.deploy(self.account, self.build, "pair", given)
        return self

    def invoke(self, event: Any) -> Any:
        """Invoke the function by hand; an error fails the test."""
        done = self.account.functions.invoke(self.stack.resources[FUNCTION], event)
        assert done.error is None, (done.error, done.payload)
        return done.payload

    def hold(self, minutes: float) -> None:
        """Hold for so many minutes from now."""
        until = self.account.clock.now() + timedelta(minutes=minutes)
        wish = {"until": until.isoformat(), "reason": "patching"}
        self.account.client("ssm").put_parameter(
            Name="/pair/hold", Type="String", Value=json.dumps(wish), Overwrite=True
        )
        self.account.lag.catch_up("ssm")  # what follows is not of the same second

    def alarm_mails(self, name: str, state: str = "ALARM") -> list[Any]:
        """Return CloudWatch's mails of an alarm whose name contains `name`."""
        return [m for m in self.account.mails if (m.subject or "").startswith(f"{state}: ") and name in m.subject]
