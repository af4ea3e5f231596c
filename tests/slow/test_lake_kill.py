"""The lake under kill -9 at random points, and under several writing processes."""

from __future__ import annotations

import random
import signal

import duckdb
import polars as pl
import pytest
from support.lake_bars import made_bars
from support.lake_writers import started

from tsfm.data.ohlcv.ingest import IngestConfig, ingest
from tsfm.data.ohlcv.lake import Instrument, Lake

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

KILLS = 20
SYMBOLS = tuple(f"S{k:02d}" for k in range(20))


def everything(lake: Lake) -> pl.DataFrame:
    names = [Instrument(asset_class="equity", freq="1h", symbol=one) for one in SYMBOLS]
    return lake.read(names)


def check(lake: Lake, before: pl.DataFrame, after: pl.DataFrame) -> None:
    """Every bar is the old one or the new one, none is lost or doubled, the catalogue is right."""
    held = lake.scan().select("symbol", *after.columns[1:]).sort("symbol", "ts").collect()
    assert not held.select(pl.struct("symbol", "ts").is_duplicated().any()).item()
    assert len(held.join(before, on=["symbol", "ts"], how="semi")) == len(before)
    known = pl.concat([before, after]).unique()
    assert len(held.join(known, on=held.columns, how="semi", nulls_equal=True)) == len(held)
    pattern = f"{lake.path}/**/*.parquet"
    query = f"SELECT count(*) FROM read_parquet('{pattern}', hive_partitioning=true)"
    assert held.is_empty() or duckdb.sql(query).fetchall() == [(len(held),)]
    catalogue = lake.catalogue()
    counts = held.group_by("symbol").agg(
        first=pl.col("ts").min(), last=pl.col("ts").max(), bars=pl.len().cast(pl.Int64)
    )
    assert catalogue.select(counts.columns).equals(counts.sort("symbol"))
    lake.rebuild()
    assert lake.catalogue().equals(catalogue)


def test_killed_at_random_points_nothing_is_lost_or_doubled(tmp_path):
    old = made_bars(SYMBOLS, 1200)
    new = made_bars((*SYMBOLS, "Z"), 1500, seed=1).filter(pl.col("symbol") != "Z")
    old.write_parquet(tmp_path / "old.parquet")
    new.write_parquet(tmp_path / "new.parquet")
    config = IngestConfig(asset_class="equity", freq="1h", batch_rows=5000)
    sources = [tmp_path / "old.parquet", tmp_path / "new.parquet"]
    whole = Lake.create(tmp_path / "whole")
    process, _, calls = started(whole.path, *sources)
    process.join()
    generator = random.Random(0)
    points = [generator.randint(1, calls.value) for _ in range(KILLS)]
    killed = 0
    for attempt, point in enumerate(points):
        lake = Lake.create(tmp_path / f"lake{attempt}")
        delay = generator.uniform(0, 1e-3)
        process, done, _ = started(lake.path, *sources, kill_at=point, delay=delay)
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        reopened = Lake.open(lake.path)
        check(reopened, old if done.value else old[:0], new if done.value else old)
        for source in sources:
            ingest(source, reopened, config)
        assert everything(reopened).equals(everything(whole))
        assert reopened.fingerprint() == whole.fingerprint()
        assert not list((tmp_path / f".lake{attempt}.lake" / "staging").iterdir())
    assert killed >= KILLS - 2


def test_processes_that_write_the_same_symbols_lose_nothing(tmp_path):
    bars = made_bars(SYMBOLS[:4], 4000)
    lake = Lake.create(tmp_path / "lake")
    sources = [tmp_path / f"{k}.parquet" for k in range(4)]
    for k, source in enumerate(sources):
        bars.filter(pl.int_range(pl.len()) % 4 == k).sort("ts").write_parquet(source)
    processes = [started(lake.path, source) for source in sources]
    for process, done, _ in processes:
        process.join()
        assert (process.exitcode, done.value) == (0, 1)
    names = [Instrument(asset_class="equity", freq="1h", symbol=one) for one in SYMBOLS[:4]]
    assert lake.read(names).equals(bars)
    catalogue = lake.catalogue()
    lake.rebuild()
    assert lake.catalogue().equals(catalogue)
