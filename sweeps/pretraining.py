"""Trials of experiment 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.measuring import COSTS, outcome_of
from sweeps.recipe import Cache, Outcome, Recipe

if TYPE_CHECKING:
    from experiments.config import PretrainConfig
    from tsfm.data.sources import Source
    from tsfm.evaluation.holdout import HoldOut
    from tsfm.tracking.registry import LoggedForecaster
    from tsfm.tracking.runs import MlflowRun
    from tsfm.tracking.sweep_record import TrialRun


class Pretraining(Recipe):
    """Masked pretraining, as the experiment does it; scored by the CRPS of the validation period.

    See :class:`tsfm.training.score_monitor.ScoreMonitor`.
    """

    metrics = ("validation_crps", *COSTS)
    reported = ("validation_crps",)

    def run(self, config: PretrainConfig, record: TrialRun, cache: Cache) -> Outcome:
        from experiments.pretrain import train
        from tsfm.training.score_monitor import ScoreMonitor

        source, held_out = _data(config, cache)
        monitor = ScoreMonitor([division.validation_task for division in held_out], record)
        quiet = replace(config, trainer=replace(config.trainer, progress=False))
        result = train(source, held_out, quiet, record, monitor)
        scores = {"validation_crps": monitor.measure(result.model)}
        return outcome_of(result, scores, *held_out[0].validation_task)

    def publish(
        self,
        config: PretrainConfig,
        record: MlflowRun,
        model: Path,
        cache: Cache,
        tags: Mapping[str, str],
    ) -> LoggedForecaster:
        from sweeps.publishing import judged

        source, held_out = _data(config, cache)
        return judged(config, record, model, source, held_out, tags)


def _data(config: PretrainConfig, cache: Cache) -> tuple[Source, list[HoldOut]]:
    """Panels, and their divisions for these lengths; made once."""
    from tsfm.evaluation.holdout import hold_out_each

    source = cache.source(config.data)
    key = config.data, config.evaluation, config.context, config.horizon
    held_out = cache.get(
        ("divisions", key),
        lambda: hold_out_each(source.panels, *key),
    )
    return source, held_out
