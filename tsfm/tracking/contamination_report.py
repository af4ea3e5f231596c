"""What an audit leaves in its run, and what it prints."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from tsfm.evaluation.contamination import VERDICTS
from tsfm.evaluation.leaderboard import to_markdown
from tsfm.tracking.console import print_run, print_table, stdout

if TYPE_CHECKING:
    from tsfm.evaluation.contamination import Audit
    from tsfm.tracking.runs import MlflowRun

FOLDER = "contamination"
MOST_SHOWN = 40
NOTES = """Answers are the bars that windows forecast; context the bars that they only look at.
`content`: the same values in a block of 64 bars, at any offset, name or date; rescaled, resampled
or noisy copies are not found. `dates`: the same item at the same time, with other values or too few
for a block. `declared`: its publisher says so. `unknown`: no `provenance.json`."""


def record_audit(record: MlflowRun, found: Audit) -> None:
    """Both tables as CSV, and all of it as Markdown, under ``contamination/``."""
    parts = ["# Contamination audit", found.conclusion, NOTES, to_markdown(verdicts(found))]
    if len(found.overlaps):
        parts += ["## Overlaps", to_markdown(overlaps(found))]
    with tempfile.TemporaryDirectory() as folder:
        found.overlaps.to_csv(Path(folder) / "overlaps.csv", index=False)
        found.verdicts.to_csv(Path(folder) / "verdicts.csv", index=False)
        (Path(folder) / "audit.md").write_text("\n\n".join(parts) + "\n", "utf-8")
        record.log_file(Path(folder), FOLDER)
    counts = found.verdicts["verdict"].value_counts()
    record.log_metrics(
        {f"cells.{verdict}": float(counts.get(verdict, 0)) for verdict in VERDICTS}, step=0
    )
    note = f"{found.conclusion}\n\n{to_markdown(verdicts(found))}"
    record.set_tags({"mlflow.note.content": note, "conclusion": found.conclusion})


def show_audit(record: MlflowRun, found: Audit) -> None:
    """Print verdicts, overlaps and where the run is."""
    console = stdout(200)
    print_table(console, "Trained on what is asked?", verdicts(found), overflow="fold")
    if len(found.overlaps):
        shown = overlaps(found)
        print_table(console, "Overlaps", shown.head(MOST_SHOWN), overflow="fold")
        if len(shown) > MOST_SHOWN:
            rest = len(shown) - MOST_SHOWN
            console.print(f"… and {rest} more in {FOLDER}/overlaps.csv\n", highlight=False)
    console.print(f"{found.conclusion}\n", highlight=False, markup=False)
    print_run(console, record)


def verdicts(found: Audit) -> pd.DataFrame:
    """As people read them."""
    table = found.verdicts
    return pd.DataFrame(
        {
            "model": table["model"],
            "task": table["task"],
            "verdict": table["verdict"],
            "answers seen": [
                "–" if pd.isna(total) else f"{seen} of {total} ({share:.1%})"
                for seen, total, share in zip(
                    table["answers_seen"], table["answers"], table["share"], strict=True
                )
            ],
            "context seen": ["–" if pd.isna(bars) else str(bars) for bars in table["context_seen"]],
            "why": table["why"],
        }
    )


def overlaps(found: Audit) -> pd.DataFrame:
    """As people read them, answers first."""
    table = found.overlaps.sort_values(["model", "task", "part"], kind="stable")
    when = [
        f"{first} … {last}" if first else "" if pd.isna(start) else f"bars {start} … {stop - 1}"
        for first, last, start, stop in zip(
            table["first"], table["last"], table["start"], table["stop"], strict=True
        )
    ]
    return pd.DataFrame(
        {
            "model": table["model"],
            "task": table["task"],
            "part": table["part"],
            "evidence": table["evidence"],
            "item": table["item_id"],
            "time": when,
            "share": ["" if pd.isna(share) else f"{share:.2%}" for share in table["share"]],
            "trained on": table["trained_on"],
            "through": table["through"],
        }
    ).reset_index(drop=True)
