"""Quantiles in long forecast frames, and expectations integrated over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from tsfm.errors import DataError


def quantile_column(level: float) -> str:
    """The column of one quantile in every long frame, e.g. ``q0.1``."""
    return f"q{level:g}"


def quantile_columns(frame: pd.DataFrame, required: Sequence[str] = ()) -> dict[str, float]:
    """The quantile columns of a long forecast frame (``q0.1``) with their levels, increasing.

    Raises
    ------
    DataError
        When a required column, or every quantile column, is missing.
    """
    levels = {}
    for column in map(str, frame.columns):
        if column.startswith("q"):
            try:
                levels[column] = float(column[1:])
            except ValueError:
                continue
    missing = [name for name in required if name not in frame.columns]
    if missing or not levels:
        raise DataError(
            f"columns {', '.join(missing or ['q0.1 …'])} are missing",
            where="forecast",
            remedy="give the long frame of Forecast.to_frame",
        )
    return dict(sorted(levels.items(), key=lambda pair: pair[1]))


def exp_mean(
    quantiles: Float[np.ndarray, "row level"], levels: Sequence[float]
) -> Float[np.ndarray, " row"]:
    """Mean of ``exp(X)`` from the quantiles of ``X``.

    ``X`` is taken as piecewise linear in a standard normal variable through the quantiles, the
    outer pieces reaching on to infinity: exact for a normal ``X`` whatever the levels. Of a single
    level it is the exponential.

    Parameters
    ----------
    levels
        Increasing, inside (0, 1).
    """
    from scipy.special import ndtr, ndtri

    if len(levels) == 1:
        return np.exp(quantiles[:, 0])
    knots = ndtri(np.asarray(levels, float))
    slope = np.diff(quantiles, axis=1) / np.diff(knots)
    level = quantiles[:, :-1] - slope * knots[:-1]
    edges = np.concatenate([[-np.inf], knots[1:-1], [np.inf]])
    share = ndtr(edges[1:] - slope) - ndtr(edges[:-1] - slope)
    return (np.exp(level + slope**2 / 2) * share).sum(axis=1)
