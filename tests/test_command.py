"""The console command: written, tried, told off in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.foreign import write_foreign

from tsfm.__main__ import main


def run(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    captured = capfd.readouterr()
    return code, captured.out, captured.err


def test_help_is_quick() -> None:
    words = [sys.executable, "-X", "importtime", "-m", "tsfm", "foreign", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "init|setup|check" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"numpy", "pandas", "torch", "yaml", "mlflow", "pyarrow"}


def test_a_directory_is_written_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capfd, "foreign", "init", "mine", "--python", sys.executable)
    assert code == 0
    assert "mlflow run . -e evaluate -P model=foreign:mine" in out
    names = sorted(path.name for path in (tmp_path / "mine").iterdir())
    assert names == ["foreign.yaml", "worker.py"]
    code, out, _ = run(capfd, "foreign", "check", "mine")
    assert code == 0
    assert "can         variates=1" in out
    assert out.count("a mean only") == 4
    code, _, err = run(capfd, "foreign", "init", "mine")
    assert (code, err.count("\n")) == (2, 1)
    assert "the directory exists" in err


def test_the_template_asks_for_an_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(capfd, "foreign", "init", "mine", "--python", "3.12")[0] == 0
    text = (tmp_path / "mine" / "foreign.yaml").read_text()
    assert 'python: "3.12"' in text
    assert "\nrequirements: requirements.txt\n" in text
    assert (tmp_path / "mine" / "requirements.txt").exists()


def test_a_model_that_fails_is_one_line_and_its_traceback_on_demand(tmp_path: Path, capfd) -> None:
    code = "def forecast(request):\n    if np.isnan(request.past).any(): raise ValueError('gap')\n"
    code += "    return {'mean': np.zeros((len(request.past), request.horizon))}\n"
    directory = write_foreign(tmp_path / "x", code, environment=["NEVER_SET_ANYWHERE"])
    status, out, err = run(capfd, "foreign", "check", str(directory))
    assert status == 2
    assert err.count("\n") == 1
    assert "ValueError: gap in worker.py, line 5" in err
    assert "failed      gaps and a shorter series" in out
    assert "not set     NEVER_SET_ANYWHERE" in out
    _, _, err = run(capfd, "foreign", "check", str(directory), "--verbose")
    assert "Traceback (most recent call last)" in err


def test_answers_that_cannot_be_repeated_are_told(tmp_path: Path, capfd) -> None:
    code = "rng = np.random.default_rng()\ndef forecast(request):\n"
    code += "    return {'mean': rng.random((len(request.past), request.horizon))}\n"
    _, out, _ = run(capfd, "foreign", "check", str(write_foreign(tmp_path / "x", code)))
    assert "results cannot be repeated" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "required"),
        (["foreign"], "init|setup|check"),
        (["foreign", "initialise"], "invalid choice"),
        (["foreign", "check", "/nowhere"], "no foreign.yaml"),
        (["foreign", "setup", "/nowhere"], "no foreign.yaml"),
        (["foreign", "init", "/dev/null/x"], "cannot be written"),
        (["foreign", "init", "two words"], "no name for a model"),
        (["foreign", "init", "x", "--python", "/no/python"], "no interpreter"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(words: list[str], told: str, capfd) -> None:
    code, out, err = run(capfd, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert told in err
