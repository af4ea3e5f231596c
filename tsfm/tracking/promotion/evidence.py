"""What a candidate showed against the champion on frozen windows, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from tsfm.errors import DataError, one_of
from tsfm.evaluation.bootstrap import LEAST_CLUSTERS, bootstrap_ratios, interval
from tsfm.evaluation.metrics import LOSSES, SCORE_COLUMNS, finish
from tsfm.evaluation.pairing import OTHER, WINDOW
from tsfm.evaluation.pairing import paired as side_by_side

POWER = 0.8
CLIP = (1e-2, 1e2)
"""Of a ratio of losses, as fev and GIFT-Eval have it."""

_CELL = ["task", "variate"]
_WINDOW = [*_CELL, *WINDOW]
_SUMS = {
    "numerator": "top_a",
    "denominator": "bottom_a",
    f"numerator{OTHER}": "top_b",
    f"denominator{OTHER}": "bottom_b",
}


@dataclass(frozen=True, kw_only=True)
class SuiteEvidence:
    """What candidate and rival answered to the task suites that a policy names.

    Attributes
    ----------
    scores
        Of both, by the rule's metric alone; None where they have no task in common.
    problems
        Tasks that the candidate could not answer, or had been trained on.
    left_out
        Tasks that the rival could not answer.
    families
        Cluster of an item, where a suite names one.
    """

    scores: pd.DataFrame | None
    problems: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    families: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that rules judge by.

    Attributes
    ----------
    candidate, rival
        Names of the two in ``scores``.
    scores
        Rows of :func:`tsfm.evaluation.metrics.score` of both, and of other baselines, on the same
        frozen tasks.
    problems
        What was wrong with the candidate's answers: errors, NaN, quantiles that cross.
    leaks
        By task: what of its scored bars the candidate or its base models saw in training.
    unknown_provenance
        Whether nobody can tell what the candidate or a base model of it was trained on.
    unknown_bases
        Such base models.
    milliseconds
        Wall time of the candidate's forecasts, per series.
    megabytes
        Size of its files.
    reload_difference
        Largest difference between forecasts of the model and of the model loaded again, relative
        to the size of the forecasts; NaN where it could not be loaded again.
    reload_problem
        Why it could not.
    looks
        Into the vault so far, this one included.
    suites
        Of the policy's rule ``suite``.
    """

    candidate: str
    rival: str
    scores: pd.DataFrame
    problems: tuple[str, ...] = ()
    leaks: Mapping[str, str] = field(default_factory=dict)
    unknown_provenance: bool = False
    unknown_bases: tuple[str, ...] = ()
    milliseconds: float = 0.0
    megabytes: float = 0.0
    reload_difference: float = 0.0
    reload_problem: str = ""
    looks: int = 1
    suites: SuiteEvidence | None = None

    def __post_init__(self) -> None:
        missing = [name for name in SCORE_COLUMNS if name not in self.scores.columns]
        if missing:
            raise DataError(
                f"the scores have no columns {', '.join(missing)}",
                remedy="give the frame that tsfm.evaluation.metrics.score returns",
            )


@dataclass(frozen=True, kw_only=True)
class Skill:
    """One minus the geometric mean of the ratios of losses over tasks and variates.

    Attributes
    ----------
    low, high
        Of the interval; NaN where some task has too few independent clusters for one.
    detectable
        Skill that would be found with 80 % probability: the minimum detectable effect.
    clusters
        Effective number of independent units.
    weakest
        The task with the fewest of them.
    table
        By task and variate: ``skill, low, high, windows, clusters``.
    """

    value: float
    low: float
    high: float
    detectable: float
    clusters: float
    weakest: str
    table: pd.DataFrame

    def __str__(self) -> str:
        if np.isnan(self.low):
            return (
                f"{self.value:+.1%}, with no interval: task {self.weakest} has fewer than "
                f"{LEAST_CLUSTERS} independent clusters"
            )
        return (
            f"{self.value:+.1%} ({self.low:+.1%} … {self.high:+.1%}; "
            f"detectable: {self.detectable:.1%})"
        )


