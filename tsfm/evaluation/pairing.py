"""Two forecasters side by side: the bars of each window that both forecast, resampled together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from tsfm.evaluation.bootstrap import bootstrap_ratios

WINDOW = ["item_id", "origin"]
SUMS = ["numerator", "denominator", "terms", "sizes"]
OTHER = "_b"
"""Suffix of the second forecaster's columns."""


def paired(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Windows that both answered, each side's sums over the bars that both forecast.

    Parameters
    ----------
    ours, theirs
        Scores of one task, variate and metric, a row per window.

    Returns
    -------
    pd.DataFrame
        Columns of ``ours``, and ``numerator_b …`` of ``theirs``; windows without any common bar are
        left out.
    """
    joined = ours.merge(theirs[[*WINDOW, *SUMS]], on=WINDOW, suffixes=("", OTHER))
    if joined.empty:
        return joined
    terms = [np.stack(joined[f"terms{side}"].to_list()) for side in ("", OTHER)]
    mine, other = (np.isfinite(term) for term in terms)
    uneven, common = (mine != other).any(axis=1), mine & other
    if not uneven.any():
        return joined
    changed = {}
    for side, term in zip(("", OTHER), terms, strict=True):
        sizes = np.stack(joined[f"sizes{side}"].to_list())
        for name, values in ((f"numerator{side}", term), (f"denominator{side}", sizes)):
            summed = np.where(common, values, 0).sum(axis=1, dtype=np.float64)
            changed[name] = np.where(uneven, summed, joined[name])
    return joined.assign(**changed)[common.any(axis=1)]


def sums(cell: pd.DataFrame, side: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators of every window."""
    return cell[f"numerator{side}"].to_numpy(), cell[f"denominator{side}"].to_numpy()


def resampled_ratios(
    cell: pd.DataFrame,
    both: Sequence[tuple[np.ndarray, np.ndarray]],
    replicates: int,
    seed: int,
    families: Mapping[str, str] | None = None,
) -> tuple[np.ndarray, float]:
    """Replicates of each ratio of sums, with the same draws, and the number of clusters.

    Parameters
    ----------
    families
        What an item belongs to, where that is resampled instead of the item (several trajectories
        of one system, several panels of one patient).
    """
    items = cell["item_id"].astype(str)
    drawn = bootstrap_ratios(
        np.stack([top for top, _ in both]),
        np.stack([bottom for _, bottom in both]),
        items=(items if families is None else items.map(families).fillna(items)).to_numpy(),
        blocks=cell["block"].to_numpy(),
        rng=np.random.default_rng(seed),
        cluster=str(cell["cluster"].iloc[0]),
        replicates=replicates,
    )
    return drawn.ratios, drawn.clusters


def groups(scores: pd.DataFrame, keys: list[str]) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """Cells of a table of scores, by the values of some of its columns."""
    for values, cells in scores.groupby(keys, observed=True, sort=False):
        yield dict(zip(keys, (str(value) for value in values))), cells
