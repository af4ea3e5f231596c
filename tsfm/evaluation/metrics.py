"""Metrics of a backtest, kept as sums and counts so that any group of windows aggregates exactly.

========== ==================================================================== =========
crps       twice the pinball loss, averaged over quantile levels (units of y)    ratio
wql        the same, over the sum of |y| (mean weighted quantile loss)           ratio
sql        the same, over the seasonal scale (scaled quantile loss)              mean
mase       absolute error of the median over the seasonal scale                  mean
mae        absolute error of the median                                          mean
rmse       root of the squared error of the mean                                 root mean
smape      200 |y − median| / (|y| + |median|): from 0 to 200                    mean
coverage   share of values inside the central 80 % interval                      mean
winkler    Winkler (1972) score of the central 80 % interval                     mean
========== ==================================================================== =========
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tsfm.errors import ConfigError, one_of
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.tasks import METRIC_NAMES

INTERVAL = (0.1, 0.9)
HIGHER_IS_BETTER = ("valid_time",)
OF_ATTRACTORS = ("hellinger", "kl", "dimension_error", "lyapunov_error")
"""Losses of forecasts of dynamical systems; scored by :mod:`tsfm.evaluation.invariants`."""

LOSSES: tuple[str, ...] = (
    *(name for name in METRIC_NAMES if name != "coverage_80"),
    *OF_ATTRACTORS,
)
SCORE_COLUMNS = (
    "model",
    "task",
    "item_id",
    "origin",
    "timestamp",
    "block",
    "cluster",
    "variate",
    "metric",
    "value",
    "numerator",
    "denominator",
    "terms",
    "sizes",
)


class Sums(NamedTuple):
    """``value = numerator / denominator`` (its root for RMSE), of bars or of sums over them."""

    numerator: np.ndarray
    denominator: np.ndarray


def finish(metric: str, ratio: Any) -> Any:
    """The metric's value from its summed numerator over its summed denominator."""
    return np.sqrt(ratio) if metric == "rmse" else ratio


def pinball(backtest: Backtest) -> np.ndarray:
    """Pinball loss of every level, ``[window, horizon, variate, level]``."""
    levels = np.asarray(backtest.task.quantile_levels)
    error = backtest.actual[..., None].astype(np.float64) - backtest.quantiles
    return np.maximum(levels * error, (levels - 1) * error)


def _crps(backtest: Backtest) -> np.ndarray:
    return 2 * pinball(backtest).mean(axis=-1)


def _absolute(backtest: Backtest) -> np.ndarray:
    return np.abs(backtest.actual.astype(np.float64) - backtest.median)


def _squared(backtest: Backtest) -> np.ndarray:
    return (backtest.actual.astype(np.float64) - backtest.mean) ** 2


def _smape(backtest: Backtest) -> np.ndarray:
    size = np.abs(backtest.actual).astype(np.float64) + np.abs(backtest.median)
    return np.where(size > 0, 200 * _absolute(backtest) / np.where(size > 0, size, 1), 0 * size)


