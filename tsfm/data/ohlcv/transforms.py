"""Transforms of returns, ranges and volume as polars expressions of one symbol's observed bars."""

from __future__ import annotations

import math

import polars as pl

from tsfm.data.ohlcv.features_config import TransformConfig

AMIHUD_BASELINE = 6
SMALLEST_VARIANCE, SMALLEST_VOLUME_VARIANCE = 1e-14, 1e-10


def one_bar() -> dict[str, pl.Expr]:
    """Per bar, within a symbol: what every transform is a rolling mean of."""
    open_, high, low, close = (pl.col(name) for name in ("open", "high", "low", "close"))
    change = (close / close.shift(1)).log()
    return {
        "_return": change,
        "_volume": pl.when(pl.col("volume") > 0).then(pl.col("volume").log()),
        "_parkinson": (high / low).log() ** 2 / (4 * math.log(2)),
        "_garman_klass": (high / low).log() ** 2 / 2
        - (2 * math.log(2) - 1) * (close / open_).log() ** 2,
        "_rogers_satchell": (high / close).log() * (high / open_).log()
        + (low / close).log() * (low / open_).log(),
        "_amihud": pl.when(pl.col("volume") > 0).then(change.abs() / (close * pl.col("volume"))),
    }


def transform(config: TransformConfig) -> pl.Expr:
    """Of the columns of :func:`one_bar`.

    References
    ----------
    Parkinson, M. (1980), "The extreme value method for estimating the variance of the rate of
    return", Journal of Business 53. Garman, M. B. and Klass, M. J. (1980), "On the estimation of
    security price volatilities from historical data", Journal of Business 53. Rogers, L. C. G.
    and Satchell, S. E. (1991), "Estimating variance from high, low and closing prices", Annals of
    Applied Probability 1. Amihud, Y. (2002), "Illiquidity and stock returns", Journal of
    Financial Markets 5.
    """
    window = config.window
    if config.kind == "log_return":
        return (pl.col("close") / pl.col("close").shift(window)).log()
    if config.kind == "volume_z":
        volume = pl.col("_volume")
        spread = _positive(_variance(volume, window), SMALLEST_VOLUME_VARIANCE).sqrt()
        return (volume - _mean(volume, window)) / spread
    if config.kind == "amihud":
        illiquidity = pl.col("_amihud")
        baseline = _mean(illiquidity, AMIHUD_BASELINE * window)
        return (_mean(illiquidity, window) / baseline).log()
    squares = pl.col("_return") ** 2 if config.kind == "volatility" else pl.col(f"_{config.kind}")
    return _mean(squares, window).clip(lower_bound=0).sqrt()


def transform_warm_up(config: TransformConfig) -> int:
    """Bars at the start of a series without a value."""
    if config.kind in ("log_return", "volatility"):
        return config.window
    if config.kind == "amihud":
        return AMIHUD_BASELINE * config.window
    return config.window - 1


def market_feature(name: str, window: int) -> pl.Expr:
    """Of ``_own`` and ``_basket``, a symbol's and the basket's returns, null unless both known."""
    own, basket = pl.col("_own"), pl.col("_basket")
    if name == "basket_return":
        return _mean(basket, window) * window
    covariance = _mean(own * basket, window) - _mean(own, window) * _mean(basket, window)
    spread = _positive(_variance(basket, window))
    if name == "beta":
        return covariance / spread
    scale = (spread * _positive(_variance(own, window))).sqrt()
    return (covariance / scale).clip(-1, 1)


def _mean(values: pl.Expr, window: int) -> pl.Expr:
    """Where at least half of the window is known."""
    return values.rolling_mean(window, min_samples=max(window // 2, 1))


def _variance(values: pl.Expr, window: int) -> pl.Expr:
    return _mean(values**2, window) - _mean(values, window) ** 2


def _positive(variance: pl.Expr, smallest: float = SMALLEST_VARIANCE) -> pl.Expr:
    """Null where nothing varies: what is left then is rounding."""
    return pl.when(variance > smallest).then(variance)
