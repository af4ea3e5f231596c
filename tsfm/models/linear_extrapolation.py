"""The line through the last bars, drawn on: what a trend arrow on a glucose sensor says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from tsfm.errors import ConfigError
from tsfm.models.statistical import Normal, RandomWalk, UnivariateBaseline


@dataclass(frozen=True, kw_only=True)
class LinearExtrapolation(UnivariateBaseline):
    """Least squares through the observed of the last bars, extended over the horizon.

    The deviation at each step is the root mean square of the errors that the same rule would have
    made at the earlier bars of the series. Where fewer than two of the last bars were observed, or
    nothing earlier tells the error, the random walk takes over.

    Attributes
    ----------
    points
        Last bars that the line goes through (4: the last 15 minutes of a 5-minute sensor).
    """

    name: ClassVar[str] = "linear_extrapolation"
    points: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.points <= self.max_history:
            raise ConfigError(
                f"points={self.points} make no line",
                remedy=f"give 2 or more, at most max_history={self.max_history}",
            )

    def normal(
        self,
        past: Float[np.ndarray, " time"],
        horizon: int,
        seasonality: int,  # noqa: ARG002
    ) -> Normal:
        walk = RandomWalk().normal(past, horizon, 1)
        recent = past[-self.points :]
        seen = np.isfinite(recent)
        if seen.sum() < 2:
            return walk
        bars = np.arange(1 - len(recent), 1)
        slope, level = np.polyfit(bars[seen], recent[seen], 1)
        ahead = np.arange(1, horizon + 1)
        deviation = self._past_errors(past, horizon)
        return Normal(
            level + slope * ahead, np.where(np.isfinite(deviation), deviation, walk.deviation)
        )

    def _past_errors(
        self, past: Float[np.ndarray, " time"], horizon: int
    ) -> Float[np.ndarray, " horizon"]:
        """Root mean square error of each step, from bars with all their points observed."""
        if len(past) <= self.points:
            return np.full(horizon, np.nan)
        view = np.lib.stride_tricks.sliding_window_view
        bars = np.arange(1 - self.points, 1)
        level_of, slope_of = np.linalg.pinv(np.stack([np.ones_like(bars), bars], axis=1))
        lines = view(past[:-1], self.points)
        ahead = np.arange(1, horizon + 1)
        forecasts = (lines @ level_of)[:, None] + (lines @ slope_of)[:, None] * ahead
        padded = np.append(past[self.points :], np.full(horizon - 1, np.nan))
        squares = (view(padded, horizon) - forecasts) ** 2
        known = np.isfinite(squares)
        counts = known.sum(axis=0)
        total = np.where(known, squares, 0.0).sum(axis=0)
        return np.sqrt(np.where(counts > 0, total / np.maximum(counts, 1), np.nan))
