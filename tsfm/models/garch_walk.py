"""A random walk whose steps have GARCH variance: what is left of a price when only risk moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from tsfm.models.base import Context, Forecast
from tsfm.models.garch import fit_garch, standard_quantiles
from tsfm.models.statistical import Baseline

_LEAST_DEGREES = 4.5


@dataclass(frozen=True, kw_only=True)
class GarchWalk(Baseline):
    """The last observed value; variances of the steps ahead from a GARCH(1,1), added up.

    Of levels such as prices; :class:`~tsfm.models.garch.Garch` is for their log returns. Each
    variate by itself: the steps between observed bars (divided by the root of the gap) are those of
    a zero-mean GARCH(1,1) with Student-t innovations (``arch``); fewer than 60 steps, or an
    estimation that fails, give a constant variance. One step ahead quantiles are the innovation's.
    Further on they are those of a Student-t with the variance of the sum and the kurtosis of a sum
    of independent innovations, which is approximate: variance that clusters keeps tails heavier.

    Attributes
    ----------
    max_history
        Latest bars that are used.
    """

    name: ClassVar[str] = "garch_walk"
    max_history: int = 1000

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        recent = context.last(self.max_history)
        shape = (context.batch_size, horizon, recent.past.shape[2])
        quantiles = np.full((*shape, len(quantile_levels)), np.nan, np.float32)
        mean = np.full(shape, np.nan, np.float32)
        for row, variate in np.argwhere(recent.observed.any(axis=1)):
            bars = np.flatnonzero(recent.observed[row, :, variate])
            values = recent.past[row, bars, variate].astype(np.float64)
            missed = recent.length - 1 - int(bars[-1])
            spread = _spread(np.diff(values) / np.sqrt(np.diff(bars)), horizon + missed)
            mean[row, :, variate] = values[-1]
            quantiles[row, :, variate] = values[-1] + spread(np.asarray(quantile_levels))[missed:]
        return Forecast(quantiles=quantiles, quantile_levels=quantile_levels, mean=mean)


class _Spread:
    """Quantiles of the sum of the first 1, 2, … steps, around zero."""

    def __init__(self, variances: Float[np.ndarray, " step"], degrees: float) -> None:
        self.deviation = np.sqrt(variances.cumsum())
        excess = max(degrees, _LEAST_DEGREES) - 4
        self.degrees = 4 + np.arange(1, len(variances) + 1) * excess
        self.degrees[0] = degrees

    def __call__(self, levels: Float[np.ndarray, " level"]) -> Float[np.ndarray, "step level"]:
        standard = np.stack([standard_quantiles(levels, degrees) for degrees in self.degrees])
        return self.deviation[:, None] * standard


def _spread(steps: Float[np.ndarray, " step"], ahead: int) -> _Spread:
    if len(steps) == 0:
        return _Spread(np.zeros(ahead), np.inf)
    fitted = fit_garch(steps, ahead)
    return _Spread(fitted.ahead, fitted.degrees)
