"""How forecasts of chaotic systems get better while a model trains: numbers and portraits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from tsfm.data.panel import Panel
from tsfm.evaluation import chaos_plots
from tsfm.evaluation.backtest import backtest
from tsfm.evaluation.chaos import VALID_TIME, score_chaos
from tsfm.evaluation.chaos_config import ChaosConfig
from tsfm.evaluation.tasks import Task
from tsfm.models.base import Forecaster
from tsfm.training.logger import RunLogger

if TYPE_CHECKING:
    import torch


class ChaosMonitor:
    """After a validation: errors and valid time, and phase portraits of the same windows each time.

    Parameters
    ----------
    task, panel
        Of the validation trajectories.
    items
        Trajectories that are forecast, one window each.
    shown
        Those of them that are drawn.
    """

    def __init__(
        self,
        task: Task,
        panel: Panel,
        logger: RunLogger,
        config: ChaosConfig,
        *,
        items: int = 32,
        shown: int = 2,
    ) -> None:
        self.logger, self.config, self.panel, self.shown = logger, config, panel, shown
        able = list(dict.fromkeys(panel.item_ids[item] for item, _ in task.windows(panel)))
        chosen = able[:: -(-len(able) // items)]
        self.task = replace(task, items=tuple(chosen), max_windows=1)

    def __call__(self, model: torch.nn.Module, step: int) -> None:
        result = backtest(cast(Forecaster, model), self.task, self.panel)
        scores = score_chaos(result, self.panel, self.config)
        longest = max(h for h in self.config.horizons if h <= self.task.horizon)
        metrics = {
            f"validation_{metric}": float(cell["value"].mean())
            for (task, metric), cell in scores.groupby(["task", "metric"])
            if metric == VALID_TIME or str(task).endswith(f"@{longest}")
        }
        self.logger.log_metrics(metrics, step)
        figure = chaos_plots.phase_portraits_of(
            result, windows=self.shown, title=f"validation at step {step}"
        )
        self.logger.log_figure(figure, "validation/phase_portraits", step)
