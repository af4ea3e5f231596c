"""What the repository promises of itself: pins agree, entry points answer, arrows hold."""

from __future__ import annotations

import ast
import re
import resource
import string
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = yaml.safe_load((ROOT / "MLproject").read_text())
ENTRIES = sorted(set(PROJECT["entry_points"]) - {"main"})
LAYERS = ("data", "models", "evaluation", "training", "tracking")
HEAVY = {"torch", "lightning", "mlflow", "transformers", "peft", "gluonts", "statsforecast", "arch"}
NEEDED = {"data": {"dataset": "sample", "out": "panels"}}
MAX_LINES = 400
MAX_CPU_SECONDS = 3.0


# --- environments ---------------------------------------------------------------------------------


def pins(lines: list[str]) -> dict[str, str]:
    requirements = [Requirement(line) for line in lines if line[0] not in "#-"]
    for requirement in requirements:
        assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), f"{requirement} is not pinned"
    return {canonicalize_name(r.name): str(r.specifier)[2:] for r in requirements}


def constraints() -> dict[str, str]:
    return pins([line for line in (ROOT / "constraints.txt").read_text().splitlines() if line])


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def python_env() -> dict:
    return yaml.safe_load((ROOT / "python_env.yaml").read_text())


def conda() -> tuple[list[str], list[str]]:
    dependencies = yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    return [entry for entry in dependencies if isinstance(entry, str)], pip


def test_constraints_are_sorted_and_satisfy_every_requirement_of_pyproject():
    versions, project = constraints(), pyproject()
    assert list(versions) == sorted(versions)
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    for requirement in map(Requirement, [*project["dependencies"], *extras]):
        name = canonicalize_name(requirement.name)
        if name == project["name"]:
            continue
        assert name in versions, f"constraints.txt lacks {name}"
        assert requirement.specifier.contains(versions[name]), f"{requirement}: {versions[name]}"


@pytest.mark.parametrize("lines", [python_env()["dependencies"], conda()[1]], ids=["venv", "conda"])
def test_environment_files_repeat_the_direct_dependencies_at_the_pinned_versions(lines: list[str]):
    direct = {canonicalize_name(Requirement(line).name) for line in pyproject()["dependencies"]}
    versions = constraints()
    assert pins(lines) == {name: versions[name] for name in direct}
    assert "-c constraints.txt" in lines, "the other packages must be pinned as well"


def test_environment_files_name_the_same_exact_python():
    version = python_env()["python"]
    assert re.fullmatch(r"3\.\d+\.\d+", version), "MLflow looks others up on the network"
    assert f"python={version}" in conda()[0]


# --- entry points ---------------------------------------------------------------------------------


def defaults(entry: str) -> dict[str, str]:
    parameters = PROJECT["entry_points"][entry]["parameters"]
    return {name: str(parameter["default"]) for name, parameter in parameters.items()}


def test_main_is_pretrain():
    assert PROJECT["entry_points"]["main"] == PROJECT["entry_points"]["pretrain"]


def test_mlproject_names_one_environment_file():
    assert {"python_env", "conda_env", "docker_env"} & set(PROJECT) == {"python_env"}


@pytest.mark.parametrize("entry", ENTRIES)
def test_command_passes_every_parameter_by_name(entry: str):
    declared = PROJECT["entry_points"][entry]
    words = declared["command"].split()
    assert words[:3] == ["python", "-m", f"experiments.{entry}"]
    assert words[3:] == [f"{name}={{{name}}}" for name in declared["parameters"]]
    fields = [field for _, field, _, _ in string.Formatter().parse(declared["command"]) if field]
    assert fields == list(declared["parameters"])
    assert {meta["type"] for meta in declared["parameters"].values()} <= {"string", "float"}


@pytest.mark.parametrize("entry", ENTRIES)
def test_mlproject_declares_the_parameters_of_the_entry_point(entry: str):
    module = import_module(f"experiments.{entry}")
    assert set(defaults(entry)) == {*module.PARAMETERS, "overrides"}


@pytest.mark.parametrize("entry", ENTRIES)
def test_mlproject_defaults_are_those_of_the_config(entry: str):
    from experiments.cli import compose_config

    module = import_module(f"experiments.{entry}")
    schema = get_type_hints(module.main)["config"]
    needed = NEEDED.get(entry, {})
    bare, explicit = (
        compose_config(entry, schema, module.PARAMETERS, [f"{k}={v}" for k, v in given.items()])
        for given in (needed, defaults(entry) | needed)
    )
    assert explicit == bare


