"""A trained model with all that it needs to be used again, logged and registered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tsfm.data.overlap import overlap
from tsfm.data.provenance import Provenance
from tsfm.data.sources import Source
from tsfm.evaluation.holdout import HoldOut
from tsfm.evaluation.judge import Verdict
from tsfm.tracking.registry import LoggedForecaster, log_model, log_model_metrics, register
from tsfm.tracking.report import final_metrics
from tsfm.training.trainer import FitResult

if TYPE_CHECKING:
    import pandas as pd

    from tsfm.data.preparation import Preparation
    from tsfm.tracking.runs import MlflowRun


def publish(
    record: MlflowRun,
    result: FitResult,
    source: Source,
    held_out: Sequence[HoldOut],
    verdict: Verdict,
    *,
    horizon: int,
    register_as: str,
    inherited: Provenance | None = None,
) -> LoggedForecaster:
    """Save preparation and training provenance beside the weights, log the model, register it.

    What of the tasks' scored bars was seen in training, by this model or the one it was made from,
    is recorded as the tag ``leakage`` and the metric ``leaked_bars`` of the run.

    Parameters
    ----------
    inherited
        Provenance of the base model.
    register_as
        Empty: log the model without registering it.
    """
    metrics = {
        task.name: final_metrics(verdict, task.name)
        for division in held_out
        for task, _ in division.tasks
    }
    return publish_model(
        record, result, name=verdict.model, preparation=source.preparation,
        example=source.example, held_out=held_out, metrics=metrics, horizon=horizon,
        register_as=register_as, inherited=inherited,
    )  # fmt: skip


def publish_model(
    record: MlflowRun,
    result: FitResult,
    *,
    name: str,
    preparation: Preparation,
    example: pd.DataFrame,
    held_out: Sequence[HoldOut],
    metrics: Mapping[str, Mapping[str, float]],
    horizon: int,
    register_as: str,
    inherited: Provenance | None = None,
    tags: Mapping[str, str] | None = None,
) -> LoggedForecaster:
    """As :func:`publish`, of a model that was judged otherwise.

    Parameters
    ----------
    name
        Of the logged model.
    metrics
        Results by task.
    tags
        Of the logged and of the registered model.
    """
    directory = result.model.save(result.model_directory)
    preparation.save(directory)
    provenance = Provenance.of(*(division.train for division in held_out))
    if inherited is not None:
        provenance = provenance.inherit(inherited)
    provenance.save(directory)
    overlaps = [
        overlap(provenance, panel, task.first_origin or task.context)
        for division in held_out
        for task, panel in division.tasks
    ]
    leaks = [str(found) for found in overlaps if found]
    told = {"leakage": "; ".join(leaks) or "none"}
    record.set_tags(told)
    record.log_metrics({"leaked_bars": float(sum(o.seen for o in overlaps))}, step=result.steps)
    tags = {**(tags or {}), **told}
    logged = log_model(
        record,
        directory,
        name=name,
        input_example=example,
        tags=tags,
        horizon=horizon,
        step=result.best_step,
    )
    for division in held_out:
        for task, panel in division.tasks:
            found = metrics.get(task.name, {})
            log_model_metrics(record, logged.model_id, found, panel, step=result.best_step)
    if not register_as:
        return logged
    version = register(record.client, logged.model_id, register_as, record.run_id, tags)
    return replace(logged, registered_name=register_as, version=version)
