"""What judging of glucose leaves in a run, and what it prints.

After ``judge``, an experiment calls::

    nights = night_tasks(tasks, clinical)        # add to the tasks that are judged
    report = record_glucose(record, verdict.backtests, tasks, clinical)
    show_glucose(report)

Tasks are reported apart under their own names (``<panel>/later days`` of patients trained on,
``<panel>/unseen patients``, each also ``…/night``). The first backtest of a task is the model's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsfm.evaluation import clinical_plots
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.clinical import (
    AGGREGATIONS,
    MEDIAN,
    POOLED,
    clinical_gains,
    clinical_table,
    concat_clinical,
    error_by_minute,
    patient_table,
    score_clinical,
)
from tsfm.evaluation.clinical_config import ClinicalConfig
from tsfm.evaluation.error_grids import GRIDS, wide_zones, zone_table
from tsfm.evaluation.hypoglycaemia import Events, event_table, hypoglycaemia
from tsfm.evaluation.leaderboard import skill_text, to_markdown
from tsfm.evaluation.nocturnal import night_task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tsfm.data.panel import Panel
    from tsfm.evaluation.tasks import Task
    from tsfm.tracking.runs import MlflowRun

Tasks = Sequence[tuple["Task", "Panel"]]
HOUR = 60
"""Minutes that the short error chart reaches."""

SCATTERED = (30, 60)
"""Minutes ahead of the error grids."""

_PRINTED = ("RMSE (mg/dL), pooled", "RMSE of ", "Hypoglycaemia")


@dataclass(frozen=True, kw_only=True)
class GlucoseReport:
    """Everything that was measured.

    Attributes
    ----------
    errors
        From :func:`tsfm.evaluation.clinical.clinical_table`.
    patients
        From :func:`tsfm.evaluation.clinical.patient_table`.
    gains
        From :func:`tsfm.evaluation.clinical.clinical_gains`; empty without another forecaster.
    zones
        From :func:`tsfm.evaluation.error_grids.zone_table`.
    events
        From :func:`tsfm.evaluation.hypoglycaemia.event_table`.
    """

    model: str
    errors: pd.DataFrame
    patients: pd.DataFrame
    gains: pd.DataFrame
    zones: pd.DataFrame
    events: pd.DataFrame


def night_tasks(tasks: Tasks, config: ClinicalConfig | None = None) -> list[tuple[Task, Panel]]:
    """Nights of every task that has any, to be judged beside them."""
    nights = [(night_task(task, panel, config), panel) for task, panel in tasks]
    return [(night, panel) for night, panel in nights if night.windows(panel)]


def measure_glucose(
    backtests: Mapping[str, Sequence[Backtest]],
    tasks: Tasks,
    config: ClinicalConfig | None = None,
) -> tuple[GlucoseReport, dict[str, list[Events]]]:
    """All tables, and the events below ``low`` by task.

    Parameters
    ----------
    backtests
        By task name, the model's first.
    tasks
        Those that are reported, with their panels.

    Raises
    ------
    ConfigError
        As :func:`tsfm.evaluation.clinical.score_clinical`.
    """
    config = config or ClinicalConfig()
    results = [result for task, _ in tasks for result in backtests[task.name]]
    scores = concat_clinical([score_clinical(result, config) for result in results])
    model = results[0].model
    events = {
        limit: {
            task.name: [
                hypoglycaemia(result, panel, config, limit=limit) for result in backtests[task.name]
            ]
            for task, panel in tasks
        }
        for limit in (config.low, config.very_low)
    }
    alone = len({result.model for result in results}) == 1
    report = GlucoseReport(
        model=model,
        errors=clinical_table(scores, config),
        patients=patient_table(scores),
        gains=pd.DataFrame() if alone else clinical_gains(scores, model, config),
        zones=pd.concat([zone_table(result, config) for result in results], ignore_index=True),
        events=event_table(
            [one for by_task in events.values() for told in by_task.values() for one in told],
            config,
        ),
    )
    return report, events[config.low]


def record_glucose(
    record: MlflowRun,
    backtests: Mapping[str, Sequence[Backtest]],
    tasks: Tasks,
    config: ClinicalConfig | None = None,
) -> GlucoseReport:
    """Tables, figures and metrics ``glucose.<metric>.<task>.<minutes>min`` in the run.

    Parameters
    ----------
    backtests, tasks
        As for :func:`measure_glucose`.
    """
    config = config or ClinicalConfig()
    report, events = measure_glucose(backtests, tasks, config)
    for name, table in {
        "errors": report.errors,
        "patients": report.patients,
        "gains": report.gains,
        "zones": report.zones,
        "hypoglycaemia": report.events,
    }.items():
        if len(table):
            record.log_table(table, f"glucose/{name}")
    record.log_text(as_markdown(report, config), "tables/glucose.md")
    record.log_metrics(glucose_metrics(report), step=0)
    for task, panel in tasks:
        results = backtests[task.name]
        for name, figure in figures_of(results, panel, events[task.name], config).items():
            record.log_figure(figure, f"glucose/{name}/{task.name}")
    return report


def figures_of(
    results: Sequence[Backtest], panel: Panel, events: Sequence[Events], config: ClinicalConfig
) -> dict[str, Figure]:
    """Fans and error grids of the model, errors and foreseen events of all, on one task."""
    model, name = results[0], results[0].task.name
    figures = {"fans": clinical_plots.glucose_fans(model, panel, config)}
    for metric in ("rmse", "crps"):
        tables = [error_by_minute(result, config, metric=metric) for result in results]
        figures[f"{metric}_by_minute"] = clinical_plots.error_chart(
            tables, config, metric=metric, title=name
        )
        near = [table[table["minutes"] <= HOUR] for table in tables]
        if len(near[0]) and len(near[0]) < len(tables[0]):
            figures[f"{metric}_within_the_hour"] = clinical_plots.error_chart(
                near, config, metric=metric, title=name
            )
    times = [minutes for minutes in config.minutes if minutes in SCATTERED] or config.minutes[-1:]
    for grid in GRIDS:
        figures[grid] = clinical_plots.grid_chart(model, config, grid=grid, minutes=times)
    if any(one.happened.any() and not one.happened.all() for one in events):
        figures["hypoglycaemia"] = clinical_plots.event_chart(events)
    return figures


def glucose_metrics(report: GlucoseReport) -> dict[str, float]:
    """The model's errors (pooled, and the median of patients), zones and areas, as metrics."""
    errors = report.errors[report.errors["model"] == report.model]
    values = {}
    for row in errors[errors["aggregation"].isin((POOLED, MEDIAN))].to_dict("records"):
        suffix = "" if row["aggregation"] == POOLED else ".patient_median"
        values[f"glucose.{row['metric']}.{_place(row)}{suffix}"] = row["value"]
    zones = report.zones
    own = zones[(zones["model"] == report.model) & (zones["aggregation"] == POOLED)]
    for row in own[own["zone"].isin(("A", "B"))].to_dict("records"):
        key = f"glucose.{row['grid']}_ab.{_place(row)}"
        values[key] = values.get(key, 0.0) + row["value"]
    for row in report.events[report.events["model"] == report.model].to_dict("records"):
        for name in ("auroc", "auprc"):
            values[f"glucose.{name}_{row['below']:g}.{row['task']}"] = row[name]
    return {key: float(value) for key, value in values.items() if np.isfinite(value)}


