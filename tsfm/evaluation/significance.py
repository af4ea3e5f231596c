"""Whether one forecaster is better than another, or could as well be luck.

Two tests that fail differently are made of every pair on every task: a paired bootstrap over time
blocks and clusters (patient, system family, symbol) of the ratio of errors, and Diebold & Mariano's
of the difference of losses. Both are corrected for the number of comparisons in the table (Holm
1979), and a difference is called real where both say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from tsfm.errors import ConfigError, one_of
from tsfm.evaluation.bootstrap import interval, p_value
from tsfm.evaluation.diebold_mariano import of_windows
from tsfm.evaluation.metrics import HIGHER_IS_BETTER, LOSSES, finish
from tsfm.evaluation.pairing import OTHER, groups, paired, resampled_ratios, sums

NAMED = 3
"""Questions that are named of a pair; the table has them all."""

COLUMNS = (
    "task",
    "variate",
    "model",
    "other",
    "metric",
    "skill",
    "low",
    "high",
    "p_bootstrap",
    "p_dm",
    "dm",
    "windows",
    "clusters",
    "dm_units",
    "dm_lags",
)


def significance(
    scores: pd.DataFrame,
    metric: str = "crps",
    *,
    model: str | None = None,
    families: Mapping[str, str] | None = None,
    confidence: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Test all pairs of models, or one model against all others, on every task and variate.

    Parameters
    ----------
    scores
        Of several models, from :func:`tsfm.evaluation.metrics.score`.
    model
        Only pairs with this model, which then comes first.
    families
        What an item belongs to (patient, system family, symbol), by ``item_id``; by default itself.

    Returns
    -------
    pd.DataFrame
        One row per task, variate and pair: ``skill`` of ``model`` over ``other`` with its
        bootstrap interval, both p-values raw and corrected (``holm_bootstrap``, ``holm_dm``), and
        the ``verdict``: ``better`` or ``worse`` where both corrected tests say so at
        ``1 - confidence``, ``likely better`` or ``likely worse`` where one does and the other has
        the same sign, ``undecided`` where too few independent units leave no test, else ``alike``.

    Raises
    ------
    ConfigError
        When the metric is neither a loss nor better when higher, a model is unknown or there are
        fewer than two.
    """
    one_of("metric", metric, (*LOSSES, *HIGHER_IS_BETTER))
    names = [str(name) for name in scores["model"].unique()] if len(scores) else []
    if len(names) < 2:
        raise ConfigError(
            f"there are scores of {len(names)} models", remedy="give those of at least two"
        )
    if model is not None:
        one_of("model", model, names)
    rows = []
    for keys, cells in groups(scores[scores["metric"] == metric], ["task", "variate"]):
        of = {str(name): cell for name, cell in cells.groupby("model", observed=True, sort=False)}
        for one, other in _pairs(list(of), model):
            joined = paired(of[one], of[other])
            if len(joined):
                found = _test(joined, metric, families, confidence, replicates, seed)
                rows.append(keys | {"model": one, "other": other, "metric": metric} | found)
    return _corrected(pd.DataFrame(rows, columns=list(COLUMNS)), 1 - confidence)


