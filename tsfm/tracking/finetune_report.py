"""What a fine-tuning leaves in its run beside a verdict: what was trained and held out."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from tsfm.models.adaptation import Adapted
from tsfm.training.trainer import FitResult

if TYPE_CHECKING:
    from tsfm.data.glucose.holdouts import HoldOut
    from tsfm.data.quality import QualityReport
    from tsfm.tracking.runs import MlflowRun


def record_quality(record: MlflowRun, reports: Sequence[QualityReport]) -> None:
    """Reports of what was read, as pages and as JSON: ``quality/``."""
    for report in reports:
        folder = "quality" if len(reports) == 1 else f"quality/{report.title}"
        with tempfile.TemporaryDirectory() as directory:
            for path in report.write(directory):
                record.log_file(path, folder)
        figures = {"clean_share": report.clean_share, "readings": float(report.rows)}
        record.log_metrics({f"quality.{name}": value for name, value in figures.items()}, step=0)


def record_hold_outs(record: MlflowRun, hold_outs: Sequence[HoldOut]) -> None:
    """Who and what was held out, as files that the next run can be given."""
    for held in hold_outs:
        with tempfile.TemporaryDirectory() as directory:
            record.log_file(held.save(directory), "holdouts")


def record_adaptation(
    record: MlflowRun, adapted: Adapted, result: FitResult, training: Mapping[str, Any]
) -> None:
    """Trainable weights, effective ranks, the adapters by themselves, and the settled recipe."""
    record.log_params({"training": training})
    metrics = {
        "trainable_parameters": float(adapted.trainable),
        "trainable_share": adapted.trainable / max(adapted.parameters, 1),
    }
    if adapted.ranks:
        ranks = adapted.ranks
        metrics |= {"lora_rank_min": min(ranks.values()), "lora_rank_max": max(ranks.values())}
        record.log_table(pd.DataFrame({"layer": ranks.keys(), "rank": ranks.values()}), "lora")
    if adapted.ranks and result.adapter_directory.is_dir():
        record.log_file(result.adapter_directory, "adapter")
    record.log_metrics(metrics, step=result.steps)


def show_adaptation(adapted: Adapted, result: FitResult) -> None:
    """Print what was trained, and at what price."""
    ranks = sorted(set(adapted.ranks.values()))
    of_rank = f", rank {ranks[0]}" + (f" to {ranks[-1]}" if len(ranks) > 1 else "") if ranks else ""
    print(
        f"trained     {adapted.trainable:,} of {adapted.parameters:,} parameters{of_rank}; "
        f"{result.train_seconds:.0f} s, {result.steps} steps, "
        f"peak memory {result.peak_memory / 2**20:,.0f} MiB"
    )
