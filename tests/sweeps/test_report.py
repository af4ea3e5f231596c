"""What a study leaves in its run, and the line that trains the best configuration again."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path

import pandas as pd
import pytest
from support.sweeps import plan_of, study_of, worked

from experiments.cli import compose_config
from experiments.config import PretrainConfig
from experiments.finetune import PARAMETERS as OF_FINETUNE
from experiments.finetune_config import FinetuneConfig
from experiments.pretrain import PARAMETERS as OF_PRETRAIN
from sweeps.leading import Crew, parent_run
from sweeps.report import command, dashboard_command, record_report, show_report
from sweeps.space import Space
from sweeps.study import Plan, SweepStudy


def reported(study: SweepStudy, client, *, work: bool = True) -> tuple[str, Path]:
    """Id of the study's run, and its artifacts."""
    if work:
        worked(study)
    with parent_run(study, Crew(), {}) as record:
        record_report(study, record)
    return record.run_id, Path(client.download_artifacts(record.run_id, ""))


def given_by(line: str) -> list[str]:
    """What MLflow passes to the entry point of a command."""
    words = shlex.split(line)
    assert words[:4] == ["mlflow", "run", ".", "-e"]
    return [value for flag, value in zip(words[5::2], words[6::2]) if flag == "-P"]


@pytest.mark.parametrize(
    ("experiment", "schema", "parameters"),
    [("pretrain", PretrainConfig, OF_PRETRAIN), ("finetune", FinetuneConfig, OF_FINETUNE)],
)
def test_the_printed_line_composes_the_best_trials_own_config(home, experiment, schema, parameters):
    plan = Plan(experiment=experiment, space=Space.load(experiment), trials=4)
    study = study_of(plan)
    taken = [study.take() for _ in range(4)]
    for number, one in enumerate(taken):
        study.tell(one.trial, [1.0, 0.5, 2.0, 3.0][number])
    (best,) = study.best()
    assert best.number == taken[1].trial.number
    line = command(study, best)
    assert compose_config(experiment, schema, parameters, given_by(line)) == taken[1].config


def test_the_run_holds_figures_tables_and_the_best_configuration(home, client):
    study = study_of(plan_of(trials=12, fixed={"seconds": 0.0, "reports": 3, "fail_above": 2.0}))
    run_id, folder = reported(study, client)
    assert {one.name for one in (folder / "plots").iterdir()} >= {
        "history.png", "importance.png", "learning_curves.png", "parallel_coordinates.png",
        "slices.png", "contours.png", "sweep.html",
    }  # fmt: skip
    assert not (folder / "report_problems.txt").exists()
    table = pd.read_csv(folder / "tables/trials.csv", float_precision="round_trip")
    best = table.loc[table["value"].where(table["state"] == "complete").idxmin()]
    assert table["best"].sum() == 1
    assert best["best"]
    line = (folder / "best_command.txt").read_text()
    assert f"x={float(best['x'])!r}" in line
    standing = study.standing()
    metrics = client.get_run(run_id).data.metrics
    assert metrics["trials.complete"] == standing.complete
    assert metrics["trials.failed"] == standing.failed > 0
    assert metrics["best.value"] == pytest.approx(best["value"])
    note = client.get_run(run_id).data.tags["mlflow.note.content"]
    assert f"{standing.complete} complete" in note


def test_mlflow_reads_the_table_of_trials(home, client):
    run_id, folder = reported(study_of(plan_of(trials=4)), client)
    shown = json.loads(client.get_run(run_id).data.tags["mlflow.loggedArtifacts"])
    assert shown == [{"path": "tables/trials.json", "type": "table"}]
    experiment = client.get_run(run_id).info.experiment_id
    table = client.load_table(experiment, "tables/trials.json", run_ids=[run_id])
    csv = pd.read_csv(folder / "tables/trials.csv")
    assert table["value"].tolist() == pytest.approx(csv["value"].tolist())


def test_a_report_made_again_replaces_the_first(home, client):
    study = study_of(plan_of(trials=3))
    reported(study, client)
    _, folder = reported(study, client, work=False)
    lines = (folder / "tables/trials.md").read_text().splitlines()
    assert len([line for line in lines if line.startswith("| ")]) == 3 + 2
    assert len(pd.read_json(io.StringIO((folder / "tables/trials.json").read_text()),
                            orient="split")) == 3  # fmt: skip


def test_a_front_has_a_command_for_each_of_its_trials(home, client, capsys):
    objectives = ["value", {"metric": "cost", "direction": "maximize"}]
    study = study_of(plan_of(trials=15, objectives=objectives))
    run_id, folder = reported(study, client)
    front = study.best()
    assert len((folder / "best_command.txt").read_text().splitlines()) == len(front) > 1
    assert (folder / "plots/pareto_front.png").exists()
    assert client.get_run(run_id).data.metrics["pareto_front"] == len(front)


def test_a_study_without_a_complete_trial_says_so(home, client, capsys):
    study = study_of(plan_of(trials=3, fixed={"fail_above": -10.0}))
    run_id, folder = reported(study, client)
    assert "No trial is complete" in (folder / "best.md").read_text()
    assert not (folder / "best_command.txt").exists()
    assert client.get_run(run_id).data.metrics["trials.failed"] == 3
    with parent_run(study, Crew(), {}) as record:
        show_report(study, record)
    assert "no trial is complete" in capsys.readouterr().out


def test_a_figure_that_fails_costs_nothing_else(home, client, monkeypatch):
    def broken(_):
        raise ValueError("odd data")

    monkeypatch.setitem(__import__("sweeps.report").report.FIGURES, "slices", broken)
    _, folder = reported(study_of(plan_of(trials=3)), client)
    assert "slices: ValueError: odd data" in (folder / "report_problems.txt").read_text()
    assert (folder / "plots/history.png").exists()
    assert not (folder / "plots/slices.png").exists()


@pytest.mark.parametrize(
    ("uri", "line"),
    [
        ("sqlite:////a b/sweeps.db", "optuna-dashboard 'sqlite:////a b/sweeps.db'"),
        ("postgresql://me@db/x", "optuna-dashboard postgresql+psycopg://me@db/x"),
        ("mysql://me:pw@db/x", "optuna-dashboard 'mysql+pymysql://me:***@db/x'"),
        ("postgresql://me:secret@db/x", "optuna-dashboard 'postgresql+psycopg://me:***@db/x'"),
    ],
)
def test_the_dashboards_command_names_an_installed_driver_and_no_password(uri, line):
    assert dashboard_command(uri) == line
