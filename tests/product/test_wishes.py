"""What people wish of kirikae, a hold and maintenance windows, whatever becomes of the stack."""

import json
import shlex
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Shop
from samcli.yamlhelper import yaml_parse

from sandbox.account import Account
from sandbox.estates.alb import alb_service
from sandbox.stack import cloudformation
from sandbox.traffic import AlbPlane

HOLD, WINDOWS = "/shop/hold", "/shop/maintenance"
FUNCTION = "AlbMaintenancePriorityFunction"
SERVICE, PAGE = [200, 200, 200], [303, 503, 503]
# The two resources as the version had them whose stacks own the wishes.
RELEASED = {
    "Hold": {
        "Type": "AWS::SSM::Parameter",
        "Properties": {
            "Name": {"Fn::Sub": "/${AWS::StackName}/hold"},
            "Type": "String",
            "Value": "off",
            "Description": 'off, or {"until": "2026-12-01T06:00:00+09:00", "reason": "..."}: '
            "until then kirikae changes nothing",
        },
    },
    "Maintenance": {
        "Type": "AWS::SSM::Parameter",
        "Condition": "Maintenance",
        "Properties": {
            "Name": {"Fn::Sub": "/${AWS::StackName}/maintenance"},
            "Type": "String",
            "Value": "{}",
            "Description": '{} or {"<window>": {"until": "2026-12-01T06:00:00+09:00", "reason": "..."}}: '
            "until then the page answers",
        },
    },
}


def changed(build: Path, folder: Path, change: Callable[[Any], object]) -> Path:
    """Return a build whose template somebody has changed."""
    folder.mkdir()
    for item in build.iterdir():
        (folder / item.name).symlink_to(item)
    template = yaml_parse((build / "template.yaml").read_text(encoding="utf-8"))
    change(template)
    (folder / "template.yaml").unlink()
    (folder / "template.yaml").write_text(json.dumps(template), encoding="utf-8")
    return folder


def reworded(template: Any) -> None:
    """Say in other words what each parameter is."""
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::SSM::Parameter":
            resource["Properties"]["Description"] = "in other words"


def broken(template: Any) -> None:
    """Reword too, and add a resource that comes after the parameters, for an update that fails late."""
    reworded(template)
    before = [name for name in RELEASED if name in template["Resources"]]
    template["Resources"]["Broken"] = {"Type": "AWS::SQS::Queue", "DependsOn": before}


class Site(Shop):
    """A service behind an ALB, protected by the stack `shop`."""

    def __init__(self, account: Account, build: Path) -> None:
        self.account, self.given = account, {}
        self.alb = alb_service(account, priorities=(1, 2, 3))
        self.plane = AlbPlane(account, self.alb.listener_arn)
        self.stack = cloudformation.deploy(account, build, "shop", {"MaintenanceListenerArn": self.alb.listener_arn})

    def statuses(self) -> list[int]:
        return [self.plane.get(path).status for path in ("/a", "/b", "/c")]

    def wishes(self) -> "Site":
        """Let people open a window, and then hold kirikae: both with the command that the README has."""
        until = (self.account.clock.now() + timedelta(hours=2)).isoformat()
        windows = json.dumps({"release": {"until": until, "reason": "release"}})
        self.account.client("ssm").put_parameter(Name=WINDOWS, Type="String", Value=windows, Overwrite=True)
        self.minutes(2)
        assert self.statuses() == PAGE
        self.hold({"until": until, "reason": "do not touch"})
        self.wished = self.parameters()
        return self

    def parameters(self) -> Mapping[str, str]:
        ssm = self.account.client("ssm")
        return {name: ssm.get_parameter(Name=name)["Parameter"]["Value"] for name in (HOLD, WINDOWS)}

    def updated(self, build: Path, tags: Mapping[str, str] | None = None, *, policy_before: bool = False) -> None:
        given = {"MaintenanceListenerArn": self.alb.listener_arn}
        self.stack = cloudformation.update(self.account, self.stack, build, given, tags, policy_before=policy_before)

    def go_on(self) -> None:
        """Show that both wishes are still there and in force, and end as people wanted them to."""
        assert self.parameters() == self.wished
        assert self.invoke(FUNCTION, {"type": "end", "window": "release"})["outcome"] == "held"
        self.hold("off")
        self.minutes(2)
        assert self.statuses() == SERVICE


