"""Gaps of a context filled from the context alone: never from behind the forecast's origin."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from tsfm.errors import ConfigError, one_of

METHODS = ("none", "mean", "median", "forward_fill", "interpolate")


def impute(
    past: Float[np.ndarray, "*any time"], *, method: str, steps: int
) -> Float[np.ndarray, "*any time"]:
    """A context with its short gaps filled.

    Every value depends on observed values of ``past`` only, which ends at the origin: what comes
    after it cannot reach in. Panels themselves keep NaN where nothing was measured, so only
    measured glucose is scored.

    Parameters
    ----------
    past
        NaN where unobserved; left as it is.
    method
        ``none``; ``mean`` and ``median``: of what was observed, in every gap; ``forward_fill``:
        the last value observed, for ``steps`` bars; ``interpolate``: straight lines across gaps of
        at most ``steps`` bars between two observed values. The bars after the last observed value
        have none on their right: they stay NaN.
    steps
        Bars; of ``forward_fill`` and ``interpolate`` only.

    Raises
    ------
    ConfigError
        When the method is not known or ``steps`` not positive.
    """
    one_of("imputation", method, METHODS)
    values = np.asarray(past)
    if method == "none":
        return values.copy()
    if method in ("mean", "median"):
        return _with_centre(values, np.nanmean if method == "mean" else np.nanmedian)
    if int(steps) != steps or steps < 1:
        raise ConfigError(f"imputation_steps={steps!r} is not a number of bars", remedy="give 1 …")
    bars = np.arange(values.shape[-1])
    seen = ~np.isnan(values)
    left = np.maximum.accumulate(np.where(seen, bars, -1), axis=-1)
    before = np.take_along_axis(values, np.maximum(left, 0), -1)
    if method == "forward_fill":
        near = (left >= 0) & (bars - left <= steps)
        return np.where(seen, values, np.where(near, before, np.nan)).astype(values.dtype)
    reverse = np.minimum.accumulate(np.where(seen, bars, len(bars))[..., ::-1], axis=-1)
    right = reverse[..., ::-1]
    after = np.take_along_axis(values, np.minimum(right, len(bars) - 1), -1)
    between = (left >= 0) & (right < len(bars)) & (right - left - 1 <= steps)
    share = (bars - left) / np.maximum(right - left, 1)
    line = before + share * (after - before)
    return np.where(seen, values, np.where(between, line, np.nan)).astype(values.dtype)


def _with_centre(values: np.ndarray, centre: Callable[..., np.ndarray]) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Mean of empty slice|All-NaN slice")
        middle = centre(values, axis=-1, keepdims=True)
    return np.where(np.isnan(values), middle, values).astype(values.dtype)
