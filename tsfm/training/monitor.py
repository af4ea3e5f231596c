"""Forecasts of the validation period while a model trains: the picture of it learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from tsfm.data.panel import Panel
from tsfm.evaluation import plots
from tsfm.evaluation.backtest import backtest
from tsfm.evaluation.metrics import score
from tsfm.evaluation.tasks import Task
from tsfm.models.base import Forecaster
from tsfm.training.logger import RunLogger

if TYPE_CHECKING:
    import torch


class ForecastMonitor:
    """After a validation: CRPS per variate and a fan chart of the same windows each time.

    Parameters
    ----------
    tasks
        On the validation period, with their panels.
    items
        Series of each panel that are forecast, one window each.
    """

    def __init__(
        self, tasks: Sequence[tuple[Task, Panel]], logger: RunLogger, *, items: int = 4
    ) -> None:
        self.logger = logger
        self._tasks = []
        for task, panel in tasks:
            able = list(dict.fromkeys(panel.item_ids[item] for item, _ in task.windows(panel)))
            few = replace(task, items=tuple(able[:items]), max_windows=1)
            self._tasks.append((few, panel))

    def __call__(self, model: torch.nn.Module, step: int) -> None:
        forecaster = cast(Forecaster, model)
        metrics = {}
        for task, panel in self._tasks:
            result = backtest(forecaster, task, panel)
            scores = score(result)
            sums = (
                scores[scores["metric"] == "crps"]
                .groupby("variate", observed=True)[["numerator", "denominator"]]
                .sum()
            )
            for variate, row in sums.iterrows():
                key = f"validation_crps.{panel.info.name}.{variate}"
                metrics[key] = row["numerator"] / row["denominator"]
            title = f"{panel.info.name}: validation at step {step}"
            figure = plots.fan_chart_of(result, panel, windows=1, title=title)
            self.logger.log_figure(figure, f"validation/{panel.info.name}", step)
        self.logger.log_metrics(metrics, step)
