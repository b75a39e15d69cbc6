"""The listeners go back when enough primary servers have been fit for long enough, and never on `running` alone."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest
from conftest import Shop
from standby_stories import mute

from functions.nlb_switchback.app import Config, Observed, decide, mail
from kirikae import notify
from kirikae.alarms import Alarm
from kirikae.checks import Status
from kirikae.decision import Result
from kirikae.elb import Target
from kirikae.listeners import Listener
from kirikae.nlb.world import Done, Switch, Switches
from kirikae.notify import Times

NOW = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
ELB = "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012"
LISTENER = f"{ELB}:listener/net/shop/50dc6c495c0c9188/0467ef3c8400ae65"
PRIMARY = f"{ELB}:targetgroup/primary/73e2d6bc24d8a067"
SORRY = f"{ELB}:targetgroup/sorry/2453ed029918f21f"
FUNCTION = "NlbSwitchbackFunction"
ON, OFF = "sorry page ON, the primary cannot serve", "sorry page OFF, back on the primary"

CONFIG = Config(
    service_name="shop",
    topic_arn="arn:aws:sns:ap-northeast-1:123456789012:shop",
    hold_parameter="/shop/hold",
    told_parameter="/told/it",
    nlb_listener_arns=(LISTENER,),
    primary_target_group_arn=PRIMARY,
    sorry_target_group_arn=SORRY,
    recovery_alarm_name="shop-nlb-recovery",
    ready_alarm_name="shop-nlb-primary-ready",
    flapping_alarm_name="shop-nlb-flapping",
)


def seen(states: str = "", recovery: str = "", flapping: str = "OK", **world: Any) -> Observed:
    """Build a world on the sorry page: states of the targets i-1, i-2, …, then the alarms."""
    known, outside, unread = world.pop("known_seconds", None), world.pop("outside", ()), world.pop("unread", "")
    weights = MappingProxyType(world.pop("weights", {PRIMARY: 0, SORRY: 1}))
    listener = Listener(LISTENER, "nlb", "TCP", 443, "forward", weights)
    mode = world.get("mode", "weighted")
    targets = tuple(Target(f"i-{n}", 80, state) for n, state in enumerate(states.split(), 1))
    states = {f"i-{n}": state for n, state in enumerate(world.pop("instances", "").split(), 1)}
    statuses = {f"i-{n}": Status(f"i-{n}", *checks) for n, checks in enumerate(world.pop("statuses", ()), 1)}
    targets += tuple(Target(server, 80, "unused", "Target.NotInUse") for server in statuses)
    name = CONFIG.ready_alarm_name if mode == "replace" else CONFIG.recovery_alarm_name
    alarms = (Alarm(name, recovery, NOW),) if recovery else ()
    switches = {"listeners": (listener,), "ruled": (), "mode": mode, "elsewhere": {}} | world
    flaps = Alarm("shop-nlb-flapping", flapping, NOW)
    return Observed(
        Switches(**switches), {PRIMARY: targets}, {}, states, statuses, outside, alarms, flaps, known, unread
    )


BACK = Switch("primary", (LISTENER,))
STAY = None
FIT, ILL, NEW = ("ok", "ok", "not-applicable"), ("ok", "impaired", "not-applicable"), ("initializing",) * 3
APP_ILL = ("ok", "ok", "impaired")
REPLACED = {"mode": "replace", "weights": {SORRY: 1}}

WORLDS = {
    "healthy for long enough": (BACK, seen("healthy healthy", "OK")),
    "one is enough": (BACK, seen("healthy unhealthy", "OK")),
    "healthy, but not for long enough": (STAY, seen("healthy healthy", "ALARM")),
    "healthy, and nobody knows for how long": (STAY, seen("healthy", "INSUFFICIENT_DATA")),
    "the alarm is OK, but they are ill right now": (STAY, seen("unhealthy unhealthy", "OK")),
    "healthy, but stopping": (STAY, seen("healthy healthy", "OK", instances="stopping stopping")),
    "healthy, one of them stopping": (BACK, seen("healthy healthy", "OK", instances="running stopping")),
    "initial": (STAY, seen("initial initial", "OK")),
    "running, unused because in no listener": (STAY, seen("unused unused", "OK", weights={SORRY: 1})),
    "nothing registered": (STAY, seen("", "OK")),
    "on the primary already": (STAY, seen("healthy", "OK", weights={PRIMARY: 1, SORRY: 0})),
    "foreign action": (STAY, seen("healthy", "OK", weights={PRIMARY: 1, SORRY: 1})),
    "switched too often": (STAY, seen("healthy", "OK", "ALARM")),
    "nobody knows how often": (BACK, seen("healthy", "OK", "INSUFFICIENT_DATA")),
    "people were told just now that the page is on": (STAY, seen("healthy", "OK", known_seconds=179.0)),
    "people have known it for RecoveryMinutes": (BACK, seen("healthy", "OK", known_seconds=180.0)),
    "EC2 does not answer, and people have known it for RecoveryMinutes": (
        BACK,
        seen("healthy", "OK", known_seconds=180.0, unread="RequestLimitExceeded"),
    ),
    "EC2 does not answer, and people were told just now": (
        STAY,
        seen("healthy", "OK", known_seconds=179.0, unread="RequestLimitExceeded"),
    ),
    "EC2 does not answer, and nobody knows since when": (STAY, seen("healthy", "OK", unread="RequestLimitExceeded")),
    "replace mode: fit for long enough": (BACK, seen(recovery="ALARM", statuses=(FIT,), **REPLACED)),
    "replace mode: fit, not for long enough": (STAY, seen(recovery="OK", statuses=(FIT,), **REPLACED)),
    "replace mode: impaired": (STAY, seen(recovery="ALARM", statuses=(ILL,), **REPLACED)),
    "replace mode: still initializing": (STAY, seen(recovery="ALARM", statuses=(NEW,), **REPLACED)),
    "replace mode: application check fails": (STAY, seen(recovery="ALARM", statuses=(APP_ILL,), **REPLACED)),
    "replace mode: one in a zone that is not enabled": (
        STAY,
        seen(recovery="ALARM", statuses=(FIT,), outside=("i-1",), **REPLACED),
    ),
    "replace mode: the other one of them not": (
        BACK,
        seen(recovery="ALARM", statuses=(FIT, FIT), outside=("i-1",), **REPLACED),
    ),
    "replace mode: nothing runs": (STAY, seen(recovery="ALARM", **REPLACED)),
}


@pytest.mark.parametrize(("change", "world"), WORLDS.values(), ids=WORLDS.keys())
def test_decide(change: dict[str, Any] | None, world: Observed) -> None:
    decided = decide(CONFIG, world)
    assert decided.change == change, decided.reason
    assert decided.reason.en
    assert re.search("[ぁ-ん]", decided.reason.ja)


def test_enough_means_min_healthy_targets() -> None:
    config = replace(CONFIG, min_healthy_targets=2)
    assert decide(config, seen("healthy unhealthy", "OK")).change is None
    assert decide(config, seen("healthy healthy unhealthy", "OK")).change == BACK


@pytest.mark.parametrize(
    ("config", "world", "refused", "lasting"),
    [
        pytest.param(CONFIG, seen("healthy", "OK", "ALARM"), True, (), id="switched too often"),
        pytest.param(CONFIG, seen("healthy", "OK", unread="RequestLimitExceeded"), True, (), id="EC2 does not answer"),
        pytest.param(
            replace(CONFIG, auto_switchback=False),
            seen("healthy", "OK"),
            False,
            ("WaitingForPerson",),
            id="not automatic",
        ),
    ],
)
def test_where_a_person_is_waited_for_only_force_goes_back(
    config: Config, world: Observed, refused: bool, lasting: tuple[str, ...]
) -> None:
    decided = decide(config, world)
    assert (decided.change, decided.forced, decided.refused, decided.lasting) == (None, BACK, refused, lasting)


def test_in_replace_mode_every_ready_minute_counts_while_it_waits() -> None:
    assert decide(CONFIG, seen(recovery="OK", statuses=(FIT,), **REPLACED)).lasting == ("PrimaryReady",)
    assert decide(CONFIG, seen(recovery="OK", statuses=(ILL,), **REPLACED)).lasting == ()


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("world", [seen("healthy", "OK"), seen(recovery="ALARM", statuses=(FIT,), **REPLACED)])
def test_the_mail_tells_the_evidence_and_how_to_undo(language: str, world: Observed) -> None:
    mode = world.switches.mode
    done = Done(mode, (LISTENER,), {LISTENER: {}})
    letter = mail(CONFIG, world, Result(BACK, decide(CONFIG, world).reason, done, Times(None, NOW, NOW)))
    text = notify.plain_text(letter.sections, language)
    assert letter.subject == f"[kirikae] shop: {OFF}"
    assert "i-1" in text
    assert world.recovery[0].name in text
    assert f'"TargetGroupArn": "{SORRY}", "Weight": 1' in text
    assert (f'"TargetGroupArn": "{PRIMARY}", "Weight": 0' in text) == (mode == "weighted")
    assert ("理由" in text) == (language == "ja")


@pytest.mark.parametrize(("language", "words"), [("en", "forced by hand"), ("ja", "手動で強制的に切り戻しました")])
@pytest.mark.parametrize("flapping", ["OK", "ALARM"])
def test_the_mail_of_a_forced_way_back_tells_the_evidence_and_that_it_was_forced(
    language: str, words: str, flapping: str
) -> None:
    config, world = replace(CONFIG, auto_switchback=False), seen("healthy unhealthy", "OK", flapping)
    decided = decide(config, world)
    assert (decided.change, decided.forced) == (None, BACK)
    done = Done("weighted", (LISTENER,), {LISTENER: {}})
    letter = mail(config, world, Result(BACK, decided.reason, done, Times(None, NOW, NOW), forced=True))
    why = notify.plain_text([letter.sections[1]], language)
    assert "i-1 healthy; i-2 unhealthy" in why
    assert words in why
    assert "staying on" not in why


# Stories: the built stack in an account, driven by causes.


def test_running_alone_does_not_bring_the_listeners_back(shop: Shop) -> None:
    shop.stops()
    shop.minutes(1)
    shop.service.break_application()
    shop.service.start()
    shop.minutes(10)
    assert set(shop.service.health().values()) <= {"unhealthy", "healthy"}
    assert shop.serves == ["sorry"]
    assert shop.subjects == [ON]


def test_they_go_back_when_the_targets_have_been_healthy_for_recovery_minutes(shop: Shop) -> None:
    shop.stops()
    shop.minutes(1)
    shop.service.start()
    shop.minutes(2)
    assert shop.serves == ["sorry"]
    shop.minutes(4)
    assert shop.serves == ["primary"]
    assert shop.subjects == [ON, OFF]
    assert shop.weights == [{"primary": 1, "sorry": 0}]


def test_a_tick_while_the_servers_go_down_does_not_take_the_switch_back(shop: Shop) -> None:
    runs = len(shop.runs(FUNCTION))
    while len(shop.runs(FUNCTION)) == runs:
        shop.account.advance(1)
    shop.account.advance(55)  # the next tick comes five seconds after the stop
    shop.stops()
    assert set(shop.service.health().values()) == {"healthy"}  # stopping takes longer than that
    shop.account.advance(10)
    assert "stopping" in shop.decisions(FUNCTION)[-1]["reason"]
    shop.minutes(5)
    assert (shop.serves, shop.subjects) == (["sorry"], [ON])


def test_more_recovery_minutes_take_longer(new_shop: Any) -> None:
    shop = new_shop(RecoveryMinutes="10").deployed()
    shop.minutes(5)
    shop.stops()
    shop.comes_back()
    assert shop.serves == ["sorry"]
    shop.minutes(6)
    assert shop.serves == ["primary"]


def until_it_serves(shop: Shop, side: str, most: int = 1500) -> float:
    """Let time pass until the listeners serve a side; return the seconds that it took."""
    began = shop.account.clock.time()
    while shop.serves != [side]:
        shop.account.advance(1)
        assert shop.account.clock.time() - began < most
    return shop.account.clock.time() - began


@pytest.mark.parametrize("second", [42, 46])
def test_an_outage_that_no_minute_of_the_metric_shows_waits_for_recovery_minutes_too(
    new_shop: Any, second: int
) -> None:
    shop = new_shop(RecoveryMinutes="10").deployed()
    shop.minutes(15)
    shop.account.advance(60 - shop.account.clock.time() % 60 + second)
    shop.stops()
    assert shop.serves == ["sorry"]
    while {shop.account.ec2.state(server) for server in shop.service.instance_ids} != {"stopped"}:
        shop.account.advance(1)
    shop.service.start()
    while set(shop.service.health().values()) != {"healthy"}:
        shop.account.advance(1)
    assert until_it_serves(shop, "primary") >= 8 * 60
    shop.settle()
    assert shop.subjects == [ON, OFF]
    assert "for RecoveryMinutes (10), says the alarm shop-nlb-recovery" in shop.mails[1].body


def test_replace_mode_waits_for_recovery_minutes_after_a_second_outage_too(new_shop: Any) -> None:
    shop = new_shop(SwitchMode="replace", RecoveryMinutes="5").deployed()
    shop.minutes(5)
    shop.stops()
    shop.minutes(1)
    shop.service.start()
    until_it_serves(shop, "primary")
    shop.account.advance(40)
    shop.service.break_application()  # the servers run on
    until_it_serves(shop, "sorry")
    assert until_it_serves(shop, "primary") >= 5 * 60
    assert shop.subjects[:3] == [ON, OFF, ON]


@pytest.mark.parametrize("note", ["absent", "not readable", "nonsense", "of next year"])
def test_a_note_that_tells_nothing_delays_no_way_back(shop: Shop, note: str) -> None:
    name, ssm = "/shop/told/nlb", shop.account.client("ssm")
    shop.stops()
    shop.minutes(1)
    shop.service.start()
    later = (shop.account.clock.now() + timedelta(days=365)).isoformat()
    text = json.dumps({"known": {"sorry page": "on"}, "at": later}) if note == "of next year" else note
    if note == "not readable":
        shop.account.faults.add("ssm", "GetParameter", "AccessDeniedException", when=lambda p: p["Name"] == name)
    elif note == "absent":
        ssm.delete_parameter(Name=name)
    else:
        ssm.put_parameter(Name=name, Value=text, Type="String", Overwrite=True)
    shop.minutes(8)
    assert shop.serves == ["primary"]


def test_a_mail_that_cannot_leave_delays_no_way_back(shop: Shop) -> None:
    shop.account.faults.add("sns", "Publish", "KMSDisabled", status=400)
    shop.stops()
    shop.minutes(3)
    assert shop.serves == ["sorry"]
    shop.comes_back()
    assert shop.serves == ["primary"]


def test_only_force_goes_back_before_recovery_minutes_have_passed(shop: Shop) -> None:
    shop.service.forward({shop.service.primary_arn: 0, shop.service.sorry_arn: 1})
    shop.minutes(2)
    assert (shop.serves, len(shop.subjects)) == (["sorry"], 1)
    said = shop.switchback()
    assert "s since people were told of it, RecoveryMinutes is 3" in said["reason"]
    shop.switchback({"action": "reconcile", "force": True, "reason": "it is known to be well"})
    assert shop.serves == ["primary"]


@pytest.mark.parametrize("addresses", [False, True], ids=["instances", "addresses"])
def test_a_healthy_primary_is_used_though_ec2_does_not_answer(new_shop: Any, addresses: bool) -> None:
    shop = new_shop(addresses=addresses).deployed()
    shop.minutes(5)
    shop.stops()
    shop.minutes(1)
    shop.service.start()
    for operation in ("DescribeInstances", "DescribeNetworkInterfaces"):
        shop.account.faults.add("ec2", operation, "InternalError", status=500)
    shop.minutes(10)
    assert (shop.serves, shop.subjects) == (["primary"], [ON, OFF])


def test_without_ec2_and_without_a_note_only_force_goes_back(shop: Shop) -> None:
    shop.stops()
    shop.minutes(1)
    shop.service.start()
    shop.account.faults.add("ec2", "DescribeInstances", "InternalError", status=500)
    shop.account.faults.add("ssm", "GetParameter", "InternalServerError", status=500)
    shop.minutes(8)
    assert (shop.serves, shop.switchback()["outcome"]) == (["sorry"], "refused")
    shop.switchback({"action": "reconcile", "force": True, "reason": "seen from outside"})
    assert shop.serves == ["primary"]


@pytest.mark.parametrize(
    ("addresses", "unread"),
    [(False, "DescribeInstances"), (True, "DescribeInstances"), (True, "DescribeInstanceStatus")],
)
def test_replace_mode_without_ec2_says_so_and_only_force_goes_back(new_shop: Any, addresses: bool, unread: str) -> None:
    given = {"PrimaryInstanceIds": ""} if addresses else {}
    shop = new_shop(addresses=addresses, SwitchMode="replace", **given).deployed()
    shop.minutes(5)
    shop.stops()
    shop.minutes(1)
    shop.service.start()
    shop.minutes(1)
    shop.account.faults.add("ec2", unread, "UnauthorizedOperation", status=403)
    shop.minutes(10)
    assert (shop.serves, shop.subjects) == (["sorry"], [ON])
    assert "only EC2 tells whether the primary is back, and it cannot be read" in shop.decisions(FUNCTION)[-1]["reason"]
    assert len(shop.alarm_mails("NlbSwitchbackErrors")) == 1
    shop.switchback({"action": "reconcile", "force": True, "reason": "seen from outside"})
    assert (shop.serves, shop.subjects) == (["primary"], [ON, OFF])
    assert "EC2 cannot be read" in shop.mails[1].body


@pytest.mark.parametrize("operation", ["DescribeLoadBalancers", "DescribeTargetGroups", "DescribeRules"])
def test_replace_mode_goes_back_without_what_only_informs(new_shop: Any, operation: str) -> None:
    shop = new_shop(SwitchMode="replace").deployed()
    shop.minutes(5)
    shop.stops()
    shop.minutes(1)
    shop.service.start()
    shop.account.faults.add("elbv2", operation, "Throttling", status=400)
    shop.minutes(10)
    assert (shop.serves, shop.subjects) == (["primary"], [ON, OFF])


def test_a_refusal_that_cannot_be_remembered_is_no_way_to_stay_for_good(new_shop: Any) -> None:
    shop = new_shop()
    shop.account.elb.refuse_mixed_weighted_action = True
    shop.account.faults.add("elbv2", "AddTags", "TooManyTags", status=400)
    shop.deployed()
    shop.minutes(6)
    shop.stops()
    shop.minutes(2)
    assert shop.serves == ["sorry"]
    shop.comes_back()
    shop.minutes(10)
    refused = "weighted switching refused by AWS, replace mode in force"
    assert (shop.serves, shop.subjects) == (["primary"], [refused, ON, OFF])


def test_a_refusal_is_remembered_by_whichever_listener_can_be_tagged(new_shop: Any) -> None:
    shop = new_shop(ports=(443, 8443))
    shop.account.elb.refuse_mixed_weighted_action = True
    first = shop.service.listener_arns[0]
    shop.account.faults.add("elbv2", "AddTags", "TooManyTags", status=400, when=lambda p: first in p["ResourceArns"])
    shop.deployed()
    shop.minutes(3)
    assert shop.subjects == ["weighted switching refused by AWS, replace mode in force"]
    assert len(shop.writes()) == 3  # the refused one, and one for each listener


def test_a_primary_that_is_ill_for_one_of_the_recovery_minutes_starts_anew(shop: Shop) -> None:
    shop.service.break_application()
    shop.minutes(3)
    shop.service.mend_application()
    shop.minutes(2)
    shop.service.break_application()
    shop.minutes(1)
    shop.service.mend_application()
    shop.minutes(2)
    assert shop.serves == ["sorry"]
    shop.minutes(4)
    assert shop.serves == ["primary"]


def test_going_back_is_one_switch_and_one_mail_whatever_wakes_us(shop: Shop, every_event: dict[str, Any]) -> None:
    shop.stops()
    shop.comes_back()
    writes = len(shop.writes())
    for name, event in every_event.items():
        assert shop.switchback(event)["outcome"] == "unchanged", name
    assert (len(shop.writes()), shop.subjects) == (writes, [ON, OFF])


def test_the_run_that_the_alarm_called_waits_until_the_alarm_shows(shop: Shop) -> None:
    shop.account.lag.exactly("cloudwatch", 5.0)
    shop.stops()
    for state in ("ALARM", "OK"):
        while shop.account.alarms.state("shop-nlb-recovery").value != state:
            shop.account.advance(1)
        if state == "ALARM":
            shop.service.start()
    assert shop.serves == ["primary"]


def test_a_lost_recovery_event_costs_at_most_one_tick(shop: Shop) -> None:
    for rule in ("NlbPrimaryRuns", "NlbTick"):
        shop.account.events.delete_rule(shop.stack.resources[rule])
    permission = shop.stack.resources["NlbRecoveryAlarmPermission"]
    shop.account.functions.disallow(shop.stack.resources[FUNCTION], permission)
    shop.stops()
    shop.minutes(1)
    shop.service.start()
    shop.minutes(6)
    back = shop.switchback({"detail-type": "Scheduled Event", "source": "aws.events", "detail": {}})
    assert (back["hint"], shop.serves) == ("tick", ["primary"])


def test_a_recovery_alarm_that_is_silenced_is_evidence_all_the_same(shop: Shop) -> None:
    mute(shop.account, "shop-nlb-recovery", minutes=60)
    shop.stops()
    shop.comes_back()
    assert (shop.serves, shop.subjects) == (["primary"], [ON, OFF])


def test_replace_mode_goes_there_and_back_by_status_checks(new_shop: Any) -> None:
    shop = new_shop(SwitchMode="replace").deployed()
    shop.minutes(5)
    assert shop.weights == [{"primary": 1}]
    shop.stops()
    assert shop.weights == [{"sorry": 1}]
    shop.minutes(1)
    shop.service.start()
    shop.minutes(2)  # status checks are still initializing
    assert shop.switchback()["seen"]["statuses"][shop.service.instance_ids[0]]["system"] == "initializing"
    shop.minutes(2)  # they pass now, but not for RecoveryMinutes yet
    assert shop.switchback()["seen"]["statuses"][shop.service.instance_ids[0]]["system"] == "ok"
    assert shop.weights == [{"sorry": 1}]
    shop.minutes(4)
    assert shop.weights == [{"primary": 1}]
    assert shop.subjects == [ON, OFF]
    assert "pass their status checks" in shop.mails[1].body


def test_without_auto_switchback_it_says_once_that_the_primary_is_ready_and_waits(new_shop: Any) -> None:
    shop = new_shop(AutoSwitchback="false").deployed()
    shop.minutes(5)
    shop.stops()
    shop.comes_back()
    shop.minutes(20)
    assert shop.serves == ["sorry"]
    assert len(shop.alarm_mails("WaitingForPerson")) == 1
    forced = shop.switchback({"action": "reconcile", "force": True, "reason": "checked by hand"})
    assert (forced["outcome"], shop.serves) == ("changed", ["primary"])


@pytest.mark.parametrize(
    ("mode", "fit"),
    [("weighted", False), ("weighted", True), ("replace", False)],
    ids=["before the primary is back", "at the moment of the way back", "in replace mode"],
)
def test_a_listener_that_leaves_the_list_on_the_sorry_page_is_told(new_shop: Any, mode: str, fit: bool) -> None:
    shop = new_shop(ports=(80, 443), SwitchMode=mode).deployed()
    shop.minutes(5)
    shop.stops()
    shop.minutes(2)
    shop.held(60)
    shop.service.start()
    shop.minutes(12 if fit else 0)
    kept, dropped = shop.service.listener_arns
    shop.hold("off")
    shop.deployed_again(NlbListenerArns=kept)
    shop.minutes(30)
    assert shop.serves == ["primary", "sorry"]
    mails = [mail for mail in shop.mails if dropped in mail.body and "sorry page ON" not in mail.subject]
    assert len(mails) == 1 or (fit and len(mails) == 2), "both functions may come to it at the same moment"
    [command] = [line for line in mails[0].body.splitlines() if dropped in line and line.startswith("aws ")]
    [_, action, _] = command.split("'")
    shop.account.client("elbv2").modify_listener(ListenerArn=dropped, DefaultActions=json.loads(action))
    assert shop.serves == ["primary", "primary"]


def test_a_mail_that_leaves_late_is_no_second_switch(new_shop: Any) -> None:
    shop = new_shop(MaxSwitchesPerHour="2").deployed()
    shop.minutes(5)
    of_kirikae = {"when": lambda params: "kirikae" in params.get("Subject", "")}
    shop.account.faults.add("sns", "Publish", "InternalError", status=500, **of_kirikae)
    shop.stops()
    shop.minutes(4)
    shop.account.faults.clear()
    shop.minutes(3)
    assert [subject for subject in shop.subjects if "sorry page ON" in subject]
    shop.service.start()
    shop.minutes(10)
    assert shop.serves == ["primary"]


def test_a_mail_that_left_and_could_not_be_noted_is_no_second_switch(new_shop: Any) -> None:
    shop = new_shop(MaxSwitchesPerHour="2").deployed()
    shop.minutes(5)
    told = {"when": lambda params: "telling" not in params["Value"]}
    shop.account.faults.add("ssm", "PutParameter", "InternalServerError", status=500, **told)
    shop.stops()
    shop.minutes(3)
    shop.account.faults.clear()
    shop.minutes(3)
    shop.service.start()
    shop.minutes(10)
    assert shop.serves == ["primary"]


def test_a_switch_whose_run_dies_before_its_mail_is_counted(new_shop: Any) -> None:
    shop = new_shop(MaxSwitchesPerHour="1").deployed()
    shop.minutes(5)
    shop.account.faults.add("sns", "Publish", None, role="NlbSorrySwitchover", times=1, kills=True)
    shop.stops()
    shop.minutes(3)
    assert shop.alarm_mails("nlb-flapping")


def test_a_switch_in_two_parts_is_one_switch(new_shop: Any) -> None:
    shop = new_shop(ports=(443, 8443), MaxSwitchesPerHour="2").deployed()
    shop.minutes(5)
    first = shop.service.listener_arns[0]
    shop.account.faults.add("elbv2", "ModifyListener", "Throttling", when=lambda p: p["ListenerArn"] == first)
    shop.stops()
    shop.minutes(2)
    assert shop.serves == ["primary", "sorry"]
    shop.account.faults.clear()
    shop.minutes(2)
    assert shop.serves == ["sorry", "sorry"]
    shop.comes_back()
    shop.minutes(5)
    assert shop.serves == ["primary", "primary"]


def test_the_rest_of_a_way_back_does_not_wait_for_recovery_minutes_again(new_shop: Any) -> None:
    shop = new_shop(ports=(443, 8443), RecoveryMinutes="15").deployed()
    shop.minutes(20)
    shop.stops()
    first = shop.service.listener_arns[0]
    only = {"when": lambda params: params["ListenerArn"] == first}
    shop.account.faults.add("elbv2", "ModifyListener", "Throttling", times=3, role="Switchback", **only)
    shop.minutes(1)
    shop.service.start()
    for _ in range(50):
        shop.minutes(0.5)
        if "primary" in shop.serves:
            break
    assert "primary" in shop.serves
    shop.minutes(3)
    assert shop.serves == ["primary", "primary"]


def test_a_flapping_primary_ends_on_the_sorry_page(new_shop: Any) -> None:
    shop = new_shop(MaxSwitchesPerHour="2", RecoveryMinutes="1").deployed()
    shop.minutes(5)
    for _ in range(4):
        shop.service.break_application()
        shop.minutes(4)
        shop.service.mend_application()
        shop.minutes(4)
    assert shop.subjects == [ON, OFF, ON]
    assert shop.serves == ["sorry"]
    assert len(shop.alarm_mails("nlb-flapping")) == 1
    assert shop.decisions(FUNCTION)[-1]["outcome"] == "refused"
    shop.minutes(60)
    assert shop.serves == ["primary"]


def test_a_switch_of_a_run_that_died_counts_for_max_switches_per_hour_and_is_probed(new_shop: Any) -> None:
    shop = new_shop(MaxSwitchesPerHour="1", RecoveryMinutes="1", ProbeUrl="http://127.0.0.1:9/").deployed()
    shop.minutes(5)
    shop.account.lag.off("elbv2")  # whoever is shown the listener of before switches it himself
    shop.account.faults.add("elbv2", "ModifyListener", "", times=1, after=True, kills=True, role="Switchover")
    shop.stops()
    shop.minutes(2)
    assert (shop.serves, shop.subjects) == (["sorry"], ["sorry page ON, found by the periodic check"])
    assert "asked once now: no answer (" in shop.mails[0].body
    shop.comes_back()
    assert shop.serves == ["sorry"]
    assert "after 1 switches to the sorry page within an hour" in shop.decisions(FUNCTION)[-1]["reason"]


def test_a_held_stack_stays_on_the_sorry_page(shop: Shop) -> None:
    shop.stops()
    shop.held(minutes=30)
    shop.comes_back()
    assert shop.serves == ["sorry"]
    shop.minutes(30)
    assert shop.serves == ["primary"]


def test_a_unit_that_was_switched_in_part_is_brought_back_whole(new_shop: Any) -> None:
    shop = new_shop(ports=(443, 8443)).deployed()
    shop.minutes(5)
    second = shop.service.listener_arns[1]
    shop.service.forward({shop.service.primary_arn: 0, shop.service.sorry_arn: 1}, second)
    shop.minutes(5)
    assert shop.serves == ["primary", "primary"]
    assert second in shop.mails[-1].body
