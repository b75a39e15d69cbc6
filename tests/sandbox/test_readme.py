"""The sandbox's README and facts are true: its code runs, its tables name what is there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SANDBOX = Path(__file__).parents[2] / "sandbox"
README = (SANDBOX / "README.md").read_text(encoding="utf-8")
FILES = sorted(SANDBOX.rglob("*.py"))
BLOCKS = re.findall(r"^```\w+\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
FACTS = re.findall(r"^\| ([A-V]\d+) \|", (SANDBOX / "facts.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    template, code, use = BLOCKS
    (tmp_path / "template.yaml").write_text(template)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "app.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    exec(compile(use, "README.md", "exec"), {})  # noqa: S102 (our own page)
    last, error = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", last)
    assert error.startswith("ParameterLimitExceeded: An error occurred")


def test_every_room_is_named() -> None:
    rooms = {path.name + "/" if path.is_dir() else path.name for path in SANDBOX.iterdir()}
    rooms -= {"__init__.py", "__pycache__/", "README.md", "facts.md"}
    named = re.search(r"## The rooms\n(.*?)\n## ", README, re.DOTALL)
    assert named
    assert {room for row in re.findall(r"^\| ([^|]+) \|", named[1], re.MULTILINE) for room in row.split(", ")} - {
        "room",
        "---",
    } == rooms


def _reaches(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield what a file reaches in moto, by kind."""
    text = path.read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(text)))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and str(node.module).startswith("moto.")]
    names = {alias.asname or alias.name for node in imports for alias in node.names}
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    yield "imports", [f"{node.module}.{alias.name}" for node in imports for alias in node.names]
    yield (
        "replaces",
        [
            f"{node.value.id}.{node.attr}"
            for node in attributes
            if isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name) and node.value.id in names
        ],
    )
    yield (
        "private",
        [
            node.attr
            for node in attributes
            if re.match("_[a-z]", node.attr)
            and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
            if f"self.{node.attr}" not in text
        ],
    )
    yield "backends", re.findall(r'backend\("(\w+)"\)', text)


def test_the_table_of_moto_is_complete() -> None:
    rows = []
    for path in FILES:
        cells = [", ".join(sorted({name.removeprefix("moto.") for name in found})) for _, found in _reaches(path)]
        if any(cells):
            rows.append(f"| {' | '.join(cell or '-' for cell in [str(path.relative_to(SANDBOX)), *cells])} |")
    written = README.partition("| file | imports | replaces | private | backends |\n")[2].splitlines()[1:]
    assert written == rows, "\n".join(rows)


def test_every_fact_is_used_and_every_number_is_a_fact() -> None:
    comments = [
        line.partition("#")[2] + line.partition('"""')[2]
        for path in [*FILES, *Path(__file__).parent.glob("*.py")]
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    # S3 is a service, too: comments may name it without meaning the fact.
    used = {number for comment in comments for number in re.findall(r"\b(?!S3\b)[A-V]\d{1,2}\b", comment)}
    assert used | {"S3"} == set(FACTS)
    assert len(FACTS) == len(set(FACTS))