def holm(p_values: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """P-values corrected for their number (Holm 1979); NaN are no tests and stay NaN."""
    values = np.asarray(p_values, dtype=np.float64)
    corrected = np.full_like(values, np.nan)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    scaled = values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected


def in_words(table: pd.DataFrame) -> str:
    """The table's conclusion: what is better than what, and how much was tested.

    Of each pair the :data:`NAMED` largest leads are named.
    """
    decided = table[table["verdict"] != "undecided"]
    real = decided[decided["verdict"].isin(("better", "worse"))]
    metric = ", ".join(table["metric"].unique())
    said = [
        f"By {metric}, {len(real)} of {len(table)} comparisons differ by more than luck after "
        "Holm's correction, by the bootstrap over clusters and by Diebold–Mariano alike."
    ]
    said += [f"{pair}." for pair in _told(real)]
    likely = _told(decided[decided["verdict"].str.startswith("likely")])
    if likely:
        said.append(f"Likely, by one of the tests only: {'; '.join(likely)}.")
    alike = int((decided["verdict"] == "alike").sum())
    if alike:
        said.append(f"{alike} could as well be luck.")
    undecided = len(table) - len(decided)
    if undecided:
        said.append(f"{undecided} have too few independent units to tell.")
    return " ".join(said)


def _pairs(names: Sequence[str], model: str | None) -> list[tuple[str, str]]:
    if model is None:
        return list(combinations(names, 2))
    return [(model, name) for name in names if name != model and model in names]


def _test(
    joined: pd.DataFrame,
    metric: str,
    families: Mapping[str, str] | None,
    confidence: float,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    both = [sums(joined), sums(joined, OTHER)]
    values, clusters = resampled_ratios(joined, both, replicates, seed, families)
    resampled = finish(metric, values)
    mine, other = (float(finish(metric, top.sum() / bottom.sum())) for top, bottom in both)
    sign = 1 if metric in HIGHER_IS_BETTER else -1
    with np.errstate(invalid="ignore", divide="ignore"):
        skills = sign * (resampled[0] / resampled[1] - 1)
    low, high = interval(skills, clusters, confidence)
    items = joined["item_id"].astype(str)
    labels = items if families is None else items.map(families).fillna(items)
    tested = of_windows(joined, labels.to_numpy())
    return {
        "skill": sign * (mine / other - 1) if other > 0 else float("nan"),
        "low": low,
        "high": high,
        "p_bootstrap": p_value(skills, clusters),
        "dm": -sign * tested.statistic,
        "p_dm": tested.p_value,
        "windows": len(joined),
        "clusters": clusters,
        "dm_units": tested.units,
        "dm_lags": tested.lags,
    }


def _corrected(table: pd.DataFrame, level: float) -> pd.DataFrame:
    table["holm_bootstrap"] = holm(table["p_bootstrap"].to_numpy(np.float64))
    table["holm_dm"] = holm(table["p_dm"].to_numpy(np.float64))
    tests = table[["holm_bootstrap", "holm_dm"]]
    passed = (tests <= level).sum(axis=1)
    better = table["skill"] > 0
    agree = np.sign(table["skill"]) == np.sign(-table["dm"])
    table["verdict"] = np.select(
        [
            tests.isna().all(axis=1),
            (passed == 2) & agree,
            (passed >= 1) & agree,
        ],
        [
            "undecided",
            np.where(better, "better", "worse"),
            np.where(better, "likely better", "likely worse"),
        ],
        default="alike",
    )
    return table


def _told(rows: pd.DataFrame) -> list[str]:
    """``a is better than b (+12.0% on ohlcv, +8.0% on glucose)``, a text per pair."""
    return [
        f"{winner} is better than {other} ({_questions(cells)})"
        for (winner, other), cells in _oriented(rows).groupby(["model", "other"], sort=False)
    ]


def _questions(cells: pd.DataFrame) -> str:
    """Where the lead is largest, and on how many others there is one."""
    named = [f"{row.skill:+.1%} on {row.where}" for row in cells.head(NAMED).itertuples()]
    left = len(cells) - len(named)
    return ", ".join(named) + (f" and {left} more" if left else "")


def _oriented(rows: pd.DataFrame) -> pd.DataFrame:
    """The better one first; its skill is over the other's error."""
    worse = rows["verdict"].str.endswith("worse")
    ratio = np.where(rows["metric"].isin(HIGHER_IS_BETTER), 1 + rows["skill"], 1 - rows["skill"])
    sign = np.where(rows["metric"].isin(HIGHER_IS_BETTER), 1, -1)
    turned = rows.assign(
        model=np.where(worse, rows["other"], rows["model"]),
        other=np.where(worse, rows["model"], rows["other"]),
        skill=np.where(worse, sign * (1 / ratio - 1), rows["skill"]),
    )
    one = rows.groupby("task")["variate"].nunique().max() == 1 if len(rows) else True
    return turned.assign(
        where=rows["task"] if one else rows["task"] + "/" + rows["variate"]
    ).sort_values(["model", "skill"], ascending=[True, False], kind="stable")
