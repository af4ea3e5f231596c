"""Encoder states per system: how well they tell systems and families apart.

A window's state is the mean over its tokens and variates. What separability means is held against
two things: names shuffled among whole trajectories (windows of one orbit are alike, so windows must
not be shuffled one by one), and the windows' power spectra, which no model is needed for.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from tsfm.data.panel import Panel
from tsfm.errors import DataError
from tsfm.evaluation.analysis_config import EmbeddingsConfig
from tsfm.evaluation.analysis_plots import embedding_chart
from tsfm.evaluation.findings import Findings, metrics_of
from tsfm.evaluation.tasks import Task
from tsfm.models.base import Context, Forecaster
from tsfm.models.embedder import expect_embedder, pooled_states

SCORES = ("silhouette", "neighbours", "probe")
_BANDS = 32
_FOLDS = 4
_SURE = 0.05


def analyse_embeddings(
    model: Forecaster,
    panel: Panel,
    config: EmbeddingsConfig,
    *,
    context: int,
    seed: int = 0,
) -> Findings:
    """Separability of systems and families by the encoder's states, and their picture.

    Raises
    ------
    ConfigError
        When the model has no encoder.
    DataError
        When trajectories are too short, or fewer than two systems have two of them.
    """
    embedder = expect_embedder(model)
    task = Task.on(
        panel,
        context=context,
        horizon=1,
        stride=max(1, context // 2),
        max_windows=config.windows_per_item,
    )
    contexts = list(task.contexts(panel))
    if not contexts:
        raise DataError(
            f"no trajectory has {context + 1} points",
            where=f"panel {panel.info.name}",
            remedy="shorten the context",
        )
    told = _labels(panel, contexts)
    points = {
        "encoder": pooled_states(embedder, contexts),
        "spectrum": np.concatenate([spectra(one) for one in contexts]),
    }
    tables = [
        separability(
            states,
            told[label].to_numpy(),
            told[group].to_numpy(),
            neighbours=config.neighbours,
            permutations=config.permutations,
            seed=seed,
        ).assign(representation=name, of=label)
        for name, states in points.items()
        for label, group, least in (("system", "item", 2), ("family", "system", 3))
        if _several(told[label].to_numpy(), told[group].to_numpy(), least)
    ]
    if not tables:
        raise DataError(
            "fewer than two systems have two trajectories",
            where=f"panel {panel.info.name}",
            remedy="give more systems or trajectories (n_systems, n_trajectories)",
        )
    table = pd.concat(tables, ignore_index=True)
    table = table[
        ["of", "representation", *(c for c in table if c not in ("of", "representation"))]
    ]
    flat, shares = principal(standardised(points["encoder"]), 2)
    places = told.assign(pc1=flat[:, 0], pc2=flat[:, 1])
    return Findings(
        conclusion=_told(model.name, table),
        tables={"separability": table, "embeddings": places},
        metrics=metrics_of(table, "value", "score", "of", "representation"),
        figures={"embeddings": embedding_chart(places, table, shares, title=model.name)},
    )


def separability(
    points: Float[np.ndarray, "window dim"],
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    neighbours: int = 5,
    permutations: int = 100,
    seed: int = 0,
    by_group: bool = True,
) -> pd.DataFrame:
    """How well points tell their labels, when judged by points of other groups.

    Silhouettes (Rousseeuw 1987) of standardised points; the share of points whose nearest
    neighbours *of other groups* vote for their label; the accuracy of a linear (ridge) classifier
    on groups that it was not fitted to. Labels of one group only are left out.

    Parameters
    ----------
    labels, groups
        Of each point.
    permutations
        Shufflings of the labels, which say what chance gives.
    by_group
        All points of a group have one label, and labels are shuffled among groups; otherwise
        among points.

    Returns
    -------
    pd.DataFrame
        A row per score of :data:`SCORES`: ``value``, ``chance`` (mean over shuffled labels),
        ``chance_high`` (their 95 % quantile), ``p`` (share of shufflings that reach the value,
        the value itself counted), and the number of ``labels`` and ``windows``.

    Raises
    ------
    DataError
        When fewer than two labels have two groups.
    """
    kept = able(labels, groups)
    if not kept.any():
        raise DataError("fewer than two labels have two groups", remedy="give more trajectories")
    points, labels, groups = standardised(points[kept]), labels[kept], groups[kept]
    names, codes = np.unique(labels, return_inverse=True)
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    of_group = codes[first]
    scorer = _Scorer(points, group, neighbours, len(names))
    rng = np.random.default_rng(seed)

    def shuffled() -> np.ndarray:
        return rng.permutation(of_group)[group] if by_group else rng.permutation(codes)

    value = scorer.scores(codes)
    null = np.stack([scorer.scores(shuffled()) for _ in range(permutations)])
    return pd.DataFrame(
        {
            "score": SCORES,
            "value": value,
            "chance": null.mean(axis=0),
            "chance_high": np.quantile(null, 0.95, axis=0),
            "p": (1 + (null >= value).sum(axis=0)) / (1 + permutations),
            "labels": len(names),
            "windows": len(codes),
        }
    )


class _Scorer:
    """The scores of any labels of the same points."""

    def __init__(self, points: np.ndarray, group: np.ndarray, neighbours: int, labels: int) -> None:
        from scipy.spatial.distance import cdist

        self.points, self.group, self.labels = points, group, labels
        self.distances = cdist(points, points)
        others = np.where(group[:, None] == group, np.inf, self.distances)
        self.nearest = np.argsort(others, axis=1, kind="stable")[:, :neighbours]
        self.others = np.isfinite(np.take_along_axis(others, self.nearest, axis=1))

    def scores(self, codes: np.ndarray) -> np.ndarray:
        from sklearn.metrics import silhouette_score

        silhouette = silhouette_score(self.distances, codes, metric="precomputed")
        weight = self.others * (1 - 1e-6 * np.arange(self.nearest.shape[1]))
        votes = np.zeros((len(codes), self.labels))
        np.add.at(votes, (np.arange(len(codes))[:, None], codes[self.nearest]), weight)
        return np.array([silhouette, (votes.argmax(axis=1) == codes).mean(), self._probe(codes)])

    def _probe(self, codes: np.ndarray) -> float:
        from sklearn.linear_model import RidgeClassifier
        from sklearn.model_selection import StratifiedGroupKFold

        per_label = np.unique(np.stack([codes, self.group]), axis=1)[0]
        folds = min(_FOLDS, int(np.bincount(per_label, minlength=self.labels).min()))
        if folds < 2:
            return float("nan")
        right = np.zeros(len(codes), bool)
        for train, test in StratifiedGroupKFold(folds).split(self.points, codes, self.group):
            fitted = RidgeClassifier(alpha=float(len(train)) / 10).fit(
                self.points[train], codes[train]
            )
            right[test] = fitted.predict(self.points[test]) == codes[test]
        return float(right.mean())


def able(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Which points have a label of two groups or more; none where only one label has."""
    pairs = np.unique(np.stack([labels.astype(str), groups.astype(str)]), axis=1)[0]
    names, counts = np.unique(pairs, return_counts=True)
    shared = names[counts >= 2]
    return np.isin(labels.astype(str), shared) & (len(shared) >= 2)


