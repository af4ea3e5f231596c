"""Context parroting beside a slow loop, and on signals that repeat exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.errors import ConfigError
from tsfm.models.base import Context
from tsfm.models.parroting import Parroting
from tsfm.models.source import load_local


def _slow(past: np.ndarray, embedding: int, horizon: int) -> np.ndarray:
    """One series ``[time, variate]`` without gaps."""
    length, spread = len(past), past.std(axis=0)
    best, nearest = None, np.inf
    for end in range(embedding - 1, length - embedding):
        total = 0.0
        for lag in range(embedding):
            for variate in range(past.shape[1]):
                gap = past[end - lag, variate] - past[length - 1 - lag, variate]
                total += (gap / spread[variate]) ** 2
        if total < nearest:
            best, nearest = end, total
    extended = list(past)
    for step in range(horizon):
        extended.append(extended[best + 1 + step])
    return np.array(extended[length:])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    embedding=st.integers(1, 6),
    width=st.integers(1, 3),
    horizon=st.integers(1, 60),
)
def test_the_forecast_is_that_of_a_slow_search(seed, embedding, width, horizon):
    past = np.random.default_rng(seed).standard_normal((3, 40, width)).astype(np.float32)
    forecast = Parroting(embedding=embedding).predict(past=past, horizon=horizon)
    for row in range(3):
        expected = _slow(past[row].astype(np.float64), embedding, horizon)
        np.testing.assert_array_equal(forecast.mean[row], expected.astype(np.float32))


@pytest.mark.parametrize("embedding", [1, 5, 20])
@pytest.mark.parametrize("horizon", [7, 300])
def test_periodic_signals_go_on_exactly(embedding, horizon):
    period, length = 25, 120
    one = np.random.default_rng(0).standard_normal((period, 2)).astype(np.float32)
    signal = np.tile(one, (20, 1))
    forecast = Parroting(embedding=embedding).predict(past=signal[:length], horizon=horizon)
    np.testing.assert_array_equal(forecast.mean[0], signal[length : length + horizon])
    np.testing.assert_array_equal(forecast.quantiles[0, :, :, 0], forecast.mean[0])
    assert forecast.is_degenerate


def test_variates_in_other_units_find_the_same_neighbour():
    past = np.random.default_rng(1).standard_normal((1, 200, 3)).astype(np.float32)
    factor = np.array([1.0, 1024.0, 1 / 64], np.float32)
    plain = Parroting().predict(past=past, horizon=30).mean
    np.testing.assert_array_equal(
        Parroting().predict(past=past * factor, horizon=30).mean, plain * factor
    )


def test_each_variate_by_itself_is_as_if_it_were_alone():
    past = np.random.default_rng(2).standard_normal((2, 150, 3)).astype(np.float32)
    separate = Parroting(multivariate=False, neighbours=3).predict(past=past, horizon=20)
    for variate in range(3):
        alone = Parroting(neighbours=3).predict(past=past[:, :, variate : variate + 1], horizon=20)
        np.testing.assert_array_equal(separate.quantiles[:, :, variate], alone.quantiles[:, :, 0])


def test_several_neighbours_are_apart_and_give_quantiles():
    rng = np.random.default_rng(3)
    past = np.sin(np.arange(400) / 7)[None, :, None] + 0.3 * rng.standard_normal((4, 400, 1))
    levels = (0.1, 0.5, 0.9)
    forecast = Parroting(neighbours=9).predict(Context(past=past), 12, levels)
    assert not forecast.is_degenerate
    assert (np.diff(forecast.quantiles, axis=-1) > 0).any()
    assert (np.diff(forecast.quantiles, axis=-1) >= 0).all()
    paths = Parroting(neighbours=9)._continuations(past.astype(np.float32), 12)
    np.testing.assert_allclose(forecast.mean, paths.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(forecast.quantiles[..., 1], np.median(paths, axis=1), rtol=1e-6)
    from tsfm.models.parroting import nearest_ends

    ends = np.sort(nearest_ends(past, 5, 9), axis=1)
    assert (np.diff(ends, axis=1) >= 5).all()


def test_gaps_are_left_out_of_the_comparison_and_bridged_in_the_copy():
    period = np.random.default_rng(4).standard_normal(20).astype(np.float32)
    signal = np.tile(period, 12)
    past = signal[:200].copy()
    past[[3, 57, 121, 196]] = np.nan
    forecast = Parroting(embedding=10).predict(past=past, horizon=15)
    wrong = forecast.mean[0, :, 0] != signal[200:215]
    assert wrong.sum() <= 1
    assert np.isfinite(forecast.mean).all()


def test_a_forecast_does_not_depend_on_the_rest_of_the_batch():
    rng = np.random.default_rng(5)
    long = rng.standard_normal((1, 120, 2)).astype(np.float32)
    padded = np.full((1, 120, 2), np.nan, np.float32)
    padded[:, 60:] = rng.standard_normal((1, 60, 2))
    together = Parroting().predict(past=np.concatenate([long, padded]), horizon=9).mean
    np.testing.assert_array_equal(
        together[1], Parroting().predict(past=padded[0, 60:], horizon=9).mean[0]
    )
    np.testing.assert_array_equal(together[0], Parroting().predict(past=long, horizon=9).mean[0])


def test_what_is_too_short_or_never_observed():
    short = Parroting(embedding=5).predict(past=np.array([1.0, 2.0, 3.0]), horizon=4)
    np.testing.assert_array_equal(short.mean[0, :, 0], 3.0)
    past = np.random.default_rng(6).standard_normal((1, 60, 2))
    past[:, :, 1] = np.nan
    forecast = Parroting().predict(past=past, horizon=4)
    assert np.isfinite(forecast.mean[..., 0]).all()
    assert np.isnan(forecast.mean[..., 1]).all()


def test_settings_are_checked_kept_and_saved(tmp_path):
    for bad in ({"embedding": 0}, {"neighbours": 0}):
        with pytest.raises(ConfigError, match=next(iter(bad))):
            Parroting(**bad)
    saved = Parroting(embedding=7, multivariate=False).save(tmp_path)
    assert load_local(saved) == Parroting(embedding=7, multivariate=False)
    assert load_local("parroting", neighbours=3).neighbours == 3
