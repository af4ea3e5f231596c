"""Bars for tests of the lake."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

VALUES = ("open", "high", "low", "close", "volume")


def made_bars(
    symbols: tuple[str, ...] = ("A", "B"),
    bars: int = 200,
    *,
    start: datetime = datetime(2020, 1, 20, tzinfo=UTC),
    step: timedelta = timedelta(hours=5),
    seed: int = 0,
) -> pl.DataFrame:
    """``symbol`` and bars of random walks, in the lake's types."""
    rng = np.random.default_rng(seed)
    dates = pl.datetime_range(start, start + (bars - 1) * step, step, eager=True, time_unit="us")
    frames = []
    for symbol in symbols:
        close = np.round(100 * np.exp(rng.normal(0, 0.01, bars).cumsum()), 2)
        frames.append(
            pl.DataFrame(
                {
                    "symbol": [symbol] * bars,
                    "ts": dates,
                    "open": close,
                    "high": close + 1,
                    "low": close - 1,
                    "close": close,
                    "volume": rng.integers(0, 10_000, bars).astype(float),
                }
            )
        )
    return pl.concat(frames)
