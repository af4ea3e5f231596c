"""From a model's own quantile levels to those asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def between_levels(
    values: Float[np.ndarray, "... native"], native: Sequence[float], levels: Sequence[float]
) -> Float[np.ndarray, "... level"]:
    """Quantiles at ``levels`` of a forecast that knows those at ``native``.

    Crossing quantiles are sorted first. Between two native levels the quantile function is linear
    in the level; beyond the outermost it stays at their value, as chronos-forecasting has it, so
    that intervals wider than the native ones are too narrow.

    Parameters
    ----------
    native
        Increasing levels of the last axis.
    levels
        Increasing levels, inside (0, 1).
    """
    ordered, known = np.sort(values, axis=-1), np.asarray(native, float)
    place = np.interp(levels, known, np.arange(len(known)))
    lower = np.floor(place).astype(int)
    upper = np.minimum(lower + 1, len(known) - 1)
    weight = (place - lower).astype(ordered.dtype)
    return ordered[..., lower] * (1 - weight) + ordered[..., upper] * weight
