"""Hourly bars of a stock exchange, made up but clean, and their timestamps."""

from __future__ import annotations

import numpy as np
import polars as pl

NEW_YORK = "America/New_York"
PRICES = ["open", "high", "low", "close"]
VALUES = [*PRICES, "volume"]


def session_stamps(
    days: int = 120,
    *,
    start: str = "2023-01-02",
    hours: range = range(9, 16),
    minute: int = 0,
    timezone: str = NEW_YORK,
    weekdays: int = 5,
) -> pl.Series:
    """``Datetime("us", "UTC")``: bars at these local hours of the first days of the week."""
    first = np.datetime64(start, "D")
    calendar = first + np.arange(3 * days + 7)
    monday_first = (calendar.astype(int) + 3) % 7
    chosen = calendar[monday_first < weekdays][:days]
    local = chosen[:, None].astype("M8[us]") + np.array(
        [np.timedelta64(60 * hour + minute, "m") for hour in hours]
    )
    return stamps_of(local.reshape(-1), timezone)


def stamps_of(local: np.ndarray, timezone: str) -> pl.Series:
    """Local times in UTC, without those that daylight saving skips."""
    zoned = (
        pl.Series("ts", local)
        .cast(pl.Datetime("us"))
        .dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    )
    return zoned.drop_nulls().dt.convert_time_zone("UTC")


def bars_at(
    ts: pl.Series, *, seed: int = 0, scale: float = 0.004, price: float = 80.0
) -> pl.DataFrame:
    """A random walk with a bar at each moment; volumes are higher when a session begins."""
    rng = np.random.default_rng(seed)
    count = len(ts)
    moves = rng.normal(0, scale, count)
    close = price * np.exp(np.cumsum(moves))
    opening = np.append(price, close[:-1]) * np.exp(rng.normal(0, scale / 4, count))
    high = np.maximum(opening, close) * np.exp(rng.uniform(0, scale, count))
    low = np.minimum(opening, close) * np.exp(-rng.uniform(0, scale, count))
    steps = np.diff(ts.cast(pl.Int64).to_numpy(), prepend=0)
    busy = np.where(steps > 4 * 3_600_000_000, 2.0, 1.0)
    volume = np.round(1e5 * busy * rng.lognormal(0, 0.3, count))
    return pl.DataFrame(
        {"ts": ts, "open": opening, "high": high, "low": low, "close": close, "volume": volume}
    )


def stock(days: int = 120, *, seed: int = 0) -> pl.DataFrame:
    """Clean hourly bars of a New York stock."""
    return bars_at(session_stamps(days), seed=seed)


def altered(bars: pl.DataFrame, row: int, **values: float | None) -> pl.DataFrame:
    """Other values in one bar."""
    here = pl.int_range(pl.len()) == row
    return bars.with_columns(
        pl.when(here).then(pl.lit(value, pl.Float64)).otherwise(pl.col(name)).alias(name)
        for name, value in values.items()
    )


def unobserved(bars: pl.DataFrame, *rows: int) -> pl.DataFrame:
    """Nulls in these bars."""
    here = pl.int_range(pl.len()).is_in(list(rows))
    return bars.with_columns(
        pl.when(here).then(None).otherwise(pl.col(name)).alias(name) for name in VALUES
    )


def scaled(bars: pl.DataFrame, row: int, factor: float) -> pl.DataFrame:
    """Prices of one bar times a factor."""
    return altered(bars, row, **{name: bars[name][row] * factor for name in PRICES})


def split_at(bars: pl.DataFrame, row: int, ratio: float) -> pl.DataFrame:
    """As a market quotes it: from this bar on the price is one ratio-th, the volume ratio times."""
    later = pl.int_range(pl.len()) >= row
    return bars.with_columns(
        pl.when(later).then(pl.col(PRICES) / ratio).otherwise(pl.col(PRICES)),
        pl.when(later).then(pl.col("volume") * ratio).otherwise(pl.col("volume")),
    )
