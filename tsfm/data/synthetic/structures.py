"""Series put together of parts: level, trend, seasons, weather-like noise, pulses."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import fft

from tsfm.data.synthetic import processes
from tsfm.data.synthetic.profiles import (
    looked_up,
    phases,
    profiles,
    standardised,
    week_days,
    week_weights,
)

Values = Float[np.ndarray, "series time"]

# Bars in a season (mostly days of hours, half-hours … 5 minutes) and shares of the series that have
# it; the others have one of any length.
_SEASONS = {24: 0.42, 48: 0.1, 96: 0.12, 144: 0.05, 288: 0.1, 12: 0.04, 7: 0.03, 52: 0.02, 60: 0.02}


def structures(rng: np.random.Generator, count: int, length: int) -> Values:
    """Sums of parts of random sizes."""
    period = _periods(rng, count)
    season = phases(length, period, rng.uniform(size=count))
    total = _days_of_weeks(rng, season, length)
    rows = np.flatnonzero(rng.random(count) < 0.25)
    multiple = rng.choice([0.5, 2, 7, 7, 7], len(rows))
    other = phases(length, period[rows] * multiple, rng.random(len(rows)))
    total[rows] += looked_up(profiles(rng, len(rows)), other) * _sizes(rng, len(rows), 1, 0.8, 0.4)
    for low, high, present, median in ((0.3, 4, 0.9, 0.3), (4, 60, 0.7, 0.4), (60, 800, 0.6, 0.5)):
        noise = _autoregression(rng, count, length, low, high)
        total += noise * _sizes(rng, count, present, 0.9, median)
    density = processes.power_law(processes.frequencies(length), rng.uniform(0.5, 3, count))
    total += processes.draw(rng, density, length) * _sizes(rng, count, 0.4, 0.9, 0.7)
    total += _trend(rng, count, length) * _sizes(rng, count, 0.4, 0.9, 0.5)
    return total.astype(np.float32)


def pulses(rng: np.random.Generator, count: int, length: int) -> Values:
    """Events, each answered by a rise and a decay, on a level that drifts: meals, rain, traffic."""
    period = _periods(rng, count)
    season = phases(length, period, rng.uniform(size=count))
    rate = np.exp(rng.uniform(np.log(0.5), np.log(12), (count, 1))) / period[:, None]
    liking = np.exp(rng.uniform(0, 2.5, (count, 1)) * looked_up(profiles(rng, count), season))
    chance = rate * liking / liking.mean(axis=1, keepdims=True)
    size = np.exp(rng.normal(size=season.shape) * rng.uniform(0.1, 1, (count, 1)))
    events = (rng.random(season.shape) < chance) * size
    total = standardised(_convolved(events, _answers(rng, count, length)))
    for low, high, present, spread, median in (
        (3, 200, 0.9, 0.8, 0.4), (0.3, 3, 0.7, 0.9, 0.1), (100, 1500, 0.6, 0.8, 0.5),
    ):  # fmt: skip
        noise = _autoregression(rng, count, length, low, high)
        total += noise * _sizes(rng, count, present, spread, median)
    return total.astype(np.float32)


def walks(rng: np.random.Generator, count: int, length: int) -> Values:
    """Random walks of changing volatility, and power laws of all exponents."""
    calm = _autoregression(rng, count, length, 5, 500) * rng.uniform(0, 0.8, (count, 1))
    steps = rng.standard_normal((count, length), dtype=np.float32)
    tails = 1 / np.sqrt(rng.chisquare(5, (count, length)) / 5)
    heavy = rng.random((count, 1)) < 0.5
    walk = np.cumsum(steps * np.exp(calm) * np.where(heavy, tails, 1), axis=1)
    exponent = rng.uniform(0, 3, count)
    fractal = processes.draw(
        rng, processes.power_law(processes.frequencies(length), exponent), length
    )
    return np.where(rng.random((count, 1)) < 0.4, standardised(walk), fractal).astype(np.float32)


def oscillations(rng: np.random.Generator, count: int, length: int) -> Values:
    """Waves that forget their phase, several together, with noise."""
    frequency = processes.frequencies(length)
    total = np.zeros((count, length), np.float32)
    for present in (1.0, 0.5, 0.3):
        period = np.exp(rng.uniform(np.log(3), np.log(400), count))
        memory = period * np.exp(rng.uniform(np.log(0.3), np.log(30), count))
        wave = processes.draw(rng, processes.oscillating(frequency, period, memory), length)
        total += wave * _sizes(rng, count, present, 0.7)
    noise = _autoregression(rng, count, length, 0.2, 100)
    return (total + noise * _sizes(rng, count, 0.8, 0.9, 0.3)).astype(np.float32)


def _periods(rng: np.random.Generator, count: int) -> np.ndarray:
    shares = np.array(list(_SEASONS.values()))
    named = rng.choice(list(_SEASONS), count, p=shares / shares.sum())
    other = np.exp(rng.uniform(np.log(4), np.log(350), count))
    return np.where(rng.random(count) < shares.sum(), named, other)


def _days_of_weeks(rng: np.random.Generator, season: np.ndarray, length: int) -> Values:
    """A season whose size, course and level may depend on the day of the week."""
    count = len(season)
    course = _seasonal(rng, season, length) * _sizes(rng, count, present=0.85, spread=0.6)
    day = week_days(season, rng.integers(7, size=count))
    weights = np.take_along_axis(week_weights(rng, count), day, axis=1)
    total = course * (1 + weights * _sizes(rng, count, 0.5, 0.6, 0.3))
    own_course = looked_up(profiles(rng, count), season)
    total += weights * own_course * _sizes(rng, count, 0.35, 0.6, 0.4)
    total += weights * _sizes(rng, count, 0.5, 0.8, 0.4)
    return total


def _seasonal(rng: np.random.Generator, season: np.ndarray, length: int) -> Values:
    """One profile, its size and shape changing slowly."""
    count = len(season)
    first, second = (looked_up(profiles(rng, count), season) for _ in range(2))
    slow = [_autoregression(rng, count, length, 100, 3000) for _ in range(2)]
    growth = np.exp(slow[0] * _sizes(rng, count, 0.6, 0.6, 0.25).clip(0, 1))
    return first * growth + second * slow[1] * _sizes(rng, count, 0.5, 0.6, 0.3)


def _autoregression(
    rng: np.random.Generator, count: int, length: int, shortest: float, longest: float
) -> Values:
    memory = np.exp(rng.uniform(np.log(shortest), np.log(longest), count))
    density = processes.autoregressive(processes.frequencies(length), memory)
    return processes.draw(rng, density, length)


def _trend(rng: np.random.Generator, count: int, length: int) -> Values:
    """Straight, bent once or twice, or levelling off."""
    time = np.linspace(0, 1, length)[None]
    slopes = rng.normal(size=(3, count, 1))
    bends = rng.random((2, count, 1))
    line = slopes[0] * time
    for slope, bend in zip(slopes[1:], bends):
        line = line + slope * np.maximum(time - bend, 0) * (rng.random((count, 1)) < 0.5)
    curve = np.tanh((time - bends[0]) * np.exp(rng.uniform(0, 3, (count, 1)))) * slopes[0]
    return standardised(np.where(rng.random((count, 1)) < 0.75, line, curve))


def _answers(rng: np.random.Generator, count: int, length: int) -> Values:
    """Gamma-shaped: ``(t / rise) ** shape exp(-t / rise)``."""
    time = np.arange(length)[None] + 0.5
    shape = rng.uniform(0, 3, (count, 1))
    rise = np.exp(rng.uniform(np.log(0.5), np.log(40), (count, 1)))
    answer = np.exp(shape * np.log(time / rise) - time / rise)
    return answer / answer.max(axis=1, keepdims=True)


def _convolved(events: np.ndarray, answers: np.ndarray) -> np.ndarray:
    length = events.shape[1]
    size = fft.next_fast_len(2 * length, real=True)
    product = fft.rfft(events, size) * fft.rfft(answers, size)
    return fft.irfft(product, size)[:, :length]


def _sizes(
    rng: np.random.Generator, count: int, present: float, spread: float, median: float = 1.0
) -> Float[np.ndarray, "series 1"]:
    """Sizes of a part, zero where it is absent."""
    there = rng.random((count, 1)) < present
    return there * median * np.exp(spread * rng.normal(size=(count, 1)))
