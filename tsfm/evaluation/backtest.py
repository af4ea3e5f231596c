"""Backtest: a forecaster's answers to a task, beside what happened.

:func:`backtest` holds all windows at once; :func:`stream` a bounded number of them at a time, for
those who want scores only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from tsfm.data.quantiles import quantile_column
from tsfm.errors import DataError
from tsfm.evaluation.crops import Crops
from tsfm.evaluation.energy import energy_scores
from tsfm.evaluation.exact_crps import exact_crps
from tsfm.evaluation.tasks import Task
from tsfm.models.base import Context, Forecast, Forecaster
from tsfm.models.modes import evaluating

if TYPE_CHECKING:
    from tsfm.data.panel import Panel

CHUNK_WINDOWS = 512
CHUNK_BYTES = 2**26
"""Of the quantiles that :func:`stream` holds at once, as far as one window allows."""

Progress = Callable[[int, int], None]

ROUNDING = 1e-5
"""Quantiles that cross by less, relative to their size, do not cross: single precision."""


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """Forecasts and actual values of windows of a task.

    Quantiles that cross are counted in ``crossed`` and sorted, which never raises a quantile loss
    (Chernozhukov, Fernández-Val & Galichon 2010).

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
    squared_scale
        Mean squared seasonal difference, of RMSSE, ``[window, variate]``; NaN as ``scale``.
    energy
        Energy score of each bar's joint samples over the targets, ``[window, horizon]``; NaN where
        some target is unobserved. None where the forecaster draws no joint samples.
    crps_exact
        CRPS of each bar's whole distribution or samples, ``[window, horizon, variate]``; NaN where
        unobserved. None where the forecaster gives quantiles only, or they crossed: it belongs to
        these very quantiles, and whoever replaces them sets it to None.
    crossed
        Where the forecaster's quantiles crossed, ``[window, horizon, variate]``.
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
    squared_scale: Float[np.ndarray, "window variate"] | None = None
    energy: Float[np.ndarray, "window horizon"] | None = None
    crps_exact: Float[np.ndarray, "window horizon variate"] | None = None
    crossed: Bool[np.ndarray, "window horizon variate"] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        found = crossing(self.quantiles)
        if found.any():
            quantiles = self.quantiles.copy()
            quantiles[found] = np.sort(quantiles[found], axis=-1)
            object.__setattr__(self, "quantiles", quantiles)
            object.__setattr__(self, "crps_exact", None)
        if self.crossed is not None and self.crossed.shape == found.shape:
            found = found | self.crossed
        object.__setattr__(self, "crossed", found)

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
    """Ask a task of a forecaster, and hold every window's answer.

    Parameters
    ----------
    batch_size
        Windows given to the forecaster at once; fewer where their forecasts alone would be large.
    name
        Of the forecaster in tables, by default its own.
    progress
        Show a progress bar of windows.

    Raises
    ------
    DataError
        When the panel is not the task's, no window fits, or the forecast has the wrong shape.
    """
    name = name or forecaster.name
    with _bar(name, progress) as show:
        return joined(
            list(stream(forecaster, task, panel, batch_size=batch_size, name=name, progress=show))
        )