def test_every_experiment_with_parameters_is_an_entry_point():
    programs = {
        path.stem
        for path in (ROOT / "experiments").glob("*.py")
        if '__name__ == "__main__"' in path.read_text()
    }
    assert programs == set(ENTRIES)


def answer(*arguments: str) -> tuple[subprocess.CompletedProcess[str], float, set[str]]:
    """Run Python; also its CPU seconds and the top-level packages it imported."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    lines = done.stderr.splitlines()
    imports = [line for line in lines if line.startswith("import time:")]
    done.stderr = "\n".join(line for line in lines if not line.startswith("import time:"))
    return done, spent, {line.rpartition("|")[2].strip().partition(".")[0] for line in imports}


@pytest.mark.parametrize("entry", ENTRIES)
def test_help_is_quick_and_tells_every_parameter(entry: str):
    done, spent, packages = answer("-m", f"experiments.{entry}", "--help")
    assert done.returncode == 0, done.stderr
    assert not packages & HEAVY
    assert spent < MAX_CPU_SECONDS
    assert set(defaults(entry)) <= set(re.findall(r"^  (\w+) ", done.stdout, re.MULTILINE))


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("word", ["no_such_parameter=1", "stray", "overrides=no.such.key=1"])
def test_bad_parameter_is_one_line_and_exit_code_2(entry: str, word: str):
    done, spent, packages = answer("-m", f"experiments.{entry}", word)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert not packages & HEAVY
    assert spent < MAX_CPU_SECONDS


@pytest.mark.parametrize("module", ["tsfm", "tsfm.errors", "tsfm.data.panel", "tsfm.models.base"])
def test_import_is_light(module: str):
    done, _, packages = answer("-c", f"import {module}")
    assert done.returncode == 0, done.stderr
    assert not packages & HEAVY


# --- the house ------------------------------------------------------------------------------------


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Every import of a file, lazy and type-checking ones included, with its line."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            origin = ".".join([*base, *filter(None, [node.module])])
            yield from ((f"{origin}.{alias.name}", node.lineno) for alias in node.names)


def rank(module: str) -> int | None:
    """How far right a module stands; None outside the project and for the errors, free to all."""
    parts = module.split(".")
    if parts[0] in ("experiments", "sweeps"):
        return len(LAYERS) + 1
    if parts[0] != "tsfm" or parts[1:2] == ["errors"]:
        return None
    return LAYERS.index(parts[1]) if len(parts) > 1 and parts[1] in LAYERS else len(LAYERS)


@pytest.mark.parametrize("path", modules("tsfm", "experiments", "sweeps"), ids=name_of)
def test_imports_follow_the_arrows(path: Path):
    own = rank(name_of(path))
    for module, line in imported(path):
        other = rank(module)
        if own is None:
            assert other is None, f"{path.name}:{line} imports {module}"
        elif other is not None:
            assert other <= own, f"{path.name}:{line} imports {module}, which lies to its right"
        if module.split(".")[0] == "mlflow":
            assert rank(name_of(path)) == LAYERS.index("tracking"), f"{path.name}:{line}: mlflow"


@pytest.mark.parametrize(
    "path", modules("tsfm", "experiments", "sweeps", "benchmarks", "tests"), ids=name_of
)
def test_modules_are_short_and_named_after_what_they_hold(path: Path):
    lines = path.read_text().count("\n")
    assert lines <= MAX_LINES
    assert path.stem not in {"utils", "util", "helpers", "common", "misc"}


# --- what the documents say -----------------------------------------------------------------------

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist(document: Path):
    text = document.read_text()
    targets = set(re.findall(r"^([a-z -]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = {word for line in targets for word in line.split()} | set(ENTRIES)
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= known
    assert set(re.findall(r"mlflow run \. -e (\w+)", text)) <= set(ENTRIES)
    for script in re.findall(r"\bbenchmarks/\w+\.py", text):
        assert (ROOT / script).exists(), f"{document.name} names {script}"


def test_readme_lists_the_entry_points():
    rows = re.findall(r"^\| `(\w+)`[^|]*\| \w", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert set(ENTRIES) <= set(rows)


def test_settings_in_the_example_are_documented_and_read():
    settings = set(
        re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.M)
    )
    sources = "".join(path.read_text() for path in modules("tsfm", "experiments"))
    readme = (ROOT / "README.md").read_text()
    assert settings
    assert not {name for name in settings if f"`{name}`" not in readme}, "not in the README"
    assert not {name for name in settings if name not in sources}, "read by no code"
