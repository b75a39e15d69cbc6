"""Whatever happens to a pair of instances, in whatever order it is told: what must always be true of its addresses.

Hypothesis starts, stops and terminates the instances, lets time pass between, delivers their events late, twice or out
of order, or never, and lets calls fail, lose their answer or show late.  The function runs in this process against the
account, which is asked for the truth without a request.
"""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from pair_tools import TICK, WRITES, Inside

from kirikae import aws
from kirikae.errors import UnfinishedError
from sandbox.account import Account

IPV4 = ("10.0.0.50", "10.0.0.51")
UNDECLARED = ("10.0.0.5", "192.168.98.0/24")
EXAMPLES = int(os.environ.get("KIRIKAE_EXAMPLES", "15"))
WHOSE = st.sampled_from(("the holder", "the holder", "the other"))
MOVES = ("AssignPrivateIpAddresses", "UnassignIpv6Addresses", "AssignIpv6Addresses", "AssociateAddress", "ReplaceRoute")
STEPS = ("goes", "goes", "goes", "comes back", "comes back", "time passes", "tick", "old event", "quiet")
RARELY = st.integers(0, 9).map(lambda number: number == 7)

# What goes wrong in one run: a call fails or only its answer is lost, or changes show so many seconds late.
type Trouble = tuple[str, bool] | int | None
TROUBLE = st.one_of(st.none(), st.tuples(st.sampled_from(MOVES), st.booleans()), st.integers(1, 5))


