"""Chronos beside chronos-forecasting called directly, on tiny models with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.chronos_tiny import CONTEXT, FAMILIES, HORIZON, LEVELS, tiny

from tsfm.data.windows import Window
from tsfm.errors import ConfigError
from tsfm.models.adapters import enable_linear_probe, enable_lora
from tsfm.models.base import Context, Trainable
from tsfm.models.chronos import Chronos
from tsfm.models.chronos_config import ChronosConfig
from tsfm.models.source import load_local
from tsfm.training.config import TrainerConfig


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return {name: tiny(name, tmp_path_factory.mktemp(name)) for name in FAMILIES}


@pytest.fixture
def load(saved):
    return lambda name, **changes: load_local(saved[name], allow_untrained=True, **changes)


def _past(seed: int = 0, time: int = 50, width: int = 3) -> np.ndarray:
    steps = np.random.default_rng(seed).standard_normal((2, time, width))
    return steps.cumsum(axis=1).astype(np.float32)


def _library(directory):
    from chronos import BaseChronosPipeline

    return BaseChronosPipeline.from_pretrained(directory, dtype=torch.float32)


def _windows(count: int = 4, width: int = 2, seed: int = 0, length: int = CONTEXT + HORIZON):
    rng = np.random.default_rng(seed)
    for k in range(count):
        yield Window(
            item_id=str(k),
            target=rng.standard_normal((width, length)).cumsum(axis=1).astype(np.float32),
            start=0,
            variate_names=tuple(f"x{v}" for v in range(width)),
        )


@pytest.mark.parametrize("horizon", [5, HORIZON, 2 * HORIZON + 3])
def test_bolt_is_the_librarys_on_each_variate(saved, load, horizon):
    past = _past()
    past[0, :7] = np.nan
    past[1, 20:24, 1] = np.nan
    rows = torch.tensor(past.swapaxes(1, 2).reshape(6, -1))
    quantiles, _ = _library(saved["bolt"]).predict_quantiles(rows, horizon, quantile_levels=LEVELS)
    expected = np.sort(quantiles.numpy(), axis=-1).reshape(2, 3, horizon, 9).swapaxes(1, 2)
    forecast = load("bolt", sequences_at_once=4).predict(past=past, horizon=horizon)
    np.testing.assert_allclose(forecast.quantiles, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(forecast.mean, forecast.quantiles[..., 4])


@pytest.mark.parametrize("horizon", [5, HORIZON, 2 * HORIZON + 3])
def test_chronos2_is_the_librarys_on_all_variates_of_a_series(saved, load, horizon):
    past = _past()
    past[0, :7] = np.nan
    quantiles, _ = _library(saved["chronos2"]).predict_quantiles(
        past.swapaxes(1, 2), horizon, quantile_levels=LEVELS
    )
    expected = np.sort(np.stack([q.numpy() for q in quantiles]), axis=-1).swapaxes(1, 2)
    forecast = load("chronos2").predict(past=past, horizon=horizon)
    np.testing.assert_allclose(forecast.quantiles, expected, rtol=1e-4, atol=1e-4)


def test_chronos2_lets_the_variates_of_one_series_see_one_another_and_no_others(load):
    past = _past(time=CONTEXT)
    changed = past.copy()
    changed[0, :, 0] = changed[0, ::-1, 0]
    for multivariate in (True, False):
        model = load("chronos2", multivariate=multivariate)
        plain = model.predict(past=past, horizon=8).quantiles
        other = model.predict(past=changed, horizon=8).quantiles
        assert (np.abs(plain[0, :, 1:] - other[0, :, 1:]).max() > 1e-6) == multivariate
        np.testing.assert_allclose(plain[1], other[1], atol=1e-6)


@pytest.mark.parametrize("horizon", [5, HORIZON + 3])
def test_t5_is_the_librarys_with_the_same_random_numbers(saved, load, horizon):
    past = _past()
    rows = torch.tensor(past.swapaxes(1, 2).reshape(6, -1))
    torch.manual_seed(7)
    samples = _library(saved["t5"]).predict(rows, horizon, num_samples=9).numpy()
    expected = samples.reshape(2, 3, 9, horizon).transpose(0, 2, 3, 1)
    model = load("t5", num_samples=9)
    forecast = model.predict(Context(past=past, seed=7), horizon, (0.2, 0.5))
    np.testing.assert_allclose(forecast.samples, expected, rtol=1e-5)
    np.testing.assert_allclose(forecast.mean, expected.mean(axis=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        forecast.quantiles[..., 0], np.quantile(expected, 0.2, axis=1), rtol=1e-4, atol=1e-5
    )
    assert not forecast.is_joint
    torch.manual_seed(3)
    before = torch.get_rng_state()
    again = model.predict(Context(past=past, seed=7), horizon, (0.2, 0.5))
    np.testing.assert_array_equal(again.samples, forecast.samples)
    assert torch.equal(before, torch.get_rng_state())
    other = model.predict(Context(past=past, seed=8), horizon, (0.2, 0.5))
    assert (other.samples != forecast.samples).any()


def test_the_tokenizer_can_be_given_another_range(load, tmp_path):
    model = load("t5", low_limit=-2.0, high_limit=2.0, num_samples=3, horizon=20)
    past = 1 + 0 * _past()
    assert np.abs(model.predict(past=past, horizon=20).samples).max() <= 2
    assert model.window_spec.max_length == CONTEXT + 20
    loaded = load_local(model.save(tmp_path / "wide"))
    assert loaded.config == model.config
    tokenizer = _library(tmp_path / "wide").tokenizer
    assert tokenizer.centers[-1] == 2
    assert tokenizer.config.prediction_length == 20
    with pytest.raises(ConfigError, match="empty"):
        load("t5", low_limit=20.0)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_was_never_observed_is_left_out(load, name):
    past = _past()
    past[1, :, 2] = np.nan
    variates = np.array([[True, False, True], [True, True, True]])
    forecast = load(name).predict(Context(past=past, variates=variates), 4, (0.05, 0.3, 0.97))
    covered = np.isfinite(forecast.quantiles).all(axis=(1, 3))
    np.testing.assert_array_equal(covered, [[True, False, True], [True, True, False]])
    np.testing.assert_array_equal(np.isfinite(forecast.mean).all(axis=1), covered)
    assert (np.diff(forecast.quantiles[:, :, 0], axis=-1) >= 0).all()
    nothing = load(name).predict(past=np.full((1, 20, 2), np.nan), horizon=3)
    assert np.isnan(nothing.quantiles).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_random_weights_do_not_forecast_until_they_are_trained(saved, name):
    model = load_local(saved[name])
    with pytest.raises(ConfigError, match="never been trained"):
        model.predict(past=_past(), horizon=3)
    batch = model.collate(_windows(), 4, np.random.default_rng(0))
    model.eval().loss(batch)
    assert model.config.untrained
    model.train().loss(batch)
    assert np.isfinite(model.predict(past=_past(), horizon=3).mean).all()


def test_the_losses_are_the_librarys(load):
    for name in ("bolt", "chronos2"):
        model = load(name).eval()
        batch = model.collate(_windows(), 4, np.random.default_rng(0))
        assert batch["context"].shape == (8, CONTEXT)
        given = {"context": batch["context"]}
        if name == "bolt":
            given["target"] = batch["target"]
        else:
            given |= {"future_target": batch["target"], "num_output_patches": 2}
            given["group_ids"] = torch.arange(8) // 2
        total, count = model.loss(batch)
        torch.testing.assert_close(total / count, model.network(**given).loss)
    model = load("t5").eval()
    batch = model.collate(_windows(), 4, np.random.default_rng(0))
    assert batch["labels"].shape == (8, HORIZON + 1)
    total, count = model.loss(batch)
    reference = model.network(
        input_ids=batch["tokens"], attention_mask=batch["attention"], labels=batch["labels"]
    )
    torch.testing.assert_close(total / count, reference.loss)


@pytest.mark.parametrize("name", FAMILIES)
def test_losses_of_parts_add_up(load, name):
    model = load(name).eval()
    assert isinstance(model, Trainable)
    rng, windows = np.random.default_rng(0), list(_windows(5))
    whole = model.loss(model.collate(iter(windows), 5, rng))
    parts = [model.loss(model.collate(iter(windows[k]), n, rng)) for k, n in (
        (slice(0, 2), 2), (slice(2, 5), 3))]  # fmt: skip
    torch.testing.assert_close(sum(p[0] for p in parts), whole[0], rtol=1e-4, atol=1e-4)
    assert sum(int(p[1]) for p in parts) == int(whole[1])


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_that_teach_nothing_are_left_out(load, name):
    model = load(name).eval()
    short, long = next(_windows(1, length=40)), next(_windows(1, seed=1))
    long.target[0, -HORIZON:] = np.nan
    short.target[1, :-HORIZON] = np.nan
    rng = np.random.default_rng(0)
    batch = model.collate(iter([long, short]), 2, rng)
    assert {len(values) for values in batch.values()} == {2}
    assert torch.isfinite(model.loss(batch)[0])
    long.target[:] = np.nan
    model.train()
    total, count = model.loss(model.collate(iter([long]), 1, rng))
    total.backward()
    assert (total.item(), count.item()) == (0.0, 0.0)


@pytest.mark.parametrize("name", FAMILIES)
def test_learning_rates_are_those_that_do_not_wreck_released_weights(load, name):
    model = load(name)
    rate = 1e-6 if name == "chronos2" else 1e-5
    assert TrainerConfig(**model.fine_tuning).lr == rate
    trainable = enable_lora(model, rank=2)
    assert TrainerConfig(**trainable.fine_tuning).lr == pytest.approx(10 * rate)
    info = trainable.info()
    assert 0 < info["trainable_parameters"] < info["parameters"] / 2
    probe = enable_linear_probe(load(name))
    head = sum(p.numel() for p in probe.head.parameters())
    assert probe.info()["trainable_parameters"] == head


def test_limits_are_told(load):
    with pytest.raises(ConfigError, match="more than the checkpoint's 64"):
        load("bolt", context=65)
    with pytest.raises(ConfigError, match="output patch of 16"):
        load("bolt", horizon=17)
    with pytest.raises(ConfigError, match="widgets"):
        load("t5", widgets=3)
    for bad in ({"context": 0}, {"temperature": 0.0}, {"top_p": 1.5}, {"num_samples": 0}):
        with pytest.raises(ConfigError, match=next(iter(bad))):
            ChronosConfig(**bad)
    with pytest.raises(ConfigError, match="low_limit"):
        ChronosConfig(low_limit=1.0, high_limit=0.0)
    with pytest.warns(UserWarning, match="none of the 3 covariates"):
        load("t5").expect_able(variates=1, context=8, horizon=8, past=1, known=2)


def test_context_is_cut_to_what_the_configuration_says(load):
    past = _past(time=CONTEXT)
    short = load("bolt", context=24).predict(past=past, horizon=4).quantiles
    cut = load("bolt").predict(past=past[:, -24:], horizon=4).quantiles
    np.testing.assert_allclose(short, cut, rtol=1e-4, atol=1e-4)


def test_chronos2_forecasts_at_once_what_it_is_trained_on(load, tmp_path):
    model = load("chronos2", horizon=40)
    batch = model.collate(_windows(length=CONTEXT + 40), 4, np.random.default_rng(0))
    assert batch["target"].shape == (8, 40)
    assert torch.isfinite(model.loss(batch)[0])
    assert _library(model.save(tmp_path)).model_prediction_length == 40
    assert isinstance(load_local(tmp_path), Chronos)
