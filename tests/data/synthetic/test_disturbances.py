"""Disturbances: part of the series changes, all stay standardised; mixtures and gaps."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.data.synthetic.disturbances import disturbed, mixed, unobserved

COUNT, LENGTH = 600, 200


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(COUNT, LENGTH)).cumsum(1).astype(np.float32)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_disturbed_series_are_standardised(values):
    found = disturbed(rng(), values)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-3)
    np.testing.assert_allclose(found.std(axis=1), 1, atol=1e-3)
    np.testing.assert_array_equal(found, disturbed(rng(), values))


def test_part_of_the_series_keep_their_course(values):
    found = disturbed(rng(), values)
    like = np.array([abs(np.corrcoef(a, b)[0, 1]) for a, b in zip(values, found)])
    assert 0.3 < (like > 0.99999).mean() < 0.8
    assert np.median(like) > 0.99


def test_some_series_are_cut_off_or_rounded(values):
    found = disturbed(rng(), values)
    distinct = np.array([len(np.unique(row)) for row in found])
    assert 0.1 < (distinct < LENGTH - 10).mean() < 0.5


def test_mixtures_lie_between_series(values):
    found = mixed(rng(), values)
    assert found.shape == values.shape
    np.testing.assert_allclose(found.std(axis=1), 1, atol=1e-3)
    pure = np.repeat(values[:1], COUNT, axis=0)
    standard = (pure - pure.mean()) / pure.std()
    np.testing.assert_allclose(mixed(rng(), pure), standard, atol=1e-2)


def test_gaps_are_in_a_share_of_the_series(values):
    found = unobserved(rng(), values, share=0.5)
    missing = np.isnan(found)
    assert missing.any(axis=1).mean() == pytest.approx(0.5, abs=0.1)
    np.testing.assert_array_equal(found[~missing], values[~missing])
    assert missing.mean(axis=1).max() < 0.8
    late = missing[:, 0] & missing[:, 4]
    assert late.any()
    assert not np.isnan(unobserved(rng(), values, share=0)).any()
