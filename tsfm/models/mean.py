"""The context's own mean: what is left when nothing can be foreseen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from tsfm.models.statistical import Normal, UnivariateBaseline


@dataclass(frozen=True, kw_only=True)
class Mean(UnivariateBaseline):
    """Mean and standard deviation of the observed values of the context, at every step.

    Of a chaotic system seen for long enough this is its invariant measure, to which every forecast
    past the valid prediction time falls back.
    """

    name: ClassVar[str] = "mean"
    reads_history: ClassVar[bool] = False

    def normal(
        self,
        past: Float[np.ndarray, " time"],
        horizon: int,
        seasonality: int,  # noqa: ARG002
    ) -> Normal:
        return Normal(np.full(horizon, np.nanmean(past)), np.full(horizon, np.nanstd(past)))