def stream(
    forecaster: Forecaster,
    task: Task,
    panel: Panel,
    *,
    batch_size: int = 64,
    name: str | None = None,
    windows: int = CHUNK_WINDOWS,
    first: int = 0,
    progress: Progress | None = None,
) -> Iterator[Backtest]:
    """Ask a task of a forecaster, some windows at a time: memory does not grow with their number.

    Parameters
    ----------
    batch_size, name
        As of :func:`backtest`.
    windows
        At most so many at a time, whole batches; fewer where quantiles would exceed 64 MiB.
    first
        Windows to leave out, in the order of :meth:`Task.windows`: they were answered before.
    progress
        Called with the windows answered and their number.

    Raises
    ------
    DataError
        When the panel is not the task's, no window fits, or the forecast has the wrong shape.
    """
    crops, name = Crops(task, panel), name or forecaster.name
    if not len(crops):
        raise DataError(
            f"no window of {task.context} + {task.horizon} bars fits",
            where=f"task {task.name}, panel {panel.info.name}",
            remedy="shorten context or horizon, or set an earlier first_origin",
        )
    size = 4 * task.horizon * len(task.targets) * len(task.quantile_levels)
    batch_size = max(min(batch_size, CHUNK_BYTES // size), 1)
    held = max(min(windows, CHUNK_BYTES // size) // batch_size, 1) * batch_size
    for begin in range(first, len(crops), held):
        rows = slice(begin, min(begin + held, len(crops)))
        with evaluating(forecaster):  # once, not at every batch
            part = _answered(forecaster, crops, rows, batch_size, name, progress)
        yield part


def joined(parts: Sequence[Backtest]) -> Backtest:
    """One backtest of the windows of several, of one forecaster and task."""
    if len(parts) == 1:
        return parts[0]
    first, counts = parts[0], [len(part.origins) for part in parts]
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("origins", "timestamps", "actual", "quantiles", "mean", "scale", "crossed")
    }
    optional: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("squared_scale", "energy")
        if getattr(first, name) is not None
    }
    optional["crps_exact"] = _whole([part.crps_exact for part in parts])
    return replace(
        first,
        item_ids=tuple(item for part in parts for item in part.item_ids),
        seconds_per_series=float(
            np.average([part.seconds_per_series for part in parts], weights=counts)
        ),
        **arrays,
        **optional,
    )


def _answered(
    forecaster: Forecaster,
    crops: Crops,
    rows: slice,
    batch_size: int,
    name: str,
    progress: Progress | None,
) -> Backtest:
    task = crops.task
    history = task.history if forecaster.reads_history else task.context
    actual, seconds = crops.actual(rows), 0.0
    forecasts, energy, exact = [], [], []
    for begin in range(rows.start, rows.stop, batch_size):
        stop = min(begin + batch_size, rows.stop)
        context = crops.context(slice(begin, stop), history)
        began = time.perf_counter()
        forecast = forecaster.predict(context, task.horizon, task.quantile_levels)
        seconds += time.perf_counter() - began
        targets = _targets_of(forecast, context, task, name)
        happened = actual[begin - rows.start : stop - rows.start]
        exact.append(exact_crps(forecast, happened))
        if targets.samples is not None and targets.is_joint:
            energy.append(energy_scores(happened, targets.samples))
        forecasts.append(replace(targets, samples=None, distribution=None))
        if progress:
            progress(stop, len(crops))
    scale, squared = crops.scales(rows)
    return Backtest(
        model=name,
        task=task,
        item_ids=crops.item_ids(rows),
        origins=crops.starts(rows),
        timestamps=crops.timestamps(rows),
        actual=actual,
        quantiles=np.concatenate([forecast.quantiles for forecast in forecasts]),
        mean=np.concatenate([forecast.mean for forecast in forecasts]),
        scale=scale,
        squared_scale=squared,
        energy=np.concatenate(energy) if energy else None,
        crps_exact=_whole(exact),
        seconds_per_series=seconds / (len(actual) * len(task.targets)),
        is_degenerate=forecasts[0].is_degenerate,
    )


def _whole(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Joined where every part is known."""
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def crossing(
    quantiles: Float[np.ndarray, "*bars level"],
) -> Bool[np.ndarray, "*bars"]:
    """Where a quantile lies below one of a lower level, by more than :data:`ROUNDING`."""
    with np.errstate(invalid="ignore"):
        gaps = quantiles[..., 1:] - quantiles[..., :-1]
        if not (gaps < 0).any():
            return np.zeros(quantiles.shape[:-1], bool)
        size = np.abs(quantiles).max(axis=-1, keepdims=True)
        return np.asarray((gaps < -ROUNDING * size).any(axis=-1) & np.isfinite(size[..., 0]))


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


def _targets_of(forecast: Forecast, context: Context, task: Task, name: str) -> Forecast:
    """Only the scored variates, which come first in the context."""
    width = len(task.targets)
    expected = (context.batch_size, task.horizon, len(context.variate_names))
    levels = forecast.quantile_levels
    if forecast.mean.shape != expected:
        raise DataError(
            f"{name} gave a forecast of shape {forecast.mean.shape}",
            where=f"task {task.name}",
            remedy=f"[batch, horizon, variate] must be {expected}",
        )
    if len(levels) != len(task.quantile_levels) or not np.allclose(levels, task.quantile_levels):
        raise DataError(
            f"{name} gave quantiles at {levels}",
            where=f"task {task.name}",
            remedy=f"it was asked for {task.quantile_levels}",
        )
    samples = forecast.samples
    if samples is not None and (samples.shape[0], *samples.shape[2:]) != expected:
        raise DataError(
            f"{name} gave samples of shape {samples.shape}",
            where=f"task {task.name}",
            remedy="[batch, sample, horizon, variate] must be of the forecast's own size",
        )
    return replace(
        forecast,
        quantiles=forecast.quantiles[:, :, :width],
        mean=forecast.mean[:, :, :width],
        variate_names=task.targets,
        samples=None if samples is None else samples[..., :width],
    )


@contextmanager
def _bar(name: str, is_shown: bool) -> Iterator[Progress | None]:
    if not is_shown:
        yield None
        return
    from rich.progress import Progress as Bar

    with Bar(transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
