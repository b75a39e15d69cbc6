"""Measure the cold start of the handlers that switch an NLB, against an empty and a plainly written handler.

    python -m benchmarks.cold_start [rounds]

A cold start is what counts: the first switch after months of silence is one. Times of one machine hold nowhere else,
ratios do: the variants take turns, each run is a fresh process, every ratio is taken within its round.
"""

import os
import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import stub
from benchmarks.runtime import ROOT, Process, Variant, usable_cores

BUILD = ROOT / ".aws-sam" / "build"
HANDLERS = Path(__file__).parent / "handlers"
SHARE_OF_128_MB = 128 / 1769  # of one vCPU, which a function has at 1,769 MB
WRITE = "ModifyListener"

# The fast path begins with this event: the last server is stopping. And the way back: the recovery alarm has become OK.
STOPPING = {
    "version": "0",
    "id": "7bf73129-1428-4cd3-a780-95db273d1602",
    "detail-type": "EC2 Instance State-change Notification",
    "source": "aws.ec2",
    "account": "123456789012",
    "time": "2026-11-01T03:00:00Z",
    "region": "ap-northeast-1",
    "resources": [f"arn:aws:ec2:ap-northeast-1:123456789012:instance/{stub.INSTANCES[0]}"],
    "detail": {"instance-id": stub.INSTANCES[0], "state": "stopping"},
}
RECOVERED = {
    "source": "aws.cloudwatch",
    "alarmArn": "arn:aws:cloudwatch:ap-northeast-1:123456789012:alarm:shop-recovery",
    "accountId": "123456789012",
    "time": "2026-11-01T03:30:00.000+0000",
    "region": "ap-northeast-1",
    "alarmData": {
        "alarmName": "shop-recovery",
        "state": {"value": "OK", "timestamp": "2026-11-01T03:30:00.000+0000"},
        "previousState": {"value": "ALARM", "timestamp": "2026-11-01T03:00:00.000+0000"},
    },
}

PLAIN = {"nlb_sorry_switchover": "plain switchover", "nlb_switchback": "plain switchback"}

Row = dict[str, float]


def trusting(directory: Path, aws: stub.Stub) -> Path:
    """Copy the built layer and add the stub's root to those that the layer ships."""
    layer = shutil.copytree(BUILD / "KirikaeLayer" / "python", directory / "layer")
    with (layer / "kirikae" / "roots.pem").open("ab") as roots:
        roots.write(aws.authority.read_bytes())
    return layer


def variants(layer: Path) -> list[Variant]:
    """Return what is measured."""
    environment = {
        "SERVICE_NAME": "shop",
        "TOPIC_ARN": stub.TOPIC,
        "HOLD_PARAMETER": "/shop/hold",
        "TOLD_PARAMETER": "/shop/told/it",
        "NLB_LISTENER_ARNS": stub.LISTENER,
        "PRIMARY_TARGET_GROUP_ARN": stub.PRIMARY,
        "SORRY_TARGET_GROUP_ARN": stub.SORRY,
        "PRIMARY_INSTANCE_IDS": ",".join(stub.INSTANCES),
        "OUTAGE_ALARM_NAME": "shop-outage",
        "RECOVERY_ALARM_NAME": "shop-recovery",
        "READY_ALARM_NAME": "shop-ready",
        "FLAPPING_ALARM_NAME": "shop-flapping",
        "POWERTOOLS_SERVICE_NAME": "shop",
    }
    return [
        Variant("empty", HANDLERS / "empty"),
        Variant("plain switchover", HANDLERS / "plain_switchover", None, environment, STOPPING),
        Variant("nlb_sorry_switchover", BUILD / "NlbSorrySwitchoverFunction", layer, environment, STOPPING),
        Variant("plain switchback", HANDLERS / "plain_switchback", None, environment, RECOVERED),
        Variant("nlb_switchback", BUILD / "NlbSwitchbackFunction", layer, environment, RECOVERED),
    ]


def run(variant: Variant, aws: stub.Stub, share: "Share | None" = None) -> Row:
    """Start one process, give it one event and return what it took."""
    with share.process() if share else _unlimited() as limit:
        process = _process(variant, aws, limit)
        aws.on_call = lambda operation: process.mark("write") if operation == WRITE else None
        try:
            process.wait()
        finally:
            aws.on_call = lambda _: None
    marks = process.marks
    if "write" not in marks:
        if variant.event:
            raise RuntimeError(f"{variant.name} did not switch: {process.payload}\n{process.log.decode()}")
        marks["write"] = marks["end"]
    # The processor's time, because that of other processes is none of ours; after an INIT at full speed the time on
    # the wall, because there the function mostly waits for its next share.
    wall, cpu = zip(marks["ready"], marks["write"], marks["end"], strict=True)
    write, end = [cpu[0] + moment - wall[0] for moment in wall[1:]] if share else cpu[1:]
    return {"init": cpu[0], "write": write, "end": end, "wall": wall[2], "calls": len(aws.calls)}


def modules(variant: Variant, aws: stub.Stub) -> list[str]:
    """Return the modules that a cold start imports."""
    process = _process(replace(variant, python_options=("-X", "importtime")), aws, lambda _: None)
    process.wait()
    return re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", process.log.decode(), re.MULTILINE)


def _process(variant: Variant, aws: stub.Stub, on_ready: Callable[[Process], None]) -> Process:
    """Start a process in a world that calls for a switch in the variant's direction."""
    back = variant.event is RECOVERED
    aws.primary = "healthy" if back else "stopping"
    aws.weights = {stub.PRIMARY: 0, stub.SORRY: 1} if back else {stub.PRIMARY: 1, stub.SORRY: 0}
    aws.calls.clear()
    trust = {} if variant.layer else {"AWS_CA_BUNDLE": str(aws.bundle)}  # the layer brings its own roots
    return Process(variant, {"AWS_ENDPOINT_URL": aws.url} | trust, on_ready)


