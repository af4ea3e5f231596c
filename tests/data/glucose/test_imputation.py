"""Imputation of contexts: against a slow loop, and never from behind the origin."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.data.glucose.imputation import impute
from tsfm.errors import ConfigError

CELLS = st.lists(st.one_of(st.none(), st.floats(40, 400)), min_size=1, max_size=30)


def slow(values, method, steps):
    filled = values.copy()
    for k in np.flatnonzero(np.isnan(values)):
        before = [j for j in range(k) if not np.isnan(values[j])]
        after = [j for j in range(k, len(values)) if not np.isnan(values[j])]
        if method == "forward_fill" and before and k - before[-1] <= steps:
            filled[k] = values[before[-1]]
        if method == "interpolate" and before and after and after[0] - before[-1] - 1 <= steps:
            filled[k] = np.interp(k, [before[-1], after[0]], values[[before[-1], after[0]]])
    return filled


@settings(max_examples=80, deadline=None)
@given(CELLS, st.sampled_from(["forward_fill", "interpolate"]), st.integers(1, 6))
def test_equals_a_slow_loop(cells, method, steps):
    values = np.array(cells, float)
    np.testing.assert_allclose(impute(values, method=method, steps=steps),
                               slow(values, method, steps))  # fmt: skip


def test_forward_fill_is_that_of_pandas():
    values = np.random.default_rng(0).normal(size=(3, 50))
    values[np.random.default_rng(1).random(values.shape) < 0.6] = np.nan
    expected = pd.DataFrame(values.T).ffill(limit=3).to_numpy().T
    np.testing.assert_array_equal(impute(values, method="forward_fill", steps=3), expected)


def test_a_forward_fill_never_depends_on_what_comes_later():
    rng = np.random.default_rng(2)
    values = rng.normal(size=100)
    values[rng.random(100) < 0.5] = np.nan
    whole = impute(values, method="forward_fill", steps=4)
    for origin in (10, 37, 80):
        np.testing.assert_array_equal(
            impute(values[:origin], method="forward_fill", steps=4), whole[:origin]
        )


def test_nothing_is_drawn_to_the_origin_by_interpolation():
    past = np.array([100.0, np.nan, 110, np.nan, np.nan])
    filled = impute(past, method="interpolate", steps=5)
    np.testing.assert_array_equal(filled, [100, 105, 110, np.nan, np.nan])


def test_bad_steps_are_refused():
    with pytest.raises(ConfigError, match="imputation_steps=0"):
        impute(np.zeros(3), method="interpolate", steps=0)
    with pytest.raises(ConfigError, match="mean_of_future"):
        impute(np.zeros(3), method="mean_of_future", steps=1)
