"""Conformal corrections: coverage on exchangeable scores, a slow reference, no look ahead."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.backtest import Backtest, backtest
from tsfm.evaluation.conformal import (
    calibrate,
    learnt,
    pairs,
    rolling,
    scores,
    turns,
    windows_needed,
)
from tsfm.evaluation.tasks import Task
from tsfm.models.statistical import SeasonalNaive

NINE = tuple(round(0.1 * k, 1) for k in range(1, 10))
STEPS = 4000


@pytest.fixture(scope="module")
def answered(make_panel) -> Backtest:
    panel = make_panel(3, 500)
    task = Task.on(panel, context=100, horizon=12, stride=24)
    return backtest(SeasonalNaive(), task, panel)


def narrow(rng: np.random.Generator, windows: int) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles half as wide as they should be, and truths, of many independent steps."""
    normal = np.array([-1.2816, -0.8416, -0.5244, -0.2533, 0, 0.2533, 0.5244, 0.8416, 1.2816])
    centre = rng.normal(size=(windows, STEPS, 1))
    truth = centre + rng.normal(size=centre.shape)
    return centre[..., None] + 0.5 * normal, truth


@pytest.mark.parametrize("windows", [4, 9, 19, 37])
def test_coverage_of_exchangeable_windows_is_that_of_the_finite_sample(windows: int):
    rng = np.random.default_rng(windows)
    scale = rng.uniform(0.5, 2, size=(windows + 1, 1))
    quantiles, truth = narrow(rng, windows + 1)
    quantiles, truth = quantiles * scale[:, None, :, None], truth * scale[:, None]
    found = scores(quantiles[:-1], truth[:-1], scale[:-1], NINE)
    new = calibrate(found, NINE)(quantiles[-1:], scale[-1:])
    for lower, upper in zip(*pairs(NINE), strict=True):
        inside = (new[..., lower] <= truth[-1:]) & (truth[-1:] <= new[..., upper])
        share = NINE[upper] - NINE[lower]
        expected = ceil(round((windows + 1) * share, 9)) / (windows + 1)
        assert expected >= share - 1e-9
        assert inside.mean() >= expected - 0.03
        if share > 0.5:
            assert inside.mean() == pytest.approx(expected, abs=0.03)


def test_jointly_all_steps_are_covered_at_once():
    rng, levels, windows, horizon = np.random.default_rng(3), (0.1, 0.5, 0.9), 39, 4
    held = []
    for _ in range(300):
        truth = rng.normal(size=(windows + 1, horizon, 1))
        quantiles = np.tile([-0.5, 0.0, 0.5], (windows + 1, horizon, 1, 1))
        one = np.ones((windows + 1, 1))
        correct = calibrate(scores(quantiles, truth, one, levels)[:-1], levels, jointly=True)
        new = correct(quantiles[-1:], one[-1:])
        held.append(((new[..., 0] <= truth[-1:]) & (truth[-1:] <= new[..., 2])).all())
    assert np.mean(held) >= 0.77


def test_equals_a_slow_reference(answered: Backtest):
    got = learnt(answered)
    lower, upper = pairs(NINE)
    for step in (0, 5, 11):
        for variate in range(2):
            for pair, (low, high) in enumerate(zip(lower, upper, strict=True)):
                kept = []
                for window in range(len(answered.origins)):
                    truth = float(answered.actual[window, step, variate])
                    q = answered.quantiles[window, step, variate].astype(float)
                    outside = max(q[low] - truth, truth - q[high])
                    kept.append(outside / answered.scale[window, variate])
                rank = ceil(round((len(kept) + 1) * (1 - 2 * NINE[low]), 9))
                expected = sorted(kept)[rank - 1]
                assert got.widening[step, variate, pair] == pytest.approx(expected)


def test_needed_windows_are_the_fewest_whose_rank_exists():
    for levels in [(0.1, 0.9), (0.05, 0.5, 0.95), (0.25, 0.75), NINE]:
        for steps in (1, 7):
            alpha = 2 * levels[0] / steps
            least = next(n for n in range(1, 999) if ceil(round((n + 1) * (1 - alpha), 9)) <= n)
            assert windows_needed(levels, steps=steps) == least


def test_too_few_windows_are_refused_with_how_many_are_needed():
    with pytest.raises(DataError, match=r"3 windows .* need 4"):
        calibrate(np.zeros((3, 2, 1, 4)), NINE)
    with pytest.raises(DataError, match="need 9"):
        calibrate(np.zeros((4, 2, 1, 1)), (0.1, 0.9), jointly=True)
    unknown = np.zeros((6, 2, 1, 4))
    unknown[:3, 1] = np.nan
    with pytest.raises(DataError, match="3 windows"):
        calibrate(unknown, NINE)


@pytest.mark.parametrize("levels", [(0.1, 0.5, 0.8), (0.5,), (0.1, 0.6, 0.9), (0.1, 0.2, 0.9)])
def test_levels_that_are_no_pairs_are_refused(levels: tuple[float, ...]):
    with pytest.raises(ConfigError, match="pairs around the median"):
        pairs(levels)


def test_other_shapes_are_refused(answered: Backtest):
    with pytest.raises(ConfigError, match=r"\(12, 2, 9\)"):
        learnt(answered)(answered.quantiles[:, :5], answered.scale)


@given(st.integers(0, 10_000))
def test_corrected_quantiles_never_cross_and_keep_the_median(seed: int):
    rng = np.random.default_rng(seed)
    correct = calibrate(rng.normal(size=(9, 3, 2, 4)), NINE)
    quantiles = np.sort(rng.normal(size=(5, 3, 2, 9)), axis=-1)
    new = correct(quantiles, rng.uniform(0.1, 3, size=(5, 2)))
    assert (np.diff(new, axis=-1) >= 0).all()
    np.testing.assert_array_equal(new[..., 4], quantiles[..., 4])


def test_rolling_corrections_know_nothing_of_later_windows(answered: Backtest):
    late = turns(answered) >= 5
    changed = replace(answered, actual=np.where(late[:, None, None], 1e3, answered.actual))
    before, after = rolling(answered), rolling(changed)
    np.testing.assert_array_equal(before.quantiles[~late], after.quantiles[~late])
    assert not np.array_equal(before.quantiles[late], after.quantiles[late])


def test_rolling_leaves_out_what_too_few_windows_come_before(answered: Backtest):
    turn, found = turns(answered), rolling(answered)
    known = np.isfinite(found.quantiles).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(known, turn >= 2)  # three items: six windows after two rounds
    assert found.model == "seasonal_naive + conformal"


def test_turns_count_each_items_earlier_windows(answered: Backtest):
    expected = [
        sum(
            other == item and earlier < origin
            for other, earlier in zip(answered.item_ids, answered.origins, strict=True)
        )
        for item, origin in zip(answered.item_ids, answered.origins, strict=True)
    ]
    assert turns(answered).tolist() == expected
