"""What was just written is looked for again and again, but not for ever, and no failed look undoes it."""

from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from kirikae import patience
from kirikae.errors import OutdatedError

THROTTLED = ClientError({"Error": {"Code": "Throttling", "Message": "slow down"}}, "DescribeListeners")
NOBODY = EndpointConnectionError(endpoint_url="https://example.com")


class Clock:
    """A clock that only sleeping and looking take on."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, list[float]()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.slept.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of the layer."""
    clock = Clock()
    monkeypatch.setattr("time.sleep", clock.sleep)
    monkeypatch.setattr("time.time", lambda: clock.now)
    return clock


class Looks:
    """Answers, one for each look; an exception is raised.  The last one is repeated."""

    def __init__(self, clock: Clock, answers: list[object], seconds: float = 0) -> None:
        self.clock, self.seconds, self.made = clock, seconds, 0
        self.answers: Iterator[object] = iter(answers)
        self.last: object = None

    def __call__(self) -> object:
        """Look."""
        self.made += 1
        self.clock.now += self.seconds
        self.last = next(self.answers, self.last)
        if isinstance(self.last, Exception):
            raise self.last
        return self.last


@pytest.mark.parametrize(
    ("answers", "found", "slept"),
    [
        pytest.param(["new"], "new", [], id="at once"),
        pytest.param(["old", "old", "new"], "new", [0.2, 0.4], id="after two stale looks"),
        pytest.param([THROTTLED, NOBODY, "new"], "new", [0.2, 0.4], id="after two failed looks"),
        pytest.param(["old"], "old", [*patience.PAUSES], id="never"),
        pytest.param(["old", THROTTLED], "old", [*patience.PAUSES], id="never, and the last look failed"),
        pytest.param([THROTTLED], None, [*patience.PAUSES], id="unreadable"),
    ],
)
def test_it_looks_until_the_answer_shows_it(clock: Clock, answers: list[object], found: object, slept: object) -> None:
    looks = Looks(clock, answers)
    assert patience.until(looks, lambda answer: answer == "new") == found
    assert [seconds for seconds in clock.slept if seconds] == slept


def test_it_is_over_after_six_seconds_however_slowly_aws_answers(clock: Clock) -> None:
    looks = Looks(clock, ["old"], seconds=2.5)
    assert patience.until(looks, lambda answer: answer == "new") == "old"
    assert (looks.made, clock.now - 1000.0) == (3, pytest.approx(8.1))  # begun after 0, 2.7 and 5.6 seconds


@pytest.mark.parametrize(("stale", "came"), [(0, "seen"), (2, "seen"), (9, "as shown")])
def test_who_was_misled_looks_anew_and_in_the_end_takes_what_is_shown(clock: Clock, stale: int, came: str) -> None:
    looks = Looks(clock, [*[OutdatedError("of before")] * stale, "seen"], seconds=1)
    assert patience.anew(looks, lambda: "as shown") == came
    assert clock.slept == [*patience.PAUSES][:stale]


def test_an_error_of_ours_is_not_swallowed(clock: Clock) -> None:
    with pytest.raises(KeyError):
        patience.until(Looks(clock, [KeyError("ours")]), lambda _: True)
