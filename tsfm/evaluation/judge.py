"""One verdict: a model and the baselines on the same frozen tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from tsfm.data.panel import Panel
from tsfm.evaluation.backtest import Backtest, backtest
from tsfm.evaluation.leaderboard import compare, leaderboard
from tsfm.evaluation.metrics import score
from tsfm.evaluation.tasks import Task
from tsfm.models.base import Forecaster


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a model did beside the baselines.

    Attributes
    ----------
    scores
        One row per model, task, window, variate and metric.
    leaderboard
        Aggregates with clustered intervals.
    comparison
        Skill against each baseline, per task and variate: won, lost or tied.
    backtests
        The model's forecasts by task, for plots.
    """

    model: str
    scores: pd.DataFrame
    leaderboard: pd.DataFrame
    comparison: pd.DataFrame
    backtests: dict[str, Backtest]


def judge(
    model: Forecaster,
    baselines: Sequence[Forecaster],
    tasks: Sequence[tuple[Task, Panel]],
    *,
    name: str | None = None,
    metric: str = "crps",
) -> Verdict:
    """Backtest all forecasters on all tasks and compare the model with each baseline."""
    scores, backtests = [], {}
    for task, panel in tasks:
        for forecaster in (model, *baselines):
            result = backtest(forecaster, task, panel)
            if forecaster is model:
                backtests[task.name] = result
            scores.append(score(result))
    frame = pd.concat(scores, ignore_index=True)
    return Verdict(
        model=name or model.name,
        scores=frame,
        leaderboard=leaderboard(frame),
        comparison=compare(frame, name or model.name, metric),
        backtests=backtests,
    )
