"""Series of different lengths side by side, and the dates that follow them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import pandas as pd
from jaxtyping import Float

from tsfm.data.ohlcv.calendar import continue_calendar
from tsfm.errors import DataError


def expect_shape(name: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise :class:`DataError` unless an array has that shape."""
    if values.shape != tuple(shape):
        raise DataError(f"{name} has shape {values.shape}", remedy=f"give shape {tuple(shape)}")


def as_batch(past: object) -> Float[np.ndarray, "batch time variate"]:
    """Values given as ``[time]``, ``[time, variate]`` or ``[batch, time, variate]``.

    Raises
    ------
    DataError
        When they are no numbers.
    """
    try:
        values = np.asarray(past, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"past does not hold numbers: {error}") from error
    if values.ndim == 1:
        return values[None, :, None]
    return values[None] if values.ndim == 2 else values


def right_aligned(
    values: Sequence[np.ndarray | None], time: int
) -> Float[np.ndarray, "batch time covariate"] | None:
    """``[covariate, time]`` arrays with NaN before them; None where there is none at all."""
    present = [value for value in values if value is not None]
    if not present:
        return None
    width = max(value.shape[0] for value in present)
    aligned = np.full((len(values), time, width), np.nan, np.float32)
    for row, value in enumerate(values):
        if value is not None:
            aligned[row, time - value.shape[1] :, : value.shape[0]] = value.T
    return aligned


def next_timestamps(
    timestamps: np.ndarray | None, future: np.ndarray | None, freq: str | None, horizon: int
) -> np.ndarray | None:
    """The ``horizon`` dates after each series, ``datetime64[ns] [batch, horizon]``.

    Those known (``future``), else by frequency, else by the calendar of the past ``timestamps``;
    None where that tells nothing.
    """
    if future is not None and future.shape[1] >= horizon:
        return future[:, :horizon]
    if timestamps is None:
        return None
    if freq is None:
        dated = [continue_calendar(stamps, horizon) for stamps in timestamps]
        return None if any(d is None for d in dated) else np.stack(cast(list[np.ndarray], dated))
    following = np.full((len(timestamps), horizon), np.datetime64("NaT"), "datetime64[ns]")
    for row, last in enumerate(pd.DatetimeIndex(timestamps[:, -1])):
        if last is not pd.NaT:
            following[row] = pd.date_range(last, periods=horizon + 1, freq=freq)[1:].to_numpy()
    return following
