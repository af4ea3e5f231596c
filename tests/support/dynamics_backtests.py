"""Small panels of chaotic systems, and backtests whose forecasts are known."""

from __future__ import annotations

import numpy as np
from support.attractors import CHAOTIC, flow

from tsfm.data.panel import Panel, PanelInfo, Series
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.tasks import Task

LYAPUNOV = {"Lorenz": 0.906, "Roessler": 0.0714, "Chen": 2.02, "Thomas": 0.04, "Halvorsen": 0.79}
POINTS, PERIODS = 2048, 64


def chaotic_panel(names: tuple[str, ...] = tuple(CHAOTIC), instances: int = 2) -> Panel:
    """Instances of some systems, with the static attributes that judging needs."""
    series = []
    for name in names:
        rhs, period = CHAOTIC[name]
        for k in range(instances):
            states = flow(
                rhs, period, periods=PERIODS, points=POINTS, initial=(1.0, 1.1 + 0.1 * k, 1.2)
            )
            series.append(
                Series(
                    item_id=f"{name}/0/{k}",
                    target=states.T.astype(np.float32),
                    static={
                        "system": name,
                        "family": name[0],
                        "dt": PERIODS * period / (POINTS - 1),
                        "period": period,
                        "lyapunov": LYAPUNOV[name],
                    },
                )
            )
    return Panel.from_series(series, PanelInfo(name="chaos", variates=("x0", "x1", "x2")))


def chaotic_task(panel: Panel, horizon: int = 256, windows: int = 3) -> Task:
    return Task.on(
        panel, context=512, horizon=horizon, max_windows=windows, cluster="item", metrics=("mae",)
    )


def answered(panel: Panel, task: Task, kind: str, name: str | None = None) -> Backtest:
    """Forecasts: ``perfect``, ``persistence``, ``mean``, ``growing`` or a noisy factor's number.

    ``growing`` goes wrong as the system does: from 1e-3 deviations by exp(λ t).
    """
    crops = list(task.crops(panel))
    pasts = np.stack([past.target.T for past, _ in crops]).astype(np.float64)
    actual = np.stack([answer.target.T for _, answer in crops]).astype(np.float64)
    spread = np.stack(
        [panel.series(panel.item(past.item_id)).target.std(axis=1) for past, _ in crops]
    )[:, None]
    if kind == "perfect":
        mean = actual.copy()
    elif kind == "persistence":
        mean = np.repeat(pasts[:, -1:], task.horizon, axis=1)
    elif kind == "mean":
        mean = np.repeat(pasts.mean(axis=1, keepdims=True), task.horizon, axis=1)
    else:
        rates = [_rate(panel, past.item_id) for past, _ in crops]
        steps = np.arange(1, task.horizon + 1)
        factor = 1.0 if kind == "growing" else float(kind)
        mean = actual + spread * np.exp(factor * np.outer(rates, steps))[..., None] * 1e-3
    return Backtest(
        model=name or kind,
        task=task,
        item_ids=tuple(past.item_id for past, _ in crops),
        origins=np.array([answer.start for _, answer in crops]),
        timestamps=np.full(actual.shape[:2], np.datetime64("NaT"), "datetime64[ns]"),
        actual=actual,
        quantiles=np.repeat(mean[..., None], len(task.quantile_levels), axis=-1),
        mean=mean,
        scale=np.ones(actual[:, 0].shape),
        seconds_per_series=1e-3,
        is_degenerate=True,
    )


def _rate(panel: Panel, item_id: str) -> float:
    static = panel.series(panel.item(item_id)).static
    return float(static["lyapunov"]) * float(static["dt"])
