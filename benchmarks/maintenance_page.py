"""Measure the first reply of the maintenance page against an empty handler, and the handler's own time when warm.

    python -m benchmarks.maintenance_page [rounds]

Ends with an error when a limit is passed. As in `cold_start`: fresh processes take turns, ratios within each round.
"""

import json
import os
import statistics
import subprocess
import sys

from benchmarks.cold_start import BUILD, HANDLERS, middle, table
from benchmarks.runtime import PYTHON, ROOT, Process, Variant, usable_cores

LARGEST_RATIO = 1.3  # of the first reply to that of an empty handler
LONGEST_REPLY_MS = 2.0
WARM_REPLIES = 2000
CODE = BUILD / "MaintenancePageFunction"
EVENTS = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "events").glob("maintenance_page_*.json"))}
ENVIRONMENT = {
    "SERVICE_NAME": "shop",
    "MAINTENANCE_PARAMETER": "/shop/maintenance",
    "MAINTENANCE_TIMEZONE": "Asia/Tokyo",
    "MAINTENANCE_REPLIES": json.dumps(
        [{"path": "/a", "status": 303, "location": "/a/maintenance"}, {"path": "/", "status": 503, "page": True}]
    ),
}

# In the functions' own interpreter; the access log goes to standard output, the times to standard error.
WARM_PROGRAM = """
import json, statistics, sys, time
import app
found = {}
for name, event in json.loads(sys.argv[1]).items():
    taken = []
    for _ in range(int(sys.argv[2])):
        start = time.thread_time()
        app.lambda_handler(event, None)
        taken.append(1000 * (time.thread_time() - start))
    found[name] = [statistics.median(taken), statistics.quantiles(taken, n=100)[98]]
json.dump(found, sys.stderr)
"""


def cold(rounds: int) -> tuple[str, float]:
    """Return the table of cold starts, and the median of the ratios of processor time to the first reply."""
    event = EVENTS["maintenance_page_request"]
    variants = [
        Variant("empty", HANDLERS / "empty", event=event),
        Variant("maintenance_page", CODE, environment=ENVIRONMENT, event=event),
    ]
    marks: dict[str, list[dict[str, tuple[float, float]]]] = {variant.name: [] for variant in variants}
    for number in range(rounds + 1):
        for variant in variants[:: (-1) ** number]:
            process = Process(variant, {}, on_ready=lambda _: None)
            process.wait()
            if number:  # the first round warms the file cache
                marks[variant.name].append(process.marks)
    pairs = list(zip(marks["maintenance_page"], marks["empty"], strict=True))
    ratios = [[ours["end"][clock] / empty["end"][clock] for ours, empty in pairs] for clock in (0, 1)]
    lines = [
        [
            name,
            *(middle([one[mark][clock] for one in some], 1) for mark, clock in (("ready", 0), ("end", 0), ("end", 1))),
        ]
        for name, some in marks.items()
    ]
    lines[0] += ["1", "1"]
    lines[1] += [middle(ratios[0], 2), middle(ratios[1], 2)]
    heading = ["handler", "INIT ms", "to the first reply ms", "CPU ms", "x empty", "x empty, CPU"]
    return table(heading, lines), statistics.median(ratios[1])


def warm() -> tuple[str, float]:
    """Return the table of warm replies in milliseconds of processor time, and the slowest 99th percentile."""
    done = subprocess.run(
        [str(PYTHON), "-P", "-c", WARM_PROGRAM, json.dumps(EVENTS), str(WARM_REPLIES)],
        env={"PYTHONPATH": str(CODE), **ENVIRONMENT},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    times: dict[str, list[float]] = json.loads(done.stderr)
    lines = [[name, *(f"{value:.3f}" for value in values)] for name, values in times.items()]
    return table(["event", "median ms", "99th percentile ms"], lines), max(values[1] for values in times.values())


def main() -> None:
    """Print the tables and judge."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    if len(cores := usable_cores()) > 1:
        os.sched_setaffinity(0, {cores[0]})
    text, ratio = cold(rounds)
    print(f"First reply of a cold maintenance page, {rounds} rounds, median (quartiles)\n\n{text}\n")
    text, slowest = warm()
    print(f"Warm replies in the handler, {WARM_REPLIES} of each, processor time\n\n{text}\n")
    if ratio > LARGEST_RATIO:
        sys.exit(
            f"The first reply takes {ratio:.2f} times the processor time of an empty handler, {LARGEST_RATIO} allowed"
        )
    if slowest > LONGEST_REPLY_MS:
        sys.exit(f"A warm reply takes {slowest:.3f} ms of processor time, {LONGEST_REPLY_MS} allowed")


if __name__ == "__main__":
    main()
