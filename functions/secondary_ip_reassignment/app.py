"""Keep the addresses of a pair of instances on the one that runs.

Symmetric: no side is the active one.  What is on a running instance stays there, and nothing goes back by itself.
"""

from dataclasses import replace
from typing import Any

from kirikae import ec2, reconcile
from kirikae.decision import Decision, Result
from kirikae.events import Hint
from kirikae.log import logger
from kirikae.notify import Mail, Words
from kirikae.pair import addresses
from kirikae.pair.look import for_people, look, with_checks
from kirikae.pair.mail import moved, why
from kirikae.pair.move import Done, move
from kirikae.pair.parameters import odd, of_sides, problems, static_problems, unserved
from kirikae.pair.plan import impaired, plan
from kirikae.pair.standing import found, standing, why_it_stays
from kirikae.pair.world import NOWHERE, Config, Move, Observed
from kirikae.tell import Tells


def observe(config: Config, hint: Hint) -> Observed:
    """Read the instances and where everything declared is; nothing for parameters that cannot be right."""
    if any(static_problems(config)):
        return Observed({}, {})
    said_of = hint.stopped_instance or hint.running_instance
    states = ec2.instance_states(config.pair_instance_ids, said_of, hint.state)
    return with_checks(config, look(config, Observed(states, {})), hint)


def decide(config: Config, seen: Observed) -> Decision[Move]:
    """Move what is not on a running instance of the pair to one that runs; else everything stays."""
    decided, wrong = _decided(config, seen), {} if any(static_problems(config)) else odd(config, seen)
    return replace(decided, odd=wrong, beside=decided.beside and replace(decided.beside, odd=wrong))


def _decided(config: Config, seen: Observed) -> Decision[Move]:
    if wrong := list(static_problems(config)) or list(problems(config, seen)):
        urgent = bool(seen.instances) and unserved(config, seen)
        return Decision(Words("; ".join(wrong)), refused=True, urgent=urgent, about="parameters")
    due = plan(config, seen)
    states, names = of_sides(config, seen), " ".join(sorted(due.left))
    if not due.to:
        stays = f"no instance of the pair runs with its interface, everything stays where it is: {states}"
        said = Words("; ".join([stays, *due.left.values()]))
        return Decision(said, refused=bool(names), urgent=bool(names), about=names, lasting=("PairDown",))
    if due.moves:
        change = Move(due.to, due.moves)
        about = f"to {due.to} from {' '.join(sorted({place or NOWHERE for place in due.moves.values()}))}"
        left = Decision[Move](Words("; ".join(due.left.values())), refused=True, urgent=True, about=names)
        beside = left if due.left else None
        return Decision(why(seen, change), change, urgent=True, about=about, beside=beside, counts="AddressesMoved")
    if strange := odd(config, seen).values():
        return Decision(Words("; ".join(text.en for text in strange)), refused=True, urgent=bool(due.left), about=names)
    if weak := impaired(config, seen):
        failing = "; ".join(f"{each} fails its status checks: {seen.statuses[each].failing}" for each in weak)
        wanted = any(seen.alarms.get(each) == "ALARM" for each in weak)
        return Decision(Words(f"{failing}. {why_it_stays(config, seen, weak[0]).en}"), refused=wanted)
    return Decision(Words(f"everything is on a running instance of the pair: {states}"))


def act(config: Config, seen: Observed, change: Move) -> Done:
    """Make the move and look until it is seen."""
    done = move(config, seen, change)
    return replace(done, reason=why(seen, change)) if done.change else done


def mail(config: Config, seen: Observed, result: Result[Move, Done]) -> Mail | None:
    """Return the mail of a move; none when somebody else had made it by then, or nothing came of it, as before."""
    news = (result.done.change or result.done.refused) and not result.done.lasts
    return moved(config, seen, result) if news else None


TELLS: Tells[Config, Observed, Move, Done] = Tells(standing, found, outages=True, look=for_people)

reconcile.warm_up(Config, lambda config: addresses.interfaces("network-interface-id", config.pair_interface_ids))


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Reconcile the addresses with the states of the pair, whatever the event says."""
    return reconcile.reconcile(event, Config, observe, decide, act, mail, tells=TELLS)
