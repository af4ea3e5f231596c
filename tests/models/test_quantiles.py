from __future__ import annotations

import numpy as np
import torch
from chronos.utils import interpolate_quantiles
from hypothesis import given
from hypothesis import strategies as st

from tsfm.models.quantiles import between_levels

NINE = [k / 10 for k in range(1, 10)]


@given(st.lists(st.floats(0.001, 0.999), min_size=1, max_size=6, unique=True), st.integers(0, 99))
def test_quantiles_are_those_of_chronos_forecasting(levels, seed):
    values = np.sort(np.random.default_rng(seed).standard_normal((3, 5, 9)), axis=-1)
    levels = sorted(levels)
    expected = interpolate_quantiles(levels, NINE, torch.tensor(values)).numpy()
    np.testing.assert_allclose(between_levels(values, NINE, levels), expected, atol=1e-6)


def test_crossing_quantiles_are_sorted():
    values = np.array([3.0, 1.0, 2.0])
    np.testing.assert_array_equal(between_levels(values, [0.1, 0.5, 0.9], [0.1, 0.5]), [1.0, 2.0])
    np.testing.assert_allclose(between_levels(values, [0.1, 0.5, 0.9], [0.7, 0.95]), [2.5, 3.0])
