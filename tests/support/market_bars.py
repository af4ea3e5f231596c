"""Bars of several symbols as the lake holds them, for the tests of features."""

from __future__ import annotations

import numpy as np
import polars as pl

VALUES = ("open", "high", "low", "close", "volume")


def market_bars(n_symbols: int = 4, n_bars: int = 700, seed: int = 0) -> pl.DataFrame:
    """Hourly sessions of seven bars on weekdays; symbols begin at different times."""
    rng = np.random.default_rng(seed)
    common = 0.004 * rng.standard_t(5, n_bars)
    frames = []
    for k in range(n_symbols):
        own = 0.004 * rng.standard_t(5, (n_bars, 4))
        own[:, 0] += (0.5 + k) * common
        path = np.exp(3 + k + own.reshape(-1).cumsum().reshape(n_bars, 4))
        frames.append(
            pl.DataFrame(
                {
                    "symbol": f"S{k}",
                    "ts": session_times(n_bars),
                    "open": path[:, 0],
                    "high": path.max(axis=1),
                    "low": path.min(axis=1),
                    "close": path[:, 3],
                    "volume": rng.lognormal(8, 0.6, n_bars).round(),
                }
            )[7 * k :]
        )
    return pl.concat(frames)


def session_times(n_bars: int, zone: str | None = "UTC") -> pl.Series:
    """From Monday 2024-01-01, 14:00 to 20:00 on weekdays."""
    day, hour = np.divmod(np.arange(n_bars), 7)
    week, weekday = np.divmod(day, 5)
    hours = (7 * week + weekday) * 24 + 14 + hour
    stamps = np.datetime64("2024-01-01", "us") + hours.astype("m8[h]")
    return pl.Series(stamps).dt.replace_time_zone(zone)


def with_gaps(bars: pl.DataFrame, share: float = 0.1, seed: int = 1) -> pl.DataFrame:
    """Some bars unobserved: all values null."""
    lost = pl.Series(np.random.default_rng(seed).random(len(bars)) < share)
    return bars.with_columns(pl.when(~lost).then(pl.col(name)).alias(name) for name in VALUES)


def largest_difference(one: pl.DataFrame, other: pl.DataFrame) -> float:
    """Over all values; infinite where one is null and the other is not."""
    first = one.drop("symbol", "ts").fill_null(np.nan).to_numpy()
    second = other.drop("symbol", "ts").fill_null(np.nan).to_numpy()
    if not (np.isnan(first) == np.isnan(second)).all():
        return np.inf
    return float(np.nanmax(np.abs(first - second), initial=0.0))
