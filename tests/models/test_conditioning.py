"""Scalers and imputations before a model: undone, causal, and the same in training and serving."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.ttm import make_model

import tsfm
from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.base import Context
from tsfm.models.conditioning import Conditioned, network_of
from tsfm.models.conditioning_config import ConditioningConfig
from tsfm.models.moirai import Moirai
from tsfm.models.moirai_config import MoiraiConfig
from tsfm.models.statistical import RandomWalk

GAPS = slice(20, 30)


@pytest.fixture
def panel(make_panel):
    return make_panel(n_items=3, length=200, variates=("a", "b"))


def context_of(panel, item: int = 0, **fields) -> Context:
    return Context.from_windows([panel.window(item, 100, 64)], horizon=16, **fields)


@pytest.mark.parametrize("scaler", ["standard", "minmax", "robust"])
@pytest.mark.parametrize("scope", ["patient", "global"])
def test_statistics_are_those_of_the_training_part(panel, scaler, scope):
    fitted = Conditioned.fitted(make_model(), ConditioningConfig(scaler=scaler, scope=scope), panel)
    _, location, scale = fitted.condition(context_of(panel, 1))
    series = [panel.series(k).target for k in range(3)]
    values = np.concatenate(series, axis=1) if scope == "global" else series[1]
    expected = {
        "standard": (values.mean(1), values.std(1)),
        "minmax": (values.min(1), values.max(1) - values.min(1)),
        "robust": (
            np.median(values, axis=1),
            np.quantile(values, 0.75, axis=1) - np.quantile(values, 0.25, axis=1),
        ),
    }[scaler]
    np.testing.assert_allclose(location[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(scale[0], expected[1], rtol=1e-5)


def test_a_patient_never_seen_is_scaled_by_the_context_alone(panel):
    fitted = Conditioned.fitted(make_model(), ConditioningConfig(scaler="standard"), panel)
    stranger = replace(context_of(panel), item_ids=("somebody",))
    conditioned, location, _ = fitted.condition(stranger)
    np.testing.assert_allclose(location[0], stranger.past[0].mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(conditioned.past[0].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(conditioned.past[0].std(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("scaler", ["standard", "minmax", "robust"])
def test_scaling_is_undone(panel, scaler):
    """The random walk forecasts its last value, whatever it is measured in."""
    context = context_of(panel)
    fitted = Conditioned.fitted(RandomWalk(), ConditioningConfig(scaler=scaler), panel)
    plain, scaled = (model.predict(context, 16) for model in (RandomWalk(), fitted))
    np.testing.assert_allclose(scaled.mean, plain.mean, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scaled.quantiles, plain.quantiles, rtol=1e-3, atol=1e-3)


def test_a_context_without_variance_is_not_divided_by_zero(panel):
    fitted = Conditioned.fitted(make_model(), ConditioningConfig(scaler="standard"), panel)
    flat = Context(past=np.full((1, 64, 1), 100.0))
    assert np.isfinite(fitted.predict(flat, 16).mean).all()


@pytest.mark.parametrize(
    ("imputation", "steps"),
    [("mean", 0), ("median", 0), ("forward_fill", 30), ("interpolate", 30)],
)
def test_windows_are_filled_up_to_the_horizon_and_never_from_it(panel, imputation, steps):
    config = ConditioningConfig(imputation=imputation, steps=steps)
    model = Conditioned(make_model(), config)
    window = panel.window(0, 0, 80)
    target = window.target.copy()
    target[:, GAPS] = np.nan
    target[:, 58:66] = np.nan
    found = model.condition_window(replace(window, target=target)).target
    assert np.isfinite(found[:, GAPS]).all()
    assert np.isnan(found[:, 64:66]).all()
    changed = target.copy()
    changed[:, 64:] += 1000
    other = model.condition_window(replace(window, target=changed)).target
    np.testing.assert_array_equal(other[:, :64], found[:, :64])


def test_training_and_serving_condition_alike(panel):
    config = ConditioningConfig(scaler="standard", imputation="median")
    model = Conditioned.fitted(make_model(), config, panel)
    window = panel.window(0, 0, 80)
    target = window.target.copy()
    target[:, GAPS] = np.nan
    trained = model.condition_window(replace(window, target=target)).target[:, :64]
    past = replace(panel.window(0, 0, 64), target=target[:, :64])
    served, _, _ = model.condition(Context.from_windows([past], horizon=16))
    np.testing.assert_allclose(served.past[0].T, trained, rtol=1e-5, atol=1e-6)


def test_it_trains_what_is_inside(panel):
    model = Conditioned.fitted(make_model(), ConditioningConfig(scaler="robust"), panel)
    windows = (panel.window(k % 3, k, 80) for k in range(100))
    batch = model.collate(windows, 4, np.random.default_rng(0))
    total, count = model.loss(batch)
    (total / count).backward()
    assert all(p.grad is not None for p in network_of(model).head.parameters())
    assert isinstance(model, torch.nn.Module)


def test_it_is_loaded_as_any_other_model(panel, tmp_path):
    config = ConditioningConfig(scaler="standard", imputation="forward_fill", steps=5)
    model = Conditioned.fitted(make_model(), config, panel)
    loaded = tsfm.load_forecaster(model.save(tmp_path / "model"))
    context = context_of(panel)
    np.testing.assert_array_equal(
        loaded.predict(context, 16).quantiles, model.predict(context, 16).quantiles
    )
    assert loaded.info()["conditioning"]["scaler"] == "standard"


def test_damage_is_told(panel, tmp_path):
    directory = Conditioned(make_model(), ConditioningConfig(imputation="mean")).save(tmp_path)
    path = directory / "config.json"
    path.write_text(path.read_text().replace('"mean"', '"magic"'))
    with pytest.raises(CheckpointError, match=r"damaged.*magic"):
        tsfm.load_forecaster(directory)


def test_a_model_trained_on_masked_values_is_not_filled():
    with pytest.raises(ConfigError, match=r"moirai.*masked anywhere"):
        Conditioned(Moirai(MoiraiConfig.preset("tiny")), ConditioningConfig(imputation="mean"))
