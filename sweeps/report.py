"""What a finished study leaves in its run: the table of trials and the best configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.study import SweepStudy
    from tsfm.tracking.runs import MlflowRun


def record_report(study: SweepStudy, record: MlflowRun) -> None:
    """Tables and plots of the study, as it stands, into its run."""
    record.log_table(study.trials_dataframe(), "trials")


def show_report(study: SweepStudy, record: MlflowRun) -> None:
    """Print what came of it."""
    subject, fixed = study.plan.subject, study.plan.space.fixed
    for trial in study.best():
        values = ", ".join(f"{value:.5g}" for value in trial.values)
        print(f"best        trial {trial.number}: {values}")
        print(f"train it    {subject.command({**fixed, **trial.params})}")
    print(f"see it      {record.url()}")
    print(f"dashboard   optuna-dashboard '{study.rdb.uri}'")
