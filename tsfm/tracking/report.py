"""What an experiment leaves in its run at the end, and what it prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from tsfm.data.panel import Panel
from tsfm.evaluation import plots
from tsfm.evaluation.holdout import HoldOut
from tsfm.evaluation.judge import Verdict
from tsfm.evaluation.leaderboard import pivot, skill_text, to_markdown, verdicts
from tsfm.evaluation.tasks import Task
from tsfm.tracking.console import print_run, print_table, stdout
from tsfm.tracking.experiment import output_directory
from tsfm.training.trainer import FitResult

if TYPE_CHECKING:
    from tsfm.tracking.experiment import SilentRun
    from tsfm.tracking.runs import MlflowRun

WINDOWS_SHOWN = 3


def record_panels(record: MlflowRun | SilentRun, held_out: Sequence[HoldOut]) -> None:
    """Training, validation and test panels as dataset inputs of the run."""
    for division in held_out:
        record.log_panel(division.train, "train")
        record.log_panel(division.validation, "validation")
        for _, panel in division.tasks:
            record.log_panel(panel, "test")


def record_fit(record: MlflowRun, result: FitResult) -> None:
    """Size, speed and memory of a training run."""
    info = result.model.info()
    record.log_metrics(
        {
            "parameters": float(info["parameters"]),
            "best_step": float(result.best_step),
            "train_seconds": result.train_seconds,
            "train_tokens_per_second": result.tokens_per_second,
            "peak_memory_bytes": float(result.peak_memory),
        },
        step=result.steps,
    )


def record_verdict(
    record: MlflowRun, verdict: Verdict, tasks: Sequence[tuple[Task, Panel]], *, metric: str
) -> None:
    """Tables of the model beside the baselines, and plots of every task."""
    record.log_table(verdict.leaderboard, "leaderboard")
    record.log_table(verdict.comparison, "comparison")
    record.log_text(
        f"# {metric} by forecaster\n\n{to_markdown(pivot(verdict.leaderboard, metric))}\n\n"
        f"# Skill of {verdict.model} over each baseline (95 % clustered interval)\n\n"
        f"{to_markdown(verdicts(verdict.comparison))}\n",
        "tables/results.md",
    )
    record.set_tags({"mlflow.note.content": to_markdown(summary(verdict))})
    for task, panel in tasks:
        backtests = verdict.backtests[task.name]
        fan = plots.fan_chart_of(backtests[0], panel, windows=WINDOWS_SHOWN)
        record.log_figure(fan, f"forecasts/{task.name}")
        record.log_figure(plots.calibration(backtests[0]), f"calibration/{task.name}")
        record.log_figure(plots.error_by_horizon(backtests), f"error_by_horizon/{task.name}")
    record.log_figure(plots.skill_chart(verdict.comparison), "skill")


def final_metrics(verdict: Verdict, task: str) -> dict[str, float]:
    """Metrics and skill over the best baseline, keyed ``<metric>.<task>.<variate>``."""
    table, comparison = verdict.leaderboard, verdict.comparison
    own = table[(table["model"] == verdict.model) & (table["task"] == task)]
    best = comparison[comparison["is_best_baseline"] & (comparison["task"] == task)]
    rows = [
        *zip(own["metric"], own["task"], own["variate"], own["value"], strict=True),
        *zip(["skill"] * len(best), best["task"], best["variate"], best["skill"], strict=True),
    ]
    return {f"{metric}.{task}.{variate}": value for metric, task, variate, value in rows}


def summary(verdict: Verdict) -> pd.DataFrame:
    """The model beside the best baseline of each task and variate, as text."""
    best = verdict.comparison[verdict.comparison["is_best_baseline"]]
    return pd.DataFrame(
        {
            "task": best["task"],
            "target": best["variate"],
            verdict.model: best["value"].map("{:.4g}".format),
            "best baseline": best["baseline"],
            "its value": best["baseline_value"].map("{:.4g}".format),
            "skill (95 %)": [
                skill_text(*row) for row in best[["skill", "low", "high"]].to_numpy(float)
            ],
            "verdict": best["verdict"],
        }
    ).reset_index(drop=True)


def show_summary(record: MlflowRun, verdict: Verdict, *, registered: str, metric: str) -> None:
    """Print where the run is, how it did and what was registered."""
    console = stdout()
    title = f"{metric}: {verdict.model} beside the best baseline"
    print_table(console, title, summary(verdict), no_wrap=True)
    print_run(console, record)
    console.print(f"model       {registered}", highlight=False)
    console.print("plots       in the run's artifacts: plots/ and images/", highlight=False)
    console.print(f"checkpoints {output_directory(record)}", highlight=False)
