"""Standings in words: the leaderboard as people read it, and as Markdown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tsfm.evaluation.leaderboard import to_markdown
from tsfm.evaluation.standings import Standings


def standings_markdown(found: Standings) -> str:
    """The conclusion, the leaderboard, the win matrix and the failures, as GitHub Markdown."""
    parts = [
        f"# Leaderboard by {found.metric}\n\n{found.conclusion}",
        to_markdown(readable(found)),
        "## Share of tasks that the row's model wins against the column's",
        to_markdown(_shares(found.matrix())),
        f"## Error over {found.baseline}'s",
        to_markdown(found.relative.round(3).reset_index()),
    ]
    if len(found.failures):
        parts += ["## Failures (counted as the baseline)", to_markdown(found.failures)]
    return "\n\n".join(parts) + "\n"


def readable(found: Standings) -> pd.DataFrame:
    """The leaderboard as people read it: percentages with intervals, words for leakage."""
    table = found.table
    exact = {}
    if "crps_exact" in table:
        exact["exact CRPS"] = [_ratio(value) for value in table["crps_exact"]]
    return pd.DataFrame(
        {
            "rank": np.arange(1, len(table) + 1),
            "model": table["model"],
            "win rate (95 %)": _percentages(table, "win_rate", ".0%"),
            "skill (95 %)": _percentages(table, "skill", "+.1%"),
            "mean rank": table["mean_rank"].map("{:.1f}".format),
            **exact,
            "leakage": leakage(table),
            "failures": table["failures"],
            "s per task": table["seconds"].map("{:.3g}".format),
            "parameters": [size(count) for count in table["parameters"]],
        }
    )


def leakage(table: pd.DataFrame) -> list[str]:
    """Whether each model has seen test data: ``no``, ``3 of 20 tasks``, ``unknown`` …"""
    words = []
    columns = ["tasks", "unknown", "trained_on"]
    for tasks, unknown, share in table[columns].to_numpy(np.float64):
        known = int(tasks - unknown)
        seen = round(float(np.nan_to_num(share)) * known)
        told = f"{seen} of {known} tasks" if seen else "no" if known else "unknown"
        words.append(told + (f", {unknown:.0f} unknown" if unknown and known else ""))
    return words


def size(parameters: Any) -> str:
    """``805 k``, ``13.8 M``; a dash where it is not known."""
    if pd.isna(parameters):
        return "–"
    count = float(parameters)
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count:.0f}"


def _ratio(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


def _percentages(table: pd.DataFrame, column: str, form: str) -> list[str]:
    rows = table[[column, f"{column}_low", f"{column}_high"]].to_numpy(float)
    return [f"{value:{form}} ({low:{form}} … {high:{form}})" for value, low, high in rows]


def _shares(matrix: pd.DataFrame) -> pd.DataFrame:
    shown = matrix.map("{:.0%}".format)
    for name in shown.index:
        shown.loc[name, name] = "·"
    return shown.rename_axis(columns=None).reset_index()