def _several(labels: np.ndarray, groups: np.ndarray, least: int) -> bool:
    return len(np.unique(labels[able(labels, groups)])) >= least


def standardised(points: Float[np.ndarray, "window dim"]) -> Float[np.ndarray, "window dim"]:
    """Mean 0 and deviation 1 in every dimension that varies."""
    spread = points.std(axis=0)
    return (points - points.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0)


def principal(
    points: Float[np.ndarray, "window dim"], count: int
) -> tuple[Float[np.ndarray, "window component"], Float[np.ndarray, " component"]]:
    """First principal components, and their shares of the variance."""
    centred = points - points.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    total = max(float((size**2).sum()), 1e-300)
    flat = np.zeros((len(points), count))
    flat[:, : len(size[:count])] = left[:, :count] * size[:count]
    return flat, np.pad(size[:count] ** 2 / total, (0, count - len(size[:count])))


def spectra(context: Context) -> Float[np.ndarray, "window band"]:
    """Log power by frequency of each window's standardised variates, averaged over them."""
    values = np.where(context.observed, context.past, np.nan).astype(np.float64)
    present = np.asarray(np.isfinite(values).any(axis=1))
    values = np.where(np.isfinite(values), values, 0.0)
    centred = values - values.mean(axis=1, keepdims=True)
    power = np.abs(np.fft.rfft(centred, axis=1)[:, 1:]) ** 2
    power /= np.maximum(power.sum(axis=1, keepdims=True), 1e-300)
    edges = np.unique(np.geomspace(1, power.shape[1], _BANDS + 1).astype(int)) - 1
    bands = np.log(np.add.reduceat(power, edges[:-1], axis=1) + 1e-9)
    weight = present[:, None, :]
    return np.where(weight, bands, 0).sum(axis=2) / np.maximum(weight.sum(axis=2), 1)


def _labels(panel: Panel, contexts: list[Context]) -> pd.DataFrame:
    items = [item_id for context in contexts for item_id in context.item_ids]
    static = {item_id: panel.series(panel.item(item_id)).static for item_id in set(items)}
    return pd.DataFrame(
        {
            "item": items,
            "system": [str(static[item].get("system", item)) for item in items],
            "family": [str(static[item].get("family", item)) for item in items],
        }
    )


def _told(name: str, table: pd.DataFrame) -> str:
    parts = []
    for of, rows in table.groupby("of", sort=False):
        of_encoder = rows[rows["representation"] == "encoder"].set_index("score")
        spectrum = rows[rows["representation"] == "spectrum"].set_index("score")["value"]
        value, chance, p = (of_encoder[column] for column in ("value", "chance", "p"))
        plural, others = {
            "system": ("systems", "trajectories"),
            "family": ("families", "systems"),
        }[str(of)]
        verdict = "tell" if p["neighbours"] <= _SURE else "do not tell"
        parts.append(
            f"States of {name} {verdict} {of_encoder['labels'].iloc[0]} {plural} apart: neighbours "
            f"of other {others} name the right one for {value['neighbours']:.0%} of windows "
            f"(shuffled names {chance['neighbours']:.0%}, power spectra "
            f"{spectrum['neighbours']:.0%}), silhouette {value['silhouette']:.2f}."
        )
    return " ".join(parts)
