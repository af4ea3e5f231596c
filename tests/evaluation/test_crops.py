"""Windows cut all at once equal windows cut one by one."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest

from tsfm.data.panel import Panel, PanelInfo, Series
from tsfm.evaluation.backtest import seasonal_scale
from tsfm.evaluation.crops import Crops
from tsfm.evaluation.tasks import Task
from tsfm.models.base import Context


def _made(dates: str, seed: int = 3) -> Panel:
    """Three items, two variates, one past and two known covariates, statics, gaps."""
    rng = np.random.default_rng(seed)
    series = []
    for item, length in enumerate((90, 70, 55)):
        target = rng.standard_normal((2, length)).cumsum(axis=1).astype(np.float32)
        target[0, 20:24] = np.nan
        stamps = np.sort(rng.choice(10_000, length, replace=False)).astype("M8[h]").astype("M8[ns]")
        series.append(
            Series(
                item_id=f"S{item}",
                target=target,
                start=pd.Timestamp("2024-01-31") if dates == "freq" else None,
                timestamps=stamps if dates == "stamps" else None,
                past_covariates=rng.standard_normal((1, length)).astype(np.float32),
                known_covariates=rng.standard_normal((2, length)).astype(np.float32),
                static={"kind": item},
            )
        )
    info = PanelInfo(
        name="made", variates=("a", "b"), freq="ME" if dates == "freq" else None, seasonality=3,
        past_covariates=("p",), known_covariates=("k", "l"),
    )  # fmt: skip
    return Panel.from_series(series, info)


@pytest.mark.parametrize("dates", ["freq", "stamps", "none"])
@pytest.mark.parametrize(
    "asked",
    [
        {"targets": ("b",), "past": ("a",), "known": ("l",)},
        {"targets": ("b", "a"), "known": ("l", "k"), "max_windows": 4, "baseline_context": 40},
        {"stride": 7, "items": ("S2", "S0")},
    ],
)
def test_batches_equal_windows_one_by_one(dates: str, asked: dict) -> None:
    panel = _made(dates)
    task = Task.on(panel, context=20, horizon=6, **asked)
    crops, one_by_one = Crops(task, panel), list(task.crops(panel, task.history))
    assert len(crops) == len(one_by_one) == len(task.windows(panel))
    for first in range(0, len(crops), 9):
        rows = slice(first, first + 9)
        pasts = [past for past, _ in one_by_one[rows]]
        answers = [answer for _, answer in one_by_one[rows]]
        expected = replace(Context.from_windows(pasts, horizon=6), seasonality=task.seasonality)
        _expect_equal(crops.context(rows, task.history), expected)
        np.testing.assert_array_equal(crops.actual(rows), [a.target.T for a in answers])
        np.testing.assert_array_equal(crops.starts(rows), [a.start for a in answers])
        assert crops.item_ids(rows) == tuple(a.item_id for a in answers)
        if dates == "none":
            assert np.isnat(crops.timestamps(rows)).all()
        else:
            np.testing.assert_array_equal(crops.timestamps(rows), [a.timestamps for a in answers])


@pytest.mark.parametrize("seasonality", [1, 3, 25, 200])
def test_scales_equal_the_differences_of_every_history(seasonality: int) -> None:
    panel = _made("none")
    task = Task.on(panel, context=20, horizon=6, baseline_context=30, seasonality=seasonality)
    scales, squares = Crops(task, panel).scales(slice(None))
    pasts = [past.target.T for past, _ in task.crops(panel, task.history)]
    np.testing.assert_allclose(scales, [seasonal_scale(p, seasonality) for p in pasts], rtol=1e-9)
    for past, found in zip(pasts, squares, strict=True):
        for column in range(2):
            gaps = [
                (past[t, column] - past[t - seasonality, column]) ** 2
                for t in range(seasonality, len(past))
            ]
            known = [gap for gap in gaps if np.isfinite(gap)]
            expected = np.mean(known, dtype=np.float64) if known else np.nan
            np.testing.assert_allclose(found[column], expected, rtol=1e-5)


def test_constant_histories_have_no_scale() -> None:
    target = np.r_[np.zeros(40), 1e6 * np.ones(40)].astype(np.float32)[None]
    info = PanelInfo(name="flat", variates=("x",))
    panel = Panel.from_series([Series(item_id="a", target=target)], info)
    scales, squares = Crops(Task.on(panel, context=10, horizon=2), panel).scales(slice(None))
    origins = Crops(Task.on(panel, context=10, horizon=2), panel).origins
    has_step = (origins > 40) & (origins - 10 < 40)
    np.testing.assert_array_equal(np.isfinite(scales[:, 0]), has_step)
    np.testing.assert_array_equal(np.isfinite(squares[:, 0]), has_step)


def test_views_count_origins_from_the_whole_series() -> None:
    panel = _made("freq").slice(10, 80)
    task = Task.on(panel, context=20, horizon=6, max_windows=2)
    starts = Crops(task, panel).starts(slice(None))
    np.testing.assert_array_equal(starts, [a.start for _, a in task.crops(panel)])
    assert starts.min() == 30


def _expect_equal(found: Context, expected: Context) -> None:
    for name in (field.name for field in fields(Context)):
        ours, theirs = getattr(found, name), getattr(expected, name)
        if isinstance(theirs, np.ndarray):
            assert ours.dtype == theirs.dtype, name
            np.testing.assert_array_equal(ours, theirs, err_msg=name)
        else:
            assert ours == theirs, name
