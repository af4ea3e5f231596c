"""What is kept from training on dynamical systems: trajectories, whole families, their couplings.

Items are trajectories. Of every system (and skew product) trained on, some whole trajectories are
kept for validation and for the test in distribution: other initial conditions and parameter draws,
never a stretch of an orbit that was trained on. Held-out families are in no training item, as the
driver or response of a skew product either.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tsfm.data.dynamics.families import FamilySplit, members_of
from tsfm.data.panel import Panel
from tsfm.errors import DataError
from tsfm.evaluation.holdout import HoldOut
from tsfm.evaluation.tasks import Task

GROUPS = ("in_distribution", "held_out_systems", "held_out_skew")
LEVELS = (0.1, 0.5, 0.9)


def hold_out_families(
    split: FamilySplit,
    *,
    context: int,
    horizon: int,
    steps: int,
    windows_per_item: int,
    items_per_group: int,
    validation_share: float,
    test_share: float,
    seed: int = 0,
) -> HoldOut:
    """Divide the training families' trajectories, and ask the same of every group.

    Parameters
    ----------
    split
        By family.
    steps
        Longest forecast; less where trajectories are shorter, never less than ``horizon``.
    windows_per_item, items_per_group
        Most origins per trajectory, at least a horizon apart, and most trajectories per group.
    validation_share, test_share
        Of the trajectories of every trained system, at least one of each where it has three.

    Returns
    -------
    HoldOut
        Its tasks are those of :data:`GROUPS` that have a trajectory.

    Raises
    ------
    DataError
        When trajectories are shorter than context and horizon, no system of a held-out family is
        there, or too few trajectories are there to keep any from training.
    """
    longest = int(split.train.lengths.max())
    if longest < context + horizon:
        raise DataError(
            f"context={context} + horizon={horizon} is longer than every trajectory: the longest "
            f"has {longest} points",
            where=f"panel {split.train.info.name}",
            remedy="shorten them, or give longer trajectories",
        )
    if split.held_out_systems is None:
        raise DataError(
            "no system of a held-out family is among the trajectories",
            where=f"panel {split.train.info.name}",
            remedy="give more systems (n_systems), or hold out a larger share (ensemble.held_out)",
        )
    train, validation, test = divided(split.train, validation_share, test_share, seed)

    def task(name: str, panel: Panel, steps: int) -> tuple[Task, Panel]:
        view = evenly(panel, items_per_group)
        ahead = min(steps, int(view.lengths.max()) - context)
        question = Task.on(
            view,
            name=name,
            context=context,
            horizon=max(ahead, horizon),
            stride=horizon,
            max_windows=windows_per_item,
            quantile_levels=LEVELS,
            metrics=("smape", "mae", "rmse"),
            cluster="item",
        )
        return question, view

    groups = zip(GROUPS, (test, split.held_out_systems, split.held_out_skew), strict=True)
    able = [
        (name, panel)
        for name, panel in groups
        if panel is not None and int(panel.lengths.max()) >= context + horizon
    ]
    return HoldOut(
        train=train,
        validation=validation,
        validation_task=task("validation", validation, horizon),
        tasks=tuple(task(name, panel, steps) for name, panel in able),
    )


def divided(
    panel: Panel, validation_share: float, test_share: float, seed: int = 0
) -> tuple[Panel, Panel, Panel]:
    """Whole trajectories of every system to train on, to validate on and to test on.

    Raises
    ------
    DataError
        When no system has the three trajectories that this takes.
    """
    rng = np.random.default_rng([seed, len("trajectories")])
    kept: tuple[list[str], list[str], list[str]] = ([], [], [])
    for ids in _by_subject(panel).values():
        drawn = [ids[place] for place in rng.permutation(len(ids))]
        enough = len(drawn) >= 3
        n_test = max(1, round(test_share * len(drawn))) if enough else 0
        n_validation = max(1, round(validation_share * len(drawn))) if enough else 0
        kept[2].extend(drawn[:n_test])
        kept[1].extend(drawn[n_test : n_test + n_validation])
        kept[0].extend(drawn[n_test + n_validation :])
    if not (kept[0] and kept[1]):
        raise DataError(
            "no system has three trajectories: one to train on, to validate on and to test on",
            where=f"panel {panel.info.name}",
            remedy="give more trajectories of each (n_trajectories)",
        )
    train, validation, test = (panel.select(sorted(ids)) for ids in kept)
    return train, validation, test


def at_scale(division: HoldOut, systems: float, trajectories: float, seed: int = 0) -> HoldOut:
    """The same questions, with shares of the systems and of their trajectories to train on."""
    train = part_of(division.train, systems, trajectories, seed)
    return replace(division, train=train, validation=of_same_systems(division.validation, train))


def asked_alike(division: HoldOut, smallest: Panel) -> HoldOut:
    """In distribution, ask only of systems that every scale is trained on."""
    (task, panel), *others = division.tasks
    kept = tuple(of_same_systems(panel, smallest).item_ids)
    return replace(division, tasks=((replace(task, items=kept), panel), *others))


def of_same_systems(panel: Panel, others: Panel) -> Panel:
    """Items of the systems and skew products that some others are of."""
    known = _by_subject(others)
    ids = [
        item_id
        for subject, ids in _by_subject(panel).items()
        if subject in known
        for item_id in ids
    ]
    return panel.select(sorted(ids))


def part_of(panel: Panel, systems: float, trajectories: float, seed: int = 0) -> Panel:
    """Shares of the systems, and of the trajectories of each; the parts of growing shares nest.

    A skew product is in as soon as both its members are.

    Raises
    ------
    DataError
        When nothing is left.
    """
    members = {series.item_id: members_of(series.static) for series in panel}
    names = sorted({name for pair in members.values() for name in pair})
    order = np.random.default_rng([seed, len("systems")]).permutation(len(names))
    kept = {names[place] for place in order[: max(1, round(systems * len(names)))]}
    chosen = []
    for ids in _by_subject(panel).values():
        if kept.issuperset(members[ids[0]]):
            chosen += ids[: max(1, round(trajectories * len(ids)))]
    return panel.select(sorted(chosen))


def evenly(panel: Panel, most: int) -> Panel:
    """At most so many items, from all systems alike."""
    if len(panel) <= most:
        return panel
    turns = sorted(
        (turn, item_id) for ids in _by_subject(panel).values() for turn, item_id in enumerate(ids)
    )
    chosen = {item_id for _, item_id in turns[:most]}
    return panel.select(item_id for item_id in panel.item_ids if item_id in chosen)


def _by_subject(panel: Panel) -> dict[tuple[str, str], list[str]]:
    """Items of every system, or of every pair and coupling."""
    found: dict[tuple[str, str], list[str]] = {}
    for series in panel:
        subject = str(series.static.get("system", "")), str(series.static.get("coupling", ""))
        found.setdefault(subject, []).append(series.item_id)
    return dict(sorted(found.items()))
