"""Transforms of returns, ranges and volume as polars expressions of observed bars.

In three steps, so that nothing is computed twice: columns of one bar (:data:`BARS`), their rolling
means within a symbol (:class:`Means`), and what is made of both. A value may reach into the symbol
before during warm-up, where it is nulled (:func:`tsfm.data.ohlcv.observed.finished`).

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

import polars as pl

from tsfm.data.ohlcv.features_config import TransformConfig

AMIHUD_BASELINE = 6
SMALLEST_VARIANCE, SMALLEST_VOLUME_VARIANCE = 1e-14, 1e-10

_OPEN, _HIGH, _LOW, _CLOSE = (pl.col(f"_log_{name}") for name in ("open", "high", "low", "close"))
_TRADED = pl.col("volume") > 0

LOGS = {f"_log_{name}": pl.col(name).log() for name in ("open", "high", "low", "close")}
RETURN = pl.when(pl.col("_position") > 0).then(_CLOSE - _CLOSE.shift(1))
BARS = {
    "_log_volume": pl.when(_TRADED).then(pl.col("volume").log()),
    "volatility": pl.col("_return") ** 2,
    "parkinson": (_HIGH - _LOW) ** 2 / (4 * math.log(2)),
    "garman_klass": (_HIGH - _LOW) ** 2 / 2 - (2 * math.log(2) - 1) * (_CLOSE - _OPEN) ** 2,
    "rogers_satchell": (_HIGH - _CLOSE) * (_HIGH - _OPEN) + (_LOW - _CLOSE) * (_LOW - _OPEN),
    "amihud": pl.when(_TRADED).then(pl.col("_return").abs() / (pl.col("close") * pl.col("volume"))),
}


class Means:
    """Rolling means within a symbol, each computed once: where at least half of a window is known.

    Attributes
    ----------
    columns
        Expressions by the name of their column.
    """

    def __init__(self) -> None:
        self.columns: dict[str, pl.Expr] = {}

    def of(self, key: str, values: pl.Expr, window: int) -> pl.Expr:
        """The column that will hold the mean of ``values``, known as ``key``."""
        name = f"_mean_{key}_{window}"
        mean = values.rolling_mean(window, min_samples=max(window // 2, 1))
        self.columns[name] = mean.over("_group")
        return pl.col(name)

    def variance(self, key: str, values: pl.Expr, window: int) -> pl.Expr:
        """Null where nothing varies: what is left then is rounding."""
        spread = self.of(f"{key}²", values**2, window) - self.of(key, values, window) ** 2
        smallest = SMALLEST_VOLUME_VARIANCE if key == "_log_volume" else SMALLEST_VARIANCE
        return pl.when(spread > smallest).then(spread)


def transform(config: TransformConfig, means: Means) -> pl.Expr:
    """Of :data:`BARS` and ``means``, which it adds to."""
    window = config.window
    if config.kind == "log_return":
        return _CLOSE - _CLOSE.shift(window)
    if config.kind == "volume_z":
        volume = pl.col("_log_volume")
        spread = means.variance("_log_volume", volume, window).sqrt()
        return (volume - means.of("_log_volume", volume, window)) / spread
    values = pl.col(config.kind)
    mean = means.of(config.kind, values, window)
    if config.kind == "amihud":
        return (mean / means.of(config.kind, values, AMIHUD_BASELINE * window)).log()
    return mean.clip(lower_bound=0).sqrt()


def transform_warm_up(config: TransformConfig) -> int:
    """Bars at the start of a series without a value."""
    if config.kind in ("log_return", "volatility"):
        return config.window
    if config.kind == "amihud":
        return AMIHUD_BASELINE * config.window
    return config.window - 1


def market_feature(name: str, window: int, means: Means) -> pl.Expr:
    """Of ``_own`` and ``_basket``, a symbol's and the basket's returns, null unless both known."""
    own, basket = pl.col("_own"), pl.col("_basket")
    level = means.of("_basket", basket, window)
    if name == "basket_return":
        return level * window
    product = means.of("_own·_basket", own * basket, window)
    covariance = product - means.of("_own", own, window) * level
    spread = means.variance("_basket", basket, window)
    if name == "beta":
        return covariance / spread
    scale = (spread * means.variance("_own", own, window)).sqrt()
    return (covariance / scale).clip(-1, 1)
