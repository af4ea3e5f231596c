"""Transforms of returns, ranges and volume of observed bars.

A value may reach into the symbol before during warm-up, where it is taken out
(:func:`tsfm.data.ohlcv.observed.finished`).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tsfm.data.ohlcv.bar_columns import BarColumns
from tsfm.data.ohlcv.features_config import TransformConfig

AMIHUD_BASELINE = 6


def transform(config: TransformConfig, columns: BarColumns) -> Float[np.ndarray, " bar"]:
    """Of some bars, ``float64``; NaN or infinite where unknown."""
    kind, window = config.kind, config.window
    if kind == "log_return":
        return columns.change(window)
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == "volume_z":
            beyond = columns["log_volume"] - columns.mean("log_volume", window)
            return beyond / np.sqrt(columns.variance("log_volume", window))
        mean = columns.mean(kind, window)
        if kind == "amihud":
            return np.log(mean / columns.mean(kind, AMIHUD_BASELINE * window))
        return np.sqrt(np.maximum(mean, 0))


def transform_warm_up(config: TransformConfig) -> int:
    """Bars at the start of a series without a value."""
    if config.kind in ("log_return", "volatility"):
        return config.window
    if config.kind == "amihud":
        return AMIHUD_BASELINE * config.window
    return config.window - 1


def market_feature(name: str, window: int, columns: BarColumns) -> Float[np.ndarray, " bar"]:
    """Of ``own`` and ``basket``, a symbol's and the basket's returns, NaN unless both known."""
    level = columns.mean("basket", window)
    if name == "basket_return":
        return level * window
    product = columns.mean("own", window, times="basket")
    covariance = product - columns.mean("own", window) * level
    spread = columns.variance("basket", window)
    if name == "beta":
        return covariance / spread
    scale = np.sqrt(spread * columns.variance("own", window))
    return np.clip(covariance / scale, -1, 1)