def as_markdown(report: GlucoseReport, config: ClinicalConfig) -> str:
    """Everything that is worth reading, in one page."""
    parts = []
    for title, table in glucose_tables(report, config).items():
        parts.append(f"### {title}\n\n{to_markdown(table)}")
    return "\n\n".join(parts) + "\n"


def glucose_tables(report: GlucoseReport, config: ClinicalConfig) -> dict[str, pd.DataFrame]:
    """By title: errors in every aggregation, gains, zones and events as people read them."""
    percent = f"{config.confidence:.0%}"
    found = {}
    for metric, label in clinical_plots.LABELS.items():
        for aggregation in AGGREGATIONS:
            table = wide_errors(report.errors, metric, aggregation)
            if len(table):
                title = f"{label}, {aggregation} ({percent} intervals over patients)"
                found[title] = table
    if len(report.gains):
        title = f"RMSE of {report.model} against each other ({percent} intervals over patients)"
        found[title] = gain_table(report.gains, "rmse")
    for grid in GRIDS:
        title = f"{clinical_plots.TITLES[grid]}: percent of bars in zones, {POOLED}"
        found[title] = _timed(wide_zones(report.zones, grid))
    found["Hypoglycaemia foreseen, pooled"] = _events(report.events, config)
    return found


def wide_errors(errors: pd.DataFrame, metric: str, aggregation: str = POOLED) -> pd.DataFrame:
    """A row per task and time, a column per forecaster, values with their intervals."""
    part = errors[(errors["metric"] == metric) & (errors["aggregation"] == aggregation)]
    cells = [
        f"{value:.3g}" + ("" if np.isnan(low) else f" ({low:.3g}–{high:.3g})")
        for value, low, high in part[["value", "low", "high"]].to_numpy(float)
    ]
    keys = ["task", "minutes"]
    wide = part.assign(cell=cells).set_index([*keys, "model"])["cell"].unstack("model")  # noqa: PD010
    order = part.set_index(keys).index.unique()
    models = list(dict.fromkeys(part["model"]))
    return _timed(wide.loc[order, models].fillna("–").rename_axis(columns=None).reset_index())


