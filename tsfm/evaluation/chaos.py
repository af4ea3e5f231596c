"""Forecasts of chaotic systems judged: errors by horizon and valid prediction time.

Scores have the columns of :func:`tsfm.evaluation.metrics.score`, so that ``leaderboard`` and
``compare`` take them as they are, with these conventions:

- ``task`` names the horizon too, as ``name@128``: errors are averaged over the first 128 steps.
- ``variate`` is ``all``: errors are averaged over a window's variates first, so that every window
  counts alike whatever its system's dimension.
- ``item_id`` is the system (or family), which the bootstrap resamples as a whole; ``instance``
  and ``first_step`` name the item and its origin, and ``origin`` numbers the windows.

sMAPE goes from 0 to 200 here, as everywhere in this package; :func:`to_dysts_smape` gives that of
dysts, from 0 to 100.

References
----------
Vlachas et al., Backpropagation algorithms and reservoir computing in recurrent neural networks for
the forecasting of complex spatiotemporal dynamics (2020), for the valid prediction time. Gilpin,
Chaos as an interpretable benchmark (2021). Lai, Bao & Gilpin, Panda (2025), for the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from tsfm.data.dynamics.estimators import LEAST_POINTS, largest_lyapunov
from tsfm.data.panel import Panel
from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.chaos_config import ChaosConfig
from tsfm.evaluation.metrics import SCORE_COLUMNS, finish, per_bar

METRICS = ("smape", "mae", "rmse")
VALID_TIME = "valid_time"
COLUMNS = (*SCORE_COLUMNS, "instance", "first_step")


@dataclass(frozen=True, kw_only=True)
class Dynamics:
    """What a panel knows of one item's system.

    Attributes
    ----------
    dt
        Time between samples.
    lyapunov
        Largest Lyapunov exponent, nats per unit of time; where the panel has none that is
        positive, estimated from the item (NaN where that is not positive either).
    period
        Time of one oscillation; NaN where unknown.
    spread
        Standard deviation of each variate over the whole item, ``[variate]``.
    """

    system: str
    family: str
    dt: float
    lyapunov: float
    period: float
    spread: Float[np.ndarray, " variate"]


def to_dysts_smape(smape: Any) -> Any:
    """sMAPE as dysts and Panda print it, from 0 to 100."""
    return 0.5 * smape


def dynamics_of(panel: Panel, item_ids: Sequence[str]) -> dict[str, Dynamics]:
    """What the panel's static attributes ``system, family, dt, lyapunov, period`` say of items.

    Raises
    ------
    DataError
        When an item has no system or no positive ``dt``.
    """
    return {name: _dynamics(panel, name) for name in dict.fromkeys(item_ids)}


def in_context_units(backtest: Backtest, panel: Panel) -> Backtest:
    """Actual values and forecasts in deviations from the mean over each window's context."""
    width = len(backtest.task.targets)
    pasts = np.stack([past.target[:width].T for past, _ in backtest.task.crops(panel)])
    pasts = pasts.astype(np.float64)
    seen = np.isfinite(pasts)
    counts = np.maximum(seen.sum(axis=1, keepdims=True), 1)
    mean = np.where(seen, pasts, 0).sum(axis=1, keepdims=True) / counts
    square = np.where(seen, (pasts - mean) ** 2, 0).sum(axis=1, keepdims=True) / counts
    spread = np.where(square > 0, np.sqrt(square), 1.0)
    return replace(
        backtest,
        actual=(backtest.actual - mean) / spread,
        mean=(backtest.mean - mean) / spread,
        quantiles=(backtest.quantiles - mean[..., None]) / spread[..., None],
        crps_exact=None,
    )


def normalised_error(
    actual: Float[np.ndarray, "window horizon variate"],
    forecast: Float[np.ndarray, "window horizon variate"],
    spread: Float[np.ndarray, "window variate"],
) -> Float[np.ndarray, "window horizon"]:
    """Root mean square over variates of the error in deviations of the attractor.

    NaN at steps where nothing is scored; variates that stand still or were not observed are left
    out.
    """
    scale = np.where(spread > 0, spread, np.nan)[:, None, :]
    squares = ((np.asarray(forecast, np.float64) - actual) / scale) ** 2
    return np.sqrt(_mean_over_variates(squares))


def valid_steps(
    error: Float[np.ndarray, "window horizon"], threshold: float
) -> Int[np.ndarray, " window"]:
    """Steps until the error first exceeds the threshold (or is not known), at most all."""
    wrong = ~(error <= threshold)
    return np.where(wrong.any(axis=1), wrong.argmax(axis=1), error.shape[1])


def score_chaos(
    backtest: Backtest, panel: Panel, config: ChaosConfig | None = None
) -> pd.DataFrame:
    """Score a backtest of dynamical systems.

    Returns
    -------
    pd.DataFrame
        Columns :data:`COLUMNS`; one row per window and metric of :data:`METRICS` for each horizon,
        and per window ``valid_time`` in Lyapunov times (higher is better; a forecast that is valid
        to its end counts with the whole horizon) under the task's own name. Windows without an
        observed value, or for ``valid_time`` without a Lyapunov exponent, are left out.

    Raises
    ------
    ConfigError
        When the task reaches none of the horizons.
    DataError
        When the panel is not the task's, or items lack static attributes.
    """
    config = config or ChaosConfig()
    horizons = [steps for steps in config.horizons if steps <= backtest.task.horizon]
    if not horizons:
        raise ConfigError(
            f"horizons={config.horizons} are longer than the task's {backtest.task.horizon} steps",
            where=f"task {backtest.task.name}",
            remedy="give a horizon that it reaches",
        )
    known = dynamics_of(panel, backtest.item_ids)
    frames = []
    terms_of = step_terms(backtest, panel, config)
    for metric, terms in terms_of.items():
        for steps in horizons:
            task = f"{backtest.task.name}@{steps}"
            frames.append(score_rows(backtest, known, config, metric, terms[:, :steps], task))
    times = valid_times(backtest, panel, config)[:, None]
    frames.append(score_rows(backtest, known, config, VALID_TIME, times, backtest.task.name))
    return pd.concat(frames, ignore_index=True)


