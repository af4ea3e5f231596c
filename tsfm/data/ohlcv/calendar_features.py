"""Known covariates: functions of timestamps alone, so that those of the horizon are known too."""

from __future__ import annotations

import numpy as np
import polars as pl
from jaxtyping import Float

from tsfm.data.ohlcv.features_config import CalendarConfig

SESSIONS_LOOKED_BACK = 5
DAY = 86_400_000_000


def calendar_features(
    timestamps: np.ndarray, config: CalendarConfig
) -> Float[np.ndarray, "covariate time"]:
    """Known covariates of one series, in the order of ``config.names``.

    Parameters
    ----------
    timestamps
        ``datetime64 [time]`` in UTC, increasing.

    Returns
    -------
    np.ndarray
        ``float32 [covariate, time]``. The share of a session still to come counts bars: those of
        the longest of the five sessions (days in ``config.timezone``) before, less those had;
        NaN in the first session.
    """
    local = pl.Series(np.asarray(timestamps).astype("M8[us]"))
    if config.timezone != "UTC":
        utc = local.dt.replace_time_zone("UTC").dt.convert_time_zone(config.timezone)
        local = utc.dt.replace_time_zone(None, ambiguous="earliest")
    moments = local.dt.epoch("us").to_numpy()
    made: list[np.ndarray] = []
    for name in config.features:
        if name == "session":
            made.append(_remaining(moments // DAY))
            continue
        share = {
            "time_of_day": lambda: (moments % DAY) / DAY,
            "day_of_week": lambda: (moments // DAY + 3) % 7 / 7,
            "day_of_year": lambda: (local.dt.ordinal_day().to_numpy() - 1) / 365.25,
        }[name]()
        made += [np.sin(2 * np.pi * share), np.cos(2 * np.pi * share)]
    return np.array(made, np.float32).reshape(len(config.names), len(moments))


def _remaining(days: np.ndarray) -> np.ndarray:
    if not len(days):
        return np.empty(0)
    first = np.flatnonzero(np.diff(days, prepend=days[0] - 1))
    counts = np.diff(first, append=len(days))
    longest = np.full(len(counts), np.nan)
    for back in range(1, min(SESSIONS_LOOKED_BACK, len(counts) - 1) + 1):
        longest[back:] = np.fmax(longest[back:], counts[:-back])
    length = np.repeat(longest, counts)
    had = np.arange(len(days)) - np.repeat(first, counts) + 1
    return np.clip(length - had, 0, None) / length
