"""Bars of many instruments taken apart into instruments and UTC months, as views of one block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsfm.data.ohlcv.change import Change
from tsfm.data.ohlcv.part import COLUMNS, VALUES
from tsfm.data.ohlcv.schema import validate
from tsfm.errors import DataError

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, kw_only=True)
class Partition:
    """The bars of one instrument in one month.

    Attributes
    ----------
    year, month
        In UTC.
    columns
        ``ts`` as ``int64 [row]`` microseconds, increasing; five ``float64 [row]``, NaN where
        unobserved.
    complete
        No value is missing.
    """

    year: int
    month: int
    columns: Sequence[np.ndarray]
    complete: bool

    @property
    def directory(self) -> str:
        """Below the instrument's: ``year=YYYY/month=MM``."""
        return f"year={self.year:04d}/month={self.month:02d}"


def partitions(bars: pl.DataFrame, *, where: str) -> dict[str, list[Partition]]:
    """The partitions of every symbol, months increasing.

    Parameters
    ----------
    bars
        ``symbol, ts, open, high, low, close, volume`` in any order; of a symbol's repeated dates
        the last row counts.
    where
        Named in errors.

    Raises
    ------
    DataError
        When bars break :func:`tsfm.data.ohlcv.schema.bars_schema`, or a symbol is missing.
    """
    import polars as pl

    validate(bars, where=where)
    if bars.schema.get("symbol") != pl.String or bars["symbol"].null_count():
        raise DataError("there is no symbol of every bar, as text", where=where)
    bars = _sorted(bars.select("symbol", *COLUMNS))
    if bars.is_empty():
        return {}
    runs = bars["symbol"].rle().struct.unnest()
    stamps = bars.select(year=pl.col("ts").dt.year(), month=pl.col("ts").dt.month().cast(pl.Int32))
    years, months = (stamps[name].to_numpy() for name in stamps.columns)
    ends = np.cumsum(runs["len"].to_numpy(), dtype=np.int64)
    cuts = np.flatnonzero(np.diff(years * np.int32(12) + months)) + 1
    starts = np.union1d(cuts, np.concatenate(([0], ends[:-1])))
    stops = np.append(starts[1:], len(bars))
    columns = [bars["ts"].to_physical().to_numpy(), *(_floats(bars[name]) for name in VALUES)]
    missing = np.logical_or.reduce([np.isnan(column) for column in columns[1:]])
    complete = ~np.logical_or.reduceat(missing, starts)
    parts = [
        Partition(
            year=year,
            month=month,
            columns=[column[start:stop] for column in columns],
            complete=whole,
        )
        for start, stop, year, month, whole in zip(
            starts.tolist(),
            stops.tolist(),
            years[starts].tolist(),
            months[starts].tolist(),
            complete.tolist(),
        )
    ]
    bounds = np.searchsorted(starts, np.append(0, ends)).tolist()
    return {
        symbol: parts[first:last]
        for symbol, first, last in zip(runs["value"].to_list(), bounds, bounds[1:])
    }


def merge(old: Sequence[np.ndarray], new: Partition) -> tuple[Partition | None, Change]:
    """The bars of both, the new ones' where both have the date; ``None`` where nothing changes.

    Parameters
    ----------
    old
        Columns of the same instrument and month.
    """
    place = np.searchsorted(old[0], new.columns[0])
    inside = np.minimum(place, len(old[0]) - 1)
    there = old[0][inside] == new.columns[0]
    same = there.copy()
    for before, after in zip(old[1:], new.columns[1:]):
        same &= before[inside].view(np.int64) == after.view(np.int64)
    n_there, n_same = int(there.sum()), int(same.sum())
    change = Change(added=len(there) - n_there, replaced=n_there - n_same, unchanged=n_same)
    if n_same == len(there):
        return None, change
    columns = []
    for before, after in zip(old, new.columns):
        column = before.copy()
        column[place[there]] = after[there]
        columns.append(np.insert(column, place[~there], after[~there]))
    complete = not any(np.isnan(column).any() for column in columns[1:])
    return Partition(year=new.year, month=new.month, columns=columns, complete=complete), change


def _sorted(bars: pl.DataFrame) -> pl.DataFrame:
    """One run of every symbol, dates increasing; the same frame where that holds already."""
    runs = bars["symbol"].rle_id()
    one_run = bars["symbol"].n_unique() == int(runs[-1] or 0) + 1 if len(bars) else True
    dates = bars["ts"].to_physical().to_numpy()
    increasing = (np.diff(dates) > 0) | (np.diff(runs.to_numpy()) > 0)
    if one_run and increasing.all():
        return bars.rechunk()
    ordered = bars.sort("symbol", "ts", maintain_order=True)
    return ordered.unique(["symbol", "ts"], keep="last", maintain_order=True)


def _floats(column: pl.Series) -> np.ndarray:
    """``float64``, one and the same NaN wherever a value is missing."""
    import polars as pl

    if column.null_count() or column.is_nan().any():
        column = column.fill_nan(None).fill_null(pl.lit(float("nan")))
    return np.ascontiguousarray(column.to_numpy())
