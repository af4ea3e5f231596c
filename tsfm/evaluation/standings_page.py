"""The leaderboard as one HTML page without scripts: opens from a file, prints, survives mail."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsfm.evaluation.results import ERROR
from tsfm.evaluation.standings import Standings
from tsfm.evaluation.standings_text import leakage, size

if TYPE_CHECKING:
    from jinja2 import Environment

WIDTH = 260
"""Of the drawing of skills, in pixels."""


def standings_page(found: Standings, results: pd.DataFrame) -> str:
    """One page: conclusion, leaderboard with intervals, win matrix, tasks, failures.

    Parameters
    ----------
    results
        That the standings were made from; its errors are shown beside the relative ones.
    """
    table = found.table
    span = _span(table)
    rows = [
        {
            "row": row,
            "bar": _bar(row, span),
            "leakage": told,
            "size": size(row.parameters),
        }
        for row, told in zip(table.itertuples(), leakage(table), strict=True)
    ]
    wins = found.matrix("win_rate")
    skills = found.matrix("skill")
    reasons = found.failures.set_index(["task", "model"])["reason"].to_dict()
    errors = results.pivot_table(
        index="task", columns="model", values=f"{ERROR}{found.metric}", dropna=False
    )
    return (
        _environment()
        .get_template("standings.html.jinja")
        .render(
            found=found,
            rows=rows,
            has_exact="crps_exact" in table,
            models=table["model"].tolist(),
            zero=_position(0.0, span),
            width=WIDTH,
            wins=wins,
            skills=skills,
            tasks=[_task(name, found, errors, reasons) for name in found.relative.index],
            suites=sorted(filter(None, results["suite"].dropna().unique())),
        )
    )


def shade(share: float, middle: float = 0.5) -> str:
    """Blue above the middle, orange below, white at it."""
    strength = min(abs(share - middle) / max(middle, 1e-9), 1.0)
    red, green, blue = (37, 99, 168) if share > middle else (199, 138, 44)
    return f"rgba({red}, {green}, {blue}, {0.55 * strength:.2f})"


def _task(
    name: str, found: Standings, errors: pd.DataFrame, reasons: dict[Any, str]
) -> dict[str, Any]:
    relative: Any = found.relative.loc[name]
    cells = [
        {
            "relative": relative[model],
            "error": errors.loc[name, model] if model in errors else np.nan,
            "reason": reasons.get((name, model), ""),
            "best": bool(relative[model] == relative.min()),
            "shade": shade(1 - min(float(relative[model]), 2.0) / 2),
        }
        for model in found.relative.columns
    ]
    return {"name": name, "cells": cells}


def _span(table: pd.DataFrame) -> tuple[float, float]:
    """Of skills drawn; models far below the baseline are cut off at −100 %."""
    low = max(min(float(table["skill_low"].min()), 0.0), -1.0)
    high = max(float(table["skill_high"].max()), 0.0)
    pad = 0.05 * max(high - low, 0.1)
    return low - pad, high + pad


def _position(value: float, span: tuple[float, float]) -> float:
    share = (np.clip(value, *span) - span[0]) / (span[1] - span[0])
    return round(float(share) * WIDTH, 1)


def _bar(row: Any, span: tuple[float, float]) -> dict[str, float]:
    low, high = _position(row.skill_low, span), _position(row.skill_high, span)
    return {"low": low, "width": max(high - low, 1.0), "at": _position(row.skill, span)}


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tsfm.evaluation"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["percent"] = lambda share, form="+.1%": f"{share:{form}}"
    environment.filters["short"] = lambda value: "–" if pd.isna(value) else f"{value:.3g}"
    environment.globals["shade"] = shade
    return environment
