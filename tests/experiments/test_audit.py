"""The audit by command: what it prints and logs, and when it is strict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from support.entry_points import Answer, expect_told
from support.told_commands import run_entry

from tsfm.data.provenance import Provenance
from tsfm.evaluation.suites import load_suite
from tsfm.models.statistical import SeasonalNaive

TASK = "general/air_temperature"


@pytest.fixture
def running(home: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> Callable[..., Answer]:
    def call(*words: str) -> Answer:
        code, out, err = run_entry("evaluate", words, monkeypatch, capfd)
        return code, err if code == 2 else out

    return call


@pytest.fixture
def models(tmp_path: Path) -> str:
    """One that has seen the task's answers, one that has not, one that nobody knows."""
    (task,) = load_suite(TASK)
    _, panel = task.open()
    for name, provenance in (("seen", Provenance.of(panel)), ("clean", Provenance())):
        provenance.save(SeasonalNaive().save(tmp_path / name))
    SeasonalNaive().save(tmp_path / "unknown")
    return ",".join(str(tmp_path / name) for name in ("seen", "clean", "unknown"))


def test_overlaps_are_printed_and_logged(home: Path, running, models: str) -> None:
    code, told = running(f"model={models}", f"tasks={TASK}", "audit=true")
    assert code == 0, told
    words = " ".join(told.split())
    for part in (
        "seen: has seen answers of 1 of 1 tasks.",
        "clean: has seen nothing of 1 of 1 tasks.",
        "unknown: nobody can tell of 1 of 1 tasks.",
    ):
        assert part in words
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    folder = Path(client.download_artifacts(run.info.run_id, "contamination"))
    assert {path.name for path in folder.iterdir()} == {
        "audit.md", "overlaps.csv", "verdicts.csv",
    }  # fmt: skip
    verdicts = pd.read_csv(folder / "verdicts.csv").set_index("model")
    assert verdicts["verdict"].to_dict() == {
        "seen": "seen", "clean": "clean", "unknown": "unknown",
    }  # fmt: skip
    overlaps = pd.read_csv(folder / "overlaps.csv")
    assert set(overlaps["model"]) == {"seen"}
    assert set(overlaps["trained_on"]) == {"air_temperature"}
    assert "| seen |" in (folder / "audit.md").read_text()
    assert run.data.metrics["cells.seen"] == 1


@pytest.mark.parametrize(("which", "code"), [(0, 3), (1, 0), (2, 3)])
def test_a_strict_audit_ends_with_3_unless_clean(running, models: str, which: int, code: int):
    one = models.split(",")[which]
    assert running(f"model={one}", f"tasks={TASK}", "audit=true", "strict=true")[0] == code


def test_bad_requests_are_one_line(running) -> None:
    expect_told(running("model=mean", "audit=true"), "audit=true without tasks")
    expect_told(running("model=mean", f"tasks={TASK}", "strict=true"), "strict=true without audit")
