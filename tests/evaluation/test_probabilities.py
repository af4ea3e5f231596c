from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from tsfm.evaluation.probabilities import probability_below

LEVELS = tuple(round(0.1 * k, 1) for k in range(1, 10))


@given(
    mean=st.floats(40, 300),
    spread=st.floats(0.5, 60),
    threshold=st.floats(20, 350),
    levels=st.sampled_from([LEVELS, (0.1, 0.5, 0.9), (0.25, 0.75)]),
)
def test_normal_forecasts_are_read_exactly(
    mean: float, spread: float, threshold: float, levels: tuple[float, ...]
) -> None:
    quantiles = norm.ppf(levels, mean, spread)
    expected = norm.cdf(threshold, mean, spread)
    assert probability_below(quantiles, levels, threshold) == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.floats(40, 300), min_size=9, max_size=9), st.floats(20, 350), st.floats(0, 50))
def test_more_is_below_a_higher_threshold(
    values: list[float], threshold: float, more: float
) -> None:
    quantiles = np.sort(values)
    low, high = (probability_below(quantiles, LEVELS, t) for t in (threshold, threshold + more))
    assert 0 <= low <= high + 1e-12
    assert high <= 1


def test_levels_are_met_and_points_are_certain() -> None:
    quantiles = np.array([60.0, 61, 65, 66, 70, 80, 95, 99, 120])
    found = [float(probability_below(quantiles, LEVELS, value)) for value in quantiles]
    np.testing.assert_allclose(found, LEVELS)
    point = np.full((2, 9), 70.0)
    np.testing.assert_array_equal(probability_below(point, LEVELS, 70.0), 0)
    np.testing.assert_array_equal(probability_below(point, LEVELS, 70.1), 1)
    point[0, 0] = np.nan
    assert np.isnan(probability_below(point, LEVELS, 70.0)).tolist() == [True, False]


def test_repeated_quantiles_jump() -> None:
    quantiles = np.array([60.0, 70, 70, 70, 80])
    levels = (0.1, 0.3, 0.5, 0.7, 0.9)
    assert probability_below(quantiles, levels, 70.0) == pytest.approx(0.3)
    assert probability_below(quantiles, levels, 70.0 + 1e-9) == pytest.approx(0.7, abs=1e-6)
