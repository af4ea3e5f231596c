"""Seasonal profiles: one season's course, repeated, weighted by the day of the week."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy import fft

BINS = 480
DAYS = 7
_HARMONICS = 24

Tables = Float[np.ndarray, "series bin"]


def profiles(rng: np.random.Generator, count: int) -> Tables:
    """Random courses of a season, of mean 0 and variance 1.

    Sums of harmonics whose amplitudes fall off at random rates; part of them bent: peaks
    (exponential), days and nights (cut off from below), switches (almost square), single bumps.
    """
    order = np.arange(1, _HARMONICS + 1, dtype=np.float32)
    roughness = rng.uniform(0.3, 2.5, (count, 1))
    highest = np.exp(rng.uniform(0, np.log(_HARMONICS), (count, 1)))
    weight = order**-roughness * (order <= highest)
    waves = rng.normal(size=(count, _HARMONICS, 2)).view(np.complex128)[..., 0] * weight
    spectrum = np.zeros((count, BINS // 2 + 1), complex)
    spectrum[:, 1 : _HARMONICS + 1] = waves
    course = standardised(fft.irfft(spectrum, BINS, axis=-1))
    bend = rng.choice(5, count, p=(0.5, 0.15, 0.15, 0.08, 0.12))
    strength = rng.uniform(0.3, 1.5, (count, 1))
    centre, width = rng.uniform(size=(count, 1)), np.exp(rng.uniform(-3.5, -1, (count, 1)))
    angle = 2 * np.pi * (np.arange(BINS) / BINS - centre)
    bent = np.select(
        [(bend == kind)[:, None] for kind in range(1, 5)],
        [
            np.exp(strength * course),
            np.maximum(course, 1.5 * strength - 1.5),
            np.tanh(6 * strength * course),
            np.exp((np.cos(angle) - 1) / (2 * np.pi * width) ** 2) + 0.1 * course,
        ],
        course,
    )
    return standardised(bent).astype(np.float32)


def phases(
    length: int, period: Float[np.ndarray, " series"], start: Float[np.ndarray, " series"]
) -> Float[np.ndarray, "series time"]:
    """Seasons since the beginning, ``start`` (of one season) before the first bar."""
    return np.arange(length)[None] / period[:, None] + start[:, None]


def looked_up(tables: Tables, seasons: Float[np.ndarray, "series time"]) -> np.ndarray:
    """The tables' values at these phases."""
    places = np.minimum(((seasons % 1) * BINS + 1e-6).astype(np.int64), BINS - 1)
    return np.take_along_axis(tables, places, axis=1)


def week_days(
    seasons: Float[np.ndarray, "series time"], first: Int[np.ndarray, " series"]
) -> Int[np.ndarray, "series time"]:
    """Day of the week, 0 to 6, of seasons that are days."""
    return (np.floor(seasons + 1e-6).astype(np.int64) + first[:, None]) % DAYS


def week_weights(rng: np.random.Generator, count: int) -> Float[np.ndarray, "series day"]:
    """What each day of the week weighs: two days off, or every day its own."""
    off = np.zeros((count, DAYS))
    off[:, 5:] = rng.normal(size=(count, 1)) + 0.3 * rng.normal(size=(count, 2))
    own = rng.normal(size=(count, DAYS))
    return np.where(rng.random((count, 1)) < 0.75, off, own)


def standardised(values: np.ndarray) -> np.ndarray:
    """Mean 0 and variance 1 along the last axis; constants become 0."""
    centred = values - values.mean(axis=-1, keepdims=True)
    deviation = centred.std(axis=-1, keepdims=True)
    return np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 1e-9)
