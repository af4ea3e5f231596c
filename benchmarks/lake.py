"""From files to a lake to a panel with features: speed beside pandas, and memory.

    python benchmarks/lake.py
    python benchmarks/lake.py --symbols 200 --years 5 --json

- Ingest: bars per second from one Parquet file (:mod:`lake_ingest`).
- Build: bars per second from the lake to a panel with the default features, beside pyarrow, pandas
  and TA-Lib on the same lake (``peers/lake_pandas_route.py``), each in fresh processes on the same
  cores, in turns; their outputs must agree. ``cleaned`` is ours with every repair on, which the
  peer does not have; ``peer_of_one_file`` is the peer's with all bars in one Parquet file instead.
- Memory: peak resident set of builds over lakes of 50 and of 1,000 symbols.

Bars are a simulated stock market's (seven a weekday); with ``--data`` also real ones.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lake_ingest
import numpy as np
import polars as pl
import pyarrow as pa

from tsfm.data.ohlcv.builder import BuilderConfig, IterativeFinancialDatasetBuilder
from tsfm.data.ohlcv.cleaning_config import CleaningConfig
from tsfm.data.ohlcv.ingest import IngestConfig, ingest
from tsfm.data.ohlcv.lake import Lake
from tsfm.data.ohlcv.market import MarketConfig
from tsfm.data.ohlcv.simulator import Market
from tsfm.data.panel import Panel

HERE = Path(__file__).parent
PEER = HERE / "peers" / "lake_pandas_route.py"
REAL = HERE.parents[1] / "shared" / "data" / "ohlcv" / "us_equity_hourly.parquet"
BARS_A_YEAR = 261 * 7
AS_THEY_ARE = CleaningConfig(sessions="none", outliers=False, splits="none")
TOLERANCE = 1e-6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--symbols", type=int, default=200)
    parser.add_argument("--years", type=int, default=5)
    parser.add_argument("--few", type=int, default=50, help="symbols of the small lake for memory")
    parser.add_argument("--many", type=int, default=1000, help="symbols of the large one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=REAL, help="Parquet file of real bars")
    parser.add_argument("--directory", type=Path, help="where the lakes are made")
    parser.add_argument("--skip", nargs="*", default=[], choices=("ingest", "memory", "real"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--build", nargs=3, metavar=("LAKE", "OUT", "CLEAN"), help=argparse.SUPPRESS
    )
    options = parser.parse_args()
    if options.build:
        build(*options.build)
        return
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        result = measure(Path(folder), options)
    if options.json:
        print(json.dumps(result))


def measure(folder: Path, options: Namespace) -> dict[str, Any]:
    result: dict[str, Any] = {"units": "bars per second"}
    if "ingest" not in options.skip:
        settings = Namespace(
            symbols=options.symbols, years=options.years, freq="1h", around_the_clock=False,
            rounds=options.rounds,
        )  # fmt: skip
        (folder / "ingest").mkdir()
        result["ingest"] = lake_ingest.measure(folder / "ingest", settings)
        tell("ingest", result["ingest"])
    lake, bars = simulated(folder / "simulated", options.symbols, options.years * BARS_A_YEAR)
    result |= beside_pandas(lake, bars, folder, options.rounds)
    tell("build", result)
    if "memory" not in options.skip:
        result["memory"] = memory(folder, options)
        tell("memory", result["memory"])
    if "real" not in options.skip and options.data.is_file():
        result["real"] = real(folder, options)
        tell("real bars", result["real"])
    return result


def beside_pandas(lake: Path, bars: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """Ours and the peer's best of some rounds, taken in turns; outputs compared."""
    spent: dict[str, list[dict[str, float]]] = {"ours": [], "peer": [], "file": [], "cleaned": []}
    panel, table = folder / "panel", folder / "table.arrow"
    for _ in range(rounds):
        spent["ours"].append(started(__file__, "--build", lake, panel, "no"))
        spent["peer"].append(started(PEER, lake, table))
        spent["file"].append(started(PEER, bars, folder / "table_of_file.arrow"))
        spent["cleaned"].append(started(__file__, "--build", lake, folder / "cleaned", "yes"))
    difference, rows = largest_difference(panel, table)
    if not difference <= TOLERANCE:
        raise SystemExit(f"outputs differ by {difference:.2g}, more than {TOLERANCE:g}")
    best = {name: min(one["wall"] for one in found) for name, found in spent.items()}
    frugal = {name: min(one["cpu"] for one in found) for name, found in spent.items()}
    return {
        "ours": rows / best["ours"],
        "peer": rows / best["peer"],
        "ratio": best["peer"] / best["ours"],
        "cleaned": rows / best["cleaned"],
        "cleaned_ratio": best["peer"] / best["cleaned"],
        "peer_of_one_file": rows / best["file"],
        "ratio_of_cpu_seconds": frugal["peer"] / frugal["ours"],
        "rows": rows,
        "largest_difference": difference,
        "rss_mb": min(one["rss_mb"] for one in spent["ours"]),
        "peer_rss_mb": min(one["rss_mb"] for one in spent["peer"]),
    }


