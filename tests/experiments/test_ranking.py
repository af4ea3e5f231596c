"""Ranking models by command: what is logged, what is told, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from support.entry_points import Answer, expect_told
from support.told_commands import run_entry

from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.statistical import RandomWalk, SeasonalNaive
from tsfm.tracking.leaderboard_report import STATISTICAL, contenders

TASKS = "tasks=general/equipment_orders,general/marriages"


@pytest.fixture
def running(home: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> Callable[..., Answer]:
    monkeypatch.setenv("TSFM_CACHE", str(home / "cache"))

    def call(*words: str) -> Answer:
        code, out, err = run_entry("evaluate", words, monkeypatch, capfd)
        return code, err if code else out

    return call


def test_models_are_ranked_on_frozen_tasks(home: Path, running: Callable[..., Answer]) -> None:
    code, told = running("model=random_walk,mean", TASKS, "metric=mase")
    assert code == 0, told
    assert "mase relative to seasonal_naive" in told
    assert "comparisons differ by more than luck" in " ".join(told.split())
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    files = {Path(f.path).name for f in client.list_artifacts(run.info.run_id, "leaderboard")}
    assert {
        "standings.csv", "standings.md", "standings.html", "gift_eval.csv", "fev.csv",
        "pairs.csv", "relative.csv", "results.parquet", "significance.csv", "backtest.parquet",
    } == files  # fmt: skip
    assert run.data.metrics["skill.seasonal_naive"] == 0
    assert "leads 3 models on 2 tasks by mase" in run.data.tags["conclusion"]
    local = client.download_artifacts(run.info.run_id, "leaderboard/significance.csv")
    assert len(pd.read_csv(local)) == 6


def test_bad_requests_are_one_line(running: Callable[..., Answer]) -> None:
    expect_told(running("model=mean", "tasks=weather"), "tasks='weather'", "general")
    expect_told(running("model=mean", TASKS, "metric=coverage_80"), "metric=", "sql")
    expect_told(running("model=nowhere/at/all", TASKS), "no model at")


def test_contenders_by_their_sources(home: Path, tmp_path: Path) -> None:
    one = SeasonalNaive().save(tmp_path / "a" / "mine")
    other = RandomWalk().save(tmp_path / "b" / "mine")
    found = contenders(f"{one}, mean, ttm-base, baselines", "seasonal_naive")
    names = [contender.name for contender in found]
    assert names[:4] == ["seasonal_naive", "mine", "mean", "ttm-base"]
    assert set(STATISTICAL) <= set(names)
    assert len(names) == len(set(names))
    assert {"ttm-base", *STATISTICAL} <= {c.name for c in contenders("all", "seasonal_naive")}
    with pytest.raises(ConfigError, match="both called mine"):
        contenders(f"{one},{other}", "seasonal_naive")
    with pytest.raises(CheckpointError, match="no model at"):
        contenders("no such thing at all", "seasonal_naive")
