"""Chronos, fine-tuned end to end: whole or by adapters, registered, loaded back, the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from support import chronos_tiny

import tsfm
from tsfm.models.chronos import Chronos
from tsfm.models.source import load_local
from tsfm.tracking.registry import resolve

OVERRIDES = (
    "trainer.validate_every=2 trainer.validation_batches=1 trainer.progress=false"
    " trainer.warmup_steps=1 data.cohort.days=2 data.cohort.patients=[child]"
    " evaluation.windows_per_item=2 evaluation.baselines=[random_walk] nights=false"
    " forgetting=false"
)


@pytest.mark.parametrize(
    ("family", "mode"),
    [
        ("bolt", "full"),
        ("bolt", "lora"),
        pytest.param("t5", "lora", marks=pytest.mark.slow),
        pytest.param("chronos2", "lora", marks=pytest.mark.slow),
    ],
)
def test_it_is_trained_registered_and_loaded_back(command, home: Path, family: str, mode: str):
    base = chronos_tiny.tiny(family, home / "base")
    chronos_tiny.amend(base, tsfm=None)  # as a released one, whose zero-shot forecasts are judged
    code, told = command(
        "finetune", f"base_model={base}", f"mode={mode}", "lora_rank=2", "max_steps=3", "lr=1e-2",
        "batch_size=4", "context=64", "horizon=16", "register_as=tiny", f"overrides={OVERRIDES}",
    )  # fmt: skip
    assert code == 0, told
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("finetune").experiment_id])
    assert run.info.status == "FINISHED"
    model = tsfm.load_forecaster("models:/tiny/1")
    assert model.name == "chronos"
    past = 120 + np.random.default_rng(0).standard_normal(64).cumsum()
    forecast = model.predict(past=past, horizon=24).quantiles
    assert np.isfinite(forecast).all()
    assert client.get_model_version("tiny", "1").run_id == run.info.run_id
    again = tsfm.load_forecaster("models:/tiny/1")
    np.testing.assert_array_equal(again.predict(past=past, horizon=24).quantiles, forecast)
    before = load_local(base)
    assert not np.array_equal(before.predict(past=past, horizon=24).quantiles, forecast)
    _expect_readable_by_the_library(family, past, forecast)
    if mode == "lora":
        _expect_adapted(before, model)


def _expect_readable_by_the_library(family: str, past: np.ndarray, forecast: np.ndarray) -> None:
    """The registered directory is chronos-forecasting's own, and gives it the same quantiles."""
    if family != "bolt":
        return
    import torch
    from chronos import BaseChronosPipeline

    pipeline = BaseChronosPipeline.from_pretrained(resolve("models:/tiny/1"))
    quantiles, _ = pipeline.predict_quantiles(
        torch.tensor(past, dtype=torch.float32)[None], 16, quantile_levels=chronos_tiny.LEVELS
    )
    ours = forecast[0, :16, 0]
    np.testing.assert_allclose(ours, np.sort(quantiles[0].numpy(), axis=-1), rtol=1e-4)


def _expect_adapted(before: Chronos, after: Chronos) -> None:
    """Attention alone has moved: adapters are merged, and nothing else was trained."""
    was = dict(before.network.named_parameters())
    moved = {name for name, value in after.network.named_parameters() if not value.equal(was[name])}
    assert moved
    assert all("ttention" in name or "output_layer" in name for name in moved)
