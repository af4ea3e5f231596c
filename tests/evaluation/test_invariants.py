from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dysts.metrics import average_hellinger_distance, estimate_kl_divergence
from support.attractors import flow, lorenz, roessler
from support.dynamics_backtests import answered, chaotic_panel, chaotic_task

from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.chaos_config import ChaosConfig
from tsfm.evaluation.invariants import (
    SCORES,
    attractor_invariants,
    invariants_of,
    kl_histogram,
    kl_mixture,
    score_invariants,
    spectral_hellinger,
)
from tsfm.evaluation.leaderboard import leaderboard

LONG = flow(lorenz, 0.75, periods=400, points=8000, rtol=1e-6)
HALVES = LONG[:4000], LONG[4000:]


def test_an_attractor_is_near_itself_and_far_from_another() -> None:
    true, again = HALVES
    other = flow(roessler, 5.86, periods=200, points=4000, rtol=1e-6)
    other = (other - other.mean(axis=0)) / other.std(axis=0) * true.std(axis=0) + true.mean(axis=0)
    for distance in (spectral_hellinger, kl_mixture, kl_histogram):
        assert abs(distance(true, true)) < 1e-7
        assert distance(true, again) < 0.3 * distance(true, other), distance.__name__


def test_the_hellinger_distance_is_that_of_two_spectra() -> None:
    time = np.arange(512)
    low, high = np.sin(2 * np.pi * time / 64), np.sin(2 * np.pi * time / 8)
    waves = np.stack([low, low], axis=1), np.stack([low, high], axis=1)
    assert spectral_hellinger(*waves, smoothing=0) == pytest.approx(0.5, abs=1e-6)
    shifted = np.roll(waves[1], 5, axis=0) * [1, 30] + 7
    assert spectral_hellinger(waves[1], shifted) == pytest.approx(0, abs=1e-6)
    true, again = (half[:512] - half[:512].mean(axis=0) for half in HALVES)
    ours = spectral_hellinger(true, again, smoothing=0)
    theirs = average_hellinger_distance(true, again, num_freq_bins=257)
    assert ours == pytest.approx(theirs, abs=0.01)
    assert spectral_hellinger(true, np.zeros_like(true), smoothing=0) > 0.99


def test_the_mixture_divergence_is_that_of_dysts() -> None:
    true, again = (half[::40] for half in HALVES)
    other = again + np.array([8.0, -3.0, 5.0])
    mean, spread = true.mean(axis=0), true.std(axis=0)
    np.random.seed(0)  # noqa: NPY002
    theirs = estimate_kl_divergence((true - mean) / spread, (other - mean) / spread, 2000, 1.0)
    assert kl_mixture(true, other, samples=20_000) == pytest.approx(theirs, abs=0.05)


def test_the_divergence_of_gaussians_is_the_known_one() -> None:
    rng = np.random.default_rng(0)
    true = rng.standard_normal((4000, 2))
    moved = rng.standard_normal((4000, 2)) + np.array([1.0, 0.0])
    assert kl_mixture(true, moved, variance=1.0, samples=4000) == pytest.approx(0.25, abs=0.03)
    wide = rng.standard_normal((200_000, 2))
    known = 0.5 * 0.3**2
    assert kl_histogram(wide, wide[::-1] + np.array([0.3, 0.0]), bins=15) == pytest.approx(
        known, rel=0.15
    )


def test_the_divergence_does_not_depend_on_units() -> None:
    true, other = HALVES[0][::20], HALVES[1][::20] * 1.5
    scale, shift = np.array([1e-3, 1.0, 1e4]), np.array([5.0, -2.0, 0.0])
    moved = true * scale + shift, other * scale + shift
    assert kl_mixture(*moved) == pytest.approx(kl_mixture(true, other))
    assert kl_histogram(*moved) == pytest.approx(kl_histogram(true, other), rel=1e-6)
    assert spectral_hellinger(*moved) == pytest.approx(spectral_hellinger(true, other))


def test_what_is_visited_elsewhere_is_far_and_finite() -> None:
    true = HALVES[0][::20]
    for distance in (kl_mixture, kl_histogram):
        assert 2 < distance(true, true + 1e3) < np.inf
        assert np.isfinite(distance(np.ones_like(true), true))
        assert np.isfinite(distance(true, np.ones_like(true)))


def test_invariants_of_true_and_forecast_are_estimated_alike() -> None:
    true, again = HALVES[0][:1024], HALVES[1][:1024]
    found = attractor_invariants(true, again, dt=0.0375)
    assert found["dimension_true"] == pytest.approx(2.05, abs=0.25)
    assert found["dimension"] == pytest.approx(found["dimension_true"], abs=0.3)
    assert found["lyapunov_true"] == pytest.approx(0.906, rel=0.3)
    still = attractor_invariants(true, np.ones_like(true), ChaosConfig(kl_method="histogram"))
    assert still["dimension"] == still["lyapunov"] == 0
    assert still["kl"] > 1


def test_scores_of_attractors_make_a_leaderboard() -> None:
    panel = chaotic_panel(("Lorenz", "Chen", "Halvorsen"), 1)
    task = chaotic_task(panel, horizon=256, windows=2)
    results = [answered(panel, task, kind) for kind in ("perfect", "mean")]
    frames = [score_invariants(result, panel) for result in results]
    for metric in SCORES:
        perfect, mean = (frame[frame["metric"] == metric]["value"] for frame in frames)
        assert len(perfect) == 6
        np.testing.assert_allclose(perfect, 0, atol=1e-7)
        assert mean.mean() > 0.3, metric
    board = leaderboard(frames[1], replicates=20)
    assert set(board["metric"]) == set(SCORES)
    table = invariants_of(results[0], panel)
    assert table["origin"].tolist() == results[0].origins.tolist()
    assert table["lyapunov"].tolist() == table["lyapunov_true"].tolist()


def test_windows_without_values_are_left_out() -> None:
    panel = chaotic_panel(("Lorenz",), 1)
    result = answered(panel, chaotic_task(panel, horizon=256, windows=2), "mean")
    actual = result.actual.copy()
    actual[0, 3] = np.nan
    actual[1, :, 2] = np.nan
    holed = replace(result, actual=actual)
    assert invariants_of(holed, panel)["kl"].isna().tolist() == [True, False]
    assert set(score_invariants(holed, panel)["origin"]) == {1}


def test_what_cannot_be_compared_is_refused() -> None:
    true = HALVES[0][:300]
    for distance in (spectral_hellinger, kl_mixture, kl_histogram):
        for other in (true[:, :2], true[:, 0], np.full_like(true, np.nan)):
            with pytest.raises(DataError, match="invariants"):
                distance(true, other)
    with pytest.raises(DataError, match="cannot be compared"):
        spectral_hellinger(true, true[:200])
    with pytest.raises(DataError, match="cannot be binned"):
        kl_histogram(np.ones((300, 4)), np.ones((300, 4)))
    panel = chaotic_panel(("Lorenz",), 1)
    short = answered(panel, chaotic_task(panel, horizon=128), "mean")
    with pytest.raises(ConfigError, match="128 steps are too few"):
        invariants_of(short, panel)
