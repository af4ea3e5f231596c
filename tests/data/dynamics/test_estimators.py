from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial import cKDTree
from statsmodels.tools.sm_exceptions import InterpolationWarning
from statsmodels.tsa.stattools import adfuller, kpss
from support.attractors import (
    CHAOTIC,
    Flow,
    flow,
    henon_map,
    logistic_map,
    lorenz,
    roessler,
    torus,
    van_der_pol,
)

from tsfm.data.dynamics.estimators import (
    close_returns,
    correlation_dimension,
    delay_embedding,
    divergence_curve,
    largest_lyapunov,
    samples_per_period,
    standardise,
    zero_one_frequencies,
    zero_one_test,
)
from tsfm.data.dynamics.stationarity import adf_pvalues, kpss_pvalues
from tsfm.errors import DataError


def test_lyapunov_exponents_of_maps_are_the_known_ones() -> None:
    logistic = largest_lyapunov(logistic_map(2000), period=1, theiler=10, transient=0, horizon=12)
    assert logistic == pytest.approx(np.log(2), rel=0.02)
    henon = largest_lyapunov(henon_map(2000), period=1, theiler=10, transient=2, horizon=20)
    assert henon == pytest.approx(0.419, rel=0.04)
    unfolded = delay_embedding(henon_map(2000)[:, 0], 2, 1)
    assert largest_lyapunov(
        unfolded, period=1, theiler=10, transient=2, horizon=20
    ) == pytest.approx(0.419, rel=0.04)


@pytest.mark.parametrize(
    ("rhs", "period", "known"), [(lorenz, 0.75, 0.906), (roessler, 5.86, 0.0714)]
)
def test_lyapunov_exponents_of_flows_are_the_known_ones(
    rhs: Flow, period: float, known: float
) -> None:
    states = flow(rhs, period, periods=128, points=4096)
    found = largest_lyapunov(states, dt=128 * period / 4095)
    assert found == pytest.approx(known, rel=0.15)


def test_the_exponent_is_per_unit_of_time_whatever_the_units_of_the_states() -> None:
    states = flow(lorenz, 0.75)
    per_sample = largest_lyapunov(states)
    assert largest_lyapunov(states, dt=0.1) == pytest.approx(per_sample / 0.1)
    assert largest_lyapunov(states * [1, 1e6, 1e-6] + 5) == pytest.approx(per_sample)


def test_regular_trajectories_have_no_exponent() -> None:
    assert abs(largest_lyapunov(torus()) * 32) < 2.0
    cycle = flow(van_der_pol, 6.66, argument=1.0, initial=(1.0, 1.0))
    assert abs(largest_lyapunov(cycle) * 32) < 0.05
    assert np.isnan(largest_lyapunov(np.ones((100, 2))))


def test_the_divergence_curve_is_that_of_a_slow_reference() -> None:
    states = standardise(flow(lorenz, 0.75)[:300])
    theiler, horizon = 20, 30
    expected = np.zeros(horizon + 1)
    last = len(states) - horizon
    for at in range(last):
        distance = np.linalg.norm(states[:last] - states[at], axis=1)
        distance[max(at - theiler, 0) : at + theiler + 1] = np.inf
        near = int(distance.argmin())
        pair = states[at : at + horizon + 1] - states[near : near + horizon + 1]
        expected += np.log(np.linalg.norm(pair, axis=1)) / last
    found = divergence_curve(flow(lorenz, 0.75)[:300], theiler=theiler, horizon=horizon)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_correlation_dimensions_are_the_known_ones() -> None:
    square = np.random.default_rng(0).uniform(size=(4000, 2))
    circle = flow(van_der_pol, 6.66, argument=1.0, initial=(1.0, 1.0), points=4000)
    assert correlation_dimension(henon_map(4000)) == pytest.approx(1.22, abs=0.06)
    assert correlation_dimension(
        flow(lorenz, 0.75, periods=400, points=8000, rtol=1e-6)
    ) == pytest.approx(2.05, abs=0.1)
    assert correlation_dimension(square) == pytest.approx(2, abs=0.1)
    assert correlation_dimension(circle) == pytest.approx(1, abs=0.05)
    assert np.isnan(correlation_dimension(np.ones((100, 2))))


