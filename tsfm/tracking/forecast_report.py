"""What a forecast of a user's own series leaves in its run and on disk, and what it prints."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from rich.box import SIMPLE
from rich.table import Table

from tsfm.errors import DataError
from tsfm.evaluation.leaderboard import skill_text
from tsfm.evaluation.outlook_plot import outlook_chart, past_frame
from tsfm.tracking.console import stdout

if TYPE_CHECKING:
    from tsfm.data.panel import Panel
    from tsfm.data.preparation import Preparation
    from tsfm.evaluation.judge import Verdict
    from tsfm.tracking.chosen_model import ChosenModel
    from tsfm.tracking.runs import MlflowRun

METRICS = ("crps", "mase", "coverage_80")
LEAST_PAST = 96


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What was forecast, in the user's units, and how well that went before.

    Attributes
    ----------
    frame
        Long: ``item_id, step, timestamp, variate, mean, q0.1 …``.
    verdict
        On the last windows; None where they were not compared.
    notices
        What the user should know, in sentences.
    """

    frame: pd.DataFrame
    verdict: Verdict | None
    notices: tuple[str, ...]


def write_table(frame: pd.DataFrame, path: Path) -> Path:
    """Write CSV or Parquet by the file's suffix, all of it or nothing.

    Raises
    ------
    DataError
        When the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".parquet":
            frame.to_parquet(temporary, index=False)
        else:
            frame.to_csv(temporary, index=False)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise DataError(
            f"the forecasts cannot be written: {error.strerror}",
            where=str(path),
            remedy="give out= in a folder that can be written to",
        ) from error
    return path


def draw(
    panel: Panel,
    frame: pd.DataFrame,
    preparation: Preparation | None,
    folder: Path,
    *,
    most: int,
    title: str,
) -> list[Path]:
    """A PNG file for each of the first series: its past and the fan of its forecast."""
    paths: list[Path] = []
    if most:
        folder.mkdir(parents=True, exist_ok=True)
    for item, item_id in enumerate(panel.item_ids[:most]):
        ahead = frame[frame["item_id"] == item_id]
        if ahead.empty:
            continue
        bars = max(LEAST_PAST, 3 * int(ahead["step"].max()))
        past = past_frame(panel, item, bars, preparation)
        figure = outlook_chart(past, ahead, title=f"{item_id}: {title}")
        name = re.sub(r"[^\w\-.]", "_", item_id, flags=re.ASCII)[:80]
        paths.append(folder / f"{item:03d}_{name}.png")
        figure.savefig(paths[-1])
    return paths


def comparison_table(verdict: Verdict) -> pd.DataFrame:
    """Every forecaster on every target: CRPS, MASE, coverage of the central 80 % and windows."""
    board = verdict.leaderboard
    wide = board[board["metric"].isin(METRICS)].pivot_table(
        index=["variate", "model"], columns="metric", values="value", sort=False, observed=True
    )
    windows = board[board["metric"] == METRICS[0]].set_index(["variate", "model"])["windows"]
    table = wide.reindex(columns=list(METRICS)).assign(windows=windows).reset_index()
    place = {name: k for k, name in enumerate(dict.fromkeys(verdict.comparison["variate"]))}
    table = table.sort_values(
        ["variate", METRICS[0]], key=lambda c: c.map(place) if c.name == "variate" else c
    ).reset_index(drop=True)
    return table.rename(columns={"variate": "target", "model": "forecaster"})


def conclusions(verdict: Verdict) -> list[str]:
    """In a sentence for each target: whether a baseline is better."""
    told = []
    best = verdict.comparison[verdict.comparison["is_best_baseline"]]
    for row in best.to_dict("records"):
        baseline, target = row["baseline"], row["variate"]
        figures = f"CRPS {row['value']:.4g}, {baseline} {row['baseline_value']:.4g}"
        skill = skill_text(row["skill"], row["low"], row["high"])
        if row["skill"] < 0:
            how = "is clearly better" if row["verdict"] == "loss" else "was better here"
            told.append(f"{target}: a baseline, {baseline}, {how} ({figures}: {skill})")
        else:
            how = "clearly better" if row["verdict"] == "win" else "better here"
            told.append(f"{target}: {how} than every baseline ({figures}: {skill})")
    return told


def record_outlook(
    record: MlflowRun, outlook: Outlook, table: Path, pictures: Sequence[Path]
) -> None:
    """Forecasts, pictures, the comparison and its words."""
    record.log_file(table, "forecasts")
    for picture in pictures:
        record.log_file(picture, "plots/outlook")
    record.log_metrics({"forecasts": float(len(outlook.frame))}, step=0)
    lines = list(outlook.notices)
    if outlook.verdict is not None:
        compared = comparison_table(outlook.verdict)
        record.log_table(compared, "recent_windows")
        record.log_metrics(
            {
                f"{metric}.{row['target']}.{row['forecaster']}": float(row[metric])
                for row in compared.to_dict("records")
                for metric in METRICS
            },
            step=0,
        )
        lines += conclusions(outlook.verdict)
    record.set_tags({"conclusion": "; ".join(lines) or "none"})


def link_model(record: MlflowRun, chosen: ChosenModel) -> None:
    """The model as an input of the run."""
    tags = {"tsfm.model": chosen.uri}
    if chosen.model_id is not None:
        from mlflow.entities import LoggedModelInput

        record.client.log_inputs(record.run_id, models=[LoggedModelInput(chosen.model_id)])
        tags["tsfm.model_id"] = chosen.model_id
    record.set_tags(tags)


def show_outlook(
    record: MlflowRun, outlook: Outlook, table: Path, pictures: Sequence[Path], model: str
) -> None:
    """Print the comparison, what it says, and where everything is."""
    console = stdout(highlight=False)
    if outlook.verdict is not None:
        rows = comparison_table(outlook.verdict)
        shown = Table(title=f"the last windows of your series: {model} and baselines", box=SIMPLE)
        for column in rows.columns:
            shown.add_column(
                str(column), justify="left" if rows[column].dtype == object else "right"
            )
        repeated = rows["target"].duplicated()
        for row, again in zip(rows.to_numpy(object), repeated, strict=True):
            cells = [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row]
            shown.add_row("" if again else cells[0], *cells[1:])
        console.print(shown)
        for line in conclusions(outlook.verdict):
            console.print(line, soft_wrap=True, markup=False)
        console.print()
    for notice in outlook.notices:
        console.print(f"note        {notice}", soft_wrap=True, markup=False)
    frame = outlook.frame
    items, steps = frame["item_id"].nunique(), int(frame["step"].max())
    told = {
        "forecasts": f"{table}  ({items} series × {steps} bars)",
        "plots": f"{pictures[0].parent}/  ({len(pictures)} PNG)" if pictures else "none",
        "model": model,
        "run": f"{record.name}  {record.run_id}",
        "see it": record.url(),
    }
    for name, value in told.items():
        console.print(f"{name:<11} {value}", soft_wrap=True, markup=False)
