"""Fracast beside its own package called directly."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tsfm.errors import ConfigError
from tsfm.models import fracast as module
from tsfm.models.base import QUANTILE_LEVELS, Context
from tsfm.models.fracast import Fracast, released
from tsfm.models.source import load_local

library = pytest.importorskip("fracast", reason="the extra zero-shot is not installed")


@pytest.fixture(scope="module")
def own():
    return library.FracastModel.from_pretrained(weights="fp32")


def _past(seed: int = 0) -> np.ndarray:
    return (
        np.random.default_rng(seed).standard_normal((2, 120, 2)).cumsum(axis=1).astype(np.float32)
    )


def test_the_released_model_is_the_one_described(own):
    count = sum(p.numel() for part in (own.core, own.head) for p in part.parameters())
    assert count == Fracast().info()["parameters"] == 85_001
    assert (own.context_length, own.horizon) == (2048, 48)
    assert tuple(own.quantiles) == QUANTILE_LEVELS


@pytest.mark.parametrize("horizon", [10, 60])
def test_forecasts_are_the_packages_of_each_variate(own, horizon):
    past = _past()
    past[0, 20:23, 1] = np.nan
    forecast = Fracast(series_at_once=3).predict(past=past, horizon=horizon)
    for row in range(2):
        expected = np.sort(own.forecast(past[row].T, horizon=horizon), axis=-1)
        np.testing.assert_allclose(
            forecast.quantiles[row].swapaxes(0, 1), expected, rtol=1e-4, atol=1e-4
        )
    np.testing.assert_array_equal(forecast.mean, forecast.quantile(0.5))


def test_other_levels_are_interpolated_and_held_beyond_the_outermost():
    past = _past()[:1, :, :1]
    native = Fracast().predict(past=past, horizon=4).quantiles
    forecast = Fracast().predict(Context(past=past), 4, (0.01, 0.1, 0.25, 0.9, 0.99))
    np.testing.assert_allclose(forecast.quantiles[..., 0], native[..., 0], rtol=1e-6)
    np.testing.assert_allclose(forecast.quantiles[..., 1], native[..., 0], rtol=1e-6)
    np.testing.assert_allclose(
        forecast.quantiles[..., 2], (native[..., 1] + native[..., 2]) / 2, rtol=1e-5
    )
    np.testing.assert_allclose(forecast.quantiles[..., 4], native[..., 8], rtol=1e-6)


def test_variates_with_too_little_to_see_are_left_out():
    past = _past()
    past[0, 7:, 0] = np.nan
    past[1, :, 1] = np.nan
    forecast = Fracast().predict(past=past, horizon=3)
    covered = np.isfinite(forecast.quantiles).all(axis=(1, 3))
    np.testing.assert_array_equal(covered, [[False, True], [True, False]])
    nothing = Fracast().predict(past=np.full((1, 20, 1), np.nan), horizon=3)
    assert np.isnan(nothing.mean).all()


def test_it_is_found_by_name_saved_and_told_when_it_is_missing(tmp_path, monkeypatch):
    model = load_local("fracast", weights="w8")
    assert load_local(model.save(tmp_path)) == model
    assert model.info()["licence"] == "Apache-2.0"
    with pytest.raises(ConfigError, match="weights"):
        Fracast(weights="fp8")
    with pytest.raises(ConfigError, match="series_at_once"):
        Fracast(series_at_once=0)
    monkeypatch.setitem(sys.modules, "fracast", None)
    module.released.cache_clear()
    with pytest.raises(ConfigError, match=r"zero-shot"):
        released("fp32")


def test_lorenz_is_forecast_better_than_by_persistence_and_worse_than_by_parroting():
    from scipy.integrate import solve_ivp

    def rhs(_, x):
        return [10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]]

    times = 20 + 0.025 * np.arange(560)
    starts = np.random.default_rng(0).normal(size=(4, 3)) * 5 + [0, 0, 25]
    states = np.stack(
        [solve_ivp(rhs, (0, times[-1]), x, "DOP853", times, rtol=1e-9).y.T for x in starts]
    )
    scaled = (states - states.mean(1, keepdims=True)) / states.std(1, keepdims=True)
    error = {
        name: np.abs(load_local(name).predict(past=scaled[:, :512], horizon=48).median
                     - scaled[:, 512:]).mean()
        for name in ("random_walk", "parroting", "fracast")
    }  # fmt: skip
    assert error["parroting"] < error["fracast"] < error["random_walk"]
