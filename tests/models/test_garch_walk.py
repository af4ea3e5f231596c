"""The random walk with GARCH variance beside arch, and its intervals beside what happens."""

from __future__ import annotations

import numpy as np
import pytest
from arch.univariate import GARCH, StudentsT, ZeroMean

from tsfm.models.base import Context
from tsfm.models.garch_walk import GarchWalk
from tsfm.models.statistical import RandomWalk

LEVELS = (0.1, 0.5, 0.9)


def _prices(length: int, degrees: float = 6.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    steps, variance = np.zeros(length), 1.0
    shocks = rng.standard_t(degrees, length) * np.sqrt((degrees - 2) / degrees)
    for t in range(length):
        steps[t] = np.sqrt(variance) * shocks[t]
        variance = 0.05 + 0.12 * steps[t] ** 2 + 0.83 * variance
    return (100 + steps.cumsum()).astype(np.float32)


def test_the_variance_is_archs_added_up_and_the_first_step_a_student_t():
    past = _prices(500)
    forecast = GarchWalk().predict(Context(past=past[None, :, None]), 10, LEVELS)
    steps = np.diff(past.astype(np.float64))
    size = np.sqrt((steps**2).mean())
    model = ZeroMean(steps / size, volatility=GARCH(), distribution=StudentsT(), rescale=False)
    fitted = model.fit(disp="off")
    variance = fitted.forecast(horizon=10, reindex=False).variance.to_numpy()[-1].cumsum()
    innovation = StudentsT().ppf([0.9], fitted.params.to_numpy()[-1:])[0]
    reach = forecast.quantiles[0, :, 0, 2] - past[-1]
    np.testing.assert_allclose(forecast.mean[0, :, 0], past[-1])
    assert reach[0] == pytest.approx(innovation * np.sqrt(variance[0]) * size, rel=1e-3)
    standard = reach / (np.sqrt(variance) * size)
    assert innovation < standard[-1] < 1.2816
    assert (np.diff(standard) > 0).all()


def test_intervals_follow_volatility_and_hold_as_often_as_they_say():
    paths = np.stack([_prices(420, seed=k) for k in range(120)])
    context = Context(past=paths[:, :400, None])
    forecast, walk = (one.predict(context, 20, LEVELS) for one in (GarchWalk(), RandomWalk()))
    actual = paths[:, 400:]
    low, _, high = np.moveaxis(forecast.quantiles[:, :, 0], -1, 0)
    assert ((actual >= low) & (actual <= high)).mean() == pytest.approx(0.8, abs=0.05)

    def loss(told: np.ndarray) -> float:
        errors = actual[..., None] - told[:, :, 0]
        return float(np.maximum(np.array(LEVELS) * errors, (np.array(LEVELS) - 1) * errors).mean())

    assert loss(forecast.quantiles) < loss(walk.quantiles)


@pytest.mark.parametrize("length", [1, 2, 40])
def test_a_short_series_has_constant_variance(length):
    past = _prices(length)[None, :, None]
    ours = GarchWalk().predict(past=past, horizon=4, quantile_levels=LEVELS).quantiles
    walk = RandomWalk().predict(past=past, horizon=4, quantile_levels=LEVELS).quantiles
    np.testing.assert_allclose(ours, walk, rtol=1e-5)


def test_a_missing_end_widens_and_nothing_observed_stays_unknown():
    past = _prices(200)
    cut = np.append(past, [np.nan] * 3).astype(np.float32)
    whole, later = (GarchWalk().predict(past=x, horizon=6).quantiles for x in (past, cut))
    np.testing.assert_allclose(later[:, :3], whole[:, 3:], rtol=1e-5)
    nothing = np.stack([past, np.full(200, np.nan), np.full(200, 7.0)], axis=1)
    forecast = GarchWalk().predict(past=nothing, horizon=4)
    assert np.isnan(forecast.mean[0, :, 1]).all()
    np.testing.assert_array_equal(forecast.quantiles[0, :, 2], 7.0)


def test_it_survives_its_directory(tmp_path):
    assert GarchWalk.load(GarchWalk(max_history=300).save(tmp_path)) == GarchWalk(max_history=300)
