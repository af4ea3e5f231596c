"""The places where a named file is looked for, and their order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsfm.data.locations import VARIABLES, find


@pytest.fixture(autouse=True)
def directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    made = []
    for variable in VARIABLES:
        directory = tmp_path / variable.lower()
        directory.mkdir()
        monkeypatch.setenv(variable, str(directory))
        made.append(directory)
    return made


def test_a_path_that_exists_comes_first(directories: list[Path]):
    Path("bars.csv").touch()
    (directories[0] / "bars.csv").touch()
    assert find("bars.csv") == Path("bars.csv")
    assert find(directories[0] / "bars.csv") == directories[0] / "bars.csv"


def test_directories_are_asked_in_order(directories: list[Path]):
    for directory in reversed(directories):
        (directory / "panel").mkdir()
        assert find("panel") == directory / "panel"


def test_home_is_expanded(directories: list[Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(directories[2]))
    monkeypatch.setenv("CUSTOM_DATA_PATH", "~")
    (directories[2] / "panel").mkdir()
    assert find("panel") == find("~/panel") == directories[2] / "panel"


def test_unknown_names_and_unset_variables_give_nothing(monkeypatch: pytest.MonkeyPatch):
    assert find("panel") is None
    for variable in VARIABLES:
        monkeypatch.delenv(variable)
    assert find("panel") is None


def test_an_empty_name_is_nowhere():
    assert find("") is None