@pytest.fixture
def released(account: Account, build: Path, tmp_path: Path) -> Site:
    old = changed(build, tmp_path / "released", lambda template: template["Resources"].update(RELEASED))
    return Site(account, old).wishes()


@pytest.fixture
def fresh(account: Account, build: Path) -> Site:
    return Site(account, build)


def test_a_new_stack_needs_no_wish_to_exist(fresh: Site) -> None:
    ssm = fresh.account.client("ssm")
    assert not {HOLD, WINDOWS} & {found["Name"] for found in ssm.describe_parameters()["Parameters"]}
    fresh.minutes(2)
    assert fresh.statuses() == SERVICE
    assert fresh.invoke(FUNCTION, {"type": "end"})["outcome"] == "unchanged"
    assert fresh.invoke(FUNCTION, {"type": "start", "minutes": 60})["outcome"] == "changed"
    assert fresh.statuses() == PAGE
    logs = [line for run in fresh.account.functions.runs for line in run.invocation.log]
    assert not [line for line in logs if "cannot be read" in line]


def test_the_update_that_takes_the_wishes_out_of_the_template_keeps_them(released: Site, build: Path) -> None:
    released.updated(build)
    released.go_on()


def test_where_the_policy_before_counts_the_end_is_told_and_the_wishes_can_be_written_again(
    released: Site, build: Path
) -> None:
    """Not how AWS is understood (P6), and seen before in the change set (README, CHANGELOG)."""
    released.account.sns.messages.clear()
    released.updated(build, policy_before=True)
    released.minutes(2)
    assert released.statuses() == SERVICE
    assert released.subjects == ["maintenance OFF"]
    for name in (WINDOWS, HOLD):
        ssm = released.account.client("ssm")
        ssm.put_parameter(Name=name, Type="String", Value=released.wished[name], Overwrite=True)
        released.minutes(2)
    assert released.statuses() == PAGE
    released.go_on()


@pytest.mark.parametrize("start", ["fresh", "released"])
def test_a_reworded_description_and_tags_leave_every_wish(
    start: str, request: pytest.FixtureRequest, build: Path, tmp_path: Path
) -> None:
    site: Site = request.getfixturevalue(start)
    if start == "released":
        site.updated(build)
    else:
        site.wishes()
    site.updated(changed(build, tmp_path / "reworded", reworded), {"team": "shop"})
    site.go_on()


@pytest.mark.parametrize("start", ["fresh", "released"])
def test_an_update_that_fails_leaves_every_wish(
    start: str, request: pytest.FixtureRequest, build: Path, tmp_path: Path
) -> None:
    site: Site = request.getfixturevalue(start)
    if start == "fresh":
        site.wishes()
    site.account.faults.add("sqs", "CreateQueue", "OverLimit", times=1)
    with pytest.raises(cloudformation.StackError, match="OverLimit"):
        site.updated(changed(build, tmp_path / "broken", broken))
    site.go_on()
    site.updated(build)
    assert site.statuses() == SERVICE


# A wish while Systems Manager does not answer.

DOWN = {
    "throttled": {"code": "ThrottlingException"},
    "broken": {"code": "InternalServerError", "status": 500},
    "silent": {"code": None, "after": True},
    "without a body": {"code": None, "body": "empty"},
}


