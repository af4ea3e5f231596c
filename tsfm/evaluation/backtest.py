"""Backtest: a forecaster's answers to a task, beside what happened."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from tsfm.data.quantiles import quantile_column
from tsfm.errors import DataError
from tsfm.evaluation.tasks import Task
from tsfm.models.base import Context, Forecast, Forecaster

if TYPE_CHECKING:
    from tsfm.data.panel import Panel


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """Forecasts and actual values of every window of a task.

    Attributes
    ----------
    model
        Name that tables and plots show.
    item_ids, origins
        Of each window; origins count bars from the start of the whole series.
    timestamps
        Of the forecast bars, ``datetime64[ns] [window, horizon]``; NaT for undated series.
    actual
        ``[window, horizon, variate]`` of the task's targets; NaN where unobserved.
    quantiles
        ``[window, horizon, variate, level]``; NaN where the forecaster does not cover a variate.
    mean
        ``[window, horizon, variate]``.
    scale
        Mean absolute seasonal difference over the history before each origin, of MASE,
        ``[window, variate]``; NaN where it is zero or unknown.
    seconds_per_series
        Wall time of forecasting, per window and target variate.
    is_degenerate
        True for a point model that repeats its point at every level.
    """

    model: str
    task: Task
    item_ids: tuple[str, ...]
    origins: Int[np.ndarray, " window"]
    timestamps: np.ndarray
    actual: Float[np.ndarray, "window horizon variate"]
    quantiles: Float[np.ndarray, "window horizon variate level"]
    mean: Float[np.ndarray, "window horizon variate"]
    scale: Float[np.ndarray, "window variate"]
    seconds_per_series: float
    is_degenerate: bool = False

    @property
    def median(self) -> Float[np.ndarray, "window horizon variate"]:
        return Forecast(
            quantiles=self.quantiles, quantile_levels=self.task.quantile_levels, mean=self.mean
        ).median

    @property
    def scored(self) -> Bool[np.ndarray, "window horizon variate"]:
        """Where a value was observed and the forecaster gave a forecast."""
        return (
            np.isfinite(self.actual)
            & np.isfinite(self.mean)
            & np.isfinite(self.quantiles).all(axis=-1)
        )

    def to_frame(self) -> pd.DataFrame:
        """Long: ``model, item_id, origin, step, timestamp, variate, actual, mean, q0.1 …``."""
        windows, horizon, width = self.actual.shape
        bars = horizon * width
        frame = pd.DataFrame(
            {
                "model": np.full(windows * bars, self.model, object),
                "item_id": np.repeat(np.asarray(self.item_ids, object), bars),
                "origin": np.repeat(self.origins, bars),
                "step": np.tile(np.repeat(np.arange(1, horizon + 1), width), windows),
                "timestamp": np.repeat(self.timestamps.reshape(-1), width),
                "variate": np.tile(np.asarray(self.task.targets, object), windows * horizon),
                "actual": self.actual.reshape(-1),
                "mean": self.mean.reshape(-1),
            }
        )
        for k, level in enumerate(self.task.quantile_levels):
            frame[quantile_column(level)] = self.quantiles[..., k].reshape(-1)
        return frame


def backtest(
    forecaster: Forecaster,
    task: Task,
    panel: Panel,
    *,
    batch_size: int = 64,
    name: str | None = None,
    progress: bool = False,
) -> Backtest:
    """Ask a task of a forecaster.

    Parameters
    ----------
    batch_size
        Windows given to the forecaster at once.
    name
        Of the forecaster in tables, by default its own.
    progress
        Show a progress bar.

    Raises
    ------
    DataError
        When the panel is not the task's, no window fits, or the forecast has the wrong shape.
    """
    name = name or forecaster.name
    crops = list(task.crops(panel))
    if not crops:
        raise DataError(
            f"no window of {task.context} + {task.horizon} bars fits",
            where=f"task {task.name}, panel {panel.info.name}",
            remedy="shorten context or horizon, or set an earlier first_origin",
        )
    history = task.history if forecaster.reads_history else task.context
    batches: Iterable[Context] = task.contexts(panel, batch_size, history)
    if progress:
        from rich.progress import track

        batches = track(batches, name, total=-(-len(crops) // batch_size), transient=True)
    forecasts, seconds = [], 0.0
    for context in batches:
        began = time.perf_counter()
        forecast = forecaster.predict(context, task.horizon, task.quantile_levels)
        seconds += time.perf_counter() - began
        forecasts.append(_targets_of(forecast, context, task, name))
    actual = np.stack([answer.target.T for _, answer in crops])
    return Backtest(
        model=name,
        task=task,
        item_ids=tuple(past.item_id for past, _ in crops),
        origins=np.array([answer.start for _, answer in crops]),
        timestamps=np.stack([_stamps(answer.timestamps, task.horizon) for _, answer in crops]),
        actual=actual,
        quantiles=np.concatenate([forecast.quantiles for forecast in forecasts]),
        mean=np.concatenate([forecast.mean for forecast in forecasts]),
        scale=_seasonal_scales(task, panel),
        seconds_per_series=seconds / (len(crops) * len(task.targets)),
        is_degenerate=forecasts[0].is_degenerate,
    )


def seasonal_scale(
    past: Float[np.ndarray, "time variate"], seasonality: int
) -> Float[np.ndarray, " variate"]:
    """Mean absolute seasonal difference (Hyndman & Koehler 2006); NaN where zero or unknown."""
    differences = np.abs(past[seasonality:] - past[:-seasonality]).astype(np.float64)
    known = np.isfinite(differences)
    counts = known.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.where(known, differences, 0.0).sum(axis=0) / counts
    return np.where((counts > 0) & (scale > 0), scale, np.nan)


def _seasonal_scales(task: Task, panel: Panel) -> np.ndarray:
    width = len(task.targets)
    return np.stack(
        [
            seasonal_scale(past.target[:width].T, task.seasonality)
            for past, _ in task.crops(panel, task.history)
        ]
    )


def _targets_of(forecast: Forecast, context: Context, task: Task, name: str) -> Forecast:
    """Only the scored variates, which come first in the context."""
    width = len(task.targets)
    expected = (context.batch_size, task.horizon, len(context.variate_names))
    if forecast.mean.shape != expected:
        raise DataError(
            f"{name} gave a forecast of shape {forecast.mean.shape}",
            where=f"task {task.name}",
            remedy=f"[batch, horizon, variate] must be {expected}",
        )
    return replace(
        forecast,
        quantiles=forecast.quantiles[:, :, :width],
        mean=forecast.mean[:, :, :width],
        variate_names=task.targets,
        samples=None,
    )


def _stamps(timestamps: np.ndarray | None, horizon: int) -> np.ndarray:
    if timestamps is None:
        return np.full(horizon, np.datetime64("NaT"), "datetime64[ns]")
    return timestamps
