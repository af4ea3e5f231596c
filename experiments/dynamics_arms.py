"""The arms of experiment 3: built to match, trained alike, published with what they achieved."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.dynamics_config import DynamicsConfig

if TYPE_CHECKING:
    import pandas as pd

    from tsfm.data.panel import Panel
    from tsfm.data.provenance import Provenance
    from tsfm.evaluation.arms import Contest
    from tsfm.evaluation.holdout import HoldOut
    from tsfm.tracking.experiment import SilentRun
    from tsfm.tracking.registry import LoggedForecaster
    from tsfm.tracking.runs import MlflowRun
    from tsfm.training.trainer import FitResult


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


def train(
    arm: str,
    seed: int,
    division: HoldOut,
    config: DynamicsConfig,
    record: MlflowRun | SilentRun,
    parts: ExitStack,
    *,
    scale: str = "",
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
    name = f"{scale}-{arm}-{seed}" if scale else f"{arm}-{seed}"
    trainer = replace(config.trainer, seed=seed)
    output = part_directory(record, name)
    part = parts.enter_context(
        open_part(
            record, name, {"model": model.config, "trainer": trainer},
            entry_point="dynamics", tags={"arm": arm, "seed": str(seed), "scale": scale},
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


def base_directory(config: DynamicsConfig) -> Path:
    """Where the base model lies on this machine."""
    from tsfm.models.source import directory_of
    from tsfm.tracking.registry import resolve

    registered = config.base_model.startswith("models:/")
    return resolve(config.base_model) if registered else directory_of(config.base_model)


def load_base(arm: str, config: DynamicsConfig) -> Any:
    """The base model, which must be of this arm and of this patch size."""
    from tsfm.models.patchtst import PatchTST

    model = config.model
    return PatchTST.from_pretrained(
        base_directory(config),
        channel_mixing=arm,
        patch=model.patch,
        mode=model.mode,
        context=config.context,
        horizon=config.horizon,
        train_variates=config.train_variates,
    )


def matched_table(trained: list[Trained]) -> pd.DataFrame:
    """Size and cost of every arm and seed."""
    import pandas as pd

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
    return pd.DataFrame(rows)


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
        inherited=inherited(config),
        tags={"arm": one.arm, "seed": str(one.seed)},
    )


def inherited(config: DynamicsConfig) -> Provenance | None:
    """What the base model was trained on, where that is known."""
    from tsfm.data.provenance import FILE_NAME, Provenance

    if not config.base_model:
        return None
    directory = base_directory(config)
    return Provenance.load(directory) if (directory / FILE_NAME).exists() else None


def example_of(panel: Panel, points: int) -> pd.DataFrame:
    """The latest points of the first trajectory, dated by seconds; NaN where it has no variate."""
    import pandas as pd

    series = panel.series(0)
    points = min(points, series.length)
    columns = dict(zip(panel.info.variates, series.target[:, -points:].astype(float), strict=True))
    stamps = pd.date_range("2000-01-01", periods=points, freq="s")
    return pd.DataFrame({"item_id": series.item_id, "timestamp": stamps, **columns})
