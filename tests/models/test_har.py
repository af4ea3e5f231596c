"""HAR beside statsmodels' OLS and arch's HARX, and its quantiles beside what happens."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from arch.univariate import HARX

from tsfm.errors import ConfigError
from tsfm.models.base import Context
from tsfm.models.har import Har
from tsfm.models.statistical import RandomWalk

LEVELS = (0.1, 0.5, 0.9)


def _persistent(batch: int, length: int, seed: int = 0) -> np.ndarray:
    """A process that is one of daily, weekly and monthly averages."""
    rng = np.random.default_rng(seed)
    series = np.zeros((batch, length + 100))
    for t in range(22, length + 100):
        averages = [series[:, t - lag : t].mean(axis=1) for lag in (1, 5, 22)]
        series[:, t] = 0.3 + np.dot([0.3, 0.3, 0.25], averages) + rng.standard_normal(batch)
    return series[:, 100:].astype(np.float32)


def _slow(past: np.ndarray, lags: tuple[int, ...], step: int) -> tuple[float, np.ndarray]:
    """Direct regression of one step by statsmodels, over bars where all is known."""
    frame = pd.DataFrame({lag: pd.Series(past).rolling(lag, min_periods=1).mean() for lag in lags})
    frame.iloc[: lags[-1] - 1] = np.nan
    outcome = pd.Series(past).shift(-step)
    known = frame.notna().all(axis=1) & outcome.notna()
    fit = sm.OLS(outcome[known], sm.add_constant(frame[known], has_constant="add")).fit()
    carried = pd.Series(past).ffill()
    last = [1.0, *(carried.iloc[-lag:].mean() for lag in lags)]
    return float(np.dot(last, fit.params)), fit.resid.to_numpy()


@pytest.mark.parametrize("lags", [(1, 5, 22), (2, 7)])
def test_direct_equals_a_regression_of_every_step_with_gaps_honoured(lags):
    past = _persistent(3, 250)
    past[1, 40:52] = np.nan
    past[1, 100] = past[2, -1] = np.nan
    past[2, :30] = np.nan
    forecast = Har(lags=lags).predict(Context(past=past[:, :, None]), 10, LEVELS)
    for row in range(3):
        for step in (1, 4, 10):
            point, residuals = _slow(past[row].astype(np.float64), lags, step)
            assert forecast.mean[row, step - 1, 0] == pytest.approx(point, rel=1e-4, abs=1e-4)
            expected = point + np.quantile(residuals, LEVELS)
            told = forecast.quantiles[row, step - 1, 0]
            np.testing.assert_allclose(told, expected, rtol=1e-3, atol=1e-3)


def test_iterated_equals_arch():
    past = _persistent(1, 400)[0]
    forecast = Har(method="iterated").predict(Context(past=past[None, :, None]), 12, LEVELS)
    fitted = HARX(past.astype(np.float64), lags=[1, 5, 22], rescale=False).fit(disp="off")
    expected = fitted.forecast(horizon=12).mean.to_numpy()[-1]
    np.testing.assert_allclose(forecast.mean[0, :, 0], expected, rtol=1e-4)
    first = fitted.resid[np.isfinite(fitted.resid)]
    told = forecast.quantiles[0, 0, 0] - forecast.mean[0, 0, 0]
    np.testing.assert_allclose(told, np.quantile(first, LEVELS), rtol=1e-3)


@pytest.mark.parametrize("method", ["direct", "iterated"])
def test_intervals_hold_as_often_as_they_say_and_errors_are_smaller_than_a_walks(method):
    paths = _persistent(400, 520, seed=3)
    context = Context(past=paths[:, :500, None])
    forecast = Har(method=method).predict(context, 20, LEVELS)
    walk = RandomWalk().predict(context, 20, LEVELS)
    actual = paths[:, 500:]
    low, median, high = np.moveaxis(forecast.quantiles[:, :, 0], -1, 0)
    inside = ((actual >= low) & (actual <= high)).mean()
    assert inside == pytest.approx(0.8, abs=0.04)
    assert np.abs(actual - median).mean() < 0.8 * np.abs(actual - walk.median[:, :, 0]).mean()


def test_a_series_in_a_batch_is_forecast_as_alone():
    past = _persistent(5, 120)[:, :, None]
    together = Har().predict(past=past, horizon=6).quantiles
    alone = [Har().predict(past=past[[k]], horizon=6).quantiles for k in range(5)]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length", [1, 24, 33])
def test_too_little_to_fit_is_left_to_the_random_walk(length):
    past = _persistent(1, 40)[:, :length, None]
    expected = RandomWalk().predict(past=past, horizon=5).quantiles
    np.testing.assert_array_equal(Har().predict(past=past, horizon=5).quantiles, expected)


@pytest.mark.parametrize("method", ["direct", "iterated"])
def test_constant_and_unobserved_series(method):
    past = np.stack([np.full(80, 3.0), np.full(80, np.nan)], axis=1)
    forecast = Har(method=method).predict(Context(past=past[None]), 4)
    np.testing.assert_allclose(forecast.quantiles[0, :, 0], 3.0, rtol=1e-6)
    assert np.isnan(forecast.quantiles[0, :, 1]).all()


def test_settings_are_checked_and_saved(tmp_path):
    for bad in ({"lags": ()}, {"lags": (5, 1)}, {"lags": (0, 5)}, {"method": "guess"}):
        with pytest.raises(ConfigError, match=next(iter(bad))):
            Har(**bad)
    made = Har(lags=[1, 7], method="iterated")
    assert Har.load(made.save(tmp_path)) == made
