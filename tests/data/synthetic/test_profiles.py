"""Seasonal profiles: standardised, repeated exactly, weighted by days."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.data.synthetic import profiles

COUNT = 300


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_profiles_have_mean_0_and_variance_1():
    tables = profiles.profiles(rng(), COUNT)
    assert tables.shape == (COUNT, profiles.BINS)
    np.testing.assert_allclose(tables.mean(axis=1), 0, atol=1e-4)
    np.testing.assert_allclose(tables.std(axis=1), 1, atol=1e-4)


@pytest.mark.parametrize("period", [7, 24, 48, 96, 288])
def test_a_season_is_repeated_exactly(period):
    tables = profiles.profiles(rng(), COUNT)
    season = profiles.phases(3 * period, np.full(COUNT, period), np.linspace(0, 1, COUNT))
    values = profiles.looked_up(tables, season)
    np.testing.assert_array_equal(values[:, :period], values[:, 2 * period :])
    assert (values.std(axis=1) > 0.2).mean() > 0.95


def test_days_of_the_week_follow_each_other():
    season = profiles.phases(24 * 15, np.array([24, 24]), np.array([0.0, 0.5]))
    days = profiles.week_days(season, np.array([0, 6]))
    np.testing.assert_array_equal(days[0], np.arange(24 * 15) // 24 % 7)
    np.testing.assert_array_equal(days[1], (6 + (np.arange(24 * 15) + 12) // 24) % 7)


def test_days_off_are_two_in_a_row():
    weights = profiles.week_weights(rng(), COUNT)
    working = (weights[:, :5] == 0).all(axis=1)
    assert working.mean() == pytest.approx(0.75, abs=0.08)
    assert (weights[working, 5:] != 0).all()
    assert (weights[~working] != 0).all()


def test_constants_stay_without_spread():
    values = np.stack([np.full(10, 3.0), np.arange(10.0)])
    found = profiles.standardised(values)
    np.testing.assert_array_equal(found[0], 0)
    np.testing.assert_allclose(found[1], (values[1] - 4.5) / values[1].std())
