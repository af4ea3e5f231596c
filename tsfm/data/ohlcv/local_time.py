"""Microseconds since 1970, in UTC and on the clocks of a time zone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tsfm.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl


def integers(ts: pl.Series) -> np.ndarray:
    """``int64 [time]``: microseconds of a column of dates."""
    import polars as pl

    return ts.dt.cast_time_unit("us").cast(pl.Int64).to_numpy()


def moments(stamps: np.ndarray) -> pl.Series:
    """``Datetime("us", "UTC") [time]`` of microseconds since 1970."""
    import polars as pl

    return pl.Series("ts", stamps, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))


def local_time(stamps: np.ndarray, timezone: str) -> np.ndarray:
    """``int64 [time]``: what the clocks of a time zone show, as naive microseconds.

    Raises
    ------
    ConfigError
        When the time zone is not known.
    """
    import polars as pl

    try:
        local = moments(stamps).dt.convert_time_zone(timezone)
    except pl.exceptions.PolarsError as error:
        raise ConfigError(
            f"time zone {timezone!r} is not known",
            remedy="give a name of the IANA database such as America/New_York or UTC",
        ) from error
    return local.dt.replace_time_zone(None).cast(pl.Int64).to_numpy()


def universal_time(local: np.ndarray, timezone: str) -> np.ndarray:
    """The inverse of :func:`local_time`, without the hour that daylight saving skips."""
    import polars as pl

    zoned = moments(local).dt.replace_time_zone(None)
    zoned = zoned.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    return zoned.drop_nulls().cast(pl.Int64).to_numpy()
