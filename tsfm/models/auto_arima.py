"""ARIMA with orders chosen by AICc; slow, so that no list of baselines asks it unless named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from tsfm.errors import ConfigError
from tsfm.models.statistical import Normal, RandomWalk, UnivariateBaseline, carried, is_seasonal

_FEWEST_BARS = 12
_LEVEL = 80


@dataclass(frozen=True, kw_only=True)
class AutoARIMA(UnivariateBaseline):
    """Hyndman & Khandakar's (2008) stepwise search (statsforecast's ``AutoARIMA``).

    Gaps are carried forward. Seasonal terms are tried where the season was seen twice, is no longer
    than ``longest_season`` and shows in the differences at 90 % (the M4 competition's test).
    Constant series, and those with fewer than 12 bars, fall back to the random walk, as do those
    to which the library can fit nothing. A series takes some tenths of a second to some seconds.

    Attributes
    ----------
    max_history
        Latest bars that are used; the search costs time in proportion.
    longest_season
        Bars; the cost of seasonal terms grows steeply with the season.
    """

    name: ClassVar[str] = "auto_arima"
    max_history: int = 512
    longest_season: int = 24

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.longest_season < 1:
            raise ConfigError(
                f"longest_season={self.longest_season}", remedy="give 1 (no season) or more"
            )

    def normal(self, past: Float[np.ndarray, " time"], horizon: int, seasonality: int) -> Normal:
        from scipy.special import ndtri
        from statsforecast.models import AutoARIMA as Library

        values = carried(past)
        if len(values) < _FEWEST_BARS or np.ptp(values) == 0:
            return RandomWalk().normal(past, horizon, 1)
        seasonal = 1 < seasonality <= self.longest_season and is_seasonal(values, seasonality)
        library = Library(season_length=seasonality if seasonal else 1)
        found = library.forecast(values, horizon, level=[_LEVEL])
        deviation = (found[f"hi-{_LEVEL}"] - found["mean"]) / ndtri(0.5 + _LEVEL / 200)
        if not (np.isfinite(found["mean"]).all() and np.isfinite(deviation).all()):
            return RandomWalk().normal(past, horizon, 1)
        return Normal(found["mean"], deviation)
