"""The window stream: proportional, reproducible, and honest about series that are too short."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from tsfm.data.windows import WindowSpec, WindowStream
from tsfm.errors import ConfigError, DataError


def drawn(stream, count, seed=0):
    return list(islice(stream(np.random.default_rng(seed)), count))


def places(windows):
    return [(w.item_id, w.start, w.length, tuple(w.variate_names)) for w in windows]


def test_every_position_is_equally_likely(make_panel):
    panel = make_panel(4, [30, 12, 50, 9])
    stream = WindowStream([panel], WindowSpec(min_length=10, max_length=10))
    counts = Counter((w.item_id, w.start) for w in drawn(stream, 20_000))
    expected = [("item-0", k) for k in range(21)] + [("item-1", k) for k in range(3)]
    expected += [("item-2", k) for k in range(41)]
    assert set(counts) == set(expected)
    assert chisquare([counts[place] for place in expected]).pvalue > 1e-3


def test_items_between_the_lengths_give_all_they_have(make_panel):
    panel = make_panel(2, [15, 20])
    windows = drawn(WindowStream([panel], WindowSpec(min_length=10, max_length=18)), 500)
    assert {(w.item_id, w.start, w.length) for w in windows} == {
        ("item-0", 0, 15),
        *(("item-1", k, 18) for k in range(3)),
    }
    np.testing.assert_array_equal(
        windows[0].target,
        panel.series(panel.item(windows[0].item_id)).target[
            :, windows[0].start : windows[0].start + windows[0].length
        ],
    )


@pytest.mark.parametrize(("weights", "share"), [(None, 0.25), ([0.8, 0.2], 0.8), ([0, 3], 0.0)])
def test_panels_are_drawn_by_weight(make_panel, weights, share):
    panels = [make_panel(2, 100, ("a",)), make_panel(3, 200, ("b",))]
    stream = WindowStream(panels, WindowSpec(min_length=5, max_length=20), weights)
    first = np.mean([w.variate_names == ("a",) for w in drawn(stream, 8000)])
    assert abs(first - share) < 0.02


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), spare=st.integers(0, 30))
def test_one_seed_gives_one_stream(make_panel, seed, spare):
    panels = [make_panel(3, 60), make_panel(2, 90, seed=1)]
    spec = WindowSpec(min_length=10, max_length=10 + spare)
    stream = WindowStream(panels, spec, [0.5, 0.5])
    again = WindowStream(panels, spec, [0.5, 0.5])
    np.random.seed(0)  # noqa: NPY002
    first = places(drawn(stream, 50, seed))
    np.random.seed(1)  # noqa: NPY002
    assert places(drawn(again, 50, seed)) == first
    assert places(drawn(stream, 50, seed)) == first
    assert places(drawn(stream, 50, seed + 1)) != first


def test_windows_of_views_stay_inside(make_panel):
    view = make_panel(3, 200).slice(50, 120)
    for window in drawn(WindowStream([view], WindowSpec(min_length=10, max_length=30)), 300):
        assert 50 <= window.start <= 120 - window.length


def test_short_series_are_refused(make_panel):
    with pytest.raises(DataError, match=r"no series reaches 41 bars \(the longest has 40\)"):
        WindowStream([make_panel(2, [40, 30])], WindowSpec(min_length=41, max_length=64))
    with pytest.raises(DataError, match="panel short"):
        WindowStream(
            [make_panel(2, 100), make_panel(2, 10, name="short")],
            WindowSpec(min_length=41, max_length=64),
        )


@pytest.mark.parametrize("weights", [[1.0], [0, 0], [1, -1], [1, 1, 1]])
def test_bad_weights_are_refused(make_panel, weights):
    with pytest.raises(ConfigError, match="weights"):
        WindowStream([make_panel(), make_panel()], WindowSpec(min_length=1, max_length=9), weights)


@pytest.mark.parametrize(("shortest", "longest"), [(0, 5), (6, 5), (-1, -1)])
def test_bad_lengths_are_refused(shortest, longest):
    with pytest.raises(ConfigError, match="cannot be drawn"):
        WindowSpec(min_length=shortest, max_length=longest)
