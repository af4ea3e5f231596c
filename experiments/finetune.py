"""Experiment 2: adapt a pretrained model to series of one kind, glucose by default, and judge it.

mlflow run . -e finetune
mlflow run . -e finetune -P data=/my/cgm/folder -P base_model=ibm-granite/granite-timeseries-ttm-r2
mlflow run . -e finetune -P data=brist1d -P mode=full -P preset=fine_tune
mlflow run . -e finetune -P mode=zero_shot
mlflow run . -e finetune -P data=sample -P base_model=models:/ohlcv/latest -P targets=log_range

The model's kind is its checkpoint's: TinyTimeMixer, MOIRAI, PatchTST or Chronos.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from experiments.cli import Parameter, run
from experiments.config import described, model_name, resumed
from experiments.finetune_config import ALL, AUTO, NONE, SCRATCH, FinetuneConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tsfm.data.glucose import holdouts
    from tsfm.data.panel import Panel
    from tsfm.data.provenance import Provenance
    from tsfm.data.sources import Source, SourceConfig
    from tsfm.evaluation.findings import Findings
    from tsfm.evaluation.holdout import HoldOut
    from tsfm.evaluation.tasks import Task
    from tsfm.models.adaptation import Adapted
    from tsfm.models.base import Forecaster, Trainable
    from tsfm.models.starting import Start
    from tsfm.tracking.experiment import SilentRun
    from tsfm.tracking.runs import MlflowRun
    from tsfm.training.callbacks import ValidationHook
    from tsfm.training.config import TrainerConfig
    from tsfm.training.trainer import FitResult

    Tasks = list[tuple[Task, Panel]]

PARAMETERS = {
    "data": Parameter(
        "@data",
        "virtual, a sensor's file or folder, a named data set (brist1d), a panel, or bars",
    ),
    "base_model": Parameter("base_model", "ttm-base, directory, hub id, models:/…, or scratch"),
    "mode": Parameter("adaptation.mode", "zero_shot, linear_probe, lora or full"),
    "preset": Parameter("recipe.preset", "quick, default, fine_tune or zero_shot"),
    "lora_rank": Parameter("adaptation.lora_rank", "rank of the adapters, capped by layers' width"),
    "lora_alpha": Parameter("adaptation.lora_alpha", "their scale is lora_alpha / lora_rank"),
    "freeze_backbone": Parameter("adaptation.freeze_backbone", "leave the backbone: true or false"),
    "targets": Parameter("data.variates", "columns to forecast, with commas; empty: glucose, all"),
    "past_covariates": Parameter("past_covariates", "names, all, none; auto: as the model looks"),
    "known_covariates": Parameter("known_covariates", "known over the horizon, likewise"),
    "id_column": Parameter("id_column", "of a table of readings; empty: guessed"),
    "resolution": Parameter("data.cgm.resolution_minutes", "minutes of a sensor's bar"),
    "scaler": Parameter("conditioning.scaler", "none (the model's own), standard, minmax, robust"),
    "scaler_scope": Parameter("conditioning.scope", "patient or global"),
    "imputation": Parameter(
        "conditioning.imputation", "none, mean, median, forward_fill, interpolate"
    ),
    "imputation_steps": Parameter("conditioning.steps", "bars that the latter two may reach"),
    "loss": Parameter("loss", "mse, mae, huber, pinball; empty: the base model's own"),
    "split": Parameter("split", "hold out later times (time), some patients (patient), or both"),
    "hold_out": Parameter("hold_out", "a hold-out file or NAME-vVERSION; empty: drawn"),
    "context": Parameter("context", "bars seen"),
    "horizon": Parameter("horizon", "bars forecast"),
    "epochs": Parameter("recipe.epochs", "passes over the training windows; empty: the preset's"),
    "max_steps": Parameter("recipe.max_steps", "optimiser steps, before epochs; empty: likewise"),
    "batch_size": Parameter("recipe.batch_size", "windows (or packed rows) in a step; likewise"),
    "lr": Parameter("recipe.lr", "peak learning rate; likewise"),
    "model": Parameter("@model", "what is made from scratch"),
    "seed": Parameter("seed", "of everything drawn"),
    "register_as": Parameter("register_as", "name in the model registry; empty: none"),
    "resume": Parameter("resume", "id of an interrupted run to go on with, by its own settings"),
}


def main(config: FinetuneConfig) -> None:
    from tsfm.evaluation.judge import judge
    from tsfm.tracking.experiment import SilentRun, open_experiment
    from tsfm.tracking.findings_report import record_finding
    from tsfm.tracking.finetune_report import (
        record_adaptation,
        record_hold_outs,
        record_quality,
        show_adaptation,
    )
    from tsfm.tracking.glucose_report import record_glucose, show_glucose
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
        base = find_base(config)
        source = load_data(config, base)
        held_out, hold_outs = divide(source, config, base)
        start = load_base(config, base, source.panels[0])
        record_panels(record, held_out)

        trained = train(start, held_out, config, record)
        if isinstance(record, SilentRun):
            return
        result = trained.result
        record_quality(record, source.reports)
        record_hold_outs(record, hold_outs)
        record_fit(record, result)
        record_adaptation(record, trained.adapted, result, asdict(trained.trainer))

        untuned = zero_shot(config, base, source.panels[0])
        tasks = [task for division in held_out for task in division.tasks]
        tasks += nights(tasks, config)
        verdict = judge(
            result.model, config.evaluation.baselines, tasks,
            name=trained.name, metric=metric, others=untuned,
        )  # fmt: skip
        record_verdict(record, verdict, tasks, metric=metric)
        report = None
        if is_of_glucose(tasks, config):
            report = record_glucose(record, verdict.backtests, tasks, config.clinical)
        forgotten = forgetting(trained.network, untuned, config)
        if forgotten is not None:
            record_finding(record, "forgetting", forgotten, step=result.steps)

        logged = publish(
            record, result, source, held_out, verdict,
            horizon=config.horizon, register_as=config.register_as, inherited=base.provenance,
        )  # fmt: skip
    if report is not None:
        show_glucose(report, config.clinical)
    show_summary(record, verdict, registered=logged.uri, metric=metric)
    show_adaptation(trained.adapted, result)
    if forgotten is not None:
        print(f"elsewhere   {forgotten.conclusion}")


# --- the model to start from ----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Base:
    """Where the base model is (``None``: from scratch), and what it was trained on."""

    directory: Path | None = None
    provenance: Provenance | None = None

    @property
    def kind(self) -> str:
        from tsfm.models.starting import kind_of

        return "" if self.directory is None else kind_of(self.directory)


def find_base(config: FinetuneConfig) -> Base:
    """The base model's directory, fetched where it is registered or on the hub."""
    from tsfm.data.provenance import Provenance
    from tsfm.models.source import directory_of
    from tsfm.tracking.registry import resolve

    if config.base_model == SCRATCH:
        return Base()
    registered = config.base_model.startswith("models:/")
    directory = resolve(config.base_model) if registered else directory_of(config.base_model)
    return Base(directory=directory, provenance=Provenance.of_base(directory, config.base_model))


