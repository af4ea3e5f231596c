"""A table of bars, and ways to spoil it."""

from __future__ import annotations

import numpy as np
import pandas as pd


def bars(items: tuple[str, ...] = ("AAA", "BBB", "CCC"), length: int = 300) -> pd.DataFrame:
    frames = []
    for seed, item in enumerate(items):
        rng = np.random.default_rng(seed)
        close = 100 * np.exp(rng.normal(0, 0.01, length).cumsum())
        opening = np.r_[close[0], close[:-1]]
        frames.append(
            pd.DataFrame(
                {
                    "item_id": item,
                    "timestamp": pd.date_range("2024-01-01", periods=length, freq="h"),
                    "open": opening,
                    "high": np.maximum(opening, close) * 1.005,
                    "low": np.minimum(opening, close) * 0.995,
                    "close": close,
                    "volume": rng.integers(1_000, 100_000, length).astype(float),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def missing_column(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns="high")


def unsorted(frame: pd.DataFrame) -> pd.DataFrame:
    order = np.arange(len(frame))
    order[[310, 350]] = order[[350, 310]]
    return frame.iloc[order]


def repeated(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.iloc[np.sort(np.r_[np.arange(len(frame)), 310])]


def constant(frame: pd.DataFrame) -> pd.DataFrame:
    prices = ["open", "high", "low", "close"]
    frame.loc[frame.item_id == "BBB", prices] = 7.0
    return frame


def unobserved(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[frame.item_id == "BBB", ["open", "high", "low", "close", "volume"]] = np.nan
    return frame


def impossible(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[310, "high"] = 1.0
    return frame


def wordy(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(volume=frame["volume"].astype(object).where(frame.index != 310, "many"))


def undated(frame: pd.DataFrame) -> pd.DataFrame:
    stamps = frame["timestamp"].astype(str)
    return frame.assign(timestamp=stamps.where(frame.index != 310, "yesterday"))
