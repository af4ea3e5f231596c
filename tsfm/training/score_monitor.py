"""One number that tells how good a model is while it trains, comparable between models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from tsfm.data.panel import Panel
from tsfm.evaluation.backtest import backtest
from tsfm.evaluation.metrics import score
from tsfm.evaluation.tasks import Task
from tsfm.models.base import Forecaster
from tsfm.training.logger import RunLogger

if TYPE_CHECKING:
    import torch

LEAST = 1e-12


class ScoreMonitor:
    """After a validation: the geometric mean over panels and variates of the mean CRPS.

    Models of different patch sizes, masks or losses can be compared by it, which they cannot by
    their validation losses; and no variate outweighs another by its unit.

    Parameters
    ----------
    tasks
        On the validation period, with their panels.
    items, windows
        Series of each panel that are forecast, spread over it, and windows of each.
    metric
        One of :data:`tsfm.evaluation.metric_names.METRIC_NAMES`, above zero; logged as
        ``validation_<metric>``.
    """

    def __init__(
        self,
        tasks: Sequence[tuple[Task, Panel]],
        logger: RunLogger,
        *,
        items: int = 16,
        windows: int = 4,
        metric: str = "crps",
    ) -> None:
        self.logger, self.metric = logger, metric
        self._tasks = []
        for task, panel in tasks:
            able = list(dict.fromkeys(panel.item_ids[item] for item, _ in task.windows(panel)))
            chosen = able[:: -(-len(able) // items)]
            few = replace(task, items=tuple(chosen), max_windows=windows, metrics=(metric,))
            self._tasks.append((few, panel))

    def measure(self, model: Forecaster) -> float:
        """The number, of a model in evaluation mode."""
        logs: list[float] = []
        for task, panel in self._tasks:
            scores = score(backtest(model, task, panel))
            own = scores[scores["metric"] == self.metric]
            sums = own.groupby("variate", observed=True)[["numerator", "denominator"]].sum()
            logs += np.log(np.maximum(sums["numerator"] / sums["denominator"], LEAST)).tolist()
        return float(np.exp(np.mean(logs)))

    def __call__(self, model: torch.nn.Module, step: int) -> None:
        value = self.measure(cast(Forecaster, model))
        self.logger.log_metrics({f"validation_{self.metric}": value}, step)
