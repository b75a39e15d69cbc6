"""`sam local invoke`: every function starts with the settings of samconfig.toml, as SAM CLI resolves them."""

import importlib
import tomllib
import warnings
from pathlib import Path
from typing import Any

import pytest
from samcli.lib.providers.sam_function_provider import SamFunctionProvider
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider
from stacks import FUNCTIONS, PAGE, ROOT, every_acting_function

from kirikae import env
from sandbox import REGION

SETTINGS = tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))["default"]["local_invoke"]["parameters"]


@pytest.fixture(scope="module")
def variables() -> dict[str, dict[str, str]]:
    """Return the environment of every function as SAM CLI gives it to a container."""
    given = dict(override.split("=", 1) for override in SETTINGS["parameter_overrides"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # SAM CLI calls what its translator will remove
        stacks, _ = SamLocalStackProvider.get_stacks(
            str(ROOT / "template.yaml"), parameter_overrides=given, global_parameter_overrides={"AWS::Region": REGION}
        )
        found = SamFunctionProvider(stacks)
    environments = {name: found.get(name).environment["Variables"] for name in FUNCTIONS}
    return {name: {key: str(value) for key, value in each.items()} for name, each in environments.items()}


@every_acting_function
def test_a_function_reads_its_settings(
    function: str, variables: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    app: Any = importlib.import_module(f"functions.{FUNCTIONS[function]}.app")
    given = variables[function] | {"AWS_LAMBDA_FUNCTION_NAME": function}  # which Lambda sets
    assert env.load(app.Config, given).region == REGION


def test_the_page_has_replies(variables: dict[str, dict[str, str]]) -> None:
    assert variables[PAGE]["MAINTENANCE_REPLIES"]


def test_every_documented_call_names_a_function_and_an_event() -> None:
    words = (ROOT / "README.md").read_text(encoding="utf-8").replace("`", " ").split()
    calls = [words[at + 3 : at + 6] for at in range(len(words)) if words[at : at + 3] == ["sam", "local", "invoke"]]
    assert calls
    assert [function for function, _, _ in calls if function not in FUNCTIONS] == []
    assert [file for _, option, file in calls if option != "-e" or not Path(ROOT / file.rstrip(",.")).is_file()] == []
