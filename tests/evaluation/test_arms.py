"""Arms on the same windows: paired, by system, and told in words that their intervals allow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from support.trajectories import trajectories

from tsfm.data.dynamics.families import split_by_family
from tsfm.evaluation.arms import SEED_STRIDE, Contest, conclusion, hold_contest
from tsfm.evaluation.chaos_config import ChaosConfig
from tsfm.evaluation.family_holdout import hold_out_families
from tsfm.models.base import Context, Forecast
from tsfm.models.mean import Mean
from tsfm.models.statistical import Baseline, RandomWalk

CONFIG = ChaosConfig(horizons=(4, 16, 32))
SUBJECTS = {name: (name,) for name in (
    "Rossler", "Chen", "Halvorsen", "Thomas", "Aizawa", "Dadras", "Lorenz", "LorenzBounded",
    "LorenzCoupled", "HyperLorenz",
)}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Shrunk(Baseline):
    """The last value, drawn towards the mean of the context."""

    name: ClassVar[str] = "shrunk"
    share: float = 0.5

    def forecast(self, context: Context, horizon: int, quantile_levels: tuple[float, ...]):
        walk = RandomWalk().forecast(context, horizon, quantile_levels)
        mean = Mean().forecast(context, horizon, quantile_levels)
        mixed = self.share * walk.mean + (1 - self.share) * mean.mean
        return Forecast(
            quantiles=np.repeat(mixed[..., None], len(quantile_levels), axis=-1),
            quantile_levels=quantile_levels,
            mean=mixed,
            is_degenerate=True,
        )


@pytest.fixture(scope="module")
def tasks():
    return hold_out_families(
        split_by_family(trajectories(SUBJECTS)),
        context=64, horizon=16, steps=32, windows_per_item=3, items_per_group=100,
        validation_share=0.25, test_share=0.25,
    ).tasks  # fmt: skip


@pytest.fixture(scope="module")
def contest(tasks) -> Contest:
    return hold_contest(
        {"none": [RandomWalk()], "attention": [Shrunk(share=0.4)]},
        {"mean": Mean(), "random_walk": RandomWalk()},
        tasks,
        config=CONFIG,
        zero_shot={"borrowed": Shrunk(share=0.1)},
        zero_shot_windows=2,
        horizon=16,
        metric="mae",
    )


def test_differences_are_of_the_same_windows_and_of_all(contest: Contest, tasks) -> None:
    rows = contest.differences
    row = rows[(rows["metric"] == "mae") & (rows["task"] == "held_out_systems@16")].iloc[0]
    scores = contest.scores[
        (contest.scores["metric"] == "mae") & (contest.scores["task"] == "held_out_systems@16")
    ]
    value = scores.groupby("model", observed=True)["value"].mean()
    assert row["value"] == pytest.approx(value["attention"], rel=1e-6)
    assert row["baseline_value"] == pytest.approx(value["none"], rel=1e-6)
    assert row["skill"] == pytest.approx(1 - value["attention"] / value["none"], rel=1e-6)
    assert row["windows"] == len(tasks[1][0].windows(tasks[1][1]))
    assert row["clusters"] == pytest.approx(4)
    assert (row["verdict"], row["seed_low"]) == ("win", pytest.approx(row["skill"]))


def test_groups_come_in_order_and_name_their_steps(contest: Contest) -> None:
    table = contest.differences[contest.differences["metric"] == "smape"]
    assert list(dict.fromkeys(table["group"])) == ["in_distribution", "held_out_systems"]
    assert list(table[table["group"] == "held_out_systems"]["steps"]) == [4, 16, 32]
    assert set(contest.differences[contest.differences["metric"] == "valid_time"]["steps"]) == {0}


def test_an_arm_that_is_a_baseline_ties_with_it_exactly(contest: Contest) -> None:
    rows = contest.comparison
    same = rows[(rows["model"] == "none") & (rows["baseline"] == "random_walk")]
    assert (same["skill"] == 0).all()
    assert set(same["verdict"]) == {"tie"}


def test_costly_models_are_paired_on_the_windows_they_were_asked(contest: Contest, tasks) -> None:
    task, panel = tasks[1]
    rows = contest.comparison
    pair = rows[(rows["model"] == "attention") & (rows["baseline"] == "borrowed")]
    assert set(pair[pair["group"] == "held_out_systems"]["steps"]) == {4, 16}
    assert set(pair["windows"]) == {2}
    asked = contest.scores[contest.scores["model"] == "borrowed"]
    asked = asked[asked["task"] == "held_out_systems@16"]
    numbered = [(panel.item_ids[item], origin) for item, origin in task.windows(panel)]
    for row in asked.itertuples():
        assert numbered[row.origin] == (row.instance, row.first_step)
    assert "borrowed" not in {result.model for result in contest.backtests[task.name]}


def test_seeds_are_pooled_and_their_spread_is_told(tasks) -> None:
    two = hold_contest(
        {"none": [RandomWalk(), RandomWalk()], "attention": [Shrunk(share=0.4), Shrunk(share=0.9)]},
        {"mean": Mean()},
        tasks,
        config=CONFIG,
        metric="mae",
    )
    ones = [
        hold_contest(
            {"none": [RandomWalk()], "attention": [Shrunk(share=share)]}, {}, tasks, config=CONFIG
        ).differences
        for share in (0.4, 0.9)
    ]
    pooled = two.differences
    chosen = (pooled["metric"] == "mae") & (pooled["group"] == "in_distribution")
    skills = np.array([one[chosen]["skill"] for one in ones])
    np.testing.assert_allclose(pooled[chosen]["skill"], skills.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(pooled[chosen]["seed_low"], skills.min(axis=0))
    np.testing.assert_allclose(pooled[chosen]["seed_high"], skills.max(axis=0))
    assert set(two.scores["origin"] // SEED_STRIDE) == {0, 1}
    against = two.comparison[two.comparison["baseline"] == "mean"]
    windows = sum(len(task.windows(panel)) for task, panel in tasks)
    assert against[against["steps"] == 16].groupby("model")["windows"].sum()["none"] == 2 * windows
    assert "trained once" not in conclusion(two, metric="mae", steps=16)


def test_the_conclusion_says_what_the_intervals_allow(contest: Contest) -> None:
    told = conclusion(contest, metric="mae", steps=16)
    assert "attention against none: channel mixing lowers the error by" in told
    assert "on held-out systems" in told
    assert "trained once" in told
    rows = contest.differences

    def decided(verdict: str) -> str:
        return conclusion(
            replace(contest, differences=rows.assign(verdict=verdict)), metric="mae", steps=16
        )

    assert "makes no difference at this scale on held-out systems" in decided("tie")
    assert "raises the error by" in decided("loss")
    assert "cannot be judged on held-out systems (too few systems)" in decided("undecided")


def test_the_best_is_named_even_where_it_is_no_arm(contest: Contest) -> None:
    told = conclusion(contest, metric="mae", steps=16)
    table = contest.leaderboard
    best = table[
        (table["group"] == "held_out_systems") & (table["metric"] == "mae") & (table["steps"] == 16)
    ]
    best = best[best["windows"] == best["windows"].max()].iloc[0]
    assert f"Best on held-out systems: {best['model']} (" in told


def test_one_arm_has_no_difference(tasks) -> None:
    alone = hold_contest({"attention": [Shrunk()]}, {"mean": Mean()}, tasks, config=CONFIG)
    assert alone.differences.empty
    assert "channel mixing" not in conclusion(alone, steps=16)
