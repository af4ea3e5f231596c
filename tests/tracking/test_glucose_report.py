from __future__ import annotations

import pandas as pd
import pytest
from support.glucose_backtests import forecast_with, glucose_panel, glucose_task

from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.clinical import AGGREGATIONS
from tsfm.evaluation.clinical_config import ClinicalConfig
from tsfm.evaluation.error_grids import GRIDS
from tsfm.tracking.glucose_report import (
    Tasks,
    as_markdown,
    glucose_metrics,
    measure_glucose,
    night_tasks,
    record_glucose,
    show_glucose,
)
from tsfm.tracking.runs import MlflowRun

CONFIG = ClinicalConfig(replicates=30, night_minutes=180, low=85, very_low=75)
LATER, UNSEEN = "cgm/later days", "cgm/unseen patients"


@pytest.fixture(scope="module")
def tasks() -> Tasks:
    found: list = []
    for seed, name in enumerate((LATER, UNSEEN)):
        panel = glucose_panel(people=4, seed=seed)
        found.append((glucose_task(panel, horizon=24, name=name), panel))
    return found + night_tasks(found, CONFIG)


@pytest.fixture(scope="module")
def backtests(tasks: Tasks) -> dict[str, list[Backtest]]:
    names = (("ttm", 6.0), ("zero_shot", 12.0))
    return {
        task.name: [forecast_with(panel, task, size, name=name) for name, size in names]
        for task, panel in tasks
    }


def test_each_group_of_patients_is_reported_apart(
    tasks: Tasks, backtests: dict[str, list[Backtest]]
) -> None:
    report, events = measure_glucose(backtests, tasks, CONFIG)
    groups = [LATER, UNSEEN, f"{LATER}/night", f"{UNSEEN}/night"]
    assert [task.name for task, _ in tasks] == groups
    for table in (report.errors, report.patients, report.gains, report.zones, report.events):
        assert list(dict.fromkeys(table["task"])) == groups
    assert list(events) == groups
    assert set(report.events["below"]) == {75.0, 85.0}
    assert report.model == "ttm"
    assert set(report.gains["baseline"]) == {"zero_shot"}
    metrics = glucose_metrics(report)
    errors = report.errors
    row = errors[
        (errors["task"] == UNSEEN)
        & (errors["minutes"] == 30)
        & (errors["metric"] == "rmse")
        & (errors["model"] == "ttm")
    ].set_index("aggregation")["value"]
    assert metrics[f"glucose.rmse.{UNSEEN}.30min"] == row["pooled"]
    assert metrics[f"glucose.rmse.{UNSEEN}.30min.patient_median"] == row["median of patients"]
    assert 0.9 < metrics[f"glucose.clarke_ab.{LATER}"] <= 1
    assert 0.5 < metrics[f"glucose.auroc_85.{LATER}"] <= 1
    page = as_markdown(report, CONFIG)
    for word in (*AGGREGATIONS, *groups, "zero_shot", "Parkes error grid, type 2"):
        assert word in page


def test_one_forecaster_alone_has_no_gains(
    tasks: Tasks, backtests: dict[str, list[Backtest]], capsys
) -> None:
    alone = {name: results[:1] for name, results in backtests.items()}
    report, _ = measure_glucose(alone, tasks[:1], CONFIG)
    assert report.gains.empty
    show_glucose(report, CONFIG)
    told = capsys.readouterr().out
    assert "RMSE (mg/dL), pooled" in told
    assert "Hypoglycaemia foreseen" in told


def test_a_run_keeps_tables_figures_and_metrics(
    client, tasks: Tasks, backtests: dict[str, list[Backtest]]
) -> None:
    with MlflowRun.start("glucose", entry_point="finetune") as record:
        report = record_glucose(record, backtests, tasks[1:2], CONFIG)
    run = client.get_run(record.run_id)
    assert run.data.metrics == pytest.approx(glucose_metrics(report))
    tables = {entry.path for entry in client.list_artifacts(record.run_id, "tables/glucose")}
    for name in ("errors", "patients", "gains", "zones", "hypoglycaemia"):
        assert f"tables/glucose/{name}.csv" in tables
    kept = pd.read_csv(record.file("tables/glucose/errors.csv"))
    assert len(kept) == len(report.errors)
    names = {
        entry.path.rsplit("/", 1)[-1]
        for entry in client.list_artifacts(record.run_id, "plots/glucose")
    }
    assert {"fans", "rmse_by_minute", "rmse_within_the_hour", "hypoglycaemia", *GRIDS} <= names