def _interval(backtest: Backtest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    levels = np.asarray(backtest.task.quantile_levels)
    columns = [int(np.abs(levels - level).argmin()) for level in INTERVAL]
    lower, upper = (backtest.quantiles[..., k].astype(np.float64) for k in columns)
    return backtest.actual.astype(np.float64), lower, upper


def _coverage(backtest: Backtest) -> np.ndarray:
    actual, lower, upper = _interval(backtest)
    return np.where(np.isnan(lower), np.nan, (lower <= actual) & (actual <= upper))


def _winkler(backtest: Backtest) -> np.ndarray:
    actual, lower, upper = _interval(backtest)
    miss = np.maximum(lower - actual, 0) + np.maximum(actual - upper, 0)
    return upper - lower + 2 / (1 - (INTERVAL[1] - INTERVAL[0])) * miss


_PER_BAR: dict[str, Callable[[Backtest], np.ndarray]] = {
    "crps": _crps,
    "wql": _crps,
    "sql": _crps,
    "mase": _absolute,
    "mae": _absolute,
    "rmse": _squared,
    "smape": _smape,
    "coverage_80": _coverage,
    "winkler_80": _winkler,
}


def per_bar(backtest: Backtest, metric: str) -> np.ndarray:
    """The metric's terms, ``[window, horizon, variate]``; NaN where nothing is scored.

    Their mean over any bars is the metric there (RMSE: its square; WQL: before its division).

    Raises
    ------
    ConfigError
        When the metric is unknown.
    """
    one_of("metric", metric, METRIC_NAMES)
    values = _PER_BAR[metric](backtest)
    if metric in ("sql", "mase"):
        values = values / backtest.scale[:, None, :]
    return np.where(backtest.scored, values, np.nan)


def bar_sums(backtest: Backtest, metric: str) -> Sums:
    """Numerator and denominator of every bar, ``[window, horizon, variate]`` each.

    Numerators are NaN where nothing is scored; denominators are zero there.
    """
    terms = per_bar(backtest, metric)
    scored = np.isfinite(terms)
    sizes = np.where(scored, np.abs(backtest.actual), 0.0) if metric == "wql" else scored
    return Sums(terms, sizes)


def window_sums(backtest: Backtest, metric: str) -> Sums:
    """Numerator and denominator of every window and variate, ``[window, variate]`` each."""
    terms, sizes = bar_sums(backtest, metric)
    return Sums(np.nansum(terms, axis=1), sizes.sum(axis=1, dtype=np.float64))


def score(backtest: Backtest) -> pd.DataFrame:
    """Score a backtest.

    Returns
    -------
    pd.DataFrame
        One row per window, variate and metric of the task, columns :data:`SCORE_COLUMNS`;
        ``block`` numbers the time blocks of the bootstrap. ``numerator`` and ``denominator`` are
        summed over the window's bars, ``terms`` (NaN where nothing is scored) and ``sizes`` are
        their arrays ``[horizon]``. Windows with nothing to score are left out.
    """
    task, windows = backtest.task, len(backtest.origins)
    stamps = backtest.timestamps[:, 0]
    base = {
        "model": _constant(backtest.model, windows),
        "task": _constant(task.name, windows),
        "item_id": pd.Categorical(backtest.item_ids),
        "origin": backtest.origins,
        "timestamp": stamps,
        "block": time_blocks(backtest),
        "cluster": _constant(task.cluster, windows),
    }
    frames = []
    for metric in task.metrics:
        bars, sums = bar_sums(backtest, metric), window_sums(backtest, metric)
        for column, variate in enumerate(task.targets):
            top, bottom = sums.numerator[:, column], sums.denominator[:, column]
            with np.errstate(invalid="ignore", divide="ignore"):
                value = finish(metric, top / bottom)
            frame = pd.DataFrame(
                base
                | {
                    "variate": _constant(variate, windows),
                    "metric": _constant(metric, windows),
                    "value": value,
                    "numerator": top,
                    "denominator": bottom,
                    "terms": list(bars.numerator[:, :, column].astype(np.float32)),
                    "sizes": list(bars.denominator[:, :, column]),
                }
            )
            frames.append(frame[bottom > 0])
    return _concat(frames)


def concat_scores(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """One table of the scores of several forecasters and tasks.

    Raises
    ------
    ConfigError
        When there is nothing to join.
    """
    if not frames:
        raise ConfigError("no scores to join", remedy="score at least one backtest")
    return _concat(frames)


def time_blocks(backtest: Backtest, least_horizons: int = 2) -> np.ndarray:
    """Number of each window's time block: calendar stretches of at least two horizons.

    Windows of one block overlap or follow each other closely, over all items, so that resampling
    whole blocks keeps the dependence in time and the market's common factor. Undated series are
    divided by their bar numbers.
    """
    stamps = backtest.timestamps
    if np.isnat(stamps).any():
        begin, horizon = backtest.origins.astype(float), float(backtest.task.horizon)
    else:
        begin = stamps[:, 0].astype(np.int64).astype(float)
        spans = (stamps[:, -1] - stamps[:, 0]).astype(np.int64)
        horizon = (
            float(np.median(spans)) * backtest.task.horizon / max(backtest.task.horizon - 1, 1)
        )
    span = begin.max() - begin.min()
    count = max(int(span / (least_horizons * horizon)), 1) if horizon > 0 else 1
    blocks = np.floor((begin - begin.min()) / max(span, 1.0) * count).astype(int)
    return np.minimum(blocks, count - 1)


def _constant(value: str, length: int) -> pd.Categorical[str]:
    return pd.Categorical([value]).take(np.zeros(length, np.intp))


def _concat(frames: list[pd.DataFrame]) -> pd.DataFrame:
    from pandas.api.types import union_categoricals

    joined: dict[str, Any] = {}
    for name in frames[0].columns:
        columns = [frame[name] for frame in frames]
        if isinstance(columns[0].dtype, pd.CategoricalDtype):
            joined[name] = union_categoricals(columns)
        else:
            joined[name] = np.concatenate([column.to_numpy() for column in columns])
    return pd.DataFrame(joined)
