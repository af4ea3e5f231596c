"""Small panels of glucose, and backtests whose forecasts are known."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tsfm.data.panel import Panel, PanelInfo, Series
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.tasks import Task


def glucose_panel(people: int = 8, days: int = 4, seed: int = 0, minutes: int = 5) -> Panel:
    """Waves with noise around 120 mg/dL, each person's own; 3 % unobserved."""
    rng = np.random.default_rng(seed)
    series = []
    for person in range(people):
        bars = days * 1440 // minutes
        hours = np.arange(bars) * minutes / 60
        wave = 45 * np.sin(2 * np.pi * hours / (5 + person / 3)) + 10 * np.sin(hours)
        values = 115 + 3 * person + wave + rng.normal(0, 3, bars)
        values[rng.random(bars) < 0.03] = np.nan
        series.append(
            Series(
                item_id=f"P{person}",
                target=values[None].astype(np.float32),
                start=pd.Timestamp("2024-03-01 00:02") + pd.Timedelta(hours=7 * person),
            )
        )
    info = PanelInfo(
        name="cgm",
        variates=("glucose",),
        freq=f"{minutes}min",
        seasonality=1440 // minutes,
        units={"glucose": "mg/dL"},
    )
    return Panel.from_series(series, info)


def glucose_task(panel: Panel, horizon: int = 12, **fields: object) -> Task:
    chosen = {"name": "cgm/unseen patients", "context": 48, "horizon": horizon, "stride": horizon}
    return Task.on(panel, **(chosen | {"cluster": "item"} | fields))


def forecast_with(
    panel: Panel, task: Task, error: float, *, name: str = "model", width: float = 10.0
) -> Backtest:
    """Every forecast off by ``error`` times N(0, 1), normal quantiles of this width around it."""
    from scipy.special import ndtri

    crops = list(task.crops(panel))
    actual = np.stack([answer.target.T for _, answer in crops]).astype(np.float64)
    rng = np.random.default_rng(len(name))
    filled = np.where(np.isnan(actual), 120, actual)
    mean = filled + error * rng.standard_normal(actual.shape)
    levels = np.asarray(task.quantile_levels)
    return Backtest(
        model=name,
        task=task,
        item_ids=tuple(past.item_id for past, _ in crops),
        origins=np.array([answer.start for _, answer in crops]),
        timestamps=np.stack([answer.timestamps for _, answer in crops]),
        actual=actual,
        quantiles=mean[..., None] + width * ndtri(levels),
        mean=mean,
        scale=np.ones(actual[:, 0].shape),
        seconds_per_series=1e-3,
        is_degenerate=width == 0,
    )
