"""Gaussian processes drawn by their spectra: the covariances are the kernels'."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.data.synthetic import processes

COUNT, LENGTH = 4_000, 256
LAGS = np.array([0, 1, 2, 5, 12, 30, 80])


def covariance(paths: np.ndarray) -> np.ndarray:
    """At each lag, over all series and positions; their mean is known to be 0."""
    return np.array(
        [float((paths[:, : paths.shape[1] - lag] * paths[:, lag:]).mean()) for lag in LAGS]
    )


def drawn(density: np.ndarray, seed: int = 0) -> np.ndarray:
    return processes.draw(np.random.default_rng(seed), density, LENGTH)


def same(value: float) -> np.ndarray:
    return np.full(COUNT, value)


@pytest.mark.parametrize(
    ("density", "expected"),
    [
        (lambda f: processes.autoregressive(f, same(6.0)), np.exp(-LAGS / 6)),
        (lambda f: processes.autoregressive(f, same(0.2)), np.exp(-LAGS / 0.2)),
        (
            lambda f: processes.oscillating(f, same(24.0), same(30.0)),
            np.exp(-LAGS / 30) * np.cos(2 * np.pi * LAGS / 24),
        ),
        (lambda f: processes.smooth(f, same(7.0)), np.exp(-(LAGS**2) / (2 * 7.0**2))),
        (lambda f: processes.power_law(f, same(0.0)), (LAGS == 0) * 1.0),
    ],
    ids=["autoregressive", "short memory", "oscillating", "smooth", "white"],
)
def test_covariances_are_those_of_the_kernel(density, expected):
    paths = drawn(density(processes.frequencies(LENGTH)))
    assert paths.shape == (COUNT, LENGTH)
    assert paths.dtype == np.float32
    np.testing.assert_allclose(covariance(paths), expected, atol=0.03)
    np.testing.assert_allclose(paths.var(axis=0), 1, atol=0.12)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0, 3.0])
def test_a_power_law_falls_by_its_exponent(exponent):
    paths = drawn(processes.power_law(processes.frequencies(LENGTH), same(exponent)))
    window = np.hanning(LENGTH)
    power = (np.abs(np.fft.rfft(paths * window, axis=1)) ** 2).mean(axis=0)
    order = np.arange(8, 60)
    slope = np.polyfit(np.log(order), np.log(power[order]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.1)


def test_ends_do_not_meet():
    """The last bar of a slow process is as far from the first as its kernel says."""
    paths = drawn(processes.autoregressive(processes.frequencies(LENGTH), same(60.0)))
    found = float((paths[:, 0] * paths[:, -1]).mean())
    assert found == pytest.approx(np.exp(-(LENGTH - 1) / 60), abs=0.05)


def test_each_series_has_its_own_density():
    memory = np.where(np.arange(COUNT) % 2, 50.0, 0.5)
    paths = drawn(processes.autoregressive(processes.frequencies(LENGTH), memory))
    for rows, expected in (
        (slice(0, None, 2), np.exp(-1 / 0.5)),
        (slice(1, None, 2), np.exp(-0.02)),
    ):
        assert covariance(paths[rows])[1] == pytest.approx(expected, abs=0.03)


def test_the_generator_decides():
    density = processes.smooth(processes.frequencies(LENGTH), same(5.0))[:10]
    np.testing.assert_array_equal(drawn(density), drawn(density))
    assert not np.array_equal(drawn(density), drawn(density, seed=1))