def step_terms(
    backtest: Backtest, panel: Panel, config: ChaosConfig
) -> dict[str, Float[np.ndarray, "window horizon"]]:
    """Each metric's term at each step, averaged over variates; NaN where nothing is scored."""
    chosen = in_context_units(backtest, panel) if config.standardise else backtest
    return {metric: _mean_over_variates(per_bar(chosen, metric)) for metric in METRICS}


def valid_times(
    backtest: Backtest, panel: Panel, config: ChaosConfig | None = None
) -> Float[np.ndarray, " window"]:
    """Valid prediction time of each window in Lyapunov times; NaN without a Lyapunov exponent."""
    config = config or ChaosConfig()
    error, rate = errors_and_rates(backtest, panel)
    return valid_steps(error, config.valid_threshold) * rate


def medians(scores: pd.DataFrame) -> pd.DataFrame:
    """Median and quartiles over windows, as published tables of dynamical systems quote.

    Returns
    -------
    pd.DataFrame
        One row per ``task, metric, model`` with ``median, lower, upper, windows, systems``.
    """
    groups = scores.groupby(["task", "metric", "model"], observed=True, sort=False)
    table = groups["value"].quantile(np.array([0.5, 0.25, 0.75])).unstack()  # noqa: PD010
    table.columns = pd.Index(["median", "lower", "upper"])
    table["windows"] = groups.size()
    table["systems"] = groups["item_id"].nunique()
    return table.reset_index()


def score_rows(
    backtest: Backtest,
    known: Mapping[str, Dynamics],
    config: ChaosConfig,
    metric: str,
    terms: Float[np.ndarray, "window step"],
    task: str,
) -> pd.DataFrame:
    """Rows of one metric; windows whose terms are all NaN are left out."""
    scored = np.isfinite(terms)
    top, bottom = np.where(scored, terms, 0).sum(axis=1), scored.sum(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = finish(metric, top / bottom)
    windows = len(terms)
    systems = [getattr(known[name], config.cluster) for name in backtest.item_ids]
    columns = {
        "model": backtest.model,
        "task": task,
        "item_id": systems,
        "origin": np.arange(windows),
        "timestamp": backtest.timestamps[:, 0],
        "block": np.zeros(windows, np.int64),
        "cluster": "item",
        "variate": "all",
        "metric": metric,
        "value": value,
        "numerator": top,
        "denominator": bottom,
        "terms": list(terms.astype(np.float32)),
        "sizes": list(scored.astype(np.float64)),
        "instance": list(backtest.item_ids),
        "first_step": backtest.origins,
    }
    return pd.DataFrame(columns)[bottom > 0]


def _dynamics(panel: Panel, item_id: str) -> Dynamics:
    series = panel.series(panel.item(item_id))
    system, dt = series.static.get("system"), series.static.get("dt")
    if not isinstance(system, str) or not isinstance(dt, float) or not dt > 0:
        raise DataError(
            f"static attributes system={system!r}, dt={dt!r}",
            where=f"panel {panel.info.name}, item {item_id!r}",
            remedy="give every item the name of its system and the time between its samples",
        )
    states = series.target.T.astype(np.float64)
    lyapunov = float(series.static.get("lyapunov", np.nan))
    if not lyapunov > 0:
        lyapunov = _estimated(states, dt)
    return Dynamics(
        system=system,
        family=str(series.static.get("family", system)),
        dt=dt,
        lyapunov=lyapunov if lyapunov > 0 else float("nan"),
        period=float(series.static.get("period", np.nan)),
        spread=_spread(states),
    )


def _spread(states: np.ndarray) -> np.ndarray:
    seen = np.isfinite(states)
    counts = np.maximum(seen.sum(axis=0), 1)
    mean = np.where(seen, states, 0).sum(axis=0) / counts
    return np.sqrt(np.where(seen, (states - mean) ** 2, 0).sum(axis=0) / counts)


def _estimated(states: np.ndarray, dt: float) -> float:
    observed = states[:, np.isfinite(states).all(axis=0)]
    if observed.shape[1] == 0 or len(observed) < LEAST_POINTS:
        return float("nan")
    return largest_lyapunov(observed, dt=dt)


def _mean_over_variates(terms: np.ndarray) -> np.ndarray:
    scored = np.isfinite(terms)
    counts = scored.sum(axis=2)
    sums = np.where(scored, terms, 0).sum(axis=2)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def errors_and_rates(backtest: Backtest, panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """Normalised errors ``[window, horizon]``, and Lyapunov times per step of each window."""
    known = dynamics_of(panel, backtest.item_ids)
    columns = [panel.info.variates.index(name) for name in backtest.task.targets]
    spread = np.stack([known[name].spread[columns] for name in backtest.item_ids])
    rate = np.array([known[name].lyapunov * known[name].dt for name in backtest.item_ids])
    return normalised_error(backtest.actual, backtest.median, spread), rate
