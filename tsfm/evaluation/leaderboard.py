"""Tables from scores: the leaderboard, and one model against every baseline."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tsfm.errors import ConfigError, one_of
from tsfm.evaluation.bootstrap import interval
from tsfm.evaluation.metric_names import target_coverage
from tsfm.evaluation.metrics import HIGHER_IS_BETTER, LOSSES, finish
from tsfm.evaluation.pairing import OTHER, groups, paired, resampled_ratios, sums


def leaderboard(
    scores: pd.DataFrame, *, confidence: float = 0.95, replicates: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Aggregate scores over windows.

    Parameters
    ----------
    scores
        Of any number of forecasters and tasks, from :func:`tsfm.evaluation.metrics.score`.

    Returns
    -------
    pd.DataFrame
        One row per ``task, variate, metric, model`` with ``value``, the interval ``low, high``,
        the number of ``windows`` and of independent ``clusters``; best model first.
    """
    _check(scores)
    rows = []
    for keys, cells in groups(scores, ["task", "variate", "metric"]):
        metric = keys["metric"]
        for model, cell in cells.groupby("model", observed=True, sort=False):
            values, clusters = resampled_ratios(cell, [sums(cell)], replicates, seed)
            low, high = interval(finish(metric, values[0]), clusters, confidence)
            total = cell["numerator"].sum() / cell["denominator"].sum()
            rows.append(
                keys
                | {
                    "model": str(model),
                    "value": float(finish(metric, total)),
                    "low": low,
                    "high": high,
                    "windows": len(cell),
                    "clusters": clusters,
                }
            )
    table = pd.DataFrame(rows)
    aim = table["metric"].map(target_coverage).astype(float)
    rank = table["value"].where(aim.isna(), (table["value"] - aim).abs())
    rank = rank.where(~table["metric"].isin(HIGHER_IS_BETTER), -rank)
    order = ["task", "variate", "metric"]
    return (
        table.assign(_rank=rank)
        .sort_values([*order, "_rank"], kind="stable")
        .drop(columns="_rank")
        .reset_index(drop=True)
    )


