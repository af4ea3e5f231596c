"""From a lake to a table of targets and default features the usual way: pyarrow, pandas, TA-Lib.

``python benchmarks/peers/lake_pandas_route.py LAKE OUT.arrow`` prints seconds as JSON; with a
Parquet file in place of the lake, the many small files are left out of the account. Bars are read
by pyarrow's threads, features made by pandas and TA-Lib (:mod:`lake_pandas`) in ``float64``, and
written in ``float32`` as the panel's are. Symbols are categories: grouping text anew for every
column would take a seventh longer. All bars are in memory at once, and taken to be clean.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as dataset
from lake_pandas import default_features

COLUMNS = ["symbol", "ts", "open", "high", "low", "close", "volume"]
RANGE_FLOOR = 1e-4


def main(source: Path, out: Path) -> None:
    route(source, out, rows=2000)
    begin, before = time.perf_counter(), time.process_time()
    route(source, out)
    wall, cpu = time.perf_counter() - begin, time.process_time() - before
    print(json.dumps({"wall": wall, "cpu": cpu, "rss_mb": peak_memory()}))


def peak_memory() -> float:
    """Megabytes of this program; ``ru_maxrss`` would count those of whoever started it."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def route(source: Path, out: Path, rows: int | None = None) -> None:
    files = dataset.dataset(source, format="parquet", partitioning="hive")
    bars = (files.head(rows, COLUMNS) if rows else files.to_table(COLUMNS)).to_pandas()
    bars["symbol"] = bars["symbol"].astype("category")
    if source.is_dir():
        bars = bars.sort_values(["symbol", "ts"], ignore_index=True)
    table = pd.concat([default_features(bars), targets(bars)], axis=1)
    made = pa.Table.from_pandas(table, preserve_index=False)
    with pa.OSFile(str(out), "wb") as sink, pa.ipc.new_file(sink, made.schema) as file:
        file.write_table(made)


def targets(bars: pd.DataFrame) -> pd.DataFrame:
    log = {name: np.log(bars[name]) for name in ("high", "low", "close")}
    volume = np.log(bars["volume"].where(bars["volume"] > 0))
    made = {
        "log_close": log["close"],
        "log_return": log["close"].groupby(bars["symbol"], sort=False, observed=True).diff(),
        "log_range": np.log(np.maximum(log["high"] - log["low"], RANGE_FLOOR)),
        "log_volume": volume,
    }
    return pd.DataFrame(made).astype(np.float32)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
