"""One run that starts a standby, on its way through the candidates, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from kirikae.decision import Made
from kirikae.ec2 import Instance
from kirikae.notify import Words
from kirikae.standby.world import Config, Observed, Start, Started

# No start is begun later in a run.  The function's timeout is twice as long: for the last answer, the notes, the mail.
TRYING = timedelta(seconds=15)


@dataclass(frozen=True, kw_only=True)
class Done(Made):
    """What came of a start."""

    change: Started | None
    unfenced: str = ""  # why what may still serve could not be stopped
    beside: str = ""  # a standby that is up already and takes the active's place once that is stopped
    waits: bool = False  # for the active to be seen stopped
    through: bool = True  # False: time was up, and the next run goes on
    started: Instance | None = None  # as it is right afterwards
    own_type: str = ""  # of the started standby, if another type was set
    before: str = ""  # EC2's words for the types of the started standby that it did not start
    failed: Mapping[str, str] = field(default_factory=dict)  # candidate -> why, those of this run
    left: Mapping[str, str] = field(default_factory=dict)  # standby -> what of it does not serve, those of this run
    unnoted: tuple[str, ...] = ()  # of the failed ones, those of which no note could be written
    news: bool = True  # not mailed yet


@dataclass
class Run:
    """One run on its way through the candidates, and what has come of it so far."""

    config: Config
    seen: Observed
    change: Start
    fences: list[str]  # what is to be stopped before anything starts
    beside: str = ""  # a standby that is up already, where none is to be started
    fenced: str | None = None  # the active, if this run has stopped it
    failed: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    unnoted: list[str] = field(default_factory=list)

    def came_to(self, text: str, **more: object) -> Done:
        """Return what came of it, with what is known by now."""
        change = Started(self.fenced) if self.fenced else None
        known = {
            "change": change,
            "reason": Words(text),
            "failed": self.failed,
            "left": self.left,
            "beside": self.beside,
            "unnoted": tuple(self.unnoted),
            "found": bool(self.unnoted),  # the next run finds the same again, and people know it then
        }
        return Done(**(known | more))  # type: ignore[arg-type]  # the fields of Done by name
