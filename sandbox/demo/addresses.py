"""The story of the pair: the addresses of a mail server go where it runs, and stay there."""

from sandbox.demo.story import Story
from sandbox.estates.pair import PairService, pair_service

FUNCTION = "SecondaryIpReassignmentFunction"
CIDR = "192.168.99.1/32"
TITLE = "The floating address: two mail servers, and addresses that belong on the one that runs"


def story(told: Story) -> None:
    """Tell it, and fail if EC2 itself does not show the addresses where the story says they are."""
    account = told.account
    mail = pair_service(account, ipv4=("10.0.0.50", "10.0.0.51"), ipv6=1, elastic=1, overlay=(CIDR,), tables=2)
    told.begins()
    shown(mail, told, 0)

    told.tell("The stack `mail` is deployed with the pair and everything that floats.")
    stack = told.deploys("mail", mail.parameters | {"ServiceName": "mail server"})
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

    print("")
    print(f"Calls of the first failover ({len(used)}): {', '.join(used)}")
    print("From `stopping` to the addresses moved, seen there (EC2 shows it seconds later) and mailed, in seconds:")
    print(f"  cold {cold.init_seconds + cold.seconds:.2f} (init {cold.init_seconds:.2f}), warm {again.seconds:.2f}")
    print("On a real account, in a test environment first:")
    print("  aws ec2 stop-instances --instance-ids INSTANCE_ID")
    print("  aws ec2 describe-network-interfaces --network-interface-ids INTERFACE_ID INTERFACE_ID \\")
    print("    --query 'NetworkInterfaces[].[NetworkInterfaceId, PrivateIpAddresses[].PrivateIpAddress]'")


def shown(mail: PairService, told: Story, side: int) -> None:
    """Ask EC2 where everything is, and end the demo if it is not all on this side."""
    if set(mail.where().values()) != {side}:
        raise SystemExit(f"expected everything on side {side}, got {mail.where()}")
    ec2, interface_id = mail.account.client("ec2"), mail.interface_ids[side]
    [found] = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface_id])["NetworkInterfaces"]
    held = [address["PrivateIpAddress"] for address in found["PrivateIpAddresses"] if not address["Primary"]]
    held += [address["Ipv6Address"] for address in found["Ipv6Addresses"]]
    public = [address["Association"]["PublicIp"] for address in found["PrivateIpAddresses"] if "Association" in address]
    told.tell(
        f"EC2 shows on {interface_id} of {mail.instance_ids[side]}: {', '.join(held)}; Elastic IP {', '.join(public)};"
    )
    told.tell(f"  both route tables lead {CIDR} there.")
