"""Pandas frequencies: known or refused, and the timestamps of bars counted from a start."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
import pandas as pd
from pandas.tseries.offsets import BaseOffset

from tsfm.errors import ConfigError, DataError


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


def period(freq: str) -> str:
    """The alias of the periods that hold bars of this frequency: ``M`` for ``MS`` or ``ME``.

    Raises
    ------
    ConfigError
        When pandas has no such period.
    """
    try:
        return pd.date_range("2000", periods=1, freq=to_offset(freq)).to_period().freqstr
    except (ValueError, AttributeError) as error:
        raise ConfigError(
            f"pandas has no period of frequency {freq!r}",
            remedy="use a regular frequency such as h, D, B, W or ME",
        ) from error


class Dates:
    """Dates bars counted from a start: by arithmetic, or from tables kept for irregular steps."""

    def __init__(self, freq: str | None) -> None:
        self._offset = to_offset(freq) if freq else None
        self._step = step_nanoseconds(freq) if freq else None
        self._tables: dict[int, np.ndarray] = {}

    def bars(self, start: int, first: int, stop: int) -> np.ndarray:
        """``datetime64[ns] [stop - first]``; ``start`` in nanoseconds since 1970."""
        if self._step is not None:
            begin, end = start + first * self._step, start + stop * self._step
            return np.arange(begin, end, self._step).view("M8[ns]")
        table = self._tables.get(start)
        if table is None or len(table) < stop:
            index = pd.date_range(pd.Timestamp(start), periods=stop + stop // 4, freq=self._offset)
            table = self._tables[start] = index.to_numpy(dtype="M8[ns]")
        return table[first:stop]


def naive_timestamps(stamps: pd.Series, where: str) -> np.ndarray:
    """A column's dates as ``datetime64[ns] [row]``.

    Raises
    ------
    DataError
        When they are no dates, or carry a time zone.
    """
    try:
        dates = pd.to_datetime(stamps)
    except (TypeError, ValueError) as error:
        raise DataError(f"timestamps are not dates: {error}", where=where) from error
    if getattr(dates.dtype, "tz", None) is not None:
        raise DataError(
            "timestamps carry a time zone",
            where=where,
            remedy="convert to UTC or to the exchange's local time and drop the zone",
        )
    return dates.to_numpy("datetime64[ns]")
