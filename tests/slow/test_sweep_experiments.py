"""Experiments 2 and 3 swept for real: trained, the best one judged, registered, loaded back."""

from __future__ import annotations

import json
import math
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from support.sweeps import command, runs_under
from support.tracking_store import home as home
from support.ttm import make_model

from experiments.cli import compose_config
from sweeps.opening import load_study
from sweeps.subject import Subject

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FINETUNE = (
    "base_model={base} max_steps=4 batch_size=4 context=64 horizon=16 trainer.warmup_steps=1"
    " trainer.validate_every=2 trainer.validation_batches=1 data.cohort.days=2"
    " data.cohort.patients=[child#001,child#002,child#003] evaluation.windows_per_item=1"
    " evaluation.baselines=[random_walk]"
)
DYNAMICS = (
    "channel_mixing=attention max_steps=4 batch_size=2 context=64 horizon=16 seeds=1"
    " trainer.warmup_steps=1 trainer.validate_every=2 trainer.validation_batches=1 model.heads=2"
    " model.d_model=16 model.layers=1 model.d_ff=32 model.patch=8"
    " ensemble.n_trajectories=4 ensemble.systems=[Lorenz,Rossler,Chua,Aizawa]"
    " ensemble.n_skew=1 ensemble.points=512 judging.steps=32"
    " judging.headline_steps=16 judging.windows_per_item=1 judging.items_per_group=2"
    " judging.zero_shot=[] judging.baselines=[mean]"
)


def swept(home: Path, experiment: str, fixed: str, **space: Any) -> tuple[Any, Any, str]:
    """The best trial, its run, and what was printed."""
    (home / "space.yaml").write_text(json.dumps(space))
    done = command(
        home, f"experiment={experiment}", "space=space.yaml", f"study={experiment}",
        "trials=2", "threads=1", "register_as=best", f"fixed={fixed}",
    )  # fmt: skip
    out, err = done.communicate(timeout=280)
    assert done.returncode == 0, err
    study = load_study(f"sqlite:///{home}/sweeps.db", experiment)
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    states = [
        run.data.tags["sweep.state"] for run in runs_under(client, study.user_attrs["sweep:parent"])
    ]
    assert set(states) <= {"COMPLETE", "PRUNED"}
    assert len(states) == 2
    (best,) = study.best()
    run = client.get_run(best.user_attrs["run_id"])
    (version,) = client.search_model_versions()
    assert version.run_id == run.info.run_id
    assert version.tags.items() >= {"sweep.study": experiment, "sweep.trial": str(best.number),
                                    "leakage": "none"}.items()  # fmt: skip
    assert all(math.isfinite(value) for value in run.data.metrics.values())

    (line,) = (one for one in out.splitlines() if one.startswith("train it"))
    words = shlex.split(line.removeprefix("train it"))
    given = [value for flag, value in pairwise(words) if flag == "-P"]
    subject, values = Subject(experiment), {**study.plan.space.fixed, **best.params}
    assert words[:5] == ["mlflow", "run", ".", "-e", experiment]
    config = subject.config(values)
    assert compose_config(experiment, type(config), subject.parameters, given) == config
    return best, run, f"models:/{version.name}/{version.version}"


def loaded(home: Path, uri: str):
    import mlflow

    import tsfm

    mlflow.set_tracking_uri(f"sqlite:///{home / 'mlflow.db'}")
    return tsfm.load_forecaster(uri)


def test_adapters(home):
    base = make_model().save(home / "base")
    best, run, uri = swept(
        home, "finetune",
        f"{FINETUNE.format(base=base)} mode=lora nights=false forgetting=false",
        parameters={
            "lora_rank": {"low": 2, "high": 8},
            "adaptation.lora_dropout": {"low": 0.1, "high": 0.3},
        },
        objectives=["validation_crps"],
    )  # fmt: skip
    assert run.data.metrics["validation_crps"] == pytest.approx(best.value)
    assert {name.split(".")[1] for name in run.data.metrics if name.startswith("crps.")} == {
        "virtual_cohort/later days", "virtual_cohort/unseen patients",
    }  # fmt: skip
    forecast = loaded(home, uri).predict(past=np.sin(np.arange(64.0)), horizon=16)
    assert np.isfinite(forecast.mean).all()


def test_one_arm(home):
    best, run, uri = swept(
        home, "dynamics", DYNAMICS,
        parameters={"lr": {"low": 1e-3, "high": 1e-2, "log": True}},
        objectives=["validation_smape"],
    )  # fmt: skip
    assert run.data.metrics["validation_smape"] == pytest.approx(best.value)
    assert run.data.metrics["smape.in_distribution.16"] > 0
    assert run.data.metrics["gflop_per_step"] > 0
    past = np.sin(np.arange(64.0))[:, None] + np.arange(3.0)
    assert np.isfinite(loaded(home, uri).predict(past=past, horizon=16).mean).all()
