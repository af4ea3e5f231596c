"""TinyTimeMixer against the reference's recorded outputs, and by what it must do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm
from support.ttm import (
    CASES,
    NINE,
    make_batch,
    make_mixing_model,
    make_model,
    make_windows,
    reference,
)

from tsfm.errors import ConfigError, DataError
from tsfm.models.adapters import enable_linear_probe, enable_lora, merge_lora
from tsfm.models.base import Context, Trainable
from tsfm.models.ttm import TinyTimeMixer
from tsfm.models.ttm_config import TinyTimeMixerConfig
from tsfm.models.ttm_forecast import pooled


def train(model: TinyTimeMixer, batch: dict, steps: int = 40, lr: float = 3e-3) -> list[float]:
    able = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(able, lr=lr)
    losses = []
    for _ in range(steps):
        total, count = model.loss(batch)
        losses.append(float((total / count).detach()))
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
    return losses


# --- the reference implementation -----------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_those_of_the_reference(shared, case):
    model, batch, expected = reference(shared / "reference" / "ttm" / case)
    with torch.no_grad():
        outputs = model.outputs(batch)
        total, count = model.loss(batch)
    series = len(expected["prediction"])
    found = {
        "prediction": outputs.point.reshape(series, -1, outputs.point.shape[-1]).transpose(1, 2),
        "backbone_hidden_state": outputs.hidden.reshape(expected["backbone_hidden_state"].shape),
        "loc": outputs.location.reshape(series, 1, -1),
        "scale": outputs.scale.reshape(series, 1, -1),
        "loss": (total / count)[None],
    }
    for name, values in found.items():
        torch.testing.assert_close(values, expected[name], atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [("r2_512", 805_280), ("r2_1024", 2_964_960), ("r2_1536", 3_081_120)],
)
def test_parameters_are_as_many_as_published(preset, parameters):
    info = TinyTimeMixer(TinyTimeMixerConfig.preset(preset)).info()
    assert info["parameters"] == info["trainable_parameters"] == parameters
    if preset == "r2_512":
        assert info["backbone_parameters"] == 515_584


# --- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"loss": "mae"},
        {"loss": "huber", "scaling": "mean"},
        {"loss": "pinball", "quantile_levels": NINE},
        {"loss": "mse", "quantile_levels": (0.1, 0.5, 0.9), "loss_scale": "none"},
        {"gated_attn": False, "adaptive_patching_levels": 0, "scaling": "none"},
        {"use_decoder": False, "resolution_prefix_tuning": True, "frequency_token_vocab_size": 9},
        {"decoder_raw_residual": True, "resolution_prefix_tuning": True},
        {"prediction_filter_length": 5, "decoder_adaptive_patching_levels": 2},
    ],
)
def test_random_weights_learn(fields):
    model = make_model(**fields).train()
    assert isinstance(model, Trainable)
    batch = make_batch(model, targets=2, missing=0.1, freq="15min")
    losses = train(model, batch)
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.8 * losses[0]
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("fields", [{}, {"fcm_use_mixer": True}, {"mode": "mix_channel"}])
def test_mixed_channels_learn(fields):
    model = make_mixing_model(2, 1, 1, **fields).train()
    losses = train(model, make_batch(model, targets=2, past=1, known=1, missing=0.1))
    assert losses[-1] < 0.8 * losses[0]
    assert all(p.grad is not None for p in model.parameters())


def test_loss_counts_observed_future_values_only():
    model = make_model(loss_scale="none")
    batch = make_batch(model, targets=2, missing=0.3)
    total, count = model.loss(batch)
    observed = batch["future_observed"]
    errors = (model.outputs(batch).point - batch["future"])[observed]
    assert count == observed.sum()
    torch.testing.assert_close(total, errors.square().sum())
    changed = batch | {"future": torch.where(observed, batch["future"], 1e6)}
    assert model.loss(changed)[0] == total


def test_sums_and_counts_of_parts_are_those_of_the_whole():
    model = make_model(quantile_levels=NINE, loss="pinball")
    batch = make_batch(model, size=6, missing=0.2)
    parts = [model.loss({k: v[s] for k, v in batch.items()}) for s in (slice(2), slice(2, None))]
    for whole, *part in zip(model.loss(batch), *parts):
        torch.testing.assert_close(whole, sum(part))


def test_loss_in_units_of_the_window_does_not_depend_on_the_series_units():
    model = make_model(quantile_levels=NINE)
    batch = make_batch(model)
    scaled = {name: 1000 * values + 50 for name, values in batch.items()}
    torch.testing.assert_close(model.loss(scaled)[0], model.loss(batch)[0], rtol=1e-3, atol=1e-3)


def test_a_flat_context_before_a_jump_gives_a_bounded_loss():
    model = make_model()
    batch = {"past": torch.full((1, 1, 64), 5.0), "future": torch.full((1, 1, 16), 9.0)}
    total, count = model.loss(batch)
    assert float(total.detach() / count) < 100


def test_dropout_is_drawn_from_torch_s_generator_and_off_when_evaluating():
    model = make_model().train()
    batch = make_batch(model)

    def loss(seed: int) -> float:
        torch.manual_seed(seed)
        return float(model.loss(batch)[0].detach())

    assert loss(0) == loss(0) != loss(1)
    model.eval()
    assert loss(0) == loss(1)


def test_ragged_windows_fold_into_series():
    model = make_model()
    one, three = (next(make_windows(targets=n, length=k)) for n, k in ((1, 80), (3, 50)))
    batch = model.collate(iter([one, three]), 2, np.random.default_rng(0))
    assert batch["past"].shape == (4, 1, 64)
    assert not batch["observed"][1:, :, :30].any()
    np.testing.assert_array_equal(batch["past"][1:, 0, 30:], three.target[:, :-16])
    np.testing.assert_array_equal(batch["future"][1:, 0], three.target[:, -16:])


def test_fit_trains_it_like_any_model(make_panel, tmp_path):
    import tsfm
    from tsfm.training.config import TrainerConfig

    panel = make_panel(length=200)
    model = make_model(quantile_levels=(0.1, 0.5, 0.9), loss="pinball")
    result = tsfm.fit(
        tsfm.enable_lora(model, rank=4),
        panel,
        validation=panel,
        output_dir=tmp_path,
        config=TrainerConfig(max_steps=4, batch_size=4, validate_every=2, warmup_steps=1),
    )
    loaded = tsfm.load_forecaster(result.model_directory)
    past = np.random.default_rng(0).normal(size=(2, 64, 2)).cumsum(1)
    np.testing.assert_allclose(
        loaded.predict(past=past, horizon=20).quantiles,
        result.model.predict(past=past, horizon=20).quantiles,
        atol=1e-5,
    )


# --- adapters -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [make_model, make_mixing_model])
def test_adapters_act_in_every_mixer_and_merge_exactly(make):
    model = make(fcm_use_mixer=True, decoder_d_model=24)
    covariates = {"past": 1, "known": 1} if model.config.mixes_channels else {}
    batch = make_batch(model, **covariates)
    before = model.outputs(batch).point.detach()
    enable_lora(model, rank=4)
    torch.testing.assert_close(model.outputs(batch).point, before, atol=1e-6, rtol=1e-6)
    adapted = [p for name, p in model.named_parameters() if "lora_" in name]
    assert [p for p in model.parameters() if p.requires_grad] == adapted
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in adapted:
            parameter.normal_(std=0.1)
    model.loss(batch)[0].backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in adapted)
    unmerged = model.outputs(batch).point.detach()
    assert (unmerged - before).abs().max() > 0.01
    merged = merge_lora(model)
    torch.testing.assert_close(merged.outputs(batch).point, unmerged, atol=1e-5, rtol=1e-5)


def test_a_linear_probe_trains_the_head_only():
    model = enable_linear_probe(make_model(quantile_levels=NINE)).train()
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == {name for name in trainable if name.startswith("head.")}
    losses = train(model, make_batch(model, missing=0.2))
    assert losses[-1] < losses[0]


# --- forecasts ------------------------------------------------------------------------------------


def test_quantiles_are_ordered_and_interpolated_between_levels():
    model = make_model(quantile_levels=(0.1, 0.5, 0.9), loss="pinball")
    with torch.no_grad():
        model.head.quantile_block.steps.weight.normal_()
    past = np.random.default_rng(0).normal(size=(3, 64, 2)).cumsum(1)
    forecast = model.predict(past=past, horizon=40, quantile_levels=(0.1, 0.3, 0.5, 0.9))
    assert not forecast.is_degenerate
    assert forecast.quantiles.shape == (3, 40, 2, 4)
    assert (np.diff(forecast.quantiles, axis=-1) >= 0).all()
    first = forecast.quantiles[:, :16]
    np.testing.assert_allclose(first[..., 1], (first[..., 0] + first[..., 2]) / 2, rtol=1e-5)


def test_at_first_quantiles_are_normal_around_the_point_forecast():
    model = make_model(quantile_levels=(0.1, 0.5, 0.9))
    with torch.no_grad():
        model.head.quantile_block.steps.weight.zero_()
    outputs = model.outputs(make_batch(model))
    spread = (outputs.quantiles - outputs.point[..., None]) / outputs.scale[..., None]
    expected = 0.5 * torch.tensor([-1.281552, 0.0, 1.281552])
    torch.testing.assert_close(spread, expected.expand_as(spread), atol=1e-4, rtol=1e-4)


def test_a_point_model_says_that_it_has_no_spread():
    forecast = make_model().predict(past=np.arange(64.0), horizon=8)
    assert forecast.is_degenerate
    np.testing.assert_array_equal(forecast.quantiles[..., 0], forecast.mean)


def test_longer_horizons_feed_the_forecast_back():
    model = make_model()
    past = np.random.default_rng(0).normal(size=(2, 64, 1)).cumsum(1).astype(np.float32)
    rolled = model.predict(past=past, horizon=40).mean
    first = model.predict(past=past, horizon=16).mean
    second = model.predict(past=np.concatenate([past, first], axis=1), horizon=16).mean
    np.testing.assert_allclose(rolled[:, :16], first, rtol=1e-5)
    np.testing.assert_allclose(rolled[:, 16:32], second, rtol=1e-4, atol=1e-4)
    assert np.isfinite(rolled).all()


def test_pooled_quantiles_of_equal_paths_are_those_of_one():
    one = np.sort(np.random.default_rng(0).normal(size=(2, 1, 3, 4, 5)).astype(np.float32))
    levels = (0.05, 0.2, 0.5, 0.7, 0.99)
    np.testing.assert_allclose(pooled(np.repeat(one, 5, axis=1), levels), one[:, 0], rtol=1e-5)


def test_pooled_quantiles_of_scattered_paths_are_those_of_the_sum():
    normal = norm.ppf(NINE)
    every = (2 * normal[:, None] + normal)[None, :, None, None].astype(np.float32)
    np.testing.assert_allclose(pooled(every, NINE)[0, 0, 0], np.sqrt(5) * normal, atol=0.15)


def test_rolled_quantiles_are_those_of_a_path_for_each_level():
    model = make_model(quantile_levels=(0.1, 0.5, 0.9), loss="pinball")
    past = np.random.default_rng(0).normal(size=(2, 64, 1)).cumsum(1).astype(np.float32)
    levels = {"quantile_levels": (0.1, 0.5, 0.9)}
    rolled = model.predict(past=past, horizon=32, **levels).quantiles
    first = model.predict(past=past, horizon=16, **levels).quantiles
    paths = [np.concatenate([past, first[..., k]], axis=1) for k in range(3)]
    every = np.stack([model.predict(past=p, horizon=16, **levels).quantiles for p in paths], axis=1)
    expected = pooled(every.swapaxes(2, 3), (0.1, 0.5, 0.9)).swapaxes(1, 2)
    np.testing.assert_allclose(rolled[:, 16:], expected, rtol=1e-4, atol=1e-4)
    assert (np.diff(rolled, axis=-1) >= 0).all()


def test_a_filtered_horizon_is_the_start_of_the_whole():
    whole = make_model()
    filtered = make_model(prediction_filter_length=5)
    past = np.random.default_rng(0).normal(size=64).cumsum()
    np.testing.assert_allclose(
        filtered.predict(past=past, horizon=5).mean,
        whole.predict(past=past, horizon=16).mean[:, :5],
        rtol=1e-5,
    )


def test_absent_variates_and_short_contexts_are_no_matter():
    model = make_model()
    past = np.random.default_rng(0).normal(size=(2, 40, 3)).cumsum(1).astype(np.float32)
    present = np.array([[True, True, True], [True, False, True]])
    forecast = model.predict(Context(past=past, variates=present), 8)
    assert np.isnan(forecast.mean[1, :, 1]).all()
    alone = model.predict(past=past[1, :, 2], horizon=8)
    np.testing.assert_allclose(forecast.mean[1, :, 2], alone.mean[0, :, 0], rtol=1e-4, atol=1e-5)


def test_chunks_of_a_batch_give_the_whole():
    past = np.random.default_rng(0).normal(size=(5, 64, 2)).cumsum(1)
    whole = make_model(quantile_levels=NINE).predict(past=past, horizon=20)
    parts = make_model(quantile_levels=NINE, forecast_series=3).predict(past=past, horizon=20)
    np.testing.assert_allclose(parts.quantiles, whole.quantiles, atol=1e-5)


def test_an_unobserved_series_is_refused():
    past = np.full((2, 64, 1), np.nan)
    past[0] = 1.0
    with pytest.raises(DataError, match=r"no value is observed.*item 1"):
        make_model().predict(past=past, horizon=4)


@pytest.mark.parametrize(
    "fields", [{}, {"adaptive_patching_levels": 0, "decoder_mode": "mix_channel"}]
)
def test_forecasting_leaves_the_mode_of_training(fields):
    model = make_model(**fields).train()
    model.predict(past=np.arange(64.0), horizon=4)
    assert model.training


def test_covariates_that_are_not_looked_at_are_told():
    with pytest.warns(UserWarning, match="2 covariates are not looked at"):
        make_model().expect_able(variates=3, context=64, horizon=16, past=1, known=1)


def test_other_channels_than_it_mixes_are_refused():
    model = make_mixing_model(1, 1, 1)
    model.expect_able(variates=1, context=64, horizon=16, past=1, known=1)
    with pytest.raises(ConfigError, match="mixes 1, 1 and 1"):
        model.expect_able(variates=2, context=64, horizon=16, past=1, known=1)
    with pytest.raises(DataError, match="0 known covariates for a model of 1"):
        model.predict(Context(past=np.zeros((1, 64, 1)), past_covariates=np.zeros((1, 64, 1))), 4)
