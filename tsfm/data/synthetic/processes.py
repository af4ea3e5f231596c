"""Stationary Gaussian processes, many at once, drawn by their spectra.

A density is sampled on the frequencies of twice the length, so that the ends of a series do not
meet: the covariance of the samples is the kernel's, up to what it has left at that lag.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import fft

Draws = Float[np.ndarray, "series time"]
PerSeries = Float[np.ndarray, " series"]
Density = Float[np.ndarray, "series frequency"]


def frequencies(length: int) -> Float[np.ndarray, " frequency"]:
    """Those that densities of series of ``length`` bars are given at, in cycles per bar."""
    return fft.rfftfreq(_whole(length)).astype(np.float32)


def autoregressive(frequency: np.ndarray, memory: PerSeries) -> Density:
    """Of covariance ``exp(-lag / memory)``: first-order autoregression."""
    return _autoregression(frequency[None], np.exp(-1 / memory)[:, None])


def oscillating(frequency: np.ndarray, period: PerSeries, memory: PerSeries) -> Density:
    """Of covariance ``exp(-lag / memory) cos(2π lag / period)``: a wave that forgets its phase."""
    decay, centre = np.exp(-1 / memory)[:, None], 1 / period[:, None]
    sides = (_autoregression(frequency[None] + side * centre, decay) for side in (-1, 1))
    return sum(sides) / 2  # type: ignore[return-value]


def smooth(frequency: np.ndarray, width: PerSeries) -> Density:
    """Of covariance ``exp(-lag² / (2 width²))``: the squared exponential, for widths over 1."""
    return np.exp(-2 * (np.pi * frequency * width[:, None]) ** 2)


def power_law(frequency: np.ndarray, exponent: PerSeries) -> Density:
    """Falling as ``frequency ** -exponent``: 0 is white noise, 1 pink, 2 a random walk."""
    positive = np.maximum(frequency, frequency[1])
    density = np.exp(-np.log(positive) * exponent[:, None])
    density[:, 0] = 0
    return density


def draw(rng: np.random.Generator, density: Density, length: int) -> Draws:
    """A path of unit variance of each density."""
    size = _whole(length)
    mass = density[:, 0] + 2 * density[:, 1:-1].sum(axis=1) + density[:, -1]
    scale = np.sqrt(density * (size**2 / (2 * mass))[:, None]).astype(np.float32)
    noise = rng.standard_normal((*scale.shape, 2), dtype=np.float32)
    coefficients = noise.view(np.complex64)[..., 0] * scale
    for real in (0, -1):
        coefficients[:, real] = coefficients[:, real].real * np.sqrt(np.float32(2))
    return fft.irfft(coefficients, size, axis=-1)[:, :length]


def _whole(length: int) -> int:
    return 2 * int(fft.next_fast_len(length, real=True))


def _autoregression(frequency: np.ndarray, decay: np.ndarray) -> np.ndarray:
    turn = np.cos(2 * np.pi * frequency)
    return ((1 - decay**2) / (1 - 2 * decay * turn + decay**2)).astype(np.float32)
