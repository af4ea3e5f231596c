"""What training costs elsewhere: a model before and after it, on ordinary series.

Both are asked the same windows, beside the seasonal naive forecast; a change is the ratio of errors
after and before, paired by window, with an interval over blocks of time or over series.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tsfm.data.panel import Panel
from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.analysis_config import ForgettingConfig
from tsfm.evaluation.analysis_plots import retention_chart
from tsfm.evaluation.backtest import backtest
from tsfm.evaluation.findings import Findings, clustered_mean, metrics_of
from tsfm.evaluation.leaderboard import compare, leaderboard
from tsfm.evaluation.metrics import concat_scores, score
from tsfm.evaluation.tasks import Task
from tsfm.models import model_class
from tsfm.models.base import Forecaster

METRICS = ("mase", "crps", "smape")
BEFORE, AFTER, NAIVE = "before", "after", "seasonal_naive"
_LEAST_BARS = 8


def analyse_retention(
    model: Forecaster,
    base: Forecaster,
    panels: Sequence[Panel],
    config: ForgettingConfig,
    *,
    seed: int = 0,
) -> Findings:
    """How a model forecasts ordinary series after training, and its base before.

    Raises
    ------
    DataError
        When no series is long enough to be asked.
    """
    tasks = [asked for panel in panels if (asked := ask(panel, config)) is not None]
    if not tasks:
        raise DataError(
            f"no series is long enough for a context and {config.horizon} bars",
            remedy="give overrides=forgetting.horizon=8, or longer series",
        )
    forecasters = {BEFORE: base, AFTER: model, NAIVE: model_class(NAIVE)()}
    scores = concat_scores(
        [
            score(backtest(forecaster, task, panel, name=name))
            for task, panel in tasks
            for name, forecaster in forecasters.items()
        ]
    )
    frames = [compare(scores, AFTER, metric, seed=seed) for metric in METRICS]
    against = pd.concat(frames, ignore_index=True)
    changes = as_changes(against[against["baseline"] == BEFORE])
    overall = pd.DataFrame([_overall(changes, metric) for metric in METRICS])
    metrics = metrics_of(overall, "change", "metric", prefix="change")
    metrics |= metrics_of(changes, "change", "metric", "series", prefix="change")
    return Findings(
        conclusion=_told(changes, overall),
        tables={
            "forgetting_overall": overall,
            "forgetting": changes,
            "forgetting_leaderboard": leaderboard(scores, seed=seed),
        },
        metrics=metrics,
        figures={"forgetting": retention_chart(changes, overall, title="After training / before")},
    )


def is_able(model: Forecaster, config: ForgettingConfig) -> bool:
    """Whether a model can be asked: some take covariates, or several variates, only."""
    try:
        model.expect_able(
            variates=1, context=config.context, horizon=config.horizon, past=0, known=0
        )
    except ConfigError:
        return False
    return True


def ask(panel: Panel, config: ForgettingConfig) -> tuple[Task, Panel] | None:
    """A question on the later half of every series that is long enough; None where none is."""
    room = (panel.lengths - config.horizon) // 2
    able = [item for item, bars in zip(panel.item_ids, room, strict=True) if bars >= _LEAST_BARS]
    if not able:
        return None
    view = panel.select(able)
    shortest = int(((view.lengths - config.horizon) // 2).min())
    context = min(config.context, shortest)
    task = Task.on(
        view,
        name=panel.info.name,
        context=context,
        baseline_context=max(context, min(2 * panel.info.seasonality, shortest)),
        horizon=config.horizon,
        stride=config.horizon,
        max_windows=config.windows,
        mode="zero_shot",
        metrics=METRICS,
    )
    return task, view


def as_changes(comparison: pd.DataFrame) -> pd.DataFrame:
    """Skills as changes of error: 0.1 is an error 10 % larger after training.

    Returns
    -------
    pd.DataFrame
        ``series, metric, before, after, change, low, high, verdict, windows, clusters``; a verdict
        is ``better``, ``worse``, ``unchanged`` or ``undecided``.
    """
    words = {"win": "better", "loss": "worse", "tie": "unchanged", "undecided": "undecided"}
    rows = comparison.reset_index(drop=True)
    several = rows.groupby("task")["variate"].transform("nunique") > 1
    return pd.DataFrame(
        {
            "series": rows["task"].where(~several, rows["task"] + "/" + rows["variate"]),
            "metric": rows["metric"],
            "before": rows["baseline_value"],
            "after": rows["value"],
            "change": -rows["skill"],
            "low": -rows["high"],
            "high": -rows["low"],
            "verdict": rows["verdict"].map(words),
            "windows": rows["windows"],
            "clusters": rows["clusters"],
        }
    )


def _overall(changes: pd.DataFrame, metric: str) -> dict[str, object]:
    """Geometric mean of the ratios, and its interval over the kinds of series."""
    part = changes[changes["metric"] == metric]
    logs = np.log1p(np.maximum(part["change"].to_numpy(), -1 + 1e-9))
    value, low, high = (
        float(np.expm1(bound)) for bound in clustered_mean(logs, part["series"].to_numpy())
    )
    verdict = (
        "undecided" if np.isnan(low)
        else "worse" if low > 0
        else "better" if high < 0
        else "unchanged"
    )  # fmt: skip
    return {
        "metric": metric, "change": value, "low": low, "high": high, "verdict": verdict,
        "series": len(part),
    }  # fmt: skip


def _told(changes: pd.DataFrame, overall: pd.DataFrame) -> str:
    row = overall.iloc[0]
    part = changes[changes["metric"] == row["metric"]]
    verdict = {
        "worse": "has become worse",
        "better": "has become better",
        "unchanged": "has not changed beyond what intervals allow",
        "undecided": "cannot be judged (too few series)",
    }[row["verdict"]]
    bounds = "" if np.isnan(row["low"]) else f", {row['low']:+.0%} … {row['high']:+.0%} at 95 %"
    listed = "; ".join(
        f"{one['series']} {one['change']:+.0%} ({one['verdict']})"
        for one in part.to_dict("records")
    )
    return (
        f"On {len(part)} kinds of ordinary series the model {verdict} by its training: "
        f"{row['metric'].upper()} {row['change']:+.0%} in the geometric mean{bounds}. {listed}."
    )
