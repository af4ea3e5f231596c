"""Power laws whose answer is known are found, with their crossover or without one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsfm.errors import ConfigError
from tsfm.evaluation.scaling import Scaling, fit_scaling

SIZES = [1e3, 4e3, 16e3, 64e3, 256e3]


def scores(ratio: float, *, noise: float = 0.02, seed: int = 0, systems: int = 20) -> pd.DataFrame:
    """Errors of two forecasters on six windows of every system, the second's by a ratio."""
    rng = np.random.default_rng(seed)
    sizes = np.random.default_rng(9).uniform(0.5, 2.0, systems)
    rows = []
    for system in range(systems):
        factor = ratio * np.exp(noise * rng.standard_normal())
        for window in range(6):
            for model, error in (("none", sizes[system]), ("attention", sizes[system] * factor)):
                rows.append((model, "held@8", f"S{system}", 6 * system + window, "mae", 8 * error))
    frame = pd.DataFrame(
        rows, columns=["model", "task", "item_id", "origin", "metric", "numerator"]
    )
    return frame.assign(denominator=8.0)


def fitted(ratios: list[float], **options: float) -> Scaling:
    frames = [scores(ratio, seed=place, **options) for place, ratio in enumerate(ratios)]
    return fit_scaling(frames, SIZES, "attention", "none", task="held@8", metric="mae")


def test_a_law_and_its_crossover_are_found():
    found = fitted([1.6 * (size / 1e3) ** -0.2 for size in SIZES])
    true = 1e3 * 1.6 ** (1 / 0.2)
    assert found.exponent == pytest.approx(-0.2, abs=0.01)
    assert found.exponent_low < -0.2 < found.exponent_high
    assert found.crossover_low < true < found.crossover_high
    assert found.is_seen
    assert "they change places at s = " in found.told()
    np.testing.assert_allclose(found.law(np.array([true])), 1, rtol=0.03)


def test_intervals_hold_the_ratio_of_each_scale():
    ratios = [1.2, 1.1, 1.0, 0.9, 0.8]
    found = fitted(ratios)
    assert ((found.low < ratios) & (ratios < found.high)).all()


def test_a_gap_that_closes_beyond_the_largest_scale_is_not_seen():
    found = fitted([2.0 * (size / 1e3) ** -0.05 for size in SIZES])
    assert not found.is_seen
    assert found.crossover > SIZES[-1]
    told = found.told()
    assert "no crossover seen up to s = 256,000 (none is ahead at the largest" in told
    assert "the law would reach it at s = " in told


def test_a_gap_that_does_not_change_has_no_crossover():
    found = fitted([0.9] * 5, noise=0.05)
    assert not found.is_seen
    assert "does not change measurably with scale" in found.told()
    assert "attention is ahead at the largest" in found.told()


def test_a_gap_that_widens_leads_away():
    found = fitted([0.9 * (size / 1e3) ** -0.1 for size in SIZES])
    assert not found.is_seen
    assert "the law leads away from it" in found.told()


def test_few_systems_that_disagree_decide_nothing():
    found = fitted([1.1, 1.05, 1.0, 0.95, 0.9], noise=0.6, systems=6)
    assert not found.is_seen
    assert "within the interval" in found.told()


@pytest.mark.parametrize(("count", "told"), [(2, "2 scales cannot be fitted")])
def test_too_few_scales_are_refused(count, told):
    with pytest.raises(ConfigError, match=told):
        fit_scaling(
            [scores(1.0)] * count, SIZES[:count], "attention", "none", task="held@8", metric="mae"
        )


def test_scales_must_share_windows():
    other = scores(1.0).assign(task="other@8")
    with pytest.raises(ConfigError, match="no window of held@8"):
        fit_scaling(
            [other, scores(1), scores(1)], SIZES[:3], "attention", "none",
            task="held@8", metric="mae",
        )  # fmt: skip
