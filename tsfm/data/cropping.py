"""Crops of stored arrays that copy nothing where nothing needs copying."""

from __future__ import annotations

import numpy as np


def reach(known: np.ndarray, first: int, stop: int, end: int) -> np.ndarray:
    """Covariates up to ``stop``, NaN beyond the ``end`` of the view."""
    if stop <= end:
        return known[:, first:stop]
    reached = np.full((known.shape[0], stop - first), np.nan, np.float32)
    reached[:, : end - first] = known[:, first:end]
    return reached


def as_slice(rows: np.ndarray) -> slice | np.ndarray:
    """Evenly spaced rows as a slice, so that taking them copies nothing."""
    steps = np.unique(np.diff(rows))
    if len(steps) > 1:
        return rows
    step = int(steps[0]) if len(steps) else 1
    stop = int(rows[-1]) + step
    return slice(int(rows[0]), stop if stop >= 0 else None, step)
