"""Bars at the door: what a frame of open, high, low, close and volume must look like."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tsfm.data.frequency import naive_timestamps
from tsfm.errors import DataError

if TYPE_CHECKING:
    import pandera.pandas as pandera

PRICES = ("open", "high", "low", "close")
COLUMNS = ("item_id", "timestamp", *PRICES, "volume")


@lru_cache(maxsize=1)
def bar_schema() -> pandera.DataFrameSchema:
    """The schema of bars; prices and volume may be missing (NaN), an id and a date may not."""
    import pandera.pandas as pandera

    price = pandera.Column(
        float,
        [
            pandera.Check.gt(0, error="{column} {value} is not positive"),
            pandera.Check(np.isfinite, error="{column} {value} is not finite"),
        ],
        nullable=True,
    )
    volume = pandera.Column(
        float,
        [
            pandera.Check.ge(0, error="{column} {value} is negative"),
            pandera.Check(np.isfinite, error="{column} {value} is not finite"),
        ],
        nullable=True,
    )
    return pandera.DataFrameSchema(
        {
            "item_id": pandera.Column(str),
            "timestamp": pandera.Column("datetime64[ns]"),
            **dict.fromkeys(PRICES, price),
            "volume": volume,
        },
        checks=[
            pandera.Check(_increasing, error="the timestamp is not later than the item's previous"),
            pandera.Check(_high_on_top, error="high is below open, low or close"),
            pandera.Check(_low_at_bottom, error="low is above open, high or close"),
        ],
    )


def validate_bars(frame: pd.DataFrame, *, where: str = "bars") -> pd.DataFrame:
    """Check a frame of bars and give its columns in their canonical types, rows in their order.

    Parameters
    ----------
    frame
        ``item_id, timestamp, open, high, low, close, volume``; other columns are left out. Each
        item's rows are in the order of time; prices and volume may be NaN where unobserved.
    where
        Named in errors.

    Raises
    ------
    DataError
        Naming the item and the row (counted from 0) when a column is missing, a type is wrong,
        timestamps are unsorted, repeated or carry a time zone, a price is not positive, or high
        and low do not enclose open and close.
    """
    bars = _typed(frame, where)
    if _right_at_a_glance(bars):
        return bars
    import pandera.errors

    try:
        return bar_schema().validate(bars)
    except pandera.errors.SchemaError as error:
        raise _explained(error, bars, where) from error


def _right_at_a_glance(bars: pd.DataFrame) -> bool:
    """Whether every check of :func:`bar_schema` holds, without a word on those that do not."""
    opening, high, low, close, volume = (bars[name].to_numpy() for name in (*PRICES, "volume"))
    prices = np.stack([opening, high, low, close])
    with np.errstate(invalid="ignore"):
        wrong = (prices <= 0) | np.isinf(prices) | (prices > high) | (prices < low)
        wrong |= (volume < 0) | np.isinf(volume)
    codes = pd.factorize(bars["item_id"])[0]
    order = np.argsort(codes, kind="stable")
    steps = np.diff(bars["timestamp"].to_numpy()[order])
    return not wrong.any() and bool((steps[np.diff(codes[order]) == 0] > np.timedelta64(0)).all())


def _typed(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise DataError(
            f"columns {', '.join(missing)} are missing",
            where=where,
            remedy=f"give {', '.join(COLUMNS)}; the frame has {', '.join(map(str, frame.columns))}",
        )
    if frame.empty:
        raise DataError("there are no bars", where=where)
    bars = frame.loc[:, list(COLUMNS)].reset_index(drop=True)
    absent = np.flatnonzero(bars["item_id"].isna() | bars["timestamp"].isna())
    if len(absent):
        raise DataError(
            "item_id or timestamp is empty",
            where=f"{where}, row {absent[0]}",
            remedy="fill it in or drop the row",
        )
    bars["item_id"] = bars["item_id"].astype(str)
    bars["timestamp"] = naive_timestamps(bars["timestamp"], where)
    for name in (*PRICES, "volume"):
        try:
            bars[name] = bars[name].astype(float)
        except (TypeError, ValueError) as error:
            raise DataError(f"column {name} does not hold numbers: {error}", where=where) from error
    return bars


def _increasing(bars: pd.DataFrame) -> pd.Series:
    step = bars.groupby("item_id", sort=False)["timestamp"].diff()
    return step.isna() | (step > pd.Timedelta(0))


def _high_on_top(bars: pd.DataFrame) -> pd.Series:
    return ~(bars["high"] < bars[["open", "low", "close"]].max(axis=1))


def _low_at_bottom(bars: pd.DataFrame) -> pd.Series:
    return ~(bars["low"] > bars[["open", "high", "close"]].min(axis=1))


def _explained(error: pandera.errors.SchemaError, bars: pd.DataFrame, where: str) -> DataError:
    """The first failing row of a pandera error, as what, where and remedy."""
    output = error.check_output
    if output is None:
        return DataError(str(error), where=where, remedy=f"give {', '.join(COLUMNS)}")
    row = int(np.flatnonzero(~np.asarray(output, dtype=bool))[0])
    bar = bars.iloc[row]
    column = getattr(error.schema, "name", None)
    what = str(error.check.error)
    if column:
        what = what.format(column=column, value=bar[column])
    return DataError(
        f"{what} ({_shown(bar)})",
        where=f"{where}, item {bar['item_id']!r}, row {row}",
        remedy="sort the rows, drop the repeated ones and repair or drop the bar",
    )


def _shown(bar: pd.Series) -> str:
    prices = ", ".join(f"{name} {bar[name]:g}" for name in PRICES)
    return f"{bar['timestamp']}: {prices}, volume {bar['volume']:g}"
