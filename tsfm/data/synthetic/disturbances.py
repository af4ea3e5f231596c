"""What happens to series on their way to a table: bends, limits, steps, spikes, rounding."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tsfm.data.synthetic.profiles import standardised

Values = Float[np.ndarray, "series time"]


def disturbed(rng: np.random.Generator, values: Values) -> Values:
    """Standardised, then each disturbance on a random part of the series."""
    x = standardised(values)
    count, length = x.shape

    def chosen(share: float) -> np.ndarray:
        return rng.random((count, 1)) < share

    steps = np.zeros_like(x)
    for _ in range(3):
        place = rng.uniform(0, length, (count, 1))
        step = rng.normal(size=(count, 1)) * chosen(0.4)
        steps += step * (np.arange(length)[None] >= place)
    x = x + np.where(chosen(0.15), steps, 0)
    bend = rng.uniform(0.2, 1.2, (count, 1))
    x = np.where(chosen(0.15), np.exp(bend * x) / bend, x)
    low, high = (np.quantile(x[:, ::8], level, axis=1)[:, None] for level in (0.25, 0.85))
    reach = rng.random((count, 1))
    lowest = x.min(axis=1, keepdims=True)
    highest = x.max(axis=1, keepdims=True)
    x = np.where(chosen(0.06), np.maximum(x, lowest + reach * (low - lowest)), x)
    x = np.where(chosen(0.06), np.minimum(x, highest + reach * (high - highest)), x)
    spikes = (rng.random(x.shape) < 0.004) * rng.standard_t(3, x.shape) * 2
    x = x + np.where(chosen(0.1), spikes, 0)
    grid = np.exp(rng.uniform(np.log(0.01), np.log(0.4), (count, 1)))
    x = np.where(chosen(0.12), np.round(x / grid) * grid, x)
    x = np.where(chosen(0.5), x, -x)
    return standardised(x).astype(np.float32)


def mixed(rng: np.random.Generator, values: Values, most: int = 3) -> Values:
    """Convex combinations of each series with others, of Dirichlet weights.

    Source: TSMixup of Ansari et al. 2024, *Chronos*.
    """
    weights = rng.dirichlet(np.full(most, 1.5), len(values)).astype(np.float32)
    total = weights[:, :1] * values
    for column in range(1, most):
        total += weights[:, column : column + 1] * values[rng.permutation(len(values))]
    return standardised(total)


def unobserved(rng: np.random.Generator, values: Values, share: float) -> Values:
    """NaN before a late beginning or in one to three gaps, in this share of the series."""
    count, length = values.shape
    time = np.arange(length)[None]
    there = rng.random((count, 1)) < share
    late = rng.random((count, 1)) < 0.5
    missing = late & (time < rng.uniform(0, length / 2, (count, 1)))
    for chance in (1, 0.5, 0.5):
        place = rng.uniform(0, length, (count, 1))
        width = np.exp(rng.uniform(0, np.log(length / 8), (count, 1)))
        gap = (time >= place) & (time < place + width) & (rng.random((count, 1)) < chance)
        missing |= ~late & gap
    return np.where(there & missing, np.float32(np.nan), values)
