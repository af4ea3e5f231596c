from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.leaderboard_results import made_up_results

from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.leaderboard import leaderboard
from tsfm.evaluation.metrics import score
from tsfm.evaluation.results import (
    COLUMNS,
    failed,
    load_results,
    metrics_in,
    result_of,
    results_frame,
    save_results,
)
from tsfm.evaluation.tasks import task_digest

Answered = Callable[..., Backtest]


def test_errors_average_the_variates_of_the_leaderboard(answered: Answered) -> None:
    backtest = answered(windows=30)
    found = result_of(backtest, suite="made up", trained_on=False).errors
    table = leaderboard(score(backtest), replicates=5)
    means = table.groupby("metric", observed=True)["value"].mean()
    for metric in ("crps", "wql", "sql", "mase", "mae", "rmse", "smape"):
        assert found[metric] == pytest.approx(means[metric], rel=1e-5), metric
    assert "coverage_80" not in found


def test_a_hole_in_the_forecast_is_a_failure_and_a_hole_in_the_data_is_not(
    answered: Answered,
) -> None:
    backtest = answered(windows=12)
    assert np.isnan(backtest.actual).any()
    assert result_of(backtest).failure == ""
    quantiles = backtest.quantiles.copy()
    row, step, variate = np.argwhere(np.isfinite(backtest.actual))[0]
    quantiles[row, step, variate, 3] = np.nan
    found = result_of(replace(backtest, quantiles=quantiles))
    assert "no finite forecast for 1 of" in found.failure
    assert found.errors == {}
    empty = replace(backtest, actual=np.full_like(backtest.actual, np.nan))
    assert result_of(empty).failure == "no observed bar to score"


def test_crossing_quantiles_are_noted(answered: Answered) -> None:
    backtest = answered(windows=12)
    turned = backtest.quantiles.copy()
    turned[:6] = turned[:6, ..., ::-1]
    assert result_of(backtest).note == ""
    assert result_of(replace(backtest, quantiles=turned)).note.startswith("quantiles cross in")


def test_digest_tells_the_question_not_its_name(answered: Answered) -> None:
    task = answered().task
    assert task_digest(task) == task_digest(replace(task, name="other"))
    changes = {"panel_fingerprint": "x", "context": 21, "first_origin": "2024-01-02"}
    others = {task_digest(replace(task, **{key: value})) for key, value in changes.items()}
    assert len(others | {task_digest(task)}) == 4


def test_files_give_back_what_was_saved(tmp_path: Path, answered: Answered) -> None:
    backtest = answered(windows=12)
    rows = [
        result_of(backtest, parameters=10, trained_on=None),
        failed("broken", backtest.task, ValueError("no\nway")),
    ]
    frame = results_frame(rows)
    assert list(frame.columns)[: len(COLUMNS)] != []
    assert frame.set_index("model").loc["broken", "failure"] == "no way"
    again = load_results([save_results(frame, tmp_path / "results.parquet")])
    pd.testing.assert_frame_equal(again, frame)
    assert {"crps", "mase"} <= set(metrics_in(again))


def test_bad_files_are_told(tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.parquet"
    nonsense.write_text("no parquet")
    with pytest.raises(DataError, match="cannot be read"):
        load_results([nonsense])
    other = tmp_path / "other.parquet"
    pd.DataFrame({"model": ["a"]}).to_parquet(other)
    with pytest.raises(DataError, match="holds no results"):
        load_results([other])
    with pytest.raises(ConfigError, match="no file"):
        load_results([])
    with pytest.raises(ConfigError, match="no results"):
        results_frame([])
    saved = save_results(made_up_results(3), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="several results"):
        load_results([saved, saved])
