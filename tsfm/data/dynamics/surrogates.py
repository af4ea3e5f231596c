"""Augmentations made in the frequency domain: phase surrogates and random Fourier series.

Same interface as :mod:`tsfm.data.dynamics.augmentations`. Both keep gaps where they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsfm.data.dynamics.augmentations import (
    Target,
    check_positive,
    check_target,
    checked_range,
)


@dataclass(frozen=True, kw_only=True)
class PhaseSurrogate:
    """Series of the same power spectra and cross-spectra, their phases drawn anew.

    Every frequency is turned by one random angle, the same for all variates, so that means,
    variances, autocorrelations and linear relations between variates stay, and determinism goes.
    Gaps are bridged linearly first, and are gaps again afterwards.
    Source: Prichard & Theiler 1994, *Generating surrogate data for time series with several
    simultaneously measured variables*.
    """

    def apply(self, target: Target, rng: np.random.Generator) -> Target:
        """``[..., variate, time]``, the surrogate."""
        check_target(target)
        time = target.shape[-1]
        spectrum = np.fft.rfft(bridged(target), axis=-1)
        angles = rng.uniform(0, 2 * np.pi, (*target.shape[:-2], 1, spectrum.shape[-1]))
        turn = np.exp(1j * angles)
        turn[..., 0] = 1
        if time % 2 == 0:
            turn[..., -1] = np.where(angles[..., -1] < np.pi, 1, -1)
        values = np.fft.irfft(spectrum * turn, n=time, axis=-1)
        return np.where(np.isfinite(target), values, np.nan).astype(target.dtype)


@dataclass(frozen=True, kw_only=True)
class RandomFourierSeries:
    """A sum of random sine waves in place of each variate: only shape and gaps are kept.

    Attributes
    ----------
    modes
        Fewest and most waves in a sum.
    cycles
        Highest frequency, in cycles per window; frequencies are uniform up to it.
    amplitude
        Largest amplitude; amplitudes are uniform up to it, phases over the circle.
    """

    modes: tuple[int, int] = (5, 15)
    cycles: float = 10.0
    amplitude: float = 10.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "modes", checked_range("fourier.modes", self.modes))
        check_positive("fourier.cycles", self.cycles)
        check_positive("fourier.amplitude", self.amplitude)

    def apply(self, target: Target, rng: np.random.Generator) -> Target:
        """``[..., variate, time]``, the sums."""
        check_target(target)
        shape = (int(rng.integers(*self.modes, endpoint=True)), *target.shape[:-1], 1)
        frequencies = 2 * np.pi * rng.uniform(0, self.cycles, shape)
        amplitudes = rng.uniform(0, self.amplitude, shape)
        phases = rng.uniform(0, 2 * np.pi, shape)
        moments = np.arange(target.shape[-1]) / target.shape[-1]
        values = np.zeros(target.shape)
        for frequency, amplitude, phase in zip(frequencies, amplitudes, phases):
            values += amplitude * np.sin(frequency * moments + phase)
        return np.where(np.isfinite(target), values, np.nan).astype(target.dtype)


def bridged(target: Target) -> Target:
    """Gaps filled: linearly between observed values, by the nearest one at the ends, else zero."""
    observed = np.isfinite(target)
    if observed.all():
        return target.astype(float)
    time = target.shape[-1]
    moments = np.arange(time)
    before = np.maximum.accumulate(np.where(observed, moments, -1), axis=-1)
    after = np.minimum.accumulate(np.where(observed, moments, time)[..., ::-1], axis=-1)[..., ::-1]
    left = np.where(before < 0, after, before).clip(0, time - 1)
    right = np.where(after == time, before, after).clip(0, time - 1)
    values = np.where(observed, target, 0).astype(float)
    first, last = (np.take_along_axis(values, end, axis=-1) for end in (left, right))
    return first + (last - first) * (moments - left) / np.maximum(right - left, 1)