def load_base(config: FinetuneConfig, base: Base, panel: Panel) -> Start:
    """The model to train, with the panel's channels where it looks at covariates."""
    import torch

    from tsfm.models import model_class
    from tsfm.models.starting import Asked, Start, load_start

    torch.manual_seed(config.seed)
    if base.directory is None:
        made: Any = model_class(model_name(config.model))
        return Start(model=made(config.model))
    asked = Asked(
        context=config.context, horizon=config.horizon, loss=config.loss, fields=config.load,
        channels=channels(panel) if base.kind == "ttm" else None,
    )  # fmt: skip
    return load_start(base.directory, asked)


def channels(panel: Panel) -> tuple[int, int, int]:
    """Targets, past and known covariates of a panel."""
    info = panel.info
    return len(info.variates), len(info.past_covariates), len(info.known_covariates)


def zero_shot(config: FinetuneConfig, base: Base, panel: Panel) -> dict[str, Forecaster]:
    """The base model as it is, to be judged beside what was made of it."""
    from tsfm.models.starting import Asked, load_start

    if base.directory is None or config.adaptation.mode == "zero_shot":
        return {}
    asked = Asked(
        context=config.context, horizon=config.horizon,
        channels=(len(panel.info.variates), 0, 0) if base.kind == "ttm" else None,
    )  # fmt: skip
    return {"zero_shot": load_start(base.directory, asked).model}


# --- data -----------------------------------------------------------------------------------------


def load_data(
    config: FinetuneConfig, base: Base, load: Callable[[SourceConfig], Source] | None = None
) -> Source:
    """Panels with the covariates that were asked for; ``load`` in place of ``load_source``."""
    from tsfm.data.covariates import narrowed
    from tsfm.data.sources import load_source

    source = (load or load_source)(config.data)
    sees = base.kind == "moirai" or (
        base.directory is None and model_name(config.model) == "moirai"
    )

    def chosen(names: tuple[str, ...]) -> tuple[str, ...]:
        wanted = ((ALL,) if sees else (NONE,)) if names == (AUTO,) else names
        return () if wanted == (NONE,) else wanted

    return narrowed(source, chosen(config.past_covariates), chosen(config.known_covariates))


