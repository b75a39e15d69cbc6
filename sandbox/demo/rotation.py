"""The story of the rotation: two instances are maintained one after another, and no visitor notices."""

import re
import threading
from collections import Counter

from sandbox.demo.story import Story, get
from sandbox.estates.nlb import nlb_service
from sandbox.traffic import NlbPlane

TITLE = "The rotation: two instances are maintained one after another under constant traffic"
_TAIL_SECONDS = 110  # a Network Load Balancer goes on sending connections to a target that has left


class Visitors:
    """Somebody who asks for the page, again and again, and keeps count."""

    def __init__(self, url: str) -> None:
        self.url, self.served, self.failed = url, Counter[str](), list[str]()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._visit)
        self._thread.start()

    def _visit(self) -> None:
        while not self._leaving.wait(0.002):
            page = get(self.url)
            found = re.search(r"Served by (i-[0-9a-f]+)", page)
            if page.startswith("200") and found:
                self.served[found[1]] += 1
            else:
                self.failed.append(page)

    def leave(self) -> None:
        """Stop asking."""
        self._leaving.set()
        self._thread.join()


def story(told: Story) -> None:
    """Tell it, and fail if one request was not answered or a target is not back as it was."""
    account = told.account
    account.targets.nlb_tail_seconds = _TAIL_SECONDS
    shop = nlb_service(account)
    attributes = {
        "deregistration_delay.timeout_seconds": "30",
        "load_balancing.cross_zone.enabled": "true",  # one instance in each zone: the other zone's answers meanwhile
    }
    pairs = [{"Key": key, "Value": value} for key, value in attributes.items()]
    account.client("elbv2").modify_target_group_attributes(TargetGroupArn=shop.primary_arn, Attributes=pairs)
    plane = NlbPlane(account, shop.listener_arn)
    told.begins(f"The NLB: {plane.url}")
    given = {"RotationTargetGroupArns": shop.primary_arn, "RotationDocuments": "AWS-RunShellScript"}
    stack = told.deploys("shop", given)

    def maintain(instance_id: str, _command: object) -> tuple[str, float]:
        """Take the application down for the time of the work, as a deployment does."""
        shop.break_application(instance_id)
        account.clock.after(20, lambda: shop.mend_application(instance_id))
        told.tell(f"  systemctl restart shop on {instance_id}: its application is down for 20 s")
        return "Success", 25

    account.commands.answer = maintain
    before = shop.health()
    told.tell("Visitors come, and the rotation is started with a command as its hook.")
    visitors = Visitors(plane.url)
    try:
        hook = {"type": "ssm-command", "commands": ["dnf -y upgrade", "systemctl restart shop"]}
        execution = account.states.start(stack.resources["TargetRotationStateMachine"], {"hook": hook})
        state = ""
        for _ in range(1200):
            told.passes(1)
            if execution.states[-1] != state:
                state = execution.states[-1]
                told.tell(f"  {state:18} {_health(shop.health())}, {visitors.served.total()} requests answered")
            if execution.status != "RUNNING":
                break
    finally:
        visitors.leave()
    if execution.status != "SUCCEEDED" or visitors.failed or shop.health() != before:
        raise SystemExit(f"{execution.status} {execution.cause}; {visitors.failed[:3]}; {shop.health()}")

    calls = [call for call in account.calls if "TargetRotationRole" in call.principal]
    print("")
    print(f"What visitors saw: {visitors.served.total()} requests, {len(visitors.failed)} failed")
    for instance_id, count in visitors.served.items():
        print(f"  {count:6} served by {instance_id}")
    rows = execution.output["done"]
    print("Time out of service: " + ", ".join(f"{row['id']} {row['minutes']} min" for row in rows))
    print(f"Calls of AWS's APIs: {len(calls)}, for {len(rows)} targets; {execution.events} history events of 25000")
    print("On a real account, in a test environment first:")
    print('  aws stepfunctions start-execution --state-machine-arn ARN --input \'{"hook": {"type": "approval"}}\'')


def _health(health: dict[str, str]) -> str:
    return ", ".join(f"{target[:6]}… {state}" for target, state in health.items())
