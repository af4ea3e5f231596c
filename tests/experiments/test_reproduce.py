"""A recorded run done again by command: equal, different, refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from support.told_commands import Told, run_entry

from experiments.reproduce_config import ReproduceConfig
from tsfm.errors import ConfigError

TINY = (
    "data=simulated", "max_steps=3", "batch_size=2", "patch_sizes=16", "context=64", "horizon=16",
    "register_as=tiny",
    "overrides=model.d_model=64 model.num_layers=1 trainer.warmup_steps=1 trainer.validate_every=2"
    " trainer.validation_batches=1 data.simulated_assets=4 data.simulated_bars=1200"
    " evaluation.windows_per_item=1 evaluation.items_per_task=2"
    " evaluation.baselines=[random_walk]",
)  # fmt: skip


@pytest.fixture
def command(home, monkeypatch, capfd) -> Callable[..., Told]:
    return lambda name, *words: run_entry(name, words, monkeypatch, capfd)


@pytest.fixture
def client(home: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{home / 'mlflow.db'}")


def latest(client: MlflowClient, name: str):
    experiment = client.get_experiment_by_name(name)
    return client.search_runs([experiment.experiment_id], max_results=1)[0]


@pytest.mark.slow
def test_pretraining_again_is_equal_and_a_changed_record_is_named(command, client, home):
    told = command("pretrain", *TINY)
    assert told.code == 0, told.err
    first = latest(client, "pretrain").info.run_id

    again = command("reproduce", f"run_id={first}")
    assert again.code == 0, again.out + again.err
    assert "result      EQUAL" in again.out
    assert "weights     equal" in again.out
    new = latest(client, "pretrain")
    assert new.info.run_id != first
    assert new.data.tags["reproduces"] == first
    assert new.data.tags["reproduction"] == "equal"
    table = pd.read_csv(client.download_artifacts(new.info.run_id, "tables/reproduction.csv"))
    assert len(table) > 20
    assert table["equal"].all()
    assert not table["metric"].str.contains("second|memory").any()
    assert [v.version for v in client.search_model_versions("name='tiny'")] == [1]

    metric = next(key for key in latest(client, "pretrain").data.metrics if key.startswith("mae."))
    client.log_metric(first, metric, 7.5, step=10)
    differing = command("reproduce", f"run_id={first}")
    assert differing.code == 3
    assert metric in differing.out
    assert "7.5" in differing.out
    assert "result      DIFFERENT" in differing.out
    assert latest(client, "pretrain").data.tags["reproduction"] == "different"


def test_forecast_again_is_equal_and_never_overwrites(command, client, home):
    dates = pd.date_range("2024-01-01", periods=120, freq="D")
    pd.DataFrame({"item_id": "a", "timestamp": dates, "x": range(120)}).to_csv("x.csv", index=False)
    words = ("model=seasonal_naive", "data=x.csv", "horizon=7", "baselines=random_walk", "plots=0")
    assert command("forecast", *words, "out=ahead.csv").code == 0
    first = latest(client, "forecast").info.run_id
    (home / "ahead.csv").write_text("mine")
    told = command("reproduce", f"run_id={first}", "tolerance=0")
    assert told.code == 0, told.out + told.err
    assert (home / "ahead.csv").read_text() == "mine"

    client.log_metric(first, "mase.x.random_walk", 7.5, step=0)
    told = command("reproduce", f"run_id={first}")
    assert told.code == 3
    assert "mase.x.random_walk" in told.out
    assert "mase.x.seasonal_naive" not in told.out.partition("mase.x.random_walk")[2]

    pd.DataFrame({"item_id": "a", "timestamp": dates, "x": range(1, 121)}).to_csv(
        "x.csv", index=False
    )
    told = command("reproduce", f"run_id={first}")
    assert told.code == 3
    assert "was not seen again" in told.out


def test_strict_refuses_before_anything_is_run(command, client, home, monkeypatch):
    dates = pd.date_range("2024-01-01", periods=120, freq="D")
    pd.DataFrame({"item_id": "a", "timestamp": dates, "x": range(120)}).to_csv("x.csv", index=False)
    assert command("forecast", "model=seasonal_naive", "data=x.csv", "horizon=7", "windows=0",
                   "plots=0").code == 0  # fmt: skip
    first = latest(client, "forecast").info.run_id
    kept = Path(client.download_artifacts(first, "environment/requirements.txt")).read_text()
    other = kept.replace("numpy==", "numpy==0.")
    client.log_text(first, other, "environment/requirements.txt")
    told = command("reproduce", f"run_id={first}", "strict=true")
    assert told.code == 2
    assert "packages: numpy 0." in told.err
    assert latest(client, "forecast").info.run_id == first


def test_what_cannot_be_done_again_is_told(command, client, home):
    assert "run_id is empty" in command("reproduce").err
    assert "there is no run" in command("reproduce", "run_id=none").err
    experiment = client.create_experiment("other")
    other = client.create_run(experiment).info.run_id
    assert "other software" in command("reproduce", f"run_id={other}").err
    client.set_tag(other, "tsfm.entry_point", "pretrain")
    client.set_tag(other, "failure", "the disk is full")
    client.set_terminated(other, "FAILED")
    told = command("reproduce", f"run_id={other}")
    assert told.code == 2
    for word in ("FAILED", "the disk is full", "resume="):
        assert word in told.err
    client.set_tag(other, "mlflow.parentRunId", "abc")
    assert "part of run abc" in command("reproduce", f"run_id={other}").err


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_tolerances_are_checked(tolerance: float):
    with pytest.raises(ConfigError, match="tolerance"):
        ReproduceConfig(tolerance=tolerance)
