from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import linregress

from tsfm.errors import ConfigError
from tsfm.models import model_class
from tsfm.models.base import Context
from tsfm.models.linear_extrapolation import LinearExtrapolation
from tsfm.models.statistical import RandomWalk

LEVELS = (0.1, 0.5, 0.841344746)


def _context(*series: np.ndarray) -> Context:
    return Context(past=np.stack(series, axis=1)[None])


@pytest.mark.parametrize("points", [2, 4, 7])
def test_the_line_and_its_past_errors(points: int) -> None:
    past = np.random.default_rng(1).normal(0, 1, 60).cumsum()
    forecast = LinearExtrapolation(points=points).predict(_context(past), 5, LEVELS)
    past = past.astype(np.float32).astype(np.float64)
    bars = np.arange(len(past))

    def line(end: int, steps: int) -> float:
        fitted = linregress(bars[end - points : end], past[end - points : end])
        return float(fitted.intercept + fitted.slope * (end - 1 + steps))

    mean = [line(len(past), steps) for steps in range(1, 6)]
    np.testing.assert_allclose(forecast.mean[0, :, 0], mean, rtol=1e-5, atol=1e-5)
    deviation = [
        np.sqrt(
            np.mean(
                [
                    (past[end - 1 + steps] - line(end, steps)) ** 2
                    for end in range(points, len(past) - steps + 1)
                ]
            )
        )
        for steps in range(1, 6)
    ]
    found = forecast.quantiles[0, :, 0, 2] - forecast.mean[0, :, 0]
    np.testing.assert_allclose(found, deviation, rtol=1e-4)


def test_gaps_leave_the_line_to_what_was_seen() -> None:
    past = 100 + 3.0 * np.arange(40)
    past[[20, 37]] = np.nan
    forecast = LinearExtrapolation().predict(_context(past), 3)
    np.testing.assert_allclose(forecast.mean[0, :, 0], 100 + 3 * np.array([40, 41, 42]), rtol=1e-5)
    np.testing.assert_allclose(forecast.quantiles[0, :, 0, 0], forecast.mean[0, :, 0], rtol=1e-4)


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_little_seen_falls_back_to_the_random_walk(length: int) -> None:
    past = np.arange(1.0, length + 1)
    long = np.append(np.random.default_rng(0).normal(0, 1, 30), [np.nan] * 3)
    forecast = LinearExtrapolation().predict(_context(long), 4)
    walk = RandomWalk().predict(_context(long), 4)
    np.testing.assert_array_equal(forecast.quantiles, walk.quantiles)
    short = LinearExtrapolation().predict(_context(past), 4)
    assert np.isfinite(short.quantiles).all()
    if length >= 2:
        np.testing.assert_allclose(short.mean[0, :, 0], length + np.arange(1, 5), rtol=1e-5)


def test_it_is_known_by_name_and_saved(tmp_path) -> None:
    assert model_class("linear_extrapolation") is LinearExtrapolation
    saved = LinearExtrapolation(points=3).save(tmp_path / "line")
    assert LinearExtrapolation.load(saved) == LinearExtrapolation(points=3)
    for points in (1, 5000):
        with pytest.raises(ConfigError, match="make no line"):
            LinearExtrapolation(points=points)
