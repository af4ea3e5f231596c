"""Panels of a known process: a daily season and noise whose size differs by hour and series."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tsfm.data.panel import Panel
from tsfm.data.series import PanelInfo, Series

SEASON = 24


def season_of(item: int, bars: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of an item's bars."""
    size, phase = 2.0 ** (item % 5), 2 * np.pi * bars / SEASON + item
    return size * (10 + 4 * np.sin(phase)), size * (1 + 0.6 * np.cos(phase))


def seasonal_panel(
    items: int = 12, length: int = 500, *, dated: bool = True, seed: int = 0
) -> Panel:
    """Series ``0, 1, …`` of one variate."""
    rng = np.random.default_rng(seed)
    series = []
    for item in range(items):
        mean, deviation = season_of(item, np.arange(length))
        values = (mean + deviation * rng.standard_normal(length)).astype(np.float32)[None]
        start = pd.Timestamp("2024-01-01") if dated else None
        series.append(Series(item_id=str(item), target=values, start=start))
    info = PanelInfo(
        name="seasons", variates=("x",), freq="h" if dated else None, seasonality=SEASON
    )
    return Panel.from_series(series, info)


def changed_from(panel: Panel, bars: list[int] | int) -> Panel:
    """The same before a bar of each item, something else from there on."""
    cuts = [bars] * len(panel) if isinstance(bars, int) else bars
    series = []
    for one, cut in zip(panel, cuts, strict=True):
        target = np.array(one.target)
        target[:, cut:] = -3 * target[:, cut:] + 77
        series.append(Series(item_id=one.item_id, target=target, start=one.start))
    return Panel.from_series(series, panel.info)
