"""From a user's frame to a forecast's frame: what serving, the CLI and notebooks share."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Int

from tsfm.data.future_rows import origins as last_targets
from tsfm.data.preparation import ColumnPreparation
from tsfm.data.tidying import Notes, listed, merged, shortened, tidied
from tsfm.errors import ConfigError, DataError
from tsfm.models.base import QUANTILE_LEVELS, Context, Forecast, Forecaster

if TYPE_CHECKING:
    from tsfm.data.panel import Panel
    from tsfm.data.preparation import Preparation

SERIES_AT_ONCE = 64
VALUES_AT_ONCE = 2_000_000
LEAST_HISTORY = 3
NOTES = "notes"

_logger = logging.getLogger(__name__)


def forecast_frame(
    forecaster: Forecaster,
    preparation: Preparation,
    frame: pd.DataFrame,
    horizon: int,
    levels: Sequence[float] = QUANTILE_LEVELS,
    seed: int = 0,
    *,
    context: int | None = None,
    as_of: str | pd.Timestamp | np.datetime64 | None = None,
) -> pd.DataFrame:
    """Forecast what follows the last bar of every item.

    Rows out of order, repeated rows and gaps are set right (:func:`tsfm.data.tidying.tidied`); what
    was done is logged and kept in ``attrs["notes"]`` of the result, by item.

    Parameters
    ----------
    frame
        One row per item and time: ``item_id``, ``timestamp`` and the columns that ``preparation``
        knows. Where it has known covariates, the rows after an item's last observed target give
        theirs over the horizon.
    horizon
        Bars to forecast.
    levels
        Quantile levels, increasing, strictly between 0 and 1.
    seed
        Of every random draw the forecaster makes.
    context
        Bars of each item to forecast from; by default as many as the model was made for, or all.
    as_of
        Forecast as if this time were now: of later rows only the known covariates are used.

    Returns
    -------
    pd.DataFrame
        Long, in the user's own units: ``item_id, step, timestamp, variate, mean, q0.1 …``.

    Raises
    ------
    DataError
        When the frame is no input of the model, naming item, row and remedy; when an item has
        fewer than three observed bars, or the model gives no number for one.
    ConfigError
        When horizon, levels, context or as_of are out of range.
    """
    if context is not None and context < 1:
        raise ConfigError(f"context={context} is not a positive whole number")
    now = None if as_of is None else _moment(as_of)
    notes: Notes = {}
    if preparation.columns:
        tidy = tidied(frame, preparation.columns, freq=grid(preparation))
        frame, notes = tidy.frame, tidy.notes
        if now is not None and not preparation.known_columns:
            frame, now = _until(frame, now), None
    panel = preparation.panel(frame)
    origins = _origins(panel, now, trailing=bool(preparation.known_columns))
    longest = context or forecaster.info().get("config", {}).get("context")
    notes = merged(notes, _short_histories(panel, origins, longest))
    width = len(panel.info.variates) * (len(levels) + 1)
    at_once = max(1, min(SERIES_AT_ONCE, VALUES_AT_ONCE // (width * max(int(horizon), 1))))
    frames = []
    for first in range(0, len(panel), at_once):
        windows = []
        for item in range(first, min(first + at_once, len(panel))):
            bars = int(origins[item])
            length = min(bars, longest or bars)
            seen = panel.window(item, bars - length, length, future=max(int(horizon), 0))
            windows.append(preparation.ahead(seen, int(horizon)))
        batch = Context.from_windows(windows, horizon=max(int(horizon), 1), seed=seed)
        forecast = forecaster.predict(batch, horizon, levels)
        notes = merged(notes, _gaps(forecaster, batch, forecast))
        frames.append(forecast.to_frame())
    for item_id, told in notes.items():
        _logger.info("item %s: %s", shortened(item_id), "; ".join(told))
    restored = preparation.restore(pd.concat(frames, ignore_index=True))
    restored.attrs[NOTES] = notes
    return restored


def grid(preparation: Preparation) -> str | None:
    """The step of regular rows; bars follow sessions, which have gaps."""
    return preparation.freq if isinstance(preparation, ColumnPreparation) else None


def _moment(as_of: str | pd.Timestamp | np.datetime64) -> pd.Timestamp:
    try:
        moment = pd.Timestamp(as_of)
    except (ValueError, TypeError, OverflowError) as error:
        raise ConfigError(
            f"as_of={shortened(repr(as_of))} is no date",
            remedy="give something like 2024-01-31 or 2024-01-31T15:00:00",
        ) from error
    if moment is pd.NaT:
        raise ConfigError(f"as_of={as_of!r} is no date", remedy="leave it out to use all rows")
    return moment if moment.tzinfo is None else moment.tz_convert("UTC").tz_localize(None)


def _until(frame: pd.DataFrame, now: pd.Timestamp) -> pd.DataFrame:
    """The rows dated up to and at ``now``."""
    kept = frame[(frame["timestamp"] <= now).to_numpy()]
    lost = sorted(set(frame["item_id"]) - set(kept["item_id"]))
    if lost:
        raise _too_late(lost, now)
    return kept.reset_index(drop=True)


def _too_late(item_ids: Sequence[str], now: pd.Timestamp) -> DataError:
    return DataError(
        f"no rows up to as_of={now}",
        where=f"items {listed(item_ids)}",
        remedy="give a later as_of, or leave these items out",
    )


def _origins(panel: Panel, now: pd.Timestamp | None, *, trailing: bool) -> Int[np.ndarray, " item"]:
    """Bars of every item that lie in the past: up to ``now``, or to the last observed one."""
    origins = np.asarray(panel.lengths).astype(int)
    if now is not None:
        following = now + pd.Timedelta(1, "ns")
        origins = np.array([panel.position(item, following) for item in range(len(panel))])
        lost = [panel.item_ids[item] for item in np.flatnonzero(origins == 0)]
        if lost:
            raise _too_late(lost, now)
    elif trailing:
        origins = last_targets(panel)
    return origins


def _short_histories(panel: Panel, origins: Int[np.ndarray, " item"], longest: int | None) -> Notes:
    """Refuses what tells nothing, and notes what is shorter than the model's context."""
    notes: Notes = {}
    empty = []
    for item, item_id in enumerate(panel.item_ids):
        bars = int(origins[item])
        target = panel.series(item).target[:, :bars]
        observed = int(np.isfinite(target).any(axis=0).sum())
        if observed < LEAST_HISTORY:
            empty.append(f"{item_id} ({observed})")
        elif longest is not None and bars < longest:
            told = f"a history of {bars} bars, where the model was made for {longest}"
            notes[item_id] = [told]
    if empty:
        raise DataError(
            f"too short a history: fewer than {LEAST_HISTORY} observed bars",
            where=f"items {listed(empty)}",
            remedy="give more rows of these items, or leave them out",
        )
    return notes


