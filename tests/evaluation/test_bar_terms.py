"""Metrics beyond the default ones, against libraries and loops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scoringrules
from sklearn.metrics import mean_absolute_percentage_error, mean_pinball_loss, mean_squared_error
from utilsforecast import losses

from tsfm.data.panel import Panel
from tsfm.errors import ConfigError
from tsfm.evaluation.backtest import Backtest, backtest
from tsfm.evaluation.bar_terms import NEAR_ZERO, BarTerms
from tsfm.evaluation.energy import energy_scores
from tsfm.evaluation.metric_names import (
    DEFAULT_METRICS,
    METRIC_NAMES,
    interval_of,
    is_within,
    target_coverage,
)
from tsfm.evaluation.metrics import per_bar, score
from tsfm.evaluation.tasks import Task
from tsfm.models.statistical import SeasonalNaive

Answered = Callable[..., Backtest]
WIDE = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)


def _wide(answered: Answered) -> Backtest:
    result = answered(windows=30)
    return replace(result, task=replace(result.task, quantile_levels=WIDE))


def test_squared_and_percentage_errors_and_pinball_equal_sklearn(answered: Answered) -> None:
    result = answered(windows=30)
    seen = result.scored
    y, mean, median = result.actual[seen], result.mean[seen], result.median[seen]
    assert np.nanmean(per_bar(result, "mse")) == pytest.approx(mean_squared_error(y, mean))
    large = np.abs(y) >= np.broadcast_to(NEAR_ZERO * result.scale[:, None], seen.shape)[seen]
    expected = 100 * mean_absolute_percentage_error(y[large], median[large])
    assert np.nanmean(per_bar(result, "mape")) == pytest.approx(expected)
    pinballs = [
        mean_pinball_loss(y, result.quantiles[..., k][seen], alpha=level)
        for k, level in enumerate(result.task.quantile_levels)
    ]
    assert np.nanmean(per_bar(result, "crps")) == pytest.approx(2 * np.mean(pinballs))


def test_rmsse_equals_utilsforecast_given_the_context(bars: Panel) -> None:
    task = Task.on(bars, context=60, horizon=12, max_windows=3, metrics=("rmsse",))
    result = backtest(SeasonalNaive(), task, bars)
    names = [f"{row:02d}-{v}" for row in range(len(result.origins)) for v in range(3)]
    long = result.to_frame()
    long["unique_id"] = np.repeat(np.array(names).reshape(-1, 1, 3), 12, axis=1).reshape(-1)
    long = long.rename(columns={"actual": "y", "step": "ds"})[["unique_id", "ds", "y", "mean"]]
    pasts = [
        pd.DataFrame({"unique_id": names[3 * row + v], "y": past.target[v], "ds": range(-60, 0)})
        for row, (past, _) in enumerate(task.crops(bars))
        for v in range(3)
    ]
    expected = losses.rmsse(
        long.dropna().sort_values(["unique_id", "ds"]), ["mean"], 7, train_df=pd.concat(pasts)
    )
    found = score(result)
    found["row"] = found.groupby("variate", observed=True).cumcount()
    ours = found.sort_values(["row", "variate"])["value"].to_numpy()
    np.testing.assert_allclose(ours, expected["mean"], rtol=1e-4)


def test_mape_leaves_out_bars_near_zero(answered: Answered) -> None:
    result = answered(windows=12)
    actual = result.actual.copy()
    actual[0, 0, 0], actual[0, 1, 0] = 0.0, 0.5 * NEAR_ZERO * result.scale[0, 0]
    actual[0, 2, 0] = 2 * NEAR_ZERO * result.scale[0, 0]
    found = per_bar(replace(result, actual=actual), "mape")[0, :, 0]
    assert np.isnan(found[:2]).all()
    assert np.isfinite(found[2])
    unscaled = replace(result, actual=actual, scale=np.full_like(result.scale, np.nan))
    assert np.isnan(per_bar(unscaled, "mape")[0, 0, 0])
    assert np.isfinite(per_bar(unscaled, "mape")[0, 1, 0])


@pytest.mark.parametrize("share", [50, 80, 90, 95])
def test_intervals_equal_scoringrules_and_a_count(share: int, answered: Answered) -> None:
    result = _wide(answered)
    low, high = (WIDE.index(level) for level in interval_of(f"winkler_{share}") or ())
    seen = result.scored
    y, lower, upper = (
        part[seen]
        for part in (result.actual, result.quantiles[..., low], result.quantiles[..., high])
    )
    expected = scoringrules.interval_score(y, lower, upper, 1 - share / 100, backend="numpy")
    np.testing.assert_allclose(per_bar(result, f"winkler_{share}")[seen], expected)
    inside = [a <= value <= b for a, value, b in zip(lower, y, upper, strict=True)]
    np.testing.assert_array_equal(per_bar(result, f"coverage_{share}")[seen], inside)
    assert target_coverage(f"coverage_{share}") == share / 100


def test_ends_between_levels_are_interpolated_and_beyond_them_refused(answered: Answered) -> None:
    result = answered()
    seen, q = result.scored, result.quantiles
    low, high = (q[..., 1] + q[..., 2]) / 2, (q[..., 6] + q[..., 7]) / 2
    width = per_bar(result, "winkler_50") - 4 * (
        np.maximum(low - result.actual, 0) + np.maximum(result.actual - high, 0)
    )
    np.testing.assert_allclose(width[seen], (high - low)[seen])
    assert np.isnan(per_bar(result, "coverage_90")).all()
    assert np.isnan(per_bar(result, "winkler_95")).all()
    assert "winkler_90" not in BarTerms(result).names()
    assert not is_within("winkler_90", result.task.quantile_levels)
    with pytest.raises(ConfigError, match=r"do not reach 0.05 and 0.95 for coverage_90"):
        replace(result.task, metrics=("coverage_90",))


def test_energy_equals_its_definition(answered: Answered) -> None:
    rng = np.random.default_rng(0)
    result = answered(windows=6)
    samples = 3 + rng.standard_normal((6, 11, 5, 2))
    samples[0, 3, 2, 1] = np.inf
    energy = energy_scores(result.actual, samples)
    for w in range(6):
        for h in range(5):
            y, x = result.actual[w, h], samples[w, :, h]
            if np.isnan(y).any() or not np.isfinite(x).all():
                assert np.isnan(energy[w, h])
                continue
            near = np.mean([np.linalg.norm(one - y) for one in x])
            apart = np.mean([np.linalg.norm(one - other) for one in x for other in x])
            assert energy[w, h] == pytest.approx(near - apart / 2)
    terms = per_bar(replace(result, energy=energy), "energy")
    both = np.isfinite(terms).all(axis=-1)
    np.testing.assert_array_equal(terms[both][:, 0], terms[both][:, 1])
    assert np.isnan(per_bar(result, "energy")).all()


def test_energy_of_one_variate_is_the_crps_of_its_samples() -> None:
    rng = np.random.default_rng(1)
    actual, samples = rng.standard_normal((4, 3, 1)), rng.standard_normal((4, 9, 3, 1))
    expected = scoringrules.crps_ensemble(
        actual[..., 0], samples[..., 0].swapaxes(1, 2), estimator="nrg", backend="numpy"
    )
    np.testing.assert_allclose(energy_scores(actual, samples), expected)


def test_default_metrics_have_not_changed() -> None:
    """They are part of every task's digest: results of before stay comparable."""
    assert DEFAULT_METRICS == (
        "crps", "wql", "sql", "mase", "mae", "rmse", "smape", "coverage_80", "winkler_80",
    )  # fmt: skip
    assert set(DEFAULT_METRICS) < set(METRIC_NAMES)


def test_an_unknown_metric_is_named(answered: Answered) -> None:
    with pytest.raises(ConfigError, match="metric='r2' is not known"):
        per_bar(answered(), "r2")
