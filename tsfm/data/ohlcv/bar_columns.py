"""Columns of observed bars that features are made of, each computed once and when asked for.

References
----------
Parkinson, M. (1980), "The extreme value method for estimating the variance of the rate of return",
Journal of Business 53. Garman, M. B. and Klass, M. J. (1980), "On the estimation of security price
volatilities from historical data", Journal of Business 53. Rogers, L. C. G. and Satchell, S. E.
(1991), "Estimating variance from high, low and closing prices", Annals of Applied Probability 1.
Amihud, Y. (2002), "Illiquidity and stock returns", Journal of Financial Markets 5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from tsfm.data.ohlcv.observed import Observed
from tsfm.data.ohlcv.rolling import rolling_mean

SMALLEST_VARIANCE, SMALLEST_VOLUME_VARIANCE = 1e-14, 1e-10

Column = Float[np.ndarray, " bar"]


class BarColumns:
    """Functions of one bar or of two neighbours, and their rolling means within a symbol.

    Parameters
    ----------
    bars
        Of some symbols.
    others
        More columns, by name.
    """

    def __init__(self, bars: Observed, others: Mapping[str, Column] | None = None) -> None:
        self.bars = bars
        self._made: dict[str, Column] = dict(others or {})
        self._means: dict[tuple[str, str, int], Column] = {}

    def __getitem__(self, name: str) -> Column:
        """``log_<price>``, ``log_volume``, ``return``, or a one-bar estimate of variance or
        illiquidity by its transform's kind; NaN where unknown."""
        if name not in self._made:
            with np.errstate(divide="ignore", invalid="ignore"):
                self._made[name] = self._make(name)
        return self._made[name]

    def add(self, others: Mapping[str, Column]) -> None:
        """Make more columns known."""
        self._made |= others

    def change(self, bars: int) -> Column:
        """Of the log close over some bars; reaches into the symbol before."""
        close = self["log_close"]
        made = np.full(len(close), np.nan)
        made[bars:] = close[bars:] - close[:-bars]
        return made

    def mean(self, name: str, window: int, times: str = "") -> Column:
        """Rolling mean of a column, or of its product with another."""
        key = (name, times, window)
        if key not in self._means:
            values = self[name] * self[times] if times else self[name]
            self._means[key] = rolling_mean(values, self.bars.spans, window)
        return self._means[key]

    def variance(self, name: str, window: int) -> Column:
        """NaN where nothing varies: what is left then is rounding."""
        spread = self.mean(name, window, times=name) - self.mean(name, window) ** 2
        smallest = SMALLEST_VOLUME_VARIANCE if name == "log_volume" else SMALLEST_VARIANCE
        return np.where(spread > smallest, spread, np.nan)

    def _make(self, name: str) -> Column:
        if name == "log_volume":
            volume = self._value("volume")
            return np.where(volume > 0, np.log(volume), np.nan)
        if name.startswith("log_"):
            return np.log(self._value(name.removeprefix("log_")))
        if name == "return":
            made = self.change(1)
            made[[first for first, _ in self.bars.spans]] = np.nan
            return made
        if name == "volatility":
            return self["return"] ** 2
        if name == "amihud":
            volume = self._value("volume")
            traded = np.where(volume > 0, self._value("close") * volume, np.nan)
            return np.abs(self["return"]) / traded
        high, low, close = self["log_high"], self["log_low"], self["log_close"]
        if name == "parkinson":
            return (high - low) ** 2 / (4 * math.log(2))
        if name == "garman_klass":
            body = (2 * math.log(2) - 1) * (close - self["log_open"]) ** 2
            return (high - low) ** 2 / 2 - body
        if name == "rogers_satchell":
            opens = self["log_open"]
            return (high - close) * (high - opens) + (low - close) * (low - opens)
        raise KeyError(name)

    def _value(self, name: str) -> Column:
        return self.bars.values[name].to_numpy()
