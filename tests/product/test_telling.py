"""Every change is told, once and within five minutes, whichever call of the run that makes it fails or dies."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fault_cells
import pytest
from conftest import Shop
from fault_cells import SOAK, calls_of, fails
from pair_tools import Deployed
from standby_stories import STOP, Batch

from sandbox import drawn
from sandbox.account import Account
from sandbox.estates.alb import alb_service
from sandbox.estates.standby import StandbyService, standby_service
from sandbox.stack import cloudformation
from sandbox.traffic import AlbPlane
from sandbox.wire import Refusal

SAMPLE = 1  # of the cells of a story, in `make test`; all of them with KIRIKAE_SOAK=1
FAULTS: dict[str, dict[str, Any]] = {
    **fault_cells.FAULTS,
    "five failures": {"code": "ServiceUnavailable", "status": 503, "times": 5},
}
BODIES: dict[str, dict[str, Any]] = {
    f"{body} body{reached}": {"code": None, "body": body, "after": bool(reached)}
    for body in ("empty", "cut", "bare", "html")
    for reached in ("", ", it was done")
    if reached or body in ("empty", "html")  # the others come from AWS itself
}
FAULTS |= BODIES
NAMED = ("AnswerError", "UnfinishedError", "OtherRunError")
# Amazon SNS cannot be asked whether a mail has left: these may repeat it, and the repetition says so.
MAY_REPEAT = {("Publish", "killed after"), ("Publish", "its answer is lost"), ("PutParameter", "killed before")}
MAY_REPEAT |= {("Publish", fault) for fault, given in BODIES.items() if given["after"]}


@dataclass(frozen=True)
class Story:
    """A change in a world: how it is brought about, what its mail is called, and which function makes it."""

    begin: Callable[[Account, Path], Any]  # returns the world, quiet
    cause: Callable[[Any], object]
    mail: str  # what its subject matches
    role: str  # in the name of the role
    shows: Callable[[Any], object]  # how the world is


def _shop(account: Account, build: Path, **parameters: str) -> Shop:
    shop = Shop(account, build).deployed(**parameters)
    shop.minutes(3)
    return shop


def _on_sorry(account: Account, build: Path) -> Shop:
    shop = _shop(account, build)
    shop.stops()
    shop.minutes(1)
    shop.service.start()
    shop.minutes(2)
    account.sns.messages.clear()
    return shop


class Alb:
    """A service behind an ALB with the stack `shop`."""

    def __init__(self, account: Account, build: Path) -> None:
        self.account = account
        self.service = alb_service(account)
        given = {"MaintenanceListenerArn": self.service.listener_arn}
        self.stack = cloudformation.deploy(account, build, "shop", given)
        account.advance(180)

    def wish(self, kind: str, **fields: object) -> None:
        """Invoke as a schedule does: asynchronously, and repeated if it fails."""
        function = self.stack.resources["AlbMaintenancePriorityFunction"]
        self.account.functions.invoke_async(function, {"type": kind, **fields})
        self.account.settle()

    def shows(self) -> tuple[list[int], list[int]]:
        """Return what visitors get, and the numbers of the rules, ours last."""
        plane, numbers = AlbPlane(self.account, self.service.listener_arn), self.service.priorities()
        arns = [*self.service.rule_arns.values(), self.stack.resources["MaintenanceRule"]]
        return [plane.get(path).status for path in ("/a", "/b", "/c")], [numbers[arn] for arn in arns]


def _live(account: Account, build: Path) -> Alb:
    alb = Alb(account, build)
    alb.wish("start", minutes=60)
    account.advance(60)
    return alb


def _about_to_end(account: Account, build: Path) -> Alb:
    alb = Alb(account, build)
    alb.wish("start", minutes=3)
    account.advance(179)
    account.sns.messages.clear()
    return alb


def _pair(account: Account, build: Path) -> Deployed:
    return _ready(Deployed(account, build))


def _pair_of_all_kinds(account: Account, build: Path) -> Deployed:
    return _ready(Deployed(account, build, ipv6=1, elastic=2, overlay=("192.168.99.1/32",)))


def _ready(pair: Deployed) -> Deployed:
    pair.deploy(PairMoveWhenImpaired="true")
    pair.passes(6)  # the status checks have begun
    return pair


def _holder_hangs(pair: Deployed) -> None:
    pair.account.ec2.impaired.add(pair.service.instance_ids[0])
    pair.passes(6)


def _batch(account: Account, build: Path) -> StandbyService:
    batch = standby_service(account)
    given = {
        "ActiveInstanceId": batch.active,
        "StandbyInstanceIds": ",".join(batch.standbys),
        "NotificationEmail": "oncall@example.com",
    }
    cloudformation.deploy(account, build, "batch", given)
    account.advance(180)
    return batch


def _active_stops(batch: StandbyService) -> None:
    batch.stop(batch.active)
    batch.account.settle()


def _on_standby(account: Account, build: Path) -> StandbyService:
    batch = _batch(account, build)
    _active_stops(batch)
    account.advance(300)
    account.sns.messages.clear()
    return batch


def _active_returns(batch: StandbyService) -> None:
    batch.start()
    batch.account.advance(300)


def _nothing_to_be_had(account: Account, build: Path) -> StandbyService:
    batch = _batch(account, build)
    batch.lacks("InsufficientInstanceCapacity", *batch.standbys)
    return batch


def _in_service(batch: Batch) -> list[tuple[str, bool]]:
    """Return the states of the standbys, and whether they are healthy in the group."""
    health = batch.service.health()
    return [(batch.service.state(standby), health.get(standby) == "healthy") for standby in (batch.one, batch.two)]


def _left(batch: Batch) -> bool:
    """Tell whether the next one serves instead of the first or, where EC2 refuses it, people know that none does."""
    if any("no standby started" in mail.subject for mail in batch.mails):
        return _in_service(batch)[1] == ("stopped", False)
    return _in_service(batch) == [("stopped", False), ("running", True)]


def _running(batch: StandbyService) -> int:
    """Return how many standbys run: if an answer was none, it may be the next one."""
    return batch.states().count("running")


def _on_its_way(account: Account, build: Path) -> Batch:
    batch = Batch(account, build, StandbyTargetGroupArn="its own")
    batch.dies()
    account.advance(20)
    account.sns.messages.clear()
    return batch


def _hanging(account: Account, build: Path) -> Batch:
    """A standby has been started, is registered and never answers; its time is almost over."""
    batch = Batch(account, build, StandbyTargetGroupArn="its own", FenceActive="true", StandbyGiveUpMinutes="5")
    account.ec2.applications[batch.one] = False
    batch.dies()
    account.advance(290)
    account.sns.messages.clear()
    return batch


def _fenced(account: Account, build: Path) -> Batch:
    batch = Batch(account, build, FenceActive="true")
    batch.alarm("heartbeat", [batch.arn])
    batch.minutes(2)
    return batch


def _active_may_not_be_stopped(batch: Batch) -> None:
    def refuse(_params: object, _principal: str) -> dict[str, Any]:
        raise Refusal("OperationNotPermitted", "The instance may not be stopped.")

    batch.account.override("ec2", STOP, refuse)  # no fault: those of a cell come first
    batch.sets("heartbeat", "ALARM")


def _mixed(account: Account, build: Path) -> Shop:
    """AWS does not take groups of both kinds in one weighted action."""
    account.elb.refuse_mixed_weighted_action = True
    return Shop(account, build)


def _deployed(shop: Shop) -> None:
    shop.deployed().minutes(2)


def _refused_later(account: Account, build: Path) -> Shop:
    """The stack is there, and AWS has not been asked for a weighted action yet."""
    shop = _mixed(account, build)
    account.faults.add("elbv2", "DescribeListeners", "ServiceUnavailable", status=503, role="NlbSorrySwitchover")
    shop.deployed()
    shop.minutes(2)
    account.faults.clear()
    account.sns.messages.clear()
    return shop


def _opened(alb: Alb) -> None:
    everything = {"Field": "path-pattern", "Values": ["/*"]}
    alb.account.client("elbv2").modify_rule(RuleArn=alb.stack.resources["MaintenanceRule"], Conditions=[everything])
    alb.account.advance(60)


def _moved_by_others(alb: Alb) -> None:
    alb.service.move((alb.stack.resources["MaintenanceRule"], 40000))
    alb.account.advance(60)


def _pair_that_stays(account: Account, build: Path) -> Deployed:
    pair = Deployed(account, build)
    pair.deploy()
    pair.passes(6)
    return pair


STORIES = {
    "sorry page on": Story(_shop, Shop.stops, "sorry page ON", "NlbSorrySwitchover", lambda shop: shop.serves),
    "sorry page off": Story(
        _on_sorry, lambda shop: shop.minutes(5), "sorry page OFF", "NlbSwitchback", lambda shop: shop.serves
    ),
    "addresses move": Story(_pair, lambda pair: pair.stops(0), "addresses", "SecondaryIp", lambda pair: pair.where),
    "addresses leave a server that hangs": Story(
        _pair_of_all_kinds, _holder_hangs, "addresses (moved|are on)", "SecondaryIp", lambda pair: pair.sides
    ),
    "maintenance begins": Story(
        Alb, lambda alb: alb.wish("start", minutes=60), "maintenance ON", "AlbMaintenance", Alb.shows
    ),
    "maintenance ends": Story(_live, lambda alb: alb.wish("end"), "maintenance OFF", "AlbMaintenance", Alb.shows),
    "maintenance ends by its time": Story(
        _about_to_end, lambda alb: alb.account.advance(60), "maintenance OFF", "AlbMaintenance", Alb.shows
    ),
    "a standby starts": Story(
        _batch, _active_stops, r"(?<!no )standby \S+ (started|is running already)", "ColdStandby", _running
    ),
    "no standby starts": Story(_nothing_to_be_had, _active_stops, "no standby started", "ColdStandby", _running),
    "the active returns": Story(
        _on_standby, _active_returns, "active is back|no outage any more", "ColdStandby", _running
    ),
    "a standby serves": Story(
        _on_its_way, lambda batch: batch.minutes(4), "is serving|serving, found", "ColdStandby", _in_service
    ),
    "a standby is left": Story(
        _hanging, lambda batch: batch.minutes(4), r"standby( \S+)? (started|is running already)", "ColdStandby", _left
    ),
    "the active is not fenced": Story(
        _fenced, _active_may_not_be_stopped, "not fenced", "ColdStandby", lambda batch: batch.states
    ),
    "weights are refused": Story(_mixed, _deployed, "weighted", "NlbSorrySwitchover", lambda shop: shop.weights),
    "weights are refused in an outage": Story(
        _refused_later, Shop.stops, "sorry page ON", "NlbSorrySwitchover", lambda shop: shop.weights
    ),
    "a parked rule is opened": Story(Alb, _opened, "matches nothing now", "AlbMaintenance", Alb.shows),
    "the rule is moved by others": Story(_live, _moved_by_others, "left alone", "AlbMaintenance", Alb.shows),
    "a holder hangs and keeps the addresses": Story(
        _pair_that_stays, _holder_hangs, "fails its status checks", "SecondaryIp", lambda pair: pair.sides
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_it_is_told_once_whatever_dies(name: str, build: Path) -> None:
    story = STORIES[name]
    with Account() as account:
        world = story.begin(account, build)
        since = len(account.calls)
        story.cause(world)
        cells = [(call, fault) for call in dict.fromkeys(calls_of(account, story.role, since)) for fault in FAULTS]
        assert [mail for mail in account.mails if re.search(story.mail, mail.subject)]
        account.advance(300)
        right = story.shows(world)
    wrong = {}
    seeded = drawn("cells")
    bodies = [cell for cell in cells if cell[1] in BODIES]
    others = [cell for cell in cells if cell[1] not in BODIES]
    chosen = cells if SOAK else seeded.sample(others, SAMPLE) + seeded.sample(bodies, 1)
    for call, fault in chosen:
        if problem := _told_wrong(story, build, call, fault, right):
            wrong[call, fault] = problem
    assert wrong == {}


def _told_wrong(story: Story, build: Path, call: tuple[str, str, int], fault: str, right: object) -> str:
    """Play the story with a fault in this call; return what is wrong with its world, errors or mails, or nothing."""
    with Account() as account:
        world = story.begin(account, build)
        before = len(account.functions.runs)
        fails(account, story.role, call, FAULTS[fault])
        story.cause(world)
        account.advance(300)
        if (shown := story.shows(world)) != right:
            return f"the world shows {shown}, expected {right}"
        ended = [run.invocation.payload for run in account.functions.runs[before:] if run.invocation.error]
        if fault in BODIES and (unnamed := [error for error in ended if error.get("errorType") not in NAMED]):
            return f"an error that has no name: {unnamed}"
        told = [mail for mail in account.mails if re.search(story.mail, mail.subject)]
    # The SDK sends a message again whose answer was lost, as it was; a later run says that it may be a repetition.
    twice = len(told) == 2 and (told[0].body == told[1].body or "may have it already" in told[1].body)
    rest = len(told) == 2 and "ATTENTION, not all" in told[0].subject  # what was not made then, by the run that made it
    if len(told) == 1 or rest or (twice and (call[1], fault) in MAY_REPEAT):
        return ""
    return f"{len(told)} mails: {[mail.subject for mail in told]}"


# One mail, whoever makes the change at the same time.


def subjects(account: Account, text: str) -> list[str]:
    """Return the subjects that contain the text."""
    return [mail.subject for mail in account.mails if text in mail.subject]


CALLS = [("elbv2", "DescribeListeners"), ("elbv2", "ModifyListener"), ("ssm", "GetParameter"), ("ssm", "PutParameter")]


@pytest.mark.parametrize("since_tick", [31, 215])
def test_a_change_whose_run_dies_is_told_within_two_minutes_however_slow_the_ticks(
    since_tick: float, account: Account, build: Path
) -> None:
    shop = _shop(account, build, ReconcileExpression="rate(5 minutes)")
    account.advance(since_tick)
    account.faults.add("sns", "Publish", None, role="NlbSorrySwitchover", times=1, kills=True)
    shop.stops()
    assert (shop.serves, shop.subjects) == (["sorry"], [])
    shop.minutes(2)
    assert [subject for subject in shop.subjects if subject.startswith("sorry page ON")]


@pytest.mark.parametrize("since_tick", [31, 245, 290])
def test_a_mail_that_does_not_leave_is_sent_by_the_next_tick_however_slow(
    since_tick: float, account: Account, build: Path
) -> None:
    pair = Deployed(account, build).deploy(ReconcileExpression="rate(5 minutes)")
    account.advance(600 + since_tick)
    account.faults.add("sns", "Publish", "InternalError", status=500, role="SecondaryIp", times=3)
    pair.stops(0)
    assert (pair.sides, pair.mails) == ({1}, [])
    account.advance(300)
    [mail] = pair.mails
    assert "found by the periodic check" in mail.subject


@pytest.mark.parametrize(("service", "operation"), [*CALLS, ("sns", "Publish")])
def test_a_second_run_in_the_middle_of_the_first_mails_nothing_of_its_own(
    service: str, operation: str, account: Account, build: Path
) -> None:
    shop = _shop(account, build)
    account.events.arrivals = lambda _event: ()  # the state events; the runs are ours
    shop.stops()
    function = shop.stack.resources["NlbSorrySwitchoverFunction"]
    account.before(service, operation, lambda: account.functions.invoke(function, {"action": "reconcile"}))
    shop.switchover()
    shop.minutes(4)
    assert len(subjects(account, "sorry page ON")) == 1


def test_a_switch_back_by_somebody_else_is_told_when_it_is_found(account: Account, build: Path) -> None:
    shop = _on_sorry(account, build)
    shop.service.forward({shop.service.primary_arn: 1, shop.service.sorry_arn: 0})
    shop.minutes(4)
    assert subjects(account, "sorry page OFF") == ["[kirikae] shop: sorry page OFF, found by the periodic check"]


def test_an_adoption_that_aws_refuses_hides_no_switch_by_somebody_else(account: Account, build: Path) -> None:
    shop = _on_sorry(account, build)
    account.elb.refuse_mixed_weighted_action = True
    shop.service.forward({shop.service.primary_arn: 1})
    shop.minutes(3)
    assert shop.subjects.count("sorry page OFF, found by the periodic check") == 1
    assert ["SwitchMode=replace is in force" in mail.body.replace("\n", " ") for mail in shop.mails].count(True) == 1


def test_a_rule_that_no_window_had_opened_is_told_though_the_run_that_closes_it_dies(
    account: Account, build: Path
) -> None:
    alb = Alb(account, build)
    rule, before = alb.stack.resources["MaintenanceRule"], alb.shows()
    for moves in ([], [(rule, 1), *((arn, place + 1) for arn, place in alb.service.priorities().items() if place < 9)]):
        account.sns.messages.clear()
        account.faults.add("elbv2", "ModifyRule", None, role="AlbMaintenance", times=1, kills=True, after=True)
        if moves:
            alb.service.move(*moves)
        _opened(alb)
        account.advance(180)
        assert alb.shows()[0] == before[0]
        assert len(subjects(account, "matches nothing now") + subjects(account, "maintenance OFF")) == 1


# An outage that may not be answered is said at once, and once.


def _held(shop: Shop) -> None:
    shop.held(60)


def _nobody_on_the_sorry_side(shop: Shop) -> None:
    elb = shop.account.client("elbv2")
    found = elb.describe_target_health(TargetGroupArn=shop.service.sorry_arn)["TargetHealthDescriptions"]
    elb.deregister_targets(TargetGroupArn=shop.service.sorry_arn, Targets=[each["Target"] for each in found])
    shop.minutes(7)


@pytest.mark.parametrize(("parameters", "prepare", "outcome"), [
    ({}, _held, "held"),
    ({"DryRun": "true"}, lambda _shop: None, "dry-run"),
    ({}, _nobody_on_the_sorry_side, "refused"),
])  # fmt: skip
def test_an_outage_that_may_not_be_answered_is_told_at_once_and_once(
    parameters: dict[str, str], prepare: Callable[[Shop], object], outcome: str, account: Account, build: Path
) -> None:
    shop = Shop(account, build, **parameters).deployed()
    shop.minutes(3)
    prepare(shop)
    shop.stops()
    expected = [f"[kirikae] shop: NOT answered ({outcome}): a change is due"]
    assert subjects(account, "NOT answered") == expected
    shop.minutes(30)
    assert subjects(account, "NOT answered") == expected


def test_after_a_hold_the_next_outage_under_a_hold_is_told_again(account: Account, build: Path) -> None:
    shop = _shop(account, build)
    shop.held(600)
    for _ in range(2):
        shop.stops()
        shop.minutes(1)
        shop.service.start()
        shop.minutes(5)
    assert len(subjects(account, "NOT answered (held)")) == 2


# A note that is not there, or cannot be read, hides no change.


def test_the_first_move_of_a_stack_is_told_though_its_mail_fails_for_some_minutes(
    account: Account, build: Path
) -> None:
    pair = Deployed(account, build)
    pair.service.stop(0)
    account.advance(60)
    account.faults.add("sns", "Publish", "KMSAccessDenied", role="SecondaryIp")
    pair.deploy()
    pair.passes(4)
    account.faults.clear()
    pair.passes(10)
    assert pair.sides == {1}
    assert len(pair.mails) == 1


@pytest.mark.parametrize(
    "mail", [{"code": "InternalError", "status": 500, "times": 3}, {"code": None, "kills": True, "times": 1}]
)
def test_a_move_is_told_though_its_note_is_not_read_and_its_mail_does_not_leave(
    mail: dict[str, Any], account: Account, build: Path
) -> None:
    pair = _pair(account, build)
    account.faults.add("ssm", "GetParameter", "InternalServerError", status=500, role="SecondaryIp")
    account.faults.add("sns", "Publish", role="SecondaryIp", **mail)
    pair.stops(0)
    account.faults.clear()
    pair.passes(10)
    assert pair.sides == {1}
    assert len(pair.mails) == 1


def test_sorry_off_is_told_though_its_note_is_not_read_and_its_run_dies(account: Account, build: Path) -> None:
    shop = _on_sorry(account, build)
    told = {"when": lambda params: "/told/" in params["Name"]}
    account.faults.add("ssm", "GetParameter", "InternalServerError", status=500, role="NlbSwitchback", **told)
    account.faults.add("sns", "Publish", None, kills=True, times=1, role="NlbSwitchback")
    for _ in range(12):
        shop.minutes(1)
        if shop.serves == ["primary"]:
            break
    account.faults.clear()
    shop.minutes(10)
    assert shop.serves == ["primary"]
    assert len(subjects(account, "sorry page OFF")) == 1


@pytest.mark.skipif(not SOAK, reason="takes a minute of real time")
def test_a_move_is_told_though_systems_manager_hangs(account: Account, build: Path) -> None:
    pair = _pair(account, build)
    for operation in ("GetParameter", "PutParameter"):
        account.faults.add("ssm", operation, None, latency=5.5)
    pair.stops(0)
    assert len(pair.mails) == 1
    account.faults.clear()
    pair.passes(10)
    assert pair.sides == {1}


# Systems Manager takes no writes, or cannot be read: what nobody can note is told, and not at every tick.

NO_WRITES = ["ThrottlingException", "AccessDeniedException"]  # the SDK repeats the first


@pytest.mark.parametrize("code", NO_WRITES)
def test_without_notes_an_outage_is_one_switch_and_few_mails(code: str, account: Account, build: Path) -> None:
    shop = _shop(account, build, MaxSwitchesPerHour="2")
    account.faults.add("ssm", "PutParameter", code, status=400)
    shop.stops()
    shop.minutes(12)
    assert 1 <= len(shop.subjects) <= 2
    shop.comes_back()
    assert shop.serves == ["primary"]
    assert subjects(account, "sorry page OFF")
    assert len(shop.subjects) <= 3
    account.faults.clear()
    shop.minutes(10)
    assert len(shop.subjects) <= 3
    assert not shop.alarm_mails("nlb-flapping")


@pytest.mark.parametrize("operations", [["PutParameter"], ["GetParameter"], ["PutParameter", "GetParameter"]])
def test_without_notes_each_outage_that_is_not_answered_is_told_once(
    operations: list[str], account: Account, build: Path
) -> None:
    shop = _shop(account, build, DryRun="true")
    for operation in operations:
        account.faults.add("ssm", operation, "InternalServerError", status=500, when=lambda p: "/told/" in p["Name"])
    for number in (1, 2):
        shop.stops()
        assert subjects(account, "NOT answered (dry-run)")[number - 1 :], "at once"
        shop.minutes(10)
        assert len(subjects(account, "NOT answered")) == number
        shop.comes_back()
    account.faults.clear()
    shop.minutes(5)
    assert len(shop.subjects) == 2


def test_without_notes_a_held_outage_is_told_once(account: Account, build: Path) -> None:
    shop = _shop(account, build)
    shop.held(60)
    account.faults.add("ssm", "PutParameter", "ThrottlingException", status=400)
    shop.stops()
    shop.minutes(10)
    assert shop.subjects == ["NOT answered (held): a change is due"]


def test_without_notes_a_holder_that_hangs_is_told_once(account: Account, build: Path) -> None:
    pair = _pair_that_stays(account, build)
    account.faults.add("ssm", "PutParameter", "AccessDeniedException")
    for number in (1, 2, 3):  # hangs, recovers, hangs again
        (account.ec2.impaired.discard if number == 2 else account.ec2.impaired.add)(pair.service.instance_ids[0])
        pair.passes(10)
        assert len(pair.mails) == number


def test_a_mail_that_fails_while_nothing_can_be_noted_is_sent_when_it_can(account: Account, build: Path) -> None:
    pair = _pair_that_stays(account, build)
    account.faults.add("ssm", "PutParameter", "AccessDeniedException")
    account.faults.add("sns", "Publish", "InternalError", status=500, times=9, role="SecondaryIp")
    _holder_hangs(pair)
    pair.passes(5)
    assert len(pair.mails) == 1
