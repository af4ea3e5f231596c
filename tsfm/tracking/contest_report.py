"""What an experiment of several arms leaves in its runs, and what it prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsfm.evaluation import chaos_plots, plots
from tsfm.evaluation.arms import LABELS, Contest
from tsfm.evaluation.chaos import VALID_TIME, medians
from tsfm.evaluation.chaos_config import ChaosConfig
from tsfm.evaluation.error_growth import error_by_step, error_growth
from tsfm.evaluation.leaderboard import skill_text, to_markdown
from tsfm.evaluation.scaling import Scaling, scaling_table
from tsfm.tracking.console import print_run, print_table, stdout

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tsfm.data.panel import Panel
    from tsfm.evaluation.tasks import Task
    from tsfm.models.base import Forecaster
    from tsfm.tracking.runs import MlflowRun

Tasks = Sequence[tuple["Task", "Panel"]]
PORTRAITS = 3
MAPPED_WINDOWS = 8


def record_contest(
    record: MlflowRun,
    contest: Contest,
    tasks: Tasks,
    *,
    config: ChaosConfig,
    metric: str,
    steps: int,
    match: pd.DataFrame,
    conclusion: str,
    scales: pd.DataFrame | None = None,
) -> None:
    """Tables, figures, metrics and the conclusion, in the run of all arms.

    Parameters
    ----------
    metric, steps
        Of the headline.
    match
        How alike the arms were in size and cost, one row each.
    scales
        How the arms differed at several scales.
    """
    record.log_table(match, "arms")
    record.log_table(contest.leaderboard, "leaderboard")
    record.log_table(medians(contest.scores), "medians")
    record.log_table(contest.comparison, "comparison")
    if len(contest.differences):
        record.log_table(contest.differences, "differences")
    record.log_text(conclusion + "\n", "tables/conclusion.txt")
    text = as_markdown(contest, match, scales, metric=metric, conclusion=conclusion)
    record.log_text(text, "tables/results.md")
    record.set_tags({"mlflow.note.content": text, "conclusion": conclusion})
    record.log_metrics(headline_metrics(contest), step=0)
    for task, panel in tasks:
        figures = figures_of(contest, task, panel, config, metric)
        for name, figure in figures.items():
            record.log_figure(figure, f"{name}/{task.name}")
    at_steps = contest.comparison[contest.comparison["steps"] == steps]
    for arm in contest.arms:
        chosen = at_steps[at_steps["model"] == arm]
        if len(chosen):
            record.log_figure(plots.skill_chart(chosen), f"skill/{arm}")


def figures_of(
    contest: Contest, task: Task, panel: Panel, config: ChaosConfig, metric: str
) -> dict[str, Figure]:
    """Portraits of the last arm, error growth and errors by horizon of all, on one group."""
    backtests = contest.backtests[task.name]
    front = contest.arms[::-1]
    ordered = sorted(
        backtests, key=lambda b: front.index(b.model) if b.model in front else len(front)
    )
    wide = np.flatnonzero(ordered[0].scored.any(axis=1).sum(axis=1) >= 2)
    shown = wide[np.linspace(0, len(wide) - 1, min(PORTRAITS, len(wide))).round().astype(int)]
    marks = [steps for steps in config.horizons if steps <= task.horizon]
    figures = {
        "error_growth": chaos_plots.growth_chart(
            [error_growth(result, panel, config) for result in ordered],
            threshold=config.valid_threshold,
            title=task.name.replace("_", " "),
        ),
        f"{metric}_by_horizon": chaos_plots.horizon_chart(
            [error_by_step(result, panel, config, metric=metric) for result in ordered],
            metric=metric,
            marks=marks,
            title=task.name.replace("_", " "),
        ),
    }
    if len(shown):
        windows = [[int(window)] for window in dict.fromkeys(shown.tolist())]
        for place, window in enumerate(windows, start=1):
            figures[f"phase_portraits_{place}"] = chaos_plots.phase_portraits_of(
                ordered[0], windows=window
            )
    return figures


def record_channel_map(
    record: MlflowRun, model: Forecaster, tasks: Tasks, *, title: str = ""
) -> None:
    """Where a model with channel mixing looks, on windows of the first coupled pair there is."""
    from tsfm.data.dynamics.families import members_of
    from tsfm.data.dynamics.systems import load_system
    from tsfm.models.base import Context

    if not hasattr(model, "channel_maps"):
        return
    for task, panel in reversed(tasks):
        crops = [past for past, _ in task.crops(panel) if past.static.get("role") == "skew"]
        if not crops:
            continue
        pair = crops[0].static["system"]
        same = [past for past in crops if past.static["system"] == pair][:MAPPED_WINDOWS]
        context = Context.from_windows(same, horizon=1)
        width = int(np.isfinite(context.past).any(axis=(0, 1)).sum())
        context = Context(past=context.past[:, :, :width])
        maps = model.channel_maps(context)
        if not len(maps):
            return
        driver, response = members_of(crops[0].static)
        drivers = load_system(driver).dimension
        figure = chaos_plots.channel_attention_map(
            maps.mean(axis=(1, 2, 3)),
            [f"x{k}" for k in range(width)],
            groups=[(driver, drivers), (response, width - drivers)] if drivers < width else (),
            title=title or f"{model.name} on {pair}",
        )
        record.log_figure(figure, "channel_attention")
        return


def record_scalings(
    record: MlflowRun,
    scalings: Mapping[str, Sequence[Scaling]],
    contests: Mapping[str, Contest],
) -> None:
    """Tables and figures of several scales, and the laws that were fitted."""
    record.log_table(scaling_table(scalings), "scaling")
    differences = [contest.differences.assign(scale=name) for name, contest in contests.items()]
    record.log_table(pd.concat(differences, ignore_index=True), "differences_by_scale")
    for group, fits in scalings.items():
        record.log_figure(chaos_plots.scaling_chart(fits, title=group), f"scaling/{group}")
        values = {
            f"{name}.{group}.{fit.other}": getattr(fit, name)
            for fit in fits
            for name in ("exponent", "exponent_low", "exponent_high", "crossover")
        }
        finite = {key: value for key, value in values.items() if np.isfinite(value)}
        record.log_metrics(finite, step=0)


def headline_metrics(contest: Contest) -> dict[str, float]:
    """``<metric>.<arm>.<group>.<steps>`` and, of two arms, ``gain.<metric>.<group>.<steps>``."""
    own = contest.leaderboard[contest.leaderboard["model"].isin(contest.arms)]
    values = {
        f"{row['metric']}.{row['model']}.{place(row)}": row["value"]
        for row in own.to_dict("records")
    }
    for row in contest.differences.to_dict("records"):
        for name, key in (("gain", "skill"), ("gain_low", "low"), ("gain_high", "high")):
            values[f"{name}.{row['metric']}.{place(row)}"] = row[key]
    return {key: float(value) for key, value in values.items() if np.isfinite(value)}


def arm_metrics(contest: Contest, arm: str, group: str) -> dict[str, float]:
    """Of one arm on one group: ``<metric>.<group>.<steps>``."""
    table = contest.leaderboard
    own = table[(table["model"] == arm) & (table["group"] == group)]
    return {f"{row['metric']}.{place(row)}": row["value"] for row in own.to_dict("records")}


def place(row: Mapping[Any, Any]) -> str:
    """The group and, where there are, the steps."""
    return f"{row['group']}.{row['steps']}" if row["steps"] else str(row["group"])


def as_markdown(
    contest: Contest,
    match: pd.DataFrame,
    scales: pd.DataFrame | None = None,
    *,
    metric: str,
    conclusion: str,
) -> str:
    """Everything that is worth reading, in one page."""
    parts = [conclusion]
    for title, table in tables(contest, match, scales, metric=metric).items():
        parts.append(f"### {title}\n\n{to_markdown(table)}")
    return "\n\n".join(parts) + "\n"


def tables(
    contest: Contest, match: pd.DataFrame, scales: pd.DataFrame | None, *, metric: str
) -> dict[str, pd.DataFrame]:
    """By title: how the arms differ, every forecaster's errors and valid times, what arms cost."""
    found = {} if scales is None else {"Arms by systems x trajectories x steps": scales}
    if len(contest.differences):
        found[f"{contest.arms[-1]} against {contest.arms[0]} (95 % intervals over systems)"] = (
            difference_table(contest, (metric, VALID_TIME))
        )
    found[f"{LABELS[metric]} by steps"] = wide_table(contest, metric)
    found["Valid prediction time in Lyapunov times"] = wide_table(contest, VALID_TIME)
    found["Arms"] = match
    return found


