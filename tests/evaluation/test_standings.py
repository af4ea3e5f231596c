from __future__ import annotations

import io
from pathlib import Path

import fev
import numpy as np
import pandas as pd
import pytest
from fev.analysis import RESULTS_DTYPES
from support.leaderboard_results import made_up_results, result

from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.results import load_results, results_frame
from tsfm.evaluation.standings import (
    FEV_COLUMNS,
    FEV_VERSION,
    NOT_EVALUATED,
    fev_summaries,
    standings,
)

RESULTS = made_up_results()
FEV_NAMES = {
    f"{theirs}{bound}": f"{ours}{end}"
    for theirs, ours in (("win_rate", "win_rate"), ("skill_score", "skill"))
    for bound, end in (("", ""), ("_lower", "_low"), ("_upper", "_high"))
}


def _slow(results: pd.DataFrame, metric: str, replicates: int, seed: int = 123) -> pd.DataFrame:
    """The convention by loops over models, tasks and replicates."""
    models, tasks = sorted(results["model"].unique()), sorted(results["task"].unique())
    errors = results.set_index(["task", "model"])[f"error/{metric}"].to_dict()
    ratio = {
        (task, model): min(max(errors[task, model] / errors[task, "seasonal_naive"], 0.01), 100.0)
        for task in tasks
        for model in models
    }

    def skill(model: str, drawn: list[str]) -> float:
        product = 1.0
        for task in drawn:
            product *= ratio[task, model] ** (1 / len(drawn))
        return 1 - product

    def wins(model: str, drawn: list[str]) -> float:
        points = [
            1.0 if mine < theirs else 0.5 if mine == theirs else 0.0
            for other in models
            if other != model
            for mine, theirs in [(ratio[task, model], ratio[task, other]) for task in drawn]
        ]
        return sum(points) / len(points)

    draws = np.random.default_rng(seed).integers(0, len(tasks), size=(replicates, len(tasks)))
    samples = [[tasks[k] for k in draw] for draw in draws]
    rows = {}
    for model in models:
        rows[model] = {}
        for name, statistic in (("skill", skill), ("win_rate", wins)):
            again = [statistic(model, sample) for sample in samples]
            low, high = np.quantile(again, [0.025, 0.975])
            rows[model] |= {name: statistic(model, tasks), f"{name}_low": low, f"{name}_high": high}
    return pd.DataFrame(rows).T


def test_standings_equal_a_slow_reference() -> None:
    found = standings(RESULTS, metric="sql", replicates=60)
    expected = _slow(RESULTS, "sql", 60).loc[found.table["model"]]
    for name in expected.columns:
        np.testing.assert_allclose(found.table[name], expected[name], rtol=1e-9, atol=1e-12)


RECORDED = Path(__file__).parents[1] / "support" / "recorded" / "results.parquet"
"""Eight forecasters on the 23 bundled tasks, as ``evaluate`` left them."""


@pytest.mark.parametrize("metric", ["sql", "mase", "wql"])
@pytest.mark.parametrize("is_recorded", [True, False])
def test_standings_equal_fev_on_a_file(is_recorded: bool, metric: str) -> None:
    holed = load_results([RECORDED]) if is_recorded else RESULTS.assign(**{"error/wql": 1.0})
    failing = holed["model"].isin(["poor", "theta"]) & holed["task"].isin(
        ["task3", "task11", "ohlcv/daily_10"]
    )
    assert failing.any()
    holed.loc[failing, "failure"] = "out of memory"
    file = io.StringIO(fev_summaries(holed, metric).to_csv(index=False))
    asked = {"missing_strategy": "impute", "baseline_model": "seasonal_naive"}
    summaries = pd.read_csv(file)
    table = fev.leaderboard(summaries, n_resamples=100, **asked)
    pairs = fev.pairwise_comparison(summaries, n_resamples=100, **asked)
    found = standings(holed, metric=metric, replicates=100)
    ours = found.table.set_index("model")
    theirs = table.loc[ours.index]
    names = {"num_failures": "failures", "median_e2e_time_s": "seconds"}
    for old, new in (names | FEV_NAMES).items():
        np.testing.assert_allclose(ours[new], theirs[old].astype(float), rtol=1e-12, atol=1e-14)
    aligned = pairs.loc[list(found.pairs[["model", "other"]].itertuples(index=False, name=None))]
    for old, new in FEV_NAMES.items():
        np.testing.assert_allclose(found.pairs[new], aligned[old], rtol=1e-12, atol=1e-14)


