"""The entry point: what it refuses before a trial starts, and a sweep from end to end."""

from __future__ import annotations

import re

import pytest
from support.entry_points import expect_told
from support.sweeps import written
from support.told_commands import run_entry


@pytest.fixture
def command(home, monkeypatch, capfd):
    def call(*words):
        code, call.out, err = run_entry("sweep", words, monkeypatch, capfd)
        return code, err

    return call


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["experiment=pretran"], ["pretran", "pretrain"]),
        (["experiment=pretrain", "fixed=lern=3"], ["no parameter 'lern'", "lr"]),
        (["experiment=pretrain", "fixed=model.dmodel=64"], ["model.d_model"]),
        (["experiment=pretrain", "fixed=lr=fast"], ["fast"]),
        (["experiment=pretrain", "fixed=register_as=x"], ["register_as of the sweep"]),
        (["experiment=dynamics", "fixed=channel_mixing=both"], ["channel_mixing=attention"]),
        (["experiment=rehearsal", "sampler=tpo"], ["tpo", "tpe"]),
        (["experiment=rehearsal", "sampler=tpe,depth=3"], ["depth"]),
        (["experiment=rehearsal", "sampler=tpe,n_startup_trials=x"], ["n_startup_trials"]),
        (["experiment=rehearsal", "pruner=asha,min_resource=0"], ["min_resource"]),
        (["experiment=rehearsal", "sampler=grid"], ["grid"]),
        (["experiment=rehearsal", "trials=0"], ["trials=0"]),
        (["experiment=rehearsal", "study=a b"], ["study='a b'"]),
        (["experiment=rehearsal", "space=nowhere.yaml"], ["nowhere.yaml"]),
        (["experiment=rehearsal", "storage=postgresql://nobody@127.0.0.1:1/x"], ["storage="]),
        (["experiment=rehearsal", "storage=oracle://x"], ["oracle"]),
        (["experiment=rehearsal", "storage=sqlite:////nowhere/sweeps.db"], ["/nowhere"]),
        (["experiment=rehearsal", "storage=sqlite:///mlflow.db"], ["another program's tables"]),
        (["experiment=rehearsal", "warm_start=nothing"], ["warm_start=nothing"]),
        (["experiment=rehearsal", "grace=3"], ["grace=3"]),
    ],
    ids=lambda value: value[-1][:40],
)
def test_refused_before_a_trial_starts(home, command, words, told):
    if words[-1].startswith("grace"):
        words = [words[0], f"overrides={words[-1]}"]
    expect_told(command(*words), *told)


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({"parameters": {}}, ["empty"]),
        ({"constraints": {"never": "x > y + 100"}}, ["never", "Loosen"]),
        ({"parameters": {"z": [1, 2]}}, ["no parameter 'z'"]),
        ({"objectives": ["crps"]}, ["crps", "value"]),
        ({"objectives": ["value", "cost"], "pruner": "asha"}, ["pruner=none"]),
        ({"objectives": ["value", "cost"], "sampler": "cmaes"}, ["one objective"]),
    ],
)
def test_refused_spaces(home, command, space, told):
    path = written(home / "space.yaml", **space)
    expect_told(command("experiment=rehearsal", f"space={path}"), *told)
    assert not (home / "sweeps.db").exists()


@pytest.mark.slow
def test_a_sweep_goes_on_and_refuses_another_space(home, command, client):
    code, err = command("experiment=rehearsal", "trials=4", "study=mine", "workers=2")
    assert code == 0, err
    assert "trial    3" in err
    assert re.search(r"best .*trial \d", command.out)
    assert "optuna-dashboard" in command.out
    code, err = command("experiment=rehearsal", "trials=6", "study=mine")
    assert code == 0, err
    assert "trial    5" in err
    assert "trial    3" not in err
    (experiment,) = client.search_experiments(filter_string="name = 'sweep-rehearsal'")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 7
    assert {run.info.status for run in runs} == {"FINISHED"}
    path = written(home / "space.yaml", fixed={"seed": 1})
    expect_told(
        command("experiment=rehearsal", f"space={path}", "study=mine"), "version of the space"
    )
    path = written(home / "space.yaml", objectives=["distance"])
    told = command("experiment=rehearsal", f"space={path}", "study=mine")
    expect_told(told, "of another version of the space")


def test_a_sweep_without_a_completed_trial_is_an_error(home, command):
    code, err = command("experiment=rehearsal", "trials=3", "fixed=fail_above=-9")
    *trials, last = err.splitlines()
    assert len(trials) == 3
    expect_told((code, last), "no trial was completed", "is above", "failure.txt")