def difference_table(contest: Contest, metrics: Sequence[str]) -> pd.DataFrame:
    """Both arms' values, the gain of the last with its interval, and the verdict."""
    rows = contest.differences[contest.differences["metric"].isin(metrics)]
    return pd.DataFrame(
        {
            "group": rows["group"],
            "metric": rows["metric"].map(LABELS),
            "steps": [str(steps) if steps else "" for steps in rows["steps"]],
            contest.arms[0]: rows["baseline_value"].map("{:.4g}".format),
            contest.arms[-1]: rows["value"].map("{:.4g}".format),
            "gain (95 %)": [
                skill_text(*row) for row in rows[["skill", "low", "high"]].to_numpy(float)
            ],
            "verdict": rows["verdict"],
            "windows": rows["windows"].astype(str),
            "systems": rows["clusters"].map("{:.0f}".format),
        }
    ).reset_index(drop=True)


def scale_table(contests: Mapping[str, Contest], metric: str, steps: int) -> pd.DataFrame:
    """:func:`difference_table` of every scale in one metric over so many steps, by group."""
    rows = []
    for name, contest in contests.items():
        table = difference_table(contest, (metric,))
        rows.append(table[table["steps"] == str(steps)].assign(scale=name))
    joined = pd.concat(rows).sort_values("group", kind="stable").reset_index(drop=True)
    return joined[["group", "scale", *(c for c in joined if c not in ("group", "scale"))]]


