"""The story of the NLB: a service loses its servers, gets its sorry page, and comes back when it really answers."""

from sandbox.demo.story import Story
from sandbox.estates.nlb import nlb_service
from sandbox.traffic import NlbPlane

TITLE = "The sorry page: an NLB, two instances, and an ALB that says sorry"


def story(told: Story) -> None:
    """Tell it, and fail if the pages are not those that the story promises."""
    account = told.account
    shop = nlb_service(account)
    plane = NlbPlane(account, shop.listener_arn)
    told.begins(f"The NLB answers at {plane.url}")
    proof = [("before", told.visits(plane.url, "Served by"))]

    told.tell("The stack `shop` is deployed: what `sam build` made, each function under its own role.")
    stack = told.deploys(
        "shop",
        {
            "NlbListenerArns": shop.listener_arn,
            "PrimaryTargetGroupArn": shop.primary_arn,
            "SorryTargetGroupArn": shop.sorry_arn,
            "PrimaryInstanceIds": ",".join(shop.instance_ids),
        },
    )
    told.passes(200)

    told.tell("Months later, when the functions are cold, both instances stop.")
    account.functions.retire(stack.resources["NlbSorrySwitchoverFunction"])
    stopped = account.clock.time()
    shop.stop()
    told.happened()
    proof.append(("servers stopped", told.visits(plane.url, "503")))
    told.passes(60)

    told.tell("The instances are started again. `running` is not yet serving:")
    started = account.clock.time()
    shop.start()
    told.passes(100)
    proof.append(("servers running", told.visits(plane.url, "503")))
    told.passes(600, until=lambda: shop.serving()[shop.listener_arn] == shop.primary_arn)
    proof.append(("servers healthy for 3 minutes", told.visits(plane.url, "Served by")))
    back = account.clock.time()

    runs = account.functions.runs
    switch = next(run for run in runs if "SwitchedToSorry" in "".join(run.invocation.log))
    work = switch.invocation.init_seconds + switch.invocation.seconds
    print("")
    print("What a visitor saw:")
    for when, page in proof:
        print(f"  {when:30} {page}")
    print(f"From the stop to the sorry page: the event came at once, the cold function took {work:.2f} s,")
    print("  with its looks until AWS shows what was written. No alarm was waited for:")
    print(f"  {switch.time.timestamp() - stopped:.0f} s passed in the account.")
    print(f"From the start to the switch back: {back - started:.0f} s in the account: boot, health checks, and three")
    print("  good minutes on the recovery alarm (RecoveryMinutes).")
    print("On a real account, in a test environment first:")
    print("  sam build && sam deploy --guided")
    print("  aws ec2 stop-instances --instance-ids INSTANCE_ID INSTANCE_ID")
