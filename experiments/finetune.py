"""Experiment 2: adapt a pretrained model to a panel, one variate or all, and judge what it gained.

mlflow run . -e finetune -P base_model=models:/ohlcv/latest -P mode=lora -P lora_rank=8
mlflow run . -e finetune -P data=bars.csv -P targets=log_range -P mode=full
mlflow run . -e finetune -P base_model=Salesforce/moirai-1.1-R-small -P mode=zero_shot
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from experiments.cli import Parameter, run
from experiments.config import FinetuneConfig, described, resumed

if TYPE_CHECKING:
    from tsfm.data.provenance import Provenance
    from tsfm.evaluation.holdout import HoldOut
    from tsfm.models.moirai import Moirai
    from tsfm.tracking.experiment import SilentRun
    from tsfm.tracking.runs import MlflowRun
    from tsfm.training.trainer import FitResult

PARAMETERS = {
    "data": Parameter("@data", "sample, simulated, mixed, or the path of a panel or of bars"),
    "model": Parameter("@model", "the kind of model; its size is the base model's"),
    "base_model": Parameter("base_model", "directory, hub id, models:/…, or scratch"),
    "mode": Parameter("mode", "zero_shot, linear_probe, lora or full"),
    "lora_rank": Parameter("lora_rank", "rank of the adapters"),
    "lora_alpha": Parameter("lora_alpha", "their scale is lora_alpha / lora_rank"),
    "targets": Parameter(
        "data.variates", "variates to forecast, with commas (others: seen); empty: all"
    ),
    "context": Parameter("context", "bars seen"),
    "horizon": Parameter("horizon", "bars forecast"),
    "max_steps": Parameter("trainer.max_steps", "optimiser steps"),
    "batch_size": Parameter("trainer.batch_size", "packed rows in a step"),
    "lr": Parameter("trainer.lr", "peak learning rate"),
    "seed": Parameter("seed", "of everything drawn"),
    "register_as": Parameter("register_as", "name in the model registry; empty: none"),
    "resume": Parameter("resume", "id of an interrupted run to go on with, by its own settings"),
}

# What the config says of training and forecasting; the base model brings its own architecture.
RECIPE = (
    "context", "horizon", "mask_ratio_min", "mask_ratio_max", "random_mask_share", "shortest_crop",
    "use_covariates", "dropout", "attention_dropout", "gradient_checkpointing", "num_samples",
)  # fmt: skip


def main(config: FinetuneConfig) -> None:
    from tsfm.data.sources import load_source
    from tsfm.evaluation.holdout import hold_out_each
    from tsfm.evaluation.judge import judge
    from tsfm.tracking.experiment import SilentRun, open_experiment
    from tsfm.tracking.publish import publish
    from tsfm.tracking.registry import pinned
    from tsfm.tracking.report import record_fit, record_panels, record_verdict, show_summary

    config = resumed(config)
    config = replace(config, base_model=pinned(config.base_model))
    metric = config.evaluation.headline_metric
    with open_experiment(
        "finetune",
        described(config),
        entry_point="finetune",
        seed=config.seed,
        resume=config.resume,
    ) as record:
        base, inherited = load_base(config)
        source = load_source(config.data)
        held_out = hold_out_each(
            source.panels, config.data, config.evaluation, config.context, config.horizon
        )
        record_panels(record, held_out)

        result = adapt(base, held_out, config, record)
        if isinstance(record, SilentRun):
            return
        record_fit(record, result)

        tasks = [task for division in held_out for task in division.tasks]
        verdict = judge(result.model, config.evaluation.baselines, tasks, metric=metric)
        record_verdict(record, verdict, tasks, metric=metric)

        logged = publish(
            record, result, source, held_out, verdict,
            horizon=config.horizon, register_as=config.register_as, inherited=inherited,
        )  # fmt: skip
    show_summary(record, verdict, registered=logged.uri, metric=metric)


def load_base(config: FinetuneConfig) -> tuple[Moirai, Provenance | None]:
    """The model to start from, and what it was trained on where that is known."""
    import torch

    from tsfm.data.provenance import FILE_NAME, Provenance
    from tsfm.models.moirai import Moirai
    from tsfm.models.source import directory_of
    from tsfm.tracking.registry import resolve

    if config.base_model == "scratch":
        torch.manual_seed(config.seed)
        return Moirai(config.model), None
    registered = config.base_model.startswith("models:/")
    directory = resolve(config.base_model) if registered else directory_of(config.base_model)
    recipe = {name: getattr(config.model, name) for name in RECIPE}
    model = Moirai.from_pretrained(directory, patch_size=None, **recipe)
    known = (directory / FILE_NAME).exists()
    return model, Provenance.load(directory) if known else None


def adapt(
    model: Moirai, held_out: list[HoldOut], config: FinetuneConfig, record: MlflowRun | SilentRun
) -> FitResult:
    """Train what the mode says should be trained, watched on the validation period."""
    from tsfm.evaluation.judge import expect_able
    from tsfm.models.adapters import enable_linear_probe, enable_lora
    from tsfm.tracking.experiment import output_directory
    from tsfm.training.monitor import ForecastMonitor
    from tsfm.training.tensorboard import events_beside
    from tsfm.training.trainer import FitResult, fit, last_checkpoint

    validation = [division.validation_task for division in held_out]
    expect_able(model, validation)
    output = output_directory(record)
    if config.mode == "lora":
        enable_lora(model, rank=config.lora_rank, alpha=config.lora_alpha)
    elif config.mode == "linear_probe":
        enable_linear_probe(model)
    if config.mode == "zero_shot":
        result = FitResult.untrained(model, output)
    else:
        with events_beside(record, output, config.tensorboard) as logger:
            result = fit(
                model,
                [division.train for division in held_out],
                validation=[division.validation for division in held_out],
                config=replace(config.trainer, seed=config.seed),
                output_dir=output,
                resume_from=last_checkpoint(output) if config.resume else None,
                logger=logger,
                on_validation=ForecastMonitor(validation, logger),
            )
    seen = config.context + config.horizon
    model.settle(
        [batch for task, panel in validation for batch in task.contexts(panel, history=seen)]
    )
    return result


if __name__ == "__main__":
    run("finetune", FinetuneConfig, PARAMETERS, main, title="Adapt a pretrained model to a panel.")