class Addresses(RuleBasedStateMachine):
    """A pair with everything that can float, and some that only looks like it."""

    def __init__(self) -> None:
        super().__init__()
        self.account = Account()
        self.world = Inside(
            self.account,
            ipv4=(*IPV4, UNDECLARED[0]),
            ipv6=1,
            elastic=1,
            overlay=("192.168.99.1/32", UNDECLARED[1]),
            tables=2,
        )
        service = self.world.service
        declared = [address for address in service.floating if address not in UNDECLARED]
        self.world.declare(FloatingIpAddresses=",".join(declared), OverlayCidrs="192.168.99.1/32")
        self.events: list[dict[str, Any]] = []
        self.account.events.emit = self.emitted  # type: ignore[method-assign]
        self.mailed = 0
        self.unowned: list[str] = []
        for operation in sorted(WRITES):
            self.account.after("ec2", operation, lambda _: self.look_for_owners())

    def teardown(self) -> None:
        self.account.close()

    # What is true.

    def declared(self) -> dict[str, Any]:
        """Return where everything declared is."""
        return {name: side for name, side in self.world.where.items() if not name.endswith(UNDECLARED)}

    def undeclared(self) -> dict[str, Any]:
        """Return where everything else is; what goes with a terminated instance is nowhere."""
        return {name: side for name, side in self.world.where.items() if name.endswith(UNDECLARED)}

    def states(self) -> tuple[str, ...]:
        """Return the states of both instances."""
        return tuple(self.account.ec2.state(each) for each in self.world.service.instance_ids)

    def gone(self, side: int) -> bool:
        """Tell whether the interface of a side went with its instance."""
        return self.world.service.interface_ids[side] not in self.account.backend("ec2").enis

    def look_for_owners(self) -> None:
        """Note every IPv4 address that a write has left with no owner, or with two."""
        for address in IPV4:
            owners = [
                each.id
                for each in self.account.backend("ec2").enis.values()
                if address in [one["PrivateIpAddress"] for one in each.private_ip_addresses]
            ]
            if len(owners) > 1 or (not owners and not (self.gone(0) or self.gone(1))):
                self.unowned.append(f"{address}: {owners}")

    def emitted(self, _source: str, detail_type: str, detail: dict[str, Any], _resources: list[str]) -> None:
        """Keep an event of EC2; whether and when it arrives is up to Hypothesis."""
        self.events.append({"detail-type": detail_type, "time": "2026-11-22T02:00:00Z", "detail": detail})

    # What happens.

    def run(self, event: dict[str, Any], trouble: Trouble = None) -> None:
        """Run the function once, in trouble or not, and compare what it says with what it did."""
        self.account.faults.clear()
        self.account.lag.off()
        if isinstance(trouble, int):
            self.account.lag.exactly("ec2", trouble)
        if isinstance(trouble, tuple):
            operation, lost = trouble
            self.account.faults.add("ec2", operation, "InternalError", times=1, status=500, after=lost)
        before, mails = self.declared(), len(self.world.mails)
        try:
            outcome = self.world.run(event)["outcome"]
        except UnfinishedError:
            outcome = "unfinished"
        moved = {name for name, side in self.declared().items() if side != before[name] and side is not None}
        new = self.world.mails[mails:]
        told = {name for name in before for mail in new if f"  {name}" in mail.body}
        assert moved <= told, f"moved {moved}, told {told}"
        assert len(new) <= 1, "one run, one mail"
        assert new or outcome != "changed", "a change is mailed"
        assert moved or not new or outcome == "unfinished", "a mail is about a change"

    # One rule for all, because Hypothesis leaves some rules out of most examples, and here every one matters.
    @rule(what=st.sampled_from(STEPS), data=st.data(), prompt=st.booleans(), trouble=TROUBLE)
    def happens(self, what: str, data: st.DataObject, prompt: bool, trouble: Trouble) -> None:
        """Something happens, perhaps its event arrives at once, perhaps the run is in trouble."""
        match what:
            case "goes":
                if data.draw(st.booleans()):
                    self.comes_back(False, None)
                self.goes(data.draw(WHOSE), data.draw(RARELY), prompt, trouble)
            case "comes back":
                self.comes_back(prompt, trouble)
            case "time passes":
                self.account.advance(data.draw(st.sampled_from((5, 20, 40))))
            case "tick":
                self.run(TICK, trouble)
            case "old event" if self.events:
                number = data.draw(st.integers(0, len(self.events) - 1))
                self.run(self.events[number] if prompt else self.events.pop(number), trouble)
            case "quiet":
                self.becomes_quiet()

    def goes(self, whose: str, terminated: bool, prompt: bool, trouble: Trouble) -> None:
        """The holder, or the other one, is stopped or, now and then and only one of them, terminated."""
        holder = 1 if list(self.declared().values()).count(1) > 1 else 0
        side = holder if whose == "the holder" else 1 - holder
        states = self.states()
        if terminated and not {"terminated", "shutting-down"} & {*states}:
            self.world.service.terminate(side)
        elif states[side] == "running":
            self.world.service.stop(side)
        else:
            return
        self.arrives(prompt, trouble)

    def comes_back(self, prompt: bool, trouble: Trouble) -> None:
        """Whoever is stopped is started, and runs after a while."""
        self.account.advance(20)
        for side, state in enumerate(self.states()):
            if state == "stopped":
                self.world.service.start(side)
        self.account.advance(20)
        if self.events:
            self.arrives(prompt, trouble)

    def arrives(self, prompt: bool, trouble: Trouble) -> None:
        """Deliver the newest event at once, or leave it for later, or for never."""
        if prompt:
            self.run(self.events.pop(), trouble)

    def becomes_quiet(self) -> None:
        """Nothing fails, everything arrives: then everything is where it belongs, and stays."""
        self.account.network._late = 0
        self.account.advance(60)
        for event in self.events[-4:]:
            self.run(event)
        self.events.clear()
        self.run(TICK)
        states = self.states()
        if "running" in states:
            assert {states[side] for side in self.declared().values()} == {"running"}
        settled, writes = self.declared(), len(self.world.writes())
        self.run(TICK)
        assert (self.declared(), len(self.world.writes())) == (settled, writes), "nothing is done twice"

    @invariant()
    def an_ipv4_address_always_has_one_owner(self) -> None:
        self.look_for_owners()
        assert not self.unowned

    @invariant()
    def nothing_undeclared_moves(self) -> None:
        assert set(self.undeclared().values()) <= {0, None, self.world.service.interface_ids[0]}

    @invariant()
    def what_runs_keeps_what_it_has(self) -> None:
        for call in self.account.calls:
            assert call.operation not in ("UnassignPrivateIpAddresses", "DisassociateAddress")


@pytest.mark.filterwarnings("ignore")  # of Hypothesis, about examples that are slow because they talk HTTP
def test_invariants_of_an_address_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "_CONFIG", aws._CONFIG.merge(type(aws._CONFIG)(retries={"total_max_attempts": 1})))
    run_state_machine_as_test(
        Addresses,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=20,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