def systems_manager(site: Site, how: str, *operations: str) -> None:
    """Let Systems Manager fail like this."""
    for operation in operations or ("GetParameter", "PutParameter"):
        given = dict(DOWN[how])
        site.account.faults.add("ssm", operation, given.pop("code"), role="AlbMaintenance", **given)


def wish(site: Site, kind: str, **fields: object) -> None:
    """Invoke as a schedule does: asynchronously."""
    site.account.functions.invoke_async(site.stack.resources[FUNCTION], {"type": kind, **fields})
    site.account.settle()


@pytest.mark.parametrize("how", DOWN)
@pytest.mark.parametrize("kind", ["start", "end"])
def test_a_wish_that_cannot_be_stored_is_told_at_once_and_comes_true_when_it_can(
    fresh: Site, kind: str, how: str
) -> None:
    fields: dict[str, object] = {"minutes": 60} if kind == "start" else {}
    if kind == "end":
        wish(fresh, "start", minutes=60)
    fresh.minutes(2)
    fresh.account.sns.messages.clear()
    systems_manager(fresh, how)
    wish(fresh, kind, **fields)
    assert fresh.subjects == [f"maintenance {kind} NOT stored"]
    fresh.minutes(2)
    assert fresh.statuses() == (SERVICE if kind == "start" else PAGE)
    fresh.account.faults.clear()
    fresh.minutes(2)
    assert fresh.statuses() == (PAGE if kind == "start" else SERVICE)
    [first, second] = [subject[:14] for subject in fresh.subjects]
    assert (first, second) == (f"maintenance {kind}"[:14], "maintenance ON" if kind == "start" else "maintenance OF")


def test_a_wish_that_stays_unstored_is_told_once_and_can_be_given_again(fresh: Site) -> None:
    systems_manager(fresh, "broken")
    wish(fresh, "start", minutes=60, window="it's 夜間")
    fresh.minutes(10)
    fresh.account.faults.clear()
    fresh.minutes(3)
    assert fresh.subjects == ["maintenance start NOT stored"]
    assert fresh.statuses() == SERVICE
    [mail] = fresh.mails
    [command] = [line for line in mail.body.splitlines() if line.startswith("aws ssm put-parameter")]
    words = shlex.split(command)
    value = words[words.index("--value") + 1]
    fresh.account.client("ssm").put_parameter(Name=WINDOWS, Type="String", Value=value, Overwrite=True)
    fresh.minutes(2)
    assert fresh.statuses() == PAGE


def test_a_window_that_ends_while_nothing_can_be_read_ends_when_it_can(fresh: Site) -> None:
    wish(fresh, "start", minutes=5)
    assert fresh.statuses() == PAGE
    systems_manager(fresh, "broken")
    fresh.minutes(10)
    assert fresh.statuses() == PAGE
    fresh.account.faults.clear()
    fresh.minutes(2)
    assert fresh.statuses() == SERVICE
    assert [subject[:14] for subject in fresh.subjects] == ["maintenance ON", "maintenance OF"]


def test_the_next_wish_that_cannot_be_stored_is_told_again(fresh: Site) -> None:
    systems_manager(fresh, "throttled", "PutParameter")
    for window in ("one", "two"):
        wish(fresh, "start", minutes=60, window=window)
        fresh.minutes(5)
    assert fresh.subjects == ["maintenance start NOT stored"] * 2


def test_wishes_that_cannot_be_stored_in_the_same_minutes_are_told_once_each(fresh: Site) -> None:
    systems_manager(fresh, "broken")
    for number in range(4):
        wish(fresh, "start", minutes=60, window=f"window {number}")
        fresh.account.advance(10)
    fresh.minutes(6)
    assert fresh.subjects == ["maintenance start NOT stored"] * 4


def test_a_stack_that_is_deleted_in_mid_window_leaves_the_wishes_to_people(fresh: Site) -> None:
    fresh.wishes()
    cloudformation.delete(fresh.account, fresh.stack)
    assert fresh.parameters() == fresh.wished
