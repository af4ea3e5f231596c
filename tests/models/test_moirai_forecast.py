"""MOIRAI forecasts: ragged batches, any horizon, quantiles of the predicted distribution."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.moirai import make_batch, make_context, make_model

from tsfm.errors import ConfigError, DataError
from tsfm.models.base import Context
from tsfm.models.distributions import Mixture
from tsfm.models.moirai import Moirai
from tsfm.models.moirai_config import MoiraiConfig


def test_forecasts_ragged_batches_of_any_width() -> None:
    model = make_model(patch_size=16, context=96)
    widths = [1, 3, 7, 40]
    past = np.full((4, 96, 40), np.nan, np.float32)
    rng = np.random.default_rng(0)
    for row, width in enumerate(widths):
        past[row, :, :width] = rng.normal(size=(96, width)).cumsum(0)
    variates = np.arange(40) < np.array(widths)[:, None]
    forecast = model.predict(Context(past=past, variates=variates), 24)
    assert forecast.quantiles.shape == (4, 24, 40, 9)
    for row, width in enumerate(widths):
        assert np.isfinite(forecast.quantiles[row, :, :width]).all()
        assert np.isnan(forecast.quantiles[row, :, width:]).all()
        alone = model.predict(Context(past=past[row : row + 1, :, :width]), 24)
        np.testing.assert_allclose(
            alone.quantiles[0], forecast.quantiles[row, :, :width], rtol=2e-3, atol=2e-3
        )


def test_forecast_is_equivariant_to_the_order_of_variates() -> None:
    model, context = make_model(patch_size=16), make_context(width=7)
    order = np.random.default_rng(1).permutation(7)
    straight = model.predict(context, 20)
    shuffled = model.predict(Context(past=context.past[:, :, order]), 20)
    np.testing.assert_allclose(
        straight.quantiles[:, :, order], shuffled.quantiles, rtol=2e-3, atol=2e-3
    )


def test_forecast_scales_and_shifts_with_the_data() -> None:
    model, context = make_model(patch_size=16), make_context()
    plain = model.predict(context, 12)
    moved = model.predict(Context(past=context.past * 1000 + 5000), 12)
    np.testing.assert_allclose(moved.quantiles / 1000 - 5, plain.quantiles, rtol=5e-3, atol=2e-2)


@pytest.mark.parametrize("factor", [2.0**66, 1e35])
def test_huge_values_forecast_as_their_scaled_copies(factor: float) -> None:
    """Their squares overflow single precision."""
    model, context = make_model(patch_size=16), make_context()
    plain = model.predict(context, 12)
    huge = model.predict(Context(past=context.past * np.float32(factor)), 12)
    np.testing.assert_allclose(huge.quantiles / factor, plain.quantiles, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(huge.mean / factor, plain.mean, rtol=1e-3, atol=1e-3)
    unsized = make_model().predict(Context(past=context.past * np.float32(factor)), 12)
    assert np.isfinite(unsized.quantiles).all()


@pytest.mark.parametrize("horizon", [1, 16, 33, 200])
def test_any_horizon(horizon: int) -> None:
    forecast = make_model(patch_size=32).predict(make_context(batch=2), horizon)
    assert forecast.mean.shape == (2, horizon, 3)
    assert np.isfinite(forecast.quantiles).all()
    assert (np.diff(forecast.quantiles, axis=-1) >= 0).all()


def test_quantiles_are_those_of_the_predicted_distribution() -> None:
    model, context = make_model(patch_size=16, context=64), make_context(time=64, width=1)
    forecast = model.predict(context, 16, (0.05, 0.5, 0.95))
    target = np.concatenate([context.past, np.zeros((3, 16, 1), np.float32)], axis=1)
    batch = {
        "target": torch.from_numpy(target.reshape(3, 5, 16)),
        "observed_mask": torch.ones(3, 5, 16, dtype=torch.bool),
        "sample_id": torch.ones(3, 5, dtype=torch.long),
        "time_id": torch.arange(5).expand(3, 5),
        "variate_id": torch.zeros(3, 5, dtype=torch.long),
        "prediction_mask": (torch.arange(5) == 4).expand(3, 5),
        "patch_size": torch.full((3, 5), 16),
    }
    with torch.no_grad():
        raw = model.distribution(batch)
    reached = Mixture(
        **{
            name: value[..., 4, :16] if value.shape[-1] > 1 else value[..., 4, :]
            for name, value in vars(raw).items()
        }
    ).cdf(forecast.quantiles[:, :, 0])
    np.testing.assert_allclose(reached, np.broadcast_to([0.05, 0.5, 0.95], (3, 16, 3)), atol=1e-3)


def test_left_padding_and_holes_do_not_matter_beyond_what_they_hide() -> None:
    model = make_model(patch_size=16, context=96)
    short = make_context(time=64, width=2)
    padded = np.full((3, 96, 2), np.nan, np.float32)
    padded[:, 32:] = short.past
    np.testing.assert_allclose(
        model.predict(short, 10).quantiles,
        model.predict(past=padded, horizon=10).quantiles,
        rtol=2e-3,
        atol=2e-3,
    )


def test_constant_series_keep_a_finite_narrow_forecast() -> None:
    forecast = make_model(patch_size=16).predict(past=np.full((2, 100, 1), 42.0), horizon=10)
    assert np.isfinite(forecast.quantiles).all()
    assert np.abs(forecast.median - 42).max() < 0.1


def test_unobserved_variate_has_no_forecast_and_unobserved_series_is_refused() -> None:
    model, context = make_model(patch_size=16), make_context()
    past = context.past.copy()
    past[0, :, 1] = np.nan
    forecast = model.predict(past=past, horizon=5)
    assert np.isnan(forecast.mean[0, :, 1]).all()
    assert np.isfinite(forecast.mean[0, :, [0, 2]]).all()
    past[1] = np.nan
    with pytest.raises(DataError, match=r"no value is observed.*item 1"):
        model.predict(past=past, horizon=5)


def test_over_the_token_budget_names_numbers_and_the_fix() -> None:
    model = make_model(token_budget=32, context=320, horizon=64)
    with pytest.raises(
        ConfigError, match=r"240 bars|context 120 \+ horizon 2000.*token budget of 32"
    ):
        model.predict(make_context(), 2000)
    with pytest.raises(ConfigError, match="over the token budget"):
        MoiraiConfig(context=100_000)


def test_samples_are_marginal_and_seeded() -> None:
    model, context = make_model(patch_size=16, num_samples=50), make_context(seed=3)
    forecast = model.predict(context, 12)
    assert forecast.samples is not None
    assert forecast.samples.shape == (3, 50, 12, 3)
    assert not forecast.is_joint
    inside = (forecast.samples <= forecast.quantiles[..., -1][:, None]).mean()
    assert 0.85 < inside < 0.95
    np.testing.assert_array_equal(forecast.samples, model.predict(context, 12).samples)
    other = model.predict(replace(context, seed=1), 12)
    assert not np.array_equal(forecast.samples, other.samples)


def test_patch_size_is_chosen_by_validation_and_kept(tmp_path: Path) -> None:
    model, context = make_model(context=64), make_context(time=200)
    chosen = model.choose_patch_size([context, make_context(seed=9)], 16)
    assert chosen in model.config.patch_sizes
    assert model.config.patch_size == chosen
    assert Moirai.load(model.save(tmp_path)).config.patch_size == chosen
    with pytest.raises(DataError, match="no context is longer"):
        model.choose_patch_size(make_context(time=2), 16)


@pytest.mark.parametrize(("bars", "forecast"), [(16, 8), (48, 24), (49, 24), (50, 48), (64, 48)])
def test_patch_size_is_chosen_where_contexts_are_no_longer_than_the_horizon(
    bars: int, forecast: int
) -> None:
    model = make_model(context=16, horizon=48)
    contexts = [make_context(time=bars), make_context(time=16, seed=1)]
    chosen = model.choose_patch_size(contexts)
    assert chosen == model.choose_patch_size(contexts, forecast)
    assert np.isfinite(model.predict(contexts[0], 48).quantiles).all()


def test_without_a_patch_size_each_series_chooses_for_itself() -> None:
    model, context = make_model(), make_context(batch=5, time=150)
    together = model.predict(context, 20)
    assert set(together.metadata["patch_size"]) <= set(model.config.patch_sizes)
    for row in range(5):
        alone = model.predict(context.rows([row]), 20)
        assert alone.metadata["patch_size"] == [together.metadata["patch_size"][row]]
        np.testing.assert_allclose(
            alone.quantiles[0], together.quantiles[row], rtol=2e-3, atol=2e-3
        )


def test_forecasting_turns_dropout_off_and_leaves_the_mode_alone() -> None:
    model = make_model(patch_size=16, dropout=0.5, attention_dropout=0.5).train()
    context = make_context()
    first, second = model.predict(context, 8), model.predict(context, 8)
    np.testing.assert_array_equal(first.quantiles, second.quantiles)
    assert model.training
    batch = make_batch()
    assert float(model.loss(batch)[0].detach()) != float(model.loss(batch)[0].detach())


def test_small_chunks_give_the_same_forecast() -> None:
    context = make_context(batch=7)
    whole = make_model(patch_size=16).predict(context, 12)
    cut = make_model(patch_size=16, forecast_tokens=1).predict(context, 12)
    np.testing.assert_allclose(whole.quantiles, cut.quantiles, rtol=2e-3, atol=2e-3)


def gapped() -> np.ndarray:
    past = np.sin(np.arange(96, dtype=np.float32))[None, :, None] + 3
    past[0, 40:47] = np.nan
    return past


@pytest.mark.parametrize("mean_imputation", [True, False])
def test_without_scaling_unobserved_values_enter_as_zero(mean_imputation: bool) -> None:
    model = make_model(mean_imputation=mean_imputation, scaling=False, patch_size=16)
    np.testing.assert_allclose(
        model.predict(past=gapped(), horizon=16).quantiles,
        model.predict(past=np.nan_to_num(gapped()), horizon=16).quantiles,
        rtol=1e-4,
        atol=1e-5,
    )


def test_unobserved_values_enter_as_their_contexts_mean_or_as_zero_in_units_of_the_data() -> None:
    """Wherever the level is, the mean is as far away; of zero only multiples keep the distance."""
    ours, released = (make_model(mean_imputation=way, patch_size=16) for way in (True, False))
    for model, is_equivariant in ((ours, True), (released, False)):
        at_three, at_five = (
            model.predict(past=gapped() + shift, horizon=16).median - shift for shift in (0, 2)
        )
        assert np.allclose(at_three, at_five, atol=1e-2) == is_equivariant
    doubled = released.predict(past=2 * gapped(), horizon=16).median
    np.testing.assert_allclose(
        doubled, 2 * released.predict(past=gapped(), horizon=16).median, rtol=1e-3
    )
