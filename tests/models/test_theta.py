from __future__ import annotations

import numpy as np
import pytest
from statsforecast.models import Theta as Library

from tsfm.models import model_class
from tsfm.models.base import Context
from tsfm.models.statistical import RandomWalk, Theta


def _context(*series: np.ndarray) -> Context:
    return Context(past=np.stack(series, axis=1)[None])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_theta_equals_statsforecast(seed: int) -> None:
    rng = np.random.default_rng(seed)
    past = (50 + rng.normal(0.1, 1, 120).cumsum() + rng.normal(0, 1, 120)).astype(np.float32)
    ours = Theta().predict(_context(past), 24, (0.1, 0.5, 0.9))
    theirs = Library(season_length=1).forecast(past.astype(np.float64), 24, level=[80])
    np.testing.assert_allclose(ours.mean[0, :, 0], theirs["mean"], rtol=1e-5)
    width = ours.quantiles[0, :, 0, 2] - ours.quantiles[0, :, 0, 0]
    sampled = theirs["hi-80"] - theirs["lo-80"]
    np.testing.assert_allclose(width, sampled, rtol=0.35)
    assert np.median(width / sampled) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("length", [1, 3, 11, 12])
def test_short_and_constant_series_fall_back_to_the_random_walk(length: int) -> None:
    flat, walk = np.full(length, 7.0), np.random.default_rng(0).normal(0, 1, length).cumsum()
    forecast = Theta().predict(_context(flat, walk), 3)
    expected = RandomWalk().predict(_context(flat, walk), 3)
    np.testing.assert_array_equal(forecast.quantiles[:, :, 0], expected.quantiles[:, :, 0])
    assert np.isfinite(forecast.quantiles).all()
    if length < 12:
        np.testing.assert_array_equal(forecast.quantiles[:, :, 1], expected.quantiles[:, :, 1])


def test_it_is_known_by_name_and_saved(tmp_path) -> None:
    assert model_class("theta") is Theta
    assert Theta.load(Theta(max_history=99).save(tmp_path / "theta")) == Theta(max_history=99)
