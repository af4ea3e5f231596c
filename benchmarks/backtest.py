"""Backtest of a model of TTM-r2's size over 10,000 windows, beside the bare model's forward time.

    python benchmarks/backtest.py --json

``bare`` is the model's own forward pass on the same batches, made before the clock starts: tensors
in, tensors out. ``predict`` is ``Forecaster.predict`` on contexts made before. ``backtest`` cuts
the windows from a panel on disk, forecasts, scores every window by all metrics and keeps the scores
as Parquet, as ``evaluate tasks=…`` does. The three run in turns, on one thread, in CPU seconds (on
another device: in seconds); the least of each counts. Weights are random. Memory is the process's
largest, told after a tenth of the windows and after all.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import torch

    from tsfm.data.panel import Panel
    from tsfm.evaluation.tasks import Task
    from tsfm.models.base import Context
    from tsfm.models.ttm import TinyTimeMixer

GOAL = 1.3
ITEMS, BATCH = 20, 64
START = "2024-01-01"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3, help="the fastest counts")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    options = parser.parse_args()
    import torch

    from tsfm.models.ttm import TinyTimeMixer

    clock = time.process_time if options.device == "cpu" else time.perf_counter
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = TinyTimeMixer().to(options.device)
    with tempfile.TemporaryDirectory() as folder:
        task, panel = question(options.windows, Path(folder))
        kept = Path(folder) / "kept"
        few, _ = question(options.windows // 10, Path(folder))
        scored(model, few, panel, kept / "few")
        early = megabytes()
        scored(model, task, panel, kept / "all")
        late = megabytes()
        contexts = list(task.contexts(panel, BATCH))
        batches = [tensors(model, context) for context in contexts]
        ways: dict[str, Callable[[int], object]] = {
            "bare": lambda _: forward(model, batches),
            "predict": lambda _: predicted(model, task, contexts),
            "backtest": lambda turn: scored(model, task, panel, kept / str(turn)),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(options.repeats):
            for name, run in ways.items():
                began = clock()
                run(turn)
                seconds[name].append(clock() - began)
    best = {name: min(times) for name, times in seconds.items()}
    result = {
        "ours": round(best["backtest"], 2),
        "peer": round(best["bare"], 2),
        "unit": f"seconds for {options.windows} windows, 512 -> 96, on {options.device}",
        "ratio": round(best["backtest"] / best["bare"], 3),
        "goal": GOAL,
        "predict": round(best["predict"], 2),
        "over_predict": round(best["backtest"] / best["predict"], 3),
        "windows_per_second": round(options.windows / best["backtest"]),
        "megabytes_after_a_tenth": early,
        "megabytes_after_all": late,
    }
    print(
        f"backtest {best['backtest']:.2f} s, bare forward {best['bare']:.2f} s "
        f"(x{result['ratio']}, goal {GOAL}), predict {best['predict']:.2f} s; "
        f"{early} MB after a tenth of the windows, {late} MB after all"
    )
    if options.json:
        print(json.dumps(result))


def question(windows: int, folder: Path) -> tuple[Task, Panel]:
    """Hourly series with gaps, an origin at every bar from a context on."""
    from tsfm.data.panel import Panel, PanelInfo, Series
    from tsfm.evaluation.tasks import Task

    path = folder / "panel"
    if not path.exists():
        rng = np.random.default_rng(0)
        length = 512 + 96 - 1 + windows // ITEMS
        series = []
        for item in range(ITEMS):
            values = rng.standard_normal((1, length)).cumsum(axis=1).astype(np.float32)
            values[rng.random(values.shape) < 0.01] = np.nan
            series.append(Series(item_id=f"S{item}", target=values, start=pd.Timestamp(START)))
        Panel.write(
            path, series, PanelInfo(name="walks", variates=("x",), freq="h", seasonality=24)
        )
    panel = Panel.open(path)
    every = Task.on(panel, context=512, horizon=96, max_windows=-(-windows // ITEMS))
    return every, panel


def tensors(model: TinyTimeMixer, context: Context) -> dict[str, torch.Tensor]:
    """A context as the model's forward pass takes it."""
    from tsfm.models.ttm_inputs import context_batch

    past = np.where(context.observed, context.past, np.nan).swapaxes(1, 2)
    batch = context_batch(
        past, None, model.config, frequencies=["h"] * len(past), statics=[{}] * len(past)
    )
    return {name: value.to(model.device) for name, value in batch.items()}


def forward(model: TinyTimeMixer, batches: list[dict[str, torch.Tensor]]) -> None:
    import torch

    model.eval()
    with torch.inference_mode():
        for batch in batches:
            model.outputs(batch).point.cpu()


def predicted(model: TinyTimeMixer, task: Task, contexts: list[Context]) -> None:
    for context in contexts:
        model.predict(context, task.horizon, task.quantile_levels)


def scored(model: TinyTimeMixer, task: Task, panel: Panel, home: Path) -> dict[str, float]:
    """As one cell of a leaderboard: streamed, scored, kept, added up."""
    from tsfm.evaluation.backtest import stream
    from tsfm.evaluation.kept_blocks import KeptBlocks
    from tsfm.evaluation.totals import Totals
    from tsfm.evaluation.window_blocks import block_table

    blocks, totals = KeptBlocks(home), Totals(task)
    for part in stream(model, task, panel, batch_size=BATCH):
        table = block_table(part)
        blocks.add(table, totals.windows)
        totals.add(table)
    return totals.errors()


def megabytes() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
