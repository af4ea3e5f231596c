"""Phase surrogates keep spectra and nothing else; Fourier series keep shape and gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import periodogram

from tsfm.data.dynamics.surrogates import PhaseSurrogate, RandomFourierSeries, bridged

seeds = st.integers(0, 2**32)
property_test = settings(max_examples=40, deadline=None)


def walk(variates=3, time=200, seed=0):
    return np.random.default_rng(seed).normal(size=(variates, time)).cumsum(1)


def surrogate(x, seed=0):
    return PhaseSurrogate().apply(x, np.random.default_rng(seed))


@property_test
@given(seed=seeds, variates=st.integers(1, 5), time=st.integers(20, 101))
def test_power_and_cross_spectra_stay_and_values_change(seed, variates, time):
    x = walk(variates, time, seed)
    y = surrogate(x, seed)
    before, after = np.fft.fft(x), np.fft.fft(y)
    largest = np.abs(before).max() ** 2
    np.testing.assert_allclose(np.abs(after), np.abs(before), atol=1e-9 * largest)
    for one in range(variates):
        np.testing.assert_allclose(
            after[one] * after.conj(), before[one] * before.conj(), atol=1e-9 * largest
        )
    np.testing.assert_allclose(y.mean(1), x.mean(1), atol=1e-9 * np.abs(x).max())
    np.testing.assert_allclose(np.cov(y), np.cov(x), atol=1e-9 * largest)
    assert np.abs(y - x).max() > 0.05 * x.std()


def test_phases_are_uniform_and_the_highest_frequency_keeps_its_size():
    x = np.broadcast_to(walk(2, 64), (2000, 2, 64))
    y = surrogate(x)
    turned = np.angle(np.fft.rfft(y) / np.fft.rfft(x))
    counts, _ = np.histogram(turned[:, 0, 5], bins=10, range=(-np.pi, np.pi))
    assert counts.min() > 140
    np.testing.assert_allclose(np.exp(1j * turned[:, 0]), np.exp(1j * turned[:, 1]), atol=1e-6)
    highest = np.fft.rfft(y)[..., -1].real
    np.testing.assert_allclose(np.abs(highest), np.abs(np.fft.rfft(x)[..., -1]), atol=1e-9)
    assert (highest > 0).any()
    assert (highest < 0).any()


def test_surrogates_of_chaos_lose_its_geometry():
    """The logistic map's next value is a function of the last; its surrogate's is not."""
    x = np.empty(2000)
    x[0] = 0.3
    for k in range(1999):
        x[k + 1] = 3.9 * x[k] * (1 - x[k])

    def unexplained(series):
        fit = np.polynomial.Polynomial.fit(series[:-1], series[1:], 2)
        return np.var(series[1:] - fit(series[:-1])) / np.var(series)

    assert unexplained(x) < 1e-9
    assert unexplained(surrogate(x[None])[0]) > 0.3


@property_test
@given(seed=seeds, missing=st.floats(0, 0.7))
def test_gaps_stay_gaps(seed, missing):
    x = walk(3, 60, seed)
    x[np.random.default_rng(seed).random(x.shape) < missing] = np.nan
    for augmentation in (PhaseSurrogate(), RandomFourierSeries()):
        y = augmentation.apply(x, np.random.default_rng(seed))
        np.testing.assert_array_equal(np.isnan(y), np.isnan(x))


@property_test
@given(seed=seeds, missing=st.floats(0, 1))
def test_gaps_are_bridged_linearly(seed, missing):
    x = walk(3, 40, seed)
    x[np.random.default_rng(seed).random(x.shape) < missing] = np.nan
    for row, filled in zip(x, bridged(x)):
        seen = np.flatnonzero(np.isfinite(row))
        expected = np.interp(np.arange(40), seen, row[seen]) if len(seen) else np.zeros(40)
        np.testing.assert_allclose(filled, expected, atol=1e-9)


@property_test
@given(seed=seeds, cycles=st.floats(2, 20))
def test_fourier_series_ignore_the_values_and_stay_below_their_highest_frequency(seed, cycles):
    series = RandomFourierSeries(cycles=cycles)
    first, second = (
        series.apply(x, np.random.default_rng(seed)) for x in (walk(3, 512), 7 + walk(3, 512, 1))
    )
    np.testing.assert_array_equal(first, second)
    frequencies, power = periodogram(first, window="blackmanharris")
    beyond = power[:, frequencies * 512 > cycles + 5].sum()
    assert beyond < 1e-3 * power.sum()
    assert np.abs(first).max() <= 15 * 10


def test_one_wave_has_the_amplitude_and_frequency_of_a_fit():
    series = RandomFourierSeries(modes=(1, 1), cycles=3, amplitude=2)
    x = np.zeros((400, 1, 256))
    waves = series.apply(x, np.random.default_rng(0))[:, 0]
    assert np.abs(waves).max() <= 2
    next_two = waves[:, 2:] + waves[:, :-2]
    cosine = (next_two * waves[:, 1:-1]).sum(1) / (waves[:, 1:-1] ** 2).sum(1) / 2
    cycles = np.arccos(np.clip(cosine, -1, 1)) * 256 / (2 * np.pi)
    assert cycles.max() <= 3 + 1e-3
    assert cycles.mean() == pytest.approx(1.5, abs=0.15)
