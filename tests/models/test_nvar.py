"""NVAR beside scikit-learn, and on maps that it can represent exactly."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import PolynomialFeatures

from tsfm.errors import ConfigError
from tsfm.models.base import Context
from tsfm.models.nvar import Nvar, Shape, features, fitted
from tsfm.models.source import load_local


def _henon(length: int, seed: int = 0) -> np.ndarray:
    state = np.random.default_rng(seed).uniform(-0.1, 0.1, 2)
    states = np.empty((length + 100, 2))
    for k in range(length + 100):
        state = np.array([1 - 1.4 * state[0] ** 2 + state[1], 0.3 * state[0]])
        states[k] = state
    return states[100:]


def _lorenz(length: int, seed: int = 0) -> np.ndarray:
    from scipy.integrate import solve_ivp

    def rhs(_, x):
        return [10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]]

    start = np.random.default_rng(seed).normal(size=3) * 5 + [0, 0, 25]
    times = 20 + 0.025 * np.arange(length)
    return solve_ivp(rhs, (0, times[-1]), start, "DOP853", times, rtol=1e-9, atol=1e-9).y.T


def test_features_are_those_of_scikit_learn():
    inputs = np.random.default_rng(0).standard_normal((30, 4))
    expected = PolynomialFeatures(2).fit_transform(inputs)
    np.testing.assert_allclose(features(inputs, True), expected)
    np.testing.assert_allclose(features(inputs, False), expected[:, :5])


@pytest.mark.parametrize("quadratic", [True, False])
def test_coefficients_are_those_of_scikit_learn(quadratic):
    series = np.random.default_rng(1).standard_normal((2, 80, 2))
    known = np.ones(series.shape, bool)
    known[1, 40, 0] = False
    weights = fitted(series, known, Shape(2, 3, quadratic), np.array([1e-3, 1e-2]))
    for row, ridge in enumerate((1e-3, 1e-2)):
        times = [t for t in range(3, 79) if known[row, [t - 3, t, t + 1]].all()]
        inputs = np.stack([np.r_[series[row, t], series[row, t - 3]] for t in times])
        steps = np.stack([series[row, t + 1] - series[row, t] for t in times])
        design = PolynomialFeatures(2 if quadratic else 1).fit_transform(inputs)
        reference = Ridge(alpha=ridge * len(times), fit_intercept=False).fit(design, steps)
        np.testing.assert_allclose(weights[row], reference.coef_.T, atol=1e-8)


def test_a_quadratic_map_is_recovered():
    states = _henon(320)
    forecast = Nvar(delays=1).predict(past=states[:300], horizon=20)
    error = np.abs(forecast.mean[0] - states[300:])
    assert error[:10].max() < 1e-3
    assert forecast.is_degenerate
    assert forecast.metadata["diverged"] == 0


def test_a_linear_oscillation_is_recovered():
    time = np.arange(400)
    past = np.stack([np.sin(time / 9), np.cos(time / 9) + 0.5 * np.sin(time / 23)], axis=1)
    forecast = Nvar(quadratic=False).predict(past=past[:300], horizon=100)
    np.testing.assert_allclose(forecast.mean[0], past[300:], atol=0.02)


def test_lorenz_is_foreseen_for_lyapunov_times():
    states = np.stack([_lorenz(576, seed) for seed in range(4)])
    scaled = (states - states.mean((0, 1))) / states.std((0, 1))
    forecast = Nvar().predict(past=scaled[:, :512], horizon=64)
    assert np.median(np.abs(forecast.mean - scaled[:, 512:])) < 0.02


def test_a_series_is_forecast_the_same_alone_in_other_units_and_beside_others():
    states = np.stack([_henon(200, seed) for seed in range(3)]).astype(np.float32)
    together = Nvar().predict(past=states, horizon=5).mean
    alone = Nvar().predict(past=states[1], horizon=5).mean
    np.testing.assert_allclose(together[1], alone[0], rtol=1e-4, atol=1e-4)
    scaled = Nvar().predict(past=states[1] * 1024 + 512, horizon=5).mean
    np.testing.assert_allclose((scaled[0] - 512) / 1024, alone[0], atol=2e-3)


def test_the_penalty_is_the_one_that_forecasts_the_end_of_the_context_best():
    states = np.stack([_henon(300, seed) for seed in range(3)])
    noisy = states + 0.05 * np.random.default_rng(0).standard_normal(states.shape)
    model = Nvar(delays=1)
    known, shape = np.ones(states.shape, bool), Shape(1, 1, True)
    clean = model._chosen_ridge(states, known, shape)
    assert (clean <= 1e-6).all()
    assert (model._chosen_ridge(noisy, known, shape) >= clean).all()
    only = Nvar(delays=1, ridge=(1e-3,))._chosen_ridge(states, known, shape)
    np.testing.assert_array_equal(only, 1e-3)


def test_divergence_falls_back_to_the_mean():
    past = np.exp(np.arange(60) / 10)[:, None]
    forecast = Nvar(ridge=(1e-9,)).predict(past=past, horizon=50)
    assert np.isfinite(forecast.quantiles).all()
    assert forecast.metadata["diverged"] == 1
    np.testing.assert_allclose(forecast.mean[0, -1, 0], past.mean(), rtol=1e-5)
    spread = np.abs(past - past.mean()).max()
    assert np.abs(forecast.mean - past.mean()).max() <= 1.5 * spread * (1 + 1e-6)


@pytest.mark.parametrize("length", [1, 2, 4, 7, 12])
@pytest.mark.parametrize("width", [1, 3])
def test_short_contexts_have_forecasts(length, width):
    past = np.random.default_rng(length).standard_normal((2, length, width))
    forecast = Nvar().predict(past=past, horizon=6)
    assert np.isfinite(forecast.mean).all()
    if length < 3:
        np.testing.assert_allclose(forecast.mean[:, -1], past[:, -1], rtol=1e-5)


def test_wide_series_leave_features_out_and_stay_affordable():
    past = np.random.default_rng(0).standard_normal((2, 300, 40)).cumsum(axis=1)
    shape = Nvar()._shape(300, 40)
    assert not shape.quadratic
    assert shape.count(40) <= 150
    assert np.isfinite(Nvar().predict(past=past, horizon=10).mean).all()


def test_gaps_constants_and_missing_variates():
    states = _henon(240).astype(np.float32)
    past = np.full((2, 220, 4), np.nan, np.float32)
    past[:, :, :2] = states[:220]
    past[0, [30, 31, 99], 0] = np.nan
    past[1, :100] = np.nan
    past[:, :, 2] = 5.0
    past[1, :, 2] = np.nan
    variates = np.array([[True, True, True, False], [True, True, False, False]])
    forecast = Nvar(delays=1).predict(Context(past=past, variates=variates), 5)
    assert np.abs(forecast.mean[:, :, :2] - states[220:225]).max() < 0.02
    np.testing.assert_array_equal(forecast.mean[0, :, 2], 5.0)
    assert np.isnan(forecast.mean[1, :, 2]).all()
    assert np.isnan(forecast.mean[:, :, 3]).all()


def test_settings_are_checked_and_saved(tmp_path):
    for bad in ({"delays": 0}, {"ridge": (0.0,)}, {"ridge": ()}, {"reach": 0.5}, {"stride": 0}):
        with pytest.raises(ConfigError, match=next(iter(bad))):
            Nvar(**bad)
    model = Nvar(delays=2, ridge=(1e-3, 1e-5))
    assert load_local(model.save(tmp_path)) == model
