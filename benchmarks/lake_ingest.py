"""Bars per second from a Parquet file into a new lake: our ingest beside polars' partitioned sink.

    python benchmarks/lake_ingest.py
    python benchmarks/lake_ingest.py --symbols 200 --years 5 --freq 1h --json

Sessions of seven bars a weekday give months of about 150 rows (12,000 files), where the cost is per
file; --around-the-clock gives about 730. The peer writes the same layout with the same columns, and
checks nothing, merges nothing and keeps no catalogue. `floor` is what the file system alone allows:
the same directories and files of the same sizes made by as many threads, nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import psutil
import pyarrow.parquet as parquet

from tsfm.data.ohlcv.ingest import IngestConfig, ingest
from tsfm.data.ohlcv.lake import Lake

STEPS = {"1h": timedelta(hours=1), "1min": timedelta(minutes=1)}


@dataclass(frozen=True)
class Spent:
    """Seconds of the wall clock and of all cores (user, and in the kernel)."""

    wall: float
    user: float
    system: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--symbols", type=int, default=200)
    parser.add_argument("--years", type=int, default=5)
    parser.add_argument("--freq", choices=STEPS, default="1h")
    parser.add_argument("--around-the-clock", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="where the lakes are made")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        result = measure(Path(folder), options)
    ours, cpu, peer, floor, again = (
        float(result[key]) / 1e6
        for key in ("ours", "ours_per_cpu_second", "peer", "floor", "again")
    )
    print(
        f"{result['rows']:,} bars into {result['files']:,} parts: ours {ours:.2f} M rows/s "
        f"({cpu:.2f} M per CPU-second), polars' sink {peer:.2f}, bare files {floor:.2f}; the same "
        f"again {again:.2f}; catalogue {result['catalogue_ms']:.1f} ms"
    )
    if options.json:
        print(json.dumps(result))


def measure(folder: Path, options: argparse.Namespace) -> dict[str, float | str]:
    """The best of some rounds for each, taken in turn; the lake's bars must equal the source's."""
    source = folder / "bars.parquet"
    rows = write_source(source, options)
    config = IngestConfig(asset_class="equity", freq=options.freq)
    lakes = [Lake.create(folder / f"lake{k}") for k in range(options.rounds + 1)]
    warm_up = pl.scan_parquet(source).head(1000).collect()
    lakes[-1].upsert_many(warm_up, asset_class="warm", freq="up")
    ours, peer, floor = [], [], []
    for k, lake in enumerate(lakes[:-1]):
        ours.append(_timed(partial(ingest, source, lake, config)))
        peer.append(_timed(partial(_sink, source, folder / f"peer{k}")))
        files = _files(lake.path, folder / f"floor{k}")
        floor.append(_timed(partial(_bare_files, files)))
    again = _timed(partial(ingest, source, lakes[0], config))
    catalogue = _timed(lakes[0].catalogue)
    read = lakes[0].scan().select(pl.col("volume").sum(), pl.len()).collect().row(0)
    assert read == pl.scan_parquet(source).select(pl.col("volume").sum(), pl.len()).collect().row(0)
    n_files = sum(map(len, files))
    best = min(ours, key=lambda spent: spent.wall)
    frugal = min(spent.user + spent.system for spent in ours)
    other = min(spent.wall for spent in peer)
    return {
        "ours": rows / best.wall,
        "peer": rows / other,
        "ratio": other / best.wall,
        "floor": rows / min(spent.wall for spent in floor),
        "units": "bars per second",
        "ours_per_cpu_second": rows / frugal,
        "kernel_share": best.system / (best.user + best.system),
        "again": rows / again.wall,
        "rows": rows,
        "files": n_files,
        "rows_per_file": rows / n_files,
        "catalogue_ms": 1e3 * catalogue.wall,
    }


def write_source(path: Path, options: argparse.Namespace) -> int:
    """Random walks, symbol after symbol; returns the rows."""
    rng = np.random.default_rng(0)
    dates = _dates(options)
    with parquet.ParquetWriter(path, _frame("", dates[:1], rng).to_arrow().schema) as writer:
        for k in range(options.symbols):
            writer.write_table(_frame(f"SIM{k:04d}", dates, rng).to_arrow())
    return options.symbols * len(dates)


def _dates(options: argparse.Namespace) -> pl.Series:
    start = datetime(2019, 1, 1, tzinfo=UTC)
    stop = datetime(2019 + options.years, 1, 1, tzinfo=UTC)
    dates = pl.datetime_range(
        start, stop, STEPS[options.freq], closed="left", eager=True, time_unit="us"
    )
    if options.around_the_clock:
        return dates
    return dates.filter((dates.dt.weekday() < 6) & dates.dt.hour().is_between(14, 20))


def _frame(symbol: str, dates: pl.Series, rng: np.random.Generator) -> pl.DataFrame:
    close = np.round(100 * np.exp(rng.normal(0, 1e-3, len(dates)).cumsum()), 2)
    volume = rng.integers(0, 1_000_000, len(dates)).astype(float)
    prices = {"open": close, "high": close + 0.5, "low": close - 0.5, "close": close}
    return pl.DataFrame({"symbol": [symbol] * len(dates), "ts": dates, **prices, "volume": volume})


def _sink(source: Path, target: Path) -> None:
    keys = ["symbol", "year", "month"]
    bars = pl.scan_parquet(source).with_columns(
        year=pl.col("ts").dt.year(), month=pl.col("ts").dt.month()
    )
    bars.sink_parquet(pl.PartitionBy(target, key=keys, include_key=False), mkdir=True)


def _files(lake: Path, target: Path) -> list[list[tuple[Path, int]]]:
    """Paths and sizes of the lake's files below another directory, symbol by symbol."""
    trees: dict[Path, list[tuple[Path, int]]] = {}
    for path in lake.rglob("*.parquet"):
        place = path.relative_to(lake)
        trees.setdefault(place.parents[2], []).append((target / place, path.stat().st_size))
    return list(trees.values())


def _bare_files(trees: list[list[tuple[Path, int]]]) -> None:
    def make(files: list[tuple[Path, int]]) -> None:
        for path, size in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(size))

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(make, trees))


def _timed(function: Callable[[], object]) -> Spent:
    process = psutil.Process()
    begin, before = time.perf_counter(), process.cpu_times()
    function()
    after = process.cpu_times()
    return Spent(
        time.perf_counter() - begin, after.user - before.user, after.system - before.system
    )


if __name__ == "__main__":
    main()
