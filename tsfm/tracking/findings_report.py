"""What looking into a model leaves in its run, and what it prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tsfm.evaluation.findings import Findings
from tsfm.evaluation.leaderboard import to_markdown
from tsfm.tracking.console import print_run, print_table, stdout

if TYPE_CHECKING:
    from tsfm.tracking.runs import MlflowRun

ROWS_SHOWN = 40


def record_findings(record: MlflowRun, found: Mapping[str, Findings]) -> None:
    """Tables, figures and metrics (``<analysis>.<metric>``) of every analysis, and its words."""
    for name, findings in found.items():
        record_finding(record, name, findings)
    parts = []
    for name, findings in found.items():
        table = next(iter(findings.tables.values()))
        parts.append(f"## {name}\n\n{findings.conclusion}\n\n{to_markdown(table)}")
    text = "\n\n".join(parts) + "\n"
    record.log_text(text, "tables/results.md")
    conclusion = " ".join(findings.conclusion for findings in found.values())
    record.set_tags({"mlflow.note.content": text, "conclusion": conclusion})


def record_finding(record: MlflowRun, name: str, findings: Findings, *, step: int = 0) -> None:
    """Tables, figures and metrics (``<analysis>.<metric>``) of one analysis."""
    for title, table in findings.tables.items():
        record.log_table(table, title)
    for title, figure in findings.figures.items():
        record.log_figure(figure, title)
    finite = {
        f"{name}.{key}": float(value)
        for key, value in findings.metrics.items()
        if np.isfinite(value)
    }
    record.log_metrics(finite, step=step)


def show_findings(record: MlflowRun, found: Mapping[str, Findings]) -> None:
    """Print the first table of every analysis, its conclusion, and where the run is."""
    console = stdout()
    for name, findings in found.items():
        rows = next(iter(findings.tables.values())).head(ROWS_SHOWN)
        print_table(console, name, rows, cell=_cell)
        console.print(f"{findings.conclusion}\n", highlight=False)
    print_run(console, record)
    console.print("plots       in the run's artifacts: plots/", highlight=False)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
