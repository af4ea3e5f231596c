"""The drift beside statsforecast's, and its intervals beside what happens."""

from __future__ import annotations

import numpy as np
import pytest
from statsforecast.models import RandomWalkWithDrift

from tsfm.models.base import Context
from tsfm.models.drift import Drift
from tsfm.models.source import load_local
from tsfm.models.statistical import RandomWalk


@pytest.mark.parametrize("length", [3, 5, 40, 300])
def test_it_equals_statsforecast(length):
    past = 5 + np.random.default_rng(length).normal(0.3, 1, length).cumsum()
    past = past.astype(np.float32)
    ours = Drift().predict(past=past, horizon=24, quantile_levels=(0.1, 0.5, 0.9))
    library = RandomWalkWithDrift().fit(past.astype(np.float64))
    theirs = library.predict(24, level=[80])
    np.testing.assert_allclose(ours.mean[0, :, 0], theirs["mean"], rtol=1e-5)
    np.testing.assert_allclose(ours.quantiles[0, :, 0, 0], theirs["lo-80"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours.quantiles[0, :, 0, 2], theirs["hi-80"], rtol=1e-4, atol=1e-4)


def test_intervals_hold_as_often_as_they_say_also_far_ahead():
    rng = np.random.default_rng(0)
    paths = rng.normal(0.2, 1, (2000, 80)).cumsum(axis=1)
    forecast = Drift().predict(past=paths[:, :50, None], horizon=30, quantile_levels=(0.1, 0.9))
    low, high = np.moveaxis(forecast.quantiles[:, :, 0], -1, 0)
    inside = ((paths[:, 50:] >= low) & (paths[:, 50:] <= high)).mean(axis=0)
    assert inside[[0, 9, 29]] == pytest.approx([0.8, 0.8, 0.8], abs=0.035)


def test_a_gap_counts_its_bars_and_a_missing_end_widens():
    line = np.array([0.0, 1, np.nan, np.nan, 4, 5, 6, np.nan, np.nan])
    forecast = Drift().predict(past=line, horizon=3)
    np.testing.assert_allclose(forecast.mean[0, :, 0], [9, 10, 11], rtol=1e-6)
    walk = np.random.default_rng(0).standard_normal(30).cumsum()
    cut = np.append(walk, [np.nan] * 4)
    whole, later = Drift().predict(past=walk, horizon=9), Drift().predict(past=cut, horizon=5)
    np.testing.assert_allclose(later.quantiles, whole.quantiles[:, 4:], rtol=1e-5)


@pytest.mark.parametrize("length", [1, 2])
def test_two_bars_tell_no_spread_around_a_drift(length):
    past = np.arange(length) + 1.0
    expected = RandomWalk().predict(past=past, horizon=3).quantiles
    np.testing.assert_array_equal(Drift().predict(past=past, horizon=3).quantiles, expected)


def test_constant_and_unobserved_series():
    past = np.stack([np.full(20, 3.0), np.full(20, np.nan)], axis=1)
    forecast = Drift().predict(Context(past=past[None]), 4)
    np.testing.assert_array_equal(forecast.quantiles[0, :, 0], 3.0)
    assert np.isnan(forecast.quantiles[0, :, 1]).all()


def test_naive_is_the_random_walk_by_another_name():
    assert load_local("naive") == load_local("random_walk")
    assert isinstance(load_local("naive", max_history=9), RandomWalk)
