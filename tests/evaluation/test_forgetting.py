"""What was forgotten: the same windows before and after, and nothing where nothing changed."""

from __future__ import annotations

import numpy as np
import pytest
from support.ttm import make_mixing_model, make_model

from tsfm.evaluation.backtest import backtest
from tsfm.evaluation.forgetting import compare_before_and_after, general_tasks
from tsfm.models.statistical import RandomWalk, SeasonalNaive


@pytest.fixture(scope="module")
def tasks():
    return general_tasks(64, 16, windows=3)


def test_general_tasks_come_with_the_packages(tasks, monkeypatch):
    monkeypatch.delenv("LSF_PATH", raising=False)
    assert [task.name for task, _ in tasks] == ["electricity_demand", "sunspots", "sample_bars"]


def test_ett_is_asked_where_it_is(monkeypatch, shared):
    monkeypatch.setenv("LSF_PATH", str(shared / "data/lsf"))
    task, panel = general_tasks(512, 96, windows=2)[-1]
    assert task.name == "ETTh1"
    assert len(panel) == 7
    assert (panel.lengths == 2880 + 512).all()


def test_nothing_is_forgotten_by_the_same_model(tasks):
    model = make_model()
    table = compare_before_and_after(model, model, tasks)
    np.testing.assert_array_equal(table["change"], 0)
    assert set(table["metric"]) == {"mase", "crps", "mae"}


def test_the_change_is_that_of_the_errors(tasks):
    table = compare_before_and_after(RandomWalk(), SeasonalNaive(), tasks)
    task, panel = tasks[0]
    error = {
        model.name: np.abs(
            (found := backtest(model, task, panel)).actual - found.quantiles[..., 4]
        ).mean()
        for model in (RandomWalk(), SeasonalNaive())
    }
    row = table[(table["task"] == task.name) & (table["metric"] == "mae")].iloc[0]
    expected = error["seasonal_naive"] / error["random_walk"] - 1
    assert row["change"] == pytest.approx(expected, rel=1e-5)


def test_models_that_need_covariates_cannot_be_asked(tasks, caplog):
    model = make_mixing_model(targets=1, past=2, known=0)
    assert compare_before_and_after(model, model, tasks).empty
    assert "cannot tell what was forgotten" in caplog.text
