"""Pandas frequencies: known or refused, and the timestamps of bars counted from a start."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
import pandas as pd
from pandas.tseries.offsets import BaseOffset

from tsfm.errors import ConfigError


@lru_cache(maxsize=256)
def to_offset(freq: str) -> BaseOffset:
    """The pandas offset of a frequency alias such as ``h``, ``15min``, ``B`` or ``ME``.

    Raises
    ------
    ConfigError
        When pandas does not know the alias, or it does not move forward in time.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            offset = pd.tseries.frequencies.to_offset(freq)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"frequency {freq!r} is not known to pandas",
            remedy="give a pandas alias such as min, 15min, h, D, B, W, ME, QE or YE",
        ) from error
    if offset is None or offset.n < 1:
        raise ConfigError(
            f"frequency {freq!r} does not move forward in time",
            remedy="give a pandas alias with a positive multiple, such as 15min",
        )
    return offset


@lru_cache(maxsize=256)
def step_nanoseconds(freq: str) -> int | None:
    """Nanoseconds between bars where the frequency is a fixed duration, else ``None``."""
    offset = to_offset(freq)
    return offset.nanos if isinstance(offset, pd.offsets.Tick) else None


def moment(value: str | pd.Timestamp | np.datetime64) -> np.datetime64:
    """A naive date in nanoseconds.

    Raises
    ------
    ConfigError
        When it is not a date, or has a time zone.
    """
    try:
        timestamp = pd.Timestamp(value)
    except ValueError as error:
        raise ConfigError(
            f"{value!r} is not a date", remedy="give something like 2020-01-31 or 2020-01-31T15:00"
        ) from error
    if timestamp is pd.NaT or timestamp.tzinfo is not None:
        raise ConfigError(
            f"{value!r} is not a naive date", remedy="give it in the panel's own time, without zone"
        )
    return np.datetime64(timestamp.as_unit("ns").value, "ns")


def is_on(timestamp: pd.Timestamp, freq: str) -> bool:
    """Whether a bar of this frequency can start at ``timestamp``."""
    return bool(to_offset(freq).is_on_offset(timestamp))


def calendar(start: int, freq: str, bars: int) -> np.ndarray:
    """``datetime64[ns] [bars]`` counted from ``start`` (nanoseconds since 1970)."""
    step = step_nanoseconds(freq)
    if step is not None:
        return np.arange(start, start + bars * step, step, dtype=np.int64).view("M8[ns]")
    index = pd.date_range(pd.Timestamp(start), periods=bars, freq=to_offset(freq))
    return index.to_numpy(dtype="M8[ns]")
