"""When no primary target can serve, the listeners go to the sorry page, once, and somebody is told why."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest
from conftest import Shop
from standby_stories import mute

from functions.nlb_sorry_switchover.app import Config, Observed, decide, mail
from kirikae import notify
from kirikae.alarms import Alarm
from kirikae.decision import Result
from kirikae.elb import Target
from kirikae.listeners import Listener
from kirikae.nlb.outage import INITIAL_PATIENCE
from kirikae.nlb.world import Adopt, Done, Switch, Switches
from kirikae.notify import Times

NOW = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
ELB = "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012"
LISTENER = f"{ELB}:listener/net/shop/50dc6c495c0c9188/0467ef3c8400ae65"
PRIMARY = f"{ELB}:targetgroup/primary/73e2d6bc24d8a067"
SORRY = f"{ELB}:targetgroup/sorry/2453ed029918f21f"
OTHER = f"{ELB}:targetgroup/other/1111111111111111"
FUNCTION = "NlbSorrySwitchoverFunction"

CONFIG = Config(
    service_name="shop",
    topic_arn="arn:aws:sns:ap-northeast-1:123456789012:shop",
    hold_parameter="/shop/hold",
    told_parameter="/told/it",
    nlb_listener_arns=(LISTENER,),
    primary_target_group_arn=PRIMARY,
    sorry_target_group_arn=SORRY,
    outage_alarm_name="shop-nlb-outage",
)


def listener(weights: dict[str, int], **other: Any) -> Listener:
    shape = {"arn": LISTENER, "load_balancer_arn": "nlb", "protocol": "TCP", "port": 443, "action": "forward"}
    return Listener(**shape | {"weights": MappingProxyType(weights)} | other)


ON_PRIMARY = listener({PRIMARY: 1, SORRY: 0})
ON_SORRY = listener({PRIMARY: 0, SORRY: 1})
SORRY_PAGE = (Target("alb", 443, "healthy"),)


def targets(states: str) -> tuple[Target, ...]:
    reasons = {"unused": "Target.InvalidState", "unhealthy": "Target.FailedHealthChecks"}
    return tuple(Target(f"i-{n}", 80, state, reasons.get(state, "")) for n, state in enumerate(states.split(), 1))


def alarm(state: str, minutes: float = 1) -> Alarm:
    return Alarm("shop-nlb-outage", state, NOW - timedelta(minutes=minutes))


def seen(primary: str, instances: str | None = None, **world: Any) -> Observed:
    """Build a world: states of the targets i-1, i-2, … and of the instances, where EC2 was asked."""
    states = None if instances is None else {f"i-{n}": state for n, state in enumerate(instances.split(), 1)}
    listeners = (world.pop("listener", ON_PRIMARY),)
    outage, sorry = world.pop("alarm", None), world.pop("sorry", SORRY_PAGE)
    switches = {"listeners": listeners, "ruled": (), "mode": "weighted", "elsewhere": {}} | world
    alarms = {PRIMARY: outage} if outage else {}
    return Observed(NOW, Switches(**switches), {PRIMARY: targets(primary)}, {SORRY: sorry}, None, states, alarms)


SILENT = replace(alarm("ALARM"), silent="muted by a rule")
SWITCH = Switch("sorry", (LISTENER,))
STAY = None
DONE = Done("weighted", (LISTENER,), {LISTENER: {}})
ILL_SORRY = (Target("alb", 443, "unhealthy"),)
UNUSED_SORRY = (Target("alb", 443, "unused", "Target.NotInUse"),)
TLS_LISTENER = listener({PRIMARY: 1}, protocol="TLS")
TOO_LONG = INITIAL_PATIENCE / timedelta(minutes=1)

WORLDS = {
    "all is well": (STAY, seen("healthy healthy", "running running")),
    "one is enough": (STAY, seen("healthy unused", "running stopped")),
    "both stopped, target health alone tells": (SWITCH, seen("unused unused")),
    "both stopping, still healthy": (SWITCH, seen("healthy healthy", "stopping stopping")),
    "one going, one gone": (SWITCH, seen("healthy unused", "shutting-down stopped")),
    "unhealthy, not confirmed by the alarm": (STAY, seen("unhealthy unhealthy", "running running", alarm=alarm("OK"))),
    "unhealthy, in ALARM": (SWITCH, seen("unhealthy unhealthy", alarm=alarm("ALARM"))),
    "unhealthy, in ALARM, silenced": (STAY, seen("unhealthy unhealthy", alarm=SILENT)),
    "both stopping, the alarm silenced": (SWITCH, seen("unhealthy healthy", "stopping stopping", alarm=SILENT)),
    "unhealthy, INSUFFICIENT_DATA": (STAY, seen("unhealthy", "running", alarm=alarm("INSUFFICIENT_DATA"))),
    "initial, no alarm": (STAY, seen("initial initial", "running running", alarm=alarm("OK"))),
    "initial, in ALARM for a minute": (STAY, seen("initial unhealthy", "running running", alarm=alarm("ALARM"))),
    "initial for too long": (SWITCH, seen("initial initial", alarm=alarm("ALARM", TOO_LONG))),
    "initial, just attached again in replace mode": (
        STAY,
        seen("initial initial", "running running", alarm=alarm("ALARM", TOO_LONG), mode="replace"),
    ),
    "draining, no alarm": (STAY, seen("draining draining", "running running", alarm=alarm("OK"))),
    "draining, in ALARM": (SWITCH, seen("draining draining", alarm=alarm("ALARM"))),
    "unavailable: nobody checks": (STAY, seen("unavailable", "running", alarm=alarm("OK"))),
    "nothing registered, in ALARM": (SWITCH, seen("", alarm=alarm("ALARM"))),
    "nothing registered, no alarm": (STAY, seen("", "", alarm=alarm("OK"))),
    "on the sorry page already": (STAY, seen("unused unused", listener=ON_SORRY)),
    "going back is not our job": (STAY, seen("healthy", "running", listener=ON_SORRY)),
    "nobody behind the sorry group": (STAY, seen("unused", sorry=())),
    "sorry page ill, better than none": (SWITCH, seen("unused", sorry=ILL_SORRY)),
    "sorry group unattached": (SWITCH, seen("unused", sorry=UNUSED_SORRY)),
    "plain action, not adopted yet": (SWITCH, seen("unused", listener=listener({PRIMARY: 1}))),
    "other numbers": (SWITCH, seen("unused", listener=listener({PRIMARY: 100, SORRY: 0}))),
    "somebody else's group": (STAY, seen("unused", listener=listener({OTHER: 1}))),
    "a third group, even at weight 0": (STAY, seen("unused", listener=listener({PRIMARY: 1, OTHER: 0}))),
    "a split of traffic": (STAY, seen("unused", listener=listener({PRIMARY: 1, SORRY: 1}))),
    "no weight anywhere": (STAY, seen("unused", listener=listener({PRIMARY: 0, SORRY: 0}))),
    "an action that is no forward": (STAY, seen("unused", listener=listener({}, action="fixed-response"))),
    "listener rules": (STAY, seen("unused", ruled=(LISTENER,))),
    "an ALB's listener": (STAY, seen("unused", listener=listener({PRIMARY: 1}, protocol="HTTPS"))),
    "a TLS listener and a sorry ALB": (STAY, seen("unused", listener=TLS_LISTENER, alb_groups=(SORRY,))),
    "a TLS listener and sorry instances": (SWITCH, seen("unused", listener=TLS_LISTENER)),
    "a group of another load balancer": (STAY, seen("unused", elsewhere={SORRY: "other-nlb"})),
}


@pytest.mark.parametrize(("change", "world"), WORLDS.values(), ids=WORLDS.keys())
def test_decide(change: dict[str, Any] | None, world: Observed) -> None:
    decided = decide(CONFIG, world)
    assert decided.change == change, decided.reason
    assert decided.reason.en


@pytest.mark.parametrize(
    ("switches", "world"),
    [
        pytest.param(True, seen("healthy unused", "running stopped"), id="two needed, one left"),
        pytest.param(False, seen("healthy healthy unused", "running running stopped"), id="two needed, two left"),
        pytest.param(False, seen("healthy", "running", alarm=alarm("OK")), id="one taken out is not down"),
        pytest.param(True, seen("healthy unhealthy", alarm=alarm("ALARM")), id="one of two needed, in ALARM"),
        pytest.param(True, seen("healthy draining", alarm=alarm("ALARM")), id="the second one drains, in ALARM"),
        pytest.param(False, seen("healthy", alarm=alarm("ALARM")), id="two needed, one registered and healthy"),
    ],
)
def test_fewer_than_min_healthy_targets_is_an_outage(switches: bool, world: Observed) -> None:
    decided = decide(replace(CONFIG, min_healthy_targets=2), world)
    assert bool(decided.change) == switches, decided.reason


@pytest.mark.parametrize(
    ("words", "world"),
    [
        pytest.param("SorryTargetGroupArn has no registered target", seen("unused", sorry=()), id="empty sorry group"),
        pytest.param(OTHER, seen("unused", listener=listener({OTHER: 1})), id="foreign group"),
        pytest.param(
            "only a TCP listener", seen("unused", listener=TLS_LISTENER, alb_groups=(SORRY,)), id="TLS to ALB"
        ),
        pytest.param("listener rules", seen("unused", ruled=(LISTENER,)), id="rules"),
        pytest.param(
            "ListenerArns", seen("unused", listener=listener({PRIMARY: 1}, protocol="HTTP")), id="ALB listener"
        ),
        pytest.param("PrimaryTargetGroupArn", seen("healthy", elsewhere={PRIMARY: "lb"}), id="group of another LB"),
        pytest.param("PrimaryInstanceIds names i-2", seen("healthy", "running missing"), id="unknown instance"),
    ],
)
def test_a_refusal_names_the_parameter_and_what_was_found(words: str, world: Observed) -> None:
    decided = decide(CONFIG, world)
    assert decided.refused
    assert words in decided.reason.en


@pytest.mark.parametrize("listed", [{"ruled": (LISTENER,)}, {"elsewhere": {SORRY: "lb"}}, {}], ids=str)
def test_the_conditions_that_last_are_told_whatever_is_decided(listed: dict[str, Any]) -> None:
    world = seen("unused", listener=ON_SORRY, sorry=ILL_SORRY, **listed)
    assert decide(CONFIG, world).lasting == ("OnSorryPage", "SorryUnhealthy")


@pytest.mark.parametrize("declared", [(), ("i-1", "i-2")])
def test_healthy_servers_are_not_taken_away_because_more_are_wanted_than_there_are(declared: tuple[str, ...]) -> None:
    config = replace(CONFIG, min_healthy_targets=3, primary_instance_ids=declared)
    decided = decide(config, seen("healthy healthy", alarm=alarm("ALARM")))
    assert decided.refused
    assert "MinHealthyTargets is 3" in decided.reason.en
    for outage in (
        seen("unused unused"),
        seen("unhealthy healthy", alarm=alarm("ALARM")),
        seen("", alarm=alarm("ALARM")),
    ):
        assert decide(config, outage).change == SWITCH


def test_an_unknown_instance_id_does_not_stand_in_the_way_of_a_switch() -> None:
    declared = replace(CONFIG, primary_instance_ids=("i-1", "i-2", "i-3"))
    assert decide(declared, seen("unused healthy", "stopped stopping missing")).change == SWITCH


@pytest.mark.parametrize("sorry", [SORRY_PAGE, ()])
def test_a_switch_for_which_only_a_silenced_alarm_calls_waits_for_a_person(sorry: tuple[Target, ...]) -> None:
    decided = decide(CONFIG, seen("unhealthy", "running", alarm=SILENT, sorry=sorry))
    waits = (SWITCH, True, True) if sorry else (None, False, False)
    assert (decided.forced, decided.refused, decided.urgent) == waits
    assert "muted by a rule" in decided.reason.en
    assert decided.reason.ja.endswith("では切り替えません") == bool(sorry)


@pytest.mark.parametrize("plain", [PRIMARY, SORRY])
def test_a_plain_action_is_adopted_without_moving_its_traffic(plain: str) -> None:
    side = "primary" if plain == PRIMARY else "sorry"
    weighted = decide(CONFIG, seen("healthy", "running", listener=listener({plain: 1})))
    in_replace_mode = decide(CONFIG, seen("healthy", "running", listener=listener({plain: 1}), mode="replace"))
    assert weighted.change == Adopt({LISTENER: side})
    assert in_replace_mode.change is None


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("caused", [None, NOW - timedelta(seconds=4)])
def test_the_mail_tells_what_why_when_what_to_check_and_how_to_undo(language: str, caused: datetime | None) -> None:
    world = seen("unused unused", sorry=ILL_SORRY)
    times = Times(caused, NOW - timedelta(seconds=3), NOW)
    letter = mail(CONFIG, world, Result(SWITCH, decide(CONFIG, world).reason, DONE, times))
    assert letter is not None
    text = notify.plain_text(letter.sections, language)
    undo = text[text.index("aws elbv2 modify-listener") :]
    action = json.loads(undo[undo.index("'") + 1 : undo.rindex("'")])
    assert letter.subject.isascii()
    assert len(letter.subject) < 100
    assert ("i-1 is stopped" if language == "en" else "i-1 (停止または終了)") in text
    assert LISTENER in text
    assert ("4.0" in text) == (caused is not None)
    assert ("ATTENTION" if language == "en" else "注意") in text
    assert ("何が起きたか" in text) == (language == "ja")
    assert "aws ssm put-parameter --region ap-northeast-1 --type String --overwrite --name /shop/hold" in text
    assert action == [
        {
            "Type": "forward",
            "ForwardConfig": {
                "TargetGroups": [{"TargetGroupArn": PRIMARY, "Weight": 1}, {"TargetGroupArn": SORRY, "Weight": 0}]
            },
        }
    ]


# Stories: the built stack in an account, driven by causes.


def test_when_all_instances_stop_the_sorry_page_is_up_before_any_alarm(shop: Shop) -> None:
    shop.stops()
    assert shop.serves == ["sorry"]
    assert shop.account.alarms.state("shop-nlb-outage").value == "OK"
    assert shop.subjects == ["sorry page ON, the primary cannot serve"]


def test_one_stopped_instance_of_two_is_no_outage(shop: Shop) -> None:
    shop.stops(shop.service.instance_ids[0])
    shop.minutes(5)
    assert shop.serves == ["primary"]
    assert shop.mails == []


def test_terminated_instances_are_an_outage_although_they_leave_the_group(shop: Shop) -> None:
    shop.service.terminate()
    shop.settle()
    assert shop.serves == ["sorry"]
    shop.minutes(3)
    assert len(shop.mails) == 1


def test_an_application_that_hangs_on_running_instances_is_an_outage_when_the_alarm_says_so(shop: Shop) -> None:
    shop.service.break_application()
    shop.account.advance(15)  # one failed health check of two
    assert shop.serves == ["primary"]
    shop.minutes(3)
    assert shop.serves == ["sorry"]
    [mail] = shop.mails
    assert "0 of 2 primary targets are healthy" in mail.body
    assert "shop-nlb-outage is in ALARM since" in mail.body
    assert not [call for call in shop.account.calls if call.operation == "ListAlarmMuteRules"], "CloudWatch has called"


@pytest.mark.parametrize(
    ("silent", "then"),
    [("muted by a rule", "ends"), ("its actions are disabled", "stops"), ("its actions are disabled", "force")],
)
def test_an_alarm_that_a_person_has_silenced_calls_for_no_sorry_page_and_that_is_told_once(
    shop: Shop, silent: str, then: str
) -> None:
    if silent == "muted by a rule":
        mute(shop.account, "shop-nlb-outage", minutes=20)
    else:
        shop.account.client("cloudwatch").disable_alarm_actions(AlarmNames=["shop-nlb-outage"])
    shop.service.break_application()
    shop.minutes(10)
    assert (shop.serves, shop.subjects) == (["primary"], ["NOT answered (refused): a change is due"])
    assert f"shop-nlb-outage: {silent}" in shop.mails[0].body
    match then:
        case "ends":
            shop.minutes(11)
        case "stops":  # other evidence, that needs no alarm
            shop.stops()
        case "force":
            shop.switchover({"action": "reconcile", "force": True, "reason": "a page is better"})
    assert shop.serves == ["sorry"]
    assert shop.subjects[1:] == ["sorry page ON, the primary cannot serve"]
    assert "its own primary is well" not in shop.mails[1].body


def test_the_run_that_the_alarm_called_waits_until_the_alarm_shows(shop: Shop) -> None:
    shop.account.lag.exactly("cloudwatch", 5.0)
    shop.service.break_application()
    shop.account.advance(30)
    assert "shop-nlb-outage is OK" in shop.switchover({"action": "reconcile"})["reason"]
    while shop.account.alarms.state("shop-nlb-outage").value != "ALARM":
        shop.account.advance(1)
    assert shop.serves == ["sorry"]


def test_a_dead_primary_gets_the_sorry_page_whatever_wakes_us(shop: Shop, every_event: dict[str, Any]) -> None:
    _silence(shop)
    shop.stops()
    for name, event in every_event.items():
        shop.service.forward({shop.service.primary_arn: 1, shop.service.sorry_arn: 0})
        shop.account.lag.catch_up()
        only_asked = event.get("action") == "dry-run"
        assert shop.switchover(event)["outcome"] == ("dry-run" if only_asked else "changed"), name
        assert shop.serves == (["primary"] if only_asked else ["sorry"]), name


def test_a_healthy_primary_is_left_alone_whatever_the_event_claims(shop: Shop, every_event: dict[str, Any]) -> None:
    before = len(shop.writes())
    for name, event in every_event.items():
        assert shop.switchover(event)["outcome"] == "unchanged", name
    assert (shop.serves, len(shop.writes()), shop.mails) == (["primary"], before, [])


def test_one_outage_is_one_switch_and_one_mail_however_many_tell_of_it(shop: Shop, every_event: dict[str, Any]) -> None:
    before = len(shop.writes())
    shop.stops()
    for event in (*every_event.values(), *every_event.values()):
        shop.switchover(event)
    shop.minutes(10)
    assert len(shop.writes()) == before + 1
    assert len(shop.mails) == 1


def test_a_lost_event_costs_at_most_one_tick(shop: Shop) -> None:
    _silence(shop, "NlbPrimaryGoes")
    shop.stops()
    assert shop.serves == ["primary"]
    shop.minutes(1)
    assert shop.serves == ["sorry"]


def test_an_instance_state_that_ec2_does_not_show_yet_is_read_again(shop: Shop) -> None:
    shop.account.lag.exactly("ec2", 1.0)
    shop.stops()
    assert shop.serves == ["sorry"]
    assert len(shop.mails) == 1


def test_two_runs_at_the_same_moment_leave_one_state(shop: Shop) -> None:
    _silence(shop)
    shop.stops()
    shop.account.lag.catch_up("ec2")  # nothing wakes a third run that would see what these two did not
    function = shop.stack.resources[FUNCTION]
    runs = shop.account.functions.concurrently(function, [{"action": "reconcile"}] * 2)
    assert [run.error for run in runs] == [None, None]
    assert shop.serves == ["sorry"]
    assert 1 <= len(shop.mails) <= 2  # both may have looked before either wrote: see docs/decisions.md


def test_with_serialized_invocations_simultaneous_events_bring_exactly_one_mail(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(SerializeInvocations="true").deployed()
    shop.minutes(5)
    shop.stops()
    shop.minutes(10)
    assert (shop.serves, len(shop.mails)) == (["sorry"], 1)


def test_an_empty_sorry_group_is_refused_and_reported_once(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop()
    shop.account.client("elbv2").deregister_targets(
        TargetGroupArn=shop.service.sorry_arn, Targets=[{"Id": shop.service.alb_arn, "Port": 443}]
    )
    shop.deployed()
    shop.minutes(10)
    shop.stops()
    shop.minutes(15)
    assert shop.serves == ["primary"]
    assert len(shop.alarm_mails("Refused")) == 1
    assert "SorryTargetGroupArn" in shop.decisions(FUNCTION)[-1]["reason"]
    assert shop.subjects == ["NOT answered (refused): a change is due"]


def test_a_sorry_page_that_is_on_its_way_out_of_its_group_is_none(shop: Shop) -> None:
    shop.account.client("elbv2").deregister_targets(
        TargetGroupArn=shop.service.sorry_arn, Targets=[{"Id": shop.service.alb_arn, "Port": 443}]
    )
    shop.minutes(1)
    assert set(shop.account.targets.health(shop.service.sorry_arn).values()) == {"draining"}
    shop.stops()
    assert (shop.serves, shop.subjects) == (["primary"], ["NOT answered (refused): a change is due"])


def test_a_sorry_page_that_is_down_itself_is_known_before_it_is_needed_and_named_in_the_mail(shop: Shop) -> None:
    shop.account.targets.broken_albs.add(shop.service.alb_arn)
    shop.minutes(10)
    assert len(shop.alarm_mails("SorryUnhealthy")) == 1
    shop.stops()
    assert shop.serves == ["sorry"]
    assert "ATTENTION" in shop.mails[0].body


def test_a_refusal_does_not_hide_a_dead_sorry_page(shop: Shop) -> None:
    shop.deployed_again(PrimaryInstanceIds=",".join([*shop.service.instance_ids, "i-0123456789abcdef0"]))
    shop.minutes(5)
    shop.account.targets.broken_albs.add(shop.service.alb_arn)
    shop.minutes(10)
    assert shop.decisions(FUNCTION)[-1]["outcome"] == "refused"
    assert len(shop.alarm_mails("SorryUnhealthy")) == 1


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param({"other": 1}, id="another group"),
        pytest.param({"primary": 1, "other": 0}, id="a third group at weight 0"),
        pytest.param({"primary": 1, "sorry": 1}, id="a split"),
    ],
)
def test_hands_off_a_foreign_action_and_say_it_once(shop: Shop, weights: dict[str, int]) -> None:
    arns = {"primary": shop.service.primary_arn, "sorry": shop.service.sorry_arn, "other": _other_group(shop)}
    foreign = {arns[name]: weight for name, weight in weights.items()}
    shop.service.forward(foreign)
    shop.minutes(15)
    shop.stops()
    shop.minutes(15)
    assert shop.service.weights()[shop.service.listener_arn] == foreign
    assert len(shop.alarm_mails("Refused")) == 1
    assert set(shop.subjects) <= {"NOT answered (refused): a change is due"}


def test_a_plain_action_is_adopted_at_the_first_tick_without_moving_traffic_and_without_a_mail(new_shop: Any) -> None:
    shop = new_shop()
    assert shop.weights == [{"primary": 1}]
    shop.deployed().minutes(1)
    assert shop.weights == [{"primary": 1, "sorry": 0}]
    assert shop.mails == []
    assert [d["outcome"] for d in shop.decisions(FUNCTION) if d["change"]] == ["changed"]


def test_adopted_groups_are_both_health_checked(shop: Shop) -> None:
    assert set(shop.service.health().values()) == {"healthy"}
    assert [t["state"] for group in shop.switchover()["seen"]["sorry"].values() for t in group] == ["healthy"]


def test_a_refused_weighted_action_is_found_long_before_an_outage_and_said_once(new_shop: Any) -> None:
    shop = new_shop()
    shop.account.elb.refuse_mixed_weighted_action = True
    shop.deployed().minutes(10)
    assert shop.weights == [{"primary": 1}]
    assert shop.subjects == ["weighted switching refused by AWS, replace mode in force"]
    assert len([call for call in shop.writes() if call.error]) == 1
    shop.stops()
    assert shop.weights == [{"sorry": 1}]
    shop.comes_back()
    assert shop.weights == [{"primary": 1}]
    assert shop.subjects[1:] == ["sorry page ON, the primary cannot serve", "sorry page OFF, back on the primary"]


def test_a_refused_weighted_action_is_told_though_the_run_dies_before_its_mail(new_shop: Any) -> None:
    shop = new_shop()
    shop.account.elb.refuse_mixed_weighted_action = True
    shop.account.faults.add("sns", "Publish", None, times=1, kills=True)
    shop.deployed().minutes(10)
    assert shop.subjects == ["weighted switching refused by AWS, replace mode in force"]
    shop.account.elb.refuse_mixed_weighted_action = False
    shop.account.client("elbv2").remove_tags(ResourceArns=[shop.service.listener_arn], TagKeys=["kirikae:weighted"])
    shop.minutes(10)
    assert shop.weights == [{"primary": 1, "sorry": 0}]
    assert len(shop.subjects) == 1, "the end of it is what the mail tells how to bring about"


def test_a_refusal_whose_tag_others_remove_is_told_again_only_after_it_had_ended(new_shop: Any) -> None:
    shop, refused = new_shop(), "weighted switching refused by AWS, replace mode in force"
    shop.account.elb.refuse_mixed_weighted_action = True
    shop.deployed().minutes(5)
    for held in (0, 0, 3):  # as Terraform does at each apply
        shop.held(held) if held else None
        shop.account.client("elbv2").remove_tags(ResourceArns=[shop.service.listener_arn], TagKeys=["kirikae:weighted"])
        shop.minutes(6)
    assert shop.subjects == [refused]
    for refuses in (False, True):
        shop.account.elb.refuse_mixed_weighted_action = refuses
        shop.account.client("elbv2").remove_tags(ResourceArns=[shop.service.listener_arn], TagKeys=["kirikae:weighted"])
        shop.minutes(3)
        shop.service.forward({shop.service.primary_arn: 1}) if not refuses else None
    assert shop.subjects == [refused, refused]


def test_a_refusal_that_no_tag_can_remember_is_told_once_and_fails_no_run(new_shop: Any) -> None:
    shop, refused = new_shop(), "weighted switching refused by AWS, replace mode in force"
    shop.account.elb.refuse_mixed_weighted_action = True
    shop.account.faults.add("elbv2", "AddTags", "AccessDenied", status=403)
    shop.deployed().minutes(12)
    assert shop.subjects == [refused]
    assert "The tag kirikae:weighted that remembers it cannot be written: " in shop.mails[0].body
    assert (shop.alarm_mails("Errors"), shop.weights) == ([], [{"primary": 1}])
    assert shop.decisions(FUNCTION)[-1]["outcome"] == "unchanged"
    shop.account.faults.clear()
    shop.minutes(3)
    assert shop.decisions(FUNCTION)[-1]["seen"]["switches"]["mode"] == "replace"
    shop.account.faults.add("elbv2", "AddTags", "AccessDenied", status=403)
    shop.account.client("elbv2").remove_tags(ResourceArns=[shop.service.listener_arn], TagKeys=["kirikae:weighted"])
    shop.minutes(6)
    assert shop.subjects == [refused, refused]  # that nothing remembers it is new
    shop.stops()
    shop.comes_back()
    assert (shop.weights, shop.subjects[2:]) == (
        [{"primary": 1}],
        ["sorry page ON, the primary cannot serve", "sorry page OFF, back on the primary"],
    )


def test_a_refusal_that_cannot_be_read_for_a_while_is_not_told_again(new_shop: Any) -> None:
    shop = new_shop()
    shop.account.elb.refuse_mixed_weighted_action = True
    shop.deployed().minutes(10)
    shop.held(60)
    shop.account.faults.add("elbv2", "DescribeTags", "AccessDenied", status=403)
    shop.stops()
    shop.minutes(5)
    shop.account.faults.clear()
    shop.minutes(5)
    refused = "weighted switching refused by AWS, replace mode in force"
    assert shop.subjects == [refused, "NOT answered (held): a change is due"]


def test_a_weighted_action_refused_in_the_middle_of_an_outage_falls_back_in_the_same_run(new_shop: Any) -> None:
    shop = new_shop()
    shop.account.elb.refuse_mixed_weighted_action = True
    shop.deployed()
    shop.stops()
    assert shop.weights == [{"sorry": 1}]
    shop.minutes(5)
    [mail] = shop.mails  # though the run of the other instance's event may be shown a listener without the tag
    assert "replace mode is in force" in mail.body


@pytest.mark.parametrize("code", ["TooManyTargets", "UnsupportedProtocol", "OperationNotPermitted"])
def test_whatever_aws_has_against_both_groups_one_is_set(new_shop: Any, code: str) -> None:
    shop = new_shop()
    both = {
        "when": lambda params: len(params["DefaultActions"][0].get("ForwardConfig", {}).get("TargetGroups", [])) > 1
    }
    shop.account.faults.add("elbv2", "ModifyListener", code, status=400, **both)
    shop.deployed()
    shop.minutes(5)
    assert shop.subjects == ["weighted switching refused by AWS, replace mode in force"]
    assert f"AWS says {code}: " in shop.mails[0].body
    shop.stops()
    shop.minutes(2)
    assert shop.weights == [{"sorry": 1}]
    shop.comes_back()
    assert shop.weights == [{"primary": 1}]


def test_several_listeners_are_switched_as_one_unit(new_shop: Any) -> None:
    shop = new_shop(ports=(443, 8443)).deployed()
    shop.minutes(5)
    shop.stops()
    assert shop.serves == ["sorry", "sorry"]
    assert len(shop.mails) == 1


def test_one_of_two_listeners_that_a_person_puts_back_is_not_called_the_end(new_shop: Any) -> None:
    shop = new_shop(ports=(443, 8443)).deployed()
    shop.minutes(5)
    shop.stops()
    shop.held(60)
    shop.service.forward({shop.service.primary_arn: 1, shop.service.sorry_arn: 0}, shop.service.listener_arns[0])
    shop.minutes(5)
    assert shop.serves == ["primary", "sorry"]
    assert shop.subjects == ["sorry page ON, the primary cannot serve", "NOT answered (held): a change is due"]


def test_a_listener_that_fails_is_named_and_finished_by_the_next_run(new_shop: Any) -> None:
    shop = new_shop(ports=(443, 8443)).deployed()
    shop.minutes(5)
    first = shop.service.listener_arns[0]
    shop.account.faults.add(
        "elbv2", "ModifyListener", "OperationNotPermitted", when=lambda p: p["ListenerArn"] == first
    )
    shop.stops()
    assert shop.serves == ["primary", "sorry"]
    assert shop.subjects == ["sorry page ON for 1 of 2 listeners, the primary cannot serve"]
    assert f"NOT switched, tried again at every run: TCP:443 {first}: " in shop.mails[0].body
    failed = next(run.invocation for run in shop.runs(FUNCTION) if run.invocation.error)
    assert first in failed.payload["errorMessage"]
    assert "1 of 2 listeners" in failed.payload["errorMessage"]
    shop.account.faults.clear()
    shop.minutes(1)
    assert shop.serves == ["sorry", "sorry"]
    assert shop.subjects[1:] == ["sorry page ON, the primary cannot serve"]


def test_the_rest_of_a_switch_is_told_however_soon_it_is_made(new_shop: Any) -> None:
    shop = new_shop(ports=(443, 8443)).deployed()
    shop.minutes(5)
    second = shop.service.listener_arns[1]
    shop.account.events.arrivals = lambda _event: ()  # the runs are ours
    shop.stops()
    shop.account.lag.catch_up("ec2")
    shop.account.faults.add("elbv2", "ModifyListener", "Throttling", times=3, when=lambda p: p["ListenerArn"] == second)
    first = shop.account.functions.invoke(shop.stack.resources[FUNCTION], {"action": "reconcile"})
    assert first.error
    assert shop.serves == ["sorry", "primary"]
    shop.account.lag.catch_up()
    assert shop.switchover()["outcome"] == "changed"
    shop.minutes(20)
    some, whole = (
        "sorry page ON for 1 of 2 listeners, the primary cannot serve",
        "sorry page ON, the primary cannot serve",
    )
    assert (shop.serves, shop.subjects) == (["sorry", "sorry"], [some, whole])


def test_a_switch_whose_answer_is_lost_and_that_is_shown_late_is_not_called_none(new_shop: Any) -> None:
    shop = new_shop(ports=(443, 8443)).deployed()
    shop.minutes(5)
    second = shop.service.listener_arns[1]
    shop.account.events.arrivals = lambda _event: ()  # the runs are ours
    shop.stops()
    shop.account.lag.catch_up("ec2")
    shop.account.lag.exactly("elbv2", 8.0)
    lost = {"times": 3, "status": 500, "after": True, "when": lambda p: p["ListenerArn"] == second}
    shop.account.faults.add("elbv2", "ModifyListener", "InternalFailure", **lost)
    shop.account.functions.invoke(shop.stack.resources[FUNCTION], {"action": "reconcile"})
    assert shop.serves == ["sorry", "sorry"]
    assert f"NOT KNOWN whether switched, looked at again at every run: TCP:8443 {second}: " in shop.mails[0].body
    shop.account.lag.at_most("elbv2", 1.0)
    shop.minutes(30)
    some = "sorry page ON for 1 of 2 listeners, the primary cannot serve"
    assert shop.subjects == [some, "sorry page ON, found by the periodic check"]


def test_the_way_back_of_some_listeners_is_told_and_then_the_rest(new_shop: Any) -> None:
    shop = new_shop(ports=(443, 8443)).deployed()
    shop.minutes(5)
    shop.stops()
    first = shop.service.listener_arns[0]
    refused = {"role": "Switchback", "when": lambda p: p["ListenerArn"] == first}
    shop.account.faults.add("elbv2", "ModifyListener", "OperationNotPermitted", **refused)
    shop.comes_back()
    assert shop.serves == ["sorry", "primary"]
    shop.account.faults.clear()
    shop.minutes(2)
    some, whole = "sorry page OFF for 1 of 2 listeners, back on the primary", "sorry page OFF, back on the primary"
    assert (shop.serves, shop.subjects) == (
        ["primary", "primary"],
        ["sorry page ON, the primary cannot serve", some, whole],
    )


def test_a_switch_whose_answer_was_lost_is_told_by_the_run_that_made_it(shop: Shop) -> None:
    shop.account.faults.add("elbv2", "ModifyListener", "InternalFailure", times=3, status=500, after=True)
    shop.stops()
    shop.minutes(3)
    assert (shop.serves, shop.subjects) == (["sorry"], ["sorry page ON, the primary cannot serve"])


def test_a_switch_that_cannot_be_read_back_is_told_all_the_same(shop: Shop) -> None:
    account = shop.account
    fail = lambda: account.faults.add("elbv2", "DescribeListeners", "Throttling", times=3)  # noqa: E731
    account.before("elbv2", "ModifyListener", fail)
    shop.stops()
    shop.minutes(3)
    assert (shop.serves, shop.subjects) == (["sorry"], ["sorry page ON, the primary cannot serve"])


def test_a_refusal_that_cannot_be_remembered_does_not_keep_the_switch_from_being_told(new_shop: Any) -> None:
    shop = new_shop()
    shop.account.elb.refuse_mixed_weighted_action = True
    shop.account.faults.add("elbv2", "AddTags", "AccessDenied", status=403)
    shop.deployed()
    shop.stops()
    shop.minutes(6)
    assert (shop.serves, shop.subjects) == (["sorry"], ["sorry page ON, the primary cannot serve"])
    assert "The tag kirikae:weighted that remembers it cannot be written: " in shop.mails[0].body
    assert shop.alarm_mails("NlbSorrySwitchoverErrors") == []


def test_what_reads_back_otherwise_than_written_is_not_called_done(shop: Shop) -> None:
    both = {shop.service.primary_arn: 1, shop.service.sorry_arn: 1}  # as by a provider that turns weight 0 into 1
    account = shop.account
    account.lag.off("elbv2")  # the read-back itself is tampered with
    tamper = lambda: account.before("elbv2", "DescribeListeners", lambda: shop.service.forward(both))  # noqa: E731
    account.before("elbv2", "ModifyListener", tamper)
    shop.stops()
    failed = next(run.invocation for run in shop.runs(FUNCTION) if run.invocation.error)
    assert "reads back as" in failed.payload["errorMessage"]
    assert set(shop.subjects) <= {"NOT answered (refused): a change is due"}


def test_a_held_stack_does_nothing_until_the_hold_ends(shop: Shop) -> None:
    shop.held(minutes=45)
    shop.stops()
    shop.minutes(40)
    assert (shop.serves, shop.subjects) == (["primary"], ["NOT answered (held): a change is due"])
    assert "database work" in shop.decisions(FUNCTION)[-1]["reason"]
    assert len(shop.alarm_mails("Held")) == 1
    shop.minutes(6)
    assert shop.serves == ["sorry"]


def test_force_passes_the_hold_and_needs_a_reason(shop: Shop) -> None:
    shop.held(minutes=60)
    shop.stops()
    refused = shop.account.functions.invoke(shop.stack.resources[FUNCTION], {"action": "reconcile", "force": True})
    assert "force needs a reason" in refused.payload["errorMessage"]
    assert shop.serves == ["primary"]
    forced = shop.switchover({"action": "reconcile", "force": True, "reason": "the hold was for the database"})
    assert (forced["outcome"], shop.serves) == ("changed", ["sorry"])


@pytest.mark.parametrize("text", ["on", "[]", '{"until": "2026-12-01T06:00:00", "reason": "x"}', '{"until": 5}'])
def test_a_hold_that_cannot_be_understood_refuses_and_names_the_parameter(shop: Shop, text: str) -> None:
    shop.hold(text)
    shop.stops()
    shop.minutes(3)
    assert shop.serves == ["primary"]
    assert "/shop/hold" in shop.decisions(FUNCTION)[-1]["reason"]
    assert len(shop.alarm_mails("Refused")) == 1


def test_a_hold_that_cannot_be_read_does_not_stop_a_switch(shop: Shop) -> None:
    shop.account.faults.add("ssm", "GetParameter", "InternalServerError", status=500)
    shop.stops()
    assert shop.serves == ["sorry"]


def test_a_dry_run_stack_changes_nothing_and_mails_at_once(new_shop: Any) -> None:
    shop = new_shop(DryRun="true").deployed()
    shop.minutes(5)
    shop.stops()
    assert shop.subjects == ["NOT answered (dry-run): a change is due"]
    shop.minutes(15)
    assert shop.weights == [{"primary": 1}]
    assert shop.writes() == []
    assert len(shop.subjects) == 1


def test_a_failed_publish_neither_undoes_nor_repeats_the_switch_and_shows(shop: Shop) -> None:
    before = len(shop.writes())
    shop.account.faults.add(
        "sns", "Publish", "AuthorizationError", status=403, when=lambda p: "kirikae" in p["Subject"]
    )
    shop.stops()
    shop.minutes(10)
    assert (shop.serves, len(shop.writes())) == (["sorry"], before + 1)
    assert len(shop.alarm_mails("MailFailed")) == 1


def test_an_api_that_fails_is_not_an_outage_and_is_reported(shop: Shop) -> None:
    shop.account.faults.add("elbv2", "DescribeTargetHealth", "AccessDenied", status=403)
    shop.service.break_application()
    shop.minutes(6)
    assert shop.serves == ["primary"]
    assert len(shop.alarm_mails("NlbSorrySwitchoverErrors")) == 1
    assert len(shop.alarm_mails("FailedEvents")) == 1
    assert shop.mails == []


def test_with_a_key_a_switch_is_mailed_and_a_failure_is_reported(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop(KmsKeyArn="arn:aws:kms:ap-northeast-1:123456789012:key/00000000-0000-4000-8000-000000000000")
    shop.deployed()
    shop.minutes(5)
    shop.stops()
    assert (shop.serves, shop.subjects) == (["sorry"], ["sorry page ON, the primary cannot serve"])
    shop.account.faults.add("elbv2", "DescribeTargetHealth", "AccessDenied", status=403)
    shop.minutes(6)
    assert len(shop.alarm_mails("FailedEvents")) == 1
    assert shop.alarm_mails("MailFailed") == []


def test_a_throttled_read_is_never_taken_for_an_answer(shop: Shop) -> None:
    shop.account.faults.add("elbv2", "DescribeTargetHealth", "Throttling")
    before = len(shop.account.calls)
    done = shop.account.functions.invoke(shop.stack.resources[FUNCTION], {})
    assert "Throttling" in done.payload["errorMessage"]
    refused = [call.operation for call in shop.account.calls[before:] if call.error == "Throttling"]
    assert refused.count("DescribeTargetHealth") == 3


def test_stopped_instances_are_an_outage_even_when_cloudwatch_does_not_answer(shop: Shop) -> None:
    shop.service.break_application()
    shop.account.advance(25)
    shop.account.faults.add("cloudwatch", "DescribeAlarms", "InternalServiceFault", status=500)
    shop.stops()
    assert shop.serves == ["sorry"]


def test_a_service_that_stays_on_the_sorry_page_is_said_again_after_half_an_hour(shop: Shop) -> None:
    shop.stops()
    shop.minutes(20)
    assert shop.alarm_mails("OnSorryPage") == []
    shop.minutes(20)
    assert len(shop.alarm_mails("OnSorryPage")) == 1


def test_a_new_stack_without_data_does_not_switch(new_shop: Any) -> None:
    shop = new_shop()
    shop.service.break_application()
    shop.minutes(1)
    shop.deployed()
    assert shop.account.alarms.state("shop-nlb-outage").value == "INSUFFICIENT_DATA"
    assert shop.switchover()["change"] != SWITCH
    assert shop.serves == ["primary"]


def test_rules_on_the_listener_are_somebody_elses_work(shop: Shop) -> None:
    shop.account.client("elbv2").create_rule(
        ListenerArn=shop.service.listener_arn,
        Priority=5,
        Conditions=[{"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}}],
        Actions=[{"Type": "forward", "TargetGroupArn": shop.service.primary_arn}],
    )
    shop.account.lag.catch_up("elbv2")
    shop.stops()
    assert shop.serves == ["primary"]
    assert "listener rules" in shop.decisions(FUNCTION)[-1]["reason"]


def test_an_operator_who_goes_back_to_a_dead_primary_is_answered_with_a_mail_not_in_silence(shop: Shop) -> None:
    shop.stops()
    shop.service.forward({shop.service.primary_arn: 1, shop.service.sorry_arn: 0})
    shop.minutes(1)
    assert shop.serves == ["sorry"]
    assert len(shop.mails) == 2
    assert "/shop/hold" in shop.mails[1].body


def test_an_event_of_somebody_elses_instance_changes_nothing(shop: Shop) -> None:
    event = {"detail-type": "EC2 Instance State-change Notification", "source": "aws.ec2"}
    event["detail"] = {"instance-id": "i-0123456789abcdef0", "state": "terminated"}
    assert shop.switchover(event)["outcome"] == "unchanged"
    assert shop.serves == ["primary"]


@pytest.mark.parametrize("event", [[], "stopped", None, {"action": "explode"}, {"action": "reconcile", "force": "yes"}])
def test_a_broken_event_is_one_clear_error_and_writes_nothing(shop: Shop, event: Any) -> None:
    before = len(shop.writes())
    shop.service.stop()
    done = shop.account.functions.invoke(shop.stack.resources[FUNCTION], event)
    assert done.payload["errorType"] == "InputError"
    assert "expected" in done.payload["errorMessage"]
    assert len(shop.writes()) == before


def held_for_an_hour(shop: Shop) -> None:
    shop.held(60)


def hold_that_is_none(shop: Shop) -> None:
    shop.hold("on")


def without_a_sorry_target(shop: Shop) -> None:
    alb = {"Id": shop.service.alb_arn, "Port": 443}
    shop.account.client("elbv2").deregister_targets(TargetGroupArn=shop.service.sorry_arn, Targets=[alb])
    shop.minutes(6)


def split_by_somebody(shop: Shop) -> None:
    shop.service.forward({shop.service.primary_arn: 2, shop.service.sorry_arn: 1})
    shop.minutes(1)


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (held_for_an_hour, "まで保留中です: database work"),
        (hold_that_is_none, "保留の指定として解釈できません"),
        (without_a_sorry_target, "に登録済みのターゲットがなく、切り替えても応答できません"),
        (split_by_somebody, "のデフォルトアクションが想定外のため、変更しません"),
    ],
)
def test_why_an_outage_is_not_answered_is_in_japanese_when_asked(
    new_shop: Any, prepare: Callable[[Shop], None], said: str
) -> None:
    shop = new_shop(NotificationLanguage="ja").deployed()
    shop.minutes(5)
    prepare(shop)
    shop.stops()
    why = shop.mails[0].body.split("■ ")[2]
    assert said in why
    for word in ("held until", "is not a hold", "due otherwise", "expected", "has no registered"):
        assert word not in why


def test_the_mail_is_in_japanese_when_asked(new_shop: Any) -> None:
    shop = new_shop(NotificationLanguage="ja").deployed()
    shop.stops()
    [mail] = shop.mails
    assert "転送先を sorry ページに変更しました" in mail.body
    assert "停止処理中" in mail.body
    assert " JST" in mail.body
    assert mail.subject.isascii()


def test_the_decision_is_one_line_with_hint_seen_reason_change_and_outcome(shop: Shop) -> None:
    shop.stops()
    switched = next(
        d for d in shop.decisions(FUNCTION) if d["change"] == {"to": "sorry", "listeners": [shop.service.listener_arn]}
    )
    assert set(switched) == {"hint", "seen", "reason", "change", "outcome"}
    assert (switched["outcome"], "is stopping" in switched["hint"]) == ("changed", True)


def _silence(shop: Shop, *rules: str) -> None:
    """Take the stack's rules away, so that only the test wakes the function."""
    for rule in rules or ("NlbPrimaryGoes", "NlbPrimaryRuns", "NlbTick"):
        shop.account.events.delete_rule(shop.stack.resources[rule])


def _other_group(shop: Shop) -> str:
    """Make a group that the stack knows nothing of."""
    made = shop.account.client("elbv2").create_target_group(
        Name="other", Protocol="TCP", Port=80, VpcId=shop.service.vpc_id, TargetType="instance"
    )
    return str(made["TargetGroups"][0]["TargetGroupArn"])
