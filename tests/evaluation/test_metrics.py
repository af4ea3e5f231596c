from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from utilsforecast import losses

from tsfm.data.panel import Panel
from tsfm.errors import ConfigError
from tsfm.evaluation.backtest import Backtest, backtest
from tsfm.evaluation.metric_names import DEFAULT_METRICS, METRIC_NAMES
from tsfm.evaluation.metrics import (
    LOSSES,
    SCORE_COLUMNS,
    concat_scores,
    per_bar,
    score,
    time_blocks,
    window_sums,
)
from tsfm.evaluation.tasks import Task
from tsfm.models.statistical import SeasonalNaive

LEVELS = np.arange(1, 10) / 10
QUANTILES = {"model": [f"q{level:g}" for level in LEVELS]}


def test_each_window_equals_utilsforecast(answered: Callable[..., Backtest]) -> None:
    result = answered()
    frame = _utils_frame(result)
    of = frame.rename(
        columns={"mean": "model", "q0.1": "model-lo-80", "q0.9": "model-hi-80"}
    ).assign(**{"q0.1": frame["q0.1"], "q0.9": frame["q0.9"]})
    of_median = of.assign(model=of["q0.5"])
    expected = {
        "crps": 2 * losses.mqloss(of, QUANTILES, LEVELS)["model"],
        "wql": losses.scaled_crps(of, QUANTILES, LEVELS)["model"],
        "mae": losses.mae(of_median, ["model"])["model"],
        "rmse": losses.rmse(of, ["model"])["model"],
        "smape": 200 * losses.smape(of_median, ["model"])["model"],
        "coverage_80": losses.coverage(of, ["model"], 80)["model"],
        "winkler_80": losses.winkler_score(of, ["model"], 80)["model"],
    }
    scores = score(result)
    for metric, values in expected.items():
        ours = _values(scores, metric)
        np.testing.assert_allclose(ours, values.to_numpy(), rtol=1e-6, err_msg=metric)


def test_mase_and_sql_equal_utilsforecast_given_the_context(bars: Panel) -> None:
    task = Task.on(bars, context=60, horizon=12, max_windows=3, metrics=("mase", "sql"))
    result = backtest(SeasonalNaive(), task, bars)
    frame = _utils_frame(result)
    names = _window_names(result)
    pasts = [
        pd.DataFrame({"unique_id": names[row * 3 + v], "y": past.target[v], "ds": range(-60, 0)})
        for row, (past, _) in enumerate(task.crops(bars))
        for v in range(3)
    ]
    train = pd.concat(pasts).sort_values(["unique_id", "ds"])
    scores = score(result)
    mase = losses.mase(frame.rename(columns={"q0.5": "model"}), ["model"], 7, train_df=train)
    np.testing.assert_allclose(_values(scores, "mase"), mase["model"], rtol=1e-5)
    sql = losses.scaled_mqloss(frame, QUANTILES, LEVELS, 7, train_df=train)
    np.testing.assert_allclose(_values(scores, "sql"), 2 * sql["model"], rtol=1e-5)


def test_weighted_quantile_loss_of_many_windows_equals_gluonts(
    answered: Callable[..., Backtest],
) -> None:
    from gluonts.evaluation.metrics import quantile_loss

    result = answered(windows=30)
    scores = score(result)
    part = scores[(scores["metric"] == "wql") & (scores["variate"] == "v1")]
    seen = np.isfinite(result.actual[..., 1])
    actual = result.actual[..., 1][seen]
    weighted = [
        quantile_loss(actual, result.quantiles[..., 1, k][seen], level) / np.abs(actual).sum()
        for k, level in enumerate(LEVELS)
    ]
    assert part["numerator"].sum() / part["denominator"].sum() == pytest.approx(np.mean(weighted))


def test_quantile_and_interval_scores_equal_scoringrules(
    answered: Callable[..., Backtest],
) -> None:
    import scoringrules

    result = answered()
    seen = result.scored
    actual, quantiles = result.actual[seen], result.quantiles[seen]
    crps = scoringrules.crps_quantile(actual, quantiles, LEVELS, backend="numpy")
    np.testing.assert_allclose(per_bar(result, "crps")[seen], crps)
    interval = scoringrules.interval_score(
        actual, quantiles[:, 0], quantiles[:, 8], 0.2, backend="numpy"
    )
    np.testing.assert_allclose(per_bar(result, "winkler_80")[seen], interval)


