"""Any horizon from a model that forecasts blocks: chunks of series, and rolling."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from tsfm.errors import DataError
from tsfm.models.base import QUANTILE_LEVELS, Context, Forecast
from tsfm.models.quantiles import between_levels

Past = Float[np.ndarray, "batch variate time"]
Block = Callable[[Past], Float[np.ndarray, "batch variate bar level"]]


def roll_forecast(
    block: Block,
    context: Context,
    horizon: int,
    levels: tuple[float, ...],
    *,
    look_back: int,
    series_at_once: int,
) -> Forecast:
    """Forecast block by block; what is forecast is seen by the next block.

    Parameters
    ----------
    block
        Forecasts some bars after a past (NaN where unobserved): one level for a point, else those
        of ``QUANTILE_LEVELS``. A block after the first sees the point or the median, so that its
        quantiles leave out how uncertain the blocks before it were.
    look_back
        Bars that a block sees.
    series_at_once
        Most series given to ``block``.

    Raises
    ------
    DataError
        When a series has no observed value in the bars seen.
    """
    seen = context.last(look_back)
    present = np.any(seen.observed, axis=1)
    empty = np.flatnonzero(~np.any(present, axis=1))
    if len(empty):
        raise DataError(
            f"no value is observed in the last {seen.length} bars",
            where=f"item {seen.item_ids[int(empty[0])]}",
            remedy="drop the series or give a longer context",
        )
    past = np.where(seen.observed, seen.past, np.nan).swapaxes(1, 2)
    chunks = range(0, len(past), max(1, series_at_once))
    parts = [_roll(block, past[k : k + chunks.step], horizon, look_back) for k in chunks]
    native = np.concatenate(parts).swapaxes(1, 2)
    native[~np.broadcast_to(present[:, None], native.shape[:3])] = np.nan
    is_point = native.shape[-1] == 1
    if is_point:
        quantiles = np.repeat(native, len(levels), axis=-1)
    else:
        quantiles = between_levels(native, QUANTILE_LEVELS, levels)
    return Forecast(
        quantiles=quantiles,
        quantile_levels=levels,
        mean=native.mean(axis=-1),
        is_degenerate=is_point,
    )


def _roll(
    block: Block, past: Past, horizon: int, look_back: int
) -> Float[np.ndarray, "batch variate horizon level"]:
    parts: list[np.ndarray] = []
    done = 0
    while done < horizon:
        parts.append(block(past))
        done += parts[-1].shape[2]
        middle = parts[-1][..., parts[-1].shape[-1] // 2]
        past = np.concatenate([past, middle], axis=2)[..., -look_back:]
    return np.concatenate(parts, axis=2)[:, :, :horizon]


def warn_of_covariates(name: str, past: int, known: int) -> None:
    """Say that a model sees no covariates, where there are some."""
    if past or known:
        warnings.warn(
            f"{name} sees no covariates: {past} past and {known} known ones are left out",
            stacklevel=3,
        )
