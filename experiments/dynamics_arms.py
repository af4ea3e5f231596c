"""The arms of experiment 3: built to match, trained alike, published with what they achieved."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.dynamics_config import DynamicsConfig
from tsfm.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from tsfm.data.panel import Panel
    from tsfm.data.provenance import Provenance
    from tsfm.evaluation.arms import Contest
    from tsfm.evaluation.holdout import HoldOut
    from tsfm.tracking.experiment import SilentRun
    from tsfm.tracking.registry import LoggedForecaster
    from tsfm.tracking.runs import MlflowRun
    from tsfm.training.config import TrainerConfig
    from tsfm.training.trainer import FitResult


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One arm, trained with one seed.

    Attributes
    ----------
    arm, name
        ``none`` or ``attention``, and what tables call it.
    base
        What it started from: a directory, hub id or ``models:/…``; empty: from scratch.
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
    base: str
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

    torch.manual_seed(seed)
    model = build(arm, config, width=len(division.train.info.variates))
    trainer = replace(config.trainer, seed=seed)
    return _trained(
        model, f"{model.name}-{arm}", trainer, division, config, record, parts,
        arm=arm, scale=scale, base=config.base_model,
    )  # fmt: skip


def fine_tune(
    source: str,
    model: Any,
    division: HoldOut,
    config: DynamicsConfig,
    record: MlflowRun | SilentRun,
    parts: ExitStack,
) -> Trained:
    """A Chronos model on the arms' windows, for as many steps, at a rate that does not wreck it."""
    name = Path(source).name
    trainer = replace(config.trainer, seed=config.seed, **model.fine_tuning)
    return _trained(
        model, f"{name}-tuned", trainer, division, config, record, parts,
        arm=name, base=source, watched=False,
    )  # fmt: skip


def load_chronos(config: DynamicsConfig) -> dict[str, Any]:
    """The models to fine-tune, by their source: they see and forecast no more than the arms do.

    Raises
    ------
    ConfigError
        When one's weights are random.
    """
    from tsfm.models.chronos import Chronos

    found = {}
    for source in config.judging.fine_tuned:
        own = Chronos.from_pretrained(source).config
        assert own.context is not None
        assert own.horizon is not None
        found[source] = Chronos.from_pretrained(
            source,
            context=min(config.context, own.context),
            horizon=min(config.horizon, own.horizon),
        )
        expect_trained(source, found[source])
    return found


def expect_trained(source: str, model: Any) -> None:
    """Raise :class:`ConfigError` when a model's weights are random: no table shall show it."""
    own = getattr(model, "config", None)
    if getattr(own, "untrained", False) and not getattr(own, "allow_untrained", False):
        raise ConfigError(
            f"the weights of {source} are random: it has never been trained",
            remedy="give a released or trained model",
        )


def _trained(
    model: Any,
    called: str,
    trainer: TrainerConfig,
    division: HoldOut,
    config: DynamicsConfig,
    record: MlflowRun | SilentRun,
    parts: ExitStack,
    *,
    arm: str,
    base: str,
    scale: str = "",
    watched: bool = True,
) -> Trained:
    """Trained in a run of its own, with forecasts after every validation where it is watched."""
    from tsfm.tracking.experiment import open_part, part_directory
    from tsfm.training.chaos_monitor import ChaosMonitor
    from tsfm.training.cost import step_cost
    from tsfm.training.tensorboard import events_beside
    from tsfm.training.trainer import fit, last_checkpoint

    seed = trainer.seed
    name = f"{scale}-{arm}-{seed}" if scale else f"{arm}-{seed}"
    output = part_directory(record, name)
    part = parts.enter_context(
        open_part(
            record, name, {"model": model.config, "trainer": trainer},
            entry_point="dynamics", tags={"arm": arm, "seed": str(seed), "scale": scale},
        )
    )  # fmt: skip
    tokens, flops = step_cost(model, division.train, trainer)
    with events_beside(part, output, config.tensorboard) as logger:
        monitor = ChaosMonitor(*division.validation_task, logger, config.judging.chaos)
        result = fit(
            model,
            division.train,
            validation=division.validation,
            config=trainer,
            augment=config.augment,
            output_dir=output,
            resume_from=last_checkpoint(output) if config.resume else None,
            logger=logger,
            on_validation=monitor if watched else None,
        )
    return Trained(
        arm=arm, name=called, seed=seed, base=base, part=part, result=result,
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


def base_directory(source: str) -> Path:
    """Where a base model lies on this machine."""
    from tsfm.models.source import directory_of
    from tsfm.tracking.registry import resolve

    return resolve(source) if source.startswith("models:/") else directory_of(source)


def load_base(arm: str, config: DynamicsConfig) -> Any:
    """The base model, which must be of this arm and of this patch size."""
    from tsfm.models.patchtst import PatchTST

    model = config.model
    return PatchTST.from_pretrained(
        base_directory(config.base_model),
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
    one: Trained,
    contest: Contest,
    division: HoldOut,
    config: DynamicsConfig,
    tags: Mapping[str, str] | None = None,
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
        inherited=inherited(one.base),
        tags={"arm": one.arm, "seed": str(one.seed), **(tags or {})},
    )


def inherited(base: str) -> Provenance | None:
    """What the base model was trained on; none where there is no base model."""
    from tsfm.data.provenance import Provenance

    return Provenance.of_base(base_directory(base), base) if base else None


def example_of(panel: Panel, points: int) -> pd.DataFrame:
    """The latest points of the first trajectory, dated by seconds; NaN where it has no variate."""
    import pandas as pd

    series = panel.series(0)
    points = min(points, series.length)
    columns = dict(zip(panel.info.variates, series.target[:, -points:].astype(float), strict=True))
    stamps = pd.date_range("2000-01-01", periods=points, freq="s")
    return pd.DataFrame({"item_id": series.item_id, "timestamp": stamps, **columns})
