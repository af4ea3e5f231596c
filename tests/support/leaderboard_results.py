"""Results of models on tasks without any forecast made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tsfm.evaluation.results import Result, results_frame

MODELS = ("seasonal_naive", "steady", "brilliant", "poor", "leaky", "secretive")


def result(model: str, task: str, error: float, **fields: Any) -> Result:
    """One cell; ``digest-<task>`` is the task's digest unless given."""
    asked = {"task_digest": f"digest-{task}", "horizon": 6, "seasonality": 4, "variates": 1}
    described = {"windows": 20, "suite": "made up", "freq": "h", "inference_seconds": 2.0}
    errors = {"sql": error, "mase": 1.1 * error}
    return Result(**{"model": model, "task": task, "errors": errors} | asked | described | fields)


def made_up_results(tasks: int = 20, seed: int = 0) -> pd.DataFrame:
    """Six models: one better, one worse, one that saw half the tests, one of unknown training."""
    rng = np.random.default_rng(seed)
    levels = {"brilliant": 0.6, "poor": 1.5, "leaky": 0.9, "secretive": 0.95}
    rows = []
    for number in range(tasks):
        scale = float(np.exp(rng.normal(0, 3)))
        for model in MODELS:
            noise = 1.0 if model == "seasonal_naive" else float(np.exp(rng.normal(0, 0.2)))
            seen = None if model == "secretive" else model == "leaky" and number % 2 == 0
            rows.append(
                result(
                    model,
                    f"task{number}",
                    scale * levels.get(model, 1.0) * noise,
                    trained_on=seen,
                    parameters=805_280 if model == "brilliant" else 0,
                )
            )
    return results_frame(rows)
