"""Small seeded panels and backtests for judging."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from tsfm.data.panel import Panel, PanelInfo, Series
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.tasks import Task

VARIATES = ("log_close", "log_return", "log_range")


@pytest.fixture
def bars() -> Panel:
    """Four items of different lengths with gaps, hourly, one known covariate."""
    rng = np.random.default_rng(1)
    series = []
    for item, length in enumerate((300, 260, 120, 40)):
        returns = 0.01 * rng.standard_normal(length)
        target = np.stack([4 + returns.cumsum(), returns, -5 + rng.standard_normal(length)])
        target[1, rng.random(length) < 0.05] = np.nan
        series.append(
            Series(
                item_id=f"S{item}",
                target=target.astype(np.float32),
                start=pd.Timestamp("2024-01-01") + pd.Timedelta(hours=10 * item),
                known_covariates=np.arange(length, dtype=np.float32)[None] + 1000 * item,
            )
        )
    info = PanelInfo(
        name="bars", variates=VARIATES, freq="h", seasonality=7, known_covariates=("hour",)
    )
    return Panel.from_series(series, info)


@pytest.fixture
def answered() -> Callable[..., Backtest]:
    """A backtest with random forecasts, some bars unobserved."""

    def make(
        windows: int = 12, horizon: int = 5, width: int = 2, seed: int = 0, name: str = "model"
    ) -> Backtest:
        rng = np.random.default_rng(seed)
        task = Task(
            name="random",
            panel_fingerprint="none",
            targets=tuple(f"v{k}" for k in range(width)),
            context=20,
            horizon=horizon,
            seasonality=3,
        )
        actual = 3 + rng.standard_normal((windows, horizon, width))
        actual[rng.random(actual.shape) < 0.1] = np.nan
        quantiles = 3 + np.sort(rng.standard_normal((*actual.shape, 9)), axis=-1)
        origins = np.repeat(np.arange(windows // 3) * horizon, 3)
        begin = np.datetime64("2024-01-01", "ns") + origins * np.timedelta64(1, "h")
        return Backtest(
            model=name,
            task=task,
            item_ids=tuple(f"S{k % 3}" for k in range(windows)),
            origins=origins,
            timestamps=begin[:, None] + np.arange(horizon) * np.timedelta64(1, "h"),
            actual=actual,
            quantiles=quantiles,
            mean=quantiles.mean(axis=-1),
            scale=0.5 + rng.random((windows, width)),
            seconds_per_series=1e-3,
        )

    return make
