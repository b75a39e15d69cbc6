"""What this stack has taken out and not put back: in a parameter of Systems Manager that only its own roles write.

The tags on the groups say the same to people, but whoever may tag a group writes them, and some tools remove them.  The
executions are named only: which targets they have out, they know themselves.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import aws, log, patience, ssm
from kirikae.rotation.claims import Claim
from kirikae.rotation.stored import Memory, meant, text_of
from kirikae.rotation.world import Config, Member


def read(config: Config) -> Memory:
    """Return what is remembered; nothing if the parameter does not exist yet, or holds what was never written here."""
    return meant(config, _read(config.rotation_parameter)[0])


def read_if_possible(config: Config) -> Memory | None:
    """Return what is remembered, or None if Systems Manager does not say: what ended executions left out comes back."""
    try:
        return read(config)
    except (ClientError, BotoCoreError) as error:  # the tags and the executions must do meanwhile
        log.logger.error("the memory cannot be read", parameter=config.rotation_parameter, problem=str(error))
        return None


def change(config: Config, edit: Callable[[Memory], Memory], wrote: int = 0) -> int:
    """Remember it as `edit` leaves it, and return the version that does; two at the same moment lose nothing.

    wrote: the version that this run has written before, because a read may still show what was before that.
    """
    name = config.rotation_parameter
    text, version = _read(f"{name}:{wrote}" if wrote else name)
    before = meant(config, text)
    if (after := edit(before)) == before:
        return version
    while True:  # Systems Manager has no conditional write: what others wrote since the read has this change put on top
        written = ssm.put(name, text := text_of(name, after))
        if (last := ssm.replaced(name, text, version, written)) == version:
            return written
        after, version = edit(meant(config, _read(f"{name}:{last}")[0])), written


def begun(config: Config, execution: str) -> None:
    """Remember that an execution may have targets out from now on."""
    change(config, lambda known: replace(_without(known, {execution}), executions=known.executions | {execution}))


def see(config: Config, wrote: int) -> None:
    """Look until what this run has remembered is shown to whoever comes next, or the patience is over."""
    patience.until(lambda: _read(config.rotation_parameter)[1], lambda version: version >= wrote)


def over(config: Config, executions: frozenset[str]) -> None:
    """Forget executions that have ended and left nothing out."""
    change(config, lambda known: _without(known, executions))


def gave_back(config: Config, targets: Mapping[str, frozenset[str]]) -> None:
    """Remember what has come back of executions that have others out still: from now on it is not theirs."""

    def with_them(known: Memory) -> Memory:
        more = {name: known.returned.get(name, frozenset()) | ids for name, ids in targets.items()}
        return replace(known, returned={**known.returned, **more})

    change(config, with_them)


def _without(known: Memory, executions: Collection[str]) -> Memory:
    returned = {name: targets for name, targets in known.returned.items() if name not in executions}
    return replace(known, executions=known.executions - frozenset(executions), returned=returned)


def taken(config: Config, target: str, claim: Claim) -> int:
    """Remember how a target is registered before an operation by hand takes it out; return the version that does.

    It may have left other groups.
    """

    def with_it(known: Memory) -> Memory:
        before = known.by_hand[target].places if target in known.by_hand else ()
        others = tuple(place for place in before if place not in claim.places)
        return replace(known, by_hand={**known.by_hand, target: replace(claim, places=others + claim.places)})

    return change(config, with_it)


def returned(config: Config, member: Member, wrote: int = 0) -> None:
    """Forget that a target was taken out of these places; wrote: the version in which this run has remembered it."""

    def without(known: Memory) -> Memory:
        rest = {
            target: replace(claim, places=tuple(p for p in claim.places if p not in member["places"]))
            if target == member["id"]
            else claim
            for target, claim in known.by_hand.items()
        }
        return replace(known, by_hand={target: claim for target, claim in rest.items() if claim.places})

    change(config, without, wrote)


def _read(name: str) -> tuple[str, int]:
    """Return value and version of the parameter; version 0 if it does not exist.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
    """
    try:
        found = aws.client("ssm").get_parameter(Name=name)["Parameter"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise
        return "{}", 0
    return found["Value"], found["Version"]
