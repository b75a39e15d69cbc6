"""The story of the cold standby: a server fails its checks, one that is stopped takes its place, and says when."""

from sandbox.account import Account
from sandbox.demo.story import BUILD, PACE, Say, Story, get
from sandbox.estates import standby as estate_standby
from sandbox.estates.standby import PORT
from sandbox.stack import cloudformation
from sandbox.traffic import NlbPlane


def story(say: Say) -> None:
    """Tell it, and fail if the world is not as the story promises."""
    say("== The cold standby: a server that fails, two that are stopped, and no capacity for the first of them ==")
    with Account() as account:
        service = estate_standby.standby_service(account)
        plane = NlbPlane(account, service.listener_arn)
        told = Story(account, say)
        told.tell(
            f"An account on this machine; its time runs {1 / PACE:.0f} times as fast. The server answers at {plane.url}"
        )
        proof = [("before", get(plane.url))]
        told.tell(f"GET {plane.url} -> {proof[-1][1]}")
        told.tell("The stack `batch` is deployed, with FenceActive=true.")
        stack = cloudformation.deploy(
            account,
            BUILD,
            "batch",
            {
                "ActiveInstanceId": service.active,
                "StandbyInstanceIds": ",".join(service.standbys),
                "StandbyInstanceTypes": "t3.small",
                "StandbyTargetGroupArn": service.group_arn,
                "FenceActive": "true",
                "NotificationEmail": "oncall@example.com",
            },
        )
        told.passes(5)

        told.tell("Months later the server hangs, and EC2 has no capacity for the first standby, whatever its type.")
        account.functions.retire(stack.resources["ColdStandbyStartFunction"])
        service.lacks("InsufficientInstanceCapacity", service.standbys[0])
        service.impair()
        service.hangs()
        proof.append(("hanging", get(plane.url)))
        told.tell(f"GET {plane.url} -> {proof[-1][1]}")
        began = account.clock.time()
        told.passes(600, until=lambda: any("is serving" in (mail.subject or "") for mail in account.mails))
        took = account.clock.time() - began
        proof.append(("standby", get(plane.url)))
        told.tell(f"GET {plane.url} -> {proof[-1][1]}")

        states = service.states()
        if states != ["stopped", "running"] or service.standbys[1] not in proof[-1][1]:
            raise SystemExit(f"expected the second standby to serve, got {states} and {proof}")
        calls = [c for c in account.calls if "ColdStandby" in c.principal and c.operation == "StartInstances"]
        [accepted] = [call.time.timestamp() for call in calls if not call.error]
        say("What became of it:")
        say(f"  from the failure to the accepted start: {accepted - began:.0f} s: failed checks, alarm, start")
        say(f"  from the failure to serving: {took:.0f} s; status checks take their two minutes")
        say(f"  starts asked for: {len(calls)}, accepted: 1; active {service.state(service.active)}; port {PORT}")
        for one in service.standbys:
            say(f"  notes on {one}: {service.tags(one)}")
