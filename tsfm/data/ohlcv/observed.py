"""The bars of a frame that have prices, numbered within their symbols."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl

from tsfm.errors import DataError

PRICES = ("open", "high", "low", "close")
COLUMNS = ("symbol", "ts", *PRICES, "volume")


def observed(bars: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series | None]:
    """Bars with prices, and where every bar of ``bars`` is among them.

    Parameters
    ----------
    bars
        ``symbol, ts, open, high, low, close, volume``, sorted by symbol and time.

    Returns
    -------
    pl.DataFrame
        The same columns; ``volume`` 0 where unknown, ``_traded``: whether it is known and any was
        traded yet, ``_group`` (number of the symbol) and ``_position`` (of the bar within it).
    pl.Series | None
        For every bar its row there, null where unobserved; ``None`` when all are observed.

    Raises
    ------
    DataError
        When a column is missing or no number, or rows are not sorted.
    """
    checked(bars)
    numbers = [pl.col(name).cast(pl.Float64).fill_nan(None) for name in (*PRICES, "volume")]
    frame = bars.select("symbol", "ts", *numbers).with_columns(_group=pl.col("symbol").rle_id())
    seen = frame.select(
        pl.all_horizontal(pl.col(name).is_not_null() for name in PRICES)
    ).to_series()
    place = None
    if not seen.all():
        frame = frame.filter(seen)
        rows = pl.select(pl.when(seen).then(seen.cum_sum() - 1)).to_series()
        place = rows.cast(pl.UInt32)
    known = pl.col("volume").is_not_null()
    volume = pl.col("volume").fill_null(0.0)
    core = frame.with_columns(
        volume=volume,
        _traded=known & (volume.cum_sum().over("_group") > 0),
        _position=pl.int_range(pl.len(), dtype=pl.UInt32).over("_group"),
    )
    return core, place


def checked(bars: pl.DataFrame) -> None:
    """Raise :class:`DataError` unless the columns are there and the rows sorted."""
    missing = [name for name in COLUMNS if name not in bars.columns]
    if missing:
        raise DataError(
            f"columns {', '.join(missing)} are missing",
            where="bars",
            remedy=f"give {', '.join(COLUMNS)}",
        )
    if not isinstance(bars.schema["ts"], pl.Datetime):
        raise DataError(f"ts is of type {bars.schema['ts']}", where="bars", remedy="give dates")
    words = [name for name in (*PRICES, "volume") if not bars.schema[name].is_numeric()]
    if words:
        raise DataError(f"{', '.join(words)} are no numbers", where="bars")
    starts = [first for first, _ in bounds(bars)]
    step = bars["ts"].diff().dt.total_microseconds().to_numpy().copy()
    step[starts] = 1
    late = np.flatnonzero(~(step > 0))
    if len(late) or bars["symbol"].gather(starts).n_unique() < len(starts):
        row = int(late[0]) if len(late) else 0
        raise DataError(
            "rows are not sorted by symbol and time, or repeat a bar",
            where=f"bars, row {row}, {bars['symbol'][row]} {bars['ts'][row]}",
            remedy="sort by symbol and ts, and drop repeated rows",
        )


def bounds(bars: pl.DataFrame) -> list[tuple[int, int]]:
    """First row and the row after the last, of every symbol."""
    lengths = bars["symbol"].rle().struct.field("len").to_list()
    stops = np.cumsum([0, *lengths]).tolist()
    return list(itertools.pairwise(stops))


def finished(value: pl.Expr, warm_up: int) -> pl.Expr:
    """As ``Float32``, null during warm-up and where not finite."""
    single = value.cast(pl.Float32)
    return pl.when((pl.col("_position") >= warm_up) & single.is_finite()).then(single)
