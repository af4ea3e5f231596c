"""Random crops per CPU-second: Panel.window beside `datasets`' own row decoding, on one file.

    python benchmarks/panel.py
    python benchmarks/panel.py --items 200 --bars 8000 --json

The peer reads as uni2ts does: `Dataset[item]` in NumPy format, then a slice of its target.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from tsfm.data.panel import Panel, PanelInfo, Series


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--bars", type=int, default=8000)
    parser.add_argument("--variates", type=int, default=5)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = compare(Path(folder) / "panel", options)
    print(
        f"windows of {options.variates} × {options.length} from {options.items} × {options.bars} "
        f"bars: ours {result['ours']:,.0f}/s, datasets {result['peer']:,.0f}/s, "
        f"{result['ratio']:.1f}×; opening {result['open_ms']:.2f} ms"
    )
    if options.json:
        print(json.dumps(result))


def compare(path: Path, options: argparse.Namespace) -> dict[str, float | str]:
    """Both readers draw the same places and must return the same values."""
    import datasets

    Panel.write(path, _series(options), PanelInfo(name="walks", variates=_names(options), freq="h"))
    begin = time.perf_counter()
    panel = Panel.open(path)
    opening = time.perf_counter() - begin
    rows = datasets.load_from_disk(str(path)).select_columns(["item_id", "start", "target"])
    rows = rows.with_format("numpy")

    def ours(item: int, start: int) -> np.ndarray:
        return panel.window(item, start, options.length).target

    def peer(item: int, start: int) -> np.ndarray:
        return np.stack(rows[item]["target"])[:, start : start + options.length]

    rng = np.random.default_rng(0)
    items = rng.integers(options.items, size=4096).tolist()
    starts = rng.integers(options.bars - options.length + 1, size=4096).tolist()
    places = list(zip(items, starts))
    for item, start in places[:32]:
        np.testing.assert_array_equal(ours(item, start), peer(item, start))
    rates = [_rate(read, places, options.seconds) for read in (ours, peer)]
    return {
        "ours": rates[0],
        "peer": rates[1],
        "ratio": rates[0] / rates[1],
        "units": "windows per CPU-second",
        "open_ms": 1e3 * opening,
    }


def _rate(
    read: Callable[[int, int], np.ndarray], places: list[tuple[int, int]], seconds: float
) -> float:
    """Crops per CPU-second."""
    done, begin = 0, time.process_time()
    while (spent := time.process_time() - begin) < seconds:
        for item, start in places[done % len(places) :][:64]:
            read(item, start)
            done += 1
    return done / spent


def _names(options: argparse.Namespace) -> tuple[str, ...]:
    return tuple(f"variate_{k}" for k in range(options.variates))


def _series(options: argparse.Namespace) -> Iterator[Series]:
    rng = np.random.default_rng(0)
    for item in range(options.items):
        walk = rng.normal(size=(options.variates, options.bars)).cumsum(axis=1)
        yield Series(item_id=str(item), target=walk, start=pd.Timestamp("2020-01-01"))


if __name__ == "__main__":
    main()
