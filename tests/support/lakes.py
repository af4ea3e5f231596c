"""Small lakes of simulated bars."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from tsfm.data.ohlcv.lake import Lake
from tsfm.data.ohlcv.market import MarketConfig
from tsfm.data.ohlcv.simulator import simulate_bars


def bars_of_market(assets: int = 6, bars: int = 600, *, seed: int = 0) -> pl.DataFrame:
    """``symbol, ts, open, …`` of simulated hourly bars, in UTC."""
    made = simulate_bars(MarketConfig(n_assets=assets, n_bars=bars, seed=seed))
    frame = pl.from_pandas(made).rename({"item_id": "symbol", "timestamp": "ts"})
    return frame.with_columns(
        pl.col("ts").dt.cast_time_unit("us").dt.replace_time_zone("UTC"),
        pl.col("volume").cast(pl.Float64),
    )


def daily(bars: pl.DataFrame) -> pl.DataFrame:
    """The same symbols' daily bars."""
    return (
        bars.group_by("symbol", pl.col("ts").dt.truncate("1d"), maintain_order=True)
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("volume").sum(),
        )
        .sort("symbol", "ts")
    )


def make_lake(path: Path, **tables: pl.DataFrame) -> Lake:
    """A lake of tables named ``<asset class>_<freq>``, such as ``equity_1h``."""
    lake = Lake.create(path)
    for name, table in tables.items():
        asset_class, freq = name.split("_")
        lake.upsert_many(table, asset_class=asset_class, freq=freq)
    return lake
