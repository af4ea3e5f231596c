"""Experiment 3: does channel mixing help to forecast chaos? Both arms, matched, judged alike.

mlflow run . -e dynamics
mlflow run . -e dynamics -P n_systems=100 -P n_trajectories=16 -P max_steps=4000 -P seeds=3
mlflow run . -e dynamics -P channel_mixing=attention -P model=panda -P base_model=GilpinLab/panda
mlflow run . -e dynamics -P overrides="judging.fine_tuned=[amazon/chronos-bolt-tiny]"
mlflow run . -e dynamics -P scales=16x4x200,32x4x400,48x8x600,64x8x1000
mlflow run . -e dynamics -P resume=<run id>

A run has a run under it for every arm and seed. Resuming goes on with all of them: an arm that was
trained is not trained again, one that was interrupted goes on from its last checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Parameter, run
from experiments.config import described, resumed
from experiments.dynamics_arms import (
    Trained,
    expect_trained,
    fine_tune,
    load_chronos,
    matched_table,
    publish,
    train,
)
from experiments.dynamics_config import DynamicsConfig, Scale

if TYPE_CHECKING:
    import pandas as pd

    from tsfm.data.panel import Panel
    from tsfm.evaluation.arms import Contest
    from tsfm.evaluation.holdout import HoldOut
    from tsfm.models.base import Forecaster
    from tsfm.tracking.experiment import SilentRun
    from tsfm.tracking.runs import MlflowRun

PARAMETERS = {
    "data": Parameter("data", "a panel or directory of trajectories; empty: simulate them"),
    "channel_mixing": Parameter("channel_mixing", "none, attention or both: which arms"),
    "model": Parameter("@model", "patchtst, panda, or hf: Hugging Face's PatchTST"),
    "base_model": Parameter("base_model", "weights to start one arm from; empty: from scratch"),
    "n_systems": Parameter("ensemble.n_systems", "systems simulated, held-out ones included"),
    "n_trajectories": Parameter("ensemble.n_trajectories", "of each system and skew product"),
    "context": Parameter("context", "points seen"),
    "horizon": Parameter("horizon", "points forecast at once; further ones by rolling"),
    "augmentations": Parameter("augmentations", "of training windows: none, panda, dystformer"),
    "max_steps": Parameter("trainer.max_steps", "optimiser steps of every arm"),
    "batch_size": Parameter("trainer.batch_size", "windows in a step"),
    "lr": Parameter("trainer.lr", "peak learning rate"),
    "seeds": Parameter("seeds", "trainings of every arm, each with a seed of its own"),
    "seed": Parameter("seed", "of everything drawn; the first of several"),
    "scales": Parameter("scales", "systems x trajectories x steps, with commas; empty: one scale"),
    "register_as": Parameter("register_as", "registered as <name>-none and <name>-attention"),
    "resume": Parameter("resume", "id of an interrupted run to go on with, by its own settings"),
}


def main(config: DynamicsConfig) -> None:
    from tsfm.evaluation.arms import conclusion
    from tsfm.tracking.contest_report import record_channel_map, record_contest, show_contest
    from tsfm.tracking.experiment import SilentRun, open_experiment
    from tsfm.tracking.report import record_panels

    config = resumed(config)
    metric = config.judging.headline_metric
    with (
        open_experiment(
            "dynamics",
            described(config),
            entry_point="dynamics",
            seed=config.seed,
            resume=config.resume,
        ) as record,
        ExitStack() as parts,
    ):
        zero_shot, bases = load_zero_shot(config), load_chronos(config)
        division = hold_out(load_trajectories(config, record), config)
        record_panels(record, [division])

        *smaller, trained = (
            train_arms(scale, division, config, record, parts) for scale in config.study
        )
        tuned = [
            fine_tune(source, model, division, config, record, parts)
            for source, model in bases.items()
        ]
        if isinstance(record, SilentRun):
            return
        match = matched_table([*trained, *tuned])
        beside = make_baselines(division, config)
        beside |= {one.name: one.result.model for one in tuned}
        contest = judge(trained, division, config, beside, zero_shot)
        steps = reached(config.judging.headline_steps, division, config)
        told = conclusion(contest, metric=metric, steps=steps)
        scales = None
        if smaller:
            contests = [*(judge(arms, division, config) for arms in smaller), contest]
            law, scales = compare_scales(record, contests, config, steps)
            told += f" {law}"
        record_contest(
            record, contest, division.tasks, config=config.judging.chaos, metric=metric,
            steps=steps, match=match, conclusion=told, scales=scales,
        )  # fmt: skip
        record_channel_map(record, trained[-1].result.model, division.tasks)

        logged = [publish(one, contest, division, config) for one in (*trained, *tuned)]
    uris = [one.uri for one in logged]
    show_contest(
        record, contest, match,
        registered=uris, metric=metric, conclusion=told, scales=scales,
    )  # fmt: skip


def train_arms(
    scale: Scale,
    division: HoldOut,
    config: DynamicsConfig,
    record: MlflowRun | SilentRun,
    parts: ExitStack,
) -> list[Trained]:
    """Every arm with every seed, one after the other, on as much as the scale says."""
    from tsfm.evaluation.family_holdout import at_scale

    largest = config.study[-1]
    if scale != largest:
        shares = scale.systems / largest.systems, scale.trajectories / largest.trajectories
        division = at_scale(division, *shares, seed=config.seed)
    name = scale.name if len(config.study) > 1 else ""
    return [
        train(arm, seed, division, config.at(scale), record, parts, scale=name)
        for seed in config.all_seeds
        for arm in config.arms
    ]


# --- data -----------------------------------------------------------------------------------------


def load_trajectories(config: DynamicsConfig, record: MlflowRun | SilentRun) -> Panel:
    """The ensemble, simulated unless the cache has it, or the user's own trajectories."""
    from tsfm.data.dynamics.corpus import expect_both_sides, opened, simulated
    from tsfm.data.ohlcv.progress_bar import progress_bar
    from tsfm.tracking.experiment import SilentRun

    if config.data:
        return opened(Path(config.data))
    expect_both_sides(config.simulated)
    with progress_bar("simulating", "systems") as show:
        panel, report = simulated(config.simulated, progress=show)
    if not isinstance(record, SilentRun):
        record.log_file(report, "ensemble")
    return panel


