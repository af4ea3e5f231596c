"""Clustered block bootstrap of ratios of sums.

Windows of one item are alike, and windows of one time share the market's moves; resampling single
(overlapping) windows would call noise significant. Here whole items and whole time blocks are
resampled, with one weight per item times one per block (Owen 2007, the pigeonhole bootstrap:
conservative when both matter). Fewer than :data:`LEAST_ITEMS` items are taken as given and only
blocks, of all items jointly, are resampled. Since few clusters make percentile intervals too
narrow, levels are widened as by a t distribution (Hesterberg 2015, "expanded percentile"); what
counts is their effective number (Kish 1965), since one crowded block among thirty decides alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tsfm.errors import one_of
from tsfm.evaluation.tasks import CLUSTERS

LEAST_ITEMS = 8
LEAST_CLUSTERS = 3
LEAST_BEYOND = 10


@dataclass(frozen=True, kw_only=True)
class Replicates:
    """Ratios under resampling.

    Attributes
    ----------
    ratios
        ``[statistic, replicate]``; replicates that drew nothing of a statistic are NaN.
    clusters
        Effective number of independent units behind them; below three there is no interval.
    """

    ratios: Float[np.ndarray, "statistic replicate"]
    clusters: float


def bootstrap_ratios(
    numerators: Float[np.ndarray, "statistic window"],
    denominators: Float[np.ndarray, "statistic window"],
    *,
    items: Sequence[object] | np.ndarray,
    blocks: Sequence[object] | np.ndarray,
    rng: np.random.Generator,
    cluster: str = "item_time",
    replicates: int = 1000,
) -> Replicates:
    """Resample ``sum(numerator) / sum(denominator)`` of several statistics with the same draws.

    Parameters
    ----------
    items, blocks
        Item and time block of each window.
    cluster
        ``"item"``, ``"time_block"`` or ``"item_time"``.

    Raises
    ------
    ConfigError
        When ``cluster`` is unknown.
    """
    one_of("cluster", cluster, CLUSTERS)
    item_codes, n_items = _codes(items)
    block_codes, n_blocks = _codes(blocks)
    by_item, by_block = _what_to_resample(cluster, n_items, n_blocks)
    item_weights = _weights(n_items, by_item, replicates, rng)
    block_weights = _weights(n_blocks, by_block, replicates, rng)

    def resample(values: np.ndarray) -> np.ndarray:
        cells = np.zeros((n_items, n_blocks))
        np.add.at(cells, (item_codes, block_codes), values)
        return ((item_weights @ cells) * block_weights).sum(axis=1)

    sums = [(resample(top), resample(bottom)) for top, bottom in zip(numerators, denominators)]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.stack([np.where(bottom > 0, top / bottom, np.nan) for top, bottom in sums])
    used = [
        codes for codes, resampled in ((item_codes, by_item), (block_codes, by_block)) if resampled
    ]
    sizes = np.asarray(denominators, dtype=float).sum(axis=0)
    clusters = min((_effective(np.bincount(codes, sizes)) for codes in used), default=1.0)
    return Replicates(ratios=ratios, clusters=clusters)


def interval(
    values: Float[np.ndarray, " replicate"], clusters: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Expanded percentile interval; ``(nan, nan)`` from fewer than three clusters."""
    from scipy.stats import norm, t

    values = values[np.isfinite(values)]
    if clusters < LEAST_CLUSTERS or len(values) == 0:
        return float("nan"), float("nan")
    widened = np.sqrt(clusters / (clusters - 1)) * t.ppf((1 - confidence) / 2, clusters - 1)
    tail = float(norm.cdf(widened))
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def p_value(values: Float[np.ndarray, " replicate"], clusters: float, null: float = 0.0) -> float:
    """Two-sided p-value of the null: one minus the widest :func:`interval` that leaves it out.

    Where fewer than :data:`LEAST_BEYOND` replicates lie beyond the null, their tail is taken as
    normal, so that corrections for many comparisons do not ask for more replicates. NaN from fewer
    than three clusters.
    """
    from scipy.stats import norm, t

    values = values[np.isfinite(values)]
    if clusters < LEAST_CLUSTERS or len(values) == 0:
        return float("nan")
    below, above = (values < null).sum(), (values > null).sum()
    beyond = min(below, above) + (len(values) - below - above) / 2
    spread = float(values.std())
    if beyond >= LEAST_BEYOND or spread == 0:
        score = norm.ppf(max(beyond, 0.5) / len(values))
    else:
        score = -abs(float(values.mean()) - null) / spread
    return float(min(2 * t.cdf(score * np.sqrt((clusters - 1) / clusters), clusters - 1), 1.0))


def _what_to_resample(cluster: str, n_items: int, n_blocks: int) -> tuple[bool, bool]:
    if cluster == "item":
        return True, False
    if cluster == "time_block":
        return False, True
    by_block = n_blocks >= LEAST_CLUSTERS
    return n_items >= LEAST_ITEMS or not by_block, by_block


def _weights(
    count: int, resampled: bool, replicates: int, rng: np.random.Generator
) -> Int[np.ndarray, "replicate cluster"]:
    if not resampled:
        return np.ones((replicates, count), int)
    return rng.multinomial(count, np.full(count, 1 / count), size=replicates)


def _effective(sizes: np.ndarray) -> float:
    """Number of equal clusters that would average as well as these."""
    total = float((sizes**2).sum())
    return float(sizes.sum() ** 2 / total) if total > 0 else 0.0


def _codes(labels: Sequence[object] | np.ndarray) -> tuple[np.ndarray, int]:
    names, codes = np.unique(np.asarray(labels), return_inverse=True)
    return codes, len(names)
