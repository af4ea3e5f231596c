"""Windows on their way to training: which are augmented, from what, and what stays with them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from tsfm.data.dynamics.augmentation_config import AUGMENTATIONS, AugmentationConfig
from tsfm.data.dynamics.augmentations import TakensEmbedding
from tsfm.data.dynamics.augmenter import Augmenter
from tsfm.data.windows import WindowSpec, WindowStream

SPEC = WindowSpec(min_length=40, max_length=60)


def only(name, **fields):
    return AugmentationConfig(**{"rate": 1.0, "which": (name,), "standardize": "none"} | fields)


def stream(panels, config, spec=SPEC):
    return WindowStream(panels, spec, transform=Augmenter(config))


def drawn(source, count, seed=0):
    return list(islice(source(np.random.default_rng(seed)), count))


@pytest.fixture(scope="module")
def panel(make_panel):
    return make_panel(4, [200, 90, 60, 45], ("a", "b", "c"))


def test_windows_are_augmented_at_the_rate_and_shares_asked_for(panel):
    config = AugmentationConfig(rate=0.3, which=("affine", "phase"), weights=(3, 1))
    windows = drawn(stream([panel], config), 4000)
    counts = Counter(window.static.get("augmentation") for window in windows)
    assert counts[None] / 4000 == pytest.approx(0.7, abs=0.03)
    assert counts["affine"] / counts["phase"] == pytest.approx(3, abs=0.6)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_same_windows_are_drawn_and_those_left_alone_are_identical(panel, name):
    plain = drawn(WindowStream([panel], SPEC), 60)
    augmented = drawn(stream([panel], only(name, rate=0.5)), 60)
    assert [(w.item_id, w.start) for w in plain] == [(w.item_id, w.start) for w in augmented]
    changed = ["augmentation" in window.static for window in augmented]
    assert 10 < sum(changed) < 50
    for before, after, was_changed in zip(plain, augmented, changed):
        assert after.target.dtype == np.float32
        assert len(after.variate_names) == len(after.target)
        assert SPEC.min_length <= after.length <= before.length
        if not was_changed:
            np.testing.assert_array_equal(before.target, after.target)
            assert before.variate_names == after.variate_names


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_panels_are_never_written_to(make_panel, name):
    panel = make_panel(3, 100, ("a", "b"), missing=0.1)
    kept = [panel.series(item).target.copy() for item in range(3)]
    drawn(stream([panel], only(name, standardize="both")), 30)
    for item, target in enumerate(kept):
        np.testing.assert_array_equal(panel.series(item).target, target)


def test_delays_reach_back_before_the_window(panel):
    config = only("takens", takens=TakensEmbedding(lags=(4, 4)))
    early = 0
    for window in drawn(stream([panel], config), 200):
        series = panel.series(panel.item(window.item_id)).target
        seen = series[:, window.start : window.start + window.length]
        variate = int(np.argmin(np.abs(seen - window.target[0]).sum(1)))
        for k, row in enumerate(window.target):
            first = window.start - 4 * k
            known = max(0, -first)
            early += known > 0
            assert np.isnan(row[:known]).all()
            expected = series[variate, first + known : first + window.length]
            np.testing.assert_array_equal(row[known:], expected)
    assert early


def test_a_skew_product_is_of_two_items(panel):
    windows = drawn(stream([panel], only("skew")), 100)
    apart = [w for w in windows if w.item_id == "item-0"]
    assert {len(window.target) for window in apart} == {6}
    assert min(window.length for window in apart) < 60
    assert max(window.length for window in apart) == 60


def test_a_lone_item_makes_skew_products_with_itself(make_panel):
    windows = drawn(stream([make_panel(1, 100)], only("skew")), 5)
    assert all(window.static["augmentation"] == "skew" for window in windows)


def test_what_is_along_time_stays_as_long_as_the_target(make_panel):
    panel = make_panel(
        3, [60, 45, 41], known_covariates=("k",), past_covariates=("p",), explicit=True
    )
    for name in AUGMENTATIONS:
        for window in drawn(stream([panel], only(name)), 30):
            assert window.known_covariates.shape == window.past_covariates.shape
            assert window.past_covariates.shape == (1, window.length)
            assert window.timestamps.shape == (window.length,)


@pytest.mark.parametrize("standardize", ["none", "before", "after", "both"])
def test_standardizing(panel, standardize):
    for window in drawn(stream([panel], only("convex", standardize=standardize)), 20):
        deviations = window.target.std(1)
        if standardize in ("after", "both"):
            np.testing.assert_allclose(deviations, 1, rtol=1e-4)
        elif standardize == "before":
            assert (deviations <= 1 + 1e-4).all()
        else:
            assert deviations.max() > 1.1


def test_padded_variates_are_left_behind(make_panel):
    panel = make_panel(2, 100, ("a", "b", "c", "d"))
    for window in drawn(WindowStream([panel], SPEC), 3):
        padded = window.target.copy()
        padded[2:] = np.nan
        rng = np.random.default_rng(0)
        augmenter = Augmenter(only("takens"))
        result = augmenter(replace(window, target=padded), padded[:, :0], iter([]), rng)
        assert len(result.target) == 3
        assert np.isfinite(result.target[:, -1]).all()
        nothing = replace(window, target=np.full_like(padded, np.nan))
        assert augmenter(nothing, padded[:, :0], iter([]), rng) is nothing


def test_the_mixture_is_one_function_of_the_seed(panel, make_panel):
    panels = [panel, make_panel(2, 80, ("x", "y"), seed=3, name="two")]
    config = AugmentationConfig(rate=0.8, which=AUGMENTATIONS)
    first, again, other = (drawn(stream(panels, config), 80, seed) for seed in (1, 1, 2))
    for one, two in zip(first, again):
        assert one.item_id == two.item_id
        np.testing.assert_array_equal(one.target, two.target)
    assert any(a.target.shape != b.target.shape for a, b in zip(first, other))
