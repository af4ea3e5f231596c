"""What every trained trial is measured by, whatever was trained."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeps.recipe import Outcome

if TYPE_CHECKING:
    from tsfm.data.panel import Panel
    from tsfm.evaluation.tasks import Task
    from tsfm.models.base import Forecaster
    from tsfm.training.trainer import FitResult

COSTS = (
    "validation_loss", "parameters", "latency_ms", "best_step", "steps", "train_seconds",
    "tokens_per_second", "peak_memory_bytes",
)  # fmt: skip
REPEATS = 5


def outcome_of(result: FitResult, scores: Mapping[str, float], task: Task, panel: Panel) -> Outcome:
    """Scores of the best weights, and what the model costs.

    Parameters
    ----------
    task, panel
        Of a window whose forecast is timed.
    """
    metrics = {
        **scores,
        "parameters": float(result.model.info()["parameters"]),
        "latency_ms": latency(result.model, task, panel),
        "best_step": float(result.best_step),
        "steps": float(result.steps),
        "train_seconds": result.train_seconds,
        "tokens_per_second": result.tokens_per_second,
        "peak_memory_bytes": float(result.peak_memory),
    }
    if result.validation_loss is not None:
        metrics["validation_loss"] = result.validation_loss
    return Outcome(metrics=metrics, model=result.model_directory, steps=result.steps)


def latency(model: Forecaster, task: Task, panel: Panel) -> float:
    """Milliseconds of one window's forecast: the least of some, after one that warms up."""
    context = next(iter(task.contexts(panel, batch_size=1)))
    seconds = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        model.predict(context, task.horizon, task.quantile_levels)
        seconds.append(time.perf_counter() - began)
    return 1000 * min(seconds[1:])
