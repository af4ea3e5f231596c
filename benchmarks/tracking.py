"""What tracking costs a training run: loss and learning rate of every step, into SQLite.

    python benchmarks/tracking.py --json

Ours collects metrics and sends them in batches; the peer is ``mlflow.log_metric`` at each step.
Both log the same values between the same steps of real arithmetic in an empty store of their own;
counted is the wall time spent inside logging calls, the final flush included.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Log = Callable[[int], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000, help="training steps with our logging")
    parser.add_argument("--peer-steps", type=int, default=100, help="and with the peer's")
    parser.add_argument("--step-ms", type=float, default=20, help="arithmetic in one step")
    parser.add_argument("--figures", type=int, default=10)
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    options = parser.parse_args()

    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    work = calibrated_work(options.step_ms / 1e3)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        peer = measure_peer(work, options.peer_steps)
        ours, figure = measure_ours(work, options.steps, options.figures)
        os.chdir("/")
    result = {
        "ours": round(ours["ms"], 4),
        "peer": round(peer["ms"], 3),
        "unit": "ms of logging per step (2 metrics)",
        "ratio": round(peer["ms"] / ours["ms"], 1),
        "overhead_percent": round(ours["percent"], 3),
        "peer_overhead_percent": round(peer["percent"], 1),
        "step_ms": options.step_ms,
        "steps": options.steps,
        "figure_ms": round(figure, 1),
    }
    print(
        f"logging 2 metrics a step: ours {ours['ms']:.3f} ms ({ours['percent']:.2f} % of the run), "
        f"mlflow.log_metric {peer['ms']:.1f} ms ({peer['percent']:.0f} %); "
        f"a figure: {figure:.0f} ms"
    )
    if options.json:
        print(json.dumps(result))


def calibrated_work(seconds: float) -> Callable[[], None]:
    """A matrix product repeated for about ``seconds``."""
    matrix = np.random.default_rng(0).random((256, 256))
    began = time.perf_counter()
    for _ in range(50):
        matrix @ matrix
    repeats = max(1, round(seconds / ((time.perf_counter() - began) / 50)))

    def work() -> None:
        for _ in range(repeats):
            matrix @ matrix

    return work


def train(work: Callable[[], None], log: Log, steps: int) -> tuple[float, float]:
    """Seconds inside ``log`` and in all."""
    inside, began = 0.0, time.perf_counter()
    for step in range(steps):
        work()
        before = time.perf_counter()
        log(step)
        inside += time.perf_counter() - before
    return inside, time.perf_counter() - began


def measure_ours(
    work: Callable[[], None], steps: int, figures: int
) -> tuple[dict[str, float], float]:
    from matplotlib.figure import Figure

    from tsfm.tracking.runs import MlflowRun

    with MlflowRun.start("ours", entry_point="benchmark") as run:
        run.log_metrics({"warm": 0.0}, 0)
        run.flush()
        inside, total = train(
            work, lambda step: run.log_metrics({"loss": 1 / (step + 1), "lr": 1e-3}, step), steps
        )
        before = time.perf_counter()
        run.flush()
        last = time.perf_counter() - before
        drawing = Figure(figsize=(8, 5))
        for axes in drawing.subplots(2, 2).flat:
            axes.plot(np.arange(100))
        run.log_figure(drawing, "chart", 0)
        before = time.perf_counter()
        for step in range(1, figures + 1):
            run.log_figure(drawing, "chart", step)
        figure = (time.perf_counter() - before) / figures
    history = run.client.get_metric_history(run.run_id, "loss")
    assert len(history) == steps, f"{len(history)} of {steps} steps arrived"
    return _cost(inside + last, total + last, steps), figure * 1e3


def measure_peer(work: Callable[[], None], steps: int) -> dict[str, float]:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    mlflow.set_experiment("peer")

    def log(step: int) -> None:
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metric("lr", 1e-3, step=step)

    with mlflow.start_run():
        mlflow.log_metric("warm", 0.0)
        inside, total = train(work, log, steps)
    return _cost(inside, total, steps)


def _cost(inside: float, total: float, steps: int) -> dict[str, float]:
    return {"ms": 1e3 * inside / steps, "percent": 100 * inside / (total - inside)}


if __name__ == "__main__":
    main()
