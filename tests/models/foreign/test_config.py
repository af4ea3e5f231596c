"""``foreign.yaml`` and the environment that it asks for."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support.foreign import write_foreign

from tsfm.errors import CheckpointError, ConfigError, UserError
from tsfm.models.foreign import environment
from tsfm.models.foreign.config import ForeignConfig
from tsfm.models.foreign.environment import environment_directory, installed, interpreter
from tsfm.models.foreign.forecaster import ForeignForecaster
from tsfm.models.source import directory_of


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TSFM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "foreign"


def required(directory: Path, text: str = "numpy\n", **settings: Any) -> ForeignConfig:
    directory.mkdir()
    (directory / "requirements.txt").write_text(text)
    told = {"python": "3.11", "requirements": "requirements.txt"} | settings
    return ForeignConfig.read(write_foreign(directory, **told))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"python": "3.11"}, "requirements: None is not allowed"),
        ({"python": 3.11}, "python: 3.11 is not allowed"),
        ({"python": ""}, "python: '' is not allowed"),
        ({"requirements": "nowhere.txt"}, "There is no such file"),
        ({"batch_size": 0}, "batch_size: 0"),
        ({"batch_size": 1.5}, "whole number"),
        ({"start_seconds": "long"}, "start_seconds: 'long'"),
        ({"request_seconds": True}, "request_seconds: True"),
        ({"environment": "HOME"}, "environment: 'HOME' is not allowed"),
        ({"reads_history": "yes"}, "Give true or false"),
        ({"speed": 3}, r"settings \['speed'\] are unknown.*batch_size"),
    ],
)
def test_settings_that_are_not_allowed(settings: dict, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        ForeignConfig.read(write_foreign(tmp_path / "x", **settings))


def test_files_that_are_missing_or_damaged(tmp_path: Path) -> None:
    directory = write_foreign(tmp_path / "x")
    with pytest.raises(ConfigError, match="no_such_setting"):
        ForeignConfig.read(directory, no_such_setting=1)
    for text, told in (
        ("[1", "cannot be read"),
        ("a word", "holds no settings"),
        ("{}", "missing"),
    ):
        (directory / "foreign.yaml").write_text(text)
        with pytest.raises(UserError, match=told):
            ForeignConfig.read(directory)
    (directory / "worker.py").unlink()
    (directory / "foreign.yaml").write_text("python: /x")
    with pytest.raises(CheckpointError, match=r"no worker\.py"):
        ForeignConfig.read(directory)
    (directory / "foreign.yaml").unlink()
    with pytest.raises(CheckpointError, match="tsfm foreign init"):
        ForeignConfig.read(directory)
    with pytest.raises(CheckpointError, match="no directory"):
        directory_of("foreign:nowhere/at/all")


def test_a_given_interpreter_is_used_as_it_is(tmp_path: Path) -> None:
    config = ForeignConfig.read(write_foreign(tmp_path / "x"))
    assert interpreter(config) == Path(sys.executable)
    assert any(name.startswith(f"numpy-{np.__version__}") for name in installed(config))
    missing = ForeignConfig.read(write_foreign(tmp_path / "y", python="bin/python"))
    with pytest.raises(CheckpointError, match=r"no interpreter at .*y/bin/python"):
        interpreter(missing)


def test_environments_are_told_apart_by_what_they_are_made_of(cache: Path, tmp_path: Path) -> None:
    first = required(tmp_path / "a", "numpy==2.4.6  # fast\n\n# more\n")
    same = required(tmp_path / "b", "numpy==2.4.6\n")
    others = [
        required(tmp_path / "c", "numpy==2.4.5\n"),
        required(tmp_path / "d", "numpy==2.4.6\n", python="3.12"),
        required(tmp_path / "e", "numpy==2.4.6\n", install_arguments=["--no-deps"]),
    ]
    home = environment_directory(first)
    assert home.parent == cache
    assert environment_directory(same) == home
    assert len({home, *map(environment_directory, others)}) == 4


SCRIPT = """#!{python}
import os, pathlib, sys
words, here = sys.argv[1:], pathlib.Path({log!r})
with here.open("a") as log:
    log.write(" ".join(words) + "\\n")
if words[0] == "venv":
    os.makedirs(words[-1] + "/bin")
    os.symlink({python!r}, words[-1] + "/bin/python")
elif {fails}:
    print("error: no such package"); print("hint: none"); sys.exit(1)
"""


def fake_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool = False) -> Path:
    """Instead of uv: writes down what it is told, and makes an environment of a link."""
    log, script = tmp_path / "log", tmp_path / "uv"
    script.write_text(SCRIPT.format(python=sys.executable, log=str(log), fails=fails))
    script.chmod(0o755)
    monkeypatch.setattr(environment, "_uv", lambda: str(script))
    return log


def test_an_environment_is_made_once(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = fake_uv(tmp_path, monkeypatch)
    config = required(tmp_path / "x", install_arguments=["--no-deps"])
    home = environment_directory(config)
    (home.with_name(f".{home.name}") / "left").mkdir(parents=True)
    python = interpreter(config)
    assert python == home / "bin" / "python"
    assert interpreter(config) == python
    made, filled = log.read_text().splitlines()
    assert made.startswith("venv --relocatable --no-project --python 3.11 ")
    assert "--no-deps -r" in filled
    assert filled.endswith("requirements.txt numpy pyarrow>=14")
    assert {path.name for path in cache.iterdir()} == {home.name, f"{home.name}.lock"}
    assert not (home / "left").exists()


def test_an_environment_that_cannot_be_made_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_uv(tmp_path, monkeypatch, fails=True)
    config = required(tmp_path / "x")
    model = ForeignForecaster(config)
    told = "environment of x cannot be made: error: no such package | hint: none"
    for _ in range(2):
        with pytest.raises(CheckpointError, match=told.replace("|", r"\|")):
            model.predict(past=[1.0, 2.0], horizon=1)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_without_uv_a_given_interpreter_makes_it_and_a_version_cannot(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "_uv", lambda: None)
    with pytest.raises(CheckpointError, match="uv is not installed"):
        interpreter(required(tmp_path / "x"))
    given = required(tmp_path / "y", python=sys.executable)
    made, filled = environment._commands(given, Path("/home"))
    assert made == [sys.executable, "-m", "venv", "/home"]
    assert filled[:4] == ["/home/bin/python", "-m", "pip", "install"]


def test_the_example_is_a_template_that_reads() -> None:
    examples = Path(__file__).parents[3] / "docs" / "foreign_examples"
    for path in sorted(examples.iterdir()):
        config = ForeignConfig.read(path)
        assert config.requirements == "requirements.txt"
        compile((path / "worker.py").read_text(), "worker.py", "exec")
    assert yaml.safe_load((examples / "last_value" / "foreign.yaml").read_text())
    assert os.listdir(examples)
