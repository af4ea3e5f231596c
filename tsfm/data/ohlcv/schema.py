"""The schema that bars must meet at a lake's door (polars; :mod:`tsfm.data.ohlcv.bars`: pandas).

The door keeps what a market may have traded, however odd: cleaning decides on prices that are not
positive, highs below lows and outliers. It refuses what no cleaning can mean.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tsfm.data.ohlcv.part import COLUMNS, VALUES
from tsfm.errors import DataError

if TYPE_CHECKING:
    import pandera.polars as pandera
    import polars as pl

PRICES = VALUES[:4]
FIRST_YEAR, LAST_YEAR = 1900, 2199


@lru_cache(maxsize=1)
def faults() -> dict[str, pl.Expr]:
    """What is wrong with a row, and the expression that is true where it is."""
    import polars as pl

    n_missing = pl.sum_horizontal(pl.col(name).is_null() for name in PRICES)
    finite = pl.all_horizontal(pl.col(name).is_finite().fill_null(True) for name in PRICES)
    in_range = pl.col("ts").dt.year().is_between(FIRST_YEAR, LAST_YEAR)
    volume = pl.col("volume")
    return {
        "the date is missing": pl.col("ts").is_null(),
        f"the date is not between {FIRST_YEAR} and {LAST_YEAR}": ~in_range.fill_null(True),
        "some prices are missing": n_missing.is_between(1, len(PRICES) - 1),
        "a price is not finite": ~finite,
        "volume is negative": (volume < 0).fill_null(False),
        "volume is not finite": ~volume.is_finite().fill_null(True),
    }


@lru_cache(maxsize=1)
def bars_schema() -> pandera.DataFrameSchema:
    """Types and rules of ``ts, open, high, low, close, volume``; null where unobserved."""
    import pandera.polars as pandera
    import polars as pl

    def check(what: str, fault: pl.Expr) -> pandera.Check:
        return pandera.Check(lambda data: data.lazyframe.select(~fault), error=what)

    return pandera.DataFrameSchema(
        {
            "ts": pandera.Column(pl.Datetime("us", "UTC")),
            **{name: pandera.Column(pl.Float64, nullable=True) for name in VALUES},
        },
        checks=[check(what, fault) for what, fault in faults().items()],
    )


def validate(bars: pl.DataFrame, *, where: str) -> None:
    """Check bars against :func:`bars_schema`.

    Raises
    ------
    DataError
        Naming the first row (counted from 0) that breaks a rule, or the column of another type.
    """
    import pandera.errors

    missing = [name for name in COLUMNS if name not in bars.columns]
    if missing:
        raise DataError(
            f"columns {', '.join(missing)} are missing",
            where=where,
            remedy=f"give {', '.join(COLUMNS)}; the frame has {', '.join(bars.columns)}",
        )
    try:
        bars_schema().validate(bars)
    except pandera.errors.SchemaError as error:
        raise _explained(error, bars, where) from error


def _explained(error: Any, bars: pl.DataFrame, where: str) -> DataError:
    what = str(getattr(error.check, "error", ""))
    fault = faults().get(what)
    if fault is None:
        return DataError(
            f"bars are not of the lake's types: {str(error).splitlines()[0]}",
            where=where,
            remedy="give ts as Datetime('us', 'UTC') without nulls and the others as Float64",
        )
    row = int(bars.select(fault.arg_true().first()).item())
    return DataError(f"{what} ({bars.row(row)})", where=f"{where}, row {row}")
