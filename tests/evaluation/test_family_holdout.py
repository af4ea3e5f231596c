"""No trajectory twice, no held-out family in training, every system in validation and test."""

from __future__ import annotations

import pytest
from support.trajectories import MEMBERS, trajectories

from tsfm.data.dynamics.families import members_of, split_by_family
from tsfm.data.panel import Panel
from tsfm.errors import DataError
from tsfm.evaluation.family_holdout import (
    asked_alike,
    at_scale,
    divided,
    evenly,
    hold_out_families,
)
from tsfm.evaluation.holdout import HoldOut

ASKED = {
    "context": 64, "horizon": 16, "steps": 48, "windows_per_item": 2, "items_per_group": 100,
    "validation_share": 0.25, "test_share": 0.25,
}  # fmt: skip


def hold_out(panel: Panel, **changes: float) -> HoldOut:
    return hold_out_families(split_by_family(panel), **{**ASKED, **changes})


def systems(panel: Panel) -> set[str]:
    return {member for series in panel for member in members_of(series.static)}


def test_every_trajectory_is_in_one_part_only():
    panel = trajectories()
    division = hold_out(panel)
    views = [division.train, division.validation, *(view for _, view in division.tasks)]
    ids = [item_id for view in views for item_id in view.item_ids]
    assert sorted(ids) == sorted(panel.item_ids)


def test_held_out_families_are_judged_and_nothing_else_sees_them():
    division = hold_out(trajectories())
    groups = {task.name: systems(view) for task, view in division.tasks}
    assert systems(division.train) == systems(division.validation) == groups["in_distribution"]
    assert groups["in_distribution"] == {"Rossler", "Chen", "Halvorsen"}
    assert groups["held_out_systems"] == {"Lorenz", "LorenzBounded"}
    assert groups["held_out_skew"] == {"Lorenz", "Chen"}


def test_every_trained_system_is_validated_and_tested():
    division = hold_out(trajectories(count=4))
    tested = [item_id.split("/")[0] for item_id in division.tasks[0][1].item_ids]
    assert sorted(tested) == ["Chen", "Halvorsen", "Rossler", "Rossler->Chen"]


def test_forecasts_are_as_long_as_trajectories_allow():
    (task, _), *_ = hold_out(trajectories(points=160)).tasks
    assert (task.context, task.horizon, task.stride) == (64, 48, 16)
    (task, _), *_ = hold_out(trajectories(points=100)).tasks
    assert task.horizon == 36
    assert hold_out(trajectories()).validation_task[0].horizon == 16


def test_the_division_depends_on_the_seed_alone():
    panel = trajectories(count=8)
    first, again, other = (hold_out(panel, seed=seed).train.item_ids for seed in (0, 0, 1))
    assert first == again != other


def test_few_items_are_taken_from_all_systems():
    few = evenly(trajectories(count=4), 7)
    assert {item_id.rsplit("/", 2)[0] for item_id in few.item_ids} == set(MEMBERS)


def test_a_group_without_trajectories_is_not_asked():
    subjects = {name: MEMBERS[name] for name in ("Rossler", "Chen", "Lorenz")}
    assert len(hold_out(trajectories(subjects)).tasks) == 2


@pytest.mark.parametrize(
    ("subjects", "count", "changes", "told"),
    [
        (MEMBERS, 4, {"horizon": 100}, "longer than every trajectory: the longest has 160"),
        ({"Chen": ("Chen",)}, 4, {}, "no system of a held-out family"),
        (MEMBERS, 2, {}, "no system has three trajectories"),
    ],
)
def test_what_cannot_be_divided_is_told(subjects, count, changes, told):
    with pytest.raises(DataError, match=told):
        hold_out(trajectories(subjects, count), **changes)


def test_systems_with_two_trajectories_are_trained_on_only():
    both = trajectories(count=4)
    panel = both.select([i for i in both.item_ids if not i.startswith(("Chen/1", "Lorenz"))])
    train, validation, test = divided(panel, 0.25, 0.25)
    assert {"Chen/0/0", "Chen/0/1"} <= set(train.item_ids)
    assert not {"Chen/0/0", "Chen/0/1"} & {*validation.item_ids, *test.item_ids}


def test_scales_nest_and_are_asked_the_same():
    division = hold_out(trajectories(count=8))
    parts = [at_scale(division, share, share).train for share in (0.34, 0.67, 1.0)]
    small, middle, whole = (set(part.item_ids) for part in parts)
    assert small < middle < whole == set(division.train.item_ids)
    assert systems(parts[0]) < systems(parts[1]) < systems(parts[2])
    assert systems(at_scale(division, 0.34, 1.0).validation) == systems(parts[0])
    (task, view), *others = asked_alike(division, parts[0]).tasks
    asked = {view.item_ids[item] for item, _ in task.windows(view)}
    assert systems(view.select(asked)) == systems(parts[0])
    assert others == list(division.tasks[1:])


def test_a_pair_is_trained_on_as_soon_as_both_its_members_are():
    division = hold_out(trajectories(count=8))
    for share in (0.34, 0.67):
        part = at_scale(division, share, 1.0).train
        alone = {s.static["members"] for s in part if s.static["role"] == "system"}
        pairs = {s.static["members"] for s in part if s.static["role"] == "skew"}
        assert pairs == ({"Rossler,Chen"} if {"Rossler", "Chen"} <= alone else set())
