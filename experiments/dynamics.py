"""Experiment 3: does channel mixing help to forecast chaos? Both arms, matched, judged alike.

mlflow run . -e dynamics
mlflow run . -e dynamics -P n_systems=100 -P n_trajectories=16 -P max_steps=4000 -P seeds=3
mlflow run . -e dynamics -P channel_mixing=attention -P model=panda -P base_model=GilpinLab/panda
mlflow run . -e dynamics -P scales=16x4x200,32x4x400,48x8x600,64x8x1000
mlflow run . -e dynamics -P resume=<run id>

A run has a run under it for every arm and seed. Resuming goes on with all of them: an arm that was
trained is not trained again, one that was interrupted goes on from its last checkpoint.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Parameter, run
from experiments.config import described, resumed
from experiments.dynamics_config import DynamicsConfig

if TYPE_CHECKING:
    import pandas as pd

    from tsfm.data.panel import Panel
    from tsfm.evaluation.arms import Contest
    from tsfm.evaluation.holdout import HoldOut
    from tsfm.models.base import Forecaster
    from tsfm.tracking.experiment import SilentRun
    from tsfm.tracking.registry import LoggedForecaster
    from tsfm.tracking.runs import MlflowRun
    from tsfm.training.trainer import FitResult

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


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One arm, trained with one seed.

    Attributes
    ----------
    arm, name
        ``none`` or ``attention``, and what tables call it.
    part
        Its own run.
    flops
        Of one training step, forward and backward.
    tokens
        Of one training step.
    """

    arm: str
    name: str
    seed: int
    part: MlflowRun | SilentRun
    result: FitResult
    flops: float
    tokens: int


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
        zero_shot = load_zero_shot(config)
        division = hold_out(load_trajectories(config, record), config)
        record_panels(record, [division])

        trained = [
            train(arm, seed, division, config, record, parts)
            for seed in config.all_seeds
            for arm in config.arms
        ]
        if isinstance(record, SilentRun):
            return
        match = matched_table(trained)
        contest = judge(trained, division, zero_shot, config)
        steps = reached(config.judging.headline_steps, division, config)
        told = conclusion(contest, metric=metric, steps=steps)
        record_contest(
            record, contest, division.tasks, config=config.judging.chaos, metric=metric,
            steps=steps, match=match, conclusion=told,
        )  # fmt: skip
        record_channel_map(record, trained[-1].result.model, division.tasks)

        logged = [publish(one, contest, division, config) for one in trained]
    uris = [one.uri for one in logged]
    show_contest(record, contest, match, registered=uris, metric=metric, conclusion=told)


# --- data -----------------------------------------------------------------------------------------


def load_trajectories(config: DynamicsConfig, record: MlflowRun | SilentRun) -> Panel:
    """The ensemble, simulated unless the cache has it, or the user's own trajectories."""
    from tsfm.data.dynamics.corpus import expect_both_sides, opened, simulated
    from tsfm.data.ohlcv.progress_bar import progress_bar
    from tsfm.tracking.experiment import SilentRun

    if config.data:
        return opened(Path(config.data))
    expect_both_sides(config.ensemble)
    with progress_bar("simulating", "systems") as show:
        panel, report = simulated(config.ensemble, progress=show)
    if not isinstance(record, SilentRun):
        record.log_file(report)
    return panel


