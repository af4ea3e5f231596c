"""Crops of stored arrays that copy nothing where nothing needs copying."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tsfm.data.arrow import Record


def taken(values: np.ndarray | None, index: Any) -> np.ndarray | None:
    """``values[index]`` where there are values."""
    return None if values is None else values[index]


def reach(known: np.ndarray | None, first: int, stop: int, end: int) -> np.ndarray | None:
    """Covariates up to ``stop``, NaN beyond the ``end`` of the view."""
    if known is None:
        return None
    if stop <= end:
        return known[:, first:stop]
    reached = np.full((known.shape[0], stop - first), np.nan, np.float32)
    reached[:, : end - first] = known[:, first:end]
    return reached


def past_of(
    record: Record, seen: slice | np.ndarray | None, first: int, stop: int
) -> np.ndarray | None:
    """Past covariates ``[covariate, time]``: the rows of the target only seen, then the stored."""
    stored = taken(record.past_covariates, np.s_[:, first:stop])
    if seen is None:
        return stored
    rows = record.target[seen, first:stop]
    return rows if stored is None else np.concatenate([rows, stored])


def as_slice(rows: np.ndarray) -> slice | np.ndarray:
    """Evenly spaced rows as a slice, so that taking them copies nothing."""
    steps = np.unique(np.diff(rows))
    if len(steps) > 1:
        return rows
    step = int(steps[0]) if len(steps) else 1
    stop = int(rows[-1]) + step
    return slice(int(rows[0]), stop if stop >= 0 else None, step)