def divide(
    source: Source, config: FinetuneConfig, base: Base
) -> tuple[list[HoldOut], list[holdouts.HoldOut]]:
    """Panels of patients by patient and by each one's time, those of markets by symbol and date."""
    from tsfm.data.glucose.holdouts import HoldOut as Patients
    from tsfm.data.glucose.origins import is_glucose
    from tsfm.evaluation.holdout import hold_out_each
    from tsfm.evaluation.patient_holdout import draw_patients, hold_out_patients

    data, evaluation = config.data, config.evaluation
    if not (config.hold_out or config.split != "both" or all(map(is_glucose, source.panels))):
        divided = hold_out_each(source.panels, data, evaluation, config.context, config.horizon)
        return divided, []
    if config.hold_out:
        hold_outs = [Patients.load(config.hold_out)] * len(source.panels)
    else:
        hold_outs = [
            draw_patients(
                panel, config.split,
                patient_share=data.held_out_share, time_share=data.test_share, seed=data.seed,
            )
            for panel in source.panels
        ]  # fmt: skip
    for held in hold_outs:
        if base.provenance is not None and config.hold_out:
            held.expect_untouched(base.provenance)
    divided = [
        hold_out_patients(
            panel, held, context=config.context, horizon=config.horizon,
            evaluation=evaluation, validation_share=data.validation_share,
        )
        for panel, held in zip(source.panels, hold_outs, strict=True)
    ]  # fmt: skip
    return divided, hold_outs


# --- training -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What came of training, and how it went."""

    result: FitResult
    adapted: Adapted
    trainer: TrainerConfig

    @property
    def network(self) -> Forecaster:
        """The model itself, without scaler and imputation."""
        from tsfm.models.conditioning import network_of

        return network_of(self.result.model)

    @property
    def name(self) -> str:
        return self.network.name


def train(
    start: Start,
    held_out: list[HoldOut],
    config: FinetuneConfig,
    record: MlflowRun | SilentRun,
    on_validation: ValidationHook | None = None,
) -> Trained:
    """Train what the mode says should be trained, watched on the validation period."""
    from tsfm.evaluation.judge import expect_able
    from tsfm.models.adaptation import adapt
    from tsfm.models.conditioning import Conditioned
    from tsfm.tracking.experiment import output_directory
    from tsfm.training.monitor import ForecastMonitor
    from tsfm.training.tensorboard import events_beside
    from tsfm.training.trainer import FitResult, fit, last_checkpoint

    model, panels = start.model, [division.train for division in held_out]
    validation = [division.validation_task for division in held_out]
    expect_able(model, validation)
    output = output_directory(record)
    adapted = adapt(model, config.adaptation, start.fresh)
    if config.conditioning.is_needed:
        model = Conditioned.fitted(model, config.conditioning, panels[0])
    trainer = config.recipe.trainer(
        replace(config.trainer, seed=config.seed),
        start.model.name,
        panels,
        cast("Trainable", model).window_spec,
    )
    if config.adaptation.mode == "zero_shot":
        result = FitResult.untrained(model, output)
    else:
        with events_beside(record, output, config.tensorboard) as logger:
            result = fit(
                model,
                panels,
                validation=[division.validation for division in held_out],
                config=trainer,
                output_dir=output,
                resume_from=last_checkpoint(output) if config.resume else None,
                logger=logger,
                on_validation=on_validation or ForecastMonitor(validation, logger),
            )
    seen = config.context + config.horizon
    model.settle(
        [batch for task, panel in validation for batch in task.contexts(panel, history=seen)]
    )
    return Trained(result=result, adapted=adapted, trainer=trainer)


# --- judging --------------------------------------------------------------------------------------


def is_of_glucose(tasks: Tasks, config: FinetuneConfig) -> bool:
    """Whether all that is judged is glucose in mg/dL."""
    from tsfm.data.glucose.origins import is_glucose

    wanted = (config.clinical.variate,)
    return all(is_glucose(panel) and task.targets == wanted for task, panel in tasks)


def nights(tasks: Tasks, config: FinetuneConfig) -> Tasks:
    """Whole nights of patients, to be judged beside the other windows."""
    from tsfm.tracking.glucose_report import night_tasks

    if not (config.nights and is_of_glucose(tasks, config)):
        return []
    return night_tasks(tasks, config.clinical)


def forgetting(
    network: Forecaster, untuned: dict[str, Forecaster], config: FinetuneConfig
) -> Findings | None:
    """What became of ordinary series; None where nothing was trained, or they cannot be asked."""
    from tsfm.data.ordinary import ordinary_panels
    from tsfm.evaluation.analysis_config import ForgettingConfig
    from tsfm.evaluation.retention import analyse_retention, is_able

    asked = ForgettingConfig(context=config.context)
    if not (untuned and config.forgetting and is_able(network, asked)):
        return None
    (before,) = untuned.values()
    return analyse_retention(network, before, ordinary_panels(), asked, seed=config.seed)


if __name__ == "__main__":
    run("finetune", FinetuneConfig, PARAMETERS, main, title="Adapt a pretrained model.")
