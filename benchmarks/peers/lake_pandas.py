"""The default features the usual way: pandas groupby and rolling, TA-Lib on arrays.

A route of its own (it shares no code with :mod:`tsfm.data.ohlcv`), so that it is both the peer of
``benchmarks/lake.py`` and the reference that the tests compare features with. Vectorised: one
rolling or ranking call per column for all symbols together, TA-Lib once per symbol.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import talib

WINDOW = 60


def default_features(bars: pd.DataFrame, timezone: str = "UTC") -> pd.DataFrame:
    """Of ``symbol, ts, open, high, low, close, volume``, sorted, every bar observed.

    Returns
    -------
    pd.DataFrame
        ``symbol, ts`` and a ``float32`` column per feature, a row per bar.
    """
    frame = bars.reset_index(drop=True)
    position = frame.groupby("symbol", sort=False, observed=True).cumcount()
    features = {**indicators(frame), **transforms(frame)}
    for name, warm_up in WARM_UPS.items():
        features[name] = features[name].where(position >= warm_up).astype(np.float32)
    features |= cross_section(frame, features, position)
    features |= calendar(frame, timezone)
    table = pd.DataFrame(features).astype(np.float32).replace([np.inf, -np.inf], np.nan)
    return pd.concat([frame[["symbol", "ts"]], table], axis=1)


WARM_UPS = {
    "sma_50": 49,
    "macd_12_26_9_macdhist": 127,
    "bbands_20_position": 19,
    "bbands_20_width": 19,
    "rsi_14": 112,
    "adx_14": 151,
    "aroonosc_25": 25,
    "mfi_14": 14,
    "natr_14": 105,
    "obv_20": 20,
    "log_return_5": 5,
    "log_return_60": 60,
    "rogers_satchell_60": 59,
    "volume_z_60": 59,
    "amihud_20": 120,
}


def indicators(frame: pd.DataFrame) -> dict[str, pd.Series]:
    columns: dict[str, list[np.ndarray]] = {}
    for _, rows in frame.groupby("symbol", sort=False, observed=True).indices.items():
        high, low, close, volume = (
            frame[name].to_numpy()[rows[0] : rows[-1] + 1]
            for name in ("high", "low", "close", "volume")
        )
        upper, middle, lower = talib.BBANDS(close, 20)
        obv = pd.Series(talib.OBV(close, volume))
        made = {
            "sma_50": np.log(talib.SMA(close, 50) / close),
            "macd_12_26_9_macdhist": talib.MACD(close, 12, 26, 9)[2] / close,
            "bbands_20_position": (close - lower) / (upper - lower),
            "bbands_20_width": (upper - lower) / middle,
            "rsi_14": (talib.RSI(close, 14) - 50) / 50,
            "adx_14": talib.ADX(high, low, close, 14) / 100,
            "aroonosc_25": talib.AROONOSC(high, low, 25) / 100,
            "mfi_14": (talib.MFI(high, low, close, volume, 14) - 50) / 50,
            "natr_14": talib.NATR(high, low, close, 14) / 100,
            "obv_20": (obv.diff(20) / pd.Series(volume).rolling(20).sum()).to_numpy(),
        }
        for name, values in made.items():
            columns.setdefault(name, []).append(values)
    return {name: pd.Series(np.concatenate(parts)) for name, parts in columns.items()}


def rolling_mean(frame: pd.DataFrame, values: pd.Series, window: int) -> pd.Series:
    grouped = values.groupby(frame["symbol"], sort=False, observed=True)
    return grouped.rolling(window, min_periods=window // 2).mean().reset_index(drop=True)


def transforms(frame: pd.DataFrame) -> dict[str, pd.Series]:
    symbol = frame["symbol"]
    log = {name: np.log(frame[name]) for name in ("open", "high", "low", "close")}
    close = log["close"].groupby(symbol, sort=False, observed=True)
    volume = np.log(frame["volume"].where(frame["volume"] > 0))
    ranges = (log["high"] - log["close"]) * (log["high"] - log["open"]) + (
        log["low"] - log["close"]
    ) * (log["low"] - log["open"])
    value = frame["close"] * frame["volume"].where(frame["volume"] > 0)
    illiquidity = close.diff().abs() / value
    rolling = volume.groupby(symbol, sort=False, observed=True).rolling(60, min_periods=30)
    mean = rolling.mean().reset_index(drop=True)
    spread = rolling.std(ddof=0).reset_index(drop=True)
    return {
        "log_return_5": close.diff(5),
        "log_return_60": close.diff(60),
        "rogers_satchell_60": np.sqrt(rolling_mean(frame, ranges, 60)),
        "volume_z_60": (volume - mean) / spread,
        "amihud_20": np.log(
            rolling_mean(frame, illiquidity, 20) / rolling_mean(frame, illiquidity, 120)
        ),
    }


def cross_section(
    frame: pd.DataFrame, features: dict[str, pd.Series], position: pd.Series
) -> dict[str, pd.Series]:
    own = np.log(frame["close"]).groupby(frame["symbol"], sort=False, observed=True).diff()
    at = own.groupby(frame["ts"], sort=False, observed=True)
    others = at.transform("count") - 1
    basket = ((at.transform("sum") - own) / others).where(others > 0)
    own = own.where(basket.notna())
    mean = {
        name: rolling_mean(frame, values, WINDOW)
        for name, values in {
            "own": own,
            "basket": basket,
            "product": own * basket,
            "own²": own**2,
            "basket²": basket**2,
        }.items()
    }
    covariance = mean["product"] - mean["own"] * mean["basket"]
    variance = mean["basket²"] - mean["basket"] ** 2
    scale = np.sqrt(variance * (mean["own²"] - mean["own"] ** 2))
    made = {
        "basket_return_60": mean["basket"] * WINDOW,
        "correlation_60": (covariance / scale).clip(-1, 1),
        "beta_60": covariance / variance,
    }
    made = {name: values.where(position >= WINDOW) for name, values in made.items()}
    for name in ("log_return_5", "log_return_60", "volume_z_60"):
        made[f"rank_{name}"] = (
            features[name].groupby(frame["ts"], sort=False, observed=True).rank(pct=True)
        )
    return made


def calendar(frame: pd.DataFrame, timezone: str) -> dict[str, pd.Series]:
    stamps = frame["ts"].dt.tz_convert(timezone)
    seconds = stamps.dt.hour * 3600 + stamps.dt.minute * 60 + stamps.dt.second
    shares = {
        "time_of_day": seconds / 86400,
        "day_of_week": stamps.dt.dayofweek / 7,
        "day_of_year": (stamps.dt.dayofyear - 1) / 365.25,
    }
    made = {}
    for name, share in shares.items():
        made[f"{name}_sin"] = np.sin(2 * np.pi * share)
        made[f"{name}_cos"] = np.cos(2 * np.pi * share)
    day = stamps.dt.tz_localize(None).dt.normalize()
    session = frame.groupby([frame["symbol"], day], sort=False, observed=True)
    counts = session.size()
    before = counts.groupby(level=0, sort=False, observed=True).transform(
        lambda sizes: sizes.shift(1).rolling(5, min_periods=1).max()
    )
    length = before.to_numpy()[session.ngroup().to_numpy()]
    had = session.cumcount().to_numpy() + 1
    made["session_remaining"] = pd.Series(np.clip(length - had, 0, None) / length)
    return made