def _gaps(forecaster: Forecaster, context: Context, forecast: Forecast) -> Notes:
    """Refuses a forecast that is no number, and notes variates and dates that it lacks."""
    seen = context.observed.any(axis=1)
    numbers = np.isfinite(forecast.mean)[..., None] & np.isfinite(forecast.quantiles)
    covered = numbers.any(axis=(0, 1, 3))
    lacking = ~numbers.all(axis=(1, 3)) & seen
    wrong = np.argwhere(lacking & (covered | ~covered.any()))
    if len(wrong):
        item, variate = wrong[0]
        raise DataError(
            f"{forecaster.name} gives no number for {context.variate_names[variate]}",
            where=f"item {context.item_ids[item]!r}",
            remedy="check the item's last values for extreme ones; if there are none, use another "
            "model",
        )
    notes: Notes = {}
    for item, variate in np.argwhere(~seen & context.variates):
        told = f"{context.variate_names[variate]} has no observed value in the context"
        notes.setdefault(context.item_ids[item], []).append(told)
    for item, variate in np.argwhere(seen & ~covered):
        told = f"{forecaster.name} does not forecast {context.variate_names[variate]}"
        notes.setdefault(context.item_ids[item], []).append(told)
    dates = forecast.timestamps
    undated = np.ones(context.batch_size, bool) if dates is None else np.isnat(dates).any(axis=1)
    for item in np.flatnonzero(undated):
        told = "no frequency or weekly timetable fits its timestamps: steps are counted, not dated"
        notes.setdefault(context.item_ids[item], []).append(told)
    return notes
