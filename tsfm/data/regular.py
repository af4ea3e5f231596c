"""The frequency of dated rows, found or refused but never assumed, and the grid it spans."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from tsfm.data import frequency
from tsfm.errors import DataError

_REMEDY = "give freq= (missing rows become NaN), or calendar= to keep the timestamps as they are"
_MOST_MISSING = 0.5


def infer(dates: Mapping[str, pd.DatetimeIndex], where: str) -> str:
    """The one frequency of all items, from their increasing dates.

    Gaps are tolerated: the commonest step decides, as long as every row is a whole number of steps
    away and no more than half of an item's rows are missing.

    Raises
    ------
    DataError
        When an item is irregular, two items differ, or all are too short to tell.
    """
    found: dict[str, str] = {}
    for item_id, index in dates.items():
        if len(index) >= 3:
            freq = _infer_one(index)
            if freq is None:
                raise DataError(
                    f"no frequency fits the timestamps: {_steps(index)}",
                    where=f"{where}, item {item_id!r}",
                    remedy=_REMEDY,
                )
            found.setdefault(freq, item_id)
    if not found:
        raise DataError(
            "no item has the three rows that a frequency can be inferred from",
            where=where,
            remedy="give freq=",
        )
    if len(found) > 1:
        differing = ", ".join(f"{item_id!r} has {freq}" for freq, item_id in found.items())
        raise DataError(f"items differ in frequency: {differing}", where=where, remedy=_REMEDY)
    return next(iter(found))


def grid(index: pd.DatetimeIndex, freq: str, where: str) -> pd.DatetimeIndex:
    """All dates of ``freq`` from the first row to the last.

    Raises
    ------
    DataError
        When a row does not fall on one of them.
    """
    expected = pd.date_range(index[0], index[-1], freq=frequency.to_offset(freq))
    astray = ~index.isin(expected)
    if astray.any():
        raise DataError(
            f"{int(astray.sum())} timestamps are not dates of frequency {freq!r}, "
            f"the first {index[astray][0]}",
            where=where,
            remedy="correct freq=, or give calendar= to keep the timestamps as they are",
        )
    return expected


def _infer_one(index: pd.DatetimeIndex) -> str | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        regular = pd.infer_freq(index)
    if regular is not None:
        return regular
    for freq in _candidates(index):
        if not frequency.is_on(index[0], freq):
            continue
        expected = pd.date_range(index[0], index[-1], freq=freq)
        if index.isin(expected).all() and len(index) >= (1 - _MOST_MISSING) * len(expected):
            return freq
    return None


def _candidates(index: pd.DatetimeIndex) -> Iterator[str]:
    """Frequencies whose step is the commonest one, the most particular first."""
    step = pd.Series(np.diff(index.to_numpy())).mode().iloc[0]
    days = step / pd.Timedelta(days=1)
    if days == 1:
        yield from ("B", "D")
    elif 28 <= days <= 31:
        yield from ("MS", "ME", "BMS", "BME")
    elif 89 <= days <= 92:
        yield from (f"{kind}-{index[0]:%b}".upper() for kind in ("QS", "QE"))
    elif 365 <= days <= 366:
        yield from (f"{kind}-{index[0]:%b}".upper() for kind in ("YS", "YE"))
    elif days == 7:
        yield f"W-{index[0]:%a}".upper()
    yield pd.tseries.frequencies.to_offset(step).freqstr


def _steps(index: pd.DatetimeIndex) -> str:
    counts = pd.Series(np.diff(index.to_numpy())).value_counts()
    some = ", ".join(f"{step} ({count} times)" for step, count in counts.head(3).items())
    return f"steps of {some}" + (" and others" if len(counts) > 3 else "")
