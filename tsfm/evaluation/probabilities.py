"""Probabilities read off forecast quantiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def probability_below(
    quantiles: Float[np.ndarray, "*bars level"], levels: Sequence[float], threshold: float
) -> Float[np.ndarray, "*bars"]:
    """The forecast's probability of a value below a threshold.

    Between two levels, and beyond the outermost, values are those of a normal distribution: linear
    in the normal scores of the levels. Beyond the outermost its slope is that from there to the
    middle level. Normal forecasts are therefore read exactly, and thresholds far out are still told
    apart, as ranking needs it. A point forecast gives 0 or 1; NaN stays NaN.

    Parameters
    ----------
    quantiles
        Non-decreasing along ``level``.
    """
    from scipy.special import ndtr, ndtri

    values = np.asarray(quantiles, dtype=np.float64)
    scores = ndtri(np.asarray(levels, dtype=np.float64))
    last, middle = len(scores) - 1, len(scores) // 2
    reached = (values < threshold).sum(axis=-1)
    right = np.minimum(reached, last)
    left = np.select(
        [reached == 0, reached > last], [min(max(middle, 1), last), min(middle, max(last - 1, 0))],
        default=right - 1,
    )  # fmt: skip
    low, high = (np.take_along_axis(values, k[..., None], -1)[..., 0] for k in (left, right))
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = (scores[right] - scores[left]) / (high - low)
        score = scores[right] + (threshold - high) * slope
    certain = np.where(reached == 0, -np.inf, np.inf)
    score = np.where(high == low, certain, score)
    return np.where(np.isnan(values).any(axis=-1), np.nan, ndtr(score))
