"""The story of the cold standby: a server fails its checks, one that is stopped takes its place, and says when."""

from sandbox.demo.story import Story
from sandbox.estates.standby import PORT, standby_service
from sandbox.traffic import NlbPlane

TITLE = "The cold standby: a server that fails, two that are stopped, and no capacity for the first of them"


def story(told: Story) -> None:
    """Tell it, and fail if the world is not as the story promises."""
    account = told.account
    service = standby_service(account)
    plane = NlbPlane(account, service.listener_arn)
    told.begins(f"The server answers at {plane.url}")
    proof = [("before", told.visits(plane.url))]
    told.tell("The stack `batch` is deployed, with FenceActive=true.")
    stack = told.deploys(
        "batch",
        {
            "ActiveInstanceId": service.active,
            "StandbyInstanceIds": ",".join(service.standbys),
            "StandbyInstanceTypes": "t3.small",
            "StandbyTargetGroupArn": service.group_arn,
            "FenceActive": "true",
        },
    )
    told.passes(5)

    told.tell("Months later the server hangs, and EC2 has no capacity for the first standby, whatever its type.")
    account.functions.retire(stack.resources["ColdStandbyStartFunction"])
    service.lacks("InsufficientInstanceCapacity", service.standbys[0])
    service.impair()
    service.hangs()
    proof.append(("hanging", told.visits(plane.url)))
    began = account.clock.time()
    told.passes(600, until=lambda: any("is serving" in (mail.subject or "") for mail in account.mails))
    took = account.clock.time() - began
    proof.append(("standby", told.visits(plane.url)))

    states = service.states()
    if states != ["stopped", "running"] or service.standbys[1] not in proof[-1][1]:
        raise SystemExit(f"expected the second standby to serve, got {states} and {proof}")
    calls = [c for c in account.calls if "ColdStandby" in c.principal and c.operation == "StartInstances"]
    calls = [call for call in calls if not call.params.get("DryRun")]
    # A run that is shown what was before starts the same one once more, which changes nothing.
    accepted = [call for call in calls if not call.error]
    started = {call.params["InstanceIds"][0] for call in accepted}
    if len(started) != 1:
        raise SystemExit(f"expected one standby to be started, got {started}")
    after = accepted[0].time.timestamp() - began
    print("What became of it:")
    print(f"  from the failure to the accepted start: {after:.0f} s: failed checks, alarm, start")
    print(f"  from the failure to serving: {took:.0f} s; status checks take their two minutes")
    print(
        f"  requests to start: {len(calls)}, one standby started; active {service.state(service.active)}; port {PORT}"
    )
    for standby in service.standbys:
        print(f"  notes on {standby}: {service.tags(standby)}")