class Share:
    """A share of one core, given to a process by a control group (v1 or v2)."""

    PERIOD = 20_000  # microseconds, as in Lambda

    def __init__(self, share: float) -> None:
        root = Path("/sys/fs/cgroup")
        quota = int(share * self.PERIOD)
        name = f"kirikae-{os.getpid()}"
        if (root / "cgroup.controllers").exists():
            self._group, self._file, self._value = root / name, "cpu.max", f"{quota} {self.PERIOD}"
        else:
            self._group, self._file, self._value = root / "cpu" / name, "cpu.cfs_quota_us", str(quota)
        self._free = f"max {self.PERIOD}" if self._file == "cpu.max" else "-1"

    def __enter__(self) -> "Share":
        """Make the group; an OSError says that this system or user cannot."""
        self._group.mkdir()
        try:
            if self._file == "cpu.cfs_quota_us":
                (self._group / "cpu.cfs_period_us").write_text(str(self.PERIOD))
            (self._group / self._file).write_text(self._free)
        except OSError:
            self._group.rmdir()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._group.rmdir()

    @contextmanager
    def process(self) -> Iterator[Any]:
        """Yield what limits a process from the end of its INIT, which Lambda runs at full speed."""
        (self._group / self._file).write_text(self._free)

        def limit(process: Process) -> None:
            (self._group / "cgroup.procs").write_text(str(process.pid))
            (self._group / self._file).write_text(self._value)

        yield limit


@contextmanager
def _unlimited() -> Iterator[Any]:
    yield lambda _: None


def measure(chosen: list[Variant], aws: stub.Stub, rounds: int, share: Share | None = None) -> dict[str, list[Row]]:
    """Return the rows of each variant, one a round; the first round warms the file cache and does not count."""
    rows: dict[str, list[Row]] = {variant.name: [] for variant in chosen}
    for number in range(rounds + 1):
        for variant in chosen[number % len(chosen) :] + chosen[: number % len(chosen)]:
            row = run(variant, aws, share)
            if number:
                rows[variant.name].append(row)
        print(".", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    return rows


def ratios(rows: dict[str, list[Row]], name: str, reference: str, key: str) -> list[float]:
    """Return the ratios of a variant to a reference, taken within each round."""
    return [row[key] / other[key] for row, other in zip(rows[name], rows[reference], strict=True)]


def middle(values: list[float], digits: int = 0) -> str:
    """Return the median with the quartiles."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{median:,.{digits}f} ({low:,.{digits}f}-{high:,.{digits}f})"


def table(heading: list[str], lines: list[list[str]]) -> str:
    """Return a Markdown table with aligned columns."""
    cells = [heading, ["-" * 3] * len(heading), *lines]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heading))]
    cells[1] = ["-" * width for width in widths]
    return "\n".join("| " + " | ".join(f"{text:<{widths[n]}}" for n, text in enumerate(row)) + " |" for row in cells)


def report(rows: dict[str, list[Row]], limits: dict[str, float]) -> str:
    """Return the table of one measurement, and whether our handlers keep the limits of the ratios to the write."""
    lines, verdicts = [], []
    for name, some in rows.items():
        cells = [middle([row[key] for row in some]) for key in ("init", "write", "end", "wall")]
        for kind, reference in (("empty", "empty"), ("plain", PLAIN.get(name))):
            for key in ("write", "end"):
                cells.append(middle(ratios(rows, name, reference, key), 2) if reference else "")
            if name in PLAIN and reference and kind in limits:
                ratio = statistics.median(ratios(rows, name, reference, "write"))
                kept = "kept  " if ratio <= limits[kind] else "MISSED"
                verdicts.append(f"{kept} {name}: {ratio:.3f} x {reference} to the write, limit {limits[kind]}")
        lines.append([name, *cells])
    heading = ["handler", "INIT", "to the write", "to the end", "wall clock"]
    heading += [f"{part}, x {kind}" for kind in ("empty", "plain") for part in ("write", "end")]
    return "\n".join([table(heading, lines), "", *verdicts, ""])


def main() -> None:
    """Print the tables."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    if len(cores := usable_cores()) > 1:
        os.sched_setaffinity(0, {cores[0]})
    with tempfile.TemporaryDirectory() as directory, stub.Stub(Path(directory)) as aws:
        chosen = variants(trusting(Path(directory), aws))
        print(
            f"Cold start, {rounds} rounds, median (quartiles); ratios are taken within each round.\n"
            "The write is the call that changes the listener. Plain is a handler with the same calls, no more.\n"
        )
        print("At one vCPU: milliseconds of CPU time\n")
        rows = measure(chosen, aws, rounds)
        print(report(rows, {"empty": 8.0, "plain": 0.65}))
        print("At the CPU share of 128 MB: CPU time of an INIT at full speed, and what passes after it\n")
        try:
            with Share(SHARE_OF_128_MB) as share:
                print(report(measure(chosen, aws, rounds, share), {"plain": 0.15}))
        except OSError as problem:
            print(f"Skipped: no control group can be made here ({problem}).\n")
        print("Counts\n")
        lines = [[v.name, f"{rows[v.name][0]['calls']:.0f}", str(len(modules(v, aws)))] for v in chosen]
        print(table(["handler", "API calls", "modules imported"], lines))


if __name__ == "__main__":
    main()
