from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tsfm.errors import ConfigError
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.leaderboard import (
    compare,
    leaderboard,
    pivot,
    to_html,
    to_markdown,
    verdicts,
)
from tsfm.evaluation.metrics import concat_scores, score


@pytest.fixture
def scores(answered: Callable[..., Backtest]) -> pd.DataFrame:
    """A sharp and a blurred forecaster, and one that covers the first variate only."""
    result = answered(windows=90, name="sharp")
    center = np.where(np.isfinite(result.actual), result.actual, 3.0)
    noise = np.random.default_rng(1).standard_normal(center.shape)

    def forecaster(name: str, spread: float, shift: float = 0.0) -> Backtest:
        mean = center + spread * (shift + 0.3 * noise)
        quantiles = mean[..., None] + spread * np.linspace(-1.3, 1.3, 9)
        return replace(result, model=name, mean=mean, quantiles=quantiles)

    partial = forecaster("partial", 0.5)
    quantiles = partial.quantiles.copy()
    quantiles[:, :, 1] = np.nan
    backtests = [
        forecaster("sharp", 0.5),
        forecaster("blurred", 1.0),
        replace(partial, quantiles=quantiles),
    ]
    return concat_scores([score(backtest) for backtest in backtests])


def test_values_are_ratios_of_sums_over_all_windows(scores: pd.DataFrame) -> None:
    table = leaderboard(scores, replicates=50).set_index(["variate", "metric", "model"])
    part = scores[
        (scores["variate"] == "v0") & (scores["metric"] == "rmse") & (scores["model"] == "sharp")
    ]
    squared = (part["value"] ** 2 * part["denominator"]).sum() / part["denominator"].sum()
    row = table.loc[("v0", "rmse", "sharp")]
    assert row["value"] == pytest.approx(np.sqrt(squared))
    assert row["low"] < row["value"] < row["high"]
    assert row["windows"] == len(part)


def test_the_best_model_comes_first(scores: pd.DataFrame) -> None:
    table = leaderboard(scores, replicates=50)
    for _, part in table[table["metric"] != "coverage_80"].groupby(["variate", "metric"]):
        assert part["value"].is_monotonic_increasing
    assert "partial" not in set(table[table["variate"] == "v1"]["model"])


def test_a_better_model_wins_a_worse_one_loses_an_equal_one_ties(scores: pd.DataFrame) -> None:
    ours = compare(scores, "sharp", "crps", replicates=200).set_index(["variate", "baseline"])
    theirs = compare(scores, "blurred", "crps", replicates=200).set_index(["variate", "baseline"])
    assert ours.loc[("v0", "blurred"), "verdict"] == "win"
    assert theirs.loc[("v0", "sharp"), "verdict"] == "loss"
    assert ours.loc[("v0", "partial"), "verdict"] == "tie"
    assert ours.loc[("v0", "blurred"), "skill"] == pytest.approx(0.5, abs=0.02)
    assert ("v1", "partial") not in ours.index
    assert ours["is_best_baseline"].groupby("variate").sum().min() >= 1


def test_only_windows_that_both_answered_are_compared(scores: pd.DataFrame) -> None:
    ours = scores[(scores["model"] == "sharp") & (scores["origin"] >= 50)]
    others = scores[scores["model"] != "sharp"]
    both = pd.concat([ours, others], ignore_index=True)
    pair = compare(both, "sharp", replicates=50).set_index(["variate", "baseline"])
    row = pair.loc[("v0", "blurred")]
    seen = scores[
        (scores["model"] == "blurred")
        & (scores["origin"] >= 50)
        & (scores["metric"] == "crps")
        & (scores["variate"] == "v0")
    ]
    assert row["windows"] == len(seen)
    assert row["baseline_value"] == pytest.approx(
        seen["numerator"].sum() / seen["denominator"].sum()
    )


def forgetful(result: Backtest, name: str, share: float, seed: int) -> Backtest:
    """Random forecasts, some bars of each window left out."""
    rng = np.random.default_rng(seed)
    mean = 3 + rng.standard_normal(result.mean.shape)
    quantiles = mean[..., None] + np.linspace(-1.3, 1.3, 9)
    left_out = rng.random(mean.shape) < share
    left_out[:, 0] |= share > 0  # as a baseline that never knows the first bar
    mean[left_out] = np.nan
    return replace(result, model=name, mean=mean, quantiles=quantiles)


def compared_bar_by_bar(
    ours: Backtest, theirs: Backtest, metric: str, variate: int
) -> tuple[list[float], int]:
    """Both values, by a loop over bars, and the number of windows that share any."""
    levels = ours.task.quantile_levels
    sums, windows = [[0.0, 0.0], [0.0, 0.0]], 0
    for window in range(len(ours.origins)):
        shared = 0
        for bar in range(ours.task.horizon):
            y = float(ours.actual[window, bar, variate])
            if not all(np.isfinite([y, *(b.mean[window, bar, variate] for b in (ours, theirs))])):
                continue
            shared += 1
            for total, forecaster in zip(sums, (ours, theirs), strict=True):
                quantiles = forecaster.quantiles[window, bar, variate]
                pinball = [
                    level * (y - q) if y >= q else (1 - level) * (q - y)
                    for level, q in zip(levels, quantiles, strict=True)
                ]
                terms = {
                    "crps": (2 * float(np.mean(pinball)), 1.0),
                    "wql": (2 * float(np.mean(pinball)), abs(y)),
                    "mase": (abs(y - float(quantiles[4])) / ours.scale[window, variate], 1.0),
                    "rmse": ((y - float(forecaster.mean[window, bar, variate])) ** 2, 1.0),
                }
                total[0] += terms[metric][0]
                total[1] += terms[metric][1]
        windows += shared > 0
    values = [top / bottom for top, bottom in sums]
    return [float(np.sqrt(v)) if metric == "rmse" else v for v in values], windows


