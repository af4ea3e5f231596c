"""What follows the last bar of every series, and how well it would have been told before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from tsfm.errors import DataError
from tsfm.evaluation.backtest import seasonal_scale
from tsfm.evaluation.tasks import Task
from tsfm.models.base import QUANTILE_LEVELS, Context, Forecast, Forecaster

if TYPE_CHECKING:
    from tsfm.data.panel import Panel
    from tsfm.data.preparation import Preparation

SERIES_AT_ONCE = 64
NAMED = 5


def forecast_panel(
    model: Forecaster,
    panel: Panel,
    horizon: int,
    levels: Sequence[float] = QUANTILE_LEVELS,
    *,
    origins: Int[np.ndarray, " item"] | None = None,
    preparation: Preparation | None = None,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> Forecast:
    """Forecast the bars after the last one of every item, in the panel's own units.

    Parameters
    ----------
    origins
        Bars of every item that lie in the past; of later ones only known covariates and dates are
        seen. By default all.
    preparation
        What made the panel, where it knows more of the horizon than the panel does.
    progress
        Called with the items done, their number, and the last one's name.

    Raises
    ------
    ConfigError
        When horizon or levels are out of range, or beyond the model.
    """
    longest, parts = seen_by(model), []
    for first in range(0, len(panel), SERIES_AT_ONCE):
        windows = []
        for item in range(first, min(first + SERIES_AT_ONCE, len(panel))):
            bars = int((panel.lengths if origins is None else origins)[item])
            length = min(bars, longest or bars)
            window = panel.window(item, bars - length, length, future=horizon)
            windows.append(preparation.ahead(window, horizon) if preparation else window)
        context = Context.from_windows(windows, horizon=horizon, seed=seed)
        parts.append(
            replace(model.predict(context, horizon, levels), samples=None, distribution=None)
        )
        if progress is not None:
            progress(first + len(windows), len(panel), windows[-1].item_id)
    return _joined(parts)


def seen_by(model: Forecaster) -> int | None:
    """Bars of context that a model was made for; None where it takes any number."""
    config = model.info().get("config")
    context = config.get("context") if isinstance(config, dict) else None
    return int(context) if context else None


def recent_task(
    panel: Panel,
    *,
    horizon: int,
    windows: int,
    context: int,
    history: int,
    items: int | None = None,
    levels: Sequence[float] = QUANTILE_LEVELS,
) -> tuple[Task, Panel]:
    """The last windows of every series as a task: their answers end with the series itself.

    Parameters
    ----------
    windows
        Of each item, a horizon apart.
    context
        Bars that every forecaster shall see; fewer where no series is that long, but never fewer
        than a horizon and a season.
    history
        Bars that baselines shall see where all series are that long.
    items
        At most so many, the panel's first ones that are long enough; by default all.

    Raises
    ------
    DataError
        When no series is long enough, naming how many bars are needed.
    """
    answered, longest = windows * horizon, int(panel.lengths.max())
    least = max(horizon, panel.info.seasonality + 1)
    seen = max(min(context, longest - answered), least)
    if seen + answered > longest:
        raise DataError(
            f"{windows} windows of {horizon} bars need {least + answered} bars, the longest "
            f"series has {longest}",
            where=f"panel {panel.info.name}",
            remedy="give longer series, fewer windows or a shorter horizon",
        )
    able = [
        item_id
        for item_id, length in zip(panel.item_ids, panel.lengths.tolist(), strict=True)
        if length >= seen + answered
    ][:items]
    view = panel.select(able)
    seen = max(seen, min(history, int(view.lengths.min()) - answered))
    view = view.slice(view.lengths - answered - seen, view.lengths)
    task = Task.on(
        view,
        name=f"{panel.info.name}/recent",
        known=view.info.known_covariates,
        context=seen,
        horizon=horizon,
        stride=horizon,
        quantile_levels=tuple(levels),
    )
    return task, view


def expect_long_enough(panel: Panel, least: int) -> None:
    """Raise :class:`DataError` when a series has fewer observed bars, naming which."""
    short = []
    for item, series in enumerate(panel):
        observed = int(np.isfinite(series.target).any(axis=0).sum())
        if observed < least:
            short.append(f"{panel.item_ids[item]} ({observed})")
    if short:
        more = f" and {len(short) - NAMED} more" if len(short) > NAMED else ""
        raise DataError(
            f"{len(short)} of {len(panel)} series have fewer than {least} observed bars: "
            f"{', '.join(short[:NAMED])}{more}",
            where=f"panel {panel.info.name}",
            remedy="leave them out, give more of their past, or a shorter horizon",
        )


def last_scales(panel: Panel, history: int) -> Float[np.ndarray, "item variate"]:
    """Seasonal scale of the last bars of every series; NaN where it is zero or unknown."""
    tails = panel.slice(panel.lengths - history, panel.lengths)
    season = panel.info.seasonality
    return np.stack([seasonal_scale(series.target.T, season) for series in tails])


def corrected(forecast: Forecast, quantiles: np.ndarray) -> Forecast:
    """With other quantiles; those that are NaN stay as they were."""
    known = np.isfinite(quantiles).all(axis=-1, keepdims=True)
    return replace(forecast, quantiles=np.where(known, quantiles, forecast.quantiles))


def _joined(parts: Sequence[Forecast]) -> Forecast:
    stamps = [
        np.full(part.mean.shape[:2], np.datetime64("NaT"), "datetime64[ns]")
        if part.timestamps is None
        else part.timestamps
        for part in parts
    ]
    return replace(
        parts[0],
        quantiles=np.concatenate([part.quantiles for part in parts]),
        mean=np.concatenate([part.mean for part in parts]),
        item_ids=tuple(item for part in parts for item in part.item_ids),
        timestamps=np.concatenate(stamps),
        is_degenerate=any(part.is_degenerate for part in parts),
        metadata={},
    )
