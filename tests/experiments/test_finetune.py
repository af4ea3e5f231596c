"""Fine-tuning, end to end in one process: what a run holds, and what is refused before training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from support.entry_points import Answer, expect_told
from support.ttm import make_model

import tsfm
from tsfm.data.glucose.cohort import CohortConfig, simulate_cohort
from tsfm.data.glucose.holdouts import HoldOut
from tsfm.models.adapter_files import load_adapters

OVERRIDES = (
    "trainer.validate_every=1 trainer.validation_batches=1 trainer.progress=false"
    " trainer.warmup_steps=1 data.cohort.days=2 data.cohort.patients=[child]"
    " evaluation.windows_per_item=2 evaluation.baselines=[random_walk]"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_model().save(tmp_path_factory.mktemp("base"))


@pytest.fixture
def finetuning(command, base) -> Callable[..., Answer]:
    def call(*words: str, overrides: str = "") -> Answer:
        given = [
            f"base_model={base}", "max_steps=2", "batch_size=4", "context=64", "horizon=16",
            "register_as=tiny", f"overrides={OVERRIDES} {overrides}",
        ]  # fmt: skip
        return command("finetune", *given, *words)

    return call


@pytest.fixture
def never_trains(monkeypatch):
    """Fails when training begins."""
    import tsfm.training.trainer as trainer

    def begun(*arguments, **options):
        raise AssertionError("training began")

    monkeypatch.setattr(trainer, "_run", begun)


def the_run(home: Path):
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("finetune")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    return client, run


def file_of(client, run, path: str) -> Path:
    return Path(client.download_artifacts(run.info.run_id, path))


@pytest.mark.slow
def test_lora_on_a_virtual_cohort(home, finetuning, base):
    code, err = finetuning("mode=lora", "lora_rank=3", overrides="nights=false")
    assert code == 0, err
    client, run = the_run(home)
    metrics = run.data.metrics
    assert 0 < metrics["trainable_parameters"] < metrics["parameters"]
    assert metrics["lora_rank_max"] == 3
    assert metrics["train_seconds"] > 0
    assert metrics["peak_memory_bytes"] > 0
    assert metrics["leaked_bars"] == 0
    assert "forgetting.change.mase.electricity_demand" in metrics
    assert "glucose.rmse.virtual_cohort/unseen patients.30min" in metrics
    assert run.data.params["training.lr"] == "0.001"
    held = yaml.safe_load(file_of(client, run, "holdouts/virtual_cohort-v1.yaml").read_text())
    assert len(held["patients"]) == 3

    merged = tsfm.load_forecaster("models:/tiny/1")
    apart = load_adapters(make_model(), file_of(client, run, "adapter"))
    past = np.random.default_rng(0).normal(size=(2, 64)).cumsum(1) + 100
    past = past[:, :, None]
    np.testing.assert_allclose(
        apart.predict(past=past, horizon=16).mean, merged.predict(past=past, horizon=16).mean,
        rtol=1e-5,
    )  # fmt: skip


def test_zero_shot_registers_the_base_as_it_is(home, finetuning, base):
    code, err = finetuning("preset=zero_shot", overrides="nights=false forgetting=false")
    assert code == 0, err
    _, run = the_run(home)
    assert run.data.metrics["trainable_parameters"] == 0
    past = np.arange(64.0)
    np.testing.assert_array_equal(
        tsfm.load_forecaster("models:/tiny/1").predict(past=past, horizon=16).mean,
        tsfm.load_forecaster(base).predict(past=past, horizon=16).mean,
    )


def my_people(home: Path) -> Path:
    panel = simulate_cohort(CohortConfig(patients=("child",), days=2))
    parts = [
        pd.DataFrame(
            {
                "datetime": panel.timestamps(k),
                "bg_mM": panel.series(k).target[0] / 18.016,
                "carbs": panel.series(k).past_covariates[1],
                "p_num": item_id,
            }
        )
        for k, item_id in enumerate(panel.item_ids[:4])
    ]
    path = home / "people.csv"
    pd.concat(parts).to_csv(path, index=False)
    return path


@pytest.mark.slow
def test_own_readings_with_everything_chosen(home, finetuning):
    path = my_people(home)
    (home / "holdouts").mkdir()
    panel = simulate_cohort(CohortConfig(patients=("child",), days=2))
    ids = panel.item_ids[:4]
    HoldOut(
        name="mine", version=2, panel="people", patients=ids[:1],
        times=dict.fromkeys(ids[1:], "2024-01-02T12:00:00"),
    ).save()  # fmt: skip
    code, err = finetuning(
        f"data={path}", "mode=full", "freeze_backbone=true", "targets=bg_mM", "id_column=p_num",
        "past_covariates=carbohydrates", "scaler=robust", "scaler_scope=global",
        "imputation=interpolate", "imputation_steps=6", "loss=pinball", "hold_out=mine-v2",
        overrides="nights=false forgetting=false load.dropout=0.1",
    )  # fmt: skip
    assert code == 0, err
    client, run = the_run(home)
    assert file_of(client, run, "quality/quality.html").exists()
    held = yaml.safe_load(file_of(client, run, "holdouts/mine-v2.yaml").read_text())
    assert held["patients"] == [ids[0]]
    model = tsfm.load_forecaster("models:/tiny/1")
    assert model.info()["conditioning"]["scaler"] == "robust"
    assert model.inner.config.num_input_channels == 2
    assert model.inner.config.dropout == 0.1
    assert model.inner.config.quantile_levels


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["known_covariates=weather"], "known covariates weather are not in the data"),
        (["past_covariates=weather"], "weather are not in the data"),
        (["targets=bg_mM,carbs"], "glucose alone is forecast"),
        (["hold_out=nothing-v1"], "hold-out 'nothing-v1' does not exist"),
        (["mode=zero_shot", "past_covariates=carbohydrates"], "mode=zero_shot"),
        (["overrides=load.patch_size=3"], "patch_size is no setting of ttm"),
    ],
)
def test_mistakes_are_told_before_training(home, finetuning, never_trains, words, told):
    expect_told(finetuning(f"data={my_people(home)}", *words), told)


def test_a_lora_target_that_matches_nothing(home, finetuning, never_trains):
    answer = finetuning(overrides="adaptation.lora_targets=[q_proj]")
    expect_told(answer, "q_proj", "fc1")


def test_a_base_that_has_seen_what_is_held_out(home, finetuning, base, never_trains):
    from tsfm.data.provenance import Provenance

    panel = simulate_cohort(CohortConfig(patients=("child",), days=2))
    HoldOut.make(panel, name="mine").save()
    leaky = make_model().save(home / "leaky")
    Provenance.of(panel).save(leaky)
    expect_told(finetuning(f"base_model={leaky}", "hold_out=mine-v1"), "training has seen")
