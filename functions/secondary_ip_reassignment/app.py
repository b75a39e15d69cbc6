"""Keep the addresses of a pair of instances on the one that runs.

Symmetric: no side is the active one.  What is on a running instance stays there, and nothing goes back by itself.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kirikae import ec2, reconcile
from kirikae.events import Hint
from kirikae.notify import Mail, Words
from kirikae.pair import addresses, mail, move, parameters
from kirikae.pair import plan as pair
from kirikae.pair.move import Done
from kirikae.pair.plan import Config, Observed
from kirikae.reconcile import Decision, Times

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


def observe(config: Config, hint: Hint) -> Observed:
    """Read the instances and where everything declared is; nothing for parameters that cannot be right."""
    if any(parameters.static_problems(config)):
        return Observed({}, {})
    return move.look(config, ec2.instance_states(config.pair_instance_ids, hint.stopped_instance))


def decide(config: Config, seen: Observed) -> Decision:
    """Move what is not on a running instance of the pair to one that runs; else everything stays."""
    if wrong := list(parameters.static_problems(config)) or list(parameters.problems(config, seen)):
        return Decision(Words("; ".join(wrong)), refused=True)
    plan = pair.plan(config, seen)
    states = ", ".join(f"{instance} is {state}" for instance, state in seen.instances.items())
    if not plan.to:
        stays = f"no instance of the pair runs, everything stays where it is: {states}"
        return Decision(Words(stays), lasting=("PairDown",))
    if plan.moves:
        change = {"to": plan.to, "from": plan.moves}
        return Decision(mail.why(seen, plan), change, counts="AddressesMoved")
    if odd := [*plan.left.values(), *parameters.checks(config, seen), *parameters.lonely(config, seen)]:
        return Decision(Words("; ".join(odd)), refused=True)
    return Decision(Words(f"everything is on a running instance of the pair: {states}"))


def act(config: Config, seen: Observed, change: Mapping[str, Any]) -> Done:
    """Make the move and look until it is seen."""
    return move.move(config, seen, change)


def tell(config: Config, seen: Observed, decision: Decision, done: Done, times: Times) -> Mail | None:
    """Write the mail of a move; none when somebody else had made it by then."""
    return mail.moved(config, seen, decision, done, times) if done.moved or done.unseen else None


reconcile.prime(Config, lambda config: addresses.interfaces("network-interface-id", config.pair_interface_ids))


@reconcile.logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Reconcile the addresses with the states of the pair, whatever the event says."""
    return reconcile.reconcile(event, Config, observe, decide, act, tell, rehearse=("event",))