def hold_out(panel: Panel, config: DynamicsConfig) -> HoldOut:
    """Families held out, and some trajectories of the families trained on.

    Of several scales, all are asked the same: in distribution, systems that the smallest one knows.
    """
    from tsfm.data.dynamics.families import PROVENANCE, split_by_family
    from tsfm.evaluation.family_holdout import asked_alike, at_scale, hold_out_families

    ensemble, judging = config.ensemble, config.judging
    known = PROVENANCE in panel.info.provenance
    drawn = (None, None) if known else (ensemble.held_out, ensemble.seed)
    division = hold_out_families(
        split_by_family(panel, *drawn),
        context=config.context,
        horizon=config.horizon,
        steps=judging.steps,
        windows_per_item=judging.windows_per_item,
        items_per_group=judging.items_per_group,
        validation_share=judging.validation_share,
        test_share=judging.test_share,
        seed=config.seed,
    )
    first, largest = config.study[0], config.study[-1]
    if first == largest:
        return division
    shares = first.systems / largest.systems, first.trajectories / largest.trajectories
    return asked_alike(division, at_scale(division, *shares, seed=config.seed).train)


# --- judging --------------------------------------------------------------------------------------


def judge(
    trained: list[Trained],
    division: HoldOut,
    config: DynamicsConfig,
    baselines: Mapping[str, Forecaster] | None = None,
    zero_shot: Mapping[str, Forecaster] | None = None,
) -> Contest:
    """Arms, baselines and zero-shot models on the same windows."""
    from rich.console import Console

    from tsfm.evaluation.arms import hold_contest

    arms: dict[str, list[Forecaster]] = {}
    for one in trained:
        arms.setdefault(one.name, []).append(one.result.model)
    with Console(stderr=True).status("judging") as status:
        return hold_contest(
            arms,
            baselines or {},
            division.tasks,
            config=config.judging.chaos,
            zero_shot=zero_shot,
            zero_shot_windows=config.judging.zero_shot_windows,
            horizon=config.horizon,
            metric=config.judging.headline_metric,
            told=lambda name: status.update(f"judging {name}"),
        )


def compare_scales(
    record: MlflowRun, contests: Sequence[Contest], config: DynamicsConfig, steps: int
) -> tuple[str, pd.DataFrame]:
    """How the ratio of errors changes with scale, arm to arm and to context parroting: in words,
    and as a table."""
    from tsfm.evaluation.scaling import fit_scalings, scalings_told
    from tsfm.tracking.contest_report import record_scalings, scale_table

    metric, sizes = config.judging.headline_metric, [scale.size for scale in config.study]
    scalings = fit_scalings(contests, sizes, metric=metric, steps=steps)
    named = dict(zip((scale.name for scale in config.study), contests, strict=True))
    record_scalings(record, scalings, named)
    return scalings_told(scalings, metric), scale_table(named, metric, steps)


def make_baselines(division: HoldOut, config: DynamicsConfig) -> dict[str, Forecaster]:
    """By name; the one that is fitted is fitted to what the arms were trained on."""
    from tsfm.models import model_class
    from tsfm.models.dlinear import DLinear, DLinearConfig

    made: dict[str, Forecaster] = {}
    for name in config.judging.baselines:
        if name == "dlinear":
            linear = DLinearConfig(context=config.context, horizon=config.horizon)
            made[name] = DLinear(linear).fit(division.train)
        else:
            kind: Any = model_class(name)
            made[name] = kind(max_history=max(kind.max_history, config.context))
    return made


def load_zero_shot(config: DynamicsConfig) -> dict[str, Forecaster]:
    """By name; the one that comes with a package is left out where that is not installed."""
    from importlib.util import find_spec

    import tsfm

    names = [
        name
        for name in config.judging.zero_shot
        if name != "fracast" or find_spec("fracast") is not None
    ]
    found = {name: tsfm.load_forecaster(name) for name in names}
    for name, model in found.items():
        expect_trained(name, model)
    return found


def reached(steps: int, division: HoldOut, config: DynamicsConfig) -> int:
    """The largest of the horizons that is no more than ``steps`` and that all groups reach."""
    least = min(task.horizon for task, _ in division.tasks)
    return max(one for one in config.judging.chaos.horizons if one <= min(steps, least))


if __name__ == "__main__":
    run("dynamics", DynamicsConfig, PARAMETERS, main, title="Channel mixing on chaotic systems.")