def hold_out(panel: Panel, config: DynamicsConfig) -> HoldOut:
    """Families held out, and some trajectories of the families trained on."""
    from tsfm.data.dynamics.families import PROVENANCE, split_by_family
    from tsfm.evaluation.family_holdout import hold_out_families

    ensemble, judging = config.ensemble, config.judging
    known = PROVENANCE in panel.info.provenance
    drawn = (None, None) if known else (ensemble.held_out, ensemble.seed)
    return hold_out_families(
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


# --- the arms -------------------------------------------------------------------------------------


def train(
    arm: str,
    seed: int,
    division: HoldOut,
    config: DynamicsConfig,
    record: MlflowRun | SilentRun,
    parts: ExitStack,
) -> Trained:
    """One arm: the same windows in the same order as the other, as many steps, as many weights."""
    import torch

    from tsfm.tracking.experiment import open_part, part_directory
    from tsfm.training.chaos_monitor import ChaosMonitor
    from tsfm.training.cost import step_cost
    from tsfm.training.tensorboard import events_beside
    from tsfm.training.trainer import fit, last_checkpoint

    torch.manual_seed(seed)
    model = build(arm, config, width=len(division.train.info.variates))
    name = f"{arm}-{seed}"
    trainer = replace(config.trainer, seed=seed)
    output = part_directory(record, name)
    part = parts.enter_context(
        open_part(
            record, name, {"model": model.config, "trainer": trainer},
            entry_point="dynamics", tags={"arm": arm, "seed": str(seed)},
        )
    )  # fmt: skip
    tokens, flops = step_cost(model, division.train, trainer)
    with events_beside(part, output, config.tensorboard) as logger:
        task, panel = division.validation_task
        result = fit(
            model,
            division.train,
            validation=division.validation,
            config=trainer,
            augment=config.augment,
            output_dir=output,
            resume_from=last_checkpoint(output) if config.resume else None,
            logger=logger,
            on_validation=ChaosMonitor(task, panel, logger, config.judging.chaos),
        )
    return Trained(
        arm=arm, name=f"{model.name}-{arm}", seed=seed, part=part, result=result,
        tokens=tokens, flops=flops,
    )  # fmt: skip


def build(arm: str, config: DynamicsConfig, *, width: int) -> Any:
    """An untrained model, or the base model, with or without channel mixing."""
    from tsfm.models.patchtst import PatchTST
    from tsfm.models.patchtst_config import matched
    from tsfm.models.patchtst_hf import HfPatchTST

    if config.is_reference:
        mixing = replace(config.model, variates=config.train_variates or width)
        n_parameters = replace(mixing, channel_mixing="attention").n_parameters
        return HfPatchTST(replace(mixing, channel_mixing=arm).matched(n_parameters))
    mixing = replace(config.model, channel_mixing="attention", train_variates=config.train_variates)
    if config.base_model:
        return load_base(arm, config)
    return PatchTST(mixing if arm == "attention" else matched(mixing, arm))


def load_base(arm: str, config: DynamicsConfig) -> Any:
    """The base model, which must be of this arm and of this patch size."""
    from tsfm.models.patchtst import PatchTST
    from tsfm.tracking.registry import resolve

    model = config.model
    registered = config.base_model.startswith("models:/")
    return PatchTST.from_pretrained(
        resolve(config.base_model) if registered else config.base_model,
        channel_mixing=arm,
        patch=model.patch,
        mode=model.mode,
        context=config.context,
        horizon=config.horizon,
        train_variates=config.train_variates,
    )


def matched_table(trained: list[Trained]) -> pd.DataFrame:
    """Size and cost of every arm and seed.

    Raises
    ------
    ConfigError
        When the arms' numbers of parameters differ by more than 2 %.
    """
    import pandas as pd

    from tsfm.errors import ConfigError

    rows = []
    for one in trained:
        info, speed = one.result.model.info(), one.result.tokens_per_second
        rows.append(
            {
                "arm": one.name,
                "seed": one.seed,
                "parameters": info["parameters"],
                "GFLOP per step": float(f"{one.flops / 1e9:.4g}"),
                "ms per step": round(1000 * one.tokens / speed, 1) if speed else float("nan"),
                "steps": one.result.steps,
                "tokens": one.tokens * one.result.steps,
                "best step": one.result.best_step,
                "validation loss": round(one.result.validation_loss or float("nan"), 4),
            }
        )
    table = pd.DataFrame(rows)
    sizes = table["parameters"]
    if sizes.max() > 1.02 * sizes.min():
        raise ConfigError(
            f"the arms have {sizes.min():,} and {sizes.max():,} parameters",
            remedy="choose another model.d_ff",
        )
    return table


# --- judging --------------------------------------------------------------------------------------


def judge(
    trained: list[Trained],
    division: HoldOut,
    zero_shot: dict[str, Forecaster],
    config: DynamicsConfig,
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
            make_baselines(division, config),
            division.tasks,
            config=config.judging.chaos,
            zero_shot=zero_shot,
            zero_shot_windows=config.judging.zero_shot_windows,
            horizon=config.horizon,
            metric=config.judging.headline_metric,
            told=lambda name: status.update(f"judging {name}"),
        )


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
    return {name: tsfm.load_forecaster(name) for name in names}


def reached(steps: int, division: HoldOut, config: DynamicsConfig) -> int:
    """The largest of the horizons that is no more than ``steps`` and that all groups reach."""
    least = min(task.horizon for task, _ in division.tasks)
    return max(one for one in config.judging.chaos.horizons if one <= min(steps, least))


# --- the models -----------------------------------------------------------------------------------


def publish(
    one: Trained, contest: Contest, division: HoldOut, config: DynamicsConfig
) -> LoggedForecaster:
    """Log and register one arm in its own run, with what it achieved on every group."""
    from tsfm.data.preparation import ColumnPreparation
    from tsfm.tracking.contest_report import arm_metrics
    from tsfm.tracking.publish import publish_model
    from tsfm.tracking.report import record_fit, record_panels
    from tsfm.tracking.runs import MlflowRun

    assert isinstance(one.part, MlflowRun)
    metrics = {task.name: arm_metrics(contest, one.name, task.name) for task, _ in division.tasks}
    record_panels(one.part, [division])
    record_fit(one.part, one.result)
    one.part.log_metrics({"gflop_per_step": one.flops / 1e9}, step=one.result.steps)
    return publish_model(
        one.part,
        one.result,
        name=one.name,
        preparation=ColumnPreparation(variates=division.train.info.variates),
        example=example_of(division.train, config.context),
        held_out=[division],
        metrics=metrics,
        horizon=config.horizon,
        register_as=f"{config.register_as}-{one.arm}" if config.register_as else "",
        tags={"arm": one.arm, "seed": str(one.seed)},
    )


def example_of(panel: Panel, points: int) -> pd.DataFrame:
    """The latest points of the first trajectory, dated by seconds; NaN where it has no variate."""
    import pandas as pd

    series = panel.series(0)
    points = min(points, series.length)
    columns = dict(zip(panel.info.variates, series.target[:, -points:].astype(float), strict=True))
    stamps = pd.date_range("2000-01-01", periods=points, freq="s")
    return pd.DataFrame({"item_id": series.item_id, "timestamp": stamps, **columns})


if __name__ == "__main__":
    run("dynamics", DynamicsConfig, PARAMETERS, main, title="Channel mixing on chaotic systems.")
