"""The rooms of the house: who may know whom, and how much one place may hold. docs/map.md draws it."""

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path

import partners
import pytest

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layer" / "kirikae"
CAPABILITIES = {path.parent.name for path in LAYER.glob("*/__init__.py")}
SOURCES = sorted([*LAYER.rglob("*.py"), *(ROOT / "functions").rglob("*.py")])
STORIES = [path for path in SOURCES if path.name == "app.py" and path.parent.name != "maintenance_page"]


def lint(house: Path) -> subprocess.CompletedProcess[str]:
    """Check the imports of a checkout against the contracts of pyproject.toml, as `make test` does."""
    return subprocess.run(
        [ROOT / ".venv" / "bin" / "lint-imports", "--no-cache"],
        cwd=house,
        env=os.environ | {"PYTHONPATH": "layer"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("file", "forbidden"),
    [
        pytest.param("layer/kirikae/nlb/world.py", "from kirikae.pair import world as other", id="another capability"),
        pytest.param("layer/kirikae/ec2.py", "from kirikae.standby.world import Config", id="shared to capability"),
        pytest.param("layer/kirikae/pair/move.py", "from kirikae.reconcile import reconcile", id="capability to loop"),
        pytest.param("layer/kirikae/errors.py", "from kirikae import notify", id="upward within what is shared"),
        pytest.param("layer/kirikae/aws.py", "import functions.nlb_switchback.app", id="layer to functions"),
        pytest.param("layer/kirikae/aws.py", "import sandbox.clock", id="layer to sandbox"),
        pytest.param("layer/kirikae/nlb/world.py", "from kirikae.nlb import switch", id="a circle in a capability"),
        pytest.param("sandbox/clock.py", "from kirikae import aws", id="sandbox to layer"),
        pytest.param("sandbox/clock.py", "import functions.nlb_switchback.app", id="sandbox to functions"),
    ],
)
def test_an_import_that_leads_where_it_may_not_is_found(tmp_path: Path, file: str, forbidden: str) -> None:
    for part in ("layer/kirikae", "sandbox"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "*.md"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert lint(tmp_path).returncode == 0, lint(tmp_path).stdout
    with (tmp_path / file).open("a", encoding="utf-8") as planted:
        planted.write(f"\n{forbidden}\n")
    found = lint(tmp_path)
    assert found.returncode == 1
    assert re.search("[12] broken", found.stdout), found.stdout


@pytest.mark.parametrize("story", STORIES, ids=lambda path: path.parent.name)
def test_a_function_tells_the_story_of_one_capability_and_imports_no_other_function(story: Path) -> None:
    modules = [
        node.module or ""
        for node in ast.walk(ast.parse(story.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
    ]
    assert len({module.split(".")[1] for module in modules if module.startswith("kirikae.")} & CAPABILITIES) == 1
    assert not [module for module in modules if module.startswith(("functions", "sandbox"))]


@pytest.mark.parametrize("capability", sorted(CAPABILITIES))
def test_every_capability_has_the_same_first_rooms(capability: str) -> None:
    rooms = {path.stem for path in (LAYER / capability).iterdir()}
    assert {"world", "mail"} <= rooms


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_can_be_read_at_one_go(source: Path) -> None:
    """A function of the product has at most 40 lines, a module 200: more is a sign of two subjects in one place."""
    text = source.read_text(encoding="utf-8")
    lengths = {
        node.name: (node.end_lineno or 0) - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
    }
    assert {name: lines for name, lines in lengths.items() if lines > 40} == {}
    assert text.count("\n") <= 200


MAP = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")


def test_what_the_map_names_is_there() -> None:
    named = re.findall(r"`((?:functions|layer|statemachine|events|sandbox|tests|benchmarks|docs)/[^`<>]*)`", MAP)
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_room_is_on_the_map() -> None:
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))]
    rooms = [str(room.relative_to(ROOT)) for room in [*folders, *(LAYER / name for name in CAPABILITIES)]]
    assert [room for room in rooms if f"`{room}/" not in MAP] == []


def taken(source: Path, text: str, then: str) -> str:
    """Return the note of a step from a line to another, as partners.py notes it."""
    lines = [line.strip() for line in source.read_text(encoding="utf-8").splitlines()]
    assert (lines.count(text), lines.count(then)) == (1, 1)
    return f"{source}:{lines.index(text) + 1}>{lines.index(then) + 1}\n"


def test_a_step_on_a_state_that_nobody_has_observed_is_listed(tmp_path: Path) -> None:
    outage, app = LAYER / "standby" / "outage.py", ROOT / "functions" / "cold_standby_start" / "app.py"
    down = "def down(seen: Observed) -> bool:"
    lost = (
        "if wrong := [*world.misconfigured(config, seen), *(said.en for said in lineup.unusable(seen).values())]:",
        "return Decision(Words(f\"{active}; {'; '.join(wrong)}\"), refused=True)  # in an outage it keeps nothing down",
    )
    by_hand = taken(outage, down, down) + taken(app, *lost) + taken(app, *["@logger.inject_lambda_context"] * 2)
    (tmp_path / f"{partners.BY_HAND}-1").write_text(by_hand)
    listed = [
        f"functions/cold_standby_start/app.py: {' -> '.join(lost)}",
        f"layer/kirikae/standby/outage.py: {down} -> {down}",
    ]
    assert partners.without_partner(tmp_path) == listed
    built = taken(app, *lost).replace(str(app.parent), "/tmp/stack/ColdStandbyStartFunction")  # noqa: S108 (a name)
    (tmp_path / "an-environment").write_text(built)
    assert partners.without_partner(tmp_path) == listed[1:]
    (tmp_path / f"{partners.OBSERVED}-1").write_text(taken(outage, down, down))
    assert partners.without_partner(tmp_path) == []
