"""Trials of experiment 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.measuring import COSTS, outcome_of
from sweeps.recipe import Cache, Outcome, Recipe

if TYPE_CHECKING:
    from experiments.finetune import Base
    from experiments.finetune_config import FinetuneConfig
    from tsfm.data.sources import Source
    from tsfm.evaluation.holdout import HoldOut
    from tsfm.tracking.registry import LoggedForecaster
    from tsfm.tracking.runs import MlflowRun
    from tsfm.tracking.sweep_record import TrialRun


class Finetuning(Recipe):
    """Adapting the base model, as the experiment does it; scored by the CRPS of the validation
    period. Every trial starts from the base model's own weights, read anew."""

    metrics = ("validation_crps", "trained_parameters", *COSTS)
    reported = ("validation_crps",)

    def run(self, config: FinetuneConfig, record: TrialRun, cache: Cache) -> Outcome:
        from experiments.finetune import load_base, train
        from tsfm.training.score_monitor import ScoreMonitor

        base, source, held_out = _data(config, cache)
        monitor = ScoreMonitor([division.validation_task for division in held_out], record)
        quiet = replace(config, trainer=replace(config.trainer, progress=False))
        start = load_base(quiet, base, source.panels[0])
        trained = train(start, held_out, quiet, record, monitor)
        scores = {
            "validation_crps": monitor.measure(trained.result.model),
            "trained_parameters": float(trained.adapted.trainable),
        }
        return outcome_of(trained.result, scores, *held_out[0].validation_task)

    def publish(
        self,
        config: FinetuneConfig,
        record: MlflowRun,
        model: Path,
        cache: Cache,
        tags: Mapping[str, str],
    ) -> LoggedForecaster:
        from experiments.finetune import zero_shot
        from sweeps.publishing import judged

        base, source, held_out = _data(config, cache)
        return judged(
            config, record, model, source, held_out, tags,
            others=zero_shot(config, base, source.panels[0]), inherited=base.provenance,
        )  # fmt: skip


def _data(config: FinetuneConfig, cache: Cache) -> tuple[Base, Source, list[HoldOut]]:
    """Where the base model is, panels, and their divisions; found and made once."""
    from experiments.finetune import divide, find_base, load_data
    from tsfm.tracking.registry import pinned

    base_model = cache.get(("pinned", config.base_model), lambda: pinned(config.base_model))
    config = replace(config, base_model=base_model)
    base: Base = cache.get(("base", config.base_model), lambda: find_base(config))
    covariates = config.past_covariates, config.known_covariates, base.kind, type(config.model)
    source: Source = cache.get(
        ("source", config.data, covariates), lambda: load_data(config, base, cache.source)
    )
    key = (
        config.data, config.evaluation, config.context, config.horizon, config.split,
        config.hold_out, covariates, config.base_model,
    )  # fmt: skip
    held_out = cache.get(("divisions", key), lambda: divide(source, config, base)[0])
    return base, source, held_out
