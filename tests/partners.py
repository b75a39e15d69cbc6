"""Decisions are tested on states that the readers can produce: `pytest --partners`.

A test may build what `observe` returns by hand and hand it to `decide`.  Whether AWS can ever be in that state, and
whether `observe` shows it, only a run through both can tell.  So every line of a decision that runs in such a test must
also run in a run that observes the sandbox: in a story, or in a handler called here.  A line that does not is listed,
and fails the suite unless LISTED says why no reader can get there.  It is a check of the whole suite: a part of it has
only a part of the stories.  Which decisions a story comes to depends on what is shown late to it, so under another seed
than the sandbox's own (`.ci/run` takes one each day) a line is listed and fails nothing.
"""

import ast
import functools
import os
import re
import shutil
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from kirikae import reconcile

ROOT = Path(__file__).parents[1]
BY_HAND, OBSERVED = "by-hand", "observed"
# What readers return: a function that takes one of these concludes something from a state of the world.
STATES = re.compile(r"\b(Observed|Health|Order|Known)\b")
SOURCES = [*ROOT.glob("functions/*/app.py"), *ROOT.glob("layer/kirikae/*/**/*.py")]
LISTED = {  # "file: text of the line" -> why no run that observes gets there
    'layer/kirikae/standby/world.py: return Words(f"StandbyInstanceIds names {config.active_instance_id}, the active '
    'itself; expected others")': "the template's Rules refuse such a stack",
}


class _Lines:
    """Every line of the product that runs in this process, in one of two ways."""

    def __init__(self) -> None:
        self.seen: dict[str, set[tuple[str, int]]] = defaultdict(set)
        self.way = BY_HAND
        own = (str(ROOT / "layer"), str(ROOT / "functions"))

        def line(code: CodeType, number: int) -> object:
            if code.co_filename.startswith(own):
                self.seen[self.way].add((code.co_filename, number))
            return sys.monitoring.DISABLE

        sys.monitoring.use_tool_id(sys.monitoring.COVERAGE_ID, "partners")
        sys.monitoring.register_callback(sys.monitoring.COVERAGE_ID, sys.monitoring.events.LINE, line)
        sys.monitoring.set_events(sys.monitoring.COVERAGE_ID, sys.monitoring.events.LINE)
        observing = reconcile.reconcile

        @functools.wraps(observing)
        def run(*args: Any, **more: Any) -> Any:
            self.turn(OBSERVED)
            try:
                return observing(*args, **more)
            finally:
                self.turn(BY_HAND)

        reconcile.reconcile = run

    def turn(self, way: str) -> None:
        self.way = way
        sys.monitoring.restart_events()  # what has run in the other way is reported again


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--partners", action="store_true", help="list decisions on states that no reader produces")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--partners"):
        if not hasattr(config, "workerinput"):
            os.environ["SANDBOX_LINES"] = tempfile.mkdtemp(prefix="lines-")
        config.stash[_KEY] = _Lines()


_KEY = pytest.StashKey[_Lines]()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _KEY not in session.config.stash:
        return
    directory = Path(os.environ["SANDBOX_LINES"])
    for way, lines in session.config.stash[_KEY].seen.items():
        text = "".join(f"{file}:{number}\n" for file, number in sorted(lines))
        (directory / f"{way}-{os.getpid()}").write_text(text)
    if not hasattr(session.config, "workerinput"):
        missing = without_partner(directory)
        shutil.rmtree(directory)
        session.config.stash[_MISSING] = missing
        own_seed = "KIRIKAE_SANDBOX_SEED" not in os.environ
        if own_seed and set(missing) != LISTED.keys() and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


_MISSING = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if _MISSING not in config.stash:
        return
    missing = set(config.stash[_MISSING])
    for title, lines in (
        ("decisions on states that no reader has produced", missing - LISTED.keys()),
        ("listed as decisions on such states, and not among them", LISTED.keys() - missing),
    ):
        if lines:
            terminalreporter.section(title)
            terminalreporter.write("\n".join(sorted(lines)) + "\n")


def without_partner(directory: Path) -> list[str]:
    """Return "file: text" of each line of a decision that ran on a state made by hand and on none that was observed."""
    ran: dict[str, set[tuple[str, int]]] = {BY_HAND: set(), OBSERVED: set()}
    for notes in directory.iterdir():
        way = BY_HAND if notes.name.startswith(BY_HAND) else OBSERVED
        for note in notes.read_text(errors="replace").splitlines():
            file, _, number = note.rpartition(":")
            if (name := _source(file)) and number.isdecimal():
                ran[way].add((name, int(number)))
    found = []
    for source in SOURCES:
        name, text = str(source.relative_to(ROOT)), source.read_text(encoding="utf-8").splitlines()
        lines = sorted(number for file, number in ran[BY_HAND] - ran[OBSERVED] if file == name)
        found += [f"{name}: {text[number - 1].strip()}" for number in lines if number in _deciding(source)]
    return found


def _source(file: str) -> str:
    """Return the file of the repository that a built or imported one is, or nothing."""
    if "/kirikae/" in file:
        return f"layer/kirikae/{file.partition('/kirikae/')[2]}"
    if not file.endswith("/app.py"):
        return ""
    folder = Path(file).parent.name
    if (ROOT / "functions" / folder).is_dir():
        return f"functions/{folder}/app.py"
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in folder.removesuffix("Function"))
    return f"functions/{words.lstrip('_')}/app.py"  # built: under its logical id


@functools.cache
def _deciding(source: Path) -> frozenset[int]:
    """Return the numbers of the lines within functions that conclude something from a state."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and _takes_a_state(node)]
    return frozenset(n for f in functions for n in range(f.body[0].lineno, (f.end_lineno or f.lineno) + 1))


def _takes_a_state(function: ast.FunctionDef) -> bool:
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return any(argument.annotation and STATES.search(ast.unparse(argument.annotation)) for argument in arguments)
