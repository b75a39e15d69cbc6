"""The story of the pair: the addresses of a mail server go where it runs, and stay there."""

from sandbox.account import Account
from sandbox.demo.story import BUILD, PACE, Say, Story
from sandbox.estates.pair import PairService, pair_service
from sandbox.stack import cloudformation

FUNCTION = "SecondaryIpReassignmentFunction"
CIDR = "192.168.99.1/32"


def story(say: Say) -> None:
    """Tell it, and fail if EC2 itself does not show the addresses where the story says they are."""
    say("== The floating address: two mail servers, and addresses that belong on the one that runs ==")
    with Account() as account:
        mail = pair_service(account, ipv4=("10.0.0.50", "10.0.0.51"), ipv6=1, elastic=1, overlay=(CIDR,), tables=2)
        told = Story(account, say)
        told.tell(f"An account on this machine; its time runs {1 / PACE:.0f} times as fast.")
        shown(mail, told, 0)

        told.tell("The stack `mail` is deployed with the pair and everything that floats.")
        given = mail.parameters | {"ServiceName": "mail server", "NotificationEmail": "oncall@example.com"}
        stack = cloudformation.deploy(account, BUILD, "mail", given)
        told.passes(70)

        told.tell(f"Months later, when the function is cold, {mail.instance_ids[0]} stops.")
        account.functions.retire(stack.resources[FUNCTION])
        calls = len(account.calls)
        mail.stop(0)
        told.happened()
        used = [call.operation for call in account.calls[calls:] if call.principal != "administrator"]
        shown(mail, told, 1)
        cold = next(run for run in reversed(account.functions.runs) if run.invocation.cold).invocation

        told.tell("It is started again. Its addresses stay where they are: no side is the active one.")
        told.passes(30)
        mail.start(0)
        told.passes(30)
        shown(mail, told, 1)

        told.tell(f"{mail.instance_ids[1]} is terminated, and its interface with it.")
        warm = len(account.functions.runs)
        mail.terminate(1)
        told.happened()
        again = account.functions.runs[warm].invocation
        shown(mail, told, 0)
        told.passes(30)
        shown(mail, told, 0)

        say("")
        say(f"Calls of the first failover ({len(used)}): {', '.join(used)}")
        say("From `stopping` to the addresses moved, seen there and mailed, in real seconds:")
        say(f"  cold {cold.init_seconds + cold.seconds:.2f} (init {cold.init_seconds:.2f}), warm {again.seconds:.2f}")
        say("On a real account, in a test environment first:")
        say("  aws ec2 stop-instances --instance-ids INSTANCE_ID")
        say("  aws ec2 describe-network-interfaces --network-interface-ids INTERFACE_ID INTERFACE_ID \\")
        say("    --query 'NetworkInterfaces[].[NetworkInterfaceId, PrivateIpAddresses[].PrivateIpAddress]'")


def shown(mail: PairService, told: Story, side: int) -> None:
    """Ask EC2 where everything is, and end the demo if it is not all on this side."""
    if set(mail.where().values()) != {side}:
        raise SystemExit(f"expected everything on side {side}, got {mail.where()}")
    ec2, interface_id = mail.account.client("ec2"), mail.interface_ids[side]
    [found] = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface_id])["NetworkInterfaces"]
    held = [one["PrivateIpAddress"] for one in found["PrivateIpAddresses"] if not one["Primary"]]
    held += [one["Ipv6Address"] for one in found["Ipv6Addresses"]]
    public = [one["Association"]["PublicIp"] for one in found["PrivateIpAddresses"] if "Association" in one]
    told.tell(
        f"EC2 shows on {interface_id} of {mail.instance_ids[side]}: {', '.join(held)}; Elastic IP {', '.join(public)};"
    )
    told.tell(f"  both route tables lead {CIDR} there.")


if __name__ == "__main__":
    story(print)
