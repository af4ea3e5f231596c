"""Random compositions of kernels: sums and products of a few, drawn from a bank.

A sum of independent paths has the sum of their covariances, a product of independent centred paths
their product, so no covariance matrix is factorised.
Source: KernelSynth of Ansari et al. 2024, *Chronos*.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import fft
from scipy.special import ive

from tsfm.data.synthetic import processes
from tsfm.data.synthetic.profiles import BINS, looked_up, phases

KINDS = ("periodic", "smooth", "rational", "linear", "white", "autoregressive")
_SHARES = (0.4, 0.18, 0.12, 0.1, 0.1, 0.1)
PERIODS = (4, 7, 12, 24, 30, 48, 52, 60, 96, 144, 168, 288, 336)
_HARMONICS = 40

Paths = Float[np.ndarray, "series time"]


def compositions(rng: np.random.Generator, count: int, length: int, most: int) -> Paths:
    """Paths of 1 to ``most`` random kernels each, added or multiplied from the left."""
    terms = rng.integers(1, most + 1, count)
    paths = _of_random_kinds(rng, count, length)
    for term in range(1, most):
        rows = np.flatnonzero(terms > term)
        if not len(rows):
            break
        further = _of_random_kinds(rng, len(rows), length)
        adds = rng.random((len(rows), 1)) < 0.5
        paths[rows] = np.where(adds, paths[rows] + further, paths[rows] * further)
    return paths


def _of_random_kinds(rng: np.random.Generator, count: int, length: int) -> Paths:
    kinds = rng.choice(len(KINDS), count, p=_SHARES)
    paths = np.empty((count, length), np.float32)
    for kind, name in enumerate(KINDS):
        rows = np.flatnonzero(kinds == kind)
        if len(rows):
            paths[rows] = path(rng, name, len(rows), length)
    return paths


def path(rng: np.random.Generator, kind: str, count: int, length: int) -> Paths:
    """Paths of a kernel of unit variance, each of random parameters."""
    frequency = processes.frequencies(length)

    def log_uniform(low: float, high: float) -> np.ndarray:
        return np.exp(rng.uniform(np.log(low), np.log(high), count))

    if kind == "periodic":
        return periodic(rng, rng.choice(PERIODS, count), log_uniform(0.2, 3), length)
    if kind == "linear":
        slope = rng.normal(size=(count, 1)) * np.sqrt(3)
        return (slope * np.linspace(-1, 1, length)).astype(np.float32)
    density = {
        "smooth": lambda: processes.smooth(frequency, log_uniform(2, length)),
        "rational": lambda: processes.smooth(
            frequency, rational_widths(rng, log_uniform(2, length / 2), log_uniform(0.1, 3))
        ),
        "white": lambda: np.ones((count, len(frequency)), np.float32),
        "autoregressive": lambda: processes.autoregressive(frequency, log_uniform(1, length)),
    }[kind]()
    return processes.draw(rng, density, length)


def periodic(rng: np.random.Generator, period: np.ndarray, width: np.ndarray, length: int) -> Paths:
    """Of covariance ``exp(-2 sin²(π lag / period) / width²)``.

    Its Fourier coefficients are Bessel functions: ``2 I_h(width⁻²) exp(-width⁻²)``; the constant,
    ``h = 0``, is left out, and the rest brought to variance 1.
    """
    order = np.arange(1, _HARMONICS + 1)
    variance = ive(order, width[:, None] ** -2.0) * (order < BINS // 2)
    variance /= variance.sum(axis=1, keepdims=True)
    waves = rng.normal(size=(len(period), _HARMONICS, 2)).view(np.complex128)[..., 0]
    spectrum = np.zeros((len(period), BINS // 2 + 1), complex)
    spectrum[:, 1 : _HARMONICS + 1] = waves * np.sqrt(variance) * (BINS / 2)
    tables = fft.irfft(spectrum, BINS, axis=-1).astype(np.float32)
    return looked_up(tables, phases(length, period, rng.uniform(size=len(period))))


def rational_widths(rng: np.random.Generator, width: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Widths of squared exponentials whose mixture is the rational quadratic kernel."""
    return width / np.sqrt(np.maximum(rng.gamma(shape) / shape, 1e-6))
