"""What fine-tuning costs elsewhere: a model before and after it, on series it was not tuned to."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tsfm.data.locations import find
from tsfm.errors import UserError
from tsfm.evaluation.backtest import backtest
from tsfm.evaluation.leaderboard import leaderboard
from tsfm.evaluation.metrics import concat_scores, score
from tsfm.evaluation.tasks import Task
from tsfm.models.base import Forecaster

if TYPE_CHECKING:
    from tsfm.data.panel import Panel

METRICS = ("mase", "crps", "mae")
BEFORE, AFTER = "before", "after"
ETT_FILES = ("ETTh1.csv", "ETT-small/ETTh1.csv", "ett/ETTh1.csv")
ETT_TRAINED_AND_VALIDATED = 16 * 30 * 24
ETT_END = 20 * 30 * 24
_logger = logging.getLogger(__name__)


def general_tasks(context: int, horizon: int, *, windows: int = 20) -> list[tuple[Task, Panel]]:
    """Questions that have nothing to do with what a model is tuned to.

    Half-hourly electricity demand and monthly sunspots (they ship with pmdarima), the daily ranges
    of the sample bars, and where ``LSF_PATH`` has it the test part of ETTh1.

    Parameters
    ----------
    windows
        Most forecast origins per series, evenly spaced.
    """
    from tsfm.data.ohlcv.sample import sample_panel

    panels = [
        *_single_series(),
        sample_panel().variates(["log_range"]),
        *([ett] if (ett := _ett_test(context)) is not None else []),
    ]
    tasks = []
    for panel in panels:
        able = [
            item_id
            for item_id, length in zip(panel.item_ids, panel.lengths, strict=True)
            if length >= context + horizon
        ]
        if not able:
            continue
        chosen = panel.select(able)
        task = Task.on(
            chosen, name=panel.info.name, context=context, horizon=horizon, stride=horizon,
            max_windows=windows, mode="zero_shot", metrics=METRICS,
        )  # fmt: skip
        tasks.append((task, chosen))
    return tasks


def compare_before_and_after(
    before: Forecaster, after: Forecaster, tasks: Sequence[tuple[Task, Panel]]
) -> pd.DataFrame:
    """One row per task and metric: ``before``, ``after``, ``change`` (0.1: 10 % larger errors).

    Tasks that the models cannot answer, for lack of covariates, are left out with a message.
    """
    scores = []
    for task, panel in tasks:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                pair = [
                    score(backtest(model, task, panel, name=name))
                    for name, model in ((BEFORE, before), (AFTER, after))
                ]
        except UserError as error:
            _logger.warning("%s cannot tell what was forgotten: %s", task.name, error)
            continue
        scores += pair
    columns = ["task", "metric", BEFORE, AFTER, "change"]
    if not scores:
        return pd.DataFrame(columns=columns)
    table = leaderboard(concat_scores(scores), replicates=50)
    rows = table.pivot_table(
        index=["task", "metric"], columns="model", values="value", aggfunc="mean", observed=True
    ).reset_index()
    return rows.assign(change=rows[AFTER] / rows[BEFORE] - 1)[columns]


def _single_series() -> list[Panel]:
    from pmdarima.datasets import load_sunspots, load_taylor

    return [
        _panel("electricity_demand", {"england": load_taylor()}, "2000-06-05", "30min", 48),
        _panel("sunspots", {"monthly": load_sunspots()}, "1749-01-01", "MS", 132),
    ]


def _ett_test(context: int) -> Panel | None:
    """The standard test part of ETTh1 with a context before it, standardised by its training."""
    path = next((found for name in ETT_FILES if (found := find(name)) is not None), None)
    if path is None:
        return None
    try:
        frame = pd.read_csv(Path(path), parse_dates=["date"])
    except (OSError, ValueError) as error:
        _logger.warning("%s cannot be read: %s", path, error)
        return None
    values = frame.drop(columns="date")
    train = values.iloc[: 12 * 30 * 24]
    scaled = (values - train.mean()) / train.std(ddof=0)
    part = scaled.iloc[max(ETT_TRAINED_AND_VALIDATED - context, 0) : ETT_END]
    start = frame["date"].iloc[part.index[0]]
    series = {str(name): part[name].to_numpy() for name in part.columns}
    return _panel("ETTh1", series, str(start), "h", 24)


def _panel(
    name: str, series: dict[str, np.ndarray], start: str, freq: str, seasonality: int
) -> Panel:
    from tsfm.data.panel import Panel, PanelInfo, Series

    info = PanelInfo(name=name, variates=("value",), freq=freq, seasonality=seasonality)
    return Panel.from_series(
        (
            Series(item_id=item, target=np.asarray(values)[None], start=pd.Timestamp(start))
            for item, values in series.items()
        ),
        info,
    )