def gain_table(gains: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Skill over each other forecaster with its interval, and how many patients it served."""
    rows = gains[gains["metric"] == metric]
    return _timed(
        pd.DataFrame(
            {
                "task": rows["task"],
                "minutes": rows["minutes"],
                "against": rows["baseline"],
                "own": rows["value"].map("{:.3g}".format),
                "its": rows["baseline_value"].map("{:.3g}".format),
                "gain": [
                    skill_text(*row) for row in rows[["skill", "low", "high"]].to_numpy(float)
                ],
                "verdict": rows["verdict"],
                "better in": [
                    f"{better:.0f} of {all_of:.0f}"
                    for better, all_of in rows[["patients_better", "patients"]].to_numpy(float)
                ],
            }
        ).reset_index(drop=True)
    )


def show_glucose(report: GlucoseReport, config: ClinicalConfig | None = None) -> None:
    """Print pooled errors, gains and events; zones and other aggregations are in the run."""
    from tsfm.tracking.console import print_table, stdout

    config = config or ClinicalConfig()
    console = stdout(180)
    for title, rows in glucose_tables(report, config).items():
        if title.startswith(_PRINTED):
            print_table(console, title, rows, overflow="fold")


def _events(events: pd.DataFrame, config: ClinicalConfig) -> pd.DataFrame:
    ranges = {
        name: [
            f"{value:.2f}" + ("" if np.isnan(low) else f" ({low:.2f}–{high:.2f})")
            for value, low, high in events[[name, f"{name}_low", f"{name}_high"]].to_numpy(float)
        ]
        for name in ("auroc", "auprc")
    }
    return pd.DataFrame(
        {
            "task": events["task"],
            "below": events["below"].map("{:g} mg/dL".format),
            "model": events["model"],
            "AUROC": ranges["auroc"],
            "AUPRC": ranges["auprc"],
            "share of windows": events["share"].map("{:.1%}".format),
            f"foreseen at {config.false_alarm_rate:.0%} false alarms": events["sensitivity"].map(
                "{:.0%}".format
            ),
            "median lead (min)": events["lead"].map("{:.0f}".format),
            "events": events["events"],
            "windows": events["windows"],
            "patients": events["patients"],
        }
    )


def _timed(table: pd.DataFrame) -> pd.DataFrame:
    """Times in words."""
    words = [f"{minutes} min" if minutes else "horizon" for minutes in table["minutes"]]
    return table.assign(minutes=words).rename(columns={"minutes": "at"})


def _place(row: Mapping[Any, Any]) -> str:
    return f"{row['task']}.{row['minutes']}min" if row["minutes"] else str(row["task"])