def wide_table(contest: Contest, metric: str) -> pd.DataFrame:
    """A row per group and number of steps, a column per forecaster, arms first."""
    part = contest.leaderboard[contest.leaderboard["metric"] == metric].copy()
    most = part.groupby(["group", "steps"])["windows"].transform("max")
    part["cell"] = [
        f"{value:.4g}" + ("" if full else "*")
        for value, full in zip(part["value"], part["windows"] == most)
    ]
    names = list(dict.fromkeys(part["model"]))
    names = [*contest.arms, *(name for name in names if name not in contest.arms)]
    keys = list(dict.fromkeys(zip(part["group"], part["steps"])))
    cells = part.set_index(["group", "steps", "model"])["cell"]
    return pd.DataFrame(
        [
            {"group": group, "steps": str(steps) if steps else ""}
            | {name: cells.get((group, steps, name), "–") for name in names}
            for group, steps in keys
        ]
    )


def show_contest(
    record: MlflowRun,
    contest: Contest,
    match: pd.DataFrame,
    *,
    registered: Sequence[str],
    metric: str,
    conclusion: str,
    scales: pd.DataFrame | None = None,
) -> None:
    """Print what was found, where the runs are and what was registered."""
    console = stdout(180)
    for title, rows in tables(contest, match, scales, metric=metric).items():
        print_table(console, title, rows)
    console.print("* on some of the windows only", highlight=False)
    console.print(f"\n{conclusion}\n", highlight=False)
    print_run(console, record)
    console.print(f"models      {', '.join(registered)}", highlight=False, soft_wrap=True)
    console.print("plots       in the run's artifacts: plots/", highlight=False)
