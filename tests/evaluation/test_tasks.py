from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tsfm.data.panel import Panel
from tsfm.data.series import PanelInfo, Series
from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.tasks import Task

FIRST = pd.Timestamp("2024-01-04")


def test_windows_are_those_of_a_brute_force_search(bars: Panel) -> None:
    task = Task.on(bars, context=50, horizon=10, first_origin=FIRST, stride=3)
    for item, origins in _by_item(task.windows(bars)).items():
        stamps, length = bars.timestamps(item), int(bars.lengths[item])
        possible = [k for k in range(50, length - 10 + 1) if pd.Timestamp(stamps[k]) >= FIRST]
        assert origins == possible[::3]
    assert set(_by_item(task.windows(bars))) == {0, 1, 2}, "the shortest item fits no window"


def test_max_windows_are_evenly_spaced_from_first_to_last(bars: Panel) -> None:
    everything = Task.on(bars, context=50, horizon=10)
    few = replace(everything, max_windows=4)
    for item, origins in _by_item(few.windows(bars)).items():
        possible = _by_item(everything.windows(bars))[item]
        assert len(origins) == 4
        assert (origins[0], origins[-1]) == (possible[0], possible[-1])
        assert np.ptp(np.diff(origins)) <= 1


def test_windows_without_an_observation_are_not_asked() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 300)).astype(np.float32)
    values[:, 100:190] = np.nan
    values[1, 150] = 1.0
    values[0, 250:275] = np.nan
    info = PanelInfo(name="gaps", variates=("a", "b"), freq="h", seasonality=24)
    series = Series(item_id="x", target=values, start=pd.Timestamp("2024-01-01"))
    panel = Panel.from_series([series], info)
    for targets in (("a",), ("a", "b")):
        task = Task.on(panel, context=40, horizon=10, targets=targets)
        rows = values[: len(targets)]
        possible = [
            k
            for k in range(40, 291)
            if np.isfinite(rows[:, k - 40 : k]).any() and np.isfinite(rows[:, k : k + 10]).any()
        ]
        assert [origin for _, origin in task.windows(panel)] == possible
        assert 0 < len(possible) < 251


def test_items_can_be_chosen(bars: Panel) -> None:
    task = Task.on(bars, context=50, horizon=10, items=("S1",))
    assert set(_by_item(task.windows(bars))) == {1}


def test_contexts_end_just_before_the_origin(bars: Panel) -> None:
    task = Task.on(bars, context=50, horizon=10, max_windows=3, targets=("log_range",))
    windows = task.windows(bars)
    batches = list(task.contexts(bars, batch_size=4))
    assert [batch.batch_size for batch in batches] == [4, 4, 1]
    rows = [(batch, row) for batch in batches for row in range(batch.batch_size)]
    for (item, origin), (batch, row) in zip(windows, rows, strict=True):
        expected = bars.series(item).target[2, origin - 50 : origin]
        np.testing.assert_array_equal(batch.past[row, :, 0], expected)
        assert batch.variate_names == ("log_range",)
        assert batch.future_timestamps[row, 0] == bars.timestamps(item)[origin]
        assert batch.seasonality == 7


def test_past_variates_follow_the_targets_and_known_covariates_reach_the_horizon(
    bars: Panel,
) -> None:
    task = Task.on(
        bars, context=50, horizon=10, targets=("log_range",), past=("log_close",), known=("hour",)
    )
    (item, origin), context = task.windows(bars)[0], next(iter(task.contexts(bars)))
    assert context.variate_names == ("log_range", "log_close")
    known = bars.series(item).known_covariates[0, origin - 50 : origin + 10]
    np.testing.assert_array_equal(context.known_covariates[0, :, 0], known)
    assert next(iter(replace(task, known=()).contexts(bars))).known_covariates is None


def test_values_after_the_origin_never_reach_a_context(bars: Panel) -> None:
    task = Task.on(bars, context=50, horizon=10, first_origin=FIRST, max_windows=1, past=())
    origins = dict(task.windows(bars))
    altered = []
    for item, series in enumerate(bars):
        target = series.target.copy()
        target[:, origins.get(item, 0) :] += 100
        altered.append(replace(series, target=target))
    other = Panel.from_series(altered, bars.info)
    moved = replace(task, panel_fingerprint=other.fingerprint)
    for before, after in zip(task.contexts(bars), moved.contexts(other), strict=True):
        np.testing.assert_array_equal(before.past, after.past)


def test_history_reaches_back_as_far_as_there_is(bars: Panel) -> None:
    task = Task.on(bars, context=50, horizon=10, baseline_context=90, items=("S2",), max_windows=2)
    (_, first), (_, last) = task.windows(bars)
    lengths = [past.length for past, _ in task.crops(bars, task.history)]
    assert (first, last) == (50, 110)
    assert lengths == [50, 90]


def test_another_panel_is_refused(bars: Panel) -> None:
    task = Task.on(bars, context=50, horizon=10)
    with pytest.raises(DataError, match="fingerprint"):
        task.windows(bars.select(["S0"]))


@pytest.mark.parametrize(
    "fields", [{"items": ("S9",)}, {"targets": ("open",)}, {"past": ("x",)}, {"known": ("x",)}]
)
def test_names_that_the_panel_lacks_are_refused(bars: Panel, fields: dict) -> None:
    with pytest.raises(DataError, match="are not in panel bars"):
        Task.on(bars, context=50, horizon=10, **fields).windows(bars)


def test_a_task_survives_its_file(bars: Panel, tmp_path) -> None:
    task = Task.on(bars, context=50, horizon=10, first_origin=FIRST, items=("S0",), max_windows=5)
    assert Task.load(task.save(tmp_path / "task.json")) == task
    assert [path.name for path in tmp_path.iterdir()] == ["task.json"]


@pytest.mark.parametrize(
    "text", ["{", "[]", json.dumps({"name": "x"}), json.dumps({"horizon": 1, "what": 2})]
)
def test_a_file_that_is_no_task_is_refused(text: str, tmp_path) -> None:
    (tmp_path / "task.json").write_text(text)
    with pytest.raises(ConfigError):
        Task.load(tmp_path / "task.json")


@pytest.mark.parametrize(
    "fields",
    [
        {"horizon": 0},
        {"context": 0},
        {"stride": 0},
        {"baseline_context": 49},
        {"targets": ()},
        {"past": ("log_close",)},
        {"quantile_levels": (0.5, 0.4)},
        {"quantile_levels": (0.25, 0.75)},
        {"mode": "hopeful"},
        {"cluster": "star"},
        {"metrics": ("luck",)},
    ],
)
def test_a_task_that_makes_no_sense_is_refused(bars: Panel, fields: dict) -> None:
    with pytest.raises(ConfigError):
        Task.on(bars, **({"context": 50, "horizon": 10} | fields))


def _by_item(windows: list[tuple[int, int]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for item, origin in windows:
        found.setdefault(item, []).append(origin)
    return found
