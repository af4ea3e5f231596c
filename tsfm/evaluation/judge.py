"""One verdict: a model and the baselines on the same frozen tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from tsfm.data.panel import Panel
from tsfm.errors import ConfigError
from tsfm.evaluation.backtest import Backtest, backtest
from tsfm.evaluation.fitting import prepared
from tsfm.evaluation.leaderboard import compare, leaderboard
from tsfm.evaluation.metrics import concat_scores, score
from tsfm.evaluation.tasks import Task
from tsfm.models import model_class
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
        By task, the model's first; for plots.
    """

    model: str
    scores: pd.DataFrame
    leaderboard: pd.DataFrame
    comparison: pd.DataFrame
    backtests: dict[str, list[Backtest]]


def expect_able(model: Forecaster, tasks: Sequence[tuple[Task, Panel]]) -> None:
    """Check, before a model is trained, that it can answer the tasks.

    Raises
    ------
    ConfigError
        Naming the task, when its windows are more than the model can take.
    """
    for task, panel in tasks:
        try:
            model.expect_able(
                variates=len(task.targets) + len(task.past),
                context=task.context,
                horizon=task.horizon,
                past=len(panel.info.past_covariates),
                known=len(task.known),
            )
        except ConfigError as error:
            raise ConfigError(error.what, where=f"task {task.name}", remedy=error.remedy) from error


def judge(
    model: Forecaster,
    baselines: Sequence[str],
    tasks: Sequence[tuple[Task, Panel]],
    *,
    name: str | None = None,
    metric: str = "crps",
    others: Mapping[str, Forecaster] | None = None,
) -> Verdict:
    """Backtest a model and the named baselines on all tasks and compare it with each of them.

    Parameters
    ----------
    others
        Further forecasters to compare it with, such as the model it was made from.
    """
    backtests: dict[str, list[Backtest]] = {}
    own = name or model.name
    for task, panel in tasks:
        results = [backtest(model, task, panel, name=own)]
        results += [backtest(one, task, panel, name=n) for n, one in (others or {}).items()]
        for baseline in baselines:
            asked = prepared(model_class(baseline)(), task, panel)
            results.append(backtest(asked, task, panel))
        backtests[task.name] = results
    scores = concat_scores([score(result) for results in backtests.values() for result in results])
    return Verdict(
        model=own,
        scores=scores,
        leaderboard=leaderboard(scores),
        comparison=compare(scores, own, metric),
        backtests=backtests,
    )
