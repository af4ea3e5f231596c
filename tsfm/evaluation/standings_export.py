"""Standings as files: CSV, Markdown, an HTML page; results as fev and GIFT-Eval read them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tsfm.evaluation.gift import GIFT_COLUMNS, GIFT_METRICS, PREFIX
from tsfm.evaluation.results import ERROR, save_results
from tsfm.evaluation.standings import Standings, fev_summaries
from tsfm.evaluation.standings_page import standings_page
from tsfm.evaluation.standings_text import standings_markdown


def write_standings(found: Standings, results: pd.DataFrame, folder: str | Path) -> dict[str, Path]:
    """Write everything that a reader or another leaderboard wants, each file whole or not at all.

    Returns
    -------
    dict
        Paths: ``standings.csv``, ``pairs.csv``, ``relative.csv``, ``standings.md``,
        ``standings.html``, ``results.parquet``, ``gift_eval.csv`` (its fifteen columns) and
        ``fev.csv`` (fev's evaluation summaries).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    texts: dict[str, Callable[[], str]] = {
        "standings.csv": lambda: _csv(found.table),
        "pairs.csv": lambda: _csv(found.pairs),
        "relative.csv": lambda: _csv(found.relative.reset_index()),
        "standings.md": lambda: standings_markdown(found),
        "standings.html": lambda: standings_page(found, results),
        "gift_eval.csv": lambda: _csv(gift_table(results)),
        "fev.csv": lambda: _csv(fev_summaries(results, found.metric)),
    }
    written = {name: _write(folder / name, make()) for name, make in texts.items()}
    return written | {"results.parquet": save_results(results, folder / "results.parquet")}


def gift_table(results: pd.DataFrame) -> pd.DataFrame:
    """Results in GIFT-Eval's fifteen columns, so that they can stand beside published ones.

    ``dataset`` is ``<dataset>/<freq>/<task>`` unless the results' dataset has three parts already.
    Failures have empty cells.
    """
    named = results["dataset"].where(results["dataset"] != "", results["task"])
    full = named + "/" + results["freq"] + "/" + results["task"]
    columns: dict[str, Any] = {
        "dataset": named.where(named.str.count("/") == 2, full),
        "model": results["model"],
        "domain": results["domain"],
        "num_variates": results["variates"],
    }
    for name in GIFT_METRICS:
        columns[f"{PREFIX}{name}"] = results.get(f"{ERROR}{PREFIX}{name}", np.nan)
    return pd.DataFrame(columns)[list(GIFT_COLUMNS)]


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False)


def _write(path: Path, text: str) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    return path
