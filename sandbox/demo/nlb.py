"""The story of the NLB: a service loses its servers, gets its sorry page, and comes back when it really answers."""

from sandbox.account import Account
from sandbox.demo.story import BUILD, PACE, Say, Story, get
from sandbox.estates import nlb as estate
from sandbox.stack import cloudformation
from sandbox.traffic import NlbPlane


def expect(url: str, words: str) -> str:
    """Fetch the page and return it; end the demo if it is not the expected one."""
    page = get(url)
    if words not in page:
        raise SystemExit(f"expected a page with {words!r} at {url}, got {page}")
    return page


def story(say: Say) -> None:
    """Tell it, and fail if the pages are not those that the story promises."""
    say("== The sorry page: an NLB, two instances, and an ALB that says sorry ==")
    with Account() as account:
        shop = estate.nlb_service(account)
        plane = NlbPlane(account, shop.listener_arn)
        told = Story(account, say)
        told.tell(
            f"An account on this machine; its time runs {1 / PACE:.0f} times as fast. The NLB answers at {plane.url}"
        )
        proof = [("before", expect(plane.url, "Served by"))]
        told.tell(f"GET {plane.url} -> {proof[-1][1]}")

        told.tell("The stack `shop` is deployed: what `sam build` made, each function under its own role.")
        stack = cloudformation.deploy(
            account,
            BUILD,
            "shop",
            {
                "NlbListenerArns": shop.listener_arn,
                "PrimaryTargetGroupArn": shop.primary_arn,
                "SorryTargetGroupArn": shop.sorry_arn,
                "PrimaryInstanceIds": ",".join(shop.instance_ids),
                "NotificationEmail": "oncall@example.com",
            },
        )
        told.passes(200)

        told.tell("Months later, when the functions are cold, both instances stop.")
        account.functions.retire(stack.resources["NlbSorrySwitchoverFunction"])
        stopped = account.clock.time()
        shop.stop()
        told.happened()
        proof.append(("servers stopped", expect(plane.url, "503")))
        told.tell(f"GET {plane.url} -> {proof[-1][1]}")
        told.passes(60)

        told.tell("The instances are started again. `running` is not yet serving:")
        started = account.clock.time()
        shop.start()
        told.passes(100)
        proof.append(("servers running", expect(plane.url, "503")))
        told.tell(f"GET {plane.url} -> {proof[-1][1]}")
        told.passes(600, until=lambda: shop.serving()[shop.listener_arn] == shop.primary_arn)
        proof.append(("servers healthy for 3 minutes", expect(plane.url, "Served by")))
        back = account.clock.time()
        told.tell(f"GET {plane.url} -> {proof[-1][1]}")

        runs = account.functions.runs
        switch = next(run for run in runs if "SwitchedToSorry" in "".join(run.invocation.log))
        work = switch.invocation.init_seconds + switch.invocation.seconds
        say("")
        say("What a visitor saw:")
        for when, page in proof:
            say(f"  {when:30} {page}")
        say(f"From the stop to the sorry page: the event came at once, the cold function took {work:.2f} s,")
        say(f"  {switch.time.timestamp() - stopped:.0f} s passed in the account. No alarm was waited for.")
        say(f"From the start to the switch back: {back - started:.0f} s in the account: boot, health checks, and three")
        say("  good minutes on the recovery alarm (RecoveryMinutes).")
        say("On a real account, in a test environment first:")
        say("  sam build && sam deploy --guided")
        say("  aws ec2 stop-instances --instance-ids INSTANCE_ID INSTANCE_ID")
