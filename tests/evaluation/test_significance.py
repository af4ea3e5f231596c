from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from tsfm.errors import ConfigError
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.leaderboard import compare
from tsfm.evaluation.metrics import concat_scores, score
from tsfm.evaluation.significance import holm, in_words, significance

Answered = Callable[..., Backtest]


def _forecaster(base: Backtest, name: str, spread: float, seed: int) -> Backtest:
    center = np.where(np.isfinite(base.actual), base.actual, 3.0)
    mean = center + spread * np.random.default_rng(seed).standard_normal(center.shape)
    quantiles = mean[..., None] + spread * np.linspace(-1.3, 1.3, 9)
    return replace(base, model=name, mean=mean, quantiles=quantiles)


def _scores(base: Backtest, cluster: str = "item_time") -> pd.DataFrame:
    base = replace(base, task=replace(base.task, cluster=cluster))
    models = [("sharp", 0.5, 1), ("as sharp", 0.5, 2), ("blurred", 0.8, 3)]
    return concat_scores([score(_forecaster(base, *model)) for model in models])


def _rows(table: pd.DataFrame, variate: str = "v0") -> pd.DataFrame:
    return table[table["variate"] == variate].set_index(["model", "other"])


@pytest.mark.parametrize("cluster", ["item_time", "time_block", "item"])
def test_planted_differences_are_found_and_luck_is_not(answered: Answered, cluster: str) -> None:
    base = answered(windows=360)
    if cluster == "item":
        base = replace(base, item_ids=tuple(f"S{k % 12}" for k in range(360)))
    table = _rows(significance(_scores(base, cluster), "crps", replicates=800))
    assert table.loc[("sharp", "blurred"), "verdict"] == "better"
    assert table.loc[("as sharp", "blurred"), "verdict"] == "better"
    assert table.loc[("sharp", "as sharp"), "verdict"] == "alike"
    assert table.loc[("sharp", "blurred"), "dm"] < 0
    assert table.loc[("sharp", "blurred"), "dm_units"] == (12 if cluster == "item" else 120)


def test_skill_and_interval_are_those_of_the_comparison(answered: Answered) -> None:
    scores = _scores(answered(windows=90))
    table = significance(scores, "crps", model="sharp", replicates=400)
    expected = compare(scores, "sharp", "crps", replicates=400)
    assert table["other"].tolist() == expected["baseline"].tolist()
    for column in ("skill", "low", "high", "clusters", "windows"):
        np.testing.assert_allclose(table[column], expected[column])


def test_families_are_resampled_instead_of_items(answered: Answered) -> None:
    base = answered(windows=360)
    base = replace(base, item_ids=tuple(f"S{k % 12}" for k in range(360)))
    scores = _scores(base, "item")
    families = {f"S{k}": f"family {k % 4}" for k in range(12)}
    alone = _rows(significance(scores, replicates=200))
    together = _rows(significance(scores, replicates=200, families=families))
    assert (alone["dm_units"] == 12).all()
    assert (together["dm_units"] == 4).all()
    assert (together["clusters"] <= 4).all()
    undecided = dict.fromkeys(families, "one family")
    table = significance(scores, replicates=200, families=undecided)
    assert (table["verdict"] == "undecided").all()
    assert "too few independent units" in in_words(table)


def test_overlapping_windows_are_counted_as_lags(answered: Answered) -> None:
    base = answered(windows=360, horizon=5)
    dense = replace(base, origins=np.repeat(np.arange(120) * 2, 3))
    stamps = dense.timestamps[0, 0] + (dense.origins[:, None] + np.arange(5)) * np.timedelta64(
        1, "h"
    )
    table = significance(_scores(replace(dense, timestamps=stamps)), replicates=50)
    assert (table["dm_lags"] == 2).all()
    assert (significance(_scores(base), replicates=50)["dm_lags"] == 0).all()


def test_higher_is_better_is_understood(answered: Answered) -> None:
    scores = _scores(answered(windows=150))
    part = scores[scores["metric"] == "mae"].assign(metric="valid_time")
    table = _rows(significance(part, "valid_time", replicates=400))
    assert table.loc[("sharp", "blurred"), "verdict"] == "worse"
    assert table.loc[("sharp", "blurred"), "dm"] > 0


def test_holm_is_that_of_statsmodels() -> None:
    values = np.random.default_rng(0).random(30) ** 4
    np.testing.assert_allclose(holm(values), multipletests(values, method="holm")[1])
    holed = values.copy()
    holed[[2, 9]] = np.nan
    known = np.isfinite(holed)
    np.testing.assert_allclose(holm(holed)[known], multipletests(holed[known], method="holm")[1])
    assert np.isnan(holm(holed)[[2, 9]]).all()
    assert holm(np.array([])).size == 0


def test_many_comparisons_of_equals_find_nothing(answered: Answered) -> None:
    base = answered(windows=90)
    scores = concat_scores([score(_forecaster(base, f"m{k}", 0.5, k)) for k in range(8)])
    table = significance(scores, replicates=500)
    assert len(table) == 56
    assert (table[["p_bootstrap", "p_dm"]].min() < 0.05).any()
    assert set(table["verdict"]) <= {"alike", "likely better", "likely worse"}


def test_the_conclusion_is_in_words(answered: Answered) -> None:
    table = significance(_scores(answered(windows=360)), replicates=400)
    words = in_words(table)
    assert "By crps, 4 of 6 comparisons differ by more than luck" in words
    assert "as sharp is better than blurred (+" in words
    assert "% on random/v0" in words
    assert "2 could as well be luck." in words


def test_the_worse_one_is_told_from_the_better_ones_side(answered: Answered) -> None:
    scores = _scores(answered(windows=360))
    turned = significance(scores, model="blurred", replicates=400)
    assert set(turned["verdict"]) == {"worse"}
    words = in_words(turned)
    forward = significance(scores, model="sharp", replicates=400)
    skill = _rows(forward).loc[("sharp", "blurred"), "skill"]
    assert "sharp is better than blurred (+" in words
    assert f"{skill:+.1%} on random/v0" in words


def test_of_many_questions_the_largest_leads_are_named(answered: Answered) -> None:
    table = significance(_scores(answered(windows=360)), model="sharp", replicates=400)
    won = table[(table["other"] == "blurred") & (table["verdict"] == "better")].iloc[:1]
    many = pd.concat(
        [won.assign(task=f"task{k}", skill=0.1 * k) for k in range(1, 7)], ignore_index=True
    )
    words = in_words(many)
    assert "(+60.0% on task6" in words
    assert words.count("task") == 3
    assert " and 3 more)" in words


def test_bad_questions_are_told(answered: Answered) -> None:
    scores = _scores(answered(windows=30))
    with pytest.raises(ConfigError, match="metric='coverage_80' is not known"):
        significance(scores, "coverage_80")
    with pytest.raises(ConfigError, match="model='best' is not known"):
        significance(scores, model="best")
    with pytest.raises(ConfigError, match="scores of 1 models"):
        significance(scores[scores["model"] == "sharp"])
    with pytest.raises(ConfigError, match="scores of 0 models"):
        significance(scores[:0])
