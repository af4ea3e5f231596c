"""From cached results to a leaderboard: 8 models on 20 tasks, with the bootstrap, page and exports.

    python benchmarks/leaderboard.py --json

Results as a backtest would leave them (Parquet, one row per model and task) are read, checked,
ranked, and written as CSV, Markdown, HTML and in fev's and GIFT-Eval's formats, in a fresh process:
``ours`` is its whole life, imports included. The peer is fev itself on the same results, from CSV
to its leaderboard and its pairwise comparison, in a fresh process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

OURS = """
import sys, time
from tsfm.evaluation.results import load_results
from tsfm.evaluation.standings import standings
from tsfm.evaluation.standings_export import write_standings
began = time.perf_counter()
results = load_results([sys.argv[1]])
found = standings(results, metric="sql", replicates=1000)
write_standings(found, results, sys.argv[2])
print(time.perf_counter() - began)
"""
PEER = """
import sys, time, warnings
warnings.simplefilter("ignore")
import fev
began = time.perf_counter()
options = dict(missing_strategy="impute", baseline_model="seasonal_naive", n_resamples=1000)
fev.leaderboard(sys.argv[1], **options)
fev.pairwise_comparison(sys.argv[1], **options)
print(time.perf_counter() - began)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3, help="the fastest counts")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        parquet, csv = cached(options.models, options.tasks, Path(folder))
        ours = [timed(OURS, parquet, f"{folder}/out") for _ in range(options.repeats)]
        peer = [timed(PEER, csv) for _ in range(options.repeats)]
    (whole, inside), (peer_whole, peer_inside) = min(ours), min(peer)
    result = {
        "ours": round(whole, 2),
        "peer": round(peer_whole, 2),
        "unit": f"s for {options.models} models x {options.tasks} tasks, imports included",
        "ratio": round(peer_whole / whole, 2),
        "without_imports": round(inside, 2),
        "peer_without_imports": round(peer_inside, 2),
        "goal": 5.0,
    }
    print(
        f"leaderboard of {options.models} models x {options.tasks} tasks with bootstrap and "
        f"exports: {whole:.2f} s in a fresh process ({inside:.2f} s without imports); "
        f"fev's two tables alone {peer_whole:.2f} s ({peer_inside:.2f} s)"
    )
    if options.json:
        print(json.dumps(result))


def cached(models: int, tasks: int, folder: Path) -> tuple[str, str]:
    """A file of results, and the same as fev's summaries."""
    from tsfm.evaluation.results import Result, results_frame, save_results
    from tsfm.evaluation.standings import fev_summaries

    rng = np.random.default_rng(0)
    names = ["seasonal_naive", *(f"model {k}" for k in range(1, models))]
    rows = [
        Result(
            model=name,
            task=f"task {task}",
            task_digest=str(task),
            horizon=24,
            seasonality=24,
            variates=1,
            windows=20,
            errors={"sql": float(np.exp(rng.normal(-0.05 * k, 0.3)))},
            inference_seconds=1.0,
            trained_on=False,
        )
        for task in range(tasks)
        for k, name in enumerate(names)
    ]
    frame = results_frame(rows)
    csv = folder / "fev.csv"
    fev_summaries(frame, "sql").to_csv(csv, index=False)
    return str(save_results(frame, folder / "results.parquet")), str(csv)


def timed(program: str, *arguments: str) -> tuple[float, float]:
    """Seconds of a fresh process, and those that it counted itself."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True
    )
    return time.perf_counter() - began, float(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
