from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.promotion import planted, score_rows

from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.leaderboard import compare
from tsfm.tracking.promotion.evidence import Evidence, paired, skill, unanswered


def test_one_task_has_the_skill_that_the_leaderboard_has():
    rows = planted(0.1)
    found = skill(rows, "new", "old", replicates=500)
    (row,) = compare(rows, "new", replicates=500).to_dict("records")
    assert found.value == pytest.approx(row["skill"])
    assert found.clusters == pytest.approx(row["clusters"])
    assert found.low == pytest.approx(row["low"], abs=0.01)
    assert found.high == pytest.approx(row["high"], abs=0.01)
    assert found.low < found.value < found.high


def test_tasks_and_variates_are_joined_by_the_geometric_mean_with_equal_weight():
    ones = np.ones((4, 8))
    rows = pd.concat(
        [
            score_rows("new", 0.5 * ones, task="a"), score_rows("old", ones, task="a"),
            score_rows("new", 2 * ones, task="b"), score_rows("old", ones, task="b"),
            score_rows("new", 8 * ones, task="b", variate="y"),
            score_rows("old", ones, task="b", variate="y"),
        ]
    )  # fmt: skip
    found = skill(rows, "new", "old", replicates=100)
    expected = 1 - np.exp(np.mean([np.log(0.5), np.mean([np.log(2), np.log(8)])]))
    assert found.value == pytest.approx(expected)
    table = found.table.set_index(["task", "variate"])["skill"]
    assert table.to_dict() == pytest.approx({("a", "x"): 0.5, ("b", "x"): -1, ("b", "y"): -7})


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    held = [
        (found := skill(planted(0.0, seed=seed), "new", "old", replicates=200)).low
        <= 0
        <= found.high
        for seed in range(60)
    ]
    assert 0.9 <= np.mean(held) <= 1.0


def test_the_detectable_effect_is_found_with_80_percent_probability():
    effect = np.mean(
        [skill(planted(0.0, seed=s), "new", "old", replicates=200).detectable for s in range(20)]
    )
    found = [
        skill(planted(effect, seed=s), "new", "old", replicates=200).low > 0 for s in range(50)
    ]
    assert 0.6 <= np.mean(found) <= 0.95


def test_more_independent_tasks_narrow_the_interval():
    def frame(tasks: int) -> pd.DataFrame:
        return pd.concat([planted(0.1, seed=s).assign(task=f"t{s}") for s in range(tasks)])

    one, four = (skill(frame(n), "new", "old", replicates=400) for n in (1, 4))
    assert four.high - four.low < 0.7 * (one.high - one.low)
    assert four.clusters > 2 * one.clusters


def test_a_task_with_too_few_clusters_leaves_no_interval():
    small = pd.concat([planted(0.3), planted(0.3, items=2, seed=5).assign(task="tiny")])
    found = skill(small, "new", "old", replicates=100)
    assert np.isnan(found.low)
    assert found.weakest == "tiny"
    assert "task tiny has fewer than 3 independent clusters" in str(found)


def test_only_bars_that_both_forecast_are_compared():
    rng = np.random.default_rng(0)
    ours, theirs = rng.random((2, 5, 6)) + 0.1
    ours[0, :3] = np.nan
    theirs[2, 1:] = np.nan
    rows = pd.concat([score_rows("new", ours), score_rows("old", theirs)])
    both = np.isfinite(ours) & np.isfinite(theirs)
    sums = paired(rows, "new", "old", "crps")
    assert len(sums) == both.sum()
    assert sums["top_a"].sum() == pytest.approx(2 * ours[both].sum(), rel=1e-6)
    assert sums["top_b"].sum() == pytest.approx(2 * theirs[both].sum(), rel=1e-6)
    assert unanswered(rows, "new", "old") == {"task": 6}
    assert unanswered(rows, "old", "new") == {"task": 10}
    own = rows[rows["model"] == "old"].assign(metric="crps_exact")
    assert unanswered(pd.concat([own, rows]), "new", "old") == {"task": 6}


def test_losses_of_zero_and_without_bounds_stay_finite():
    ones = np.ones((4, 4))
    rows = pd.concat([score_rows("new", 0 * ones), score_rows("old", 0 * ones)])
    assert skill(rows, "new", "old", replicates=100).value == 0
    rows = pd.concat([score_rows("new", 0 * ones), score_rows("old", ones)])
    assert skill(rows, "new", "old", replicates=100).value == pytest.approx(0.99)


def test_nothing_in_common_an_unknown_metric_and_other_frames_are_refused():
    rows = planted(0.1)
    with pytest.raises(DataError, match="no window in common"):
        skill(rows, "new", "nobody")
    with pytest.raises(ConfigError, match="metric='coverage_80'"):
        skill(rows, "new", "old", metric="coverage_80")
    with pytest.raises(DataError, match="no columns terms, sizes"):
        Evidence(candidate="new", rival="old", scores=rows.drop(columns=["terms", "sizes"]))
