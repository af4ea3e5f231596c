"""Marginals against closed forms of scipy and scoringrules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scoringrules
from scipy import stats

from tsfm.models.marginals import (
    JoinedMarginals,
    Marginals,
    NormalMarginals,
    ScaledMarginals,
)

LEVELS = np.array([0.02, 0.3, 0.5, 0.99])


@dataclass
class Frozen(Marginals):
    """A distribution of scipy, for every element alike."""

    law: Any

    def cdf(self, value: np.ndarray) -> np.ndarray:
        return self.law.cdf(value)

    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        return self.law.ppf(levels)


def make_normal(*shape: int, seed: int = 0) -> NormalMarginals:
    rng = np.random.default_rng(seed)
    return NormalMarginals(mean=rng.normal(size=shape), deviation=np.exp(rng.normal(size=shape)))


@pytest.mark.parametrize(
    ("law", "closed"),
    [
        (stats.norm(1, 2), lambda y: scoringrules.crps_normal(y, 1, 2, backend="numpy")),
        (stats.t(3), lambda y: scoringrules.crps_t(y, 3, backend="numpy")),
        (stats.expon(), lambda y: scoringrules.crps_exponential(y, 1.0, backend="numpy")),
    ],
)
def test_quadrature_gives_closed_forms(law: Any, closed: Any) -> None:
    y = np.linspace(-6, 9, 31).reshape(1, 31)
    np.testing.assert_allclose(Frozen(law).crps(y), closed(y), rtol=1e-4)


def test_what_is_not_observed_is_not_scored() -> None:
    for one in (Frozen(stats.norm()), NormalMarginals(mean=np.zeros(2), deviation=np.ones(2))):
        found = one.crps(np.array([np.nan, 0.0]))
        assert np.isnan(found[0])
        assert np.isfinite(found[1])


def test_normal_is_scipys_and_scoringrules() -> None:
    normal = make_normal(3, 4, 2)
    y = normal.mean + 3 * np.random.default_rng(1).normal(size=normal.mean.shape)
    law = stats.norm(normal.mean[..., None], normal.deviation[..., None])
    np.testing.assert_allclose(normal.cdf(y[..., None]), law.cdf(y[..., None]))
    np.testing.assert_allclose(normal.quantiles(LEVELS), law.ppf(LEVELS))
    closed = scoringrules.crps_normal(y, normal.mean, normal.deviation, backend="numpy")
    np.testing.assert_allclose(normal.crps(y), closed, rtol=1e-9)
    np.testing.assert_allclose(normal.crps(y), Marginals.crps(normal, y), rtol=1e-4)


def test_no_deviation_is_a_point_and_no_mean_is_unknown() -> None:
    point = NormalMarginals(mean=np.array([1.0, np.nan]), deviation=np.array([0.0, np.nan]))
    np.testing.assert_array_equal(point.crps(np.array([3.0, 3.0])), [2.0, np.nan])
    np.testing.assert_array_equal(
        point.cdf(np.array([[0.9, 1.0, 2.0], [0.0, 1.0, 2.0]])), [[0, 1, 1], [np.nan] * 3]
    )
    np.testing.assert_array_equal(point.quantiles(LEVELS), [[1.0] * 4, [np.nan] * 4])


def test_scaling_is_that_of_a_normal() -> None:
    normal = make_normal(3, 5, 2)
    low, wide = np.array([[[-3.0, 7.0]]]), np.array([[[0.1, 20.0]]])
    scaled = ScaledMarginals(of=normal, location=low, scale=wide)
    plain = NormalMarginals(mean=low + wide * normal.mean, deviation=wide * normal.deviation)
    y = plain.mean + plain.deviation
    np.testing.assert_allclose(scaled.crps(y), plain.crps(y))
    np.testing.assert_allclose(scaled.cdf(y[..., None]), plain.cdf(y[..., None]))
    np.testing.assert_allclose(scaled.quantiles(LEVELS), plain.quantiles(LEVELS))


def test_joined_rows_are_in_their_places() -> None:
    whole = make_normal(5, 3, 2)
    parts = [
        (rows, NormalMarginals(mean=whole.mean[rows], deviation=whole.deviation[rows]))
        for rows in (np.array([3, 0]), np.array([1, 2, 4]))
    ]
    joined = JoinedMarginals(parts=parts)
    y = whole.mean + 1
    own = np.broadcast_to(LEVELS, (*y.shape, 4))
    np.testing.assert_array_equal(joined.crps(y), whole.crps(y))
    np.testing.assert_array_equal(joined.cdf(y[..., None]), whole.cdf(y[..., None]))
    np.testing.assert_array_equal(joined.quantiles(LEVELS), whole.quantiles(LEVELS))
    np.testing.assert_array_equal(joined.quantiles(own), whole.quantiles(own))