def test_columns_are_those_of_fev() -> None:
    assert tuple(RESULTS_DTYPES) == FEV_COLUMNS
    assert fev.__version__ == FEV_VERSION


def test_best_comes_first_and_the_conclusion_names_what_matters() -> None:
    found = standings(RESULTS, replicates=100)
    assert found.table["model"].iloc[0] == "brilliant"
    assert found.table["model"].iloc[-1] == "poor"
    for words in (
        "brilliant leads 6 models on 20 tasks by sql",
        "Worse than seasonal_naive: poor.",
        "Trained on test data of some tasks: leaky.",
        "Of unknown provenance: secretive.",
    ):
        assert words in found.conclusion
    table = found.table.set_index("model")
    assert table.loc["leaky", "trained_on"] == pytest.approx(0.5)
    assert table.loc["secretive", "unknown"] == 20
    assert table.loc["brilliant", "parameters"] == 805_280
    assert table.loc["seasonal_naive", "skill"] == 0


def test_win_matrix_is_complementary_and_averages_to_the_win_rate() -> None:
    found = standings(RESULTS, replicates=20)
    wins = found.matrix("win_rate")
    assert list(wins.index) == list(wins.columns) == found.table["model"].tolist()
    np.testing.assert_allclose(wins + wins.T, 1.0)
    off = wins.where(~np.eye(len(wins), dtype=bool))
    np.testing.assert_allclose(off.mean(axis=1), found.table["win_rate"])


def test_failures_are_named_and_counted_as_the_baseline() -> None:
    failing = RESULTS.copy()
    cell = (failing["model"] == "brilliant") & (failing["task"] == "task3")
    failing.loc[cell, "failure"] = "out of memory"
    unfinished = failing[~((failing["model"] == "poor") & (failing["task"] == "task4"))].copy()
    hollow = (unfinished["model"] == "steady") & (unfinished["task"] == "task5")
    unfinished.loc[hollow, "error/sql"] = np.nan
    found = standings(unfinished, replicates=20)
    assert found.failures.set_index(["task", "model"])["reason"].to_dict() == {
        ("task3", "brilliant"): "out of memory",
        ("task4", "poor"): NOT_EVALUATED,
        ("task5", "steady"): "no finite sql",
    }
    assert np.isnan(found.relative.loc["task3", "brilliant"])
    others = [f"task{k}" for k in range(20) if k != 3]
    kept = np.log(found.relative.loc[others, "brilliant"]).sum() / 20
    table = found.table.set_index("model")
    assert table.loc["brilliant", "skill"] == pytest.approx(1 - np.exp(kept))
    assert table.loc["brilliant", "failures"] == 1
    assert "Failed and counted as seasonal_naive" in found.conclusion


def test_tasks_that_the_baseline_failed_are_left_out_by_name() -> None:
    failing = RESULTS.copy()
    own = failing["model"] == "seasonal_naive"
    failing.loc[own & (failing["task"] == "task7"), "failure"] = "no season"
    failing.loc[own & (failing["task"] == "task8"), "error/sql"] = 0.0
    found = standings(failing, replicates=20)
    assert found.left_out == ("task7", "task8")
    assert len(found.relative) == 18
    assert "Left out" in found.conclusion


def test_errors_are_clipped() -> None:
    cells = [result("seasonal_naive", "a", 1.0), result("seasonal_naive", "b", 1.0)]
    cells += [result("wild", "a", 1e9), result("wild", "b", 1e-9)]
    found = standings(results_frame(cells), replicates=5)
    assert found.relative["wild"].tolist() == [100.0, 0.01]
    assert found.table.set_index("model").loc["wild", "skill"] == pytest.approx(0.0)


def test_a_changed_panel_refuses_to_be_compared() -> None:
    changed = RESULTS.copy()
    cell = (changed["model"] == "poor") & (changed["task"] == "task2")
    changed.loc[cell, "task_digest"] = "another panel"
    with pytest.raises(DataError, match=r"different questions.*task task2"):
        standings(changed)


def test_bad_questions_are_told() -> None:
    with pytest.raises(ConfigError, match=r"metric='crps' is not known.*sql, mase"):
        standings(RESULTS, metric="crps")
    with pytest.raises(ConfigError, match="baseline='drift' is not known"):
        standings(RESULTS, baseline="drift")
    hopeless = RESULTS.assign(failure=RESULTS["failure"].where(RESULTS["model"] == "poor", "x"))
    with pytest.raises(ConfigError, match="no positive sql on any task"):
        standings(hopeless)
