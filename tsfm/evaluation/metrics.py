"""Metrics of a backtest, kept as sums and counts so that any group of windows aggregates exactly.

========== ==================================================================== =========
crps       twice the pinball loss, averaged over quantile levels (units of y)    ratio
crps_exact integral over all levels, where distribution or samples are known     mean
wql        ``crps`` over the sum of |y| (mean weighted quantile loss)           ratio
sql        the same, over the seasonal scale (scaled quantile loss)              mean
mase       absolute error of the median over the seasonal scale                  mean
rmsse      root of the squared error of the mean over the squared scale          root mean
mae        absolute error of the median                                          mean
mse, rmse  squared error of the mean, and its root                               mean, root
mape       100 |y − median| / |y|, without bars near zero                        mean
smape      200 |y − median| / (|y| + |median|): from 0 to 200                    mean
energy     energy score of joint samples over a bar's variates                   mean
coverage   share of values inside the central 50, 80, 90 or 95 % interval        mean
winkler    Winkler (1972) score of the central 50, 80, 90 or 95 % interval       mean
========== ==================================================================== =========

Ends of an interval that lie between two quantile levels are interpolated linearly; an interval that
reaches beyond the outermost levels is not scored. ``crps`` is that of the levels, for every model
alike: with more levels it approaches the integral (Gneiting & Ranjan 2011), which ``crps_exact``
is. Forecasts of quantiles alone have none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tsfm.errors import ConfigError
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.bar_terms import BarTerms
from tsfm.evaluation.metric_names import LOSS_NAMES, ROOTS

HIGHER_IS_BETTER = ("valid_time",)
OF_ATTRACTORS = ("hellinger", "kl", "dimension_error", "lyapunov_error")
"""Losses of forecasts of dynamical systems; scored by :mod:`tsfm.evaluation.invariants`."""

LOSSES: tuple[str, ...] = (*LOSS_NAMES, *OF_ATTRACTORS)
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
    """``value = numerator / denominator`` (its root for :data:`ROOTS`), of bars or of sums."""

    numerator: np.ndarray
    denominator: np.ndarray


def finish(metric: str, ratio: Any) -> Any:
    """The metric's value from its summed numerator over its summed denominator."""
    return np.sqrt(ratio) if metric in ROOTS else ratio


def per_bar(backtest: Backtest, metric: str) -> np.ndarray:
    """The metric's terms, ``[window, horizon, variate]``; NaN where nothing is scored.

    Their mean over any bars is the metric there (RMSE, RMSSE: its square; WQL: before division).

    Raises
    ------
    ConfigError
        When the metric is unknown.
    """
    return BarTerms(backtest).of(metric)


def bar_sums(backtest: Backtest | BarTerms, metric: str) -> Sums:
    """Numerator and denominator of every bar, ``[window, horizon, variate]`` each.

    Numerators are NaN where nothing is scored; denominators are zero there.
    """
    of = backtest if isinstance(backtest, BarTerms) else BarTerms(backtest)
    terms = of.of(metric)
    scored = np.isfinite(terms)
    sizes = np.where(scored, np.abs(of.actual), 0.0) if metric == "wql" else scored
    return Sums(terms, sizes)


def window_sums(backtest: Backtest | BarTerms, metric: str) -> Sums:
    """Numerator and denominator of every window and variate, ``[window, variate]`` each."""
    return _over_bars(bar_sums(backtest, metric))


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
        "model": constant(backtest.model, windows),
        "task": constant(task.name, windows),
        "item_id": pd.Categorical(backtest.item_ids),
        "origin": backtest.origins,
        "timestamp": stamps,
        "block": time_blocks(backtest),
        "cluster": constant(task.cluster, windows),
    }
    frames, of = [], BarTerms(backtest)
    for metric in task.metrics:
        bars = bar_sums(of, metric)
        sums = _over_bars(bars)
        for column, variate in enumerate(task.targets):
            top, bottom = sums.numerator[:, column], sums.denominator[:, column]
            with np.errstate(invalid="ignore", divide="ignore"):
                value = finish(metric, top / bottom)
            frame = pd.DataFrame(
                base
                | {
                    "variate": constant(variate, windows),
                    "metric": constant(metric, windows),
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
    first, last = backtest.timestamps[:, 0], backtest.timestamps[:, -1]
    return blocks_between(first, last, backtest.origins, backtest.task.horizon, least_horizons)


def blocks_between(
    first: np.ndarray, last: np.ndarray, origins: np.ndarray, horizon: int, least_horizons: int = 2
) -> np.ndarray:
    """:func:`time_blocks` by the dates of each window's first and last bar."""
    if np.isnat(first).any() or np.isnat(last).any():
        begin, length = origins.astype(float), float(horizon)
    else:
        begin = first.astype(np.int64).astype(float)
        spans = (last - first).astype(np.int64)
        length = float(np.median(spans)) * horizon / max(horizon - 1, 1)
    span = begin.max() - begin.min()
    count = max(int(span / (least_horizons * length)), 1) if length > 0 else 1
    blocks = np.floor((begin - begin.min()) / max(span, 1.0) * count).astype(int)
    return np.minimum(blocks, count - 1)


def _over_bars(bars: Sums) -> Sums:
    terms, sizes = bars
    return Sums(np.nansum(terms, axis=1), sizes.sum(axis=1, dtype=np.float64))


def constant(value: str, length: int) -> pd.Categorical[str]:
    """One text in every row, kept once."""
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
