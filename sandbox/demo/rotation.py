"""The story of the rotation: two instances are maintained one after another, and no visitor notices."""

import re
import threading
from collections import Counter

from sandbox.account import Account
from sandbox.demo.story import BUILD, PACE, Say, Story, get
from sandbox.estates import nlb as estate
from sandbox.stack import cloudformation
from sandbox.traffic import NlbPlane

TAIL_SECONDS = 110  # a Network Load Balancer goes on sending connections to a target that has left


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


def story(say: Say) -> None:
    """Tell it, and fail if one request was not answered or a target is not back as it was."""
    say("== The rotation: two instances are maintained one after another under constant traffic ==")
    with Account() as account:
        account.targets.nlb_tail_seconds = TAIL_SECONDS
        shop = estate.nlb_service(account)
        delay = [{"Key": "deregistration_delay.timeout_seconds", "Value": "30"}]
        account.client("elbv2").modify_target_group_attributes(TargetGroupArn=shop.primary_arn, Attributes=delay)
        plane, told = NlbPlane(account, shop.listener_arn), Story(account, say)
        told.tell(f"An account on this machine; its time runs {1 / PACE:.0f} times as fast. The NLB: {plane.url}")
        stack = cloudformation.deploy(
            account,
            BUILD,
            "shop",
            {
                "RotationTargetGroupArns": shop.primary_arn,
                "RotationDocuments": "AWS-RunShellScript",
                "NotificationEmail": "oncall@example.com",
            },
        )

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
        say("")
        say(f"What visitors saw: {visitors.served.total()} requests, {len(visitors.failed)} failed")
        for instance_id, count in visitors.served.items():
            say(f"  {count:6} served by {instance_id}")
        rows = execution.output["done"]
        say("Time out of service: " + ", ".join(f"{row['id']} {row['minutes']} min" for row in rows))
        say(f"Calls of AWS's APIs: {len(calls)}, for {len(rows)} targets; {execution.events} history events of 25000")
        say("On a real account, in a test environment first:")
        say('  aws stepfunctions start-execution --state-machine-arn ARN --input \'{"hook": {"type": "approval"}}\'')


def _health(health: dict[str, str]) -> str:
    return ", ".join(f"{target[:6]}… {state}" for target, state in health.items())
