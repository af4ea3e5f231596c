"""Splits: tables of them, and the share of a listed split at each bar."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tsfm.data.ohlcv.local_time import local_time
from tsfm.data.ohlcv.timetable import DAY
from tsfm.errors import DataError

if TYPE_CHECKING:
    import polars as pl

FIRST_DAY, LAST_DAY = "date", "last_unsplit_date"
REMEDY = f"give symbol, ratio (new shares for one old) and {FIRST_DAY} or {LAST_DAY}"


def read_splits(path: str | Path) -> pl.DataFrame:
    """A table of splits from a CSV or Parquet file; see :func:`split_table`.

    Raises
    ------
    DataError
        When the file cannot be read or is no such table.
    """
    import polars as pl

    path = Path(path)
    try:
        table = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"splits cannot be read: {error}", where=str(path), remedy="give a CSV or Parquet file"
        ) from error
    return split_table(table, where=str(path))


def split_table(table: pl.DataFrame, *, where: str = "splits") -> pl.DataFrame:
    """Splits in their canonical form.

    Parameters
    ----------
    table
        ``symbol``, ``ratio`` (new shares for one old: 2 for two for one, 0.05 for one for twenty)
        and either ``date``, the first day at the new price (the ex-date), or
        ``last_unsplit_date``, the last day at the old one; in the exchange's local time.

    Returns
    -------
    pl.DataFrame
        ``symbol: String, last_unsplit_date: Date, ratio: Float64``, sorted; ratios within a
        ten-thousandth of a small fraction are that fraction.

    Raises
    ------
    DataError
        When a column is missing, a date is none or a ratio is not positive.
    """
    import polars as pl

    day = next((name for name in (LAST_DAY, FIRST_DAY) if name in table.columns), None)
    if day is None or not {"symbol", "ratio"} <= set(table.columns):
        raise DataError(
            f"columns {', '.join(table.columns)} are not those of splits",
            where=where,
            remedy=REMEDY,
        )
    try:
        dates = table[day]
        dates = dates.str.to_date() if dates.dtype == pl.String else dates.cast(pl.Date)
        ratios = table["ratio"].cast(pl.Float64)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{day} or ratio cannot be read: {error}",
            where=where,
            remedy="give dates such as 2020-08-31 and numbers",
        ) from error
    wrong = (
        ~(ratios.is_finite() & (ratios > 0)).fill_null(False)
        | dates.is_null()
        | table["symbol"].is_null()
    )
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        raise DataError(
            f"{table.row(row, named=True)} is no split", where=f"{where}, row {row}", remedy=REMEDY
        )
    if day == FIRST_DAY:
        dates = dates.dt.offset_by("-1d")
    return pl.DataFrame(
        {
            "symbol": table["symbol"].cast(pl.String),
            LAST_DAY: dates,
            "ratio": [snapped(ratio) for ratio in ratios],
        },
        schema_overrides={"ratio": pl.Float64},
    ).sort("symbol", LAST_DAY)


def listed_ratios(splits: pl.DataFrame, stamps: np.ndarray, timezone: str) -> np.ndarray:
    """The ratio of the split that takes effect at each bar.

    Parameters
    ----------
    splits
        :func:`split_table` of one instrument.
    stamps
        ``int64 [bar]``: microseconds since 1970 UTC, increasing.
    timezone
        The exchange's, which the dates are in.

    Returns
    -------
    np.ndarray
        ``float64 [bar]``, 1 where there is none; splits before the first bar do not show.
    """
    import polars as pl

    ratios = np.ones(len(stamps))
    days = local_time(stamps, timezone) // DAY
    last_days = splits[LAST_DAY].cast(pl.Int32).to_numpy()
    for bar, ratio in zip(np.searchsorted(days, last_days, side="right"), splits["ratio"]):
        if 0 < bar < len(stamps):
            ratios[bar] *= ratio
    return ratios


def snapped(ratio: float) -> float:
    """A ratio measured on prices, as the small fraction that it means."""
    if ratio < 1:
        return 1 / snapped(1 / ratio)
    fraction = Fraction(ratio).limit_denominator(20)
    return float(fraction) if abs(fraction / Fraction(ratio) - 1) < 1e-4 else ratio


def in_words(ratio: float) -> str:
    """``2:1``, ``3:2`` or ``1:20``: new shares for old ones."""
    fraction = Fraction(ratio).limit_denominator(200)
    return f"{fraction.numerator}:{fraction.denominator}"