@pytest.mark.parametrize("metric", ["crps", "wql", "mase", "rmse"])
@pytest.mark.parametrize("shares", [(0.0, 0.4), (0.3, 0.0), (0.5, 0.6)])
def test_both_are_compared_on_the_bars_that_both_forecast(
    answered: Callable[..., Backtest], metric: str, shares: tuple[float, float]
) -> None:
    result = answered(windows=60)
    pair = [forgetful(result, f"m{k}", share, seed=10 + k) for k, share in enumerate(shares)]
    table = compare(concat_scores([score(one) for one in pair]), "m0", metric, replicates=20)
    assert list(table["variate"]) == ["v0", "v1"]
    for variate, row in enumerate(table.itertuples()):
        expected, windows = compared_bar_by_bar(*pair, metric, variate)
        assert [row.value, row.baseline_value] == pytest.approx(expected, rel=1e-6)
        assert row.skill == pytest.approx(1 - expected[0] / expected[1], abs=1e-6)
        assert row.low < row.skill < row.high
        assert row.windows == windows


def test_forecasters_of_different_bars_have_nothing_to_compare(
    answered: Callable[..., Backtest],
) -> None:
    result = answered()
    early, late = result.mean.copy(), result.mean.copy()
    early[:, 3:], late[:, :3] = np.nan, np.nan
    pair = [replace(result, model="early", mean=early), replace(result, model="late", mean=late)]
    assert compare(concat_scores([score(one) for one in pair]), "early", replicates=20).empty


def test_the_best_baseline_is_told_on_the_same_bars(answered: Callable[..., Backtest]) -> None:
    """One that forecasts nothing but the easy bars has the lowest loss and is not the best."""
    result = answered(windows=60)
    center = np.where(np.isfinite(result.actual), result.actual, 3.0)
    hard = np.array([0.1, 0.1, 5.0, 5.0, 5.0])[:, None]

    def forecaster(name: str, error: float) -> Backtest:
        mean = center + error * hard
        quantiles = mean[..., None] + np.linspace(-0.1, 0.1, 9)
        return replace(result, model=name, mean=mean, quantiles=quantiles)

    evasive = forecaster("evasive", 2.0)
    evasive.mean[:, 2:] = np.nan
    backtests = [forecaster("ours", 1.0), forecaster("full", 1.1), evasive]
    table = compare(concat_scores([score(one) for one in backtests]), "ours", replicates=20)
    assert set(table[table["is_best_baseline"]]["baseline"]) == {"full"}


def test_without_independent_clusters_nothing_is_decided(scores: pd.DataFrame) -> None:
    table = compare(scores.assign(block=0, item_id="S"), "sharp", replicates=50)
    assert set(table["verdict"]) == {"undecided"}
    assert table["low"].isna().all()
    assert "nan" not in to_markdown(verdicts(table))


def test_same_scores_same_table(scores: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        compare(scores, "sharp", replicates=50), compare(scores, "sharp", replicates=50)
    )


def test_tables_read_well(scores: pd.DataFrame) -> None:
    table = leaderboard(scores, replicates=50)
    wide = pivot(table, "crps")
    assert wide.loc[("random", "v1"), "partial"] == "–"
    lines = to_markdown(wide).splitlines()
    assert lines[0].startswith("| task | variate |")
    assert len(lines) == 4
    assert "win" in to_markdown(verdicts(compare(scores, "sharp", replicates=50)))
    assert "<table" in to_html(table)


def test_what_cannot_be_compared_is_refused(scores: pd.DataFrame) -> None:
    with pytest.raises(ConfigError, match="model='nobody'"):
        compare(scores, "nobody")
    with pytest.raises(ConfigError, match="metric='coverage_80'"):
        compare(scores, "sharp", "coverage_80")
    with pytest.raises(ConfigError, match="no scores"):
        leaderboard(scores.iloc[:0])
    with pytest.raises(ConfigError, match="no metric"):
        pivot(leaderboard(scores, replicates=10), "luck")


def test_what_is_better_the_higher_it_is_ranks_and_wins_so(scores: pd.DataFrame) -> None:
    times = scores[scores["metric"] == "crps"].assign(metric="valid_time")
    for _, cell in leaderboard(times, replicates=50).groupby("variate"):
        assert cell["value"].is_monotonic_decreasing
    lower, higher = compare(scores, "sharp", "crps"), compare(times, "sharp", "valid_time")
    flipped = {"win": "loss", "loss": "win", "tie": "tie"}
    assert list(higher["verdict"]) == [flipped[verdict] for verdict in lower["verdict"]]
    ratio = higher["value"] / higher["baseline_value"]
    np.testing.assert_allclose(higher["skill"], ratio - 1)
    assert (higher["low"] <= higher["skill"]).all()
    assert (higher["skill"] <= higher["high"]).all()
    best = higher[higher["is_best_baseline"]].groupby("variate")["baseline_value"].max()
    assert best["v0"] == higher.loc[higher["variate"] == "v0", "baseline_value"].max()
