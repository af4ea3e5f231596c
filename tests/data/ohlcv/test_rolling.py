"""Rolling means are those of pandas within symbols, and stay exact along a series."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.data.ohlcv.rolling import rolling_mean


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), max_size=4),
    window=st.integers(1, 50),
    unknown=st.floats(0, 0.9),
    seed=st.integers(0, 1000),
)
def test_means_are_those_of_pandas_within_symbols(
    lengths: list[int], window: int, unknown: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(3, 1, sum(lengths))
    values[rng.random(len(values)) < unknown] = np.nan
    stops = np.cumsum([0, *lengths]).tolist()
    spans = list(pairwise(stops))
    expected = [
        pd.Series(values[first:stop]).rolling(window, min_periods=max(window // 2, 1)).mean()
        for first, stop in spans
    ]
    np.testing.assert_allclose(
        rolling_mean(values, spans, window), np.concatenate([[], *expected]), rtol=1e-12
    )


def test_one_huge_or_infinite_value_spoils_its_own_windows_only() -> None:
    values = np.full(100, 0.1)
    values[[20, 60]] = 1e20, np.inf
    means = rolling_mean(values, [(0, 100)], 10)
    clean = np.r_[4:20, 30:60, 70:100]
    assert means[clean] == pytest.approx(0.1, rel=1e-14)
    assert np.isinf(means[60:70]).all()


def test_what_follows_changes_nothing() -> None:
    values = np.random.default_rng(0).normal(size=200)
    whole = rolling_mean(values, [(0, 200)], 30)
    for stop in (1, 17, 30, 61, 199):
        np.testing.assert_array_equal(rolling_mean(values[:stop], [(0, stop)], 30), whole[:stop])
