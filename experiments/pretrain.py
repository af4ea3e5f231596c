"""Experiment 1: pretrain a masked any-variate encoder on market bars, judge it, register it.

mlflow run . -e pretrain
mlflow run . -e pretrain -P data=sample -P max_steps=1000 -P patch_sizes=16,32
mlflow run . -e pretrain -P data=/lake,/other_lake -P overrides="data.weights=[0.7,0.3]"
mlflow run . -e pretrain -P overrides="model.d_model=256 trainer.accumulate=2"
mlflow run . -e pretrain -P resume=<run id>
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from experiments.cli import Parameter, run
from experiments.config import PretrainConfig, described, model_name, resumed

if TYPE_CHECKING:
    from tsfm.data.sources import Source
    from tsfm.evaluation.holdout import HoldOut
    from tsfm.tracking.experiment import SilentRun
    from tsfm.tracking.runs import MlflowRun
    from tsfm.training.callbacks import ValidationHook
    from tsfm.training.trainer import FitResult

PARAMETERS = {
    "data": Parameter(
        "@data", "sample, simulated, mixed, or a lake, panel or file of bars; several with commas"
    ),
    "model": Parameter("@model", "what to train"),
    "patch_sizes": Parameter("model.patch_sizes", "bars in a patch, drawn per sample"),
    "mask_ratio_min": Parameter("model.mask_ratio_min", "least share of patches to predict"),
    "mask_ratio_max": Parameter("model.mask_ratio_max", "largest share of patches to predict"),
    "context": Parameter("context", "bars seen"),
    "horizon": Parameter("horizon", "bars forecast"),
    "max_steps": Parameter("trainer.max_steps", "optimiser steps"),
    "batch_size": Parameter("trainer.batch_size", "packed rows in a step"),
    "lr": Parameter("trainer.lr", "peak learning rate"),
    "seed": Parameter("seed", "of everything drawn"),
    "register_as": Parameter("register_as", "name in the model registry; empty: none"),
    "resume": Parameter("resume", "id of an interrupted run to go on with, by its own settings"),
}


def main(config: PretrainConfig) -> None:
    from tsfm.data.sources import load_source
    from tsfm.evaluation.holdout import hold_out_each
    from tsfm.evaluation.judge import judge
    from tsfm.tracking.experiment import SilentRun, open_experiment
    from tsfm.tracking.publish import publish
    from tsfm.tracking.report import record_fit, record_panels, record_verdict, show_summary

    config = resumed(config)
    metric = config.evaluation.headline_metric
    with open_experiment(
        "pretrain",
        described(config),
        entry_point="pretrain",
        seed=config.seed,
        resume=config.resume,
    ) as record:
        source = load_source(config.data)
        held_out = hold_out_each(
            source.panels, config.data, config.evaluation, config.context, config.horizon
        )
        record_panels(record, held_out)

        result = train(source, held_out, config, record)
        if isinstance(record, SilentRun):
            return
        record_fit(record, result)

        tasks = [task for division in held_out for task in division.tasks]
        verdict = judge(result.model, config.evaluation.baselines, tasks, metric=metric)
        record_verdict(record, verdict, tasks, metric=metric)

        logged = publish(
            record, result, source, held_out, verdict,
            horizon=config.horizon, register_as=config.register_as,
        )  # fmt: skip
    show_summary(record, verdict, registered=logged.uri, metric=metric)


def train(
    source: Source,
    held_out: list[HoldOut],
    config: PretrainConfig,
    record: MlflowRun | SilentRun,
    on_validation: ValidationHook | None = None,
) -> FitResult:
    """Masked pretraining on the mixture, watched on the validation period."""
    import torch

    from tsfm.evaluation.judge import expect_able
    from tsfm.models import model_class
    from tsfm.tracking.experiment import output_directory
    from tsfm.training.monitor import ForecastMonitor
    from tsfm.training.tensorboard import events_beside
    from tsfm.training.trainer import fit, last_checkpoint

    torch.manual_seed(config.seed)
    model = model_class(model_name(config.model))(config.model)
    validation = [division.validation_task for division in held_out]
    expect_able(model, validation)
    output = output_directory(record)
    with events_beside(record, output, config.tensorboard) as logger:
        result = fit(
            model,
            [division.train for division in held_out],
            validation=[division.validation for division in held_out],
            weights=source.weights,
            config=replace(config.trainer, seed=config.seed),
            output_dir=output,
            resume_from=last_checkpoint(output) if config.resume else None,
            logger=logger,
            on_validation=on_validation or ForecastMonitor(validation, logger),
        )
    seen = config.context + config.horizon
    model.settle(
        [batch for task, panel in validation for batch in task.contexts(panel, history=seen)]
    )
    return result


if __name__ == "__main__":
    run("pretrain", PretrainConfig, PARAMETERS, main, title="Pretrain on market bars.")
