"""GIFT-Eval's metrics (Aksu et al. 2024, arXiv 2410.10393), as GluonTS computes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.bar_terms import BarTerms, quantile_between

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
    return errors_of_sums(gift_sums(BarTerms(backtest)))


def gift_sums(of: BarTerms) -> dict[str, tuple[float, float]]:
    """Sum and number of each term: what windows add up of these metrics, exactly."""
    actual, median = of.actual, of.median.astype(np.float64)
    size, sizes = np.abs(actual), np.abs(actual) + np.abs(median)
    with np.errstate(invalid="ignore", divide="ignore"):
        terms = {
            "squared": of.squared,
            "squared_median": (actual - median) ** 2,
            "absolute": of.absolute,
            "scaled": of.absolute / of.scale,
            "percentage": np.where(size > 0, of.absolute / size, np.nan),
            "symmetric": np.where(sizes > 0, 2 * of.absolute / sizes, np.nan),
            "interval": _interval_score(of) / of.scale,
            "size": size,
            "quantile": of.crps,
        }
    sums = {}
    for name, values in terms.items():
        known = of.scored & np.isfinite(values)
        sums[name] = (float(np.where(known, values, 0.0).sum()), float(np.count_nonzero(known)))
    return sums


def errors_of_sums(sums: Mapping[str, Sequence[float] | np.ndarray]) -> dict[str, float]:
    """GIFT-Eval's metrics of summed terms, by ``eval_metrics/<name>``."""

    def mean(name: str) -> float:
        total, count = sums[name]
        return float(total / count) if count else float("nan")

    size = mean("size")
    root = float(np.sqrt(mean("squared")))
    errors = {
        "MSE[mean]": mean("squared"),
        "MSE[0.5]": mean("squared_median"),
        "MAE[0.5]": mean("absolute"),
        "MASE[0.5]": mean("scaled"),
        "MAPE[0.5]": mean("percentage"),
        "sMAPE[0.5]": mean("symmetric"),
        "MSIS": mean("interval"),
        "RMSE[mean]": root,
        "NRMSE[mean]": root / size if size else float("nan"),
        "ND[0.5]": mean("absolute") / size if size else float("nan"),
        "mean_weighted_sum_quantile_loss": mean("quantile") / size if size else float("nan"),
    }
    return {f"{PREFIX}{name}": value for name, value in errors.items()}


def _interval_score(of: BarTerms) -> np.ndarray:
    levels = [float(level) for level in of.backtest.task.quantile_levels]
    quantiles = [of.backtest.quantiles[..., k].astype(np.float64) for k in range(len(levels))]
    lower, upper = _ends(levels, quantiles)
    miss = np.maximum(lower - of.actual, 0) + np.maximum(of.actual - upper, 0)
    return upper - lower + 2 / 0.05 * miss


def _ends(levels: list[float], quantiles: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Of the central 95 % interval."""
    from gluonts.model.forecast import ExponentialTailApproximation

    low, high = 0.025, 0.975
    if len(levels) < 2:
        return np.full_like(quantiles[0], np.nan), np.full_like(quantiles[0], np.nan)
    lower = quantile_between(levels, quantiles, low) if levels[0] <= low else None
    upper = quantile_between(levels, quantiles, high) if high <= levels[-1] else None
    if lower is None or upper is None:
        tails = ExponentialTailApproximation(levels, quantiles)
        lower = np.asarray(tails.left(low)) if lower is None else lower
        upper = np.asarray(tails.right(high)) if upper is None else upper
    return lower, upper
