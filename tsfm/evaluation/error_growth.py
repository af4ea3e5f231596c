"""Errors of chaotic forecasts along the horizon, with intervals clustered by system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from tsfm.data.panel import Panel
from tsfm.errors import DataError, one_of
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.bootstrap import bootstrap_ratios, interval
from tsfm.evaluation.chaos import METRICS, VALID_TIME, dynamics_of, errors_and_rates, step_terms
from tsfm.evaluation.chaos_config import ChaosConfig
from tsfm.evaluation.metrics import finish

_UNSATURATED = 0.3


@dataclass(frozen=True, kw_only=True)
class ErrorGrowth:
    """How fast forecasts of one model go wrong.

    Attributes
    ----------
    times
        In Lyapunov times.
    error, low, high
        Geometric mean over windows of the error in deviations of the attractor, and its
        interval clustered by system (NaN where there are too few).
    rate
        Growth of its logarithm per Lyapunov time before saturation: 1 is that of the system, more
        is error that the model adds; NaN where the first step is saturated.
    """

    model: str
    times: Float[np.ndarray, " time"]
    error: Float[np.ndarray, " time"]
    low: Float[np.ndarray, " time"]
    high: Float[np.ndarray, " time"]
    rate: float


def error_growth(
    backtest: Backtest,
    panel: Panel,
    config: ChaosConfig | None = None,
    *,
    points: int = 100,
    replicates: int = 500,
) -> ErrorGrowth:
    """Growth of the error, to hold against exp(λ t).

    Drawn as far as half of the windows reach.

    Raises
    ------
    DataError
        When no item has a Lyapunov exponent.
    """
    config = config or ChaosConfig()
    error, rate = errors_and_rates(backtest, panel)
    steps = np.arange(1, error.shape[1] + 1)
    usable = np.flatnonzero(np.isfinite(rate))
    if not len(usable):
        raise DataError(
            "no item has a positive Lyapunov exponent",
            where=f"panel {panel.info.name}",
            remedy="give the static attribute lyapunov, in nats per unit of time",
        )
    grid = np.linspace(rate[usable].min(), np.median(rate[usable]) * steps[-1], points)
    with np.errstate(divide="ignore"):
        logs = np.log(np.maximum(error[usable], 1e-12))
    curves = np.stack(
        [
            np.interp(grid, steps * one, log, left=np.nan, right=np.nan)
            for one, log in zip(rate[usable], logs)
        ]
    )
    known = dynamics_of(panel, backtest.item_ids)
    clusters = [getattr(known[backtest.item_ids[row]], config.cluster) for row in usable]
    mean, low, high = _banded(curves, clusters, replicates, config.seed)
    return ErrorGrowth(
        model=backtest.model,
        times=grid,
        error=np.exp(mean),
        low=np.exp(low),
        high=np.exp(high),
        rate=_rate(grid, mean),
    )


def error_by_step(
    backtest: Backtest,
    panel: Panel,
    config: ChaosConfig | None = None,
    *,
    metric: str = "smape",
    cumulative: bool = True,
    replicates: int = 500,
) -> pd.DataFrame:
    """A metric at every step, or over all steps up to it, with intervals clustered by system.

    Returns
    -------
    pd.DataFrame
        Columns ``model, step, value, low, high``.

    Raises
    ------
    ConfigError
        When the metric is unknown.
    """
    one_of("metric", metric, METRICS)
    config = config or ChaosConfig()
    terms = step_terms(backtest, panel, config)[metric]
    if cumulative:
        scored = np.isfinite(terms)
        counts = scored.cumsum(axis=1)
        sums = np.where(scored, terms, 0).cumsum(axis=1)
        terms = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    known = dynamics_of(panel, backtest.item_ids)
    clusters = [getattr(known[name], config.cluster) for name in backtest.item_ids]
    value, low, high = (
        finish(metric, band) for band in _banded(terms, clusters, replicates, config.seed)
    )
    return pd.DataFrame(
        {
            "model": backtest.model,
            "step": np.arange(1, terms.shape[1] + 1),
            "value": value,
            "low": low,
            "high": high,
        }
    )


def valid_time_gains(
    scores: pd.DataFrame,
    model: str,
    *,
    confidence: float = 0.95,
    replicates: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """How much longer a model stays valid than each other, on the same windows.

    Returns
    -------
    pd.DataFrame
        One row per ``task, baseline``: ``value`` and ``baseline_value`` in Lyapunov times, their
        difference ``gain`` with its paired interval ``low, high`` clustered by system.

    Raises
    ------
    ConfigError
        When the model has no valid times.
    """
    times = scores[scores["metric"] == VALID_TIME]
    one_of("model", model, [str(name) for name in times["model"].unique()])
    rows = []
    for task, cells in times.groupby("task", observed=True, sort=False):
        of = {str(name): cell for name, cell in cells.groupby("model", observed=True, sort=False)}
        for baseline in [name for name in of if name != model and model in of]:
            pair = of[model].merge(of[baseline], on=["item_id", "origin"], suffixes=("", "_b"))
            gains = (pair["value"] - pair["value_b"]).to_numpy()
            items = pair["item_id"].astype(str).to_numpy()
            low, high = _interval(gains[:, None], items, replicates, seed, confidence)
            rows.append(
                {
                    "task": task,
                    "model": model,
                    "baseline": baseline,
                    "value": pair["value"].mean(),
                    "baseline_value": pair["value_b"].mean(),
                    "gain": gains.mean(),
                    "low": low[0],
                    "high": high[0],
                    "windows": len(pair),
                }
            )
    return pd.DataFrame(rows)


def _banded(
    values: Float[np.ndarray, "window point"], clusters: Sequence[str], replicates: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over windows at each point, and its interval."""
    scored = np.isfinite(values)
    counts = scored.sum(axis=0)
    mean = np.where(scored, values, 0).sum(axis=0) / np.where(counts > 0, counts, np.nan)
    low, high = _interval(values, np.asarray(clusters), replicates, seed)
    return mean, low, high


def _interval(
    values: Float[np.ndarray, "window point"],
    clusters: np.ndarray,
    replicates: int,
    seed: int,
    confidence: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    scored = np.isfinite(values)
    drawn = bootstrap_ratios(
        np.where(scored, values, 0).T,
        scored.T.astype(np.float64),
        items=clusters,
        blocks=np.zeros(len(values), np.int64),
        rng=np.random.default_rng(seed),
        cluster="item",
        replicates=replicates,
    )
    bounds = [interval(row, drawn.clusters, confidence) for row in drawn.ratios]
    low, high = np.array(bounds).T
    return low, high


def _rate(times: np.ndarray, logs: np.ndarray) -> float:
    growing = np.flatnonzero(~(logs < np.log(_UNSATURATED)))
    end = growing[0] if len(growing) else len(logs)
    if end < 3:
        return float("nan")
    return float(np.polyfit(times[:end], logs[:end], 1)[0])
