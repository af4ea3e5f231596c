"""GIFT-Eval's metrics (Aksu et al. 2024, arXiv 2410.10393), by GluonTS."""

from __future__ import annotations

from typing import Any

import numpy as np

from tsfm.evaluation.backtest import Backtest

PREFIX = "eval_metrics/"
GIFT_METRICS = (
    "MSE[mean]",
    "MSE[0.5]",
    "MAE[0.5]",
    "MASE[0.5]",
    "MAPE[0.5]",
    "sMAPE[0.5]",
    "MSIS",
    "RMSE[mean]",
    "NRMSE[mean]",
    "ND[0.5]",
    "mean_weighted_sum_quantile_loss",
)
GIFT_COLUMNS = (
    "dataset",
    "model",
    *(f"{PREFIX}{name}" for name in GIFT_METRICS),
    "domain",
    "num_variates",
)
"""The fifteen columns of ``all_results.csv``."""


def gift_errors(backtest: Backtest) -> dict[str, float]:
    """GIFT-Eval's eleven metrics, pooled over windows, horizon and variates.

    sMAPE is 0 to 2 there. MSIS is of the central 95 % interval; where the task does not ask for its
    levels, they are GluonTS's exponential tails beyond the outermost ones. MAPE and sMAPE leave out
    bars where they would divide by zero.

    Returns
    -------
    dict
        By ``eval_metrics/<name>``; NaN where nothing can be scored.
    """
    from gluonts.ev import metrics as gluonts

    data = _as_gluonts(backtest)
    levels = [float(level) for level in backtest.task.quantile_levels]
    definitions: dict[str, Any] = {
        "MSE[mean]": gluonts.MSE(forecast_type="mean"),
        "MSE[0.5]": gluonts.MSE(forecast_type="0.5"),
        "MAE[0.5]": gluonts.MAE(),
        "MASE[0.5]": gluonts.MASE(),
        "MAPE[0.5]": gluonts.MAPE(),
        "sMAPE[0.5]": gluonts.SMAPE(),
        "MSIS": gluonts.MSIS(),
        "RMSE[mean]": gluonts.RMSE(forecast_type="mean"),
        "NRMSE[mean]": gluonts.NRMSE(forecast_type="mean"),
        "ND[0.5]": gluonts.ND(),
        "mean_weighted_sum_quantile_loss": gluonts.MeanWeightedSumQuantileLoss(levels),
    }
    errors = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for name, definition in definitions.items():
            metric = definition(axis=None)
            metric.update(data)
            errors[f"{PREFIX}{name}"] = float(np.ma.filled(metric.get(), np.nan))
    return errors


def _as_gluonts(backtest: Backtest) -> dict[str, np.ndarray]:
    """What GluonTS's metrics read: bars to be left out are masked, divisions by zero mask more."""
    label = np.ma.masked_where(~backtest.scored, backtest.actual.astype(np.float64))
    levels = [float(level) for level in backtest.task.quantile_levels]
    quantiles = [backtest.quantiles[..., k].astype(np.float64) for k in range(len(levels))]
    data = {str(level): values for level, values in zip(levels, quantiles, strict=True)}
    data |= {"label": label, "mean": backtest.mean.astype(np.float64)}
    data["0.5"] = backtest.median.astype(np.float64)
    scale = np.broadcast_to(backtest.scale[:, None, :], label.shape)
    data["seasonal_error"] = np.ma.masked_invalid(scale)
    for level in (0.025, 0.975):
        data.setdefault(str(level), _tail(levels, quantiles, level))
    return data


def _tail(levels: list[float], quantiles: list[np.ndarray], level: float) -> np.ndarray:
    from gluonts.model.forecast import ExponentialTailApproximation

    if len(levels) < 2:
        return np.full_like(quantiles[0], np.nan)
    if levels[0] < level < levels[-1]:
        above = int(np.searchsorted(levels, level))
        share = (level - levels[above - 1]) / (levels[above] - levels[above - 1])
        return quantiles[above - 1] + share * (quantiles[above] - quantiles[above - 1])
    tails = ExponentialTailApproximation(levels, quantiles)
    return np.asarray(tails.left(level) if level < levels[0] else tails.right(level))