def compare(
    scores: pd.DataFrame,
    model: str,
    metric: str = "crps",
    *,
    confidence: float = 0.95,
    replicates: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """One model beside each other forecaster, paired on the bars that both forecast.

    Returns
    -------
    pd.DataFrame
        One row per ``task, variate, baseline``: ``value`` and ``baseline_value`` of the metric,
        ``skill = 1 − value / baseline_value`` (of a metric that is better the higher it is,
        ``value / baseline_value − 1``) with its paired interval ``low, high``, ``verdict``
        (``win`` when the interval lies above zero, ``loss`` when below, else ``tie``; ``undecided``
        where too few independent clusters give no interval),
        ``is_best_baseline`` (best beside the model on the same bars), ``windows`` and
        ``clusters``.

    Raises
    ------
    ConfigError
        When the model has no scores, or the metric is neither a loss nor better when higher.
    """
    _check(scores)
    one_of("metric", metric, (*LOSSES, *HIGHER_IS_BETTER))
    one_of("model", model, [str(name) for name in scores["model"].unique()])
    rows = []
    chosen = scores[scores["metric"] == metric]
    for keys, cells in groups(chosen, ["task", "variate"]):
        of = {str(name): cell for name, cell in cells.groupby("model", observed=True, sort=False)}
        for baseline in [name for name in of if name != model and model in of]:
            row = _pair(of[model], of[baseline], metric, confidence, replicates, seed)
            if row:
                rows.append(keys | {"model": model, "baseline": baseline, "metric": metric} | row)
    table = pd.DataFrame(rows, columns=_COMPARISON)
    relative = table["baseline_value"] / table["value"].where(table["value"] > 0, 1.0)
    best = relative.groupby([table["task"], table["variate"]], sort=False).transform(
        "max" if metric in HIGHER_IS_BETTER else "min"
    )
    table["is_best_baseline"] = relative == best
    return table


_COMPARISON = [
    "task",
    "variate",
    "model",
    "baseline",
    "metric",
    "value",
    "baseline_value",
    "skill",
    "low",
    "high",
    "verdict",
    "windows",
    "clusters",
]
_VERDICT = ["skill", "low", "high", "verdict"]


def pivot(table: pd.DataFrame, metric: str = "crps", with_interval: bool = False) -> pd.DataFrame:
    """One metric as people read it: a row per task and variate, a column per model."""
    part = table[table["metric"] == metric].copy()
    if part.empty:
        raise ConfigError(f"the leaderboard has no metric {metric!r}")
    part["cell"] = [_number(value) for value in part["value"]]
    if with_interval:
        part["cell"] += [
            f" ({_number(a)} – {_number(b)})" for a, b in zip(part["low"], part["high"])
        ]
    return _wide(part, "model")


def verdicts(comparison: pd.DataFrame) -> pd.DataFrame:
    """A comparison as people read it: skill, interval and verdict against every baseline."""
    cells = [
        f"{skill_text(skill, low, high)} {verdict}"
        for skill, low, high, verdict in comparison[_VERDICT].to_numpy()
    ]
    return _wide(comparison.assign(cell=cells), "baseline")


def skill_text(skill: float, low: float, high: float) -> str:
    """A skill with its interval, where it has one."""
    return f"{skill:+.1%}" + ("" if np.isnan(low) else f" ({low:+.1%} … {high:+.1%})")


def to_markdown(table: pd.DataFrame) -> str:
    """A table as GitHub markdown."""
    flat = table.reset_index() if table.index.names[0] is not None else table
    header = [str(name) for name in flat.columns]
    lines = [header, ["---"] * len(header)]
    lines += [[_number(cell) for cell in row] for row in flat.itertuples(index=False)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def to_html(table: pd.DataFrame) -> str:
    """A table as an HTML fragment."""
    flat = table.reset_index() if table.index.names[0] is not None else table
    return flat.to_html(index=False, border=0, float_format=_number, classes="leaderboard")


def _wide(table: pd.DataFrame, columns: str) -> pd.DataFrame:
    """Rows and columns in the order that the table has them."""
    cells = table.set_index(["task", "variate", columns])["cell"].unstack(columns)  # noqa: PD010
    rows = table.set_index(["task", "variate"]).index.unique()
    return cells.loc[rows, list(dict.fromkeys(table[columns]))].fillna("–")


def _pair(
    ours: pd.DataFrame,
    theirs: pd.DataFrame,
    metric: str,
    confidence: float,
    replicates: int,
    seed: int,
) -> dict[str, object]:
    joined = paired(ours, theirs)
    if joined.empty:
        return {}
    both = [sums(joined), sums(joined, OTHER)]
    values, clusters = resampled_ratios(joined, both, replicates, seed)
    mine, other = (float(finish(metric, top.sum() / bottom.sum())) for top, bottom in both)
    resampled = finish(metric, values)
    sign = 1 if metric in HIGHER_IS_BETTER else -1
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = interval(sign * (resampled[0] / resampled[1] - 1), clusters, confidence)
    return {
        "value": mine,
        "baseline_value": other,
        "skill": sign * (mine / other - 1) if other > 0 else float("nan"),
        "low": low,
        "high": high,
        "verdict": _verdict(low, high),
        "windows": len(joined),
        "clusters": clusters,
    }


def _verdict(low: float, high: float) -> str:
    if np.isnan(low):
        return "undecided"
    return "win" if low > 0 else "loss" if high < 0 else "tie"


def _check(scores: pd.DataFrame) -> None:
    if scores.empty:
        raise ConfigError("there are no scores", remedy="score at least one backtest")


def _number(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "–" if np.isnan(value) else f"{value:.4g}"
    return str(value)
