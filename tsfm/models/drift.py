"""The random walk with drift: the line through the first and the last bar, drawn on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from tsfm.models.statistical import Normal, RandomWalk, UnivariateBaseline


@dataclass(frozen=True, kw_only=True)
class Drift(UnivariateBaseline):
    """The last value and the mean step of the context (statsforecast's ``RandomWalkWithDrift``).

    Normal steps; the variance at step *h* of a context that spans *n* bars is ``σ² h (1 + h / n)``,
    the second term being the uncertainty of the drift itself (Hyndman & Athanasopoulos,
    *Forecasting: Principles and Practice*, 5.5). A step across a gap of *g* bars counts as *g*
    steps, and forecasts go on from the last observed bar. Fewer than three observed bars tell no
    spread around a drift: the random walk takes over.
    """

    name: ClassVar[str] = "drift"

    def normal(
        self,
        past: Float[np.ndarray, " time"],
        horizon: int,
        seasonality: int,  # noqa: ARG002
    ) -> Normal:
        bars = np.flatnonzero(np.isfinite(past))
        if len(bars) < 3:
            return RandomWalk().normal(past, horizon, 1)
        gaps, span = np.diff(bars), int(bars[-1] - bars[0])
        slope = (past[bars[-1]] - past[bars[0]]) / span
        residuals = np.diff(past[bars]) - slope * gaps
        variance = (residuals**2 / gaps).mean()
        ahead = np.arange(1, horizon + 1) + len(past) - 1 - bars[-1]
        return Normal(
            past[bars[-1]] + slope * ahead, np.sqrt(variance * ahead * (1 + ahead / span))
        )
