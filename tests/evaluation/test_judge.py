"""A verdict holds what its parts, called one by one, say."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.data.ohlcv.simulator import MarketConfig, simulate_panel
from tsfm.data.sources import SourceConfig
from tsfm.errors import ConfigError
from tsfm.evaluation.backtest import backtest
from tsfm.evaluation.config import EvaluationConfig
from tsfm.evaluation.holdout import hold_out
from tsfm.evaluation.judge import expect_able, judge
from tsfm.evaluation.metrics import score
from tsfm.evaluation.tasks import Task
from tsfm.models.moirai import Moirai
from tsfm.models.moirai_config import MoiraiConfig
from tsfm.models.statistical import AutoETS, RandomWalk, SeasonalNaive

BASELINES = ("random_walk", "seasonal_naive")


@pytest.fixture
def tasks(bars):
    fields = {"context": 40, "horizon": 5, "stride": 5, "max_windows": 4}
    return [
        (Task.on(bars, name="bars/long", **fields), bars),
        (Task.on(bars, name="bars/short", **fields | {"horizon": 2}), bars),
    ]


def test_model_and_baselines_answer_every_task(tasks):
    verdict = judge(SeasonalNaive(), ("random_walk",), tasks, name="candidate")
    assert verdict.model == "candidate"
    assert list(verdict.backtests) == ["bars/long", "bars/short"]
    for task, _ in tasks:
        found = verdict.backtests[task.name]
        assert [result.model for result in found] == ["candidate", "random_walk"]
        assert all(result.task == task for result in found)
        np.testing.assert_array_equal(found[0].actual, found[1].actual)
        np.testing.assert_array_equal(found[0].origins, found[1].origins)


def test_scores_are_those_of_each_backtest(tasks):
    verdict = judge(SeasonalNaive(), ("random_walk",), tasks)
    own = score(backtest(RandomWalk(), *tasks[1]))
    found = verdict.scores.query("model == 'random_walk' and task == 'bars/short'")
    columns = ["item_id", "origin", "variate", "metric"]
    own, found = own.sort_values(columns), found.sort_values(columns)
    np.testing.assert_array_equal(found["value"], own["value"])
    assert len(found) == len(own)


def test_leaderboard_and_comparison_cover_every_task_and_target(tasks, bars):
    verdict = judge(SeasonalNaive(), ("random_walk",), tasks, name="candidate", metric="mae")
    table = verdict.leaderboard
    assert set(table["model"]) == {"candidate", "random_walk"}
    assert set(table["task"]) == {"bars/long", "bars/short"}
    pairs = verdict.comparison[["task", "variate", "baseline"]].apply(tuple, axis=1)
    assert sorted(pairs) == sorted(
        (task.name, variate, "random_walk") for task, _ in tasks for variate in bars.info.variates
    )
    values = table[table["metric"] == "mae"].set_index(["model", "task", "variate"])["value"]
    for row in verdict.comparison.to_dict("records"):
        own = values["candidate", row["task"], row["variate"]]
        other = values["random_walk", row["task"], row["variate"]]
        assert row["value"] == pytest.approx(own)
        assert row["baseline_value"] == pytest.approx(other)
        assert row["skill"] == pytest.approx(1 - own / other)


def test_a_model_is_no_better_than_itself(tasks):
    verdict = judge(RandomWalk(), ("random_walk",), tasks, name="twin")
    assert verdict.comparison["skill"].abs().max() == pytest.approx(0)
    assert not (verdict.comparison["verdict"] == "wins").any()


def test_unknown_baselines_are_told(tasks):
    with pytest.raises(ConfigError, match="oracle"):
        judge(RandomWalk(), ("oracle",), tasks)


@pytest.mark.parametrize("budget", [5, 6])
def test_a_task_beyond_the_token_budget_is_told_before_anything_is_asked(tasks, budget):
    """Three variates need 3 × (⌈40 / 32⌉ + 1) = 9 tokens at 32 bars, 6 at 64."""
    config = MoiraiConfig.preset(
        "tiny", patch_sizes=(16, 32, 64), token_budget=budget, context=40, horizon=5
    )
    model = Moirai(config)
    if budget == 6:
        expect_able(model, tasks)
        return
    told = (
        r"context 40 \+ horizon 5 of 3 variates need 6 tokens at patch size 64.*5 .task bars/long"
    )
    with pytest.raises(ConfigError, match=told):
        expect_able(model, tasks)


def test_baselines_have_no_such_limit(tasks):
    expect_able(RandomWalk(), tasks)


def test_baselines_look_back_as_far_as_the_model(make_panel):
    panel = make_panel(n_items=1, length=620, variates=("a",))
    task = Task.on(panel, context=600, horizon=4, stride=4, max_windows=1)
    verdict = judge(SeasonalNaive(), ("auto_ets",), [(task, panel)])
    found = verdict.backtests[task.name][1]
    whole = backtest(AutoETS(max_history=600), task, panel)
    np.testing.assert_array_equal(found.mean, whole.mean)
    assert np.abs(found.quantiles - backtest(AutoETS(), task, panel).quantiles).max() > 0


def test_one_target_alone_is_judged_as_among_all():
    """GARCH needs the returns for the range, which are a past covariate then."""
    whole = simulate_panel(MarketConfig(n_assets=4, n_bars=900))
    alone = whole.variates(("log_range",), others_as_past=True)
    few = EvaluationConfig(windows_per_item=2, items_per_task=2, baseline_context=300)
    found = []
    for panel in (whole, alone):
        division = hold_out(
            panel, SourceConfig(name="simulated"), context=100, horizon=6, evaluation=few
        )
        verdict = judge(SeasonalNaive(), ("garch", "random_walk"), division.tasks)
        rows = verdict.scores[verdict.scores["variate"] == "log_range"]
        found.append(rows.drop(columns="seconds", errors="ignore").reset_index(drop=True))
    assert set(verdict.scores["variate"]) == {"log_range"}
    columns = ["model", "task", "item_id", "origin", "metric"]
    both = [rows.sort_values(columns).reset_index(drop=True) for rows in found]
    assert (both[0]["model"] == "garch").any()
    assert both[1].query("model == 'garch' and metric == 'crps'")["value"].notna().all()
    for name in (*columns, "value"):
        np.testing.assert_array_equal(both[1][name].to_numpy(), both[0][name].to_numpy())
