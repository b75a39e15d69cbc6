"""Each function, and the layer, can be built alone: `sam build NAME`, and so `sam local invoke NAME` and `sam sync`.

A build of everything does not show it: only a build by name asks SAM which layers the function has.

Needs `make build`.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from stacks import FUNCTIONS, PAGE, ROOT, SOURCE
from template_tools import TEMPLATE

from sandbox import drawn

LAYERS = [name for name, one in SOURCE["Resources"].items() if one["Type"] == "AWS::Serverless::LayerVersion"]


@pytest.mark.parametrize(
    "name", [PAGE, *drawn("builds").sample([name for name in FUNCTIONS if name != PAGE], 2), *LAYERS]
)
def test_one_is_built_alone_with_the_layers_that_it_has_and_nothing_else(
    name: str, build: Path, tmp_path: Path
) -> None:
    """Show that SAM finds one resource and its layers by name, and builds what belongs to it.

    Of the functions that have no more than Globals give, two others each day.

    What `make build` left in the cache is taken from there, the layer above all: two seconds a name instead of five.
    """
    there = tmp_path / ".aws-sam"
    shutil.copytree(build.parent / "cache", there / "cache")
    shutil.copy(build.parent / "build.toml", there)  # says what the cache holds
    places = ["--template", TEMPLATE, "--build-dir", there / "build", "--cache-dir", there / "cache"]
    run = subprocess.run(
        [ROOT / ".venv" / "bin" / "sam", "build", name, *places],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}", "SAM_CLI_TELEMETRY": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    built = {path.name for path in (there / "build").iterdir()}
    assert built == {name, "template.yaml", *([] if name == PAGE else LAYERS)}


def undone(properties: Mapping[str, Any], general: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """Yield what Globals give and a function takes away again."""
    for key in properties.keys() & general.keys():
        if properties[key] == {"Ref": "AWS::NoValue"}:
            yield f"{place}{key}"
        elif isinstance(properties[key], dict) and isinstance(general[key], dict):
            yield from undone(properties[key], general[key], f"{place}{key}.")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_function_takes_away_what_globals_give(name: str) -> None:
    """SAM CLI reads the template before CloudFormation does, and takes `!Ref AWS::NoValue` for a value."""
    assert list(undone(SOURCE["Resources"][name]["Properties"], SOURCE["Globals"]["Function"])) == []
