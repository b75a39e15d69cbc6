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
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from pair_tools import WRITES, Inside

from kirikae import aws, pair_move
from kirikae.reconcile import UnfinishedError
from sandbox.account import Account

IPV4 = ("10.0.0.50", "10.0.0.51")
UNDECLARED = ("10.0.0.5", "192.168.98.0/24")
EXAMPLES = int(os.environ.get("KIRIKAE_EXAMPLES", "12"))
SIDES = st.sampled_from((0, 1))


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
        self.account.bus = self.emitted  # type: ignore[method-assign]
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

    def run(self, event: dict[str, Any]) -> None:
        """Run the function once and compare what it says with what it did."""
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

    @rule(side=SIDES, prompt=st.booleans())
    def starts(self, side: int, prompt: bool) -> None:
        if self.states()[side] == "stopped":
            self.world.service.start(side)
            self.arrives(prompt)

    @rule(side=SIDES, prompt=st.booleans())
    def stops(self, side: int, prompt: bool) -> None:
        if self.states()[side] == "running":
            self.world.service.stop(side)
            self.arrives(prompt)

    @rule(side=SIDES, prompt=st.booleans(), really=st.integers(0, 3))
    def terminates(self, side: int, prompt: bool, really: int) -> None:
        if not really and not {"terminated", "shutting-down"} & {*self.states()}:
            self.world.service.terminate(side)
            self.arrives(prompt)

    def arrives(self, prompt: bool) -> None:
        """Deliver the newest event at once, or leave it for later."""
        if prompt:
            self.run(self.events.pop())

    @rule(seconds=st.sampled_from((5, 20, 40)))
    def time_passes(self, seconds: int) -> None:
        self.account.advance(seconds)

    @rule()
    def tick(self) -> None:
        self.run({"detail-type": "Scheduled Event", "detail": {}})

    @precondition(lambda self: self.events)
    @rule(data=st.data(), again=st.booleans())
    def an_event_arrives(self, data: st.DataObject, again: bool) -> None:
        number = data.draw(st.integers(0, len(self.events) - 1))
        event = self.events[number] if again else self.events.pop(number)
        self.run(event)

    @rule(
        operation=st.sampled_from(sorted(WRITES - {"UnassignPrivateIpAddresses", "DisassociateAddress"})),
        lost=st.booleans(),
    )
    def a_call_will_fail(self, operation: str, lost: bool) -> None:
        self.account.faults.add("ec2", operation, "InternalError", times=1, status=500, after=lost)

    @rule(reads=st.integers(0, 6))
    def changes_show_late(self, reads: int) -> None:
        self.account.network.late_reads = reads

    @rule()
    def it_becomes_quiet(self) -> None:
        """Nothing fails, everything arrives: then everything is where it belongs, and stays."""
        self.account.faults.clear()
        self.account.network.late_reads = self.account.network._late = 0
        self.account.advance(60)
        for event in self.events:
            self.run(event)
        self.events.clear()
        self.tick()
        states = self.states()
        if "running" in states:
            assert {states[side] for side in self.declared().values()} == {"running"}
        settled, writes = self.declared(), len(self.world.writes())
        self.tick()
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
    monkeypatch.setattr(pair_move, "PAUSES", (0.0,) * 8)
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
