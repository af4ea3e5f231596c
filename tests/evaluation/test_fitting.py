"""Baselines fitted for a task: on what was known before each window, and on nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.seasons import changed_from, seasonal_panel

from tsfm.errors import ConfigError
from tsfm.evaluation.answers import answers
from tsfm.evaluation.backtest import Backtest, backtest
from tsfm.evaluation.contender import Contender
from tsfm.evaluation.fitting import REFITS, Refitted, cuts, prepared
from tsfm.evaluation.judge import judge
from tsfm.evaluation.suites import SuiteTask
from tsfm.evaluation.tasks import Task
from tsfm.models.base import Forecaster
from tsfm.models.source import load_local
from tsfm.models.statistical import RandomWalk, SeasonalNaive

FIELDS: dict[str, Any] = {"context": 96, "horizon": 12, "stride": 24, "max_windows": 6}
CUT = pd.Timestamp("2024-01-11")
BAR = 240


def _model(name: str = "lightgbm") -> Forecaster:
    small = {"rounds": 20, "max_examples": 2000} if name == "lightgbm" else {}
    return load_local(name, **small)


def _asked(panel: Any, name: str = "lightgbm", **fields: Any) -> Backtest:
    task = Task.on(panel, **(FIELDS | {"quantile_levels": (0.1, 0.5, 0.9)} | fields))
    return backtest(prepared(_model(name), task, panel), task, panel, name=name)


@pytest.mark.parametrize("name", ["lightgbm", "dlinear"])
def test_nothing_after_the_cutoff_moves_the_fit(name):
    panel = seasonal_panel(items=4, length=400)
    other = changed_from(panel, BAR)
    first, second = (
        prepared(_model(name), Task.on(p, first_origin=CUT, **FIELDS), p) for p in (panel, other)
    )
    past = np.asarray(panel.series(0).target[:, :BAR].T)
    told, same = (model.stages[0].model.predict(past=past, horizon=12) for model in (first, second))
    np.testing.assert_array_equal(told.quantiles, same.quantiles)
    earlier = changed_from(panel, BAR - 1)
    moved = prepared(_model(name), Task.on(earlier, first_origin=CUT, **FIELDS), earlier)
    other_told = moved.stages[0].model.predict(past=past, horizon=12)
    assert not np.array_equal(told.quantiles, other_told.quantiles)


@pytest.mark.parametrize("dated", [True, False])
@pytest.mark.parametrize("name", ["lightgbm", "dlinear"])
def test_a_window_is_forecast_from_what_came_before_it(name, dated):
    panel = seasonal_panel(items=4, length=400, dated=dated)
    whole = _asked(panel, name)
    for bar in (150, 300):
        changed = _asked(changed_from(panel, bar), name)
        before = whole.origins <= bar
        assert before.any()
        np.testing.assert_array_equal(changed.quantiles[before], whole.quantiles[before])
        after = whole.origins > bar
        assert not np.array_equal(changed.quantiles[after], whole.quantiles[after])


def test_each_window_is_served_by_the_latest_model_before_it():
    panel = seasonal_panel(items=3, length=400)
    task = Task.on(panel, **FIELDS)
    model = prepared(_model(), task, panel)
    assert isinstance(model, Refitted)
    assert len(model.stages) == REFITS
    moments = [moment for moment, _ in cuts(task, panel)]
    assert moments == sorted(moments)
    found = backtest(model, task, panel)
    contexts = list(task.contexts(panel, 1, task.history))
    for k, context in enumerate(contexts):
        origin = panel.timestamps(0)[found.origins[k]]
        stage = max(n for n, moment in enumerate(moments) if moment <= origin)
        direct = model.stages[stage].model.predict(context, 12, task.quantile_levels)
        np.testing.assert_allclose(found.quantiles[k], direct.quantiles[0], rtol=1e-6)
    assert {model._stage_of(c)[0] for c in contexts} == set(range(REFITS))


def test_before_all_models_and_without_one_seasonal_naive_answers():
    panel = seasonal_panel(items=1, length=140)
    task = Task.on(panel, **(FIELDS | {"context": 4, "horizon": 3, "max_windows": 40}))
    model = prepared(_model(), task, panel)
    assert model.stages[0].model is None
    found = backtest(model, task, panel)
    early = found.origins == found.origins.min()
    expected = backtest(SeasonalNaive(), task, panel).quantiles[early]
    np.testing.assert_array_equal(found.quantiles[early], expected)
    assert np.isfinite(found.quantiles).all()
    late = Task.on(panel, **FIELDS, first_origin="2024-01-05")
    (context,) = Task.on(panel, **(FIELDS | {"max_windows": 1})).contexts(panel)
    assert prepared(_model(), late, panel)._stage_of(context).tolist() in ([0], [-1])


def test_it_beats_seasonal_naive_on_a_planted_season(tmp_path: Path):
    panel = seasonal_panel(items=8, length=700)
    entry = SuiteTask(
        suite="made", name="made/seasons", dataset="seasons", domain="d", freq="h",
        fields=FIELDS | {"context": 240}, source=lambda: panel,
    )  # fmt: skip
    asked = [Contender(name=name) for name in ("seasonal_naive", "lightgbm", "dlinear")]
    found = answers(asked, [entry], metric="sql", kept=tmp_path)
    assert not any(answer.result.failure for answer in found)
    errors = {
        answer.result.model: answer.scores.numerator.sum() / answer.scores.denominator.sum()
        for answer in found
    }
    assert errors["lightgbm"] < 0.85 * errors["seasonal_naive"]
    assert errors["dlinear"] < 0.95 * errors["seasonal_naive"]
    assert not any(answer.result.trained_on for answer in found)
    again = answers(asked, [entry], metric="sql", kept=tmp_path)
    assert all(answer.is_kept for answer in again)


def test_a_fitted_model_and_others_are_asked_as_they_are():
    panel = seasonal_panel(items=4, length=300)
    task = Task.on(panel, **FIELDS)
    fitted = _model().fit(panel)
    assert prepared(fitted, task, panel) is fitted
    assert prepared(RandomWalk(max_history=10), task, panel) == RandomWalk(max_history=96)


def test_a_model_is_judged_against_it():
    panel = seasonal_panel(items=3, length=300)
    task = Task.on(panel, **FIELDS)
    verdict = judge(RandomWalk(), ["seasonal_naive", "dlinear"], [(task, panel)])
    assert set(verdict.comparison["baseline"]) == {"seasonal_naive", "dlinear"}


def test_what_was_fitted_for_a_task_is_not_kept(tmp_path: Path):
    panel = seasonal_panel(items=3, length=300)
    model = prepared(_model(), Task.on(panel, **FIELDS), panel)
    assert model.info()["name"] == "lightgbm"
    assert model.info()["parameters"] > 0
    with pytest.raises(ConfigError, match="it it on a panel"):
        model.save(tmp_path)
    with pytest.raises(ConfigError, match="not kept"):
        Refitted.load(tmp_path)
