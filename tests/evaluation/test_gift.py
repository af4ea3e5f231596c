from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from gluonts.model.forecast import QuantileForecast

from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.gift import GIFT_COLUMNS, GIFT_METRICS, PREFIX, gift_errors

Answered = Callable[..., Backtest]


def _slow(backtest: Backtest) -> dict[str, float]:
    """Bar by bar, the interval's ends from a GluonTS forecast."""
    rows: dict[str, list[float]] = {
        name: [] for name in ("y", "mean", "median", "scale", "pinball", "interval")
    }
    levels = backtest.task.quantile_levels
    windows, horizon, width = backtest.actual.shape
    for w in range(windows):
        for v in range(width):
            forecast = QuantileForecast(
                backtest.quantiles[w, :, v].T,
                pd.Period("2024-01-01", "h"),
                [f"{level:g}" for level in levels],
            )
            low, high = forecast.quantile(0.025), forecast.quantile(0.975)
            for h in range(horizon):
                y = backtest.actual[w, h, v]
                if np.isnan(y):
                    continue
                q = backtest.quantiles[w, h, v]
                rows["y"].append(y)
                rows["mean"].append(backtest.mean[w, h, v])
                rows["median"].append(q[4])
                rows["scale"].append(backtest.scale[w, v])
                losses = [max(a * (y - x), (a - 1) * (y - x)) for a, x in zip(levels, q)]
                rows["pinball"].append(2 * float(np.mean(losses)))
                miss = max(low[h] - y, 0) + max(y - high[h], 0)
                rows["interval"].append(high[h] - low[h] + 2 / 0.05 * miss)
    y, mean, median, scale, pinball, interval = (np.array(rows[name]) for name in rows)
    rmse = np.sqrt(np.mean((y - mean) ** 2))
    return {
        "MSE[mean]": float(np.mean((y - mean) ** 2)),
        "MSE[0.5]": float(np.mean((y - median) ** 2)),
        "MAE[0.5]": float(np.mean(np.abs(y - median))),
        "MASE[0.5]": float(np.mean(np.abs(y - median) / scale)),
        "MAPE[0.5]": float(np.mean(np.abs((y - median)[y != 0] / y[y != 0]))),
        "sMAPE[0.5]": float(np.mean(2 * np.abs(y - median) / (np.abs(y) + np.abs(median)))),
        "MSIS": float(np.mean(interval / scale)),
        "RMSE[mean]": float(rmse),
        "NRMSE[mean]": float(rmse / np.mean(np.abs(y))),
        "ND[0.5]": float(np.abs(y - median).sum() / np.abs(y).sum()),
        "mean_weighted_sum_quantile_loss": float(pinball.sum() / np.abs(y).sum()),
    }


def test_metrics_equal_a_slow_reference(answered: Answered) -> None:
    backtest = answered(windows=9)
    actual = backtest.actual.copy()
    actual[0, 1, 0] = 0.0
    backtest = replace(backtest, actual=actual)
    expected = _slow(backtest)
    found = gift_errors(backtest)
    assert set(found) == {f"{PREFIX}{name}" for name in GIFT_METRICS}
    for name, value in expected.items():
        assert found[f"{PREFIX}{name}"] == pytest.approx(value, rel=1e-6), name


def test_metrics_equal_gluonts(answered: Answered) -> None:
    from gluonts.ev import metrics as gluonts

    backtest = answered(windows=12)
    levels = list(backtest.task.quantile_levels)
    data = {
        "label": np.ma.masked_invalid(backtest.actual),
        "mean": backtest.mean,
        "seasonal_error": np.broadcast_to(backtest.scale[:, None], backtest.actual.shape),
    } | {str(level): backtest.quantiles[..., k] for k, level in enumerate(levels)}
    definitions = {
        "MSE[mean]": gluonts.MSE(forecast_type="mean"),
        "MSE[0.5]": gluonts.MSE(forecast_type="0.5"),
        "MAE[0.5]": gluonts.MAE(),
        "MASE[0.5]": gluonts.MASE(),
        "MAPE[0.5]": gluonts.MAPE(),
        "sMAPE[0.5]": gluonts.SMAPE(),
        "RMSE[mean]": gluonts.RMSE(forecast_type="mean"),
        "NRMSE[mean]": gluonts.NRMSE(forecast_type="mean"),
        "ND[0.5]": gluonts.ND(),
        "mean_weighted_sum_quantile_loss": gluonts.MeanWeightedSumQuantileLoss(levels),
    }
    found = gift_errors(backtest)
    for name, definition in definitions.items():
        metric = definition(axis=None)
        metric.update(data)
        assert found[f"{PREFIX}{name}"] == pytest.approx(float(metric.get())), name


def test_levels_of_the_interval_are_used_where_the_task_asks_for_them(answered: Answered) -> None:
    backtest = answered(windows=6)
    wide = replace(backtest.task, quantile_levels=(0.025, 0.1, 0.5, 0.9, 0.975))
    backtest = replace(backtest, task=wide, quantiles=backtest.quantiles[..., [0, 1, 4, 7, 8]])
    low, high = backtest.quantiles[..., 0], backtest.quantiles[..., -1]
    y = backtest.actual
    score = high - low + 40 * (np.maximum(low - y, 0) + np.maximum(y - high, 0))
    expected = np.nanmean(score / backtest.scale[:, None])
    assert gift_errors(backtest)[f"{PREFIX}MSIS"] == pytest.approx(expected, rel=1e-6)


def test_columns_are_the_fifteen_of_the_leaderboard() -> None:
    assert len(GIFT_COLUMNS) == 15
    assert GIFT_COLUMNS[:3] == ("dataset", "model", "eval_metrics/MSE[mean]")
    assert GIFT_COLUMNS[-3:] == (
        "eval_metrics/mean_weighted_sum_quantile_loss",
        "domain",
        "num_variates",
    )
