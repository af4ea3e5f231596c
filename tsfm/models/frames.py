"""From a user's frame to a forecast's frame: what serving, the CLI and notebooks share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from tsfm.errors import ConfigError
from tsfm.models.base import QUANTILE_LEVELS, Context, Forecaster

if TYPE_CHECKING:
    from tsfm.data.preparation import Preparation

SERIES_AT_ONCE = 64


def forecast_frame(
    forecaster: Forecaster,
    preparation: Preparation,
    frame: pd.DataFrame,
    horizon: int,
    levels: Sequence[float] = QUANTILE_LEVELS,
    seed: int = 0,
    *,
    context: int | None = None,
) -> pd.DataFrame:
    """Forecast what follows the last bar of every item.

    Parameters
    ----------
    frame
        One row per item and time: ``item_id``, ``timestamp`` and the columns that ``preparation``
        knows.
    horizon
        Bars to forecast.
    levels
        Quantile levels, increasing, strictly between 0 and 1.
    seed
        Of every random draw the forecaster makes.
    context
        Bars of each item to forecast from; by default as many as the model was made for, or all.

    Returns
    -------
    pd.DataFrame
        Long, in the user's own units: ``item_id, step, timestamp, variate, mean, q0.1 …``.

    Raises
    ------
    DataError
        When the frame lacks a column, or its timestamps are unsorted or repeated.
    ConfigError
        When horizon, levels or context are out of range.
    """
    if context is not None and context < 1:
        raise ConfigError(f"context={context} is not a positive whole number")
    panel = preparation.panel(frame)
    longest = context or forecaster.info().get("config", {}).get("context")
    frames = []
    for first in range(0, len(panel), SERIES_AT_ONCE):
        windows = []
        for item in range(first, min(first + SERIES_AT_ONCE, len(panel))):
            bars = int(panel.lengths[item])
            length = min(bars, longest or bars)
            seen = panel.window(item, bars - length, length, future=max(int(horizon), 0))
            windows.append(preparation.ahead(seen, int(horizon)))
        batch = Context.from_windows(windows, horizon=max(int(horizon), 1), seed=seed)
        frames.append(forecaster.predict(batch, horizon, levels).to_frame())
    return preparation.restore(pd.concat(frames, ignore_index=True))