def memory(folder: Path, options: Namespace) -> dict[str, float]:
    """Peak resident set of builds in fresh processes, in MB."""
    found = {}
    for symbols in (options.few, options.many):
        lake, _ = simulated(folder / f"of_{symbols}", symbols, options.years * BARS_A_YEAR)
        peaks = [
            started(__file__, "--build", lake, folder / f"panel_{symbols}", "yes")["rss_mb"]
            for _ in range(options.rounds)
        ]
        found[symbols] = float(np.median(peaks))
    return {
        "few": options.few, "few_mb": found[options.few],
        "many": options.many, "many_mb": found[options.many],
        "growth": found[options.many] / found[options.few] - 1,
    }  # fmt: skip


def real(folder: Path, options: Namespace) -> dict[str, Any]:
    """The same comparison on real bars, whatever is wrong with them."""
    lake = Lake.create(folder / "real")
    config = IngestConfig(asset_class="equity", freq="1h", timezone="America/New_York")
    report = ingest(options.data, lake, config)
    bars = lake.scan().select("symbol", "ts", "open", "high", "low", "close", "volume")
    bars.sort("symbol", "ts").sink_parquet(folder / "real.parquet")
    found = beside_pandas(lake.path, folder / "real.parquet", folder, options.rounds)
    return found | {"skipped": report.skipped}


def simulated(path: Path, symbols: int, bars: int) -> tuple[Path, Path]:
    """A lake of a simulated market, and the same bars in one Parquet file."""
    market = Market(MarketConfig(n_assets=symbols, n_bars=bars))
    lake, file, step = Lake.create(path), path.with_suffix(".parquet"), 50
    pieces = []
    for first in range(0, symbols, step):
        made = market.arrays(first, first + step)
        logs = asdict(made)
        values = {
            name: np.exp(logs[f"log_{name}"]).reshape(-1)
            for name in ("open", "high", "low", "close", "volume")
        }
        stamps = np.tile(made.timestamps.astype("M8[us]"), len(made.item_ids))
        names = np.repeat(np.array(made.item_ids, object), bars)
        frame = pl.DataFrame({"symbol": names, "ts": stamps, **values}).with_columns(
            pl.col("symbol").cast(pl.String), pl.col("ts").dt.replace_time_zone("UTC")
        )
        lake.upsert_many(frame, asset_class="equity", freq="1h")
        pieces.append(path.with_suffix(f".{first}.parquet"))
        frame.write_parquet(pieces[-1])
    pl.scan_parquet(pieces).sink_parquet(file)
    return path, file


def started(*command: object) -> dict[str, float]:
    """Run a part in a fresh process; its seconds and its peak memory."""
    done = subprocess.run(
        [sys.executable, *map(str, command)], stdout=subprocess.PIPE, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(HERE.parent)},
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def build(lake: str, out: str, clean: str) -> None:
    """Build once to warm up, once for the record."""
    cleaning = CleaningConfig() if clean == "yes" else AS_THEY_ARE
    some = tuple(Lake.open(lake).catalogue()["symbol"][:2])
    for symbols in (some, ()):
        config = BuilderConfig(
            features="default", cleaning=cleaning, symbols=symbols, overwrite=True
        )
        begin, before = time.perf_counter(), time.process_time()
        IterativeFinancialDatasetBuilder(lake, out, config).build()
        wall, cpu = time.perf_counter() - begin, time.process_time() - before
    print(json.dumps({"wall": wall, "cpu": cpu, "rss_mb": peak_memory()}))


def peak_memory() -> float:
    """Megabytes of this program; ``ru_maxrss`` would count those of whoever started it."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def largest_difference(panel: Path, table: Path) -> tuple[float, int]:
    """Of all targets and covariates, relative to one or to the peer's value; and the bars."""
    peer = pa.ipc.open_file(pa.memory_map(str(table))).read_all()
    ours = Panel.open(panel)
    info, stop, largest = ours.info, 0, 0.0
    for series in ours:
        first, stop = stop, stop + series.length
        for names, rows in (
            (info.variates, series.target),
            (info.past_covariates, series.past_covariates),
            (info.known_covariates, series.known_covariates),
        ):
            for name, values in zip(names, rows, strict=True):
                other = peer[name].slice(first, series.length).to_numpy().astype(float)
                if (np.isnan(values) != np.isnan(other)).any():
                    raise SystemExit(f"{name} of {series.item_id}: not missing alike")
                gap = np.abs(values - other) / np.maximum(np.abs(other), 1)
                largest = max(largest, float(np.nanmax(gap, initial=0)))
    return largest, stop


def tell(what: str, found: dict[str, Any]) -> None:
    shown = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in found.items()
        if not isinstance(value, dict)
    )
    print(f"{what}: {shown}", flush=True)


if __name__ == "__main__":
    main()