def test_quantile_crps_approaches_the_normal_closed_form() -> None:
    import scoringrules
    from scipy.stats import norm

    levels = tuple((np.arange(999) + 0.5) / 999)
    rng = np.random.default_rng(0)
    actual = rng.standard_normal((50, 1, 1))
    task = Task(
        name="n", panel_fingerprint="", targets=("v",), context=1, horizon=1,
        quantile_levels=levels, metrics=("crps",),
    )  # fmt: skip
    result = Backtest(
        model="normal", task=task, item_ids=("a",) * 50, origins=np.arange(50),
        timestamps=np.full((50, 1), np.datetime64("NaT"), "datetime64[ns]"), actual=actual,
        quantiles=np.broadcast_to(norm.ppf(levels), (50, 1, 1, 999)), mean=np.zeros_like(actual),
        scale=np.ones((50, 1)), seconds_per_series=0.0,
    )  # fmt: skip
    exact = scoringrules.crps_normal(actual.ravel(), 0.0, 1.0, backend="numpy")
    np.testing.assert_allclose(score(result)["value"], exact, atol=2e-3)


@pytest.mark.parametrize("metric", METRIC_NAMES)
def test_sums_of_parts_give_the_whole(metric: str, answered: Callable[..., Backtest]) -> None:
    """Two windows joined end to end score as their summed parts: what aggregation relies on."""
    result = answered(windows=12)
    result = replace(result, scale=np.ones_like(result.scale))
    joined = replace(
        result,
        actual=result.actual.reshape(6, 10, 2),
        quantiles=result.quantiles.reshape(6, 10, 2, 9),
        mean=result.mean.reshape(6, 10, 2),
        scale=np.ones((6, 2)),
    )
    parts, whole = window_sums(result, metric), window_sums(joined, metric)
    for part, total in zip(parts, whole):
        np.testing.assert_allclose(part.reshape(6, 2, 2).sum(axis=1), total)


def test_only_observed_and_forecast_values_are_scored(answered: Callable[..., Backtest]) -> None:
    result = answered()
    quantiles = result.quantiles.copy()
    quantiles[:, :, 1] = np.nan
    actual = result.actual.copy()
    actual[0, :, 0] = np.nan
    scores = score(replace(result, quantiles=quantiles, actual=actual))
    assert set(scores["variate"]) == {"v0"}
    assert (scores.groupby("metric", observed=True).size() == 11).all()
    crps = scores[scores["metric"] == "crps"]["denominator"].to_numpy()
    np.testing.assert_array_equal(crps, np.isfinite(actual[1:, :, 0]).sum(axis=1))


def test_zero_scale_leaves_scaled_metrics_out(answered: Callable[..., Backtest]) -> None:
    result = answered()
    scores = score(replace(result, scale=np.full_like(result.scale, np.nan)))
    assert set(scores["metric"]) == set(DEFAULT_METRICS) - {"mase", "sql"}


def test_scores_of_several_models_join(answered: Callable[..., Backtest]) -> None:
    frames = [score(answered(name=name)) for name in ("a", "b")]
    joined = concat_scores(frames)
    assert tuple(joined.columns) == SCORE_COLUMNS
    assert joined["model"].value_counts().to_dict() == {"a": len(frames[0]), "b": len(frames[1])}
    with pytest.raises(ConfigError):
        concat_scores([])


def test_blocks_are_calendar_stretches_of_two_horizons_or_more(
    answered: Callable[..., Backtest],
) -> None:
    result = answered(windows=60)
    blocks = time_blocks(result)
    begin = result.timestamps[:, 0]
    assert blocks[begin.argmin()] == 0
    assert len(np.unique(blocks)) > 5
    for block in np.unique(blocks)[:-1]:
        spans = begin[blocks == block + 1].min() - begin[blocks == block].min()
        assert spans >= 2 * 5 * np.timedelta64(1, "h")
    same_time = result.origins == result.origins[0]
    assert len(np.unique(blocks[same_time])) == 1


def test_losses_are_those_where_less_is_better() -> None:
    assert "coverage_80" not in LOSSES
    assert {"crps", "mase", "rmse"} <= set(LOSSES)


def _window_names(result: Backtest) -> list[str]:
    rows, width = len(result.origins), result.actual.shape[2]
    return [f"{row:04d}-{v}" for row in range(rows) for v in range(width)]


def _utils_frame(result: Backtest) -> pd.DataFrame:
    """utilsforecast's layout, one series per window and variate, only what is observed."""
    frame = result.to_frame()
    horizon, width = result.actual.shape[1:]
    row = np.repeat(np.arange(len(result.origins)), horizon * width)
    variate = np.tile(np.arange(width), len(result.origins) * horizon)
    frame["unique_id"] = [f"{r:04d}-{v}" for r, v in zip(row, variate)]
    frame = frame.rename(columns={"actual": "y", "step": "ds"}).drop(columns="model")
    return frame.dropna(subset=["y"]).sort_values(["unique_id", "ds"]).reset_index(drop=True)


def _values(scores: pd.DataFrame, metric: str) -> np.ndarray:
    """In the order of utilsforecast's result: by window, then variate."""
    part = scores[scores["metric"] == metric].copy()
    part["row"] = part.groupby("variate", observed=True).cumcount()
    return part.sort_values(["row", "variate"], kind="stable")["value"].to_numpy()
