"""Events beside hand-made ones, areas beside scikit-learn's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score
from support.glucose_backtests import forecast_with, glucose_panel, glucose_task

from tsfm.data.panel import Panel, PanelInfo, Series
from tsfm.errors import ConfigError
from tsfm.evaluation.clinical_config import ClinicalConfig
from tsfm.evaluation.hypoglycaemia import Events, event_table, hypoglycaemia, ranking_areas

CONFIG = ClinicalConfig(replicates=200)
HORIZON = 6
NONE = np.nan

CASES = [
    ([100, 100, 100], [90, 80, 69, 69, 69, 80], True, 15.0),
    ([100, 100, 100], [90, 69, 69, 80, 69, 69], False, NONE),
    ([100, 100, 100], [90, 70, 70, 70, 70, 70], False, NONE),
    ([100, 100, 100], [60, 60, 60, 60, 60, 60], True, 5.0),
    ([100, 100, 100], [60, NONE, 60, 60, 60, 90], True, 15.0),
    ([100, 100, 100], [60, NONE, 60, NONE, NONE, 60], None, NONE),
    ([100, 100, 100], [90, NONE, NONE, NONE, 90, 90], None, NONE),
    ([100, 69, 100], [60, 60, 60, 60, 60, 60], "ongoing", 5.0),
    ([100, 100, NONE], [90, 90, 90, 50, 50, 50], True, 20.0),
]


def _panel() -> Panel:
    info = PanelInfo(name="cases", variates=("glucose",), freq="5min")
    return Panel.from_series(
        [
            Series(
                item_id=f"P{k}",
                target=np.array([[*past, *future]], np.float32),
                start=pd.Timestamp("2024-01-01"),
            )
            for k, (past, future, _, _) in enumerate(CASES)
        ],
        info,
    )


def test_events_last_and_begin_after_the_origin() -> None:
    panel = _panel()
    result = forecast_with(panel, glucose_task(panel, horizon=HORIZON, context=3), 0.0)
    events = hypoglycaemia(result, panel, CONFIG)
    expected = {
        f"P{k}": (happened, onset)
        for k, (_, _, happened, onset) in enumerate(CASES)
        if isinstance(happened, bool)
    }
    assert events.patients.tolist() == list(expected)
    assert events.happened.tolist() == [happened for happened, _ in expected.values()]
    np.testing.assert_array_equal(events.onset, [onset for _, onset in expected.values()])
    with_ongoing = hypoglycaemia(result, panel, replace(CONFIG, exclude_ongoing=False))
    assert with_ongoing.patients.tolist() == [*list(expected)[:-1], "P7", "P8"]
    short = hypoglycaemia(result, panel, replace(CONFIG, event_minutes=5))
    assert short.happened[short.patients == "P1"].all()
    severe = hypoglycaemia(result, panel, CONFIG, limit=54)
    assert severe.happened.sum() == 1
    with pytest.raises(ConfigError, match="longer than the horizon"):
        hypoglycaemia(result, panel, replace(CONFIG, event_minutes=35))


def test_probability_is_that_of_a_path_at_one_level() -> None:
    panel = _panel()
    result = forecast_with(panel, glucose_task(panel, horizon=HORIZON, context=3), 30.0)
    events = hypoglycaemia(result, panel, replace(CONFIG, exclude_ongoing=False))
    kept = [k for k, name in enumerate(result.item_ids) if name in events.patients]
    below = norm.cdf(70, result.mean[kept, :, 0], 10)
    expected = [max(min(row[start : start + 3]) for start in range(HORIZON - 2)) for row in below]
    np.testing.assert_allclose(events.probability, expected)
    levels = norm.ppf(np.linspace(0.0005, 0.9995, 1000))
    paths = result.mean[kept][:, None, :, 0] + 10 * levels[None, :, None]
    runs = np.lib.stride_tricks.sliding_window_view(paths < 70, 3, axis=2).all(-1).any(-1)
    np.testing.assert_allclose(events.probability, runs.mean(axis=1), atol=1e-3)


def test_point_forecasts_are_ranked_by_their_level() -> None:
    panel = _panel()
    result = forecast_with(panel, glucose_task(panel, horizon=HORIZON, context=3), 0.0, width=0.0)
    events = hypoglycaemia(result, panel, CONFIG)
    np.testing.assert_array_equal(events.probability, events.happened)
    assert len(set(events.rank)) > 2
    (row,) = event_table([events], CONFIG).to_dict("records")
    assert row["auroc"] == 1
    assert row["brier"] == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 3)), min_size=2, max_size=40
    )
)
def test_areas_equal_those_of_scikit_learn(windows: list[tuple[int, bool, int]]) -> None:
    rank, happened, weights = (np.array(column) for column in zip(*windows))
    area, average = ranking_areas(rank, happened, weights[None].astype(float))
    used = weights > 0
    if not (happened & used).any() or (happened | ~used).all():
        assert np.isnan(area[0])
        return
    expected = roc_auc_score(happened, rank, sample_weight=weights)
    assert area[0] == pytest.approx(expected, abs=1e-12)
    expected = average_precision_score(happened, rank, sample_weight=weights)
    assert average[0] == pytest.approx(expected, abs=1e-12)


def test_tables_tell_skill_from_none() -> None:
    panel = glucose_panel(people=9)
    task = glucose_task(panel, horizon=24)
    result = forecast_with(panel, task, 4.0, name="sharp")
    sharp = hypoglycaemia(result, panel, CONFIG, limit=90)
    rng = np.random.default_rng(0)
    blind = replace(sharp, model="blind", rank=rng.random(len(sharp.rank)))
    table = event_table([sharp, blind], CONFIG).set_index("model")
    assert table.loc["sharp", "auroc"] > 0.95
    assert table.loc["sharp", "auroc_low"] > table.loc["blind", "auroc_high"]
    low, high = table.loc["blind", ["auroc_low", "auroc_high"]]
    assert low < 0.5 < high
    assert table.loc["blind", "auprc"] == pytest.approx(table.loc["blind", "share"], abs=0.1)
    assert table.loc["sharp", "sensitivity"] > 0.8
    assert 5 <= table.loc["sharp", "lead"] <= 120
    assert table.loc["sharp", "patients"] == 9


def test_nothing_to_rank_is_not_a_number() -> None:
    quiet = Events(
        model="m",
        task="t",
        limit=70.0,
        patients=np.array(["a", "b"], object),
        happened=np.array([False, False]),
        onset=np.full(2, np.nan),
        probability=np.array([0.1, 0.2]),
        rank=np.array([0.1, 0.2]),
    )
    empty = replace(
        quiet,
        **{
            name: getattr(quiet, name)[:0]
            for name in ("patients", "happened", "onset", "probability", "rank")
        },
    )
    table = event_table([quiet, empty], CONFIG)
    assert table[["auroc", "auprc", "sensitivity", "lead"]].isna().all(axis=None)
    assert table["windows"].tolist() == [2, 0]
    assert table["brier"][0] == pytest.approx(0.025)
