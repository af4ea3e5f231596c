"""Gaps in a context, closed for models that need a value at every bar."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def bridged(values: Float[np.ndarray, "*batch time"]) -> Float[np.ndarray, "*batch time"]:
    """Unobserved (NaN) bars by a straight line between their neighbours, last axis.

    Before the first and after the last observed bar its value stands; a series that was never
    observed stays NaN.
    """
    known = np.isfinite(values)
    if known.all():
        return values
    length = values.shape[-1]
    bars = np.arange(length)
    before = np.maximum.accumulate(np.where(known, bars, -1), axis=-1)
    after = np.minimum.accumulate(np.where(known, bars, length)[..., ::-1], axis=-1)[..., ::-1]
    first = np.where(before < 0, np.minimum(after, length - 1), before)
    last = np.where(after == length, np.maximum(before, 0), after)
    low = np.take_along_axis(values, first, axis=-1)
    high = np.take_along_axis(values, last, axis=-1)
    weight = (bars - first) / np.maximum(last - first, 1)
    line = low + (high - low) * np.clip(weight, 0, 1)
    return np.where(known, values, line).astype(values.dtype)
