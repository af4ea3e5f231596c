"""The bars of a frame that have prices, apart from those that have none."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from tsfm.errors import DataError

PRICES = ("open", "high", "low", "close")
VALUES = (*PRICES, "volume")
COLUMNS = ("symbol", "ts", *VALUES)


@dataclass(frozen=True, kw_only=True, eq=False)
class Observed:
    """Bars with prices.

    Attributes
    ----------
    values
        ``open, high, low, close, volume`` (``Float64``, nothing missing), ``volume`` 0 where
        unknown.
    stamps
        ``int64 [bar]`` microseconds since 1970.
    symbols
        That have observed bars.
    spans
        First bar and the bar after the last of each of them.
    traded
        ``bool [bar]``: volume is known, and any was traded yet.
    rows
        Where these bars are among all; ``None`` when all are observed.
    """

    values: pl.DataFrame
    stamps: Int[np.ndarray, " bar"]
    symbols: tuple[str, ...]
    spans: list[tuple[int, int]]
    traded: Bool[np.ndarray, " bar"]
    rows: Int[np.ndarray, " bar"] | None

    @classmethod
    def of(cls, bars: pl.DataFrame) -> Observed:
        """Those of ``bars``.

        Parameters
        ----------
        bars
            ``symbol, ts, open, high, low, close, volume``, sorted by symbol and time; missing
            values null or NaN.

        Raises
        ------
        DataError
            When a column is missing or no number, or rows are not sorted.
        """
        spans = checked(bars)
        stamps = bars["ts"].dt.epoch("us").to_numpy()
        names = bars["symbol"].gather([first for first, _ in spans]).to_list()
        columns = {name: _floats(bars[name]) for name in VALUES}
        unseen = np.isnan(columns["close"])
        for name in ("open", "high", "low"):
            unseen |= np.isnan(columns[name])
        rows = None
        if unseen.any():
            rows = np.flatnonzero(~unseen)
            columns = {name: column[rows] for name, column in columns.items()}
            cuts = np.searchsorted(rows, [0, *(stop for _, stop in spans)]).tolist()
            held = [
                (name, cut) for name, cut in zip(names, itertools.pairwise(cuts)) if cut[0] < cut[1]
            ]
            stamps, names, spans = (
                stamps[rows],
                [name for name, _ in held],
                [cut for _, cut in held],
            )
        unknown = np.isnan(columns["volume"])
        if unknown.any():
            columns["volume"] = np.where(unknown, 0.0, columns["volume"])
        return cls(
            values=pl.DataFrame(columns),
            stamps=stamps,
            symbols=tuple(names),
            spans=spans,
            traded=_traded(columns["volume"], spans) & ~unknown,
            rows=rows,
        )

    def __len__(self) -> int:
        return len(self.stamps)


def finished(
    values: Float[np.ndarray, " bar"], bars: Observed, warm_up: int
) -> Float[np.ndarray, " bar"]:
    """As ``float32``, NaN during warm-up and where not finite."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    single[~np.isfinite(single)] = np.nan
    for first, stop in bars.spans:
        single[first : min(first + warm_up, stop)] = np.nan
    return single


def checked(bars: pl.DataFrame) -> list[tuple[int, int]]:
    """:func:`bounds`.

    Raises
    ------
    DataError
        Unless the columns are there and the rows sorted.
    """
    missing = [name for name in COLUMNS if name not in bars.columns]
    if missing:
        raise DataError(
            f"columns {', '.join(missing)} are missing",
            where="bars",
            remedy=f"give {', '.join(COLUMNS)}",
        )
    if not isinstance(bars.schema["ts"], pl.Datetime):
        raise DataError(f"ts is of type {bars.schema['ts']}", where="bars", remedy="give dates")
    words = [name for name in VALUES if not bars.schema[name].is_numeric()]
    if words:
        raise DataError(f"{', '.join(words)} are no numbers", where="bars")
    spans = bounds(bars)
    starts = [first for first, _ in spans]
    late = np.ones(len(bars), bool)
    stamps = bars["ts"]
    if stamps.null_count() == 0:
        moments = stamps.dt.epoch("us").to_numpy()
        late[1:] = moments[1:] <= moments[:-1]
        late[starts] = False
    if late.any() or bars["symbol"].gather(starts).n_unique() < len(starts):
        row = int(np.argmax(late))
        raise DataError(
            "rows are not sorted by symbol and time, or repeat a bar",
            where=f"bars, row {row}, {bars['symbol'][row]} {bars['ts'][row]}",
            remedy="sort by symbol and ts, and drop repeated rows",
        )
    return spans


def bounds(bars: pl.DataFrame) -> list[tuple[int, int]]:
    """First row and the row after the last, of every symbol."""
    lengths = bars["symbol"].rle().struct.field("len").to_list()
    stops = np.cumsum([0, *lengths]).tolist()
    return list(itertools.pairwise(stops))


def _floats(column: pl.Series) -> Float[np.ndarray, " bar"]:
    """NaN where missing; the column's own memory where nothing is."""
    return column.cast(pl.Float64).to_numpy()


def _traded(
    volume: Float[np.ndarray, " bar"], spans: list[tuple[int, int]]
) -> Bool[np.ndarray, " bar"]:
    made = np.ones(len(volume), bool)
    for first, stop in spans:
        some = volume[first:stop] > 0
        begin = int(np.argmax(some)) if some.any() else stop - first
        made[first : first + begin] = False
    return made
