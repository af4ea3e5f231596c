"""The best trial's model: judged on the test tasks, logged in its trial's run, registered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tsfm.data.provenance import Provenance
    from tsfm.data.sources import Source
    from tsfm.evaluation.holdout import HoldOut
    from tsfm.models.base import Forecaster
    from tsfm.tracking.registry import LoggedForecaster
    from tsfm.tracking.runs import MlflowRun
    from tsfm.training.trainer import FitResult


def judged(
    config: Any,
    record: MlflowRun,
    directory: Path,
    source: Source,
    held_out: Sequence[HoldOut],
    tags: Mapping[str, str],
    *,
    others: Mapping[str, Forecaster] | None = None,
    inherited: Provenance | None = None,
) -> LoggedForecaster:
    """Beside the experiment's baselines, with their tables and plots, as the experiment does.

    Parameters
    ----------
    directory
        Of the model.
    others
        Further forecasters to compare it with.
    """
    from tsfm.evaluation.judge import judge
    from tsfm.tracking.publish import publish_model
    from tsfm.tracking.report import final_metrics, record_panels, record_verdict

    metric = config.evaluation.headline_metric
    result = kept(record, directory)
    tasks = [task for division in held_out for task in division.tasks]
    record_panels(record, held_out)
    verdict = judge(result.model, config.evaluation.baselines, tasks, metric=metric, others=others)
    record_verdict(record, verdict, tasks, metric=metric)
    return publish_model(
        record, result, name=verdict.model, preparation=source.preparation,
        example=source.example, held_out=held_out,
        metrics={task.name: final_metrics(verdict, task.name) for task, _ in tasks},
        horizon=config.horizon, register_as=config.register_as, inherited=inherited, tags=tags,
    )  # fmt: skip


def kept(record: MlflowRun, directory: Path) -> FitResult:
    """A trial's result, of its kept model and the metrics of its run."""
    import shutil
    import tempfile

    import tsfm
    from tsfm.training.trainer import FitResult

    own = Path(tempfile.mkdtemp(prefix="sweep-best-"))
    shutil.copytree(directory, own / "model")
    known = record.client.get_run(record.run_id).data.metrics
    return FitResult(
        model=tsfm.load_forecaster(own / "model"),
        directory=own,
        steps=int(known.get("steps", 0)),
        best_step=int(known.get("best_step", 0)),
        validation_loss=known.get("validation_loss"),
        tokens_per_second=known.get("tokens_per_second", 0.0),
        train_seconds=known.get("train_seconds", 0.0),
        skipped_steps=0,
        peak_memory=int(known.get("peak_memory_bytes", 0)),
    )
