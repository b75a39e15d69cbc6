"""Decisions are tested on states that the readers can produce: `pytest --partners`.

A test may build what `observe` returns by hand and hand it to `decide`.  Whether AWS can ever be in that state, and
whether `observe` shows it, only a run through both can tell.  To a decision, a state is what leads it from one line to
another.  So every step from line to line that a decision takes in such a test, and every loop that it goes through or
not, must also be taken in a run that observes the sandbox: in a story, or in a handler called here.  What is not is
listed, and fails the suite unless LISTED says why no reader can get there.  It is a check of the whole suite: a part
of it has only a part of the stories.
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
from typing import Any

import pytest

from kirikae import reconcile
from sandbox.lambdas.bootstrap import note_ways

ROOT = Path(__file__).parents[1]
BY_HAND, OBSERVED = "by-hand", "observed"
# What readers return: a function that takes one of these, or is its method, concludes something from a state of the
# world.
STATES = re.compile(r"\b(Observed|Health|Order|Known|Switches|Target|Memory|Stored|Outage|Instance|Interface|Plan)\b")
SOURCES = [*ROOT.glob("functions/*/app.py"), *ROOT.glob("layer/kirikae/*/**/*.py")]
# "file: text of the line -> text of the next one" -> why no run that observes gets there
LISTED = {
    "layer/kirikae/maintenance/store.py: for _ in range(ATTEMPTS): -> raise UnfinishedError("
    'f"{name} is being written by others all the time; the wish for {wanted.name!r} may be lost")': "ten others would "
    "have to write, each between two calls of one run",
    "layer/kirikae/nlb/parameters.py: if listener.protocol not in NLB_PROTOCOLS: -> yield Words(": "the template's "
    "pattern refuses it",
    "layer/kirikae/standby/world.py: if config.active_instance_id in ids: -> yield "
    'f"StandbyInstanceIds names {config.active_instance_id}, the active itself; expected others"': "the template's "
    "Rules refuse such a stack",
}


class _Ways:
    """Every step that the product takes in this process, in one of two ways."""

    def __init__(self) -> None:
        self.seen: dict[str, set[str]] = defaultdict(set)
        self.way = BY_HAND
        own = (str(ROOT / "layer"), str(ROOT / "functions"))
        self._anew = note_ways(own, self._note)
        observing = reconcile.reconcile

        @functools.wraps(observing)
        def run(*args: Any, **more: Any) -> Any:
            self.turn(OBSERVED)
            try:
                return observing(*args, **more)
            finally:
                self.turn(BY_HAND)

        reconcile.reconcile = run

    def _note(self, way: str) -> None:
        self.seen[self.way].add(way)

    def turn(self, way: str) -> None:
        self.way = way
        self._anew()  # what has been taken in the other way is noted again


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--partners", action="store_true", help="list what decisions do on states that no reader produces")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--partners"):
        if not hasattr(config, "workerinput"):
            os.environ["SANDBOX_WAYS"] = tempfile.mkdtemp(prefix="ways-")
        config.stash[_KEY] = _Ways()


_KEY = pytest.StashKey[_Ways]()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _KEY not in session.config.stash:
        return
    sys.monitoring.set_events(sys.monitoring.COVERAGE_ID, 0)
    directory = Path(os.environ["SANDBOX_WAYS"])
    for way, taken in session.config.stash[_KEY].seen.items():
        (directory / f"{way}-{os.getpid()}").write_text("".join(f"{each}\n" for each in sorted(taken)))
    if not hasattr(session.config, "workerinput"):
        missing = without_partner(directory)
        shutil.rmtree(directory)
        session.config.stash[_MISSING] = missing
        if set(missing) != LISTED.keys() and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


_MISSING = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if _MISSING not in config.stash:
        return
    missing = set(config.stash[_MISSING])
    for title, lines in (
        ("steps of decisions that no run which observes has taken", missing - LISTED.keys()),
        ("listed as such steps, and not among them", LISTED.keys() - missing),
    ):
        if lines:
            terminalreporter.section(title)
            terminalreporter.write("\n".join(sorted(lines)) + "\n")


def without_partner(directory: Path) -> list[str]:
    """Return "file: text -> text" of each step of a decision that was taken on states made by hand alone.

    A function that begins is a step from its own line to itself, and so is a loop that is gone through.
    """
    ran: dict[str, set[tuple[str, int, int]]] = {BY_HAND: set(), OBSERVED: set()}
    for notes in directory.iterdir():
        way = BY_HAND if notes.name.startswith(BY_HAND) else OBSERVED
        for note in notes.read_text(errors="replace").splitlines():
            file, _, step = note.rpartition(":")
            if name := _source(file):
                line, _, then = step.partition(">")
                ran[way].add((name, int(line), int(then)))
    alone = ran[BY_HAND] - ran[OBSERVED]
    found = set()
    for source in SOURCES:
        name, text = str(source.relative_to(ROOT)), source.read_text(encoding="utf-8").splitlines()
        for line, then in ((line, then) for file, line, then in alone if file == name and line in _deciding(source)):
            here, there = text[line - 1].strip(), text[then - 1].strip()
            if line != then or here.startswith(("def ", "@", "for ")):
                found.add(f"{name}: {here} -> {there}")
    return sorted(found)


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
    """Return the numbers of the lines of functions that conclude something from a state, decorators included."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    states = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and STATES.fullmatch(node.name)]
    methods = [node for state in states for node in state.body if isinstance(node, ast.FunctionDef)]
    takers = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and _takes_a_state(node)]
    return frozenset(
        number
        for function in (*methods, *takers)
        for number in range(
            min([function.lineno, *(each.lineno for each in function.decorator_list)]), (function.end_lineno or 0) + 1
        )
    )


def _takes_a_state(function: ast.FunctionDef) -> bool:
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return any(argument.annotation and STATES.search(ast.unparse(argument.annotation)) for argument in arguments)