def test_the_correlation_sum_is_that_of_a_tree() -> None:
    points = standardise(henon_map(1500))
    radii = np.exp(np.linspace(np.log(0.02), np.log(0.2), 12))
    pairs = cKDTree(points).count_neighbors(cKDTree(points), radii) - len(points)
    slope = np.polyfit(np.log(radii), np.log(pairs), 1)[0]
    assert correlation_dimension(henon_map(1500), theiler=0) == pytest.approx(slope, abs=0.06)


def test_zero_one_tells_chaos_from_regular_motion() -> None:
    assert np.median(zero_one_test(logistic_map(1000))) > 0.95
    time = np.arange(1000)
    assert np.median(zero_one_test(np.sin(time))) < 0.1
    assert np.median(zero_one_test(np.sin(time) + np.sin(np.sqrt(2) * time))) < 0.1
    assert np.median(zero_one_test(np.ones(1000))) == 0


def test_zero_one_is_the_correlation_method_as_published() -> None:
    series = standardise(henon_map(300))[:, :1]
    c = zero_one_frequencies(7, 3)
    steps, longest = np.arange(1, 301), 60
    expected = []
    for frequency in c:
        walk = np.cumsum(series[:, 0] * np.exp(1j * frequency * steps))
        n = np.arange(1, longest + 1)
        square = np.array(
            [np.mean(np.abs(walk[k : k + 300 - longest] - walk[: 300 - longest]) ** 2) for k in n]
        )
        expected.append(np.corrcoef(n, square)[0, 1])
    found = zero_one_test(series[:, 0], draws=7, seed=3)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_cycle_returns_between_samples_and_chaos_does_not() -> None:
    time = 2 * np.pi * np.arange(600) / 31.7
    circle = np.stack([np.cos(time), np.sin(time)], axis=1)
    shares = close_returns(circle, tolerance=0.002, least=8)
    assert shares.max() == 1
    assert set(np.flatnonzero(shares == 1)) <= {
        k * 317 // 10 + j for k in range(1, 10) for j in range(-1, 3)
    }
    assert close_returns(flow(lorenz, 0.75), tolerance=0.002, least=8).max() < 0.2


def test_the_time_scale_is_the_oscillation() -> None:
    time = np.arange(1024)
    wave = np.stack([np.cos(time / 5), np.sin(time / 5)], axis=1)
    assert samples_per_period(wave) == pytest.approx(2 * np.pi * 5, rel=0.02)
    assert samples_per_period(np.stack([wave, wave * 100])).shape == (2,)
    for rhs, period in CHAOTIC.values():
        assert 5 < samples_per_period(flow(rhs, period)) < 150


@pytest.mark.parametrize("seed", range(4))
def test_stationarity_is_that_of_statsmodels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((5, 240))
    series = np.stack(
        [
            noise[0],
            noise[1].cumsum(),
            np.convolve(noise[2], np.ones(20), "same"),
            np.sin(np.arange(240) / 3) + 0.01 * noise[3],
            noise[4] + np.arange(240) / 50,
        ]
    )
    expected = [adfuller(row, autolag="AIC")[1] for row in series]
    np.testing.assert_allclose(adf_pvalues(series), expected, rtol=1e-3, atol=1e-12)
    with pytest.warns(InterpolationWarning):
        expected = [kpss(row, nlags="auto")[1] for row in series]
    np.testing.assert_allclose(kpss_pvalues(series), expected, rtol=1e-9)


def test_what_stands_still_has_no_stationarity() -> None:
    assert np.isnan(adf_pvalues(np.ones((1, 100)))).all()
    assert np.isnan(kpss_pvalues(np.ones((1, 100)))).all()


@pytest.mark.parametrize("estimate", [largest_lyapunov, correlation_dimension, zero_one_test])
@pytest.mark.parametrize("bad", [np.ones((10, 2)), np.full((100, 2), np.nan), np.ones((2, 100, 3))])
def test_unusable_trajectories_are_refused(
    estimate: Callable[[np.ndarray], object], bad: np.ndarray
) -> None:
    with pytest.raises(DataError, match=r"finite \[time, state\]"):
        estimate(bad)


def test_too_few_values_for_an_embedding_are_refused() -> None:
    assert delay_embedding(np.arange(5.0), 2, 3).tolist() == [[0, 3], [1, 4]]
    for dimension, lag in ((3, 3), (0, 1), (2, 0)):
        with pytest.raises(DataError):
            delay_embedding(np.arange(5.0), dimension, lag)
    with pytest.raises(DataError, match="one at a time"):
        zero_one_test(np.ones((100, 2)))
