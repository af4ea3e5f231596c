"""The grid: order kept, nothing from the future, drifting sensors without holes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.data.glucose import grid

STEP = 5 * grid.MINUTE


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 1200), min_size=1, max_size=60), st.integers(0, 10**6))
def test_bars_are_unique_increasing_and_near(gaps, start):
    stamps = (start + np.cumsum(gaps)).astype(np.int64) * 1_000_000
    placed = grid.place(stamps, STEP)
    assert (np.diff(placed.bars) > 0).all()
    off = np.abs(stamps[placed.kept] - placed.bars * STEP) / STEP
    assert off.max() < 1


def test_a_drifting_sensor_leaves_no_hole():
    rng = np.random.default_rng(0)
    seconds = np.arange(2000) * 300 + 150 + rng.integers(-14, 15, 2000)
    placed = grid.place(seconds.astype(np.int64) * 1_000_000, STEP)
    assert placed.kept.all()
    naive = np.unique(np.floor_divide(seconds + 150, 300))
    assert len(placed.bars) > len(naive) + 200


def test_events_are_known_at_their_time_or_later():
    stamps = np.array([0, 1, 299, 300, 301]) * 1_000_000
    assert grid.past_bar(stamps, STEP).tolist() == [0, 1, 1, 1, 2]


def test_a_rate_is_held_and_forgotten():
    rate = grid.held(np.array([1, 3]), np.array([0.8, 1.2]), 9, longest=3)
    np.testing.assert_array_equal(rate, [np.nan, 0.8, 0.8, 1.2, 1.2, 1.2, 1.2, np.nan, np.nan])
