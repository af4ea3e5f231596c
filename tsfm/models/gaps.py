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
    length, gaps = values.shape[-1], ~known
    bars = np.arange(length, dtype=np.int32)
    seen = np.where(known, bars, np.int32(-1))
    coming = np.where(known, bars, np.int32(length))
    before = np.maximum.accumulate(seen, axis=-1)[gaps]
    after = np.minimum.accumulate(coming[..., ::-1], axis=-1)[..., ::-1][gaps]
    first = np.where(before < 0, np.minimum(after, length - 1), before)
    last = np.where(after == length, np.maximum(before, 0), after)
    *place, at = np.nonzero(gaps)
    low, high = values[*place, first], values[*place, last]
    weight = (at - first) / np.maximum(last - first, 1)
    closed = values.copy()
    closed[gaps] = low + (high - low) * np.clip(weight, 0, 1)
    return closed
