"""What a transform of the stream sees, and that a stream without one is as it always was."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from tsfm.data.windows import WindowSpec, WindowStream

SPEC = WindowSpec(min_length=10, max_length=30)


class Recording:
    """Passes windows on, remembering what it was given."""

    def __init__(self, back=7, partners=0):
        self.back, self.partners, self.seen = back, partners, []

    def reach(self, n_variates):
        return self.back * n_variates

    def __call__(self, window, history, others, rng):
        self.seen.append((history, list(islice(others, self.partners)), rng.random()))
        return window


@pytest.fixture(scope="module")
def panels(make_panel):
    return [make_panel(3, [60, 25, 9], seed=1), make_panel(2, 80, ("x",), seed=2)]


def drawn(stream, count=200, seed=0):
    return list(islice(stream(np.random.default_rng(seed)), count))


def by_hand(panels, rng, count):
    """The rule the stream follows, written out: panel by bars, item by windows, then position."""
    bars = [sum(panel.lengths) for panel in panels]
    for _ in range(count):
        share, panel = rng.random(), 0
        while share >= sum(bars[: panel + 1]) / sum(bars):
            panel += 1
        lengths = [int(length) for length in panels[panel].lengths]
        places = [
            (item, start)
            for item, length in enumerate(lengths)
            if length >= SPEC.min_length
            for start in range(max(length - SPEC.max_length, 0) + 1)
        ]
        item, start = places[int(rng.integers(len(places)))]
        yield panels[panel].window(item, start, min(SPEC.max_length, lengths[item] - start))


@pytest.mark.parametrize("transform", [None, Recording(), Recording(partners=2)])
def test_the_same_windows_and_random_numbers_with_or_without(panels, transform):
    rng, reference = np.random.default_rng(5), np.random.default_rng(5)
    windows = islice(WindowStream(panels, SPEC, transform=transform)(rng), 300)
    for window, expected in zip(windows, by_hand(panels, reference, 300)):
        assert (window.item_id, window.start) == (expected.item_id, expected.start)
        np.testing.assert_array_equal(window.target, expected.target)
    assert rng.bit_generator.state == reference.bit_generator.state


def test_history_is_what_comes_just_before(panels):
    transform = Recording()
    windows = drawn(WindowStream(panels, SPEC, transform=transform))
    for window, (history, _, _) in zip(windows, transform.seen):
        panel = next(p for p in panels if p.info.variates == window.variate_names)
        series = panel.series(panel.item(window.item_id)).target
        reach = min(7 * len(series), window.start)
        np.testing.assert_array_equal(history, series[:, window.start - reach : window.start])


def test_history_stays_inside_a_view(make_panel):
    transform = Recording(back=100)
    view = make_panel(2, 200).slice(50, 120)
    windows = drawn(WindowStream([view], SPEC, transform=transform))
    assert {w.start - h.shape[1] for w, (h, _, _) in zip(windows, transform.seen)} == {50}


def test_partners_and_changes_are_functions_of_the_seed(panels):
    first, again = Recording(partners=2), Recording(partners=2)
    for transform in (first, again):
        drawn(WindowStream(panels, SPEC, transform=transform), 50)
    for (_, ones, one), (_, others, other) in zip(first.seen, again.seen):
        assert one == other
        assert [(w.item_id, w.start) for w in ones] == [(w.item_id, w.start) for w in others]
    assert len({number for _, _, number in first.seen}) == 50
    assert {len(w.target) for _, ones, _ in first.seen for w in ones} == {1, 2}


def test_what_the_transform_returns_is_what_is_drawn(panels):
    class Doubling(Recording):
        def __call__(self, window, history, others, rng):
            return replace(window, target=2 * window.target)

    plain = drawn(WindowStream(panels, SPEC))
    for before, after in zip(plain, drawn(WindowStream(panels, SPEC, transform=Doubling()))):
        np.testing.assert_array_equal(2 * before.target, after.target)
