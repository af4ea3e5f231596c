"""Real training in a sweep: the same numbers alone, after others and beside others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from optuna.trial import TrialState
from support.sweeps import command, runs_under

from sweeps.opening import load_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FIXED = (
    "data=sample max_steps=8 batch_size=2 context=96 horizon=16 trainer.validate_every=4"
    " trainer.warmup_steps=2 trainer.validation_batches=1 evaluation.windows_per_item=2"
    " evaluation.baselines=random_walk model.d_model=64 model.num_layers=1 patch_sizes=16"
)
SAME = ("validation_crps", "validation_loss", "parameters", "best_step")


def sweep(home: Path, study: str, points: list[float], *words: str):
    space = {
        "parameters": {"lr": {"low": 1e-4, "high": 1e-1, "log": True}},
        "objectives": ["validation_crps"],
        "enqueue": [{"lr": point} for point in points],
    }
    (home / f"{study}.yaml").write_text(json.dumps(space))
    given = ["experiment=pretrain", f"space={study}.yaml", f"study={study}", "threads=1"]
    done = command(home, *given, f"trials={len(points)}", f"fixed={FIXED}", *words)
    out, err = done.communicate(timeout=400)
    assert done.returncode == 0, err
    found = load_study(f"sqlite:///{home}/sweeps.db", study)
    return found, out


def measured(study, lr: float) -> list[dict[str, float]]:
    every = [one for one in study.get_trials() if one.params["lr"] == pytest.approx(lr)]
    return [
        {**{name: one.user_attrs["metrics"][name] for name in SAME}, **one.intermediate_values}
        for one in every
    ]


def test_alone_after_others_and_beside_others(home, empty_database):
    import mlflow
    from mlflow import MlflowClient

    import tsfm

    shutil.copy(empty_database, home / "mlflow.db")
    alone, _ = sweep(home, "alone", [3e-3], "register_as=none")
    after, out = sweep(home, "after", [1e-2, 3e-3, 3e-3], "register_as=best")
    beside, _ = sweep(home, "beside", [3e-3, 3e-3, 3e-3, 3e-3], "workers=2", "register_as=none")
    (expected,) = measured(alone, 3e-3)
    assert measured(after, 3e-3) == [expected] * 2
    assert measured(beside, 3e-3) == [expected] * 4
    assert measured(after, 1e-2)[0] != expected
    assert {one.state for one in beside.get_trials()} == {TrialState.COMPLETE}
    assert len({one.user_attrs["worker"] for one in beside.get_trials()}) == 2

    assert "models:/best/1" in out
    client = MlflowClient(tracking_uri=f"sqlite:///{home}/mlflow.db")
    (version,) = client.search_model_versions()
    (best,) = after.best()
    assert version.run_id == best.user_attrs["run_id"]
    run = client.get_run(version.run_id)
    assert run.data.params["lr"] == str(best.params["lr"])
    for one in runs_under(client, after.user_attrs["sweep:parent"]):
        kept = bool(client.list_artifacts(one.info.run_id, "checkpoint"))
        assert kept == (one.info.run_id == version.run_id)
    mlflow.set_tracking_uri(f"sqlite:///{home}/mlflow.db")
    assert tsfm.load_forecaster("models:/best/1").name == "moirai"
    mlflow.set_tracking_uri(None)
