"""Series of parts: seasons where they should be, all kinds finite, none like another."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.data.synthetic import structures

KINDS = (structures.structures, structures.pulses, structures.walks, structures.oscillations)


def autocorrelation(values: np.ndarray, lag: int) -> np.ndarray:
    centred = values - values.mean(axis=1, keepdims=True)
    product = (centred[:, :-lag] * centred[:, lag:]).mean(axis=1)
    return product / centred.var(axis=1)


@pytest.mark.parametrize("make", KINDS)
def test_every_kind_is_finite_varied_and_decided_by_the_generator(make):
    first, again, other = (make(np.random.default_rng(seed), 100, 300) for seed in (0, 0, 1))
    assert first.shape == (100, 300)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert (first.std(axis=1) > 1e-4).all()
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.abs(np.triu(np.corrcoef(first), 1)).mean() < 0.4


def test_many_structures_have_a_daily_season():
    """A day after, part of the series are more alike than half a day after; walks are not."""
    seasonal, aimless = (
        make(np.random.default_rng(0), 400, 24 * 20)
        for make in (structures.structures, structures.walks)
    )
    repeats = [autocorrelation(x, 24) > autocorrelation(x, 12) + 0.2 for x in (seasonal, aimless)]
    assert 0.15 < repeats[0].mean() < 0.8
    assert repeats[1].mean() < 0.05


def test_pulses_rise_faster_than_they_decay():
    values = structures.pulses(np.random.default_rng(0), 400, 600)
    steps = np.diff(values, axis=1)
    skew = (steps**3).mean(axis=1) / (steps**2).mean(axis=1) ** 1.5
    assert np.median(skew) > 0.1


def test_walks_remember_where_they_are():
    values = structures.walks(np.random.default_rng(0), 400, 600)
    assert (autocorrelation(values, 1) > 0.9).mean() > 0.4