def skill(
    scores: pd.DataFrame,
    candidate: str,
    rival: str,
    *,
    metric: str = "crps",
    confidence: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
    families: Mapping[str, str] | None = None,
) -> Skill:
    """Paired, clustered bootstrap of a candidate's skill over a rival, over all tasks.

    Windows are paired on the bars that both forecast and resampled by cluster within each task
    (:mod:`tsfm.evaluation.bootstrap`), variates of a task together. Tasks are independent strata of
    equal weight; their effective clusters are pooled as degrees of freedom are (Satterthwaite
    1946).

    Parameters
    ----------
    families
        What an item belongs to, where that is resampled instead of the item.

    Raises
    ------
    ConfigError
        When the metric is no loss.
    DataError
        When the two have no window in common.
    """
    one_of("metric", metric, LOSSES)
    pairs = paired(scores, candidate, rival, metric)
    if pairs.empty:
        raise DataError(
            f"{candidate} and {rival} have no window in common that {metric} scores",
            remedy="ask both the same tasks",
        )
    known = families or {}
    rows, strata, sizes, names = [], [], [], []
    for number, (task, windows) in enumerate(pairs.groupby("task", sort=True)):
        points, draws, counts = [], [], []
        for variate, cell in windows.groupby("variate", sort=False):
            sums = [
                cell[f"{part}_{side}"].to_numpy() for part in ("top", "bottom") for side in "ab"
            ]
            drawn = bootstrap_ratios(
                np.stack(sums[:2]), np.stack(sums[2:]),
                items=cell["item_id"].map(lambda item: known.get(item, item)).to_numpy(),
                blocks=cell["block"].to_numpy(),
                rng=np.random.default_rng([seed, number]),
                cluster=str(cell["cluster"].iloc[0]), replicates=replicates,
            )  # fmt: skip
            totals = [s.sum() for s in sums]
            point = _log_ratio(metric, np.array(totals[:2]) / np.array(totals[2:]))
            draw = _log_ratio(metric, drawn.ratios)
            low, high = interval(1 - np.exp(draw), drawn.clusters, confidence)
            rows.append(
                {
                    "task": task, "variate": variate, "skill": 1 - np.exp(point),
                    "low": low, "high": high, "windows": len(cell), "clusters": drawn.clusters,
                }
            )  # fmt: skip
            points.append(point)
            draws.append(draw)
            counts.append(drawn.clusters)
        strata.append((np.mean(points), np.mean(draws, axis=0)))
        sizes.append(min(counts))
        names.append(str(task))
    return _pooled(pd.DataFrame(rows), strata, np.array(sizes), names, confidence)


def paired(scores: pd.DataFrame, candidate: str, rival: str, metric: str) -> pd.DataFrame:
    """Sums of both over the bars of each window that both forecast.

    Returns
    -------
    pd.DataFrame
        ``task, variate, item_id, origin, block, cluster`` and ``top_a, bottom_a`` of the candidate,
        ``top_b, bottom_b`` of the rival.
    """
    of = scores[scores["metric"] == metric].astype(dict.fromkeys(("item_id", *_TEXT), str))
    ours, theirs = (
        dict(iter(of[of["model"] == name].groupby(_CELL))) for name in (candidate, rival)
    )
    cells = [side_by_side(ours[key], theirs[key]) for key in ours if key in theirs]
    if not cells:
        return pd.DataFrame(columns=[*_WINDOW, *_SUMS.values()])
    joined = pd.concat(cells, ignore_index=True).rename(columns=_SUMS)
    joined = joined[[*_WINDOW, "block", "cluster", *_SUMS.values()]]
    return joined[(joined["bottom_a"] > 0) & (joined["bottom_b"] > 0)]


_TEXT = ("model", "task", "variate", "metric", "cluster")


def unanswered(scores: pd.DataFrame, candidate: str, rival: str) -> dict[str, int]:
    """By task: bars that the rival forecast and the candidate did not.

    Told by a metric that both have, where there is one.
    """
    counts: dict[str, int] = {}
    of = scores.astype(dict.fromkeys(("item_id", *_TEXT), str))
    of = of[of["model"].isin([candidate, rival])]
    models = of.groupby(["task", "metric"], sort=False)["model"].nunique()
    chosen = models.groupby("task", sort=False).idxmax()
    of = of[pd.MultiIndex.from_frame(of[["task", "metric"]]).isin(chosen)]
    ours, theirs = (
        of[of["model"] == name].set_index(_WINDOW)["terms"] for name in (candidate, rival)
    )
    both = pd.DataFrame({"ours": ours.reindex(theirs.index), "theirs": theirs})
    for (task, *_), mine, other in both.itertuples():
        asked = np.isfinite(other)
        given = np.isfinite(mine) if isinstance(mine, np.ndarray) else np.zeros_like(asked)
        counts[task] = counts.get(task, 0) + int((asked & ~given).sum())
    return {task: count for task, count in counts.items() if count}


def _log_ratio(metric: str, ratios: np.ndarray) -> np.ndarray:
    """Log of the candidate's loss over the rival's, clipped; two losses of zero are equal."""
    losses = finish(metric, ratios)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where((losses[0] == 0) & (losses[1] == 0), 1.0, losses[0] / losses[1])
    return np.log(np.clip(relative, *CLIP))


def _pooled(
    table: pd.DataFrame,
    strata: list[tuple[np.floating, np.ndarray]],
    sizes: np.ndarray,
    names: list[str],
    confidence: float,
) -> Skill:
    from scipy.stats import t

    draws = np.stack([draw for _, draw in strata])
    variances = np.nanvar(draws, axis=1)
    spread, total = float(np.sqrt(variances.sum())) / len(names), variances.sum()
    degrees = np.maximum(sizes - 1, 1e-9)
    shared = total**2 / np.sum(variances**2 / degrees) if total > 0 else float(degrees.sum())
    clusters = float(shared) + 1 if sizes.min() >= LEAST_CLUSTERS else float(sizes.min())
    low, high = interval(1 - np.exp(draws.mean(axis=0)), clusters, confidence)
    free = max(clusters - 1, 1.0)
    reach = np.sqrt(1 + 1 / free) * (t.ppf((1 + confidence) / 2, free) + t.ppf(POWER, free))
    return Skill(
        value=float(1 - np.exp(np.mean([point for point, _ in strata]))),
        low=low,
        high=high,
        detectable=float(1 - np.exp(-reach * spread)),
        clusters=clusters,
        weakest=names[int(sizes.argmin())],
        table=table,
    )
