"""AutoARIMA beside the library called directly."""

from __future__ import annotations

import numpy as np
import pytest
from statsforecast.models import AutoARIMA as Library

from tsfm.errors import ConfigError
from tsfm.models.auto_arima import AutoARIMA
from tsfm.models.base import Context
from tsfm.models.statistical import RandomWalk


def _autoregressive(length: int = 90) -> np.ndarray:
    from scipy.signal import lfilter

    noise = np.random.default_rng(1).standard_normal(length + 50)
    return (10 + lfilter([1], [1, -0.7], noise)[50:]).astype(np.float32)


def _seasonal(length: int = 60) -> np.ndarray:
    noise = np.random.default_rng(2).standard_normal(length) * 0.3
    return (np.tile([0.0, 4, 1, 2], length)[:length] + noise).astype(np.float32)


@pytest.mark.parametrize(("past", "season"), [(_autoregressive(), 1), (_seasonal(), 4)])
def test_it_equals_statsforecast(past, season):
    context = Context(past=past[None, :, None], seasonality=season)
    ours = AutoARIMA().predict(context, 8, (0.025, 0.1, 0.5, 0.9))
    library = Library(season_length=season)
    theirs = library.forecast(past.astype(np.float64), 8, level=[80, 95])
    np.testing.assert_allclose(ours.mean[0, :, 0], theirs["mean"], rtol=1e-5, atol=1e-5)
    for place, column in enumerate(("lo-95", "lo-80", "mean", "hi-80")):
        told = ours.quantiles[0, :, 0, place]
        np.testing.assert_allclose(told, theirs[column], rtol=1e-4, atol=1e-4)


def test_a_long_season_is_not_searched():
    context = Context(past=_seasonal()[None, :, None], seasonality=4)
    plain = AutoARIMA(longest_season=1).predict(context, 4)
    direct = Library(season_length=1).forecast(_seasonal().astype(np.float64), 4)
    np.testing.assert_allclose(plain.mean[0, :, 0], direct["mean"], rtol=1e-5)


@pytest.mark.parametrize("length", [1, 11, 30])
def test_short_and_constant_series_are_the_random_walks(length):
    past = np.full((1, length, 1), 2.0)
    expected = RandomWalk().predict(past=past, horizon=3).quantiles
    np.testing.assert_array_equal(AutoARIMA().predict(past=past, horizon=3).quantiles, expected)


def test_gaps_are_carried_and_settings_checked(tmp_path):
    past = _autoregressive()
    past[40:43] = np.nan
    filled = past.copy()
    filled[40:43] = past[39]
    ours, direct = (AutoARIMA().predict(past=x, horizon=3).quantiles for x in (past, filled))
    np.testing.assert_array_equal(ours, direct)
    with pytest.raises(ConfigError, match="longest_season"):
        AutoARIMA(longest_season=0)
    assert AutoARIMA.load(AutoARIMA(max_history=99).save(tmp_path)).max_history == 99
