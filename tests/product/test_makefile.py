"""Set-up and build as a user meets them: what is found, what is said when it is not, and what costs nothing twice."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from samcli.cli.types import CfnParameterOverridesType
from stacks import EVERYTHING
from template_tools import STACK_NAME, expanded, of_type

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REAL = sys._base_executable  # type: ignore[attr-defined]

# A pyenv shim of a version that is not selected, an older Python under the name, and Debian's without python3.13-venv.
SHIM = "#!/bin/sh\necho 'pyenv: python3.13: command not found' >&2\nexit 127\n"
OLDER = "#!/bin/sh\nexit 1\n"
WITHOUT_VENV = "#!/bin/sh\nexit 2\n"
WORKING = f'#!/bin/sh\nexec "{REAL}" "$@"\n'


def put(path: Path, text: str) -> Path:
    """Write an executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


class Machine:
    """A machine whose absolute directories lie under a temporary one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path: list[Path] = []
        text = (ROOT / "bin" / "find-python").read_text(encoding="utf-8")
        places = re.sub(r"(?<=[ -])/(?=opt/|usr/|home/|Library/)", f"{root}/", text)
        self._script = put(root / "find-python", places)
        self._tools = root / "tools"  # all that it needs besides a shell; /bin may hold a Python of this machine
        self._tools.mkdir()
        (self._tools / "cat").symlink_to(str(shutil.which("cat")))

    def find(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run bin/find-python there."""
        return subprocess.run(
            ["/bin/sh", self._script],
            env={
                "PATH": os.pathsep.join(map(str, [*self.path, self._tools])),
                "HOME": str(self.root / "home"),
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine without any Python 3.13."""
    return Machine(tmp_path)


def test_the_first_working_one_on_path_is_taken(machine: Machine) -> None:
    machine.path = [machine.root / "shims", machine.root / "older", machine.root / "good", machine.root / "late"]
    for directory, text in zip(machine.path, (SHIM, OLDER, WORKING, SHIM), strict=True):
        put(directory / "python3.13", text)
    run = machine.find()
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, REAL, "")


@pytest.mark.parametrize(
    "place",
    [
        "home/.pyenv/versions/3.13.7/bin",
        "home/.asdf/installs/python/3.13.1/bin",
        "home/.local/share/mise/installs/python/3.13/bin",
        "home/.local/share/uv/python/cpython-3.13.9-linux-x86_64-gnu/bin",
        "home/.local/bin",
        "home/miniconda3/bin",
        "home/miniconda3/envs/kirikae/bin",
        "opt/conda/bin",
        "opt/homebrew/bin",
        "opt/hostedtoolcache/Python/3.13.2/x64/bin",
        "opt/python/3.13.0/bin",
        "usr/local/bin",
        "usr/local/opt/python@3.13/bin",
        "usr/bin",
        "Library/Frameworks/Python.framework/Versions/3.13/bin",
    ],
)
def test_one_that_is_not_on_path_is_found_where_tools_install_it(machine: Machine, place: str) -> None:
    put(machine.root / place / "python3.13", WORKING)
    assert machine.find().stdout.strip() == REAL


@pytest.mark.parametrize(
    ("variable", "place"),
    [
        ("PYENV_ROOT", "versions/3.13.0/bin"),
        ("ASDF_DATA_DIR", "installs/python/3.13.0/bin"),
        ("MISE_DATA_DIR", "installs/python/3.13.0/bin"),
        ("UV_PYTHON_INSTALL_DIR", "cpython-3.13.0-macos-aarch64-none/bin"),
        ("CONDA_PREFIX", "bin"),
        ("RUNNER_TOOL_CACHE", "Python/3.13.0/arm64/bin"),
    ],
)
def test_a_tool_that_was_moved_is_asked_where(machine: Machine, variable: str, place: str) -> None:
    put(machine.root / "moved" / place / "python3.13", WORKING)
    assert machine.find().returncode == 1
    assert machine.find(**{variable: str(machine.root / "moved")}).stdout.strip() == REAL


@pytest.mark.parametrize("text", ["", SHIM, OLDER])
def test_none_found_says_what_is_missing_and_how_to_get_it(machine: Machine, text: str) -> None:
    machine.path = [machine.root / "bin"]
    if text:
        put(machine.root / "bin" / "python3.13", text)
    run = machine.find()
    assert (run.returncode, run.stdout) == (1, "")
    for words in (
        "Python 3.13 was not found",
        "apt install python3.13",
        "brew install python@3.13",
        "uv python install 3.13",
        "pyenv install 3.13",
    ):
        assert words in run.stderr


def test_one_without_venv_is_named_with_its_remedy(machine: Machine) -> None:
    broken = put(machine.root / "usr" / "bin" / "python3.13", WITHOUT_VENV)
    run = machine.find()
    assert run.returncode == 1
    assert str(broken) in run.stderr
    assert "apt install python3.13-venv" in run.stderr
    assert "was not found" not in run.stderr


def test_a_virtual_environment_on_path_leads_to_its_base(machine: Machine) -> None:
    """The environment may be the very .venv that is about to be made anew."""
    machine.path = [Path(sys.executable).parent]
    assert machine.find().stdout.strip() == REAL


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a copy of the repository with everything set up and built, by tools that only pretend."""
    for name in ("Makefile", "pyproject.toml", "bin/find-python"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    for name in ("template.yaml", "samconfig.toml", "functions/f/app.py", "layer/kirikae/aws.py"):
        put(tmp_path / name, "")
    put(tmp_path / ".venv/bin/python3.13", WORKING)
    put(
        tmp_path / ".venv/bin/sam",
        "#!/bin/sh\nmkdir -p .aws-sam/build\ncommand -v python3.13 > .aws-sam/build/template.yaml\n",
    )
    for stamp in (".venv/.done", ".venv-lambda/.done", ".venv-floor/.done"):
        put(tmp_path / stamp, "")
    make(tmp_path, "build")
    return tmp_path


def make(directory: Path, *arguments: str, code: int = 0) -> str:
    """Run make and return what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    run = subprocess.run(
        ["make", *arguments], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == code, run.stdout + run.stderr
    return run.stdout + run.stderr


def newer(path: Path) -> None:
    """Give a file a time after everything that was made until now."""
    moment = max(found.stat().st_mtime for found in path.parents[0].rglob("*")) + 10
    os.utime(path, (moment, moment))


def test_a_second_run_sets_up_and_builds_nothing(clone: Path) -> None:
    assert make(clone, "-n", "demo").strip() == ".venv/bin/python -m sandbox.demo"


@pytest.mark.parametrize("name", ["template.yaml", "functions/f/app.py", "layer/kirikae/aws.py"])
def test_a_changed_source_is_built_and_nothing_is_installed(clone: Path, name: str) -> None:
    newer(clone / name)
    planned = make(clone, "-n", "demo")
    assert "sam build" in planned
    assert "pip install" not in planned


def test_changed_dependencies_are_installed(clone: Path) -> None:
    newer(clone / "pyproject.toml")
    planned = make(clone, "-n", "setup")
    assert "--group dev" in planned
    assert "--group runtime" in planned
    assert "--group floor" in planned


def test_sam_finds_the_python_of_the_runtime_first(clone: Path) -> None:
    found = (clone / ".aws-sam/build/template.yaml").read_text(encoding="utf-8").strip()
    assert found == str(clone / ".venv/bin/python3.13")


def test_a_failed_build_shows_why_and_leaves_nothing_to_deploy_by_mistake(clone: Path) -> None:
    put(clone / ".venv/bin/sam", "#!/bin/sh\nmkdir -p .aws-sam/build\necho the reason\nexit 1\n")
    newer(clone / "template.yaml")
    assert "the reason" in make(clone, "build", code=2)
    assert not (clone / ".aws-sam/build").exists()


def test_help_is_the_default_and_names_every_target() -> None:
    shown = make(ROOT)
    assert shown == make(ROOT, "help")
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^\.PHONY: (\S+)$", text, re.MULTILINE)
    assert {"demo", "test", "bench"} <= set(targets)
    assert re.findall(r"^  (\S+) ", shown, re.MULTILINE) == targets


def test_make_test_and_the_check_of_a_fresh_clone_run_everything() -> None:
    planned = make(ROOT, "-n", "test")
    for command in (
        "ruff check",
        "ruff format --check",
        "mypy",
        "lint-imports",
        "sam validate --lint",
        "cfn-lint",
        "pytest",
    ):
        assert f".venv/bin/{command}" in planned
    check = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert check.rstrip().endswith("exec make test")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize(
    ("file", "group"), [("layer/requirements.txt", "dev"), ("layer/requirements-build.txt", "dev")]
)
def test_the_layer_and_the_tools_pin_the_same_versions(file: str, group: str) -> None:
    pins = (ROOT / file).read_text(encoding="utf-8").split()
    assert pins
    assert set(pins) <= set(PYPROJECT["dependency-groups"][group])


def test_every_direct_dependency_is_pinned_exactly() -> None:
    for pins in PYPROJECT["dependency-groups"].values():
        assert all(re.fullmatch(r"[\w-]+(\[[\w,]+\])?==[\d.]+", pin) for pin in pins), pins


class _Loader(yaml.SafeLoader):
    """Reads a template; what an intrinsic function means does not matter here."""


_Loader.add_multi_constructor("!", lambda _loader, suffix, _node: suffix)  # type: ignore[no-untyped-call]
PARAMETERS = yaml.load((ROOT / "template.yaml").read_text(encoding="utf-8"), _Loader)["Parameters"]  # noqa: S506  # ours


def examples() -> list[tuple[str, str]]:
    """Return the parameters of every environment in samconfig.toml."""
    config = tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))
    return [
        tuple(override.split("=", 1))  # type: ignore[misc]
        for environment in config.values()
        if isinstance(environment, dict)
        for override in environment.get("deploy", {}).get("parameters", {}).get("parameter_overrides", [])
    ]


@pytest.mark.parametrize(("name", "value"), examples())
def test_the_example_environment_sets_parameters_that_the_template_takes(name: str, value: str) -> None:
    declared = PARAMETERS[name]
    assert value in declared.get("AllowedValues", [value])
    values = value.split(",") if declared["Type"] == "CommaDelimitedList" else [value]
    assert all(re.fullmatch(declared.get("AllowedPattern", ".*"), item) for item in values)


def test_every_environment_deploys_without_a_question_about_where() -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))
    environments = {name: value for name, value in config.items() if isinstance(value, dict)}
    assert len(environments) == 2
    for environment in environments.values():
        assert environment["global"]["parameters"]["stack_name"]
        deploy = environment["deploy"]["parameters"]
        assert deploy["resolve_s3"] is True
        assert deploy["capabilities"] == "CAPABILITY_IAM"


def test_a_capability_is_switched_off_with_a_command_that_sam_takes() -> None:
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/runbook.md")]
    given = [typed for text in texts for typed in re.findall(r"--parameter-overrides ([^`]*)`", text)]
    nlb, standby = {"NlbListenerArns": ""}, {"ActiveInstanceId": "", "StandbyInstanceIds": ""}
    read = [CfnParameterOverridesType().convert(tuple(shlex.split(typed)), None, None) for typed in given]
    assert read == [nlb, nlb, standby]


def test_each_mail_of_the_japanese_readme_has_an_entry_in_the_runbook() -> None:
    mails = (ROOT / "README.ja.md").read_text(encoding="utf-8").split("## 届くメール")[1].split("\n## ")[0]
    subjects = re.findall(
        r"`([^`]+)`", "".join(row.split("|")[1] for row in mails.splitlines() if row.startswith("| `"))
    )
    assert len(subjects) >= 10
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    headings = "\n".join(line for line in runbook.splitlines() if line.startswith("#"))
    assert [subject for subject in subjects if subject not in headings] == []


def test_cleaning_up_deletes_what_kirikae_writes_and_nothing_else_of_that_name() -> None:
    [named] = re.findall(
        r"`aws ssm delete-parameters --names ([^`]*)`", (ROOT / "README.md").read_text(encoding="utf-8")
    )
    functions = of_type(expanded(EVERYTHING), "AWS::Lambda::Function").values()
    variables = [function["Environment"]["Variables"] for function in functions]
    kept = {value for of in variables for name, value in of.items() if name.endswith("_PARAMETER")}
    assert set(named.split()) == {name.replace(f"/{STACK_NAME}/", "/STACK/") for name in kept}
    assert len(named.split()) <= 10  # of one DeleteParameters
